//! The web configuration in force.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::{HeaderName, HeaderValue};
use rustls::ServerConfig;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::load::{Loaded, load};
use super::metrics::Metrics;
use super::passwords::Passwords;
use super::rate::Limiter;
use crate::client::Lookups;
use crate::clock::SharedClock;
use crate::diag::Diagnostic;

/// How often the file and what it names are looked at.
const REFRESH: Duration = Duration::from_secs(5);
/// How long reading them may take; a file system may hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// Readings of web configurations, of which a process has one.
type Loads = Lookups<PathBuf, Result<Arc<Loaded>, Vec<Diagnostic>>>;

/// Why a web configuration was not put in force. The one before stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// There are faults in it.
    #[error("{0}")]
    Faults(String),
    /// Whether TLS is spoken stays as it is while the process runs.
    #[error("`tls_server_config` comes and goes at a restart only")]
    Scheme,
    /// Reading takes too long.
    #[error("the web configuration could not be read within {PATIENCE:?}")]
    Slow,
}

/// The web configuration in force, kept up to date with its file.
pub struct Access {
    path: PathBuf,
    now: ArcSwap<InForce>,
    /// The fault that was told last. Held while reading, so that one reads at a time.
    told: Mutex<Option<String>>,
    clock: SharedClock,
    metrics: Metrics,
}

/// What counts for a request.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) passwords: Option<Arc<Passwords>>,
    pub(super) limiter: Option<Arc<Limiter>>,
    fingerprint: u64,
}

impl InForce {
    /// What has not changed since `before` keeps what it remembers.
    fn new(loaded: &Loaded, before: Option<&Self>) -> Self {
        let Loaded { config, tls, fingerprint, .. } = loaded;
        let passwords = (!config.users.is_empty()).then(|| {
            let same = before.and_then(|before| before.passwords.clone());
            same.filter(|same| *same.hashes() == config.users)
                .unwrap_or_else(|| Arc::new(Passwords::new(config.users.clone())))
        });
        let limiter = config.rate_limit.map(|limit| {
            let same = before.and_then(|before| before.limiter.clone());
            same.filter(|same| same.limit() == limit)
                .unwrap_or_else(|| Arc::new(Limiter::new(limit, Instant::now())))
        });
        let (tls, headers) = (tls.clone(), config.headers.clone());
        Self { tls, headers, passwords, limiter, fingerprint: *fingerprint }
    }
}

impl Access {
    /// Puts what was loaded from `path` in force.
    pub fn new(path: PathBuf, loaded: &Loaded, clock: SharedClock, metrics: Metrics) -> Self {
        tell(loaded);
        metrics.changed(clock.now());
        let now = ArcSwap::from_pointee(InForce::new(loaded, None));
        Self { path, now, told: Mutex::new(None), clock, metrics }
    }

    pub(super) fn now(&self) -> Arc<InForce> {
        self.now.load_full()
    }

    /// Reads everything again. With a fault the configuration before stays; a fault is logged once.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let mut told = self.told.lock().await;
        let outcome = self.read().await;
        self.metrics.in_order(outcome.is_ok());
        let fault = outcome.as_ref().err().map(ToString::to_string);
        if let Some(fault) = fault.as_ref().filter(|fault| told.as_ref() != Some(*fault)) {
            error!("the web configuration was not loaded, the previous one stays in force: {fault}");
        }
        *told = fault;
        outcome
    }

    async fn read(&self) -> Result<(), ReloadError> {
        // On a file system that hangs the next reading goes on with this one.
        static LOADS: LazyLock<Loads> = LazyLock::new(|| Loads::new(1));
        let loading = LOADS.look_up(self.path.clone(), |path| load(path).map(Arc::new));
        let Ok(Ok(read)) = timeout(PATIENCE, loading).await else { return Err(ReloadError::Slow) };
        let loaded = read.map_err(|findings| {
            let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
            ReloadError::Faults(lines.join("\n"))
        })?;
        let before = self.now();
        if loaded.fingerprint == before.fingerprint {
            return Ok(());
        }
        if loaded.tls.is_some() != before.tls.is_some() {
            return Err(ReloadError::Scheme);
        }
        tell(&loaded);
        self.now.store(Arc::new(InForce::new(&loaded, Some(&before))));
        self.metrics.changed(self.clock.now());
        info!("web configuration loaded");
        Ok(())
    }

    /// Reads everything again from time to time, until `stop`.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut ticks = interval(REFRESH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            // What is wrong is logged and counted.
            let _ = self.reload().await;
        }
    }
}

fn tell(loaded: &Loaded) {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
}
