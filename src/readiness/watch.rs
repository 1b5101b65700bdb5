//! The loop of one component: probe, keep, write, wait.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::budget::{self, Dropped};
use super::cell::Cell;
use super::metrics::{Ending, Metrics};
use super::publisher::Publisher;
use super::timing::{next_slot, offset, recheck_after};
use crate::clock::SharedClock;
use crate::model::{Sample, TimestampMs};
use crate::probe::{Deadline, History, ProbeFailure, ProbeOutcome, ProbeRecord};

/// How long past its deadline a prober may take to hand over what it has.
const GRACE: Duration = Duration::from_millis(500);
/// Whatever is configured, a loop never spins.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// How much longer than expected a loop may take before it counts as stalled.
pub(super) const SLACK: Duration = Duration::from_secs(5);

/// What the loops of all components share.
pub(super) struct Surroundings {
    pub(super) clock: SharedClock,
    pub(super) metrics: Metrics,
    /// How many series one component may have.
    pub(super) max_series: AtomicUsize,
    /// What probes found, for people.
    pub(super) history: Arc<History>,
    /// Told of every change that the readiness gauges should show at once.
    pub(super) changed: Notify,
}

/// Probes one component until it is cancelled.
pub(super) struct Watch {
    pub(super) cell: Arc<Cell>,
    pub(super) around: Arc<Surroundings>,
    pub(super) publisher: Publisher,
    /// Ends the loop; the series of the component end with it.
    pub(super) removed: CancellationToken,
    /// Ends the loop; its series stay, since a restart is to be invisible.
    pub(super) stopped: CancellationToken,
}

impl Watch {
    /// The loop. It begins when `predecessor`, the loop of the same component as it was configured
    /// before, has ended, so that their samples do not mix.
    pub(super) async fn run(mut self, predecessor: Option<JoinHandle<()>>) {
        if let Some(predecessor) = predecessor {
            // Its end is noticed where it was spawned; here it only has to be over, or given up.
            let _ = timeout(SLACK, predecessor).await;
        }
        let component = &self.cell.component;
        let (interval, probe_timeout) = (component.interval.max(MIN_INTERVAL), component.timeout);
        let origin = Instant::now() + offset(&component.key, interval);
        loop {
            let started = Instant::now();
            self.cell.promise(started + probe_timeout + GRACE + SLACK);
            tokio::select! {
                biased;
                () = self.removed.cancelled() => break,
                () = self.stopped.cancelled() => return,
                (at, outcome) = probe(&self.cell, &self.around) => self.keep(at, started, outcome),
            }
            let ended = Instant::now();
            let (mut next, missed) = next_slot(origin, interval, started, ended);
            self.around.metrics.missed(self.cell.component.key.kind, missed);
            if self.cell.in_doubt() {
                next = next.min(ended + recheck_after(interval));
            }
            self.cell.promise(next + probe_timeout + GRACE + SLACK);
            tokio::select! {
                () = self.removed.cancelled() => break,
                () = self.stopped.cancelled() => return,
                () = sleep_until(next) => {}
            }
        }
        let refused = self.publisher.end(self.around.clock.now());
        self.around.metrics.refused(self.cell.component.key.kind, refused.len());
    }

    fn keep(&mut self, at: TimestampMs, started: Instant, mut outcome: ProbeOutcome) {
        let component = &self.cell.component;
        let (key, kind) = (&component.key, component.key.kind);
        let first = !self.cell.probed();
        for sample in &mut outcome.samples {
            sample.at = at;
            let mut labels = sample.labels.builder();
            for (name, value) in component.labels.iter().filter(|(name, _)| !sample.labels.has(name)) {
                labels.set(name, value);
            }
            labels.set_exporting("job", &component.job).set_exporting("instance", &component.instance);
            sample.labels = labels.build();
        }
        let dropped = self.confine(&mut outcome);
        let samples: Arc<[Sample]> = std::mem::take(&mut outcome.samples).into();
        let refused = self.publisher.publish(&samples, at);
        if let Some(error) = refused.first() {
            self.around.metrics.refused(kind, refused.len());
            warn!(component = %key, refused = refused.len(), %error, "Samples of `{key}` were refused: {error}");
        }
        let ending = match &outcome.result {
            Ok(()) => Ending::Success,
            Err(failure) if failure.unknown => Ending::Unknown,
            Err(_) => Ending::Failure,
        };
        self.around.metrics.probe_ended(kind, ending);
        let reason = outcome.result.as_ref().err().map(|failure| failure.reason.clone()).unwrap_or_default();
        self.around.history.add(ProbeRecord {
            probed: component.probed(),
            at,
            duration: started.elapsed(),
            timeout: component.timeout,
            failure: outcome.result.as_ref().err().cloned(),
            log: outcome.log.to_vec(),
            samples: Arc::clone(&samples),
            configuration: component
                .module
                .as_ref()
                .map_or_else(Default::default, |module| module.configuration.clone()),
        });
        let changed = self.cell.record(at, started, outcome, samples, dropped);
        if let Some(state) = changed {
            let state = state.as_str();
            info!(component = %key, state, reason, "Component `{key}` is now {state}");
        }
        if changed.is_some() || first {
            self.around.changed.notify_one();
        }
    }
}

impl Watch {
    /// Keeps a result within what a component may tell. The log says once what is left out.
    fn confine(&self, outcome: &mut ProbeOutcome) -> Dropped {
        let key = &self.cell.component.key;
        let max_series = self.around.max_series.load(Ordering::Relaxed);
        let dropped = budget::confine(&mut outcome.samples, max_series);
        if dropped.series > 0 {
            self.around.metrics.dropped(key.kind, dropped.series);
            let (series, names) = (dropped.series, dropped.metrics.join(", "));
            let said = format!("more than {max_series} series: {series} are left out, of {names}");
            if self.cell.latest().is_none_or(|before| before.dropped.metrics != dropped.metrics) {
                warn!(component = %key, series, "`{key}` tells too much: {said}");
            }
            outcome.log.push(said);
        }
        dropped
    }
}

/// Probes once, whatever the prober does: one that panics or overruns its deadline has failed.
async fn probe(cell: &Cell, around: &Surroundings) -> (TimestampMs, ProbeOutcome) {
    let component = &cell.component;
    let kind = component.key.kind;
    let at = around.clock.now();
    let deadline = Deadline::after(component.timeout);
    let guarded = AssertUnwindSafe(async { component.prober.probe(deadline).await }).catch_unwind();
    let failure = match timeout_at(deadline.instant() + GRACE, guarded).await {
        Ok(Ok(outcome)) => return (at, outcome),
        Ok(Err(panic)) => {
            around.metrics.panicked(kind);
            ProbeFailure::unknown("panic", format!("the probe panicked: {}", panic_message(&*panic)))
        }
        Err(_elapsed) => {
            around.metrics.overran(kind);
            ProbeFailure::new("timeout", format!("no result within {:?}", component.timeout))
        }
    };
    (at, ProbeOutcome { log: vec![failure.reason.clone()].into(), result: Err(failure), samples: Vec::new() })
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
