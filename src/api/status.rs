//! `/api/v1/status/…` and paths that do not exist.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::Serialize;

use super::error::{ApiError, ErrorType};
use super::readiness::rfc3339;
use super::respond::success;
use super::{Handles, Lifecycle};

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

#[derive(Serialize)]
struct Runtime {
    #[serde(rename = "serverTime")]
    server_time: String,
    #[serde(rename = "CWD")]
    data_folder: String,
    #[serde(rename = "reloadConfigSuccess")]
    reload_config_success: bool,
}

pub(super) async fn runtime(State(handles): State<Arc<Handles>>) -> Response {
    success(&Runtime {
        server_time: rfc3339(handles.clock.now()),
        data_folder: handles.data_folder.display().to_string(),
        reload_config_success: Lifecycle::is_set(&handles.lifecycle.configuration_good),
    })
}

pub(super) async fn not_found(uri: Uri) -> ApiError {
    ApiError { kind: ErrorType::NotFound, message: format!("no endpoint `{}`", uri.path()) }
}
