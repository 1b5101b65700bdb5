//! `/health`, `/ready` and `/-/reload`: about valmis itself, never about what it watches.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;

use super::{Handles, Lifecycle};
use crate::model::TimestampMs;
use crate::rules::GroupSnapshot;

/// The longest that the query of a rule may take.
const QUERY_TIMEOUT_MS: i64 = 120_000;

/// 200 while the essential loops turn. A process in which one is stuck is to be restarted, so this
/// answers 503 then, and says which.
pub(super) async fn health(State(handles): State<Arc<Handles>>) -> Response {
    let stalled = handles.readiness.stalled().into_iter().map(|one| (one.what, one.overdue));
    let stalled: Vec<String> = stalled
        .chain(stalled_groups(&handles))
        .map(|(what, overdue)| format!("{what}: overdue by {:.1}s\n", overdue.as_secs_f64()))
        .collect();
    if stalled.is_empty() {
        return "valmis is healthy.\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, stalled.concat()).into_response()
}

/// The rule groups that are overdue.
fn stalled_groups(handles: &Handles) -> Vec<(String, Duration)> {
    let now = handles.clock.now();
    let groups = handles.rules.snapshots();
    let overdue =
        |group: &GroupSnapshot| Some((format!("rule group `{}`", group.name), overdue(group, now)?));
    groups.iter().filter_map(|group| overdue(group)).collect()
}

/// By how much a group is late that was not evaluated for three intervals and the longest that a query may
/// take.
fn overdue(group: &GroupSnapshot, now: TimestampMs) -> Option<Duration> {
    let since = group.last_evaluation.unwrap_or(group.begun_at);
    let late = now - (since + 3 * group.interval_ms + QUERY_TIMEOUT_MS);
    u64::try_from(late).ok().filter(|late| *late > 0).map(Duration::from_millis)
}

/// 200 once the configuration is loaded, the state is open and every probe has had its first result.
pub(super) async fn ready(State(handles): State<Arc<Handles>>) -> Response {
    let waiting_for = if Lifecycle::is_set(&handles.lifecycle.stopping) {
        "shutting down"
    } else if !Lifecycle::is_set(&handles.lifecycle.started) {
        "starting"
    } else if !handles.readiness.first_round_done() {
        "waiting for the first round of probes"
    } else {
        return "valmis is ready.\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{waiting_for}\n")).into_response()
}

/// Reads the configuration again. A bad one leaves the old one in force.
pub(super) async fn reload(State(handles): State<Arc<Handles>>) -> Response {
    let (answer, outcome) = oneshot::channel();
    let stopping = || (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n".to_owned()).into_response();
    if handles.lifecycle.reload.send(answer).await.is_err() {
        return stopping();
    }
    match outcome.await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(fault)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {fault}\n")).into_response()
        }
        Err(_) => stopping(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_overdue_also_before_its_first_evaluation() {
        let group = |last_evaluation| GroupSnapshot {
            file: "rules.yml".to_owned(),
            name: "g".to_owned(),
            interval_ms: 10_000,
            limit: 0,
            query_offset_ms: 0,
            evaluation_time: Duration::ZERO,
            last_evaluation,
            begun_at: 1_000_000,
            last_samples: 0,
            rules: Vec::new(),
        };
        let check = |last_evaluation, now, expected: Option<u64>| {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(overdue(&group(last_evaluation), now), expected, "{last_evaluation:?} {now}");
        };
        check(None, 1_150_000, None);
        check(None, 1_150_001, Some(1));
        check(Some(1_010_000), 1_160_000, None);
        check(Some(1_010_000), 1_161_000, Some(1_000));
    }
}
