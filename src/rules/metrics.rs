//! What the rules tell about themselves, under Prometheus' own names and with their meaning
//! (`rules/group.go`, `NewGroupMetrics`).
//!
//! Most of it is known anyway and read when it is asked for, so that nothing remains of a group that
//! is gone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::manager::Groups;
use super::snapshot::GroupSnapshot;

/// The quantiles of evaluation durations. Source: Prometheus 3.14 `rules/group.go`.
const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")];

/// Quantiles are those of the last ten minutes. Source: `client_golang`, `DefMaxAge`.
const WINDOW: Duration = Duration::from_mins(10);

/// At most so many durations are remembered; beyond it quantiles are those of the latest.
const MAX_DURATIONS: usize = 4096;

/// Counters of a group; a group that is reloaded goes on counting.
#[derive(Debug, Default)]
pub(super) struct GroupCounters {
    pub(super) iterations: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) caught_up: AtomicU64,
    pub(super) evaluations: AtomicU64,
    pub(super) failures: AtomicU64,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// How long evaluations of rules take.
#[derive(Debug)]
pub(super) struct Durations {
    histogram: Histogram,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    durations: VecDeque<(Instant, f64)>,
    count: u64,
    sum: f64,
}

impl Default for Durations {
    fn default() -> Self {
        Self { histogram: Histogram::new([0.01, 0.1, 1.0, 10.0]), recent: Mutex::default() }
    }
}

impl Durations {
    pub(super) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        self.histogram.observe(seconds);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.count += 1;
        recent.sum += seconds;
        if recent.durations.len() == MAX_DURATIONS {
            recent.durations.pop_front();
        }
        recent.durations.push_back((Instant::now(), seconds));
    }

    /// Count, sum and quantiles; those are NaN if there was nothing in the window.
    fn summary(&self) -> (u64, f64, [f64; QUANTILES.len()]) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.durations.front().is_some_and(|(at, _)| at.elapsed() > WINDOW) {
            recent.durations.pop_front();
        }
        let mut sorted: Vec<f64> = recent.durations.iter().map(|(_, seconds)| *seconds).collect();
        sorted.sort_by(f64::total_cmp);
        let quantile = |(quantile, _): (f64, &str)| {
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        (recent.count, recent.sum, QUANTILES.map(quantile))
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

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QuantileLabel {
    quantile: &'static str,
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
        gauge("prometheus_rule_group_rules", "The number of rules.", |group| group.rules.len() as f64)?;
        gauge(
            "prometheus_rule_group_last_evaluation_samples",
            "The number of samples returned during the last rule group evaluation.",
            |group| group.last_samples as f64,
        )?;

        // The library has no summaries; these are a summary's series without its type.
        let (count, sum, quantiles) = self.durations.summary();
        let name = "prometheus_rule_evaluation_duration_seconds";
        let help = "The duration for a rule to execute.";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Unknown)?;
        for ((_, quantile), value) in QUANTILES.iter().zip(quantiles) {
            ConstGauge::new(value).encode(family.encode_family(&QuantileLabel { quantile })?)?;
        }
        for (part, value) in [("sum", sum), ("count", count as f64)] {
            let name = format!("{name}_{part}");
            let plain = encoder.encode_descriptor(&name, help, None, MetricType::Unknown)?;
            ConstGauge::new(value).encode(plain)?;
        }
        Ok(())
    }
}

/// `file;group`, as Prometheus names groups in its metrics.
fn label(group: &GroupSnapshot) -> GroupLabel {
    GroupLabel { rule_group: format!("{};{}", group.file, group.name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn quantiles_are_those_of_the_last_ten_minutes() {
        let durations = Durations::default();
        assert!(durations.summary().2[0].is_nan());
        durations.observe(Duration::from_secs(1000));
        tokio::time::advance(WINDOW + Duration::from_secs(1)).await;
        for seconds in 1..=100 {
            durations.observe(Duration::from_secs(seconds));
        }
        assert_eq!(durations.summary(), (101, 6050.0, [50.0, 90.0, 99.0]));
    }
}
