//! Native histograms as the HTTP API writes them.

use std::sync::Arc;

use serde::Deserialize;

use crate::model::{Bucket, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, parse_float};

/// The schemas of exponential buckets, the finest first.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// How far bounds may lie apart in relation to their size: servers calculate them in different ways.
const TOLERANCE: f64 = 1e-12;

/// `count`, `sum` and the populated buckets.
#[derive(Debug, Deserialize)]
pub(super) struct WireHistogram {
    count: String,
    sum: String,
    #[serde(default)]
    buckets: Vec<WireBucket>,
}

/// Which bounds belong to the bucket (0: the upper, 1: the lower, 2: none, 3: both), the bounds, and the
/// count.
#[derive(Debug, Deserialize)]
struct WireBucket(u8, String, String, String);

impl WireHistogram {
    /// The histogram with these buckets.
    ///
    /// An answer has the bounds of buckets and not the schema that they come from, which is looked for
    /// here. What is lost on the way: what is known about counter resets; the bounds of custom buckets
    /// without observations (two of them in a row become one bucket); the width of a zero bucket without
    /// observations; and that buckets are custom, where their bounds are also those of a schema, as with 1,
    /// 2, 4: estimates within a bucket follow a logarithm then. Count, sum, and the buckets themselves stay
    /// as they are. Nothing if the numbers or the buckets are those of no histogram.
    pub(super) fn read(&self) -> Option<FloatHistogram> {
        let (count, sum) = (parse_float(&self.count)?, parse_float(&self.sum)?);
        let buckets: Vec<Bucket> = self.buckets.iter().map(WireBucket::read).collect::<Option<_>>()?;
        let exponential = || SCHEMAS.rev().find_map(|schema| exponential(schema, &buckets));
        let mut histogram = exponential().or_else(|| custom(&buckets))?;
        (histogram.count, histogram.sum) = (count, sum);
        Some(histogram)
    }
}

impl WireBucket {
    fn read(&self) -> Option<Bucket> {
        let Self(rule, lower, upper, count) = self;
        let (lower_inclusive, upper_inclusive) = match rule {
            0 => (false, true),
            1 => (true, false),
            2 => (false, false),
            3 => (true, true),
            _ => return None,
        };
        let (lower, upper) = (parse_float(lower)?, parse_float(upper)?);
        Some(Bucket { lower, upper, lower_inclusive, upper_inclusive, count: parse_float(count)? })
    }
}

/// A histogram of this schema, if it has these buckets.
fn exponential(schema: i32, buckets: &[Bucket]) -> Option<FloatHistogram> {
    let mut histogram = FloatHistogram::empty(schema, Arc::default());
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    let index = |bound: f64| (bound.log2() * f64::from(schema).exp2()).round() as i32;
    for bucket in buckets {
        if bucket.lower == -bucket.upper {
            histogram.zero_threshold = bucket.upper;
            histogram.zero_count = bucket.count;
        } else if bucket.lower >= 0.0 {
            positive.push((index(bucket.upper), bucket.count));
        } else {
            negative.push((index(-bucket.lower), bucket.count));
        }
    }
    Some(histogram.with_buckets(positive, negative)).filter(|histogram| has_buckets(histogram, buckets))
}

/// A histogram with these custom buckets.
fn custom(buckets: &[Bucket]) -> Option<FloatHistogram> {
    let bounds = buckets.iter().flat_map(|bucket| [bucket.lower, bucket.upper]);
    let mut bounds: Vec<f64> = bounds.filter(|bound| bound.is_finite()).collect();
    bounds.dedup();
    let index =
        |bucket: &Bucket| (bounds.partition_point(|bound| *bound < bucket.upper) as i32, bucket.count);
    let positive: Vec<_> = buckets.iter().map(index).collect();
    let histogram = FloatHistogram::empty(CUSTOM_BUCKETS_SCHEMA, bounds.into()).with_buckets(positive, []);
    Some(histogram).filter(|histogram| has_buckets(histogram, buckets))
}

fn has_buckets(histogram: &FloatHistogram, buckets: &[Bucket]) -> bool {
    let near = |a: f64, b: f64| a == b || (a - b).abs() <= TOLERANCE * a.abs();
    let found = histogram.buckets();
    let same = |(a, b): (&Bucket, &Bucket)| {
        near(a.lower, b.lower)
            && near(a.upper, b.upper)
            && (a.lower_inclusive, a.upper_inclusive) == (b.lower_inclusive, b.upper_inclusive)
    };
    found.len() == buckets.len() && found.iter().zip(buckets).all(same)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the API would write.
    fn wire(histogram: &FloatHistogram) -> WireHistogram {
        let bucket = |bucket: Bucket| {
            let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            let text = |value: f64| crate::model::format_float(value);
            WireBucket(rule, text(bucket.lower), text(bucket.upper), text(bucket.count))
        };
        WireHistogram {
            count: histogram.count.to_string(),
            sum: histogram.sum.to_string(),
            buckets: histogram.buckets().into_iter().map(bucket).collect(),
        }
    }

    #[test]
    fn custom_buckets_keep_the_bounds_of_those_with_observations() {
        let bounds = [0.1, 0.25, 0.5, 1.0, 2.5];
        let check = |positive: &[(i32, f64)], expected: &str, expected_bounds: &[f64]| {
            let histogram = FloatHistogram::empty(CUSTOM_BUCKETS_SCHEMA, bounds.into());
            let histogram = histogram.with_buckets(positive.iter().copied(), []);
            let found = wire(&histogram).read().expect("a histogram");
            assert_eq!(found.to_string(), expected);
            assert_eq!(&**found.custom_values(), expected_bounds);
        };
        check(&[(0, 1.0), (1, 2.0)], "{count:0, sum:0, [-Inf,0.1]:1, (0.1,0.25]:2}", &[0.1, 0.25]);
        check(&[(2, 1.0), (5, 2.0)], "{count:0, sum:0, (0.25,0.5]:1, (2.5,+Inf]:2}", &[0.25, 0.5, 2.5]);
    }

    #[test]
    fn bounds_of_a_schema_are_taken_for_it() {
        let custom = FloatHistogram::empty(CUSTOM_BUCKETS_SCHEMA, [1.0, 2.0, 4.0].into());
        let found = wire(&custom.with_buckets([(1, 1.0), (2, 3.0)], [])).read().expect("a histogram");
        assert_eq!((found.schema, found.positive()), (0, &[(1, 1.0), (2, 3.0)][..]));
    }

    #[test]
    fn what_no_histogram_has_is_refused() {
        let check = |buckets: &[(u8, &str, &str)]| {
            let bucket = |(rule, lower, upper): &(u8, &str, &str)| {
                WireBucket(*rule, (*lower).to_owned(), (*upper).to_owned(), "1".to_owned())
            };
            let buckets = buckets.iter().map(bucket).collect();
            let wire = WireHistogram { count: "1".to_owned(), sum: "1".to_owned(), buckets };
            assert!(wire.read().is_none(), "{wire:?}");
        };
        check(&[(0, "1", "two")]);
        check(&[(4, "1", "2")]);
        check(&[(2, "1", "2")]);
        check(&[(1, "-3", "-1.5"), (0, "0.1", "0.3")]);
        check(&[(0, "2", "4"), (0, "1", "2")]);
    }

    proptest! {
        #[test]
        fn exponential_histograms_come_back_whatever_their_schema(
            schema in SCHEMAS,
            positive in prop::collection::btree_map(-20..20_i32, 1..100_u32, 0..8),
            negative in prop::collection::btree_map(-20..20_i32, 1..100_u32, 0..8),
            zero in prop::option::of((1e-9..1e-3_f64, 1..9_u32)),
        ) {
            let counts = |side: std::collections::BTreeMap<i32, u32>| -> Vec<_> {
                side.into_iter().map(|(index, count)| (index, f64::from(count))).collect()
            };
            let mut histogram = FloatHistogram::empty(schema, [].into()).with_buckets(counts(positive), counts(negative));
            (histogram.count, histogram.sum) = (5.5, -1.0);
            if let Some((threshold, count)) = zero {
                histogram.zero_threshold = threshold;
                histogram.zero_count = f64::from(count);
            }
            let found = wire(&histogram).read().expect("a histogram");
            prop_assert!(has_buckets(&found, &histogram.buckets()), "{histogram} -> {found}");
            prop_assert_eq!((found.count, found.sum), (5.5, -1.0));
            let clear = zero.is_none() && !(histogram.positive().is_empty() && histogram.negative().is_empty());
            if clear {
                prop_assert_eq!(found, histogram);
            }
        }
    }
}
