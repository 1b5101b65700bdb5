//! Results of windows that move forwards, without reading each of them again.
//!
//! Taking away what leaves a window would leave rounding errors behind, and nothing takes away a NaN. So
//! nothing is ever taken away: a window is cut in two, and what is known about each part is only added to.

use crate::model::Point;

/// How many points a window must have for partial results to pay. Shorter ones are read, which yields
/// exactly the digits that Prometheus yields.
pub(super) const WORTH_SLIDING: usize = 12;

/// What is known about neighbouring points, and can be put together with what is known about later ones.
pub(super) trait Part: Copy {
    /// What is known about no points.
    const NONE: Self;

    /// What is known about these points and the later ones together.
    fn and(self, later: Self) -> Self;
}

/// What is known about the points of windows that move forwards. Each point is looked at twice at most.
#[derive(Debug)]
pub(super) struct Sliding<P> {
    /// What is known about the points from each place to the boundary, the last place first.
    heads: Vec<P>,
    boundary: usize,
    /// What is known about the points from the boundary to `seen`.
    tail: P,
    seen: usize,
}

impl<P: Part> Sliding<P> {
    pub(super) fn new() -> Self {
        Self { heads: Vec::new(), boundary: 0, tail: P::NONE, seen: 0 }
    }

    /// Forgets the series: the next window is one of another.
    pub(super) fn forget(&mut self) {
        self.boundary = 0;
    }

    /// Whether a window from there on makes no use of what is known.
    pub(super) fn begins_at(&self, from: usize) -> bool {
        from >= self.boundary
    }

    /// What is known about the points `from..to`; neither end lies before that of the last window.
    pub(super) fn over(&mut self, from: usize, to: usize, part: impl Fn(usize) -> P) -> P {
        if self.begins_at(from) {
            return self.anew(from, to, part);
        }
        let unseen = self.seen..to;
        self.tail = unseen.fold(self.tail, |tail, place| tail.and(part(place)));
        self.seen = to;
        self.heads[self.boundary - 1 - from].and(self.tail)
    }

    /// [`over`](Self::over) without making use of what is known: for parts whose meaning has changed.
    pub(super) fn anew(&mut self, from: usize, to: usize, part: impl Fn(usize) -> P) -> P {
        (self.boundary, self.seen) = (to, to);
        self.tail = P::NONE;
        self.heads.clear();
        let mut head = P::NONE;
        self.heads.extend((from..to).rev().map(|place| {
            head = part(place).and(head);
            head
        }));
        head
    }
}

/// A sum and what rounding took from it. Of terms that are added one by one it is what
/// [`KahanSum`](crate::model::KahanSum) yields, unless they overflow; but sums can be added as well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LongSum {
    pub(super) sum: f64,
    pub(super) lost: f64,
}

impl LongSum {
    pub(super) const ZERO: Self = Self { sum: 0.0, lost: 0.0 };

    pub(super) fn of(value: f64) -> Self {
        Self { sum: value, lost: 0.0 }
    }

    /// Source: Donald E. Knuth, The Art of Computer Programming, volume 2, 4.2.2, theorem B.
    pub(super) fn plus(self, other: Self) -> Self {
        let sum = self.sum + other.sum;
        let added = sum - self.sum;
        let lost = (self.sum - (sum - added)) + (other.sum - added);
        Self { sum, lost: self.lost + other.lost + lost }
    }

    pub(super) fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// The sum of some values, and how large they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Total {
    pub(super) sum: LongSum,
    /// The sum of the absolute values: not finite if any value is not.
    pub(super) size: f64,
}

impl Total {
    pub(super) fn of(value: f64) -> Self {
        Self { sum: LongSum::of(value), size: value.abs() }
    }

    /// Whether every order of adding up yields the same, for all that is asked for.
    ///
    /// The error that rounding leaves in [`LongSum`] and in Prometheus' sums alike is some 1e-28 of the
    /// values' size. Where they cancel each other out to less than that allows, order is all that counts.
    pub(super) fn is_certain(self, values: Values) -> bool {
        const WHOLE: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;
        (values.whole && self.size <= WHOLE) || self.sum.total().abs() * 1e12 >= self.size
    }
}

impl Part for Total {
    const NONE: Self = Self { sum: LongSum::ZERO, size: 0.0 };

    fn and(self, later: Self) -> Self {
        Self { sum: self.sum.plus(later.sum), size: self.size + later.size }
    }
}

/// What the values of a series have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Values {
    /// None of them is finite but so large that calculations with them could overflow.
    pub(super) tame: bool,
    /// All of them are whole numbers.
    pub(super) whole: bool,
}

impl Values {
    pub(super) const NONE: Self = Self { tame: true, whole: true };

    pub(super) fn of(points: &[Point]) -> Self {
        let is_tame = |value: f64| !(value.abs() > 1e140 && value.is_finite());
        // Numbers beyond the range of integers are not taken for whole, nor is infinity.
        let is_whole = |value: f64| (value as i64) as f64 == value;
        Self {
            tame: points.iter().all(|point| is_tame(point.value)),
            whole: points.iter().all(|point| is_whole(point.value)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    use super::*;
    use crate::model::KahanSum;
    use crate::promql::eval::window::{Window, WindowFunction};

    /// Values of a series, as unpleasant as they can be: constant and not, with resets, numbers of very
    /// different size, numbers that cancel each other out, and what is not finite.
    pub(in crate::promql::eval) fn values() -> impl Strategy<Value = Vec<f64>> {
        let piece = prop_oneof![
            4 => prop::collection::vec(-10.0..10.0, 1..60),
            2 => prop::collection::vec((-3_i8..4).prop_map(f64::from), 1..60),
            2 => (0.0..1e6, 1..60_usize).prop_map(|(value, count)| vec![value; count]),
            2 => (0.0..1e3, 0.0..9.0, 1..60_usize)
                .prop_map(|(start, slope, count)| (0..count).map(|at| start + slope * at as f64).collect()),
            1 => prop::collection::vec(prop_oneof![-1e16..1e16, -1.0..1.0], 1..60),
            1 => (1e8..1e12, prop::collection::vec(-1.0..1.0, 1..60))
                .prop_map(|(base, noise)| noise.iter().map(|value| base + value).collect()),
            1 => (-1e100..1e100).prop_map(|huge| vec![huge, 1.0, -huge, 0.1]),
            1 => prop_oneof![
                Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(f64::MAX), Just(-f64::MAX),
                Just(0.0), Just(-0.0), Just(1e-310),
            ].prop_map(|value| vec![value]),
        ];
        prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
    }

    /// Compares what a function yields for windows that move over a series with what `plain` yields for
    /// each of them: they differ by `tolerance` times their size at most.
    pub(in crate::promql::eval) fn check_windows(
        values: &[f64],
        width: usize,
        stride: usize,
        tolerance: f64,
        mut function: impl WindowFunction,
        plain: impl Fn(&[Point]) -> Option<f64>,
    ) -> Result<(), TestCaseError> {
        let points: Vec<Point> = values
            .iter()
            .enumerate()
            .map(|(place, value)| Point { at: place as i64 * 15_000 + place as i64 % 7, value: *value })
            .collect();
        // What a series leaves behind must not show in the next one.
        for points in [&points[points.len() / 2..], &points] {
            function.series(points);
            for (step, to) in (1..=points.len()).step_by(stride).enumerate() {
                let from = to.saturating_sub(width);
                let (start, end) = (points[from].at - 1, points[to - 1].at);
                let window = Window { points: &points[from..to], skipped: from, start, end, at: end, step };
                let (found, expected) = (function.window(window), plain(window.points));
                prop_assert_eq!(found.is_some(), expected.is_some());
                let (found, expected) = (found.unwrap_or_default(), expected.unwrap_or_default());
                let same = found == expected
                    || (found.is_nan() && expected.is_nan())
                    || (found - expected).abs() <= tolerance * expected.abs();
                prop_assert!(same, "{found} instead of {expected} of {:?}", window.points);
            }
        }
        Ok(())
    }

    /// The places themselves, in order.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Places(Option<(usize, usize)>);

    impl Part for Places {
        const NONE: Self = Self(None);

        fn and(self, later: Self) -> Self {
            Self(match (self.0, later.0) {
                (Some((from, middle)), Some((start, to))) if middle == start => Some((from, to)),
                (Some(_), Some(_)) => panic!("{self:?} and {later:?} are no neighbours"),
                (some, none) => some.or(none),
            })
        }
    }

    proptest! {
        #[test]
        fn every_window_consists_of_its_points(moves in prop::collection::vec((0_usize..9, 0_usize..9), 1..60)) {
            let mut sliding = Sliding::new();
            let (mut from, mut to) = (0, 1);
            for (leave, enter) in moves {
                from += leave;
                to = (to + enter).max(from + 1);
                let part = |place| Places(Some((place, place + 1)));
                prop_assert_eq!(sliding.over(from, to, part), Places(Some((from, to))));
            }
        }

        #[test]
        fn terms_that_are_added_one_by_one_yield_a_kahan_sum(
            values in prop::collection::vec(prop_oneof![-1e3..1e3, -1e100..1e100, -1e-9..1e-9], 0..40),
        ) {
            let long = values.iter().fold(LongSum::ZERO, |sum, value| sum.plus(LongSum::of(*value)));
            let mut kahan = KahanSum::default();
            for value in values {
                kahan.add(value);
            }
            prop_assert_eq!((long.sum, long.lost), (kahan.sum, kahan.compensation));
        }
    }

    #[test]
    fn another_series_begins_anew() {
        let mut sliding = Sliding::new();
        let part = |place| Places(Some((place, place + 1)));
        sliding.over(3, 9, part);
        sliding.forget();
        assert_eq!(sliding.over(0, 2, part), Places(Some((0, 2))));
    }

    #[test]
    fn values_are_whole_or_tame() {
        let check = |value: f64, whole, tame| {
            assert_eq!(Values::of(&[Point { at: 0, value }]), Values { tame, whole }, "{value}");
        };
        check(-3.0, true, true);
        check(0.5, false, true);
        check(f64::INFINITY, false, true);
        check(f64::NAN, false, true);
        check(1e300, false, false);
        assert_eq!(Values::of(&[]), Values::NONE);
    }
}
