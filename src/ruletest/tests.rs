//! What goes beyond promtool: states, restarts, faults, intervals, payloads, coverage and changed rules.

use std::fs;

use super::*;

mod instructions;

const RULES: &str = r"
groups:
  - name: slow
    interval: 3m
    rules:
      - {record: job:up:sum, expr: sum by (job) (up)}
  - name: alerts
    rules:
      - alert: Down
        expr: up == 0
        for: 2m
        labels: {severity: page}
        annotations: {summary: '{{ $labels.job }} is down'}
";

/// Runs the tests of a file whose `tests:` are given, over the rules above.
fn report(head: &str, tests: &str) -> (FileReport, Vec<Suite>, Coverage) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("rules.yml"), RULES).expect("the rules are written");
    let file = folder.path().join("test.yml");
    let text = format!("rule_files: [rules.yml]\n{head}\ntests:\n{tests}");
    fs::write(&file, text).expect("the tests are written");
    let suites = vec![load(file.to_str().expect("a UTF-8 path"), &Selection::default())];
    let extras = Extras { coverage: true, ..Extras::default() };
    let (mut reports, coverage) = run(&suites, extras).expect("threads can be started");
    (reports.remove(0), suites, coverage)
}

#[track_caller]
fn check(head: &str, tests: &str) {
    let (report, ..) = report(head, tests);
    assert!(report.passed(), "{}", Report { files: vec![report], ..Report::default() }.to_text(Style::Diff));
}

/// What is wrong, the first line of each.
fn failures(head: &str, tests: &str) -> Vec<String> {
    let (report, ..) = report(head, tests);
    assert!(!report.broken, "{:?}", report.findings);
    report.tests.into_iter().flat_map(|test| test.failures).map(|failure| failure.what).collect()
}

const LIFE: &str = "
  - input_series:
      - {series: 'up{job=\"a\"}', values: 1 0x4 1x20}
    alert_rule_test:
";

#[test]
fn an_alert_can_be_expected_in_every_state() {
    let alert = |at: &str, state: &str, more: &str| {
        format!(
            "      - eval_time: {at}
        alertname: Down
        exp_alerts:
          - state: {state}
            exp_labels: {{job: a, severity: page}}
            exp_annotations: {{summary: a is down}}
            {more}\n"
        )
    };
    check(
        "",
        &[
            LIFE,
            &alert("0", "inactive", ""),
            &alert("1m", "pending", "active_at: 1m"),
            &alert("2m59s", "pending", "value: 0"),
            &alert("3m", "firing", "active_at: 1m\n            value: 0"),
            &alert("5m", "firing", ""),
            &alert("6m", "resolved", "active_at: 1m"),
            &alert("7m", "inactive", ""),
            &alert("21m", "resolved", ""),
            "      - {eval_time: 22m, alertname: Down, states: [pending, firing, resolved], exp_alerts: []}\n",
        ]
        .concat(),
    );
    let wrong = [
        alert("1m", "firing", ""),
        alert("3m", "pending", ""),
        alert("3m", "firing", "value: 1"),
        alert("3m", "firing", "active_at: 2m"),
        alert("3m", "inactive", ""),
        alert("6m", "firing", ""),
        "      - {eval_time: 1m, alertname: Down, states: [pending], exp_alerts: []}\n".to_owned(),
    ];
    for wrong in wrong {
        assert_eq!(failures("", &format!("{LIFE}{wrong}")).len(), 1, "{wrong}");
    }
}

#[test]
fn a_case_without_states_is_about_firing_alerts_alone() {
    check("", &format!("{LIFE}      - {{eval_time: 1m, alertname: Down, exp_alerts: []}}\n"));
}

#[test]
fn a_restart_keeps_states_and_time_without_a_process_does_not_count() {
    let tests = |events: &str, at: &str, state: &str, active: &str| {
        format!(
            "
  - input_series:
      - {{series: 'up{{job=\"a\"}}', values: 0x30}}
    events: [{events}]
    alert_rule_test:
      - eval_time: {at}
        alertname: Down
        exp_alerts:
          - {{state: {state}, active_at: {active}, exp_labels: {{job: a, severity: page}},
             exp_annotations: {{summary: a is down}}}}\n"
        )
    };
    check("", &tests("{restart_at: 1m}", "1m", "pending", "0s"));
    check("", &tests("{restart_at: 1m}", "2m", "firing", "0s"));
    // Down from 1m until 10m: nine minutes of which one counts.
    check("", &tests("{restart_at: 1m, down_for: 9m}", "9m", "pending", "0s"));
    check("", &tests("{restart_at: 1m, down_for: 9m}", "10m", "pending", "9m"));
    check("", &tests("{restart_at: 1m, down_for: 9m}", "11m", "firing", "9m"));
    // An alert that fires is not touched by it.
    check("", &tests("{restart_at: 5m, down_for: 9m}, {restart_at: 16m}", "20m", "firing", "0s"));
}

#[test]
fn errors_of_the_source_are_no_failures_and_resolve_nothing() {
    let tests = "
  - input_series:
      - {series: 'up{job=\"a\"}', values: 0x5 1x20}
    events: [{source_error: {from: 4m, to: 10m}}]
    alert_rule_test:
      - eval_time: 9m
        alertname: Down
        exp_alerts:
          - {exp_labels: {job: a, severity: page}, exp_annotations: {summary: a is down}}
      - {eval_time: 10m, alertname: Down, exp_alerts: []}
";
    check("", tests);
    let without = tests.replace("from: 4m, to: 10m", "from: 14m, to: 15m");
    assert_eq!(failures("", &without), ["alert `Down` at 9m"]);
}

#[test]
fn scrapes_that_fail_leave_gaps_and_staleness_markers() {
    let tests = |gap: &str, at_2m: &str| {
        format!(
            "
  - input_series:
      - {{series: 'up{{job=\"a\"}}', values: 1x10}}
      - {{series: 'up{{job=\"b\"}}', values: 1x10}}
    events: [{{scrape_gap: {{from: 2m, to: 4m{gap}}}}}]
    promql_expr_test:
      - expr: count(up)
        eval_time: 3m
        exp_samples: [{at_2m}]
      - expr: sum(count_over_time(up[6m]))
        eval_time: 5m
        exp_samples: [{{value: {}}}]
",
            if gap.contains("job") { 10 } else { 8 }
        )
    };
    check("", &tests("", ""));
    check("", &tests(", stale: false", "{value: 2}"));
    check("", &tests(", series: 'up{job=\"a\"}'", "{value: 1}"));
}

#[test]
fn groups_have_their_interval_if_that_is_wanted() {
    let tests = |at_4m: i64| {
        format!(
            "
  - input_series:
      - {{series: 'up{{job=\"a\"}}', values: 0+1x10}}
    promql_expr_test:
      - expr: job:up:sum
        eval_time: 4m
        exp_samples: [{{labels: 'job:up:sum{{job=\"a\"}}', value: {at_4m}}}]
"
        )
    };
    check("", &tests(4));
    check("honour_group_interval: true", &tests(3));
}

#[test]
fn the_payloads_for_alertmanager_are_known_to_the_end() {
    let tests = |more: &str, payloads: &str| {
        format!(
            "
  - input_series:
      - {{series: 'up{{job=\"a\"}}', values: 0x5 1x20}}
    until: 9m
    {more}
    notifications:
      alertnames: [Down]
      resends: {}
      exp_payloads:
{payloads}",
            more.is_empty()
        )
    };
    let payload = |at: &str, state: &str, more: &str| {
        format!(
            "        - at: {at}
          alerts: [{{alertname: Down, state: {state}, exp_labels: {{job: a, severity: page}}{more}}}]\n"
        )
    };
    // Sent again after the resend delay of a minute has passed.
    let all = [
        payload("2m", "firing", ", starts_at: 2m, ends_at: 6m, exp_annotations: {summary: a is down}"),
        payload("4m", "firing", ", starts_at: 2m"),
        payload("6m", "resolved", ", starts_at: 2m, ends_at: 6m"),
        payload("8m", "resolved", ""),
    ];
    check("", &tests("", &all.concat()));
    assert_eq!(failures("", &tests("", &all[..3].concat())), ["notifications"]);
    assert_eq!(failures("", &tests("", &all.concat().replace("starts_at: 2m", "starts_at: 0s"))).len(), 1);
    // A restart sends everything again, which is no news.
    let news = [payload("2m", "firing", ""), payload("6m", "resolved", "")].concat();
    check("", &tests("events: [{restart_at: 3m}]", &news));
}

#[test]
fn what_was_never_shown_is_said() {
    let (_, _, coverage) = report("", &format!("{LIFE}      - {{eval_time: 4m, alertname: Nobody}}\n"));
    let gaps: Vec<_> =
        coverage.gaps().into_iter().map(|(_, place, what)| format!("{place} {what}")).collect();
    assert_eq!(gaps, ["9:9 alert `Down` was never seen resolved"]);
    assert_eq!((coverage.firing(), coverage.rules.len()), (1, 1));
}

#[test]
fn changes_that_no_test_notices_are_said() {
    let whole = |cases: &str| format!("{LIFE}{cases}");
    let survivors = |tests: &str| {
        let (report, suites, _) = report("", tests);
        let mutation = mutate(&suites, &[report]).expect("threads can be started");
        let survivors = mutation.survivors().map(|mutant| format!("{} -> {}", mutant.before, mutant.after));
        (mutation.mutants.len(), survivors.collect::<Vec<_>>())
    };
    let expected =
        "exp_alerts: [{exp_labels: {job: a, severity: page}, exp_annotations: {summary: a is down}}]";
    let (count, found) =
        survivors(&whole(&format!("      - {{eval_time: 3m, alertname: Down, {expected}}}\n")));
    assert_eq!((count, found), (6, vec!["for: 2m -> for: 0s".to_owned(), "for: 2m -> for: 1m".to_owned()]));
    let both = format!(
        "      - {{eval_time: 3m, alertname: Down, {expected}}}
      - {{eval_time: 2m, alertname: Down, exp_alerts: []}}\n"
    );
    assert_eq!(survivors(&whole(&both)), (6, Vec::new()));
}
