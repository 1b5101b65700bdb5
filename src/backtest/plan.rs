//! What a set of rules needs of history, and what it makes itself.

use std::collections::{BTreeMap, BTreeSet};

use super::demand::{Demand, demands};
use super::run::{BacktestError, Settings};
use crate::model::{ALERT_NAME, Labels, METRIC_NAME, MatchOp, Matcher};
use crate::promql::EvalOptions;
use crate::rulefmt::{Rule, RuleFile, RuleKind};

/// The series by which alerts can be queried.
const ALERT_SERIES: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// What a set of rules needs of history.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The samples, each series once.
    pub(super) demands: Vec<Demand>,
    /// How long before the span of interest evaluation must begin, in milliseconds: for series that rules
    /// record and other rules look back at, and for `for` and `keep_firing_for`.
    pub(super) warm_up_ms: i64,
    /// The series that the rules make.
    pub(super) own: OwnSeries,
}

/// The series that a set of rules makes, which are therefore not taken from history.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnSeries {
    recorded: BTreeSet<String>,
    alerts: BTreeSet<String>,
}

impl OwnSeries {
    fn of(files: &[RuleFile]) -> Self {
        let mut own = Self::default();
        for rule in rules(files) {
            match &rule.kind {
                RuleKind::Recording { record } => own.recorded.insert(record.clone()),
                RuleKind::Alerting { alert, .. } => own.alerts.insert(alert.clone()),
            };
        }
        own
    }

    /// Whether the rules make this series.
    pub(super) fn contains(&self, labels: &Labels) -> bool {
        let name = labels.metric_name();
        self.recorded.contains(name)
            || ALERT_SERIES.contains(&name) && self.alerts.contains(labels.get(ALERT_NAME))
    }

    /// Whether all series that a selector finds are made by the rules.
    fn has_all_of(&self, demand: &Demand) -> bool {
        let exactly = |name: &str| {
            demand.matchers.iter().filter(|matcher| matcher.name() == name).find_map(only_values)
        };
        let Some(names) = exactly(METRIC_NAME) else { return false };
        names.iter().all(|name| {
            self.recorded.contains(name)
                || ALERT_SERIES.contains(&name.as_str())
                    && exactly(ALERT_NAME)
                        .is_some_and(|alerts| alerts.iter().all(|alert| self.alerts.contains(alert)))
        })
    }
}

/// The only values that satisfy a matcher, if it names them.
fn only_values(matcher: &Matcher) -> Option<Vec<String>> {
    match matcher.op() {
        MatchOp::Equal => Some(vec![matcher.value().to_owned()]),
        MatchOp::Regex => matcher.set_matches().map(<[String]>::to_vec),
        MatchOp::NotEqual | MatchOp::NotRegex => None,
    }
}

fn rules(files: &[RuleFile]) -> impl Iterator<Item = &Rule> {
    files.iter().flat_map(|file| &file.groups).flat_map(|group| group.rules.iter())
}

impl Plan {
    /// A plan for rules; a rule that is pinned to an instant by `@` cannot be replayed.
    pub(super) fn new(files: &[RuleFile], settings: &Settings) -> Result<Self, BacktestError> {
        let options = EvalOptions {
            default_subquery_step_ms: settings.evaluation_interval_ms,
            ..EvalOptions::default()
        };
        let own = OwnSeries::of(files);
        let mut merged: Vec<Demand> = Vec::new();
        // For each rule: its name, what it waits for, and what it looks at.
        let mut looked_at = Vec::new();
        for file in files {
            for (group, rule) in file.groups.iter().flat_map(|g| g.rules.iter().map(move |rule| (g, rule))) {
                let failed = |what: String| BacktestError::Rule {
                    file: file.path.clone(),
                    place: rule.place,
                    rule: rule.name().to_owned(),
                    what,
                };
                let found = demands(&rule.expr, &options).map_err(|error| failed(error.to_string()))?;
                let mut found = found.ok_or_else(|| {
                    failed("it is pinned to an instant by `@`, which a replay does not have".to_owned())
                })?;
                for demand in &mut found {
                    demand.back_ms += group.query_offset_ms.unwrap_or_default().max(0);
                }
                for demand in found.iter().filter(|demand| !own.has_all_of(demand)) {
                    merge(&mut merged, demand);
                }
                looked_at.push((rule, found));
            }
        }
        let mut warm_up = WarmUp { rules: &looked_at, known: BTreeMap::new() };
        let warm_up_ms = (0..looked_at.len()).map(|place| warm_up.of(place)).max().unwrap_or(0);
        Ok(Self { demands: merged, warm_up_ms, own })
    }
}

/// Adds what is looked at, so that no series is asked for twice.
pub(super) fn merge(merged: &mut Vec<Demand>, demand: &Demand) {
    if let Some(known) = merged.iter_mut().find(|known| known.covers(demand)) {
        known.widen(demand);
        return;
    }
    let mut wider = demand.clone();
    merged.retain(|known| {
        let covered = wider.covers(known);
        if covered {
            wider.widen(known);
        }
        !covered
    });
    merged.push(wider);
}

/// How long rules must have been evaluated before what they say is right.
struct WarmUp<'r> {
    rules: &'r [(&'r Rule, Vec<Demand>)],
    known: BTreeMap<usize, i64>,
}

impl WarmUp<'_> {
    fn of(&mut self, place: usize) -> i64 {
        if let Some(known) = self.known.get(&place) {
            return *known;
        }
        // A rule that looks at itself, perhaps by way of others, begins without itself.
        self.known.insert(place, 0);
        let (rule, demands) = &self.rules[place];
        let mut longest = 0;
        for demand in demands {
            let made_here = self.rules.iter().enumerate().filter(|(_, (other, _))| makes(other, demand));
            for maker in made_here.map(|(place, _)| place).collect::<Vec<_>>() {
                longest = longest.max(demand.back_ms + self.of(maker));
            }
        }
        if let RuleKind::Alerting { hold_ms, keep_firing_ms, .. } = &rule.kind {
            longest += hold_ms + keep_firing_ms;
        }
        self.known.insert(place, longest);
        longest
    }
}

/// Whether a rule makes series that a selector finds.
fn makes(rule: &Rule, demand: &Demand) -> bool {
    let satisfied = |label: &str, value: &str| {
        demand.matchers.iter().filter(|matcher| matcher.name() == label).all(|matcher| matcher.matches(value))
    };
    match &rule.kind {
        RuleKind::Recording { record } => satisfied(METRIC_NAME, record),
        RuleKind::Alerting { alert, .. } => {
            ALERT_SERIES.iter().any(|name| satisfied(METRIC_NAME, name)) && satisfied(ALERT_NAME, alert)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::Features;
    use crate::rulefmt;

    fn plan(rules: &str) -> Result<Plan, BacktestError> {
        let text = format!("groups: [{{name: g, rules: [{rules}]}}]");
        let (files, findings) = rulefmt::parse("rules.yml", &text, Features::default());
        assert!(findings.is_empty(), "{findings:?}");
        Plan::new(&files, &Settings::default())
    }

    #[test]
    fn series_that_rules_record_are_made_and_not_fetched() {
        let plan = plan(
            "{record: r, expr: 'rate(a[5m])'}, {alert: A, expr: 'avg_over_time(r[1h]) > 1', for: 10m}, \
             {alert: B, expr: 'ALERTS{alertname=\"A\"}', for: 5m}, {alert: C, expr: 'a{job=\"x\"} > 1'}",
        )
        .expect("a plan");
        let names: Vec<_> = plan.demands.iter().map(|one| (one.matchers.len(), one.back_ms / 1000)).collect();
        assert_eq!(names, [(1, 299)], "the second selector of a is covered by the first");
        assert!(plan.demands[0].newest_only);
        // B waits 5 m, looks 5 m back at A, which waits 10 m and looks 1 h back at r.
        assert_eq!((plan.warm_up_ms + 2) / 60_000, 80);
        let series = |name, alert| Labels::from_pairs([("__name__", name), ("alertname", alert)]);
        assert!(plan.own.contains(&series("r", "")));
        assert!(plan.own.contains(&series("ALERTS", "A")));
        assert!(!plan.own.contains(&series("ALERTS", "Z")));
        assert!(!plan.own.contains(&series("a", "A")));
    }

    #[test]
    fn a_rule_that_is_pinned_to_an_instant_is_refused() {
        let error = plan("{alert: A, expr: 'a @ 1700000000 > 1'}").expect_err("pinned").to_string();
        assert!(error.starts_with("rules.yml:1:") && error.contains("`A`"), "{error}");
    }
}
