//! `/health`, `/ready` and `/-/reload`: about valmis itself, never about what it watches.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;

use super::{Handles, Lifecycle};
use crate::rules::GroupSnapshot;

/// The longest that the query of a rule may take.
const QUERY_TIMEOUT: Duration = Duration::from_mins(2);

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
    let groups = handles.rules.snapshots();
    let overdue = |group: &GroupSnapshot| Some((format!("rule group `{}`", group.name), overdue(group)?));
    groups.iter().filter_map(|group| overdue(group)).collect()
}

/// By how much a group is late that came to no slot for three intervals and the longest that a query may
/// take. What the clock shows does not matter, nor whether the group waits for a clock that was set back:
/// a restart would only make it wait anew.
fn overdue(group: &GroupSnapshot) -> Option<Duration> {
    let limit = Duration::from_millis(3 * group.interval_ms.unsigned_abs()) + QUERY_TIMEOUT;
    group.turned.elapsed().checked_sub(limit).filter(|late| !late.is_zero())
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
    use tokio::time::{Instant, advance};

    use super::*;
    use crate::model::TimestampMs;

    #[tokio::test(start_paused = true)]
    async fn a_group_is_overdue_that_came_to_no_slot_whatever_was_evaluated_when() {
        let check = async |last_evaluation| {
            let group = GroupSnapshot {
                file: "rules.yml".to_owned(),
                name: "g".to_owned(),
                interval_ms: 10_000,
                limit: 0,
                query_offset_ms: 0,
                evaluation_time: Duration::ZERO,
                last_evaluation,
                begun_at: 1_000_000,
                turned: Instant::now(),
                last_samples: 0,
                rules: Vec::new(),
            };
            advance(Duration::from_secs(150)).await;
            assert_eq!(overdue(&group), None, "{last_evaluation:?}");
            advance(Duration::from_secs(1)).await;
            assert_eq!(overdue(&group), Some(Duration::from_secs(1)), "{last_evaluation:?}");
        };
        check(None).await;
        check(Some(1_010_000)).await;
        // The clock was set back since.
        check(Some(TimestampMs::MAX)).await;
    }
}
