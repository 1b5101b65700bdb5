//! The ledger: what has happened to alerts, and why.
//!
//! An entry is written in the transaction that stores the state it led to. The ledger is bounded by age
//! and by number; the oldest entries go first.

use std::sync::Arc;

use super::{RuleKey, Transition};
use crate::model::{ALERT_NAME, Labels, LineColumn, TimestampMs};

/// How much of the ledger is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerLimits {
    /// For how long, in milliseconds.
    pub retention_ms: i64,
    /// How many entries; 0 for no ledger.
    pub max_entries: u64,
}

/// 30 days: what is asked for in a review of an incident. 20,000 entries: some 20 MB.
impl Default for LedgerLimits {
    fn default() -> Self {
        Self { retention_ms: 30 * 86_400_000, max_entries: 20_000 }
    }
}

/// A rule as it was when something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleVersion {
    /// The expression, printed.
    pub expr: String,
    /// Differs if the expression, `for`, `keep_firing_for`, a label or an annotation does.
    pub version: String,
    /// Where the rule begins in its file.
    pub place: LineColumn,
    /// The labels that every alert carries to Alertmanager.
    pub external_labels: Labels,
}

/// What has happened to an alert once.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerEntry {
    /// Which rule made the alert.
    pub key: Arc<RuleKey>,
    /// How the rule was.
    pub rule: Arc<RuleVersion>,
    /// What happened.
    pub transition: Transition,
}

/// Which entries are wanted. They are given newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerQuestion {
    /// Of the alert with this fingerprint, with or without external labels.
    pub fingerprint: Option<u64>,
    /// Of alerts with this name.
    pub alert: Option<String>,
    /// From this instant on.
    pub since: Option<TimestampMs>,
    /// At most so many.
    pub limit: usize,
}

impl LedgerEntry {
    /// What identifies the alert at Alertmanager, unless relabelling changes its labels.
    pub fn fingerprint(&self) -> u64 {
        let own = self.transition.shown_labels();
        let mut labels = own.builder();
        for (name, value) in self.rule.external_labels.iter().filter(|(name, _)| !own.has(name)) {
            labels.set(name, value);
        }
        fingerprint(&labels.build())
    }

    /// What identifies the alert by the labels that its rule gives it.
    pub fn own_fingerprint(&self) -> u64 {
        fingerprint(&self.transition.shown_labels())
    }

    /// The alert's name.
    pub fn alert(&self) -> &str {
        self.transition.labels.get(ALERT_NAME)
    }
}

impl LedgerQuestion {
    /// Whether an entry is wanted, by what is known of it without reading it.
    pub(super) fn wants(&self, fingerprints: [u64; 2], alert: &str) -> bool {
        self.fingerprint.is_none_or(|wanted| fingerprints.contains(&wanted))
            && self.alert.as_ref().is_none_or(|wanted| wanted == alert)
    }
}

/// A label set's fingerprint as Alertmanager shows it: FNV-1a with 64 bits over names and values, each
/// followed by a byte that UTF-8 does not have. Source: prometheus/common `model/signature.go`,
/// `labelSetToFingerprint`.
pub fn fingerprint(labels: &Labels) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    const SEPARATOR: u8 = 0xff;
    let texts = labels.iter().flat_map(|(name, value)| [name, value]);
    let bytes = texts.flat_map(|text| text.bytes().chain([SEPARATOR]));
    bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_alertmanager() {
        // Source: prometheus/common `model/signature_test.go`, `TestLabelsToSignature`, and FNV's own offset.
        assert_eq!(fingerprint(&Labels::empty()), 14_695_981_039_346_656_037);
        let labels = Labels::from_pairs([("name", "garland, briggs"), ("fear", "love is not enough")]);
        assert_eq!(fingerprint(&labels), 5_799_056_148_416_392_346);
    }
}
