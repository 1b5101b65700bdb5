//! Values as pages have them.

use crate::model::parse_float;

/// Reads a value. Like Prometheus this refuses the hexadecimal floats and underscores that Go reads
/// elsewhere.
pub(super) fn parse_value(text: &str) -> Option<f64> {
    // Most values are small integers: up to 15 digits a float holds them exactly.
    if text.len() <= 15 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let whole = text.bytes().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        return Some(whole as f64);
    }
    if text.contains(['p', 'P']) { None } else { parse_float(text) }
}

/// Writes the shortest digits that read back as the same value, with an exponent where it is below -4
/// or above 20. Source: Go's `strconv.FormatFloat(v, 'g', -1, 64)`, with which Prometheus' clients
/// write pages, has an exponent from 6 on; whole numbers are easier to read without.
pub(super) fn format_value(value: f64) -> String {
    format_with_exponent(value, 21)
}

/// The form in which OpenMetrics wants `le` and `quantile`, so that the same bound is the same label
/// value whoever wrote it: a point or an exponent always. Source: Prometheus `model/labels/float.go`,
/// `FormatOpenMetricsFloat`.
pub(super) fn format_bound(value: f64) -> String {
    let mut text = format_with_exponent(value, 6);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

fn format_with_exponent(value: f64, limit: i32) -> String {
    if !value.is_finite() || value == 0.0 {
        return crate::model::format_float(value);
    }
    // Most values are small whole numbers, of which no exponent has to be found.
    if value.fract() == 0.0 && value.abs() < 1e6 {
        return format!("{}", value as i64);
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes a whole exponent");
    if (-4..limit).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decimal_floats() {
        let check = |text, expected: Option<f64>| assert_eq!(parse_value(text), expected, "{text}");
        check("0", Some(0.0));
        check("999999999999999", Some(999_999_999_999_999.0));
        check("12345678901234567890", Some(12_345_678_901_234_567_890.0));
        check("1.5e3", Some(1500.0));
        check("-Inf", Some(f64::NEG_INFINITY));
        check("", None);
        check("0x1p-3", None);
        check("1_2", None);
        check("true", None);
    }

    #[test]
    fn bounds_have_one_spelling() {
        let check = |value, expected: &str| assert_eq!(format_bound(value), expected);
        check(1.0, "1.0");
        check(-1.0, "-1.0");
        check(0.0, "0.0");
        check(10.0, "10.0");
        check(0.25, "0.25");
        check(0.0001, "0.0001");
        check(0.000_01, "1e-05");
        check(100_000.0, "100000.0");
        check(1_000_000.0, "1e+06");
        check(8.589_934_59e9, "8.58993459e+09");
        check(f64::INFINITY, "+Inf");
    }

    #[test]
    fn values_read_back_as_written() {
        for value in [1.0, 4.9351e-05, 1.0e300, -2.5, 1_520_879_607.789, f64::MAX, 5e-324] {
            assert_eq!(parse_value(&format_value(value)), Some(value));
        }
        assert_eq!(format_value(1_000_000.0), "1000000");
        assert_eq!(format_value(1e-7), "1e-07");
    }
}
