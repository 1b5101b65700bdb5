//! Findings about files that people wrote: configuration, rules, queries.
//!
//! A reader of such a file reports everything that is wrong with it at once, each fault with its place
//! and, where there is one, a way out.

mod excerpt;
mod machine;

use std::fmt;

use crate::model::LineColumn;

pub use excerpt::excerpt;
pub use machine::{to_github, to_json};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used as it is.
    Error,
    /// The file works, but probably not as meant.
    Warning,
    /// The file works; something could be simpler or safer.
    Info,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A short stable name of the kind of finding, such as `yaml-syntax` or `unknown-key`.
    pub code: &'static str,
    /// The file, as the user named it; empty for text that came from no file.
    pub file: String,
    /// The place in the file, if it has one.
    pub place: Option<LineColumn>,
    /// Where what the finding is about ends, one past its last byte; absent: the finding is about a place.
    pub end: Option<LineColumn>,
    /// What is wrong: lower case, no final period, the value in backticks.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// What may stand instead of the text from `place` to `end`.
    pub fix: Option<String>,
}

impl Diagnostic {
    /// An error without a place; see [`Self::at`] and [`Self::hint`].
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            file: String::new(),
            place: None,
            end: None,
            message: message.into(),
            hint: None,
            fix: None,
        }
    }

    /// A warning without a place.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, file: &str, place: Option<LineColumn>) -> Self {
        file.clone_into(&mut self.file);
        self.place = place;
        self
    }

    /// Adds a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// `file:line:column: message`, then `hint: …` on a line of its own. Warnings say so.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
        }
        if let Some(place) = self.place {
            write!(f, "{place}:")?;
        }
        if !self.file.is_empty() || self.place.is_some() {
            f.write_str(" ")?;
        }
        if self.severity != Severity::Error {
            write!(f, "{}: ", self.severity.as_str())?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// The candidate that `word` was probably meant to be: at most a third of its letters differ.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters.
fn edit_distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_place_message_hint() {
        let finding = Diagnostic::error("unknown-function", "unknown function `ratee`")
            .at("rules/db.yaml", Some(LineColumn { line: 14, column: 11 }))
            .hint("did you mean `rate`?");
        assert_eq!(
            finding.to_string(),
            "rules/db.yaml:14:11: unknown function `ratee`\n  hint: did you mean `rate`?"
        );
        assert_eq!(Diagnostic::warning("x", "odd").to_string(), "warning: odd");
    }

    #[test]
    fn the_closest_word_is_found_or_none() {
        let words = ["interval", "listen", "rules"];
        assert_eq!(closest("intervall", words), Some("interval"));
        assert_eq!(closest("zzz", words), None);
    }
}
