//! What is known of one component.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::budget::Dropped;
use super::component::Component;
use super::hysteresis::{Hysteresis, Observation, State};
use super::report::{ComponentReport, FailureReport};
use crate::model::{Sample, TimestampMs};
use crate::probe::{ProbeFailure, ProbeOutcome, shortened};

/// One component with its latest result. Locks are held for moments and never across an `.await`.
pub(super) struct Cell {
    pub(super) component: Component,
    known: Mutex<Known>,
    /// By when its loop must have turned again.
    due: Mutex<Instant>,
}

struct Known {
    hysteresis: Hysteresis,
    changes: u64,
    latest: Option<Latest>,
    last_failure: Option<FailureReport>,
}

/// A result.
#[derive(Clone)]
pub(super) struct Latest {
    /// When the probe began.
    pub(super) at: TimestampMs,
    pub(super) duration: Duration,
    pub(super) samples: Arc<[Sample]>,
    /// What the component told beyond what it may.
    pub(super) dropped: Arc<Dropped>,
    finished: Instant,
    failure: Option<ProbeFailure>,
}

impl Cell {
    pub(super) fn new(component: Component, due: Instant) -> Self {
        let hysteresis = Hysteresis::new(component.thresholds);
        let known = Known { hysteresis, changes: 0, latest: None, last_failure: None };
        Self { component, known: Mutex::new(known), due: Mutex::new(due) }
    }

    /// Takes in a result. Returns the state after it if that is another one.
    pub(super) fn record(
        &self,
        at: TimestampMs,
        started: Instant,
        outcome: ProbeOutcome,
        samples: Arc<[Sample]>,
        dropped: Dropped,
    ) -> Option<State> {
        let finished = Instant::now();
        let failure = outcome.result.err();
        let observation = match &failure {
            None => Observation::Good,
            Some(failure) if failure.unknown => Observation::Unknown,
            Some(_) => Observation::Bad,
        };
        let mut known = self.lock();
        if let Some(failure) = &failure {
            let log = shortened(outcome.log.into_lines());
            let (kind, reason) = (failure.kind, failure.reason.clone());
            known.last_failure = Some(FailureReport { at, kind, reason, log });
        }
        let duration = finished - started;
        let dropped = Arc::new(dropped);
        known.latest = Some(Latest { at, duration, samples, dropped, finished, failure });
        let changed = known.hysteresis.observe(at, observation);
        known.changes += u64::from(changed);
        changed.then(|| known.hysteresis.state())
    }

    pub(super) fn latest(&self) -> Option<Latest> {
        self.lock().latest.clone()
    }

    pub(super) fn probed(&self) -> bool {
        self.lock().latest.is_some()
    }

    /// Whether the last result speaks against the state without having changed it yet.
    pub(super) fn in_doubt(&self) -> bool {
        self.lock().hysteresis.against().0 > 0
    }

    /// The component as it stands now. A ready component that has not been heard of for too long counts
    /// as unknown here, whoever asks: this does not rely on any loop that might itself be stuck.
    pub(super) fn report(&self) -> ComponentReport {
        let known = self.lock();
        let component = &self.component;
        let age = known.latest.as_ref().map(|latest| latest.finished.elapsed());
        let silent = age.filter(|age| *age > component.stale_after());
        let mut state = known.hysteresis.state();
        let mut since = known.hysteresis.since();
        let failure = known.latest.as_ref().and_then(|latest| latest.failure.as_ref());
        let mut failure_kind = failure.map(|failure| failure.kind);
        let mut reason = failure.map(|failure| failure.reason.clone());
        match (state, silent) {
            (State::Ready, Some(age)) => {
                state = State::Unknown;
                let silence_began =
                    component.stale_after() + known.latest.as_ref().map_or(Duration::ZERO, |l| l.duration);
                since =
                    known.latest.as_ref().map(|latest| latest.at + silence_began.as_millis() as TimestampMs);
                failure_kind = Some("silent");
                reason =
                    Some(format!("no result for {age:.0?}, though probed every {:?}", component.interval));
            }
            (State::NotReady, _) if failure.is_none() => {
                // On the way up: what was wrong is still the reason.
                failure_kind = known.last_failure.as_ref().map(|failure| failure.kind);
                reason = known.last_failure.as_ref().map(|failure| failure.reason.clone());
            }
            _ if known.latest.is_none() => reason = Some("not probed yet".to_owned()),
            _ => {}
        }
        ComponentReport {
            key: component.key.clone(),
            job: component.job.clone(),
            instance: component.instance.clone(),
            state,
            reason,
            failure_kind,
            since,
            changes: known.changes,
            against: known.hysteresis.against(),
            last_probe: known.latest.as_ref().map(|latest| latest.at),
            last_duration: known.latest.as_ref().map(|latest| latest.duration),
            age,
            interval: component.interval,
            timeout: component.timeout,
            last_failure: known.last_failure.clone(),
            dropped: known.latest.as_ref().map(|latest| latest.dropped.clone()).unwrap_or_default(),
        }
    }

    /// Promises that the loop turns again by `due`.
    pub(super) fn promise(&self, due: Instant) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = due;
    }

    /// How long the loop is overdue, zero if it is not.
    pub(super) fn overdue(&self) -> Duration {
        Instant::now().saturating_duration_since(*self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the latest result older.
    #[cfg(test)]
    pub(super) fn age_by(&self, age: Duration) {
        let mut known = self.lock();
        let latest = known.latest.as_mut().expect("a result was recorded");
        latest.finished -= age;
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
