//! Ranges of server versions, as `runonserver` has them: `>=9.4.0 <10 || =12.1`.

use std::fmt;

/// Alternatives, each a list of conditions that all must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VersionRange(Vec<Vec<Condition>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Condition {
    comparison: Comparison,
    version: (u32, u32, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    Unequal,
    AtLeast,
    Greater,
}

/// Longer ones come first, so that they are found before those that they begin with.
const COMPARISONS: &[(&str, Comparison)] = &[
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("!=", Comparison::Unequal),
    ("==", Comparison::Equal),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
    ("=", Comparison::Equal),
    ("!", Comparison::Unequal),
    ("", Comparison::Equal),
];

/// A text that is no range of versions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a range of versions such as `>=14.0.0 <17`, not `{0}`")]
pub struct VersionError(String);

impl VersionRange {
    /// Reads a range.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let alternatives = text.split("||").map(|part| {
            // A sign may stand apart from its version.
            let mut sign = String::new();
            let mut conditions = Vec::new();
            for word in part.split_whitespace() {
                sign.push_str(word);
                if sign.ends_with(|c: char| c.is_ascii_digit()) {
                    conditions.push(condition(&std::mem::take(&mut sign)));
                }
            }
            let conditions: Option<Vec<Condition>> = conditions.into_iter().collect();
            conditions.filter(|_| sign.is_empty()).filter(|conditions| !conditions.is_empty())
        });
        let alternatives: Option<Vec<_>> = alternatives.collect();
        alternatives.map(Self).ok_or_else(|| VersionError(text.to_owned()))
    }

    /// Whether a server of this version is within. `number` is `server_version_num`: 150018 is 15.18.
    pub fn contains(&self, number: u32) -> bool {
        let version = (number / 10_000, number % 10_000, 0);
        self.0.iter().any(|conditions| conditions.iter().all(|condition| condition.holds(version)))
    }
}

impl Condition {
    fn holds(self, version: (u32, u32, u32)) -> bool {
        let order = version.cmp(&self.version);
        match self.comparison {
            Comparison::Less => order.is_lt(),
            Comparison::AtMost => order.is_le(),
            Comparison::Equal => order.is_eq(),
            Comparison::Unequal => order.is_ne(),
            Comparison::AtLeast => order.is_ge(),
            Comparison::Greater => order.is_gt(),
        }
    }
}

fn condition(text: &str) -> Option<Condition> {
    let (rest, comparison) =
        COMPARISONS.iter().find_map(|(sign, comparison)| Some((text.strip_prefix(sign)?, *comparison)))?;
    let mut parts = rest.trim_start_matches('v').split('.');
    let mut part = || parts.next().map_or(Some(0), |part| part.parse().ok());
    let version = (part()?, part()?, part()?);
    let ends = parts.next().is_none() && !rest.is_empty();
    ends.then_some(Condition { comparison, version })
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, conditions) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" || ")?;
            }
            for (index, Condition { comparison, version: (major, minor, patch) }) in
                conditions.iter().enumerate()
            {
                let space = if index > 0 { " " } else { "" };
                let (sign, _) =
                    COMPARISONS.iter().find(|(_, c)| c == comparison).expect("every comparison has a sign");
                write!(f, "{space}{sign}{major}.{minor}.{patch}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_semantic_versions() {
        let check = |range: &str, number: u32, expected: bool| {
            let range = VersionRange::parse(range).expect("a range");
            assert_eq!(range.contains(number), expected, "{range} {number}");
        };
        check(">=14.0.0", 150_018, true);
        check(">=14.0.0", 130_021, false);
        check(">=14 <17", 160_000, true);
        check(">=14 <17", 170_000, false);
        check("<10 || =15.18.0", 150_018, true);
        check("<10 || 15.18.0", 150_017, false);
        check("!=15.18", 150_018, false);
        check(">15.17 <=15.18", 150_018, true);
        check(">= 14 < 17.0.0", 150_018, true);
        for bad in ["", "||", "abc", ">=", "1.2.3.4", "14 >="] {
            assert!(VersionRange::parse(bad).is_err(), "{bad}");
        }
    }
}
