//! What records must be like. Pure.

use crate::probe::Pattern;

/// Rules about the records of one section, matched against their texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordRules {
    /// The probe fails if a record matches one of these.
    pub fail_if_matches: Vec<Pattern>,
    /// The probe fails if all records match all of these.
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
    #[error("`{record}` matches `{pattern}`")]
    Matches { record: String, pattern: String },
    #[error("all records match `{0}`")]
    AllMatch(String),
    #[error("`{record}` does not match `{pattern}`")]
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
            let named = |pattern: &Pattern| (record.clone(), pattern.to_string());
            if let Some(pattern) = self.fail_if_matches.iter().find(|pattern| pattern.is_match(record)) {
                let (record, pattern) = named(pattern);
                return Err(Fault::Matches { record, pattern });
            }
            if let Some(pattern) = self.fail_if_not_matches.iter().find(|pattern| !pattern.is_match(record)) {
                let (record, pattern) = named(pattern);
                return Err(Fault::NotMatches { record, pattern });
            }
        }
        let all = |pattern: &Pattern| records.iter().all(|record| pattern.is_match(record));
        // That there are no records does not mean that all of them match.
        if !records.is_empty() && !self.fail_if_all_match.is_empty() && self.fail_if_all_match.iter().all(all)
        {
            return Err(Fault::AllMatch(list(&self.fail_if_all_match)));
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
