//! Samples, points and the two NaNs that must not be confused.

use std::sync::Arc;

use super::{FloatHistogram, HistogramPoint, Labels};

/// An instant: milliseconds since the Unix epoch, as everywhere in Prometheus' storage.
pub type TimestampMs = i64;

/// The bits of the staleness marker: "this series ended here".
/// Source: Prometheus `model/value/value.go`, `StaleNaN`.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The bits of the NaN that calculations yield.
/// Source: Prometheus `model/value/value.go`, `NormalNaN`.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The staleness marker. It is a signalling NaN: arithmetic destroys it, moves and copies keep it.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// The NaN that calculations yield.
pub fn normal_nan() -> f64 {
    f64::from_bits(NORMAL_NAN_BITS)
}

/// Whether `value` is the staleness marker: decided by its bits, since every NaN differs from itself.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One value of a series that is known from the context.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// When the value was taken.
    pub at: TimestampMs,
    /// The value, or the staleness marker.
    pub value: f64,
}

/// Equality of points is equality of bits: it tells a staleness marker from a NaN.
impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.value.to_bits() == other.value.to_bits()
    }
}

/// One value with the series it belongs to.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The series, metric name included.
    pub labels: Labels,
    /// When the value was taken.
    pub at: TimestampMs,
    /// The value, or the staleness marker.
    pub value: f64,
}

impl Sample {
    /// A sample of `labels`.
    pub fn new(labels: Labels, at: TimestampMs, value: f64) -> Self {
        Self { labels, at, value }
    }
}

/// Equality of samples is equality of bits, as for [`Point`].
impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.value.to_bits() == other.value.to_bits() && self.labels == other.labels
    }
}

/// One native histogram with the series it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// The series, metric name included.
    pub labels: Labels,
    /// When the histogram was taken.
    pub at: TimestampMs,
    /// The histogram; its sum may be the staleness marker.
    pub histogram: Arc<FloatHistogram>,
}

/// Since when a sample of a series counts, if whoever counted says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartTimestamp {
    /// When the sample was taken.
    pub at: TimestampMs,
    /// Since when it counts.
    pub start: TimestampMs,
}

impl StartTimestamp {
    /// Since when the sample taken at an instant counts, found among those of its series.
    pub fn of(all: &[Self], at: TimestampMs) -> Option<TimestampMs> {
        let place = all.binary_search_by_key(&at, |one| one.at).ok()?;
        Some(all[place].start)
    }
}

/// A series with some of its points, in ascending order of time without duplicates.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What identifies the series.
    pub labels: Labels,
    /// Its points.
    pub points: Vec<Point>,
    /// Its native histograms; no instant has both a point and a histogram.
    pub histograms: Vec<HistogramPoint>,
    /// Since when they count, in order of time, as far as that is known.
    pub start_timestamps: Vec<StartTimestamp>,
}

impl Series {
    /// A series of floats.
    pub fn floats(labels: Labels, points: Vec<Point>) -> Self {
        Self { labels, points, histograms: Vec::new(), start_timestamps: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marker_is_stale() {
        assert!(is_stale(stale_nan()));
        assert!(!is_stale(f64::NAN));
        assert!(!is_stale(normal_nan()));
        assert!(!is_stale(0.0));
    }

    #[test]
    fn points_compare_by_bits() {
        let point = |value| Point { at: 1, value };
        assert_eq!(point(f64::NAN), point(f64::NAN));
        assert_ne!(point(f64::NAN), point(stale_nan()));
        assert_ne!(point(0.0), point(-0.0));
    }
}
