//! What the scraper says about itself: Prometheus' names where the meaning is Prometheus'.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::discovery;
use crate::model::format_duration_ms;

/// The scraper's own metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    interval_length: Family<Interval, Histogram>,
    targets: Family<Job, Gauge>,
    pub(super) sample_limit: Counter,
    pub(super) body_size_limit: Counter,
    pub(super) label_limits: Counter,
    pub(super) duplicate: Counter,
    pub(super) out_of_order: Counter,
    pub(super) out_of_bounds: Counter,
    pub(super) not_stored: Counter,
    pub(super) cache_flush_forced: Counter,
    pub(super) missed_slots: Counter,
    pub(super) discovery: discovery::Metrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Interval {
    interval: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Job {
    scrape_job: String,
}

impl Metrics {
    /// Creates the metrics and makes them part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let sample_limit = counter(
            "prometheus_target_scrapes_exceeded_sample_limit",
            "Total number of scrapes that hit the sample limit and were rejected",
        );
        let body_size_limit = counter(
            "prometheus_target_scrapes_exceeded_body_size_limit",
            "Total number of scrapes that hit the body size limit",
        );
        let label_limits = counter(
            "prometheus_target_scrape_pool_exceeded_label_limits",
            "Total number of scrapes that hit the label limits",
        );
        let duplicate = counter(
            "prometheus_target_scrapes_sample_duplicate_timestamp",
            "Total number of samples rejected due to duplicate timestamps but different values",
        );
        let out_of_order = counter(
            "prometheus_target_scrapes_sample_out_of_order",
            "Total number of samples rejected due to not being out of the expected order",
        );
        let out_of_bounds = counter(
            "prometheus_target_scrapes_sample_out_of_bounds",
            "Total number of samples rejected due to timestamp falling outside of the time bounds",
        );
        let not_stored = counter(
            "valmis_scrape_samples_not_stored",
            "Samples that the store refused for want of memory or because of their labels",
        );
        let cache_flush_forced = counter(
            "prometheus_target_scrapes_cache_flush_forced",
            "How many times a scrape cache was flushed due to getting big while scrapes are failing",
        );
        let missed_slots =
            counter("valmis_scrape_missed_slots", "Scrapes that did not happen when they were due");
        let discovery = discovery::Metrics::register(registry);
        let targets = Family::<Job, Gauge>::default();
        registry.register(
            "prometheus_target_scrape_pool_targets",
            "Current number of targets in this scrape pool",
            targets.clone(),
        );
        let interval_length =
            Family::<Interval, Histogram>::new_with_constructor(|| Histogram::new([0.01, 0.1, 1.0, 10.0]));
        // Prometheus has it with `histogram` in its name, which its own linter objects to.
        registry.register(
            "valmis_target_interval_length_seconds",
            "Actual intervals between scrapes",
            interval_length.clone(),
        );
        Self {
            interval_length,
            targets,
            sample_limit,
            body_size_limit,
            label_limits,
            duplicate,
            out_of_order,
            out_of_bounds,
            not_stored,
            cache_flush_forced,
            missed_slots,
            discovery,
        }
    }

    /// Those of discovery, which others discover with, too.
    pub fn discovery(&self) -> &discovery::Metrics {
        &self.discovery
    }

    /// Two scrapes of a target were this far apart.
    pub(super) fn observe_interval(&self, configured: Duration, actual: Duration) {
        let interval = format_duration_ms(configured.as_millis() as i64);
        self.interval_length.get_or_create(&Interval { interval }).observe(actual.as_secs_f64());
    }

    /// A job has this many targets.
    pub(super) fn set_targets(&self, job: &str, count: usize) {
        self.targets.get_or_create(&Job { scrape_job: job.to_owned() }).set(count as i64);
    }

    /// A job is gone.
    pub(super) fn remove_job(&self, job: &str) {
        self.targets.remove(&Job { scrape_job: job.to_owned() });
    }
}
