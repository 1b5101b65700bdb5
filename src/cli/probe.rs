//! `valmis probe …`: looks at one thing once, as the server does all the time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::trust::Trust;
use super::{Exit, Output, duration, environment, runtime};
use crate::client::SecretSource;
use crate::clock::{SharedClock, SystemClock};
use crate::exposition::{Metadata, MetricType, Negotiated, Page};
use crate::model::Secret;
use crate::probe::certificate::{
    CertificateFiles, CertificateFilesProber, Glob, ServedCertificateConfig, TlsProber,
};
use crate::probe::disk::{self, DiskProber};
use crate::probe::http::{HttpConfig, HttpProber, parse_target};
use crate::probe::postgres::{self, Dsn, Password, PostgresProber, Selection};
use crate::probe::redis::{RedisAddress, RedisConfig, RedisProber};
use crate::probe::{Deadline, ProbeOutcome, Prober, describe};

/// Look at one thing once, and say what is wrong with it.
///
/// Prints the metrics that a server would keep; what happened and how it ended are comments among them.
/// The exit code is 1 if the probe fails.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Probe {
    /// Ask a URL.
    Http {
        /// The URL; `http://` may be left out.
        url: String,
        #[command(flatten)]
        trust: Trust,
        #[command(flatten)]
        patience: Patience,
    },
    /// Log in to a PostgreSQL server and read its statistics.
    ///
    /// The password is that of `--password-file`, of the connection string, or of PGPASSWORD.
    Postgres {
        /// A connection string: `postgres://user@host/database` or `host=… user=…`.
        #[arg(env = "DATABASE_URL", hide_env_values = true)]
        dsn: Secret,
        /// Read the password from this file.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        patience: Patience,
    },
    /// Ask a Redis server what it tells of itself.
    ///
    /// The password is that of `--password-file`, or of `REDISCLI_AUTH` as for redis-cli.
    Redis {
        /// `host:port`, or `rediss://host:port` for TLS.
        address: String,
        /// Log in as this user instead of the default one.
        #[arg(long, value_name = "NAME")]
        username: Option<String>,
        /// Read the password from this file.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        trust: Trust,
        #[command(flatten)]
        patience: Patience,
    },
    /// Look at the file system on which a path is.
    Disk {
        /// The path.
        path: PathBuf,
        #[command(flatten)]
        patience: Patience,
    },
    /// Look at certificates: of a TLS server, or in files.
    Cert {
        /// `https://host`, `host:port`, or files: a path, or a quoted pattern such as '/etc/tls/*.pem'.
        target: String,
        /// Open PKCS#12 keystores with the password in this file.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        trust: Trust,
        #[command(flatten)]
        patience: Patience,
    },
}

/// How long to wait.
#[derive(Debug, clap::Args)]
pub(super) struct Patience {
    /// How long the probe may take.
    #[arg(long, default_value = "5s", value_parser = duration)]
    timeout: Duration,
}

pub(super) fn run(command: &Probe, out: &mut Output) -> Result<Exit> {
    let (Probe::Http { patience, .. }
    | Probe::Postgres { patience, .. }
    | Probe::Redis { patience, .. }
    | Probe::Disk { patience, .. }
    | Probe::Cert { patience, .. }) = command;
    let runtime = runtime()?;
    let (what, outcome, took) = runtime.block_on(async {
        let (what, prober) = prober(command)?;
        let began = Instant::now();
        let outcome = prober.probe(Deadline::after(patience.timeout)).await;
        anyhow::Ok((what, outcome, began.elapsed()))
    })?;
    // A thread that hangs in a file system must not keep the process.
    runtime.shutdown_background();
    out.text(&report(&what, &outcome, took))?;
    Ok(if outcome.result.is_ok() { Exit::Fine } else { Exit::Findings })
}

/// The prober, and what it looks at in words, without secrets.
fn prober(command: &Probe) -> Result<(String, Box<dyn Prober>)> {
    let clock: SharedClock = Arc::new(SystemClock);
    Ok(match command {
        Probe::Http { url, trust, .. } => {
            let url = parse_target(url)?;
            let what = url.to_string();
            let config = HttpConfig { tls: trust.config().into(), ..HttpConfig::new(url) };
            (what, Box::new(HttpProber::new(config, clock)?))
        }
        Probe::Postgres { dsn, password_file, .. } => {
            let dsn = Dsn::parse(dsn.expose()).map_err(|errors| {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                anyhow!("{}", errors.join("\n"))
            })?;
            let password = match (password_file, environment("PGPASSWORD")) {
                (Some(file), _) => Password::File(file.clone()),
                (None, Some(password)) if dsn.password.is_none() => Password::Value(Secret::new(password)),
                (None, _) => Password::InDsn,
            };
            let what = dsn.address();
            (
                what,
                Box::new(PostgresProber::new(postgres::Target {
                    dsn,
                    password,
                    role: None,
                    selection: Selection::default(),
                })),
            )
        }
        Probe::Redis { address, username, password_file, trust, .. } => {
            let address = RedisAddress::parse(address)?;
            let in_file = password_file.clone().map(SecretSource::File);
            let password = in_file.or_else(|| {
                environment("REDISCLI_AUTH").map(|password| SecretSource::Value(Secret::new(password)))
            });
            let what = address.to_string();
            let (username, tls) = (username.clone(), trust.config().into());
            (what, Box::new(RedisProber::new(RedisConfig { address, username, password, tls }, clock)))
        }
        Probe::Disk { path, .. } => {
            let path = std::path::absolute(path).context("the path cannot be used")?;
            let what = path.display().to_string();
            let kernel = Arc::new(disk::Kernel::default());
            let target = disk::Target { path, writable: true, mounted: false };
            (what, Box::new(DiskProber::new(target, kernel.clone(), kernel)))
        }
        Probe::Cert { target, password_file, .. } if names_files(target) => {
            let pattern = std::path::absolute(target).context("the pattern cannot be used")?;
            let files = Glob::parse(&pattern.to_string_lossy())?;
            let what = files.as_str().to_owned();
            let password = password_file.clone().map(SecretSource::File);
            let files = CertificateFiles { password, ..CertificateFiles::new(files) };
            (what.clone(), Box::new(CertificateFilesProber::new(what, files, clock)))
        }
        Probe::Cert { target, trust, .. } => {
            let config = ServedCertificateConfig {
                tls: trust.config().into(),
                ..ServedCertificateConfig::parse(target)?
            };
            let what = format!("{}:{}", config.host, config.port);
            (what, Box::new(TlsProber::new(config, clock)))
        }
    })
}

/// Whether a target is files rather than a server.
fn names_files(target: &str) -> bool {
    !target.contains("://") && (target.contains(['/', '*', '?']) || Path::new(target).exists())
}

/// A metrics page; the log and the verdict are comments in it, the verdict last, where people look.
fn report(what: &str, outcome: &ProbeOutcome, took: Duration) -> String {
    let comment = |text: &str| format!("# {}\n", text.replace('\n', "\n# "));
    let log: String = outcome.log.iter().map(|line| comment(&format!("log: {line}"))).collect();
    let verdict = match &outcome.result {
        Ok(()) => "success".to_owned(),
        Err(failure) if failure.unknown => format!("unknown ({}): {}", failure.kind, failure.reason),
        Err(failure) => format!("failure ({}): {}", failure.kind, failure.reason),
    };
    let took = took.as_secs_f64();
    let verdict = comment(&format!("{what} after {took:.3} s: {verdict}"));
    format!("{log}{}{verdict}", page(outcome))
}

fn page(outcome: &ProbeOutcome) -> String {
    let mut page = Page::default();
    for sample in &outcome.samples {
        let name = sample.labels.metric_name();
        if let Some((kind, help)) = describe(name) {
            let kind = match kind {
                "counter" => MetricType::Counter,
                "gauge" => MetricType::Gauge,
                _ => MetricType::Unknown,
            };
            page.describe(name, Metadata::new(kind, help));
        }
        page.add(sample.labels.clone(), sample.value, None);
    }
    let plain = Negotiated::from_accept(None);
    page.write(plain.format, plain.escaping)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Sample};
    use crate::probe::ProbeFailure;

    #[test]
    fn a_report_is_a_metrics_page_with_comments() {
        let outcome = ProbeOutcome {
            result: Err(ProbeFailure::new("status", "status 500\nis not one of 200-299")),
            samples: vec![Sample::new(Labels::from_pairs([("__name__", "probe_success")]), 0, 0.0)],
            log: vec!["asked".to_owned()].into(),
        };
        insta::assert_snapshot!(report("http://h/", &outcome, Duration::from_millis(12)), @r"
        # log: asked
        # HELP probe_success Displays whether or not the probe was a success
        # TYPE probe_success gauge
        probe_success 0
        # http://h/ after 0.012 s: failure (status): status 500
        # is not one of 200-299
        ");
    }

    #[test]
    fn files_are_told_from_servers() {
        let check = |target: &str, expected| assert_eq!(names_files(target), expected, "{target}");
        check("https://h/path", false);
        check("h:443", false);
        check("[::1]:443", false);
        check("h", false);
        check("/etc/x.pem", true);
        check("tls/*.pem", true);
        check("*.pem", true);
        check("Cargo.toml", true);
    }
}
