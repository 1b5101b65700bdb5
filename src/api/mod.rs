//! The HTTP server's answers: health, metrics, readiness, and Prometheus' API under `/api/v1/`.
//!
//! Handlers only translate: what they show comes from [`Handles`], what they return is defined here.

mod ast;
mod cardinality;
mod collectors;
mod drill;
mod error;
mod features;
mod health;
mod history;
mod ledger;
mod metrics;
mod pages;
mod params;
mod ping;
mod probe;
mod query;
mod readiness;
mod respond;
mod rules;
mod series;
mod stats;
mod status;
mod targets;
mod write;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get, post};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate, SizeAbove};

use crate::blackbox::Blackbox;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::drill::Echo;
use crate::heartbeat::Incoming;
use crate::model::TimestampMs;
use crate::notifier::Notifier;
use crate::promql::Features;
use crate::query::LocalSource;
use crate::readiness::Readiness;
use crate::rules::Groups;
use crate::scrape::Manager as ScrapeManager;
use crate::state::StateStore;
use crate::storage::{Appender, Queryable};
use crate::tsdb::Tsdb;

pub(crate) use ledger::parse_fingerprint;
pub(crate) use params::{parse_duration, parse_time};
pub(crate) use respond::{Extras, query_json};

/// What the handlers show.
pub struct Handles {
    /// Tells the time.
    pub clock: SharedClock,
    /// Answers expressions.
    pub query: Arc<LocalSource>,
    /// What expressions may use.
    pub features: Features,
    /// Reads samples.
    pub storage: Arc<dyn Queryable>,
    /// Takes samples of remote writers.
    pub appender: Arc<dyn Appender>,
    /// Components and their states.
    pub readiness: Readiness,
    /// Probes that someone asks for.
    pub blackbox: Blackbox,
    /// Rules and alerts.
    pub rules: Groups,
    /// Scrape targets.
    pub scrapes: ScrapeManager,
    /// Jobs that tell when they have run.
    pub pings: Incoming,
    /// Deliveries.
    pub notifier: Arc<Notifier>,
    /// Alerts of drills that come back.
    pub echo: Arc<Echo>,
    /// What is durable, the ledger with it.
    pub state: Arc<dyn StateStore>,
    /// The metrics of valmis itself.
    pub registry: Arc<Registry>,
    /// Where the process is in its life.
    pub lifecycle: Arc<Lifecycle>,
    /// The store, for what is to be said about itself.
    pub tsdb: Arc<Tsdb>,
    /// Where the store is.
    pub data_folder: PathBuf,
    /// The name of this machine.
    pub hostname: String,
    /// When the process began.
    pub started_at: TimestampMs,
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
    /// The configuration in force.
    pub configuration: RwLock<Arc<Config>>,
    /// Since when it is in force.
    pub configured_at: AtomicI64,
    /// Whether `/api/v1/write` takes samples.
    pub remote_write_receiver: AtomicBool,
    /// Requests to read the configuration again; the answer is `Ok` or what is wrong.
    pub reload: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

impl Lifecycle {
    fn is_set(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Acquire)
    }

    /// The configuration in force.
    fn configuration(&self) -> Arc<Config> {
        // Nothing is left half done by a writer that panics: it replaces the whole.
        Arc::clone(&self.configuration.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that another configuration is in force.
    pub fn configure(&self, configuration: Arc<Config>, at: TimestampMs) {
        *self.configuration.write().unwrap_or_else(PoisonError::into_inner) = configuration;
        self.configured_at.store(at, Ordering::Release);
    }
}

/// How large a request may be, in bytes. Source: Go's `net/http`, `maxFormSize`.
const LARGEST_BODY: usize = 10 << 20;

/// How large an answer has to be, in bytes, to be compressed. Compressing the page of one probe took a tenth
/// to a fifth of the time that `/probe` needs, to save two or three packets.
/// Source: `benches/blackbox.rs`.
const COMPRESSED_FROM: u64 = 8 << 10;

/// All routes.
pub fn router(handles: Arc<Handles>) -> Router {
    let v1 = Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/query_exemplars", get(query::exemplars).post(query::exemplars))
        .route("/format_query", get(query::format).post(query::format))
        .route("/parse_query", get(query::tree).post(query::tree))
        .route("/series", get(series::series).post(series::series))
        .route("/labels", get(series::names).post(series::names))
        .route("/label/{name}/values", get(series::values))
        .route("/probes", get(history::list))
        .route("/probes/{id}", get(history::one))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/alertmanagers", get(rules::alertmanagers))
        .route("/ledger", get(ledger::json))
        .route("/targets", get(targets::targets))
        .route("/targets/metadata", get(targets::target_metadata))
        .route("/scrape_pools", get(targets::scrape_pools))
        .route("/metadata", get(targets::metadata))
        .route("/features", get(features::features))
        .route("/notifications", get(status::notifications))
        .route("/status/buildinfo", get(status::build))
        .route("/status/config", get(status::config))
        .route("/status/flags", get(status::flags))
        .route("/status/runtimeinfo", get(status::runtime))
        .route("/status/tsdb", get(cardinality::status))
        .route("/status/walreplay", get(status::wal_replay))
        .route("/write", post(write::write).layer(DefaultBodyLimit::max(write::BODY_LIMIT)))
        .route("/admin/tsdb/{what}", post(status::admin).put(status::admin))
        .fallback(any(status::not_found))
        .method_not_allowed_fallback(status::method_not_allowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY));
    Router::new()
        .nest("/api/v1", v1)
        .route("/metrics", get(metrics::all))
        .route("/metrics/{persona}", get(metrics::persona))
        .route("/probe", get(probe::probe))
        .route("/probes", get(history::page))
        .route("/logs", get(history::logs))
        .route("/config", get(history::configuration))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/-/healthy", get(health::health))
        .route("/-/ready", get(health::ready))
        .route("/-/reload", post(health::reload).put(health::reload))
        .route("/readiness", get(readiness::readiness))
        .route("/ping/{name}", any(ping::success))
        .route("/ping/{name}/{signal}", any(ping::signal))
        .route("/", get(pages::status))
        .route("/drill/echo", post(drill::echo))
        .route("/ledger", get(ledger::page))
        .route("/graph", get(pages::graph))
        .route("/runbooks", get(pages::runbooks))
        .route("/runbooks/{alert}", get(pages::runbook))
        .layer(
            // A page is asked for more often than it is kept: half the time for half as many bytes again.
            CompressionLayer::new()
                .quality(CompressionLevel::Fastest)
                .compress_when(DefaultPredicate::new().and(SizeAbove::new(COMPRESSED_FROM))),
        )
        .layer(CatchPanicLayer::new())
        .with_state(handles)
}

/// The routes that say how valmis itself is, and nothing of what it watches.
pub fn health_router(handles: Arc<Handles>) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/-/healthy", get(health::health))
        .route("/-/ready", get(health::ready))
        .layer(CatchPanicLayer::new())
        .with_state(handles)
}
