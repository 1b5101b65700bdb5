//! When a group is evaluated: at fixed instants, its slots, whatever the time at which the process
//! started. Pure functions of milliseconds.

use crate::model::{Labels, TimestampMs};

/// How far a group's slots are from the multiples of its interval: differs from group to group, so
/// that they do not all evaluate at once, and stays the same from one start to the next.
/// Source: Prometheus 3.14 `rules/group.go`, `EvalTimestamp`; the hash is this project's.
pub(super) fn offset_ms(file: &str, group: &str, interval_ms: i64) -> i64 {
    let hash = Labels::from_pairs([("name", group), ("file", file)]).hash64();
    (hash % interval_ms.unsigned_abs().max(1)) as i64
}

/// The last slot at or before `now`.
pub(super) fn slot_at_or_before(now: TimestampMs, interval_ms: i64, offset_ms: i64) -> TimestampMs {
    now - (now - offset_ms).rem_euclid(interval_ms)
}

/// A slot whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tick {
    /// The slot.
    pub(super) at: TimestampMs,
    /// How many slots before it went by without an evaluation.
    pub(super) missed: i64,
}

/// The slot to evaluate at `now` when `previous` was the last one; `None` if the next has not begun.
/// Of several slots that went by the latest is evaluated. If the clock was set back by more than an
/// interval, the slots begin anew with the one before `now`; less than that is waited for.
/// Source: Prometheus 3.14 `rules/group.go`, `run`; the clock set back is this project's.
pub(super) fn next_tick(previous: TimestampMs, now: TimestampMs, interval_ms: i64) -> Option<Tick> {
    let slots = (now - previous).div_euclid(interval_ms);
    if slots >= 1 {
        Some(Tick { at: previous + slots * interval_ms, missed: slots - 1 })
    } else if slots < -1 {
        Some(Tick { at: previous + slots * interval_ms, missed: 0 })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_the_groups_offset_and_lie_in_the_past() {
        let check = |now, interval, offset, expected| {
            assert_eq!(slot_at_or_before(now, interval, offset), expected, "{now} {interval} {offset}");
        };
        check(120_000, 60_000, 0, 120_000);
        check(120_000, 60_000, 7_000, 67_000);
        check(127_000, 60_000, 7_000, 127_000);
        check(126_999, 60_000, 7_000, 67_000);
        check(3_000, 60_000, 7_000, -53_000);
    }

    #[test]
    fn the_offset_is_stable_and_below_the_interval() {
        for interval in [1, 1_000, 60_000] {
            for group in ["a", "b", "c"] {
                let offset = offset_ms("rules.yml", group, interval);
                assert!((0..interval).contains(&offset));
                assert_eq!(offset, offset_ms("rules.yml", group, interval));
            }
        }
        assert_ne!(offset_ms("rules.yml", "a", 60_000), offset_ms("rules.yml", "b", 60_000));
        assert_ne!(offset_ms("rules.yml", "a", 60_000), offset_ms("other.yml", "a", 60_000));
    }

    #[test]
    fn slots_that_went_by_are_counted_and_the_latest_is_evaluated() {
        let check = |now, expected: Option<(i64, i64)>| {
            let tick = next_tick(100_000, now, 10_000).map(|tick| (tick.at, tick.missed));
            assert_eq!(tick, expected, "{now}");
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
}
