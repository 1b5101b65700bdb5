//! `/api/v1/rules`, `/api/v1/alerts`, `/api/v1/alertmanagers`.
//! Source: Prometheus `web/api/v1/api.go`, `rules`, `alerts` and `alertmanagers`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Handles;
use super::error::ApiError;
use super::params::{Params, parse_int};
use super::readiness::rfc3339;
use super::respond::{Seconds, exponent_value, success};
use crate::model::{Matcher, TimestampMs, quote};
use crate::rules::{AlertSnapshot, AlertingInfo, GroupSnapshot, Health, RuleSnapshot};
use crate::state::AlertState;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Groups {
    groups: Vec<Group>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    file: String,
    rules: Vec<Rule>,
    interval: Seconds,
    limit: usize,
    evaluation_time: Seconds,
    last_evaluation: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Rule {
    Alerting(AlertingRule),
    Recording(RecordingRule),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertingRule {
    state: &'static str,
    name: String,
    query: String,
    duration: Seconds,
    keep_firing_for: Seconds,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// Absent, and so null, if they were not to be shown.
    alerts: Option<Vec<Alert>>,
    health: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_error: String,
    evaluation_time: Seconds,
    last_evaluation: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordingRule {
    name: String,
    query: String,
    labels: BTreeMap<String, String>,
    health: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_error: String,
    evaluation_time: Seconds,
    last_evaluation: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    state: &'static str,
    active_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_firing_since: Option<String>,
    value: String,
}

#[derive(Serialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

/// Which rules are asked for.
struct Filter {
    kind: Option<&'static str>,
    names: BTreeSet<String>,
    groups: BTreeSet<String>,
    files: BTreeSet<String>,
    /// A rule's labels must satisfy one of these; without any, none is asked of them.
    selectors: Vec<Vec<Matcher>>,
    exclude_alerts: bool,
    page: Option<PageOfGroups>,
}

/// Which part of the groups is asked for.
struct PageOfGroups {
    most: usize,
    /// That of the first group; without one, the first groups of all.
    token: Option<String>,
}

impl Filter {
    fn of(params: &Params) -> Result<Self, ApiError> {
        let set = |name| params.all(name).map(ToOwned::to_owned).collect();
        let selectors = params.selectors().map_err(ApiError::bad_data)?;
        let kind = match params.get("type").map(str::to_lowercase).as_deref() {
            None => None,
            Some("alert") => Some("alerting"),
            Some("record") => Some("recording"),
            Some(other) => {
                return Err(ApiError::bad_parameter("type", format!("not supported value {}", quote(other))));
            }
        };
        let exclude_alerts = match params.get("exclude_alerts").map(str::to_lowercase).as_deref() {
            None | Some("false" | "0" | "f") => false,
            Some("true" | "1" | "t") => true,
            Some(other) => {
                let fault = format!("strconv.ParseBool: parsing {}: invalid syntax", quote(other));
                let message = format!("error converting exclude_alerts: {fault}");
                return Err(ApiError::bad_parameter("exclude_alerts", message));
            }
        };
        Ok(Self {
            kind,
            names: set("rule_name[]"),
            groups: set("rule_group[]"),
            files: set("file[]"),
            selectors,
            exclude_alerts,
            page: PageOfGroups::of(params)?,
        })
    }

    fn accepts_group(&self, group: &GroupSnapshot) -> bool {
        let accepts = |set: &BTreeSet<String>, value: &String| set.is_empty() || set.contains(value);
        accepts(&self.groups, &group.name) && accepts(&self.files, &group.file)
    }

    fn accepts_rule(&self, rule: &RuleSnapshot) -> bool {
        let kind = if rule.info.alerting.is_some() { "alerting" } else { "recording" };
        self.kind.is_none_or(|wanted| wanted == kind)
            && (self.names.is_empty() || self.names.contains(&rule.info.name))
            && (self.selectors.is_empty() || self.selectors.iter().any(|matchers| satisfies(rule, matchers)))
    }

    /// The group with the rules that are asked for; none if there are no such rules.
    fn wire_group(&self, group: &GroupSnapshot) -> Option<Group> {
        let accepted = group.rules.iter().filter(|rule| self.accepts_rule(rule));
        let rules: Vec<Rule> = accepted.map(|rule| wire_rule(rule, self.exclude_alerts)).collect();
        // A group without any such rule is left out, also one that has none at all.
        (!rules.is_empty()).then(|| Group {
            name: group.name.clone(),
            file: group.file.clone(),
            rules,
            interval: seconds(group.interval_ms),
            limit: group.limit,
            evaluation_time: Seconds(group.evaluation_time.as_secs_f64()),
            last_evaluation: time_or_never(group.last_evaluation),
        })
    }
}

fn satisfies(rule: &RuleSnapshot, matchers: &[Matcher]) -> bool {
    let value = |name: &str| rule.info.labels.get(name).map_or("", String::as_str);
    matchers.iter().all(|matcher| matcher.matches(value(matcher.name())))
}

impl PageOfGroups {
    fn of(params: &Params) -> Result<Option<Self>, ApiError> {
        let token = params.get("group_next_token").map(ToOwned::to_owned);
        let Some(limit) = params.get("group_limit") else {
            return match token {
                None => Ok(None),
                Some(_) => Err(ApiError::bad_parameter(
                    "group_next_token",
                    "group_limit needs to be present in order to paginate over the groups",
                )),
            };
        };
        let number = parse_int(limit).map_err(|fault| {
            let message = format!("group_limit needs to be a valid number: {fault}");
            ApiError::bad_parameter("group_limit", message)
        })?;
        let Some(most) = usize::try_from(number).ok().filter(|most| *most > 0) else {
            return Err(ApiError::bad_parameter("group_limit", "group_limit needs to be greater than 0"));
        };
        Ok(Some(Self { most, token }))
    }
}

/// Tells a group from others over several requests.
/// Source: Prometheus `web/api/v1/api.go`, `getRuleGroupNextToken`.
fn token_of(group: &GroupSnapshot) -> String {
    let digest = Sha256::digest(format!("{};{}", group.file, group.name));
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

pub(super) async fn rules(State(handles): State<Arc<Handles>>, params: Params) -> Result<Response, ApiError> {
    if !params.has_selectors() {
        return chosen(&handles, &params);
    }
    let slots = handles.query.clone();
    slots.work(move |_| chosen(&handles, &params)).await
}

/// The rules that are asked for.
fn chosen(handles: &Handles, params: &Params) -> Result<Response, ApiError> {
    let filter = Filter::of(params)?;
    let groups = handles.rules.snapshots();
    let mut groups = groups.as_slice();
    if let Some(PageOfGroups { token: Some(token), .. }) = &filter.page {
        let first = groups.iter().position(|group| token_of(group) == *token).ok_or_else(|| {
            let message = format!("invalid group_next_token '{token}'. were rule groups changed?");
            ApiError::bad_parameter("group_next_token", message)
        })?;
        groups = &groups[first..];
    }
    let most = filter.page.as_ref().map_or(usize::MAX, |page| page.most);
    let (mut shown, mut group_next_token) = (Vec::new(), None);
    for group in groups.iter().filter(|group| filter.accepts_group(group)) {
        let Some(wire) = filter.wire_group(group) else { continue };
        if shown.len() == most {
            group_next_token = Some(token_of(group));
            break;
        }
        shown.push(wire);
    }
    Ok(success(&Groups { groups: shown, group_next_token }))
}

pub(super) async fn alerts(State(handles): State<Arc<Handles>>) -> Response {
    let groups = handles.rules.snapshots();
    let alerts = groups.iter().flat_map(|group| &group.rules).flat_map(|rule| &rule.alerts).map(wire_alert);
    success(&Alerts { alerts: alerts.collect() })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alertmanagers {
    active_alertmanagers: Vec<Alertmanager>,
    dropped_alertmanagers: Vec<Alertmanager>,
}

#[derive(Serialize)]
struct Alertmanager {
    url: String,
}

pub(super) async fn alertmanagers(State(handles): State<Arc<Handles>>) -> Response {
    let urls = |urls: Vec<String>| urls.into_iter().map(|url| Alertmanager { url }).collect();
    success(&Alertmanagers {
        active_alertmanagers: urls(handles.notifier.alertmanagers()),
        dropped_alertmanagers: urls(handles.notifier.dropped_alertmanagers()),
    })
}

fn wire_rule(rule: &RuleSnapshot, exclude_alerts: bool) -> Rule {
    let info = &rule.info;
    let health = health_text(rule.health);
    let last_error = rule.last_error.clone().unwrap_or_default();
    let evaluation_time = Seconds(rule.evaluation_time.as_secs_f64());
    let last_evaluation = time_or_never(rule.last_evaluation);
    let Some(AlertingInfo { hold_ms, keep_firing_ms, annotations }) = &info.alerting else {
        return Rule::Recording(RecordingRule {
            name: info.name.clone(),
            query: info.query.clone(),
            labels: info.labels.clone(),
            health,
            last_error,
            evaluation_time,
            last_evaluation,
            kind: "recording",
        });
    };
    let alerts = (!exclude_alerts).then(|| rule.alerts.iter().map(wire_alert).collect());
    Rule::Alerting(AlertingRule {
        state: rule.state().map_or("unknown", state_text),
        name: info.name.clone(),
        query: info.query.clone(),
        duration: seconds(*hold_ms),
        keep_firing_for: seconds(*keep_firing_ms),
        labels: info.labels.clone(),
        annotations: annotations.clone(),
        alerts,
        health,
        last_error,
        evaluation_time,
        last_evaluation,
        kind: "alerting",
    })
}

fn wire_alert(alert: &AlertSnapshot) -> Alert {
    Alert {
        labels: alert.labels.to_map(),
        annotations: alert.annotations.to_map(),
        state: state_text(alert.state),
        active_at: rfc3339(alert.active_at),
        keep_firing_since: alert.keep_firing_since.map(rfc3339),
        value: exponent_value(alert.value),
    }
}

pub(super) fn state_text(state: AlertState) -> &'static str {
    match state {
        AlertState::Inactive => "inactive",
        AlertState::Pending => "pending",
        AlertState::Firing => "firing",
    }
}

pub(super) fn health_text(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Ok => "ok",
        Health::Err => "err",
    }
}

fn seconds(ms: i64) -> Seconds {
    Seconds(ms as f64 / 1000.0)
}

/// Go's zero time stands for "never".
pub(super) fn time_or_never(at: Option<TimestampMs>) -> String {
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339)
}
