//! Readiness as metrics: what `/metrics` shows and what rules can judge.

use std::collections::BTreeMap;

use super::cell::Cell;
use super::component::Kind;
use super::hysteresis::State;
use super::report::ReadinessReport;
use crate::model::{Labels, METRIC_NAME, Sample, TimestampMs};
use crate::probe::MetricMetadata;

/// One metric with all its current samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// `gauge`, `counter`, `histogram`, `summary` or `untyped`.
    pub metric_type: &'static str,
    /// What it means.
    pub help: String,
    /// What sort of component was the first to tell of it; none of readiness itself.
    pub kind: Option<Kind>,
    /// Its samples, each with the time at which its probe began.
    pub samples: Vec<Sample>,
}

/// Name, type and help of the metrics of readiness itself.
pub const METADATA: &[MetricMetadata] = &[
    (
        "valmis_ready",
        "gauge",
        "Whether every component is ready; absent until each has been probed once since the start.",
    ),
    ("valmis_component_ready", "gauge", "Whether the component is ready; absent until its first result."),
    ("valmis_component_state", "gauge", "1 for the state in which the component is, 0 for the others."),
    ("valmis_component_state_changes_total", "counter", "How many times the component's state has changed."),
    (
        "valmis_component_last_probe_timestamp_seconds",
        "gauge",
        "When the last finished probe of the component began.",
    ),
    ("valmis_component_probe_duration_seconds", "gauge", "How long the last finished probe took."),
    ("valmis_component_probe_age_seconds", "gauge", "How long ago the last finished probe ended."),
    (
        "valmis_component_series_dropped",
        "gauge",
        "How many series of the last probe were left out because the component told more than it may.",
    ),
];

/// The metrics of readiness itself. What is not known is absent: a restart must neither page (with a 0
/// before the first result) nor end a page (with a 1 before the slow ones have answered).
pub(super) fn gauges(report: &ReadinessReport, first_round_done: bool, at: TimestampMs) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut push = |labels: &Labels, name: &str, value: f64| {
        samples.push(Sample::new(labels.builder().set(METRIC_NAME, name).build(), at, value));
    };
    let mut judged = report.components.iter().filter(|component| component.last_probe.is_some()).peekable();
    if first_round_done && judged.peek().is_some() {
        let ready = judged.all(|component| component.state == State::Ready);
        push(&Labels::empty(), "valmis_ready", f64::from(ready));
    }
    for component in &report.components {
        let key = &component.key;
        let labels = Labels::from_pairs([("component", key.kind.as_str()), ("name", key.name.as_str())]);
        if component.last_probe.is_some() {
            push(&labels, "valmis_component_ready", f64::from(component.state == State::Ready));
        }
        for state in State::ALL {
            let labels = labels.builder().set("state", state.as_str()).build();
            push(&labels, "valmis_component_state", f64::from(component.state == state));
        }
        push(&labels, "valmis_component_state_changes_total", component.changes as f64);
        if let Some(last_probe) = component.last_probe {
            push(&labels, "valmis_component_series_dropped", component.dropped.series as f64);
            push(&labels, "valmis_component_last_probe_timestamp_seconds", last_probe as f64 / 1000.0);
        }
        if let Some(duration) = component.last_duration {
            push(&labels, "valmis_component_probe_duration_seconds", duration.as_secs_f64());
        }
        if let Some(age) = component.age {
            push(&labels, "valmis_component_probe_age_seconds", age.as_secs_f64());
        }
    }
    samples
}

fn describe_own(name: &str) -> Option<(&'static str, String)> {
    let found = METADATA.iter().find(|(described, ..)| *described == name);
    found.map(|(_, kind, help)| (*kind, (*help).to_owned()))
}

/// The ends of the names of a histogram's or a summary's samples; what is left is the family's name.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Groups samples into metrics, ordered by name.
pub(super) fn families<'a>(own: Vec<Sample>, cells: impl Iterator<Item = &'a Cell>) -> Vec<Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut add = |sample: Sample,
                   kind: Option<Kind>,
                   describe: &dyn Fn(&str) -> Option<(&'static str, String)>| {
        let name = sample.labels.metric_name();
        if let Some(family) = families.get_mut(name) {
            family.samples.push(sample);
            return;
        }
        let part = || {
            PARTS.iter().find_map(|part| {
                let whole = name.strip_suffix(part)?;
                let (metric_type, help) = describe(whole)?;
                matches!(metric_type, "histogram" | "summary").then_some((whole, metric_type, help))
            })
        };
        let described = describe(name).map(|(metric_type, help)| (name, metric_type, help));
        let (name, metric_type, help) = described.or_else(part).unwrap_or((name, "untyped", String::new()));
        let name = name.to_owned();
        let new = || Family { name: name.clone(), metric_type, help, kind, samples: Vec::new() };
        families.entry(name.clone()).or_insert_with(new).samples.push(sample);
    };
    for sample in own {
        add(sample, None, &describe_own);
    }
    for cell in cells {
        if let Some(latest) = cell.latest() {
            for sample in latest.samples.iter() {
                let component = &cell.component;
                add(sample.clone(), Some(component.key.kind), &|name| component.prober.describe(name));
            }
        }
    }
    families.into_values().collect()
}
