//! How values change within a window: rates, differences, changes and resets.

use crate::model::{CounterReset, FloatHistogram, Point, TimestampMs};
use crate::promql::ast::RangeModifier;
use crate::promql::eval::difference::Difference;
use crate::promql::eval::matrix::Cell;
use crate::promql::eval::window::{Extended, MixedWindow, Remarks, Window, WindowFunction};
use crate::promql::plan::Range;

/// What was seen within a window: counters, or the counts of histograms.
struct Observed {
    first_at: TimestampMs,
    last_at: TimestampMs,
    intervals: usize,
    /// The first value.
    first: f64,
    /// The difference between the last and the first value, resets made up for.
    difference: f64,
}

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
        let observed =
            Observed { first_at: first.at, last_at: last.at, intervals, first: first.value, difference };
        Some(difference * self.factor(window.start, window.end, &observed))
    }

    /// What a difference is multiplied with to be that of the whole window, or per second.
    fn factor(&self, start: TimestampMs, end: TimestampMs, observed: &Observed) -> f64 {
        let sampled = seconds(observed.first_at, observed.last_at);
        let average = sampled / observed.intervals as f64;
        // Samples come at their own pace: a boundary within 1.1 intervals may well have been reached.
        let threshold = average * 1.1;
        let mut to_start = seconds(start, observed.first_at);
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        if self.counter {
            // A counter is never negative: it cannot have begun before it was 0.
            let mut to_zero = to_start;
            if observed.difference > 0.0 && observed.first >= 0.0 {
                to_zero = sampled * (observed.first / observed.difference);
            }
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        let mut to_end = seconds(observed.last_at, end);
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
        if self.per_second {
            factor /= self.range_seconds();
        }
        factor
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

    fn mixed(&mut self, window: MixedWindow<'_>, remarks: &mut Remarks<'_>) -> Option<Cell> {
        if window.histograms.is_empty() {
            return self.window(window.floats).map(Cell::Float);
        }
        if !window.floats.points.is_empty() {
            remarks.annotations.mixed_floats_and_histograms(remarks.metric, remarks.span);
            return None;
        }
        let mut difference = Difference { counter: self.counter, remarks: &mut *remarks };
        let (increase, factor) = match self.modifier {
            None => {
                let [first, .., last] = window.histograms else { return None };
                let increase = difference.of(window.histograms)?;
                let observed = Observed {
                    first_at: first.at,
                    last_at: last.at,
                    intervals: window.histograms.len() - 1,
                    first: first.histogram.count,
                    difference: increase.count,
                };
                let factor = self.factor(window.floats.start, window.floats.end, &observed);
                (increase, factor)
            }
            Some(modifier) => {
                let smoothed = modifier == RangeModifier::Smoothed;
                let (start, end) = (window.floats.start, window.floats.end);
                let increase = difference.between(window.histograms, start, end, smoothed)?;
                let factor = if self.per_second { 1.0 / self.range_seconds() } else { 1.0 };
                (increase, factor)
            }
        };
        Some(increase.multiplied(factor).with_counter_reset(CounterReset::Gauge).into())
    }
}

/// `irate` and `idelta`: from the last two points.
#[derive(Debug, Clone, Copy)]
pub(super) struct InstantChange {
    /// Per second, and a decrease is a reset.
    pub(super) rate: bool,
}

impl InstantChange {
    fn between(self, before: &Point, last: &Point) -> Option<f64> {
        if before.at == last.at {
            return None;
        }
        let reset = self.rate && last.value < before.value;
        let change = if reset { last.value } else { last.value - before.value };
        Some(if self.rate { change / seconds(before.at, last.at) } else { change })
    }
}

fn seconds(from: TimestampMs, to: TimestampMs) -> f64 {
    (to - from) as f64 / 1000.0
}

impl WindowFunction for InstantChange {
    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        let [.., before, last] = window.points else { return None };
        self.between(before, last)
    }

    /// Source: Prometheus `promql/functions.go`, `instantValue`.
    fn mixed(&mut self, window: MixedWindow<'_>, remarks: &mut Remarks<'_>) -> Option<Cell> {
        let samples = in_order(window);
        let [.., (before_at, before), (last_at, last)] = samples[..] else { return None };
        let (metric, span) = (remarks.metric, remarks.span);
        match (before, last) {
            (Sample::Float(before), Sample::Float(last)) => {
                let point = |at, value| Point { at, value };
                self.between(&point(before_at, before), &point(last_at, last)).map(Cell::Float)
            }
            (Sample::Histogram(before), Sample::Histogram(last)) => {
                let gauges = [before, last].map(|one| one.counter_reset == CounterReset::Gauge);
                if self.rate && gauges.contains(&true) {
                    remarks.annotations.histogram_not_counter(metric, span);
                }
                if !self.rate && gauges.contains(&false) {
                    remarks.annotations.histogram_not_gauge(metric, span);
                }
                let mut change = if self.rate && last.is_reset_after(before) {
                    last.clone()
                } else {
                    Difference { counter: self.rate, remarks }.minus(last, before)?
                };
                if self.rate {
                    change = change.divided(seconds(before_at, last_at));
                }
                Some(change.with_counter_reset(CounterReset::Gauge).into())
            }
            _ => {
                remarks.annotations.mixed_floats_and_histograms(metric, span);
                None
            }
        }
    }
}

/// A sample of a window with histograms.
#[derive(Debug, Clone, Copy)]
enum Sample<'w> {
    Float(f64),
    Histogram(&'w FloatHistogram),
}

/// The floats and the histograms of a window by time.
fn in_order(window: MixedWindow<'_>) -> Vec<(TimestampMs, Sample<'_>)> {
    let floats = window.floats.points.iter().map(|point| (point.at, Sample::Float(point.value)));
    let histograms = window.histograms.iter().map(|point| (point.at, Sample::Histogram(&point.histogram)));
    let mut samples: Vec<_> = floats.chain(histograms).collect();
    samples.sort_by_key(|(at, _)| *at);
    samples
}

/// `changes` and `resets`: how many neighbouring values satisfy a condition.
///
/// Where they do is found once for each series; a window then costs two searches among those places.
#[derive(Debug)]
pub(super) struct PairCount {
    condition: fn(f64, f64) -> bool,
    /// The condition for histograms; between a float and a histogram it always holds.
    histograms: fn(&FloatHistogram, &FloatHistogram) -> bool,
    anchored: bool,
    /// The places of the later points of such pairs.
    places: Vec<usize>,
}

impl PairCount {
    /// How often the value changed. A NaN is no change from a NaN.
    pub(super) fn changes(range: &Range<'_>) -> Self {
        let differ = |before: f64, after: f64| before != after && !(before.is_nan() && after.is_nan());
        Self::new(range, differ, |before, after| before != after)
    }

    /// How often the value decreased.
    pub(super) fn resets(range: &Range<'_>) -> Self {
        Self::new(range, |before, after| after < before, |before, after| after.is_reset_after(before))
    }

    fn new(
        range: &Range<'_>,
        condition: fn(f64, f64) -> bool,
        histograms: fn(&FloatHistogram, &FloatHistogram) -> bool,
    ) -> Self {
        let anchored = range.modifier() == Some(RangeModifier::Anchored);
        Self { condition, histograms, anchored, places: Vec::new() }
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

    fn mixed(&mut self, window: MixedWindow<'_>, _: &mut Remarks<'_>) -> Option<Cell> {
        let samples = in_order(window);
        let mut first = 0;
        if self.anchored {
            let before = samples.partition_point(|(at, _)| *at <= window.floats.start);
            if before == samples.len() {
                return None;
            }
            first = before.saturating_sub(1);
        }
        let holds = |pair: &&[(TimestampMs, Sample<'_>)]| match (pair[0].1, pair[1].1) {
            (Sample::Float(before), Sample::Float(after)) => (self.condition)(before, after),
            (Sample::Histogram(before), Sample::Histogram(after)) => (self.histograms)(before, after),
            _ => true,
        };
        Some(Cell::Float(samples[first..].windows(2).filter(holds).count() as f64))
    }
}
