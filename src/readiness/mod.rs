//! Whether the system is ready: probes every component on its own schedule and judges the results with
//! hysteresis.
//!
//! Each component has a task, an interval, a deadline and a state of its own; one that hangs, panics or
//! fails concerns no other. Whoever asks gets the latest results at once and waits for no probe.

mod budget;
mod cell;
mod component;
pub mod disks;
mod families;
mod hysteresis;
mod metrics;
mod publisher;
mod report;
mod timing;
mod watch;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::clock::SharedClock;
use crate::probe::History;
use crate::storage::Appender;

use cell::Cell;
use metrics::Metrics;
use publisher::Publisher;
use watch::{SLACK, Surroundings, Watch};

pub use budget::{DEFAULT_MAX_SERIES, Dropped};
pub use component::{Component, Key, Kind, ModuleInfo};
pub use families::{Family, METADATA};
pub use hysteresis::{Hysteresis, Observation, State, Thresholds};
pub use report::{ComponentReport, FailureReport, ReadinessReport, Stalled};

/// How often the gauges of readiness itself are written to the store, beside at every change.
const GAUGES_INTERVAL: Duration = Duration::from_secs(5);
/// How long the probes may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What readiness needs to know of itself.
#[derive(Debug, Clone)]
pub struct Config {
    /// Label `job` of the gauges of readiness itself, as they are stored.
    pub job: String,
    /// Label `instance` of the same.
    pub instance: String,
}

/// The probes and what they found. Cloning yields another handle to the same.
#[derive(Clone)]
pub struct Readiness(Arc<Inner>);

struct Inner {
    config: Config,
    appender: Arc<dyn Appender>,
    around: Arc<Surroundings>,
    tracker: TaskTracker,
    stopped: CancellationToken,
    running: Mutex<BTreeMap<Key, Running>>,
    /// Whether anybody has said what the components are.
    applied: AtomicBool,
    first_round: AtomicBool,
    /// By when the loop that writes the gauges must have turned; `None` before it began.
    gauges_due: Mutex<Option<Instant>>,
}

/// A component with its loop.
struct Running {
    owner: &'static str,
    cell: Arc<Cell>,
    removed: CancellationToken,
    task: JoinHandle<()>,
}

impl Readiness {
    /// Readiness without components; they come with [`Readiness::apply`]. What probes find is kept in
    /// `history` too.
    pub fn new(
        config: Config,
        clock: SharedClock,
        appender: Arc<dyn Appender>,
        history: Arc<History>,
        registry: &mut Registry,
    ) -> Self {
        let metrics = Metrics::register(registry);
        let max_series = AtomicUsize::new(DEFAULT_MAX_SERIES);
        let around = Surroundings { clock, metrics, max_series, history, changed: Notify::new() };
        Self(Arc::new(Inner {
            config,
            appender,
            around: Arc::new(around),
            tracker: TaskTracker::new(),
            stopped: CancellationToken::new(),
            running: Mutex::default(),
            applied: AtomicBool::new(false),
            first_round: AtomicBool::new(false),
            gauges_due: Mutex::default(),
        }))
    }

    /// Makes `components` the components of `owner`, such as the configuration or the search for disks.
    /// Unchanged ones (same key, same revision) go on undisturbed; new ones are probed at once; series
    /// of those that are gone end. A key that another owner has stays with that one.
    ///
    /// Must be called within a tokio runtime.
    pub fn apply(&self, owner: &'static str, components: Vec<Component>) {
        let inner = &self.0;
        let mut running = inner.running();
        let wanted: BTreeMap<Key, Component> =
            components.into_iter().map(|component| (component.key.clone(), component)).collect();
        let gone = running.iter().filter(|(key, entry)| entry.owner == owner && !wanted.contains_key(key));
        let gone: Vec<Key> = gone.map(|(key, _)| key.clone()).collect();
        let mut ending: Vec<Running> = gone.iter().filter_map(|key| running.remove(key)).collect();
        for entry in &ending {
            entry.removed.cancel();
        }
        for (key, component) in wanted {
            let predecessor = match running.get(&key) {
                Some(entry) if entry.owner != owner => {
                    warn!(component = %key, owner = entry.owner, "Component `{key}` is configured twice");
                    continue;
                }
                Some(entry) if entry.cell.component.revision == component.revision => continue,
                Some(_) => running.remove(&key).inspect(|entry| entry.removed.cancel()),
                // One that got another name has the same series.
                None => {
                    let named_otherwise =
                        ending.iter().position(|entry| entry.cell.component.has_series_of(&component));
                    named_otherwise.map(|at| ending.swap_remove(at))
                }
            };
            let predecessor = predecessor.map(|entry| entry.task);
            running.insert(key, inner.start(owner, component, predecessor));
        }
        drop(running);
        inner.applied.store(true, Ordering::Relaxed);
        inner.around.changed.notify_one();
    }

    /// How many series one component may have, from its next probe on.
    pub fn limit_series(&self, max_series: usize) {
        self.0.around.max_series.store(max_series, Ordering::Relaxed);
    }

    /// Writes the gauges of readiness to the store until `token` is cancelled, then stops the probes.
    pub async fn run(&self, token: CancellationToken) {
        let inner = &self.0;
        let mut publisher = Publisher::new(Arc::clone(&inner.appender));
        let mut last_at = i64::MIN;
        loop {
            let next = Instant::now() + GAUGES_INTERVAL;
            *inner.gauges_due() = Some(next + SLACK);
            tokio::select! {
                () = token.cancelled() => break,
                () = inner.around.changed.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            }
            // Two changes within a millisecond: the later one must not be refused as a duplicate.
            let at = inner.around.clock.now().max(last_at.saturating_add(1));
            last_at = at;
            let mut samples = families::gauges(&self.report(), self.first_round_done(), at);
            for sample in &mut samples {
                let mut labels = sample.labels.builder();
                labels.set("job", &inner.config.job).set("instance", &inner.config.instance);
                sample.labels = labels.build();
            }
            let refused = publisher.publish(&samples, at);
            if let Some(error) = refused.first() {
                warn!(refused = refused.len(), %error, "Readiness gauges were refused: {error}");
            }
        }
        *inner.gauges_due() = None;
        inner.stopped.cancel();
        inner.tracker.close();
        if tokio::time::timeout(STOP_GRACE, inner.tracker.wait()).await.is_err() {
            warn!(probes = inner.tracker.len(), "Some probes did not stop in time");
        }
    }

    /// Whether the whole is ready, and why, as of now.
    pub fn report(&self) -> ReadinessReport {
        let cells = self.0.cells();
        let (counting, others): (Vec<_>, Vec<_>) = cells.iter().partition(|cell| cell.component.counts);
        let [components, watched] =
            [counting, others].map(|cells| cells.into_iter().map(|cell| cell.report()).collect::<Vec<_>>());
        let ready =
            !components.is_empty() && components.iter().all(|component| component.state == State::Ready);
        ReadinessReport { ready, components, watched }
    }

    /// The latest samples of all probes and the gauges of readiness, grouped by metric. Probes' samples
    /// bear `job` and `instance`; the gauges do not.
    pub fn samples(&self) -> Vec<Family> {
        let own = families::gauges(&self.report(), self.first_round_done(), self.0.around.clock.now());
        families::families(own, self.0.cells().iter().map(AsRef::as_ref))
    }

    /// Whether components have been applied and each of them has had a result. Once so, it stays so,
    /// whatever is added later.
    pub fn first_round_done(&self) -> bool {
        let inner = &self.0;
        if !inner.first_round.load(Ordering::Relaxed) {
            let applied = inner.applied.load(Ordering::Relaxed);
            let done = applied && inner.cells().iter().all(|cell| cell.probed());
            inner.first_round.fetch_or(done, Ordering::Relaxed);
        }
        inner.first_round.load(Ordering::Relaxed)
    }

    /// The loops that should have turned and did not: empty in a process that works.
    pub fn stalled(&self) -> Vec<Stalled> {
        let probes = self.0.cells().into_iter().map(|cell| (cell.component.key.to_string(), cell.overdue()));
        let gauges = self.0.gauges_due().map(|due| Instant::now().saturating_duration_since(due));
        probes
            .chain(gauges.map(|overdue| ("readiness gauges".to_owned(), overdue)))
            .filter(|(_, overdue)| !overdue.is_zero())
            .map(|(what, overdue)| Stalled { what, overdue })
            .collect()
    }
}

impl Inner {
    fn start(
        &self,
        owner: &'static str,
        component: Component,
        predecessor: Option<JoinHandle<()>>,
    ) -> Running {
        let cell = Arc::new(Cell::new(component, Instant::now() + SLACK + SLACK));
        let removed = CancellationToken::new();
        let watch = Watch {
            cell: Arc::clone(&cell),
            around: Arc::clone(&self.around),
            publisher: Publisher::new(Arc::clone(&self.appender)),
            removed: removed.clone(),
            stopped: self.stopped.clone(),
        };
        let task = self.tracker.spawn(watch.run(predecessor));
        Running { owner, cell, removed, task }
    }

    fn cells(&self) -> Vec<Arc<Cell>> {
        self.running().values().map(|entry| Arc::clone(&entry.cell)).collect()
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Key, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gauges_due(&self) -> MutexGuard<'_, Option<Instant>> {
        self.gauges_due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
