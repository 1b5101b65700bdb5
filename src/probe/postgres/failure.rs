//! What went wrong on the way to an answer, and at which layer.

use std::error::Error as _;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::super::ProbeFailure;

/// The layers that a question to the server passes through, in this order. A closed set: it becomes a
/// label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Finding the server and connecting to its socket.
    Tcp,
    /// Agreeing on encryption, and verifying the certificate.
    Tls,
    /// Logging in.
    Authentication,
    /// Having a query answered.
    Query,
}

impl Layer {
    /// The layer as a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Authentication => "authentication",
            Self::Query => "query",
        }
    }
}

/// The kinds of failure that this prober reports.
pub const FAILURE_KINDS: &[&str] = &[
    "config",
    "resolve",
    "connect",
    "tls",
    "auth",
    "too_many_connections",
    "starting_up",
    "shutting_down",
    "no_such_database",
    "permission",
    "lock_timeout",
    "query",
    "closed",
    "timeout",
    "role",
    "pooler",
];

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) layer: Layer,
    /// One of [`FAILURE_KINDS`].
    pub(super) kind: &'static str,
    pub(super) reason: String,
}

impl Failure {
    pub(super) fn new(layer: Layer, kind: &'static str, reason: impl Into<String>) -> Self {
        Self { layer, kind, reason: reason.into() }
    }

    pub(super) fn timeout(layer: Layer, waited: Duration) -> Self {
        let reason = format!("no answer within {waited:.1?} at layer `{}`", layer.as_str());
        Self::new(layer, "timeout", reason)
    }

    /// What answers is not the server but a pooler.
    pub(super) fn pooler(seen: &str) -> Self {
        let advice =
            "a pooler answers here: watch the server itself, and PgBouncer by its database `pgbouncer`";
        Self::new(Layer::Authentication, "pooler", format!("{seen}; {advice}"))
    }

    /// Judges what the client library reports. `layer` is where the attempt was; an answer of the server
    /// itself shows that it was past TLS.
    pub(super) fn from_postgres(layer: Layer, error: &tokio_postgres::Error) -> Self {
        let Some(answer) = error.as_db_error() else {
            let kind = match layer {
                _ if error.is_closed() => "closed",
                Layer::Tcp => "connect",
                Layer::Tls => "tls",
                Layer::Authentication if lost_connection(error) => "closed",
                Layer::Authentication => "auth",
                Layer::Query => "query",
            };
            return Self::new(layer, kind, chain(error));
        };
        let kind = match answer.code() {
            code if *code == SqlState::TOO_MANY_CONNECTIONS => "too_many_connections",
            code if *code == SqlState::CANNOT_CONNECT_NOW => "starting_up",
            code if *code == SqlState::ADMIN_SHUTDOWN || *code == SqlState::CRASH_SHUTDOWN => "shutting_down",
            code if *code == SqlState::INVALID_CATALOG_NAME => "no_such_database",
            code if *code == SqlState::INSUFFICIENT_PRIVILEGE => "permission",
            code if *code == SqlState::LOCK_NOT_AVAILABLE => "lock_timeout",
            code if *code == SqlState::QUERY_CANCELED => "timeout",
            // Class 28: invalid authorization specification.
            code if code.code().starts_with("28") => "auth",
            // PgBouncer's refusal bears no code of that class.
            _ if answer.message().contains("authentication failed") => "auth",
            _ => "query",
        };
        let reason =
            format!("{}: {} (SQLSTATE {})", answer.severity(), answer.message(), answer.code().code());
        if answer.message().starts_with("unsupported startup parameter") {
            return Self::pooler(&reason);
        }
        Self::new(layer.max(Layer::Authentication), kind, reason)
    }

    /// The result of a probe that ended so.
    pub(super) fn into_probe_failure(self) -> ProbeFailure {
        if self.kind == "config" {
            ProbeFailure::unknown(self.kind, self.reason)
        } else {
            ProbeFailure::new(self.kind, self.reason)
        }
    }
}

fn lost_connection(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// The message with those of its causes.
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
