//! One target, probed with a module.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout_at;

use super::module::{Module, TargetFault};
use crate::clock::SharedClock;
use crate::model::{Labels, METRIC_NAME, Sample};
use crate::probe::{Deadline, Log, ProbeFailure, ProbeOutcome, Prober, Reach};

/// How long past its deadline a prober may take to hand over what it has.
const GRACE: Duration = Duration::from_millis(500);

/// Probes one target with a module, and says of the probe itself what no prober knows.
pub struct ModuleTarget {
    inner: Result<Arc<dyn Prober>, TargetFault>,
    kind: &'static str,
    configuration: Arc<str>,
}

impl ModuleTarget {
    /// A prober of `target`; of one that somebody asks for, within this reach. What is wrong with the target
    /// is what its probes say, as in blackbox exporter.
    pub fn new(module: &Module, target: &str, asked_within: Option<Reach>, clock: &SharedClock) -> Self {
        let inner = module.prober(target, asked_within, clock);
        Self { inner, kind: module.kind(), configuration: module.configuration().clone() }
    }

    /// What is wrong with the target, if anything is.
    pub fn fault(&self) -> Option<&TargetFault> {
        self.inner.as_ref().err()
    }

    /// The configuration of the module, without secrets.
    pub(super) fn configuration(&self) -> &Arc<str> {
        &self.configuration
    }

    /// Probes once; `allowed` is what the probe is said to have had. A prober that overruns it is not
    /// waited for.
    pub(super) async fn probe(&self, deadline: Deadline, allowed: Duration) -> ProbeOutcome {
        let started = Instant::now();
        let mut log = Log::default();
        log.push(format!("probing with `{}`, for {} s at most", self.kind, allowed.as_secs_f64()));
        let outcome = match &self.inner {
            Ok(prober) => {
                let finished = timeout_at(deadline.instant() + GRACE, prober.probe(deadline)).await;
                finished.unwrap_or_else(|_| {
                    failed(ProbeFailure::new("timeout", format!("no result within {allowed:?}")))
                })
            }
            Err(fault) => failed(ProbeFailure::new("target", fault.to_string())),
        };
        let ProbeOutcome { result, samples: found, log: course } = outcome;
        let (timeout, seconds) = (allowed.as_secs_f64(), started.elapsed().as_secs_f64());
        let mut samples = vec![
            gauge("probe_success", f64::from(u8::from(result.is_ok()))),
            gauge("probe_duration_seconds", seconds),
            gauge("probe_timeout_seconds", timeout),
        ];
        samples.reserve(found.len());
        let own: Vec<Labels> = samples.iter().map(|sample| sample.labels.clone()).collect();
        samples.extend(found.into_iter().filter(|sample| !own.contains(&sample.labels)));
        log.append(course);
        let ending = if result.is_ok() { "succeeded" } else { "failed" };
        log.push(format!("the probe {ending} after {seconds:.6} s"));
        ProbeOutcome { result, samples, log }
    }
}

fn failed(failure: ProbeFailure) -> ProbeOutcome {
    let log = vec![format!("failed: {}", failure.reason)].into();
    ProbeOutcome { result: Err(failure), samples: Vec::new(), log }
}

/// A target that is probed on a schedule.
pub struct ScheduledTarget {
    /// The target.
    pub target: ModuleTarget,
    /// How long a probe may take.
    pub timeout: Duration,
}

impl Prober for ScheduledTarget {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.target.probe(deadline, self.timeout).boxed()
    }
}

fn gauge(name: &str, value: f64) -> Sample {
    Sample::new(Labels::from_pairs([(METRIC_NAME, name)]), 0, value)
}
