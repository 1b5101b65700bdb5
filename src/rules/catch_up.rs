//! Which slots that went by are evaluated afterwards.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::TimestampMs;

/// How long the latest evaluations took.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace(VecDeque<Duration>);

/// So many evaluations tell how long one takes.
const LATEST: usize = 5;

impl Pace {
    pub(super) fn note(&mut self, took: Duration) {
        if self.0.len() == LATEST {
            self.0.pop_front();
        }
        self.0.push_back(took);
    }

    /// How long an evaluation takes as a rule: one that was slow once says nothing about the next.
    pub(super) fn usual(&self) -> Duration {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }
}

/// What a group knows when a slot is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backlog {
    /// The slot that is due.
    pub(super) at: TimestampMs,
    /// The last slot that was evaluated.
    pub(super) last: Option<TimestampMs>,
    /// The distance of slots, in milliseconds.
    pub(super) interval_ms: i64,
    /// How far back slots are made up for, in milliseconds.
    pub(super) window_ms: i64,
    /// How long an evaluation takes.
    pub(super) takes: Duration,
}

impl Backlog {
    /// The slots between the last one and the one that is due, in order, as far as they are not too old. A
    /// group that needs long gets no more of them than it can evaluate within one interval, the newest
    /// ones: one that is always too slow makes up for none, and so does not fall behind further and
    /// further.
    pub(super) fn slots(&self) -> Vec<TimestampMs> {
        let Some(last) = self.last else { return Vec::new() };
        let oldest = last.max(self.at - self.window_ms - 1);
        let passed = (self.at - oldest - 1).div_euclid(self.interval_ms).max(0);
        let takes_ms = i64::try_from(self.takes.as_millis()).unwrap_or(i64::MAX).max(1);
        let count = passed.min(self.interval_ms / takes_ms);
        (1..=count).rev().map(|back| self.at - back * self.interval_ms).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_takes_as_long_as_most_of_the_latest_did() {
        let mut pace = Pace::default();
        let mut check = |took: u64, usual: u64| {
            pace.note(Duration::from_secs(took));
            assert_eq!(pace.usual(), Duration::from_secs(usual), "{pace:?}");
        };
        check(3, 3);
        check(30, 3);
        check(2, 3);
        check(1, 2);
        check(40, 3);
        check(50, 30);
    }

    #[test]
    fn slots_are_made_up_for_in_order_as_far_as_time_allows() {
        let check = |last: Option<i64>, window_ms: i64, takes_ms: u64, expected: &[i64]| {
            let backlog = Backlog {
                at: 1_000,
                last,
                interval_ms: 100,
                window_ms,
                takes: Duration::from_millis(takes_ms),
            };
            assert_eq!(backlog.slots(), expected, "{backlog:?}");
        };
        check(None, 10_000, 0, &[]);
        check(Some(900), 10_000, 0, &[]);
        check(Some(800), 10_000, 0, &[900]);
        check(Some(500), 10_000, 5, &[600, 700, 800, 900]);
        check(Some(550), 10_000, 5, &[600, 700, 800, 900]);
        // Not too old.
        check(Some(0), 250, 0, &[800, 900]);
        check(Some(0), 200, 0, &[800, 900]);
        check(Some(0), 0, 0, &[]);
        // As many as fit into an interval.
        check(Some(0), 10_000, 40, &[800, 900]);
        check(Some(0), 10_000, 100, &[900]);
        check(Some(0), 10_000, 101, &[]);
        // The clock was set back.
        check(Some(1_000), 10_000, 0, &[]);
        check(Some(5_000), 10_000, 0, &[]);
    }
}
