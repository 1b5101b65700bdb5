//! Pages of protobuf messages, the only ones with native histograms: metric families, each with its length
//! before it. Source: Prometheus 3.14 `prompb/io/prometheus/client/metrics.proto`; what becomes of a family
//! follows `model/textparse/protobufparse.go`. Exemplars and start timestamps, which nothing uses, are not
//! decoded.

use std::sync::Arc;

use prost::Message;

use super::native::{BucketSpan, HistogramFault, RawCounts, RawHistogram};
use super::number::format_bound;
use super::{Metadata, MetricType};
use crate::model::{BUCKET_LABEL, CounterReset, FloatHistogram, Labels, METRIC_NAME, TimestampMs};

/// The label that holds a summary's quantile.
const QUANTILE_LABEL: &str = "quantile";

/// What is read of histograms that have a native form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistogramForms {
    /// The series of the classic form.
    Classic,
    /// The native form.
    Native,
    /// Both.
    Both,
}

/// A page that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// Not the expected messages.
    #[error("metric family {number}: {fault}")]
    Message {
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        fault: prost::DecodeError,
    },
    /// A family without a name.
    #[error("invalid metric name: {0}")]
    Name(String),
    /// A type that is not known.
    #[error("unknown metric type for metric {name:?}: {kind}")]
    Type {
        /// The family.
        name: String,
        /// Its type, a number.
        kind: i32,
    },
    /// A label without a name, or one twice.
    #[error("metric {name:?}: label {label:?} has no name or is not unique")]
    Label {
        /// The family.
        name: String,
        /// The label.
        label: String,
    },
    /// A native histogram that is none.
    #[error("histogram {name:?}: {fault}")]
    Histogram {
        /// The family.
        name: String,
        /// What is wrong.
        fault: HistogramFault,
    },
}

/// A sample of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct ProtobufSample<'a> {
    /// Stands for the labels: the same bytes mean the same series. No text format has such bytes.
    pub series: &'a [u8],
    /// The value.
    pub value: SampleValue,
    /// When it was taken, if the page says so.
    pub at: Option<TimestampMs>,
}

/// The value of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// A metric family.
#[derive(Debug)]
pub struct Family {
    name: String,
    metadata: Metadata,
    metrics: Vec<WireMetric>,
}

/// The families of a page; an error ends them.
pub fn families(page: &[u8]) -> impl Iterator<Item = Result<Family, ProtobufError>> {
    let mut rest = page;
    (1..).map_while(move |number| {
        if rest.is_empty() {
            return None;
        }
        let message = WireFamily::decode_length_delimited(&mut rest);
        if message.is_err() {
            rest = &[];
        }
        let family = message.map_err(|fault| ProtobufError::Message { number, fault });
        Some(family.and_then(Family::of))
    })
}

impl Family {
    fn of(wire: WireFamily) -> Result<Self, ProtobufError> {
        let WireFamily { name, help, kind, metrics, unit } = wire;
        if name.is_empty() {
            return Err(ProtobufError::Name(name));
        }
        let kind = match kind {
            0 => MetricType::Counter,
            1 => MetricType::Gauge,
            2 => MetricType::Summary,
            3 => MetricType::Unknown,
            4 => MetricType::Histogram,
            5 => MetricType::GaugeHistogram,
            kind => return Err(ProtobufError::Type { name, kind }),
        };
        Ok(Self { name, metadata: Metadata { kind, help: help.into(), unit }, metrics })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Type, help and unit.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Gives every sample to `take`, which may ask for its labels and may end it.
    pub fn for_each_sample<E: From<ProtobufError>>(
        &self,
        forms: HistogramForms,
        take: impl FnMut(ProtobufSample<'_>, &dyn Fn() -> Labels) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut out = Samples { family: self, key: Vec::new(), take };
        for metric in &self.metrics {
            self.check_labels(metric)?;
            match self.metadata.kind {
                MetricType::Summary => out.summary(metric)?,
                MetricType::Histogram | MetricType::GaugeHistogram => out.histogram(metric, forms)?,
                MetricType::Counter => out.float(metric, "", None, value(metric.counter))?,
                MetricType::Gauge => out.float(metric, "", None, value(metric.gauge))?,
                _ => out.float(metric, "", None, value(metric.untyped))?,
            }
        }
        Ok(())
    }

    fn check_labels(&self, metric: &WireMetric) -> Result<(), ProtobufError> {
        let fault = metric.labels.iter().enumerate().find(|(index, label)| {
            let named = |other: &WireLabel| other.name == label.name;
            label.name.is_empty() || label.name == METRIC_NAME || metric.labels[..*index].iter().any(named)
        });
        match fault {
            Some((_, label)) => {
                Err(ProtobufError::Label { name: self.name.clone(), label: label.name.clone() })
            }
            None => Ok(()),
        }
    }
}

fn value(wire: Option<WireValue>) -> f64 {
    wire.map_or(0.0, |wire| wire.value)
}

/// The samples of a family on their way out.
struct Samples<'f, T> {
    family: &'f Family,
    key: Vec<u8>,
    take: T,
}

impl<E: From<ProtobufError>, T: FnMut(ProtobufSample<'_>, &dyn Fn() -> Labels) -> Result<(), E>>
    Samples<'_, T>
{
    fn float(
        &mut self,
        metric: &WireMetric,
        suffix: &str,
        label: Option<(&str, f64)>,
        value: f64,
    ) -> Result<(), E> {
        self.sample(metric, suffix, label, SampleValue::Float(value))
    }

    fn sample(
        &mut self,
        metric: &WireMetric,
        suffix: &str,
        bound: Option<(&str, f64)>,
        value: SampleValue,
    ) -> Result<(), E> {
        let bound = bound.map(|(name, bound)| (name, format_bound(bound)));
        self.key.clear();
        self.key.push(SEPARATOR);
        self.key.extend_from_slice(self.family.name.as_bytes());
        self.key.extend_from_slice(suffix.as_bytes());
        let own = metric.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        let bound = bound.as_ref().map(|(name, bound)| (*name, bound.as_str()));
        let pairs = own.chain(bound);
        for (name, value) in pairs.clone() {
            for text in [name, value] {
                self.key.push(SEPARATOR);
                self.key.extend_from_slice(text.as_bytes());
            }
        }
        // Nobody can tell an instant of 0 from none.
        let at = Some(metric.timestamp_ms).filter(|at| *at != 0);
        let labels = || {
            let mut builder = Labels::empty().builder();
            builder.set(METRIC_NAME, &format!("{}{suffix}", self.family.name));
            for (name, value) in pairs.clone() {
                builder.set(name, value);
            }
            builder.build()
        };
        (self.take)(ProtobufSample { series: &self.key, value, at }, &labels)
    }

    fn summary(&mut self, metric: &WireMetric) -> Result<(), E> {
        let Some(summary) = &metric.summary else { return Ok(()) };
        self.float(metric, "_count", None, summary.count as f64)?;
        self.float(metric, "_sum", None, summary.sum)?;
        for quantile in &summary.quantiles {
            self.float(metric, "", Some((QUANTILE_LABEL, quantile.quantile)), quantile.value)?;
        }
        Ok(())
    }

    fn histogram(&mut self, metric: &WireMetric, forms: HistogramForms) -> Result<(), E> {
        let Some(histogram) = &metric.histogram else { return Ok(()) };
        if forms == HistogramForms::Classic || !histogram.is_native() {
            return self.classic(metric, histogram);
        }
        let gauge = self.family.metadata.kind == MetricType::GaugeHistogram;
        let native = histogram
            .native(gauge)
            .map_err(|fault| ProtobufError::Histogram { name: self.family.name.clone(), fault })?;
        self.sample(metric, "", None, SampleValue::Histogram(Arc::new(native)))?;
        if forms == HistogramForms::Both && !histogram.buckets.is_empty() {
            self.classic(metric, histogram)?;
        }
        Ok(())
    }

    fn classic(&mut self, metric: &WireMetric, histogram: &WireHistogram) -> Result<(), E> {
        let count = either(histogram.count_float, histogram.count);
        self.float(metric, "_count", None, count)?;
        self.float(metric, "_sum", None, histogram.sum)?;
        for bucket in &histogram.buckets {
            let count = either(bucket.count_float, bucket.count);
            self.float(metric, "_bucket", Some((BUCKET_LABEL, bucket.upper_bound)), count)?;
            if bucket.upper_bound == f64::INFINITY {
                return Ok(());
            }
        }
        self.float(metric, "_bucket", Some((BUCKET_LABEL, f64::INFINITY)), count)
    }
}

/// Stands between the texts of a key: no UTF-8 has this byte.
const SEPARATOR: u8 = 0xff;

/// A count that may be given as a float.
fn either(float: f64, whole: u64) -> f64 {
    if float == 0.0 { whole as f64 } else { float }
}

/// `io.prometheus.client.MetricFamily`.
#[derive(Clone, PartialEq, Message)]
struct WireFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<WireMetric>,
    #[prost(string, tag = "5")]
    unit: String,
}

/// `io.prometheus.client.Metric`.
#[derive(Clone, PartialEq, Message)]
struct WireMetric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<WireLabel>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<WireValue>,
    #[prost(message, optional, tag = "3")]
    counter: Option<WireValue>,
    #[prost(message, optional, tag = "4")]
    summary: Option<WireSummary>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<WireValue>,
    #[prost(int64, tag = "6")]
    timestamp_ms: i64,
    #[prost(message, optional, tag = "7")]
    histogram: Option<WireHistogram>,
}

/// `io.prometheus.client.LabelPair`.
#[derive(Clone, PartialEq, Message)]
struct WireLabel {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `Counter`, `Gauge` and `Untyped`.
#[derive(Clone, Copy, PartialEq, Message)]
struct WireValue {
    #[prost(double, tag = "1")]
    value: f64,
}

/// `io.prometheus.client.Summary`.
#[derive(Clone, PartialEq, Message)]
struct WireSummary {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    quantiles: Vec<WireQuantile>,
}

/// `io.prometheus.client.Quantile`.
#[derive(Clone, Copy, PartialEq, Message)]
struct WireQuantile {
    #[prost(double, tag = "1")]
    quantile: f64,
    #[prost(double, tag = "2")]
    value: f64,
}

/// `io.prometheus.client.Histogram`.
#[derive(Clone, PartialEq, Message)]
struct WireHistogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    buckets: Vec<WireBucket>,
    #[prost(double, tag = "4")]
    count_float: f64,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(double, tag = "8")]
    zero_count_float: f64,
    #[prost(message, repeated, tag = "9")]
    negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "10")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "11")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "14")]
    positive_counts: Vec<f64>,
}

/// `io.prometheus.client.Bucket`.
#[derive(Clone, Copy, PartialEq, Message)]
struct WireBucket {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
    #[prost(double, tag = "4")]
    count_float: f64,
}

impl WireHistogram {
    /// Whether there is a native form. A library marks one without observations by an empty span.
    /// Source: Prometheus 3.14 `model/textparse/protobufparse.go`, `isNativeHistogram`.
    fn is_native(&self) -> bool {
        !self.positive_spans.is_empty()
            || !self.negative_spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    fn native(&self, gauge: bool) -> Result<FloatHistogram, HistogramFault> {
        let counts = if self.count_float > 0.0 || self.zero_count_float > 0.0 {
            RawCounts::Float {
                count: self.count_float,
                zero_count: self.zero_count_float,
                positive: &self.positive_counts,
                negative: &self.negative_counts,
            }
        } else {
            RawCounts::Whole {
                count: self.count,
                zero_count: self.zero_count,
                positive_deltas: &self.positive_deltas,
                negative_deltas: &self.negative_deltas,
            }
        };
        let raw = RawHistogram {
            counter_reset: if gauge { CounterReset::Gauge } else { CounterReset::Unknown },
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            positive_spans: &self.positive_spans,
            negative_spans: &self.negative_spans,
            counts,
            custom_values: &[],
        };
        raw.check()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label(name: &str, value: &str) -> WireLabel {
        WireLabel { name: name.to_owned(), value: value.to_owned() }
    }

    fn family(name: &str, kind: i32, metrics: Vec<WireMetric>) -> WireFamily {
        WireFamily {
            name: name.to_owned(),
            help: "what it is".to_owned(),
            kind,
            metrics,
            unit: "s".to_owned(),
        }
    }

    fn native() -> WireHistogram {
        let bucket = |upper_bound, count| WireBucket { count, upper_bound, count_float: 0.0 };
        WireHistogram {
            count: 6,
            sum: 1.5,
            buckets: vec![bucket(0.5, 2), bucket(1.0, 5)],
            schema: 0,
            zero_threshold: 0.001,
            zero_count: 1,
            positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
            positive_deltas: vec![3, -1],
            ..WireHistogram::default()
        }
    }

    fn page(families: &[WireFamily]) -> Vec<u8> {
        families.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
    }

    /// The samples as text.
    fn read(page: &[u8], forms: HistogramForms) -> Result<Vec<String>, ProtobufError> {
        let mut lines = Vec::new();
        for family in families(page) {
            family?.for_each_sample(forms, |sample, labels| {
                let value = match sample.value {
                    SampleValue::Float(value) => value.to_string(),
                    SampleValue::Histogram(histogram) => histogram.to_string(),
                };
                let at = sample.at.map(|at| format!("@{at}")).unwrap_or_default();
                lines.push(format!("{} {value}{at}", labels()));
                Ok::<_, ProtobufError>(())
            })?;
        }
        Ok(lines)
    }

    #[test]
    fn every_type_becomes_the_series_of_the_text_format() {
        let value = Some(WireValue { value: 2.5 });
        let summary = WireSummary {
            count: 3,
            sum: 4.0,
            quantiles: vec![
                WireQuantile { quantile: 0.5, value: 1.0 },
                WireQuantile { quantile: 1.0, value: 2.0 },
            ],
        };
        let one = |metric| vec![metric];
        let families = [
            family(
                "c_total",
                0,
                one(WireMetric { counter: value, timestamp_ms: 7, ..WireMetric::default() }),
            ),
            family(
                "g",
                1,
                vec![
                    WireMetric { gauge: value, labels: vec![label("a", "1")], ..WireMetric::default() },
                    WireMetric::default(),
                ],
            ),
            family("s", 2, one(WireMetric { summary: Some(summary), ..WireMetric::default() })),
            family("u", 3, one(WireMetric { untyped: value, ..WireMetric::default() })),
            family("h", 4, one(WireMetric { histogram: Some(native()), ..WireMetric::default() })),
        ];
        let classic = [
            r#"{__name__="c_total"} 2.5@7"#,
            r#"{__name__="g", a="1"} 2.5"#,
            r#"{__name__="g"} 0"#,
            r#"{__name__="s_count"} 3"#,
            r#"{__name__="s_sum"} 4"#,
            r#"{__name__="s", quantile="0.5"} 1"#,
            r#"{__name__="s", quantile="1.0"} 2"#,
            r#"{__name__="u"} 2.5"#,
            r#"{__name__="h_count"} 6"#,
            r#"{__name__="h_sum"} 1.5"#,
            r#"{__name__="h_bucket", le="0.5"} 2"#,
            r#"{__name__="h_bucket", le="1.0"} 5"#,
            r#"{__name__="h_bucket", le="+Inf"} 6"#,
        ];
        let histogram = r#"{__name__="h"} {count:6, sum:1.5, [-0.001,0.001]:1, (0.5,1]:3, (1,2]:2}"#;
        assert_eq!(read(&page(&families), HistogramForms::Classic).unwrap(), classic);
        let both: Vec<_> = classic[..8].iter().chain([&histogram]).chain(&classic[8..]).collect();
        assert_eq!(read(&page(&families), HistogramForms::Both).unwrap().iter().collect::<Vec<_>>(), both);
        let native = &both[..9];
        assert_eq!(
            read(&page(&families), HistogramForms::Native).unwrap().iter().collect::<Vec<_>>(),
            native
        );
    }

    #[test]
    fn a_histogram_without_native_parts_is_classic() {
        let classic =
            WireHistogram { zero_threshold: 0.0, zero_count: 0, positive_spans: vec![], ..native() };
        let of = |histogram| WireMetric { histogram: Some(histogram), ..WireMetric::default() };
        let lines = read(&page(&[family("h", 4, vec![of(classic)])]), HistogramForms::Native).unwrap();
        assert_eq!(lines.len(), 5);
        let empty = WireHistogram { positive_spans: vec![BucketSpan::default()], ..WireHistogram::default() };
        let lines = read(&page(&[family("h", 4, vec![of(empty)])]), HistogramForms::Native).unwrap();
        assert_eq!(lines, [r#"{__name__="h"} {count:0, sum:0}"#]);
    }

    #[test]
    fn float_and_gauge_histograms_are_read() {
        let float = WireHistogram {
            count_float: 3.5,
            zero_count_float: 0.5,
            positive_counts: vec![1.0, 2.0],
            ..native()
        };
        let metric = WireMetric { histogram: Some(float), ..WireMetric::default() };
        let page = page(&[family("h", 5, vec![metric])]);
        let family = families(&page).next().unwrap().unwrap();
        assert_eq!(family.name(), "h");
        let expected =
            Metadata { kind: MetricType::GaugeHistogram, help: "what it is".into(), unit: "s".to_owned() };
        assert_eq!(family.metadata(), &expected);
        let mut found = Vec::new();
        let take = |sample: ProtobufSample<'_>, _: &dyn Fn() -> Labels| {
            found.push(sample.value);
            Ok::<_, ProtobufError>(())
        };
        family.for_each_sample(HistogramForms::Native, take).unwrap();
        let [SampleValue::Histogram(histogram)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(histogram.counter_reset, CounterReset::Gauge);
        assert_eq!(histogram.to_string(), "{count:3.5, sum:1.5, [-0.001,0.001]:0.5, (0.5,1]:1, (1,2]:2}");
    }

    #[test]
    fn different_series_have_different_keys() {
        let of = |pairs: &[(&str, &str)]| WireMetric {
            labels: pairs.iter().map(|(name, value)| label(name, value)).collect(),
            ..WireMetric::default()
        };
        let metrics =
            vec![of(&[("a", "b"), ("c", "d")]), of(&[("a", "bcd")]), of(&[("a", "bc"), ("d", "")]), of(&[])];
        let page = page(&[family("g", 1, metrics), family("ga", 1, vec![of(&[])])]);
        let mut keys = std::collections::BTreeSet::new();
        for family in families(&page) {
            let take = |sample: ProtobufSample<'_>, _: &dyn Fn() -> Labels| {
                assert!(std::str::from_utf8(sample.series).is_err(), "no text format has it");
                keys.insert(sample.series.to_vec());
                Ok::<_, ProtobufError>(())
            };
            family.unwrap().for_each_sample(HistogramForms::Native, take).unwrap();
        }
        assert_eq!(keys.len(), 5);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let check = |page: &[u8], expected: &str| {
            let error = read(page, HistogramForms::Native).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(b"up 1\n", "metric family 1: ");
        let sound = page(&[family("g", 1, vec![])]);
        check(&[&sound[..], &[9, 1]].concat(), "metric family 2: ");
        check(&page(&[family("", 1, vec![])]), "invalid metric name: ");
        check(&page(&[family("g", 9, vec![])]), "unknown metric type for metric \"g\": 9");
        let metric = |labels| WireMetric { labels, ..WireMetric::default() };
        for name in ["", "__name__", "b"] {
            let labels = vec![label("b", "1"), label(name, "2")];
            let expected = format!("metric \"g\": label {name:?} has no name or is not unique");
            check(&page(&[family("g", 1, vec![metric(labels)])]), &expected);
        }
        let histogram = WireHistogram { positive_deltas: vec![3], ..native() };
        let metric = WireMetric { histogram: Some(histogram), ..WireMetric::default() };
        check(
            &page(&[family("h", 4, vec![metric])]),
            "histogram \"h\": positive side: spans need 2 buckets, have 1 buckets",
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = read(&bytes, HistogramForms::Both);
        }
    }
}
