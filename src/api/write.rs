//! `/api/v1/write`: the receiver of remote write 1.0 and 2.0.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};

use super::{Handles, Lifecycle};
use crate::exposition::remote_write::{DEFAULT_LIMIT, Decoded, Protocol, decode};
use crate::model::Labels;
use crate::storage::AppendError;

/// How a receiver of remote write 2.0 says what it stored.
/// Source: "Prometheus Remote-Write 2.0 specification", "Required Written Response Headers".
const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// The largest body that is read, in bytes; senders send a few thousand samples at a time.
pub(super) const BODY_LIMIT: usize = 8 << 20;

/// How many faults an answer tells one by one.
const SHOWN_FAULTS: usize = 100;

/// Stores what it can. What can never be stored is answered with 400, so that the sender does not try
/// again; what was refused as out of order or a duplicate counts among that, as in Prometheus. Exemplars
/// are passed over.
pub(super) async fn write(State(handles): State<Arc<Handles>>, headers: HeaderMap, body: Bytes) -> Response {
    if !Lifecycle::is_set(&handles.lifecycle.remote_write_receiver) {
        let message =
            "remote write receiver needs to be enabled with `storage.remote_write_receiver: true`\n";
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let protocol = match Protocol::of_headers(header(CONTENT_TYPE), header(CONTENT_ENCODING)) {
        Ok(protocol) => protocol,
        Err(error) => return (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{error}\n")).into_response(),
    };
    let outcome = match decode(protocol, &body, DEFAULT_LIMIT) {
        Ok(decoded) => store(&handles, &decoded),
        Err(error) => Outcome { faults: vec![error.to_string()], ..Outcome::default() },
    };
    outcome.answer(protocol)
}

/// What came of a request.
#[derive(Debug, Default)]
struct Outcome {
    samples: usize,
    histograms: usize,
    faults: Vec<String>,
    /// Nothing is stored any more: the sender may try again, here or elsewhere.
    closed: bool,
}

fn store(handles: &Handles, decoded: &Decoded) -> Outcome {
    let Decoded { samples, histograms, faults } = decoded;
    let mut outcome =
        Outcome { faults: faults.iter().map(ToString::to_string).collect(), ..Outcome::default() };
    let refused = handles.appender.append_samples(samples);
    outcome.samples = samples.len() - refused.len();
    outcome.refuse("samples", &refused, |index| &samples[index].labels);
    let refused = handles.appender.append_histogram_samples(histograms);
    outcome.histograms = histograms.len() - refused.len();
    outcome.refuse("native histograms", &refused, |index| &histograms[index].labels);
    outcome
}

impl Outcome {
    /// Notes what the store refused.
    fn refuse<'a>(
        &mut self,
        what: &str,
        refused: &[(usize, AppendError)],
        labels: impl Fn(usize) -> &'a Labels,
    ) {
        self.closed |= refused.iter().any(|(_, error)| *error == AppendError::Closed);
        self.faults.extend(refused.first().map(|(index, error)| {
            let (labels, count) = (labels(*index), refused.len());
            format!("{error} (series {labels}; {count} {what} were refused)")
        }));
    }

    fn answer(mut self, protocol: Protocol) -> Response {
        let status = match (self.closed, self.faults.is_empty()) {
            (true, _) => StatusCode::SERVICE_UNAVAILABLE,
            (false, false) => StatusCode::BAD_REQUEST,
            (false, true) => StatusCode::NO_CONTENT,
        };
        if self.faults.len() > SHOWN_FAULTS {
            let more = format!("and {} more", self.faults.len() - SHOWN_FAULTS);
            self.faults.truncate(SHOWN_FAULTS);
            self.faults.push(more);
        }
        let text: String = self.faults.iter().flat_map(|fault| [fault.as_str(), "\n"]).collect();
        let written = [
            (SAMPLES_WRITTEN, self.samples.to_string()),
            (HISTOGRAMS_WRITTEN, self.histograms.to_string()),
            (EXEMPLARS_WRITTEN, "0".to_owned()),
        ];
        match protocol {
            Protocol::V1 => (status, text).into_response(),
            Protocol::V2 => (status, written, text).into_response(),
        }
    }
}
