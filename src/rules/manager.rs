//! All groups: starting, replacing and stopping them, and what others may see of them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::active::ActiveAlerts;
use super::config::Config;
use super::expand::as_vector;
use super::group::{Group, Services, Shown};
use super::metrics::{self, Durations, GroupCounters};
use super::origin::{self, Origin, Origins};
use super::pulse::Pulse;
use super::snapshot::GroupSnapshot;
use crate::model::TimestampMs;
use crate::promql;
use crate::rulefmt::{RuleFile, RuleGroup};
use crate::state::{Changes, RuleKey, StoredRule};

/// How old stored states may be at the start. Until then the state of a rule that is not configured is
/// kept, for its file may come back; and whatever is older says nothing about the present.
pub(super) const ORPHAN_RETENTION_MS: i64 = 24 * 3_600_000;

/// How long states stay that are outdated only by the clock, which may be ahead until a time server was asked.
const CLOCK_DOUBTED: Duration = Duration::from_hours(1);

/// When the newest sample was taken of those that every scrape and probe leaves behind, in seconds. It is
/// asked [`AHEAD_MS`] ahead of the clock, which may have been set back.
pub(super) const NEWEST_SAMPLE: &str =
    r#"max(max_over_time(timestamp({__name__=~"up|probe_success|pg_up"})[1h15m:5m]))"#;

/// How far ahead of the clock, or of what was stored last, the newest sample is looked for. What is stored of
/// rules with alerts is at most an hour old; and a sample is found for five minutes.
const AHEAD_MS: i64 = 65 * 60_000;

/// How long the start waits for the store.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// What others see of the groups: a handle that is cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Groups(Arc<ArcSwap<Vec<Arc<Shown>>>>);

impl Groups {
    /// All groups as of their last evaluations, by file and name.
    pub fn snapshots(&self) -> Vec<Arc<GroupSnapshot>> {
        self.0.load().iter().map(|shown| shown.snapshot.load_full()).collect()
    }

    /// The snapshots with what was counted.
    pub(super) fn with_counters(&self) -> Vec<(Arc<GroupSnapshot>, Arc<GroupCounters>)> {
        let groups = self.0.load();
        groups.iter().map(|shown| (shown.snapshot.load_full(), shown.counters.clone())).collect()
    }
}

/// Runs groups, one task for each.
pub struct Manager {
    services: Services,
    running: BTreeMap<GroupKey, Running>,
    groups: Groups,
    durations: Arc<Durations>,
    pulse: Arc<Pulse>,
    /// States from before the start whose rules have not appeared yet.
    stored: HashMap<RuleKey, StoredRule>,
    tasks: TaskTracker,
    token: CancellationToken,
    /// Cancelled when a group panics.
    panicked: CancellationToken,
}

/// File and name.
type GroupKey = (String, String);

struct Running {
    definition: Arc<RuleGroup>,
    config: Arc<Config>,
    origin: Option<Arc<Origin>>,
    shown: Arc<Shown>,
    token: CancellationToken,
    task: JoinHandle<Group>,
}

impl Manager {
    /// A manager without groups, which stops when `token` is cancelled. Reads the alert states that
    /// were stored; if that fails, alerts begin anew.
    pub async fn start(services: Services, token: &CancellationToken) -> Self {
        let stored = match services.state.rules().await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!(%error, "The stored alert states cannot be read; alerts begin anew");
                Vec::new()
            }
        };
        let pulse = Arc::new(Pulse::new(services.clock.clone()));
        let now = services.clock.now();
        // What was stored tells until when the process ran before. Where there is nothing, nothing is known yet.
        let stored_at = stored.iter().map(|rule| rule.evaluated_at).max();
        let newest = newest_sample(&services, stored_at.map_or(now, |at| at.max(now))).await;
        pulse.known_until(stored_at.max(newest).unwrap_or(now - ORPHAN_RETENTION_MS));
        let oldest = now - ORPHAN_RETENTION_MS;
        let (stored, outdated): (Vec<_>, Vec<_>) =
            stored.into_iter().partition(|rule| rule.evaluated_at >= oldest);
        let oldest_by_states = stored_at.map_or(oldest, |at| at.min(now) - ORPHAN_RETENTION_MS);
        let (doubtful, outdated): (Vec<_>, Vec<_>) =
            outdated.into_iter().partition(|rule| rule.evaluated_at >= oldest_by_states);
        let manager = Self {
            services,
            running: BTreeMap::new(),
            groups: Groups::default(),
            durations: Arc::default(),
            pulse: pulse.clone(),
            stored: stored.into_iter().map(|rule| (rule.key.clone(), rule)).collect(),
            tasks: TaskTracker::new(),
            token: token.child_token(),
            panicked: CancellationToken::new(),
        };
        let beats = manager.token.child_token();
        manager.tasks.spawn(async move { pulse.run(beats).await });
        manager.forget(outdated.into_iter().map(|rule| Arc::new(rule.key)).collect()).await;
        manager.forget_later(doubtful);
        manager
    }

    /// A handle to see the groups by.
    pub fn groups(&self) -> Groups {
        self.groups.clone()
    }

    /// Cancelled when a group panics: it is evaluated no more.
    pub fn panicked(&self) -> CancellationToken {
        self.panicked.clone()
    }

    /// Names the metrics of all groups, present and to come.
    pub fn register(&self, registry: &mut Registry) {
        metrics::register(registry, self.groups.clone(), self.durations.clone());
        self.pulse.register(registry);
    }

    /// Replaces all groups by these. Groups that did not change go on undisturbed; in those that did, be
    /// it only their origin, rules with the same name and labels keep their state.
    pub async fn apply(&mut self, files: &[RuleFile], config: Config, origins: &Origins) {
        let config = Arc::new(config);
        let wanted = wanted(files);
        let unchanged = |key: &GroupKey, running: &Running| {
            let definition = wanted.get(key);
            // One that panicked begins anew.
            !running.task.is_finished()
                && *running.config == *config
                && origin::same(running.origin.as_ref(), origins.get(key))
                && definition.is_some_and(|wanted| same(&running.definition, wanted))
        };
        let (mut kept, mut stopped): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.running).into_iter().partition(|(key, running)| unchanged(key, running));
        // All at once, before any is waited for.
        for running in stopped.values() {
            running.token.cancel();
        }

        let mut gone = Vec::new();
        for (key, definition) in &wanted {
            let running = match kept.remove(key) {
                Some(running) => running,
                None => {
                    let origin = origins.get(key);
                    self.replace(&key.0, definition, &config, origin, stopped.remove(key), &mut gone).await
                }
            };
            self.running.insert(key.clone(), running);
        }
        for running in stopped.into_values() {
            if let Some(group) = stop(running).await {
                gone.extend(group.keys().cloned());
                let at = self.services.clock.now();
                self.tasks.spawn(group.retire(at, self.token.child_token()));
            }
        }
        self.groups.0.store(Arc::new(self.running.values().map(|running| running.shown.clone()).collect()));
        self.forget(gone).await;
    }

    /// Starts a group, with the state of the one that it replaces or with what was stored.
    async fn replace(
        &mut self,
        file: &str,
        definition: &RuleGroup,
        config: &Arc<Config>,
        origin: Option<&Arc<Origin>>,
        previous: Option<Running>,
        gone: &mut Vec<Arc<RuleKey>>,
    ) -> Running {
        let counters = previous.as_ref().map(|running| running.shown.counters.clone()).unwrap_or_default();
        let mut group = Group::new(
            file,
            definition,
            config.clone(),
            self.services.with_origin(origin),
            self.durations.clone(),
            counters.clone(),
        );
        group.remember_from(match origin {
            None => vec![self.services.source.clone()],
            Some(origin) => origin.memories.clone(),
        });
        group.restore(|key| self.stored.remove(key).map(|stored| ActiveAlerts::restore(&stored)));
        if let Some(previous) = previous
            && let Some(previous) = stop(previous).await
        {
            gone.extend(group.take_over(previous));
        }
        let shown = Arc::new(Shown { snapshot: ArcSwap::from_pointee(group.snapshot()), counters });
        let token = self.token.child_token();
        let run = group.run(shown.clone(), self.pulse.clone(), token.clone());
        let panicked = self.panicked.clone().drop_guard();
        let task = self.tasks.spawn(async move {
            let group = run.await;
            panicked.disarm();
            group
        });
        let (definition, config, origin) = (Arc::new(definition.clone()), config.clone(), origin.cloned());
        Running { definition, config, origin, shown, token, task }
    }

    /// Removes the stored states of rules that are gone.
    async fn forget(&self, removed_rules: Vec<Arc<RuleKey>>) {
        let changes = Changes { removed_rules, ..Changes::default() };
        if let Err(error) = self.services.state.commit(changes).await {
            tracing::error!(%error, "The stored states of removed rules could not be deleted");
        }
    }

    /// Removes states that are outdated by the clock alone, if they still are after a while.
    fn forget_later(&self, mut doubtful: Vec<StoredRule>) {
        if doubtful.is_empty() {
            return;
        }
        let (services, token) = (self.services.clone(), self.token.child_token());
        self.tasks.spawn(async move {
            if token.run_until_cancelled(sleep(CLOCK_DOUBTED)).await.is_none() {
                return;
            }
            let oldest = services.clock.now() - ORPHAN_RETENTION_MS;
            doubtful.retain(|rule| rule.evaluated_at < oldest);
            let changes = Changes { outdated: doubtful, ..Changes::default() };
            if let Err(error) = services.state.commit(changes).await {
                tracing::error!(%error, "Outdated states could not be deleted");
            }
        });
    }

    /// Stops all groups. Each finishes the rule that it is at, and what its rules have led to is stored
    /// and sent.
    pub async fn shutdown(mut self) {
        self.token.cancel();
        for running in std::mem::take(&mut self.running).into_values() {
            stop(running).await;
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// When the newest of the samples was taken that every scrape and probe leaves behind; `None` if there is
/// none within minutes of `at` or after it, and where samples come in also without this process.
async fn newest_sample(services: &Services, at: TimestampMs) -> Option<TimestampMs> {
    if services.source.goes_on_alone() {
        return None;
    }
    let newest = promql::parse(NEWEST_SAMPLE).expect("a valid expression");
    let answer = timeout(START_TIMEOUT, services.source.instant(&newest, at + AHEAD_MS)).await.ok()?;
    let found = as_vector(answer).ok()?;
    found.first().map(|newest| (newest.value * 1000.0) as TimestampMs)
}

/// The groups of all files. Of two with the same file and name, which two objects of the same name in
/// one manifest may have, the first counts.
fn wanted(files: &[RuleFile]) -> BTreeMap<GroupKey, &RuleGroup> {
    let mut wanted = BTreeMap::new();
    for (file, group) in files.iter().flat_map(|file| file.groups.iter().map(move |group| (file, group))) {
        match wanted.entry((file.name.clone(), group.name.clone())) {
            Entry::Vacant(entry) => drop(entry.insert(group)),
            Entry::Occupied(_) => tracing::error!(
                group = %group.name, file = %file.name,
                "Rule group `{}` is there twice in `{}`; the second one is left out", group.name, file.name
            ),
        }
    }
    wanted
}

/// Stops a group and returns it; `None` if its task panicked, which has been reported as any panic is.
async fn stop(running: Running) -> Option<Group> {
    running.token.cancel();
    running.task.await.ok()
}

/// Whether two groups say the same.
fn same(one: &RuleGroup, other: &RuleGroup) -> bool {
    let head = |group: &RuleGroup| (group.interval_ms, group.query_offset_ms, group.limit);
    head(one) == head(other)
        && one.rules.len() == other.rules.len()
        && one.rules.iter().zip(other.rules.iter()).all(|(one, other)| {
            one.kind == other.kind
                && one.labels == other.labels
                && one.expr.to_string() == other.expr.to_string()
        })
}
