use std::sync::Arc;

use proptest::prelude::*;

use super::chunk::OpenHistogramChunk;
use super::*;
use crate::model::{CUSTOM_BUCKETS_SCHEMA, CounterReset, FloatHistogram, HistogramPoint};
use crate::storage::SelectHints;
use crate::tsdb::chunk::Chunk;
use crate::tsdb::closed::{Decode, Extracted, Growing};
use crate::tsdb::series::{AppendRules, Tally};

const RULES: AppendRules = AppendRules { min_valid: i64::MIN, max_span_ms: 86_400_000, evict: false };

fn histogram(buckets: &[(i32, f64)], sum: f64) -> FloatHistogram {
    let mut histogram = FloatHistogram::empty(3, [].into()).with_buckets(buckets.iter().copied(), []);
    histogram.zero_threshold = 2.0_f64.powi(-128);
    histogram.count = buckets.iter().map(|(_, count)| count).sum();
    histogram.sum = sum;
    histogram
}

fn filled(all: impl IntoIterator<Item = FloatHistogram>) -> (HistogramData, Tally) {
    let (mut data, mut tally) = (HistogramData::default(), Tally::default());
    for (at, histogram) in (0..).step_by(15_000).zip(all) {
        data.push(HistogramPoint { at, histogram: Arc::new(histogram) }, false, &RULES, &mut tally);
    }
    (data, tally)
}

fn read(data: &HistogramData, hints: &SelectHints) -> Vec<HistogramPoint> {
    let (mut encoded, mut points) = (Extracted::default(), Vec::new());
    data.extract(hints, &mut encoded);
    encoded.decode::<HistogramDecoder<'_>>(0..encoded.chunks(), hints, &mut points).expect("sound chunks");
    points
}

fn all(data: &HistogramData) -> Vec<HistogramPoint> {
    read(data, &SelectHints::between(i64::MIN, i64::MAX))
}

/// How many chunks there are.
fn chunks(data: &HistogramData) -> usize {
    data.closed().len() + usize::from(data.open().is_some())
}

#[test]
fn a_chunk_ends_where_prometheus_ends_one() {
    use CounterReset::{Gauge, NotReset, Reset, Unknown};
    let base = histogram(&[(1, 5.0), (3, 2.0)], 1.0);
    let check = |next: FloatHistogram, expected: [CounterReset; 2]| {
        let shown = next.to_string();
        let (data, _) = filled([base.clone(), next]);
        let known: Vec<_> = all(&data).iter().map(|point| point.histogram.counter_reset).collect();
        assert_eq!(known, expected, "{shown}");
        assert_eq!(chunks(&data), if expected[1] == NotReset { 1 } else { 2 }, "{shown}");
        let newest = read(&data, &SelectHints { newest_only: true, ..SelectHints::between(0, 15_000) });
        assert_eq!(newest[0].histogram.counter_reset, expected[1], "{shown}");
    };
    check(histogram(&[(1, 5.0), (2, 1.0), (3, 2.0), (9, 1.0)], 1.0), [Unknown, NotReset]);
    check(histogram(&[(1, 5.5), (3, 2.0)], 1.0), [Unknown, Unknown]);
    check(histogram(&[(1, 4.0), (3, 9.0)], 1.0), [Unknown, Unknown]);
    check(histogram(&[(1, 9.0)], 1.0), [Unknown, Unknown]);
    check(base.clone().with_counter_reset(Reset), [Unknown, Unknown]);
    check(base.clone().with_counter_reset(NotReset), [Unknown, NotReset]);
    check(base.clone().with_counter_reset(Gauge), [Unknown, Gauge]);
    let with = |change: fn(&mut FloatHistogram)| {
        let mut next = base.clone();
        change(&mut next);
        next
    };
    check(with(|next| next.schema = 2), [Unknown, Unknown]);
    check(with(|next| next.zero_threshold = 0.5), [Unknown, Unknown]);
    check(FloatHistogram::stale(), [Unknown, NotReset]);
}

#[test]
fn gauges_share_a_chunk_whatever_their_counts_do() {
    let gauge = |count| histogram(&[(1, count)], 1.0).with_counter_reset(CounterReset::Gauge);
    let (data, _) = filled([gauge(3.0), gauge(1.0), gauge(2.0)]);
    assert_eq!(chunks(&data), 1);
    assert!(all(&data).iter().all(|point| point.histogram.counter_reset == CounterReset::Gauge));
}

#[test]
fn after_a_staleness_marker_a_chunk_begins() {
    let one = || histogram(&[(1, 3.0)], 1.0);
    let (data, _) = filled([one(), FloatHistogram::stale(), FloatHistogram::stale(), one()]);
    assert_eq!(chunks(&data), 2);
    let stale: Vec<_> = all(&data).iter().map(|point| point.histogram.is_stale()).collect();
    assert_eq!(stale, [false, true, true, false]);
}

#[test]
fn a_float_in_between_ends_a_chunk() {
    let (mut data, mut tally) = filled([histogram(&[(1, 3.0)], 1.0)]);
    let point = HistogramPoint { at: 99_000, histogram: Arc::new(histogram(&[(1, 4.0)], 1.0)) };
    data.push(point, true, &RULES, &mut tally);
    assert_eq!(all(&data)[1].histogram.counter_reset, CounterReset::Unknown);
}

#[test]
fn a_steady_histogram_takes_little_more_than_a_bit_per_bucket() {
    let of = |n: i64| {
        let buckets: Vec<_> =
            (0..60).map(|index| (index - 20, (n * (1 + i64::from(index) % 7)) as f64)).collect();
        histogram(&buckets, n as f64 * 0.5)
    };
    let (data, tally) = filled((1_000..1_120).map(of));
    let bytes: usize = data.closed().iter().map(|chunk| size_of_val(chunk.words())).sum();
    assert_eq!((tally.appended_histograms, data.closed().len(), chunks(&data)), (120, 1, 1));
    assert!(bytes < 120 * 16, "{bytes} bytes");
}

#[test]
fn chunks_are_cut_by_size_by_number_and_by_time() {
    let noisy = |n: i64| {
        let count = |index: i64| ((n * 1_000 + n * n * (index + 7) % 991) as f64).max(1.0);
        let buckets: Vec<_> = (0..100).map(|index| (index, count(i64::from(index)))).collect();
        histogram(&buckets, (n as f64).sqrt())
    };
    let (data, _) = filled((1..=200).map(noisy));
    for chunk in data.closed() {
        let size = size_of_val(chunk.words());
        assert!(
            (10..=120).contains(&chunk.count()) && (2_000..4_000).contains(&size),
            "{size} {}",
            chunk.count()
        );
    }
    let (data, _) = filled((0..250).map(|_| histogram(&[], 0.0)));
    assert_eq!(data.closed().iter().map(Chunk::count).collect::<Vec<_>>(), [120, 120]);
    let (mut data, mut tally) = filled([histogram(&[], 0.0)]);
    let late = HistogramPoint { at: 90_000_000, histogram: Arc::new(histogram(&[], 0.0)) };
    data.push(late, false, &RULES, &mut tally);
    assert_eq!(chunks(&data), 2);
}

#[test]
fn memory_is_given_back() {
    let (mut data, mut tally) = filled((1..500).map(|n| histogram(&[(n % 50, f64::from(n))], 0.1)));
    assert!(tally.memory.bytes() > 10_000);
    let created = tally.chunks_created;
    data.drop_before(100 * 15_000, &mut tally);
    assert!(data.bounds().is_some_and(|(start, _)| start > 0));
    data.drop_before(i64::MAX, &mut tally);
    assert!(data.is_empty());
    data.release(&mut tally);
    assert_eq!(tally.memory.bytes(), 0);
    assert_eq!((tally.points_removed, tally.chunks_removed), (499, created));
}

fn any_count() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0..2_000_u32).prop_map(f64::from),
        1 => Just(9_007_199_254_740_991.0),
        1 => any::<f64>(),
    ]
}

fn any_buckets() -> impl Strategy<Value = Vec<(i32, f64)>> {
    prop_oneof![
        prop::collection::btree_map(-30..30_i32, any_count(), 0..12),
        prop::collection::btree_map(any::<i32>(), any_count(), 0..4),
    ]
    .prop_map(|buckets| buckets.into_iter().collect())
}

fn any_histogram() -> impl Strategy<Value = FloatHistogram> {
    let reset = prop::sample::select(vec![
        CounterReset::Unknown,
        CounterReset::Unknown,
        CounterReset::Reset,
        CounterReset::NotReset,
        CounterReset::Gauge,
    ]);
    let layout = prop_oneof![
        4 => Just((3, 1e-9, vec![])),
        1 => (-4..=8_i32, prop_oneof![Just(0.0), Just(0.25), any::<f64>()], Just(vec![])),
        1 => prop::collection::vec(prop_oneof![(-5_000..5_000_i32).prop_map(|n| f64::from(n) / 1_000.0), any::<f64>()], 0..6)
            .prop_map(|bounds| (CUSTOM_BUCKETS_SCHEMA, 0.0, bounds)),
    ];
    let sum = prop_oneof![any::<f64>(), (0..1_000_i32).prop_map(|n| f64::from(n) / 8.0)];
    let numbers = (any_count(), any_count(), sum);
    let ends = prop::bool::weighted(0.1);
    (reset, layout, any_buckets(), any_buckets(), numbers, ends).prop_map(
        |(reset, (schema, zero_threshold, bounds), positive, negative, (count, zero_count, sum), ends)| {
            if ends {
                return FloatHistogram::stale();
            }
            let mut histogram = FloatHistogram::empty(schema, bounds.into())
                .with_buckets(positive, negative)
                .with_counter_reset(reset);
            (histogram.zero_threshold, histogram.count, histogram.zero_count) =
                (zero_threshold, count, zero_count);
            histogram.sum = sum;
            histogram
        },
    )
}

proptest! {
    #[test]
    fn any_histograms_come_back_bit_for_bit(all_of_them in prop::collection::vec(any_histogram(), 1..40)) {
        // NaN thresholds are the only floats that are compared as numbers.
        prop_assume!(all_of_them.iter().all(|histogram| !histogram.zero_threshold.is_nan()));
        prop_assume!(all_of_them.iter().all(|histogram| histogram.custom_values().iter().all(|bound| !bound.is_nan())));
        let (data, _) = filled(all_of_them.clone());
        let found = all(&data);
        prop_assert_eq!(found.len(), all_of_them.len());
        for (found, expected) in found.iter().zip(&all_of_them) {
            prop_assert_eq!(&*found.histogram, expected);
        }
    }

    #[test]
    fn a_histogram_known_to_continue_has_not_been_reset(all_of_them in prop::collection::vec(any_histogram(), 2..20)) {
        let (data, _) = filled(all_of_them);
        for pair in all(&data).windows(2) {
            let [previous, next] = [&pair[0].histogram, &pair[1].histogram];
            if next.counter_reset == CounterReset::NotReset && !next.is_stale() {
                let unknown = FloatHistogram::clone(next).with_counter_reset(CounterReset::Unknown);
                prop_assert!(!unknown.is_reset_after(previous), "{previous} -> {next}");
            }
        }
    }

    #[test]
    fn decoding_anything_ends_without_panic(
        words in prop::collection::vec(any::<u64>(), 0..40),
        count in any::<u16>(),
        start in any::<i64>(),
    ) {
        prop_assert!(HistogramDecoder::new(start, count, &words).count() <= usize::from(count));
    }

    #[test]
    fn a_damaged_chunk_is_decoded_without_panic(
        all_of_them in prop::collection::vec(any_histogram(), 1..20),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut open = OpenHistogramChunk::new(0, &all_of_them[0]);
        for (at, histogram) in (1..).zip(&all_of_them[1..]) {
            open.push(at, histogram);
        }
        let mut words = Vec::new();
        open.copy_to(&mut words);
        let bit = bit.index(words.len() * 64);
        words[bit / 64] ^= 1 << (bit % 64);
        prop_assert!(HistogramDecoder::new(0, open.count(), &words).count() <= usize::from(open.count()));
    }
}
