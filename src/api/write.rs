//! `/api/v1/write`: the receiver of remote write 1.0.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{Handles, Lifecycle};
use crate::exposition::remote_write::{DEFAULT_LIMIT, decode};

/// Stores what it can. What can never be stored is answered with 400, so that the sender does not try
/// again; what was refused as out of order or a duplicate counts among that, as in Prometheus.
pub(super) async fn write(State(handles): State<Arc<Handles>>, body: Bytes) -> Response {
    if !Lifecycle::is_set(&handles.lifecycle.remote_write_receiver) {
        let message =
            "remote write receiver needs to be enabled with `storage.remote_write_receiver: true`\n";
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    let decoded = match decode(&body, DEFAULT_LIMIT) {
        Ok(decoded) => decoded,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let refused = handles.appender.append_samples(&decoded.samples);
    let mut faults: Vec<String> = decoded.faults.iter().map(ToString::to_string).collect();
    faults.extend(refused.first().map(|(index, error)| {
        let labels = &decoded.samples[*index].labels;
        format!("{error} (series {labels}; {} samples were refused)", refused.len())
    }));
    if decoded.histograms > 0 {
        faults.push(format!("{} native histograms were left out", decoded.histograms));
    }
    if faults.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    (StatusCode::BAD_REQUEST, format!("{}\n", faults.join("\n"))).into_response()
}
