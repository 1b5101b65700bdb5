//! File systems: how full they are, whether they can be written, and whether they answer at all.
//!
//! The metrics are `node_exporter`'s, with its labels. Two things differ on purpose: `device_error` is
//! always empty, because an error's text is no label value (and would make the failing file system
//! another series than its healthy self), and a file system that hangs is reported by the probe that
//! first meets it, not by later ones.

mod discovery;
mod kernel;
mod mountinfo;
pub mod trend;
mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Deadline, Log, ProbeFailure, ProbeOutcome, Prober};
use crate::model::{Labels, METRIC_NAME, Sample};

pub use discovery::{Chosen, Discovery, EXCLUDED_FS_TYPES, EXCLUDED_MOUNT_POINTS};
pub use kernel::Kernel;
pub use mountinfo::{Mount, MountInfoError, holding, parse, visible};
pub use worker::{StatVfs, Usage};

use worker::{Answer, Found, Question, Worker};

/// Name, type and help of every metric of this prober.
/// Source of the names: `node_exporter` `collector/filesystem_common.go`; `valmis_` ones are ours.
pub const METADATA: &[(&str, &str, &str)] = &[
    ("node_filesystem_size_bytes", "gauge", "Filesystem size in bytes."),
    ("node_filesystem_free_bytes", "gauge", "Filesystem free space in bytes."),
    ("node_filesystem_avail_bytes", "gauge", "Filesystem space available to non-root users in bytes."),
    ("node_filesystem_files", "gauge", "Filesystem total file nodes."),
    ("node_filesystem_files_free", "gauge", "Filesystem total free file nodes."),
    ("node_filesystem_readonly", "gauge", "Filesystem read-only status."),
    (
        "node_filesystem_device_error",
        "gauge",
        "Whether an error occurred while getting statistics for the given device.",
    ),
    ("node_filesystem_mount_info", "gauge", "Filesystem mount information."),
    (
        "valmis_filesystem_full_seconds",
        "gauge",
        "How long until nothing is available, going by how space went and came back in the last two days; \
         +Inf if nothing speaks for it, absent in the first hour.",
    ),
    (
        "valmis_filesystem_full_confidence",
        "gauge",
        "How far what was seen agrees with valmis_filesystem_full_seconds, from 0 to 1.",
    ),
    (
        "valmis_filesystem_stuck_seconds",
        "gauge",
        "How long the file system has left the call for its statistics unanswered; 0 when it answers.",
    ),
];

/// The kinds of failure that this prober reports.
pub const FAILURE_KINDS: &[&str] =
    &["hung", "statvfs", "not_mounted", "read_only", "full", "inodes", "mounts"];

/// A file system is full when less than this share of it is available …
const FULL_SHARE: f64 = 0.01;
/// … and less than this. One percent of a large file system is still room to work.
const FULL_BYTES: u64 = 1 << 30;

/// Where the table of mounts comes from. The seam where tests put their own.
pub trait MountTable: Send + Sync {
    /// The mounts as they are now.
    fn mounts(&self) -> io::Result<Vec<Mount>>;
}

/// What to look at and what to expect of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A mount point, or any path on the file system in question. Symbolic links are followed.
    pub path: PathBuf,
    /// Whether the program needs to write there.
    pub writable: bool,
    /// Whether the path must itself be a mount point: guards against a disk that was not mounted, so
    /// that its path silently lies on the disk below.
    pub mounted: bool,
}

/// Looks at one file system.
///
/// It is as it should be when it answers in time, can be written if the target says so, and is not
/// full: less than 1 % *and* less than 1 GiB available, or no inode left, since then writes fail or
/// are about to. Anything earlier (20 % left, full in four hours) is for alerting rules to say.
pub struct DiskProber {
    target: Target,
    worker: Worker,
    /// The mount as last seen, so that one that vanishes or hangs is still reported under its labels.
    last_seen: Mutex<Option<Mount>>,
    history: Mutex<trend::History>,
    /// The instant that the history counts from.
    began: Instant,
}

impl DiskProber {
    /// A prober that finds mounts in `mounts` and asks `statvfs`; outside of tests both are a [`Kernel`].
    pub fn new(target: Target, mounts: Arc<dyn MountTable>, statvfs: Arc<dyn StatVfs>) -> Self {
        Self {
            worker: Worker::new(Question { target: target.clone(), mounts, statvfs }),
            target,
            last_seen: Mutex::default(),
            history: Mutex::default(),
            began: Instant::now(),
        }
    }

    async fn look(&self, deadline: Deadline) -> ProbeOutcome {
        let path = self.target.path.display();
        let answer = self.worker.ask(deadline).await;
        let mut last_seen = self.last_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Answer::Found(Found::Usage(mount, _) | Found::Error(mount, _)) = &answer {
            *last_seen = Some(mount.clone());
        }
        let failed = |kind, reason: String, samples| ProbeOutcome {
            log: vec![reason.clone()].into(),
            result: Err(ProbeFailure::new(kind, reason)),
            samples,
        };
        let unknown = |kind, reason| ProbeOutcome {
            result: Err(ProbeFailure::unknown(kind, reason)),
            samples: Vec::new(),
            log: Log::default(),
        };
        match answer {
            Answer::Found(Found::Usage(mount, usage)) => {
                let labels = mount_labels(&mount);
                let mut samples = device_samples(&mount, false, 0.0);
                samples.extend(usage_samples(&labels, &usage));
                samples.extend(self.forecast_samples(&labels, &usage));
                let result = judge(&self.target, &mount, &usage);
                ProbeOutcome { result, samples, log: vec![describe(&mount, &usage)].into() }
            }
            Answer::Found(Found::Error(mount, error)) => {
                failed("statvfs", format!("`{path}`: {error}"), device_samples(&mount, true, 0.0))
            }
            Answer::Found(Found::NoPath(error)) => {
                // Which file system it should be on is not known.
                let labels = Labels::from_pairs([("mountpoint", path.to_string())]);
                let sample = sample(&labels, "node_filesystem_device_error", 1.0);
                failed("statvfs", format!("`{path}`: {error}"), vec![sample])
            }
            Answer::Found(Found::NotMounted) => {
                // What lies at the path now is another file system: its figures would be wrong ones.
                let samples = last_seen.as_ref().map(|mount| device_samples(mount, true, 0.0));
                failed("not_mounted", format!("nothing is mounted at `{path}`"), samples.unwrap_or_default())
            }
            Answer::Found(Found::NoTable(error)) => {
                unknown("mounts", format!("the table of mounts cannot be read: {error}"))
            }
            Answer::NotAsked(error) => unknown("statvfs", format!("`{path}` cannot be asked: {error}")),
            Answer::Stuck { since, mount: None } => {
                unknown("mounts", format!("the table of mounts has not been read for {since:.1?}"))
            }
            Answer::Stuck { since, mount: Some(mount) } => {
                let mount = last_seen.as_ref().unwrap_or(&mount);
                let reason = format!(
                    "`{path}` ({} on {}) has not answered for {since:.1?}",
                    mount.fstype, mount.device
                );
                failed("hung", reason, device_samples(mount, true, since.as_secs_f64()))
            }
        }
    }

    /// When it will be full, as soon as enough has been seen.
    fn forecast_samples(&self, labels: &Labels, usage: &Usage) -> Vec<Sample> {
        let bytes = |blocks: u64| blocks as f64 * usage.block_size_bytes as f64;
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.began.elapsed().as_secs_f64();
        history.note(at, bytes(usage.blocks_available), bytes(usage.blocks));
        let Some(forecast) = history.forecast() else { return Vec::new() };
        vec![
            sample(labels, "valmis_filesystem_full_seconds", forecast.full_in_seconds),
            sample(labels, "valmis_filesystem_full_confidence", forecast.confidence),
        ]
    }
}

impl Prober for DiskProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.look(deadline).boxed()
    }
}

fn judge(target: &Target, mount: &Mount, usage: &Usage) -> Result<(), ProbeFailure> {
    let path = target.path.display();
    if target.writable && mount.readonly() {
        let why = if mount.mount_readonly { "is mounted read-only" } else { "has become read-only" };
        return Err(ProbeFailure::new("read_only", format!("`{path}` {why}")));
    }
    let available = usage.blocks_available.saturating_mul(usage.block_size_bytes);
    let share = usage.blocks_available as f64 / usage.blocks as f64;
    if target.writable && usage.blocks > 0 && share < FULL_SHARE && available < FULL_BYTES {
        let reason = format!("`{path}` is full: {available} bytes ({:.2} %) are available", share * 100.0);
        return Err(ProbeFailure::new("full", reason));
    }
    if target.writable && usage.files > 0 && usage.files_free == 0 {
        return Err(ProbeFailure::new(
            "inodes",
            format!("`{path}` has none of its {} inodes left", usage.files),
        ));
    }
    Ok(())
}

fn describe(mount: &Mount, usage: &Usage) -> String {
    let bytes = |blocks: u64| blocks.saturating_mul(usage.block_size_bytes);
    format!(
        "{} ({} on {}): {} of {} bytes available, {} of {} inodes free",
        mount.mountpoint.display(),
        mount.fstype,
        mount.device,
        bytes(usage.blocks_available),
        bytes(usage.blocks),
        usage.files_free,
        usage.files
    )
}

fn mount_labels(mount: &Mount) -> Labels {
    Labels::from_pairs([
        ("device", &*mount.device),
        ("mountpoint", &*mount.mountpoint.to_string_lossy()),
        ("fstype", &*mount.fstype),
    ])
}

fn sample(labels: &Labels, name: &str, value: f64) -> Sample {
    Sample::new(labels.builder().set(METRIC_NAME, name).build(), 0, value)
}

/// What is said of every mount, whether it answers or not.
fn device_samples(mount: &Mount, error: bool, stuck_seconds: f64) -> Vec<Sample> {
    let labels = &mount_labels(mount);
    let (major, minor) = mount.device_number;
    let info = Labels::from_pairs([
        ("device", mount.device.as_str()),
        ("major", &major.to_string()),
        ("minor", &minor.to_string()),
        ("mountpoint", &mount.mountpoint.to_string_lossy()),
    ]);
    vec![
        sample(&info, "node_filesystem_mount_info", 1.0),
        sample(labels, "node_filesystem_readonly", f64::from(mount.readonly())),
        sample(labels, "node_filesystem_device_error", f64::from(error)),
        sample(labels, "valmis_filesystem_stuck_seconds", stuck_seconds),
    ]
}

fn usage_samples(labels: &Labels, usage: &Usage) -> [Sample; 5] {
    let bytes = |blocks: u64| blocks as f64 * usage.block_size_bytes as f64;
    [
        sample(labels, "node_filesystem_size_bytes", bytes(usage.blocks)),
        sample(labels, "node_filesystem_free_bytes", bytes(usage.blocks_free)),
        sample(labels, "node_filesystem_avail_bytes", bytes(usage.blocks_available)),
        sample(labels, "node_filesystem_files", usage.files as f64),
        sample(labels, "node_filesystem_files_free", usage.files_free as f64),
    ]
}

#[cfg(test)]
mod tests;
