//! `/api/v1/status/…`, `/api/v1/notifications` and paths that do not exist.
//! Source: Prometheus `web/api/v1/api.go`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use super::error::{ApiError, ErrorType};
use super::readiness::rfc3339;
use super::respond::success;
use super::{Handles, Lifecycle};
use crate::config::Config;
use crate::model::format_duration_ms;
use crate::promql::Features;

/// The version of Prometheus whose HTTP API is served here. Grafana reads `version` to learn what it may
/// ask for, and knows Prometheus' versions only.
const PROMETHEUS_API: &str = "3.14.0";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are Prometheus' own")]
struct Build {
    version: &'static str,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    application: &'static str,
    application_version: &'static str,
}

pub(super) async fn build() -> Response {
    success(&Build {
        version: PROMETHEUS_API,
        revision: "",
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
        application: "valmis",
        application_version: env!("CARGO_PKG_VERSION"),
    })
}

/// What Go's runtime has and this one has not is empty or without limit.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Runtime {
    start_time: String,
    #[serde(rename = "CWD")]
    data_folder: String,
    hostname: String,
    server_time: String,
    reload_config_success: bool,
    last_config_time: String,
    corruption_count: u64,
    #[serde(rename = "goroutineCount")]
    tasks: usize,
    #[serde(rename = "GOMAXPROCS")]
    processors: usize,
    #[serde(rename = "GOMEMLIMIT")]
    memory_limit: i64,
    #[serde(rename = "GOGC")]
    gc: &'static str,
    #[serde(rename = "GODEBUG")]
    debug: &'static str,
    storage_retention: String,
}

pub(super) async fn runtime(State(handles): State<Arc<Handles>>) -> Response {
    let configuration = handles.lifecycle.configuration();
    success(&Runtime {
        start_time: rfc3339(handles.started_at),
        data_folder: handles.data_folder.display().to_string(),
        hostname: handles.hostname.clone(),
        server_time: rfc3339(handles.clock.now()),
        reload_config_success: Lifecycle::is_set(&handles.lifecycle.configuration_good),
        last_config_time: rfc3339(handles.lifecycle.configured_at.load(Ordering::Acquire)),
        corruption_count: handles.tsdb.stats().wal_corruptions,
        tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory_limit: i64::MAX,
        gc: "",
        debug: "",
        storage_retention: duration(configuration.storage.retention),
    })
}

/// What of the configuration is Prometheus' too, under its names. Nothing in it is secret. It is written
/// as JSON, which is YAML.
pub(super) async fn config(State(handles): State<Arc<Handles>>) -> Response {
    let configuration = handles.lifecycle.configuration();
    let scrapes = configuration.scrapes.iter().map(|job| {
        json!({
            "job_name": job.job,
            "scrape_interval": duration(job.interval),
            "scrape_timeout": duration(job.timeout),
            "metrics_path": job.metrics_path,
            "scheme": job.scheme,
            "honor_labels": job.honor_labels,
            "static_configs": [{"targets": job.targets, "labels": job.labels}],
        })
    });
    let alertmanagers = configuration.alertmanagers.iter().map(|set| {
        let discovery = &set.discovery;
        let groups = discovery.groups.iter();
        let groups = groups.map(|group| json!({"targets": group.targets, "labels": group.labels}));
        let files = discovery.files.iter();
        let files =
            files.map(|one| json!({"files": one.patterns, "refresh_interval": duration(one.refresh)}));
        let names = discovery.dns.iter().map(|one| {
            json!({
                "names": one.names,
                "type": one.record_type.as_str(),
                "port": one.port,
                "refresh_interval": duration(one.refresh),
            })
        });
        json!({
            "scheme": set.scheme,
            "path_prefix": set.path_prefix,
            "timeout": duration(set.timeout),
            "api_version": "v2",
            "static_configs": groups.collect::<Vec<_>>(),
            "file_sd_configs": files.collect::<Vec<_>>(),
            "dns_sd_configs": names.collect::<Vec<_>>(),
        })
    });
    let document = json!({
        "global": {
            "evaluation_interval": duration(configuration.evaluation_interval),
            "external_labels": configuration.external_labels,
        },
        "rule_files": configuration.rules.files,
        "alerting": {"alertmanagers": alertmanagers.collect::<Vec<_>>()},
        "scrape_configs": scrapes.collect::<Vec<_>>(),
    });
    success(&json!({"yaml": format!("{document:#}\n")}))
}

/// What of the configuration Prometheus takes from its command line, under the names of its flags.
pub(super) async fn flags(State(handles): State<Arc<Handles>>) -> Response {
    let configuration = handles.lifecycle.configuration();
    let Config { storage, query, .. } = configuration.as_ref();
    let external_url = configuration.external_url.as_ref().map(ToString::to_string);
    let flags = BTreeMap::from([
        ("enable-feature", enabled(configuration.features).join(",")),
        ("query.lookback-delta", duration(query.lookback_delta)),
        ("query.max-concurrency", query.max_concurrency.to_string()),
        ("query.max-samples", query.max_samples.to_string()),
        ("query.timeout", duration(query.timeout)),
        ("rules.alert.resend-delay", duration(configuration.rules.resend_delay)),
        ("storage.tsdb.path", storage.path.display().to_string()),
        ("storage.tsdb.retention.time", duration(storage.retention)),
        ("web.enable-admin-api", "false".to_owned()),
        ("web.enable-lifecycle", "true".to_owned()),
        ("web.enable-remote-write-receiver", storage.remote_write_receiver.to_string()),
        ("web.external-url", external_url.unwrap_or_default()),
        ("web.listen-address", configuration.listen.to_string()),
    ]);
    success(&flags)
}

/// The names of the features that are on, without those that always are.
fn enabled(features: Features) -> Vec<&'static str> {
    let is_on = |name: &&str| {
        let mut with = features;
        let mut default = Features::default();
        with.enable(name) && with == features && default.enable(name) && default != Features::default()
    };
    Features::NAMES.into_iter().filter(is_on).collect()
}

fn duration(duration: std::time::Duration) -> String {
    format_duration_ms(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// A log is read before the first request is answered, so there is nothing left of it to read.
pub(super) async fn wal_replay() -> Response {
    success(&json!({"min": 0, "max": 0, "current": 0}))
}

/// What Prometheus' own page tells its visitors; here that is on the page itself.
pub(super) async fn notifications() -> Response {
    success::<[(); 0]>(&[])
}

/// What would change the store has no place here.
pub(super) async fn admin() -> ApiError {
    ApiError::unavailable("admin APIs disabled")
}

/// Source: Go's `http.Error` as Prometheus' router calls it.
pub(super) async fn method_not_allowed() -> (StatusCode, &'static str) {
    (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

pub(super) async fn not_found(uri: Uri) -> ApiError {
    ApiError { kind: ErrorType::NotFound, message: format!("no endpoint `{}`", uri.path()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_are_on_are_listed() {
        assert_eq!(enabled(Features::default()), Vec::<&str>::new());
        let mut features = Features::default();
        assert!(features.enable("promql-per-step-stats"));
        assert_eq!(enabled(features), ["promql-per-step-stats"]);
    }
}
