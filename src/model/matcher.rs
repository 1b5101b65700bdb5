//! Conditions on label values.

use std::fmt;

use super::regex::Pattern;
use super::{GoRegexError, is_legacy_label_name, quote};

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        })
    }
}

/// A regular expression that cannot be used in a matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct MatcherError(#[from] pub GoRegexError);

/// One condition on one label; a label that is absent has the empty value.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    pattern: Option<Pattern>,
}

impl Matcher {
    /// A matcher; the regular expression is anchored at both ends, and its dot matches newlines, as in
    /// Prometheus.
    pub fn new(op: MatchOp, name: impl Into<String>, value: impl Into<String>) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(&value)?),
        };
        Ok(Self { name, op, value, pattern })
    }

    /// The matcher `name="value"`, which cannot fail.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// The label it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with: a value or a regular expression as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label with this value (empty: no such label) satisfies the condition.
    pub fn matches(&self, value: &str) -> bool {
        let found = || self.pattern.as_ref().is_some_and(|pattern| pattern.matches(value));
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex => found(),
            MatchOp::NotRegex => !found(),
        }
    }

    /// All values that the regular expression matches, sorted, if it is a list of literals such as
    /// `a|b` or `a(b|c)`. For `!~` these are the values that do not satisfy the condition.
    pub fn set_matches(&self) -> Option<&[String]> {
        self.pattern.as_ref()?.set_matches()
    }

    /// How much memory the automaton of the regular expression takes, in bytes, if it needs one.
    pub fn automaton_bytes(&self) -> Option<usize> {
        self.pattern.as_ref()?.automaton_bytes()
    }

    /// What every value begins with that the regular expression matches; may be empty.
    pub fn prefix(&self) -> &str {
        self.pattern.as_ref().map_or("", Pattern::prefix)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}

impl Eq for Matcher {}

/// `name="value"` as Prometheus prints it: a name that needs quotes has them.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            write!(f, "{}", quote(&self.name))?;
        }
        write!(f, "{}{}", self.op, quote(&self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_are_anchored_and_dot_matches_newline() {
        let check = |op, pattern: &str, value: &str, expected: bool| {
            let matcher = Matcher::new(op, "l", pattern).expect("valid pattern");
            assert_eq!(matcher.matches(value), expected, "{matcher} on {value:?}");
        };
        check(MatchOp::Regex, "a|b", "a", true);
        check(MatchOp::Regex, "a|b", "ab", false);
        check(MatchOp::Regex, "x.y", "x\ny", true);
        check(MatchOp::NotRegex, "a.*", "abc", false);
        check(MatchOp::NotRegex, "a.*", "", true);
        check(MatchOp::Equal, "", "", true);
        check(MatchOp::NotEqual, "", "", false);
    }

    #[test]
    fn a_bad_pattern_is_an_error() {
        let error = Matcher::new(MatchOp::Regex, "l", "(").expect_err("the group is open");
        assert_eq!(error.to_string(), "error parsing regexp: missing closing ): `(`");
    }

    #[test]
    fn what_a_pattern_needs_is_known() {
        let matcher = Matcher::new(MatchOp::Regex, "l", "b|a").expect("valid pattern");
        assert_eq!(matcher.set_matches().expect("a list"), ["a", "b"]);
        let matcher = Matcher::new(MatchOp::NotRegex, "l", "ab.*c").expect("valid pattern");
        assert_eq!((matcher.set_matches(), matcher.prefix()), (None, "ab"));
        assert_eq!(Matcher::equal("l", "a").set_matches(), None);
    }

    #[test]
    fn matchers_print_as_in_prometheus() {
        let check = |name: &str, value: &str, expected: &str| {
            assert_eq!(Matcher::equal(name, value).to_string(), expected);
        };
        check("a_1", "b", r#"a_1="b""#);
        check("a.b", "c\n\"é", r#""a.b"="c\n\"é""#);
        check("1a", "", r#""1a"="""#);
    }
}
