//! How values change within a window: rates, differences, changes and resets.

use crate::model::{CounterReset, FloatHistogram, Point, TimestampMs};
use crate::promql::ast::RangeModifier;
use crate::promql::eval::difference::{Difference, Histories};
use crate::promql::eval::matrix::Cell;
use crate::promql::eval::sliding::{Part, Sliding, Total, WORTH_SLIDING};
use crate::promql::eval::window::{Extended, MixedWindow, Remarks, Window, WindowFunction};
use crate::promql::plan::Range;

/// What was seen within a window: counters, or the counts of histograms.
struct Observed {
    first_at: TimestampMs,
    last_at: TimestampMs,
    intervals: usize,
    /// When the counting began, if that was within the window: there is nothing to extend then.
    started_at: Option<TimestampMs>,
    /// The first value.
    first: f64,
    /// The difference between the last and the first value, resets made up for.
    difference: f64,
}

/// `rate`, `increase` and `delta`.
///
/// Where a counter was reset is found once for each series: a window costs no more than its first resets.
#[derive(Debug)]
pub(super) struct Rate {
    counter: bool,
    per_second: bool,
    range_ms: i64,
    modifier: Option<RangeModifier>,
    resets: Resets,
    histories: Histories,
    extension: Extension,
}

/// How far the difference between the points of a window is extended. Samples mostly come at a steady
/// pace: it is then the same for every window.
#[derive(Debug, Clone, Copy, Default)]
struct Extension {
    /// From the start to the first point, which lies after it, to the last point and to the end in
    /// milliseconds, and the number of points but one.
    pace: (i64, i64, i64, usize),
    /// Between the points, and to both boundaries as far as the difference is extended to them; seconds.
    sampled: f64,
    to_start: f64,
    to_end: f64,
    /// What a difference is multiplied with.
    factor: f64,
}

/// The resets of a counter, and what they hide.
#[derive(Debug)]
struct Resets {
    /// The values before each reset with the place of the point after it.
    all: Vec<(usize, f64)>,
    /// Those of the last window.
    from: usize,
    to: usize,
    sliding: Sliding<Total>,
}

impl Resets {
    fn new() -> Self {
        Self { all: Vec::new(), from: 0, to: 0, sliding: Sliding::new() }
    }

    fn series(&mut self, points: &[Point]) {
        self.all.clear();
        let pairs = points.windows(2).enumerate();
        let resets = pairs.filter(|(_, pair)| pair[1].value < pair[0].value);
        self.all.extend(resets.map(|(index, pair)| (index + 1, pair[0].value)));
        (self.from, self.to) = (0, 0);
        self.sliding.forget();
    }

    /// `difference` and the values before the resets between the points `first..=last`; neither lies before
    /// that of the last window.
    fn made_up(&mut self, difference: f64, first: usize, last: usize) -> f64 {
        while self.all.get(self.from).is_some_and(|(place, _)| *place <= first) {
            self.from += 1;
        }
        self.to = self.to.max(self.from);
        while self.all.get(self.to).is_some_and(|(place, _)| *place <= last) {
            self.to += 1;
        }
        let within = &self.all[self.from..self.to];
        if within.len() >= WORTH_SLIDING {
            let hidden = self.sliding.over(self.from, self.to, |reset| Total::of(self.all[reset].1));
            let Total { sum, size } = hidden.and(Total::of(difference));
            // Prometheus does not make up for what rounding takes from this sum.
            let error = f64::EPSILON * (within.len() as f64).sqrt() * size;
            if error <= 5e-13 * sum.total().abs() {
                return sum.total();
            }
        }
        within.iter().fold(difference, |sum, (_, before)| sum + before)
    }
}

impl Rate {
    /// `rate` (per second) or `increase`.
    pub(super) fn counter(range: &Range<'_>, per_second: bool) -> Self {
        Self {
            counter: true,
            per_second,
            range_ms: range.length_ms,
            modifier: range.modifier(),
            resets: Resets::new(),
            histories: Histories::default(),
            extension: Extension::default(),
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
    #[inline]
    fn extrapolated(&mut self, window: Window<'_>) -> Option<f64> {
        let intervals = window.points.len() - 1;
        if intervals == 0 {
            return None;
        }
        let (first, last) = (window.first(), window.last());
        let mut difference = last.value - first.value;
        if self.counter && !self.resets.all.is_empty() {
            difference = self.resets.made_up(difference, window.skipped, window.skipped + intervals);
        }
        let observed = Observed {
            first_at: first.at,
            last_at: last.at,
            intervals,
            started_at: None,
            first: first.value,
            difference,
        };
        Some(difference * self.factor(window.start, window.end, &observed))
    }

    /// What a difference is multiplied with to be that of the whole window, or per second.
    #[inline]
    fn factor(&mut self, start: TimestampMs, end: TimestampMs, observed: &Observed) -> f64 {
        let Observed { first_at, last_at, intervals, started_at, first, difference } = *observed;
        let pace = (first_at - start, last_at - first_at, end - last_at, intervals);
        if pace != self.extension.pace {
            self.extension = self.extended_at(pace);
        }
        let Extension { sampled, to_start, to_end, factor, .. } = self.extension;
        if let Some(started_at) = started_at {
            return self.scaled(seconds(started_at, last_at), 0.0, to_end);
        }
        // A counter is never negative: it cannot have begun before it was 0. Mostly that is far away.
        let is_far = first * sampled > to_start * difference * 1.001;
        if self.counter && difference > 0.0 && first >= 0.0 && !is_far {
            let to_zero = sampled * (first / difference);
            if to_zero < to_start {
                return self.scaled(sampled, to_zero, to_end);
            }
        }
        factor
    }

    #[cold]
    fn extended_at(&self, pace: (i64, i64, i64, usize)) -> Extension {
        let (before, between, after, intervals) = pace;
        let sampled = seconds(0, between);
        let average = if intervals == 0 { 0.0 } else { sampled / intervals as f64 };
        // Samples come at their own pace: a boundary within 1.1 intervals may well have been reached.
        let threshold = average * 1.1;
        let reached = |distance: f64| if distance >= threshold { average / 2.0 } else { distance };
        let (to_start, to_end) = (reached(seconds(0, before)), reached(seconds(0, after)));
        Extension { pace, sampled, to_start, to_end, factor: self.scaled(sampled, to_start, to_end) }
    }

    fn scaled(&self, sampled: f64, to_start: f64, to_end: f64) -> f64 {
        let factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
        if self.per_second { factor / self.range_seconds() } else { factor }
    }

    /// The difference between the values at both boundaries.
    /// Source: Prometheus `promql/functions.go`, `extendedRate`.
    fn extended(&mut self, window: Window<'_>, smoothed: bool) -> Option<f64> {
        let bounds = Extended::of(window.points, window.start, window.end, smoothed)?;
        if smoothed && bounds.is_later() {
            return None;
        }
        let (left, right) = (bounds.left(self.counter), bounds.right(self.counter));
        let mut difference = right - left;
        if self.counter {
            difference += self.hidden(window, &bounds, left, right);
        }
        Some(if self.per_second { difference / self.range_seconds() } else { difference })
    }

    /// What resets between the values at the boundaries and the points between them hide.
    fn hidden(&mut self, window: Window<'_>, bounds: &Extended<'_>, left: f64, right: f64) -> f64 {
        let before_reset = |before: f64, after: f64| if after < before { before } else { 0.0 };
        let inner = bounds.inner();
        let (Some(first), Some(last)) = (inner.first(), inner.last()) else {
            return before_reset(left, right);
        };
        let places = bounds.inner_places();
        let (first_place, last_place) = (window.skipped + places.start, window.skipped + places.end - 1);
        let hidden = self.resets.made_up(before_reset(left, first.value), first_place, last_place);
        hidden + before_reset(last.value, right)
    }
}

impl WindowFunction for Rate {
    fn series(&mut self, points: &[Point]) {
        if self.counter {
            self.resets.series(points);
        }
    }

    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        match self.modifier {
            None => self.extrapolated(window),
            Some(modifier) => self.extended(window, modifier == RangeModifier::Smoothed),
        }
    }

    fn mixed_series(&mut self, all: MixedWindow<'_>) {
        if self.counter {
            self.histories.series(all);
        }
    }

    fn mixed(&mut self, window: MixedWindow<'_>, remarks: &mut Remarks<'_>) -> Option<Cell> {
        let (floats, histograms) = (window.floats.points, window.histograms);
        if !floats.is_empty() && !histograms.is_empty() {
            remarks.annotations.mixed_floats_and_histograms(remarks.metric, remarks.span);
            return None;
        }
        if histograms.is_empty() {
            let counted = self.counter && self.modifier.is_none();
            let value = if counted { self.counted(window, remarks) } else { self.window(window.floats) };
            return value.map(Cell::Float);
        }
        let (start, end) = (window.floats.start, window.floats.end);
        let increase = match self.modifier {
            None => self.extrapolated_histogram(window, remarks)?,
            Some(modifier) => {
                let smoothed = modifier == RangeModifier::Smoothed;
                let mut difference = Difference { counter: self.counter, remarks };
                let increase = difference.between(histograms, start, end, smoothed)?;
                if self.per_second { increase.divided_by(self.range_seconds()) } else { increase }
            }
        };
        Some(increase.with_counter_reset(CounterReset::Gauge).into())
    }
}

impl Rate {
    /// The increase of a counter that may say when its counting began: what it counted before the first
    /// sample belongs to the window if that was within it.
    /// Source: Prometheus `promql/functions.go`, `extrapolatedRate`.
    fn counted(&mut self, window: MixedWindow<'_>, remarks: &mut Remarks<'_>) -> Option<f64> {
        let points = window.floats.points;
        let (first, last) = (window.floats.first(), window.floats.last());
        remark_overlap(window, points.iter().map(|point| point.at), remarks);
        let resets = points
            .windows(2)
            .filter(|pair| pair[1].value < pair[0].value || window.is_restarted(pair[0].at, pair[1].at));
        let mut difference = resets.fold(last.value - first.value, |sum, pair| sum + pair[0].value);
        let started_at = window.start_within(first.at);
        if started_at.is_some() {
            difference += first.value;
        } else if points.len() == 1 {
            return None;
        }
        let observed = Observed {
            first_at: first.at,
            last_at: last.at,
            intervals: points.len() - 1,
            started_at,
            first: first.value,
            difference,
        };
        Some(difference * self.factor(window.floats.start, window.floats.end, &observed))
    }

    /// The same of histograms, and what `delta` makes of them.
    fn extrapolated_histogram(
        &mut self,
        window: MixedWindow<'_>,
        remarks: &mut Remarks<'_>,
    ) -> Option<FloatHistogram> {
        let points = window.histograms;
        let (first, last) = (points.first()?, points.last()?);
        let started_at = if self.counter { window.start_within(first.at) } else { None };
        if self.counter {
            remark_overlap(window, points.iter().map(|point| point.at), remarks);
        }
        let mut difference = Difference { counter: self.counter, remarks };
        let increase = match (points.len(), started_at) {
            (1, None) => return None,
            (1, Some(_)) => FloatHistogram::clone(&first.histogram),
            (_, None) => difference.of(window, &self.histories)?,
            (_, Some(_)) => {
                let increase = difference.of(window, &self.histories)?;
                difference.plus(&increase, &first.histogram)?
            }
        };
        let observed = Observed {
            first_at: first.at,
            last_at: last.at,
            intervals: points.len() - 1,
            started_at,
            first: first.histogram.count,
            difference: increase.count,
        };
        Some(increase.multiplied_by(self.factor(window.floats.start, window.floats.end, &observed)))
    }
}

fn remark_overlap(
    window: MixedWindow<'_>,
    times: impl Iterator<Item = TimestampMs> + Clone,
    remarks: &mut Remarks<'_>,
) {
    if window.has_overlap(times) {
        remarks.annotations.start_overlap(remarks.metric, remarks.span);
    }
}

/// `irate` and `idelta`: from the last two points.
#[derive(Debug, Clone, Copy)]
pub(super) struct InstantChange {
    /// Per second, and a decrease is a reset.
    pub(super) rate: bool,
}

impl InstantChange {
    fn between(self, before: &Point, last: &Point, restarted: bool) -> Option<f64> {
        if before.at == last.at {
            return None;
        }
        let reset = self.rate && (last.value < before.value || restarted);
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
        self.between(before, last, false)
    }

    /// Source: Prometheus `promql/functions.go`, `instantValue`.
    fn mixed(&mut self, window: MixedWindow<'_>, remarks: &mut Remarks<'_>) -> Option<Cell> {
        let samples = in_order(window);
        let [.., (before_at, before), (last_at, last)] = samples[..] else { return None };
        let (metric, span) = (remarks.metric, remarks.span);
        let restarted = window.is_restarted(before_at, last_at);
        match (before, last) {
            (Sample::Float(before), Sample::Float(last)) => {
                let point = |at, value| Point { at, value };
                self.between(&point(before_at, before), &point(last_at, last), restarted).map(Cell::Float)
            }
            (Sample::Histogram(before), Sample::Histogram(last)) => {
                let gauges = [before, last].map(|one| one.counter_reset == CounterReset::Gauge);
                if self.rate && gauges.contains(&true) {
                    remarks.annotations.histogram_not_counter(metric, span);
                }
                if !self.rate && gauges.contains(&false) {
                    remarks.annotations.histogram_not_gauge(metric, span);
                }
                let mut change = if self.rate && (restarted || last.is_reset_after(before)) {
                    last.clone()
                } else {
                    Difference { counter: self.rate, remarks }.minus(last, before)?
                };
                if self.rate {
                    change = change.divided_by(seconds(before_at, last_at));
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
/// They are counted once for each series; a window is then the difference of two counts.
#[derive(Debug)]
pub(super) struct PairCount<C> {
    condition: C,
    /// The condition for histograms; between a float and a histogram it always holds.
    histograms: fn(&FloatHistogram, &FloatHistogram) -> bool,
    /// Whether the counting beginning anew is such a condition too.
    restarts: bool,
    anchored: bool,
    /// For each point of the series how many pairs end at it or before.
    counts: Vec<u32>,
}

/// How often the value changed. A NaN is no change from a NaN.
pub(super) fn changes(range: &Range<'_>) -> PairCount<impl Fn(f64, f64) -> bool + use<>> {
    let differ = |before: f64, after: f64| before != after && !(before.is_nan() && after.is_nan());
    PairCount::new(range, differ, |before, after| before != after, false)
}

/// How often the value decreased.
pub(super) fn resets(range: &Range<'_>) -> PairCount<impl Fn(f64, f64) -> bool + use<>> {
    let decreased = |before: f64, after: f64| after < before;
    PairCount::new(range, decreased, |before, after| after.is_reset_after(before), true)
}

impl<C> PairCount<C> {
    fn new(
        range: &Range<'_>,
        condition: C,
        histograms: fn(&FloatHistogram, &FloatHistogram) -> bool,
        restarts: bool,
    ) -> Self {
        let anchored = range.modifier() == Some(RangeModifier::Anchored);
        Self { condition, histograms, restarts, anchored, counts: Vec::new() }
    }
}

impl<C: Fn(f64, f64) -> bool> WindowFunction for PairCount<C> {
    fn series(&mut self, points: &[Point]) {
        self.counts.clear();
        self.counts.push(0);
        let mut count = 0;
        self.counts.extend(points.windows(2).map(|pair| {
            count += u32::from((self.condition)(pair[0].value, pair[1].value));
            count
        }));
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
        let last = window.skipped + window.points.len() - 1;
        Some(f64::from(self.counts[last] - self.counts[first]))
    }

    fn mixed_series(&mut self, all: MixedWindow<'_>) {
        let samples = in_order(all);
        let holds = |pair: &[(TimestampMs, Sample<'_>)]| {
            let holds = match (pair[0].1, pair[1].1) {
                (Sample::Float(before), Sample::Float(after)) => (self.condition)(before, after),
                (Sample::Histogram(before), Sample::Histogram(after)) => (self.histograms)(before, after),
                _ => true,
            };
            holds || (self.restarts && all.is_restarted(pair[0].0, pair[1].0))
        };
        self.counts.clear();
        self.counts.push(0);
        let mut count = 0;
        self.counts.extend(samples.windows(2).map(|pair| {
            count += u32::from(holds(pair));
            count
        }));
    }

    fn mixed(&mut self, window: MixedWindow<'_>, _: &mut Remarks<'_>) -> Option<Cell> {
        let Window { points, skipped, start, .. } = window.floats;
        let mut first = skipped + window.histograms_skipped;
        let last = first + points.len() + window.histograms.len() - 1;
        if self.anchored {
            let before = points.partition_point(|point| point.at <= start)
                + window.histograms.partition_point(|point| point.at <= start);
            if first + before > last {
                return None;
            }
            first += before.saturating_sub(1);
        }
        Some(Cell::Float(f64::from(self.counts[last] - self.counts[first])))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::promql::eval::sliding::tests::{check_windows, values};

    fn rate(modifier: Option<RangeModifier>) -> Rate {
        Rate {
            counter: true,
            per_second: false,
            range_ms: 60_000,
            modifier,
            resets: Resets::new(),
            histories: Histories::default(),
            extension: Extension::default(),
        }
    }

    /// What the values before resets add up to.
    fn hidden(values: impl Iterator<Item = f64> + Clone) -> f64 {
        let pairs = values.clone().zip(values.skip(1));
        pairs.filter(|(before, after)| after < before).map(|(before, _)| before).sum()
    }

    proptest! {
        #[test]
        fn increases_are_those_of_each_window(values in values(), width in 2_usize..80, stride in 1_usize..9) {
            let plain = |points: &[Point]| {
                let (first, last) = (points[0], points[points.len() - 1]);
                let intervals = points.len() - 1;
                let pairs = points.windows(2).filter(|pair| pair[1].value < pair[0].value);
                let difference = pairs.fold(last.value - first.value, |sum, pair| sum + pair[0].value);
                let observed = Observed {
                    first_at: first.at,
                    last_at: last.at,
                    intervals,
                    started_at: None,
                    first: first.value,
                    difference,
                };
                (intervals > 0).then(|| difference * rate(None).factor(first.at - 1, last.at, &observed))
            };
            check_windows(&values, width, stride, 1e-12, rate(None), plain)?;
        }

        #[test]
        fn increases_between_boundaries_are_those_of_each_window(
            values in values(),
            width in 2_usize..80,
            stride in 1_usize..9,
            before in 0_usize..3,
            smoothed in any::<bool>(),
        ) {
            let points: Vec<Point> = values
                .iter()
                .enumerate()
                .map(|(place, value)| Point { at: place as i64 * 100, value: *value })
                .collect();
            let modifier = if smoothed { RangeModifier::Smoothed } else { RangeModifier::Anchored };
            let mut function = rate(Some(modifier));
            function.series(&points);
            for (step, from) in (0..points.len().saturating_sub(width)).step_by(stride).enumerate() {
                let within = &points[from..from + width];
                let (start, end) = (within[0].at + before as i64 * 50, within[width - 1].at - 30);
                let window = Window { points: within, skipped: from, start, end, at: end, step };
                let found = function.window(window);
                let expected = Extended::of(within, start, end, smoothed)
                    .filter(|bounds| !(smoothed && bounds.is_later()))
                    .map(|bounds| {
                        let (left, right) = (bounds.left(true), bounds.right(true));
                        let inner = bounds.inner().iter().map(|point| point.value);
                        right - left + hidden([left].into_iter().chain(inner).chain([right]))
                    });
                prop_assert_eq!(found.is_some(), expected.is_some());
                let (found, expected) = (found.unwrap_or_default(), expected.unwrap_or_default());
                let same = found == expected || (found.is_nan() && expected.is_nan());
                let sizes = within.iter().map(|point| point.value.abs());
                let size: f64 = sizes.filter(|size| size.is_finite()).sum();
                prop_assert!(same || (found - expected).abs() <= 1e-13 * size, "{found} instead of {expected}");
            }
        }

        #[test]
        fn changes_are_those_of_each_window(values in values(), width in 1_usize..80, stride in 1_usize..9) {
            let differ = |before: f64, after: f64| before != after;
            let counts = PairCount {
                condition: differ,
                histograms: |_, _| false,
                restarts: false,
                anchored: false,
                counts: Vec::new(),
            };
            let plain = |points: &[Point]| {
                Some(points.windows(2).filter(|pair| differ(pair[0].value, pair[1].value)).count() as f64)
            };
            check_windows(&values, width, stride, 0.0, counts, plain)?;
        }
    }
}
