//! A dialog with a server, as modules for TCP and Unix sockets describe it: what is expected, what is
//! sent, and where TLS begins.

mod talk;

use super::MetricMetadata;
use crate::probe::Pattern;
use crate::probe::starttls::StartTls;

pub(super) use self::talk::{Talk, TlsTerms};

/// The metrics of a dialog. Source of names, meanings and help texts: blackbox exporter
/// `prober/query_response.go`.
pub(super) const METADATA: &[MetricMetadata] = &[
    ("probe_failed_due_to_regex", "gauge", "Indicates if probe failed due to regex"),
    ("probe_failed_due_to_bytes", "gauge", "Indicates if probe failed due to bytes"),
    ("probe_expect_info", "gauge", "Explicit content matched"),
];

/// One step of a dialog. What is expected comes first, then what is sent, then TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryResponse {
    /// What the server has to send.
    pub expect: Option<Expect>,
    /// What is sent; nothing if it is empty. A newline follows unless there is a zero in it: then it is no
    /// line. `${1}` stands for a group of the pattern that was expected.
    pub send: Vec<u8>,
    /// Whether the dialog goes on in TLS after this step.
    pub starttls: bool,
}

/// What a server has to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// A line that matches, after any number of lines that do not.
    Line {
        /// What is looked for in each line, without its end.
        pattern: Pattern,
        /// Labels of `probe_expect_info`: names, and values in which `${1}` stands for a group. Without
        /// any there is no such metric.
        labels: Vec<(String, String)>,
    },
    /// Exactly these bytes.
    Bytes(Vec<u8>),
}

/// When TLS begins on a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsStart {
    /// Not before a step of the dialog says so.
    #[default]
    Dialog,
    /// At once.
    Immediately,
    /// After asking the server by its protocol.
    Protocol(StartTls),
}
