//! Alerting rules: the state machine from inactive over pending to firing and back.
//!
//! Nothing here knows what time it is or does I/O: [`AlertingRule::step`] takes the result of an
//! evaluation and its instant, changes the alerts' state and says what follows from it.
//! Source of the behaviour: Prometheus 3.14 `rules/alerting.go`; where it differs, the comments say so
//! and docs/differences.md lists it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::active::{ActiveAlert, ActiveAlerts};
use super::alert::Alert;
use super::error::RuleError;
use super::evidence::Evidence;
use crate::model::{ALERT_NAME, Labels, METRIC_NAME, SEVERITY_LABEL, Sample, TimestampMs};
use crate::promql::Expr;
use crate::rulefmt::{Instructions, OnMissing};
use crate::state::{Absence, AlertRecord, AlertState, Severity};

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
pub(super) const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The names of the series that alerts are written as.
pub const ALERT_SERIES: [&str; 2] = [ALERTS, ALERTS_FOR_STATE];
const ALERT_STATE_LABEL: &str = "alertstate";

/// The label of the one alert that stands for those beyond the limit.
const OVER_LIMIT_LABEL: &str = "over_limit";

/// The label of the one alert that tells that a rule has no data.
const NO_DATA_LABEL: &str = "no_data";

/// How long series must be missing before that is told, unless an alert is held because of it: right
/// after a start nothing has been scraped yet. It is as long as a sample counts as the newest.
const NO_DATA_HOLD_MS: i64 = 5 * 60_000;

/// The annotation of an alert that is over only under this severity.
const SEVERITY_ANNOTATION: &str = "severity_changed";

/// The annotation of an alert that is sent although its rule could not be evaluated.
const ERROR_ANNOTATION: &str = "evaluation_error";

/// A rule that makes alerts of the elements of its expression's result.
#[derive(Debug, Clone)]
pub struct AlertingRule {
    /// The alerts' name.
    pub name: String,
    /// The condition.
    pub expr: Arc<Expr>,
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
    /// What its annotations tell to do otherwise than Prometheus does it.
    pub instructions: Instructions,
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

/// A firing alert that is not in the result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    /// Its labels.
    pub(super) labels: Labels,
    /// The last evaluation in whose result it was.
    pub(super) seen_at: TimestampMs,
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
    /// The alerts that there are, with the instant since which each is active, as of an evaluation at `at`.
    pub(super) fn active_since(
        &self,
        active: &ActiveAlerts,
        at: TimestampMs,
    ) -> HashMap<Labels, TimestampMs> {
        let missed = self.missed(active, at);
        let since = active.iter().filter(|alert| alert.is_active()).map(|alert| {
            let waits = alert.record.state == AlertState::Pending || missed < 0;
            (alert.record.labels.clone(), alert.record.active_at + if waits { missed } else { 0 })
        });
        since.collect()
    }

    /// The alerts that will end now unless there is evidence to the contrary.
    pub(super) fn ending(&self, active: &ActiveAlerts, at: TimestampMs, result: &[Candidate]) -> Vec<Ending> {
        let Some(evaluated_at) = active.evaluated_at else { return Vec::new() };
        let is_firing = |alert: &&ActiveAlert| {
            // If the clock was set back, how long an alert was kept is not known yet.
            let kept = at >= evaluated_at && self.is_kept(alert, at);
            let record = &alert.record;
            record.state == AlertState::Firing && !self.is_about_rule(&record.labels) && !kept
        };
        let mut firing = active.iter().filter(is_firing).peekable();
        if firing.peek().is_none() {
            return Vec::new();
        }
        let result: BTreeSet<&Labels> = result.iter().map(|found| &found.labels).collect();
        let absent = firing.filter(|alert| !result.contains(&alert.record.labels));
        let ending = absent.map(|alert| Ending {
            labels: alert.record.labels.clone(),
            seen_at: alert.record.absence.map_or(evaluated_at, |absence| absence.seen_at),
        });
        ending.collect()
    }

    /// Goes on from one evaluation to the next. `result` holds each label set at most once.
    pub fn step(
        &self,
        active: &mut ActiveAlerts,
        at: TimestampMs,
        result: &[Candidate],
        evidence: &Evidence,
    ) -> Step {
        self.discount_gap(active, at);
        let before = active.evaluated_at.unwrap_or(at);
        active.succeeded(at);
        let mut result: BTreeMap<&Labels, &Candidate> =
            result.iter().map(|found| (&found.labels, found)).collect();
        let (left_out, error) = self.leave_out(active, at, &mut result, evidence);
        let summary = self.summary(left_out);
        if left_out > 0 {
            result.insert(&summary.labels, &summary);
        }
        let held = active.iter().filter(|alert| self.is_held(alert, at, evidence)).count();
        let no_data = self.no_data(held, evidence);
        if let Some(no_data) = &no_data {
            result.insert(&no_data.labels, no_data);
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
                _ => self.end(alert, at, before, evidence),
            }
        }
        for found in new {
            self.begin(active, at, found);
        }
        if let Some(no_data) = no_data.filter(|_| held > 0)
            && let Some(alert) = active.alerts.get_mut(&no_data.labels)
        {
            // It goes on with what fires already.
            let since = at - self.hold_of(&no_data.labels);
            if alert.record.active_at > since {
                alert.record.active_at = since;
                alert.touch();
            }
            self.fire_or_wait(alert, at);
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
        evidence: &Evidence,
    ) -> (usize, Option<RuleError>) {
        let limit = self.limit;
        if limit == 0 {
            return (0, None);
        }
        let before = result.len();
        let goes_on = |alert: &&ActiveAlert| {
            // What is said about the rule itself is beside the limit.
            let has_reason =
                result.contains_key(&alert.record.labels) || self.goes_on_without_result(alert, at, evidence);
            alert.is_active() && has_reason && !self.is_about_rule(&alert.record.labels)
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

    /// Whether an alert is about its rule instead of an element of the result.
    fn is_about_rule(&self, labels: &Labels) -> bool {
        labels.has(OVER_LIMIT_LABEL) || self.is_no_data(labels)
    }

    fn is_no_data(&self, labels: &Labels) -> bool {
        matches!(self.instructions.on_missing, Some(OnMissing::Hold { alert: true, .. }))
            && labels.has(NO_DATA_LABEL)
    }

    /// The alert that tells that there are no data, because of which `held` alerts go on firing. It has
    /// the rule's own labels, so that it goes to whoever gets the rule's alerts.
    fn no_data(&self, held: usize, evidence: &Evidence) -> Option<Candidate> {
        let Some(OnMissing::Hold { alert: true, .. }) = self.instructions.on_missing else { return None };
        if held == 0 && evidence.silent.is_empty() {
            return None;
        }
        let inputs: BTreeSet<&String> = evidence.missing.values().chain(&evidence.silent).collect();
        let inputs: Vec<&str> = inputs.into_iter().map(String::as_str).collect();
        let text = format!("{} cannot be judged: there are no samples of {}", self.name, inputs.join(", "));
        Some(Candidate {
            labels: self.common_labels.builder().set(NO_DATA_LABEL, "true").build(),
            annotations: Labels::from_pairs([("summary", text)]),
            value: inputs.len() as f64,
        })
    }

    /// How long the condition of an alert must hold.
    fn hold_of(&self, labels: &Labels) -> i64 {
        if self.is_no_data(labels) { self.hold_ms.max(NO_DATA_HOLD_MS) } else { self.hold_ms }
    }

    /// Time in which nothing was evaluated is evidence of nothing: it counts neither towards the hold
    /// duration nor towards `keep_firing_for`. After a gap an alert needs as many evaluations as
    /// without it. A clock that was set back is treated alike; it must not undo what fires.
    fn discount_gap(&self, active: &mut ActiveAlerts, at: TimestampMs) {
        let missed = self.missed(active, at);
        if missed == 0 {
            return;
        }
        let backwards = missed < 0;
        for alert in active.alerts.values_mut() {
            let pending = alert.record.state == AlertState::Pending;
            if backwards {
                alert.shift(missed);
                continue;
            }
            if pending {
                alert.record.active_at += missed;
                alert.touch();
            }
            let missing = alert.record.absence.as_mut().and_then(|absence| absence.missing_since.as_mut());
            let mut shifted = false;
            for since in alert.record.keep_firing_since.iter_mut().chain(missing) {
                *since += missed;
                shifted = true;
            }
            if shifted {
                alert.touch();
            }
        }
    }

    /// How much of the time since the last evaluation does not count, in milliseconds; negative if the clock
    /// was set back.
    fn missed(&self, active: &ActiveAlerts, at: TimestampMs) -> i64 {
        let elapsed = active.evaluated_at.map_or(0, |evaluated_at| at - evaluated_at);
        let regular = (0..=GAP_INTERVALS * self.interval_ms).contains(&elapsed);
        if regular { 0 } else { elapsed - self.interval_ms }
    }

    /// The condition of a pending or firing alert still holds.
    fn go_on(&self, alert: &mut ActiveAlert, at: TimestampMs, found: &Candidate) {
        alert.reword(found.value, &found.annotations);
        if alert.record.keep_firing_since.take().is_some() {
            alert.touch();
        }
        if alert.record.absence.take().is_some() {
            alert.touch();
        }
        alert.lacks(None);
        self.judge(alert, at, found.value);
        self.fire_or_wait(alert, at);
    }

    /// The condition of an alert holds no more, or the alert has ended already.
    /// `before` is the evaluation before this one.
    fn end(&self, alert: &mut ActiveAlert, at: TimestampMs, before: TimestampMs, evidence: &Evidence) {
        if alert.record.state != AlertState::Firing {
            return;
        }
        let held = self.is_held(alert, at, evidence);
        if self.goes_on_without_result(alert, at, evidence) {
            let absence = alert.record.absence;
            let Absence { seen_at, missing_since } =
                absence.unwrap_or(Absence { seen_at: before, missing_since: None });
            let missing_since = held.then(|| missing_since.unwrap_or(at));
            alert.record.absence = Some(Absence { seen_at, missing_since });
            if self.keep_firing_ms > 0 {
                alert.record.keep_firing_since.get_or_insert(at);
            }
            if alert.record.absence != absence {
                alert.touch();
            }
            alert.lacks(evidence.missing.get(&alert.record.labels).filter(|_| held).cloned());
            self.fire_or_wait(alert, at);
            return;
        }
        if let Some(annotations) = evidence.farewells.get(&alert.record.labels) {
            alert.record.annotations = annotations.clone();
        }
        alert.record.state = AlertState::Inactive;
        alert.record.resolved_at = Some(at);
        alert.record.keep_firing_since = None;
        alert.record.absence = None;
        alert.lacks(None);
        alert.touch();
    }

    /// Whether an alert that is not in the result goes on firing.
    pub(super) fn goes_on_without_result(
        &self,
        alert: &ActiveAlert,
        at: TimestampMs,
        evidence: &Evidence,
    ) -> bool {
        let record = &alert.record;
        let unrecovered = record.state == AlertState::Firing && evidence.unrecovered.contains(&record.labels);
        self.is_kept(alert, at) || self.is_held(alert, at, evidence) || unrecovered
    }

    /// Whether an alert that is not in the result goes on firing because the series are gone that it came
    /// from.
    fn is_held(&self, alert: &ActiveAlert, at: TimestampMs, evidence: &Evidence) -> bool {
        let Some(OnMissing::Hold { for_ms, .. }) = self.instructions.on_missing else { return false };
        let record = &alert.record;
        let since = record.absence.and_then(|absence| absence.missing_since).unwrap_or(at);
        record.state == AlertState::Firing
            && evidence.missing.contains_key(&record.labels)
            && at - since < for_ms.unwrap_or(self.error_hold_ms)
    }

    /// Whether `keep_firing_for` lets the alert fire without its condition.
    fn is_kept(&self, alert: &ActiveAlert, at: TimestampMs) -> bool {
        let since = alert.record.keep_firing_since.unwrap_or(at);
        alert.record.state == AlertState::Firing && at - since < self.keep_firing_ms
    }

    fn fire_or_wait(&self, alert: &mut ActiveAlert, at: TimestampMs) {
        let held = at - alert.record.active_at >= self.hold_of(&alert.record.labels);
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

    /// Finds the severity of an alert by its value. A worse one holds at once, a lower one when the value has
    /// called for it for as long as alerts go on firing without their condition.
    fn judge(&self, alert: &mut ActiveAlert, at: TimestampMs, value: f64) {
        let record = &mut alert.record;
        let Some(severities) =
            self.instructions.severities.as_ref().filter(|_| !self.is_about_rule(&record.labels))
        else {
            record.severity = None;
            return;
        };
        let wanted = severities.at(value).unwrap_or_else(|| record.labels.get(SEVERITY_LABEL)).to_owned();
        let fires = record.state == AlertState::Firing;
        let before = record.severity.clone();
        let severity = record.severity.get_or_insert_with(|| Severity {
            current: wanted.clone(),
            lower_since: None,
            former: Vec::new(),
        });
        severity.former.retain(|(_, ended_at)| at - ended_at <= RESOLVED_RETENTION_MS);
        let lower = severities.rank(&wanted) < severities.rank(&severity.current);
        let lower_since = lower.then(|| severity.lower_since.unwrap_or(at));
        severity.lower_since = lower_since;
        let waits = lower_since.is_some_and(|since| fires && at - since < self.keep_firing_ms);
        if wanted != severity.current && !waits {
            let former = std::mem::replace(&mut severity.current, wanted);
            severity.lower_since = None;
            severity.former.retain(|(before, _)| *before != severity.current);
            if fires {
                severity.former.push((former, at));
                alert.last_sent_at = None;
            }
        }
        if alert.record.severity != before {
            alert.touch();
        }
    }

    /// Begins an alert for an element that has none.
    fn begin(&self, active: &mut ActiveAlerts, at: TimestampMs, found: &Candidate) {
        let mut alert = ActiveAlert::new(Self::new_record(at, found));
        self.judge(&mut alert, at, found.value);
        self.fire_or_wait(&mut alert, at);
        active.insert(alert);
    }

    /// An alert whose condition holds since now.
    pub(super) fn new_record(at: TimestampMs, found: &Candidate) -> AlertRecord {
        AlertRecord {
            labels: found.labels.clone(),
            annotations: found.annotations.clone(),
            value: found.value,
            state: AlertState::Pending,
            active_at: at,
            fired_at: None,
            resolved_at: None,
            keep_firing_since: None,
            absence: None,
            severity: None,
        }
    }

    /// The series by which an alert can be queried.
    pub(super) fn samples(&self, alert: &AlertRecord, at: TimestampMs) -> [Sample; 2] {
        let at = at - self.query_offset_ms;
        let state = match alert.state {
            AlertState::Inactive => "inactive",
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
        };
        let mut labels = alert.shown_labels().builder();
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
            // While nothing is evaluated because the clock was set back, all instants are still in the future.
            let is_due = alert.last_sent_at.is_none_or(|sent_at| {
                let ended = resolved_at.is_some_and(|resolved_at| sent_at < resolved_at && resolved_at <= at);
                ended || sent_at > at || sent_at + self.resend_delay_ms < at
            });
            if state == AlertState::Pending || !is_due {
                continue;
            }
            alert.sent(at);
            let valid_until = at + VALID_INTERVALS * self.interval_ms.max(self.resend_delay_ms);
            let resolved_at = resolved_at.map(|resolved_at| resolved_at.min(at));
            let new = due.len();
            due.push(Alert {
                labels: alert.record.shown_labels(),
                annotations: alert.marked_annotations(),
                starts_at: fired_at.min(at),
                ends_at: resolved_at.unwrap_or(valid_until),
                resolved: resolved_at.is_some(),
                generator_url: self.generator_url.clone(),
            });
            let former = due[new].clone();
            due.extend(superseded(&alert.record, &former, at));
        }
        due
    }
}

/// The alert under the severities that it had before, as Alertmanager is to know it: over. For it labels are
/// identity, and of two severities only one is to be paged about.
fn superseded(record: &AlertRecord, alert: &Alert, at: TimestampMs) -> Vec<Alert> {
    let Some(severity) = &record.severity else { return Vec::new() };
    let text = format!("the severity is {} now", severity.current);
    let recent = severity.former.iter().filter(|(_, ended_at)| at - ended_at <= RESOLVED_RETENTION_MS);
    let former = recent.map(|(former, ended_at)| Alert {
        labels: record.labels_at(former),
        annotations: alert.annotations.with(SEVERITY_ANNOTATION, &text),
        ends_at: at.min(*ended_at),
        resolved: true,
        ..alert.clone()
    });
    former.collect()
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
