//! `valmis rules check`

use std::time::Duration;

use anyhow::{Context, Result};
use url::Url;

use crate::app::rules::bundled;
use crate::cli::findings::{self, FailOn, Format, Shown, count, counted};
use crate::cli::trust::Trust;
use crate::cli::{Exit, Output, duration, note, runtime};
use crate::client::http_client;
use crate::clock::{Clock, SystemClock};
use crate::diag::Severity;
use crate::lint::{self, Facts, Limits, Settings};
use crate::promql::Features;
use crate::rulefmt::{self, Loaded};

/// Report everything that is wrong with rule files, or probably is.
///
/// Reads Prometheus rule files and PrometheusRule manifests, checks what Prometheus checks (structure,
/// names, expressions with their types, templates), and then looks for rules that cannot do what they are
/// for; `valmis explain` lists these lints. The exit code is 1 if there is an error.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Files, folders (all `.yml` and `.yaml` files below), or quoted patterns such as 'rules/*.yaml'
    /// [default: the bundled rules]
    files: Vec<String>,
    /// How findings are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The least severity that is shown.
    #[arg(long, value_enum, default_value_t)]
    severity: Shown,
    /// The least severity that makes the exit code 1.
    #[arg(long, value_enum, default_value_t)]
    fail_on: FailOn,
    /// Let warnings count as errors: `--fail-on warning`.
    #[arg(long, conflicts_with = "fail_on")]
    strict: bool,
    /// Check only what Prometheus checks.
    #[arg(long)]
    no_lints: bool,
    /// How often targets are scraped, for what depends on it.
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    scrape_interval: Duration,
    #[command(flatten)]
    source: Source,
}

/// A server that is asked about the rules' series.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Lints that ask a server")]
struct Source {
    /// Look too for series that this server does not have: valmis, Prometheus or one with its HTTP API.
    #[arg(long = "source", value_name = "URL", conflicts_with = "no_lints")]
    url: Option<Url>,
    /// How far back the server is asked for series.
    #[arg(long, default_value = "1d", value_parser = duration, value_name = "DURATION")]
    lookback: Duration,
    /// How many requests may be made.
    #[arg(long, default_value_t = 1000, value_name = "NUMBER")]
    max_requests: usize,
    /// How long all requests may take together.
    #[arg(long, default_value = "1m", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
    #[command(flatten)]
    trust: Trust,
}

pub(super) fn run(args: &Check, out: &mut Output) -> Result<Exit> {
    let mut loaded =
        if args.files.is_empty() { bundled() } else { rulefmt::load(&args.files, Features::default()) };
    // A server may wait for files to come; who names files to be checked has mistyped them.
    for finding in loaded.findings.iter_mut().filter(|finding| finding.code == "no-rule-files") {
        finding.severity = Severity::Error;
    }
    let read = read(&loaded);
    let mut found = std::mem::take(&mut loaded.findings);
    if !args.no_lints {
        let facts = args.source.url.as_ref().map(|url| ask(url, &args.source, &loaded)).transpose()?;
        let scrape_interval_ms = i64::try_from(args.scrape_interval.as_millis()).unwrap_or(i64::MAX);
        found.extend(lint::check(&loaded, Settings { scrape_interval_ms }, facts.as_ref()));
        found.sort_by(|one, other| (&one.file, one.place).cmp(&(&other.file, other.place)));
    }
    let fail_on = if args.strict { FailOn::Warning } else { args.fail_on };
    let exit = findings::exit(&found, fail_on);
    found.retain(|finding| args.severity.shows(finding.severity));
    let summary = format!("{read}: {}\n", counted(&found));
    findings::print(out, args.format, &found, &loaded.sources, &summary)?;
    Ok(exit)
}

fn ask(url: &Url, source: &Source, loaded: &Loaded) -> Result<Facts> {
    let client = http_client(&source.trust.config(), source.timeout)?;
    let limits = Limits { requests: source.max_requests, time: source.timeout, lookback: source.lookback };
    let questions = lint::questions(loaded);
    let answer = lint::gather(&client, url, &questions, SystemClock.now(), limits);
    let (facts, failures) =
        runtime()?.block_on(answer).context("nothing is known about the series of the rules")?;
    if let Some(first) = failures.first() {
        note(&format!(
            "{} of {} questions have no answer; the first: {first}",
            failures.len(),
            questions.len()
        ));
    }
    Ok(facts)
}

/// What was read; how many groups and rules only if none was left out for its faults.
fn read(loaded: &Loaded) -> String {
    let files = count(loaded.sources.len(), "file");
    if loaded.findings.iter().any(|finding| finding.severity == Severity::Error) {
        return files;
    }
    let groups: Vec<_> = loaded.files.iter().flat_map(|file| &file.groups).collect();
    let rules = groups.iter().map(|group| group.rules.len()).sum();
    format!("{files}, {}, {}", count(groups.len(), "group"), count(rules, "rule"))
}
