//! The whole: builds the parts, keeps them running, replaces them when the configuration changes, and
//! stops them in the order of the data.

mod chain;
mod components;
mod front;
mod own;
mod parts;
mod renewals;
pub(crate) mod rules;
mod scrapes;
mod signals;
mod sources;
mod watchdog;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Config};
use crate::diag::Diagnostic;
use crate::listener::{self, Access};
use front::Front;
use own::OwnPages;
use parts::Parts;

/// How long connections may take to end when the process stops.
const HTTP_GRACE: Duration = Duration::from_secs(2);

/// How long the end of the process waits for a reload that is under way.
const RELOAD_GRACE: Duration = Duration::from_secs(2);

/// Where the configuration comes from.
pub struct Options {
    /// The file; none: the built-in configuration.
    pub file: Option<PathBuf>,
    /// Listen here instead of where the configuration says.
    pub listen: Option<SocketAddr>,
    /// Find the machine's files here instead of where the configuration says.
    pub machine: config::MachinePaths,
    /// Keep data here instead of where the configuration says.
    pub data_folder: Option<PathBuf>,
    /// A web configuration file instead of the one that the configuration names.
    pub web_config_file: Option<PathBuf>,
    /// Serve `/health` and `/ready` here too, instead of where the configuration says.
    pub health_listen: Option<SocketAddr>,
    /// Looks an environment variable up.
    pub environment: fn(&str) -> Option<String>,
}

impl Options {
    /// The configuration with what the command line says instead. `own`: what of valmis the built-in one
    /// watches, once that is known.
    fn load(&self, own: Option<&OwnPages>) -> Result<Config, Vec<Diagnostic>> {
        let mut config = match &self.file {
            Some(file) => config::load(file, &self.environment)?,
            None => {
                let mut config = config::builtin(&self.environment, self.listen);
                if let Some(own) = own {
                    config.apps.iter_mut().for_each(|itself| own.redirect(itself));
                }
                config
            }
        };
        config.listen = self.listen.unwrap_or(config.listen);
        if let Some(file) = &self.web_config_file {
            listener::load(file)?;
            config.web.config_file = Some(file.clone());
        }
        config.web.health_listen = self.health_listen.or(config.web.health_listen);
        self.machine.apply(&mut config.machine);
        if let Some(folder) = &self.data_folder {
            config.storage.path.clone_from(folder);
        }
        Ok(config)
    }
}

/// Runs until a signal asks to stop. `announce` is told the URL as soon as it is served.
pub async fn run(mut options: Options, announce: impl FnOnce(&str)) -> Result<()> {
    // In this order, so that a bad configuration never opens a port, and a port in use never touches
    // the data.
    let mut config = options.load(None).map_err(|findings| explain(&findings))?;
    let (mut stop, mut reload_signal) = (signals::Stop::listen()?, signals::Reload::listen()?);
    let front = Front::bind(&config).await?;
    if options.file.is_none() {
        // The built-in configuration watches the port that is served: of port 0 the one that was given,
        // now and at every reload.
        options.listen = Some(front.address());
        config = options.load(Some(front.own())).map_err(|findings| explain(&findings))?;
    }
    let own = front.own().clone();
    let (reload, mut reloads) = mpsc::channel(1);
    let url = front.url();
    let clock: SharedClock = Arc::new(SystemClock);
    let mut opening = {
        let (url, own, clock) = (url.clone(), own.clone(), clock.clone());
        where_it_may_block(async move || {
            let mut parts = Parts::open(&config, &url, own, clock, reload).await?;
            parts.apply(&config).await?;
            anyhow::Ok((config, parts))
        })
    };
    let (config, parts) = tokio::select! {
        opened = &mut opening => opened.context("the start panicked")??,
        () = stop.asked() => return Ok(()),
    };

    let stop_http = CancellationToken::new();
    let (access, mut http) = front.serve(&parts.handles(), clock, &parts.listener_metrics(), &stop_http);
    let (handles, failure) = (parts.handles(), parts.failure());
    handles.lifecycle.started.store(true, Ordering::Release);
    announce(&url);

    let over = async {
        tokio::select! {
            () = stop.asked() => Ok(()),
            Some(ended) = http.join_next() => match ended {
                Ok(()) => Err(anyhow::anyhow!("the HTTP server ended by itself")),
                Err(fault) => Err(fault).context("the HTTP server panicked"),
            },
            what = failure => Err(anyhow::anyhow!("{what} ended by itself")),
        }
    };
    let running = Running { options, own, access, config, parts };
    let (outcome, running) = reload_until(over, running, &mut reload_signal, &mut reloads).await;
    info!("shutting down");
    match running {
        Some(running) => running.parts.stop().await,
        None => {
            warn!("a reload hangs or has panicked: rules and probes end with the process");
            parts::deliver_and_close(&handles).await;
        }
    }
    stop_http.cancel();
    // Connections that do not end by themselves end with the process.
    let ending = async { while http.join_next().await.is_some() {} };
    let _ = timeout(HTTP_GRACE, ending).await;
    outcome
}

/// Reads the configuration again whenever somebody asks for it, until all is `over`. Gives what runs then;
/// nothing if a reload does not give it back.
async fn reload_until(
    over: impl Future<Output = Result<()>>,
    mut running: Running,
    signal: &mut signals::Reload,
    requests: &mut mpsc::Receiver<oneshot::Sender<Result<(), String>>>,
) -> (Result<()>, Option<Running>) {
    tokio::pin!(over);
    loop {
        let asked = tokio::select! {
            outcome = &mut over => return (outcome, Some(running)),
            () = signal.asked() => None,
            Some(answer) = requests.recv() => Some(answer),
        };
        let given_up = CancellationToken::new();
        let mut reloading = running.reloading(given_up.clone());
        let reloaded = tokio::select! {
            reloaded = &mut reloading => reloaded,
            outcome = &mut over => {
                given_up.cancel();
                let back = timeout(RELOAD_GRACE, reloading).await.ok().and_then(Result::ok);
                return (outcome, back.map(|(running, _)| running));
            }
        };
        let outcome = match reloaded {
            Ok((back, outcome)) => {
                running = back;
                outcome
            }
            Err(fault) => return (Err(fault).context("the reload panicked"), None),
        };
        if let Some(answer) = asked {
            // Whoever asked may have gone; the reload happened all the same.
            let _ = answer.send(outcome);
        }
    }
}

/// Does work that reads files, and may find that they are on a file system that does not answer, on a thread
/// of its own. A process that ends does not wait for it.
fn where_it_may_block<T: Send + 'static>(work: impl AsyncFnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work()))
}

/// What a reload reads and changes.
struct Running {
    options: Options,
    own: OwnPages,
    access: Option<Arc<Access>>,
    config: Config,
    parts: Parts,
}

impl Running {
    /// Reads the configuration again. What is wrong with it is logged and returned; the old one stays. Once it
    /// is `given_up`, it ends where it waits for something other than a file.
    fn reloading(mut self, given_up: CancellationToken) -> JoinHandle<(Self, Result<(), String>)> {
        where_it_may_block(async move || {
            let applied = given_up.run_until_cancelled(self.apply()).await;
            let outcome = match applied {
                Some(applied) => applied.map_err(|fault| format!("{fault:#}")),
                None => Err("the process ends".to_owned()),
            };
            self.parts.reloaded(outcome.is_ok());
            match &outcome {
                Ok(()) => info!("configuration loaded"),
                Err(fault) => {
                    error!("the configuration was not loaded, the previous one stays in force: {fault}");
                }
            }
            (self, outcome)
        })
    }

    async fn apply(&mut self) -> Result<()> {
        let mut new = self.options.load(Some(&self.own)).map_err(|findings| explain(&findings))?;
        keep_fixed(&self.config, &mut new);
        // First, since nothing else has changed if it is refused; it has a file of its own, which counts by itself.
        if let Some(access) = &self.access {
            access.reload().await?;
        }
        self.parts.apply(&new).await?;
        self.config = new;
        Ok(())
    }
}

/// What cannot change while the process runs stays as it is, and the log says so.
fn keep_fixed(old: &Config, new: &mut Config) {
    let fixed = |config: &Config| {
        let storage = &config.storage;
        let store = (storage.path.clone(), storage.retention, storage.max_memory_bytes);
        (config.listen, config.web.clone(), store, config.ledger, config.query.clone(), config.features)
    };
    if fixed(old) != fixed(new) {
        warn!(
            "`listen`, `web`, `query`, `features`, `ledger`, `storage.path`, `storage.retention` and \
             `storage.max_memory` change at a restart only"
        );
    }
    new.listen = old.listen;
    new.web = old.web.clone();
    new.ledger = old.ledger;
    new.query = old.query.clone();
    new.features = old.features;
    let remote_write_receiver = new.storage.remote_write_receiver;
    new.storage = config::StorageConfig { remote_write_receiver, ..old.storage.clone() };
}

fn explain(findings: &[Diagnostic]) -> anyhow::Error {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{}", lines.join("\n"))
}
