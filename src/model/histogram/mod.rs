//! Native histograms: their buckets follow a schema, not labels.
//!
//! The semantics are those of Prometheus 3.14 (`model/histogram/float_histogram.go`). Where it keeps spans
//! and bucket counts beside each other, a histogram here keeps its populated buckets alone: nothing needs
//! to be compacted, and histograms with the same data are written the same.

mod estimate;
mod reset;
mod sum;
#[cfg(test)]
mod tests;
mod trim;

use std::fmt;
use std::sync::Arc;

use super::{TimestampMs, format_float_general, is_stale, stale_nan};

pub use estimate::{Estimate, NanEffect};
pub use sum::{HistogramMean, HistogramSum, IncompatibleBuckets, Reconciled};

/// The schema of histograms whose bucket bounds are listed.
/// Source: Prometheus `model/histogram/generic.go`, `CustomBucketsSchema`.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// Whether a counter started anew between the previous histogram of a series and this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CounterReset {
    /// To be found out by comparing both.
    #[default]
    Unknown,
    /// It did.
    Reset,
    /// It did not.
    NotReset,
    /// The histogram is no counter.
    Gauge,
}

impl CounterReset {
    /// What is known of two histograms together, and whether what was known of each contradicts that of
    /// the other. Source: Prometheus `model/histogram/float_histogram.go`, `adjustCounterReset`.
    fn and(self, other: Self) -> (Self, bool) {
        match (self, other) {
            (a, b) if a == b => (a, false),
            (Self::Gauge, _) | (_, Self::Gauge) => (Self::Gauge, false),
            (Self::Reset, Self::NotReset) | (Self::NotReset, Self::Reset) => (Self::Unknown, true),
            _ => (Self::Unknown, false),
        }
    }
}

/// A histogram with fractional counts.
#[derive(Debug, Clone)]
pub struct FloatHistogram {
    /// What is known about counter resets before this histogram.
    pub counter_reset: CounterReset,
    /// From -4 to 8: 2 to the power of the schema buckets lie between a power of two and the next; or
    /// [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Observations up to this distance from zero are counted in the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations, those of NaN included.
    pub count: f64,
    /// The sum of all observations, or the staleness marker.
    pub sum: f64,
    positive: Vec<(i32, f64)>,
    negative: Vec<(i32, f64)>,
    custom_values: Arc<[f64]>,
}

/// A histogram of a series that is known from the context.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramPoint {
    /// When it was taken.
    pub at: TimestampMs,
    /// The histogram; its sum may be the staleness marker.
    pub histogram: Arc<FloatHistogram>,
}

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether observations of the lower bound's value belong to it.
    pub lower_inclusive: bool,
    /// Whether observations of the upper bound's value belong to it.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

impl FloatHistogram {
    /// A histogram without observations.
    pub fn empty(schema: i32, custom_values: Arc<[f64]>) -> Self {
        Self {
            counter_reset: CounterReset::Unknown,
            schema,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: Vec::new(),
            negative: Vec::new(),
            custom_values,
        }
    }

    /// The marker that a series of histograms ended.
    pub fn stale() -> Self {
        Self { sum: stale_nan(), ..Self::empty(0, Arc::default()) }
    }

    /// The same with these buckets: indices and counts, in any order, each index once. Bucket `i` of an
    /// exponential schema ends at 2 to the power of `i` / 2^schema, negative ones mirrored; that of custom
    /// buckets ends at the custom value of that index, the last one at infinity.
    #[must_use]
    pub fn with_buckets(
        mut self,
        positive: impl IntoIterator<Item = (i32, f64)>,
        negative: impl IntoIterator<Item = (i32, f64)>,
    ) -> Self {
        self.positive = populated(positive.into_iter().collect());
        self.negative = populated(negative.into_iter().collect());
        self
    }

    /// The same with this said about counter resets.
    #[must_use]
    pub fn with_counter_reset(self, counter_reset: CounterReset) -> Self {
        Self { counter_reset, ..self }
    }

    /// Whether the bounds of the buckets are listed.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// The upper bounds of custom buckets, but the infinite one.
    pub fn custom_values(&self) -> &Arc<[f64]> {
        &self.custom_values
    }

    /// Whether this is not a histogram but the marker that the series ended.
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }

    /// The populated positive buckets upwards, as index and count.
    pub fn positive(&self) -> &[(i32, f64)] {
        &self.positive
    }

    /// The populated negative buckets from zero downwards, as index and count.
    pub fn negative(&self) -> &[(i32, f64)] {
        &self.negative
    }

    /// Every count and the sum multiplied.
    #[must_use]
    pub fn multiplied(&self, factor: f64) -> Self {
        self.clone().multiplied_by(factor)
    }

    /// [`multiplied`](Self::multiplied), without a copy.
    #[must_use]
    pub fn multiplied_by(self, factor: f64) -> Self {
        let mut scaled = self.with_counts(|count| count * factor);
        if factor < 0.0 {
            scaled.counter_reset = CounterReset::Gauge;
        }
        scaled
    }

    /// Every count and the sum divided; nothing is left of the buckets if it is by 0.
    #[must_use]
    pub fn divided(&self, divisor: f64) -> Self {
        self.clone().divided_by(divisor)
    }

    /// [`divided`](Self::divided), without a copy.
    #[must_use]
    pub fn divided_by(self, divisor: f64) -> Self {
        let mut scaled = self.with_counts(|count| count / divisor);
        if divisor == 0.0 {
            scaled.positive.clear();
            scaled.negative.clear();
        }
        if divisor < 0.0 {
            scaled.counter_reset = CounterReset::Gauge;
        }
        scaled
    }

    fn with_counts(mut self, change: impl Fn(f64) -> f64) -> Self {
        for count in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *count = change(*count);
        }
        for buckets in [&mut self.positive, &mut self.negative] {
            for (_, count) in buckets.iter_mut() {
                *count = change(*count);
            }
            buckets.retain(|(_, count)| *count != 0.0);
        }
        self
    }

    /// This and the other histogram added up. Where their buckets differ, those of the result are the
    /// finest that both can be told in.
    pub fn plus(&self, other: &Self) -> Result<(Self, Reconciled), IncompatibleBuckets> {
        if self.has_same_layout(other) {
            return Ok(self.combined(other, |a, b| a + b));
        }
        let mut sum = HistogramSum::starting_at(self);
        let reconciled = sum.add(other)?;
        Ok((sum.value(), reconciled))
    }

    /// The other histogram subtracted from this one.
    pub fn minus(&self, other: &Self) -> Result<(Self, Reconciled), IncompatibleBuckets> {
        if self.has_same_layout(other) {
            return Ok(self.combined(other, |a, b| a - b));
        }
        self.plus(&other.clone().with_counts(|count| -count))
    }

    /// Whether counts of the same bucket index are of the same observations.
    fn has_same_layout(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && (!self.uses_custom_buckets() || self.custom_values == other.custom_values)
    }

    /// The sum or the difference of two histograms with the same layout.
    fn combined(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> (Self, Reconciled) {
        let (counter_reset, counter_reset_collision) = self.counter_reset.and(other.counter_reset);
        let combined = Self {
            counter_reset,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: combine(self.zero_count, other.zero_count),
            count: combine(self.count, other.count),
            sum: combine(self.sum, other.sum),
            positive: combined(&self.positive, &other.positive, &combine),
            negative: combined(&self.negative, &other.negative, &combine),
            custom_values: Arc::clone(&self.custom_values),
        };
        (combined, Reconciled { counter_reset_collision, custom_bounds: false })
    }

    /// How many floats with their times take as much memory.
    pub fn size_in_samples(&self) -> usize {
        let buckets = (self.positive.len() + self.negative.len()) * size_of::<(i32, f64)>();
        (size_of::<Self>() + buckets) / size_of::<super::Point>()
    }

    /// The zero bucket, which custom buckets do not have.
    fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let bound = |index| bound(self.schema, &self.custom_values, index);
        let (lower, upper) = (bound(index - 1), bound(index));
        let custom = self.uses_custom_buckets();
        Bucket { lower, upper, lower_inclusive: custom && index == 0, upper_inclusive: true, count }
    }

    fn negative_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let bound = |index| -bound(self.schema, &self.custom_values, index);
        let (lower, upper) = (bound(index), bound(index - 1));
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: false, count }
    }

    /// All populated buckets upwards, those that overlap the zero bucket cut off at it.
    pub fn buckets(&self) -> Vec<Bucket> {
        self.populated_buckets().map(|bucket| self.bucket(bucket)).collect()
    }

    /// All populated buckets upwards.
    fn populated_buckets(&self) -> impl DoubleEndedIterator<Item = Populated> + '_ {
        let negative = self.negative.iter().rev().map(|bucket| Populated::Negative(*bucket));
        let zero = (self.zero_count > 0.0).then_some(Populated::Zero(self.zero_count));
        let positive = self.positive.iter().map(|bucket| Populated::Positive(*bucket));
        negative.chain(zero).chain(positive)
    }

    /// The bounds of a populated bucket, cut off where it overlaps the zero bucket.
    fn bucket(&self, populated: Populated) -> Bucket {
        let threshold = self.zero_threshold;
        match populated {
            Populated::Negative(bucket) => {
                let mut bucket = self.negative_bucket(bucket);
                if bucket.upper < 0.0 && bucket.upper > -threshold {
                    bucket.upper = -threshold;
                }
                bucket
            }
            Populated::Zero(_) => self.zero_bucket(),
            Populated::Positive(bucket) => {
                let mut bucket = self.positive_bucket(bucket);
                if bucket.lower > 0.0 && bucket.lower < threshold {
                    bucket.lower = threshold;
                }
                bucket
            }
        }
    }
}

/// A bucket with observations: its index, which the zero bucket does not have, and their number.
#[derive(Debug, Clone, Copy)]
enum Populated {
    Negative((i32, f64)),
    Zero(f64),
    Positive((i32, f64)),
}

impl Populated {
    fn count(self) -> f64 {
        match self {
            Self::Negative((_, count)) | Self::Positive((_, count)) | Self::Zero(count) => count,
        }
    }
}

/// The counts of the buckets of two histograms, both in order.
fn combined(a: &[(i32, f64)], b: &[(i32, f64)], combine: impl Fn(f64, f64) -> f64) -> Vec<(i32, f64)> {
    let mut all = Vec::with_capacity(a.len().max(b.len()));
    let mut add = |index: i32, count: f64| {
        if count != 0.0 {
            all.push((index, count));
        }
    };
    let mut rest = b.iter().peekable();
    for (index, count) in a {
        while let Some((other, theirs)) = rest.next_if(|(other, _)| other < index) {
            add(*other, combine(0.0, *theirs));
        }
        let theirs = rest.next_if(|(other, _)| other == index).map_or(0.0, |(_, theirs)| *theirs);
        add(*index, combine(*count, theirs));
    }
    rest.for_each(|(other, theirs)| add(*other, combine(0.0, *theirs)));
    all
}

/// Sorts buckets and drops those without observations.
fn populated(mut buckets: Vec<(i32, f64)>) -> Vec<(i32, f64)> {
    buckets.retain(|(_, count)| *count != 0.0);
    buckets.sort_unstable_by_key(|(index, _)| *index);
    buckets
}

/// The square root of two, the root of that, and so on. Bounds between powers of two are products of
/// these, the greatest first: that yields the table which Prometheus has, digit by digit. Its square root of
/// two is one digit less than the nearest float.
/// Source: Prometheus `model/histogram/generic.go`, `exponentialBounds`.
#[expect(clippy::approx_constant, reason = "the constant is the nearest float")]
const ROOTS_OF_TWO: [f64; 8] = [
    1.414_213_562_373_095,
    1.189_207_115_002_721,
    1.090_507_732_665_257_7,
    1.044_273_782_427_413_8,
    1.021_897_148_654_116_6,
    1.010_889_286_051_700_5,
    1.005_429_901_112_802_7,
    1.002_711_275_050_202_5,
];

/// The upper bound of the positive bucket with this index.
/// Source: Prometheus `model/histogram/generic.go`, `getBound`.
fn bound(schema: i32, custom_values: &[f64], index: i32) -> f64 {
    if schema == CUSTOM_BUCKETS_SCHEMA {
        return match usize::try_from(index) {
            Ok(index) => custom_values.get(index).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        };
    }
    let bound = if schema <= 0 {
        (f64::from(index) * f64::from(1_i32 << -schema)).exp2()
    } else {
        let within = ROOTS_OF_TWO.iter().zip((0..schema).rev()).filter(|(_, bit)| index >> bit & 1 == 1);
        within.map(|(root, _)| root).product::<f64>() * f64::from(index >> schema).exp2()
    };
    // The bound beyond the largest power of two is the largest float: there is nothing above it.
    if bound.is_infinite() { f64::MAX } else { bound }
}

/// Equality of the data, bit by bit: it tells a staleness marker from a NaN. What is known about counter
/// resets does not count. Source: Prometheus `model/histogram/float_histogram.go`, `Equals`.
impl PartialEq for FloatHistogram {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let same_buckets = |a: &[(i32, f64)], b: &[(i32, f64)]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
        };
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && self.zero_threshold == other.zero_threshold
            && same(self.zero_count, other.zero_count)
            && same_buckets(&self.positive, &other.positive)
            && same_buckets(&self.negative, &other.negative)
            && (!self.uses_custom_buckets() || self.custom_values == other.custom_values)
    }
}

/// Prometheus' notation: `{count:3, sum:5, [-0.001,0.001]:1, (1,2]:2}`.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = format_float_general;
        write!(f, "{{count:{}, sum:{}", number(self.count), number(self.sum))?;
        let negative = self.negative.iter().rev().map(|bucket| self.negative_bucket(*bucket));
        let zero = (self.zero_count != 0.0).then(|| self.zero_bucket());
        let positive = self.positive.iter().map(|bucket| self.positive_bucket(*bucket));
        for bucket in negative.chain(zero).chain(positive) {
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper, count) = (number(bucket.lower), number(bucket.upper), number(bucket.count));
            write!(f, ", {open}{lower},{upper}{close}:{count}")?;
        }
        f.write_str("}")
    }
}
