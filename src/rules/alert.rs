//! An alert as it leaves the rules for whoever delivers it.

use crate::model::{Labels, TimestampMs};

/// A firing or resolved alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// What identifies it, `alertname` included, external labels not.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: Labels,
    /// When it began to fire.
    pub starts_at: TimestampMs,
    /// When it was resolved, or until when it counts as firing unless it is sent again.
    pub ends_at: TimestampMs,
    /// Whether it is resolved.
    pub resolved: bool,
    /// Where the query behind it can be looked at; empty if unknown.
    pub generator_url: String,
}

/// Takes alerts that are to be delivered. Must not block: it queues.
pub trait AlertSink: Send + Sync {
    /// Accepts alerts for delivery.
    fn send(&self, alerts: Vec<Alert>);
}
