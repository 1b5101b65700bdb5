//! All jobs: starts and stops the loops of their targets as configuration and files change.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};
use url::Url;

use super::error::{ApplyError, ConfigError};
use super::run::{Context, Legacy, Stop, scrape_loop};
use super::state::{Observed, TargetMetadata, TargetState};
use super::{Config, Metrics, Target, client, fetch};
use crate::client::RenewingClient;
use crate::clock::SharedClock;
use crate::discovery::{FileDiscovery, TargetGroup};
use crate::model::Labels;
use crate::storage::Appender;

/// What the scraper is told beside its jobs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The name by which others reach this host, for links to targets on it.
    pub external_host: Option<String>,
}

/// Scrapes the targets of all jobs.
#[derive(Clone)]
pub struct Manager(Arc<Shared>);

struct Shared {
    appender: Arc<dyn Appender>,
    clock: SharedClock,
    metrics: Metrics,
    options: Options,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    /// One change of the configuration at a time.
    applying: tokio::sync::Mutex<()>,
    jobs: Mutex<BTreeMap<String, Job>>,
}

struct Job {
    config: Arc<Config>,
    client: RenewingClient,
    loops: BTreeMap<TargetKey, Running>,
    files: Files,
    /// Stops the task that watches the files.
    watch: CancellationToken,
}

/// A job's target files. Only blocking code locks them.
type Files = Arc<Mutex<FileDiscovery>>;

/// Targets with the same labels and URL are the same target.
type TargetKey = (Labels, Url);

struct Running {
    target: Target,
    observed: Arc<Observed>,
    stop: Stop,
}

/// A job that was checked and can start.
struct Prepared {
    config: Arc<Config>,
    client: RenewingClient,
    files: Files,
    targets: Vec<Target>,
}

/// What of a running job can be used by its successor.
struct Known {
    config: Arc<Config>,
    client: RenewingClient,
    files: Files,
}

impl Manager {
    /// A scraper without jobs.
    pub fn new(appender: Arc<dyn Appender>, clock: SharedClock, metrics: Metrics, options: Options) -> Self {
        Self(Arc::new(Shared {
            appender,
            clock,
            metrics,
            options,
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            applying: tokio::sync::Mutex::new(()),
            jobs: Mutex::default(),
        }))
    }

    /// Makes these the jobs. Loops of unchanged targets go on undisturbed; if anything is wrong with
    /// any job, all is reported and nothing changes. Target files that cannot be used are no reason
    /// to refuse: they may be good later.
    pub async fn apply(&self, configs: Vec<Config>) -> Result<(), ApplyError> {
        let _one_at_a_time = self.0.applying.lock().await;
        let known: HashMap<String, Known> = self
            .0
            .jobs()
            .iter()
            .map(|(name, job)| {
                let (config, client, files) = (job.config.clone(), job.client.clone(), job.files.clone());
                (name.clone(), Known { config, client, files })
            })
            .collect();
        let names: HashSet<String> = configs.iter().map(|config| config.job_name.clone()).collect();
        let metrics = self.0.metrics.clone();
        // Certificates and target files are read there.
        let prepared = tokio::task::spawn_blocking(move || prepare_all(configs, &known, &metrics))
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        let mut jobs = self.0.jobs();
        jobs.retain(|name, job| {
            let keep = names.contains(name);
            if !keep {
                job.stop();
                self.0.metrics.remove_job(name);
            }
            keep
        });
        for job in prepared {
            self.0.start(&mut jobs, job);
        }
        Ok(())
    }

    /// All targets as they are now, by job and URL.
    pub fn targets(&self) -> Vec<TargetState> {
        let host = self.0.options.external_host.as_deref();
        let mut states: Vec<TargetState> = self
            .0
            .jobs()
            .iter()
            .flat_map(|(name, job)| job.loops.values().map(move |running| running.state(name, host)))
            .collect();
        states.sort_by(|one, other| {
            let key = |state: &TargetState| {
                (state.scrape_pool.clone(), state.scrape_url.clone(), state.labels.clone())
            };
            key(one).cmp(&key(other))
        });
        states
    }

    /// What all targets say about their metric families.
    pub fn metadata(&self) -> Vec<TargetMetadata> {
        let mut all: Vec<TargetMetadata> = self
            .0
            .jobs()
            .values()
            .flat_map(|job| job.loops.values())
            .map(|running| TargetMetadata {
                labels: running.target.labels.clone(),
                families: running.observed.metadata.list(),
            })
            .collect();
        all.sort_by(|one, other| one.labels.cmp(&other.labels));
        all
    }

    /// Stops all loops and waits for them. The series do not end: after a restart they go on.
    pub async fn shutdown(&self) {
        self.0.shutdown.cancel();
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }
}

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, Job>> {
        // No code panics while it holds the lock in a half-changed state.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a job, or changes the one of that name.
    fn start(self: &Arc<Self>, jobs: &mut BTreeMap<String, Job>, prepared: Prepared) {
        let Prepared { config, client, files, targets } = prepared;
        let name = config.job_name.clone();
        let (loops, replaced) = match jobs.remove(&name) {
            None => (BTreeMap::new(), Vec::new()),
            Some(Job { config: before, watch, loops, .. }) => {
                watch.cancel();
                if before.scrapes_like(&config) {
                    (loops, Vec::new())
                } else {
                    (BTreeMap::new(), loops.into_values().collect())
                }
            }
        };
        let watch = self.shutdown.child_token();
        if !config.files.is_empty() {
            let watching = Arc::clone(self).watch_files(config.clone(), files.clone(), watch.clone());
            self.tracker.spawn(watching);
        }
        let mut job = Job { config, client, loops, files, watch };
        self.sync(&mut job, replaced, targets);
        jobs.insert(name, job);
    }

    /// Makes these the targets of a job. Loops that are not wanted any more, beside those that the job does
    /// not have any more (`ended`), leave their series to one for a target with the same labels, if there is
    /// one: whoever queries them sees no gap.
    fn sync(&self, job: &mut Job, mut ended: Vec<Running>, targets: Vec<Target>) {
        let mut wanted: BTreeMap<TargetKey, Target> =
            targets.into_iter().map(|target| ((target.labels.clone(), target.url.clone()), target)).collect();
        for (key, mut running) in std::mem::take(&mut job.loops) {
            // The loop does not mind what was discovered, as long as it would do the same.
            let pace = |target: &Target| (target.interval, target.timeout);
            match wanted.remove(&key) {
                Some(target) if pace(&target) == pace(&running.target) => {
                    running.target = target;
                    job.loops.insert(key, running);
                }
                other => {
                    wanted.extend(other.map(|target| (key, target)));
                    ended.push(running);
                }
            }
        }
        let mut by_labels: BTreeMap<Labels, Running> = BTreeMap::new();
        for running in ended {
            if let Some(same_series) = by_labels.insert(running.target.labels.clone(), running) {
                same_series.stop.end();
            }
        }
        for (key, target) in wanted {
            let legacy = by_labels.remove(&target.labels).map(|running| running.stop.hand_over());
            let running = self.run(job.config.clone(), job.client.clone(), target, legacy);
            job.loops.insert(key, running);
        }
        for running in by_labels.values() {
            running.stop.end();
        }
        self.metrics.set_targets(&job.config.job_name, job.loops.len());
    }

    /// Starts the loop of a target.
    fn run(
        &self,
        config: Arc<Config>,
        client: RenewingClient,
        target: Target,
        legacy: Option<Legacy>,
    ) -> Running {
        let observed = Arc::new(Observed::default());
        let context = Arc::new(Context {
            config,
            target: target.clone(),
            client,
            appender: self.appender.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            observed: observed.clone(),
        });
        let (stop, run) = scrape_loop(context, legacy, self.shutdown.clone());
        self.tracker.spawn(run);
        Running { target, observed, stop }
    }

    /// Looks at a job's target files again and again, until `stop`.
    async fn watch_files(self: Arc<Self>, config: Arc<Config>, files: Files, stop: CancellationToken) {
        loop {
            let pause = tokio::time::sleep(config.file_refresh);
            let Some(()) = stop.run_until_cancelled(pause).await else { return };
            let (metrics, job, files) = (self.metrics.clone(), config.clone(), files.clone());
            let targets = tokio::task::spawn_blocking(move || file_targets(&job, &files, &metrics))
                .await
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            let mut jobs = self.jobs();
            // Under the lock, so that a job that was just replaced is not changed by its predecessor.
            if stop.is_cancelled() {
                return;
            }
            if let Some(job) = jobs.get_mut(&config.job_name) {
                let (mut all, _) = targets_of(&config, &config.targets);
                all.extend(targets);
                self.sync(job, Vec::new(), all);
            }
        }
    }
}

impl Job {
    fn stop(&mut self) {
        self.watch.cancel();
        for running in self.loops.values() {
            running.stop.end();
        }
    }
}

impl Running {
    fn state(&self, job: &str, external_host: Option<&str>) -> TargetState {
        let last = self.observed.last();
        TargetState {
            scrape_pool: job.to_owned(),
            labels: self.target.labels.clone(),
            discovered_labels: self.target.discovered_labels.clone(),
            scrape_url: fetch::shown(&self.target.url),
            global_url: fetch::shown(&global_url(&self.target.url, external_host)),
            interval: self.target.interval,
            timeout: self.target.timeout,
            health: last.health,
            last_error: last.error,
            last_scrape: last.at,
            last_duration: last.duration,
        }
    }
}

/// The URL as others can use it. Source: Prometheus 3.14 `web/api/v1/api.go`, getGlobalURL.
fn global_url(url: &Url, external_host: Option<&str>) -> Url {
    let mut global = url.clone();
    if let (Some(host), Some("localhost" | "127.0.0.1" | "[::1]")) = (external_host, url.host_str()) {
        // A name that is no host name is the operator's mistake; the local link is then the best one.
        let _ = global.set_host(Some(host));
    }
    global
}

/// Checks all jobs; `known` are those that run. Blocks.
fn prepare_all(
    configs: Vec<Config>,
    known: &HashMap<String, Known>,
    metrics: &Metrics,
) -> Result<Vec<Prepared>, ApplyError> {
    let mut faults = Vec::new();
    let mut prepared = Vec::new();
    let mut names = HashSet::new();
    for config in configs {
        let name = config.job_name.clone();
        let mut errors = config.check();
        if !names.insert(name.clone()) {
            errors.push(ConfigError::DuplicateName);
        }
        let known = known.get(&name);
        let client = match known.filter(|known| known.config.scrapes_like(&config)) {
            Some(known) => known.client.look_again().map(|()| known.client.clone()).map_err(Into::into),
            None => client::build(&config),
        };
        let (mut targets, target_errors) = targets_of(&config, &config.targets);
        errors.extend(target_errors);
        match client {
            Err(error) => errors.push(error),
            Ok(client) if known.is_none_or(|known| *known.config != config) => {
                // The same files keep their last good targets.
                let files = known.filter(|known| known.config.files == config.files).map_or_else(
                    || Arc::new(Mutex::new(FileDiscovery::new(config.files.clone()))),
                    |known| known.files.clone(),
                );
                targets.extend(file_targets(&config, &files, metrics));
                prepared.push(Prepared { config: Arc::new(config), client, files, targets });
            }
            Ok(_) => {}
        }
        faults.extend(errors.into_iter().map(|error| (name.clone(), error)));
    }
    if faults.is_empty() { Ok(prepared) } else { Err(ApplyError(faults)) }
}

/// The targets in a job's files; what is wrong with them is logged once. Blocks.
fn file_targets(config: &Config, files: &Files, metrics: &Metrics) -> Vec<Target> {
    let job = &config.job_name;
    let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
    let (changed, errors) = files.refresh();
    metrics.discovery.file_errors(&errors);
    for error in errors {
        error!(%job, %error, "Job `{job}`: {error}");
    }
    let (targets, errors) = targets_of(config, files.groups());
    if changed {
        info!(%job, count = targets.len(), "Target files of job `{job}` name {} targets", targets.len());
        for error in errors {
            error!(%job, %error, "Job `{job}`: {error}");
        }
    }
    targets
}

/// The targets of these groups, and what is wrong with those that cannot be scraped.
fn targets_of<'a>(
    config: &Config,
    groups: impl IntoIterator<Item = &'a TargetGroup>,
) -> (Vec<Target>, Vec<ConfigError>) {
    let mut targets = Vec::new();
    let mut errors = Vec::new();
    for group in groups {
        for address in &group.targets {
            match Target::resolve(config, group, address) {
                Ok(target) => targets.push(target),
                Err(error) => errors.push(ConfigError::Target { address: address.clone(), error }),
            }
        }
    }
    (targets, errors)
}

#[cfg(test)]
mod tests;
