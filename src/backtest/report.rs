//! Reports of backtests: for people and as JSON.

use std::fmt::Write;

use serde::Serialize;

use super::compare::Comparison;
use super::figures::{Figures, Noisy, RuleFigures, Spread, Verdict};
use super::incident::Incident;
use super::run::Outcome;
use crate::model::{ALERT_NAME, Labels, TimestampMs, format_duration_ms};

/// How many incidents of a comparison people are shown.
const SHOWN_INCIDENTS: usize = 20;

/// What came of a backtest, to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Report<'o>(pub &'o Outcome);

impl Report<'_> {
    /// For people.
    pub fn to_text(&self) -> String {
        let Outcome { since, until, warm_up_ms, wanted_warm_up_ms, samples, new, old } = self.0;
        let mut text = String::new();
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "{} to {} ({}), {samples} samples, {} evaluations of rules",
            instant(*since),
            instant(*until),
            format_duration_ms(until - since),
            new.evaluations
        );
        if warm_up_ms < wanted_warm_up_ms {
            let _ = writeln!(
                text,
                "rules look back at what rules record, or wait, for {}; only {} before were replayed, so the \
                 first alerts may be late or missing",
                format_duration_ms(*wanted_warm_up_ms),
                format_duration_ms(*warm_up_ms)
            );
        }
        if let Some((old, _)) = old {
            text.push_str("\nold rules\n");
            write_verdict(&mut text, old);
            text.push_str("\nnew rules\n");
        }
        write_verdict(&mut text, new);
        if let Some((_, comparison)) = old {
            text.push('\n');
            write_comparison(&mut text, comparison);
        }
        text
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
        let Outcome { since, until, warm_up_ms, wanted_warm_up_ms, samples, new, old } = self.0;
        let wire = Wire {
            since: instant(*since),
            until: instant(*until),
            warm_up_seconds: seconds(*warm_up_ms),
            wanted_warm_up_seconds: seconds(*wanted_warm_up_ms),
            samples: *samples,
            new: WireVerdict::new(new),
            old: old.as_ref().map(|(old, _)| WireVerdict::new(old)),
            comparison: old.as_ref().map(|(_, comparison)| WireComparison::new(comparison)),
        };
        serde_json::to_string_pretty(&wire).expect("texts and numbers are always JSON") + "\n"
    }
}

fn write_verdict(text: &mut String, verdict: &Verdict) {
    let _ = writeln!(
        text,
        "{:>9} {:>9} {:>6} {:>8} {:>10} {:>10} {:>12}  alert",
        "pages/day", "incidents", "flaps", "dropped", "pending", "firing", "to fire"
    );
    for rule in &verdict.rules {
        write_figures(text, &rule.figures, &rule.alert);
    }
    write_figures(text, &verdict.total, "all");
    if !verdict.noisiest.is_empty() {
        text.push_str("noisiest\n");
    }
    for Noisy { labels, incidents, flaps, firing_ms } in &verdict.noisiest {
        let firing = format_duration_ms(*firing_ms);
        let _ = writeln!(text, "  {incidents} incidents, {flaps} flaps, {firing}: {}", alert(labels));
    }
    for (group, rule, count, first) in &verdict.failures {
        let _ =
            writeln!(text, "rule `{rule}` of group `{group}` failed {count} times; the first time: {first}");
    }
    if verdict.left_out > 0 {
        let _ = writeln!(
            text,
            "{} more incidents are not in these numbers: there are too many",
            verdict.left_out
        );
    }
}

fn write_figures(text: &mut String, figures: &Figures, name: &str) {
    let to_fire = figures.time_to_fire.map_or_else(|| "-".to_owned(), |it| format_duration_ms(it.median_ms));
    let _ = write!(
        text,
        "{:>9.1} {:>9} {:>6} {:>8} {:>10} {:>10} {to_fire:>12}  {name}",
        figures.pages_per_day,
        figures.incidents,
        figures.flaps,
        figures.dropped,
        format_duration_ms(figures.pending_ms),
        format_duration_ms(figures.firing_ms),
    );
    if figures.firing_at_start > 0 {
        let _ = write!(text, " ({} fired before)", figures.firing_at_start);
    }
    if figures.firing_at_end > 0 {
        let _ = write!(text, " ({} fire still)", figures.firing_at_end);
    }
    text.push('\n');
}

fn write_comparison(text: &mut String, comparison: &Comparison) {
    let Comparison { in_both, only_old, only_new, delay } = comparison;
    let _ = writeln!(
        text,
        "{in_both} incidents in both, {} only in the old rules, {} only in the new rules",
        only_old.len(),
        only_new.len()
    );
    if let Some(delay) = delay {
        let _ = writeln!(
            text,
            "of those in both the new rules page later for {} and earlier for {}; {} in the middle",
            delay.later,
            delay.earlier,
            signed(delay.spread.median_ms)
        );
    }
    for (sign, incidents) in [('-', only_old), ('+', only_new)] {
        for incident in incidents.iter().take(SHOWN_INCIDENTS) {
            let end = incident.resolved_at.map_or_else(|| "the end".to_owned(), instant);
            let _ =
                writeln!(text, "{sign} {} to {end}: {}", instant(incident.fired_at), alert(&incident.labels));
        }
        if let Some(more) = incidents.len().checked_sub(SHOWN_INCIDENTS).filter(|more| *more > 0) {
            let _ = writeln!(text, "{sign} and {more} more");
        }
    }
}

/// `Name{label="value"}`
fn alert(labels: &Labels) -> String {
    format!("{}{}", labels.get(ALERT_NAME), labels.filtered(|name| name != ALERT_NAME))
}

fn signed(ms: i64) -> String {
    let text = format_duration_ms(ms.abs());
    if ms < 0 { format!("{text} earlier") } else { format!("{text} later") }
}

/// As RFC 3339 says.
fn instant(at: TimestampMs) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |at| at.to_string())
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[derive(Serialize)]
struct Wire<'o> {
    since: String,
    until: String,
    warm_up_seconds: f64,
    wanted_warm_up_seconds: f64,
    samples: u64,
    new: WireVerdict<'o>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<WireVerdict<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<WireComparison>,
}

#[derive(Serialize)]
struct WireVerdict<'o> {
    total: WireFigures,
    noisiest: Vec<WireNoisy>,
    rules: Vec<WireRule<'o>>,
    failures: Vec<WireFailure<'o>>,
    evaluations: u64,
    left_out: usize,
}

#[derive(Serialize)]
struct WireRule<'o> {
    file: &'o str,
    group: &'o str,
    alert: &'o str,
    #[serde(flatten)]
    figures: WireFigures,
    noisiest: Vec<WireNoisy>,
}

#[derive(Serialize)]
struct WireFailure<'o> {
    group: &'o str,
    rule: &'o str,
    count: u64,
    first: &'o str,
}

#[derive(Serialize)]
struct WireFigures {
    incidents: usize,
    pages_per_day: f64,
    flaps: usize,
    dropped: usize,
    firing_at_start: usize,
    firing_at_end: usize,
    pending_seconds: f64,
    firing_seconds: f64,
    time_to_fire_seconds: Option<WireSpread>,
}

#[derive(Serialize)]
struct WireSpread {
    min: f64,
    median: f64,
    max: f64,
}

#[derive(Serialize)]
struct WireNoisy {
    labels: WireLabels,
    incidents: usize,
    flaps: usize,
    firing_seconds: f64,
}

type WireLabels = std::collections::BTreeMap<String, String>;

#[derive(Serialize)]
struct WireIncident {
    labels: WireLabels,
    active_at: String,
    fired_at: String,
    resolved_at: Option<String>,
}

#[derive(Serialize)]
struct WireComparison {
    in_both: usize,
    only_old: Vec<WireIncident>,
    only_new: Vec<WireIncident>,
    later: usize,
    earlier: usize,
    delay_seconds: Option<WireSpread>,
}

impl<'o> WireVerdict<'o> {
    fn new(verdict: &'o Verdict) -> Self {
        let failures = verdict.failures.iter();
        Self {
            total: WireFigures::new(&verdict.total),
            noisiest: verdict.noisiest.iter().map(WireNoisy::new).collect(),
            rules: verdict.rules.iter().map(WireRule::new).collect(),
            failures: failures
                .map(|(group, rule, count, first)| WireFailure { group, rule, count: *count, first })
                .collect(),
            evaluations: verdict.evaluations,
            left_out: verdict.left_out,
        }
    }
}

impl<'o> WireRule<'o> {
    fn new(rule: &'o RuleFigures) -> Self {
        let RuleFigures { file, group, alert, figures, noisiest } = rule;
        let noisiest = noisiest.iter().map(WireNoisy::new).collect();
        Self { file, group, alert, figures: WireFigures::new(figures), noisiest }
    }
}

impl WireFigures {
    fn new(figures: &Figures) -> Self {
        Self {
            incidents: figures.incidents,
            pages_per_day: figures.pages_per_day,
            flaps: figures.flaps,
            dropped: figures.dropped,
            firing_at_start: figures.firing_at_start,
            firing_at_end: figures.firing_at_end,
            pending_seconds: seconds(figures.pending_ms),
            firing_seconds: seconds(figures.firing_ms),
            time_to_fire_seconds: figures.time_to_fire.map(WireSpread::new),
        }
    }
}

impl WireSpread {
    fn new(spread: Spread) -> Self {
        Self { min: seconds(spread.min_ms), median: seconds(spread.median_ms), max: seconds(spread.max_ms) }
    }
}

impl WireNoisy {
    fn new(noisy: &Noisy) -> Self {
        let Noisy { labels, incidents, flaps, firing_ms } = noisy;
        let firing_seconds = seconds(*firing_ms);
        Self { labels: wire_labels(labels), incidents: *incidents, flaps: *flaps, firing_seconds }
    }
}

impl WireIncident {
    fn new(incident: &Incident) -> Self {
        Self {
            labels: wire_labels(&incident.labels),
            active_at: instant(incident.active_at),
            fired_at: instant(incident.fired_at),
            resolved_at: incident.resolved_at.map(instant),
        }
    }
}

impl WireComparison {
    fn new(comparison: &Comparison) -> Self {
        let Comparison { in_both, only_old, only_new, delay } = comparison;
        Self {
            in_both: *in_both,
            only_old: only_old.iter().map(WireIncident::new).collect(),
            only_new: only_new.iter().map(WireIncident::new).collect(),
            later: delay.map_or(0, |delay| delay.later),
            earlier: delay.map_or(0, |delay| delay.earlier),
            delay_seconds: delay.map(|delay| WireSpread::new(delay.spread)),
        }
    }
}

fn wire_labels(labels: &Labels) -> WireLabels {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
