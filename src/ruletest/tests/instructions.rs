//! Rules with instructions, evaluated minute after minute as in a running process.

use std::collections::BTreeMap;

use super::super::simulate::Simulation;
use super::*;
use crate::model::{ALERT_NAME, Labels};
use crate::rules::Alert;
use crate::state::AlertState;

/// What a simulation has shown.
struct Course {
    /// For each alert what it did from minute to minute: `.` nothing, `p` pending, `F` firing, `r` resolved.
    states: BTreeMap<String, String>,
    /// `minute labels firing|resolved {annotations}` of each alert that was sent.
    sent: Vec<String>,
    /// The same as it was sent, each with its minute.
    payloads: Vec<(i64, Alert)>,
}

/// Labels for people: without the alert's name, `{}` if there are no others.
fn shown(labels: &Labels) -> String {
    labels.filtered(|name| name != ALERT_NAME).to_string()
}

/// Runs a rule over series until all of their samples are used up. `rule` is what stands in its mapping,
/// the alert's name apart, and `test` what stands in that of the test.
fn course(rule: &str, test: &str) -> Course {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = format!("groups: [{{name: g, rules: [{{alert: A, {rule}}}]}}]");
    fs::write(folder.path().join("rules.yml"), rules).expect("the rules are written");
    let file = folder.path().join("test.yml");
    let text = format!("rule_files: [rules.yml]\ntests: [{{{test}}}]");
    fs::write(&file, text).expect("the tests are written");
    let Suite { file, findings, groups, .. } =
        load(file.to_str().expect("a UTF-8 path"), &Selection::default());
    assert!(findings.is_empty(), "{findings:?}");
    let test = &file.tests[0];
    let minutes = test.input.iter().map(|line| line.values.len()).max().expect("series") as i64;
    let mut simulation = Simulation::new(&file, test, &groups);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut states: BTreeMap<String, String> = BTreeMap::new();
    for minute in 0..minutes {
        let faults = runtime.block_on(simulation.advance());
        assert_eq!(faults, [], "minute {minute}");
        let rules = simulation.groups().flat_map(|(_, group)| group.rules());
        for record in rules.flat_map(|rule| rule.alerts()) {
            let states = states.entry(shown(&record.shown_labels())).or_default();
            while states.len() < minute as usize {
                states.push('.');
            }
            states.push(match record.state {
                AlertState::Inactive => 'r',
                AlertState::Pending => 'p',
                AlertState::Firing => 'F',
            });
        }
    }
    let alert = |at: i64, alert: &Alert| {
        let state = if alert.resolved { "resolved" } else { "firing" };
        format!("{} {} {state} {}", (at - test.start) / 60_000, shown(&alert.labels), alert.annotations)
    };
    let payloads = simulation.payloads();
    let sent = payloads.iter().flat_map(|payload| payload.alerts.iter().map(|sent| alert(payload.at, sent)));
    let sent = sent.collect();
    let minute = |at: i64| (at - test.start) / 60_000;
    let payloads = payloads
        .into_iter()
        .flat_map(|payload| payload.alerts.into_iter().map(move |alert| (minute(payload.at), alert)))
        .collect();
    Course { states, sent, payloads }
}

/// What the alerts of a rule do, one `labels course` for each; the ends of courses at which nothing is known
/// of an alert are left out.
#[track_caller]
fn check(rule: &str, test: &str, expected: &[&str]) {
    let course = course(rule, test);
    let got: Vec<_> = course.states.iter().map(|(labels, states)| format!("{labels} {states}")).collect();
    assert_eq!(got, expected, "{rule}\n{test}");
}

/// A test with these series, each `series values`.
fn series(lines: &[&str]) -> String {
    let line = |line: &&str| {
        let (series, values) = line.split_once(' ').expect("a series and its values");
        format!("{{series: '{series}', values: '{values}'}}")
    };
    format!("input_series: [{}]", lines.iter().map(line).collect::<Vec<_>>().join(", "))
}

#[test]
fn an_alert_whose_series_are_gone_ends_unless_the_rule_says_otherwise() {
    let gone = series(&["m{a=\"1\"} 9 9 stale _x4 1 1", "m{a=\"2\"} 9x8"]);
    let rule = |policy: &str| format!("expr: m > 5, annotations: {{{policy}}}");
    check(&rule(""), &gone, &[r#"{a="1"} FFrrrrrrr"#, r#"{a="2"} FFFFFFFFF"#]);
    check(&rule("valmis_on_missing: resolve"), &gone, &[r#"{a="1"} FFrrrrrrr"#, r#"{a="2"} FFFFFFFFF"#]);
    check(&rule("valmis_on_missing: hold"), &gone, &[r#"{a="1"} FFFFFFFrr"#, r#"{a="2"} FFFFFFFFF"#]);
    check(&rule("valmis_on_missing: hold 3m"), &gone, &[r#"{a="1"} FFFFFrrrr"#, r#"{a="2"} FFFFFFFFF"#]);
}

#[test]
fn an_alert_whose_series_have_samples_ends_when_they_say_so() {
    let hold = |expr: &str| format!("expr: '{expr}', annotations: {{valmis_on_missing: hold}}");
    let recovers = series(&["m{a=\"1\"} 9 9 1 1"]);
    check(&hold("m > 5"), &recovers, &[r#"{a="1"} FFrr"#]);
    check(&hold("sum by (a) (m) > 5"), &recovers, &[r#"{a="1"} FFrr"#]);
    check(&hold("(sum(m) or vector(0)) > 5"), &recovers, &["{} FFrr"]);
    // Without a staleness marker a sample counts for five minutes.
    let silent = series(&["m{a=\"1\"} 9 9 _x10"]);
    check(&hold("m > 5"), &silent, &[r#"{a="1"} FFFFFFFFFFFF"#]);
    // The end of a condition is not an end of the series, also where a part of it is gone.
    let partly = series(&["m{a=\"1\",b=\"1\"} 9 9 stale", "m{a=\"1\",b=\"2\"} 1x4"]);
    check(&hold("sum by (a) (m) > 5"), &partly, &[r#"{a="1"} FFrrr"#]);
}

#[test]
fn what_an_expression_makes_of_absent_series_does_not_hide_that_they_are_gone() {
    let hold = |expr: &str| format!("expr: '{expr}', annotations: {{valmis_on_missing: hold}}");
    let gone = series(&["m{a=\"1\"} 9 9 stale _x2"]);
    check(&hold("(sum(m) or vector(0)) > 5"), &gone, &["{} FFFFF"]);
    check(
        &hold("rate(m[2m]) * 0 + 9 > 5"),
        &series(&["m{a=\"1\"} 1 2 3 stale _x3"]),
        &[r#"{a="1"} .FFFFFF"#],
    );
    check(
        &hold("m > 5 and on (a) n"),
        &series(&["m{a=\"1\"} 9x4", "n{a=\"1\"} 1 1 stale"]),
        &[r#"{a="1"} FFFFF"#],
    );
    // Here absence is what the alert is about, and its end the end of the alert.
    let returns = series(&["m{a=\"1\"} _x2 1 1", "n 1x3"]);
    check(&hold("absent(m{a=\"1\"})"), &returns, &[r#"{a="1"} FFrr"#]);
    check(&hold("absent(m{a=\"1\"}) or n > 5"), &returns, &[r#"{a="1"} FFrr"#]);
    check(&hold("(sum(m) or vector(0)) == 0"), &returns, &["{} FFrr"]);
    check(&hold("n == 1 unless on () m"), &returns, &["{} FFrr"]);
}

#[test]
fn a_restart_and_a_failing_source_do_not_change_how_long_an_alert_is_held() {
    let test = |events: &str| {
        let series = series(&["m{a=\"1\"} 9 9 stale _x12"]);
        format!("{series}, events: [{events}]")
    };
    let rule = "expr: m > 5, annotations: {valmis_on_missing: hold 5m}";
    check(rule, &test(""), &[r#"{a="1"} FFFFFFFrrrrrrrr"#]);
    check(rule, &test("{restart_at: 4m}"), &[r#"{a="1"} FFFFFFFrrrrrrrr"#]);
    check(rule, &test("{source_error: {from: 2m, to: 4m}}"), &[r#"{a="1"} FFFFFFFFFrrrrrr"#]);
    // While the process is down nothing is known of the series.
    check(rule, &test("{restart_at: 4m, down_for: 4m}"), &[r#"{a="1"} FFFFFFFFFFFrrrr"#]);
}

#[test]
fn keep_firing_for_comes_before_the_policy_for_missing_series() {
    let gone = series(&["m{a=\"1\"} 9 9 stale _x6"]);
    let rule = "expr: m > 5, keep_firing_for: 2m, annotations: {valmis_on_missing: hold 2m}";
    check(rule, &gone, &[r#"{a="1"} FFFFFFrrr"#]);
}

#[test]
fn who_gets_an_alert_that_is_held_sees_that_it_is() {
    let gone = series(&["m{a=\"1\"} 9 stale _x1 9 1"]);
    let rule = "expr: m > 5, annotations: {summary: high, valmis_on_missing: hold}";
    let marked = r#"{missing_data="there are no samples of m any more", summary="high"}"#;
    let plain = r#"{summary="high"}"#;
    let a = r#"{a="1"}"#;
    assert_eq!(
        course(rule, &gone).sent,
        [
            format!("0 {a} firing {plain}"),
            format!("1 {a} firing {marked}"),
            format!("3 {a} firing {plain}"),
            format!("4 {a} resolved {plain}"),
        ]
    );
}

#[test]
fn one_alert_tells_that_a_rule_has_no_data() {
    let rule = |hold: &str| {
        format!(
            "expr: m > 5, {hold} labels: {{severity: page}}, annotations: {{valmis_on_missing: alert 4m}}"
        )
    };
    let a = r#"{a="1", severity="page"}"#;
    let no_data = r#"{no_data="true", severity="page"}"#;
    // Of what fires at once, else when they have been gone for some time.
    let gone = series(&["m{a=\"1\"} 9 stale _x8"]);
    check(&rule(""), &gone, &[&format!("{a} FFFFFrrrrr"), &format!("{no_data} .FFFFFFFFF")]);
    let quiet = series(&["m{a=\"1\"} 1 stale _x8 1"]);
    check(&rule(""), &quiet, &[&format!("{no_data} .pppppFFFFr")]);
    check(&rule("for: 7m,"), &quiet, &[&format!("{no_data} .pppppppFFr")]);
    // One instance of two says nothing about the rule unless it fires.
    let partly = series(&["m{a=\"1\"} 9 stale _x4", "m{a=\"2\"} 1x5"]);
    check(&rule(""), &partly, &[&format!("{a} FFFFFr"), &format!("{no_data} .FFFFr")]);
    let sent = course(&rule(""), &gone).sent;
    let text = r#"{summary="A cannot be judged: there are no samples of m"}"#;
    assert!(sent.contains(&format!("1 {no_data} firing {text}")), "{sent:#?}");
}

#[test]
fn the_end_of_an_alert_is_told_with_the_value_that_it_ended_with() {
    let text = |state: &str, value: &str, resolved: &str| format!("{state} {value} -> {resolved}");
    let sent = |expr: &str, lines: &[&str]| {
        let rule = format!(
            "expr: '{expr}', labels: {{severity: page}}, annotations: {{x: '{{{{ $status }}}} {{{{ $value }}}} -> {{{{ $resolvedValue }}}}'}}"
        );
        let sent = course(&rule, &series(lines)).sent;
        let words = sent.iter().map(|line| {
            let (_, text) = line.split_once("x=\"").expect("the annotation");
            text.split('"').next().expect("its text").to_owned()
        });
        words.collect::<Vec<_>>()
    };
    let recovers = ["m{a=\"1\"} 9 2", "n{a=\"1\"} 1 1"];
    let told = |resolved: &str| vec![text("firing", "9", "NaN"), text("resolved", "9", resolved)];
    assert_eq!(sent("m > 5", &recovers), told("2"));
    assert_eq!(sent("5 < m", &recovers), told("2"));
    assert_eq!(sent("m * 1 > 5 and on (a) n", &recovers), told("2"));
    assert_eq!(sent("m > on (a) n * 3", &recovers), told("2"));
    assert_eq!(sent("sum by (a) (m) > 5", &recovers), told("2"));
    assert_eq!(sent("m > 5 or n > 5", &recovers), told("NaN"), "either could be meant");
    assert_eq!(sent("m > 5 or n{a=\"2\"} > 5", &recovers), told("2"));
    assert_eq!(sent("m > 5", &["m{a=\"1\"} 9 stale"]), told("NaN"), "there is none");
    assert_eq!(sent("m == 9", &["m{a=\"1\"} 9 0"]), told("0"));
    assert_eq!(sent("n > 5 or m * 9 == 9", &["m{a=\"1\"} 1 3", "n{a=\"2\"} 1 1"]), told("27"));
}

#[test]
fn a_rule_can_ask_for_the_value_in_an_annotation_of_its_own() {
    let rule = "expr: m > 5, annotations: {summary: '{{ $value }}', valmis_resolved_value: now}";
    let sent = |values: &str| course(rule, &series(&[&format!("m {values}")])).sent;
    assert_eq!(
        sent("9 2 9"),
        [
            r#"0 {} firing {summary="9"}"#,
            r#"1 {} resolved {now="2", summary="9"}"#,
            r#"2 {} firing {summary="9"}"#,
        ]
    );
    assert_eq!(
        sent("9 stale"),
        [r#"0 {} firing {summary="9"}"#, r#"1 {} resolved {now="unknown", summary="9"}"#]
    );
}

#[test]
fn annotations_know_where_their_alert_stands() {
    let rule = "expr: m > 5, for: 2m, annotations: {x: '{{ $status }} {{ $activeAt.Unix }} {{ $for }} {{ $expr }} {{ $interval }} {{ $type }}'}";
    let test = format!("start_timestamp: 600, {}", series(&["m 9x3 1"]));
    assert_eq!(
        course(rule, &test).sent,
        [
            r#"2 {} firing {x="firing 600 2m0s m > 5 1m0s prometheus"}"#,
            r#"4 {} resolved {x="resolved 600 2m0s m > 5 1m0s prometheus"}"#,
        ]
    );
}

#[test]
fn an_alert_with_a_resolve_expression_fires_until_that_has_a_result() {
    let rule = |resolve: &str, more: &str| {
        format!(
            "expr: m > 90, labels: {{severity: page}}, annotations: {{valmis_resolve_expr: '{resolve}'{more}}}"
        )
    };
    let page = r#"{a="1", severity="page"}"#;
    let swings = series(&["m{a=\"1\"} 80 95 85 95 85 75 85", "m{a=\"2\"} 70x6"]);
    check(&rule("m < 80", ""), &swings, &[&format!("{page} .FFFFrr")]);
    // A result without a label is about alerts with any value of it.
    check(&rule("min(m) < 80", ""), &swings, &[&format!("{page} .FrFrrr")]);
    check(&rule("sum by (a) (m) < 80", ""), &swings, &[&format!("{page} .FFFFrr")]);
    check(&rule("m{a=\"2\"} < 80", ""), &swings, &[&format!("{page} .FFFFFF")]);
    // While the condition holds nothing else matters.
    check(&rule("m > 0", ""), &swings, &[&format!("{page} .FrFrrr")]);
    // What was pending is not held.
    let pending = rule("m < 80", "").replace("labels:", "for: 2m, labels:");
    check(&pending, &series(&["m{a=\"1\"} 95 85 95 95 95 85 75"]), &[&format!("{page} p.ppFFr")]);
    // Without series there is no result; what that means is said by the policy for them.
    let gone = series(&["m{a=\"1\"} 95 stale _x5"]);
    check(&rule("m < 80", ""), &gone, &[&format!("{page} FFFFFFF")]);
    check(&rule("m < 80", ", valmis_on_missing: resolve"), &gone, &[&format!("{page} Frrrrrr")]);
    check(&rule("m < 80", ", valmis_on_missing: hold 2m"), &gone, &[&format!("{page} FFFrrrr")]);
    // `keep_firing_for` has to pass too.
    let kept = rule("m < 80", "").replace("labels:", "keep_firing_for: 3m, labels:");
    check(&kept, &series(&["m{a=\"1\"} 95 75 75 75 75 75"]), &[&format!("{page} FFFFrr")]);
    check(&kept, &series(&["m{a=\"1\"} 95 85 85 85 85 75"]), &[&format!("{page} FFFFFr")]);
}

#[test]
fn a_restart_does_not_forget_what_an_alert_waits_for() {
    let rule = "expr: m > 90, annotations: {valmis_resolve_expr: m < 80}";
    let test = format!("{}, events: [{{restart_at: 2m, down_for: 2m}}]", series(&["m 95 85x7 75"]));
    check(rule, &test, &["{} FFFFFFFFFr"]);
}

const LADDER: &str =
    "expr: m > 70, labels: {severity: info}, annotations: {valmis_severities: 'warning > 80, critical > 95'}";

#[test]
fn an_alert_has_the_severity_that_its_value_calls_for() {
    let [info, warning, critical] =
        ["info", "warning", "critical"].map(|severity| format!(r#"{{severity="{severity}"}}"#));
    check(
        LADDER,
        &series(&["m 75 85 99 99 85 60"]),
        &[&format!("{critical} ..FF"), &format!("{info} F"), &format!("{warning} .F..Fr")],
    );
    let sent = course(LADDER, &series(&["m 75 75 99 99 60"])).sent;
    let over = r#"{severity_changed="the severity is critical now"}"#;
    assert_eq!(
        sent,
        [
            format!("0 {info} firing {{}}"),
            format!("2 {critical} firing {{}}"),
            format!("2 {info} resolved {over}"),
            format!("4 {critical} resolved {{}}"),
            format!("4 {info} resolved {over}"),
        ],
        "the two that belong together are sent at once"
    );
}

#[test]
fn a_severity_that_changes_leaves_the_alert_what_it_is() {
    // It is not pending again, and began when it began.
    let rule = LADDER.replace("labels:", "for: 2m, labels:");
    let [warning, critical] = ["warning", "critical"].map(|severity| format!(r#"{{severity="{severity}"}}"#));
    check(&rule, &series(&["m 85 99 85 99"]), &[&format!("{critical} .p.F"), &format!("{warning} p.F")]);
    // A lower one waits for `keep_firing_for`, a higher one for nothing.
    let rule = LADDER.replace("labels:", "keep_firing_for: 2m, labels:");
    check(
        &rule,
        &series(&["m 85 99 85 99 85 85 85 85 60 60 60"]),
        &[&format!("{critical} .FFFFF"), &format!("{warning} F.....FFFFr")],
    );
}

#[test]
fn a_restart_forgets_no_severity() {
    let test = |events: &str| format!("{}, events: [{events}]", series(&["m 85 99 85x4 60"]));
    let rule = LADDER.replace("labels:", "keep_firing_for: 2m, labels:");
    let steady = course(&rule, &test(""));
    let killed = course(&rule, &test("{restart_at: 2m}, {restart_at: 3m}, {restart_at: 4m}"));
    assert_eq!(killed.states, steady.states);
    let over: Vec<_> = killed.sent.iter().filter(|sent| sent.starts_with("2 ")).collect();
    let critical = r#"{severity="critical"}"#;
    let warning = r#"{severity="warning"}"#;
    let changed = r#"{severity_changed="the severity is critical now"}"#;
    assert_eq!(over, [&format!("2 {critical} firing {{}}"), &format!("2 {warning} resolved {changed}")]);
}

/// Rules of every kind, the series that make them fire from the start on, and the minute in which the first
/// of them may end.
const OUTAGES: [(&str, &str, i64); 7] = [
    ("expr: m > 5", "m 9x60", 61),
    ("expr: m > 5, for: 3m", "m 9x60", 61),
    ("expr: m > 5, keep_firing_for: 10m", "m 9x3 1x60", 43),
    ("expr: m > 5, annotations: {valmis_on_missing: hold 10m}", "m 9x3 stale _x57", 43),
    ("expr: m > 5, annotations: {valmis_on_missing: alert 10m}", "m 9x3 stale _x57", 43),
    ("expr: m > 5, annotations: {valmis_resolve_expr: m < 1}", "m 9x3 2x57", 61),
    ("expr: m > 5, annotations: {valmis_severities: high > 8}", "m 9x60", 61),
];

#[test]
fn no_page_is_closed_while_the_source_is_down() {
    for (rule, values, may_end) in OUTAGES {
        let test = format!("{}, events: [{{source_error: {{from: 6m, to: 36m}}}}]", series(&[values]));
        let payloads = course(rule, &test).payloads;
        let ends: Vec<_> = payloads.iter().filter(|(_, alert)| alert.resolved).map(|(at, _)| *at).collect();
        assert!(ends.iter().all(|at| *at >= may_end), "{rule}: {ends:?}");
        // Alertmanager takes an alert for resolved that is not sent again in time.
        let mut valid_until: BTreeMap<String, i64> = BTreeMap::new();
        for (at, alert) in payloads.iter().filter(|(at, _)| *at < may_end) {
            let known = valid_until.insert(alert.labels.to_string(), alert.ends_at / 60_000);
            assert!(known.is_none_or(|until| *at <= until), "{rule}: sent too late in minute {at}");
        }
        assert!(!valid_until.is_empty(), "{rule}: it fires");
        assert!(valid_until.values().all(|until| *until >= may_end.min(60)), "{rule}: {valid_until:?}");
    }
}

#[test]
fn tests_that_show_no_severity_notice_no_other_threshold() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = "groups: [{name: g, rules: [{alert: Full, expr: used > 50, annotations: \
                 {valmis_severities: 'warning > 80, critical > 95', valmis_on_missing: hold}}]}]";
    fs::write(folder.path().join("rules.yml"), rules).expect("the rules are written");
    let check = |cases: &str, gaps: &[&str], survivors: &[&str]| {
        let file = folder.path().join("test.yml");
        let series = "input_series: [{series: used, values: '10 85 85 99 10 10'}]";
        let text = format!(
            "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests: [{{interval: 1m, {series}, alert_rule_test: [{cases}]}}]"
        );
        fs::write(&file, text).expect("the tests are written");
        let suites = [load(file.to_str().expect("a UTF-8 path"), &Selection::default())];
        let extras = Extras { coverage: true, ..Extras::default() };
        let (reports, coverage) = run(&suites, extras).expect("threads can be started");
        assert!(reports[0].passed(), "{:?}", reports[0]);
        let found: Vec<_> = coverage.gaps().into_iter().map(|(_, _, what)| what).collect();
        assert_eq!(found, gaps, "{cases}");
        let mutation = mutate(&suites, &reports).expect("threads can be started");
        let found: Vec<_> = mutation
            .survivors()
            .map(|mutant| format!("{} -> {}", mutant.before, mutant.after))
            .filter(|change| !change.starts_with('>'))
            .collect();
        assert_eq!(found, survivors, "{cases}");
    };
    let at =
        |time: &str, alerts: &str| format!("{{eval_time: {time}, alertname: Full, exp_alerts: [{alerts}]}}");
    let with = |severity: &str| format!("{{exp_labels: {{severity: {severity}}}}}");
    check(
        &at("1m", &with("warning")),
        &[
            "alert `Full` was never seen resolved",
            "alert `Full` was never seen firing with severity `critical`",
        ],
        &[
            "valmis_on_missing: hold -> left out",
            "valmis_severities: warning at 80 -> warning at 72",
            "valmis_severities: warning at 80 -> warning at 0",
            "valmis_severities: critical at 95 -> critical at 104.5",
            "valmis_severities: critical at 95 -> critical at 85.5",
        ],
    );
    // 85 is above the threshold even if that is lower, and no series ever ends.
    check(
        &[at("1m", &with("warning")), at("3m", &with("critical")), at("5m", "")].join(", "),
        &[],
        &[
            "valmis_on_missing: hold -> left out",
            "valmis_severities: warning at 80 -> warning at 72",
            "valmis_severities: warning at 80 -> warning at 0",
            "valmis_severities: critical at 95 -> critical at 85.5",
        ],
    );
}
