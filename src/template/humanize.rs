//! Numbers for people. Source: Prometheus `template/template.go`, prometheus/common `helpers/templates`.

use super::float;

const ABOVE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const ABOVE_1024: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const BELOW: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// Four significant digits.
fn short(value: f64) -> String {
    float::format(value, 'g', Some(4))
}

/// The value with a metric prefix: `1.235M`, `120m`.
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return short(value);
    }
    let (value, prefix) = if value.abs() >= 1.0 { reduced(value, 1000.0, ABOVE) } else { enlarged(value) };
    format!("{}{prefix}", short(value))
}

/// The value with a binary prefix: `1.177Mi`.
pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return short(value);
    }
    let (value, prefix) = reduced(value, 1024.0, ABOVE_1024);
    format!("{}{prefix}", short(value))
}

/// A ratio in percent: `12.35%`.
pub(super) fn percentage(value: f64) -> String {
    format!("{}%", short(value * 100.0))
}

/// Seconds as days, hours, minutes and seconds, below a second with a metric prefix.
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return short(seconds);
    }
    if seconds == 0.0 {
        return format!("{}s", short(seconds));
    }
    if seconds.abs() < 1.0 {
        let (value, prefix) = enlarged(seconds);
        return format!("{}{prefix}s", short(value));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let magnitude = seconds.abs();
    let whole = magnitude as i64;
    let (rest, minutes, hours, days) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", short(magnitude)),
        (0, 0, minutes) => format!("{sign}{minutes}m {rest}s"),
        (0, hours, minutes) => format!("{sign}{hours}h {minutes}m {rest}s"),
        (days, hours, minutes) => format!("{sign}{days}d {hours}h {minutes}m {rest}s"),
    }
}

fn reduced(mut value: f64, base: f64, prefixes: [&'static str; 8]) -> (f64, &'static str) {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < base {
            break;
        }
        prefix = next;
        value /= base;
    }
    (value, prefix)
}

fn enlarged(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in BELOW {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    (value, prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_get_prefixes() {
        let check = |value: f64, metric: &str, binary: &str| {
            assert_eq!(
                (humanize(value).as_str(), humanize_1024(value).as_str()),
                (metric, binary),
                "{value}"
            );
        };
        check(0.0, "0", "0");
        check(1.0, "1", "1");
        check(-1.0, "-1", "-1");
        check(1_234_567.0, "1.235M", "1.177Mi");
        check(0.12, "120m", "0.12");
        check(9_223_372_036_854_775_807.0, "9.223E", "8Ei");
        check(1e30, "1e+06Y", "8.272e+05Yi");
        check(f64::INFINITY, "+Inf", "+Inf");
        check(f64::NAN, "NaN", "NaN");
    }

    #[test]
    fn durations_are_split() {
        let check = |seconds: f64, expected: &str| assert_eq!(duration(seconds), expected);
        check(0.0, "0s");
        check(1.0, "1s");
        check(60.0, "1m 0s");
        check(3600.0, "1h 0m 0s");
        check(90_000.0, "1d 1h 0m 0s");
        check(-183_845.0, "-2d 3h 4m 5s");
        check(899.99, "14m 59s");
        check(0.1, "100ms");
        check(0.0001, "100us");
        check(0.123_45, "123.5ms");
        check(60.5, "1m 0s");
        check(1.2345, "1.234s");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn ratios_become_percentages() {
        let check = |value: f64, expected: &str| assert_eq!(percentage(value), expected);
        check(-0.22222, "-22.22%");
        check(0.0, "0%");
        check(1.23456, "123.5%");
        check(1_234_567.0, "1.235e+08%");
    }
}
