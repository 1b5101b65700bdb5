//! Times as people read them.

use crate::model::TimestampMs;

/// How long ago something was: `42s`, `3m 5s`, `2h 10m`, `5d 3h`.
pub fn ago(now: TimestampMs, then: TimestampMs) -> String {
    let seconds = now.saturating_sub(then).max(0) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{minutes}m {}s", seconds % 60),
        3_600..=86_399 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// `2026-01-31 23:59:58 UTC`
pub fn clock_time(at: TimestampMs) -> String {
    jiff::Timestamp::from_millisecond(at)
        .map_or_else(|_| "an unknown time".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_at_most_two_units() {
        let check = |seconds: i64, expected: &str| assert_eq!(ago(seconds * 1000, 0), expected);
        check(0, "0s");
        check(-5, "0s");
        check(59, "59s");
        check(185, "3m 5s");
        check(7_800, "2h 10m");
        check(5 * 86_400 + 3 * 3_600 + 1, "5d 3h");
    }

    #[test]
    fn clock_times_are_utc() {
        assert_eq!(clock_time(1_435_781_451_781), "2015-07-01 20:10:51 UTC");
    }
}
