use proptest::prelude::*;

use super::*;
use crate::model::LineColumn;
use crate::promql::{EvalError, ExprKind};
use crate::state::{Changes, MemoryStore, RuleChanges, RuleKey, RuleVersion, StateStore};

/// Tests evaluate once a minute.
const MINUTE: i64 = 60_000;

fn rule(hold_minutes: i64, keep_firing_minutes: i64) -> AlertingRule {
    AlertingRule {
        name: "Down".to_owned(),
        expr: Arc::new(Expr { kind: ExprKind::String(String::new()), span: crate::model::Span::default() }),
        hold_ms: hold_minutes * MINUTE,
        keep_firing_ms: keep_firing_minutes * MINUTE,
        interval_ms: MINUTE,
        resend_delay_ms: MINUTE,
        query_offset_ms: 0,
        limit: 0,
        error_hold_ms: 60 * MINUTE,
        common_labels: Labels::from_pairs([(ALERT_NAME, "Down"), ("severity", "critical")]),
        generator_url: String::new(),
        instructions: Instructions::default(),
    }
}

fn candidate(instance: &str, value: f64) -> Candidate {
    Candidate {
        labels: Labels::from_pairs([(ALERT_NAME, "Down"), ("instance", instance)]),
        annotations: Labels::from_pairs([("summary", format!("{instance} is {value}"))]),
        value,
    }
}

fn failure() -> RuleError {
    RuleError::Query(EvalError::Timeout("expression evaluation"))
}

/// The elements that a word for each instance describes.
fn result(instances: &str) -> Vec<Candidate> {
    instances.split_whitespace().map(|instance| candidate(instance, 0.0)).collect()
}

/// `instance state since-minute`, one for each alert.
fn states(active: &ActiveAlerts) -> String {
    let states = active.iter().map(|alert| {
        let record = &alert.record;
        let instance = match record.labels.get("instance") {
            "" => "summary",
            instance => instance,
        };
        match record.state {
            AlertState::Pending => format!("{instance} pending {}", record.active_at / MINUTE),
            AlertState::Firing => format!("{instance} firing {}", record.fired_at.unwrap() / MINUTE),
            AlertState::Inactive => format!("{instance} resolved {}", record.resolved_at.unwrap() / MINUTE),
        }
    });
    states.collect::<Vec<_>>().join(", ")
}

/// `instance start..end` of each alert that is sent, with `!` behind the end of a resolved one.
fn sent(alerts: &[Alert]) -> String {
    let sent = alerts.iter().map(|alert| {
        let mark = if alert.resolved { "!" } else { "" };
        let instance = alert.labels.get("instance");
        format!("{instance} {}..{}{mark}", alert.starts_at / MINUTE, alert.ends_at / MINUTE)
    });
    sent.collect::<Vec<_>>().join(", ")
}

/// Runs evaluations; each is a minute, the instances in the result (`error` for a failed query), the
/// expected states and what is expected to be sent.
#[track_caller]
fn check(rule: &AlertingRule, steps: &[(i64, &str, &str, &str)]) {
    let mut active = ActiveAlerts::default();
    for (minute, instances, expected_states, expected_sent) in steps {
        let alerts = if *instances == "error" {
            rule.hold(&mut active, minute * MINUTE, &failure())
        } else {
            rule.step(&mut active, minute * MINUTE, &result(instances), &Evidence::default()).alerts
        };
        assert_eq!(states(&active), *expected_states, "states in minute {minute}");
        assert_eq!(sent(&alerts), *expected_sent, "sent in minute {minute}");
    }
}

#[test]
fn an_alert_without_hold_duration_fires_at_once() {
    check(&rule(0, 0), &[(1, "a", "a firing 1", "a 1..5"), (2, "", "a resolved 2", "a 1..2!")]);
}

#[test]
fn a_pending_alert_fires_once_held_for_its_duration() {
    check(
        &rule(2, 0),
        &[
            (1, "a", "a pending 1", ""),
            (2, "a", "a pending 1", ""),
            (3, "a", "a firing 3", "a 3..7"),
            (4, "a", "a firing 3", ""),
            (5, "a", "a firing 3", "a 3..9"),
        ],
    );
}

#[test]
fn a_pending_alert_whose_condition_ends_is_forgotten() {
    check(
        &rule(2, 0),
        &[
            (1, "a", "a pending 1", ""),
            (2, "", "", ""),
            (3, "a", "a pending 3", ""),
            (4, "a", "a pending 3", ""),
            (5, "a", "a firing 5", "a 5..9"),
        ],
    );
}

#[test]
fn an_unchanged_alert_is_sent_again_strictly_after_the_resend_delay() {
    let slow = AlertingRule { resend_delay_ms: 3 * MINUTE, ..rule(0, 0) };
    check(
        &slow,
        &[
            (1, "a", "a firing 1", "a 1..13"),
            (2, "a", "a firing 1", ""),
            (4, "a", "a firing 1", ""),
            (5, "a", "a firing 1", "a 1..17"),
        ],
    );
}

#[test]
fn a_resolved_alert_is_sent_for_fifteen_minutes() {
    let mut steps = vec![(1, "a", "a firing 1", "a 1..5"), (2, "", "a resolved 2", "a 1..2!")];
    for minute in 3..=17 {
        steps.push((minute, "", "a resolved 2", if minute % 2 == 0 { "a 1..2!" } else { "" }));
    }
    steps.push((18, "", "", ""));
    check(&rule(0, 0), &steps);
}

#[test]
fn a_resolved_alert_whose_condition_returns_is_a_new_alert() {
    check(
        &rule(1, 0),
        &[
            (1, "a", "a pending 1", ""),
            (2, "a", "a firing 2", "a 2..6"),
            (3, "", "a resolved 3", "a 2..3!"),
            (4, "a", "a pending 4", ""),
            (5, "a", "a firing 5", "a 5..9"),
        ],
    );
}

#[test]
fn an_alert_goes_on_firing_for_keep_firing_for() {
    check(
        &rule(0, 2),
        &[
            (1, "a", "a firing 1", "a 1..5"),
            (2, "", "a firing 1", ""),
            (3, "", "a firing 1", "a 1..7"),
            (4, "", "a resolved 4", "a 1..4!"),
        ],
    );
}

#[test]
fn a_condition_that_returns_begins_keep_firing_for_anew() {
    check(
        &rule(0, 2),
        &[
            (1, "a", "a firing 1", "a 1..5"),
            (2, "", "a firing 1", ""),
            (3, "a", "a firing 1", "a 1..7"),
            (4, "", "a firing 1", ""),
            (5, "", "a firing 1", "a 1..9"),
            (6, "", "a resolved 6", "a 1..6!"),
        ],
    );
}

#[test]
fn alerts_of_a_rule_live_their_own_lives() {
    check(
        &rule(1, 0),
        &[
            (1, "a", "a pending 1", ""),
            (2, "a b", "a firing 2, b pending 2", "a 2..6"),
            (3, "b", "a resolved 3, b firing 3", "a 2..3!, b 3..7"),
        ],
    );
}

#[test]
fn a_failed_query_resolves_nothing_and_goes_on_sending() {
    check(
        &rule(1, 0),
        &[
            (1, "a", "a pending 1", ""),
            (2, "a b", "a firing 2, b pending 2", "a 2..6"),
            (3, "error", "a firing 2, b pending 2", ""),
            (4, "error", "a firing 2, b pending 2", "a 2..8"),
            (6, "error", "a firing 2, b pending 2", "a 2..10"),
            (7, "", "a resolved 7", "a 2..7!"),
        ],
    );
}

#[test]
fn time_in_which_nothing_was_evaluated_does_not_count_as_held() {
    check(
        &rule(5, 0),
        &[
            (1, "a", "a pending 1", ""),
            (2, "a", "a pending 1", ""),
            // Two intervals are not yet a gap.
            (4, "a", "a pending 1", ""),
            // Sixteen minutes, of which one would have passed anyway.
            (20, "a", "a pending 16", ""),
            (21, "a", "a firing 21", "a 21..25"),
        ],
    );
}

#[test]
fn time_in_which_nothing_was_evaluated_does_not_end_keep_firing_for() {
    check(
        &rule(0, 3),
        &[
            (1, "a", "a firing 1", "a 1..5"),
            (2, "", "a firing 1", ""),
            (30, "", "a firing 1", "a 1..34"),
            (31, "", "a firing 1", ""),
            (32, "", "a resolved 32", "a 1..32!"),
        ],
    );
}

#[test]
fn a_clock_that_is_set_back_undoes_nothing() {
    check(
        &rule(2, 0),
        &[
            (100, "a", "a pending 100", ""),
            (101, "a", "a pending 100", ""),
            (102, "a b", "a firing 102, b pending 102", "a 102..106"),
            (50, "a b", "a firing 49, b pending 49", "a 49..54"),
            (51, "a b", "a firing 49, b firing 51", "b 51..55"),
        ],
    );
}

#[test]
fn what_is_sent_after_a_clock_was_set_back_never_starts_in_the_future() {
    check(
        &rule(0, 0),
        &[
            (101, "a b", "a firing 101, b firing 101", "a 101..105, b 101..105"),
            (102, "a", "a firing 101, b resolved 102", "b 101..102!"),
            (50, "error", "a firing 101, b resolved 102", "a 50..54, b 50..50!"),
            (51, "error", "a firing 101, b resolved 102", ""),
            (52, "error", "a firing 101, b resolved 102", "a 52..56, b 52..52!"),
            (53, "a", "a firing 51, b resolved 52", "a 51..57, b 51..52!"),
            (67, "a", "a firing 51, b resolved 52", "a 51..71, b 51..52!"),
            (68, "a", "a firing 51", ""),
        ],
    );
}

#[test]
fn a_longer_hold_duration_makes_a_firing_alert_wait_again() {
    let mut active = ActiveAlerts::default();
    rule(0, 0).step(&mut active, MINUTE, &result("a"), &Evidence::default());
    let longer = rule(3, 0);
    let step = longer.step(&mut active, 2 * MINUTE, &result("a"), &Evidence::default());
    assert_eq!((states(&active).as_str(), step.alerts.len()), ("a pending 1", 0));
    longer.step(&mut active, 4 * MINUTE, &result("a"), &Evidence::default());
    assert_eq!(states(&active), "a firing 4");
}

#[test]
fn the_limit_keeps_what_is_active_and_then_the_first() {
    let limited = AlertingRule { limit: 2, ..rule(0, 0) };
    let mut active = ActiveAlerts::default();
    limited.step(&mut active, MINUTE, &result("m"), &Evidence::default());
    let step = limited.step(&mut active, 2 * MINUTE, &result("z m b a"), &Evidence::default());
    assert_eq!(states(&active), "a firing 2, m firing 1, summary firing 2");
    assert_eq!(step.error.unwrap().to_string(), "exceeded limit of 2 with 4 alerts");
    // What is active stays, even if the limit is lowered.
    let lower = AlertingRule { limit: 1, ..rule(0, 0) };
    let step = lower.step(&mut active, 3 * MINUTE, &result("a m"), &Evidence::default());
    assert_eq!(states(&active), "a firing 2, m firing 1, summary resolved 3");
    assert_eq!(step.error.unwrap().to_string(), "exceeded limit of 1 with 2 alerts");
    assert_eq!(lower.step(&mut active, 4 * MINUTE, &result("a"), &Evidence::default()).error, None);
}

#[test]
fn one_alert_stands_for_those_beyond_the_limit() {
    let limited = AlertingRule { limit: 1, ..rule(1, 0) };
    let mut active = ActiveAlerts::default();
    let mut summary = |minute: i64, instances| {
        let step = limited.step(&mut active, minute * MINUTE, &result(instances), &Evidence::default());
        let summary = step.alerts.into_iter().find(|alert| !alert.labels.has("instance"));
        summary.map(|alert| (alert.labels.to_string(), alert.annotations.to_string(), alert.resolved))
    };
    assert_eq!(summary(1, "a b c"), None, "it has the rule's hold duration");
    let (labels, annotations, resolved) = summary(2, "a b c").expect("it fires");
    assert_eq!(labels, r#"{alertname="Down", over_limit="true", severity="critical"}"#);
    assert_eq!(annotations, r#"{summary="2 more alerts Down are not sent: the limit of their group is 1"}"#);
    assert!(!resolved);
    let (_, _, resolved) = summary(3, "a").expect("it ends");
    assert!(resolved);
}

#[test]
fn alerts_are_held_through_an_error_with_a_mark_for_a_limited_time() {
    let rule = AlertingRule { error_hold_ms: 3 * MINUTE, ..rule(0, 0) };
    let mut active = ActiveAlerts::default();
    rule.step(&mut active, MINUTE, &result("a"), &Evidence::default());
    let annotations = |alerts: &[Alert]| -> Vec<String> {
        alerts.iter().map(|alert| alert.annotations.get("evaluation_error").to_owned()).collect()
    };
    let error = failure();
    for (minute, expected) in [(3, 1), (5, 1), (6, 0), (7, 0), (9, 0)] {
        let held = rule.hold(&mut active, minute * MINUTE, &error);
        let marks = annotations(&held);
        assert_eq!(marks, vec![error.to_string(); expected], "minute {minute}");
    }
    assert_eq!(states(&active), "a firing 1", "nothing is known about it");
    // With the first result everybody learns that the mark is out of date, and an error begins anew.
    assert_eq!(
        annotations(&rule.step(&mut active, 10 * MINUTE, &result("a"), &Evidence::default()).alerts),
        [""]
    );
    assert_eq!(rule.hold(&mut active, 12 * MINUTE, &error).len(), 1);
}

#[test]
fn active_alerts_can_be_queried() {
    let rule = AlertingRule { query_offset_ms: 5_000, ..rule(1, 0) };
    let mut active = ActiveAlerts::default();
    let text = |step: Step| {
        let lines = step.samples.iter().map(|s| format!("{} {} @{}", s.labels, s.value, s.at));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(
        text(rule.step(&mut active, 61_500, &result("a"), &Evidence::default())),
        [
            r#"{__name__="ALERTS", alertname="Down", alertstate="pending", instance="a"} 1 @56500"#,
            r#"{__name__="ALERTS_FOR_STATE", alertname="Down", instance="a"} 61 @56500"#,
        ]
    );
    assert_eq!(
        text(rule.step(&mut active, 121_500, &result("a"), &Evidence::default())),
        [
            r#"{__name__="ALERTS", alertname="Down", alertstate="firing", instance="a"} 1 @116500"#,
            r#"{__name__="ALERTS_FOR_STATE", alertname="Down", instance="a"} 61 @116500"#,
        ]
    );
    assert_eq!(text(rule.step(&mut active, 181_500, &[], &Evidence::default())), Vec::<String>::new());
}

#[test]
fn value_and_annotations_are_those_of_the_last_result() {
    let rule = rule(0, 0);
    let mut active = ActiveAlerts::default();
    rule.step(&mut active, MINUTE, &[candidate("a", 1.0)], &Evidence::default());
    let step = rule.step(&mut active, 3 * MINUTE, &[candidate("a", 2.0)], &Evidence::default());
    assert_eq!(step.alerts[0].annotations.get("summary"), "a is 2");
    // The news of the end carries the last value at which the condition held.
    let step = rule.step(&mut active, 4 * MINUTE, &[], &Evidence::default());
    assert_eq!(step.alerts[0].annotations.get("summary"), "a is 2");
}

#[test]
fn only_what_matters_is_written() {
    let mut active = ActiveAlerts::default();
    let mut writes = |rule: &AlertingRule, minute: i64, found: &[Candidate]| {
        rule.step(&mut active, minute * MINUTE, found, &Evidence::default());
        let unsaved = active.unsaved();
        active.saved();
        unsaved.map(|unsaved| (unsaved.alerts.len(), unsaved.removed.len()))
    };
    let held = rule(1, 0);
    assert_eq!(writes(&held, 1, &[]), None, "nothing active");
    assert_eq!(writes(&held, 2, &[candidate("a", 1.0)]), Some((1, 0)), "pending");
    assert_eq!(writes(&held, 3, &[candidate("a", 1.0)]), Some((1, 0)), "fires");
    assert_eq!(writes(&held, 4, &[candidate("a", 2.0)]), None, "a new value alone");
    assert_eq!(writes(&held, 5, &[candidate("a", 3.0)]), Some((1, 0)), "a new value that is sent");
    assert_eq!(writes(&held, 6, &[candidate("a", 3.0)]), None, "nothing new");
    assert_eq!(writes(&held, 7, &[candidate("a", 3.0)]), None, "sent unchanged");
    assert_eq!(writes(&held, 8, &[]), Some((1, 0)), "resolved");
    assert_eq!(writes(&held, 30, &[]), Some((0, 1)), "forgotten");
    assert_eq!(writes(&held, 31, &[candidate("b", 1.0)]), Some((1, 0)), "pending");
    assert_eq!(writes(&rule(5, 0), 32, &[candidate("b", 1.0)]), Some((0, 0)), "still pending: the time");
}

#[test]
fn a_link_leads_to_the_query() {
    let check = |query: &str, expected: &str| {
        assert_eq!(
            generator_url("http://v:9797", query),
            format!("http://v:9797/graph?g0.expr={expected}&g0.tab=1")
        );
    };
    check("up == 0", "up+%3D%3D+0");
    check(r#"a{b=~"x|y"} * 2 > 1"#, "a%7Bb%3D~%22x%7Cy%22%7D+%2A+2+%3E+1");
    check("é", "%C3%A9");
    assert_eq!(generator_url("", "up"), "");
}

/// Restarts: the state is stored and read again.
fn restarted(active: &mut ActiveAlerts, store: &MemoryStore) -> ActiveAlerts {
    save(active, store);
    let stored = futures_util::FutureExt::now_or_never(store.rules()).unwrap().unwrap();
    stored.first().map(ActiveAlerts::restore).unwrap_or_default()
}

fn save(active: &mut ActiveAlerts, store: &MemoryStore) {
    let key = RuleKey {
        file: String::new(),
        group: String::new(),
        rule: "Down".to_owned(),
        labels: String::new(),
        ordinal: 0,
    };
    if let Some(unsaved) = active.unsaved() {
        let rule = RuleChanges {
            key: std::sync::Arc::new(key),
            evaluated_at: unsaved.evaluated_at,
            alerts: unsaved.alerts,
            removed: unsaved.removed,
            transitions: unsaved.transitions,
            rule: std::sync::Arc::new(RuleVersion {
                expr: String::new(),
                version: String::new(),
                place: LineColumn { line: 1, column: 1 },
                external_labels: Labels::empty(),
            }),
        };
        let changes = Changes { rules: vec![rule], ..Changes::default() };
        futures_util::FutureExt::now_or_never(store.commit(changes)).unwrap().unwrap();
        active.saved();
    }
}

proptest! {
    /// A process that is killed after any evaluation and goes on from what was stored makes the same
    /// transitions at the same times as one that was not.
    #[test]
    fn a_restart_anywhere_changes_no_transition(
        hold in 0_i64..4,
        keep in 0_i64..4,
        steps in prop::collection::vec((prop::collection::vec(prop::bool::ANY, 3), 0_u8..10, 1_i64..5), 1..40),
        restarts in prop::collection::vec(prop::bool::ANY, 40),
    ) {
        let rule = rule(hold, keep);
        let store = MemoryStore::default();
        let (mut steady, mut killed) = (ActiveAlerts::default(), ActiveAlerts::default());
        let mut minute = 0;
        for (index, (present, error, pause)) in steps.iter().enumerate() {
            // Mostly regular, with an occasional gap, and with an occasional failed query.
            minute += if *pause == 4 { 10 } else { 1 };
            let at = minute * MINUTE;
            if *error == 0 {
                rule.hold(&mut steady, at, &failure());
                rule.hold(&mut killed, at, &failure());
            } else {
                let names = ["a", "b", "c"].iter().zip(present).filter(|(_, present)| **present);
                let found: Vec<_> = names.map(|(name, _)| candidate(name, minute as f64)).collect();
                let expected = rule.step(&mut steady, at, &found, &Evidence::default()).samples;
                prop_assert_eq!(rule.step(&mut killed, at, &found, &Evidence::default()).samples, expected);
            }
            prop_assert_eq!(states(&killed), states(&steady));
            save(&mut killed, &store);
            if restarts[index] {
                killed = restarted(&mut killed, &store);
                prop_assert_eq!(states(&killed), states(&steady), "after a restart in minute {}", minute);
            }
        }
    }
}

#[test]
fn the_end_of_an_alert_is_told_with_the_annotations_that_it_gets_by_then() {
    let rule = rule(0, 0);
    let mut active = ActiveAlerts::default();
    rule.step(&mut active, MINUTE, &result("a b"), &Evidence::default());
    let over = Labels::from_pairs([("summary", "over")]);
    let farewells = result("a b").into_iter().map(|found| (found.labels, over.clone())).collect();
    let evidence = Evidence { farewells, ..Evidence::default() };
    let step = rule.step(&mut active, 2 * MINUTE, &result("b"), &evidence);
    assert_eq!((step.alerts.len(), &step.alerts[0].annotations), (1, &over));
    assert!(step.alerts[0].resolved);
    let going_on = active.iter().find(|alert| alert.is_active()).expect("b fires");
    assert_eq!(going_on.record.annotations.get("summary"), "b is 0");
}
