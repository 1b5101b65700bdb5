//! Instant vectors from selectors, and range vectors that are results themselves.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::{
    CounterReset, FloatHistogram, HistogramPoint, Point, Series, Span, TimestampMs, is_stale,
};
use crate::promql::ast::RangeModifier;
use crate::promql::plan::{Range, Reference, Selector, Source};
use crate::promql::prefetch::Fetched;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;
use crate::storage::SeriesSamples;

use super::difference::Difference;
use super::error::failure;
use super::matrix::{Cell, Place, StepMatrix, absent, is_present, without_metadata};
use super::window::{Remarks, histograms_of, interpolate, real_points, totals_of};
use super::{Evaluated, Evaluator};

/// At which instants a selector is looked at, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instants {
    pub(super) steps: Steps,
    pub(super) reference: Reference,
    /// Whether of native histograms the counts and sums are enough.
    pub(super) totals_only: bool,
}

impl Evaluator<'_> {
    /// The newest sample of each series at each instant, unless it is too old or ends the series.
    pub(super) fn instant_selector(
        &mut self,
        selector: &Selector<'_>,
        span: Span,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        if selector.vector.modifier == Some(RangeModifier::Smoothed) {
            return self.smoothed_selector(selector, span, steps);
        }
        self.newest_points(
            selector,
            steps,
            |_, histogram| Cell::Histogram(Arc::clone(histogram)),
            |point| point.value,
        )
    }

    /// What `read` finds in the newest point of each series at each instant.
    pub(super) fn newest_points(
        &mut self,
        selector: &Selector<'_>,
        steps: Steps,
        read_histogram: impl Fn(TimestampMs, &Arc<FloatHistogram>) -> Cell,
        read: impl Fn(&Point) -> f64,
    ) -> Result<StepMatrix, EvalError> {
        let fetched = self.data.fetched(selector.fetch);
        let instants = Instants { steps, reference: selector.reference, totals_only: selector.totals_only };
        self.newest_of(fetched, instants, read_histogram, read)
    }

    /// The same of all fetched series.
    pub(super) fn newest_of(
        &mut self,
        fetched: &Fetched,
        instants: Instants,
        read_histogram: impl Fn(TimestampMs, &Arc<FloatHistogram>) -> Cell,
        read: impl Fn(&Point) -> f64,
    ) -> Result<StepMatrix, EvalError> {
        let mut matrix = StepMatrix::of(&fetched.rows, instants.steps.count);
        let mut reader = fetched.samples.reader();
        while let Some(series) = reader.next_series()? {
            self.push_newest(&mut matrix, &series, instants, &read_histogram, &read)?;
        }
        self.count_cells(&matrix);
        Ok(matrix)
    }

    /// Appends the row of a series with what is read in its newest point at each instant.
    pub(super) fn push_newest(
        &mut self,
        matrix: &mut StepMatrix,
        series: &SeriesSamples<'_>,
        instants: Instants,
        read_histogram: impl Fn(TimestampMs, &Arc<FloatHistogram>) -> Cell,
        read: impl Fn(&Point) -> f64,
    ) -> Result<(), EvalError> {
        let Instants { steps, reference, totals_only } = instants;
        let SeriesSamples { place, points, histograms, .. } = *series;
        self.tick(steps.count)?;
        self.check_growth(matrix)?;
        let lookback_ms = self.options.lookback_delta_ms;
        let references = steps.seen_by(reference);
        let row = Place(place);
        if histograms.is_empty() {
            matrix.push(row, |cells| {
                fill_newest(points, references.iter().zip(cells), lookback_ms, &read);
            });
            return Ok(());
        }
        let totals = if totals_only { totals_of(histograms) } else { Cow::Borrowed(histograms) };
        let histograms = totals.as_ref();
        matrix.push_mixed(row, |mut cells| {
            for (step, at) in references.iter().enumerate() {
                let after = at.saturating_sub(lookback_ms);
                let cell = newest_sample(points, histograms, after, at).and_then(|newest| match newest {
                    Newest::Float(point) => (!is_stale(point.value)).then(|| Cell::Float(read(point))),
                    Newest::Histogram(HistogramPoint { at, histogram }) => {
                        (!histogram.is_stale()).then(|| read_histogram(*at, histogram))
                    }
                });
                cells.set(step, cell);
            }
        });
        Ok(())
    }

    /// `selector smoothed`: the value between the samples around each instant. A series without a later
    /// sample keeps its last value. Source: Prometheus `promql/engine.go`, `smoothSeries`.
    fn smoothed_selector(
        &mut self,
        selector: &Selector<'_>,
        span: Span,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let lookback_ms = self.options.lookback_delta_ms;
        let fetched = self.data.fetched(selector.fetch);
        let mut matrix = StepMatrix::of(&fetched.rows, steps.count);
        let mut scratch = Vec::new();
        let mut reader = fetched.samples.reader();
        while let Some(SeriesSamples { place, points, histograms, .. }) = reader.next_series()? {
            self.tick(steps.count)?;
            self.check_growth(&matrix)?;
            let points = real_points(points, &mut scratch);
            let row = Place(place);
            let histograms = histograms_of(histograms, selector.totals_only);
            if !histograms.is_empty() {
                let metric = fetched.labels(place).metric_name();
                let mut remarks = Remarks { annotations: &mut self.annotations, metric, span };
                matrix.push_mixed(row, |mut cells| {
                    for (step, at) in steps.iter().enumerate() {
                        let at = selector.reference.at(at);
                        cells.set(step, smoothed_sample(points, &histograms, at, lookback_ms, &mut remarks));
                    }
                });
                continue;
            }
            matrix.push(row, |cells| {
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
            });
        }
        self.count_cells(&matrix);
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
                let fetched = self.data.fetched(selector.fetch);
                self.count_windows(range, steps, &fetched.samples)?;
                let mut scratch = Vec::new();
                let mut result = Vec::with_capacity(fetched.samples.series_count());
                let mut reader = fetched.samples.reader();
                while let Some(SeriesSamples { place, points, histograms, .. }) = reader.next_series()? {
                    let points = real_points(points, &mut scratch);
                    let histograms: Vec<HistogramPoint> = histograms_of(histograms, false)
                        .iter()
                        .filter(|point| point.at > start && point.at <= end)
                        .cloned()
                        .collect();
                    if let Some(modifier) = range.modifier().filter(|_| !histograms.is_empty()) {
                        let modifier =
                            if modifier == RangeModifier::Smoothed { "smoothed" } else { "anchored" };
                        return Err(failure(format!("{modifier} modifier is not supported with histograms")));
                    }
                    let points = match range.modifier() {
                        None => points
                            .iter()
                            .filter(|point| point.at > start && point.at <= end)
                            .copied()
                            .collect(),
                        Some(modifier) => bounded(points, start, end, modifier == RangeModifier::Smoothed),
                    };
                    let size: usize = histograms.iter().map(|point| point.histogram.size_in_samples()).sum();
                    self.tick(points.len() + size)?;
                    self.hold(points.len() + size)?;
                    if !points.is_empty() || !histograms.is_empty() {
                        let labels = fetched.labels(place).clone();
                        result.push(Series { histograms, ..Series::floats(labels, points) });
                    }
                }
                result
            }
            Source::Subquery { inner, step_ms } => {
                let grid = range.grid(steps, *step_ms);
                let counts = self.count_apart(grid.count);
                let mut matrix = match self.node(inner, grid)? {
                    Evaluated::Vector(matrix) => matrix,
                    Evaluated::Scalar(_) | Evaluated::String(_) => {
                        return Err(failure("subquery is only allowed on instant vector"));
                    }
                };
                self.count_subquery_result(counts);
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

/// Fills the cell of each instant with what `read` finds in the newest point, unless that is too old or
/// ends the series.
fn fill_newest<'c>(
    points: &[Point],
    cells: impl Iterator<Item = (TimestampMs, &'c mut f64)>,
    lookback_ms: i64,
    read: impl Fn(&Point) -> f64,
) {
    // How many points are not later than the instant, what the last one of them says, and until when.
    let (mut seen, mut value, mut expires) = (0, absent(), TimestampMs::MIN);
    for (at, cell) in cells {
        if points.get(seen).is_some_and(|next| next.at <= at) {
            seen += 1;
            while points.get(seen).is_some_and(|next| next.at <= at) {
                seen += 1;
            }
            let newest = &points[seen - 1];
            value = read(newest);
            expires =
                if is_stale(newest.value) { TimestampMs::MIN } else { newest.at.saturating_add(lookback_ms) };
        }
        if at < expires {
            *cell = value;
        }
    }
}

/// The newest sample of a series with native histograms.
enum Newest<'p> {
    Float(&'p Point),
    Histogram(&'p HistogramPoint),
}

/// The newest sample after the first and not after the second instant.
fn newest_sample<'p>(
    points: &'p [Point],
    histograms: &'p [HistogramPoint],
    after: TimestampMs,
    until: TimestampMs,
) -> Option<Newest<'p>> {
    let float = points[..points.partition_point(|point| point.at <= until)].last();
    let histogram = histograms[..histograms.partition_point(|point| point.at <= until)].last();
    let (at, newest) = match (float, histogram) {
        (Some(float), Some(histogram)) if float.at > histogram.at => (float.at, Newest::Float(float)),
        (_, Some(histogram)) => (histogram.at, Newest::Histogram(histogram)),
        (float, None) => (float?.at, Newest::Float(float?)),
    };
    (at > after).then_some(newest)
}

/// The sample at an instant of a series with native histograms that is smoothed.
/// Source: Prometheus `promql/engine.go`, `smoothSeries`.
fn smoothed_sample(
    points: &[Point],
    histograms: &[HistogramPoint],
    at: TimestampMs,
    lookback_ms: i64,
    remarks: &mut Remarks<'_>,
) -> Option<Cell> {
    let is_near = |other: TimestampMs| other > at - lookback_ms && other <= at + lookback_ms;
    let points: Vec<&Point> = points.iter().filter(|point| is_near(point.at)).collect();
    let histograms: Vec<&HistogramPoint> = histograms.iter().filter(|point| is_near(point.at)).collect();
    if !points.is_empty() && !histograms.is_empty() {
        remarks.annotations.mixed_floats_and_histograms(remarks.metric, remarks.span);
        return None;
    }
    let next = points.partition_point(|point| point.at < at);
    let before = next.checked_sub(1).map(|index| points[index]);
    match (before, points.get(next)) {
        (_, Some(exact)) if exact.at == at => return Some(Cell::Float(exact.value)),
        (Some(before), Some(after)) => return Some(Cell::Float(interpolate(before, after, at, false))),
        (Some(before), None) => return Some(Cell::Float(before.value)),
        (None, _) => {}
    }
    let next = histograms.partition_point(|point| point.at < at);
    let before = next.checked_sub(1).map(|index| histograms[index]);
    match (before, histograms.get(next)) {
        (_, Some(exact)) if exact.at == at => Some(Cell::Histogram(Arc::clone(&exact.histogram))),
        (Some(before), Some(after)) => {
            if before.histogram.uses_custom_buckets() != after.histogram.uses_custom_buckets() {
                remarks.annotations.mixed_exponential_and_custom(remarks.metric, remarks.span);
                return None;
            }
            let counter =
                [before, after].iter().any(|one| one.histogram.counter_reset != CounterReset::Gauge);
            Difference { counter, remarks }.interpolated(before, after, at).map(Cell::from)
        }
        (Some(before), None) => {
            let histogram = FloatHistogram::clone(&before.histogram);
            Some(histogram.with_counter_reset(CounterReset::Unknown).into())
        }
        (None, _) => None,
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
