//! Floats with the verbs of Go's `fmt`.

/// `%e`, `%f` or `%g` and their upper-case forms. Without a precision: `%e` and `%f` show six digits,
/// `%g` as many as the value needs.
pub(super) fn format(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match verb.to_ascii_lowercase() {
        'f' => format!("{value:.*}", precision.unwrap_or(6)),
        'e' => with_exponent(&format!("{value:.*e}", precision.unwrap_or(6)), verb),
        _ => general(value, if verb == 'G' { 'E' } else { 'e' }, precision),
    }
}

/// The shorter of `%e` and `%f`, without trailing zeros.
fn general(value: f64, exponent_mark: char, precision: Option<usize>) -> String {
    let scientific = match precision {
        None => format!("{value:e}"),
        Some(digits) => format!("{value:.*e}", digits.max(1) - 1),
    };
    let (mantissa, exponent) = split(&scientific);
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0') } else { mantissa };
    let mantissa = mantissa.trim_end_matches('.');
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    // Source: Go strconv/ftoa.go, %g; the shortest form decides as if its precision was 6.
    let limit = precision.map_or(6, |wanted| {
        let wanted = wanted.max(1);
        let whole = usize::try_from(exponent + 1).unwrap_or(0);
        if wanted > digits && digits >= whole { digits } else { wanted }
    });
    if exponent < -4 || exponent >= i32::try_from(limit).unwrap_or(i32::MAX) {
        return with_exponent(&format!("{mantissa}e{exponent}"), exponent_mark);
    }
    let decimals = i32::try_from(digits).unwrap_or(i32::MAX) - 1 - exponent;
    let rounded: f64 = format!("{mantissa}e{exponent}").parse().unwrap_or(value);
    format!("{rounded:.*}", usize::try_from(decimals).unwrap_or(0))
}

/// Rust's `1.5e7` as Go's `1.5e+07`.
fn with_exponent(scientific: &str, mark: char) -> String {
    let (mantissa, exponent) = split(scientific);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{mark}{sign}{:02}", exponent.abs())
}

fn split(scientific: &str) -> (&str, i32) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    (mantissa, exponent.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn floats_are_written_as_go_writes_them() {
        let check = |value: f64, verb: char, precision: Option<usize>, expected: &str| {
            assert_eq!(format(value, verb, precision), expected, "%{precision:?}{verb}");
        };
        check(0.0, 'g', None, "0");
        check(-0.0, 'g', None, "-0");
        check(100_000.0, 'g', None, "100000");
        check(1e6, 'g', None, "1e+06");
        check(1_353_755_652.0, 'g', None, "1.353755652e+09");
        check(1e21, 'g', None, "1e+21");
        check(0.0001, 'g', None, "0.0001");
        check(0.000_012_5, 'G', None, "1.25E-05");
        check(123_456.0, 'g', Some(4), "1.235e+05");
        check(1_000.0, 'g', Some(4), "1000");
        check(999.99, 'g', Some(4), "1000");
        check(0.12345, 'g', Some(4), "0.1235");
        check(22.222, 'g', Some(0), "2e+01");
        check(12.5, 'f', None, "12.500000");
        check(2.5, 'f', Some(0), "2");
        check(1234.5, 'e', None, "1.234500e+03");
        check(1e100, 'E', Some(1), "1.0E+100");
        check(f64::INFINITY, 'f', Some(2), "+Inf");
        check(f64::NAN, 'e', None, "NaN");
    }
}
