use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::model::{ALERT_NAME, Point, stale_nan};
use crate::promql::parse;
use crate::query::{LocalConfig, LocalSource};
use crate::rulefmt::Instructions;
use crate::state::AlertState;
use crate::storage::MemoryStorage;

const MINUTE: i64 = 60_000;
const HOLD: i64 = 20 * MINUTE;
const NOW: TimestampMs = 1_700_000_040_000;

fn rule() -> AlertingRule {
    AlertingRule {
        name: "Down".to_owned(),
        expr: Arc::new(parse("up == 0").expect("valid query")),
        hold_ms: HOLD,
        keep_firing_ms: 0,
        interval_ms: MINUTE,
        resend_delay_ms: MINUTE,
        query_offset_ms: 0,
        limit: 0,
        error_hold_ms: 0,
        common_labels: Labels::from_pairs([(ALERT_NAME, "Down"), ("severity", "page")]),
        generator_url: String::new(),
        instructions: Instructions::default(),
    }
}

fn labels(instance: &str) -> Labels {
    Labels::from_pairs([(ALERT_NAME, "Down"), ("severity", "page"), ("instance", instance)])
}

fn candidate(instance: &str) -> Candidate {
    Candidate { labels: labels(instance), annotations: Labels::empty(), value: 0.0 }
}

/// What a Prometheus leaves behind that evaluated an alert each minute, from `active_ago` minutes ago to
/// `last_ago` minutes ago.
fn load(store: &MemoryStorage, instance: &str, active_ago: i64, last_ago: i64) {
    let mut series = labels(instance).builder();
    let series = series.set(METRIC_NAME, ALERTS_FOR_STATE).build();
    let value = ((NOW - active_ago * MINUTE) / 1000) as f64;
    let points = (last_ago..=active_ago).map(|ago| Point { at: NOW - ago * MINUTE, value });
    store.load(&series, points);
}

fn end(store: &MemoryStorage, instance: &str, ago: i64) {
    let mut series = labels(instance).builder();
    let series = series.set(METRIC_NAME, ALERTS_FOR_STATE).build();
    store.load(&series, [Point { at: NOW - ago * MINUTE, value: stale_nan() }]);
}

/// How many minutes ago each alert became active that is remembered and active now, and its state after
/// the first evaluation.
async fn restored(store: MemoryStorage, instances: &[&str]) -> BTreeMap<String, (i64, AlertState)> {
    let source = LocalSource::new(Arc::new(store), LocalConfig::default());
    let (memories, _) = remember(&vec![Arc::new(source)], &rule(), NOW).await;
    let mut active = ActiveAlerts::default();
    let candidates: Vec<_> = instances.iter().map(|instance| candidate(instance)).collect();
    rule().go_on_from(&mut active, NOW, &candidates, &memories);
    rule().step(&mut active, NOW, &candidates, &super::super::evidence::Evidence::default());
    let alerts = active.iter().map(|alert| {
        let since = (NOW - alert.record.active_at) / MINUTE;
        (alert.record.labels.get("instance").to_owned(), (since, alert.record.state))
    });
    alerts.collect()
}

#[tokio::test]
async fn alerts_go_on_as_in_prometheus() {
    use AlertState::{Firing, Pending};
    let check = async |active_ago, last_ago, expected: (i64, AlertState)| {
        let store = MemoryStorage::new();
        load(&store, "a", active_ago, last_ago);
        let found = restored(store, &["a", "new"]).await;
        assert_eq!(found["a"], expected, "active {active_ago} min ago, last known {last_ago} min ago");
        assert_eq!(found["new"], (0, Pending));
    };
    // It was firing.
    check(40, 5, (40, Firing)).await;
    check(25, 5, (25, Firing)).await;
    // Less than the grace period was left.
    check(24, 5, (10, Pending)).await;
    check(16, 5, (10, Pending)).await;
    // More: the outage does not count.
    check(14, 5, (9, Pending)).await;
    check(32, 30, (2, Pending)).await;
    // The outage was too long.
    check(90, 61, (0, Pending)).await;
}

#[tokio::test]
async fn alerts_that_had_ended_and_those_that_are_not_active_now_begin_anew() {
    let store = MemoryStorage::new();
    load(&store, "ended", 50, 12);
    end(&store, "ended", 11);
    load(&store, "to the last", 50, 10);
    load(&store, "earlier", 50, 12);
    load(&store, "gone", 50, 10);
    let found = restored(store, &["ended", "to the last", "earlier"]).await;
    let names: Vec<_> = found.iter().map(|(name, (since, _))| (name.as_str(), *since)).collect();
    assert_eq!(names, [("earlier", 50), ("ended", 0), ("to the last", 50)]);
}

#[tokio::test]
async fn alerts_of_other_rules_are_not_taken_for_ones_own() {
    let store = MemoryStorage::new();
    let mut other = labels("a").builder();
    let other = other.set(METRIC_NAME, ALERTS_FOR_STATE).set("severity", "mail").build();
    store.load(&other, [Point { at: NOW - MINUTE, value: 1.0 }]);
    assert_eq!(restored(store, &["a"]).await["a"], (0, AlertState::Pending));
}
