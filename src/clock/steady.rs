//! The clock as those believe it who delete by age.
//!
//! A machine whose clock is a day ahead at its start, until it has asked a time server, must not lose by that
//! what it has stored: what is deleted does not come back when the clock does.

use std::time::{Duration, Instant};

use crate::model::TimestampMs;

/// How much further than the time that passes the clock may go without being doubted. What is deleted too
/// early by so little does not matter, and a restart takes less.
const LEAP_MS: i64 = 600_000;

/// For how long a clock that leapt ahead must have gone on from there to be believed. Time servers are asked
/// within minutes of a start.
const PROBATION: Duration = Duration::from_hours(1);

/// A clock that is believed only after an hour when it leaps ahead; until then the time that passes counts.
/// A clock that is set back is believed at once: it makes everything younger.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    believed: Reading,
    /// The clock when it leapt ahead, while that is doubted.
    leapt: Option<Reading>,
}

/// What the clock showed, and when that was.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: TimestampMs,
    instant: Instant,
}

impl Reading {
    /// What a clock shows at an instant that goes on from here.
    fn continued(&self, instant: Instant) -> TimestampMs {
        let passed = instant.saturating_duration_since(self.instant).as_millis();
        self.at.saturating_add(TimestampMs::try_from(passed).unwrap_or(TimestampMs::MAX))
    }
}

impl SteadyClock {
    /// Believes that it is `at`: best what was stored last, which is not from the future.
    pub fn new(at: TimestampMs, instant: Instant) -> Self {
        Self { believed: Reading { at, instant }, leapt: None }
    }

    /// What time to believe while the clock shows `now`: never later than that.
    pub fn believe(&mut self, now: TimestampMs, instant: Instant) -> TimestampMs {
        let reading = Reading { at: now, instant };
        let due = self.believed.continued(instant);
        if now <= due.saturating_add(LEAP_MS) {
            (self.believed, self.leapt) = (reading, None);
            return now;
        }
        let goes_on = |leapt: &Reading| now.abs_diff(leapt.continued(instant)) <= LEAP_MS.unsigned_abs();
        let leapt = self.leapt.filter(goes_on).unwrap_or(reading);
        if instant.saturating_duration_since(leapt.instant) >= PROBATION {
            (self.believed, self.leapt) = (reading, None);
            return now;
        }
        self.leapt = Some(leapt);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const DAY: i64 = 24 * 60 * MINUTE;

    /// Lets a clock show something after so many minutes each, and compares what is believed; in minutes.
    fn check(steps: &[(u64, i64, i64)]) {
        let began = Instant::now();
        let mut clock = SteadyClock::new(0, began);
        for (passed, shown, expected) in steps {
            let believed = clock.believe(shown * MINUTE, began + Duration::from_mins(*passed));
            assert_eq!(believed / MINUTE, *expected, "after {passed} minutes of {steps:?}");
        }
    }

    #[test]
    fn a_clock_that_goes_on_is_believed() {
        check(&[(0, 0, 0), (1, 1, 1), (300, 309, 309), (301, 310, 310)]);
    }

    #[test]
    fn a_clock_that_leaps_ahead_is_believed_after_an_hour() {
        let day = DAY / MINUTE;
        check(&[(0, day, 0), (1, day + 1, 1), (59, day + 59, 59), (60, day + 60, day + 60)]);
        // It may be asked seldom.
        check(&[(0, day, 0), (300, day + 300, day + 300)]);
    }

    #[test]
    fn a_clock_that_is_set_right_within_the_hour_never_was_believed() {
        let day = DAY / MINUTE;
        check(&[(0, day, 0), (1, 1, 1), (61, 61, 61), (62, day + 62, 62)]);
    }

    #[test]
    fn the_hour_begins_anew_when_the_clock_leaps_again() {
        let day = DAY / MINUTE;
        check(&[(0, day, 0), (50, 2 * day, 50), (70, 2 * day + 20, 70), (110, 2 * day + 60, 2 * day + 60)]);
    }

    #[test]
    fn a_clock_that_is_set_back_is_believed_at_once() {
        check(&[(60, 60, 60), (61, 0, 0), (62, 1, 1)]);
    }
}
