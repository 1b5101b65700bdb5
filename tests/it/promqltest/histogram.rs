//! Native histograms made from classic ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use valmis::model::{
    BUCKET_LABEL, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, HistogramPoint, Labels, METRIC_NAME, TimestampMs,
    parse_float,
};
use valmis::ruletest::{SequenceValue, SeriesLine};

/// A classic histogram at an instant.
#[derive(Debug, Default)]
struct Classic {
    /// Cumulative counts with their upper bounds.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native histograms with custom buckets that `load_with_nhcb` makes of classic ones.
/// Source: Prometheus `util/convertnhcb/convertnhcb.go`.
pub(crate) fn converted(lines: &[SeriesLine], step_ms: i64) -> Vec<(Labels, Vec<HistogramPoint>)> {
    let mut classic: BTreeMap<Labels, BTreeMap<TimestampMs, Classic>> = BTreeMap::new();
    for SeriesLine { labels, values } in lines {
        let suffixes = ["_bucket", "_count", "_sum"];
        let name = labels.metric_name();
        let Some((base, suffix)) =
            suffixes.iter().find_map(|suffix| Some((name.strip_suffix(suffix)?, *suffix)))
        else {
            continue;
        };
        let bound = parse_float(labels.get(BUCKET_LABEL)).filter(|bound| !bound.is_nan());
        if suffix == "_bucket" && bound.is_none() {
            continue;
        }
        let labels = labels.builder().set(METRIC_NAME, base).remove(BUCKET_LABEL).build();
        let by_time = classic.entry(labels).or_default();
        for (index, value) in values.iter().enumerate() {
            let SequenceValue::Float(value) = value else { continue };
            let histogram = by_time.entry(index as i64 * step_ms).or_default();
            match (suffix, bound) {
                ("_bucket", Some(bound)) => histogram.buckets.push((bound, *value)),
                ("_count", _) => histogram.count = Some(*value),
                _ => histogram.sum = *value,
            }
        }
    }
    let points = |by_time: BTreeMap<TimestampMs, Classic>| {
        by_time.into_iter().map(|(at, classic)| HistogramPoint { at, histogram: Arc::new(classic.native()) })
    };
    classic.into_iter().map(|(labels, by_time)| (labels, points(by_time).collect())).collect()
}

impl Classic {
    fn native(mut self) -> FloatHistogram {
        self.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let highest = self.buckets.last().copied();
        let count = self.count.or(highest.map(|(_, count)| count)).unwrap_or(0.0);
        if highest.is_none_or(|(bound, _)| bound.is_finite()) {
            self.buckets.push((f64::INFINITY, count));
        }
        let bounds = self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect();
        let mut below = 0.0;
        let counts: Vec<(i32, f64)> = (0..)
            .zip(&self.buckets)
            .map(|(index, (_, cumulative))| {
                let count = cumulative - below;
                below = *cumulative;
                (index, count)
            })
            .collect();
        let mut histogram = FloatHistogram::empty(CUSTOM_BUCKETS_SCHEMA, bounds);
        (histogram.count, histogram.sum) = (count, self.sum);
        histogram.with_buckets(counts, [])
    }
}
