//! Sums, means and variances of windows.

use crate::model::{KahanSum, Point};
use crate::promql::eval::sliding::{LongSum, Part, Sliding, Total, Values, WORTH_SLIDING};
use crate::promql::eval::window::{Window, WindowFunction};
use crate::promql::numeric::Mean;

/// The mean, while the sum is finite from that.
pub(super) fn mean(points: &[Point]) -> f64 {
    let Some((first, rest)) = points.split_first() else { return f64::NAN };
    let mut mean = Mean::starting_at(first.value);
    for point in rest {
        mean.add(point.value);
    }
    mean.value()
}

/// The sum; an infinite one says nothing about what rounding took from it.
pub(super) fn sum(points: &[Point]) -> f64 {
    let mut sum = KahanSum::default();
    for point in points {
        sum.add(point.value);
    }
    if sum.sum.is_infinite() { sum.sum } else { sum.total() }
}

/// The variance, by Welford's method with compensated sums.
/// Source: Prometheus `promql/functions.go`, `varianceOverTime`.
pub(super) fn variance(points: &[Point]) -> f64 {
    let (mut mean, mut squares) = (KahanSum::default(), KahanSum::default());
    let mut count = 0.0;
    for point in points {
        count += 1.0;
        let delta = point.value - mean.total();
        mean.add(delta / count);
        squares.add(delta * (point.value - mean.total()));
    }
    squares.total() / count
}

/// [`sum`] or [`mean`] of windows that move forwards.
pub(super) struct SlidingSum {
    is_mean: bool,
    values: Values,
    sliding: Sliding<Total>,
}

impl SlidingSum {
    pub(super) fn sum() -> Self {
        Self { is_mean: false, values: Values::NONE, sliding: Sliding::new() }
    }

    pub(super) fn mean() -> Self {
        Self { is_mean: true, ..Self::sum() }
    }

    fn read(&self, points: &[Point]) -> f64 {
        if self.is_mean { mean(points) } else { sum(points) }
    }
}

impl WindowFunction for SlidingSum {
    fn series(&mut self, points: &[Point]) {
        self.values = Values::of(points);
        self.sliding.forget();
    }

    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        let Window { points, skipped, .. } = window;
        if points.len() < WORTH_SLIDING || !self.values.tame {
            return Some(self.read(points));
        }
        let part = |place: usize| Total::of(points[place - skipped].value);
        let total = self.sliding.over(skipped, skipped + points.len(), part);
        let LongSum { sum, lost } = total.sum;
        Some(if !total.size.is_finite() {
            // Infinities of one kind, or NaN.
            sum
        } else if !total.is_certain(self.values) {
            self.read(points)
        } else if self.is_mean {
            let count = points.len() as f64;
            sum / count + lost / count
        } else {
            sum + lost
        })
    }
}

/// The sums of the distances of some values from an origin, and of their squares.
#[derive(Debug, Clone, Copy)]
struct Moments {
    distances: LongSum,
    squares: LongSum,
}

impl Part for Moments {
    const NONE: Self = Self { distances: LongSum::ZERO, squares: LongSum::ZERO };

    fn and(self, later: Self) -> Self {
        Self { distances: self.distances.plus(later.distances), squares: self.squares.plus(later.squares) }
    }
}

impl Moments {
    fn of(distance: f64) -> Self {
        Self { distances: LongSum::of(distance), squares: LongSum::of(distance * distance) }
    }

    fn variance(self, count: f64) -> f64 {
        let distances = self.distances.total();
        (self.squares.total() - distances * (distances / count)) / count
    }
}

/// [`variance`] of windows that move forwards, or its root.
pub(super) struct SlidingVariance {
    is_deviation: bool,
    values: Values,
    sliding: Sliding<Moments>,
    /// What distances are measured from.
    origin: f64,
}

impl SlidingVariance {
    pub(super) fn variance() -> Self {
        Self { is_deviation: false, values: Values::NONE, sliding: Sliding::new(), origin: 0.0 }
    }

    pub(super) fn deviation() -> Self {
        Self { is_deviation: true, ..Self::variance() }
    }

    /// Whether the origin lies among the values, so that few digits cancel out.
    fn is_near(moments: Moments, count: f64) -> bool {
        let shift = moments.distances.total() / count;
        let is_far = shift * shift > 100.0 * moments.variance(count);
        // Of NaN nothing is near, nor far.
        !is_far
    }

    /// The variance of a window, if what is known about it is precise enough.
    fn of(&self, moments: Moments, count: f64) -> Option<f64> {
        let (distances, squares) = (moments.distances.total(), moments.squares.total());
        if !squares.is_finite() {
            return Some(f64::NAN);
        }
        if squares == 0.0 && distances == 0.0 {
            return Some(0.0);
        }
        let variance = moments.variance(count);
        let mean = self.origin + distances / count;
        // Prometheus computes with a rounded mean, which shows where the values differ little.
        let is_certain = mean * mean <= 1e5 * count * variance;
        // Tiny squares have fewer digits.
        (is_certain && variance > 1e-280 && Self::is_near(moments, count)).then_some(variance)
    }
}

impl WindowFunction for SlidingVariance {
    fn series(&mut self, points: &[Point]) {
        self.values = Values::of(points);
        self.sliding.forget();
    }

    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        let Window { points, skipped, .. } = window;
        let (from, to) = (skipped, skipped + points.len());
        let finish = |variance: f64| Some(if self.is_deviation { variance.sqrt() } else { variance });
        if points.len() < WORTH_SLIDING || !self.values.tame {
            return finish(variance(points));
        }
        let count = points.len() as f64;
        let part = |origin: f64| move |place: usize| Moments::of(points[place - skipped].value - origin);
        let begins = self.sliding.begins_at(from);
        if begins {
            self.origin = typical(points);
        }
        let mut moments = self.sliding.over(from, to, part(self.origin));
        if !begins && !Self::is_near(moments, count) {
            self.origin = typical(points);
            moments = self.sliding.anew(from, to, part(self.origin));
        }
        finish(self.of(moments, count).unwrap_or_else(|| variance(points)))
    }
}

/// The middle one of three of the values: if all are the same it is that.
fn typical(points: &[Point]) -> f64 {
    let mut three = [0, points.len() / 2, points.len() - 1].map(|place| points[place].value);
    three.sort_by(f64::total_cmp);
    if three[1].is_finite() { three[1] } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::promql::eval::sliding::tests::{check_windows, values};

    proptest! {
        #[test]
        fn sliding_sums_are_those_of_each_window(values in values(), width in 1_usize..80, stride in 1_usize..9) {
            check_windows(&values, width, stride, 1e-12, SlidingSum::sum(), |points| Some(sum(points)))?;
            check_windows(&values, width, stride, 1e-12, SlidingSum::mean(), |points| Some(mean(points)))?;
        }

        #[test]
        fn sliding_variances_are_those_of_each_window(values in values(), width in 1_usize..80, stride in 1_usize..9) {
            let plain = |points: &[Point]| Some(variance(points));
            check_windows(&values, width, stride, 1e-12, SlidingVariance::variance(), plain)?;
            let plain = |points: &[Point]| Some(variance(points).sqrt());
            check_windows(&values, width, stride, 1e-12, SlidingVariance::deviation(), plain)?;
        }
    }

    #[test]
    fn values_that_do_not_vary_have_no_variance() {
        let points: Vec<Point> = (0..200)
            .map(|at| Point { at, value: if at < 100 { 1e9 + at as f64 / 3.0 } else { 0.1 } })
            .collect();
        let mut sliding = SlidingVariance::variance();
        sliding.series(&points);
        for (step, from) in (0..=150).enumerate() {
            let window =
                Window { points: &points[from..from + 50], skipped: from, start: 0, end: 0, at: 0, step };
            let found = sliding.window(window).expect("windows have points");
            assert_eq!(found == 0.0, from >= 100, "{from}: {found}");
        }
    }
}
