//! Double exponential smoothing.

use crate::model::Point;
use crate::promql::eval::Evaluator;
use crate::promql::eval::error::failure;
use crate::promql::eval::matrix::StepMatrix;
use crate::promql::eval::window::{Window, WindowFunction};
use crate::promql::plan::Range;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

impl Evaluator<'_> {
    /// `double_exponential_smoothing`: the newest value of a smoothed series.
    pub(super) fn smoothing(
        &mut self,
        range: &Range<'_>,
        smoothing: &[f64],
        trend: &[f64],
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let mut smoother = Smoother::new(smoothing, trend);
        let matrix = self.over_windows(range, steps, &mut smoother)?;
        match smoother.invalid {
            Some((name, short, got)) => {
                Err(failure(format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {got:.6}")))
            }
            None => Ok(matrix),
        }
    }
}

/// How much a new value counts, and how much a new slope.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Factors {
    smoothing: f64,
    trend: f64,
}

impl Factors {
    /// How many points back a smoothed value hardly depends on what was before: by no more than
    /// [`FORGOTTEN`] times that. None if that is further than it pays to know.
    fn memory(self) -> Option<usize> {
        let Self { smoothing, trend } = self;
        let kept = 1.0 - smoothing;
        // How level before, level and slope depend on those of the point before.
        let mut power = [
            [0.0, 1.0, 0.0],
            [-kept * trend, kept * (1.0 + trend), kept * (1.0 - trend)],
            [-trend, trend, 1.0 - trend],
        ];
        for exponent in 1..=12 {
            power = squared(&power);
            if power.iter().flatten().map(|entry| entry.abs()).sum::<f64>() < FORGOTTEN {
                return Some((1 << exponent) + 2);
            }
        }
        None
    }
}

/// The share of old values that is no longer seen in a new one.
const FORGOTTEN: f64 = 1e-20;

fn squared(matrix: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let entry = |row: usize, column: usize| (0..3).map(|k| matrix[row][k] * matrix[k][column]).sum();
    std::array::from_fn(|row| std::array::from_fn(|column| entry(row, column)))
}

/// A smoothed series up to some point.
/// Source: Prometheus `promql/functions.go`, `funcDoubleExponentialSmoothing`.
#[derive(Debug, Clone, Copy)]
struct Smoothed {
    factors: Factors,
    level: f64,
    before: f64,
    slope: f64,
}

impl Smoothed {
    /// Up to the second point.
    fn starting_with(factors: Factors, first: f64, second: f64) -> Self {
        let start = Self { factors, level: first, before: 0.0, slope: second - first };
        start.leveled(second)
    }

    fn add(&mut self, value: f64) {
        let trend = self.factors.trend;
        self.slope = trend * (self.level - self.before) + (1.0 - trend) * self.slope;
        *self = self.leveled(value);
    }

    fn leveled(self, value: f64) -> Self {
        let smoothing = self.factors.smoothing;
        let level = smoothing * value + (1.0 - smoothing) * (self.level + self.slope);
        Self { level, before: self.level, ..self }
    }
}

/// The smoothed value of a window; two points are needed.
fn smoothed(points: &[Point], factors: Factors) -> Option<f64> {
    let [first, second, rest @ ..] = points else { return None };
    let mut smoothed = Smoothed::starting_with(factors, first.value, second.value);
    for point in rest {
        smoothed.add(point.value);
        if smoothed.level.is_nan() {
            break;
        }
    }
    Some(smoothed.level)
}

/// `double_exponential_smoothing` of windows that move forwards. What lies far back in a window does not
/// show in its value, and what lies between comes from the window before.
struct Smoother<'f> {
    smoothing: &'f [f64],
    trend: &'f [f64],
    /// The first factor that is not allowed: its name, its short name and its value.
    invalid: Option<(&'static str, &'static str, f64)>,
    /// How many points a window's value depends on, if the factors are always the same.
    memory: Option<usize>,
    /// The largest absolute value of the series.
    largest: f64,
    /// The places of points that are not finite.
    odd: Vec<usize>,
    current: Option<Current>,
}

/// What was smoothed so far: the points from `start` to `seen`.
#[derive(Debug, Clone, Copy)]
struct Current {
    smoothed: Smoothed,
    start: usize,
    seen: usize,
    /// The largest absolute value of these points.
    largest: f64,
}

impl<'f> Smoother<'f> {
    fn new(smoothing: &'f [f64], trend: &'f [f64]) -> Self {
        let is_constant = |factors: &[f64]| factors.iter().all(|factor| *factor == factors[0]);
        let factors = (smoothing.len() > 1 && is_constant(smoothing) && is_constant(trend))
            .then(|| Factors { smoothing: smoothing[0], trend: trend[0] });
        Self {
            smoothing,
            trend,
            invalid: None,
            memory: factors.and_then(Factors::memory),
            largest: 0.0,
            odd: Vec::new(),
            current: None,
        }
    }

    /// The value of a window with more points than it depends on, if that is precise enough.
    fn slide(&mut self, window: Window<'_>, factors: Factors, memory: usize) -> Option<f64> {
        let Window { points, skipped, .. } = window;
        let to = skipped + points.len();
        if self.odd.partition_point(|place| *place < skipped) < self.odd.partition_point(|place| *place < to)
        {
            return None;
        }
        let mut current = match self.current {
            Some(current) if current.start >= skipped => current,
            _ => {
                let start = to - memory;
                let [first, second] = [start, start + 1].map(|place| points[place - skipped].value);
                let smoothed = Smoothed::starting_with(factors, first, second);
                Current { smoothed, start, seen: start + 2, largest: first.abs().max(second.abs()) }
            }
        };
        for point in &points[current.seen - skipped..] {
            current.smoothed.add(point.value);
            current.largest = current.largest.max(point.value.abs());
        }
        current.seen = to;
        self.current = Some(current);
        let level = current.smoothed.level;
        // Where values cancel each other out rounding errors, or what was forgotten, would show.
        let is_certain = level.abs() >= 0.01 * current.largest && level.abs() >= 1e-6 * self.largest;
        is_certain.then_some(level)
    }
}

impl WindowFunction for &mut Smoother<'_> {
    fn series(&mut self, points: &[Point]) {
        self.current = None;
        self.odd.clear();
        if self.memory.is_some() {
            let places = points.iter().enumerate().filter(|(_, point)| !point.value.is_finite());
            self.odd.extend(places.map(|(place, _)| place));
            let sizes = points.iter().map(|point| point.value.abs()).filter(|size| size.is_finite());
            self.largest = sizes.fold(0.0, f64::max);
        }
    }

    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        let (smoothing, trend) = (self.smoothing[window.step], self.trend[window.step]);
        if smoothing <= 0.0 || smoothing >= 1.0 {
            self.invalid = self.invalid.or(Some(("smoothing", "sf", smoothing)));
            return None;
        }
        if trend <= 0.0 || trend >= 1.0 {
            self.invalid = self.invalid.or(Some(("trend", "tf", trend)));
            return None;
        }
        let factors = Factors { smoothing, trend };
        if let Some(memory) = self.memory.filter(|memory| window.points.len() > *memory) {
            if let Some(value) = self.slide(window, factors, memory) {
                return Some(value);
            }
        }
        smoothed(window.points, factors)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::promql::eval::sliding::tests::{check_windows, values};

    proptest! {
        #[test]
        fn sliding_smooths_as_reading_each_window_does(
            values in values(),
            width in 1_usize..300,
            stride in 1_usize..9,
            smoothing in 0.05..0.99,
            trend in 0.05..0.99,
        ) {
            let factors = Factors { smoothing, trend };
            let [smoothing, trend] = [smoothing, trend].map(|factor| vec![factor; values.len()]);
            let mut smoother = Smoother::new(&smoothing, &trend);
            check_windows(&values, width, stride, 1e-12, &mut smoother, |points| smoothed(points, factors))?;
        }
    }

    #[test]
    fn what_is_far_back_is_forgotten() {
        let check = |smoothing, trend, expected| {
            assert_eq!(Factors { smoothing, trend }.memory(), expected, "{smoothing} {trend}");
        };
        check(0.3, 0.3, Some(514));
        check(0.9, 0.9, Some(66));
        check(0.001, 0.001, None);
    }
}
