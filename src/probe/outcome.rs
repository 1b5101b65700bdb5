//! What the probers of this folder have in common: running out of time, and the samples of any outcome.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use super::samples::SampleSet;
use super::{Deadline, Log, MetricMetadata, ProbeFailure, ProbeOutcome};

/// The metrics of a probe's outcome.
pub(super) const METADATA: &[MetricMetadata] = &[
    ("probe_success", "gauge", "Displays whether or not the probe was a success"),
    ("probe_duration_seconds", "gauge", "Returns how long the probe took to complete in seconds"),
    (
        "valmis_probe_unknown",
        "gauge",
        "Whether the probe could not look, so that its failure says nothing of the target.",
    ),
];

/// Adds how a probe ended, and how long it took.
pub(super) fn emit_verdict(
    samples: &mut SampleSet,
    labels: &[(&str, &str)],
    result: &Result<(), ProbeFailure>,
    took: Duration,
) {
    let is_unknown = result.as_ref().is_err_and(|failure| failure.unknown);
    samples.labelled("probe_success", labels, f64::from(result.is_ok()));
    samples.labelled("probe_duration_seconds", labels, took.as_secs_f64());
    samples.labelled("valmis_probe_unknown", labels, f64::from(is_unknown));
}

/// How many events are noted, apart from the failure.
const MAX_EVENTS: usize = 200;

/// What happened so far, for people, and what a probe is waiting for.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) log: Log,
    /// What is under way, such as `connecting`.
    doing: String,
}

impl Course {
    /// Notes an event. A peer that makes endless events gets no endless log.
    pub(super) fn note(&mut self, event: impl Into<String>) {
        match self.log.len() {
            0..MAX_EVENTS => self.log.push(event.into()),
            MAX_EVENTS => self.log.push("more happened, which is not noted"),
            _ => {}
        }
    }

    /// Says what comes next, which may take time.
    pub(super) fn begin(&mut self, doing: impl Into<String>) {
        self.doing = doing.into();
    }
}

/// A probe's facts while they are collected, so that one that fails or hangs still has what it got.
pub(super) trait Findings {
    /// The course of the probe.
    fn course(&mut self) -> &mut Course;

    /// Notes that there was not enough time.
    fn ran_out_of_time(&mut self) {}

    /// Adds the samples of what was found.
    fn emit(&self, samples: &mut SampleSet);
}

tokio::task_local! {
    /// What the probe of this task waits for that is this machine's.
    static WAITS_FOR: RefCell<Option<String>>;
}

/// Waits for something of this machine: a file, or a place among others. A probe whose time is over meanwhile
/// knows nothing of its target. One at a time within a probe.
pub(super) async fn waiting_here<T>(what: impl Into<String>, wait: impl Future<Output = T>) -> T {
    struct Waiting;
    impl Drop for Waiting {
        fn drop(&mut self) {
            note(None);
        }
    }
    // Who is not observed has not to be told.
    fn note(what: Option<String>) {
        let _ = WAITS_FOR.try_with(|waits_for| waits_for.replace(what));
    }
    note(Some(what.into()));
    let _waiting = Waiting;
    wait.await
}

/// Runs `look` until it is done or the deadline has passed.
pub(super) async fn in_time<T>(deadline: Deadline, look: impl Future<Output = T>) -> Result<T, Late> {
    let allowed = deadline.remaining();
    let mut looking = pin!(WAITS_FOR.scope(RefCell::default(), look));
    let looked = tokio::time::timeout_at(deadline.instant(), looking.as_mut()).await;
    looked.map_err(|_| Late { allowed, waits_for: looking.take_value().and_then(RefCell::into_inner) })
}

/// There was not enough time.
#[derive(Debug)]
pub(super) struct Late {
    allowed: Duration,
    waits_for: Option<String>,
}

impl Late {
    /// What that says: nothing of the target if this machine took the time, else that `doing` took too long.
    pub(super) fn failure(self, doing: &str) -> ProbeFailure {
        let late =
            |doing: &str| format!("out of time after {:.3} s, while {doing}", self.allowed.as_secs_f64());
        match &self.waits_for {
            Some(here) => ProbeFailure::unknown("timeout", late(here)),
            None => ProbeFailure::new("timeout", late(doing)),
        }
    }
}

/// Runs `look`, which fills `findings`, until it is done or the deadline has passed.
pub(super) async fn observe<F: Findings>(
    deadline: Deadline,
    mut findings: F,
    look: impl AsyncFnOnce(&mut F) -> Result<(), ProbeFailure>,
) -> ProbeOutcome {
    let started = Instant::now();
    let looked = in_time(deadline, look(&mut findings)).await;
    if looked.is_err() {
        findings.ran_out_of_time();
    }
    let course = findings.course();
    let result = looked.unwrap_or_else(|late| {
        let doing = if course.doing.is_empty() { "starting" } else { &course.doing };
        Err(late.failure(doing))
    });
    if let Err(failure) = &result {
        course.log.push(format!("failed: {}", failure.reason));
    }
    let log = std::mem::take(&mut course.log);
    let mut samples = SampleSet::default();
    emit_verdict(&mut samples, &[], &result, started.elapsed());
    findings.emit(&mut samples);
    ProbeOutcome { result, samples: samples.into_samples(), log }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[derive(Default)]
    struct Nothing(Course);

    impl Findings for Nothing {
        fn course(&mut self) -> &mut Course {
            &mut self.0
        }

        fn emit(&self, _: &mut SampleSet) {}
    }

    #[tokio::test]
    async fn time_that_this_machine_took_says_nothing_of_the_target() {
        let check = async |here: bool, unknown: bool, part: &str| {
            let look = async |found: &mut Nothing| {
                found.0.begin("connecting");
                waiting_here("reading `one`", async {}).await;
                if here {
                    waiting_here("reading `two`", pending::<()>()).await;
                }
                pending().await
            };
            let deadline = Deadline::after(Duration::from_millis(20));
            let failure = observe(deadline, Nothing::default(), look).await.result.unwrap_err();
            assert_eq!((failure.kind, failure.unknown), ("timeout", unknown));
            assert!(failure.reason.ends_with(part), "{}", failure.reason);
        };
        check(true, true, "while reading `two`").await;
        check(false, false, "while connecting").await;
    }
}
