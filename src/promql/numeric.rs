//! Arithmetic as Go and Prometheus do it where it differs from Rust's.

use std::cmp::Ordering;

pub(super) use crate::model::KahanSum;

/// The arithmetic mean. It sums up while the sum is finite and computes incrementally from where it is
/// not, since that cannot overflow. Source: Prometheus `promql/functions.go`, `funcAvgOverTime`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mean {
    count: f64,
    state: KahanSum,
    incremental: bool,
}

impl Mean {
    pub(super) fn starting_at(value: f64) -> Self {
        Self { count: 1.0, state: KahanSum::starting_at(value), incremental: false }
    }

    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let sum = self.state.plus(value);
            if !sum.sum.is_infinite() {
                self.state = sum;
                return;
            }
            self.incremental = true;
            self.state.sum /= self.count - 1.0;
            self.state.compensation /= self.count - 1.0;
        }
        let share = (self.count - 1.0) / self.count;
        let scaled = KahanSum { sum: share * self.state.sum, compensation: share * self.state.compensation };
        self.state = scaled.plus(value / self.count);
    }

    pub(super) fn value(self) -> f64 {
        if self.incremental {
            self.state.total()
        } else {
            self.state.sum / self.count + self.state.compensation / self.count
        }
    }
}

/// Go's `math.Min`: a negative infinity if either is, else NaN if either is.
pub(super) fn go_min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if a == 0.0 && a == b { if a.is_sign_negative() { a } else { b } } else { a.min(b) }
}

/// Go's `math.Max`: an infinity if either is, else NaN if either is.
pub(super) fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        return f64::INFINITY;
    }
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if a == 0.0 && a == b { if a.is_sign_negative() { b } else { a } } else { a.max(b) }
}

/// The order in which quantiles see values: NaN before everything.
pub(super) fn nan_first(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// The quantile `q` of `values`, interpolated linearly; changes their order.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    interpolated(q, last, |index| *values.select_nth_unstable_by(index, |a, b| nan_first(*a, *b)).1)
}

/// The quantile `q` of values that are found by their place in order; `last` is the last place.
/// Source: Prometheus `promql/quantile.go`, `quantile`.
pub(super) fn interpolated(q: f64, last: usize, mut value: impl FnMut(usize) -> f64) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * last as f64;
    let lower = rank.floor().max(0.0) as usize;
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    value(lower) * (1.0 - weight) + value(upper) * weight
}

/// Go's `%g`: the shortest digits that read back to the same value, or `precision` significant ones;
/// with an exponent where it is small or large.
pub(super) fn format_g(value: f64, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = match precision {
        Some(digits) => format!("{value:.*e}", digits.saturating_sub(1)),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes a decimal exponent");
    let mantissa =
        if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    // Source: Go's strconv, `%e is used if the exponent is less than -4 or not below the precision`.
    let threshold = match precision {
        Some(precision) if precision > digits && digits as i32 > exponent => digits as i32,
        Some(precision) => precision as i32,
        None => 6,
    };
    if exponent < -4 || exponent >= threshold {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_survives_the_overflow_of_its_sum() {
        let mut mean = Mean::starting_at(f64::MAX);
        mean.add(f64::MAX);
        assert_eq!(mean.value(), f64::MAX);
    }

    #[test]
    fn quantiles_interpolate() {
        let check = |q: f64, values: &[f64], expected: f64| {
            assert_eq!(quantile(q, &mut values.to_vec()).to_bits(), expected.to_bits(), "{q} of {values:?}");
        };
        check(0.5, &[3.0, 1.0, 2.0], 2.0);
        check(0.25, &[0.0, 1.0], 0.25);
        check(-1.0, &[1.0], f64::NEG_INFINITY);
        check(2.0, &[1.0], f64::INFINITY);
        check(1.0, &[f64::NAN, 4.0], 4.0);
    }

    #[test]
    fn general_notation_is_that_of_go() {
        let check = |value: f64, precision, expected: &str| assert_eq!(format_g(value, precision), expected);
        check(1.1, None, "1.1");
        check(-1.1, None, "-1.1");
        check(0.0, None, "0");
        check(100.0, None, "100");
        check(1e21, None, "1e+21");
        check(123_456.0, None, "123456");
        check(1_234_567.0, None, "1.234567e+06");
        check(0.000_012, None, "1.2e-05");
        check(123.456, Some(2), "1.2e+02");
        check(0.5, Some(2), "0.5");
        check(2.0, Some(2), "2");
        check(f64::INFINITY, None, "+Inf");
    }
}
