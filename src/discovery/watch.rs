//! Looking at sources of targets again and again.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::error;

use super::dns::DnsDiscovery;
use super::{DnsConfig, FileDiscovery, Metrics, Resolver, TargetGroup};

/// How often target files are looked at.
pub const DEFAULT_FILE_REFRESH: Duration = Duration::from_secs(5);

/// Sources of targets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Targets that are listed here.
    pub groups: Vec<TargetGroup>,
    /// Files that list targets.
    pub files: Vec<FileConfig>,
    /// Names that stand for targets.
    pub dns: Vec<DnsConfig>,
}

/// Files that list targets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileConfig {
    /// Paths whose last part may hold `*`.
    pub patterns: Vec<PathBuf>,
    /// How often they are looked at.
    pub refresh: Duration,
}

/// The groups that each source has yielded; none yet from one that was not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found(Vec<Vec<TargetGroup>>);

impl Found {
    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = &TargetGroup> {
        self.0.iter().flatten()
    }
}

/// Sources that are looked at for as long as this is kept.
#[derive(Debug)]
pub struct Discovery {
    config: Config,
    found: watch::Receiver<Found>,
    _running: DropGuard,
}

impl Discovery {
    /// Begins to look, with tasks on `tracker` that end with `stop`.
    pub fn start(
        config: &Config,
        resolver: &Resolver,
        metrics: &Metrics,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let mut first = vec![config.groups.clone()];
        first.resize(1 + config.files.len() + config.dns.len(), Vec::new());
        let (publish, found) = watch::channel(Found(first));
        let stop = stop.child_token();
        let mut index = 0;
        let mut publisher = || {
            index += 1;
            Publisher { publish: publish.clone(), index }
        };
        for files in &config.files {
            let discovery = FileDiscovery::new(files.patterns.clone());
            let run = watch_files(discovery, files.refresh, metrics.clone(), publisher());
            tracker.spawn(stop.clone().run_until_cancelled_owned(run));
        }
        for dns in &config.dns {
            let discovery = DnsDiscovery::new(dns.clone(), resolver.clone());
            let run = watch_dns(discovery, metrics.clone(), publisher());
            tracker.spawn(stop.clone().run_until_cancelled_owned(run));
        }
        Self { config: config.clone(), found, _running: stop.drop_guard() }
    }

    /// What is looked at.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What was found, and notice of changes.
    pub fn found(&self) -> watch::Receiver<Found> {
        self.found.clone()
    }
}

/// Tells what one source yields.
struct Publisher {
    publish: watch::Sender<Found>,
    index: usize,
}

impl Publisher {
    fn tell(&self, groups: Vec<TargetGroup>) {
        self.publish.send_if_modified(|found| {
            let changed = found.0[self.index] != groups;
            found.0[self.index] = groups;
            changed
        });
    }
}

async fn watch_files(
    mut discovery: FileDiscovery,
    refresh: Duration,
    metrics: Metrics,
    publisher: Publisher,
) {
    loop {
        let looking = tokio::task::spawn_blocking(move || {
            let (_, errors) = discovery.refresh();
            (discovery, errors)
        });
        let errors;
        (discovery, errors) =
            looking.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        metrics.file_errors(&errors);
        for error in errors {
            error!(%error, "{error}");
        }
        publisher.tell(discovery.groups().cloned().collect());
        tokio::time::sleep(refresh).await;
    }
}

async fn watch_dns(mut discovery: DnsDiscovery, metrics: Metrics, publisher: Publisher) {
    loop {
        let groups = discovery.refresh(&metrics).await;
        publisher.tell(groups);
        tokio::time::sleep(discovery.refresh_interval()).await;
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::discovery::RecordType;
    use crate::discovery::testing::{NameServer, Reply};

    #[tokio::test]
    async fn all_sources_are_looked_at_until_nobody_wants_to_know() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("am.yml");
        std::fs::write(&file, "- targets: [file:1]\n").expect("written");
        let server = NameServer::start().await;
        server.answer("am.example.", &[Reply::A([10, 0, 0, 1])]);
        let refresh = Duration::from_millis(10);
        let config = Config {
            groups: vec![TargetGroup::of(["list:1"])],
            files: vec![FileConfig { patterns: vec![file.clone()], refresh }],
            dns: vec![DnsConfig {
                names: vec!["am.example".to_owned()],
                record_type: RecordType::A,
                port: 1,
                refresh,
            }],
        };
        let metrics = Metrics::register(&mut Registry::default());
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let discovery = Discovery::start(&config, &server.resolver(&[]), &metrics, &tracker, &stop);
        let mut found = discovery.found();
        let mut wait_for = async |expected: &[&str]| {
            let is_there = |found: &Found| {
                let targets: Vec<&str> =
                    found.groups().flat_map(|group| &group.targets).map(String::as_str).collect();
                targets == expected
            };
            let waiting = found.wait_for(is_there);
            let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
            assert!(waited.is_ok_and(|found| found.is_ok()), "never {expected:?}");
        };
        wait_for(&["list:1", "file:1", "10.0.0.1:1"]).await;
        server.answer("am.example.", &[Reply::A([10, 0, 0, 2])]);
        std::fs::write(&file, "- targets: [file:22]\n").expect("written");
        wait_for(&["list:1", "file:22", "10.0.0.2:1"]).await;
        drop(discovery);
        tracker.close();
        tokio::time::timeout(Duration::from_secs(20), tracker.wait()).await.expect("the tasks end");
    }
}
