//! Backtests over samples in memory, beside what a test of rules says of the same samples.

use std::sync::Arc;

use super::*;
use crate::model::{Labels, Point, TimestampMs, stale_nan};
use crate::promql::Features;
use crate::query::{LocalConfig, LocalSource};
use crate::rulefmt::{self, RuleFile};
use crate::storage::MemoryStorage;

const MINUTE: i64 = 60_000;

fn rules(text: &str) -> Vec<RuleFile> {
    let (files, findings) = rulefmt::parse("rules.yml", text, Features::default());
    assert!(findings.is_empty(), "{findings:?}");
    files
}

fn up(job: &str) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("job", job)])
}

/// A history with a sample each minute; `None` is a marker that the series has ended.
fn history(series: &[(Labels, Vec<Option<f64>>)]) -> History {
    let storage = MemoryStorage::new();
    for (labels, values) in series {
        let points = values.iter().enumerate().map(|(minute, value)| Point {
            at: minute as i64 * MINUTE,
            value: value.unwrap_or_else(stale_nan),
        });
        storage.load(labels, points);
    }
    History::new(Arc::new(LocalSource::new(Arc::new(storage), LocalConfig::default())))
}

fn settings(minutes: i64) -> Settings {
    Settings { until: minutes * MINUTE, evaluation_interval_ms: MINUTE, ..Settings::default() }
}

async fn replay(history: &History, new: &str, old: Option<&str>, settings: &Settings) -> Outcome {
    let old = old.map(rules);
    run(history, &rules(new), old.as_deref(), settings, |_| ()).await.expect("an outcome")
}

fn minutes(all: &[Incident]) -> Vec<(i64, Option<i64>)> {
    let minute = |at: TimestampMs| at / MINUTE;
    all.iter().map(|one| (minute(one.fired_at), one.resolved_at.map(minute))).collect()
}

/// Nothing fires by these rules, so that a comparison with them names every incident.
const SILENT: &str = "groups: [{name: g, rules: [{alert: Silent, expr: vector(1) > 2}]}]";

const DOWN: &str = "groups: [{name: g, rules: [{alert: Down, expr: up == 0, for: 2m}]}]";

/// Down from minute 10 to 19, from 30 to 30, and from 25 to 28, for each length up to the end.
fn outages(length: usize) -> Vec<Option<f64>> {
    let down = |minute: usize| (10..20).contains(&minute) || (25..29).contains(&minute) || minute == 40;
    (0..length).map(|minute| Some(f64::from(u8::from(!down(minute))))).collect()
}

#[tokio::test]
async fn incidents_flaps_and_times_are_counted() {
    let history = history(&[(up("a"), outages(1440))]);
    let outcome = replay(&history, DOWN, Some(SILENT), &settings(1440)).await;
    let figures = &outcome.new.rules[0].figures;
    assert_eq!((figures.incidents, figures.flaps, figures.dropped), (2, 1, 1));
    assert_eq!(figures.pages_per_day, 2.0);
    assert_eq!((figures.pending_ms, figures.firing_ms), ((2 + 2 + 1) * MINUTE, (8 + 2) * MINUTE));
    let spread = Spread { min_ms: 2 * MINUTE, median_ms: 2 * MINUTE, max_ms: 2 * MINUTE };
    assert_eq!(figures.time_to_fire, Some(spread));
    assert_eq!(outcome.new.noisiest[0].incidents, 2);
    assert_eq!(outcome.new.total, *figures);
    let (_, comparison) = outcome.old.as_ref().expect("two sets of rules");
    assert_eq!(minutes(&comparison.only_new), [(12, Some(20)), (27, Some(29))]);
    assert!(comparison.only_old.is_empty());
}

#[tokio::test]
async fn what_was_before_the_time_of_interest_is_replayed_and_not_counted() {
    let history = history(&[(up("a"), outages(60))]);
    let settings = Settings { since: 15 * MINUTE, ..settings(60) };
    let outcome = replay(&history, DOWN, None, &settings).await;
    let figures = &outcome.new.rules[0].figures;
    assert_eq!(outcome.warm_up_ms, 2 * MINUTE);
    // It begins in minute 13, in which it is pending; it would fire in minute 15.
    assert_eq!((figures.incidents, figures.firing_ms), (2, (5 + 2) * MINUTE));
}

#[tokio::test]
async fn series_that_end_and_come_back_are_seen_as_they_were() {
    // Ten minutes, a marker and nothing for three minutes, then back: shorter than the lookback.
    let mut values: Vec<Option<f64>> = vec![Some(0.0); 30];
    values[10] = None;
    let storage = MemoryStorage::new();
    let points = values.iter().enumerate().filter(|(minute, _)| !(11..14).contains(minute));
    let points = points
        .map(|(minute, value)| Point { at: minute as i64 * MINUTE, value: value.unwrap_or_else(stale_nan) });
    storage.load(&up("a"), points);
    let history = History::new(Arc::new(LocalSource::new(Arc::new(storage), LocalConfig::default())));
    let outcome = replay(&history, DOWN, Some(SILENT), &settings(29)).await;
    let (_, comparison) = outcome.old.as_ref().expect("two sets of rules");
    assert_eq!(minutes(&comparison.only_new), [(2, Some(10)), (16, None)]);
}

#[tokio::test]
async fn recorded_series_feed_alerts_and_are_not_taken_from_history() {
    let text = "groups: [{name: g, rules: [{record: downs, expr: sum(up == bool 0)}, \
                {alert: Many, expr: 'avg_over_time(downs[3m]) >= 2'}]}]";
    let downs = Labels::from_pairs([("__name__", "downs")]);
    let series = [
        (up("a"), outages(60)),
        (up("b"), outages(60)),
        // What the server has under that name was recorded by other rules.
        (downs, vec![Some(9.0); 60]),
    ];
    let outcome = replay(&history(&series), text, Some(SILENT), &settings(59)).await;
    let (_, comparison) = outcome.old.as_ref().expect("two sets of rules");
    assert_eq!(minutes(&comparison.only_new), [(12, Some(20)), (27, Some(29))]);
}

#[tokio::test]
async fn two_sets_of_rules_are_compared_by_what_alerts_are_about() {
    let history = history(&[(up("a"), outages(60)), (up("b"), outages(60))]);
    let old = "groups: [{name: g, rules: [{alert: Down, expr: up == 0, for: 1m, labels: {severity: low}}]}]";
    let new = "groups: [{name: g, rules: [{alert: Down, expr: 'up{job=\"a\"} == 0', for: 4m, \
               labels: {severity: high}}]}]";
    let outcome = replay(&history, new, Some(old), &settings(59)).await;
    let (_, comparison) = outcome.old.as_ref().expect("two sets of rules");
    assert_eq!((comparison.in_both, comparison.only_old.len(), comparison.only_new.len()), (1, 3, 0));
    let spread = Spread { min_ms: 3 * MINUTE, median_ms: 3 * MINUTE, max_ms: 3 * MINUTE };
    assert_eq!(comparison.delay, Some(Delay { later: 1, earlier: 0, spread }));
}

#[tokio::test]
async fn the_group_limit_and_failing_rules_are_reported() {
    let text = "groups: [{name: g, limit: 1, rules: [{alert: Down, expr: up == 0}, \
                {alert: Odd, expr: 'up + on() up'}]}]";
    let history = history(&[(up("a"), outages(60)), (up("b"), outages(60))]);
    let outcome = replay(&history, text, None, &settings(59)).await;
    let rules: Vec<_> = outcome.new.failures.iter().map(|(_, rule, ..)| rule.as_str()).collect();
    assert_eq!(rules, ["Down", "Odd"]);
    // One alert and the one that stands for the rest, three times.
    assert_eq!(outcome.new.rules[0].figures.incidents, 6);
}

#[tokio::test]
async fn samples_beyond_the_ceiling_are_an_error() {
    let series: Vec<_> = (0..40_000).map(|job| (up(&job.to_string()), vec![Some(1.0); 2])).collect();
    let settings = Settings { max_memory: 1 << 20, ..settings(2) };
    let outcome = run(&history(&series), &rules(DOWN), None, &settings, |_| ()).await;
    assert!(matches!(outcome, Err(BacktestError::Memory { limit }) if limit == 1 << 20), "{outcome:?}");
}
