//! What has happened to alerts, and why: one plain view for the page, the API and the command line.

use std::collections::BTreeMap;
use std::fmt::Write;

use askama::Template;
use serde::{Deserialize, Serialize};

use super::time::clock_time;
use crate::model::{ALERT_NAME, Labels, METRIC_NAME, TimestampMs, format_duration_ms, format_float};
use crate::state::{Evidence, LedgerEntry, Phase};

/// Entries of the ledger, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LedgerView {
    /// The entries.
    pub entries: Vec<EntryView>,
}

/// Something that has happened to an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryView {
    /// When, in milliseconds since the epoch.
    pub at_ms: TimestampMs,
    /// When, for people.
    pub at: String,
    /// The alert's name.
    pub alert: String,
    /// What identifies the alert at Alertmanager, unless relabelling changes its labels.
    pub fingerprint: String,
    /// The alert's other labels.
    pub labels: BTreeMap<String, String>,
    /// The phase before, empty for a new alert.
    pub from: String,
    /// The phase since.
    pub to: String,
    /// What it means, in a sentence.
    pub why: String,
    /// The expression's value.
    pub value: String,
    /// Since when the condition held, for people.
    pub active_at: String,
    /// The expression.
    pub expr: String,
    /// The rule file.
    pub file: String,
    /// The line in it at which the rule began.
    pub line: usize,
    /// The group.
    pub group: String,
    /// Which version of the rule it was.
    pub rule_version: String,
    /// What the selectors of the expression found; none if that was not looked at.
    pub evidence: Option<Vec<EvidenceView>>,
}

/// What a selector found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceView {
    /// The selector.
    pub selector: String,
    /// The series that it found and their newest values, the largest first.
    pub samples: Vec<SampleView>,
    /// Whether there were more.
    pub more: bool,
}

/// A sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleView {
    /// Its series.
    pub series: String,
    /// Its value.
    pub value: String,
}

impl LedgerView {
    /// What is seen of these entries.
    pub fn new(entries: &[LedgerEntry]) -> Self {
        Self { entries: entries.iter().map(EntryView::new).collect() }
    }

    /// For people at a terminal.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            entry.write(&mut text);
        }
        text
    }
}

impl EntryView {
    fn new(entry: &LedgerEntry) -> Self {
        let LedgerEntry { key, rule, transition } = entry;
        let labels = transition.shown_labels();
        let others = labels.iter().filter(|(name, _)| *name != ALERT_NAME);
        Self {
            at_ms: transition.at,
            at: clock_time(transition.at),
            alert: entry.alert().to_owned(),
            fingerprint: format!("{:016x}", entry.fingerprint()),
            labels: others.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            from: transition.from.map_or("", Phase::name).to_owned(),
            to: transition.to.name().to_owned(),
            why: why(entry),
            value: format_float(transition.value),
            active_at: clock_time(transition.active_at),
            expr: rule.expr.clone(),
            file: key.file.clone(),
            line: rule.place.line,
            group: key.group.clone(),
            rule_version: rule.version.clone(),
            evidence: transition.evidence.as_ref().map(|all| all.iter().map(EvidenceView::new).collect()),
        }
    }

    /// The alert with its labels.
    fn name(&self) -> String {
        series(&Labels::from_pairs(&self.labels).with(METRIC_NAME, &self.alert))
    }

    /// How the phase changed.
    fn step(&self) -> String {
        if self.from.is_empty() { self.to.clone() } else { format!("{} -> {}", self.from, self.to) }
    }

    fn write(&self, text: &mut String) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "{}  {}  {}  {}", self.at, self.step(), self.name(), self.fingerprint);
        let _ = writeln!(text, "  {}", self.why);
        let _ = writeln!(text, "  value {} of {}", self.value, self.expr);
        let Self { file, line, group, rule_version, .. } = self;
        let _ = writeln!(text, "  {file}:{line}, group {group}, version {rule_version}");
        for evidence in self.evidence.iter().flatten() {
            let none = if evidence.samples.is_empty() { ": no series" } else { "" };
            let _ = writeln!(text, "  {}{none}", evidence.selector);
            for sample in &evidence.samples {
                let _ = writeln!(text, "    {} = {}", sample.series, sample.value);
            }
            if evidence.more {
                text.push_str("    and more\n");
            }
        }
    }
}

impl EvidenceView {
    fn new(evidence: &Evidence) -> Self {
        let samples = evidence
            .inputs
            .iter()
            .map(|input| SampleView { series: series(&input.labels), value: format_float(input.value) });
        Self { selector: evidence.selector.clone(), samples: samples.collect(), more: evidence.more }
    }
}

/// A series as it is written in a query.
fn series(labels: &Labels) -> String {
    match (labels.metric_name(), labels.without_metric_name()) {
        (name, others) if others.is_empty() => name.to_owned(),
        (name, others) => format!("{name}{others}"),
    }
}

/// What a step means.
fn why(entry: &LedgerEntry) -> String {
    let step = &entry.transition;
    let held = format_duration_ms(step.at - step.active_at);
    let since = clock_time(step.active_at);
    match (step.from, step.to) {
        (_, Phase::Pending) => "the condition holds, not yet for as long as `for` demands".to_owned(),
        (Some(Phase::Kept), Phase::Firing) => "the condition holds again".to_owned(),
        (Some(Phase::Held), Phase::Firing) => {
            "the rule can be evaluated again, and the condition holds".to_owned()
        }
        (Some(Phase::Firing), Phase::Firing) => {
            let severity = step.severity.as_deref().unwrap_or("not known");
            format!("the value calls for another severity: it is now {severity}")
        }
        (_, Phase::Firing) if step.at == step.active_at => "the condition holds".to_owned(),
        (_, Phase::Firing) => format!("the condition has held for {held}, since {since}"),
        (_, Phase::Kept) => {
            "the condition has ended; `keep_firing_for` or what is awaited for the end keeps the alert firing"
                .to_owned()
        }
        (_, Phase::Held) => {
            let error = step.error.as_deref().unwrap_or("why is not known");
            format!("the rule says nothing about the alert, which does not resolve it: {error}")
        }
        (_, Phase::Resolved) => format!("the condition has ended; it had held since {since}"),
        (_, Phase::Dropped) => format!("the condition ended after {held}, too soon for `for`"),
    }
}

#[derive(Template)]
#[template(path = "ledger.html")]
struct LedgerPage<'a> {
    view: &'a LedgerView,
    /// Whether the page is about one alert.
    filtered: bool,
}

/// Renders the page.
pub fn ledger(view: &LedgerView, filtered: bool) -> String {
    LedgerPage { view, filtered }.render().expect("rendering to a String cannot fail")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::LineColumn;
    use crate::state::{Input, RuleKey, RuleVersion, Transition};

    fn entry(from: Option<Phase>, to: Phase, at: TimestampMs) -> LedgerEntry {
        let labels = Labels::from_pairs([("alertname", "Down"), ("job", "<b>")]);
        let input = Input { labels: Labels::from_pairs([("__name__", "up"), ("job", "<b>")]), value: 0.0 };
        LedgerEntry {
            key: Arc::new(RuleKey {
                file: "rules.yml".to_owned(),
                group: "g".to_owned(),
                rule: "Down".to_owned(),
                labels: String::new(),
                ordinal: 0,
            }),
            rule: Arc::new(RuleVersion {
                expr: "up == 0".to_owned(),
                version: "00ff".to_owned(),
                place: LineColumn { line: 7, column: 9 },
                external_labels: Labels::empty(),
            }),
            transition: Transition {
                at,
                from,
                to,
                labels,
                severity: None,
                value: f64::NAN,
                active_at: 60_000,
                error: Some("boom".to_owned()),
                evidence: Some(vec![
                    Evidence { selector: "up".to_owned(), inputs: vec![input], more: true },
                    Evidence { selector: "gone".to_owned(), inputs: vec![], more: false },
                ]),
            },
        }
    }

    #[test]
    fn an_entry_says_what_happened_and_by_what_it_was_decided() {
        let entries = [entry(Some(Phase::Pending), Phase::Firing, 180_000)];
        insta::assert_snapshot!(LedgerView::new(&entries).to_text(), @r#"
        1970-01-01 00:03:00 UTC  pending -> firing  Down{job="<b>"}  1cd4cbbcfa61f9f9
          the condition has held for 2m, since 1970-01-01 00:01:00 UTC
          value NaN of up == 0
          rules.yml:7, group g, version 00ff
          up
            up{job="<b>"} = 0
            and more
          gone: no series
        "#);
    }

    #[test]
    fn every_step_has_a_reason() {
        let check = |from, to, expected: &str| {
            let reason = why(&entry(from, to, 120_000));
            assert!(reason.contains(expected), "{from:?} {to:?}: {reason}");
        };
        check(None, Phase::Pending, "not yet");
        check(None, Phase::Firing, "held for 1m");
        check(Some(Phase::Kept), Phase::Firing, "holds again");
        check(Some(Phase::Held), Phase::Firing, "evaluated again");
        check(Some(Phase::Firing), Phase::Firing, "severity");
        check(Some(Phase::Firing), Phase::Kept, "keep_firing_for");
        check(Some(Phase::Firing), Phase::Held, "boom");
        check(Some(Phase::Firing), Phase::Resolved, "ended");
        check(Some(Phase::Pending), Phase::Dropped, "after 1m");
    }

    #[test]
    fn the_page_shows_the_same_without_markup_of_labels() {
        let html = ledger(&LedgerView::new(&[entry(None, Phase::Pending, 60_000)]), true);
        for expected in ["Down", "pending", "up == 0", "&#60;b&#62;", "no series", "/ledger?fingerprint="] {
            assert!(html.contains(expected), "no `{expected}` in {html}");
        }
        assert!(ledger(&LedgerView::default(), false).contains("Nothing has happened"));
    }

    #[test]
    fn the_view_survives_the_way_over_the_api() {
        let view = LedgerView::new(&[entry(None, Phase::Pending, 60_000)]);
        let text = serde_json::to_string(&view).expect("JSON");
        assert_eq!(serde_json::from_str::<LedgerView>(&text).expect("a view"), view);
    }
}
