//! Labels, figures and reports of drills; the course of a drill is in `tests/it/drill`.

use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::*;
use crate::rulefmt;

#[test]
fn a_drill_has_the_labels_of_its_rule_unless_they_are_given() {
    let text = "groups: [{name: g, labels: {team: t}, rules: [{alert: A, expr: up, labels: {severity: page, \
                host: '{{ $labels.instance }}'}}]}]";
    let (files, findings) = rulefmt::parse("rules.yml", text, crate::promql::Features::default());
    assert!(findings.is_empty(), "{findings:?}");
    let check = |alert: &str, given: &[(&str, &str)], expected: &[(&str, &str)]| {
        let given = Labels::from_pairs(given.iter().copied());
        let expected = Labels::from_pairs(expected.iter().copied());
        assert_eq!(labels_for(&files, alert, &given), expected, "{alert}");
    };
    check("A", &[], &[("severity", "page"), ("team", "t")]);
    check("A", &[("severity", "test"), ("x", "y")], &[("severity", "test"), ("team", "t"), ("x", "y")]);
    check("B", &[("x", "y")], &[("x", "y")]);
}

#[test]
fn figures_and_reports_say_what_came_of_a_drill() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let page = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String");
        text
    };
    let outcome = |failures, notified_after| Outcome {
        labels: Labels::from_pairs([("alertname", "A")]),
        sent_at: 0,
        arrivals: vec![Arrival {
            alertmanager: "http://am".to_owned(),
            labels: Some(Labels::from_pairs([("alertname", "B")])),
            seen_after: Some(Duration::from_millis(20)),
            fingerprint: "f".to_owned(),
            receivers: vec!["people".to_owned()],
            notified_after,
            working: vec!["email".to_owned()],
            failing: vec![],
        }],
        echoed_after: None,
        failures,
    };
    let passed = outcome(vec![], Some(Duration::from_millis(1_500)));
    let failure =
        Failure { stage: Stage::Delivery, alertmanager: "http://am".to_owned(), what: "gone".to_owned() };
    let failed = outcome(vec![failure], None);

    metrics.introduce("A");
    assert!(page().contains("valmis_drill_failures_total{drill=\"A\",stage=\"delivery\"} 0"));
    metrics.held("A", &passed, 7_000);
    for expected in [
        "valmis_page_path_seconds{drill=\"A\"} 1.5",
        "valmis_drill_runs_total{drill=\"A\"} 1",
        "valmis_drill_last_success_timestamp_seconds{drill=\"A\"} 7.0",
    ] {
        assert!(page().contains(expected), "no {expected} in {}", page());
    }
    metrics.held("A", &failed, 8_000);
    assert!(page().contains("valmis_drill_failures_total{drill=\"A\",stage=\"delivery\"} 1"));
    assert!(!page().contains("valmis_page_path_seconds{"), "{}", page());
    metrics.forget("A");
    assert!(!page().contains("drill=\"A\""), "{}", page());

    insta::assert_snapshot!(to_text(&passed), @r#"
    A{}
    http://am
      arrives as {alertname="B"}
      there after 0.02s, fingerprint f, for people
      notified after 1.50s by email
    the page got through
    "#);
    assert!(to_text(&failed).contains("FAILED delivery at http://am: gone"));
    let json: Value = serde_json::from_str(&to_json(&failed)).expect("JSON");
    assert_eq!((&json["passed"], &json["failures"][0]["stage"]), (&json!(false), &json!("delivery")));
}
