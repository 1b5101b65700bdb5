//! Recording rules: the result of an expression as a series.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::error::RuleError;
use crate::model::{HistogramSample, Labels, METRIC_NAME, Sample, TimestampMs};
use crate::promql::{Expr, InstantSample};
use crate::storage::{AppendError, Appender};

/// A rule that stores its expression's result under a name.
/// Source of the behaviour: Prometheus 3.14 `rules/recording.go`.
#[derive(Debug, Clone)]
pub struct RecordingRule {
    /// The series' name.
    pub name: String,
    /// What is stored.
    pub expr: Arc<Expr>,
    /// Labels for the series, those of the group included; an empty value removes a label.
    pub labels: BTreeMap<String, String>,
    /// How far samples are dated before the evaluation, in milliseconds.
    pub query_offset_ms: i64,
    /// How many series there may be; 0 for any number.
    pub limit: usize,
}

/// What a rule stores: samples of floats, and native histograms.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recorded {
    /// The floats.
    pub samples: Vec<Sample>,
    /// The native histograms.
    pub histograms: Vec<HistogramSample>,
}

impl Recorded {
    /// How many there are of both.
    pub fn len(&self) -> usize {
        self.samples.len() + self.histograms.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The series, floats before histograms.
    pub fn series(&self) -> impl Iterator<Item = &Labels> {
        let histograms = self.histograms.iter().map(|sample| &sample.labels);
        self.samples.iter().map(|sample| &sample.labels).chain(histograms)
    }

    /// Stores both. Returns the place in [`Self::series`] and the error of each that was refused.
    pub(super) fn store(&self, appender: &dyn Appender) -> Vec<(usize, AppendError)> {
        let mut refused = appender.append_samples(&self.samples);
        if !self.histograms.is_empty() {
            let late = appender.append_histogram_samples(&self.histograms);
            refused.extend(late.into_iter().map(|(index, error)| (self.samples.len() + index, error)));
        }
        refused
    }
}

impl From<Vec<Sample>> for Recorded {
    fn from(samples: Vec<Sample>) -> Self {
        Self { samples, histograms: Vec::new() }
    }
}

impl RecordingRule {
    /// What to store for a result.
    pub fn samples(&self, at: TimestampMs, result: &[InstantSample]) -> Result<Recorded, RuleError> {
        let at = at - self.query_offset_ms;
        let mut recorded = Recorded::default();
        for element in result {
            let mut labels = element.labels.builder();
            labels.set(METRIC_NAME, &self.name);
            for (name, value) in &self.labels {
                labels.set(name, value);
            }
            let labels = labels.build();
            match &element.histogram {
                Some(histogram) => {
                    let histogram = Arc::clone(histogram);
                    recorded.histograms.push(HistogramSample { labels, at, histogram });
                }
                None => recorded.samples.push(Sample::new(labels, at, element.value)),
            }
        }
        let count = recorded.len();
        let distinct: HashSet<&Labels> = recorded.series().collect();
        if distinct.len() < count {
            return Err(RuleError::DuplicateSeries);
        }
        if self.limit > 0 && count > self.limit {
            return Err(RuleError::SeriesLimit { limit: self.limit, count });
        }
        Ok(recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FloatHistogram;
    use crate::promql::parse;
    use crate::storage::MemoryStorage;

    #[test]
    fn native_histograms_are_recorded_beside_floats() {
        let rule = RecordingRule {
            name: "job:up:sum".to_owned(),
            expr: Arc::new(parse("up").expect("valid query")),
            labels: BTreeMap::new(),
            query_offset_ms: 5,
            limit: 0,
        };
        let float = InstantSample::float(Labels::from_pairs([("job", "a")]), 15, 1.0);
        let histogram = Some(Arc::new(FloatHistogram::empty(0, [].into())));
        let native =
            InstantSample { histogram, ..InstantSample::float(Labels::from_pairs([("job", "b")]), 15, 0.0) };
        let recorded = rule.samples(15, &[native.clone(), float]).expect("two series");
        let series: Vec<String> = recorded.series().map(ToString::to_string).collect();
        let expected = [r#"{__name__="job:up:sum", job="a"}"#, r#"{__name__="job:up:sum", job="b"}"#];
        assert_eq!(series, expected);
        let storage = MemoryStorage::new();
        assert_eq!(recorded.store(&storage), []);
        assert_eq!(storage.dump()[1].histograms[0].at, 10);
        let other = rule.samples(14, std::slice::from_ref(&native)).expect("one series");
        assert_eq!(other.store(&storage), [(0, AppendError::OutOfOrder)]);
        let twice = rule.samples(15, &[native.clone(), native]);
        assert!(matches!(twice, Err(RuleError::DuplicateSeries)), "{twice:?}");
    }
}
