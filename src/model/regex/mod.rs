//! Regular expressions as Go understands them, since Prometheus' users write for Go's `regexp`.
//!
//! The syntax looks like that of the `regex` crate and differs where nobody expects it: `\d`, `\w`, `\s`
//! and `\b` are ASCII, classes have no set operations, `\Q…\E` quotes, `{` may be literal, a repetition
//! goes up to 1000. Patterns are parsed here, in Go's way and with Go's messages, and then matched by
//! the automata of the `regex` crate, in linear time as in Go.

mod pattern;
mod syntax;

use std::ops::Range;

use regex_automata::meta::Regex;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::captures::Captures;
use regex_syntax::hir::{Capture, Hir, HirKind, Look};

pub(super) use pattern::Pattern;
use syntax::Parsed;

/// What is wrong with a pattern, in the words of Go's `regexp/syntax`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {message}: `{fragment}`")]
pub struct GoRegexError {
    /// What kind of fault it is.
    pub message: &'static str,
    /// The part of the pattern that is at fault.
    pub fragment: String,
}

/// A regular expression of Go.
#[derive(Debug, Clone)]
pub struct GoRegex {
    matching: Matching,
    /// The names of the groups from the first one on. They are kept here, because Go lets names begin
    /// with a digit.
    names: Vec<Option<String>>,
}

/// How a pattern is matched.
#[derive(Debug, Clone)]
enum Matching {
    /// `(.*)` over a whole text, with which labels are copied: the group is the text. To compile it would
    /// take longer than most queries that have it.
    Copy,
    Regex(Regex),
}

/// Where the groups of a match are; group 0 is the match itself.
#[derive(Debug)]
enum Groups {
    Copy { length: usize },
    Captures(Captures),
}

impl Groups {
    fn get(&self, index: usize) -> Option<Range<usize>> {
        match self {
            Self::Copy { length } => (index <= 1).then_some(0..*length),
            Self::Captures(captures) => captures.get_group(index).map(|found| found.range()),
        }
    }
}

impl GoRegex {
    /// A pattern that may match anywhere in a text; its dot does not match a newline. So Go's
    /// `regexp.Compile`, which templates use.
    pub fn new(pattern: &str) -> Result<Self, GoRegexError> {
        let Parsed { hir, names } = syntax::parse(pattern, false)?;
        Ok(Self { matching: Matching::Regex(compile(&hir, pattern, true)?), names })
    }

    /// A pattern that matches a whole text; its dot matches a newline. So Prometheus treats the patterns
    /// of matchers and of `label_replace`.
    pub fn anchored(pattern: &str) -> Result<Self, GoRegexError> {
        let Parsed { hir, names } = syntax::parse(pattern, true)?;
        let matching = match hir.kind() {
            HirKind::Capture(Capture { sub, .. }) if pattern::is_anything(sub) => Matching::Copy,
            _ => Matching::Regex(compile(&anchor(hir), pattern, true)?),
        };
        Ok(Self { matching, names })
    }

    /// Whether the pattern matches.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.matching {
            Matching::Copy => true,
            Matching::Regex(regex) => regex.is_match(text),
        }
    }

    /// The template with the groups of the first match, if there is one. `$1`, `$name`, `${1}` and
    /// `${name}` stand for groups, `$$` for a dollar; a group that does not exist or took no part is
    /// empty. So Go's `Regexp.Expand`.
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        let groups = match &self.matching {
            Matching::Copy => Groups::Copy { length: text.len() },
            Matching::Regex(regex) => {
                let mut captures = regex.create_captures();
                regex.captures(text, &mut captures);
                captures.is_match().then_some(Groups::Captures(captures))?
            }
        };
        let mut out = String::new();
        self.expand_into(&mut out, text, &groups, template);
        Some(out)
    }

    /// The text with every match replaced by the expanded template.
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let Matching::Regex(regex) = &self.matching else {
            self.expand_into(&mut out, text, &Groups::Copy { length: text.len() }, template);
            return out;
        };
        let mut copied = 0;
        for captures in regex.captures_iter(text) {
            let Some(found) = captures.get_match() else { continue };
            out.push_str(&text[copied..found.start()]);
            self.expand_into(&mut out, text, &Groups::Captures(captures), template);
            copied = found.end();
        }
        out.push_str(&text[copied..]);
        out
    }

    fn expand_into(&self, out: &mut String, text: &str, groups: &Groups, template: &str) {
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = group_name(after) {
                out.push_str(self.group(text, groups, name));
                rest = after;
            } else {
                // A dollar that names nothing stands for itself.
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
    }

    /// What the group matched; a name that occurs twice stands for the first group that took part.
    fn group<'t>(&self, text: &'t str, groups: &Groups, name: &str) -> &'t str {
        let number = |name: &str| -> Option<usize> {
            let plain = name.bytes().all(|digit| digit.is_ascii_digit());
            let no_leading_zero = name == "0" || !name.starts_with('0');
            (plain && no_leading_zero).then(|| name.parse().ok()).flatten()
        };
        let found = match number(name) {
            Some(index) => groups.get(index),
            None => (self.names.iter().enumerate())
                .filter(|(_, known)| known.as_deref() == Some(name))
                .find_map(|(index, _)| groups.get(index + 1)),
        };
        found.map_or("", |found| &text[found])
    }
}

/// The name of a group at the front of a template, after its `$`, and what follows it.
fn group_name(template: &str) -> Option<(&str, &str)> {
    let (inner, braced) = template.strip_prefix('{').map_or((template, false), |inner| (inner, true));
    let length = inner.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(inner.len());
    let (name, rest) = inner.split_at(length);
    let rest = if braced { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

fn anchor(hir: Hir) -> Hir {
    Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)])
}

/// How much memory a compiled pattern may take.
const MAX_COMPILED_BYTES: usize = 10 << 20;

/// Makes a parsed pattern ready to match. Patterns come from queries, which are parsed more often than
/// they match much: what is only worth building for long texts is not built, and groups only where they
/// are asked for.
fn compile(hir: &Hir, pattern: &str, groups: bool) -> Result<Regex, GoRegexError> {
    let captures = if groups { WhichCaptures::All } else { WhichCaptures::None };
    let config = Regex::config()
        .nfa_size_limit(Some(MAX_COMPILED_BYTES))
        .dfa(false)
        .onepass(groups)
        .which_captures(captures);
    Regex::builder()
        .configure(config)
        .build_from_hir(hir)
        .map_err(|_| GoRegexError { message: "expression too large", fragment: pattern.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_expanded_as_go_expands_them() {
        let regex = GoRegex::anchored("(?P<first>[a-z]+)-(?<1st>[a-z]*)-(x)?").expect("valid");
        let check = |template: &str, expected: &str| {
            assert_eq!(regex.expand("ab-cd-", template).as_deref(), Some(expected), "{template}");
        };
        check("$1/$2", "ab/cd");
        check("${1}0", "ab0");
        check("$10", "");
        check("$first.$1st", "ab.cd");
        check("${first}x $firstx", "abx ");
        check("$3|$9|${nope}", "||");
        check("$$1 $ ${ ${} ${1", "$1 $ ${ ${} ${1");
        check("$0", "ab-cd-");
        check("$01", "");
        assert_eq!(regex.expand("nothing", "$1"), None);
    }

    #[test]
    fn a_copied_text_is_what_the_automaton_would_capture() {
        for pattern in ["(.*)", "(?P<all>.*)", "((.*))", "(.+)", "^(.*)$", "(.*?)"] {
            let regex = GoRegex::anchored(pattern).expect("valid");
            let hir = syntax::parse(pattern, true).expect("valid").hir;
            let automaton = compile(&anchor(hir), pattern, true).expect("small");
            let plain = GoRegex { matching: Matching::Regex(automaton), names: regex.names.clone() };
            for text in ["", "a", "a\nb", "é"] {
                assert_eq!(regex.is_match(text), plain.is_match(text), "{pattern} on {text:?}");
                for template in ["$1", "<$0>", "$all-$2", "x"] {
                    assert_eq!(
                        regex.expand(text, template),
                        plain.expand(text, template),
                        "{pattern} {template}"
                    );
                    assert_eq!(
                        regex.replace_all(text, template),
                        plain.replace_all(text, template),
                        "{pattern} {template}"
                    );
                }
            }
        }
        assert!(matches!(GoRegex::anchored("(.*)").expect("valid").matching, Matching::Copy));
    }

    #[test]
    fn all_matches_are_replaced() {
        let check = |pattern: &str, text: &str, template: &str, expected: &str| {
            assert_eq!(
                GoRegex::new(pattern).expect("valid").replace_all(text, template),
                expected,
                "{pattern}"
            );
        };
        check("a(x*)b", "-ab-axxb-", "${1}W", "-W-xxW-");
        check("a*", "baac", "x", "xbxcx");
        check(".", "a\nb", "x", "x\nx");
        check("(?s).", "a\nb", "x", "xxx");
        check("q", "abc", "x", "abc");
    }

    #[test]
    fn unanchored_patterns_find_anything() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(
                GoRegex::new(pattern).expect("valid").is_match(text),
                expected,
                "{pattern} on {text:?}"
            );
        };
        check("b", "abc", true);
        check("^b", "abc", false);
        check("a.c", "a\nc", false);
        check("(?m)^c$", "ab\nc\n", true);
        check("c$", "c\n", false);
    }

    #[test]
    fn too_large_patterns_are_refused() {
        let error = GoRegex::new(r"\pL{1000}").expect_err("too large");
        assert_eq!(error.to_string(), r"error parsing regexp: expression too large: `\pL{1000}`");
    }
}
