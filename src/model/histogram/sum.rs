//! Adding histograms up, and what has to happen to their buckets for that.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{CUSTOM_BUCKETS_SCHEMA, CounterReset, FloatHistogram, bound};
use crate::model::KahanSum;

/// Two histograms have no buckets in common: one has exponential ones, the other has custom ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
pub struct IncompatibleBuckets;

/// What two histograms did not agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// One comes after a counter reset and the other one does not.
    pub counter_reset_collision: bool,
    /// Their custom buckets had different bounds; only common ones are left.
    pub custom_bounds: bool,
}

impl Reconciled {
    /// Notes what further histograms did not agree on.
    pub fn merge(&mut self, other: Self) {
        self.counter_reset_collision |= other.counter_reset_collision;
        self.custom_bounds |= other.custom_bounds;
    }
}

/// The counts of one side of zero by bucket index, ascending.
type Counts = Vec<(i32, KahanSum)>;

/// A sum of histograms, with compensation in every count.
/// Source: Prometheus `model/histogram/float_histogram.go`, `KahanAdd`.
#[derive(Debug, Clone)]
pub struct HistogramSum {
    counter_reset: CounterReset,
    schema: i32,
    zero_threshold: f64,
    zero_count: KahanSum,
    count: KahanSum,
    sum: KahanSum,
    positive: Counts,
    negative: Counts,
    custom_values: Arc<[f64]>,
}

impl HistogramSum {
    /// A sum of one histogram.
    pub fn starting_at(histogram: &FloatHistogram) -> Self {
        let counts = |buckets: &[(i32, f64)]| {
            buckets.iter().map(|(index, count)| (*index, KahanSum::starting_at(*count))).collect()
        };
        Self {
            counter_reset: histogram.counter_reset,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: KahanSum::starting_at(histogram.zero_count),
            count: KahanSum::starting_at(histogram.count),
            sum: KahanSum::starting_at(histogram.sum),
            positive: counts(&histogram.positive),
            negative: counts(&histogram.negative),
            custom_values: Arc::clone(&histogram.custom_values),
        }
    }

    /// Adds a histogram. The sum stays as it was if it cannot be.
    pub fn add(&mut self, histogram: &FloatHistogram) -> Result<Reconciled, IncompatibleBuckets> {
        if self.uses_custom_buckets() != histogram.uses_custom_buckets() {
            return Err(IncompatibleBuckets);
        }
        let (counter_reset, counter_reset_collision) = self.counter_reset.and(histogram.counter_reset);
        self.counter_reset = counter_reset;
        if self.has_layout_of(histogram) {
            self.zero_count.add(histogram.zero_count);
            self.count.add(histogram.count);
            self.sum.add(histogram.sum);
            let value = |(index, count): &(i32, f64)| (*index, KahanSum::starting_at(*count));
            merge(&mut self.positive, histogram.positive.iter().map(value));
            merge(&mut self.negative, histogram.negative.iter().map(value));
            return Ok(Reconciled { counter_reset_collision, custom_bounds: false });
        }
        let mut other = Self::starting_at(histogram);
        let mut custom_bounds = false;
        if self.uses_custom_buckets() {
            if self.custom_values != other.custom_values {
                custom_bounds = true;
                let common = common_bounds(&self.custom_values, &other.custom_values);
                self.keep_bounds(&common);
                other.keep_bounds(&common);
            }
        } else {
            self.align_zero_buckets(&mut other);
            let schema = self.schema.min(other.schema);
            self.reduce_resolution(schema);
            other.reduce_resolution(schema);
        }
        self.zero_count.merge(other.zero_count);
        self.count.merge(other.count);
        self.sum.merge(other.sum);
        merge(&mut self.positive, other.positive.into_iter());
        merge(&mut self.negative, other.negative.into_iter());
        Ok(Reconciled { counter_reset_collision, custom_bounds })
    }

    /// Whether counts of the same bucket index are of the same observations.
    fn has_layout_of(&self, histogram: &FloatHistogram) -> bool {
        self.schema == histogram.schema
            && self.zero_threshold == histogram.zero_threshold
            && (!self.uses_custom_buckets() || self.custom_values == histogram.custom_values)
    }

    /// The sum as a histogram.
    pub fn value(&self) -> FloatHistogram {
        let totals = |counts: &Counts| counts.iter().map(|(index, count)| (*index, count.total())).collect();
        FloatHistogram {
            counter_reset: self.counter_reset,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count.total(),
            count: self.count.total(),
            sum: self.sum.total(),
            positive: super::populated(totals(&self.positive)),
            negative: super::populated(totals(&self.negative)),
            custom_values: Arc::clone(&self.custom_values),
        }
    }

    fn scale(&mut self, factor: f64) {
        self.numbers().for_each(|number| *number = number.scaled(factor));
    }

    fn has_overflow(&mut self) -> bool {
        self.numbers().any(|number| number.sum.is_infinite())
    }

    fn numbers(&mut self) -> impl Iterator<Item = &mut KahanSum> {
        let totals = [&mut self.zero_count, &mut self.count, &mut self.sum];
        let buckets = self.positive.iter_mut().chain(&mut self.negative);
        totals.into_iter().chain(buckets.map(|(_, count)| count))
    }

    fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    pub(super) fn zero_count(&self) -> f64 {
        self.zero_count.total()
    }

    pub(super) fn zero_threshold(&self) -> f64 {
        self.zero_threshold
    }

    /// Widens the zero buckets until they are equally wide.
    fn align_zero_buckets(&mut self, other: &mut Self) {
        loop {
            match self.zero_threshold.partial_cmp(&other.zero_threshold) {
                Some(Ordering::Less) => self.widen_zero_bucket(other.zero_threshold),
                Some(Ordering::Greater) => other.widen_zero_bucket(self.zero_threshold),
                // A threshold that is not a number is wider than nothing.
                Some(Ordering::Equal) | None => return,
            }
        }
    }

    /// Moves buckets into the zero bucket so that it reaches to `threshold`, or beyond if that lies within
    /// a populated bucket. Source: Prometheus `zeroCountForLargerThreshold`.
    pub(super) fn widen_zero_bucket(&mut self, threshold: f64) {
        let schema = self.schema;
        let bound = |index: i32| bound(schema, &[], index);
        let mut threshold = threshold;
        let straddles = |threshold: f64, index: i32| bound(index - 1) < threshold && bound(index) > threshold;
        while let Some((index, _)) = self
            .positive
            .iter()
            .chain(&self.negative)
            .find(|(index, count)| count.total() != 0.0 && straddles(threshold, *index))
        {
            threshold = bound(*index);
        }
        for counts in [&mut self.positive, &mut self.negative] {
            let within = counts.partition_point(|(index, _)| bound(index - 1) < threshold);
            for (_, count) in counts.drain(..within) {
                self.zero_count.merge(count);
            }
        }
        self.zero_threshold = threshold;
    }

    /// Merges buckets to those of a coarser schema.
    pub(super) fn reduce_resolution(&mut self, schema: i32) {
        if schema == self.schema {
            return;
        }
        let shift = self.schema - schema;
        let coarser = |index: i32| ((index - 1) >> shift) + 1;
        self.positive = regrouped(&self.positive, coarser);
        self.negative = regrouped(&self.negative, coarser);
        self.schema = schema;
    }

    /// Merges custom buckets to those with these bounds, all of which it has.
    pub(super) fn keep_bounds(&mut self, bounds: &Arc<[f64]>) {
        let old = Arc::clone(&self.custom_values);
        self.positive = regrouped(&self.positive, |index| {
            let upper = bound(CUSTOM_BUCKETS_SCHEMA, &old, index);
            bounds.partition_point(|bound| *bound < upper) as i32
        });
        self.custom_values = Arc::clone(bounds);
    }

    /// The counts of the positive buckets and those of the negative ones.
    pub(super) fn counts(&self) -> [&[(i32, KahanSum)]; 2] {
        [&self.positive, &self.negative]
    }
}

/// The bounds that both have.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    a.iter().copied().filter(|bound| b.contains(bound)).collect()
}

/// The counts by new indices, in the same order.
fn regrouped(counts: &[(i32, KahanSum)], index: impl Fn(i32) -> i32) -> Counts {
    let mut regrouped: Counts = Vec::with_capacity(counts.len());
    for (old, count) in counts {
        let new = index(*old);
        match regrouped.last_mut() {
            Some((last, sum)) if *last == new => sum.merge(*count),
            _ => regrouped.push((new, *count)),
        }
    }
    regrouped
}

/// Adds counts to those with the same index; both are in order.
fn merge(counts: &mut Counts, others: impl Iterator<Item = (i32, KahanSum)>) {
    let mut place = 0;
    for (index, other) in others {
        while counts.get(place).is_some_and(|(own, _)| *own < index) {
            place += 1;
        }
        match counts.get_mut(place) {
            Some((own, count)) if *own == index => count.merge(other),
            _ => counts.insert(place, (index, other)),
        }
    }
}

/// The mean of histograms. It adds up while the sums are finite and goes on incrementally from there.
/// Source: Prometheus `promql/functions.go`, `funcAvgOverTime`.
#[derive(Debug, Clone)]
pub struct HistogramMean {
    state: HistogramSum,
    count: f64,
    incremental: bool,
}

impl HistogramMean {
    /// The mean of one histogram.
    pub fn starting_at(histogram: &FloatHistogram) -> Self {
        Self { state: HistogramSum::starting_at(histogram), count: 1.0, incremental: false }
    }

    /// Takes one histogram more into the mean, which stays as it was if that cannot be.
    pub fn add(&mut self, histogram: &FloatHistogram) -> Result<Reconciled, IncompatibleBuckets> {
        let count = self.count + 1.0;
        if !self.incremental {
            let mut sum = self.state.clone();
            let reconciled = sum.add(histogram)?;
            if !sum.has_overflow() {
                (self.state, self.count) = (sum, count);
                return Ok(reconciled);
            }
            self.incremental = true;
            self.state.scale(1.0 / self.count);
        }
        let mut mean = self.state.clone();
        mean.scale(self.count / count);
        let reconciled = mean.add(&histogram.divided(count))?;
        (self.state, self.count) = (mean, count);
        Ok(reconciled)
    }

    /// The mean of all histograms.
    pub fn value(&self) -> FloatHistogram {
        let sum = self.state.value();
        if self.incremental { sum } else { sum.divided(self.count) }
    }
}
