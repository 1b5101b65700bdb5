//! The machine: processors, memory, load, pressure, network, block devices, as the kernel tells in `/proc`
//! and `/sys`.
//!
//! The metrics are `node_exporter`'s, of the collectors that rules and dashboards use. Each collector
//! stands alone: one that fails or has nothing to tell says so in `node_scrape_collector_success`, and the
//! others go on. File systems are [`disk`](super::disk)'s.

mod block;
mod cpu;
mod dbus;
mod files;
mod load;
mod memory;
mod metadata;
mod network;
mod queues;
mod raid;
mod reading;
mod sensors;
mod sockets;
mod system;
mod systemd;
#[cfg(test)]
mod tests;
mod timex;
mod udev;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::samples::SampleSet;
use super::{Deadline, MetricMetadata, ProbeOutcome, Prober};
use crate::clock::SharedClock;
use crate::model::GoRegex;

pub use files::Paths;
pub use metadata::TEXTFILE;
pub use systemd::{EXCLUDED_UNITS, Units};

use cpu::Processors;
use files::CollectError;
use reading::Hanging;

/// Block devices of which nothing is told unless the configuration says otherwise: memory, loops, and
/// partitions, whose disk is told of.
/// Source: `node_exporter` `collector/diskstats_linux.go`, `diskstatsDefaultIgnoredDevices`.
pub const EXCLUDED_DISKS: &str = r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$";

/// Of how many devices each collector tells at most. A host of containers has a network device or two for
/// each of them.
const MAX_DEVICES: usize = 512;

/// The kinds of failure that this prober reports.
pub const FAILURE_KINDS: &[&str] = &["unreadable", "timeout"];

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where the kernel's files are.
    pub paths: Paths,
    /// What is left out.
    pub filters: Filters,
    /// Names of collectors that are not run.
    pub disabled: Vec<String>,
    /// Which units of systemd are told of; without, systemd is not asked at all.
    pub units: Option<Units>,
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
pub struct Excluded(pub Option<GoRegex>);

impl Excluded {
    fn wants(&self, device: &str) -> bool {
        self.0.as_ref().is_none_or(|pattern| !pattern.is_match(device))
    }
}

/// One reading of everything.
struct Round<'a> {
    paths: &'a Paths,
    filters: &'a Filters,
    units: Option<&'a Units>,
    /// How long a collector may wait for what is no file.
    patience: Duration,
    processors: &'a Mutex<Processors>,
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
    ("arp", queues::arp, metadata::ARP),
    ("bonding", network::bonding, metadata::BONDING),
    ("conntrack", sockets::conntrack, metadata::CONNTRACK),
    ("cpu", cpu::cpu, metadata::CPU),
    ("cpufreq", cpu::cpufreq, metadata::CPUFREQ),
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
    ("schedstat", queues::schedstat, metadata::SCHEDSTAT),
    ("sockstat", sockets::sockstat, metadata::SOCKSTAT),
    ("softnet", queues::softnet, metadata::SOFTNET),
    ("stat", cpu::stat, metadata::STAT),
    (SYSTEMD, systemd::systemd, metadata::SYSTEMD),
    ("thermal_zone", sensors::thermal_zone, metadata::THERMAL_ZONE),
    ("time", system::time, metadata::TIME),
    ("timex", timex::timex, metadata::TIMEX),
    ("udp_queues", queues::udp_queues, metadata::UDP_QUEUES),
    ("uname", system::uname, metadata::UNAME),
    ("vmstat", memory::vmstat, metadata::VMSTAT),
    ("zfs", raid::zfs, metadata::ZFS),
];

/// The one collector that is not run unless the configuration asks for it, as in `node_exporter`.
const SYSTEMD: &str = "systemd";

/// Those that ask a device or another program.
const SLOW: &[&str] = &["edac", "hwmon", SYSTEMD, "thermal_zone"];

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
    hanging: Hanging,
}

impl NodeProber {
    /// A prober of the machine that `config` names.
    pub fn new(config: Config, clock: SharedClock) -> Self {
        let (processors, hanging) = Default::default();
        Self { config: Arc::new(config), clock, processors, hanging }
    }
}

impl Prober for NodeProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        let now_seconds = self.clock.now() as f64 / 1000.0;
        reading::read(&self.config, &self.processors, &self.hanging, now_seconds, deadline).boxed()
    }
}
