//! Probes that someone asks for, as at blackbox exporter's `/probe`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use super::metrics::{Metrics, RefusedFor};
use super::module::{Module, ModuleError, Modules};
use super::policy::{Asked, Denied, Policy};
use super::target::ModuleTarget;
use super::timeout::{self, TimeoutError};
use super::view::without_userinfo;
use crate::clock::SharedClock;
use crate::probe::{Deadline, History, HistoryLimits, Origin, ProbeRecord, Probed};

/// The module of a request that names none. Source: blackbox exporter `prober/handler.go`.
const DEFAULT_MODULE: &str = "http_2xx";

/// How many targets are kept prepared. Beyond that all are prepared anew when they are next asked for.
const MAX_PREPARED: usize = 2000;

/// What is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The modules.
    pub modules: Modules,
    /// Who may have what probed.
    pub policy: Policy,
    /// How much earlier than its scraper gives up a probe ends. Source: blackbox exporter,
    /// `--timeout-offset`.
    pub timeout_offset: Duration,
    /// How many probes run at once that were asked for; others are refused.
    pub max_concurrent_probes: usize,
    /// How much is kept of what probes found.
    pub history: HistoryLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            modules: Modules::new(),
            policy: Policy::default(),
            timeout_offset: Duration::from_millis(500),
            max_concurrent_probes: 100,
            history: HistoryLimits::default(),
        }
    }
}

/// What a request says, not yet judged.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProbeRequest<'a> {
    /// The parameter `module`.
    pub module: Option<&'a str>,
    /// The parameter `target`.
    pub target: Option<&'a str>,
    /// The parameter `hostname`.
    pub hostname: Option<&'a str>,
    /// The header [`timeout::SCRAPE_TIMEOUT_HEADER`].
    pub scrape_timeout: Option<&'a str>,
}

/// Why there is no probe. The first four texts are blackbox exporter's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No module has this name.
    #[error("Unknown module \"{0}\"")]
    UnknownModule(String),
    /// The scraper's timeout is no number.
    #[error(transparent)]
    Timeout(#[from] TimeoutError),
    /// No target.
    #[error("Target parameter is missing")]
    MissingTarget,
    /// The host name does not go with the module.
    #[error(transparent)]
    Hostname(#[from] ModuleError),
    /// The configuration does not allow it.
    #[error(
        "target `{target}` is not allowed for module `{module}`: it is neither among the `probes` nor under \
         `blackbox.allow` of the configuration"
    )]
    TargetNotAllowed {
        /// The module.
        module: String,
        /// The target.
        target: String,
    },
    /// The configuration allows the target, but not for a module that holds credentials.
    #[error(
        "target `{target}` is not allowed for module `{module}`: the module has credentials, and neither \
         `any` nor `module: \"*\"` under `blackbox.allow` of the configuration means it: an entry has to name it"
    )]
    CredentialsNotAllowed {
        /// The module.
        module: String,
        /// The target.
        target: String,
    },
    /// The configuration allows the target, but not under this name.
    #[error(
        "hostname `{0}` is not allowed for this target: see `blackbox.allow[].hostnames` of the configuration"
    )]
    HostnameNotAllowed(String),
    /// Too many others.
    #[error(
        "{0} probes run already, and no more at once: see `blackbox.max_concurrent_probes` of the configuration"
    )]
    Busy(usize),
}

/// Probes that someone asks for. Cloning yields another handle to the same.
#[derive(Clone)]
pub struct Blackbox(Arc<Inner>);

struct Inner {
    settings: ArcSwap<Current>,
    history: Arc<History>,
    clock: SharedClock,
    metrics: Metrics,
}

/// Settings in force, with the places for probes and what has been asked for before.
struct Current {
    settings: Settings,
    places: Arc<Semaphore>,
    prepared: Mutex<HashMap<Question, Arc<ModuleTarget>>>,
}

/// Module, target and host name of a request.
type Question = (String, String, Option<String>);

impl Current {
    fn new(settings: Settings) -> Self {
        let places = Arc::new(Semaphore::new(settings.max_concurrent_probes));
        Self { settings, places, prepared: Mutex::default() }
    }

    /// The prober of a question. It is kept: those who ask ask again, and a prober may have tokens and
    /// compiled patterns that are good for the next probe too.
    fn prober(
        &self,
        question: &Question,
        prepare: impl FnOnce() -> Result<ModuleTarget, ModuleError>,
    ) -> Result<Arc<ModuleTarget>, ModuleError> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = prepared.get(question) {
            return Ok(found.clone());
        }
        let new = Arc::new(prepare()?);
        if prepared.len() >= MAX_PREPARED {
            prepared.clear();
        }
        prepared.insert(question.clone(), new.clone());
        Ok(new)
    }
}

impl Blackbox {
    /// Without modules; they come with [`Self::apply`].
    pub fn new(history: Arc<History>, clock: SharedClock, registry: &mut Registry) -> Self {
        let settings = ArcSwap::from_pointee(Current::new(Settings::default()));
        Self(Arc::new(Inner { settings, history, clock, metrics: Metrics::register(registry) }))
    }

    /// Puts other settings in force. Probes that run go on, and are not counted against a new limit.
    pub fn apply(&self, settings: Settings) {
        self.0.history.limit(settings.history);
        self.0.settings.store(Arc::new(Current::new(settings)));
    }

    /// Notes how the last attempt to read the modules went.
    pub fn reloaded(&self, successful: bool) {
        let metrics = &self.0.metrics;
        metrics.reload_successful.set(i64::from(successful));
        if successful {
            metrics.reload_at.set(self.0.clock.now() / 1000);
        }
    }

    /// The modules in force.
    pub fn modules(&self) -> Vec<Arc<Module>> {
        self.0.settings.load().settings.modules.values().cloned().collect()
    }

    /// What probes found.
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// Probes what is asked for, if it may be.
    pub async fn probe(&self, request: ProbeRequest<'_>) -> Result<ProbeRecord, Refusal> {
        let Inner { settings, history, clock, metrics } = &*self.0;
        let current = settings.load_full();
        let settings = &current.settings;
        let given = |text: Option<&'_ str>| text.filter(|text| !text.is_empty()).map(ToOwned::to_owned);
        let name = given(request.module).unwrap_or_else(|| DEFAULT_MODULE.to_owned());
        let Some(module) = settings.modules.get(&name) else {
            metrics.module_unknown.inc();
            return Err(Refusal::UnknownModule(name));
        };
        let allowed = timeout::effective(request.scrape_timeout, module.timeout(), settings.timeout_offset)?;
        let target = given(request.target).ok_or(Refusal::MissingTarget)?;
        // Some scrapers encode twice.
        let target = query_unescape(&target).unwrap_or(target);
        let hostname = given(request.hostname);
        let subject = module.subject(&target);
        let asked = Asked {
            module: &name,
            credentials: module.has_credentials(),
            subject: subject.as_ref(),
            hostname: hostname.as_deref().filter(|_| matches!(module.kind(), "http" | "tcp")),
        };
        let reach = settings.policy.judge(asked).map_err(|denied| match denied {
            Denied::Target => {
                metrics.refused(RefusedFor::Target);
                Refusal::TargetNotAllowed { module: name.clone(), target: without_userinfo(&target) }
            }
            Denied::Credentials => {
                metrics.refused(RefusedFor::Target);
                Refusal::CredentialsNotAllowed { module: name.clone(), target: without_userinfo(&target) }
            }
            Denied::Hostname => {
                metrics.refused(RefusedFor::Hostname);
                Refusal::HostnameNotAllowed(hostname.clone().unwrap_or_default())
            }
        })?;
        let question = (name, target, hostname);
        let prober = current.prober(&question, || {
            let (_, target, hostname) = &question;
            let changed = hostname.as_deref().map(|hostname| module.for_hostname(hostname)).transpose()?;
            Ok(ModuleTarget::new(changed.as_ref().unwrap_or(module), target, Some(reach), clock))
        })?;
        let Ok(_place) = current.places.clone().try_acquire_owned() else {
            metrics.refused(RefusedFor::Concurrency);
            return Err(Refusal::Busy(settings.max_concurrent_probes));
        };
        let _running = Running::begin(metrics);
        let (at, started) = (clock.now(), Instant::now());
        let outcome = prober.probe(Deadline::after(allowed), allowed).await;
        let (name, target, _) = question;
        let record = ProbeRecord {
            // What stands before an `@` may be a password.
            probed: Probed {
                origin: Origin::Asked,
                module: name.into(),
                target: without_userinfo(&target).into(),
            },
            at,
            duration: started.elapsed(),
            timeout: allowed,
            failure: outcome.result.err(),
            log: outcome.log.into_lines(),
            samples: outcome.samples.into(),
            configuration: prober.configuration().clone(),
        };
        history.add(record.clone());
        Ok(record)
    }
}

/// Counts a probe for as long as it runs, however it ends.
struct Running(Metrics);

impl Running {
    fn begin(metrics: &Metrics) -> Self {
        metrics.running.inc();
        Self(metrics.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.dec();
    }
}

/// Undoes the encoding of a query's value once more; `None` if it is not encoded so.
/// Source: Go `net/url`, `QueryUnescape`.
fn query_unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // `TestURLDecoding` of blackbox exporter has four of these.
    #[test]
    fn a_target_is_decoded_once_more() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(query_unescape(text).as_deref(), expected, "{text}");
        };
        check("http://a:80/", Some("http://a:80/"));
        check("http://a%3A80", Some("http://a:80"));
        check("http://a/v1%3Alatest", Some("http://a/v1:latest"));
        check("http%3A%2F%2Fa%3A80%2Fpath", Some("http://a:80/path"));
        check("a+b", Some("a b"));
        check("100%", None);
        check("%zz", None);
        check("%ff", None);
    }
}
