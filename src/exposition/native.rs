//! Native histograms as they travel, and what can be wrong with them.
//!
//! Everywhere in Prometheus' protobuf messages a histogram has runs of buckets (spans) and beside them the
//! counts of those buckets. Nothing guarantees that both fit together, nor that counts are what counts can
//! be. Source: Prometheus 3.14 `model/histogram`, of which the texts are too.

use std::sync::Arc;

use crate::model::{CUSTOM_BUCKETS_SCHEMA, CounterReset, FloatHistogram, format_float_general};

/// The schemas of exponential buckets.
/// Source: Prometheus 3.14 `model/histogram/generic.go`, `ExponentialSchemaMin` and `ExponentialSchemaMax`.
const COARSEST_SCHEMA: i32 = -4;
const FINEST_SCHEMA: i32 = 8;

/// Up to here a schema has a meaning, and is reduced to the finest that is kept.
/// Source: as above, `ExponentialSchemaMaxReserved`.
const FINEST_RESERVED_SCHEMA: i32 = 52;

/// A histogram that travelled and was not checked yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RawHistogram<'a> {
    pub(super) counter_reset: CounterReset,
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) sum: f64,
    pub(super) positive_spans: &'a [BucketSpan],
    pub(super) negative_spans: &'a [BucketSpan],
    pub(super) counts: RawCounts<'a>,
    pub(super) custom_values: &'a [f64],
}

/// The counts of such a histogram.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RawCounts<'a> {
    /// Whole numbers; those of buckets as the difference from the bucket before.
    Whole { count: u64, zero_count: u64, positive_deltas: &'a [i64], negative_deltas: &'a [i64] },
    /// Floats.
    Float { count: f64, zero_count: f64, positive: &'a [f64], negative: &'a [f64] },
}

/// A run of buckets: `prometheus.BucketSpan`, and `BucketSpan` of the other packages.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct BucketSpan {
    /// Buckets between the end of the span before and this one; for the first, the index of its bucket.
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    /// How many buckets there are.
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

/// Why a histogram is none. The texts are Prometheus' own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistogramFault {
    /// No buckets have such a schema.
    #[error(
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for \
         custom buckets, got schema {0}"
    )]
    Schema(i32),
    /// Something is wrong with the buckets on one side of zero.
    #[error("{side}: {fault}")]
    Buckets {
        /// `positive side`, `negative side` or `custom buckets`.
        side: &'static str,
        /// What is wrong.
        fault: BucketFault,
    },
    /// Fewer observations than there are in the buckets; those of NaN are in none.
    #[error(
        "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation \
         count should be at least the number of observations found in the buckets"
    )]
    CountTooSmall {
        /// Observations in the buckets.
        in_buckets: u128,
        /// Observations in all.
        count: u64,
    },
    /// Not as many observations as there are in the buckets.
    #[error(
        "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation \
         count should equal the number of observations found in the buckets (in absence of NaN)"
    )]
    CountMismatch {
        /// Observations in the buckets.
        in_buckets: u128,
        /// Observations in all.
        count: u64,
    },
    /// Less than no observations.
    #[error("observation count is  {0}: histogram's observation count is negative")]
    NegativeCount(String),
    /// Less than no observations in the zero bucket.
    #[error(
        "zero bucket has observation count of {0}: histogram has a bucket whose observation count is negative"
    )]
    NegativeZeroCount(String),
    /// Custom buckets have no zero bucket.
    #[error("custom buckets: must have zero count of 0")]
    CustomZeroCount,
    /// The same.
    #[error("custom buckets: must have zero threshold of 0")]
    CustomZeroThreshold,
    /// Custom buckets are all on one side.
    #[error("custom buckets: must not have negative spans")]
    CustomNegativeSpans,
    /// The same.
    #[error("custom buckets: must not have negative buckets")]
    CustomNegativeBuckets,
    /// Exponential buckets have the bounds that their schema says.
    #[error("histogram with exponential schema must not have custom bounds")]
    ExponentialCustomBounds,
}

/// What is wrong with buckets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketFault {
    /// A span begins before the one before it ends.
    #[error("span number {number} with offset {offset}: histogram has a span whose offset is negative")]
    NegativeOffset {
        /// Counted from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// Spans and counts do not fit together.
    #[error(
        "spans need {needed} buckets, have {present} buckets: histogram spans specify different number of \
         buckets than provided"
    )]
    CountOfBuckets {
        /// Buckets of the spans.
        needed: u64,
        /// Counts.
        present: usize,
    },
    /// An index that no bucket can have.
    #[error("span number {0}: histogram has a bucket whose index needs more than 32 bits")]
    Index(usize),
    /// Less than no observations.
    #[error(
        "bucket number {number} has observation count of {count}: histogram has a bucket whose observation \
         count is negative"
    )]
    NegativeCount {
        /// Counted from 1.
        number: usize,
        /// Its count.
        count: String,
    },
    /// A bound that is no number.
    #[error("histogram custom bounds must not be NaN")]
    NanBound,
    /// Bounds out of order.
    #[error(
        "previous bound is {previous} and current is {current}: histogram custom bounds must be in strictly \
         increasing order"
    )]
    BoundOrder {
        /// A bound.
        previous: String,
        /// The one after it.
        current: String,
    },
    /// The last bucket is always there and has no bound.
    #[error("last +Inf bound must not be explicitly defined: histogram custom bounds must be finite")]
    InfiniteBound,
    /// More buckets than bounds can make.
    #[error(
        "only {bounds} custom bounds defined which is insufficient to cover total span length of {length}: \
         histogram custom bounds are too few"
    )]
    TooFewBounds {
        /// How many bounds there are.
        bounds: usize,
        /// How many buckets there are from the first possible to the last.
        length: u64,
    },
}

type Buckets = Vec<(i32, f64)>;

impl RawHistogram<'_> {
    /// Whether it is the marker that its series ended.
    pub(super) fn is_stale(&self) -> bool {
        crate::model::is_stale(self.sum)
    }

    /// Checks the histogram. Source: Prometheus 3.14 `model/histogram/histogram.go`, `Validate`.
    pub(super) fn check(&self) -> Result<FloatHistogram, HistogramFault> {
        if self.is_stale() {
            return Ok(FloatHistogram::stale().with_counter_reset(self.counter_reset));
        }
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            self.check_custom()?;
        } else if !(COARSEST_SCHEMA..=FINEST_RESERVED_SCHEMA).contains(&self.schema) {
            return Err(HistogramFault::Schema(self.schema));
        }
        let mut histogram = match self.counts {
            RawCounts::Whole { count, zero_count, positive_deltas, negative_deltas } => {
                let mut in_buckets = u128::from(zero_count);
                let [positive, negative] = self.sides(
                    [positive_deltas, negative_deltas],
                    |last: &mut i64, delta| {
                        *last = last.wrapping_add(*delta);
                        u64::try_from(*last).map_err(|_| last.to_string())
                    },
                    |count| {
                        in_buckets += u128::from(count);
                        count as f64
                    },
                )?;
                if in_buckets > u128::from(count) && self.sum.is_nan() {
                    return Err(HistogramFault::CountTooSmall { in_buckets, count });
                }
                if in_buckets != u128::from(count) && !self.sum.is_nan() {
                    return Err(HistogramFault::CountMismatch { in_buckets, count });
                }
                self.with_counts(count as f64, zero_count as f64, positive, negative)
            }
            RawCounts::Float { count, zero_count, positive, negative } => {
                let read = |(): &mut (), count: &f64| {
                    if *count < 0.0 { Err(format_float_general(*count)) } else { Ok(*count) }
                };
                let [positive, negative] = self.sides([positive, negative], read, |count| count)?;
                if zero_count < 0.0 {
                    return Err(HistogramFault::NegativeZeroCount(format_float_general(zero_count)));
                }
                if count < 0.0 {
                    return Err(HistogramFault::NegativeCount(format_float_general(count)));
                }
                self.with_counts(count, zero_count, positive, negative)
            }
        };
        if self.schema != CUSTOM_BUCKETS_SCHEMA && !self.custom_values.is_empty() {
            return Err(HistogramFault::ExponentialCustomBounds);
        }
        histogram.zero_threshold = self.zero_threshold;
        histogram.sum = self.sum;
        Ok(histogram.with_counter_reset(self.counter_reset))
    }

    fn with_counts(
        &self,
        count: f64,
        zero_count: f64,
        positive: Buckets,
        negative: Buckets,
    ) -> FloatHistogram {
        let finer_by = self.schema - FINEST_SCHEMA;
        let (schema, [positive, negative]) = if finer_by > 0 {
            (FINEST_SCHEMA, [positive, negative].map(|buckets| coarser(buckets, finer_by)))
        } else {
            (self.schema, [positive, negative])
        };
        let mut histogram =
            FloatHistogram::empty(schema, Arc::from(self.custom_values)).with_buckets(positive, negative);
        (histogram.count, histogram.zero_count) = (count, zero_count);
        histogram
    }

    /// The buckets of both sides. `read` makes counts of what travelled, `take` floats of those.
    fn sides<T, S: Default, C>(
        &self,
        counts: [&[T]; 2],
        read: impl Fn(&mut S, &T) -> Result<C, String>,
        mut take: impl FnMut(C) -> f64,
    ) -> Result<[Buckets; 2], HistogramFault> {
        let mut buckets_of = |spans, counts: &[T]| {
            let mut buckets = indices(spans, counts.len())?;
            let mut state = S::default();
            for (number, (place, count)) in (1..).zip(buckets.iter_mut().zip(counts)) {
                let count = read(&mut state, count);
                place.1 = take(count.map_err(|count| BucketFault::NegativeCount { number, count })?);
            }
            Ok(buckets)
        };
        let mut side = |name, spans, counts| {
            buckets_of(spans, counts).map_err(|fault| HistogramFault::Buckets { side: name, fault })
        };
        let positive = side("positive side", self.positive_spans, counts[0])?;
        Ok([positive, side("negative side", self.negative_spans, counts[1])?])
    }

    /// What only holds for custom buckets.
    fn check_custom(&self) -> Result<(), HistogramFault> {
        let (zero_count, positive, negative) = match self.counts {
            RawCounts::Whole { zero_count, positive_deltas, negative_deltas, .. } => {
                (zero_count as f64, positive_deltas.len(), negative_deltas.len())
            }
            RawCounts::Float { zero_count, positive, negative, .. } => {
                (zero_count, positive.len(), negative.len())
            }
        };
        check_bounds(self.custom_values, self.positive_spans, positive)
            .map_err(|fault| HistogramFault::Buckets { side: "custom buckets", fault })?;
        if zero_count != 0.0 {
            return Err(HistogramFault::CustomZeroCount);
        }
        if self.zero_threshold != 0.0 {
            return Err(HistogramFault::CustomZeroThreshold);
        }
        if !self.negative_spans.is_empty() {
            return Err(HistogramFault::CustomNegativeSpans);
        }
        if negative > 0 {
            return Err(HistogramFault::CustomNegativeBuckets);
        }
        Ok(())
    }
}

/// Source: Prometheus 3.14 `model/histogram/generic.go`, `checkHistogramCustomBounds`.
fn check_bounds(bounds: &[f64], spans: &[BucketSpan], present: usize) -> Result<(), BucketFault> {
    if bounds.iter().any(|bound| bound.is_nan()) {
        return Err(BucketFault::NanBound);
    }
    if let Some(pair) = bounds.windows(2).find(|pair| pair[1] <= pair[0]) {
        let [previous, current] = [pair[0], pair[1]].map(fixed);
        return Err(BucketFault::BoundOrder { previous, current });
    }
    if bounds.last() == Some(&f64::INFINITY) {
        return Err(BucketFault::InfiniteBound);
    }
    if let Some(first) = spans.first().filter(|first| first.offset < 0) {
        return Err(BucketFault::NegativeOffset { number: 1, offset: first.offset });
    }
    check_spans(spans, present)?;
    let length =
        spans.iter().map(|span| u64::from(span.length) + u64::from(span.offset.unsigned_abs())).sum();
    if (bounds.len() as u64) + 1 < length {
        return Err(BucketFault::TooFewBounds { bounds: bounds.len(), length });
    }
    Ok(())
}

/// As Go's `%f` writes it.
fn fixed(value: f64) -> String {
    if value.is_infinite() { format_float_general(value) } else { format!("{value:.6}") }
}

fn check_spans(spans: &[BucketSpan], present: usize) -> Result<(), BucketFault> {
    let negative = (1..).zip(spans).skip(1).find(|(_, span)| span.offset < 0);
    if let Some((number, BucketSpan { offset, .. })) = negative {
        return Err(BucketFault::NegativeOffset { number, offset: *offset });
    }
    let needed = spans.iter().map(|span| u64::from(span.length)).sum();
    if needed != present as u64 {
        return Err(BucketFault::CountOfBuckets { needed, present });
    }
    Ok(())
}

/// The buckets of the spans, still without counts.
fn indices(spans: &[BucketSpan], present: usize) -> Result<Buckets, BucketFault> {
    check_spans(spans, present)?;
    let mut buckets = Vec::with_capacity(present);
    let mut next = 0_i64;
    for (number, span) in (1..).zip(spans) {
        next += i64::from(span.offset);
        for _ in 0..span.length {
            let index = i32::try_from(next).map_err(|_| BucketFault::Index(number))?;
            buckets.push((index, 0.0));
            next += 1;
        }
    }
    Ok(buckets)
}

/// The same observations in buckets of a schema that is so much coarser.
/// Source: Prometheus 3.14 `model/histogram/generic.go`, `reduceResolution`.
fn coarser(buckets: Buckets, by: i32) -> Buckets {
    let mut merged: Buckets = Vec::new();
    for (index, count) in buckets {
        // Bounds belong to the bucket that they end.
        let index = ((i64::from(index) - 1) >> by) as i32 + 1;
        match merged.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => merged.push((index, count)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset, length }
    }

    const WHOLE: RawCounts<'_> =
        RawCounts::Whole { count: 12, zero_count: 2, positive_deltas: &[1, 1, -1, 0], negative_deltas: &[5] };

    const FLOAT: RawCounts<'_> =
        RawCounts::Float { count: 7.0, zero_count: 0.5, positive: &[1.5, 0.0, 2.0, 1.0], negative: &[2.0] };

    const RAW: RawHistogram<'_> = RawHistogram {
        counter_reset: CounterReset::Unknown,
        schema: 1,
        zero_threshold: 0.25,
        sum: 3.5,
        positive_spans: &[span(0, 2), span(1, 2)],
        negative_spans: &[span(-1, 1)],
        counts: WHOLE,
        custom_values: &[],
    };

    const CUSTOM: RawHistogram<'_> = RawHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        negative_spans: &[],
        counts: RawCounts::Whole {
            count: 5,
            zero_count: 0,
            positive_deltas: &[1, 1, -1, 0],
            negative_deltas: &[],
        },
        custom_values: &[1.0, 2.0, 4.0, 8.0],
        ..RAW
    };

    #[test]
    fn spans_say_where_the_counts_belong() {
        let check = |raw: RawHistogram<'_>, expected: &str| {
            assert_eq!(raw.check().expect("a sound histogram").to_string(), expected);
        };
        check(
            RAW,
            "{count:12, sum:3.5, [-0.7071067811865475,-0.5):5, [-0.25,0.25]:2, (0.7071067811865475,1]:1, \
             (1,1.414213562373095]:2, (2,2.82842712474619]:1, (2.82842712474619,4]:1}",
        );
        check(
            RawHistogram { counts: FLOAT, ..RAW },
            "{count:7, sum:3.5, [-0.7071067811865475,-0.5):2, [-0.25,0.25]:0.5, (0.7071067811865475,1]:1.5, \
             (2,2.82842712474619]:2, (2.82842712474619,4]:1}",
        );
        check(CUSTOM, "{count:5, sum:3.5, [-Inf,1]:1, (1,2]:2, (4,8]:1, (8,+Inf]:1}");
        check(RawHistogram { sum: crate::model::stale_nan(), schema: 99, ..RAW }, "{count:0, sum:NaN}");
    }

    #[test]
    fn a_schema_that_is_too_fine_is_made_coarser() {
        let raw = RawHistogram {
            schema: 10,
            positive_spans: &[span(0, 5)],
            negative_spans: &[],
            counts: RawCounts::Float {
                count: 15.0,
                zero_count: 0.0,
                positive: &[1.0, 2.0, 3.0, 4.0, 5.0],
                negative: &[],
            },
            ..RAW
        };
        let histogram = raw.check().expect("a sound histogram");
        assert_eq!((histogram.schema, histogram.positive()), (8, &[(0, 1.0), (1, 14.0)][..]));
    }

    #[test]
    fn what_is_no_histogram_is_refused_in_prometheus_words() {
        let check = |raw: RawHistogram<'_>, expected: &str| {
            assert_eq!(raw.check().expect_err(expected).to_string(), expected);
        };
        let whole = |positive_deltas: &'static [i64], count| RawHistogram {
            counts: RawCounts::Whole { count, zero_count: 2, positive_deltas, negative_deltas: &[5] },
            ..RAW
        };
        let float = |count, zero_count, positive: &'static [f64]| RawHistogram {
            counts: RawCounts::Float { count, zero_count, positive, negative: &[2.0] },
            ..RAW
        };
        for schema in [-5, 53, -54] {
            check(
                RawHistogram { schema, ..RAW },
                &format!(
                    "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, \
                     or -53 for custom buckets, got schema {schema}"
                ),
            );
        }
        check(
            RawHistogram { positive_spans: &[span(0, 3), span(-1, 1)], ..RAW },
            "positive side: span number 2 with offset -1: histogram has a span whose offset is negative",
        );
        check(
            RawHistogram { negative_spans: &[span(0, u32::MAX), span(0, u32::MAX)], ..RAW },
            "negative side: spans need 8589934590 buckets, have 1 buckets: histogram spans specify different \
             number of buckets than provided",
        );
        check(
            RawHistogram { positive_spans: &[span(i32::MAX, 2), span(0, 2)], ..RAW },
            "positive side: span number 1: histogram has a bucket whose index needs more than 32 bits",
        );
        check(
            whole(&[1, -2, 3, 4], 12),
            "positive side: bucket number 2 has observation count of -1: histogram has a bucket whose \
             observation count is negative",
        );
        check(
            whole(&[1, 1, -1, 0], 13),
            "12 observations found in buckets, but the Count field is 13: histogram's observation count should \
             equal the number of observations found in the buckets (in absence of NaN)",
        );
        check(
            RawHistogram { sum: f64::NAN, ..whole(&[1, 1, -1, 0], 11) },
            "12 observations found in buckets, but the Count field is 11: histogram's observation count should \
             be at least the number of observations found in the buckets",
        );
        assert!(RawHistogram { sum: f64::NAN, ..whole(&[1, 1, -1, 0], 99) }.check().is_ok());
        check(
            float(-1.5, 0.0, &[1.0, 1.0, 1.0, 1.0]),
            "observation count is  -1.5: histogram's observation count is negative",
        );
        check(
            float(1.5, -2.0, &[1.0, 1.0, 1.0, 1.0]),
            "zero bucket has observation count of -2: histogram has a bucket whose observation count is \
             negative",
        );
        check(
            float(1.5, 2.0, &[1.0, 1.0, 1.0, -0.5]),
            "positive side: bucket number 4 has observation count of -0.5: histogram has a bucket whose \
             observation count is negative",
        );
        check(
            RawHistogram { custom_values: &[1.0], ..RAW },
            "histogram with exponential schema must not have custom bounds",
        );
        let bounds = |custom_values: &'static [f64]| RawHistogram { custom_values, ..CUSTOM };
        check(
            bounds(&[1.0, 2.0, 2.0, 3.0]),
            "custom buckets: previous bound is 2.000000 and current is 2.000000: histogram custom bounds must \
             be in strictly increasing order",
        );
        check(bounds(&[f64::NAN]), "custom buckets: histogram custom bounds must not be NaN");
        check(
            bounds(&[1.0, f64::INFINITY]),
            "custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must be \
             finite",
        );
        check(
            bounds(&[1.0, 2.0]),
            "custom buckets: only 2 custom bounds defined which is insufficient to cover total span length of \
             5: histogram custom bounds are too few",
        );
        check(
            RawHistogram { positive_spans: &[span(-1, 4)], ..CUSTOM },
            "custom buckets: span number 1 with offset -1: histogram has a span whose offset is negative",
        );
        check(
            RawHistogram { zero_threshold: 0.5, ..CUSTOM },
            "custom buckets: must have zero threshold of 0",
        );
        check(
            RawHistogram { negative_spans: &[span(0, 0)], ..CUSTOM },
            "custom buckets: must not have negative spans",
        );
    }
}
