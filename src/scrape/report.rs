//! The series that every scrape yields beside those of the page.
//! Source: Prometheus' documentation, "Automatically generated labels and time series".

use std::time::Duration;

use tracing::warn;

use super::Target;
use super::cache::Outcome;
use super::sample::join_labels;
use crate::model::{Labels, METRIC_NAME, Sample, TimestampMs, stale_nan};
use crate::storage::{AppendError, Appender};

/// In the order in which [`Report::store`] has their values.
const NAMES: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// A target's report series.
#[derive(Debug)]
pub(super) struct Report {
    series: [Labels; 5],
}

impl Report {
    pub(super) fn new(target: &Target) -> Self {
        let labels = |name| join_labels(&Labels::from_pairs([(METRIC_NAME, name)]), &target.labels, false);
        Self { series: NAMES.map(labels) }
    }

    /// Says how a scrape went.
    pub(super) fn store(
        &self,
        appender: &dyn Appender,
        at: TimestampMs,
        duration: Duration,
        outcome: &Outcome,
    ) {
        let values = [
            f64::from(u8::from(outcome.result.is_ok())),
            duration.as_secs_f64(),
            outcome.scraped as f64,
            outcome.added as f64,
            outcome.series_added as f64,
        ];
        self.append(appender, at, values);
    }

    /// Ends the series: the target is gone.
    pub(super) fn end(&self, appender: &dyn Appender, at: TimestampMs) {
        self.append(appender, at, [stale_nan(); 5]);
    }

    fn append(&self, appender: &dyn Appender, at: TimestampMs, values: [f64; 5]) {
        let samples: Vec<Sample> = self
            .series
            .iter()
            .zip(values)
            .map(|(labels, value)| Sample::new(labels.clone(), at, value))
            .collect();
        for (index, error) in appender.append_samples(&samples) {
            // Expected where a target goes away and comes back with a new loop.
            if !matches!(error, AppendError::OutOfOrder | AppendError::Duplicate) {
                warn!(series = %self.series[index], %error, "Appending scrape report failed: {error}");
            }
        }
    }
}
