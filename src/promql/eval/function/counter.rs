//! How values change within a window: rates, differences, changes and resets.

use crate::model::{Point, TimestampMs};
use crate::promql::ast::RangeModifier;
use crate::promql::eval::window::{Extended, Window, WindowFunction};
use crate::promql::plan::Range;

/// `rate`, `increase` and `delta`.
///
/// Where a counter was reset is found once for each series: a window then costs its resets, not its
/// points.
#[derive(Debug)]
pub(super) struct Rate {
    counter: bool,
    per_second: bool,
    range_ms: i64,
    modifier: Option<RangeModifier>,
    /// The values before each reset with the place of the point after it.
    resets: Vec<(usize, f64)>,
}

impl Rate {
    /// `rate` (per second) or `increase`.
    pub(super) fn counter(range: &Range<'_>, per_second: bool) -> Self {
        Self {
            counter: true,
            per_second,
            range_ms: range.length_ms,
            modifier: range.modifier(),
            resets: Vec::new(),
        }
    }

    /// `delta`.
    pub(super) fn gauge(range: &Range<'_>) -> Self {
        Self { counter: false, ..Self::counter(range, false) }
    }

    fn range_seconds(&self) -> f64 {
        self.range_ms as f64 / 1000.0
    }

    /// The difference between the last and the first point, resets made up for, extended to the whole
    /// window if the points reach close to its boundaries.
    /// Source: Prometheus `promql/functions.go`, `extrapolatedRate`.
    fn extrapolated(&self, window: Window<'_>) -> Option<f64> {
        let intervals = window.points.len() - 1;
        if intervals == 0 {
            return None;
        }
        let (first, last) = (window.first(), window.last());
        let mut difference = last.value - first.value;
        if self.counter && !self.resets.is_empty() {
            let within = window.skipped + 1..=window.skipped + intervals;
            let from = self.resets.partition_point(|(place, _)| place < within.start());
            let resets = self.resets[from..].iter().take_while(|(place, _)| within.contains(place));
            difference = resets.fold(difference, |sum, (_, before)| sum + before);
        }
        let seconds = |from: TimestampMs, to: TimestampMs| (to - from) as f64 / 1000.0;
        let sampled = seconds(first.at, last.at);
        let average = sampled / intervals as f64;
        // Samples come at their own pace: a boundary within 1.1 intervals may well have been reached.
        let threshold = average * 1.1;
        let mut to_start = seconds(window.start, first.at);
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        if self.counter {
            // A counter is never negative: it cannot have begun before it was 0.
            let mut to_zero = to_start;
            if difference > 0.0 && first.value >= 0.0 {
                to_zero = sampled * (first.value / difference);
            }
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        let mut to_end = seconds(last.at, window.end);
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
        if self.per_second {
            factor /= self.range_seconds();
        }
        Some(difference * factor)
    }

    /// The difference between the values at both boundaries.
    /// Source: Prometheus `promql/functions.go`, `extendedRate`.
    fn extended(&self, window: Window<'_>, smoothed: bool) -> Option<f64> {
        let bounds = Extended::of(window.points, window.start, window.end, smoothed)?;
        if smoothed && bounds.is_later() {
            return None;
        }
        let (left, right) = (bounds.left(self.counter), bounds.right(self.counter));
        let mut difference = right - left;
        if self.counter {
            let mut correction = 0.0;
            let mut previous = left;
            for value in bounds.inner().iter().map(|point| point.value).chain([right]) {
                if value < previous {
                    correction += previous;
                }
                previous = value;
            }
            difference += correction;
        }
        Some(if self.per_second { difference / self.range_seconds() } else { difference })
    }
}

impl WindowFunction for Rate {
    fn series(&mut self, points: &[Point]) {
        if self.counter && self.modifier.is_none() {
            self.resets.clear();
            let pairs = points.windows(2).enumerate();
            self.resets.extend(
                pairs
                    .filter(|(_, pair)| pair[1].value < pair[0].value)
                    .map(|(index, pair)| (index + 1, pair[0].value)),
            );
        }
    }

    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        match self.modifier {
            None => self.extrapolated(window),
            Some(modifier) => self.extended(window, modifier == RangeModifier::Smoothed),
        }
    }
}

/// `irate`: from the last two points.
pub(super) fn instant_rate(window: Window<'_>) -> Option<f64> {
    let (before, last) = last_two(window)?;
    let increase = if last.value < before.value { last.value } else { last.value - before.value };
    Some(increase / ((last.at - before.at) as f64 / 1000.0))
}

/// `idelta`: from the last two points.
pub(super) fn instant_delta(window: Window<'_>) -> Option<f64> {
    let (before, last) = last_two(window)?;
    Some(last.value - before.value)
}

fn last_two(window: Window<'_>) -> Option<(&Point, &Point)> {
    let [.., before, last] = window.points else { return None };
    (before.at != last.at).then_some((before, last))
}

/// `changes` and `resets`: how many neighbouring values satisfy a condition.
///
/// Where they do is found once for each series; a window then costs two searches among those places.
#[derive(Debug)]
pub(super) struct PairCount {
    condition: fn(f64, f64) -> bool,
    anchored: bool,
    /// The places of the later points of such pairs.
    places: Vec<usize>,
}

impl PairCount {
    /// How often the value changed. A NaN is no change from a NaN.
    pub(super) fn changes(range: &Range<'_>) -> Self {
        Self::new(range, |before, after| before != after && !(before.is_nan() && after.is_nan()))
    }

    /// How often the value decreased.
    pub(super) fn resets(range: &Range<'_>) -> Self {
        Self::new(range, |before, after| after < before)
    }

    fn new(range: &Range<'_>, condition: fn(f64, f64) -> bool) -> Self {
        let anchored = range.modifier() == Some(RangeModifier::Anchored);
        Self { condition, anchored, places: Vec::new() }
    }
}

impl WindowFunction for PairCount {
    fn series(&mut self, points: &[Point]) {
        self.places.clear();
        let pairs = points.windows(2).enumerate();
        self.places.extend(
            pairs
                .filter(|(_, pair)| (self.condition)(pair[0].value, pair[1].value))
                .map(|(index, _)| index + 1),
        );
    }

    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        let mut first = window.skipped;
        if self.anchored {
            // The newest point that is not within the window counts as its first.
            let before = window.points.partition_point(|point| point.at <= window.start);
            if before == window.points.len() {
                return None;
            }
            first += before.saturating_sub(1);
        }
        let end = window.skipped + window.points.len();
        let count = |place: usize| self.places.partition_point(|pair| *pair < place);
        Some((count(end) - count(first + 1)) as f64)
    }
}
