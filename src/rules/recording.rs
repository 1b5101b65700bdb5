//! Recording rules: the result of an expression as a series.

use std::collections::{BTreeMap, HashSet};

use super::error::RuleError;
use crate::model::{Labels, METRIC_NAME, Sample, TimestampMs};
use crate::promql::{Expr, InstantSample};

/// A rule that stores its expression's result under a name.
/// Source of the behaviour: Prometheus 3.14 `rules/recording.go`.
#[derive(Debug, Clone)]
pub struct RecordingRule {
    /// The series' name.
    pub name: String,
    /// What is stored.
    pub expr: Expr,
    /// Labels for the series, those of the group included; an empty value removes a label.
    pub labels: BTreeMap<String, String>,
    /// How far samples are dated before the evaluation, in milliseconds.
    pub query_offset_ms: i64,
    /// How many series there may be; 0 for any number.
    pub limit: usize,
}

impl RecordingRule {
    /// The samples to store for a result.
    pub fn samples(&self, at: TimestampMs, result: &[InstantSample]) -> Result<Vec<Sample>, RuleError> {
        if result.iter().any(|element| element.histogram.is_some()) {
            return Err(RuleError::HistogramResult);
        }
        let samples: Vec<Sample> = result
            .iter()
            .map(|element| {
                let mut labels = element.labels.builder();
                labels.set(METRIC_NAME, &self.name);
                for (name, value) in &self.labels {
                    labels.set(name, value);
                }
                Sample::new(labels.build(), at - self.query_offset_ms, element.value)
            })
            .collect();
        let distinct: HashSet<&Labels> = samples.iter().map(|sample| &sample.labels).collect();
        if distinct.len() < samples.len() {
            return Err(RuleError::DuplicateSeries);
        }
        if self.limit > 0 && samples.len() > self.limit {
            return Err(RuleError::SeriesLimit { limit: self.limit, count: samples.len() });
        }
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::FloatHistogram;
    use crate::promql::parse;

    #[test]
    fn native_histograms_are_refused() {
        let rule = RecordingRule {
            name: "job:up:sum".to_owned(),
            expr: parse("up").expect("valid query"),
            labels: BTreeMap::new(),
            query_offset_ms: 0,
            limit: 0,
        };
        let float = InstantSample::float(Labels::empty(), 0, 1.0);
        assert_eq!(rule.samples(0, std::slice::from_ref(&float)).expect("a sample").len(), 1);
        let histogram = Some(Arc::new(FloatHistogram::empty(0, [].into())));
        let refused = rule.samples(0, &[InstantSample { histogram, ..float }]);
        assert!(matches!(refused, Err(RuleError::HistogramResult)), "{refused:?}");
    }
}
