//! Instants as people write them.

use std::str::FromStr;

use crate::api::parse_time;
use crate::model::{TimestampMs, parse_duration_ms};

/// An instant, perhaps relative to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// This one.
    At(TimestampMs),
    /// So many milliseconds after now, before it if negative.
    FromNow(i64),
}

/// Why a text is no instant.
#[derive(Debug, thiserror::Error)]
#[error("write `now`, `-5m`, seconds since 1970, or an instant such as 2026-01-31T12:00:00Z")]
pub(crate) struct TimeError;

impl Time {
    /// The instant, if it is `now`.
    pub(crate) fn at(self, now: TimestampMs) -> TimestampMs {
        match self {
            Self::At(at) => at,
            Self::FromNow(ms) => now.saturating_add(ms),
        }
    }
}

/// `now`, `-5m`, `now-5m`, `+1h`, and what Prometheus' API takes: seconds and RFC 3339.
impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        if let Some(at) = parse_time(text) {
            return Ok(Self::At(at));
        }
        let offset = text.strip_prefix("now").unwrap_or(text);
        let ms = match offset.as_bytes().first() {
            None if offset.len() < text.len() => Ok(0),
            Some(b'-') => parse_duration_ms(&offset[1..]).map(|ms| -ms),
            Some(b'+') => parse_duration_ms(&offset[1..]),
            _ => return Err(TimeError),
        };
        ms.map(Self::FromNow).map_err(|_| TimeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_absolute_or_relative_to_now() {
        const NOW: TimestampMs = 10_000_000;
        let check = |text: &str, expected: Option<TimestampMs>| {
            assert_eq!(text.parse::<Time>().ok().map(|time| time.at(NOW)), expected, "{text}");
        };
        check("now", Some(NOW));
        check("-1h30m", Some(NOW - 5_400_000));
        check("now-5m", Some(NOW - 300_000));
        check("+1m", Some(NOW + 60_000));
        check("0", Some(0));
        check("1435781451.781", Some(1_435_781_451_781));
        check("-1.5", Some(-1_500));
        check("2015-07-01T20:10:51.781Z", Some(1_435_781_451_781));
        check("", None);
        check("5m", None);
        check("now5m", None);
        check("-", None);
        check("yesterday", None);
    }
}
