//! `/probe`: blackbox exporter's endpoint. Source: its `prober/handler.go`.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Handles;
use super::metrics::{classic, negotiated};
use super::params::Params;
use crate::blackbox::{ProbeRequest, Refusal, SCRAPE_TIMEOUT_HEADER};
use crate::exposition::Page;
use crate::probe::ProbeRecord;

pub(super) async fn probe(
    State(handles): State<Arc<Handles>>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let request = ProbeRequest {
        module: params.get("module"),
        target: params.get("target"),
        hostname: params.get("hostname"),
        scrape_timeout: headers.get(SCRAPE_TIMEOUT_HEADER).and_then(|value| value.to_str().ok()),
    };
    match handles.blackbox.probe(request).await {
        Ok(record) if params.get("debug") == Some("true") => text(StatusCode::OK, debug_output(&record)),
        Ok(record) => negotiated(&page(&record), &headers),
        Err(refusal) => text(status(&refusal), format!("{refusal}\n")),
    }
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownModule(_) | Refusal::MissingTarget | Refusal::Hostname(_) => StatusCode::BAD_REQUEST,
        Refusal::Timeout(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Refusal::TargetNotAllowed { .. }
        | Refusal::CredentialsNotAllowed { .. }
        | Refusal::HostnameNotAllowed(_) => StatusCode::FORBIDDEN,
        Refusal::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A plain text; browsers are not to guess at anything else, since it holds what targets sent.
pub(super) fn text(status: StatusCode, text: String) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, text).into_response()
}

/// The metrics of one probe.
fn page(record: &ProbeRecord) -> Page {
    let mut page = Page::default();
    for sample in record.samples.iter() {
        super::metrics::describe(&mut page, sample.labels.metric_name());
        page.add(sample.labels.clone(), sample.value, None);
    }
    page
}

/// All that is known of a probe. Source of the headings: blackbox exporter, `DebugOutput`.
pub(super) fn debug_output(record: &ProbeRecord) -> String {
    let mut out = "Logs for the probe:\n".to_owned();
    for line in &record.log {
        writeln!(out, "{line}").expect("writing to a String cannot fail");
    }
    out.push_str("\n\n\nMetrics that would have been returned:\n");
    out.push_str(&classic(&page(record)));
    out.push_str("\n\n\nModule configuration:\n");
    out.push_str(&record.configuration);
    out
}
