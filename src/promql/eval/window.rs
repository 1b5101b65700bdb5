//! Sliding a window over the points of each series.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::{
    CounterReset, FloatHistogram, HistogramPoint, Point, Span, StartTimestamp, TimestampMs, is_stale,
};
use crate::promql::ast::RangeModifier;
use crate::promql::options::Interrupt;
use crate::promql::plan::{Range, Source};
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;
use crate::storage::SeriesSamples;

use super::annotations::Annotations;
use super::error::too_many_samples;
use super::matrix::{Cell, NewRow, Place, StepMatrix};
use super::{Evaluator, fill_points, points_of};

/// The points of a series within `start < at <= end`; with `anchored` or `smoothed` also those of the
/// lookback delta before (and after).
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'p> {
    /// Never empty, except where there are histograms.
    pub(super) points: &'p [Point],
    /// How many points of the series lie before.
    pub(super) skipped: usize,
    pub(super) start: TimestampMs,
    pub(super) end: TimestampMs,
    /// The evaluated instant and its number.
    pub(super) at: TimestampMs,
    pub(super) step: usize,
}

impl<'p> Window<'p> {
    pub(super) fn values(&self) -> impl Iterator<Item = f64> + 'p {
        self.points.iter().map(|point| point.value)
    }

    pub(super) fn first(&self) -> &'p Point {
        &self.points[0]
    }

    pub(super) fn last(&self) -> &'p Point {
        &self.points[self.points.len() - 1]
    }
}

/// The samples of a series that has native histograms or start timestamps.
struct Samples<'s> {
    points: &'s [Point],
    histograms: &'s [HistogramPoint],
    start_timestamps: &'s [StartTimestamp],
    /// The metric's name.
    metric: &'s str,
}

/// A window of a series that has native histograms or start timestamps.
#[derive(Debug, Clone, Copy)]
pub(super) struct MixedWindow<'p> {
    /// Like a [`Window`], but there may be no points.
    pub(super) floats: Window<'p>,
    /// Its histograms; there is a point or a histogram.
    pub(super) histograms: &'p [HistogramPoint],
    /// How many histograms of the series lie before.
    pub(super) histograms_skipped: usize,
    /// Those of the whole series.
    pub(super) start_timestamps: &'p [StartTimestamp],
}

impl MixedWindow<'_> {
    /// Whether the counting began anew between two samples. A start at the very time of the earlier one
    /// tells that only if that one has a start of its own before: else the counting was under way.
    /// Source: Prometheus `promql/functions.go`, `isStartTimestampReset`.
    pub(super) fn is_restarted(&self, before: TimestampMs, after: TimestampMs) -> bool {
        let start = |at| StartTimestamp::of(self.start_timestamps, at);
        match start(after) {
            Some(started) if started >= after || started < before => false,
            Some(started) if started > before => true,
            Some(_) => start(before).is_some_and(|earlier| earlier < before),
            None => false,
        }
    }

    /// The start of the counting that the sample at an instant belongs to, if it lies within the window.
    pub(super) fn start_within(&self, at: TimestampMs) -> Option<TimestampMs> {
        let start = StartTimestamp::of(self.start_timestamps, at)?;
        (start > self.floats.start && start < at).then_some(start)
    }

    /// Whether a sample counts from a time before the preceding sample, though not from that one's start.
    /// Source: Prometheus `promql/functions.go`, `checkStartTimeOverlap`.
    pub(super) fn has_overlap(&self, times: impl Iterator<Item = TimestampMs> + Clone) -> bool {
        let start = |at| StartTimestamp::of(self.start_timestamps, at);
        let overlaps = |(before, after): (TimestampMs, TimestampMs)| {
            start(after).is_some_and(|started| started < before && Some(started) != start(before))
        };
        !self.start_timestamps.is_empty() && times.clone().zip(times.skip(1)).any(overlaps)
    }
}

/// Where functions put their remarks on a series with native histograms.
pub(super) struct Remarks<'r> {
    pub(super) annotations: &'r mut Annotations,
    /// The metric's name.
    pub(super) metric: &'r str,
    /// Where the range vector stands.
    pub(super) span: Span,
}

/// Computes a value from each window; any closure on windows is one.
pub(super) trait WindowFunction {
    /// Prepares for the windows of the next series, of all whose points these are.
    fn series(&mut self, _points: &[Point]) {}

    /// The same for a series that has native histograms: a window of all its samples.
    fn mixed_series(&mut self, _all: MixedWindow<'_>) {}

    /// The value for a window, if it has one.
    fn window(&mut self, window: Window<'_>) -> Option<f64>;

    /// The value for a window of a series that has native histograms. Functions of floats do not see them.
    fn mixed(&mut self, window: MixedWindow<'_>, remarks: &mut Remarks<'_>) -> Option<Cell> {
        if window.floats.points.is_empty() {
            return None;
        }
        if !window.histograms.is_empty() {
            remarks.annotations.histograms_ignored_in_range(remarks.metric, remarks.span);
        }
        self.window(window.floats).map(Cell::Float)
    }
}

impl<F: FnMut(Window<'_>) -> Option<f64>> WindowFunction for F {
    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        self(window)
    }
}

/// A function of floats with what it does where there are native histograms.
pub(super) struct WithHistograms<F, M> {
    pub(super) floats: F,
    pub(super) mixed: M,
}

impl<F, M> WindowFunction for WithHistograms<F, M>
where
    F: WindowFunction,
    M: FnMut(MixedWindow<'_>, &mut Remarks<'_>) -> Option<Cell>,
{
    fn series(&mut self, points: &[Point]) {
        self.floats.series(points);
    }

    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        self.floats.window(window)
    }

    fn mixed(&mut self, window: MixedWindow<'_>, remarks: &mut Remarks<'_>) -> Option<Cell> {
        (self.mixed)(window, remarks)
    }
}

impl Evaluator<'_> {
    /// The values of `function` for each series and instant; rows keep their labels.
    pub(super) fn over_windows(
        &mut self,
        range: &Range<'_>,
        steps: Steps,
        mut function: impl WindowFunction,
    ) -> Result<StepMatrix, EvalError> {
        match &range.source {
            Source::Selector(selector) => {
                let fetched = self.data.fetched(selector.fetch);
                self.count_windows(range, steps, &fetched.samples)?;
                let mut matrix = StepMatrix::of(&fetched.rows, steps.count);
                let mut scratch = Vec::new();
                let mut built = 0;
                let mut reader = fetched.samples.reader();
                while let Some(series) = reader.next_series()? {
                    let SeriesSamples { place, points, histograms, start_timestamps } = series;
                    let points = real_points(points, &mut scratch);
                    let row = Place(place);
                    let histograms = histograms_of(histograms, selector.totals_only);
                    if histograms.is_empty() && start_timestamps.is_empty() {
                        self.slide(range, steps, points, &mut matrix, &mut function, row)?;
                    } else {
                        let samples = Samples {
                            points,
                            histograms: &histograms,
                            start_timestamps,
                            metric: fetched.labels(place).metric_name(),
                        };
                        self.slide_mixed(range, steps, &samples, &mut matrix, &mut function, row)?;
                        self.check_histograms(&matrix, &mut built)?;
                    }
                }
                Ok(matrix)
            }
            Source::Subquery { inner, step_ms } => {
                let grid = range.grid(steps, *step_ms);
                let counts = self.count_apart(grid.count);
                let inner = self.vector(inner, grid)?;
                self.count_subquery(counts, range, steps, grid, &inner);
                let mut matrix = inner.like(steps.count);
                let mut points = Vec::new();
                let mut built = 0;
                for (index, cells) in inner.each_cells().enumerate() {
                    let row = inner.name(index);
                    if cells.histograms.iter().any(Option::is_some) {
                        let (points, mut histograms) = points_of(cells, grid);
                        histograms.iter_mut().for_each(forget_counter_reset);
                        let labels = inner.row_at(index).labels;
                        let samples = Samples {
                            points: &points,
                            histograms: &histograms,
                            start_timestamps: &[],
                            metric: labels.metric_name(),
                        };
                        self.slide_mixed(range, steps, &samples, &mut matrix, &mut function, row)?;
                        self.check_histograms(&matrix, &mut built)?;
                        continue;
                    }
                    points.clear();
                    fill_points(&mut points, cells.floats, grid);
                    self.slide(range, steps, &points, &mut matrix, &mut function, row)?;
                }
                Ok(matrix)
            }
        }
    }

    fn slide(
        &mut self,
        range: &Range<'_>,
        steps: Steps,
        points: &[Point],
        matrix: &mut StepMatrix,
        function: &mut impl WindowFunction,
        row: impl NewRow,
    ) -> Result<(), EvalError> {
        self.tick(points.len() + steps.count)?;
        self.check_growth(matrix)?;
        let (before, after) = margins(range, self.options.lookback_delta_ms);
        function.series(points);
        let ends = steps.seen_by(range.reference);
        let reach = range.length_ms.saturating_add(before);
        let mut patience = Patience::new(&self.options.interrupt);
        matrix.push(row, |cells| {
            // The window is `points[from..to]`; both ends only move forwards.
            let (mut from, mut to) = (0, 0);
            for (step, cell) in cells.iter_mut().enumerate() {
                let (at, end) = (steps.at(step), ends.at(step));
                let start = end.saturating_sub(range.length_ms);
                let (first, last) = (end.saturating_sub(reach), end.saturating_add(after));
                if step == 0 {
                    // Everything up to the first window's end is passed at once.
                    to = points.partition_point(|point| point.at <= last);
                    from = points[..to].partition_point(|point| point.at <= first);
                }
                while to < points.len() && points[to].at <= last {
                    to += 1;
                }
                while from < to && points[from].at <= first {
                    from += 1;
                }
                if !patience.lasts(to - from) {
                    break;
                }
                if from < to {
                    let window = Window { points: &points[from..to], skipped: from, start, end, at, step };
                    if let Some(value) = function.window(window) {
                        *cell = value;
                    }
                }
            }
        });
        patience.outcome
    }

    /// [`slide`](Self::slide) for a series that has native histograms or start timestamps.
    fn slide_mixed(
        &mut self,
        range: &Range<'_>,
        steps: Steps,
        samples: &Samples<'_>,
        matrix: &mut StepMatrix,
        function: &mut impl WindowFunction,
        row: impl NewRow,
    ) -> Result<(), EvalError> {
        let Samples { points, histograms, start_timestamps, metric } = *samples;
        self.tick(points.len() + histograms.len() + steps.count)?;
        self.check_growth(matrix)?;
        let lookback_ms = self.options.lookback_delta_ms;
        let mut remarks = Remarks { annotations: &mut self.annotations, metric, span: range.span };
        function.series(points);
        let mut patience = Patience::new(&self.options.interrupt);
        let (start, end) = (TimestampMs::MIN, TimestampMs::MAX);
        let floats = Window { points, skipped: 0, start, end, at: steps.start, step: 0 };
        function.mixed_series(MixedWindow { floats, histograms, histograms_skipped: 0, start_timestamps });
        matrix.push_mixed(row, |mut cells| {
            let (mut from, mut to) = (0, 0);
            for (step, at) in steps.iter().enumerate() {
                let end = range.reference.at(at);
                let start = end.saturating_sub(range.length_ms);
                let (after, until) = bounds(range, at, lookback_ms);
                let skipped = points.partition_point(|point| point.at <= after);
                let seen = points.partition_point(|point| point.at <= until).max(skipped);
                let floats = Window { points: &points[skipped..seen], skipped, start, end, at, step };
                while histograms.get(to).is_some_and(|point| point.at <= until) {
                    to += 1;
                }
                while from < to && histograms[from].at <= after {
                    from += 1;
                }
                let window = MixedWindow {
                    floats,
                    histograms: &histograms[from..to],
                    histograms_skipped: from,
                    start_timestamps,
                };
                if !patience.lasts(window.floats.points.len() + window.histograms.len()) {
                    break;
                }
                if !window.floats.points.is_empty() || !window.histograms.is_empty() {
                    cells.set(step, function.mixed(window, &mut remarks));
                }
            }
        });
        patience.outcome
    }

    /// Whether the histograms that functions have built are not too many, after each row of them. One
    /// takes as much memory as many floats, and nothing was as large before.
    fn check_histograms(&self, matrix: &StepMatrix, built: &mut usize) -> Result<(), EvalError> {
        if let Some(last) = matrix.len().checked_sub(1) {
            let histograms = matrix.cells_of(last).histograms.iter().flatten();
            *built += histograms.map(|histogram| histogram.size_in_samples()).sum::<usize>();
        }
        if self.samples.saturating_add(*built) > self.options.max_samples {
            return Err(too_many_samples());
        }
        Ok(())
    }
}

/// Asks from time to time whether to go on within one row, which may take minutes by itself: 11,000
/// windows of millions of points.
struct Patience<'o> {
    interrupt: &'o Interrupt,
    /// Points that were looked at since it was asked.
    points: usize,
    outcome: Result<(), EvalError>,
}

impl<'o> Patience<'o> {
    /// How many points are looked at between two questions.
    const POINTS: usize = 100_000;

    fn new(interrupt: &'o Interrupt) -> Self {
        Self { interrupt, points: 0, outcome: Ok(()) }
    }

    /// Whether to go on with a window of so many points.
    #[inline]
    fn lasts(&mut self, points: usize) -> bool {
        self.points += points + 1;
        self.points < Self::POINTS || self.asks()
    }

    #[cold]
    fn asks(&mut self) -> bool {
        self.points = 0;
        self.outcome = self.interrupt.check();
        self.outcome.is_ok()
    }
}

/// The ends of a window: points after the first one and not after the second one are in it.
pub(super) fn bounds(range: &Range<'_>, at: TimestampMs, lookback_ms: i64) -> (TimestampMs, TimestampMs) {
    let (before, after) = margins(range, lookback_ms);
    let end = range.reference.at(at);
    (end.saturating_sub(range.length_ms).saturating_sub(before), end.saturating_add(after))
}

/// How far before and after a range the points of its windows may lie.
fn margins(range: &Range<'_>, lookback_ms: i64) -> (i64, i64) {
    match range.modifier() {
        None => (0, 0),
        Some(RangeModifier::Anchored) => (lookback_ms, 0),
        Some(RangeModifier::Smoothed) => (lookback_ms, lookback_ms),
    }
}

/// What is known about counter resets is about neighbours in the store; the samples of a subquery are
/// others. Source: Prometheus `promql/engine.go`, `evalSubquery`.
fn forget_counter_reset(point: &mut HistogramPoint) {
    if matches!(point.histogram.counter_reset, CounterReset::Reset | CounterReset::NotReset) {
        Arc::make_mut(&mut point.histogram).counter_reset = CounterReset::Unknown;
    }
}

/// The histograms without staleness markers, and without buckets if only their totals matter.
pub(super) fn histograms_of(histograms: &[HistogramPoint], totals_only: bool) -> Cow<'_, [HistogramPoint]> {
    let is_real = |point: &&HistogramPoint| !point.histogram.is_stale();
    let histograms = if totals_only { totals_of(histograms) } else { Cow::Borrowed(histograms) };
    if histograms.iter().all(|point| is_real(&point)) {
        return histograms;
    }
    histograms.iter().filter(is_real).cloned().collect()
}

/// The histograms without their buckets, but with what those tell about counter resets.
/// Source: Prometheus `promql/histogram_stats_iterator.go`.
pub(super) fn totals_of(histograms: &[HistogramPoint]) -> Cow<'_, [HistogramPoint]> {
    let mut previous: Option<&FloatHistogram> = None;
    let totals = histograms.iter().map(|HistogramPoint { at, histogram }| {
        let mut totals = FloatHistogram::empty(histogram.schema, Arc::default());
        (totals.count, totals.sum) = (histogram.count, histogram.sum);
        totals.counter_reset = match (histogram.counter_reset, previous) {
            (CounterReset::Unknown, Some(previous)) if histogram.is_reset_after(previous) => {
                CounterReset::Reset
            }
            (CounterReset::Unknown, Some(_)) => CounterReset::NotReset,
            (known, _) => known,
        };
        if !histogram.is_stale() {
            previous = Some(histogram);
        }
        HistogramPoint { at: *at, histogram: Arc::new(totals) }
    });
    totals.collect()
}

/// The points without staleness markers: ranges do not see them.
pub(super) fn real_points<'p>(points: &'p [Point], scratch: &'p mut Vec<Point>) -> &'p [Point] {
    if !points.iter().any(|point| is_stale(point.value)) {
        return points;
    }
    scratch.clear();
    scratch.extend(points.iter().filter(|point| !is_stale(point.value)));
    scratch
}

/// The value at `at` on the line through two points. If it is a counter that was reset between them,
/// it started from 0.
pub(super) fn interpolate(before: &Point, after: &Point, at: TimestampMs, counter: bool) -> f64 {
    let from = if counter && after.value < before.value { 0.0 } else { before.value };
    from + (after.value - from) * (at - before.at) as f64 / (after.at - before.at) as f64
}

/// A window of `anchored` or `smoothed`: the points that decide its values at both boundaries.
pub(super) struct Extended<'p> {
    points: &'p [Point],
    first: usize,
    last: usize,
    start: TimestampMs,
    end: TimestampMs,
    smoothed: bool,
}

impl<'p> Extended<'p> {
    /// Absent if nothing lies after the start.
    /// Source: Prometheus `promql/functions.go`, `extendedRate`.
    pub(super) fn of(
        points: &'p [Point],
        start: TimestampMs,
        end: TimestampMs,
        smoothed: bool,
    ) -> Option<Self> {
        let newest = points.len().checked_sub(1)?;
        let first = points[..newest].partition_point(|point| point.at <= start).saturating_sub(1);
        let last = if smoothed { points[..newest].partition_point(|point| point.at < end) } else { newest };
        (points[last].at > start).then_some(Self { points, first, last, start, end, smoothed })
    }

    /// Whether the first point lies after the window.
    pub(super) fn is_later(&self) -> bool {
        self.points[self.first].at > self.end
    }

    /// The value at the start.
    pub(super) fn left(&self, counter: bool) -> f64 {
        let first = &self.points[self.first];
        if self.smoothed && first.at < self.start {
            interpolate(first, &self.points[self.first + 1], self.start, counter)
        } else {
            first.value
        }
    }

    /// The value at the end.
    pub(super) fn right(&self, counter: bool) -> f64 {
        let last = &self.points[self.last];
        if self.smoothed && self.last > 0 && last.at > self.end {
            interpolate(&self.points[self.last - 1], last, self.end, counter)
        } else {
            last.value
        }
    }

    /// The points strictly between start and end.
    pub(super) fn inner(&self) -> &'p [Point] {
        &self.points[self.inner_places()]
    }

    /// The places of those points within the window.
    pub(super) fn inner_places(&self) -> std::ops::Range<usize> {
        let from = self.first + usize::from(self.points[self.first].at <= self.start);
        let to = self.last + usize::from(self.points[self.last].at < self.end);
        from..to.max(from)
    }
}
