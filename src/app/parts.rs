//! The running parts.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::FutureExt;
use futures_util::future::select_all;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use reqwest::Method;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use url::Url;

use super::chain::OwnChain;
use super::own::OwnPages;
use super::sources::Sources;
use super::watchdog::{self, Watchdog};
use super::{components, rules as rule_sources, scrapes};
use crate::api::{Handles, Lifecycle};
use crate::blackbox::{self, Allowance, Blackbox, ModuleName};
use crate::clock::SharedClock;
use crate::config::{Config, MachineConfig, Pace};
use crate::discovery::Resolver;
use crate::drill::{self, Drills};
use crate::heartbeat::{self, Incoming, IncomingCollector, Outgoing};
use crate::listener;
use crate::model::Labels;
use crate::notifier::{self, Notifier};
use crate::probe::History;
use crate::probe::disk::Discovery;
use crate::promql::EvalOptions;
use crate::query::{LocalConfig, LocalSource};
use crate::readiness::{self, Readiness, disks};
use crate::rulefmt::RuleFile;
use crate::rules;
use crate::scrape;
use crate::state::{self, LedgerLimits, RedbStore, StateStore};
use crate::telemetry;
use crate::tsdb::{self, Tsdb, TsdbCollector};

/// The owner of the components that the configuration names.
const OWNER: &str = "configuration";
/// How often file systems are looked for.
const DISK_REFRESH: Duration = Duration::from_mins(1);
/// How long each part may take to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long alerts may take to be delivered before the process ends; what is left goes out after the
/// next start.
const DELIVERY_GRACE: Duration = Duration::from_secs(3);

/// All parts, and what is needed to change and stop them.
pub(super) struct Parts {
    handles: Arc<Handles>,
    rules: Option<rules::Manager>,
    drills: Drills,
    sources: Sources,
    heartbeats: Outgoing,
    readiness_loop: JoinHandle<()>,
    /// Essential loops by what they are called, each with what is cancelled when it ends: everything stops if
    /// one does.
    essential: Vec<(&'static str, CancellationToken)>,
    stop_readiness: CancellationToken,
    /// Ends the search for file systems, if there is one.
    disks: Option<(JoinHandle<()>, Searched)>,
    own: OwnPages,
    listener_metrics: listener::Metrics,
    /// Where people on this machine reach valmis.
    url: String,
    /// The step of subqueries that name none, of everybody who evaluates here.
    subquery_step_ms: Arc<AtomicI64>,
    reload_successful: Gauge,
    reload_at: Gauge,
    _watchdog: Watchdog,
}

/// What the search for file systems depends on.
#[derive(PartialEq)]
struct Searched {
    procfs: PathBuf,
    rootfs: Option<PathBuf>,
    mount_points_exclude: String,
    fs_types_exclude: String,
}

impl Searched {
    fn of(machine: &MachineConfig) -> Self {
        Self {
            procfs: machine.paths.procfs.clone(),
            rootfs: machine.rootfs.clone(),
            mount_points_exclude: machine.mount_points_exclude.clone(),
            fs_types_exclude: machine.fs_types_exclude.clone(),
        }
    }
}

impl Parts {
    /// Opens the data and starts the parts, as yet with nothing to do.
    pub(super) async fn open(
        config: &Config,
        url: &str,
        own: OwnPages,
        clock: SharedClock,
        reload: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
    ) -> Result<Self> {
        let mut registry = telemetry::registry(&clock);
        let watchdog = watch(&mut registry)?;
        let folder = &config.storage.path;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the data folder `{}`", folder.display()))?;
        let tsdb = open_store(config, &clock).await?;
        registry.register_collector(Box::new(TsdbCollector::new(tsdb.clone())));
        let (state, state_ended) = open_state(folder, config.ledger, &mut registry).await?;

        let subquery_step_ms = Arc::new(AtomicI64::default());
        let limits = query_limits(config, &subquery_step_ms);
        let query = Arc::new(LocalSource::new(tsdb.clone(), limits.clone()));
        let scrape_metrics = scrape::Metrics::register(&mut registry);
        let delivery = notifier::Services {
            store: state.clone(),
            clock: clock.clone(),
            metrics: notifier::Metrics::register(&mut registry),
            discovery: scrape_metrics.discovery().clone(),
            resolver: Resolver::system(),
            keep_lost: notifier::KEEP_LOST,
        };
        let notifier = Notifier::start(delivery).await.context("cannot read the outbox")?;
        let notifier = Arc::new(notifier);
        let echo = Arc::new(drill::Echo::default());
        let drills = Drills::new(drill::Parts {
            notifier: notifier.clone(),
            echo: echo.clone(),
            clock: clock.clone(),
            metrics: drill::Metrics::register(&mut registry),
        });
        let pings = Incoming::start(state.clone(), clock.clone()).await;
        registry.register_collector(Box::new(IncomingCollector::new(pings.clone())));
        let scrapes =
            scrape::Manager::new(tsdb.clone(), clock.clone(), scrape_metrics, scrape::Options::default());
        let itself = readiness::Config { job: "valmis".to_owned(), instance: components::machine_name() };
        let history = Arc::new(History::new(config.blackbox.history));
        let readiness = Readiness::new(itself, clock.clone(), tsdb.clone(), history.clone(), &mut registry);
        let blackbox = Blackbox::new(history, clock.clone(), &mut registry);
        let services = rules::Services {
            // With slots of their own: no number of queries by others makes rules wait.
            source: Arc::new(LocalSource::new(tsdb.clone(), limits.clone())),
            appender: tsdb.clone(),
            sink: notifier.clone(),
            state: state.clone(),
            clock: clock.clone(),
        };
        let rules = rules::Manager::start(services, &CancellationToken::new()).await;
        rules.register(&mut registry);
        let sources = Sources::new(tsdb.clone(), limits.clone(), &mut registry);
        let chain = OwnChain { rules: rules.groups(), notifier: notifier.clone() };
        let heartbeat_metrics = heartbeat::Metrics::register(&mut registry);
        let heartbeats = Outgoing::new(Arc::new(chain), clock.clone(), heartbeat_metrics);
        let (reload_successful, reload_at) = register_reload(&mut registry);
        let listener_metrics = listener::Metrics::register(&mut registry, config.web.config_file.is_some());

        let (stop_readiness, readiness_ended) = (CancellationToken::new(), CancellationToken::new());
        let readiness_loop = {
            let (readiness, stop) = (readiness.clone(), stop_readiness.clone());
            let ended = readiness_ended.clone().drop_guard();
            tokio::spawn(async move {
                let _ended = ended;
                readiness.run(stop).await;
            })
        };
        let essential = vec![
            ("the loop of readiness", readiness_ended),
            ("the thread of the state file", state_ended),
            ("the loop of the outbox", notifier.ended()),
            ("a rule group", rules.panicked()),
        ];
        let lifecycle = Lifecycle {
            started: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            configuration_good: AtomicBool::new(true),
            configuration: RwLock::new(Arc::new(config.clone())),
            configured_at: AtomicI64::new(clock.now()),
            remote_write_receiver: AtomicBool::new(false),
            reload,
        };
        let handles = Handles {
            started_at: clock.now(),
            hostname: components::machine_name(),
            tsdb: tsdb.clone(),
            clock,
            query,
            features: config.features,
            storage: tsdb.clone(),
            appender: tsdb.clone(),
            readiness,
            blackbox,
            rules: rules.groups(),
            scrapes,
            pings,
            notifier,
            echo,
            state,
            registry: Arc::new(registry),
            lifecycle: Arc::new(lifecycle),
            data_folder: folder.clone(),
        };
        Ok(Self {
            handles: Arc::new(handles),
            rules: Some(rules),
            drills,
            sources,
            heartbeats,
            readiness_loop,
            essential,
            stop_readiness,
            disks: None,
            own,
            listener_metrics,
            url: url.to_owned(),
            subquery_step_ms,
            reload_successful,
            reload_at,
            _watchdog: watchdog,
        })
    }

    /// What the HTTP server shows.
    pub(super) fn handles(&self) -> Arc<Handles> {
        self.handles.clone()
    }

    /// Figures for who serves.
    pub(super) fn listener_metrics(&self) -> listener::Metrics {
        self.listener_metrics.clone()
    }

    /// Puts a configuration in force. Everything that can be wrong with it is found before anything
    /// changes.
    pub(super) async fn apply(&mut self, config: &Config) -> Result<()> {
        let handles = self.handles.clone();
        let components = components::configured(config, &handles.clock, &*handles.storage).await?;
        let discovery = components::disk_discovery(&config.machine)?;
        let (rule_files, sources_of_groups) =
            rule_sources::files(config).map_err(|findings| super::explain(&findings))?;
        let sources = self.sources.prepare(&config.sources)?;
        let notifications = notifier::Config {
            alertmanagers: config.alertmanagers.clone(),
            external_labels: Labels::from_pairs(&config.external_labels),
            alert_relabel: config.alert_relabel.clone(),
            proof_interval: Outgoing::proof_interval(&config.heartbeat),
        };
        check_clients(config)?;
        handles.scrapes.apply(scrapes::jobs(config, &self.own)).await.context("scrape jobs")?;
        handles.notifier.apply(&notifications).context("alertmanagers")?;
        self.heartbeats.apply(&config.heartbeat).context("heartbeat")?;
        handles.pings.apply(&config.pings).await;

        self.drills.apply(&drills(config, &rule_files));
        handles.readiness.limit_series(config.max_series_per_component);
        handles.readiness.apply(OWNER, components);
        handles.blackbox.apply(blackbox_settings(config));
        self.watch_disks(config, discovery).await;
        let external_url = config.external_url.as_ref().map_or_else(|| self.url.clone(), Url::to_string);
        let settings = rule_sources::settings(config, &external_url);
        self.subquery_step_ms.store(settings.evaluation_interval_ms, Ordering::Relaxed);
        let origins = self.sources.apply(&config.sources, sources, &sources_of_groups, &rule_files);
        if let Some(rules) = &mut self.rules {
            rules.apply(&rule_files, settings, &origins).await;
        }
        let receiver = config.storage.remote_write_receiver;
        handles.lifecycle.remote_write_receiver.store(receiver, Ordering::Release);
        handles.lifecycle.configure(Arc::new(config.clone()), handles.clock.now());
        self.reloaded(true);
        Ok(())
    }

    /// Starts, keeps or ends the search for file systems.
    async fn watch_disks(&mut self, config: &Config, discovery: Discovery) {
        let readiness = self.handles.readiness.clone();
        let machine = &config.machine;
        let (wanted, terms) = (config.disks.is_empty(), Searched::of(machine));
        if self.disks.as_ref().is_some_and(|(_, searched)| wanted && *searched == terms) {
            return;
        }
        // What was found under other terms is not looked at in the same way.
        if let Some((search, _)) = self.disks.take() {
            search.abort();
            // It finds nothing more once it has ended, as it does at its next wait.
            let _ = search.await;
            readiness.apply(disks::OWNER, Vec::new());
        }
        if !wanted {
            return;
        }
        let pace = Pace::default();
        let settings = disks::Config {
            refresh: DISK_REFRESH,
            interval: pace.interval,
            timeout: pace.timeout,
            thresholds: components::thresholds(pace),
            job: readiness::Kind::Disk.conventional_job().to_owned(),
            instance: components::machine_name(),
        };
        let stop = self.stop_readiness.child_token();
        let kernel = Arc::new(components::kernel(machine));
        let search = disks::Disks::new(settings, discovery, kernel.clone(), kernel);
        let search = tokio::spawn(async move { search.run(&readiness, stop).await });
        self.disks = Some((search, terms));
    }

    /// Notes how the last attempt to load the configuration went.
    pub(super) fn reloaded(&self, successful: bool) {
        self.handles.lifecycle.configuration_good.store(successful, Ordering::Release);
        self.handles.blackbox.reloaded(successful);
        self.reload_successful.set(i64::from(successful));
        if successful {
            self.reload_at.set(self.handles.clock.now() / 1000);
        }
    }

    /// Ends when a part ended without being asked to, be it by a panic, which has been logged. Tells which.
    pub(super) fn failure(&self) -> impl Future<Output = &'static str> + use<> {
        let essential = self.essential.clone();
        let ends = essential.into_iter().map(|(what, ended)| {
            async move {
                ended.cancelled_owned().await;
                what
            }
            .boxed()
        });
        select_all(ends).map(|(what, ..)| what)
    }

    /// Stops the parts in the order of the data: heartbeats, rules, probes and scrapes, delivery, store.
    pub(super) async fn stop(mut self) {
        let handles = &self.handles;
        handles.lifecycle.stopping.store(true, Ordering::Release);
        // From now on nothing may say that all works.
        within(GRACE, "heartbeats", self.heartbeats.shutdown()).await;
        if let Some(rules) = self.rules.take() {
            within(GRACE, "rules", rules.shutdown()).await;
        }
        within(GRACE, "drills", self.drills.shutdown()).await;
        self.stop_readiness.cancel();
        // A panic has been logged.
        within(GRACE, "probes", async { drop((&mut self.readiness_loop).await) }).await;
        within(GRACE, "scrapes", handles.scrapes.shutdown()).await;
        self.sources.shutdown(DELIVERY_GRACE).await;
        deliver_and_close(&self.handles).await;
    }
}

/// Delivers alerts that wait, and closes the store.
pub(super) async fn deliver_and_close(handles: &Handles) {
    handles.lifecycle.stopping.store(true, Ordering::Release);
    within(DELIVERY_GRACE + GRACE, "delivery of alerts", handles.notifier.shutdown(DELIVERY_GRACE)).await;
    let tsdb = handles.tsdb.clone();
    let closing = tokio::task::spawn_blocking(move || tsdb.close());
    within(GRACE, "store", async {
        if let Ok(Err(fault)) = closing.await {
            warn!(%fault, "the store was not closed cleanly; its log will be read at the next start");
        }
    })
    .await;
}

/// Whether everybody whom alerts and heartbeats go to can be reached as the configuration says: files with
/// certificates may be missing. Whoever is told makes these clients again.
fn check_clients(config: &Config) -> Result<()> {
    for set in &config.alertmanagers {
        set.http.client(&Method::POST, set.timeout).context("alertmanagers")?;
    }
    for told in &config.heartbeat {
        told.http.client(&told.method, told.timeout).with_context(|| format!("heartbeat `{}`", told.name))?;
    }
    Ok(())
}

/// The drills, with the labels that the rules give their alerts unless the configuration says otherwise.
fn drills(config: &Config, rules: &[RuleFile]) -> Vec<drill::Scheduled> {
    let mut drills = config.drills.clone();
    for drill in drills.iter_mut().map(|scheduled| &mut scheduled.drill) {
        drill.labels = drill::labels_for(rules, &drill.alert, &drill.labels);
    }
    drills
}

/// The modules and who may ask for what: also for what is probed on a schedule.
fn blackbox_settings(config: &Config) -> blackbox::Settings {
    let mut settings = config.blackbox.clone();
    settings.policy.allow.extend(config.probes.iter().map(|probe| Allowance {
        module: ModuleName::Is(probe.module.name().to_owned()),
        targets: probe.targets.iter().filter_map(|target| probe.module.exactly(target)).collect(),
        hostnames: Vec::new(),
    }));
    settings
}

/// What queries may cost and use.
fn query_limits(config: &Config, subquery_step_ms: &Arc<AtomicI64>) -> LocalConfig {
    let limits = &config.query;
    LocalConfig {
        concurrency: limits.max_concurrency,
        timeout: limits.timeout,
        options: EvalOptions {
            max_samples: limits.max_samples,
            lookback_delta_ms: i64::try_from(limits.lookback_delta.as_millis()).unwrap_or(i64::MAX),
            delayed_name_removal: config.features.delayed_name_removal,
            ..EvalOptions::default()
        },
        subquery_step_ms: Some(subquery_step_ms.clone()),
    }
}

async fn within(grace: Duration, what: &str, ending: impl Future<Output = ()>) {
    if timeout(grace, ending).await.is_err() {
        warn!("{what} did not stop within {grace:?}");
    }
}

async fn open_store(config: &Config, clock: &SharedClock) -> Result<Arc<Tsdb>> {
    let storage = &config.storage;
    let settings = tsdb::Config {
        path: Some(storage.path.join("tsdb")),
        retention: storage.retention,
        max_memory: storage.max_memory_bytes,
        ..tsdb::Config::new(clock.clone())
    };
    let (tsdb, _report) = tokio::task::spawn_blocking(move || Tsdb::open(settings))
        .await
        .context("opening the store panicked")?
        .context("cannot open the store")?;
    tsdb.start_background().context("cannot start the threads of the store")?;
    Ok(tsdb)
}

async fn open_state(
    folder: &Path,
    ledger: LedgerLimits,
    registry: &mut Registry,
) -> Result<(Arc<dyn StateStore>, CancellationToken)> {
    let metrics = state::metrics::Metrics::register(registry);
    let path = folder.join("state.redb");
    let store = tokio::task::spawn_blocking(move || RedbStore::open(&path, ledger, metrics))
        .await
        .context("opening the state panicked")?
        .context("cannot open the state")?;
    let ended = store.ended();
    Ok((Arc::new(store), ended))
}

fn register_reload(registry: &mut Registry) -> (Gauge, Gauge) {
    let (successful, at) = (Gauge::default(), Gauge::default());
    registry.register(
        "valmis_config_last_reload_successful",
        "Whether the last attempt to load the configuration succeeded",
        successful.clone(),
    );
    registry.register(
        "valmis_config_last_reload_success_timestamp_seconds",
        "When the configuration was last loaded successfully",
        at.clone(),
    );
    (successful, at)
}

fn watch(registry: &mut Registry) -> Result<Watchdog> {
    let stalls = Counter::default();
    registry.register(
        "valmis_runtime_stalls",
        "How often nothing was done for five seconds because the threads of the runtime were held up",
        stalls.clone(),
    );
    Watchdog::start(Handle::current(), watchdog::INTERVAL, stalls).context("cannot start the watchdog")
}
