//! Instants and durations as Go writes them. All instants are in UTC.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;

/// The date and time of an instant in nanoseconds since the Unix epoch.
pub(super) fn civil(nanos: i64) -> DateTime {
    let at = Timestamp::from_nanosecond(i128::from(nanos))
        .expect("an i64 of nanoseconds spans 584 years around 1970");
    TimeZone::UTC.to_datetime(at)
}

pub(super) fn month_name(time: DateTime) -> &'static str {
    match time.month() {
        1 => "January",
        2 => "February",
        3 => "March",
        4 => "April",
        5 => "May",
        6 => "June",
        7 => "July",
        8 => "August",
        9 => "September",
        10 => "October",
        11 => "November",
        _ => "December",
    }
}

pub(super) fn weekday_name(time: DateTime) -> &'static str {
    match time.weekday() {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

/// The parts of a layout as the reference time Mon Jan 2 15:04:05 2006 shows them. Of two that begin
/// alike the longer one comes first.
const PARTS: [&str; 33] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-07:00",
    "-070000",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z07:00",
    "Z070000",
    "Z0700",
    "Z07",
    "__2",
    "_2",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "1",
    "2",
    "3",
    "4",
    "5",
    "PM",
    "pm",
];

/// An instant in a layout of Go's `time.Format`.
pub(super) fn format(nanos: i64, layout: &str) -> String {
    let time = civil(nanos);
    let mut out = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = fraction(&mut out, time, rest) {
            rest = &rest[length..];
        } else if let Some(part) = part_of(rest) {
            write_part(&mut out, time, part);
            rest = &rest[part.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// The part that a layout begins with.
fn part_of(layout: &str) -> Option<&'static str> {
    let part = PARTS.into_iter().find(|part| layout.starts_with(part))?;
    let after = &layout[part.len()..];
    // `Month` is a word, and in `_2006` the year is meant.
    let word = matches!(part, "Jan" | "Mon") && after.starts_with(|c: char| c.is_ascii_lowercase());
    let year = part == "_2" && after.starts_with("006");
    (!word && !year).then_some(part)
}

/// `.000` or `.999` at the front of a layout: its length, once the fraction of the second is written.
fn fraction(out: &mut String, time: DateTime, layout: &str) -> Option<usize> {
    let separator = layout.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let digit = layout[1..].chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let count = layout[1..].chars().take_while(|c| *c == digit).count();
    if layout[1 + count..].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{:09}", time.subsec_nanosecond());
    let shown = &digits[..count.min(9)];
    let shown = if digit == '9' { shown.trim_end_matches('0') } else { shown };
    if !shown.is_empty() {
        out.push(separator);
        out.push_str(shown);
    }
    Some(1 + count)
}

fn write_part(out: &mut String, time: DateTime, part: &str) {
    let hour12 = if time.hour() % 12 == 0 { 12 } else { time.hour() % 12 };
    // Writing to a String cannot fail.
    let _ = match part {
        "January" => write!(out, "{}", month_name(time)),
        "Jan" => write!(out, "{}", &month_name(time)[..3]),
        "Monday" => write!(out, "{}", weekday_name(time)),
        "Mon" => write!(out, "{}", &weekday_name(time)[..3]),
        "MST" => write!(out, "UTC"),
        "2006" => write!(out, "{:04}", time.year()),
        "06" => write!(out, "{:02}", time.year() % 100),
        "01" => write!(out, "{:02}", time.month()),
        "1" => write!(out, "{}", time.month()),
        "02" => write!(out, "{:02}", time.day()),
        "_2" => write!(out, "{:2}", time.day()),
        "2" => write!(out, "{}", time.day()),
        "002" => write!(out, "{:03}", time.day_of_year()),
        "__2" => write!(out, "{:3}", time.day_of_year()),
        "15" => write!(out, "{:02}", time.hour()),
        "03" => write!(out, "{hour12:02}"),
        "3" => write!(out, "{hour12}"),
        "04" => write!(out, "{:02}", time.minute()),
        "4" => write!(out, "{}", time.minute()),
        "05" => write!(out, "{:02}", time.second()),
        "5" => write!(out, "{}", time.second()),
        "PM" => write!(out, "{}", if time.hour() < 12 { "AM" } else { "PM" }),
        "pm" => write!(out, "{}", if time.hour() < 12 { "am" } else { "pm" }),
        zone if zone.starts_with('Z') => write!(out, "Z"),
        offset => write!(out, "{}", offset.replace('-', "+").replace('7', "0")),
    };
}

/// A duration in nanoseconds as Go's `Duration.String` writes it: `1h0m5.5s`, `1.5ms`, `0s`.
pub(super) fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    let (value, unit) = match magnitude {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => (decimal(magnitude, 3), "\u{b5}s"),
        1_000_000..1_000_000_000 => (decimal(magnitude, 6), "ms"),
        _ => (decimal(magnitude % 60_000_000_000, 9), "s"),
    };
    let minutes = magnitude / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{value}{unit}"),
        (0, minutes) => format!("{sign}{minutes}m{value}{unit}"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{value}{unit}"),
    }
}

/// A whole number with its last digits after a point, without trailing zeros.
fn decimal(value: u64, decimals: usize) -> String {
    let digits = format!("{value:0width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_laid_out_as_in_go() {
        let at = 1_435_065_584_128_000_000;
        let check = |layout: &str, expected: &str| assert_eq!(format(at, layout), expected, "{layout}");
        check("2006-01-02 15:04:05.999999999 -0700 MST", "2015-06-23 13:19:44.128 +0000 UTC");
        check("Mon Jan 2 15:04:05 2006", "Tue Jun 23 13:19:44 2015");
        check("Monday, January _2 06 at 3:4:5 pm PM", "Tuesday, June 23 15 at 1:19:44 pm PM");
        check("2006-01-02T15:04:05Z07:00", "2015-06-23T13:19:44Z");
        check("15:04:05.000000 03h -07:00", "13:19:44.128000 01h +00:00");
        check("Month of _2006 in 002/__2", "Month of _2015 in 174/174");
        check("05,00 .0x", "44,12 .1x");
        assert_eq!(format(0, "15:04:05.999"), "00:00:00");
        assert_eq!(format(-1_000_000_000, "2006-01-02 15:04:05 3PM"), "1969-12-31 23:59:59 11PM");
    }

    #[test]
    fn durations_are_written_as_in_go() {
        let check = |nanos: i64, expected: &str| assert_eq!(duration(nanos), expected);
        check(0, "0s");
        check(1, "1ns");
        check(1_500, "1.5µs");
        check(2_000_000, "2ms");
        check(-1_500_000_000, "-1.5s");
        check(1_800_000_000_000, "30m0s");
        check(3_605_500_000_000, "1h0m5.5s");
        check(i64::MIN, "-2562047h47m16.854775808s");
    }
}
