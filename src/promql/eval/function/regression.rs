//! Trends: regression lines.

use crate::model::{KahanSum, Point, TimestampMs};
use crate::promql::eval::sliding::{LongSum, Part, Sliding, Values, WORTH_SLIDING};
use crate::promql::eval::window::{Window, WindowFunction};

/// `deriv`: the slope of the regression line, per second.
pub(super) fn deriv(window: Window<'_>) -> Option<f64> {
    // Times are counted from a point of the window, since those since the epoch would cost precision.
    line(window.points, window.first().at).map(|line| line.slope)
}

/// `predict_linear`: where the regression line is so many seconds after the instant.
pub(super) fn predict_linear(seconds: &[f64]) -> impl FnMut(Window<'_>) -> Option<f64> {
    |window| line(window.points, window.at).map(|line| line.at(seconds[window.step]))
}

#[derive(Debug, Clone, Copy)]
struct Line {
    /// Per second.
    slope: f64,
    /// The value at the origin.
    intercept: f64,
}

impl Line {
    /// The value so many seconds after the origin.
    fn at(self, seconds: f64) -> f64 {
        self.slope * seconds + self.intercept
    }

    /// That of points with the same value.
    fn constant(value: f64) -> Self {
        if value.is_infinite() {
            Self { slope: f64::NAN, intercept: f64::NAN }
        } else {
            Self { slope: 0.0, intercept: value }
        }
    }
}

/// The line through the points by least squares; two are needed.
/// Source: Prometheus `promql/functions.go`, `linearRegression`.
fn line(points: &[Point], origin: TimestampMs) -> Option<Line> {
    if points.len() < 2 {
        return None;
    }
    let first = points[0].value;
    if points.iter().all(|point| point.value == first) {
        return Some(Line::constant(first));
    }
    // As long as nothing overflows both kinds of sums are the same; this one is faster.
    let mut sums = [LongSum::ZERO; 4];
    for terms in points.iter().map(|point| terms(point, origin)) {
        for (sum, term) in sums.iter_mut().zip(terms) {
            *sum = sum.plus(LongSum::of(term));
        }
    }
    let mut totals = sums.map(LongSum::total);
    if !totals.iter().all(|total| total.is_finite()) {
        let mut sums = [KahanSum::default(); 4];
        for terms in points.iter().map(|point| terms(point, origin)) {
            sums.iter_mut().zip(terms).for_each(|(sum, term)| sum.add(term));
        }
        totals = sums.map(KahanSum::total);
    }
    let [x, y, xy, xx] = totals;
    let count = points.len() as f64;
    let covariance = xy - x * y / count;
    let variance = xx - x * x / count;
    let slope = covariance / variance;
    Some(Line { slope, intercept: y / count - slope * x / count })
}

/// The time in seconds from an origin, the value, their product, and the square of the time.
fn terms(point: &Point, origin: TimestampMs) -> [f64; 4] {
    let time = (point.at - origin) as f64 / 1000.0;
    [time, point.value, time * point.value, time * time]
}

/// The sums of [`terms`], with times in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Sums {
    terms: [LongSum; 4],
    /// The sum of the absolute values.
    size: f64,
}

impl Part for Sums {
    const NONE: Self = Self { terms: [LongSum::ZERO; 4], size: 0.0 };

    fn and(self, later: Self) -> Self {
        let mut terms = self.terms;
        terms.iter_mut().zip(later.terms).for_each(|(sum, later)| *sum = sum.plus(later));
        Self { terms, size: self.size + later.size }
    }
}

/// What a regression line is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'q> {
    Slope,
    /// The value so many seconds after the instant, for each step.
    Prediction(&'q [f64]),
}

/// `deriv` and `predict_linear` of windows that move forwards.
pub(super) struct SlidingLine<'q> {
    asked: Asked<'q>,
    values: Values,
    sliding: Sliding<Sums>,
    /// What times are counted from in the sums.
    origin: TimestampMs,
    /// How many points of the series were compared with the one before.
    seen: usize,
    /// The last one of them that differs from it.
    changed: usize,
}

impl<'q> SlidingLine<'q> {
    pub(super) fn new(asked: Asked<'q>) -> Self {
        Self { asked, values: Values::NONE, sliding: Sliding::new(), origin: 0, seen: 0, changed: 0 }
    }

    /// What is asked for, from a line and the origin it was computed for.
    fn answer(&self, line: Line, step: usize) -> f64 {
        match self.asked {
            Asked::Slope => line.slope,
            Asked::Prediction(seconds) => line.at(seconds[step]),
        }
    }

    /// Whether all points of the window have the same value.
    fn is_constant(&mut self, window: Window<'_>) -> bool {
        let Window { points, skipped, .. } = window;
        let from = self.seen.max(skipped + 1);
        for place in from - skipped..points.len() {
            if points[place].value != points[place - 1].value {
                self.changed = skipped + place;
            }
        }
        self.seen = skipped + points.len();
        self.changed <= skipped
    }

    /// The answer from what is known about the window, if it is precise enough.
    fn slide(&mut self, window: Window<'_>, origin: TimestampMs) -> Option<f64> {
        let Window { points, skipped, .. } = window;
        if self.sliding.begins_at(skipped) {
            self.origin = points[points.len() / 2].at;
        }
        let own_origin = self.origin;
        let part = |place: usize| {
            let Point { at, value } = points[place - skipped];
            let time = (at - own_origin) as f64;
            Sums { terms: [time, value, time * value, time * time].map(LongSum::of), size: value.abs() }
        };
        let Sums { terms, size } = self.sliding.over(skipped, skipped + points.len(), part);
        if terms[1].sum.is_nan() {
            return Some(f64::NAN);
        }
        let [x, y, xy, xx] = terms.map(LongSum::total);
        let count = points.len() as f64;
        let covariance = xy - x * y / count;
        let variance = xx - x * x / count;
        let slope = covariance / variance;
        // The origin that Prometheus counts from.
        let shift = (own_origin - origin) as f64;
        let (middle, mean) = (x / count + shift, y / count);
        let line = Line { slope: slope * 1000.0, intercept: mean - slope * middle };
        // How many times larger than their differences the products are that are subtracted from one
        // another, here or in Prometheus: as many times the rounding errors grow.
        let ends = [window.first().at, window.last().at];
        let distances = ends.map(|at| (at - origin).abs().max((at - own_origin).abs()));
        let far = distances[0].max(distances[1]) as f64;
        let growth = 1.0 + far * size / covariance.abs() + far * far * (count / variance);
        let (answer, scale) = match self.asked {
            Asked::Slope => (line.slope, line.slope.abs()),
            Asked::Prediction(seconds) => {
                let seconds = seconds[window.step];
                let reach = line.slope.abs() * (seconds.abs() + middle.abs() / 1000.0);
                (line.at(seconds), reach + mean.abs() / growth)
            }
        };
        let error = 4.0 * f64::EPSILON * growth * scale;
        (error <= 1e-12 * answer.abs()).then_some(answer)
    }
}

impl WindowFunction for SlidingLine<'_> {
    fn series(&mut self, points: &[Point]) {
        self.values = Values::of(points);
        self.sliding.forget();
        (self.seen, self.changed) = (0, 0);
    }

    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        let points = window.points;
        let is_constant = self.is_constant(window);
        if points.len() < 2 {
            return None;
        }
        if is_constant {
            return Some(self.answer(Line::constant(points[0].value), window.step));
        }
        let origin = match self.asked {
            Asked::Slope => window.first().at,
            Asked::Prediction(_) => window.at,
        };
        if points.len() >= WORTH_SLIDING && self.values.tame {
            if let Some(answer) = self.slide(window, origin) {
                return Some(answer);
            }
        }
        line(points, origin).map(|line| self.answer(line, window.step))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::promql::eval::sliding::tests::{check_windows, values};

    proptest! {
        #[test]
        fn sliding_lines_are_those_of_each_window(values in values(), width in 1_usize..80, stride in 1_usize..9) {
            let slope = |points: &[Point]| Some(line(points, points[0].at)?.slope);
            check_windows(&values, width, stride, 1e-12, SlidingLine::new(Asked::Slope), slope)?;
            let seconds = vec![3600.0; values.len()];
            let asked = Asked::Prediction(&seconds);
            let value = |points: &[Point]| Some(line(points, points[points.len() - 1].at)?.at(3600.0));
            check_windows(&values, width, stride, 1e-12, SlidingLine::new(asked), value)?;
        }
    }

    #[test]
    fn infinite_values_have_the_line_that_prometheus_finds() {
        let points = [1.0, f64::INFINITY, 3.0].map(|value| Point { at: value as i64, value });
        let line = line(&points, 0).expect("there are points");
        assert!(line.slope.is_nan() && line.intercept.is_nan());
    }
}
