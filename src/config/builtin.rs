//! What valmis does without a configuration file: it watches this machine and itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::{
    AppConfig, Config, HttpExpectations, MachineConfig, Pace, PostgresConfig, QueryConfig, RulesConfig,
    StorageConfig, WebConfig,
};
use crate::blackbox;
use crate::client::TlsConfig;
use crate::model::Secret;
use crate::probe::http::Method;
use crate::probe::postgres::{Dsn, DsnError, Selection};
use crate::promql::Features;
use crate::readiness::DEFAULT_MAX_SERIES;
use crate::state::LedgerLimits;

/// The port of valmis.
const PORT: u16 = 9797;

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(5),
            failure_threshold: 2,
            success_threshold: 2,
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("./valmis-data"),
            retention: Duration::from_hours(24),
            max_memory_bytes: 256 << 20,
            remote_write_receiver: false,
        }
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            max_samples: 50_000_000,
            timeout: Duration::from_mins(2),
            max_concurrency: 20,
            lookback_delta: Duration::from_mins(5),
        }
    }
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self {
            builtin: true,
            files: Vec::new(),
            sources: Vec::new(),
            resend_delay: Duration::from_mins(1),
            error_hold: Duration::from_hours(1),
            catch_up: Duration::from_hours(1),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            web: WebConfig::default(),
            external_url: None,
            storage: StorageConfig::default(),
            ledger: LedgerLimits::default(),
            query: QueryConfig::default(),
            features: Features::default(),
            external_labels: BTreeMap::new(),
            max_series_per_component: DEFAULT_MAX_SERIES,
            evaluation_interval: Duration::from_secs(15),
            apps: Vec::new(),
            postgres: Vec::new(),
            redis: Vec::new(),
            machine: MachineConfig::default(),
            disks: Vec::new(),
            certificates: Vec::new(),
            blackbox: blackbox::Settings { modules: blackbox::builtin(), ..blackbox::Settings::default() },
            probes: Vec::new(),
            scrapes: Vec::new(),
            sources: Vec::new(),
            alertmanagers: Vec::new(),
            heartbeat: Vec::new(),
            pings: Vec::new(),
            alert_relabel: Vec::new(),
            drills: Vec::new(),
            rules: RulesConfig::default(),
        }
    }
}

/// The built-in configuration: this machine's file systems, valmis itself as the application, and
/// PostgreSQL where `DATABASE_URL` or `PGHOST` names one. The variables are those of libpq and of most
/// application frameworks.
pub fn builtin(environment: &dyn Fn(&str) -> Option<String>, listen: Option<SocketAddr>) -> Config {
    let mut config = Config::default();
    config.listen = listen.unwrap_or(config.listen);
    config.apps.push(itself(config.listen));
    if let Some(path) = environment("VALMIS_DATA_DIR").filter(|path| !path.is_empty()) {
        config.storage.path = PathBuf::from(path);
    }
    config.postgres.extend(postgres_from(environment));
    config
}

/// valmis watching itself: it probes its own `/health`.
fn itself(listen: SocketAddr) -> AppConfig {
    let host = if listen.ip().is_unspecified() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port()))
    } else {
        listen
    };
    let page = |path: &str| {
        Some(Url::parse(&format!("http://{host}{path}")).expect("an address and a path make a URL"))
    };
    AppConfig {
        name: "valmis".to_owned(),
        url: page("/health"),
        // Its figures are scraped whatever is configured.
        metrics: None,
        pace: Pace::default(),
        expect: HttpExpectations { follow_redirects: true, ..HttpExpectations::default() },
        method: Method::GET,
        headers: BTreeMap::new(),
        body: None,
        auth: None,
        tls: TlsConfig::default(),
        honor_labels: true,
        labels: BTreeMap::new(),
    }
}

fn postgres_from(environment: &dyn Fn(&str) -> Option<String>) -> Option<PostgresConfig> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let is_postgres = |url: &String| url.starts_with("postgres://") || url.starts_with("postgresql://");
    let url = set("DATABASE_URL").filter(is_postgres).map(|url| without_foreign_parameters(&url));
    let dsn = url.or_else(|| {
        let quoted = |value: String| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
        let host = set("PGHOST")?;
        let mut dsn = format!("host={}", quoted(host));
        let parts = [
            ("port", "PGPORT"),
            ("user", "PGUSER"),
            ("password", "PGPASSWORD"),
            ("dbname", "PGDATABASE"),
            ("sslmode", "PGSSLMODE"),
        ];
        for (key, variable) in parts {
            // Without a user libpq takes that of the operating system.
            let fallback = || (key == "user").then(|| set("USER").or_else(|| set("LOGNAME"))).flatten();
            if let Some(value) = set(variable).or_else(fallback) {
                dsn = format!("{dsn} {key}={}", quoted(value));
            }
        }
        Some(dsn)
    })?;
    Some(PostgresConfig {
        name: "postgres".to_owned(),
        role: None,
        selection: Selection::default(),
        dsn: Secret::new(dsn),
        password: None,
        pace: Pace::default(),
    })
}

/// `DATABASE_URL` is the application's: its parameters may be some that only its own driver knows, such
/// as `schema` or `pgbouncer`. They are no reason not to watch the database.
fn without_foreign_parameters(url: &str) -> String {
    let errors = Dsn::parse(url).err().unwrap_or_default();
    let foreign: Vec<String> = errors
        .into_iter()
        .filter_map(|error| match error {
            DsnError::Unknown(name) => Some(name),
            _ => None,
        })
        .collect();
    let Some((server, parameters)) = url.split_once('?') else { return url.to_owned() };
    let name = |parameter: &str| parameter.split('=').next().unwrap_or_default().to_owned();
    let known = parameters.split('&').filter(|parameter| !foreign.contains(&name(parameter)));
    let known: Vec<&str> = known.collect();
    if known.is_empty() { server.to_owned() } else { format!("{server}?{}", known.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Config {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        builtin(&|name| find(name).map(|(_, value)| (*value).to_owned()), None)
    }

    #[test]
    fn it_watches_itself_where_it_listens() {
        let watched = |listen: &str| {
            let config = builtin(&|_| None, Some(listen.parse().expect("an address")));
            config.apps[0].url.as_ref().map(ToString::to_string)
        };
        assert_eq!(watched("127.0.0.1:1234").as_deref(), Some("http://127.0.0.1:1234/health"));
        assert_eq!(watched("0.0.0.0:80").as_deref(), Some("http://127.0.0.1/health"));
    }

    #[test]
    fn postgres_is_watched_where_the_environment_names_one() {
        let dsn = |variables: &[(&str, &str)]| {
            with(variables).postgres.first().map(|server| server.dsn.expose().to_owned())
        };
        assert_eq!(dsn(&[]), None);
        assert_eq!(dsn(&[("DATABASE_URL", "mysql://x")]), None);
        assert_eq!(dsn(&[("DATABASE_URL", "postgres://u@h/d")]).as_deref(), Some("postgres://u@h/d"));
        assert_eq!(
            dsn(&[("PGHOST", "db"), ("PGUSER", "o'neil"), ("PGPORT", "")]).as_deref(),
            Some(r"host='db' user='o\'neil'")
        );
        assert_eq!(dsn(&[("PGHOST", "db"), ("USER", "me")]).as_deref(), Some("host='db' user='me'"));
    }

    #[test]
    fn parameters_of_the_applications_driver_are_left_out() {
        let cleaned = without_foreign_parameters;
        assert_eq!(cleaned("postgres://u@h/d"), "postgres://u@h/d");
        assert_eq!(cleaned("postgres://u@h/d?schema=public"), "postgres://u@h/d");
        assert_eq!(
            cleaned("postgres://u@h/d?schema=public&sslmode=require&pgbouncer=true"),
            "postgres://u@h/d?sslmode=require"
        );
    }

    #[test]
    fn the_data_folder_comes_from_the_environment() {
        assert_eq!(with(&[]).storage.path, PathBuf::from("./valmis-data"));
        assert_eq!(with(&[("VALMIS_DATA_DIR", "/x")]).storage.path, PathBuf::from("/x"));
    }
}
