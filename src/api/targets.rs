//! `/api/v1/targets`, `/api/v1/targets/metadata`, `/api/v1/scrape_pools` and `/api/v1/metadata`.
//! Source: Prometheus `web/api/v1/api.go`, `targets`, `targetMetadata` and `metricMetadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::Handles;
use super::error::ApiError;
use super::params::{Params, first_of};
use super::query::apart_if_long;
use super::respond::{Seconds, success};
use super::rules::time_or_never;
use crate::exposition;
use crate::model::{Labels, format_duration_ms};
use crate::promql;
use crate::scrape::TargetState;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are Prometheus' own")]
struct Targets {
    active_targets: Vec<Target>,
    dropped_targets: Vec<Target>,
    dropped_target_counts: BTreeMap<String, usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    discovered_labels: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    scrape_pool: String,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: Seconds,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

pub(super) async fn targets(State(handles): State<Arc<Handles>>, params: Params) -> Response {
    let state = params.get("state").unwrap_or("any").to_lowercase();
    let active = matches!(state.as_str(), "any" | "active");
    let states = if active { handles.scrapes.targets() } else { Vec::new() };
    let pool = params.get("scrapePool");
    let targets = states.into_iter().filter(|target| pool.is_none_or(|pool| pool == target.scrape_pool));
    success(&Targets {
        active_targets: targets.map(Target::from).collect(),
        dropped_targets: Vec::new(),
        dropped_target_counts: BTreeMap::new(),
    })
}

impl From<TargetState> for Target {
    fn from(state: TargetState) -> Self {
        let duration = |duration: std::time::Duration| {
            format_duration_ms(duration.as_millis().try_into().unwrap_or(i64::MAX))
        };
        Self {
            discovered_labels: state.discovered_labels.to_map(),
            labels: state.labels.to_map(),
            scrape_pool: state.scrape_pool,
            scrape_url: state.scrape_url.clone(),
            global_url: state.global_url,
            last_error: state.last_error,
            last_scrape: time_or_never(state.last_scrape),
            last_scrape_duration: Seconds(state.last_duration.as_secs_f64()),
            health: state.health.as_str(),
            scrape_interval: duration(state.interval),
            scrape_timeout: duration(state.timeout),
        }
    }
}

#[derive(Serialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Metadata {
    #[serde(rename = "type")]
    kind: String,
    help: String,
    unit: String,
}

/// What is known of metrics: from the pages of the targets, and of what the probes find.
pub(super) async fn metadata(
    State(handles): State<Arc<Handles>>,
    params: Params,
) -> Result<Response, ApiError> {
    let most =
        |limit: Option<i64>| limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let most_metrics = most(params.number("limit")?);
    let most_entries = match most(params.number("limit_per_metric")?) {
        0 => usize::MAX,
        limit => limit,
    };
    let mut found: BTreeMap<String, BTreeSet<Metadata>> = BTreeMap::new();
    for (name, metadata) in handles.scrapes.metadata().into_iter().flat_map(|target| target.families) {
        found.entry(name).or_default().insert(Metadata::from(metadata));
    }
    for family in handles.readiness.samples() {
        let kind = if family.metric_type == "untyped" { "unknown" } else { family.metric_type };
        let entry = Metadata { kind: kind.to_owned(), help: family.help, unit: String::new() };
        found.entry(family.name).or_default().insert(entry);
    }
    if let Some(metric) = params.get("metric") {
        found.retain(|name, _| name == metric);
    }
    let shown: BTreeMap<String, Vec<Metadata>> = found
        .into_iter()
        .take(most_metrics)
        .map(|(name, entries)| (name, entries.into_iter().take(most_entries).collect()))
        .collect();
    Ok(success(&shown))
}

#[derive(Serialize)]
struct TargetMetadata {
    target: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    #[serde(flatten)]
    metadata: Metadata,
}

/// What each target says of its metrics.
pub(super) async fn target_metadata(
    State(handles): State<Arc<Handles>>,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.number("limit")?.and_then(|limit| usize::try_from(limit).ok());
    let matchers = match params.get("match_target").map(str::to_owned) {
        Some(text) => {
            let parsed = apart_if_long(&text.clone(), move || promql::parse_selector(&text)).await?;
            Some(parsed).transpose()
        }
        None => Ok(None),
    };
    let matchers = matchers.map_err(|errors| ApiError::bad_parameter("match_target", first_of(&errors)))?;
    let satisfies = |labels: &Labels| {
        matchers.iter().flatten().all(|matcher| matcher.matches(labels.get(matcher.name())))
    };
    let metric = params.get("metric");
    let mut shown = Vec::new();
    for target in handles.scrapes.metadata().into_iter().filter(|target| satisfies(&target.labels)) {
        // Whole targets are shown, as by Prometheus, so that the last one may exceed the limit.
        if limit.is_some_and(|limit| shown.len() >= limit) {
            break;
        }
        let families =
            target.families.into_iter().filter(|(name, _)| metric.is_none_or(|metric| metric == name));
        shown.extend(families.map(|(name, metadata)| TargetMetadata {
            target: target.labels.to_map(),
            metric: metric.is_none().then_some(name),
            metadata: Metadata::from(metadata),
        }));
    }
    Ok(success(&shown))
}

impl From<exposition::Metadata> for Metadata {
    fn from(metadata: exposition::Metadata) -> Self {
        Self { kind: metadata.kind.to_string(), help: metadata.help.into_owned(), unit: metadata.unit }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScrapePools {
    scrape_pools: BTreeSet<String>,
}

pub(super) async fn scrape_pools(State(handles): State<Arc<Handles>>) -> Response {
    let targets = handles.scrapes.targets();
    success(&ScrapePools { scrape_pools: targets.into_iter().map(|target| target.scrape_pool).collect() })
}
