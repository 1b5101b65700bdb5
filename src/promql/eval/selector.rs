//! Instant vectors from selectors, and range vectors that are results themselves.

use crate::model::{Point, Series, TimestampMs, is_stale};
use crate::promql::ast::RangeModifier;
use crate::promql::plan::{Range, Selector, Source};
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::error::failure;
use super::matrix::{Row, StepMatrix, is_present, without_metadata};
use super::window::{interpolate, real_points};
use super::{Evaluated, Evaluator};

impl Evaluator<'_> {
    /// The newest sample of each series at each instant, unless it is too old or ends the series.
    pub(super) fn instant_selector(
        &mut self,
        selector: &Selector<'_>,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        if selector.vector.modifier == Some(RangeModifier::Smoothed) {
            return self.smoothed_selector(selector, steps);
        }
        self.newest_points(selector, steps, |point| point.value)
    }

    /// What `read` finds in the newest point of each series at each instant.
    pub(super) fn newest_points(
        &mut self,
        selector: &Selector<'_>,
        steps: Steps,
        read: impl Fn(&Point) -> f64,
    ) -> Result<StepMatrix, EvalError> {
        let series = self.data.series(selector.fetch);
        self.newest_of(series, |at| selector.reference.at(at), steps, read)
    }

    pub(super) fn newest_of(
        &mut self,
        series: &[Series],
        reference: impl Fn(TimestampMs) -> TimestampMs,
        steps: Steps,
        read: impl Fn(&Point) -> f64,
    ) -> Result<StepMatrix, EvalError> {
        let lookback_ms = self.options.lookback_delta_ms;
        let mut matrix = StepMatrix::with_capacity(steps.count, series.len());
        if steps.count == 0 {
            return Ok(matrix);
        }
        for Series { labels, points } in series {
            self.tick(steps.count)?;
            self.check_growth(&matrix)?;
            matrix.push(
                || Row { labels: labels.clone(), drop_name: false },
                |cells| {
                    let first = reference(steps.start);
                    // How many points are not later than the reference.
                    let mut seen = points.partition_point(|point| point.at <= first);
                    for (at, cell) in steps.iter().zip(cells) {
                        let at = reference(at);
                        while points.get(seen).is_some_and(|point| point.at <= at) {
                            seen += 1;
                        }
                        let Some(newest) = seen.checked_sub(1).map(|index| &points[index]) else { continue };
                        if newest.at > at.saturating_sub(lookback_ms) && !is_stale(newest.value) {
                            *cell = read(newest);
                        }
                    }
                },
            );
        }
        Ok(matrix)
    }

    /// `selector smoothed`: the value between the samples around each instant. A series without a later
    /// sample keeps its last value. Source: Prometheus `promql/engine.go`, `smoothSeries`.
    fn smoothed_selector(&mut self, selector: &Selector<'_>, steps: Steps) -> Result<StepMatrix, EvalError> {
        let lookback_ms = self.options.lookback_delta_ms;
        let series = self.data.series(selector.fetch);
        let mut matrix = StepMatrix::with_capacity(steps.count, series.len());
        let mut scratch = Vec::new();
        for Series { labels, points } in series {
            self.tick(steps.count)?;
            self.check_growth(&matrix)?;
            let points = real_points(points, &mut scratch);
            matrix.push(
                || Row { labels: labels.clone(), drop_name: false },
                |cells| {
                    for (at, cell) in steps.iter().zip(cells) {
                        let at = selector.reference.at(at);
                        let next = points.partition_point(|point| point.at < at);
                        let after = points.get(next).filter(|point| point.at <= at + lookback_ms);
                        let before = next
                            .checked_sub(1)
                            .map(|index| &points[index])
                            .filter(|point| point.at > at - lookback_ms);
                        match (before, after) {
                            (_, Some(exact)) if exact.at == at => *cell = exact.value,
                            (Some(before), Some(after)) => *cell = interpolate(before, after, at, false),
                            (Some(before), None) => *cell = before.value,
                            (None, _) => {}
                        }
                    }
                },
            );
        }
        Ok(matrix)
    }

    /// The samples of a range selector or subquery that is itself the result.
    pub(super) fn range_value(&mut self, range: &Range<'_>, steps: Steps) -> Result<Vec<Series>, EvalError> {
        let mut result = match &range.source {
            Source::Selector(selector) => {
                let (start, end) = {
                    let end = range.reference.at(steps.start);
                    (end.saturating_sub(range.length_ms), end)
                };
                let fetched = self.data.series(selector.fetch);
                let mut scratch = Vec::new();
                let mut result = Vec::with_capacity(fetched.len());
                for Series { labels, points } in fetched {
                    let points = real_points(points, &mut scratch);
                    let points = match range.modifier() {
                        None => points
                            .iter()
                            .filter(|point| point.at > start && point.at <= end)
                            .copied()
                            .collect(),
                        Some(modifier) => bounded(points, start, end, modifier == RangeModifier::Smoothed),
                    };
                    self.tick(points.len())?;
                    self.hold(points.len())?;
                    if !points.is_empty() {
                        result.push(Series { labels: labels.clone(), points });
                    }
                }
                result
            }
            Source::Subquery { inner, step_ms } => {
                let grid = range.grid(steps, *step_ms);
                let mut matrix = match self.node(inner, grid)? {
                    Evaluated::Vector(matrix) => matrix,
                    Evaluated::Scalar(_) | Evaluated::String(_) => {
                        return Err(failure("subquery is only allowed on instant vector"));
                    }
                };
                if self.options.delayed_name_removal {
                    for row in matrix.rows_mut() {
                        if row.drop_name {
                            row.labels = without_metadata(&row.labels);
                        }
                    }
                    matrix.merge_same_labelsets()?;
                }
                super::series(&matrix, grid)
            }
        };
        result.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(result)
    }
}

/// The points of a window with one at each boundary: the nearest real one (anchored) or an
/// interpolated one (smoothed). Source: Prometheus `promql/engine.go`, `extendFloats`.
fn bounded(points: &[Point], start: TimestampMs, end: TimestampMs, smoothed: bool) -> Vec<Point> {
    let Some(window) = super::window::Extended::of(points, start, end, smoothed) else {
        return Vec::new();
    };
    let mut bounded = vec![Point { at: start, value: window.left(false) }];
    bounded.extend(window.inner().iter().filter(|point| is_present(point.value)));
    bounded.push(Point { at: end, value: window.right(false) });
    bounded
}
