//! What the state store tells about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The store's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Transactions that were written.
    pub commits: Counter,
    /// Transactions that could not be written, and commits that were not written in time.
    pub commit_failures: Counter,
    /// How long writing a transaction took, the wait for the disk included.
    pub commit_duration: Histogram,
    /// State files that could not be used and were moved aside.
    pub files_moved_aside: Counter,
    /// Records that could not be read.
    pub unreadable_records: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            commits: Counter::default(),
            commit_failures: Counter::default(),
            commit_duration: Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0]),
            files_moved_aside: Counter::default(),
            unreadable_records: Counter::default(),
        }
    }
}

impl Metrics {
    /// Creates the metrics and names them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "valmis_state_commits",
            "Transactions written to the state store",
            metrics.commits.clone(),
        );
        registry.register(
            "valmis_state_commit_failures",
            "Transactions that could not be written to the state store",
            metrics.commit_failures.clone(),
        );
        registry.register_with_unit(
            "valmis_state_commit_duration",
            "How long writing a transaction took, the wait for the disk included",
            Unit::Seconds,
            metrics.commit_duration.clone(),
        );
        registry.register(
            "valmis_state_files_moved_aside",
            "State files that could not be used and were moved aside",
            metrics.files_moved_aside.clone(),
        );
        registry.register(
            "valmis_state_unreadable_records",
            "Records of the state store that could not be read",
            metrics.unreadable_records.clone(),
        );
        metrics
    }
}
