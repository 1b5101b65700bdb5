//! The HTTP server's answers: health, metrics, readiness, and Prometheus' API under `/api/v1/`.
//!
//! Handlers only translate: what they show comes from [`Handles`], what they return is defined here.

mod error;
mod health;
mod metrics;
mod pages;
mod params;
mod query;
mod readiness;
mod respond;
mod rules;
mod series;
mod status;
mod targets;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get, post};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::clock::SharedClock;
use crate::notifier::Notifier;
use crate::query::QuerySource;
use crate::readiness::Readiness;
use crate::rules::Groups;
use crate::scrape::Manager as ScrapeManager;
use crate::storage::{Appender, Queryable};

pub(crate) use params::{parse_duration, parse_time};
pub(crate) use respond::query_json;

/// What the handlers show.
pub struct Handles {
    /// Tells the time.
    pub clock: SharedClock,
    /// Answers expressions.
    pub query: Arc<dyn QuerySource>,
    /// Reads samples.
    pub storage: Arc<dyn Queryable>,
    /// Takes samples of remote writers.
    pub appender: Arc<dyn Appender>,
    /// Components and their states.
    pub readiness: Readiness,
    /// Rules and alerts.
    pub rules: Groups,
    /// Scrape targets.
    pub scrapes: ScrapeManager,
    /// Deliveries.
    pub notifier: Arc<Notifier>,
    /// The metrics of valmis itself.
    pub registry: Arc<Registry>,
    /// Where the process is in its life.
    pub lifecycle: Arc<Lifecycle>,
    /// Where the store is.
    pub data_folder: PathBuf,
}

/// Where the process is in its life, and how to ask for a reload.
#[derive(Debug)]
pub struct Lifecycle {
    /// Whether everything that has to be open is open and the loops run.
    pub started: AtomicBool,
    /// Whether the process is on its way out.
    pub stopping: AtomicBool,
    /// Whether the configuration was in order when it was last read.
    pub configuration_good: AtomicBool,
    /// Whether `/api/v1/write` takes samples.
    pub remote_write_receiver: AtomicBool,
    /// Requests to read the configuration again; the answer is `Ok` or what is wrong.
    pub reload: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

impl Lifecycle {
    fn is_set(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Acquire)
    }
}

/// All routes.
pub fn router(handles: Arc<Handles>) -> Router {
    let v1 = Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/format_query", get(query::format).post(query::format))
        .route("/series", get(series::series).post(series::series))
        .route("/labels", get(series::names).post(series::names))
        .route("/label/{name}/values", get(series::values))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/alertmanagers", get(rules::alertmanagers))
        .route("/targets", get(targets::targets))
        .route("/metadata", get(targets::metadata))
        .route("/status/buildinfo", get(status::build))
        .route("/status/runtimeinfo", get(status::runtime))
        .route("/write", post(write::write).layer(DefaultBodyLimit::max(write::BODY_LIMIT)))
        .fallback(any(status::not_found));
    Router::new()
        .nest("/api/v1", v1)
        .route("/metrics", get(metrics::all))
        .route("/metrics/{persona}", get(metrics::persona))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/-/healthy", get(health::health))
        .route("/-/ready", get(health::ready))
        .route("/-/reload", post(health::reload).put(health::reload))
        .route("/readiness", get(readiness::readiness))
        .route("/", get(pages::status))
        .route("/graph", get(pages::graph))
        .route("/runbooks", get(pages::runbooks))
        .route("/runbooks/{alert}", get(pages::runbook))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::new())
        .with_state(handles)
}
