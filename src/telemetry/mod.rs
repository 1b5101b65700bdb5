//! What valmis tells of itself: its log, and the root of its metrics.

mod log;
mod process;

use std::io::IsTerminal;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::clock::SharedClock;

pub use log::{flush_log, queue_log, say};

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `filter` is a level (`info`) or per-module levels
/// (`warn,valmis::scrape=debug`). Calling it a second time changes nothing.
pub fn start_logging(format: LogFormat, filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| log::Log)
        .with_target(false)
        .with_ansi(format == LogFormat::Text && std::io::stderr().is_terminal());
    // An error means that a subscriber is set already, by a test or an embedding program.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// The registry that every component registers its metrics in, with those of the process already there.
pub fn registry(clock: &SharedClock) -> Registry {
    let mut registry = Registry::default();
    let build = Family::<Build, Gauge>::default();
    build.get_or_create(&Build { version: VERSION }).set(1);
    registry.register("valmis_build_info", "The running version; the value is always 1", build);
    registry.register_collector(Box::new(process::ProcessCollector::new(clock.now())));
    registry
}
