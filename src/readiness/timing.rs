//! When a component is probed next.

use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh64::xxh64;

use super::component::Key;

/// How far into its interval a component is probed: the same for the same component, so that probes do
/// not move when the process restarts, and spread over the interval between components.
pub(super) fn offset(key: &Key, interval: Duration) -> Duration {
    let share = xxh64(key.to_string().as_bytes(), 0) as f64 / u64::MAX as f64;
    interval.mul_f64(share)
}

/// How soon to look again when the last result speaks against the state: a fault, or its end, is then
/// confirmed in a fraction of the interval, and a single lost packet costs one more probe.
pub(super) fn recheck_after(interval: Duration) -> Duration {
    (interval / 4).min(Duration::from_secs(5))
}

/// The slot in which to start next, and how many were missed. Slots lie at `origin + n * interval`; one
/// that comes less than half an interval after the last start is passed over, which happens after a probe
/// that was no slot's: the first one, which starts at once, and one that looked again.
pub(super) fn next_slot(
    origin: Instant,
    interval: Duration,
    last_start: Instant,
    now: Instant,
) -> (Instant, u64) {
    let slot_after = |instant: Instant| {
        let passed = instant.saturating_duration_since(origin).as_nanos() / interval.as_nanos();
        let count = if instant < origin { 0 } else { passed + 1 };
        origin + Duration::from_nanos_u128(count * interval.as_nanos())
    };
    let wanted = slot_after(last_start + interval / 2);
    if wanted > now {
        return (wanted, 0);
    }
    let next = slot_after(now);
    let missed = (next - wanted).as_nanos() / interval.as_nanos();
    (next, u64::try_from(missed).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::component::Kind;
    use super::*;

    #[test]
    fn slots_keep_their_rhythm_and_are_skipped_rather_than_queued() {
        let origin = Instant::now() + Duration::from_hours(1);
        let at = |seconds: i64| {
            let span = Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { origin - span } else { origin + span }
        };
        let check = |last_start: i64, now: i64, expected: i64, missed: u64| {
            let found = next_slot(origin, Duration::from_secs(10), at(last_start), at(now));
            assert_eq!(found, (at(expected), missed), "last {last_start}, now {now}");
        };
        check(-9, -8, 0, 0);
        check(-3, -2, 10, 0);
        check(0, 1, 10, 0);
        check(0, 9, 10, 0);
        check(0, 10, 20, 1);
        check(0, 35, 40, 3);
        check(40, 41, 50, 0);
    }

    #[test]
    fn offsets_lie_within_the_interval_and_differ() {
        let interval = Duration::from_secs(15);
        let key = |name: &str| Key { kind: Kind::App, name: name.to_owned() };
        let offsets = ["a", "b", "c"].map(|name| offset(&key(name), interval));
        assert!(offsets.iter().all(|offset| *offset <= interval), "{offsets:?}");
        assert!(offsets[0] != offsets[1] && offsets[1] != offsets[2], "{offsets:?}");
        assert_eq!(offset(&key("a"), interval), offsets[0]);
    }
}
