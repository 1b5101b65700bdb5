//! What the rules tell about themselves, under Prometheus' own names and with their meaning
//! (`rules/group.go`, `NewGroupMetrics`).
//!
//! Most of it is known anyway and read when it is asked for, so that nothing remains of a group that
//! is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::manager::Groups;
use super::snapshot::GroupSnapshot;
use super::summary::Summary;

/// Counters of a group; a group that is reloaded goes on counting.
#[derive(Debug, Default)]
pub(super) struct GroupCounters {
    pub(super) iterations: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) caught_up: AtomicU64,
    pub(super) evaluations: AtomicU64,
    pub(super) failures: AtomicU64,
    /// How long it took to find out what is remembered of alerts, in nanoseconds.
    restored_nanos: AtomicU64,
}

impl GroupCounters {
    /// Notes how long it took to find out what is remembered of a rule's alerts.
    pub(super) fn restored(&self, took: Duration) {
        add(&self.restored_nanos, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// How long evaluations take.
#[derive(Debug)]
pub(super) struct Durations {
    histogram: Histogram,
    rules: Summary<3>,
    groups: Summary<5>,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            histogram: Histogram::new([0.01, 0.1, 1.0, 10.0]),
            rules: Summary::new([(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")]),
            groups: Summary::new([
                (0.01, "0.01"),
                (0.05, "0.05"),
                (0.5, "0.5"),
                (0.9, "0.9"),
                (0.99, "0.99"),
            ]),
        }
    }
}

impl Durations {
    /// Notes how long a rule took.
    pub(super) fn observe(&self, duration: Duration) {
        self.histogram.observe(duration.as_secs_f64());
        self.rules.observe(duration.as_secs_f64());
    }

    /// Notes how long all rules of a group took together.
    pub(super) fn observe_group(&self, duration: Duration) {
        self.groups.observe(duration.as_secs_f64());
    }
}

/// Reads the metrics of all groups.
#[derive(Debug)]
struct RulesCollector {
    groups: Groups,
    durations: Arc<Durations>,
}

/// Names the metrics of these groups.
pub(super) fn register(registry: &mut Registry, groups: Groups, durations: Arc<Durations>) {
    // Prometheus has it with `histogram` in its name, which its own linter objects to.
    registry.register(
        "valmis_rule_evaluation_duration_seconds",
        "The duration for a rule to execute",
        durations.histogram.clone(),
    );
    registry.register_collector(Box::new(RulesCollector { groups, durations }));
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GroupLabel {
    rule_group: String,
}

impl Collector for RulesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let groups: Vec<_> = self.groups.with_counters();
        let mut counter = |name, help, value: fn(&GroupCounters) -> &AtomicU64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (snapshot, counters) in &groups {
                let counter = ConstCounter::new(value(counters).load(Ordering::Relaxed));
                counter.encode(family.encode_family(&label(snapshot))?)?;
            }
            Ok::<(), std::fmt::Error>(())
        };
        counter(
            "prometheus_rule_group_iterations",
            "The total number of scheduled rule group evaluations, whether executed or missed.",
            |counters| &counters.iterations,
        )?;
        counter(
            "prometheus_rule_group_iterations_missed",
            "The total number of rule group evaluations missed due to slow rule group evaluation.",
            |counters| &counters.missed,
        )?;
        counter(
            "valmis_rule_group_iterations_caught_up",
            "The total number of rule group evaluations that were missed and made up for afterwards.",
            |counters| &counters.caught_up,
        )?;
        counter("prometheus_rule_evaluations", "The total number of rule evaluations.", |counters| {
            &counters.evaluations
        })?;
        counter(
            "prometheus_rule_evaluation_failures",
            "The total number of rule evaluation failures.",
            |counters| &counters.failures,
        )?;

        let mut gauge = |name, help, value: fn(&GroupSnapshot) -> f64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (snapshot, _) in &groups {
                ConstGauge::new(value(snapshot)).encode(family.encode_family(&label(snapshot))?)?;
            }
            Ok::<(), std::fmt::Error>(())
        };
        gauge("prometheus_rule_group_interval_seconds", "The interval of a rule group.", |group| {
            group.interval_ms as f64 / 1e3
        })?;
        gauge(
            "prometheus_rule_group_last_evaluation_timestamp_seconds",
            "The timestamp of the last rule group evaluation in seconds.",
            |group| group.last_evaluation.map_or(0.0, |at| at as f64 / 1e3),
        )?;
        gauge(
            "prometheus_rule_group_last_duration_seconds",
            "The duration of the last rule group evaluation.",
            |group| group.evaluation_time.as_secs_f64(),
        )?;
        gauge(
            "prometheus_rule_group_last_rule_duration_sum_seconds",
            "The sum of time in seconds it took to evaluate each rule in the group regardless of concurrency.",
            |group| group.rules.iter().map(|rule| rule.evaluation_time.as_secs_f64()).sum(),
        )?;
        gauge("prometheus_rule_group_rules", "The number of rules.", |group| group.rules.len() as f64)?;
        gauge(
            "prometheus_rule_group_last_evaluation_samples",
            "The number of samples returned during the last rule group evaluation.",
            |group| group.last_samples as f64,
        )?;

        let name = "prometheus_rule_group_last_restore_duration_seconds";
        let help =
            "The duration of the last alert rules alerts restoration using the `ALERTS_FOR_STATE` series.";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (snapshot, counters) in &groups {
            let took = Duration::from_nanos(counters.restored_nanos.load(Ordering::Relaxed));
            ConstGauge::new(took.as_secs_f64()).encode(family.encode_family(&label(snapshot))?)?;
        }

        let name = "prometheus_rule_evaluation_duration_seconds";
        self.durations.rules.encode(&mut encoder, name, "The duration for a rule to execute.")?;
        let name = "prometheus_rule_group_duration_seconds";
        self.durations.groups.encode(&mut encoder, name, "The duration of rule group evaluations.")
    }
}

/// `file;group`, as Prometheus names groups in its metrics.
fn label(group: &GroupSnapshot) -> GroupLabel {
    GroupLabel { rule_group: format!("{};{}", group.file, group.name) }
}
