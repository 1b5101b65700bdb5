//! Trends: linear regression and double exponential smoothing.

use crate::model::{Point, TimestampMs};
use crate::promql::eval::Evaluator;
use crate::promql::eval::error::failure;
use crate::promql::eval::matrix::StepMatrix;
use crate::promql::eval::window::Window;
use crate::promql::numeric::KahanSum;
use crate::promql::plan::Range;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

/// `deriv`: the slope of the regression line, per second.
pub(super) fn deriv(window: Window<'_>) -> Option<f64> {
    // Times are counted from a point of the window, since those since the epoch would cost precision.
    line(window.points, window.first().at).map(|line| line.slope)
}

/// `predict_linear`: where the regression line is so many seconds after the instant.
pub(super) fn predict_linear(seconds: &[f64]) -> impl FnMut(Window<'_>) -> Option<f64> {
    |window| line(window.points, window.at).map(|line| line.slope * seconds[window.step] + line.intercept)
}

struct Line {
    /// Per second.
    slope: f64,
    /// The value at the origin.
    intercept: f64,
}

/// The line through the points by least squares; two are needed.
/// Source: Prometheus `promql/functions.go`, `linearRegression`.
fn line(points: &[Point], origin: TimestampMs) -> Option<Line> {
    if points.len() < 2 {
        return None;
    }
    let first = points[0].value;
    if points.iter().all(|point| point.value == first) {
        let line = if first.is_infinite() {
            Line { slope: f64::NAN, intercept: f64::NAN }
        } else {
            Line { slope: 0.0, intercept: first }
        };
        return Some(line);
    }
    let (mut x, mut y) = (KahanSum::default(), KahanSum::default());
    let (mut xy, mut xx) = (KahanSum::default(), KahanSum::default());
    for point in points {
        let time = (point.at - origin) as f64 / 1000.0;
        x.add(time);
        y.add(point.value);
        xy.add(time * point.value);
        xx.add(time * time);
    }
    let count = points.len() as f64;
    let (x, y) = (x.total(), y.total());
    let covariance = xy.total() - x * y / count;
    let variance = xx.total() - x * x / count;
    let slope = covariance / variance;
    Some(Line { slope, intercept: y / count - slope * x / count })
}

impl Evaluator<'_> {
    /// `double_exponential_smoothing`: the newest value of a smoothed series.
    pub(super) fn smoothing(
        &mut self,
        range: &Range<'_>,
        smoothing: &[f64],
        trend: &[f64],
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let mut invalid = None;
        let matrix = self.over_windows(range, steps, |window: Window<'_>| {
            let (smoothing, trend) = (smoothing[window.step], trend[window.step]);
            if smoothing <= 0.0 || smoothing >= 1.0 {
                invalid = invalid.or(Some(("smoothing", "sf", smoothing)));
                return None;
            }
            if trend <= 0.0 || trend >= 1.0 {
                invalid = invalid.or(Some(("trend", "tf", trend)));
                return None;
            }
            smoothed(window.points, smoothing, trend)
        })?;
        match invalid {
            Some((name, short, got)) => {
                Err(failure(format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {got:.6}")))
            }
            None => Ok(matrix),
        }
    }
}

fn smoothed(points: &[Point], smoothing: f64, trend: f64) -> Option<f64> {
    let [first, second, ..] = points else { return None };
    let (mut before, mut level) = (0.0, first.value);
    let mut slope = second.value - first.value;
    for (index, point) in points.iter().enumerate().skip(1) {
        if index > 1 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * point.value + (1.0 - smoothing) * (level + slope);
        (before, level) = (level, next);
    }
    Some(level)
}
