//! `valmis rules backtest`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::header::HeaderName;
use url::Url;

use crate::backtest::{self, History, Progress, Report, Settings};
use crate::cli::features::EnabledFeatures;
use crate::cli::findings;
use crate::cli::query::time::Time;
use crate::cli::trust::Trust;
use crate::cli::{Exit, Output, duration, note};
use crate::client::{Header, HttpAuth, HttpConfig, SecretSource};
use crate::clock::{Clock, SharedClock, SystemClock};
use crate::diag::Severity;
use crate::model::{Secret, format_duration_ms};
use crate::query::{LocalConfig, LocalSource, QuerySource, RemoteConfig, RemoteSource, SourceMetrics};
use crate::rulefmt::{self, RuleFile};
use crate::tsdb::{self, Tsdb};

/// Replay history: what would these rules have done?
///
/// Fetches the samples that the rules look at from a server, or reads them from the folder of a valmis that
/// does not run, and evaluates the rules over them as a running process would: `for`, `keep_firing_for`,
/// limits, templates, recording rules. Prints pages per day, flaps, times to fire and the noisiest alerts;
/// with `--old` also which incidents only one of two sets of rules has. See docs/backtests.md.
#[derive(Debug, clap::Args)]
pub(crate) struct Backtest {
    /// Rule files, folders, or quoted patterns.
    #[arg(required = true)]
    files: Vec<String>,
    /// Rules to compare with; may be given several times.
    #[arg(long, value_name = "FILE")]
    old: Vec<String>,
    /// How far back.
    #[arg(long, default_value = "7d", value_parser = duration, value_name = "DURATION")]
    since: Duration,
    /// Where the time ends: `now`, `-5m`, seconds since 1970, or such as 2026-01-31T12:00:00Z.
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    until: Time,
    /// How often groups are evaluated that do not say so themselves.
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "DURATION")]
    interval: Duration,
    /// An alert that fires again this soon after it was resolved flaps.
    #[arg(long, default_value = "1h", value_parser = duration, value_name = "DURATION")]
    flap_within: Duration,
    /// How much time before is replayed at most for rules that look back at recorded series.
    #[arg(long, default_value = "1d", value_parser = duration, value_name = "DURATION")]
    warm_up: Duration,
    /// How many of the noisiest alerts are named.
    #[arg(long, default_value_t = 5, value_name = "NUMBER")]
    top: usize,
    /// How much memory the samples of one set of rules may take, in MiB.
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    max_memory: u64,
    /// How the report is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    features: EnabledFeatures,
    #[command(flatten)]
    source: Source,
}

/// Where the samples are.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where the samples are")]
struct Source {
    /// The server, up to where `/api/v1` begins: valmis, Prometheus or one with its HTTP API.
    #[arg(
        long = "source",
        value_name = "URL",
        default_value = "http://127.0.0.1:9797",
        env = "VALMIS_URL",
        hide_env_values = true
    )]
    url: Url,
    /// The data folder of a valmis that does not run, instead of a server.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// How long to wait for each answer.
    #[arg(long, default_value = "1m", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
    #[command(flatten)]
    trust: Trust,
    /// A header of every request, such as the tenant; may be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<Header>,
    /// A file with the token that the server wants to see.
    #[arg(long, value_name = "FILE")]
    bearer_token_file: Option<PathBuf>,
}

fn header(text: &str) -> Result<Header> {
    let (name, value) = text.split_once('=').context("a header is `name=value`")?;
    let name = HeaderName::try_from(name).with_context(|| format!("`{name}` is no name of a header"))?;
    Ok(Header { name, value: SecretSource::Value(Secret::new(value)) })
}

/// What a report is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

pub(super) fn run(args: &Backtest, out: &mut Output) -> Result<Exit> {
    let Some(new) = load(&args.files, args, out)? else { return Ok(Exit::Findings) };
    let old = if args.old.is_empty() { None } else { Some(load(&args.old, args, out)?) };
    let old = match old {
        Some(None) => return Ok(Exit::Findings),
        Some(Some(files)) => Some(files),
        None => None,
    };
    let until = args.until.at(SystemClock.now());
    let settings = Settings {
        since: until - ms(args.since),
        until,
        evaluation_interval_ms: ms(args.interval),
        most_warm_up_ms: ms(args.warm_up),
        flap_within_ms: ms(args.flap_within),
        top: args.top,
        max_memory: args.max_memory << 20,
        features: args.features.features(),
        ..Settings::default()
    };
    let history = History::new(source(&args.source)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let mut shown = 0;
    let progress = |progress: Progress| tell(progress, &mut shown);
    let outcome = runtime.block_on(backtest::run(&history, &new, old.as_deref(), &settings, progress))?;
    let report = Report(&outcome);
    out.text(&match args.format {
        Format::Text => report.to_text(),
        Format::Json => report.to_json(),
    })?;
    Ok(Exit::Fine)
}

/// The rules of these files; none if there is an error among them, which is then printed.
fn load(files: &[String], args: &Backtest, out: &mut Output) -> Result<Option<Vec<RuleFile>>> {
    let mut loaded = rulefmt::load(files, args.features.features());
    for finding in loaded.findings.iter_mut().filter(|finding| finding.code == "no-rule-files") {
        finding.severity = Severity::Error;
    }
    if loaded.findings.iter().any(|finding| finding.severity == Severity::Error) {
        findings::print(out, findings::Format::Text, &loaded.findings, &loaded.sources, "")?;
        return Ok(None);
    }
    Ok(Some(loaded.files))
}

fn source(source: &Source) -> Result<Arc<dyn QuerySource>> {
    let Some(folder) = &source.data_dir else {
        let bearer = source.bearer_token_file.clone().map(|file| HttpAuth::Bearer(SecretSource::File(file)));
        let http = HttpConfig {
            auth: bearer,
            tls: source.trust.config(),
            headers: source.headers.clone(),
            ..HttpConfig::default()
        };
        let (url, timeout) = (source.url.clone(), source.timeout);
        let config = RemoteConfig { url, http, timeout, parameters: Vec::new() };
        return Ok(Arc::new(RemoteSource::new(config, SourceMetrics::default())?));
    };
    let path = folder.join("tsdb");
    if !path.is_dir() {
        bail!("`{}` is no data folder of valmis: it has no `tsdb`", folder.display());
    }
    let clock: SharedClock = Arc::new(SystemClock);
    let settings = tsdb::Config {
        path: Some(path),
        // Nothing of it is to be dropped.
        retention: Duration::from_hours(24 * 3650),
        max_memory: u64::MAX,
        ..tsdb::Config::new(clock)
    };
    let (tsdb, _) =
        Tsdb::open(settings).context("the samples cannot be read; if valmis runs, use `--source`")?;
    Ok(Arc::new(LocalSource::new(tsdb, LocalConfig { timeout: source.timeout, ..LocalConfig::default() })))
}

/// Says how far the replay has come, each time another tenth is done.
fn tell(progress: Progress, shown: &mut i64) {
    let Progress { evaluated, from, until, samples } = progress;
    let tenths = (evaluated - from) * 10 / (until - from).max(1);
    if tenths > *shown && evaluated < until {
        *shown = tenths;
        let rest = format_duration_ms((until - evaluated) / 1000 * 1000);
        note(&format!("{tenths}0 % replayed, {samples} samples, {rest} of history to go"));
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
