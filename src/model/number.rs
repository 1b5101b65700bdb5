//! Numbers as Prometheus writes and reads them.

use std::fmt::Write as _;

/// Writes a value as Prometheus' API and text format do: the shortest digits that read back to the
/// same value, without exponent; `NaN`, `+Inf`, `-Inf`.
/// Source: Go's `strconv.FormatFloat(v, 'f', -1, 64)`.
pub fn format_float(value: f64) -> String {
    let mut text = String::new();
    push_float(&mut text, value);
    text
}

/// Up to here every whole number is a float, and has no more digits than it needs.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Appends what [`format_float`] writes. Answers hold millions of numbers: what is neither very large nor
/// very small is written without a detour.
pub fn push_float(text: &mut String, value: f64) {
    let size = value.abs();
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if size < MAX_WHOLE && value.trunc() == value && size != 0.0 {
        text.push_str(itoa::Buffer::new().format(value as i64));
    } else if (1e-4..MAX_WHOLE).contains(&size) {
        // Within these bounds it is digits and a point.
        text.push_str(zmij::Buffer::new().format_finite(value));
    } else {
        write!(text, "{value}").expect("writing to a String cannot fail");
    }
}

/// Writes a value as Go's `%v` does: as [`format_float`], but with an exponent of at least two digits
/// where that is below -4 or from 6 on. Source: Go `strconv/ftoa.go`, the shortest form of `%g`.
pub fn format_float_general(value: f64) -> String {
    let scientific = format!("{value:e}");
    let exponent = scientific.split_once('e').and_then(|(digits, exponent)| {
        let exponent: i32 = exponent.parse().ok()?;
        Some((digits, exponent))
    });
    match exponent {
        Some((digits, exponent)) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format_float(value),
    }
}

/// Reads a value as the exposition format and Go's `strconv.ParseFloat` do: decimal with optional
/// exponent, `Inf`, `Infinity` and `NaN` in any case with an optional sign, hexadecimal floats.
/// A number too large for a float is `None`, as in Go. `NaN` gets the bits of Prometheus' own NaN.
pub fn parse_float(text: &str) -> Option<f64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let signed = |value: f64| if negative { -value } else { value };
    match digits.as_bytes().first()? {
        b'0'..=b'9' | b'.' => {
            if digits.len() > 2 && digits.as_bytes()[1] | 0x20 == b'x' {
                return parse_hex(&digits[2..]).map(signed);
            }
            let value: f64 = digits.parse().ok()?;
            value.is_finite().then(|| signed(value))
        }
        b'i' | b'I' if digits.eq_ignore_ascii_case("inf") || digits.eq_ignore_ascii_case("infinity") => {
            Some(signed(f64::INFINITY))
        }
        b'n' | b'N' if digits.len() == text.len() && digits.eq_ignore_ascii_case("nan") => {
            Some(super::normal_nan())
        }
        _ => None,
    }
}

/// `1.8p3` after `0x`: Go wants the exponent, and rounds as any float is rounded.
fn parse_hex(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0_f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value.mul_add(16.0, f64::from(digit.to_digit(16)?));
    }
    let shift = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    let value = value * 2.0_f64.powi(exponent.checked_sub(shift)?);
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // The standard library's digits are as many, but of two that are equally near it takes the larger
        // one, and Go the even one.
        #[test]
        fn written_numbers_read_back_and_are_as_short_as_they_can_be(
            bits: u64,
            whole: i64,
            shift in 0..60_u32,
            units in 0..9_i32,
        ) {
            let whole = (whole >> shift) as f64;
            for value in [f64::from_bits(bits), whole, whole / 10_f64.powi(units)] {
                prop_assume!(value.is_finite());
                let text = format_float(value);
                prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
                prop_assert_eq!(text.len(), value.to_string().len(), "{}", text);
                prop_assert!(!text.contains('e'));
            }
        }
    }

    #[test]
    fn values_are_written_as_go_writes_them() {
        let check = |value: f64, expected: &str| assert_eq!(format_float(value), expected);
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.5, "1.5");
        check(-1_072_858_798_680_157.25, "-1072858798680157.2");
        check(1e21, "1000000000000000000000");
        check(1e-7, "0.0000001");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
        check(crate::model::stale_nan(), "NaN");
    }

    #[test]
    fn general_form_has_exponents_where_go_has_them() {
        let check = |value: f64, expected: &str| assert_eq!(format_float_general(value), expected);
        check(0.0, "0");
        check(-0.0, "-0");
        check(100_000.0, "100000");
        check(1_234_567.0, "1.234567e+06");
        check(1e21, "1e+21");
        check(-1.5e300, "-1.5e+300");
        check(0.0001, "0.0001");
        check(0.000_012_5, "1.25e-05");
        check(f64::INFINITY, "+Inf");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn values_are_read_as_go_reads_them() {
        let check = |text: &str, expected: Option<f64>| {
            assert_eq!(parse_float(text).map(f64::to_bits), expected.map(f64::to_bits), "{text}");
        };
        check("1", Some(1.0));
        check("-.5e3", Some(-500.0));
        check("5.", Some(5.0));
        check("+Inf", Some(f64::INFINITY));
        check("-infinity", Some(f64::NEG_INFINITY));
        check("nan", Some(crate::model::normal_nan()));
        check("0x1.8p1", Some(3.0));
        check("-nan", None);
        check("1e999", None);
        check("", None);
        check("-", None);
        check("1_000", None);
        check(" 1", None);
        check("infinit", None);
        check("0x1", None);
    }
}
