//! What is said of readiness to people and programs. The API turns it into JSON, the page into HTML.

use std::sync::Arc;
use std::time::Duration;

use super::budget::Dropped;
use super::component::Key;
use super::hysteresis::State;
use crate::model::TimestampMs;
use crate::probe::LogLine;

/// Whether the whole is ready, and why.
#[derive(Debug, Clone)]
pub struct ReadinessReport {
    /// Whether there are components and every one of them is ready.
    pub ready: bool,
    /// The components that count, ordered by kind and name.
    pub components: Vec<ComponentReport>,
    /// What is watched without counting, ordered likewise.
    pub watched: Vec<ComponentReport>,
}

/// One component.
#[derive(Debug, Clone)]
pub struct ComponentReport {
    /// Its kind and name.
    pub key: Key,
    /// Label `job` of its samples.
    pub job: String,
    /// Label `instance` of its samples.
    pub instance: String,
    /// Whether it is ready.
    pub state: State,
    /// What its last probe complained of, or why nothing is known. A ready component has a reason when
    /// its last probe failed but not yet often enough.
    pub reason: Option<String>,
    /// The kind of failure the reason belongs to: a probe's, or `silent` when results stay away.
    pub failure_kind: Option<&'static str>,
    /// When the state began (its last change); `None` before the first result.
    pub since: Option<TimestampMs>,
    /// How many times the state has changed since the component is watched.
    pub changes: u64,
    /// Results in a row that speak against the state, and how many of them change it.
    pub against: (u32, u32),
    /// When the last finished probe began.
    pub last_probe: Option<TimestampMs>,
    /// How long it took.
    pub last_duration: Option<Duration>,
    /// How long ago it ended.
    pub age: Option<Duration>,
    /// Time between probes.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// The last probe that failed, however long ago.
    pub last_failure: Option<FailureReport>,
    /// What the last probe told beyond what a component may, and is therefore not shown.
    pub dropped: Arc<Dropped>,
}

/// A failed probe.
#[derive(Debug, Clone)]
pub struct FailureReport {
    /// When the probe began.
    pub at: TimestampMs,
    /// The kind of failure.
    pub kind: &'static str,
    /// What happened.
    pub reason: String,
    /// What happened in which order; only the end of a long log.
    pub log: Vec<LogLine>,
}

/// A loop that should have turned and did not: something in the process is stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stalled {
    /// Which loop.
    pub what: String,
    /// How long it is overdue.
    pub overdue: Duration,
}
