//! What an HTTP probe has seen so far, and the samples it makes of it.

use std::time::{Duration, Instant};

use hyper::{StatusCode, Version};

use super::super::MetricMetadata;
use super::super::connect::{self, Route};
use super::super::outcome::{self, Course, Findings};
use super::super::samples::SampleSet;
use super::super::tls::{self, Handshake};

/// The metrics of the HTTP prober alone. Source of names, meanings and help texts: blackbox exporter
/// `prober/http.go`.
const OWN_METADATA: &[MetricMetadata] = &[
    ("probe_http_duration_seconds", "gauge", "Duration of http request by phase, summed over all redirects"),
    ("probe_http_content_length", "gauge", "Length of http content response"),
    ("probe_http_uncompressed_body_length", "gauge", "Length of uncompressed response body"),
    ("probe_http_redirects", "gauge", "The number of redirects"),
    ("probe_http_ssl", "gauge", "Indicates if SSL was used for the final redirect"),
    ("probe_http_status_code", "gauge", "Response HTTP status code"),
    ("probe_http_version", "gauge", "Returns the version of HTTP of the probe response"),
    ("probe_failed_due_to_regex", "gauge", "Indicates if probe failed due to regex"),
    ("probe_failed_due_to_cel", "gauge", "Indicates if probe failed due to CEL expression not matching"),
    (
        "probe_http_last_modified_timestamp_seconds",
        "gauge",
        "Returns the Last-Modified HTTP response header in unixtime",
    ),
];

/// The metrics of the HTTP prober.
pub const METADATA: &[&[MetricMetadata]] =
    &[OWN_METADATA, outcome::METADATA, connect::METADATA, tls::METADATA];

/// What a probe spends its time with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Resolve,
    Connect,
    Tls,
    /// From the connection to the head of the response.
    Processing,
    /// From the head of the response to its end.
    Transfer,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Resolve, Self::Connect, Self::Tls, Self::Processing, Self::Transfer];

    /// What the probe does in it.
    fn doing(self) -> &'static str {
        match self {
            Self::Resolve => "resolving the name",
            Self::Connect => "connecting",
            Self::Tls => "shaking hands in TLS",
            Self::Processing => "waiting for the answer",
            Self::Transfer => "reading the body",
        }
    }

    /// The value of the label `phase`.
    fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Processing => "processing",
            Self::Transfer => "transfer",
        }
    }
}

/// What has been seen. Filled while the probe runs, so that a probe that fails or runs out of time
/// still reports what it got.
#[derive(Debug)]
pub(super) struct Observation {
    /// How long each phase took, over all hops; of phases that were completed.
    durations: [Duration; Phase::ALL.len()],
    /// The phase the probe is in, or was in last.
    phase: Phase,
    /// The way to the first hop.
    pub(super) route: Route,
    /// How many redirects the servers asked for, followed or not.
    pub(super) redirects: u32,
    /// The handshake with the last hop, if that is HTTPS.
    pub(super) handshake: Option<Handshake>,
    /// The head of the final response.
    pub(super) response: Option<ResponseHead>,
    /// How much of the final body was read, uncompressed.
    pub(super) body_bytes: u64,
    /// Whether a pattern for headers or body is the reason of failure.
    pub(super) failed_due_to_regex: bool,
    /// Whether a condition on a JSON body is the reason of failure; `None` if there is no such condition.
    pub(super) failed_due_to_cel: Option<bool>,
    pub(super) course: Course,
}

/// The facts of a response's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    /// `Content-Length`, if the server gave one.
    pub(super) content_length: Option<u64>,
    /// `Last-Modified` in seconds since the Unix epoch, if the server gave one.
    pub(super) last_modified: Option<i64>,
}

impl Observation {
    /// Nothing yet. `has_cel` says whether there are conditions on a JSON body.
    pub(super) fn new(has_cel: bool) -> Self {
        Self {
            durations: [Duration::ZERO; Phase::ALL.len()],
            phase: Phase::Resolve,
            route: Route::default(),
            redirects: 0,
            handshake: None,
            response: None,
            body_bytes: 0,
            failed_due_to_regex: false,
            failed_due_to_cel: has_cel.then_some(false),
            course: Course::default(),
        }
    }

    /// Enters a phase; [`Self::leave`] ends it.
    pub(super) fn enter(&mut self, phase: Phase) -> Instant {
        self.phase = phase;
        self.course.begin(phase.doing());
        Instant::now()
    }

    /// Adds the time since `entered` to the current phase.
    pub(super) fn leave(&mut self, entered: Instant) {
        self.durations[self.phase as usize] += entered.elapsed();
    }

    /// Notes an event for people.
    pub(super) fn note(&mut self, event: impl Into<String>) {
        self.course.note(event);
    }
}

impl Findings for Observation {
    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn emit(&self, samples: &mut SampleSet) {
        for phase in Phase::ALL {
            let seconds = self.durations[phase as usize].as_secs_f64();
            samples.labelled("probe_http_duration_seconds", &[("phase", phase.as_str())], seconds);
        }
        self.route.emit(samples);
        let head = self.response.as_ref();
        // Without a response it is 0, of one that does not say -1, as in blackbox exporter.
        let content_length = head.map_or(0.0, |head| head.content_length.map_or(-1.0, |bytes| bytes as f64));
        samples.gauge("probe_http_content_length", content_length);
        samples.gauge("probe_http_uncompressed_body_length", self.body_bytes as f64);
        samples.gauge("probe_http_redirects", f64::from(self.redirects));
        samples.gauge("probe_http_status_code", head.map_or(0.0, |head| f64::from(head.status.as_u16())));
        samples.gauge("probe_http_version", head.map_or(0.0, |head| version_number(head.version)));
        samples.flag("probe_failed_due_to_regex", self.failed_due_to_regex);
        if let Some(failed) = self.failed_due_to_cel {
            samples.flag("probe_failed_due_to_cel", failed);
        }
        if let Some(at) = head.and_then(|head| head.last_modified) {
            samples.gauge("probe_http_last_modified_timestamp_seconds", at as f64);
        }
        let facts = self.handshake.as_ref().map(Handshake::facts).unwrap_or_default();
        // Blackbox exporter says 0 where verification failed. It was TLS, though, and `0` reads as
        // "unencrypted".
        samples.flag("probe_http_ssl", !facts.chain.is_empty());
        facts.emit(samples);
    }
}

fn version_number(version: Version) -> f64 {
    match version {
        Version::HTTP_09 => 0.9,
        Version::HTTP_10 => 1.0,
        Version::HTTP_2 => 2.0,
        Version::HTTP_3 => 3.0,
        _ => 1.1,
    }
}
