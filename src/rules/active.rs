//! The active alerts of one rule: what the state machine works on and what is made durable.

use std::collections::BTreeMap;

use crate::model::{Labels, TimestampMs};
use crate::state::{AlertRecord, AlertState, Phase, StoredRule, Transition};

/// How long the last evaluation of a rule with active alerts may go unstored, in milliseconds.
const REFRESH_MS: i64 = 3_600_000;

/// How many transitions of a rule wait for a disk that takes none; beyond that the oldest are lost.
const MAX_UNSAVED_TRANSITIONS: usize = 10_000;
/// The annotation of an alert that fires although the series that it came from are gone.
const MISSING_ANNOTATION: &str = "missing_data";

/// An alert instance: one label set for which a rule's condition holds or recently held.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveAlert {
    /// What is durable about it.
    pub record: AlertRecord,
    /// When it was last handed over for delivery. Not durable: after a restart everything that is not
    /// pending is handed over again, since what was in flight may be lost.
    pub last_sent_at: Option<TimestampMs>,
    /// The input that it lacks while it fires only because series are gone. Not durable: every evaluation
    /// finds it out anew.
    pub(super) missing: Option<String>,
    /// Whether the record differs from what is stored in more than value and annotations.
    dirty: bool,
    /// Whether value or annotations differ from what is stored. That alone is worth a write only when
    /// the alert is sent: else every alert would be written at every evaluation.
    reworded: bool,
    /// What it had come to by its last transition.
    noted: Option<Standing>,
}

impl ActiveAlert {
    /// An alert that was not stored yet.
    pub(super) fn new(record: AlertRecord) -> Self {
        Self { record, last_sent_at: None, missing: None, dirty: true, reworded: false, noted: None }
    }

    /// Notes that the record is to be stored.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Shifts all instants that time is counted from: the clock was set back, and they are to be as long ago
    /// as before. None must lie in the future: Alertmanager refuses an alert that ends before it starts.
    pub(super) fn shift(&mut self, by_ms: i64) {
        let record = &mut self.record;
        let (missing, severity) = (record.absence.as_mut(), record.severity.as_mut());
        let (lower, former) =
            severity.map(|severity| (&mut severity.lower_since, &mut severity.former)).unzip();
        let instants = [&mut record.fired_at, &mut record.resolved_at, &mut record.keep_firing_since];
        let instants = instants.into_iter().chain(missing.map(|absence| &mut absence.missing_since));
        let instants = instants.chain(lower).flatten().chain([&mut record.active_at]);
        for instant in instants.chain(former.into_iter().flatten().map(|(_, ended_at)| ended_at)) {
            *instant += by_ms;
        }
        self.last_sent_at = None;
        self.touch();
    }

    /// Takes over the result of the latest evaluation.
    pub(super) fn reword(&mut self, value: f64, annotations: &Labels) {
        if self.record.value.to_bits() != value.to_bits() || self.record.annotations != *annotations {
            self.record.value = value;
            self.record.annotations = annotations.clone();
            self.reworded = true;
        }
    }

    /// Notes which input it lacks, or that it lacks none. A change of that is news for whoever gets it.
    pub(super) fn lacks(&mut self, input: Option<String>) {
        if self.missing.is_some() != input.is_some() {
            self.last_sent_at = None;
        }
        self.missing = input;
    }

    /// Notes that it is handed over for delivery.
    pub(super) fn sent(&mut self, at: TimestampMs) {
        self.last_sent_at = Some(at);
        self.dirty |= self.reworded;
    }

    /// Whether it is pending or firing.
    pub(super) fn is_active(&self) -> bool {
        self.record.state != AlertState::Inactive
    }

    /// What it has come to.
    fn standing(&self) -> Standing {
        let AlertRecord { state, keep_firing_since, absence, severity, .. } = &self.record;
        let phase = match state {
            AlertState::Pending => Phase::Pending,
            AlertState::Firing if absence.is_some_and(|absence| absence.missing_since.is_some()) => {
                Phase::Held
            }
            AlertState::Firing if keep_firing_since.is_some() || absence.is_some() => Phase::Kept,
            AlertState::Firing => Phase::Firing,
            AlertState::Inactive => Phase::Resolved,
        };
        Standing { phase, severity: severity.as_ref().map(|severity| severity.current.clone()) }
    }

    /// What it lacks, if it fires only because series are gone.
    fn lacking(&self) -> Option<String> {
        self.missing.as_ref().map(|input| format!("there are no samples of {input} any more"))
    }

    /// Whether time counts for it: it waits for its hold duration, for the end of `keep_firing_for` or for
    /// series to come back.
    pub(super) fn is_timed(&self) -> bool {
        let missing = self.record.absence.is_some_and(|absence| absence.missing_since.is_some());
        self.record.state == AlertState::Pending || self.record.keep_firing_since.is_some() || missing
    }

    /// Its annotations, with a mark if it fires only because series are gone.
    pub(super) fn marked_annotations(&self) -> Labels {
        match self.lacking() {
            Some(text) => self.record.annotations.with(MISSING_ANNOTATION, &text),
            None => self.record.annotations.clone(),
        }
    }
}

/// What an alert has come to, as far as the ledger tells it.
#[derive(Debug, Clone, PartialEq)]
struct Standing {
    phase: Phase,
    severity: Option<String>,
}

/// All alert instances of a rule, in the order of their labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActiveAlerts {
    pub(super) alerts: BTreeMap<Labels, ActiveAlert>,
    /// The last evaluation that had a result.
    pub(super) evaluated_at: Option<TimestampMs>,
    /// The first evaluation without a result since then. Not durable: what is known after a restart
    /// is only that the rule fails now.
    failing_since: Option<TimestampMs>,
    /// The last evaluation that is stored.
    saved_at: Option<TimestampMs>,
    /// Stored alerts that are no more.
    removed: Vec<u64>,
    /// Alerts that were pending and are no more, since the last evaluation.
    dropped: Vec<AlertRecord>,
    /// What has happened and is not stored.
    transitions: Vec<Transition>,
}

/// What is to be stored of a rule's alerts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unsaved {
    pub(super) evaluated_at: TimestampMs,
    pub(super) alerts: Vec<AlertRecord>,
    pub(super) removed: Vec<u64>,
    pub(super) transitions: Vec<Transition>,
}

impl ActiveAlerts {
    /// The state that was stored, to be continued.
    pub(super) fn restore(stored: &StoredRule) -> Self {
        let alerts = stored.alerts.iter().map(|record| {
            let record = record.clone();
            let mut alert = ActiveAlert { dirty: false, ..ActiveAlert::new(record) };
            alert.noted = Some(alert.standing());
            (alert.record.labels.clone(), alert)
        });
        let evaluated_at = Some(stored.evaluated_at);
        Self { alerts: alerts.collect(), evaluated_at, saved_at: evaluated_at, ..Self::default() }
    }

    /// The alerts, by labels.
    pub fn iter(&self) -> impl Iterator<Item = &ActiveAlert> {
        self.alerts.values()
    }

    /// Whether the alert with these labels is pending or firing.
    pub(super) fn is_active(&self, labels: &Labels) -> bool {
        self.alerts.get(labels).is_some_and(ActiveAlert::is_active)
    }

    /// Notes that an evaluation had a result. After a failure firing alerts are handed over at once,
    /// so that what is known at Alertmanager no longer says that they may be out of date.
    pub(super) fn succeeded(&mut self, at: TimestampMs) {
        self.evaluated_at = Some(at);
        if self.failing_since.take().is_some() {
            let firing = |alert: &&mut ActiveAlert| alert.record.state == AlertState::Firing;
            self.alerts.values_mut().filter(firing).for_each(|alert| alert.last_sent_at = None);
        }
    }

    /// Takes back that alerts were handed over at `at`.
    pub(super) fn unsent(&mut self, at: TimestampMs) {
        let handed_over = |alert: &&mut ActiveAlert| alert.last_sent_at == Some(at);
        self.alerts.values_mut().filter(handed_over).for_each(|alert| alert.last_sent_at = None);
    }

    /// Notes that an evaluation had no result; returns which was the first of those.
    pub(super) fn failing_since(&mut self, at: TimestampMs) -> TimestampMs {
        let since = self.failing_since.get_or_insert(at);
        // The clock may have been set back.
        *since = at.min(*since);
        *since
    }

    pub(super) fn insert(&mut self, alert: ActiveAlert) {
        self.alerts.insert(alert.record.labels.clone(), alert);
    }

    /// Removes the alerts that `gone` names.
    pub(super) fn remove_if(&mut self, mut gone: impl FnMut(&ActiveAlert) -> bool) {
        let (removed, dropped) = (&mut self.removed, &mut self.dropped);
        self.alerts.retain(|labels, alert| {
            let gone = gone(alert);
            if gone {
                removed.push(labels.hash64());
                if alert.record.state == AlertState::Pending {
                    dropped.push(alert.record.clone());
                }
            }
            !gone
        });
    }

    /// Notes what the evaluation at `at` has changed; `error` is why it had no result, if it had none.
    /// Returns the number of transitions.
    pub(super) fn note(&mut self, at: TimestampMs, error: Option<&str>) -> usize {
        let transition =
            |record: &AlertRecord, from: Option<Phase>, to: Phase, why: Option<String>| Transition {
                at,
                from,
                to,
                labels: record.labels.clone(),
                severity: record.severity.as_ref().map(|severity| severity.current.clone()),
                value: record.value,
                active_at: record.active_at,
                error: why,
                evidence: None,
            };
        let excess = self.transitions.len().saturating_sub(MAX_UNSAVED_TRANSITIONS);
        self.transitions.drain(..excess);
        let known = self.transitions.len();
        for record in self.dropped.drain(..) {
            self.transitions.push(transition(&record, Some(Phase::Pending), Phase::Dropped, None));
        }
        for alert in self.alerts.values_mut() {
            let mut standing = alert.standing();
            let mut why = alert.lacking().filter(|_| standing.phase == Phase::Held);
            if let Some(error) = error {
                if !standing.phase.is_firing() {
                    continue;
                }
                standing.phase = Phase::Held;
                why = Some(error.to_owned());
            }
            if alert.noted.as_ref() != Some(&standing) {
                let to = standing.phase;
                let from = alert.noted.replace(standing).map(|before| before.phase);
                self.transitions.push(transition(&alert.record, from, to, why));
            }
        }
        self.transitions.len() - known
    }

    /// Takes the latest transitions out, so that they are not stored before something is added to them.
    pub(super) fn take_latest(&mut self, count: usize) -> Vec<Transition> {
        self.transitions.split_off(self.transitions.len() - count)
    }

    /// Puts back what [`Self::take_latest`] took.
    pub(super) fn put_back(&mut self, transitions: Vec<Transition>) {
        self.transitions.extend(transitions);
    }

    /// What differs from what is stored. An alert whose time counts needs the last evaluation to be
    /// stored too: by it a later start knows how long nothing was evaluated. For other alerts it is
    /// stored now and then, so that what is stored is known to be in use.
    pub(super) fn unsaved(&self) -> Option<Unsaved> {
        let evaluated_at = self.evaluated_at?;
        let dirty = self.alerts.values().filter(|alert| alert.dirty);
        let alerts: Vec<_> = dirty.map(|alert| alert.record.clone()).collect();
        let timed = self.alerts.values().any(ActiveAlert::is_timed);
        let old = !self.alerts.is_empty()
            && self.saved_at.is_none_or(|saved_at| evaluated_at - saved_at >= REFRESH_MS);
        if alerts.is_empty() && self.removed.is_empty() && self.transitions.is_empty() && !timed && !old {
            return None;
        }
        // An alert that went and came back is stored, not removed.
        let removed = self.removed.iter().copied();
        let removed = removed.filter(|hash| !alerts.iter().any(|alert| alert.labels.hash64() == *hash));
        let transitions = self.transitions.clone();
        Some(Unsaved { evaluated_at, removed: removed.collect(), alerts, transitions })
    }

    /// Notes that what [`Self::unsaved`] named is stored.
    pub(super) fn saved(&mut self) {
        self.removed.clear();
        self.transitions.clear();
        self.saved_at = self.evaluated_at;
        for alert in self.alerts.values_mut() {
            if std::mem::take(&mut alert.dirty) {
                alert.reworded = false;
            }
        }
    }
}
