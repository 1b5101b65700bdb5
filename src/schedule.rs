//! When things that repeat are due: rule groups, scrapes and probes.
//!
//! Time is divided into slots, one per interval, and an offset shifts them, so that what repeats does
//! not all happen at once. Slots depend on nothing but interval and offset: a restart does not move
//! them. Source: Prometheus 3.14 `rules/group.go`, `EvalTimestamp`, and `scrape/target.go`, offset.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::model::TimestampMs;

/// Slots at `offset`, `offset + interval`, `offset + 2 * interval` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
}

/// A slot whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The slot's own time, not after now and less than one interval ago.
    pub at: TimestampMs,
    /// How many slots passed since the previous one without being used.
    pub missed: u64,
}

impl Schedule {
    /// Slots every `interval` (at least one millisecond), shifted by `offset`, of which whole
    /// intervals do not matter.
    pub fn new(interval: Duration, offset: Duration) -> Self {
        let interval_ms = to_ms(interval).max(1);
        Self { interval_ms, offset_ms: to_ms(offset) % interval_ms }
    }

    /// Slots every `interval`, with an offset that `hash` decides: what has another identity gets
    /// another offset.
    pub fn spread(interval: Duration, hash: u64) -> Self {
        let interval_ms = to_ms(interval).max(1);
        Self { interval_ms, offset_ms: (hash % interval_ms.unsigned_abs()) as i64 }
    }

    /// How long a slot is.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.unsigned_abs())
    }

    /// By how much slots are shifted, less than the interval.
    pub fn offset(&self) -> Duration {
        Duration::from_millis(self.offset_ms.unsigned_abs())
    }

    /// The newest slot that is not after `at`.
    pub fn slot_at(&self, at: TimestampMs) -> TimestampMs {
        at - (at - self.offset_ms).rem_euclid(self.interval_ms)
    }

    /// The first slot after `after`.
    pub fn next_slot(&self, after: TimestampMs) -> TimestampMs {
        self.slot_at(after) + self.interval_ms
    }

    /// The slot that is due at `now` when `last` was the last one; `None` if the next has not begun. Slots
    /// that passed meanwhile are counted, not caught up on. If the clock was set back by more than an
    /// interval, the slots begin anew with the one before `now`; less than that is waited for.
    /// Source: Prometheus 3.14 `rules/group.go`, `run`; the clock set back is this project's.
    pub fn due(&self, last: TimestampMs, now: TimestampMs) -> Option<Slot> {
        let passed = (now - last).div_euclid(self.interval_ms);
        let at = last + passed * self.interval_ms;
        match passed {
            1.. => Some(Slot { at, missed: passed.unsigned_abs() - 1 }),
            -1..=0 => None,
            _ => Some(Slot { at, missed: 0 }),
        }
    }
}

/// Waits for slot after slot.
pub struct Ticker {
    schedule: Schedule,
    clock: SharedClock,
    last: TimestampMs,
}

impl Ticker {
    /// A ticker whose first slot is the next one from now.
    pub fn new(schedule: Schedule, clock: SharedClock) -> Self {
        let last = schedule.slot_at(clock.now());
        Self { schedule, clock, last }
    }

    /// The schedule that it follows.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Waits until a slot is due and yields it; `None` as soon as `token` is cancelled.
    pub async fn tick(&mut self, token: &CancellationToken) -> Option<Slot> {
        loop {
            let now = self.clock.now();
            if let Some(slot) = self.schedule.due(self.last, now) {
                if token.is_cancelled() {
                    return None;
                }
                self.last = slot.at;
                return Some(slot);
            }
            // The clock may be set meanwhile: no sleep is longer than an interval.
            let interval_ms = self.schedule.interval_ms;
            let rest = (self.last + interval_ms - now).clamp(1, interval_ms);
            let pause = Duration::from_millis(rest.unsigned_abs());
            token.run_until_cancelled(tokio::time::sleep(pause)).await?;
        }
    }
}

fn to_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::{FixedClock, SystemClock};

    fn schedule(interval_ms: u64, offset_ms: u64) -> Schedule {
        Schedule::new(Duration::from_millis(interval_ms), Duration::from_millis(offset_ms))
    }

    #[test]
    fn slots_are_where_interval_and_offset_put_them() {
        let check = |at, current, next| {
            let schedule = schedule(100, 30);
            assert_eq!((schedule.slot_at(at), schedule.next_slot(at)), (current, next), "{at}");
        };
        check(0, -70, 30);
        check(29, -70, 30);
        check(30, 30, 130);
        check(31, 30, 130);
        check(1_029, 930, 1_030);
        check(-71, -170, -70);
    }

    #[test]
    fn slots_that_went_by_are_counted_and_the_latest_is_due() {
        let check = |now, expected: Option<(i64, u64)>| {
            let due = schedule(10_000, 0).due(100_000, now).map(|slot| (slot.at, slot.missed));
            assert_eq!(due, expected, "{now}");
        };
        check(100_000, None);
        check(109_999, None);
        check(110_000, Some((110_000, 0)));
        check(119_999, Some((110_000, 0)));
        check(120_000, Some((120_000, 1)));
        check(171_000, Some((170_000, 6)));
        // The clock was set back.
        check(99_999, None);
        check(90_000, None);
        check(89_999, Some((80_000, 0)));
        check(35_000, Some((30_000, 0)));
    }

    #[test]
    fn an_interval_is_never_zero() {
        assert_eq!(schedule(0, 5).interval(), Duration::from_millis(1));
        assert_eq!(Schedule::spread(Duration::ZERO, 7).interval(), Duration::from_millis(1));
    }

    #[tokio::test]
    async fn a_ticker_yields_consecutive_slots() {
        let token = CancellationToken::new();
        let mut ticker = Ticker::new(schedule(5, 2), Arc::new(SystemClock));
        let first = ticker.tick(&token).await.unwrap();
        let second = ticker.tick(&token).await.unwrap();
        assert_eq!(first.at.rem_euclid(5), 2);
        assert_eq!(second.at - first.at, 5 * (1 + second.missed as i64));
    }

    #[tokio::test]
    async fn a_cancelled_ticker_yields_nothing() {
        let token = CancellationToken::new();
        let mut ticker = Ticker::new(schedule(60_000, 0), Arc::new(FixedClock::at(1)));
        let (slot, ()) = tokio::join!(ticker.tick(&token), async { token.cancel() });
        assert_eq!(slot, None);
    }

    proptest! {
        #[test]
        fn the_next_slot_is_within_one_interval(at in -1_i64 << 50..1_i64 << 50, interval in 1_u64..1 << 40, hash: u64) {
            let schedule = Schedule::spread(Duration::from_millis(interval), hash);
            let (current, next) = (schedule.slot_at(at), schedule.next_slot(at));
            prop_assert!(current <= at && at < next);
            prop_assert_eq!(next - current, interval as i64);
            prop_assert_eq!(schedule.slot_at(current), current);
        }
    }
}
