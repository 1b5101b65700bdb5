//! What can be told about the observations from the buckets they fell into.
//!
//! Within a bucket of an exponential schema observations are taken to be spread as its bounds are,
//! exponentially; within custom buckets and the zero bucket linearly.

use super::{Bucket, FloatHistogram, Populated};
use crate::model::KahanSum;

/// A number read from a histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// What observations of NaN, which are in no bucket, do to it.
    pub nan_effect: Option<NanEffect>,
}

/// What observations of NaN do to an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanEffect {
    /// The result is NaN as well.
    IsNan,
    /// The result is too high.
    SkewsUpwards,
    /// They are in no fraction.
    IsExcluded,
}

impl Estimate {
    fn certain(value: f64) -> Self {
        Self { value, nan_effect: None }
    }
}

impl Bucket {
    fn contains_zero(&self) -> bool {
        self.lower <= 0.0 && self.upper >= 0.0
    }

    /// The share of the bucket's observations below a value within it.
    pub(super) fn share_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper) = (self.lower.abs().log2(), self.upper.abs().log2());
        let at = value.abs().log2();
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

impl FloatHistogram {
    /// The zero bucket with 0 as its end on the side where nothing was observed.
    fn narrowed(&self, mut bucket: Bucket) -> Bucket {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
        bucket
    }

    /// The quantile `q` of the observations.
    /// Source: Prometheus `promql/quantile.go`, `HistogramQuantile`.
    pub fn quantile(&self, q: f64) -> Estimate {
        if q < 0.0 {
            return Estimate::certain(f64::NEG_INFINITY);
        }
        if q > 1.0 {
            return Estimate::certain(f64::INFINITY);
        }
        if self.count == 0.0 || q.is_nan() {
            return Estimate::certain(f64::NAN);
        }
        // NaNs count as larger than anything, so ranks are then counted from below; else from the end that
        // is nearer, which is more precise.
        let any_nan = self.sum.is_nan();
        let upwards = any_nan || q < 0.5;
        let rank = if upwards { q * self.count } else { (1.0 - q) * self.count };
        let mut reached = None;
        let mut count = 0.0;
        let mut take = |populated: Populated| {
            reached = Some(populated);
            count += populated.count();
            count >= rank
        };
        let mut buckets = self.populated_buckets();
        if upwards {
            buckets.any(&mut take)
        } else {
            buckets.rev().any(&mut take)
        };
        let nothing =
            Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
        let mut bucket = reached.map_or(nothing, |populated| self.bucket(populated));
        if self.uses_custom_buckets() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return Estimate::certain(bucket.upper);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return Estimate::certain(bucket.lower);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            bucket = self.narrowed(bucket);
        }
        let reached = count.min(self.count);
        if reached < rank {
            return if any_nan {
                Estimate { value: f64::NAN, nan_effect: Some(NanEffect::IsNan) }
            } else {
                Estimate::certain(bucket.upper)
            };
        }
        let within = if upwards { rank - (reached - bucket.count) } else { reached - rank };
        let share = within / bucket.count;
        let value = if self.uses_custom_buckets() || bucket.contains_zero() {
            bucket.lower + (bucket.upper - bucket.lower) * share
        } else {
            let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
            if bucket.lower > 0.0 {
                (lower + (upper - lower) * share).exp2()
            } else {
                -(upper + (lower - upper) * (1.0 - share)).exp2()
            }
        };
        let in_buckets = || self.populated_buckets().map(Populated::count).sum::<f64>();
        let skewed = any_nan && in_buckets() < self.count;
        Estimate { value, nan_effect: skewed.then_some(NanEffect::SkewsUpwards) }
    }

    /// The share of observations between two values.
    /// Source: Prometheus `promql/quantile.go`, `HistogramFraction`.
    pub fn fraction(&self, lower: f64, upper: f64) -> Estimate {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return Estimate::certain(f64::NAN);
        }
        if lower >= upper {
            return Estimate::certain(0.0);
        }
        let buckets = self.buckets();
        let in_buckets: f64 = buckets.iter().map(|bucket| bucket.count).sum();
        let any_nan = self.sum.is_nan();
        let count = if any_nan { in_buckets } else { self.count };
        let excluded = any_nan && in_buckets < self.count;
        let share =
            (self.rank_of(upper, &buckets, count) - self.rank_of(lower, &buckets, count)) / self.count;
        Estimate { value: share, nan_effect: excluded.then_some(NanEffect::IsExcluded) }
    }

    /// How many observations lie below a value, at most `count`.
    fn rank_of(&self, value: f64, buckets: &[Bucket], count: f64) -> f64 {
        let mut rank = 0.0;
        for bucket in buckets {
            let around_zero = bucket.contains_zero();
            let bucket = if around_zero { self.narrowed(*bucket) } else { *bucket };
            if bucket.lower >= value {
                return capped(rank, count);
            }
            if bucket.upper > value {
                let linear = self.uses_custom_buckets() || around_zero;
                // Nothing can be said about where in a bucket without a lower bound its observations lie.
                let within = if linear && bucket.lower == f64::NEG_INFINITY {
                    bucket.count
                } else {
                    rank + bucket.count * bucket.share_below(value, linear)
                };
                return capped(within, count);
            }
            rank += bucket.count;
        }
        count
    }

    /// The population variance of the observations, each taken to be in the middle of its bucket.
    /// Source: Prometheus `promql/functions.go`, `histogramVariance`.
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut squares = KahanSum::default();
        for bucket in self.buckets() {
            let middle = if self.uses_custom_buckets() {
                f64::midpoint(bucket.upper, bucket.lower)
            } else if bucket.contains_zero() {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
            };
            let delta = middle - mean;
            squares.add(bucket.count * delta * delta);
        }
        squares.total() / self.count
    }
}

fn capped(rank: f64, count: f64) -> f64 {
    if rank > count { count } else { rank }
}
