//! Incidents: what happens to alerts, put together to times of firing.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Labels, TimestampMs};
use crate::state::{Phase, RuleKey, Transition};

/// How many incidents are kept; more than that nobody reads, and their number goes on being counted.
pub(super) const MOST_INCIDENTS: usize = 200_000;

/// An alert that fired.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// Which rule, by its place among all rules that made alerts.
    pub rule: usize,
    /// The alert's labels, `alertname` included.
    pub labels: Labels,
    /// Since when the condition held.
    pub active_at: TimestampMs,
    /// When it began to fire.
    pub fired_at: TimestampMs,
    /// When it was resolved; none: it fires at the end.
    pub resolved_at: Option<TimestampMs>,
    /// Whether the alert had fired a short while before.
    pub flap: bool,
}

/// A time in which a condition held and its alert did not fire yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) rule: usize,
    pub(super) began_at: TimestampMs,
    pub(super) ended_at: TimestampMs,
    /// Whether the alert did not come to fire.
    pub(super) dropped: bool,
}

/// Puts transitions together.
#[derive(Debug)]
pub(super) struct Incidents {
    /// An alert that fires again this soon after it was resolved flaps, in milliseconds.
    flap_within_ms: i64,
    /// The rules that make alerts.
    pub(super) rules: Vec<Arc<RuleKey>>,
    places: HashMap<Arc<RuleKey>, usize>,
    alerts: HashMap<(usize, Labels), Course>,
    /// What is over and what fires, in the order in which it began to fire.
    pub(super) all: Vec<Incident>,
    /// How many more there were than are kept.
    pub(super) left_out: usize,
    /// Times in which alerts were pending, whatever came of it.
    pub(super) waits: Vec<Wait>,
}

/// Where an alert is.
#[derive(Debug, Default)]
struct Course {
    pending_since: Option<TimestampMs>,
    /// The place of the incident that goes on.
    firing: Option<usize>,
    resolved_at: Option<TimestampMs>,
}

impl Incidents {
    pub(super) fn new(flap_within_ms: i64) -> Self {
        Self {
            flap_within_ms,
            rules: Vec::new(),
            places: HashMap::new(),
            alerts: HashMap::new(),
            all: Vec::new(),
            left_out: 0,
            waits: Vec::new(),
        }
    }

    /// Takes note of a rule, which may never do anything.
    pub(super) fn know(&mut self, key: &Arc<RuleKey>) {
        self.place(key);
    }

    /// The place of a rule among all.
    fn place(&mut self, key: &Arc<RuleKey>) -> usize {
        *self.places.entry(key.clone()).or_insert_with(|| {
            self.rules.push(key.clone());
            self.rules.len() - 1
        })
    }

    /// Takes a step of one of a rule's alerts, later than all before of that alert.
    pub(super) fn add(&mut self, key: &Arc<RuleKey>, step: Transition) {
        let rule = self.place(key);
        let course = self.alerts.entry((rule, step.labels.clone())).or_default();
        if step.to == Phase::Pending {
            course.pending_since = Some(step.at);
        } else if let Some(began_at) = course.pending_since.take() {
            let dropped = step.to == Phase::Dropped;
            self.waits.push(Wait { rule, began_at, ended_at: step.at, dropped });
        }
        match step.to {
            Phase::Pending | Phase::Dropped => {}
            Phase::Firing | Phase::Kept | Phase::Held => {
                if course.firing.is_some() {
                    return;
                }
                if self.all.len() >= MOST_INCIDENTS {
                    self.left_out += 1;
                    return;
                }
                let soon = |resolved_at| step.at - resolved_at <= self.flap_within_ms;
                course.firing = Some(self.all.len());
                self.all.push(Incident {
                    rule,
                    labels: step.labels,
                    active_at: step.active_at,
                    fired_at: step.at,
                    resolved_at: None,
                    flap: course.resolved_at.is_some_and(soon),
                });
            }
            Phase::Resolved => {
                course.resolved_at = Some(step.at);
                if let Some(place) = course.firing.take() {
                    self.all[place].resolved_at = Some(step.at);
                }
            }
        }
    }

    /// Ends the times of pending that go on.
    pub(super) fn finish(&mut self, end: TimestampMs) {
        let open = self.alerts.iter().filter_map(|((rule, _), course)| Some((*rule, course.pending_since?)));
        let mut open: Vec<_> =
            open.map(|(rule, began_at)| Wait { rule, began_at, ended_at: end, dropped: false }).collect();
        open.sort_by_key(|wait| (wait.rule, wait.began_at));
        self.waits.extend(open);
        self.alerts.clear();
    }
}
