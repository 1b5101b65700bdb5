//! Keeps one component per file system while file systems come and go.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use xxhash_rust::xxh64::xxh64;

use super::{Component, Key, Kind, Readiness, Thresholds};
use crate::model::Labels;
use crate::probe::disk::{Chosen, Discovery, DiskProber, MountTable, StatVfs, Target};

/// The owner of the components that are found here.
pub const OWNER: &str = "disk discovery";
/// How long reading the table of mounts may take: it waits for a lock of the kernel.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How disks are found and watched.
#[derive(Debug, Clone)]
pub struct Config {
    /// How often the table of mounts is read.
    pub refresh: Duration,
    /// Time between two probes of a disk.
    pub interval: Duration,
    /// How long a file system may take to answer.
    pub timeout: Duration,
    /// How many results change the state of a disk.
    pub thresholds: Thresholds,
    /// Label `job` of the samples.
    pub job: String,
    /// Label `instance` of the samples.
    pub instance: String,
}

/// Watches every real, writable file system of the machine.
pub struct Disks {
    config: Config,
    discovery: Discovery,
    mounts: Arc<dyn MountTable>,
    statvfs: Arc<dyn StatVfs>,
}

impl Disks {
    /// Watches the file systems that `discovery` chooses of those that `mounts` lists, asking `statvfs`.
    pub fn new(
        config: Config,
        discovery: Discovery,
        mounts: Arc<dyn MountTable>,
        statvfs: Arc<dyn StatVfs>,
    ) -> Self {
        Self { config, discovery, mounts, statvfs }
    }

    /// Looks for disks until `token` is cancelled. A table that cannot be read changes nothing.
    pub async fn run(&self, readiness: &Readiness, token: CancellationToken) {
        let mut discovery = self.discovery.clone();
        let mut under_way = None;
        loop {
            let next = Instant::now() + self.config.refresh;
            // One that hangs is waited for, not joined by others.
            let read = under_way.get_or_insert_with(|| {
                let mounts = Arc::clone(&self.mounts);
                tokio::task::spawn_blocking(move || mounts.mounts())
            });
            let read = timeout(READ_TIMEOUT, read).await;
            if read.is_ok() {
                under_way = None;
            }
            match read {
                Ok(Ok(Ok(mounts))) => {
                    let chosen = discovery.choose(mounts);
                    readiness.apply(OWNER, chosen.iter().map(|found| self.component(found)).collect());
                }
                Ok(Ok(Err(error))) => warn!(%error, "The table of mounts cannot be read: {error}"),
                Ok(Err(error)) => warn!(%error, "Reading the table of mounts failed: {error}"),
                Err(_elapsed) => warn!("The table of mounts was not read within {READ_TIMEOUT:?}"),
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    fn component(&self, Chosen { mount, writable }: &Chosen) -> Component {
        let Config { interval, timeout, thresholds, job, instance, .. } = self.config.clone();
        let target = Target { path: mount.mountpoint.clone(), writable: *writable, mounted: true };
        let prober = DiskProber::new(target, Arc::clone(&self.mounts), Arc::clone(&self.statvfs));
        Component {
            labels: Labels::empty(),
            counts: true,
            module: None,
            key: Key { kind: Kind::Disk, name: mount.mountpoint.display().to_string() },
            prober: Arc::new(prober),
            interval,
            timeout,
            thresholds,
            job,
            instance,
            // Another device at the same place is another disk.
            revision: xxh64(mount.device.as_bytes(), u64::from(*writable)),
        }
    }
}
