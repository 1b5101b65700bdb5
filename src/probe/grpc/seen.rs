//! What a gRPC probe has seen so far, and the samples it makes of it.

use std::fmt;
use std::time::Instant;

use super::super::MetricMetadata;
use super::super::connect::{self, Route};
use super::super::outcome::{self, Course, Findings};
use super::super::samples::SampleSet;
use super::super::tls::{self, Handshake};

/// The metrics of the gRPC prober alone. Source of names, meanings and help texts: blackbox exporter
/// `prober/grpc.go`.
const OWN_METADATA: &[MetricMetadata] = &[
    ("probe_grpc_duration_seconds", "gauge", "Duration of gRPC request by phase"),
    ("probe_grpc_ssl", "gauge", "Indicates if SSL was used for the connection"),
    ("probe_grpc_status_code", "gauge", "Response gRPC status code"),
    ("probe_grpc_healthcheck_response", "gauge", "Response HealthCheck response"),
];

/// The metrics of the gRPC prober.
pub const METADATA: &[&[MetricMetadata]] =
    &[outcome::METADATA, connect::METADATA, OWN_METADATA, tls::METADATA];

/// How a call ended. Source: gRPC's `statuscodes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) u32);

impl Status {
    pub(super) const OK: Self = Self(0);
    pub(super) const UNKNOWN: Self = Self(2);
    pub(super) const DEADLINE_EXCEEDED: Self = Self(4);
    pub(super) const RESOURCE_EXHAUSTED: Self = Self(8);
    pub(super) const INTERNAL: Self = Self(13);
    pub(super) const UNAVAILABLE: Self = Self(14);

    /// What an answer means that comes from no gRPC server. Source: gRPC's `http-grpc-status-mapping.md`.
    pub(super) fn of_http(status: u16) -> Self {
        match status {
            400 => Self::INTERNAL,
            401 => Self(16),
            403 => Self(7),
            404 => Self(12),
            429 | 502..=504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", self.0),
        }
    }
}

/// What a server says of its health. Source: gRPC's `grpc/health/v1/health.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServingStatus {
    Unknown,
    Serving,
    NotServing,
    ServiceUnknown,
}

impl ServingStatus {
    const ALL: [Self; 4] = [Self::Unknown, Self::Serving, Self::NotServing, Self::ServiceUnknown];

    /// The status with this number.
    pub(super) fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|status| *status as i32 == number)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) course: Course,
    pub(super) route: Route,
    /// When the connection began.
    pub(super) checking: Option<Instant>,
    /// What is known of the server's certificates, once TLS began.
    pub(super) handshake: Option<Handshake>,
    /// How the call ended.
    pub(super) status: Status,
    /// What the server said.
    pub(super) serving: Option<ServingStatus>,
}

/// Who cannot reach a server is told that it is unavailable.
impl Default for Seen {
    fn default() -> Self {
        Self {
            course: Course::default(),
            route: Route::default(),
            checking: None,
            handshake: None,
            status: Status::UNAVAILABLE,
            serving: None,
        }
    }
}

impl Findings for Seen {
    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn ran_out_of_time(&mut self) {
        self.status = Status::DEADLINE_EXCEEDED;
    }

    fn emit(&self, samples: &mut SampleSet) {
        self.route.emit(samples);
        let check = self.checking.map_or(0.0, |checking| checking.elapsed().as_secs_f64());
        for (phase, seconds) in [("resolve", self.route.lookup_seconds), ("check", check)] {
            samples.labelled("probe_grpc_duration_seconds", &[("phase", phase)], seconds);
        }
        samples.gauge("probe_grpc_status_code", f64::from(self.status.0));
        for status in ServingStatus::ALL {
            let is_it = f64::from(u8::from(self.serving == Some(status)));
            let labels = [("serving_status", status.as_str())];
            samples.labelled("probe_grpc_healthcheck_response", &labels, is_it);
        }
        let facts = self.handshake.as_ref().map(Handshake::facts).unwrap_or_default();
        samples.flag("probe_grpc_ssl", !facts.chain.is_empty());
        facts.emit(samples);
    }
}
