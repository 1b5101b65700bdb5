//! Metrics of delivery. Names that begin with `prometheus_` mean exactly what they mean in Prometheus
//! (`notifier/metric.go`).

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::destinations::CAPACITY;
use crate::model::TimestampMs;

/// The Alertmanager that a figure is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Destination {
    alertmanager: String,
}

/// Figures about delivery.
#[derive(Debug, Clone)]
pub struct Metrics {
    sent: Family<Destination, Counter>,
    errors: Family<Destination, Counter>,
    dropped: Family<Destination, Counter>,
    queue_length: Family<Destination, Gauge>,
    queue_capacity: Family<Destination, Gauge>,
    discovered: Gauge,
    /// From the moment an alert entered the outbox to its acknowledgement, in seconds.
    lag: Family<Destination, Histogram, fn() -> Histogram>,
    /// Failed attempts to write an outbox to disk.
    pub(super) store_failures: Counter,
    kept: Gauge,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let buckets: fn() -> Histogram =
            || Histogram::new([0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 3600.0]);
        let metrics = Self {
            sent: Family::default(),
            errors: Family::default(),
            dropped: Family::default(),
            queue_length: Family::default(),
            queue_capacity: Family::default(),
            discovered: Gauge::default(),
            lag: Family::new_with_constructor(buckets),
            store_failures: Counter::default(),
            kept: Gauge::default(),
        };
        let r = registry;
        r.register("prometheus_notifications_sent", "Total number of alerts sent", metrics.sent.clone());
        r.register(
            "prometheus_notifications_errors",
            "Total number of sent alerts affected by errors",
            metrics.errors.clone(),
        );
        r.register(
            "prometheus_notifications_dropped",
            "Total number of alerts dropped because they could not be kept or were refused for too long",
            metrics.dropped.clone(),
        );
        r.register(
            "prometheus_notifications_queue_length",
            "The number of alerts that wait for delivery",
            metrics.queue_length.clone(),
        );
        let capacity = Gauge::<i64>::default();
        capacity.set(i64::try_from(CAPACITY).expect("a small number"));
        r.register(
            "prometheus_notifications_queue_capacity",
            "The number of alerts that can wait for one Alertmanager",
            capacity,
        );
        r.register(
            "prometheus_notifications_queue_capacity",
            "The number of alerts that may wait for delivery",
            metrics.queue_capacity.clone(),
        );
        r.register(
            "prometheus_notifications_alertmanagers_discovered",
            "The number of Alertmanagers that alerts are sent to",
            metrics.discovered.clone(),
        );
        r.register(
            "valmis_notifications_delivery_lag_seconds",
            "Time from queueing an alert to its acknowledgement",
            metrics.lag.clone(),
        );
        r.register(
            "valmis_notifications_store_failures",
            "Failed attempts to write the outbox to disk",
            metrics.store_failures.clone(),
        );
        r.register(
            "valmis_notifications_kept",
            "Alerts that are kept for a while for Alertmanagers that are not found any more",
            metrics.kept.clone(),
        );
        metrics
    }

    fn destination(name: &str) -> Destination {
        Destination { alertmanager: name.to_owned() }
    }

    /// Makes the series of an Alertmanager exist at 0. Prometheus has one capacity without the label of an
    /// Alertmanager, though the lengths have it: no alert that compares them would find anything.
    pub(super) fn introduce(&self, name: &str, capacity: usize) {
        let destination = Self::destination(name);
        for counters in [&self.sent, &self.errors, &self.dropped] {
            drop(counters.get_or_create(&destination));
        }
        drop(self.queue_length.get_or_create(&destination));
        self.queue_capacity.get_or_create(&destination).set(i64::try_from(capacity).unwrap_or(i64::MAX));
        drop(self.lag.get_or_create(&destination));
    }

    /// Removes the series of an Alertmanager that is gone.
    pub(super) fn forget(&self, name: &str) {
        let destination = Self::destination(name);
        for counters in [&self.sent, &self.errors, &self.dropped] {
            counters.remove(&destination);
        }
        self.queue_length.remove(&destination);
        self.queue_capacity.remove(&destination);
        self.lag.remove(&destination);
    }

    pub(super) fn discovered(&self, count: usize) {
        self.discovered.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn kept(&self, alerts: usize) {
        self.kept.set(i64::try_from(alerts).unwrap_or(i64::MAX));
    }

    /// An alert was dropped: for another one, or because it was refused for too long.
    pub(super) fn dropped(&self, name: &str) {
        self.dropped.get_or_create(&Self::destination(name)).inc();
    }

    pub(super) fn waiting(&self, name: &str, count: usize) {
        let gauge = self.queue_length.get_or_create(&Self::destination(name));
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn delivered(&self, name: &str, queued_at: TimestampMs, now: TimestampMs) {
        let destination = Self::destination(name);
        self.sent.get_or_create(&destination).inc();
        let lag_ms = now.saturating_sub(queued_at).max(0);
        self.lag.get_or_create(&destination).observe(lag_ms as f64 / 1000.0);
    }

    pub(super) fn failed(&self, name: &str, alerts: usize) {
        self.errors.get_or_create(&Self::destination(name)).inc_by(alerts as u64);
    }

    #[cfg(test)]
    pub(super) fn failures(&self, name: &str) -> u64 {
        self.errors.get_or_create(&Self::destination(name)).get()
    }
}
