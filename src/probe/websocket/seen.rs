//! What a WebSocket probe has seen so far, and the samples it makes of it.

use std::time::{Duration, Instant};

use hyper::StatusCode;

use crate::probe::MetricMetadata;
use crate::probe::connect::{self, Route};
use crate::probe::outcome::{self, Course, Findings};
use crate::probe::samples::SampleSet;
use crate::probe::tls::{self, Handshake};

/// The metrics of the WebSocket prober alone. Source of names, meanings and help texts: blackbox exporter
/// `prober/websocket.go`.
const OWN_METADATA: &[MetricMetadata] = &[
    ("probe_websocket_status_code", "gauge", "Response HTTP status code"),
    (
        "probe_websocket_connection_upgraded",
        "gauge",
        "Indicates if the websocket connection was successfully upgraded",
    ),
    ("probe_websocket_failed_due_to_regex", "gauge", "Indicates if probe failed due to regex"),
    ("probe_websocket_duration_seconds", "gauge", "Duration of websocket request by phase"),
];

/// The metrics of the WebSocket prober.
pub const METADATA: &[&[MetricMetadata]] =
    &[OWN_METADATA, outcome::METADATA, connect::METADATA, tls::METADATA];

/// What a probe spends its time with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Resolve,
    Connect,
    /// TLS, and the upgrade from HTTP.
    Processing,
    /// The exchange of messages, if there is one.
    Transfer,
}

impl Phase {
    /// The value of the label `phase`.
    fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Processing => "processing",
            Self::Transfer => "transfer",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) course: Course,
    pub(super) route: Route,
    /// What is known of the server's certificates, once TLS began.
    pub(super) handshake: Option<Handshake>,
    /// The status of the answer.
    pub(super) status: Option<StatusCode>,
    /// Whether the answer made a WebSocket of the connection.
    pub(super) is_upgraded: bool,
    /// Whether a message that did not match, or did not come before the end, is the reason of failure.
    pub(super) failed_due_to_regex: bool,
    /// How long each phase took that is over.
    past: Vec<(Phase, Duration)>,
    /// The phase that goes on, and since when.
    present: Option<(Phase, Instant)>,
}

impl Seen {
    /// Forgets all but the course.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { course: std::mem::take(&mut self.course), ..Self::default() };
    }

    /// Ends the phase that goes on and begins another.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.leave();
        self.present = Some((phase, Instant::now()));
    }

    /// Ends the phase that goes on.
    pub(super) fn leave(&mut self) {
        if let Some((phase, began)) = self.present.take() {
            self.past.push((phase, began.elapsed()));
        }
    }
}

impl Findings for Seen {
    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    /// A phase in which the probe ended is counted up to the end, others are absent, as in blackbox
    /// exporter.
    fn emit(&self, samples: &mut SampleSet) {
        self.route.emit(samples);
        let status = self.status.map_or(0, |status| status.as_u16());
        samples.gauge("probe_websocket_status_code", f64::from(status));
        samples.flag("probe_websocket_connection_upgraded", self.is_upgraded);
        samples.flag("probe_websocket_failed_due_to_regex", self.failed_due_to_regex);
        let present = self.present.map(|(phase, began)| (phase, began.elapsed()));
        for (phase, duration) in self.past.iter().copied().chain(present) {
            let labels = [("phase", phase.as_str())];
            samples.labelled("probe_websocket_duration_seconds", &labels, duration.as_secs_f64());
        }
        if let Some(handshake) = &self.handshake {
            handshake.facts().emit(samples);
        }
    }
}
