//! Alerting rules: the state machine from inactive over pending to firing and back.
//!
//! Nothing here knows what time it is or does I/O: [`AlertingRule::step`] takes the result of an
//! evaluation and its instant, changes the alerts' state and says what follows from it.
//! Source of the behaviour: Prometheus 3.14 `rules/alerting.go`; where it differs, the comments say so
//! and docs/differences.md lists it.

use std::collections::BTreeMap;

use super::active::{ActiveAlert, ActiveAlerts};
use super::alert::Alert;
use super::error::RuleError;
use crate::model::{ALERT_NAME, Labels, METRIC_NAME, Sample, TimestampMs};
use crate::promql::Expr;
use crate::state::{AlertRecord, AlertState};

/// How long a resolved alert keeps being sent, in milliseconds. It lets the news of its end survive an
/// outage of Alertmanager. Source: Prometheus 3.14 `rules/alerting.go`, `resolvedRetention`.
pub const RESOLVED_RETENTION_MS: i64 = 15 * 60_000;

/// How many resend intervals may fail before Alertmanager takes an alert for resolved.
/// Source: Prometheus 3.14 `rules/alerting.go`, `sendAlerts`.
const VALID_INTERVALS: i64 = 4;

/// A gap between two evaluations of more than this many intervals is time in which nothing was
/// evaluated.
const GAP_INTERVALS: i64 = 2;

const ALERTS: &str = "ALERTS";
const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The names of the series that alerts are written as.
pub const ALERT_SERIES: [&str; 2] = [ALERTS, ALERTS_FOR_STATE];
const ALERT_STATE_LABEL: &str = "alertstate";

/// The label of the one alert that stands for those beyond the limit.
const OVER_LIMIT_LABEL: &str = "over_limit";

/// The annotation of an alert that is sent although its rule could not be evaluated.
const ERROR_ANNOTATION: &str = "evaluation_error";

/// A rule that makes alerts of the elements of its expression's result.
#[derive(Debug, Clone)]
pub struct AlertingRule {
    /// The alerts' name.
    pub name: String,
    /// The condition.
    pub expr: Expr,
    /// How long the condition must hold before an alert fires, in milliseconds.
    pub hold_ms: i64,
    /// How long an alert goes on firing after its condition ended, in milliseconds.
    pub keep_firing_ms: i64,
    /// How often the rule is evaluated, in milliseconds.
    pub interval_ms: i64,
    /// How long before an unchanged alert is sent again, in milliseconds.
    pub resend_delay_ms: i64,
    /// How far samples are dated before the evaluation, in milliseconds.
    pub query_offset_ms: i64,
    /// How many alerts there may be; 0 for any number.
    pub limit: usize,
    /// How long firing alerts go on being sent while the query fails, in milliseconds.
    pub error_hold_ms: i64,
    /// The labels that all of its alerts have: `alertname`, and those of the rule that are no templates.
    pub common_labels: Labels,
    /// Where the query can be looked at; empty if unknown.
    pub generator_url: String,
}

/// An element of the expression's result with the rule's labels and annotations.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What identifies the alert, `alertname` included.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: Labels,
    /// The element's value.
    pub value: f64,
}

/// What follows from an evaluation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// `ALERTS` and `ALERTS_FOR_STATE`.
    pub samples: Vec<Sample>,
    /// Alerts to deliver.
    pub alerts: Vec<Alert>,
    /// What is wrong nevertheless: more alerts than the limit.
    pub error: Option<RuleError>,
}

impl AlertingRule {
    /// Goes on from one evaluation to the next. `result` holds each label set at most once.
    pub fn step(&self, active: &mut ActiveAlerts, at: TimestampMs, result: &[Candidate]) -> Step {
        self.discount_gap(active, at);
        active.succeeded(at);
        let mut result: BTreeMap<&Labels, &Candidate> =
            result.iter().map(|found| (&found.labels, found)).collect();
        let (left_out, error) = self.leave_out(active, at, &mut result);
        let summary = self.summary(left_out);
        if left_out > 0 {
            result.insert(&summary.labels, &summary);
        }

        active.remove_if(|alert| {
            let expired = |resolved_at| at - resolved_at > RESOLVED_RETENTION_MS;
            alert.record.state == AlertState::Pending && !result.contains_key(&alert.record.labels)
                || alert.record.resolved_at.is_some_and(expired)
        });
        // An alert that ended and begins again is a new alert.
        let new: Vec<&Candidate> =
            result.values().copied().filter(|found| !active.is_active(&found.labels)).collect();
        for alert in active.alerts.values_mut() {
            match result.get(&alert.record.labels) {
                Some(found) if alert.is_active() => self.go_on(alert, at, found),
                _ => self.end(alert, at),
            }
        }
        for found in new {
            self.begin(active, at, found);
        }

        let samples = active.iter().filter(|alert| alert.is_active());
        let samples = samples.flat_map(|alert| self.samples(&alert.record, at)).collect();
        Step { samples, alerts: self.due(active, at), error }
    }

    /// What is to be sent when an evaluation has no result but `error`: whatever fires goes on firing,
    /// for [`error_hold_ms`](Self::error_hold_ms) and with the error among its annotations. Unlike in
    /// Prometheus, where Alertmanager takes the alerts for resolved after four intervals.
    pub fn hold(&self, active: &mut ActiveAlerts, at: TimestampMs, error: &RuleError) -> Vec<Alert> {
        if at - active.failing_since(at) > self.error_hold_ms {
            return Vec::new();
        }
        let mut due = self.due(active, at);
        for alert in due.iter_mut().filter(|alert| !alert.resolved) {
            let mut annotations = alert.annotations.builder();
            alert.annotations = annotations.set(ERROR_ANNOTATION, &error.to_string()).build();
        }
        due
    }

    /// Removes from the result what the limit leaves no room for, and returns how many elements that
    /// were, with the rule's error: alerts that are active stay, then come the first in the order of
    /// their labels. Unlike in Prometheus, too many alerts do not end all alerts of the rule.
    fn leave_out(
        &self,
        active: &ActiveAlerts,
        at: TimestampMs,
        result: &mut BTreeMap<&Labels, &Candidate>,
    ) -> (usize, Option<RuleError>) {
        let limit = self.limit;
        if limit == 0 {
            return (0, None);
        }
        let before = result.len();
        let goes_on = |alert: &&ActiveAlert| {
            // The summary is beside the limit.
            !alert.record.labels.has(OVER_LIMIT_LABEL)
                && alert.is_active()
                && (result.contains_key(&alert.record.labels) || self.is_kept(alert, at))
        };
        let mut count = active.iter().filter(goes_on).count();
        result.retain(|labels, _| {
            let goes_on = active.is_active(labels);
            count += usize::from(!goes_on);
            goes_on || count <= limit
        });
        let error = (count > limit).then_some(RuleError::AlertLimit { limit, count });
        (before - result.len(), error)
    }

    /// The alert that stands for those beyond the limit. It has the rule's own labels, so that it goes
    /// to whoever gets the rule's alerts.
    fn summary(&self, left_out: usize) -> Candidate {
        let Self { name, limit, common_labels, .. } = self;
        let text = format!("{left_out} more alerts {name} are not sent: the limit of their group is {limit}");
        Candidate {
            labels: common_labels.builder().set(OVER_LIMIT_LABEL, "true").build(),
            annotations: Labels::from_pairs([("summary", text)]),
            value: left_out as f64,
        }
    }

    /// Time in which nothing was evaluated is evidence of nothing: it counts neither towards the hold
    /// duration nor towards `keep_firing_for`. After a gap an alert needs as many evaluations as
    /// without it. A clock that was set back is treated alike; it must not undo what fires.
    fn discount_gap(&self, active: &mut ActiveAlerts, at: TimestampMs) {
        let Some(evaluated_at) = active.evaluated_at else { return };
        let elapsed = at - evaluated_at;
        let backwards = elapsed < 0;
        if !backwards && elapsed <= GAP_INTERVALS * self.interval_ms {
            return;
        }
        let missed = elapsed - self.interval_ms;
        for alert in active.alerts.values_mut() {
            let pending = alert.record.state == AlertState::Pending;
            if pending || backwards {
                alert.record.active_at += missed;
                alert.touch();
            }
            if let Some(since) = &mut alert.record.keep_firing_since {
                *since += missed;
                alert.touch();
            }
            if backwards {
                alert.last_sent_at = None;
            }
        }
    }

    /// The condition of a pending or firing alert still holds.
    fn go_on(&self, alert: &mut ActiveAlert, at: TimestampMs, found: &Candidate) {
        alert.reword(found.value, &found.annotations);
        if alert.record.keep_firing_since.take().is_some() {
            alert.touch();
        }
        self.fire_or_wait(alert, at);
    }

    /// The condition of an alert holds no more, or the alert has ended already.
    fn end(&self, alert: &mut ActiveAlert, at: TimestampMs) {
        if alert.record.state != AlertState::Firing {
            return;
        }
        if self.is_kept(alert, at) {
            if alert.record.keep_firing_since.is_none() {
                alert.record.keep_firing_since = Some(at);
                alert.touch();
            }
            self.fire_or_wait(alert, at);
            return;
        }
        alert.record.state = AlertState::Inactive;
        alert.record.resolved_at = Some(at);
        alert.record.keep_firing_since = None;
        alert.touch();
    }

    /// Whether `keep_firing_for` lets the alert fire without its condition.
    fn is_kept(&self, alert: &ActiveAlert, at: TimestampMs) -> bool {
        let since = alert.record.keep_firing_since.unwrap_or(at);
        alert.record.state == AlertState::Firing && at - since < self.keep_firing_ms
    }

    fn fire_or_wait(&self, alert: &mut ActiveAlert, at: TimestampMs) {
        let held = at - alert.record.active_at >= self.hold_ms;
        match alert.record.state {
            AlertState::Pending if held => {
                alert.record.state = AlertState::Firing;
                alert.record.fired_at = Some(at);
                alert.touch();
            }
            // The hold duration was raised.
            AlertState::Firing if !held => {
                alert.record.state = AlertState::Pending;
                alert.record.fired_at = None;
                alert.record.keep_firing_since = None;
                alert.last_sent_at = None;
                alert.touch();
            }
            _ => {}
        }
    }

    /// Begins an alert for an element that has none.
    fn begin(&self, active: &mut ActiveAlerts, at: TimestampMs, found: &Candidate) {
        let mut alert = ActiveAlert::new(AlertRecord {
            labels: found.labels.clone(),
            annotations: found.annotations.clone(),
            value: found.value,
            state: AlertState::Pending,
            active_at: at,
            fired_at: None,
            resolved_at: None,
            keep_firing_since: None,
        });
        self.fire_or_wait(&mut alert, at);
        active.insert(alert);
    }

    /// The series by which an alert can be queried.
    pub(super) fn samples(&self, alert: &AlertRecord, at: TimestampMs) -> [Sample; 2] {
        let at = at - self.query_offset_ms;
        let state = match alert.state {
            AlertState::Inactive => "inactive",
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
        };
        let mut labels = alert.labels.builder();
        labels.set(METRIC_NAME, ALERTS_FOR_STATE).set(ALERT_NAME, &self.name);
        let since = Sample::new(labels.build(), at, alert.active_at.div_euclid(1_000) as f64);
        labels.set(METRIC_NAME, ALERTS).set(ALERT_STATE_LABEL, state);
        [Sample::new(labels.build(), at, 1.0), since]
    }

    /// The alerts to send now: what was resolved since it was last sent, and what was last sent more
    /// than the resend delay ago.
    fn due(&self, active: &mut ActiveAlerts, at: TimestampMs) -> Vec<Alert> {
        let mut due = Vec::new();
        for alert in active.alerts.values_mut() {
            let AlertRecord { state, fired_at: Some(fired_at), resolved_at, .. } = alert.record else {
                continue;
            };
            let is_due = alert.last_sent_at.is_none_or(|sent_at| {
                resolved_at.is_some_and(|at| at > sent_at) || sent_at + self.resend_delay_ms < at
            });
            if state == AlertState::Pending || !is_due {
                continue;
            }
            alert.sent(at);
            let valid_until = at + VALID_INTERVALS * self.interval_ms.max(self.resend_delay_ms);
            due.push(Alert {
                labels: alert.record.labels.clone(),
                annotations: alert.record.annotations.clone(),
                starts_at: fired_at,
                ends_at: resolved_at.unwrap_or(valid_until),
                resolved: resolved_at.is_some(),
                generator_url: self.generator_url.clone(),
            });
        }
        due
    }
}

/// The address at which a query can be looked at, as Prometheus makes it; empty without an external
/// URL. Source: Prometheus 3.14 `util/strutil`, `TableLinkForExpression`.
pub(super) fn generator_url(external_url: &str, query: &str) -> String {
    if external_url.is_empty() {
        return String::new();
    }
    let escaped: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
    // Go leaves `~` as it is and escapes `*`; the standard for forms wants the opposite.
    let escaped = escaped.replace('*', "%2A").replace("%7E", "~");
    format!("{external_url}/graph?g0.expr={escaped}&g0.tab=1")
}

#[cfg(test)]
mod tests;
