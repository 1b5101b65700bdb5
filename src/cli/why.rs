//! `valmis why`

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use url::Url;

use super::query::time::Time;
use super::trust::Trust;
use super::{Exit, Format, Output, duration, note, runtime};
use crate::api::parse_fingerprint;
use crate::client::http_client;
use crate::clock::{Clock, SystemClock};
use crate::state::{LedgerLimits, LedgerQuestion, RedbStore, StateStore, metrics};
use crate::web::LedgerView;

/// Say what happened to an alert, when and why: from the ledger of a running valmis, or of its data folder.
///
/// The newest comes first: which phase, the condition's value, the samples that decided, and which version
/// of which rule. The exit code is 1 if nothing is known about the alert.
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    /// A fingerprint as Alertmanager and valmis show it, or an alert's name [default: all alerts]
    alert: Option<String>,
    /// From when on: `-1d`, seconds since 1970, or such as 2026-01-31T12:00:00Z [default: all that is kept]
    #[arg(long, allow_hyphen_values = true)]
    since: Option<Time>,
    /// How many entries at most.
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    limit: usize,
    /// The running valmis.
    #[arg(long, default_value = "http://127.0.0.1:9797", env = "VALMIS_URL", hide_env_values = true)]
    url: Url,
    /// The data folder of a valmis that does not run, instead of a running one.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// How long to wait for the answer.
    #[arg(long, default_value = "30s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    trust: Trust,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(args: &Why, out: &mut Output) -> Result<Exit> {
    let fingerprint = args.alert.as_deref().and_then(parse_fingerprint);
    let question = LedgerQuestion {
        fingerprint,
        alert: args.alert.clone().filter(|_| fingerprint.is_none()),
        since: args.since.map(|since| since.at(SystemClock.now())),
        limit: args.limit.max(1),
    };
    let view = match &args.data_dir {
        Some(folder) => stored(folder, question)?,
        None => runtime()?.block_on(served(args, &question))?,
    };
    match args.format {
        Format::Text => out.text(&view.to_text())?,
        Format::Json => {
            let text = serde_json::to_string_pretty(&view).expect("texts and numbers are always JSON");
            out.text(&(text + "\n"))?;
        }
    }
    if view.entries.is_empty() {
        note("nothing is known about that");
        return Ok(Exit::Findings);
    }
    Ok(Exit::Fine)
}

/// The ledger in a folder that no process has open.
fn stored(folder: &std::path::Path, question: LedgerQuestion) -> Result<LedgerView> {
    let path = folder.join("state.redb");
    if !path.is_file() {
        bail!("`{}` is no data folder of valmis: it has no `state.redb`", folder.display());
    }
    let store = RedbStore::open(&path, LedgerLimits::default(), metrics::Metrics::default())
        .context("the ledger cannot be read; if valmis runs, use `--url`")?;
    let entries = runtime()?.block_on(store.ledger(question)).context("the ledger cannot be read")?;
    Ok(LedgerView::new(&entries))
}

/// The API's envelope.
#[derive(Deserialize)]
struct Answer {
    data: Option<LedgerView>,
    #[serde(default)]
    error: String,
}

async fn served(args: &Why, question: &LedgerQuestion) -> Result<LedgerView> {
    let client = http_client(&args.trust.config(), args.timeout)?;
    let mut url = args.url.clone();
    url.set_path(&format!("{}/api/v1/ledger", args.url.path().trim_end_matches('/')));
    let mut query = vec![("limit", question.limit.to_string())];
    query.extend(question.fingerprint.map(|fingerprint| ("fingerprint", format!("{fingerprint:016x}"))));
    query.extend(question.alert.clone().map(|alert| ("alert", alert)));
    query.extend(question.since.map(|since| ("since", format!("{}", since as f64 / 1000.0))));
    let failed = || format!("no answer from `{}`", args.url);
    let response = client
        .get(url)
        .query(&query)
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(failed)?;
    let status = response.status();
    let body = response.bytes().await.map_err(reqwest::Error::without_url).with_context(failed)?;
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|_| anyhow!("{} answered {status}, which is no ledger of valmis", args.url))?;
    answer.data.with_context(|| format!("{} answered {status}: {}", args.url, answer.error))
}
