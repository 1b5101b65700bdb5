use proptest::prelude::*;

use super::wire::{Count, Label, SymbolicTimeSeries};
use super::*;
use crate::exposition::native::BucketSpan;
use crate::model::{CounterReset, FloatHistogram, is_stale, stale_nan};

fn body(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    let message = WriteRequest { timeseries }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

fn wire_histogram(count: u64) -> WireHistogram {
    WireHistogram {
        count: Some(Count::Whole(count)),
        sum: 4.5,
        positive_spans: vec![BucketSpan { offset: 1, length: 2 }],
        positive_deltas: vec![1, 1],
        timestamp: 6,
        ..WireHistogram::default()
    }
}

fn series(pairs: &[(&str, &str)]) -> TimeSeries {
    let labels = pairs.iter().map(|(n, v)| Label { name: (*n).to_owned(), value: (*v).to_owned() });
    TimeSeries {
        labels: labels.collect(),
        samples: vec![WireSample { value: 1.0, timestamp: 5 }],
        histograms: vec![wire_histogram(3)],
    }
}

#[test]
fn samples_read_back_as_written_and_markers_keep_their_bits() {
    let up = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
    let samples = [
        Sample::new(up.clone(), -1, 1.0),
        Sample::new(up, 1_700_000_000_000, stale_nan()),
        Sample::new(Labels::from_pairs([("__name__", "x")]), 3, f64::INFINITY),
    ];
    let decoded = decode(Protocol::V1, &encode(&samples), DEFAULT_LIMIT).unwrap();
    assert_eq!(decoded.samples, samples);
    assert!(is_stale(decoded.samples[1].value));
}

#[test]
fn a_faulty_series_does_not_lose_the_others() {
    let decoded = decode(
        Protocol::V1,
        &body(vec![
            series(&[("__name__", "a")]),
            series(&[("job", "b")]),
            series(&[("__name__", "c"), ("d", "1"), ("d", "2")]),
            series(&[("__name__", "e"), ("", "1")]),
        ]),
        DEFAULT_LIMIT,
    )
    .unwrap();
    assert_eq!(decoded.samples.len(), 1);
    assert_eq!(decoded.histograms.len(), 1);
    let faults: Vec<_> = decoded.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "series {job=\"b\"} has no metric name",
            "series {__name__=\"c\", d=\"2\"} has the label `d` twice",
            "series {\"\"=\"1\", __name__=\"e\"} has a label without a name",
        ]
    );
}

#[test]
fn what_is_no_request_is_refused() {
    let compress = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    let check = |body: &[u8], limit, expected: &str| {
        let error = decode(Protocol::V1, body, limit).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check(b"", 10, "cannot decompress the body as a snappy block: ");
    check(b"\x05hello", 10, "cannot decompress the body as a snappy block: ");
    check(&compress(&[0; 11]), 10, "the body decompresses to 11 bytes, more than the limit of 10");
    check(&compress(b"not protobuf"), 100, "cannot decode the body as a WriteRequest: ");
    let too_many = "the body holds more than 1000000 items, or 5000000 buckets, or a series with more than 1000 \
                    labels";
    check(&compress(&b"\x0a\x00".repeat(1_000_001)), DEFAULT_LIMIT, too_many);
    let labels: Vec<_> = (0..1_001).map(|n| (n.to_string(), "x")).collect();
    let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    check(&body(vec![series(&labels)]), DEFAULT_LIMIT, too_many);
}

#[test]
fn histograms_read_back_as_written() {
    let labels = Labels::from_pairs([("__name__", "h")]);
    let sample =
        |at, histogram| HistogramSample { labels: labels.clone(), at, histogram: Arc::new(histogram) };
    let mut exponential = FloatHistogram::empty(3, [].into())
        .with_buckets([(-7, 1.5), (-6, 2.0), (4, 1.0)], [(2, 0.5)])
        .with_counter_reset(CounterReset::Gauge);
    (exponential.zero_threshold, exponential.zero_count) = (1e-9, 2.5);
    (exponential.count, exponential.sum) = (7.5, -2.0);
    let mut custom = FloatHistogram::empty(-53, [0.5, 1.0].into()).with_buckets([(0, 1.0), (2, 2.0)], []);
    (custom.count, custom.sum) = (3.0, f64::NAN);
    let mut whole = FloatHistogram::empty(0, [].into()).with_buckets([(0, 3.0), (1, 1.0)], [(5, 2.0)]);
    (whole.count, whole.zero_count, whole.sum) = (7.0, 1.0, 0.5);
    let histograms =
        [sample(1, exponential), sample(2, custom), sample(3, whole), sample(4, FloatHistogram::stale())];
    let decoded = decode(Protocol::V1, &encode_with_histograms(&[], &histograms), DEFAULT_LIMIT).unwrap();
    assert_eq!((decoded.histograms.as_slice(), decoded.faults), (&histograms[..], vec![]));
    let resets = decoded.histograms.iter().map(|sample| sample.histogram.counter_reset);
    let unknown = CounterReset::Unknown;
    assert_eq!(resets.collect::<Vec<_>>(), [CounterReset::Gauge, unknown, unknown, unknown]);
}

fn symbolic(symbols: &[&str], timeseries: Vec<SymbolicTimeSeries>) -> Vec<u8> {
    let symbols = symbols.iter().map(ToString::to_string).collect();
    let message = Request { symbols, timeseries }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

#[test]
fn the_second_version_names_its_labels_by_number() {
    let one = |labels_refs: &[u32]| SymbolicTimeSeries {
        labels_refs: labels_refs.to_vec(),
        samples: vec![WireSample { value: 1.0, timestamp: 5 }],
        histograms: vec![wire_histogram(3), wire_histogram(4)],
    };
    let empty = SymbolicTimeSeries { labels_refs: vec![1, 2], ..SymbolicTimeSeries::default() };
    let timeseries =
        vec![one(&[3, 4, 1, 2]), one(&[1]), one(&[1, 9]), one(&[3, 4]), one(&[1, 2, 3, 2, 3, 4]), empty];
    let body = symbolic(&["", "__name__", "m", "job", "a"], timeseries);
    let decoded = decode(Protocol::V2, &body, DEFAULT_LIMIT).unwrap();
    let labels = Labels::from_pairs([("__name__", "m"), ("job", "a")]);
    assert_eq!(decoded.samples, [Sample::new(labels.clone(), 5, 1.0)]);
    assert_eq!(decoded.histograms.len(), 1);
    assert_eq!(
        (
            &decoded.histograms[0].labels,
            decoded.histograms[0].at,
            decoded.histograms[0].histogram.to_string()
        ),
        (&labels, 6, "{count:3, sum:4.5, (1,2]:1, (2,4]:2}".to_owned())
    );
    let faults: Vec<_> = decoded.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "3 observations found in buckets, but the Count field is 4: histogram's observation count should \
             equal the number of observations found in the buckets (in absence of NaN) for series \
             {__name__=\"m\", job=\"a\"}",
            "parsing labels for series [1]: invalid labelRefs length 1",
            "parsing labels for series [1, 9]: labelRefs 1 (name) = 9 (value) outside of symbols table (size 5)",
            "series {job=\"a\"} has no metric name",
            "series {__name__=\"m\", job=\"a\"} has the label `job` twice",
            "TimeSeries must contain at least one sample or histogram for series {__name__=\"m\"}",
        ]
    );
}

#[test]
fn few_bytes_that_stand_for_much_are_refused() {
    let check = |protocol, body: &[u8], expected: &str| {
        let error = decode(protocol, body, DEFAULT_LIMIT).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    let long = "x".repeat(1 << 20);
    let refs = |labels_refs| SymbolicTimeSeries { labels_refs, ..SymbolicTimeSeries::default() };
    let many = vec![refs(vec![0, 1]); 40];
    check(Protocol::V2, &symbolic(&["__name__", &long], many), "the labels of the body take more than");
    check(Protocol::V2, &symbolic(&["__name__"], vec![refs(vec![0; 2_002])]), "the body holds more than");
    let wide = WireHistogram { positive_deltas: vec![0; 5_000_001], ..WireHistogram::default() };
    let wide = TimeSeries { histograms: vec![wide], ..series(&[("__name__", "a")]) };
    check(Protocol::V1, &body(vec![wide]), "the body holds more than");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        for protocol in [Protocol::V1, Protocol::V2] {
            let _ = decode(protocol, &bytes, 1 << 16);
            let _ = decode(protocol, &snap::raw::Encoder::new().compress_vec(&bytes).unwrap(), 1 << 16);
        }
    }
}
