//! What remote sources tell about themselves.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::promql::EvalError;

/// A source as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

/// Figures about all remote sources.
#[derive(Debug, Clone)]
pub struct RemoteMetrics {
    up: Family<SourceLabel, Gauge>,
    failures: Family<SourceLabel, Counter>,
    duration: Family<SourceLabel, Histogram, fn() -> Histogram>,
}

/// Figures about one remote source.
#[derive(Debug, Clone)]
pub struct SourceMetrics {
    up: Gauge,
    failures: Counter,
    duration: Histogram,
}

fn duration() -> Histogram {
    Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0])
}

impl RemoteMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let constructor: fn() -> Histogram = duration;
        let metrics = Self {
            up: Family::default(),
            failures: Family::default(),
            duration: Family::new_with_constructor(constructor),
        };
        registry.register(
            "valmis_source_up",
            "Whether the last query to the source was answered, be it with an error of the query's own",
            metrics.up.clone(),
        );
        registry.register(
            "valmis_source_failures",
            "Queries that the source did not answer, or not with a result or a query's error",
            metrics.failures.clone(),
        );
        registry.register(
            "valmis_source_query_duration_seconds",
            "From asking the source to its whole answer",
            metrics.duration.clone(),
        );
        metrics
    }

    /// The figures of a source.
    pub fn of(&self, source: &str) -> SourceMetrics {
        let label = SourceLabel { source: source.to_owned() };
        SourceMetrics {
            up: self.up.get_or_create(&label).clone(),
            failures: self.failures.get_or_create(&label).clone(),
            duration: self.duration.get_or_create(&label).clone(),
        }
    }

    /// Forgets a source that is gone.
    pub fn forget(&self, source: &str) {
        let label = SourceLabel { source: source.to_owned() };
        self.up.remove(&label);
        self.failures.remove(&label);
        self.duration.remove(&label);
    }
}

impl Default for SourceMetrics {
    /// Figures that nobody reads.
    fn default() -> Self {
        Self { up: Gauge::default(), failures: Counter::default(), duration: duration() }
    }
}

impl SourceMetrics {
    /// Notes how a query went.
    pub(super) fn observe(&self, took: Duration, error: Option<&EvalError>) {
        self.duration.observe(took.as_secs_f64());
        let failed = matches!(error, Some(EvalError::Storage(_) | EvalError::Timeout(_)));
        if failed {
            self.failures.inc();
        }
        self.up.set(i64::from(!failed));
    }
}
