//! One reading of everything, by a thread that may hang in one collector.
//!
//! A sensor of a failing disk can keep whoever reads it waiting for minutes. What was collected by the
//! deadline is told, and the collector that hangs is left out until it answers: one thread waits for it, and
//! the others go on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cpu::Processors;
use super::{COLLECTORS, Config, ESSENTIAL, Round, SLOW, SYSTEMD};
use crate::model::Sample;
use crate::probe::metadata::BUILD;
use crate::probe::samples::SampleSet;
use crate::probe::{Deadline, ProbeFailure, ProbeOutcome};

/// The collectors in which threads of earlier readings still are.
#[derive(Debug, Clone, Default)]
pub(super) struct Hanging(Arc<Mutex<BTreeSet<&'static str>>>);

impl Hanging {
    fn names(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        // A name is in it or not.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a reading has come, shared by the thread that reads and whoever waits for it.
#[derive(Debug, Default)]
struct Progress {
    samples: Vec<Sample>,
    log: Vec<String>,
    /// The essential collectors that have told something.
    told: usize,
    /// Why others have not.
    missing: Vec<String>,
    /// The collector that is running.
    running: Option<&'static str>,
    /// Whether nobody waits any more.
    is_abandoned: bool,
}

impl Progress {
    /// Notes how a collector ended.
    fn ended(&mut self, name: &'static str, samples: SampleSet, error: Option<String>) {
        self.running = None;
        self.samples.extend(samples.into_samples());
        let is_essential = ESSENTIAL.contains(&name);
        match error {
            None => self.told += usize::from(is_essential),
            Some(error) => {
                self.log.push(format!("collector `{name}`: {error}"));
                if is_essential {
                    self.missing.push(error);
                }
            }
        }
    }

    /// What is told, at the end or at the deadline.
    fn outcome(&mut self) -> ProbeOutcome {
        let result = match (self.told, self.missing.is_empty()) {
            (_, false) => Err(ProbeFailure::unknown("unreadable", self.missing.join("; "))),
            (told, true) if told < ESSENTIAL.len() => {
                Err(ProbeFailure::unknown("timeout", "the kernel gave no answer in time"))
            }
            _ => Ok(()),
        };
        let (samples, log) = (std::mem::take(&mut self.samples), std::mem::take(&mut self.log));
        ProbeOutcome { result, samples, log: log.into() }
    }
}

/// Runs all collectors but those that hang, until the deadline.
pub(super) async fn read(
    config: &Arc<Config>,
    processors: &Arc<Mutex<Processors>>,
    hanging: &Hanging,
    now_seconds: f64,
    deadline: Deadline,
) -> ProbeOutcome {
    let progress = Arc::new(Mutex::new(Progress::default()));
    let (config, processors) = (Arc::clone(config), Arc::clone(processors));
    let (told, leaving) = (Arc::clone(&progress), hanging.clone());
    // So that one who keeps a collector waiting does not take the time of all others.
    let patience = deadline.remaining() / 2;
    let reading = tokio::task::spawn_blocking(move || {
        let round = Round {
            paths: &config.paths,
            filters: &config.filters,
            units: config.units.as_ref(),
            patience,
            processors: &processors,
            now_seconds,
        };
        collect(&config, round, &told, &leaving);
    });
    match tokio::time::timeout_at(deadline.instant(), reading).await {
        Ok(Ok(())) => lock(&progress).outcome(),
        Ok(Err(stopped)) => {
            let mut progress = lock(&progress);
            progress.missing.push(stopped.to_string());
            progress.outcome()
        }
        Err(_elapsed) => {
            let mut progress = lock(&progress);
            progress.is_abandoned = true;
            if let Some(name) = progress.running {
                hanging.names().insert(name);
                progress.ended(
                    name,
                    success(name, false, None),
                    Some("it gave no answer in time".to_owned()),
                );
            }
            progress.outcome()
        }
    }
}

/// Runs the collectors, those that may be slow last. Blocks.
fn collect(config: &Config, mut round: Round<'_>, progress: &Mutex<Progress>, hanging: &Hanging) {
    let mut build = SampleSet::default();
    build.labelled("node_exporter_build_info", BUILD, 1.0);
    lock(progress).samples.extend(build.into_samples());
    let quick = COLLECTORS.iter().filter(|(name, ..)| !SLOW.contains(name));
    let slow = COLLECTORS.iter().filter(|(name, ..)| SLOW.contains(name));
    for (name, collect, _) in quick.chain(slow) {
        let is_disabled = config.disabled.iter().any(|disabled| disabled == name);
        if is_disabled || *name == SYSTEMD && config.units.is_none() {
            continue;
        }
        let still_hangs = hanging.names().contains(name);
        {
            let mut progress = lock(progress);
            if progress.is_abandoned {
                return;
            }
            if still_hangs {
                let error = "it still gives an earlier probe no answer".to_owned();
                progress.ended(name, success(name, false, None), Some(error));
                continue;
            }
            progress.running = Some(name);
        }
        let started = Instant::now();
        let mut samples = SampleSet::default();
        let collected = collect(&mut round, &mut samples);
        let mut progress = lock(progress);
        if progress.is_abandoned {
            hanging.names().remove(name);
            return;
        }
        let verdict = success(name, collected.is_ok(), Some(started.elapsed()));
        let error = collected.err().map(|error| error.to_string());
        progress.ended(name, samples, error);
        progress.samples.extend(verdict.into_samples());
    }
}

/// What is told of each collector.
fn success(name: &str, is_good: bool, took: Option<Duration>) -> SampleSet {
    let mut samples = SampleSet::default();
    let labels = [("collector", name)];
    if let Some(took) = took {
        samples.labelled("node_scrape_collector_duration_seconds", &labels, took.as_secs_f64());
    }
    samples.labelled("node_scrape_collector_success", &labels, f64::from(is_good));
    samples
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    // It is whole between any two collectors.
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
