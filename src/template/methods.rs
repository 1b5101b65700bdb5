//! What instants and durations can do: the methods of Go's `time.Time` and `time.Duration` that take
//! and give values that templates have.

use super::functions::Param;
use super::time;
use super::value::Value;

/// What a method takes, if the value has it.
pub(super) fn params(value: &Value, name: &str) -> Option<&'static [Param]> {
    use Param::{Duration, Int, String, Time};
    Some(match (value, name) {
        (Value::Time(_), "Format") => &[String],
        (Value::Time(_), "Add" | "Truncate" | "Round") | (Value::Duration(_), "Truncate" | "Round") => {
            &[Duration]
        }
        (Value::Time(_), "AddDate") => &[Int, Int, Int],
        (Value::Time(_), "Sub" | "Before" | "After" | "Equal" | "Compare") => &[Time],
        (
            Value::Time(_),
            "String" | "Unix" | "UnixMilli" | "UnixMicro" | "UnixNano" | "Year" | "Month" | "Day" | "Hour"
            | "Minute" | "Second" | "Nanosecond" | "YearDay" | "Weekday" | "UTC" | "IsZero",
        )
        | (
            Value::Duration(_),
            "String" | "Hours" | "Minutes" | "Seconds" | "Milliseconds" | "Microseconds" | "Nanoseconds"
            | "Abs",
        ) => &[],
        _ => return None,
    })
}

/// Calls a method with arguments that fit it.
pub(super) fn call(value: &Value, name: &str, args: &[Value]) -> Value {
    match value {
        Value::Time(nanos) => of_time(*nanos, name, args),
        Value::Duration(nanos) => of_duration(*nanos, name, args),
        _ => Value::Nil,
    }
}

fn of_time(nanos: i64, name: &str, args: &[Value]) -> Value {
    let civil = time::civil(nanos);
    let int = |value: i64| Value::Int(value);
    match (name, args) {
        ("Format", [Value::String(layout)]) => time::format(nanos, layout).into(),
        ("String", _) => time::format(nanos, "2006-01-02 15:04:05.999999999 -0700 MST").into(),
        ("Add", [Value::Duration(by)]) => Value::Time(nanos.saturating_add(*by)),
        ("Truncate", [Value::Duration(unit)]) => Value::Time(truncated(nanos, *unit)),
        ("Round", [Value::Duration(unit)]) => Value::Time(rounded(nanos, *unit)),
        ("Sub", [Value::Time(other)]) => Value::Duration(nanos.saturating_sub(*other)),
        ("Before", [Value::Time(other)]) => (nanos < *other).into(),
        ("After", [Value::Time(other)]) => (nanos > *other).into(),
        ("Equal", [Value::Time(other)]) => (nanos == *other).into(),
        ("Compare", [Value::Time(other)]) => int(nanos.cmp(other) as i64),
        ("AddDate", [Value::Int(years), Value::Int(months), Value::Int(days)]) => {
            Value::Time(plus_date(nanos, *years, *months, *days))
        }
        ("Unix", _) => int(nanos.div_euclid(1_000_000_000)),
        ("UnixMilli", _) => int(nanos.div_euclid(1_000_000)),
        ("UnixMicro", _) => int(nanos.div_euclid(1_000)),
        ("UnixNano", _) => int(nanos),
        ("Year", _) => int(civil.year().into()),
        ("Month", _) => time::month_name(civil).into(),
        ("Weekday", _) => time::weekday_name(civil).into(),
        ("Day", _) => int(civil.day().into()),
        ("Hour", _) => int(civil.hour().into()),
        ("Minute", _) => int(civil.minute().into()),
        ("Second", _) => int(civil.second().into()),
        ("Nanosecond", _) => int(civil.subsec_nanosecond().into()),
        ("YearDay", _) => int(civil.day_of_year().into()),
        ("IsZero", _) => false.into(),
        // All instants are in UTC.
        _ => Value::Time(nanos),
    }
}

fn of_duration(nanos: i64, name: &str, args: &[Value]) -> Value {
    match (name, args) {
        ("Truncate", [Value::Duration(unit)]) if *unit > 0 => Value::Duration(nanos - nanos % unit),
        ("Round", [Value::Duration(unit)]) if *unit > 0 => {
            // Halves go away from zero.
            let magnitude = rounded(nanos.saturating_abs(), *unit);
            Value::Duration(if nanos < 0 { -magnitude } else { magnitude })
        }
        ("String", _) => time::duration(nanos).into(),
        ("Hours", _) => in_units(nanos, 3_600_000_000_000),
        ("Minutes", _) => in_units(nanos, 60_000_000_000),
        ("Seconds", _) => in_units(nanos, 1_000_000_000),
        ("Milliseconds", _) => Value::Int(nanos / 1_000_000),
        ("Microseconds", _) => Value::Int(nanos / 1_000),
        ("Nanoseconds", _) => Value::Int(nanos),
        ("Abs", _) => Value::Duration(nanos.saturating_abs()),
        _ => Value::Duration(nanos),
    }
}

/// Whole units and their fraction are added up as Go does, so that the result is the same to the bit.
fn in_units(nanos: i64, unit: i64) -> Value {
    Value::Float((nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64)
}

/// Nanoseconds between Go's zero time, the year 1, and the Unix epoch: instants are rounded from there.
const ZERO_TIME: i128 = 62_135_596_800 * 1_000_000_000;

fn truncated(nanos: i64, unit: i64) -> i64 {
    if unit <= 0 {
        return nanos;
    }
    let rest = (i128::from(nanos) + ZERO_TIME).rem_euclid(i128::from(unit));
    nanos.saturating_sub(i64::try_from(rest).unwrap_or(0))
}

fn rounded(nanos: i64, unit: i64) -> i64 {
    if unit <= 0 {
        return nanos;
    }
    let down = nanos - nanos.rem_euclid(unit);
    if nanos - down >= unit - (nanos - down) { down.saturating_add(unit) } else { down }
}

/// Years and months first, then days, as Go counts: a day beyond the end of its month runs into the next.
fn plus_date(nanos: i64, years: i64, months: i64, days: i64) -> i64 {
    let civil = time::civil(nanos);
    let months = i64::from(civil.year())
        .saturating_add(years)
        .saturating_mul(12)
        .saturating_add(i64::from(civil.month()) - 1)
        .saturating_add(months);
    let year = i16::try_from(months.div_euclid(12)).unwrap_or(civil.year());
    let month = i8::try_from(months.rem_euclid(12) + 1).unwrap_or(1);
    let first = jiff::civil::Date::new(year, month, 1).unwrap_or(civil.date());
    let epoch = jiff::civil::date(1970, 1, 1);
    let since = first.since((jiff::Unit::Day, epoch)).map_or(0, |span| i64::from(span.get_days()));
    let day = since.saturating_add(i64::from(civil.day()) - 1).saturating_add(days);
    let in_day = nanos.rem_euclid(86_400_000_000_000);
    day.saturating_mul(86_400_000_000_000).saturating_add(in_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_durations_have_go_methods() {
        let at = Value::Time(1_353_755_652_500_000_000); // 2012-11-24 11:14:12.5, a Saturday
        let check = |value: &Value, name: &str, args: &[Value], expected: &str| {
            assert!(params(value, name).is_some_and(|params| params.len() == args.len()), "{name}");
            assert_eq!(super::super::printf::default_form(&call(value, name, args)), expected, "{name}");
        };
        check(&at, "Unix", &[], "1353755652");
        check(&at, "UnixMilli", &[], "1353755652500");
        check(&at, "Weekday", &[], "Saturday");
        check(&at, "Month", &[], "November");
        check(&at, "YearDay", &[], "329");
        check(&at, "Truncate", &[Value::Duration(3_600_000_000_000)], "2012-11-24 11:00:00 +0000 UTC");
        check(&at, "Add", &[Value::Duration(-500_000_000)], "2012-11-24 11:14:12 +0000 UTC");
        check(&at, "AddDate", &[0, 3, 7].map(Value::Int), "2013-03-03 11:14:12.5 +0000 UTC");
        check(&at, "Sub", &[Value::Time(0)], "376043h14m12.5s");
        check(&at, "After", &[Value::Time(0)], "true");
        let duration = Value::Duration(-5_400_500_000_000);
        check(&duration, "Hours", &[], "-1.500138888888889");
        check(&duration, "Seconds", &[], "-5400.5");
        check(&duration, "Abs", &[], "1h30m0.5s");
        check(&duration, "Round", &[Value::Duration(1_000_000_000)], "-1h30m1s");
        check(&duration, "Truncate", &[Value::Duration(60_000_000_000)], "-1h30m0s");
        assert!(params(&duration, "Unix").is_none());
    }
}
