//! `/readiness`: whether the watched system is ready, and why.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Handles;
use super::respond::json;
use crate::model::TimestampMs;
use crate::readiness::{ComponentReport, Dropped, FailureReport};

#[derive(Serialize)]
struct Report {
    ready: bool,
    components: Vec<Component>,
}

#[derive(Serialize)]
struct Component {
    #[serde(rename = "component")]
    kind: &'static str,
    name: String,
    instance: String,
    state: &'static str,
    /// Why, for people; absent if there is nothing to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The kind of failure, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
    since: Option<String>,
    changes: u64,
    last_probe: Option<String>,
    age_seconds: Option<f64>,
    duration_seconds: Option<f64>,
    interval_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<Failure>,
    /// What the last probe told beyond what a component may.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<Left>,
}

#[derive(Serialize)]
struct Left {
    series: usize,
    metrics: Vec<String>,
}

#[derive(Serialize)]
struct Failure {
    at: String,
    #[serde(rename = "failure")]
    kind: &'static str,
    reason: String,
    log: Vec<String>,
}

pub(super) async fn readiness(State(handles): State<Arc<Handles>>) -> Response {
    let report = handles.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let components = report.components.into_iter().map(Component::from).collect();
    let body = Report { ready: report.ready, components };
    let text = serde_json::to_string_pretty(&body).expect("wire types are always JSON");
    (status, json(text)).into_response()
}

impl From<ComponentReport> for Component {
    fn from(report: ComponentReport) -> Self {
        Self {
            kind: report.key.kind.as_str(),
            name: report.key.name,
            instance: report.instance,
            state: report.state.as_str(),
            reason: report.reason,
            failure: report.failure_kind,
            since: report.since.map(rfc3339),
            changes: report.changes,
            last_probe: report.last_probe.map(rfc3339),
            age_seconds: report.age.map(|age| age.as_secs_f64()),
            duration_seconds: report.last_duration.map(|duration| duration.as_secs_f64()),
            interval_seconds: report.interval.as_secs_f64(),
            last_failure: report.last_failure.map(Failure::from),
            dropped: left(&report.dropped),
        }
    }
}

fn left(dropped: &Dropped) -> Option<Left> {
    (dropped.series > 0).then(|| Left { series: dropped.series, metrics: dropped.metrics.clone() })
}

impl From<FailureReport> for Failure {
    fn from(failure: FailureReport) -> Self {
        let log = failure.log.iter().map(ToString::to_string).collect();
        Self { at: rfc3339(failure.at), kind: failure.kind, reason: failure.reason, log }
    }
}

/// An instant as Prometheus' API writes it; nanoseconds are left out when they are 0.
pub(super) fn rfc3339(at: TimestampMs) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
