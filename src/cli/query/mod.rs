//! `valmis query …`: asks a server with Prometheus' HTTP API.

mod output;
pub(super) mod time;

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use url::Url;

use super::trust::Trust;
use super::{Exit, Output, duration, note, runtime};
use crate::client::HttpConfig;
use crate::clock::{Clock, SystemClock};
use crate::diag::excerpt;
use crate::promql::{self, EvalRange, Expr, Features};
use crate::query::{QuerySource, RemoteConfig, RemoteSource, SourceMetrics};
use output::Format;
use time::Time;

/// Ask valmis, or any server with Prometheus' HTTP API, for the value of an expression.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Query {
    /// Ask for the value at one instant.
    Instant {
        /// A PromQL expression.
        expr: String,
        /// When: `now`, `-5m`, seconds since 1970, or such as 2026-01-31T12:00:00Z.
        #[arg(long, default_value = "now", allow_hyphen_values = true)]
        time: Time,
        #[command(flatten)]
        server: Server,
    },
    /// Ask for the values over a range of time.
    Range {
        /// A PromQL expression.
        expr: String,
        /// The first instant, written as `--end` is.
        #[arg(long, default_value = "-1h", allow_hyphen_values = true)]
        start: Time,
        /// The last instant: `now`, `-5m`, seconds since 1970, or such as 2026-01-31T12:00:00Z.
        #[arg(long, default_value = "now", allow_hyphen_values = true)]
        end: Time,
        /// The distance between instants [default: a 250th of the range, at least 1s]
        #[arg(long, value_parser = duration)]
        step: Option<Duration>,
        #[command(flatten)]
        server: Server,
    },
}

/// Whom to ask, and how to show the answer.
#[derive(Debug, clap::Args)]
pub(super) struct Server {
    /// The server, up to where `/api/v1` begins.
    #[arg(long, default_value = "http://127.0.0.1:9797", env = "VALMIS_URL", hide_env_values = true)]
    url: Url,
    /// How long to wait for the answer.
    #[arg(long, default_value = "30s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    trust: Trust,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(command: &Query, out: &mut Output) -> Result<Exit> {
    let now = SystemClock.now();
    let (text, server) = match command {
        Query::Instant { expr, server, .. } | Query::Range { expr, server, .. } => (expr, server),
    };
    let expr = parse(text)?;
    let source = RemoteConfig {
        url: server.url.clone(),
        http: HttpConfig { tls: server.trust.config(), ..HttpConfig::default() },
        timeout: server.timeout,
        parameters: Vec::new(),
    };
    let source = RemoteSource::new(source, SourceMetrics::default())?;
    let answer = match command {
        Query::Instant { time, .. } => runtime()?.block_on(source.instant(&expr, time.at(now))),
        Query::Range { start, end, step, .. } => {
            let range = range(start.at(now), end.at(now), *step)?;
            runtime()?.block_on(source.range(&expr, &range))
        }
    };
    let answer = answer.with_context(|| format!("no answer to `{text}`"))?;
    for annotation in &answer.annotations {
        note(&annotation.message);
    }
    out.text(&output::write(server.format, text, answer))?;
    Ok(Exit::Fine)
}

/// The expression; what is wrong with it is shown with its place, all of it.
fn parse(text: &str) -> Result<Expr> {
    // Which features there are is for the server to say.
    promql::parse_with(text, Features::ALL).map_err(|errors| {
        let shown: Vec<String> = errors
            .iter()
            .map(|error| {
                let hint = error.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
                // In an empty query there is nothing to point at.
                let excerpt = error.place.map(|_| format!("\n{}", excerpt(text, error.span)));
                format!("{error}{}{hint}", excerpt.unwrap_or_default())
            })
            .collect();
        anyhow!("{}", shown.join("\n"))
    })
}

/// How many instants a range has unless a step is given. Source: promtool.
const DEFAULT_STEPS: i64 = 250;

fn range(start: i64, end: i64, step: Option<Duration>) -> Result<EvalRange> {
    if end < start {
        bail!("`--end` is before `--start`");
    }
    let step_ms = match step {
        Some(step) => i64::try_from(step.as_millis()).context("`--step` is too long")?,
        None => ((end - start) / DEFAULT_STEPS / 1000).max(1) * 1000,
    };
    Ok(EvalRange { start, end, step_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_an_expression_is_shown_in_its_place() {
        let shown = |text: &str| parse(text).expect_err("a bad expression").to_string();
        insta::assert_snapshot!(shown("ratee(up[5m])\n  + on (job) (1)"), @r#"
        1:1: parse error: unknown function with name "ratee"
          ratee(up[5m])
          ^^^^^
          hint: did you mean `rate`?
        "#);
        assert_eq!(shown(""), "unknown position: parse error: no expression found in input");
    }

    #[test]
    fn a_range_has_a_step_of_whole_seconds() {
        let check = |end, step: Option<u64>, expected: Option<i64>| {
            let range = range(0, end, step.map(Duration::from_secs)).ok();
            assert_eq!(range.map(|range| range.step_ms), expected, "{end} {step:?}");
        };
        check(0, None, Some(1_000));
        check(3_600_000, None, Some(14_000));
        check(3_600_000, Some(60), Some(60_000));
        check(-1, None, None);
    }
}
