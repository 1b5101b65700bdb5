//! What probes found: `/probes` for people, `/api/v1/probes` for programs, and blackbox exporter's `/logs`
//! and `/config`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;

use super::Handles;
use super::error::{ApiError, ErrorType};
use super::params::Params;
use super::probe::{debug_output, text};
use super::readiness::rfc3339;
use super::respond::success;
use crate::model::format_float;
use crate::probe::{Origin, ProbeRecord};
use crate::web::{self, ProbeResultView, ProbesView};

/// How many results the page shows at most.
const MOST_ON_PAGE: usize = 500;

#[derive(Serialize)]
struct Entry<'a> {
    id: u64,
    module: &'a str,
    target: &'a str,
    /// `scheduled` or `asked`.
    origin: &'static str,
    at: String,
    success: bool,
    /// The kind of failure, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    duration_seconds: f64,
    timeout_seconds: f64,
}

#[derive(Serialize)]
struct Details<'a> {
    #[serde(flatten)]
    entry: Entry<'a>,
    log: Vec<String>,
    samples: Vec<Found>,
    configuration: &'a str,
}

#[derive(Serialize)]
struct Found {
    metric: BTreeMap<String, String>,
    value: String,
}

fn entry(id: u64, record: &ProbeRecord) -> Entry<'_> {
    Entry {
        id,
        module: &record.probed.module,
        target: &record.probed.target,
        origin: origin(record.probed.origin),
        at: rfc3339(record.at),
        success: record.failure.is_none(),
        failure: record.failure.as_ref().map(|failure| failure.kind),
        reason: record.failure.as_ref().map(|failure| failure.reason.as_str()),
        duration_seconds: record.duration.as_secs_f64(),
        timeout_seconds: record.timeout.as_secs_f64(),
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Scheduled => "scheduled",
        Origin::Asked => "asked",
    }
}

/// The results, newest first, that the parameters `module`, `target` and `success` leave.
fn selected(handles: &Handles, params: &Params) -> Vec<(u64, Arc<ProbeRecord>)> {
    let (module, target, good) = (params.get("module"), params.get("target"), params.get("success"));
    let mut found = handles.blackbox.history().list();
    found.retain(|(_, record)| {
        module.is_none_or(|module| *record.probed.module == *module)
            && target.is_none_or(|target| *record.probed.target == *target)
            && good.is_none_or(|good| (good == "true") == record.failure.is_none())
    });
    found
}

pub(super) async fn list(State(handles): State<Arc<Handles>>, params: Params) -> Result<Response, ApiError> {
    let mut found = selected(&handles, &params);
    if let limit @ 1.. = params.limit()? {
        found.truncate(limit);
    }
    let entries: Vec<Entry<'_>> = found.iter().map(|(id, record)| entry(*id, record)).collect();
    Ok(success(&entries))
}

pub(super) async fn one(
    State(handles): State<Arc<Handles>>,
    Path(id): Path<u64>,
) -> Result<Response, ApiError> {
    let record = handles.blackbox.history().get(id).ok_or_else(|| {
        let message = format!("there is no result {id}, or not any more");
        ApiError { kind: ErrorType::NotFound, message }
    })?;
    let found = |sample: &crate::model::Sample| Found {
        metric: sample.labels.to_map(),
        value: format_float(sample.value),
    };
    Ok(success(&Details {
        entry: entry(id, &record),
        log: record.log.iter().map(ToString::to_string).collect(),
        samples: record.samples.iter().map(found).collect(),
        configuration: &record.configuration,
    }))
}

pub(super) async fn page(State(handles): State<Arc<Handles>>, params: Params) -> Html<String> {
    let found = selected(&handles, &params);
    let kept = found.len();
    let results = found.into_iter().take(MOST_ON_PAGE).map(|(id, record)| ProbeResultView {
        id,
        module: record.probed.module.to_string(),
        target: record.probed.target.to_string(),
        scheduled: record.probed.origin == Origin::Scheduled,
        at: record.at,
        milliseconds: record.duration.as_millis(),
        reason: record.failure.as_ref().map(|failure| failure.reason.clone()),
    });
    Html(web::probes(&ProbesView { now: handles.clock.now(), results: results.collect(), kept }))
}

/// Source of parameters and texts: blackbox exporter `main.go`.
pub(super) async fn logs(State(handles): State<Arc<Handles>>, params: Params) -> Response {
    let history = handles.blackbox.history();
    let id = params.get("id").and_then(|text| text.parse::<u64>().ok());
    let (target, module) = (params.get("target"), params.get("module"));
    let refuse = |why: &str| text(StatusCode::BAD_REQUEST, format!("{why}\n"));
    let missing = |what: &str| text(StatusCode::NOT_FOUND, format!("{what} not found\n"));
    match (id, target, module) {
        (Some(_), Some(_), _) => refuse("Probe id and target can't be defined at the same time"),
        (None, None, _) => refuse("Probe id or target must be defined as http query parameters"),
        (Some(_), None, Some(_)) => {
            refuse("Probe module filter only works in conjunction with target parameter")
        }
        (Some(id), None, None) => match history.get(id) {
            Some(record) => text(StatusCode::OK, debug_output(&record)),
            None => missing("Probe id"),
        },
        (None, Some(_), _) => match selected(&handles, &params).first() {
            Some((_, record)) => text(StatusCode::OK, debug_output(record)),
            None => missing("Probe target"),
        },
    }
}

/// The modules as they are written, without secrets.
pub(super) async fn configuration(State(handles): State<Arc<Handles>>) -> Response {
    let mut out = "modules:\n".to_owned();
    for module in handles.blackbox.modules() {
        writeln!(out, "  {}:", module.name()).expect("writing to a String cannot fail");
        for line in module.configuration().lines() {
            writeln!(out, "    {line}").expect("writing to a String cannot fail");
        }
    }
    text(StatusCode::OK, out).into_response()
}
