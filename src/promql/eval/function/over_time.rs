//! Functions that sum up the points of a window.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::{HistogramPoint, Point, TimestampMs};
use crate::promql::eval::Evaluator;
use crate::promql::eval::matrix::{Cell, StepMatrix};
use crate::promql::eval::native::HistogramAggregate;
use crate::promql::eval::window::{MixedWindow, Remarks, Window, WindowFunction, WithHistograms};
use crate::promql::plan::Range;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::regression::{self, Asked, SlidingLine};
use super::sums::{SlidingSum, SlidingVariance, mean, sum, variance};

/// Functions of the points alone; the names are the functions' own, mostly without `_over_time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::promql) enum OverTime {
    Avg,
    Count,
    Deriv,
    First,
    Last,
    Mad,
    Max,
    Min,
    Present,
    Stddev,
    Stdvar,
    Sum,
    TimestampOfFirst,
    TimestampOfLast,
    TimestampOfMax,
    TimestampOfMin,
}

impl OverTime {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "avg_over_time" => Self::Avg,
            "count_over_time" => Self::Count,
            "deriv" => Self::Deriv,
            "first_over_time" => Self::First,
            "last_over_time" => Self::Last,
            "mad_over_time" => Self::Mad,
            "max_over_time" => Self::Max,
            "min_over_time" => Self::Min,
            "present_over_time" => Self::Present,
            "stddev_over_time" => Self::Stddev,
            "stdvar_over_time" => Self::Stdvar,
            "sum_over_time" => Self::Sum,
            "ts_of_first_over_time" => Self::TimestampOfFirst,
            "ts_of_last_over_time" => Self::TimestampOfLast,
            "ts_of_max_over_time" => Self::TimestampOfMax,
            "ts_of_min_over_time" => Self::TimestampOfMin,
            _ => return None,
        })
    }

    /// Whether the result is one of the series' own values.
    pub(super) fn keeps_name(self) -> bool {
        matches!(self, Self::First | Self::Last)
    }
}

impl Evaluator<'_> {
    pub(super) fn over_time(
        &mut self,
        function: OverTime,
        range: &Range<'_>,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let seconds = |point: &Point| point.at as f64 / 1000.0;
        // One loop for each function: the compiler then knows what it computes.
        match function {
            OverTime::Avg => self.aggregate_over_time(range, steps, true),
            OverTime::Count => {
                let floats = |w: Window<'_>| Some(w.points.len() as f64);
                let mixed = |w: MixedWindow<'_>, _: &mut Remarks<'_>| {
                    Some(Cell::Float((w.floats.points.len() + w.histograms.len()) as f64))
                };
                self.over_windows(range, steps, WithHistograms { floats, mixed })
            }
            OverTime::Deriv if steps.is_single() => self.over_windows(range, steps, regression::deriv),
            OverTime::Deriv => self.over_windows(range, steps, SlidingLine::new(Asked::Slope)),
            OverTime::First => {
                let floats = |w: Window<'_>| Some(w.first().value);
                let mixed = |w: MixedWindow<'_>, _: &mut Remarks<'_>| Some(first(w).1);
                self.over_windows(range, steps, WithHistograms { floats, mixed })
            }
            OverTime::Last => {
                let floats = |w: Window<'_>| Some(w.last().value);
                let mixed = |w: MixedWindow<'_>, _: &mut Remarks<'_>| Some(last(w).1);
                self.over_windows(range, steps, WithHistograms { floats, mixed })
            }
            OverTime::Mad => self.deviation_over_time(range, steps),
            OverTime::Max => self.extremes(range, steps, |new, best| new > best, |point| point.value),
            OverTime::Min => self.extremes(range, steps, |new, best| new < best, |point| point.value),
            OverTime::Present => self.presence(range, steps),
            OverTime::Stddev if steps.is_single() => {
                self.over_windows(range, steps, |w: Window<'_>| Some(variance(w.points).sqrt()))
            }
            OverTime::Stddev => self.over_windows(range, steps, SlidingVariance::deviation()),
            OverTime::Stdvar if steps.is_single() => {
                self.over_windows(range, steps, |w: Window<'_>| Some(variance(w.points)))
            }
            OverTime::Stdvar => self.over_windows(range, steps, SlidingVariance::variance()),
            OverTime::Sum => self.aggregate_over_time(range, steps, false),
            OverTime::TimestampOfFirst => {
                let floats = |w: Window<'_>| Some(seconds(w.first()));
                let mixed =
                    |w: MixedWindow<'_>, _: &mut Remarks<'_>| Some(Cell::Float(first(w).0 as f64 / 1000.0));
                self.over_windows(range, steps, WithHistograms { floats, mixed })
            }
            OverTime::TimestampOfLast => {
                let floats = |w: Window<'_>| Some(seconds(w.last()));
                let mixed =
                    |w: MixedWindow<'_>, _: &mut Remarks<'_>| Some(Cell::Float(last(w).0 as f64 / 1000.0));
                self.over_windows(range, steps, WithHistograms { floats, mixed })
            }
            OverTime::TimestampOfMax => self.extremes(range, steps, |new, best| new >= best, seconds),
            OverTime::TimestampOfMin => self.extremes(range, steps, |new, best| new <= best, seconds),
        }
    }

    /// 1 for each window with a sample.
    pub(super) fn presence(&mut self, range: &Range<'_>, steps: Steps) -> Result<StepMatrix, EvalError> {
        let floats = |_: Window<'_>| Some(1.0);
        let mixed = |_: MixedWindow<'_>, _: &mut Remarks<'_>| Some(Cell::Float(1.0));
        self.over_windows(range, steps, WithHistograms { floats, mixed })
    }

    /// The sum, or the mean, of each window.
    fn aggregate_over_time(
        &mut self,
        range: &Range<'_>,
        steps: Steps,
        is_mean: bool,
    ) -> Result<StepMatrix, EvalError> {
        let mixed = move |w: MixedWindow<'_>, remarks: &mut Remarks<'_>| match (w.floats.points, w.histograms)
        {
            (points, []) => Some(Cell::Float(if is_mean { mean(points) } else { sum(points) })),
            ([], histograms) => aggregated(histograms, is_mean, remarks),
            _ => {
                remarks.annotations.mixed_floats_and_histograms(remarks.metric, remarks.span);
                None
            }
        };
        if steps.is_single() {
            let floats = |w: Window<'_>| Some(if is_mean { mean(w.points) } else { sum(w.points) });
            return self.over_windows(range, steps, WithHistograms { floats, mixed });
        }
        let floats = if is_mean { SlidingSum::mean() } else { SlidingSum::sum() };
        self.over_windows(range, steps, WithHistograms { floats, mixed })
    }

    /// What `read` finds in the point of each window whose value is `better` than all before it.
    fn extremes(
        &mut self,
        range: &Range<'_>,
        steps: Steps,
        better: impl Fn(f64, f64) -> bool,
        read: impl Fn(&Point) -> f64,
    ) -> Result<StepMatrix, EvalError> {
        if steps.is_single() {
            return self.over_windows(range, steps, |w: Window<'_>| Some(read(&extreme(w, &better))));
        }
        self.over_windows(range, steps, SlidingExtreme { better, read, candidates: VecDeque::new(), seen: 0 })
    }
}

/// The sum, or the mean, of histograms.
fn aggregated(histograms: &[HistogramPoint], is_mean: bool, remarks: &mut Remarks<'_>) -> Option<Cell> {
    let (first, rest) = histograms.split_first()?;
    let mut aggregate = HistogramAggregate::starting_at(&first.histogram, is_mean);
    for point in rest {
        if aggregate.add(&point.histogram).is_err() {
            remarks.annotations.mixed_exponential_and_custom(remarks.metric, remarks.span);
            return None;
        }
    }
    let (value, reconciled) = aggregate.finish();
    remarks.annotations.reconciled(reconciled, "aggregation", remarks.span);
    Some(value.into())
}

/// The first sample with its time.
fn first(window: MixedWindow<'_>) -> (TimestampMs, Cell) {
    sooner_by(window.floats.points.first(), window.histograms.first(), |float, other| float < other)
}

/// The last sample with its time.
fn last(window: MixedWindow<'_>) -> (TimestampMs, Cell) {
    sooner_by(window.floats.points.last(), window.histograms.last(), |float, other| float > other)
}

/// The float if there is no histogram or its time compares `better`, else the histogram.
fn sooner_by(
    float: Option<&Point>,
    histogram: Option<&HistogramPoint>,
    better: fn(TimestampMs, TimestampMs) -> bool,
) -> (TimestampMs, Cell) {
    match (float, histogram) {
        (Some(float), Some(histogram)) if !better(float.at, histogram.at) => histogram_cell(histogram),
        (Some(float), _) => (float.at, Cell::Float(float.value)),
        (None, histogram) => histogram_cell(histogram.expect("a window has a point or a histogram")),
    }
}

fn histogram_cell(point: &HistogramPoint) -> (TimestampMs, Cell) {
    (point.at, Cell::Histogram(Arc::clone(&point.histogram)))
}

/// The point whose value is `better` than all before it; a NaN is worse than anything.
fn extreme(window: Window<'_>, better: impl Fn(f64, f64) -> bool) -> Point {
    let mut best = *window.first();
    for point in window.points {
        if better(point.value, best.value) || best.value.is_nan() {
            best = *point;
        }
    }
    best
}

/// [`extreme`] of windows that move forwards, each point being looked at once.
struct SlidingExtreme<B, R> {
    better: B,
    read: R,
    /// The points that are, or may become, the best: none has a better one after it. The first is the
    /// best now. NaNs are not among them.
    candidates: VecDeque<(usize, Point)>,
    /// How many points of the series were looked at.
    seen: usize,
}

impl<B: Fn(f64, f64) -> bool, R: Fn(&Point) -> f64> WindowFunction for SlidingExtreme<B, R> {
    fn series(&mut self, _: &[Point]) {
        self.candidates.clear();
        self.seen = 0;
    }

    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        let from = self.seen.max(window.skipped);
        for (place, point) in window.points.iter().enumerate().skip(from - window.skipped) {
            if point.value.is_nan() {
                continue;
            }
            while self.candidates.back().is_some_and(|(_, worse)| (self.better)(point.value, worse.value)) {
                self.candidates.pop_back();
            }
            self.candidates.push_back((window.skipped + place, *point));
        }
        self.seen = window.skipped + window.points.len();
        while self.candidates.front().is_some_and(|(place, _)| *place < window.skipped) {
            self.candidates.pop_front();
        }
        let best = self.candidates.front().map_or(window.last(), |(_, point)| point);
        Some((self.read)(best))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![Just(f64::NAN), Just(f64::INFINITY), (-3_i8..3).prop_map(f64::from)]
    }

    proptest! {
        #[test]
        fn sliding_finds_what_looking_at_each_window_finds(
            values in prop::collection::vec(value(), 1..40),
            width in 1_usize..8,
            stride in 1_usize..12,
            last_of_equals in any::<bool>(),
        ) {
            let points: Vec<Point> =
                values.iter().enumerate().map(|(at, value)| Point { at: at as i64, value: *value }).collect();
            let better = |new: f64, best: f64| if last_of_equals { new >= best } else { new > best };
            let read = |point: &Point| point.at as f64 * 1e3 + point.value;
            let mut sliding = SlidingExtreme { better, read, candidates: VecDeque::new(), seen: 0 };
            sliding.series(&points);
            for (step, from) in (0..points.len()).step_by(stride).enumerate() {
                let to = (from + width).min(points.len());
                let window =
                    Window { points: &points[from..to], skipped: from, start: 0, end: 0, at: 0, step };
                let expected = read(&extreme(window, better));
                let found = sliding.window(window).expect("windows have points");
                prop_assert_eq!(found.to_bits(), expected.to_bits(), "{:?}", window.points);
            }
        }
    }
}
