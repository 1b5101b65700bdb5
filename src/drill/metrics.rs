//! What drills say of themselves. Drills are named by the configuration.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::course::{Outcome, Stage};
use crate::model::TimestampMs;

/// The drill that a figure is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    drill: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameAndStage {
    drill: String,
    stage: &'static str,
}

/// Figures about drills.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    runs: Family<Name, Counter>,
    failures: Family<NameAndStage, Counter>,
    /// Absent after a drill that failed.
    page_path: Family<Name, Gauge<f64, AtomicU64>>,
    success_at: Family<Name, Gauge<f64, AtomicU64>>,
}

/// All stages.
const STAGES: [Stage; 6] = [
    Stage::Discovery,
    Stage::Relabelling,
    Stage::Delivery,
    Stage::Suppression,
    Stage::Integration,
    Stage::Notification,
];

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("valmis_drill_runs", "Drills that were held", metrics.runs.clone());
        registry.register(
            "valmis_drill_failures",
            "Drills that failed, by the first stage at which the page got lost",
            metrics.failures.clone(),
        );
        registry.register(
            "valmis_page_path_seconds",
            "How long the page of the last drill took to whoever is told; absent if it did not get through",
            metrics.page_path.clone(),
        );
        registry.register(
            "valmis_drill_last_success_timestamp_seconds",
            "When the last drill that got through was held",
            metrics.success_at.clone(),
        );
        metrics
    }

    /// Makes the counters of a drill exist at 0.
    pub(super) fn introduce(&self, drill: &str) {
        drop(self.runs.get_or_create(&Name { drill: drill.to_owned() }));
        for stage in STAGES {
            drop(self.failures.get_or_create(&key(drill, stage)));
        }
    }

    /// Removes the series of a drill that is gone.
    pub(super) fn forget(&self, drill: &str) {
        let name = Name { drill: drill.to_owned() };
        self.runs.remove(&name);
        self.page_path.remove(&name);
        self.success_at.remove(&name);
        for stage in STAGES {
            self.failures.remove(&key(drill, stage));
        }
    }

    /// Notes what came of a drill at `now`.
    pub(super) fn held(&self, drill: &str, outcome: &Outcome, now: TimestampMs) {
        let name = Name { drill: drill.to_owned() };
        self.runs.get_or_create(&name).inc();
        match outcome.failures.first() {
            Some(failure) => {
                self.failures.get_or_create(&key(drill, failure.stage)).inc();
                self.page_path.remove(&name);
            }
            None => {
                let took = outcome.page_path().unwrap_or_default();
                self.page_path.get_or_create(&name).set(took.as_secs_f64());
                self.success_at.get_or_create(&name).set(now as f64 / 1000.0);
            }
        }
    }
}

fn key(drill: &str, stage: Stage) -> NameAndStage {
    NameAndStage { drill: drill.to_owned(), stage: stage.name() }
}
