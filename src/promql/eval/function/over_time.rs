//! Functions that sum up the points of a window.

use crate::model::{Point, Span};
use crate::promql::eval::Evaluator;
use crate::promql::eval::matrix::StepMatrix;
use crate::promql::eval::window::Window;
use crate::promql::numeric::{KahanSum, Mean, quantile};
use crate::promql::plan::Range;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

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
            OverTime::Avg => self.over_windows(range, steps, |w: Window<'_>| Some(mean(w))),
            OverTime::Count => self.over_windows(range, steps, |w: Window<'_>| Some(w.points.len() as f64)),
            OverTime::Deriv => self.over_windows(range, steps, super::regression::deriv),
            OverTime::First => self.over_windows(range, steps, |w: Window<'_>| Some(w.first().value)),
            OverTime::Last => self.over_windows(range, steps, |w: Window<'_>| Some(w.last().value)),
            OverTime::Mad => {
                let mut scratch = Vec::new();
                self.over_windows(range, steps, |w: Window<'_>| Some(deviation(w, &mut scratch)))
            }
            OverTime::Max => self
                .over_windows(range, steps, |w: Window<'_>| Some(extreme(w, |new, best| new > best).value)),
            OverTime::Min => self
                .over_windows(range, steps, |w: Window<'_>| Some(extreme(w, |new, best| new < best).value)),
            OverTime::Present => self.over_windows(range, steps, |_: Window<'_>| Some(1.0)),
            OverTime::Stddev => self.over_windows(range, steps, |w: Window<'_>| Some(variance(w).sqrt())),
            OverTime::Stdvar => self.over_windows(range, steps, |w: Window<'_>| Some(variance(w))),
            OverTime::Sum => self.over_windows(range, steps, |w: Window<'_>| Some(sum(w))),
            OverTime::TimestampOfFirst => {
                self.over_windows(range, steps, |w: Window<'_>| Some(seconds(w.first())))
            }
            OverTime::TimestampOfLast => {
                self.over_windows(range, steps, |w: Window<'_>| Some(seconds(w.last())))
            }
            OverTime::TimestampOfMax => self.over_windows(range, steps, |w: Window<'_>| {
                Some(seconds(&extreme(w, |new, best| new >= best)))
            }),
            OverTime::TimestampOfMin => self.over_windows(range, steps, |w: Window<'_>| {
                Some(seconds(&extreme(w, |new, best| new <= best)))
            }),
        }
    }

    pub(super) fn quantile_over_time(
        &mut self,
        range: &Range<'_>,
        quantiles: &[f64],
        span: Span,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let mut scratch = Vec::new();
        let mut invalid = None;
        let matrix = self.over_windows(range, steps, |w: Window<'_>| {
            let q = quantiles[w.step];
            if !(0.0..=1.0).contains(&q) {
                invalid = Some(q);
            }
            scratch.clear();
            scratch.extend(w.values());
            Some(quantile(q, &mut scratch))
        })?;
        if let Some(q) = invalid {
            self.annotations.invalid_quantile(q, span);
        }
        Ok(matrix)
    }
}

fn mean(window: Window<'_>) -> f64 {
    let mut mean = Mean::starting_at(window.first().value);
    window.values().skip(1).for_each(|value| mean.add(value));
    mean.value()
}

fn sum(window: Window<'_>) -> f64 {
    let mut sum = KahanSum::default();
    window.values().for_each(|value| sum.add(value));
    if sum.sum.is_infinite() { sum.sum } else { sum.total() }
}

/// The point whose value is `better` than all others; a NaN is worse than anything.
fn extreme(window: Window<'_>, better: impl Fn(f64, f64) -> bool) -> Point {
    let mut best = *window.first();
    for point in window.points {
        if better(point.value, best.value) || best.value.is_nan() {
            best = *point;
        }
    }
    best
}

/// The variance, by Welford's method with compensated sums.
fn variance(window: Window<'_>) -> f64 {
    let (mut mean, mut squares) = (KahanSum::default(), KahanSum::default());
    let mut count = 0.0;
    for value in window.values() {
        count += 1.0;
        let delta = value - mean.total();
        mean.add(delta / count);
        squares.add(delta * (value - mean.total()));
    }
    squares.total() / count
}

/// The median of the absolute deviations from the median; NaN if any value is.
fn deviation(window: Window<'_>, scratch: &mut Vec<f64>) -> f64 {
    scratch.clear();
    scratch.extend(window.values());
    if scratch.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let median = quantile(0.5, scratch);
    for value in scratch.iter_mut() {
        *value = (*value - median).abs();
    }
    quantile(0.5, scratch)
}
