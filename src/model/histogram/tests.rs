use proptest::prelude::*;

use super::*;

/// A histogram of whole numbers with consistent totals.
fn histogram(
    schema: i32,
    threshold: f64,
    zero: u8,
    positive: &[(i32, u8)],
    negative: &[(i32, u8)],
) -> FloatHistogram {
    let counts = |buckets: &[(i32, u8)]| -> Vec<(i32, f64)> {
        let mut buckets: Vec<_> = buckets.iter().map(|(index, count)| (*index, f64::from(*count))).collect();
        buckets.sort_by_key(|(index, _)| *index);
        buckets.dedup_by_key(|(index, _)| *index);
        buckets
    };
    let (positive, negative) = (counts(positive), counts(negative));
    let in_buckets: f64 = positive.iter().chain(&negative).map(|(_, count)| count).sum();
    FloatHistogram {
        zero_threshold: threshold,
        zero_count: f64::from(zero),
        count: in_buckets + f64::from(zero),
        sum: in_buckets,
        ..FloatHistogram::empty(schema, Arc::default())
    }
    .with_buckets(positive, negative)
}

fn any_histogram() -> impl Strategy<Value = FloatHistogram> {
    let buckets = || prop::collection::vec((-6_i32..12, 0_u8..9), 0..6);
    let threshold = prop_oneof![Just(0.0), Just(0.001), Just(0.5), Just(3.0)];
    (-2_i32..4, threshold, 0_u8..5, buckets(), buckets()).prop_map(
        |(schema, threshold, zero, positive, negative)| {
            // Nothing lies within the zero bucket and in another one too.
            let outside = |buckets: Vec<(i32, u8)>| -> Vec<(i32, u8)> {
                buckets.into_iter().filter(|(index, _)| bound(schema, &[], index - 1) >= threshold).collect()
            };
            // At zero itself there is no bucket for a quantile to lie in.
            let zero = if threshold == 0.0 { 0 } else { zero };
            histogram(schema, threshold, zero, &outside(positive), &outside(negative))
        },
    )
}

fn in_buckets(histogram: &FloatHistogram) -> f64 {
    histogram.buckets().iter().map(|bucket| bucket.count).sum()
}

fn custom(bounds: &[f64], counts: &[f64]) -> FloatHistogram {
    let buckets = counts.iter().enumerate().map(|(index, count)| (index as i32, *count));
    FloatHistogram {
        count: counts.iter().sum(),
        sum: counts.iter().sum(),
        ..FloatHistogram::empty(CUSTOM_BUCKETS_SCHEMA, bounds.into())
    }
    .with_buckets(buckets, [])
}

proptest! {
    #[test]
    fn sums_keep_every_observation_whatever_the_buckets(a in any_histogram(), b in any_histogram()) {
        let (sum, _) = a.plus(&b).expect("both are exponential");
        prop_assert_eq!(sum.count, a.count + b.count);
        prop_assert_eq!(in_buckets(&sum), sum.count);
        let (other_way, _) = b.plus(&a).expect("both are exponential");
        prop_assert_eq!(&sum, &other_way);
        prop_assert!(sum.schema <= a.schema.min(b.schema));
        prop_assert!(sum.zero_threshold >= a.zero_threshold.max(b.zero_threshold));
    }

    #[test]
    fn a_counter_that_grows_is_not_reset_and_one_that_shrinks_is(a in any_histogram(), b in any_histogram()) {
        let (sum, _) = a.plus(&b).expect("both are exponential");
        prop_assert!(!sum.is_reset_after(&a));
        prop_assert!(!a.is_reset_after(&a));
        prop_assert_eq!(a.is_reset_after(&sum), b.count > 0.0 || sum.schema < a.schema
            || sum.zero_threshold > a.zero_threshold);
    }

    #[test]
    fn what_is_subtracted_was_there_before(a in any_histogram(), b in any_histogram()) {
        let (sum, _) = a.plus(&b).expect("both are exponential");
        let (rest, _) = sum.minus(&b).expect("both are exponential");
        prop_assert_eq!(rest.count, a.count);
        prop_assert_eq!(in_buckets(&rest), a.count);
    }

    #[test]
    fn quantiles_rise_and_fractions_invert_them(a in any_histogram(), q in 0.01_f64..0.99) {
        prop_assume!(a.count > 0.0);
        let value = a.quantile(q).value;
        prop_assert!(a.quantile(q * 0.5).value <= value);
        // A quantile on the edge between buckets with nothing in between has many inverses.
        let below = a.fraction(f64::NEG_INFINITY, value).value;
        prop_assert!((below - q).abs() < 1e-6 || a.quantile(below).value.total_cmp(&value).is_eq());
        prop_assert!((a.fraction(f64::NEG_INFINITY, f64::INFINITY).value - 1.0).abs() < 1e-9);
    }

    #[test]
    fn trimming_splits_all_observations(a in any_histogram(), at in -20.0_f64..20.0) {
        let (below, above) = (a.trimmed_above(at), a.trimmed_below(at));
        prop_assert!((below.count + above.count - a.count).abs() < 1e-9);
        prop_assert!((in_buckets(&below) - below.count).abs() < 1e-9);
    }

    #[test]
    fn the_mean_of_equal_histograms_is_the_same(a in any_histogram(), times in 1_usize..6) {
        let mut mean = HistogramMean::starting_at(&a);
        for _ in 1..times {
            mean.add(&a).expect("the same buckets");
        }
        prop_assert!((mean.value().count - a.count).abs() < 1e-9);
        prop_assert_eq!(mean.value().positive().len(), a.positive().len());
    }
}

#[test]
fn bounds_are_powers_of_two_divided_by_the_schema() {
    let check = |schema: i32, index: i32, expected: f64| assert_eq!(bound(schema, &[], index), expected);
    check(0, 0, 1.0);
    check(0, 3, 8.0);
    check(0, -2, 0.25);
    check(3, 8, 2.0);
    check(-2, 1, 16.0);
    check(0, 1024, f64::MAX);
}

#[test]
fn custom_buckets_with_different_bounds_meet_in_the_common_ones() {
    let a = custom(&[1.0, 2.0, 4.0], &[1.0, 2.0, 3.0, 4.0]);
    let b = custom(&[2.0, 3.0, 4.0], &[10.0, 20.0, 30.0, 40.0]);
    let (sum, reconciled) = a.plus(&b).expect("both are custom");
    assert_eq!(reconciled, Reconciled { custom_bounds: true, counter_reset_collision: false });
    assert_eq!(sum, custom(&[2.0, 4.0], &[13.0, 53.0, 44.0]));
    assert!(a.plus(&histogram(0, 0.0, 1, &[], &[])).is_err());
}

#[test]
fn counter_resets_of_sums_are_known_where_they_agree() {
    use CounterReset::{Gauge, NotReset, Reset, Unknown};
    let check = |a: CounterReset, b: CounterReset, expected: CounterReset, collision: bool| {
        let with = |counter_reset| FloatHistogram { counter_reset, ..histogram(0, 0.0, 1, &[], &[]) };
        let (sum, reconciled) = with(a).plus(&with(b)).expect("both are exponential");
        assert_eq!(
            (sum.counter_reset, reconciled.counter_reset_collision),
            (expected, collision),
            "{a:?} {b:?}"
        );
    };
    check(Reset, Reset, Reset, false);
    check(Reset, NotReset, Unknown, true);
    check(Reset, Unknown, Unknown, false);
    check(NotReset, Gauge, Gauge, false);
}

#[test]
fn the_mean_survives_the_overflow_of_its_sum() {
    let huge = FloatHistogram { sum: f64::MAX, ..histogram(0, 0.0, 0, &[(1, 4)], &[]) };
    let mut mean = HistogramMean::starting_at(&huge);
    mean.add(&huge).expect("the same buckets");
    assert_eq!(mean.value().sum, f64::MAX);
    assert_eq!(mean.value().count, 4.0);
}

#[test]
fn histograms_are_written_as_prometheus_writes_them() {
    let shown = histogram(0, 0.5, 2, &[(1, 3)], &[(2, 4)]).to_string();
    assert_eq!(shown, "{count:9, sum:7, [-4,-2):4, [-0.5,0.5]:2, (1,2]:3}");
}

#[test]
fn histograms_with_a_threshold_that_is_no_number_add_up() {
    let odd = FloatHistogram { zero_threshold: f64::NAN, ..histogram(0, 0.0, 1, &[], &[]) };
    let (sum, _) = odd.plus(&histogram(0, 0.5, 1, &[(3, 1)], &[])).expect("both are exponential");
    assert_eq!(sum.count, 3.0);
}

#[test]
fn bounds_are_prometheus_to_the_last_digit() {
    let check = |schema, index, expected: f64| {
        let histogram = FloatHistogram::empty(schema, [].into()).with_buckets([(index, 1.0)], []);
        assert_eq!(histogram.buckets()[0].upper.to_bits(), expected.to_bits(), "{schema} {index}");
    };
    check(0, 3, 8.0);
    check(-1, -1, 0.25);
    check(1, -1, 0.707_106_781_186_547_5);
    check(2, -3, 0.594_603_557_501_360_5);
    check(3, 5, 2.0 * 0.771_105_412_703_970_4);
    check(8, -1, 0.997_296_056_085_469_8);
    check(8, -128, 0.707_106_781_186_547_5);
    check(8, 1024 * 256, f64::MAX);
}
