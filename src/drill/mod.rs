//! Drills: does a page get through?
//!
//! A synthetic alert, marked by labels, goes the way of a real one: relabelling, outbox, delivery. Then
//! each Alertmanager is asked what became of it: whether it is there, who is to receive it, whether it is
//! silenced, and by its own counters whether the integrations that tell people work. A webhook receiver
//! can send it back, which is the only proof of the whole way. At the end the alert is resolved.

mod counters;
mod course;
mod echo;
mod metrics;
mod observe;
mod report;
mod schedule;

use std::time::Duration;

pub use course::{Arrival, Failure, Outcome, Stage, run};
pub use echo::Echo;
pub use metrics::Metrics;
pub use report::{to_json, to_text};
pub use schedule::{Drills, Parts};

use crate::model::Labels;
use crate::rulefmt::{RuleFile, RuleKind};

/// The label that marks the alert of a drill, with the value `true`.
pub const DRILL_LABEL: &str = "valmis_drill";

/// The label that tells one drill from another.
pub const DRILL_ID_LABEL: &str = "valmis_drill_id";

/// A drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drill {
    /// The alert's name.
    pub alert: String,
    /// Its other labels, by which Alertmanager routes it.
    pub labels: Labels,
    /// How long it may take until somebody is told; Alertmanager's `group_wait` is part of it.
    pub timeout: Duration,
    /// Whether a webhook receiver sends the alert back.
    pub echo: bool,
}

/// A drill that is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// What is done.
    pub drill: Drill,
    /// How often.
    pub interval: Duration,
}

/// The labels of a drill: those that the first rule for alerts of this name gives them in any case, so that
/// the drill goes where they go, and `given` ones, which come first.
pub fn labels_for(files: &[RuleFile], alert: &str, given: &Labels) -> Labels {
    let mut labels = given.builder();
    let of_rule = labels_of(files, alert).unwrap_or_else(Labels::empty);
    for (name, value) in of_rule.iter().filter(|(name, _)| !given.has(name)) {
        labels.set(name, value);
    }
    labels.build()
}

/// The labels that the first rule for alerts of this name gives them in any case; none if there is no such
/// rule.
pub fn labels_of(files: &[RuleFile], alert: &str) -> Option<Labels> {
    let rules = files.iter().flat_map(|file| &file.groups).flat_map(|group| group.rules.iter());
    let mut named =
        rules.filter(|rule| matches!(&rule.kind, RuleKind::Alerting { alert: name, .. } if name == alert));
    let plain = named.next()?.labels.iter().filter(|(_, value)| !value.contains("{{"));
    Some(Labels::from_pairs(plain))
}

#[cfg(test)]
mod tests;
