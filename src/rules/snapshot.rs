//! What the API and pages show of groups, rules and alerts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Labels, TimestampMs};
use crate::state::AlertState;

/// A group after its last evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSnapshot {
    /// The file, as configured.
    pub file: String,
    /// The group's name.
    pub name: String,
    /// How often it is evaluated, in milliseconds.
    pub interval_ms: i64,
    /// How many alerts or series a rule may produce; 0 for any number.
    pub limit: usize,
    /// How far in the past its queries look, in milliseconds.
    pub query_offset_ms: i64,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// When the last evaluation began, by the clock.
    pub last_evaluation: Option<TimestampMs>,
    /// When the group was made as it is, by the clock.
    pub begun_at: TimestampMs,
    /// When it last came to a slot, or was made, whatever the clock was set to: it evaluated then, or waited
    /// because nothing can be known.
    pub turned: Instant,
    /// How many samples the last evaluation wrote.
    pub last_samples: usize,
    /// The rules in order.
    pub rules: Vec<RuleSnapshot>,
}

/// What does not change about a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleInfo {
    /// The alert's or the series' name.
    pub name: String,
    /// The expression, printed.
    pub query: String,
    /// Labels as written, those of the group included.
    pub labels: BTreeMap<String, String>,
    /// What only alerting rules have.
    pub alerting: Option<AlertingInfo>,
}

/// What only alerting rules have.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertingInfo {
    /// How long the condition must hold, in milliseconds.
    pub hold_ms: i64,
    /// How long alerts go on firing after their condition ended, in milliseconds.
    pub keep_firing_ms: i64,
    /// Annotations as written.
    pub annotations: BTreeMap<String, String>,
}

/// How a rule's last evaluation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// There was none.
    #[default]
    Unknown,
    /// It had a result.
    Ok,
    /// It failed.
    Err,
}

/// A rule after its last evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSnapshot {
    /// What does not change.
    pub info: Arc<RuleInfo>,
    /// How the last evaluation went.
    pub health: Health,
    /// Why it failed.
    pub last_error: Option<String>,
    /// How long it took.
    pub evaluation_time: Duration,
    /// When it began, by the clock.
    pub last_evaluation: Option<TimestampMs>,
    /// The pending and firing alerts, by labels.
    pub alerts: Vec<AlertSnapshot>,
}

impl RuleSnapshot {
    /// The state of an alerting rule: that of its worst alert. `None` before the first evaluation.
    pub fn state(&self) -> Option<AlertState> {
        self.last_evaluation?;
        Some(self.alerts.iter().map(|alert| alert.state).max().unwrap_or(AlertState::Inactive))
    }
}

/// A pending or firing alert.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertSnapshot {
    /// What identifies it, `alertname` included.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: Labels,
    /// Pending or firing.
    pub state: AlertState,
    /// Since when its condition holds.
    pub active_at: TimestampMs,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since: Option<TimestampMs>,
    /// The expression's value.
    pub value: f64,
}
