//! What is expected beside what came out. Pure: both sides become lines of text for people, and a verdict.

use std::collections::{BTreeMap, HashMap};

use super::file::{
    AlertTest, ExpectedAlert, ExpectedNotification, ExpectedSample, ExprTest, NotificationTest, State,
};
use super::histogram::format_histogram;
use super::simulate::Payload;
use crate::model::{ALERT_NAME, Labels, TimestampMs, format_duration_ms, format_float, quote};
use crate::promql::{InstantSample, Value};
use crate::rulefmt::is_instruction;
use crate::rules::Alert;
use crate::state::{AlertRecord, AlertState};

/// Two lists of lines that ought to be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What the test says.
    pub expected: Vec<String>,
    /// What came out.
    pub got: Vec<String>,
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floats {
    /// Whether neighbours count as the same.
    pub(super) fuzzy: bool,
}

impl Floats {
    /// Whether two numbers count as the same. As in promtool NaN is like nothing.
    /// Source: Prometheus 3.14 `cmd/promtool/unittest.go`, `compareFloat64`.
    fn same(self, one: f64, other: f64) -> bool {
        one == other || self.fuzzy && (one.next_down() == other || one.next_up() == other)
    }
}

fn state(record: &AlertRecord) -> State {
    match record.state {
        AlertState::Inactive => State::Resolved,
        AlertState::Pending => State::Pending,
        AlertState::Firing => State::Firing,
    }
}

/// Compares the alerts of a name with the expected ones; `start` is that of the test.
pub(super) fn alerts(
    test: &AlertTest,
    found: &[AlertRecord],
    start: TimestampMs,
    floats: Floats,
) -> Option<Difference> {
    let active = |labels: &BTreeMap<String, String>| {
        let mut same = found.iter().filter(|record| same_pairs(labels, &record.labels));
        same.any(|record| record.state != AlertState::Inactive)
    };
    let (absent, mut expected): (Vec<_>, Vec<_>) =
        test.expected.iter().partition(|alert| alert.state == State::Inactive);
    let inactive = absent.iter().all(|alert| !active(&alert.labels));
    expected.sort_by(|a, b| (&a.labels, &a.annotations).cmp(&(&b.labels, &b.annotations)));
    let asked = |record: &&AlertRecord| {
        let of_state = test.states.contains(&state(record));
        of_state || absent.iter().any(|alert| same_pairs(&alert.labels, &record.labels))
    };
    let mut got: Vec<&AlertRecord> = found.iter().filter(asked).collect();
    got.sort_by(|a, b| (&a.labels, &a.annotations).cmp(&(&b.labels, &b.annotations)));

    let same = |(expected, got): (&&ExpectedAlert, &&AlertRecord)| {
        expected.state == state(got)
            && same_pairs(&expected.labels, &got.labels)
            && same_annotations(&expected.annotations, &got.annotations)
            && expected.value.is_none_or(|value| floats.same(value, got.value))
            && expected.active_ms.is_none_or(|active_ms| start + active_ms == got.active_at)
    };
    let listed = got.iter().filter(|record| test.states.contains(&state(record)));
    let listed: Vec<&AlertRecord> = listed.copied().collect();
    if inactive && expected.len() == listed.len() && expected.iter().zip(&listed).all(same) {
        return None;
    }
    let shows_value = expected.iter().any(|alert| alert.value.is_some());
    let shows_time = expected.iter().any(|alert| alert.active_ms.is_some());
    let expected = expected.into_iter().chain(absent).flat_map(|alert| {
        describe_alert(
            alert.state,
            alert.labels.iter().map(as_strs),
            alert.annotations.iter().map(as_strs),
            alert.value,
            alert.active_ms,
        )
    });
    let got = got.iter().flat_map(|record| {
        describe_alert(
            state(record),
            record.labels.iter(),
            record.annotations.iter(),
            shows_value.then_some(record.value),
            shows_time.then_some(record.active_at - start),
        )
    });
    Some(Difference { expected: expected.collect(), got: got.collect() })
}

/// Compares the value of an expression with the expected one; `Err` if it is of no type that a test can
/// expect.
pub(super) fn samples(
    test: &ExprTest,
    value: Value,
    floats: Floats,
) -> Result<Option<Difference>, &'static str> {
    let found = match value {
        Value::Vector(samples) => samples,
        Value::Scalar { at, value } => vec![InstantSample::float(Labels::empty(), at, value)],
        Value::String { .. } | Value::Matrix(_) => return Err("rule result is not a vector or scalar"),
    };
    let got = found.into_iter().map(|sample| ExpectedSample {
        labels: sample.labels,
        value: sample.value,
        histogram: sample.histogram.map(|histogram| format_histogram(&histogram)),
    });
    let (mut expected, mut got) = (test.expected.clone(), got.collect::<Vec<_>>());
    expected.sort_by(|a, b| a.labels.cmp(&b.labels));
    got.sort_by(|a, b| a.labels.cmp(&b.labels));
    let same = |(expected, got): (&ExpectedSample, &ExpectedSample)| {
        expected.labels == got.labels
            && expected.histogram == got.histogram
            && floats.same(expected.value, got.value)
    };
    if expected.len() == got.len() && expected.iter().zip(&got).all(same) {
        return Ok(None);
    }
    let describe = |sample: &ExpectedSample| match &sample.histogram {
        Some(histogram) => format!("{} {histogram}", metric(&sample.labels)),
        None => format!("{} {}", metric(&sample.labels), format_float(sample.value)),
    };
    let [expected, got] = [expected, got].map(|samples| samples.iter().map(describe).collect());
    Ok(Some(Difference { expected, got }))
}

/// Compares what was handed over for Alertmanager with the expected sequence.
pub(super) fn notifications(
    test: &NotificationTest,
    payloads: &[Payload],
    start: TimestampMs,
) -> Option<Difference> {
    let payloads = relevant(test, payloads);
    let same = |expected: &ExpectedNotification, got: &Alert| {
        let instant = |expected: Option<i64>, got| expected.is_none_or(|ms| start + ms == got);
        expected.resolved == got.resolved
            && same_pairs(&expected.labels, &got.labels)
            && expected.annotations.as_ref().is_none_or(|texts| same_annotations(texts, &got.annotations))
            && instant(expected.starts_ms, got.starts_at)
            && instant(expected.ends_ms, got.ends_at)
    };
    let sorted: Vec<(i64, Vec<&ExpectedNotification>)> = test
        .payloads
        .iter()
        .map(|payload| {
            let mut alerts: Vec<_> = payload.alerts.iter().collect();
            alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
            (payload.at_ms, alerts)
        })
        .collect();
    let equal = sorted.len() == payloads.len()
        && sorted.iter().zip(&payloads).all(|((at_ms, expected), got)| {
            start + at_ms == got.at
                && expected.len() == got.alerts.len()
                && expected.iter().zip(&got.alerts).all(|(expected, got)| same(expected, got))
        });
    if equal {
        return None;
    }
    let all = || test.payloads.iter().flat_map(|payload| &payload.alerts);
    let shows_texts = all().any(|alert| alert.annotations.is_some());
    let shows_start = all().any(|alert| alert.starts_ms.is_some());
    let shows_end = all().any(|alert| alert.ends_ms.is_some());
    let expected = sorted.iter().flat_map(|(at_ms, alerts)| {
        let alerts = alerts.iter().flat_map(|alert| {
            let texts = alert.annotations.iter().flatten().map(as_strs);
            let labels = alert.labels.iter().map(as_strs);
            describe_notification(alert.resolved, labels, texts, alert.starts_ms, alert.ends_ms)
        });
        std::iter::once(format!("at {}", format_duration_ms(*at_ms))).chain(alerts)
    });
    let got = payloads.iter().flat_map(|payload| {
        let alerts = payload.alerts.iter().flat_map(|alert| {
            let texts = alert.annotations.iter().filter(|_| shows_texts);
            let instant = |shown: bool, at: TimestampMs| shown.then_some(at - start);
            let (starts, ends) = (instant(shows_start, alert.starts_at), instant(shows_end, alert.ends_at));
            describe_notification(alert.resolved, alert.labels.iter(), texts, starts, ends)
        });
        std::iter::once(format!("at {}", format_duration_ms(payload.at - start))).chain(alerts)
    });
    Some(Difference { expected: expected.collect(), got: got.collect() })
}

/// The payloads that a test is about, the alerts of each by labels.
fn relevant(test: &NotificationTest, payloads: &[Payload]) -> Vec<Payload> {
    let mut sent: HashMap<&Labels, (bool, TimestampMs)> = HashMap::new();
    let mut relevant = Vec::new();
    for payload in payloads {
        let mut alerts = Vec::new();
        for alert in &payload.alerts {
            let name = alert.labels.get(ALERT_NAME);
            if !test.alertnames.is_empty() && !test.alertnames.iter().any(|wanted| wanted == name) {
                continue;
            }
            let news = (alert.resolved, alert.starts_at);
            let repeated = sent.insert(&alert.labels, news) == Some(news);
            if test.resends || !repeated {
                alerts.push(alert.clone());
            }
        }
        alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
        if !alerts.is_empty() {
            relevant.push(Payload { at: payload.at, alerts });
        }
    }
    relevant
}

fn as_strs<'a>((name, value): (&'a String, &'a String)) -> (&'a str, &'a str) {
    (name, value)
}

/// Whether pairs as a test writes them are exactly those of a label set, which has none that is empty.
fn same_pairs(expected: &BTreeMap<String, String>, got: &Labels) -> bool {
    expected.iter().map(as_strs).eq(got.iter())
}

/// As [`same_pairs`], for texts: an empty one is none, and instructions, which promtool takes for texts, are
/// not looked at.
fn same_annotations(expected: &BTreeMap<String, String>, got: &Labels) -> bool {
    let sent = |(name, text): &(&str, &str)| !text.is_empty() && !is_instruction(name);
    expected.iter().map(as_strs).filter(sent).eq(got.iter())
}

/// `name{label="value"}`
pub(super) fn metric(labels: &Labels) -> String {
    let (name, rest) = (labels.metric_name(), labels.without_metric_name());
    if name.is_empty() || !rest.is_empty() { format!("{name}{rest}") } else { name.to_owned() }
}

fn braced<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<_> = labels.map(|(name, value)| format!("{name}={}", quote(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn described<'a>(
    head: String,
    facts: impl IntoIterator<Item = Option<String>>,
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<String> {
    let texts = annotations.map(|(name, text)| format!("  {name}: {}", quote(text)));
    let facts = facts.into_iter().flatten().map(|fact| format!("  {fact}"));
    std::iter::once(head).chain(facts).chain(texts).collect()
}

fn describe_alert<'a>(
    state: State,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
    value: Option<f64>,
    active_ms: Option<i64>,
) -> Vec<String> {
    let value = value.map(|value| format!("value {}", format_float(value)));
    let active = active_ms.map(|ms| format!("active at {}", format_duration_ms(ms)));
    described(format!("{state} {}", braced(labels)), [value, active], annotations)
}

fn describe_notification<'a>(
    resolved: bool,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
    starts_ms: Option<i64>,
    ends_ms: Option<i64>,
) -> Vec<String> {
    let state = if resolved { State::Resolved } else { State::Firing };
    let starts = starts_ms.map(|ms| format!("starts at {}", format_duration_ms(ms)));
    let ends = ends_ms.map(|ms| format!("ends at {}", format_duration_ms(ms)));
    let lines = described(format!("{state} {}", braced(labels)), [starts, ends], annotations);
    lines.into_iter().map(|line| format!("  {line}")).collect()
}
