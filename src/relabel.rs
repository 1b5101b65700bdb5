//! Relabelling: rules that change, add and remove labels, or drop what has them.
//!
//! The rules are those of Prometheus (`model/relabel/relabel.go`, 3.14), with its texts for what is
//! wrong with one. A [`Rule`] that exists is usable: what its action does not take cannot be in it.

use std::num::NonZeroU64;

use md5::{Digest, Md5};

use crate::model::{GoRegex, GoRegexError, Labels, LabelsBuilder};

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_PATTERN: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// A rule as people write it: what is absent has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spec {
    /// What is done; `replace` by default. Upper case and lower case are the same.
    pub action: Option<String>,
    /// The labels whose values are joined.
    pub source_labels: Option<Vec<String>>,
    /// What they are joined with; `;` by default.
    pub separator: Option<String>,
    /// What the joined values, or the names of labels, must match as a whole; `(.*)` by default.
    pub regex: Option<String>,
    /// Of `hashmod`: by what the hash is divided.
    pub modulus: Option<u64>,
    /// The label that is written or compared.
    pub target_label: Option<String>,
    /// What is written, with `$1` for groups of the pattern; `$1` by default.
    pub replacement: Option<String>,
}

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// No such action.
    #[error("unknown relabel action {0:?}")]
    UnknownAction(String),
    /// `hashmod` without a modulus.
    #[error("relabel configuration for hashmod requires non-zero modulus")]
    NoModulus,
    /// An action that writes or compares a label, without one.
    #[error("relabel configuration for {0} action requires 'target_label' value")]
    NoTarget(&'static str),
    /// `lowercase` and others that write what they read.
    #[error("'replacement' can not be set for {0} action")]
    Replacement(&'static str),
    /// `labelmap` to a name that is empty.
    #[error("{0:?} is invalid 'replacement' for labelmap action")]
    LabelMapName(String),
    /// `keepequal` and `dropequal` only compare.
    #[error("{0} action requires only 'source_labels' and `target_label`, and no other fields")]
    OnlyComparison(&'static str),
    /// `labeldrop` and `labelkeep` look at names alone.
    #[error("{0} action requires only 'regex', and no other fields")]
    OnlyRegex(&'static str),
    /// The pattern is none.
    #[error(transparent)]
    Regex(#[from] GoRegexError),
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    source_labels: Vec<String>,
    separator: String,
    action: Action,
}

#[derive(Debug, Clone, PartialEq)]
enum Action {
    Replace { pattern: Pattern, target: String, replacement: String },
    Keep(Pattern),
    Drop(Pattern),
    KeepEqual(String),
    DropEqual(String),
    HashMod { target: String, modulus: NonZeroU64 },
    LabelMap { pattern: Pattern, replacement: String },
    LabelKeep(Pattern),
    LabelDrop(Pattern),
    Lowercase(String),
    Uppercase(String),
}

/// A pattern that matches whole texts. Two are the same if their texts are.
#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    regex: GoRegex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Rule {
    /// The rule that `spec` describes.
    pub fn new(spec: &Spec) -> Result<Self, RelabelError> {
        let wanted = spec.action.as_deref().unwrap_or("replace");
        let name = wanted.to_lowercase();
        let text = |given: &Option<String>, default: &str| given.as_deref().unwrap_or(default).to_owned();
        let pattern = || {
            let text = text(&spec.regex, DEFAULT_PATTERN);
            GoRegex::anchored(&text).map(|regex| Pattern { text, regex })
        };
        let replacement = text(&spec.replacement, DEFAULT_REPLACEMENT);
        let target = |action| match spec.target_label.as_deref() {
            None | Some("") => Err(RelabelError::NoTarget(action)),
            Some(target) => Ok(target.to_owned()),
        };
        let verbatim = |action| {
            let target = target(action)?;
            let plain = replacement == DEFAULT_REPLACEMENT;
            if plain { Ok(target) } else { Err(RelabelError::Replacement(action)) }
        };
        let compared = |action| {
            let target = verbatim(action)?;
            let plain = text(&spec.regex, DEFAULT_PATTERN) == DEFAULT_PATTERN
                && text(&spec.separator, DEFAULT_SEPARATOR) == DEFAULT_SEPARATOR
                && spec.modulus.unwrap_or(0) == 0;
            if plain { Ok(target) } else { Err(RelabelError::OnlyComparison(action)) }
        };
        let names = |action| {
            let plain = spec.source_labels.is_none()
                && text(&spec.target_label, "").is_empty()
                && text(&spec.separator, DEFAULT_SEPARATOR) == DEFAULT_SEPARATOR
                && replacement == DEFAULT_REPLACEMENT
                && spec.modulus.unwrap_or(0) == 0;
            if plain { Ok(pattern()?) } else { Err(RelabelError::OnlyRegex(action)) }
        };
        let action = match name.as_str() {
            "replace" => Action::Replace { target: target("replace")?, pattern: pattern()?, replacement },
            "keep" => Action::Keep(pattern()?),
            "drop" => Action::Drop(pattern()?),
            "keepequal" => Action::KeepEqual(compared("keepequal")?),
            "dropequal" => Action::DropEqual(compared("dropequal")?),
            "hashmod" => {
                let modulus = spec.modulus.and_then(NonZeroU64::new).ok_or(RelabelError::NoModulus)?;
                Action::HashMod { target: target("hashmod")?, modulus }
            }
            "labelmap" if replacement.is_empty() => return Err(RelabelError::LabelMapName(replacement)),
            "labelmap" => Action::LabelMap { pattern: pattern()?, replacement },
            "labelkeep" => Action::LabelKeep(names("labelkeep")?),
            "labeldrop" => Action::LabelDrop(names("labeldrop")?),
            "lowercase" => Action::Lowercase(verbatim("lowercase")?),
            "uppercase" => Action::Uppercase(verbatim("uppercase")?),
            _ => return Err(RelabelError::UnknownAction(wanted.to_owned())),
        };
        Ok(Self {
            source_labels: spec.source_labels.clone().unwrap_or_default(),
            separator: text(&spec.separator, DEFAULT_SEPARATOR),
            action,
        })
    }

    /// Applies the rule; whether what has these labels is kept.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        match &self.action {
            Action::Keep(pattern) => return pattern.regex.is_match(&self.source(labels)),
            Action::Drop(pattern) => return !pattern.regex.is_match(&self.source(labels)),
            Action::KeepEqual(target) => return labels.get(target) == self.source(labels),
            Action::DropEqual(target) => return labels.get(target) != self.source(labels),
            Action::Replace { pattern, target, replacement } => {
                let source = self.source(labels);
                let name = pattern.regex.expand(&source, target).filter(|name| !name.is_empty());
                if let (Some(name), Some(value)) = (name, pattern.regex.expand(&source, replacement)) {
                    labels.set(&name, &value);
                }
            }
            Action::HashMod { target, modulus } => {
                let hash = Md5::digest(self.source(labels).as_bytes());
                let low = hash[8..].iter().fold(0_u64, |low, byte| low << 8 | u64::from(*byte));
                labels.set(target, &(low % modulus.get()).to_string());
            }
            Action::LabelMap { pattern, replacement } => {
                for (name, value) in labels.build().iter() {
                    let mapped = pattern.regex.expand(name, replacement).filter(|name| !name.is_empty());
                    if let Some(mapped) = mapped {
                        labels.set(&mapped, value);
                    }
                }
            }
            Action::LabelKeep(pattern) => retain(labels, |name| pattern.regex.is_match(name)),
            Action::LabelDrop(pattern) => retain(labels, |name| !pattern.regex.is_match(name)),
            Action::Lowercase(target) => drop(labels.set(target, &self.source(labels).to_lowercase())),
            Action::Uppercase(target) => drop(labels.set(target, &self.source(labels).to_uppercase())),
        }
        true
    }

    /// The values of the source labels, joined.
    fn source(&self, labels: &LabelsBuilder) -> String {
        let values: Vec<&str> = self.source_labels.iter().map(|name| labels.get(name)).collect();
        values.join(&self.separator)
    }
}

fn retain(labels: &mut LabelsBuilder, keep: impl Fn(&str) -> bool) {
    for (name, _) in labels.build().iter().filter(|(name, _)| !keep(name)) {
        labels.remove(name);
    }
}

/// The labels after all rules in their order, or nothing if one of them drops what has these labels.
pub fn relabel(rules: &[Rule], labels: &Labels) -> Option<Labels> {
    if rules.is_empty() {
        return Some(labels.clone());
    }
    let mut builder = labels.builder();
    rules.iter().all(|rule| rule.apply(&mut builder)).then(|| builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `key=value` pairs, separated by blanks; source labels by commas.
    fn spec(text: &str) -> Spec {
        let mut spec = Spec::default();
        for pair in text.split_whitespace() {
            let (key, value) = pair.split_once('=').expect("a pair");
            let value = value.to_owned();
            match key {
                "action" => spec.action = Some(value),
                "source" => spec.source_labels = Some(value.split(',').map(str::to_owned).collect()),
                "separator" => spec.separator = Some(value),
                "regex" => spec.regex = Some(value),
                "modulus" => spec.modulus = Some(value.parse().expect("a number")),
                "target" => spec.target_label = Some(value),
                "replacement" => spec.replacement = Some(value),
                other => panic!("no field {other}"),
            }
        }
        spec
    }

    #[track_caller]
    fn check(labels: &[(&str, &str)], rules: &[&str], expected: Option<&[(&str, &str)]>) {
        let rules: Vec<_> = rules.iter().map(|text| Rule::new(&spec(text)).expect(text)).collect();
        let expected = expected.map(|pairs| Labels::from_pairs(pairs.iter().copied()));
        assert_eq!(relabel(&rules, &Labels::from_pairs(labels.iter().copied())), expected);
    }

    #[test]
    fn values_are_replaced_where_the_pattern_matches_all_of_the_source() {
        let labels = [("a", "foo"), ("b", "bar")];
        check(
            &labels,
            &["source=a regex=f(.*) target=d replacement=ch$1-ch$1"],
            Some(&[("a", "foo"), ("b", "bar"), ("d", "choo-choo")]),
        );
        check(&labels, &["source=a regex=o target=a replacement=x"], Some(&labels));
        check(
            &labels,
            &["source=a,b regex=f(.*);(.*)r target=a replacement=b${1}${2}m"],
            Some(&[("a", "boobam"), ("b", "bar")]),
        );
        check(
            &labels,
            &["source=a,b separator=- target=c"],
            Some(&[("a", "foo"), ("b", "bar"), ("c", "foo-bar")]),
        );
        check(
            &labels,
            &["target=n replacement=constant"],
            Some(&[("a", "foo"), ("b", "bar"), ("n", "constant")]),
        );
        // An empty replacement removes, and the target may come from the source.
        check(&labels, &["source=a regex=foo target=b replacement="], Some(&[("a", "foo")]));
        check(
            &labels,
            &["source=a regex=(f)(.*) target=${1}_x replacement=$2"],
            Some(&[("a", "foo"), ("b", "bar"), ("f_x", "oo")]),
        );
        check(&labels, &["source=a regex=foo(x?) target=$1 replacement=y"], Some(&labels));
    }

    #[test]
    fn what_does_not_match_is_dropped() {
        let labels = [("a", "foo"), ("b", "foo"), ("c", "x")];
        for (rule, kept) in [
            ("action=keep source=a regex=fo.", true),
            ("action=keep source=a regex=fo", false),
            ("action=Drop source=a regex=foo", false),
            ("action=drop source=missing regex=.+", true),
            ("action=drop source=missing regex=", false),
            ("action=keepequal source=a target=b", true),
            ("action=keepequal source=a target=c", false),
            ("action=dropequal source=a target=b", false),
            ("action=dropequal source=a target=c", true),
        ] {
            check(&labels, &[rule], kept.then_some(&labels));
        }
    }

    #[test]
    fn a_dropped_set_ends_the_rules() {
        check(&[("a", "x")], &["action=drop source=a regex=x", "target=b replacement=y"], None);
        check(
            &[("a", "x")],
            &["target=b replacement=y", "action=keep source=b regex=y"],
            Some(&[("a", "x"), ("b", "y")]),
        );
    }

    #[test]
    fn labels_are_chosen_by_their_names() {
        let labels = [("__meta_x", "1"), ("__meta_y", "2"), ("z", "3")];
        check(
            &labels,
            &["action=labelmap regex=__meta_(.+)", "action=labeldrop regex=__.*"],
            Some(&[("x", "1"), ("y", "2"), ("z", "3")]),
        );
        check(&labels, &["action=labelkeep regex=z"], Some(&[("z", "3")]));
        check(
            &labels,
            &["action=labelmap regex=z replacement=w_$0"],
            Some(&[("__meta_x", "1"), ("__meta_y", "2"), ("w_z", "3"), ("z", "3")]),
        );
    }

    #[test]
    fn case_and_hash_are_those_of_the_joined_source() {
        let labels = [("a", "Foo"), ("c", "baZ")];
        check(
            &labels,
            &["action=lowercase source=a,c target=l", "action=uppercase source=a target=u"],
            Some(&[("a", "Foo"), ("c", "baZ"), ("l", "foo;baz"), ("u", "FOO")]),
        );
        // Prometheus' own case: the result decides which of several servers scrapes a target.
        check(
            &[("a", "foo"), ("b", "bar"), ("c", "baz")],
            &["action=hashmod source=c separator=; modulus=1000 target=d"],
            Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "976")]),
        );
    }

    #[test]
    fn rules_that_cannot_be_used_are_refused_with_the_reason() {
        for (rule, expected) in [
            ("action=nope", r#"unknown relabel action "nope""#),
            ("source=a", "relabel configuration for replace action requires 'target_label' value"),
            ("action=lowercase", "relabel configuration for lowercase action requires 'target_label' value"),
            ("action=hashmod target=a", "relabel configuration for hashmod requires non-zero modulus"),
            ("action=uppercase target=a replacement=x", "'replacement' can not be set for uppercase action"),
            ("action=labelmap replacement=", r#""" is invalid 'replacement' for labelmap action"#),
            (
                "action=keepequal source=a target=b regex=x",
                "keepequal action requires only 'source_labels' and `target_label`, and no other fields",
            ),
            (
                "action=labeldrop source=a regex=x",
                "labeldrop action requires only 'regex', and no other fields",
            ),
            ("action=keep source=a regex=(", "error parsing regexp: missing closing ): `(`"),
        ] {
            let error = Rule::new(&spec(rule)).expect_err(rule);
            assert_eq!(error.to_string(), expected, "{rule}");
        }
    }
}
