//! `valmis drill …`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Exit, Format, Output, duration, environment, note, runtime};
use crate::app::rules::bundled;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Config};
use crate::discovery::{self, Resolver};
use crate::drill::{self, Echo};
use crate::model::Labels;
use crate::notifier::{self, Notifier};
use crate::rulefmt;
use crate::state::MemoryStore;

/// How long Alertmanagers may take to be found.
const DISCOVERY: Duration = Duration::from_secs(10);

/// How long the resolved alert may take to be delivered.
const GRACE: Duration = Duration::from_secs(10);

/// Try in earnest whether people are reached.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Drill {
    Alert(Alert),
}

/// Send a marked alert the way of a real one and say what becomes of it.
///
/// The alert has the labels of the rule of that name, `valmis_drill="true"` and an id. It goes through
/// relabelling to the Alertmanagers of the configuration, which are then asked for its route and for their
/// own counters of failed notifications; at the end it is resolved. With `--echo` valmis waits until a
/// webhook receiver has sent it back. The exit code is 1 if it did not get through.
#[derive(Debug, clap::Args)]
pub(super) struct Alert {
    /// The alert's name.
    name: String,
    /// The configuration that names the Alertmanagers.
    #[arg(long, short, env = "VALMIS_CONFIG")]
    config: PathBuf,
    /// A label of the alert, in place of that of its rule; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// How long it may take until somebody is told; Alertmanager's `group_wait` is part of it.
    #[arg(long, default_value = "2m", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
    /// Listen at this address for a webhook receiver of Alertmanager that sends the alert back.
    #[arg(long, value_name = "ADDRESS", value_parser = config::parse_address)]
    echo: Option<SocketAddr>,
    /// How the report is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn label(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("a label is `name=value`")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(command: &Drill, out: &mut Output) -> Result<Exit> {
    let Drill::Alert(args) = command;
    let config = config::load(&args.config, &environment).map_err(|findings| {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        anyhow!("{}", lines.join("\n"))
    })?;
    if config.alertmanagers.is_empty() {
        bail!("`{}` names no Alertmanager", args.config.display());
    }
    let given = Labels::from_pairs(args.labels.clone());
    let drill = drill::Drill {
        alert: args.name.clone(),
        labels: labels(&config, &args.name, &given),
        timeout: args.timeout,
        echo: args.echo.is_some(),
    };
    let outcome = runtime()?.block_on(hold(&config, &drill, args.echo))?;
    out.text(&match args.format {
        Format::Text => drill::to_text(&outcome),
        Format::Json => drill::to_json(&outcome),
    })?;
    Ok(if outcome.passed() { Exit::Fine } else { Exit::Findings })
}

/// The labels of the alert. That rule files have faults is no reason not to try.
fn labels(config: &Config, alert: &str, given: &Labels) -> Labels {
    let mut files = if config.rules.builtin { bundled().files } else { Vec::new() };
    files.extend(rulefmt::load(&config.rules.files, config.features).files);
    if drill::labels_of(&files, alert).is_none() {
        note(&format!("no rule makes alerts named `{alert}`: the drill has only the labels that are given"));
    }
    drill::labels_for(&files, alert, given)
}

async fn hold(config: &Config, drill: &drill::Drill, listen: Option<SocketAddr>) -> Result<drill::Outcome> {
    let clock: SharedClock = Arc::new(SystemClock);
    let echo = Arc::new(Echo::default());
    if let Some(address) = listen {
        serve(address, echo.clone()).await?;
    }
    let mut registry = Registry::default();
    let notifier = Notifier::start(notifier::Services {
        store: Arc::new(MemoryStore::default()),
        clock: clock.clone(),
        metrics: notifier::Metrics::register(&mut registry),
        discovery: discovery::Metrics::register(&mut registry),
        resolver: Resolver::system(),
        keep_lost: notifier::KEEP_LOST,
    });
    let notifier = notifier.await.context("cannot set up delivery")?;
    let settings = notifier::Config {
        alertmanagers: config.alertmanagers.clone(),
        external_labels: Labels::from_pairs(&config.external_labels),
        alert_relabel: config.alert_relabel.clone(),
        ..notifier::Config::default()
    };
    notifier.apply(&settings).context("alertmanagers")?;
    let began = Instant::now();
    while notifier.alertmanagers().is_empty() && began.elapsed() < DISCOVERY {
        sleep(Duration::from_millis(20)).await;
    }
    let stop = CancellationToken::new();
    let running = drill::run(drill, &notifier, &echo, &*clock, &stop);
    tokio::pin!(running);
    let outcome = tokio::select! {
        outcome = &mut running => outcome,
        // Whoever breaks off leaves no alert behind: it is resolved before the command ends.
        _ = tokio::signal::ctrl_c() => {
            stop.cancel();
            running.await
        }
    };
    notifier.shutdown(GRACE).await;
    if notifier.waiting() > 0 {
        note("that the alert is resolved could not be delivered; Alertmanager ends it by itself");
    }
    Ok(outcome)
}

/// Listens for what a webhook receiver sends, at any path.
async fn serve(address: SocketAddr, echo: Arc<Echo>) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    let router = Router::new().fallback(post(receive)).with_state(echo);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}

async fn receive(State(echo): State<Arc<Echo>>, body: Bytes) -> StatusCode {
    if echo.receive(&body).is_ok() { StatusCode::OK } else { StatusCode::BAD_REQUEST }
}
