//! Finding counter resets.

use super::sum::common_bounds;
use super::{CounterReset, FloatHistogram, HistogramSum};
use crate::model::KahanSum;

impl FloatHistogram {
    /// Whether the counter was reset between the previous histogram of the series and this one: any count
    /// is smaller, or the buckets became finer. What is said about it beforehand counts more than that.
    /// Source: Prometheus `model/histogram/float_histogram.go`, `DetectReset`.
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.counter_reset {
            CounterReset::Reset => return true,
            CounterReset::NotReset => return false,
            CounterReset::Unknown | CounterReset::Gauge => {}
        }
        if self.count < previous.count || self.uses_custom_buckets() != previous.uses_custom_buckets() {
            return true;
        }
        if self.has_same_layout(previous) {
            return self.zero_count < previous.zero_count
                || any_less(&self.positive, &previous.positive)
                || any_less(&self.negative, &previous.negative);
        }
        let mut current = HistogramSum::starting_at(self);
        let mut earlier = HistogramSum::starting_at(previous);
        if self.uses_custom_buckets() {
            if self.custom_values != previous.custom_values {
                let common = common_bounds(&self.custom_values, &previous.custom_values);
                current.keep_bounds(&common);
                earlier.keep_bounds(&common);
            }
        } else {
            if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
                return true;
            }
            if self.zero_threshold > previous.zero_threshold {
                earlier.widen_zero_bucket(self.zero_threshold);
            }
            if earlier.zero_threshold() != self.zero_threshold || self.zero_count < earlier.zero_count() {
                return true;
            }
            earlier.reduce_resolution(self.schema);
        }
        let [positive, negative] = current.counts();
        let [positive_before, negative_before] = earlier.counts();
        any_smaller(positive, positive_before) || any_smaller(negative, negative_before)
    }

    /// Whether a store keeps this histogram in one chunk with the previous one of the series: both have
    /// the same kinds of buckets, and no counter was reset in between. After a staleness marker only
    /// others of its kind follow.
    /// Source: Prometheus `tsdb/chunkenc/float_histogram.go`, `appendable` and `appendableGauge`.
    pub fn continues(&self, previous: &Self) -> bool {
        if self.counter_reset == CounterReset::Reset || self.is_stale() || previous.is_stale() {
            return self.counter_reset != CounterReset::Reset && self.is_stale();
        }
        let gauge = self.counter_reset == CounterReset::Gauge;
        if gauge != (previous.counter_reset == CounterReset::Gauge) {
            return false;
        }
        self.has_same_layout(previous) && (gauge || self.has_all_of(previous))
    }

    /// Whether no count is smaller than in a histogram with the same kinds of buckets.
    fn has_all_of(&self, previous: &Self) -> bool {
        self.count >= previous.count
            && self.zero_count >= previous.zero_count
            && covers(&self.positive, &previous.positive)
            && covers(&self.negative, &previous.negative)
    }
}

/// Whether no bucket has less than it had before; both are in order.
fn covers(buckets: &[(i32, f64)], before: &[(i32, f64)]) -> bool {
    let mut rest = buckets.iter().peekable();
    before.iter().all(|(index, count)| {
        while rest.next_if(|(other, _)| other < index).is_some() {}
        rest.peek().is_some_and(|(other, now)| other == index && now >= count)
    })
}

/// Whether any bucket has less than it had before; both are in order.
fn any_less(buckets: &[(i32, f64)], before: &[(i32, f64)]) -> bool {
    let mut rest = buckets.iter().peekable();
    before.iter().any(|(index, count)| {
        while rest.next_if(|(other, _)| other < index).is_some() {}
        let now = rest.peek().filter(|(other, _)| other == index).map_or(0.0, |(_, now)| *now);
        now < *count
    })
}

fn any_smaller(counts: &[(i32, KahanSum)], before: &[(i32, KahanSum)]) -> bool {
    before.iter().any(|(index, count)| {
        let now = counts.binary_search_by_key(index, |(index, _)| *index);
        now.map_or(0.0, |place| counts[place].1.total()) < count.total()
    })
}
