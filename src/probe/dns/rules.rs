//! What records must be like. Pure.

use crate::probe::{Pattern, conversation};

/// Rules about the records of one section, matched against their texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordRules {
    /// The probe fails if a record matches one of these.
    pub fail_if_matches: Vec<Pattern>,
    /// The probe fails if a record does not match one of these: the opposite of what the name says, as
    /// in blackbox exporter, whose tests hold it to that.
    pub fail_if_all_match: Vec<Pattern>,
    /// The probe fails if a record does not match one of these, or if there is none.
    pub fail_if_not_matches: Vec<Pattern>,
    /// The probe fails if no record matches any of these.
    pub fail_if_none_matches: Vec<Pattern>,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("there are no records")]
    Empty,
    #[error("{record} matches `{pattern}`")]
    Matches { record: String, pattern: String },
    #[error("{record} does not match `{pattern}`")]
    NotMatches { record: String, pattern: String },
    #[error("no record matches `{0}`")]
    NoneMatches(String),
}

impl RecordRules {
    /// Whether the texts of a section's records break no rule.
    /// Source: blackbox exporter `prober/dns.go`, `validRRs`.
    pub(super) fn check(&self, records: &[String]) -> Result<(), Fault> {
        let needs_records = !self.fail_if_not_matches.is_empty() || !self.fail_if_none_matches.is_empty();
        if records.is_empty() && needs_records {
            return Err(Fault::Empty);
        }
        for record in records {
            let shown = || conversation::shown(record.as_bytes());
            if let Some(pattern) = self.fail_if_matches.iter().find(|pattern| pattern.is_match(record)) {
                return Err(Fault::Matches { record: shown(), pattern: pattern.to_string() });
            }
            let mut required = self.fail_if_not_matches.iter().chain(&self.fail_if_all_match);
            if let Some(pattern) = required.find(|pattern| !pattern.is_match(record)) {
                return Err(Fault::NotMatches { record: shown(), pattern: pattern.to_string() });
            }
        }
        let any = |pattern: &Pattern| records.iter().any(|record| pattern.is_match(record));
        if !self.fail_if_none_matches.is_empty() && !self.fail_if_none_matches.iter().any(any) {
            return Err(Fault::NoneMatches(list(&self.fail_if_none_matches)));
        }
        Ok(())
    }
}

fn list(patterns: &[Pattern]) -> String {
    patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join("`, `")
}
