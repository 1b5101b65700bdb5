//! Looking at one thing once: an HTTP endpoint, a name server, a database, a file system, a certificate.
//!
//! A prober yields facts as samples, also (and especially) when the thing is broken; whether that is
//! good or bad is for rules to say.

pub mod certificate;
mod connect;
mod conversation;
mod der;
pub mod dialog;
pub mod disk;
pub mod dns;
pub mod grpc;
mod history;
pub mod http;
pub mod icmp;
mod log;
mod metadata;
mod names;
pub mod node;
mod outcome;
mod pattern;
pub mod postgres;
mod reach;
pub mod redis;
mod samples;
mod small_file;
mod starttls;
mod target;
pub mod tcp;
pub mod tls;
pub mod unix;
pub mod websocket;
mod wire;
pub mod x509;

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::model::Sample;

pub use connect::{AddressPolicy, IpProtocol};
pub use history::{History, HistoryLimits, Origin, ProbeRecord, Probed, shortened};
pub use log::{Log, LogLine};
pub use metadata::{MetricMetadata, describe, metadata};
pub use pattern::Pattern;
pub use reach::{Reach, Zone};
pub use small_file::FileError;
pub use starttls::StartTls;
pub use target::{HostPort, TargetError};

/// The instant by which a probe must have its result.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// What is left, zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The instant at which this share of what is left is over.
    pub(crate) fn share(self, part: u32, of: u32) -> Self {
        Self::after(self.remaining() * part / of)
    }

    /// The instant itself, on tokio's clock.
    pub fn instant(self) -> tokio::time::Instant {
        self.0.into()
    }
}

/// Why a probe says that its target is not as it should be. The kinds are a closed set, so that they
/// may become label values; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFailure {
    /// The kind of failure, such as `timeout`, `connect`, `tls`, `status`, `auth`.
    pub kind: &'static str,
    /// What happened, for people: shown in the API and on the page, never a label. Without secrets.
    pub reason: String,
    /// Whether the answer is unknown rather than bad: the probe could not look (a permission is
    /// missing), so nothing is known of the target.
    pub unknown: bool,
}

impl ProbeFailure {
    /// The target is not as it should be.
    pub fn new(kind: &'static str, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), unknown: false }
    }

    /// The probe could not look.
    pub fn unknown(kind: &'static str, reason: impl Into<String>) -> Self {
        Self { unknown: true, ..Self::new(kind, reason) }
    }
}

/// What a probe found.
#[derive(Debug, Clone)]
pub struct ProbeOutcome {
    /// Whether the target is as it should be.
    pub result: Result<(), ProbeFailure>,
    /// The facts. Labels without `job` and `instance`, which the scheduler adds; timestamps are set by
    /// the scheduler too.
    pub samples: Vec<Sample>,
    /// What happened in which order, for people.
    pub log: Log,
}

/// Looks at one configured target.
pub trait Prober: Send + Sync {
    /// Looks once. Must return by the deadline, with what it has until then.
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome>;

    /// Type (as in `# TYPE`) and help text of a metric of its outcomes. A prober whose configuration names
    /// metrics of its own knows those, too.
    fn describe(&self, name: &str) -> Option<(&'static str, String)> {
        describe(name).map(|(kind, help)| (kind, help.to_owned()))
    }
}
