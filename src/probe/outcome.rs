//! What the probers of this folder have in common: running out of time, and the samples of any outcome.

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

/// Runs `look`, which fills `findings`, until it is done or the deadline has passed.
pub(super) async fn observe<F: Findings>(
    deadline: Deadline,
    mut findings: F,
    look: impl AsyncFnOnce(&mut F) -> Result<(), ProbeFailure>,
) -> ProbeOutcome {
    let started = Instant::now();
    let allowed = deadline.remaining().as_secs_f64();
    let timed = tokio::time::timeout_at(deadline.instant(), look(&mut findings)).await;
    if timed.is_err() {
        findings.ran_out_of_time();
    }
    let course = findings.course();
    let result = timed.unwrap_or_else(|_| {
        let doing = if course.doing.is_empty() { "starting" } else { &course.doing };
        Err(ProbeFailure::new("timeout", format!("out of time after {allowed:.3} s, while {doing}")))
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
