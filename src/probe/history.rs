//! What probes found, for people who want to know later what happened.
//!
//! For each probe the last successes and, more of them and for longer, the last failures, each with its log
//! and samples. The whole is bounded in bytes: where there is no room, the oldest success goes first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{LogLine, ProbeFailure};
use crate::model::{Sample, TimestampMs};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Successes of each probe.
    pub successes: usize,
    /// Failures of each probe.
    pub failures: usize,
    /// Memory of all of it.
    pub max_bytes: usize,
}

/// Enough for 40 probes that fail; a result takes about 4 KiB.
impl Default for HistoryLimits {
    fn default() -> Self {
        Self { successes: 3, failures: 10, max_bytes: 2 << 20 }
    }
}

/// Who wanted a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The configuration.
    Scheduled,
    /// Someone who asked for it.
    Asked,
}

/// What was probed, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Probed {
    /// Who wanted it.
    pub origin: Origin,
    /// The module, or the kind of component.
    pub module: Arc<str>,
    /// The target, or the component's name.
    pub target: Arc<str>,
}

/// A result.
#[derive(Debug, Clone)]
pub struct ProbeRecord {
    /// What was probed.
    pub probed: Probed,
    /// When the probe began.
    pub at: TimestampMs,
    /// How long it took.
    pub duration: Duration,
    /// How long it was allowed to take.
    pub timeout: Duration,
    /// Why it failed, if it did.
    pub failure: Option<ProbeFailure>,
    /// What happened in which order.
    pub log: Vec<LogLine>,
    /// What was found.
    pub samples: Arc<[Sample]>,
    /// The configuration of the module, without secrets; empty if it has none.
    pub configuration: Arc<str>,
}

impl ProbeRecord {
    /// About how much memory it takes. The configuration is shared, and the names of labels are not counted
    /// apart from their values, since a rough figure is enough.
    fn size_bytes(&self) -> usize {
        const OVERHEAD: usize = 256;
        const PER_SAMPLE: usize = 64;
        let text = |sample: &Sample| {
            sample.labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
        };
        let samples: usize = self.samples.iter().map(|sample| PER_SAMPLE + text(sample)).sum();
        let log: usize = self.log.iter().map(|line| line.text.len() + size_of::<LogLine>()).sum();
        let reason = self.failure.as_ref().map_or(0, |failure| failure.reason.len());
        OVERHEAD + self.probed.target.len() + samples + log + reason
    }
}

/// The results that are kept, each under a number that only grows.
#[derive(Debug)]
pub struct History {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    limits: HistoryLimits,
    next_id: u64,
    size_bytes: usize,
    successes: BTreeMap<u64, Arc<ProbeRecord>>,
    failures: BTreeMap<u64, Arc<ProbeRecord>>,
    /// The numbers of each probe's successes and failures, oldest first.
    by_probe: HashMap<Probed, [VecDeque<u64>; 2]>,
}

impl History {
    /// A history without results.
    pub fn new(limits: HistoryLimits) -> Self {
        let kept = Kept {
            limits,
            next_id: 0,
            size_bytes: 0,
            successes: BTreeMap::new(),
            failures: BTreeMap::new(),
            by_probe: HashMap::new(),
        };
        Self { kept: Mutex::new(kept) }
    }

    /// Changes how much is kept; what is too much goes at once, except what only a probe's next result
    /// makes too much.
    pub fn limit(&self, limits: HistoryLimits) {
        let mut kept = self.lock();
        kept.limits = limits;
        kept.make_room();
    }

    /// Keeps a result, with the end of its log. Returns its number.
    pub fn add(&self, mut record: ProbeRecord) -> u64 {
        record.log = shortened(record.log);
        self.lock().add(record)
    }

    /// The result with this number, if it is still kept.
    pub fn get(&self, id: u64) -> Option<Arc<ProbeRecord>> {
        let kept = self.lock();
        kept.failures.get(&id).or_else(|| kept.successes.get(&id)).cloned()
    }

    /// All results, newest first.
    pub fn list(&self) -> Vec<(u64, Arc<ProbeRecord>)> {
        let kept = self.lock();
        let mut all: Vec<_> =
            kept.successes.iter().chain(&kept.failures).map(|(id, record)| (*id, record.clone())).collect();
        drop(kept);
        all.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
        all
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, record: ProbeRecord) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let failed = record.failure.is_some();
        let most = if failed { self.limits.failures } else { self.limits.successes };
        self.size_bytes += record.size_bytes();
        let probed = record.probed.clone();
        let results = if failed { &mut self.failures } else { &mut self.successes };
        results.insert(id, Arc::new(record));
        let own = &mut self.by_probe.entry(probed).or_default()[usize::from(failed)];
        own.push_back(id);
        let surplus = own.len().saturating_sub(most.max(1));
        let old: Vec<u64> = own.iter().take(surplus).copied().collect();
        for id in old {
            self.remove(failed, id);
        }
        self.make_room();
        id
    }

    /// Lets the oldest go until the rest fits; of the newest result nothing goes.
    fn make_room(&mut self) {
        while self.size_bytes > self.limits.max_bytes && self.successes.len() + self.failures.len() > 1 {
            let newest = self.next_id.saturating_sub(1);
            let oldest =
                |results: &BTreeMap<u64, _>| results.keys().next().copied().filter(|id| *id != newest);
            match (oldest(&self.successes), oldest(&self.failures)) {
                (Some(id), _) => self.remove(false, id),
                (None, Some(id)) => self.remove(true, id),
                (None, None) => return,
            }
        }
    }

    fn remove(&mut self, failed: bool, id: u64) {
        let results = if failed { &mut self.failures } else { &mut self.successes };
        let Some(record) = results.remove(&id) else { return };
        self.size_bytes = self.size_bytes.saturating_sub(record.size_bytes());
        if let Some(sides) = self.by_probe.get_mut(&record.probed) {
            sides[usize::from(failed)].retain(|own| *own != id);
            if sides.iter().all(VecDeque::is_empty) {
                self.by_probe.remove(&record.probed);
            }
        }
    }
}

/// Lines and bytes per line that are kept of a probe's log.
const MAX_LOG_LINES: usize = 64;
const MAX_LOG_LINE_BYTES: usize = 1024;

/// The end of a log, where the failure is.
pub fn shortened(mut log: Vec<LogLine>) -> Vec<LogLine> {
    log.drain(..log.len().saturating_sub(MAX_LOG_LINES));
    for LogLine { text, .. } in &mut log {
        if text.len() > MAX_LOG_LINE_BYTES {
            text.truncate(text.floor_char_boundary(MAX_LOG_LINE_BYTES));
            text.push('…');
        }
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: String) -> LogLine {
        LogLine { after: None, text }
    }

    fn record(target: &str, success: bool, log_bytes: usize) -> ProbeRecord {
        ProbeRecord {
            probed: Probed { origin: Origin::Asked, module: "m".into(), target: target.into() },
            at: 0,
            duration: Duration::ZERO,
            timeout: Duration::ZERO,
            failure: (!success).then(|| ProbeFailure::new("timeout", "late")),
            log: vec![line("x".repeat(log_bytes))],
            samples: Vec::new().into(),
            configuration: "".into(),
        }
    }

    /// The numbers that are left after results given as target and success.
    fn left(limits: HistoryLimits, results: &[(&str, bool)]) -> Vec<u64> {
        let history = History::new(limits);
        for (target, success) in results {
            history.add(record(target, *success, 100));
        }
        history.list().into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn each_probe_keeps_its_last_results_and_more_failures() {
        let limits = HistoryLimits { successes: 1, failures: 2, max_bytes: 1 << 20 };
        let check = |results: &[(&str, bool)], expected: &[u64]| {
            assert_eq!(left(limits, results), expected, "{results:?}");
        };
        check(&[("a", true), ("a", true), ("a", true)], &[2]);
        check(&[("a", false), ("a", true), ("a", true)], &[2, 0]);
        check(&[("a", false), ("a", false), ("a", false), ("a", true)], &[3, 2, 1]);
        check(&[("a", false), ("b", true), ("a", true), ("b", true)], &[3, 2, 0]);
    }

    #[test]
    fn what_does_not_fit_goes_successes_first() {
        let size = record("a", true, 100).size_bytes();
        let limits = HistoryLimits { successes: 10, failures: 10, max_bytes: 3 * size + 100 };
        let check = |results: &[(&str, bool)], expected: &[u64]| {
            assert_eq!(left(limits, results), expected, "{results:?}");
        };
        check(&[("a", true), ("b", true), ("c", true), ("d", true)], &[3, 2, 1]);
        check(&[("a", false), ("b", true), ("c", true), ("d", true)], &[3, 2, 0]);
        check(&[("a", false), ("b", false), ("c", false), ("d", true)], &[3, 2, 1]);
        let history = History::new(HistoryLimits { max_bytes: 10, ..limits });
        for _ in 0..5 {
            history.add(record("a", true, 100));
        }
        assert_eq!(history.list().len(), 1, "the newest always stays");
        assert_eq!(history.lock().by_probe.len(), 1);
    }

    #[test]
    fn a_result_is_found_by_its_number_until_it_is_gone() {
        let history = History::new(HistoryLimits { successes: 1, ..HistoryLimits::default() });
        let first = history.add(record("a", true, 1));
        assert!(history.get(first).is_some());
        let second = history.add(record("a", true, 1));
        assert!(history.get(first).is_none());
        assert_eq!(history.get(second).map(|record| record.probed.target.to_string()).as_deref(), Some("a"));
        history.limit(HistoryLimits { max_bytes: 0, ..HistoryLimits::default() });
        assert!(history.get(second).is_some());
    }

    #[test]
    fn a_long_log_keeps_its_end() {
        let kept = shortened((0..100).map(|number| line(number.to_string())).collect());
        assert_eq!((kept.len(), kept[0].text.as_str()), (64, "36"));
        assert_eq!(shortened(vec![line("é".repeat(1000))])[0].len(), 1024 + '…'.len_utf8());
    }
}
