//! Reports of drills: for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::course::{Arrival, Outcome};
use crate::model::{ALERT_NAME, Labels};

/// For people.
pub fn to_text(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let name = outcome.labels.get(ALERT_NAME);
    let _ = writeln!(text, "{name}{}", outcome.labels.filtered(|label| label != ALERT_NAME));
    for arrival in &outcome.arrivals {
        let Arrival { alertmanager, seen_after, receivers, notified_after, working, .. } = arrival;
        let _ = writeln!(text, "{alertmanager}");
        if let Some(labels) = arrival.labels.as_ref().filter(|labels| **labels != outcome.labels) {
            let _ = writeln!(text, "  arrives as {labels}");
        }
        if let Some(after) = seen_after {
            let _ = writeln!(
                text,
                "  there after {}, fingerprint {}, for {}",
                seconds(*after),
                arrival.fingerprint,
                receivers.join(", ")
            );
        }
        if let Some(after) = notified_after {
            let _ = writeln!(text, "  notified after {} by {}", seconds(*after), working.join(", "));
        }
    }
    if let Some(after) = outcome.echoed_after {
        let _ = writeln!(text, "came back after {}", seconds(after));
    }
    for failure in &outcome.failures {
        let at = if failure.alertmanager.is_empty() { "" } else { " at " };
        let _ =
            writeln!(text, "FAILED {}{at}{}: {}", failure.stage.name(), failure.alertmanager, failure.what);
    }
    if outcome.passed() {
        text.push_str("the page got through\n");
    }
    text
}

/// One JSON object.
pub fn to_json(outcome: &Outcome) -> String {
    let wire = Wire {
        passed: outcome.passed(),
        labels: pairs(&outcome.labels),
        page_path_seconds: outcome.page_path().map(|took| took.as_secs_f64()),
        echoed_after_seconds: outcome.echoed_after.map(|took| took.as_secs_f64()),
        alertmanagers: outcome.arrivals.iter().map(WireArrival::new).collect(),
        failures: outcome
            .failures
            .iter()
            .map(|failure| WireFailure {
                stage: failure.stage.name(),
                alertmanager: &failure.alertmanager,
                what: &failure.what,
            })
            .collect(),
    };
    serde_json::to_string_pretty(&wire).expect("texts and numbers are always JSON") + "\n"
}

fn seconds(duration: Duration) -> String {
    format!("{:.2}s", duration.as_secs_f64())
}

type WireLabels = BTreeMap<String, String>;

#[derive(Serialize)]
struct Wire<'o> {
    passed: bool,
    labels: WireLabels,
    page_path_seconds: Option<f64>,
    echoed_after_seconds: Option<f64>,
    alertmanagers: Vec<WireArrival<'o>>,
    failures: Vec<WireFailure<'o>>,
}

#[derive(Serialize)]
struct WireArrival<'o> {
    url: &'o str,
    labels: Option<WireLabels>,
    fingerprint: &'o str,
    receivers: &'o [String],
    seen_after_seconds: Option<f64>,
    notified_after_seconds: Option<f64>,
    working_integrations: &'o [String],
    failing_integrations: &'o [String],
}

#[derive(Serialize)]
struct WireFailure<'o> {
    stage: &'static str,
    alertmanager: &'o str,
    what: &'o str,
}

impl<'o> WireArrival<'o> {
    fn new(arrival: &'o Arrival) -> Self {
        Self {
            url: &arrival.alertmanager,
            labels: arrival.labels.as_ref().map(pairs),
            fingerprint: &arrival.fingerprint,
            receivers: &arrival.receivers,
            seen_after_seconds: arrival.seen_after.map(|after| after.as_secs_f64()),
            notified_after_seconds: arrival.notified_after.map(|after| after.as_secs_f64()),
            working_integrations: &arrival.working,
            failing_integrations: &arrival.failing,
        }
    }
}

fn pairs(labels: &Labels) -> WireLabels {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
