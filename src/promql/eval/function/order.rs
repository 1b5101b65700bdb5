//! Quantiles and median deviations of windows.

use crate::model::{Point, Span};
use crate::promql::eval::Evaluator;
use crate::promql::eval::matrix::StepMatrix;
use crate::promql::eval::window::{Window, WindowFunction};
use crate::promql::numeric::{interpolated, quantile};
use crate::promql::plan::Range;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

impl Evaluator<'_> {
    pub(super) fn quantile_over_time(
        &mut self,
        range: &Range<'_>,
        quantiles: &[f64],
        span: Span,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let invalid = vec![false; steps.count];
        let mut function = Quantile { quantiles, invalid, order: Order::over(range, steps) };
        let matrix = self.over_windows(range, steps, &mut function)?;
        for (q, _) in quantiles.iter().zip(function.invalid).filter(|(_, invalid)| *invalid) {
            self.annotations.invalid_quantile(*q, span);
        }
        Ok(matrix)
    }

    /// `mad_over_time`: the median of the absolute deviations from the median.
    pub(super) fn deviation_over_time(
        &mut self,
        range: &Range<'_>,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        self.over_windows(range, steps, MedianDeviation { order: Order::over(range, steps) })
    }
}

struct Quantile<'q> {
    /// For each step.
    quantiles: &'q [f64],
    /// Which steps asked for a quantile that is none.
    invalid: Vec<bool>,
    order: Order,
}

impl WindowFunction for &mut Quantile<'_> {
    fn series(&mut self, points: &[Point]) {
        self.order.series(points);
    }

    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        let q = self.quantiles[window.step];
        self.invalid[window.step] = !(0.0..=1.0).contains(&q);
        Some(match &mut self.order {
            Order::OfEach(scratch) => {
                scratch.clear();
                scratch.extend(window.values());
                quantile(q, scratch)
            }
            Order::Kept(ranked) => {
                ranked.move_to(window);
                ranked.quantile(q)
            }
        })
    }
}

struct MedianDeviation {
    order: Order,
}

impl WindowFunction for MedianDeviation {
    fn series(&mut self, points: &[Point]) {
        self.order.series(points);
    }

    fn window(&mut self, window: Window<'_>) -> Option<f64> {
        Some(match &mut self.order {
            Order::OfEach(scratch) => {
                scratch.clear();
                scratch.extend(window.values());
                deviation(scratch)
            }
            Order::Kept(ranked) => {
                ranked.move_to(window);
                ranked.deviation()
            }
        })
    }
}

/// The median of the absolute deviations from the median; NaN if any value is. Changes the values.
/// Source: Prometheus `promql/functions.go`, `funcMadOverTime`.
fn deviation(values: &mut [f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let median = quantile(0.5, values);
    for value in values.iter_mut() {
        *value = (*value - median).abs();
    }
    quantile(0.5, values)
}

/// How the values of windows are put in order.
enum Order {
    /// Those of each window by themselves.
    OfEach(Vec<f64>),
    /// Those of the whole series once.
    Kept(Ranked),
}

impl Order {
    /// Windows that share most of their points are ordered together.
    fn over(range: &Range<'_>, steps: Steps) -> Self {
        let overlaps = range.length_ms / steps.step_ms >= 4;
        if overlaps && !steps.is_single() { Self::Kept(Ranked::default()) } else { Self::OfEach(Vec::new()) }
    }

    fn series(&mut self, points: &[Point]) {
        if let Self::Kept(ranked) = self {
            ranked.series(points);
        }
    }
}

/// The values of a window by rank, while it moves over a series.
///
/// Each value of the series has a rank, and a bit that says whether it is within the window.
#[derive(Debug, Default)]
struct Ranked {
    /// All values of the series, in order.
    values: Vec<f64>,
    /// The rank of the value of each point.
    ranks: Vec<u32>,
    /// A bit for each rank.
    present: Vec<u64>,
    /// How many bits are set within each [`BLOCK`] words.
    counts: Vec<u32>,
    /// The window.
    from: usize,
    to: usize,
    /// How many values of the series are NaN: theirs are the lowest ranks.
    nans: usize,
    keyed: Vec<(u64, u32)>,
}

/// How many words are counted together.
const BLOCK: usize = 8;

impl Ranked {
    fn series(&mut self, points: &[Point]) {
        self.keyed.clear();
        self.keyed.extend(points.iter().enumerate().map(|(place, point)| (key(point.value), place as u32)));
        self.keyed.sort_unstable();
        self.values.clear();
        self.ranks.clear();
        self.ranks.resize(points.len(), 0);
        for (rank, (_, place)) in self.keyed.iter().enumerate() {
            self.values.push(points[*place as usize].value);
            self.ranks[*place as usize] = rank as u32;
        }
        self.nans = self.values.partition_point(|value| value.is_nan());
        let words = points.len().div_ceil(64).next_multiple_of(BLOCK);
        self.present.clear();
        self.present.resize(words, 0);
        self.counts.clear();
        self.counts.resize(words / BLOCK, 0);
        (self.from, self.to) = (0, 0);
    }

    /// Takes in what has come into the window, and what has left it out.
    fn move_to(&mut self, window: Window<'_>) {
        let (from, to) = (window.skipped, window.skipped + window.points.len());
        // What came and left between two windows was never in.
        for place in self.from..from.min(self.to) {
            let (word, bit) = self.bit(place);
            self.present[word] &= !bit;
            self.counts[word / BLOCK] -= 1;
        }
        for place in self.to.max(from)..to {
            let (word, bit) = self.bit(place);
            self.present[word] |= bit;
            self.counts[word / BLOCK] += 1;
        }
        (self.from, self.to) = (from, to);
    }

    /// The word and the bit of a point.
    fn bit(&self, place: usize) -> (usize, u64) {
        let rank = self.ranks[place] as usize;
        (rank / 64, 1 << (rank % 64))
    }

    /// How many values the window has.
    fn len(&self) -> usize {
        self.to - self.from
    }

    /// The value of the window that has so many below it.
    fn value(&self, index: usize) -> f64 {
        let mut left = index as u32;
        let mut block = 0;
        while self.counts[block] <= left {
            left -= self.counts[block];
            block += 1;
        }
        let mut word = block * BLOCK;
        while self.present[word].count_ones() <= left {
            left -= self.present[word].count_ones();
            word += 1;
        }
        self.values[word * 64 + nth_one(self.present[word], left)]
    }

    /// The same as [`quantile`] of the window's values.
    fn quantile(&self, q: f64) -> f64 {
        let last = self.len() - 1;
        interpolated(q, last, |index| self.value(index))
    }

    /// The same as [`deviation`] of the window's values.
    fn deviation(&self) -> f64 {
        if self.value(0).is_nan() {
            return f64::NAN;
        }
        let last = self.len() - 1;
        let below = last / 2 + 1;
        let median = interpolated(0.5, last, |index| self.value(index));
        let is_middle = self.value(below - 1) <= median && median <= self.value(below.min(last));
        let is_finite = (self.value(last) - self.value(0)).is_finite();
        if !is_middle || !is_finite {
            let mut values: Vec<f64> = (0..=last).map(|index| self.value(index)).collect();
            return deviation(&mut values);
        }
        // Deviations grow from the middle on, upwards and downwards.
        let down = |index: usize| (self.value(below - 1 - index) - median).abs();
        let up = |index: usize| (self.value(below + index) - median).abs();
        interpolated(0.5, last, |index| of_both(index, below, down, last + 1 - below, up))
    }
}

/// What has `index` others below it, of two ascending sequences together.
fn of_both(
    index: usize,
    left_count: usize,
    left: impl Fn(usize) -> f64,
    right_count: usize,
    right: impl Fn(usize) -> f64,
) -> f64 {
    // How many of the lowest `index + 1` belong to the left sequence.
    let count = index + 1;
    let (mut fewest, mut most) = (count.saturating_sub(right_count), left_count.min(count));
    while fewest < most {
        let taken = usize::midpoint(fewest, most);
        if left(taken) < right(count - taken - 1) {
            fewest = taken + 1;
        } else {
            most = taken;
        }
    }
    let from_left = fewest.checked_sub(1).map(left);
    let from_right = (count - fewest).checked_sub(1).map(right);
    match (from_left, from_right) {
        (Some(left), Some(right)) => left.max(right),
        (left, right) => left.or(right).unwrap_or(f64::NAN),
    }
}

/// The place of the one that has so many ones below it.
fn nth_one(mut word: u64, index: u32) -> usize {
    for _ in 0..index {
        word &= word - 1;
    }
    word.trailing_zeros() as usize
}

/// A number by which values are ordered as quantiles see them: NaN before everything.
fn key(value: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    if value.is_nan() {
        return 0;
    }
    let bits = value.to_bits();
    // Larger magnitudes of negative numbers come first.
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::promql::eval::sliding::tests::{check_windows, values};

    proptest! {
        #[test]
        fn kept_order_yields_what_ordering_each_window_yields(
            values in values(),
            width in 1_usize..80,
            stride in 1_usize..9,
            q in prop_oneof![0.0..1.0, -0.5..1.5, Just(f64::NAN)],
        ) {
            let quantiles = vec![q; values.len()];
            let order = Order::Kept(Ranked::default());
            let invalid = vec![false; values.len()];
            let mut function = Quantile { quantiles: &quantiles, invalid, order };
            let plain = |points: &[Point]| {
                Some(quantile(q, &mut points.iter().map(|point| point.value).collect::<Vec<_>>()))
            };
            check_windows(&values, width, stride, 0.0, &mut function, plain)?;
        }

        #[test]
        fn kept_order_yields_the_deviation_of_each_window(
            values in values(),
            width in 1_usize..80,
            stride in 1_usize..99,
        ) {
            let function = MedianDeviation { order: Order::Kept(Ranked::default()) };
            let plain = |points: &[Point]| {
                Some(deviation(&mut points.iter().map(|point| point.value).collect::<Vec<_>>()))
            };
            check_windows(&values, width, stride, 0.0, function, plain)?;
        }
    }

    #[test]
    fn values_are_found_in_long_windows() {
        let points: Vec<Point> =
            (0..3_000).map(|at| Point { at, value: ((at * 7_919) % 3_001) as f64 }).collect();
        let mut ranked = Ranked::default();
        ranked.series(&points);
        for from in [0, 1, 500, 1_999] {
            let window = Window {
                points: &points[from..from + 1_000],
                skipped: from,
                start: 0,
                end: 0,
                at: 0,
                step: 0,
            };
            ranked.move_to(window);
            let mut expected: Vec<f64> = window.values().collect();
            expected.sort_by(f64::total_cmp);
            let found: Vec<f64> = (0..1_000).map(|index| ranked.value(index)).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_middle_of_the_smallest_numbers_is_not_between_them() {
        let values = [5e-324, 5e-324, 0.0, 5e-324];
        let points = values.map(|value| Point { at: 0, value });
        let mut ranked = Ranked::default();
        ranked.series(&points);
        ranked.move_to(Window { points: &points, skipped: 0, start: 0, end: 0, at: 0, step: 0 });
        assert_eq!(ranked.deviation(), deviation(&mut values.to_vec()));
    }
}
