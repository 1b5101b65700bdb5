//! One target, probed with a module.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::module::{Module, TargetFault};
use crate::clock::SharedClock;
use crate::model::{Labels, METRIC_NAME, Sample};
use crate::probe::{Deadline, ProbeFailure, ProbeOutcome, Prober, Reach};

/// Probes one target with a module, and says of the probe itself what no prober knows.
pub struct ModuleTarget {
    inner: Result<Arc<dyn Prober>, TargetFault>,
    kind: &'static str,
    timeout: Duration,
}

impl ModuleTarget {
    /// A prober of `target`, which may take `timeout`. What is wrong with the target is what its probes
    /// say, as in blackbox exporter.
    pub fn new(module: &Module, target: &str, reach: Reach, timeout: Duration, clock: &SharedClock) -> Self {
        Self { inner: module.prober(target, reach, clock), kind: module.kind(), timeout }
    }

    /// What is wrong with the target, if anything is.
    pub fn fault(&self) -> Option<&TargetFault> {
        self.inner.as_ref().err()
    }

    /// What is said of a probe that failed without a result of its own.
    pub(super) fn failed(&self, failure: ProbeFailure) -> ProbeOutcome {
        let log = vec![format!("failed: {}", failure.reason)];
        let outcome = ProbeOutcome { result: Err(failure), samples: Vec::new(), log };
        self.completed(outcome, self.timeout)
    }

    async fn run(&self, deadline: Deadline) -> ProbeOutcome {
        let started = Instant::now();
        match &self.inner {
            Ok(prober) => {
                let outcome = prober.probe(deadline).await;
                self.completed(outcome, started.elapsed())
            }
            Err(fault) => self.failed(ProbeFailure::new("target", fault.to_string())),
        }
    }

    fn completed(&self, outcome: ProbeOutcome, duration: Duration) -> ProbeOutcome {
        let ProbeOutcome { result, samples: found, log: course } = outcome;
        let (timeout, seconds) = (self.timeout.as_secs_f64(), duration.as_secs_f64());
        let mut samples = vec![
            gauge("probe_success", f64::from(u8::from(result.is_ok()))),
            gauge("probe_duration_seconds", seconds),
            gauge("probe_timeout_seconds", timeout),
        ];
        let own: Vec<Labels> = samples.iter().map(|sample| sample.labels.clone()).collect();
        samples.extend(found.into_iter().filter(|sample| !own.contains(&sample.labels)));
        let mut log = vec![format!("probing with `{}`, for {timeout} s at most", self.kind)];
        log.extend(course);
        let ending = if result.is_ok() { "succeeded" } else { "failed" };
        log.push(format!("the probe {ending} after {seconds:.6} s"));
        ProbeOutcome { result, samples, log }
    }
}

impl Prober for ModuleTarget {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.run(deadline).boxed()
    }
}

fn gauge(name: &str, value: f64) -> Sample {
    Sample::new(Labels::from_pairs([(METRIC_NAME, name)]), 0, value)
}
