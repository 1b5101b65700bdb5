//! The machine: processors, memory, load, pressure, network, block devices, as the kernel tells in `/proc`
//! and `/sys`.
//!
//! The metrics are `node_exporter`'s, of the collectors that rules and dashboards use. Each collector
//! stands alone: one that fails or has nothing to tell says so in `node_scrape_collector_success`, and the
//! others go on. File systems are [`disk`](super::disk)'s.

mod block;
mod cpu;
mod files;
mod load;
mod memory;
mod metadata;
mod network;
mod raid;
mod sensors;
mod sockets;
mod system;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use regex::Regex;
use tokio::sync::Semaphore;

use super::metadata::BUILD;
use super::samples::SampleSet;
use super::{Deadline, MetricMetadata, ProbeFailure, ProbeOutcome, Prober};
use crate::clock::SharedClock;

pub use files::Paths;
pub use metadata::TEXTFILE;

use cpu::Processors;
use files::CollectError;

/// Block devices of which nothing is told unless the configuration says otherwise: memory, loops, and
/// partitions, whose disk is told of.
/// Source: `node_exporter` `collector/diskstats_linux.go`, `diskstatsDefaultIgnoredDevices`.
pub const EXCLUDED_DISKS: &str = r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$";

/// Of how many devices each collector tells at most. A host of containers has a network device or two for
/// each of them.
const MAX_DEVICES: usize = 512;

/// The kinds of failure that this prober reports.
pub const FAILURE_KINDS: &[&str] = &["unreadable", "timeout", "internal"];

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where the kernel's files are.
    pub paths: Paths,
    /// What is left out.
    pub filters: Filters,
    /// Names of collectors that are not run.
    pub disabled: Vec<String>,
}

/// Devices of which nothing is told.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// Network devices.
    pub network: Excluded,
    /// Block devices.
    pub disk: Excluded,
}

/// What a pattern excludes; nothing without one.
#[derive(Debug, Clone, Default)]
pub struct Excluded(pub Option<Regex>);

impl Excluded {
    fn wants(&self, device: &str) -> bool {
        self.0.as_ref().is_none_or(|pattern| !pattern.is_match(device))
    }
}

/// One reading of everything.
struct Round<'a> {
    paths: &'a Paths,
    filters: &'a Filters,
    processors: &'a mut Processors,
    now_seconds: f64,
}

/// The first devices, as many as are told of; and how many are not.
fn bounded<T>(collector: &str, devices: impl Iterator<Item = T>, samples: &mut SampleSet) -> Vec<T> {
    let mut devices: Vec<T> = devices.collect();
    let dropped = devices.len().saturating_sub(MAX_DEVICES);
    devices.truncate(MAX_DEVICES);
    samples.labelled("valmis_node_devices_dropped", &[("collector", collector)], dropped as f64);
    devices
}

/// What one collector does.
type Collect = fn(&mut Round<'_>, &mut SampleSet) -> Result<(), CollectError>;

/// The collectors under the names that they have in `node_exporter`, and the metrics that each tells.
const COLLECTORS: &[(&str, Collect, &[MetricMetadata])] = &[
    ("bonding", network::bonding, metadata::BONDING),
    ("conntrack", sockets::conntrack, metadata::CONNTRACK),
    ("cpu", cpu::cpu, metadata::CPU),
    ("diskstats", block::diskstats, metadata::DISKSTATS),
    ("edac", sensors::edac, metadata::EDAC),
    ("entropy", system::entropy, metadata::ENTROPY),
    ("filefd", system::filefd, metadata::FILEFD),
    ("hwmon", sensors::hwmon, metadata::HWMON),
    ("kernel_hung", system::kernel_hung, metadata::KERNEL_HUNG),
    ("loadavg", load::loadavg, metadata::LOADAVG),
    ("mdadm", raid::mdadm, metadata::MDADM),
    ("meminfo", memory::meminfo, metadata::MEMINFO),
    ("netclass", network::netclass, metadata::NETCLASS),
    ("netdev", network::netdev, metadata::NETDEV),
    ("netstat", sockets::netstat, metadata::NETSTAT),
    ("pressure", load::pressure, metadata::PRESSURE),
    ("sockstat", sockets::sockstat, metadata::SOCKSTAT),
    ("stat", cpu::stat, metadata::STAT),
    ("time", system::time, metadata::TIME),
    ("uname", system::uname, metadata::UNAME),
    ("vmstat", memory::vmstat, metadata::VMSTAT),
    ("zfs", raid::zfs, metadata::ZFS),
];

/// Those without which nothing is known of a machine: every kernel has them.
const ESSENTIAL: &[&str] = &["cpu", "meminfo"];

/// The names of all collectors.
pub fn collectors() -> impl Iterator<Item = &'static str> {
    COLLECTORS.iter().map(|(name, ..)| *name)
}

/// Every metric of a collector, with the collector's name.
pub fn collected() -> impl Iterator<Item = (&'static str, &'static str)> {
    COLLECTORS.iter().flat_map(|(name, _, metrics)| metrics.iter().map(move |(metric, ..)| (*metric, *name)))
}

/// All metrics about the machine.
pub const METADATA: &[&[MetricMetadata]] = &{
    let mut all = [metadata::OWN; COLLECTORS.len() + 2];
    all[1] = TEXTFILE;
    let mut index = 0;
    while index < COLLECTORS.len() {
        all[index + 2] = COLLECTORS[index].2;
        index += 1;
    }
    all
};

/// Tells of the machine. Succeeds if the kernel's files can be read; whether what they say is good is for
/// rules to judge.
pub struct NodeProber {
    config: Arc<Config>,
    clock: SharedClock,
    processors: Arc<Mutex<Processors>>,
    /// Held by the thread that reads, also beyond the deadline: sensors can be slow, and if one hangs, one
    /// thread hangs.
    reading: Arc<Semaphore>,
}

impl NodeProber {
    /// A prober of the machine that `config` names.
    pub fn new(config: Config, clock: SharedClock) -> Self {
        Self {
            config: Arc::new(config),
            clock,
            processors: Arc::default(),
            reading: Arc::new(Semaphore::new(1)),
        }
    }

    async fn run(&self, deadline: Deadline) -> ProbeOutcome {
        let failed = |failure: ProbeFailure| ProbeOutcome {
            log: vec![failure.reason.clone()],
            result: Err(failure),
            samples: Vec::new(),
        };
        let Ok(permit) = Arc::clone(&self.reading).try_acquire_owned() else {
            return failed(ProbeFailure::unknown("timeout", "an earlier probe still waits for the kernel"));
        };
        let (config, processors) = (Arc::clone(&self.config), Arc::clone(&self.processors));
        let now_seconds = self.clock.now() as f64 / 1000.0;
        let reading = tokio::task::spawn_blocking(move || {
            let outcome = read(&config, &processors, now_seconds);
            drop(permit);
            outcome
        });
        match tokio::time::timeout_at(deadline.instant(), reading).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(stopped)) => failed(ProbeFailure::unknown("internal", stopped.to_string())),
            Err(_elapsed) => failed(ProbeFailure::unknown("timeout", "the kernel gave no answer in time")),
        }
    }
}

impl Prober for NodeProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.run(deadline).boxed()
    }
}

/// Runs all collectors. Blocks.
fn read(config: &Config, processors: &Mutex<Processors>, now_seconds: f64) -> ProbeOutcome {
    let mut processors = processors.lock().unwrap_or_else(PoisonError::into_inner);
    let mut round =
        Round { paths: &config.paths, filters: &config.filters, processors: &mut processors, now_seconds };
    let mut samples = SampleSet::default();
    let (mut log, mut missing) = (Vec::new(), Vec::new());
    samples.labelled("node_exporter_build_info", BUILD, 1.0);
    for (name, collect, _) in COLLECTORS {
        if config.disabled.iter().any(|disabled| disabled == name) {
            continue;
        }
        let started = Instant::now();
        let collected = collect(&mut round, &mut samples);
        let labels = [("collector", *name)];
        let seconds = started.elapsed().as_secs_f64();
        samples.labelled("node_scrape_collector_duration_seconds", &labels, seconds);
        samples.labelled("node_scrape_collector_success", &labels, f64::from(collected.is_ok()));
        if let Err(error) = collected {
            log.push(format!("collector `{name}`: {error}"));
            if ESSENTIAL.contains(name) {
                missing.push(error.to_string());
            }
        }
    }
    let result = if missing.is_empty() {
        Ok(())
    } else {
        Err(ProbeFailure::unknown("unreadable", missing.join("; ")))
    };
    ProbeOutcome { result, samples: samples.into_samples(), log }
}
