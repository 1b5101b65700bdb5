//! The dead man's switch: who notices that nobody notices any more?
//!
//! Outgoing heartbeats tell somebody outside, again and again, that the whole chain works: rules are
//! evaluated when they are due, and an Alertmanager acknowledges what it is sent. When the chain is broken
//! nothing is told, and whoever waits for it raises the alarm.
//!
//! Incoming heartbeats are the other way round: jobs tell that they have run, and alerts fire when one has
//! not.

mod chain;
mod incoming;
mod metrics;
mod outgoing;

use std::time::Duration;

use reqwest::Method;

use crate::client::{HttpConfig, SecretSource};

pub use chain::{Acknowledged, Chain, Evaluations, Reason, Ties};
pub use incoming::{Incoming, IncomingCollector, Ping};
pub use metrics::Metrics;
pub use outgoing::Outgoing;

/// Somebody outside who is told that the chain works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What it is called in metrics and in the log.
    pub name: String,
    /// Where requests go. Who knows it can pretend that all is well.
    pub url: SecretSource,
    /// Their method.
    pub method: Method,
    /// How often.
    pub interval: Duration,
    /// Time that a request may take.
    pub timeout: Duration,
    /// How the server is reached, and as whom.
    pub http: HttpConfig,
    /// What has to work.
    pub ties: Ties,
}

/// A job that tells when it has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What it calls itself in the path of its requests.
    pub name: String,
    /// How often it runs.
    pub period: Duration,
    /// How much longer it may take.
    pub grace: Duration,
}
