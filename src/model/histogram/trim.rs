//! Removing the observations on one side of a value: the operators `</` and `>/`.

use super::{Bucket, FloatHistogram};

/// Which observations stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Below,
    Above,
}

/// What stays of a bucket: how many observations, and the value they are taken to have.
struct Rest {
    count: f64,
    middle: f64,
}

impl FloatHistogram {
    /// What lies below a value. The sum is estimated from what is left.
    #[must_use]
    pub fn trimmed_above(&self, value: f64) -> Self {
        self.trimmed(value, Keep::Below)
    }

    /// What lies above a value. The sum is estimated from what is left.
    #[must_use]
    pub fn trimmed_below(&self, value: f64) -> Self {
        self.trimmed(value, Keep::Above)
    }

    /// Source: Prometheus `model/histogram/float_histogram.go`, `TrimBuckets`.
    fn trimmed(&self, value: f64, keep: Keep) -> Self {
        let linear = self.uses_custom_buckets();
        let mut trimmed = self.clone();
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let mut take = |rest: Rest, before: f64| {
            count += rest.count;
            sum += rest.middle * rest.count;
            changed |= rest.count != before;
            rest.count
        };
        for (index, kept) in &mut trimmed.positive {
            let bucket = self.positive_bucket((*index, *kept));
            *kept = take(rest_of(bucket, value, keep, linear, 1.0), bucket.count);
        }
        for (index, kept) in &mut trimmed.negative {
            let bucket = self.negative_bucket((*index, *kept));
            *kept = take(rest_of(bucket, value, keep, linear, -1.0), bucket.count);
        }
        if self.zero_count > 0.0 {
            trimmed.zero_count = take(self.rest_of_zero_bucket(value, keep), self.zero_count);
        }
        if !changed {
            return trimmed;
        }
        (trimmed.count, trimmed.sum) = (count, sum);
        trimmed.positive = super::populated(trimmed.positive);
        trimmed.negative = super::populated(trimmed.negative);
        trimmed
    }

    fn rest_of_zero_bucket(&self, value: f64, keep: Keep) -> Rest {
        let lower =
            if self.negative.is_empty() && !self.positive.is_empty() { 0.0 } else { -self.zero_threshold };
        let upper =
            if self.positive.is_empty() && !self.negative.is_empty() { 0.0 } else { self.zero_threshold };
        let (from, to) = match keep {
            Keep::Below => (lower, value.min(upper)),
            Keep::Above => (value.max(lower), upper),
        };
        let all = match keep {
            Keep::Below => value > lower && value >= upper,
            Keep::Above => value <= lower,
        };
        if all {
            return Rest { count: self.zero_count, middle: f64::midpoint(lower, upper) };
        }
        if from >= to {
            return Rest { count: 0.0, middle: 0.0 };
        }
        Rest { count: self.zero_count * ((to - from) / (upper - lower)), middle: f64::midpoint(from, to) }
    }
}

/// What stays of a bucket other than the zero bucket; `sign` is that of its values.
fn rest_of(bucket: Bucket, value: f64, keep: Keep, linear: bool, sign: f64) -> Rest {
    let Bucket { lower, upper, count, .. } = bucket;
    let (whole, partly) = match keep {
        Keep::Below => (upper <= value, lower < value),
        Keep::Above => (lower >= value, upper > value),
    };
    if whole {
        return Rest { count, middle: middle(lower, upper, linear, sign) };
    }
    if !partly {
        return Rest { count: 0.0, middle: 0.0 };
    }
    if lower == f64::NEG_INFINITY {
        return rest_of_lowest(bucket, value, keep);
    }
    if upper == f64::INFINITY {
        // Where in a bucket without end the observations lie is not known: all are taken to lie above.
        return match keep {
            Keep::Below => Rest { count: 0.0, middle: 0.0 },
            Keep::Above => Rest { count, middle: value },
        };
    }
    let below = count * bucket.share_below(value, linear);
    match keep {
        Keep::Below => Rest { count: below, middle: middle(lower, value, linear, sign) },
        Keep::Above => Rest { count: count - below, middle: middle(value, upper, linear, sign) },
    }
}

/// What stays of the lowest custom bucket if the value lies within it. It has no lower bound; if its upper
/// one is positive, 0 is taken for it. Source: Prometheus `handleInfinityBuckets`.
fn rest_of_lowest(Bucket { upper, count, .. }: Bucket, value: f64, keep: Keep) -> Rest {
    let finite = upper > 0.0 && upper.is_finite();
    match keep {
        Keep::Below if value > 0.0 && finite => Rest { count: count * value / upper, middle: value / 2.0 },
        Keep::Below if upper <= 0.0 => Rest { count, middle: value },
        Keep::Above if value >= 0.0 && finite => {
            Rest { count: count * (1.0 - value / upper), middle: f64::midpoint(value, upper) }
        }
        _ => Rest { count: 0.0, middle: 0.0 },
    }
}

/// The value that observations between two bounds are taken to have.
/// Source: Prometheus `computeMidpoint`.
fn middle(lower: f64, upper: f64, linear: bool, sign: f64) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if linear => f64::midpoint(lower, upper),
        (false, false) => sign * (lower * upper).abs().sqrt(),
    }
}
