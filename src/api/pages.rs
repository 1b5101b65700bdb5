//! The pages: from the state of the parts to the views of [`crate::web`].

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use url::form_urlencoded;

use super::params::Params;
use super::rules::{health_text, state_text};
use super::{Handles, Lifecycle};
use crate::artifacts;
use crate::model::{ALERT_NAME, TimestampMs, format_duration_ms};
use crate::readiness::ComponentReport;
use crate::rules::{AlertSnapshot, GroupSnapshot, RuleSnapshot};
use crate::state::{AlertState, fingerprint};
use crate::web::{self, AlertView, ComponentView, GroupView, RuleView, StatusView, TargetView};

pub(super) async fn status(State(handles): State<Arc<Handles>>) -> Html<String> {
    Html(web::status(&view(&handles)))
}

fn view(handles: &Handles) -> StatusView {
    let now = handles.clock.now();
    let groups = handles.rules.snapshots();
    let mut alerts: Vec<AlertView> =
        groups.iter().flat_map(|group| &group.rules).flat_map(|rule| &rule.alerts).map(alert).collect();
    // Firing before pending, then in the order in which they began.
    alerts.sort_by_key(|alert| (alert.state != state_text(AlertState::Firing), alert.since));
    let report = handles.readiness.report();
    let targets = handles.scrapes.targets().into_iter().map(|target| TargetView {
        job: target.scrape_pool,
        url: target.scrape_url,
        health: target.health.as_str(),
        error: target.last_error,
        last_scrape: target.last_scrape,
    });
    StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now,
        components: components(report.components, now),
        watched: components(report.watched, now),
        alerts,
        groups: groups.iter().map(|one| group(one)).collect(),
        targets: targets.collect(),
        reload_failed: !Lifecycle::is_set(&handles.lifecycle.configuration_good),
        alertmanagers: handles.notifier.alertmanagers(),
        undelivered: handles.notifier.waiting(),
    }
}

/// The worst first.
fn components(reports: Vec<ComponentReport>, now: TimestampMs) -> Vec<ComponentView> {
    let components = reports.into_iter().map(|component| ComponentView {
        component: component.key.kind.as_str().to_owned(),
        name: component.key.name,
        state: component.state.as_str(),
        reason: component.reason.unwrap_or_default(),
        since: component.since.unwrap_or(now),
        last_probe: component.last_probe,
        series_dropped: component.dropped.series,
        metrics_dropped: component.dropped.metrics.join(", "),
    });
    let mut components: Vec<ComponentView> = components.collect();
    let rank = |state: &str| ["not_ready", "unknown", "ready"].iter().position(|known| *known == state);
    components.sort_by_key(|component| rank(component.state));
    components
}

fn alert(alert: &AlertSnapshot) -> AlertView {
    let name = alert.labels.get(ALERT_NAME);
    let summary = match alert.annotations.get("summary") {
        "" => alert.labels.filtered(|label| label != ALERT_NAME).to_string(),
        summary => summary.to_owned(),
    };
    let runbook = match (artifacts::runbook(name), alert.annotations.get("runbook_url")) {
        (Some(_), _) => format!("/runbooks/{name}"),
        (None, url) => url.to_owned(),
    };
    AlertView {
        name: name.to_owned(),
        state: state_text(alert.state),
        fingerprint: format!("{:016x}", fingerprint(&alert.labels)),
        severity: alert.labels.get("severity").to_owned(),
        summary,
        since: alert.active_at,
        runbook,
    }
}

fn group(group: &GroupSnapshot) -> GroupView {
    GroupView {
        name: group.name.clone(),
        file: group.file.clone(),
        interval: format_duration_ms(group.interval_ms),
        last_evaluation: group.last_evaluation,
        rules: group.rules.iter().map(rule).collect(),
    }
}

fn rule(rule: &RuleSnapshot) -> RuleView {
    let state = match (&rule.info.alerting, rule.state()) {
        (None, _) => "recording",
        (Some(_), None) => "unknown",
        (Some(_), Some(state)) => state_text(state),
    };
    RuleView {
        name: rule.info.name.clone(),
        state,
        query: rule.info.query.clone(),
        health: health_text(rule.health),
        error: rule.last_error.clone().unwrap_or_default(),
    }
}

/// Links in alerts lead to Prometheus' path; the answer of the API is what there is to see.
pub(super) async fn graph(params: Params) -> Redirect {
    let query = params.get("g0.expr").unwrap_or_default();
    let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    Redirect::temporary(&format!("/api/v1/query?query={encoded}"))
}

pub(super) async fn runbooks() -> Html<String> {
    Html(web::runbook_index(artifacts::runbooks().iter().map(|(alert, _)| *alert)))
}

pub(super) async fn runbook(Path(alert): Path<String>) -> Response {
    match artifacts::runbook(&alert) {
        Some(markdown) => Html(web::runbook(&alert, markdown)).into_response(),
        None => (StatusCode::NOT_FOUND, format!("there is no runbook for `{alert}`\n")).into_response(),
    }
}
