//! Sliding a window over the points of each series.

use crate::model::{Point, Series, TimestampMs, is_stale};
use crate::promql::ast::RangeModifier;
use crate::promql::plan::{Range, Source};
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::Evaluator;
use super::matrix::{Row, StepMatrix, is_present};

/// The points of a series within `start < at <= end`; with `anchored` or `smoothed` also those of the
/// lookback delta before (and after).
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'p> {
    /// Never empty.
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

/// Computes a value from each window; any closure on windows is one.
pub(super) trait WindowFunction {
    /// Prepares for the windows of the next series, of all whose points these are.
    fn series(&mut self, _points: &[Point]) {}

    /// The value for a window, if it has one.
    fn window(&mut self, window: Window<'_>) -> Option<f64>;
}

impl<F: FnMut(Window<'_>) -> Option<f64>> WindowFunction for F {
    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        self(window)
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
                let series = self.data.series(selector.fetch);
                let mut matrix = StepMatrix::with_capacity(steps.count, series.len());
                let mut scratch = Vec::new();
                for Series { labels, points } in series {
                    let points = real_points(points, &mut scratch);
                    self.slide(range, steps, points, &mut matrix, &mut function, || Row {
                        labels: labels.clone(),
                        drop_name: false,
                    })?;
                }
                Ok(matrix)
            }
            Source::Subquery { inner, step_ms } => {
                let grid = range.grid(steps, *step_ms);
                let inner = self.vector(inner, grid)?;
                let mut matrix = StepMatrix::with_capacity(steps.count, inner.len());
                let mut points = Vec::new();
                for (row, cells) in inner.iter() {
                    points.clear();
                    points.extend(
                        grid.iter()
                            .zip(cells)
                            .filter(|(_, value)| is_present(**value))
                            .map(|(at, value)| Point { at, value: *value }),
                    );
                    self.slide(range, steps, &points, &mut matrix, &mut function, || row.clone())?;
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
        row: impl FnOnce() -> Row,
    ) -> Result<(), EvalError> {
        self.tick(points.len() + steps.count)?;
        self.check_growth(matrix)?;
        let lookback_ms = self.options.lookback_delta_ms;
        let (before, after) = match range.modifier() {
            None => (0, 0),
            Some(RangeModifier::Anchored) => (lookback_ms, 0),
            Some(RangeModifier::Smoothed) => (lookback_ms, lookback_ms),
        };
        function.series(points);
        matrix.push(row, |cells| {
            // The window is `points[from..to]`; both ends only move forwards.
            let (mut from, mut to) = (0, 0);
            for (step, (at, cell)) in steps.iter().zip(cells).enumerate() {
                let end = range.reference.at(at);
                let start = end.saturating_sub(range.length_ms);
                if step == 0 {
                    // Everything before the first window is passed at once.
                    from = points.partition_point(|point| point.at <= start.saturating_sub(before));
                    to = from;
                }
                while points.get(from).is_some_and(|point| point.at <= start.saturating_sub(before)) {
                    from += 1;
                }
                to = to.max(from);
                while points.get(to).is_some_and(|point| point.at <= end.saturating_add(after)) {
                    to += 1;
                }
                if from < to {
                    let window = Window { points: &points[from..to], skipped: from, start, end, at, step };
                    if let Some(value) = function.window(window) {
                        *cell = value;
                    }
                }
            }
        });
        Ok(())
    }
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
        let from = self.first + usize::from(self.points[self.first].at <= self.start);
        let to = self.last + usize::from(self.points[self.last].at < self.end);
        &self.points[from..to.max(from)]
    }
}
