//! The configuration: what the file says, as types that cannot be wrong.
//!
//! Reading reports every fault of a file at once, with its place. Nothing here starts anything; the
//! environment and the machine come in as arguments.

mod address;
mod assign;
mod builtin;
mod instance;
mod machine;
mod read;
mod redis;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::blackbox::{self, Module};
use crate::client::{HttpAuth, HttpConfig, SecretSource, TlsConfig};
use crate::diag::Diagnostic;
use crate::drill;
use crate::heartbeat::{Expected, Told};
use crate::model::Secret;
use crate::notifier::AlertmanagerSet;
use crate::probe::StartTls;
use crate::probe::certificate::CertificateFiles;
use crate::probe::http::Method;
use crate::probe::postgres;
use crate::promql::Features;
use crate::relabel;
use crate::state::LedgerLimits;

pub use address::{AddressError, parse_address};
pub use assign::SourcesOfGroups;
pub use builtin::builtin;
pub use machine::{MachineConfig, MachinePaths};
pub use read::read;
pub use redis::RedisConfig;

/// Everything that valmis is told to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the HTTP server listens.
    pub listen: SocketAddr,
    /// Who may talk to it.
    pub web: WebConfig,
    /// The URL under which people reach it; links in alerts begin with it.
    pub external_url: Option<Url>,
    /// The store.
    pub storage: StorageConfig,
    /// What is kept of what happened to alerts.
    pub ledger: LedgerLimits,
    /// The limits of queries.
    pub query: QueryConfig,
    /// The experimental parts that are switched on.
    pub features: Features,
    /// Labels that every alert carries to Alertmanager.
    pub external_labels: BTreeMap<String, String>,
    /// How many series one component may have.
    pub max_series_per_component: usize,
    /// How often rules are evaluated unless their group says otherwise.
    pub evaluation_interval: Duration,
    /// Applications.
    pub apps: Vec<AppConfig>,
    /// PostgreSQL servers.
    pub postgres: Vec<PostgresConfig>,
    /// Redis servers.
    pub redis: Vec<RedisConfig>,
    /// The machine itself.
    pub machine: MachineConfig,
    /// File systems; empty: every real, writable mount.
    pub disks: Vec<DiskConfig>,
    /// Certificates.
    pub certificates: Vec<CertificateConfig>,
    /// Modules of probes, and who may ask for what.
    pub blackbox: blackbox::Settings,
    /// Probes on a schedule.
    pub probes: Vec<ProbeConfig>,
    /// Further scrape targets.
    pub scrapes: Vec<ScrapeConfig>,
    /// Servers that evaluate rules.
    pub sources: Vec<SourceConfig>,
    /// Where alerts go.
    pub alertmanagers: Vec<AlertmanagerSet>,
    /// What is done to the labels of every alert before it is sent.
    pub alert_relabel: Vec<relabel::Rule>,
    /// Drills that are repeated.
    pub drills: Vec<drill::Scheduled>,
    /// Who is told that all works.
    pub heartbeat: Vec<Told>,
    /// Who tells that it has run.
    pub pings: Vec<Expected>,
    /// Which rules are evaluated.
    pub rules: RulesConfig,
}

/// The HTTP server beside its address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebConfig {
    /// A web configuration file as Prometheus' exporters have it: TLS, passwords, headers, limits.
    pub config_file: Option<PathBuf>,
    /// Where `/health` and `/ready` are served beside, in plain HTTP and to everybody.
    pub health_listen: Option<SocketAddr>,
}

/// The embedded store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// The folder for samples and alert states.
    pub path: PathBuf,
    /// How long samples are kept.
    pub retention: Duration,
    /// The ceiling for the memory of the samples, in bytes.
    pub max_memory_bytes: u64,
    /// Whether `/api/v1/write` accepts samples.
    pub remote_write_receiver: bool,
}

/// What a query may cost. The defaults are those of Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryConfig {
    /// How many samples it may hold in memory. Source: `--query.max-samples`.
    pub max_samples: usize,
    /// How long it may take, waiting included. Source: `--query.timeout`.
    pub timeout: Duration,
    /// How many are evaluated at once; others wait. Source: `--query.max-concurrency`.
    pub max_concurrency: usize,
    /// How old a sample may be to count as the current value. Source: `--query.lookback-delta`.
    pub lookback_delta: Duration,
}

/// When and how patiently something is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pace {
    /// Time between probes.
    pub interval: Duration,
    /// Time a probe may take.
    pub timeout: Duration,
    /// How many failures in a row make a component not ready.
    pub failure_threshold: u32,
    /// How many successes in a row make it ready again.
    pub success_threshold: u32,
}

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AppConfig {
    /// Its name: the component's name, and the `job` of its scraped metrics.
    pub name: String,
    /// What is probed.
    pub url: Option<Url>,
    /// What is scraped.
    pub metrics: Option<Url>,
    /// When.
    pub pace: Pace,
    /// What the probe expects of the answer.
    pub expect: HttpExpectations,
    /// Request method.
    pub method: Method,
    /// Request headers, of which any may be a secret.
    pub headers: BTreeMap<String, Secret>,
    /// Request body, which may be one too.
    pub body: Option<Secret>,
    /// Credentials.
    pub auth: Option<HttpAuth>,
    /// TLS.
    pub tls: TlsConfig,
    /// Whether labels of the scraped page win over `job` and `instance`.
    pub honor_labels: bool,
    /// Labels added to the scraped series.
    pub labels: BTreeMap<String, String>,
}

/// What an HTTP answer must look like.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct HttpExpectations {
    /// Accepted status codes; empty: 200 to 299.
    pub status: Vec<u16>,
    /// Regular expressions that the body must match.
    pub body_matches: Vec<String>,
    /// Regular expressions that the body must not match.
    pub body_not_matches: Vec<String>,
    /// Whether redirects are answered by following them.
    pub follow_redirects: bool,
}

/// A PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PostgresConfig {
    /// The component's name.
    pub name: String,
    /// Connection string, URI or `key=value`, perhaps with a password.
    pub dsn: Secret,
    /// The password, if it is not in the connection string.
    pub password: Option<SecretSource>,
    /// What it has to be, if that matters.
    pub role: Option<postgres::Role>,
    /// What is collected.
    pub selection: postgres::Selection,
    /// When.
    pub pace: Pace,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DiskConfig {
    /// Its mount point, or a path within.
    pub path: PathBuf,
    /// When.
    pub pace: Pace,
}

/// A certificate to watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateConfig {
    /// The component's name.
    pub name: String,
    /// Where it is.
    pub source: CertificateSource,
    /// TLS.
    pub tls: TlsConfig,
    /// When.
    pub pace: Pace,
}

/// Where certificates are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateSource {
    /// Served by a TLS server.
    Server(TlsServer),
    /// In files.
    Files(CertificateFiles),
    /// Served by a TLS server from files: the two are compared.
    ServedFromFiles(TlsServer, CertificateFiles),
}

/// A server that talks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsServer {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The protocol by which the server is asked for TLS; without one TLS begins at once.
    pub starttls: Option<StartTls>,
}

/// Targets that are probed with a module.
#[derive(Debug, Clone, PartialEq, Hash)]
pub struct ProbeConfig {
    /// Its name: label `job` of its samples.
    pub name: String,
    /// How they are probed.
    pub module: Arc<Module>,
    /// What is probed: label `instance` of the samples.
    pub targets: Vec<String>,
    /// Whether the system is ready only if these are.
    pub readiness: bool,
    /// Further labels of the samples.
    pub labels: BTreeMap<String, String>,
    /// When.
    pub pace: Pace,
}

/// Targets of one scrape job.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeConfig {
    /// The `job` label.
    pub job: String,
    /// `host:port` of each target.
    pub targets: Vec<String>,
    /// Patterns of files that list targets (file-based discovery).
    pub files: Vec<String>,
    /// `http` or `https`.
    pub scheme: String,
    /// Path of the page.
    pub metrics_path: String,
    /// Time between scrapes.
    pub interval: Duration,
    /// Time a scrape may take.
    pub timeout: Duration,
    /// Whether labels of the page win.
    pub honor_labels: bool,
    /// Largest number of samples of a page; 0: no limit.
    pub sample_limit: u64,
    /// Whether native histograms are wanted.
    pub scrape_native_histograms: bool,
    /// Whether histograms that have a native form are also stored in their classic form.
    pub always_scrape_classic_histograms: bool,
    /// Credentials.
    pub auth: Option<HttpAuth>,
    /// TLS.
    pub tls: TlsConfig,
    /// Labels added to every target.
    pub labels: BTreeMap<String, String>,
}

/// A server with Prometheus' HTTP API that evaluates rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceConfig {
    /// What rules call it.
    pub name: String,
    /// Below it lies `api/v1/query`.
    pub url: Url,
    /// Time an answer may take.
    pub timeout: Duration,
    /// How it is reached, and as whom.
    pub http: HttpConfig,
    /// Further parameters of every query.
    pub parameters: Vec<(String, String)>,
    /// Where the samples of its rules are written, beside the store.
    pub write_back: Option<WriteBackConfig>,
}

/// A receiver of remote write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteBackConfig {
    /// The whole URL.
    pub url: Url,
    /// Time a request may take.
    pub timeout: Duration,
    /// How it is reached, and as whom.
    pub http: HttpConfig,
}

/// Which source evaluates which rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSource {
    /// Patterns of rule files, made absolute against the folder of the configuration.
    pub files: Vec<String>,
    /// The groups of those files; empty: all.
    pub groups: Vec<String>,
    /// The source.
    pub source: String,
}

/// Rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesConfig {
    /// Whether the bundled rules are evaluated.
    pub builtin: bool,
    /// Patterns of all rule files, made absolute against the folder of the configuration.
    pub files: Vec<String>,
    /// Those that a source evaluates. For a group that several entries name the first one counts; one
    /// that none names is evaluated over the store.
    pub sources: Vec<RuleSource>,
    /// Distance between re-sendings of a firing alert.
    pub resend_delay: Duration,
    /// How long firing alerts go on being sent while their rule cannot be evaluated.
    pub error_hold: Duration,
    /// How far back evaluations that were missed are made up for.
    pub catch_up: Duration,
}

/// What reading a configuration needs from outside.
pub struct Surroundings<'a> {
    /// Looks an environment variable up.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// What relative paths in the file are relative to.
    pub folder: &'a Path,
}

/// Reads the file at `path`; a configuration without fault, or everything that is wrong with it.
pub fn load(path: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, Vec<Diagnostic>> {
    let (config, findings) = examine(path, environment);
    if findings.is_empty() { Ok(config) } else { Err(findings) }
}

/// Reads the file at `path`: what could be read, and everything that is wrong with it.
pub fn examine(path: &Path, environment: &dyn Fn(&str) -> Option<String>) -> (Config, Vec<Diagnostic>) {
    let name = path.display().to_string();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = absolute.parent().unwrap_or_else(|| Path::new("/"));
    match std::fs::read_to_string(path) {
        Ok(text) => read(&name, &text, &Surroundings { environment, folder }),
        Err(error) => {
            let message = format!("cannot read the configuration: {error}");
            let finding = Diagnostic::error("unreadable-file", message)
                .at(&name, None)
                .hint("`valmis init` writes one for this machine");
            (Config::default(), vec![finding])
        }
    }
}
