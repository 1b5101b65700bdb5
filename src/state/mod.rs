//! Durable state: what must survive `kill -9`.
//!
//! Two kinds of thing live here: the state of active alerts, so that a restart is invisible to whoever
//! is paged, and the outbox of alerts that were not delivered yet, whose entries are opaque here.
//! [`RedbStore`] keeps them in a file, [`MemoryStore`] for tests and for running without a disk.

mod ledger;
mod ledger_record;
mod memory;
pub mod metrics;
mod record;
mod redb;
mod transition;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::model::{Labels, SEVERITY_LABEL, TimestampMs};

pub use self::ledger::{LedgerEntry, LedgerLimits, LedgerQuestion, RuleVersion, fingerprint};
pub use self::memory::MemoryStore;
pub use self::redb::RedbStore;
pub use self::transition::{Evidence, Input, Phase, Transition};

/// Reads and writes durable state.
pub trait StateStore: Send + Sync {
    /// The states of all rules that have any. Records that cannot be read are left out and counted.
    fn rules(&self) -> BoxFuture<'_, Result<Vec<StoredRule>, StateError>>;

    /// All undelivered alerts, by sequence.
    fn outbox(&self) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StateError>>;

    /// Entries of the ledger, newest first. Entries that cannot be read are left out and counted.
    fn ledger(&self, question: LedgerQuestion) -> BoxFuture<'_, Result<Vec<LedgerEntry>, StateError>>;
    /// What jobs have told that are expected to, by name.
    fn heartbeats(&self) -> BoxFuture<'_, Result<Vec<HeartbeatRecord>, StateError>>;

    /// Applies all changes or none. Once this has returned `Ok` they survive a crash of the process and
    /// of the machine. Changes that are empty cost nothing. It takes ten seconds at most; after an error the
    /// changes may be applied all the same, later.
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), StateError>>;
}

/// Why state could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// Another process has the file open.
    #[error("state file `{0}` is in use by another process")]
    InUse(String),
    /// The file cannot be opened or created.
    #[error("cannot open state file `{path}`: {what}")]
    Open {
        /// The file.
        path: String,
        /// Why not.
        what: String,
    },
    /// The disk takes too long. It may still be written.
    #[error("state store: not written within {0:?}")]
    Late(Duration),
    /// Reading or writing failed; what was committed before is not lost.
    #[error("state store: {0}")]
    Storage(String),
    /// The store is shut down.
    #[error("state store is closed")]
    Closed,
}

/// What identifies a rule from one start to the next. Its expression does not belong to it: a rule
/// keeps its state when its threshold is edited, on a restart as on a reload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleKey {
    /// The file, as configured.
    pub file: String,
    /// The group's name.
    pub group: String,
    /// The rule's name.
    pub rule: String,
    /// The rule's labels as written, as text.
    pub labels: String,
    /// Which one it is of several with the same name and labels in the group, from 0.
    pub ordinal: u32,
}

/// The phase an active alert is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertState {
    /// Was firing and no longer is; kept for a while so that its end is not lost.
    Inactive,
    /// Its condition holds, but not yet for long enough.
    Pending,
    /// Fires.
    Firing,
}

/// The durable part of an active alert.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRecord {
    /// What identifies it, `alertname` included.
    pub labels: Labels,
    /// Texts for people, as of the last write.
    pub annotations: Labels,
    /// The expression's value, as of the last write.
    pub value: f64,
    /// The phase.
    pub state: AlertState,
    /// Since when its condition holds.
    pub active_at: TimestampMs,
    /// When it began to fire.
    pub fired_at: Option<TimestampMs>,
    /// When it was resolved.
    pub resolved_at: Option<TimestampMs>,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since: Option<TimestampMs>,
    /// Set while it fires although it is not in its rule's result.
    pub absence: Option<Absence>,
    /// Its severity, if that depends on the value; else it is among the labels alone.
    pub severity: Option<Severity>,
}

impl AlertRecord {
    /// The labels by which it is known outside: with its severity.
    pub fn shown_labels(&self) -> Labels {
        self.severity
            .as_ref()
            .map_or_else(|| self.labels.clone(), |severity| self.labels_at(&severity.current))
    }

    /// As it is known outside.
    #[must_use]
    pub fn as_shown(&self) -> Self {
        Self { labels: self.shown_labels(), ..self.clone() }
    }

    /// The labels by which it is known outside at a severity.
    pub fn labels_at(&self, severity: &str) -> Labels {
        with_severity(&self.labels, severity)
    }
}

/// Labels with a severity; below all that are listed a rule without one of its own has none.
fn with_severity(labels: &Labels, severity: &str) -> Labels {
    if severity.is_empty() { labels.clone() } else { labels.with(SEVERITY_LABEL, severity) }
}

/// The severity of an alert, which does not belong to its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Severity {
    /// What it is.
    pub current: String,
    /// Since when the value calls for a lower one.
    pub lower_since: Option<TimestampMs>,
    /// Those with which the alert fired before, each with when that ended.
    pub former: Vec<(String, TimestampMs)>,
}

/// Why an alert fires that is not in its rule's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// The last evaluation in whose result it was.
    pub seen_at: TimestampMs,
    /// Since when it fires only because the series that it came from are gone.
    pub missing_since: Option<TimestampMs>,
}

/// What is known about a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRule {
    /// Which rule.
    pub key: RuleKey,
    /// The last evaluation that was written, always one at which an alert was active.
    pub evaluated_at: TimestampMs,
    /// Its alerts, by fingerprint.
    pub alerts: Vec<AlertRecord>,
}

/// An undelivered alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// For whom.
    pub alertmanager: String,
    /// The hash of the alert's labels: a newer entry for the same alert replaces the older one.
    pub fingerprint: u64,
    /// Rises with every entry.
    pub sequence: u64,
    /// The alert.
    pub payload: Vec<u8>,
}

/// An entry that was delivered or given up. With a sequence, an entry that was replaced since then
/// stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxKey {
    /// For whom.
    pub alertmanager: String,
    /// Which alert.
    pub fingerprint: u64,
    /// Which version of it; none: whichever there is.
    pub sequence: Option<u64>,
}

/// What is known of a job that is expected to tell when it has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRecord {
    /// Its name.
    pub name: String,
    /// Since when it is expected.
    pub declared_at: TimestampMs,
    /// When it last told that it has run.
    pub last_success: Option<TimestampMs>,
    /// When it last told that it begins.
    pub last_start: Option<TimestampMs>,
    /// When it last told that it has failed.
    pub last_failure: Option<TimestampMs>,
}

impl HeartbeatRecord {
    /// A job that is expected from now on.
    pub fn declared(name: &str, now: TimestampMs) -> Self {
        let name = name.to_owned();
        Self { name, declared_at: now, last_success: None, last_start: None, last_failure: None }
    }
}

/// What changed about one rule.
#[derive(Debug, Clone)]
pub struct RuleChanges {
    /// Which rule.
    pub key: Arc<RuleKey>,
    /// When it was evaluated.
    pub evaluated_at: TimestampMs,
    /// Alerts that are new or different.
    pub alerts: Vec<AlertRecord>,
    /// Fingerprints of the alerts that are no more.
    pub removed: Vec<u64>,
    /// What has happened to its alerts, in order.
    pub transitions: Vec<Transition>,
    /// The rule as it is, for the ledger.
    pub rule: Arc<RuleVersion>,
}

/// What one transaction writes.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// By rule.
    pub rules: Vec<RuleChanges>,
    /// Rules that are no more, with their alerts.
    pub removed_rules: Vec<Arc<RuleKey>>,
    /// Alerts to deliver.
    pub outbox: Vec<OutboxEntry>,
    /// Alerts that were delivered.
    pub delivered: Vec<OutboxKey>,
    /// What jobs have told.
    pub heartbeats: Vec<HeartbeatRecord>,
    /// Jobs that are expected no more.
    pub removed_heartbeats: Vec<String>,
}

impl Changes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
            && self.removed_rules.is_empty()
            && self.outbox.is_empty()
            && self.delivered.is_empty()
            && self.heartbeats.is_empty()
            && self.removed_heartbeats.is_empty()
    }
}

#[cfg(test)]
mod tests;
