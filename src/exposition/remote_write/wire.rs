//! The protobuf messages. Metadata and exemplars, which nothing uses, are not decoded.

use prost::{Message, Oneof};

use crate::exposition::native::{BucketSpan, HistogramFault, RawCounts, RawHistogram};
use crate::model::{CounterReset, FloatHistogram, HistogramSample, Labels};

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) timeseries: Vec<TimeSeries>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<WireSample>,
    #[prost(message, repeated, tag = "4")]
    pub(super) histograms: Vec<WireHistogram>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `prometheus.Sample`, and `io.prometheus.write.v2.Sample` without its start timestamp, for which the
/// store has no place.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct WireSample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

/// `io.prometheus.write.v2.Request`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(string, repeated, tag = "4")]
    pub(super) symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub(super) timeseries: Vec<SymbolicTimeSeries>,
}

/// `io.prometheus.write.v2.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SymbolicTimeSeries {
    /// Names and values in turn, as their places in the table of symbols.
    #[prost(uint32, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<WireSample>,
    #[prost(message, repeated, tag = "3")]
    pub(super) histograms: Vec<WireHistogram>,
}

/// `prometheus.Histogram`, and `io.prometheus.write.v2.Histogram` without its start timestamp.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireHistogram {
    #[prost(oneof = "Count", tags = "1, 2")]
    pub(super) count: Option<Count>,
    #[prost(double, tag = "3")]
    pub(super) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(super) schema: i32,
    #[prost(double, tag = "5")]
    pub(super) zero_threshold: f64,
    #[prost(oneof = "ZeroCount", tags = "6, 7")]
    pub(super) zero_count: Option<ZeroCount>,
    #[prost(message, repeated, tag = "8")]
    pub(super) negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    pub(super) negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub(super) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub(super) positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub(super) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(super) positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub(super) reset_hint: i32,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "15")]
    pub(super) timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub(super) custom_values: Vec<f64>,
}

/// How many observations there are.
#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum Count {
    #[prost(uint64, tag = "1")]
    Whole(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

/// How many observations there are in the zero bucket.
#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum ZeroCount {
    #[prost(uint64, tag = "6")]
    Whole(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

/// The values of `ResetHint`.
const RESET_HINTS: [CounterReset; 4] =
    [CounterReset::Unknown, CounterReset::Reset, CounterReset::NotReset, CounterReset::Gauge];

impl WireHistogram {
    /// Checks what it says.
    pub(super) fn histogram(&self) -> Result<FloatHistogram, HistogramFault> {
        let hint = usize::try_from(self.reset_hint).ok().and_then(|hint| RESET_HINTS.get(hint));
        let counts = match self.count {
            Some(Count::Float(count)) => RawCounts::Float {
                count,
                zero_count: match self.zero_count {
                    Some(ZeroCount::Float(count)) => count,
                    _ => 0.0,
                },
                positive: &self.positive_counts,
                negative: &self.negative_counts,
            },
            count => RawCounts::Whole {
                count: match count {
                    Some(Count::Whole(count)) => count,
                    _ => 0,
                },
                zero_count: match self.zero_count {
                    Some(ZeroCount::Whole(count)) => count,
                    _ => 0,
                },
                positive_deltas: &self.positive_deltas,
                negative_deltas: &self.negative_deltas,
            },
        };
        let raw = RawHistogram {
            counter_reset: hint.copied().unwrap_or_default(),
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            positive_spans: &self.positive_spans,
            negative_spans: &self.negative_spans,
            counts,
            custom_values: &self.custom_values,
        };
        raw.check()
    }

    /// A histogram with whole counts, if that is what it has, or with floats.
    pub(super) fn of(sample: &HistogramSample) -> Self {
        let histogram = &sample.histogram;
        let hint = RESET_HINTS.iter().position(|known| *known == histogram.counter_reset);
        let (positive_spans, positive_counts) = spans(histogram.positive());
        let (negative_spans, negative_counts) = spans(histogram.negative());
        let wire = Self {
            sum: histogram.sum,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            negative_spans,
            positive_spans,
            reset_hint: hint.expect("the list has all of them") as i32,
            timestamp: sample.at,
            custom_values: histogram.custom_values().to_vec(),
            ..Self::default()
        };
        match (deltas(&positive_counts), deltas(&negative_counts)) {
            (Some(positive_deltas), Some(negative_deltas)) if has_whole_totals(histogram) => Self {
                count: Some(Count::Whole(histogram.count as u64)),
                zero_count: Some(ZeroCount::Whole(histogram.zero_count as u64)),
                positive_deltas,
                negative_deltas,
                ..wire
            },
            _ => Self {
                count: Some(Count::Float(histogram.count)),
                zero_count: Some(ZeroCount::Float(histogram.zero_count)),
                positive_counts,
                negative_counts,
                ..wire
            },
        }
    }
}

/// Up to here a float holds every whole number.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

fn is_whole(count: f64) -> bool {
    (0.0..MAX_WHOLE).contains(&count) && count.fract() == 0.0
}

/// Whether what belongs to no bucket is whole, and whole counts may have such a count of all.
fn has_whole_totals(histogram: &FloatHistogram) -> bool {
    let buckets = histogram.positive().iter().chain(histogram.negative());
    let in_buckets = histogram.zero_count + buckets.map(|(_, count)| count).sum::<f64>();
    is_whole(histogram.count) && is_whole(histogram.zero_count) && histogram.count == in_buckets
}

/// Whole counts as the difference from the one before.
fn deltas(counts: &[f64]) -> Option<Vec<i64>> {
    let mut last = 0;
    let delta = |count: &f64| {
        let before = std::mem::replace(&mut last, is_whole(*count).then_some(*count as i64)?);
        Some(last - before)
    };
    counts.iter().map(delta).collect()
}

/// Runs of neighbours, and the counts.
fn spans(buckets: &[(i32, f64)]) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut end = 0;
    let runs = buckets.chunk_by(|one, next| i64::from(one.0) + 1 == i64::from(next.0));
    let spans = runs.map(|run| {
        let offset = run[0].0.wrapping_sub(end);
        end = run[run.len() - 1].0.wrapping_add(1);
        BucketSpan { offset, length: run.len() as u32 }
    });
    (spans.collect(), buckets.iter().map(|(_, count)| *count).collect())
}

/// The labels as `prometheus.TimeSeries` has them.
pub(super) fn wire_labels(labels: &Labels) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect()
}
