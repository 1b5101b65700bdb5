//! What happens to alerts: the steps from one phase to the next.

use crate::model::{Labels, TimestampMs};

/// What an alert is in, or has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Its condition holds, but not yet for long enough.
    Pending,
    /// Fires.
    Firing,
    /// Its condition has ended; it fires on because of `keep_firing_for` or until it has recovered.
    Kept,
    /// Fires on although its rule cannot be evaluated or series are gone.
    Held,
    /// Was firing and no longer is.
    Resolved,
    /// Its condition ended before it had held for long enough.
    Dropped,
}

impl Phase {
    /// Its name, as it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Kept => "kept",
            Self::Held => "held",
            Self::Resolved => "resolved",
            Self::Dropped => "dropped",
        }
    }

    /// The phase with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Firing, Self::Kept, Self::Held, Self::Resolved, Self::Dropped];
        all.into_iter().find(|phase| phase.name() == name)
    }

    /// Whether somebody is being paged.
    pub fn is_firing(self) -> bool {
        matches!(self, Self::Firing | Self::Kept | Self::Held)
    }
}

/// A step of an alert from one phase to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The evaluation that led to it.
    pub at: TimestampMs,
    /// The phase before; none: the alert is new.
    pub from: Option<Phase>,
    /// The phase since.
    pub to: Phase,
    /// The alert's labels, `alertname` included.
    pub labels: Labels,
    /// Its severity, if that depends on the value; else it is among the labels alone.
    pub severity: Option<String>,
    /// The expression's last value.
    pub value: f64,
    /// Since when the condition holds or held.
    pub active_at: TimestampMs,
    /// Why the alert is held: an error of its rule, or series that are gone.
    pub error: Option<String>,
    /// The samples that it was decided by; none: they were not looked at.
    pub evidence: Option<Vec<Evidence>>,
}

/// What a selector of the expression found for an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The selector as the rule has it.
    pub selector: String,
    /// The newest samples of the series that may concern the alert, the largest first.
    pub inputs: Vec<Input>,
    /// Whether there are more of them.
    pub more: bool,
}

impl Transition {
    /// The labels by which the alert is known outside: with its severity.
    pub fn shown_labels(&self) -> Labels {
        let with = |severity: &String| super::with_severity(&self.labels, severity);
        self.severity.as_ref().map_or_else(|| self.labels.clone(), with)
    }
}

/// A sample that a rule has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Its series.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}
