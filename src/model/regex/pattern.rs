//! Patterns of matchers: anchored, and mostly so simple that no automaton is needed.

use regex_automata::meta::Regex;
use regex_syntax::hir::{Class, Dot, Hir, HirKind, Look, Repetition};

use super::{GoRegexError, anchor, compile, syntax};

/// How many values may arise from combining alternatives, as in `a(b|c)[de]`.
/// Source: Prometheus `model/labels/regexp.go`, `maxSetMatches`.
const MAX_COMBINED: usize = 256;

/// How many shapes are compared rather than compiled: `.*[0-4]$` has five.
const MAX_SHAPES: usize = 8;

/// What a pattern comes down to.
#[derive(Debug, Clone)]
pub(in super::super) enum Pattern {
    /// One of these values, sorted.
    Set(Vec<String>),
    /// One of these shapes.
    Shapes(Vec<Shape>),
    /// Anything else.
    Automaton {
        /// What every match begins with.
        prefix: String,
        regex: Regex,
    },
}

/// Anything, a literal, anything: `.*a`, `a.+`, `.*`.
#[derive(Debug, Clone)]
pub(in super::super) struct Shape {
    before: Gap,
    literal: String,
    after: Gap,
}

/// How much may stand beside a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// Nothing.
    None,
    /// `.*`
    Any,
    /// `.+`
    Some,
}

impl Pattern {
    /// Parses a pattern as [`super::GoRegex::anchored`] does.
    pub(in super::super) fn new(pattern: &str) -> Result<Self, GoRegexError> {
        // Dashboards ask for lists of values; these need no parsing.
        if !pattern.contains(['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$']) {
            return Ok(Self::set(pattern.split('|').map(str::to_owned).collect()));
        }
        let hir = syntax::parse(pattern, true)?.hir;
        if let Some(values) = values(&hir, true) {
            return Ok(Self::set(values));
        }
        if let Some(shapes) = shapes(&hir) {
            return Ok(Self::Shapes(shapes));
        }
        let prefix = prefix(&hir);
        Ok(Self::Automaton { prefix, regex: compile(&anchor(hir), pattern, false)? })
    }

    fn set(mut values: Vec<String>) -> Self {
        values.sort_unstable();
        values.dedup();
        Self::Set(values)
    }

    /// How much memory the automaton takes, in bytes, if the pattern needs one.
    pub(in super::super) fn automaton_bytes(&self) -> Option<usize> {
        match self {
            Self::Automaton { regex, .. } => Some(regex.memory_usage()),
            Self::Set(_) | Self::Shapes(_) => None,
        }
    }

    pub(in super::super) fn matches(&self, value: &str) -> bool {
        match self {
            Self::Set(values) => match &values[..] {
                [one] => one == value,
                values => values.binary_search_by(|known| known.as_str().cmp(value)).is_ok(),
            },
            Self::Shapes(shapes) => shapes.iter().any(|shape| shape.matches(value)),
            Self::Automaton { prefix, regex } => value.starts_with(prefix) && regex.is_match(value),
        }
    }

    /// All values that match, if they are few and known.
    pub(in super::super) fn set_matches(&self) -> Option<&[String]> {
        match self {
            Self::Set(values) => Some(values),
            _ => None,
        }
    }

    /// What every match begins with.
    pub(in super::super) fn prefix(&self) -> &str {
        match self {
            Self::Set(values) => {
                values.first().map_or("", |first| common_prefix(first, &values[values.len() - 1]))
            }
            Self::Shapes(shapes) => match &shapes[..] {
                [Shape { before: Gap::None, literal, .. }] => literal,
                _ => "",
            },
            Self::Automaton { prefix, .. } => prefix,
        }
    }
}

/// Of sorted values the first and the last one share the least.
fn common_prefix<'v>(first: &'v str, last: &str) -> &'v str {
    let length = first.chars().zip(last.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum();
    &first[..length]
}

impl Shape {
    fn matches(&self, value: &str) -> bool {
        let mut chars = value.chars();
        let enough = (self.before != Gap::Some || chars.next().is_some())
            && (self.after != Gap::Some || chars.next_back().is_some());
        let rest = chars.as_str();
        enough
            && match (self.before, self.after) {
                (Gap::None, Gap::None) => rest == self.literal,
                (Gap::None, _) => rest.starts_with(&self.literal),
                (_, Gap::None) => rest.ends_with(&self.literal),
                _ => rest.contains(&self.literal),
            }
    }
}

/// All values that a pattern matches, if that is a list of literals or becomes one without growing much.
/// `whole`: whether it is all of the pattern, so that its anchors say nothing.
fn values(hir: &Hir, whole: bool) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Capture(capture) => values(&capture.sub, whole),
        HirKind::Class(Class::Unicode(class)) => {
            let count: usize = class.ranges().iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum();
            let chars = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            (1..=MAX_COMBINED).contains(&count).then(|| chars.map(String::from).collect())
        }
        HirKind::Repetition(Repetition { min, max: Some(max), sub, .. }) => {
            let sub = values(sub, false)?;
            let mut product = combine(&[String::new()], &[String::new()])?;
            let mut all = if *min == 0 { product.clone() } else { Vec::new() };
            for round in 1..=*max {
                product = combine(&product, &sub)?;
                if round >= *min {
                    all.extend_from_slice(&product);
                }
                if all.len() > MAX_COMBINED {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Concat(parts) => {
            let mut product = vec![String::new()];
            for part in if whole { unanchored(parts) } else { parts } {
                product = combine(&product, &values(part, false)?)?;
            }
            Some(product)
        }
        HirKind::Alternation(alternatives) => {
            let mut all = Vec::new();
            for alternative in alternatives {
                all.extend(values(alternative, whole)?);
            }
            Some(all)
        }
        _ => None,
    }
}

/// A pattern is anchored anyway, so that its own anchors at both ends say nothing.
fn unanchored(mut parts: &[Hir]) -> &[Hir] {
    while let [first, rest @ ..] = parts
        && matches!(first.kind(), HirKind::Look(Look::Start))
    {
        parts = rest;
    }
    while let [rest @ .., last] = parts
        && matches!(last.kind(), HirKind::Look(Look::End))
    {
        parts = rest;
    }
    parts
}

/// Every value of one list followed by every one of the other.
fn combine(heads: &[String], tails: &[String]) -> Option<Vec<String>> {
    // One list alone may be long: it has been written out.
    if heads.len() > 1 && tails.len() > 1 && heads.len() * tails.len() > MAX_COMBINED {
        return None;
    }
    Some(heads.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect())
}

/// The shapes that a pattern is made of, if it is nothing else.
fn shapes(hir: &Hir) -> Option<Vec<Shape>> {
    match hir.kind() {
        HirKind::Capture(capture) => shapes(&capture.sub),
        HirKind::Alternation(alternatives) => {
            let mut all = Vec::new();
            for alternative in alternatives {
                all.extend(shapes(alternative)?);
            }
            Some(all)
        }
        HirKind::Concat(parts) => shapes_of(unanchored(parts)),
        _ => shapes_of(std::slice::from_ref(hir)),
    }
}

fn shapes_of(mut parts: &[Hir]) -> Option<Vec<Shape>> {
    let (mut before, mut after) = (Gap::None, Gap::None);
    if let [first, rest @ ..] = parts
        && let Some(found) = gap(first)
    {
        before = found;
        parts = rest;
    }
    if let [rest @ .., last] = parts
        && let Some(found) = gap(last)
    {
        after = found;
        parts = rest;
    }
    let mut literals = vec![String::new()];
    for part in parts {
        literals = combine(&literals, &values(part, false)?)?;
    }
    // They are compared one after the other: an automaton is faster than many.
    let few = literals.len() <= MAX_SHAPES;
    few.then(|| literals.into_iter().map(|literal| Shape { before, literal, after }).collect())
}

/// Whether it matches any text and has no groups.
pub(super) fn is_anything(hir: &Hir) -> bool {
    !matches!(hir.kind(), HirKind::Capture(_)) && gap(hir) == Some(Gap::Any)
}

fn gap(hir: &Hir) -> Option<Gap> {
    match hir.kind() {
        HirKind::Capture(capture) => gap(&capture.sub),
        HirKind::Repetition(Repetition { min: min @ (0 | 1), max: None, sub, .. })
            if **sub == Hir::dot(Dot::AnyChar) =>
        {
            Some(if *min == 0 { Gap::Any } else { Gap::Some })
        }
        _ => None,
    }
}

/// The literal that a pattern begins with.
fn prefix(hir: &Hir) -> String {
    match hir.kind() {
        HirKind::Capture(capture) => prefix(&capture.sub),
        HirKind::Concat(parts) => unanchored(parts).first().map(prefix).unwrap_or_default(),
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_of_values_are_recognised() {
        let check = |pattern: &str, expected: &[&str]| {
            let found = Pattern::new(pattern).expect("valid");
            assert_eq!(
                found.set_matches().map(<[String]>::to_vec).unwrap_or_default(),
                expected,
                "{pattern}"
            );
        };
        check("a", &["a"]);
        check("", &[""]);
        check("b|a|b", &["a", "b"]);
        check("a|", &["", "a"]);
        check("a(b|f)", &["ab", "af"]);
        check(
            "(foo|bar)-[0-2]x?",
            &[
                "bar-0", "bar-0x", "bar-1", "bar-1x", "bar-2", "bar-2x", "foo-0", "foo-0x", "foo-1",
                "foo-1x", "foo-2", "foo-2x",
            ],
        );
        check(r"node\.a|node\.b", &["node.a", "node.b"]);
        check("^a$", &["a"]);
        check("^a|(b$)", &["a", "b"]);
        check("a(b|^c)?", &[]);
        check("(?i:a1)", &["A1", "a1"]);
        check("a{2}", &["aa"]);
        check("a.*", &[]);
        check("[a-z]{3}", &[]);
        check("a|b.*", &[]);
        check(r"\ba", &[]);
        let many: Vec<String> = (1000..3000).map(|n| n.to_string()).collect();
        check(&many.join("|"), &many.iter().map(String::as_str).collect::<Vec<_>>());
        check(&format!("({})", many.join("|")), &many.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn prefixes_are_known() {
        let check = |pattern: &str, expected: &str| {
            assert_eq!(Pattern::new(pattern).expect("valid").prefix(), expected, "{pattern}");
        };
        check("abc.*", "abc");
        check("abc[0-9]+", "abc");
        check("^abc(d|e)+", "abc");
        check("abcd|abce", "abc");
        check("é|è", "");
        check("(?i)abc.*", "");
        check(".*abc", "");
        check("a.*|b.*", "");
    }

    #[test]
    fn simple_patterns_need_no_automaton() {
        for pattern in [
            ".*",
            ".+",
            "a.*",
            ".*a",
            ".+a.+",
            ".*(a).*",
            "a.*|.*b|c",
            "^a.*$",
            "(.*)",
            ".*.*",
            ".*[0-4]$",
            "(a|b)x.+",
        ] {
            let found = Pattern::new(pattern).expect("valid");
            assert!(matches!(found, Pattern::Shapes(_)), "{pattern} became {found:?}");
        }
    }

    fn patterns() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "a", "b", "ab", "é", "", ".", ".*", ".+", "[ab]", "[^a]", "a?", "b*", "^", "$", "\\.",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                4 => prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                2 => prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.join("|")),
                2 => inner.clone().prop_map(|part| format!("({part})")),
                1 => inner.clone().prop_map(|part| format!("(?:{part})?")),
                1 => inner.prop_map(|part| format!("(?:{part}){{2}}")),
            ]
        })
    }

    proptest! {
        /// On the syntax that both share, shortcuts and all, patterns match as the regex crate does.
        #[test]
        fn matching_agrees_with_the_regex_crate(
            pattern in patterns(),
            texts in prop::collection::vec("[abé.\n]{0,4}", 1..8),
        ) {
            let plain = regex::Regex::new(&format!(r"\A(?s:{pattern})\z")).expect("valid");
            let ours = Pattern::new(&pattern).expect("valid");
            for text in texts {
                prop_assert_eq!(ours.matches(&text), plain.is_match(&text), "{} on {:?}", pattern, text);
            }
        }

        #[test]
        fn any_pattern_has_an_answer(pattern in r"[ab0-9\\\[\](){}|*+?.^$:,<>PQEpdwizx-]{0,24}") {
            if let Ok(found) = Pattern::new(&pattern) {
                found.matches("ab");
            }
        }
    }
}
