//! What a set of rules would have done, in numbers.

use std::collections::{BTreeMap, HashMap};

use super::incident::{Incident, Incidents};
use super::replay::Failure;
use super::run::Settings;
use crate::model::{Labels, TimestampMs};

/// What a set of rules would have done.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// All rules together.
    pub total: Figures,
    /// The label sets with the most incidents, over all rules.
    pub noisiest: Vec<Noisy>,
    /// Each alerting rule, in the order of the files.
    pub rules: Vec<RuleFigures>,
    /// Recording rules whose evaluation failed, and alerting rules too: group, name, how often, and what was
    /// said the first time.
    pub failures: Vec<(String, String, u64, String)>,
    /// How many rules were evaluated how often.
    pub evaluations: u64,
    /// Incidents that were counted and not kept: there were too many.
    pub left_out: usize,
}

/// What a rule would have done.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleFigures {
    /// The file.
    pub file: String,
    /// The group.
    pub group: String,
    /// The alert's name.
    pub alert: String,
    /// The numbers.
    pub figures: Figures,
    /// Its label sets with the most incidents.
    pub noisiest: Vec<Noisy>,
}

/// Numbers about alerts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// How often an alert began to fire.
    pub incidents: usize,
    /// That, for each day.
    pub pages_per_day: f64,
    /// How many of them began shortly after the same alert was resolved.
    pub flaps: usize,
    /// How often a condition held and ended before its alert fired.
    pub dropped: usize,
    /// How many alerts fired already when the time of interest began.
    pub firing_at_start: usize,
    /// How many fire at its end.
    pub firing_at_end: usize,
    /// For how long alerts were pending, all added up, in milliseconds.
    pub pending_ms: i64,
    /// For how long alerts fired, all added up, in milliseconds.
    pub firing_ms: i64,
    /// How long it took from the condition's first being true to the page, in milliseconds.
    pub time_to_fire: Option<Spread>,
}

/// The smallest, the middle and the largest of some lengths of time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// The smallest.
    pub min_ms: i64,
    /// The middle one; the later of two.
    pub median_ms: i64,
    /// The largest.
    pub max_ms: i64,
}

impl Spread {
    /// The spread of these values, if there are any.
    pub(super) fn of(mut all: Vec<i64>) -> Option<Self> {
        all.sort_unstable();
        Some(Self { min_ms: *all.first()?, median_ms: all[all.len() / 2], max_ms: *all.last()? })
    }
}

/// An alert with its incidents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noisy {
    /// Its labels, `alertname` included.
    pub labels: Labels,
    /// How often it began to fire.
    pub incidents: usize,
    /// How many of these were flaps.
    pub flaps: usize,
    /// For how long it fired, in milliseconds.
    pub firing_ms: i64,
}

/// The time of interest.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: TimestampMs,
    until: TimestampMs,
}

impl Window {
    /// How much of a time lies in it.
    fn clip(self, from: TimestampMs, to: TimestampMs) -> i64 {
        (to.min(self.until) - from.max(self.since)).max(0)
    }

    fn days(self) -> f64 {
        (self.until - self.since).max(1) as f64 / 86_400_000.0
    }
}

/// What became of a set of rules, in numbers.
pub(super) fn figures(
    incidents: &Incidents,
    failures: &BTreeMap<(String, String), Failure>,
    evaluations: u64,
    settings: &Settings,
) -> Verdict {
    let window = Window { since: settings.since, until: settings.until };
    let numbers = |wanted: Option<usize>| {
        let about = |rule: usize| wanted.is_none_or(|wanted| wanted == rule);
        let own: Vec<_> = incidents.all.iter().filter(|incident| about(incident.rule)).collect();
        let waits = || incidents.waits.iter().filter(|wait| about(wait.rule));
        let dropped = waits().filter(|wait| wait.dropped && wait.ended_at >= window.since).count();
        let pending_ms = waits().map(|wait| window.clip(wait.began_at, wait.ended_at)).sum();
        (count(&own, pending_ms, dropped, window), noisiest(&own, window, settings.top))
    };
    let (total, noisiest) = numbers(None);
    let rules = incidents.rules.iter().enumerate().map(|(place, key)| {
        let (figures, noisiest) = numbers(Some(place));
        let (file, group, alert) = (key.file.clone(), key.group.clone(), key.rule.clone());
        RuleFigures { file, group, alert, figures, noisiest }
    });
    let failures = failures
        .iter()
        .map(|((group, rule), failure)| (group.clone(), rule.clone(), failure.count, failure.first.clone()));
    Verdict {
        total,
        noisiest,
        rules: rules.collect(),
        failures: failures.collect(),
        evaluations,
        left_out: incidents.left_out,
    }
}

fn count(all: &[&Incident], pending_ms: i64, dropped: usize, window: Window) -> Figures {
    let begun: Vec<_> = all.iter().filter(|incident| incident.fired_at >= window.since).collect();
    let fires_at = |at: TimestampMs| {
        all.iter().filter(|one| one.fired_at < at && one.resolved_at.is_none_or(|end| end >= at)).count()
    };
    Figures {
        incidents: begun.len(),
        pages_per_day: begun.len() as f64 / window.days(),
        flaps: begun.iter().filter(|incident| incident.flap).count(),
        dropped,
        firing_at_start: fires_at(window.since),
        firing_at_end: all.iter().filter(|incident| incident.resolved_at.is_none()).count(),
        pending_ms,
        firing_ms: all.iter().map(|incident| firing_ms(incident, window)).sum(),
        time_to_fire: Spread::of(begun.iter().map(|one| one.fired_at - one.active_at).collect()),
    }
}

fn firing_ms(incident: &Incident, window: Window) -> i64 {
    window.clip(incident.fired_at, incident.resolved_at.unwrap_or(window.until))
}

/// The label sets with the most incidents, of those with as many the ones that fired longest.
fn noisiest(all: &[&Incident], window: Window, top: usize) -> Vec<Noisy> {
    let mut by_labels: HashMap<&Labels, Noisy> = HashMap::new();
    for incident in all.iter().filter(|incident| incident.fired_at >= window.since) {
        let labels = &incident.labels;
        let none = || Noisy { labels: labels.clone(), incidents: 0, flaps: 0, firing_ms: 0 };
        let noisy = by_labels.entry(labels).or_insert_with(none);
        noisy.incidents += 1;
        noisy.flaps += usize::from(incident.flap);
        noisy.firing_ms += firing_ms(incident, window);
    }
    let mut ranking: Vec<_> = by_labels.into_values().collect();
    ranking.sort_by(|one, other| {
        let rank = |noisy: &Noisy| (noisy.incidents, noisy.firing_ms);
        rank(other).cmp(&rank(one)).then_with(|| one.labels.cmp(&other.labels))
    });
    ranking.truncate(top);
    ranking
}
