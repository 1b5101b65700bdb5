//! Jobs that tell when they have run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tracing::error;

use super::Expected;
use crate::clock::SharedClock;
use crate::model::TimestampMs;
use crate::state::{Changes, HeartbeatRecord, StateStore};

/// What a job tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ping {
    /// It has run.
    Success,
    /// It begins to run.
    Start,
    /// It has failed.
    Failure,
}

/// What jobs have told.
#[derive(Clone)]
pub struct Incoming(Arc<Shared>);

struct Shared {
    store: Arc<dyn StateStore>,
    clock: SharedClock,
    jobs: Mutex<BTreeMap<String, Job>>,
}

#[derive(Debug, Clone)]
struct Job {
    /// Nothing as long as no configuration is in force.
    expected: Option<Expected>,
    record: HeartbeatRecord,
}

impl Incoming {
    /// With what jobs have told before the start. If that cannot be read, all begins anew.
    pub async fn start(store: Arc<dyn StateStore>, clock: SharedClock) -> Self {
        let stored = store.heartbeats().await.unwrap_or_else(|fault| {
            error!(%fault, "what heartbeats have told cannot be read; they begin anew");
            Vec::new()
        });
        let job = |record: HeartbeatRecord| (record.name.clone(), Job { expected: None, record });
        let jobs = Mutex::new(stored.into_iter().map(job).collect());
        Self(Arc::new(Shared { store, clock, jobs }))
    }

    /// Makes these the jobs. One that is new is expected from now on; one that is gone is forgotten.
    pub async fn apply(&self, all: &[Expected]) {
        let now = self.0.clock.now();
        let mut changes = Changes::default();
        {
            let mut jobs = self.jobs();
            let mut before = std::mem::take(&mut *jobs);
            for expected in all {
                let record = before.remove(&expected.name).map(|job| job.record);
                let is_new = record.is_none();
                let record = record.unwrap_or_else(|| HeartbeatRecord::declared(&expected.name, now));
                if is_new {
                    changes.heartbeats.push(record.clone());
                }
                jobs.insert(expected.name.clone(), Job { expected: Some(expected.clone()), record });
            }
            changes.removed_heartbeats = before.into_keys().collect();
        }
        self.save(changes).await;
    }

    /// Notes what a job tells, and writes it down. Says whether anybody expects that job.
    pub async fn record(&self, name: &str, ping: Ping) -> bool {
        let now = self.0.clock.now();
        let record = {
            let mut jobs = self.jobs();
            let Some(job) = jobs.get_mut(name).filter(|job| job.expected.is_some()) else { return false };
            match ping {
                Ping::Success => job.record.last_success = Some(now),
                Ping::Start => job.record.last_start = Some(now),
                Ping::Failure => job.record.last_failure = Some(now),
            }
            job.record.clone()
        };
        self.save(Changes { heartbeats: vec![record], ..Changes::default() }).await;
        true
    }

    /// What cannot be written down is known all the same, and a restart would forget it.
    async fn save(&self, changes: Changes) {
        if let Err(fault) = self.0.store.commit(changes).await {
            error!(%fault, "what a heartbeat told cannot be written to disk");
        }
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, Job>> {
        // Nothing panics while it is held.
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    /// Until when it has to tell of a success.
    fn deadline(&self, expected: &Expected) -> TimestampMs {
        let ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let since = self.record.last_success.unwrap_or(self.record.declared_at);
        since.saturating_add(ms(expected.period)).saturating_add(ms(expected.grace))
    }
}

/// Shows what jobs have told as metrics.
pub struct IncomingCollector(Incoming);

impl IncomingCollector {
    /// A collector, to be registered once.
    pub fn new(incoming: Incoming) -> Self {
        Self(incoming)
    }
}

impl fmt::Debug for IncomingCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IncomingCollector").field(&*self.0.jobs()).finish()
    }
}

/// A metric of jobs that are expected: its name, its help text and what it shows.
type JobMetric = (&'static str, &'static str, fn(&Job, &Expected) -> Option<f64>);

const METRICS: [JobMetric; 5] = [
    ("valmis_heartbeat_last_success_timestamp_seconds", "When a job last told that it has run", |job, _| {
        job.record.last_success.map(seconds)
    }),
    (
        "valmis_heartbeat_last_start_timestamp_seconds",
        "When a job last told that it begins to run",
        |job, _| job.record.last_start.map(seconds),
    ),
    (
        "valmis_heartbeat_last_failure_timestamp_seconds",
        "When a job last told that it has failed",
        |job, _| job.record.last_failure.map(seconds),
    ),
    (
        "valmis_heartbeat_failed",
        "Whether a job has told that it has failed, and not that it has run since",
        |job, _| {
            let failed =
                job.record.last_failure.is_some() && job.record.last_failure > job.record.last_success;
            Some(f64::from(u8::from(failed)))
        },
    ),
    (
        "valmis_heartbeat_deadline_timestamp_seconds",
        "Until when a job has to tell that it has run: its period and grace after it last did, or after it was first \
         configured",
        |job, expected| Some(seconds(job.deadline(expected))),
    ),
];

fn seconds(at: TimestampMs) -> f64 {
    at as f64 / 1000.0
}

impl Collector for IncomingCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let jobs = self.0.jobs();
        for (name, help, value) in METRICS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (name, job) in &*jobs {
                let Some(value) = job.expected.as_ref().and_then(|expected| value(job, expected)) else {
                    continue;
                };
                ConstGauge::new(value).encode(family.encode_family(&[("name", name.as_str())])?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::clock::FixedClock;
    use crate::state::MemoryStore;

    fn expected(name: &str) -> Expected {
        Expected { name: name.to_owned(), period: Duration::from_mins(1), grace: Duration::from_secs(5) }
    }

    /// The series of the jobs, without the names' common beginning.
    fn series(incoming: &Incoming) -> Vec<String> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(IncomingCollector::new(incoming.clone())));
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a String cannot fail");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.replace("valmis_heartbeat_", "")).collect()
    }

    #[tokio::test]
    async fn what_a_job_tells_is_shown_and_survives_a_restart() {
        let store = Arc::new(MemoryStore::default());
        let start = async |at| {
            let incoming = Incoming::start(store.clone(), Arc::new(FixedClock::at(at))).await;
            incoming.apply(&[expected("backup")]).await;
            incoming
        };
        let incoming = start(1_000_000).await;
        let declared = ["failed{name=\"backup\"} 0.0", "deadline_timestamp_seconds{name=\"backup\"} 1065.0"];
        assert_eq!(series(&incoming), declared);
        // It is expected since it was first configured, however often the process is started.
        let incoming = start(1_060_000).await;
        assert_eq!(series(&incoming), declared);
        assert!(incoming.record("backup", Ping::Start).await);
        assert!(incoming.record("backup", Ping::Failure).await);
        let incoming = start(1_100_000).await;
        let told = [
            "last_start_timestamp_seconds{name=\"backup\"} 1060.0",
            "last_failure_timestamp_seconds{name=\"backup\"} 1060.0",
            "failed{name=\"backup\"} 1.0",
            "deadline_timestamp_seconds{name=\"backup\"} 1065.0",
        ];
        assert_eq!(series(&incoming), told);
        assert!(incoming.record("backup", Ping::Success).await);
        assert_eq!(series(&incoming)[0], "last_success_timestamp_seconds{name=\"backup\"} 1100.0");
        assert_eq!(
            series(&incoming)[3..],
            ["failed{name=\"backup\"} 0.0", "deadline_timestamp_seconds{name=\"backup\"} 1165.0"]
        );
    }

    #[tokio::test]
    async fn nobody_is_noted_who_is_not_expected() {
        let store = Arc::new(MemoryStore::default());
        let incoming = Incoming::start(store.clone(), Arc::new(FixedClock::at(0))).await;
        assert!(!incoming.record("backup", Ping::Success).await);
        incoming.apply(&[expected("backup")]).await;
        assert!(!incoming.record("other", Ping::Success).await);
        incoming.apply(&[]).await;
        assert!(!incoming.record("backup", Ping::Success).await);
        assert_eq!(series(&incoming), Vec::<String>::new());
        assert_eq!(store.heartbeats().await.expect("readable"), []);
    }
}
