//! Reads metrics pages from targets, slot by slot, into the store.
//!
//! Each target has a loop of its own: fetch with a deadline (`fetch`), read and store (`cache`),
//! report. What goes wrong with one target shows in its `up` and its [`TargetState`] and touches no
//! other. Timestamps, labels and staleness markers are as Prometheus 3.14 has them
//! (`scrape/scrape.go`).

mod cache;
mod client;
mod config;
mod error;
mod fetch;
mod manager;
mod metrics;
mod pending;
mod report;
mod run;
mod sample;
mod state;
mod target;
#[cfg(test)]
mod testing;

pub use config::{Config, LabelLimits};
pub use error::{ApplyError, ConfigError, ScrapeError};
pub use manager::{Manager, Options};
pub use metrics::Metrics;
pub use state::{Health, TargetMetadata, TargetState};
pub use target::{Target, TargetError};
