//! `/ping/<name>`: jobs tell that they have run. Paths and their meaning are those of healthchecks.io.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::Handles;
use crate::heartbeat::Ping;

/// Any method: what calls it is a shell script or a cron job, with whatever it has.
pub(super) async fn success(
    State(handles): State<Arc<Handles>>,
    Path(name): Path<String>,
) -> (StatusCode, &'static str) {
    record(&handles, &name, Ping::Success).await
}

/// `start`, `fail`, or the exit code of the job.
pub(super) async fn signal(
    State(handles): State<Arc<Handles>>,
    Path((name, signal)): Path<(String, String)>,
) -> (StatusCode, &'static str) {
    let ping = match (signal.as_str(), signal.parse::<u8>()) {
        ("start", _) => Ping::Start,
        ("fail", _) => Ping::Failure,
        (_, Ok(0)) => Ping::Success,
        (_, Ok(_)) => Ping::Failure,
        (_, Err(_)) => return (StatusCode::NOT_FOUND, "there are `start`, `fail` and exit codes\n"),
    };
    record(&handles, &name, ping).await
}

async fn record(handles: &Handles, name: &str, ping: Ping) -> (StatusCode, &'static str) {
    if handles.pings.record(name, ping).await {
        (StatusCode::OK, "OK\n")
    } else {
        (StatusCode::NOT_FOUND, "no such name is configured under `pings`\n")
    }
}
