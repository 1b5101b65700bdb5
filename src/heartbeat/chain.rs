//! Whether the chain from rules to Alertmanager works: a judgement of facts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::model::TimestampMs;

/// How much later than one interval a group may be evaluated, beside another interval: what a busy machine
/// takes.
const TOLERANCE_MS: i64 = 5_000;

/// The longest time for which an acknowledgement counts.
const MOST_RECENT: Duration = Duration::from_mins(2);

/// What a heartbeat is tied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ties {
    /// Rules are evaluated when they are due.
    pub evaluation: bool,
    /// Where there are Alertmanagers, one of them acknowledges.
    pub delivery: bool,
}

/// Why a heartbeat is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There are no rules, or some were not evaluated when they were due.
    Evaluation,
    /// No Alertmanager has acknowledged anything lately.
    Delivery,
    /// Whoever is told did not take it.
    Request,
}

impl Reason {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Evaluation, Self::Delivery, Self::Request];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evaluation => "evaluation",
            Self::Delivery => "delivery",
            Self::Request => "request",
        }
    }
}

/// When a group of rules was last evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evaluations {
    /// How often it is due, in milliseconds.
    pub interval_ms: i64,
    /// Since when it is evaluated as it is now.
    pub since: TimestampMs,
    /// When it last was evaluated, if it has been since the start.
    pub last: Option<TimestampMs>,
}

/// What Alertmanagers have acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// There is none who could.
    Unneeded,
    /// Nothing yet.
    Never,
    /// The last time that one of them did.
    At(TimestampMs),
}

/// Knows the facts.
pub trait Chain: Send + Sync {
    /// All groups of rules.
    fn evaluations(&self) -> Vec<Evaluations>;
    /// What Alertmanagers have acknowledged.
    fn acknowledged(&self) -> Acknowledged;
}

impl Ties {
    /// Why a heartbeat that is sent every `interval` must not be sent now, if anything speaks against it.
    /// Rules have to be evaluated once before the first; `evaluated` remembers that. What a reload has
    /// added or changed is due as if it had been evaluated then.
    pub(super) fn broken(
        self,
        chain: &dyn Chain,
        interval: Duration,
        evaluated: &AtomicBool,
        now: TimestampMs,
    ) -> Option<Reason> {
        // What lies in the future was noted before the clock was set back, and says nothing.
        let passed = |at: &TimestampMs| *at <= now + TOLERANCE_MS;
        let is_late = |group: &Evaluations| {
            let latest = group.last.into_iter().chain([group.since]).filter(passed).max();
            latest.is_none_or(|latest| now - latest > 2 * group.interval_ms + TOLERANCE_MS)
        };
        let groups = if self.evaluation { chain.evaluations() } else { Vec::new() };
        if groups.iter().any(|group| group.last.is_some()) {
            evaluated.store(true, Ordering::Relaxed);
        }
        let evaluated = evaluated.load(Ordering::Relaxed);
        if self.evaluation && (groups.is_empty() || !evaluated || groups.iter().any(is_late)) {
            return Some(Reason::Evaluation);
        }
        let recent = now - recent(interval).as_millis() as i64;
        match chain.acknowledged() {
            _ if !self.delivery => None,
            Acknowledged::Unneeded => None,
            Acknowledged::At(at) if at >= recent && passed(&at) => None,
            Acknowledged::At(_) | Acknowledged::Never => Some(Reason::Delivery),
        }
    }
}

/// For how long an acknowledgement counts: it has to be newer than the heartbeat before.
pub(super) fn recent(interval: Duration) -> Duration {
    interval.min(MOST_RECENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Facts(Vec<Evaluations>, Acknowledged);

    impl Chain for Facts {
        fn evaluations(&self) -> Vec<Evaluations> {
            self.0.clone()
        }

        fn acknowledged(&self) -> Acknowledged {
            self.1
        }
    }

    const BOTH: Ties = Ties { evaluation: true, delivery: true };
    const MINUTE: Duration = Duration::from_mins(1);

    fn group(interval_ms: i64, last: Option<TimestampMs>) -> Evaluations {
        Evaluations { interval_ms, since: 900_000, last }
    }

    #[track_caller]
    fn check(ties: Ties, groups: &[Evaluations], acknowledged: Acknowledged, expected: Option<Reason>) {
        let facts = Facts(groups.to_vec(), acknowledged);
        assert_eq!(ties.broken(&facts, MINUTE, &AtomicBool::default(), 1_000_000), expected);
    }

    #[test]
    fn rules_have_to_be_evaluated_when_they_are_due() {
        let ties = Ties { delivery: false, ..BOTH };
        let check = |groups: &[Evaluations], expected| check(ties, groups, Acknowledged::Never, expected);
        check(&[], Some(Reason::Evaluation));
        check(&[group(15_000, None)], Some(Reason::Evaluation));
        check(&[group(15_000, Some(990_000))], None);
        check(&[group(15_000, Some(965_000))], None);
        check(&[group(15_000, Some(964_999))], Some(Reason::Evaluation));
        check(&[group(15_000, Some(1_005_000))], None);
        check(&[group(3_600_000, Some(1_005_001))], None);
        check(
            &[Evaluations { since: 1_100_000, ..group(15_000, Some(1_100_000)) }],
            Some(Reason::Evaluation),
        );
        check(&[Evaluations { since: 1_100_000, ..group(15_000, Some(990_000)) }], None);
        check(&[group(15_000, Some(990_000)), group(3_600_000, None)], None);
        check(&[group(15_000, Some(990_000)), group(15_000, None)], Some(Reason::Evaluation));
    }

    #[test]
    fn what_a_reload_adds_or_changes_is_due_from_then_on() {
        let ties = Ties { delivery: false, ..BOTH };
        let evaluated = AtomicBool::default();
        let broken = |last, since| {
            let facts = Facts(vec![Evaluations { since, ..group(15_000, last) }], Acknowledged::Never);
            ties.broken(&facts, MINUTE, &evaluated, 1_000_000)
        };
        assert_eq!(broken(None, 990_000), Some(Reason::Evaluation), "nothing was evaluated since the start");
        assert_eq!(broken(Some(990_000), 900_000), None);
        assert_eq!(broken(None, 990_000), None, "all groups have new names");
        assert_eq!(broken(None, 964_999), Some(Reason::Evaluation));
        assert_eq!(broken(Some(900_000), 990_000), None, "its interval was longer before");
    }

    #[test]
    fn an_alertmanager_has_to_have_acknowledged_since_the_last_heartbeat() {
        let good = [group(15_000, Some(990_000))];
        check(BOTH, &good, Acknowledged::Unneeded, None);
        check(BOTH, &good, Acknowledged::Never, Some(Reason::Delivery));
        check(BOTH, &good, Acknowledged::At(940_000), None);
        check(BOTH, &good, Acknowledged::At(939_999), Some(Reason::Delivery));
        check(BOTH, &good, Acknowledged::At(1_005_001), Some(Reason::Delivery));
        check(BOTH, &[], Acknowledged::At(990_000), Some(Reason::Evaluation));
        check(Ties { evaluation: false, delivery: false }, &[], Acknowledged::Never, None);
    }
}
