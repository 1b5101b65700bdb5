//! Durations in Prometheus' notation: `1h30m`, `5m`, `250ms`.

use std::fmt::Write;

use super::quote;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing at all.
    #[error("empty duration string")]
    Empty,
    /// Missing number or unit, units in the wrong order or twice.
    #[error("not a valid duration string: {}", quote(.0))]
    Invalid(String),
    /// A unit that does not exist.
    #[error("unknown unit {} in duration {}", quote(unit), quote(text))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than the largest duration Prometheus knows (about 292 years).
    #[error("duration out of range")]
    OutOfRange,
}

/// Units from the largest to the smallest with their length in milliseconds: a year has 365 days.
/// Source: prometheus/common `model/time.go`, `ParseDuration`.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The largest duration in milliseconds: Go counts nanoseconds in an `int64`.
const MAX_MS: i64 = i64::MAX / 1_000_000;

/// Reads a duration as milliseconds. `0` needs no unit; every unit appears at most once and larger ones
/// come first.
pub fn parse_duration_ms(text: &str) -> Result<i64, DurationError> {
    match text {
        "0" => return Ok(0),
        "" => return Err(DurationError::Empty),
        _ => {}
    }
    let invalid = || DurationError::Invalid(text.to_owned());
    let mut rest = text;
    let mut units_left = UNITS.iter();
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(|byte| !byte.is_ascii_digit()).count();
        if digits == 0 || letters == 0 {
            return Err(invalid());
        }
        let unit = &rest[digits..digits + letters];
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() });
        }
        let (_, length) = units_left.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let count: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        total = i64::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(*length))
            .and_then(|part| part.checked_add(total))
            .filter(|total| *total <= MAX_MS)
            .ok_or(DurationError::OutOfRange)?;
        rest = &rest[digits + letters..];
    }
    Ok(total)
}

/// Writes milliseconds in the same notation. Years and weeks appear only when they divide the
/// whole, as in prometheus/common (`model.Duration.String`).
pub fn format_duration_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    if ms < 0 {
        text.push('-');
    }
    let mut rest = ms.unsigned_abs();
    for (index, (unit, length)) in UNITS.iter().enumerate() {
        let length = length.unsigned_abs();
        let exact_only = index < 2;
        if exact_only && !rest.is_multiple_of(length) {
            continue;
        }
        let count = rest / length;
        if count > 0 {
            let _ = write!(text, "{count}{unit}"); // writing to a String cannot fail
            rest -= count * length;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_written() {
        let check = |text: &str, ms: i64, printed: &str| {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
            assert_eq!(format_duration_ms(ms), printed, "{text}");
        };
        check("0", 0, "0s");
        check("0s", 0, "0s");
        check("324ms", 324, "324ms");
        check("3s", 3_000, "3s");
        check("5m", 300_000, "5m");
        check("1h", 3_600_000, "1h");
        check("4d", 345_600_000, "4d");
        check("4d1h", 349_200_000, "4d1h");
        check("14d", 1_209_600_000, "2w");
        check("3w2d1h", 1_990_800_000, "23d1h");
        check("8y", 252_288_000_000, "8y");
        check("4d1h30m", 351_000_000, "4d1h30m");
    }

    #[test]
    fn bad_durations_are_refused() {
        for text in ["1", "1y1m1d", "-1w", "1.5d", "d", "", "1s1s", "1s5m", "m5", "1x"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
        let check = |text: &str, message: &str| {
            assert_eq!(parse_duration_ms(text).expect_err(text).to_string(), message);
        };
        check("9999999y", "duration out of range");
        check("5m1h", "not a valid duration string: \"5m1h\"");
        check("5y1hs", "unknown unit \"hs\" in duration \"5y1hs\"");
    }
}
