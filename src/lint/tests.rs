//! Each lint's examples, and a table of expressions for each.

use super::*;
use crate::promql::Features;
use crate::rulefmt::{SourceText, parse};

/// A group with these rules.
fn load(rules: &str) -> Loaded {
    let indented: String = rules.lines().map(|line| format!("      {line}\n")).collect();
    load_file(&format!("groups:\n  - name: g\n    rules:\n{indented}"))
}

fn load_file(text: &str) -> Loaded {
    let (files, findings) = parse("rules.yaml", text, Features::ALL);
    assert_eq!(findings, [], "{text}");
    let sources = vec![SourceText { name: "rules.yaml".to_owned(), text: text.to_owned() }];
    Loaded { files, findings, sources }
}

fn lint(loaded: &Loaded, facts: Option<&Facts>) -> Vec<Diagnostic> {
    check(loaded, &Settings::default(), facts)
}

/// An alert with this expression, held for five minutes.
fn alert(expr: &str) -> Loaded {
    load(&format!("- alert: A\n  expr: |\n    {expr}\n  for: 5m"))
}

/// Checks whether an alert on `expr` has a finding of the lint, and what the finding is about.
#[track_caller]
fn expect(name: &str, table: &[(&str, &str)]) {
    assert!(all().iter().any(|lint| lint.name == name), "{name}");
    for (expr, expected) in table {
        let found = lint(&alert(expr), None);
        let marked: Vec<&str> = found
            .iter()
            .filter(|finding| finding.code == name)
            .map(|finding| {
                let (place, end) = (finding.place.expect("a place"), finding.end.expect("an end"));
                assert_eq!((place.line, end.line), (6, 6), "{finding}");
                &expr[place.column - 11..end.column - 11]
            })
            .collect();
        assert_eq!(marked.join(" & "), *expected, "{expr}: {found:#?}");
    }
}

#[test]
fn every_lint_documents_itself_with_examples_that_hold() {
    let names: Vec<&str> = all().iter().map(|lint| lint.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    for one in all() {
        let facts = one.needs_server().then(facts);
        let has =
            |rules: &str| lint(&load(rules), facts.as_ref()).iter().any(|finding| finding.code == one.name);
        assert!(has(one.bad), "{}: the bad example is fine", one.name);
        assert!(!has(one.good), "{}: the good example is bad", one.name);
        for text in [one.what, one.why, one.fix] {
            assert!(text.ends_with('.') && !text.contains("  "), "{}: {text:?}", one.name);
        }
    }
}

/// A server that has what the examples of the lints need.
fn facts() -> Facts {
    let names = ["up", "errors_total", "requests_total", "load_average", "errors_per_minute_total"];
    let kind = |kind: &str| MetricFacts { kind: kind.to_owned() };
    let mut facts = Facts {
        names: names.into_iter().map(str::to_owned).collect(),
        metrics: [("load_average".to_owned(), kind("gauge")), ("errors_total".to_owned(), kind("counter"))]
            .into(),
        ..Facts::default()
    };
    for (selector, seen, metric_seen) in [
        ("up", true, true),
        ("upp", false, false),
        ("errorz_total", false, false),
        ("errors_total", true, true),
        ("requests_total", true, true),
        ("up{job=\"nod\"}", false, true),
        ("up{job=\"node\"}", true, true),
    ] {
        let known = SelectorFacts {
            seen: Some(seen),
            metric_seen: Some(metric_seen),
            values: [("job".to_owned(), vec!["node".to_owned()])].into(),
            interval_ms: None,
        };
        facts.selectors.insert(selector.to_owned(), known);
    }
    let slow = SelectorFacts { seen: Some(true), interval_ms: Some(60_000), ..SelectorFacts::default() };
    facts.selectors.insert("errors_per_minute_total".to_owned(), slow);
    facts
}

#[test]
fn comparisons_that_are_never_true_are_found() {
    expect(
        "impossible-comparison",
        &[
            ("up > 1", "up > 1"),
            ("up == 2", "up == 2"),
            ("up < 0", "up < 0"),
            ("1 < up", "1 < up"),
            ("up == 0", ""),
            ("up != 1", ""),
            ("up >= 1", ""),
            ("absent(x) == 0", "absent(x) == 0"),
            ("absent(x) == 1", ""),
            ("absent(x) != 1", "absent(x) != 1"),
            ("count(x) < 0", "count(x) < 0"),
            ("count(x > 3) by (job) == 0", "count(x > 3) by (job) == 0"),
            ("(count(x) or vector(0)) == 0", ""),
            ("count(x) - count(y) == 0", ""),
            ("count(x) < 1.5", ""),
            ("sum(up) == 0", ""),
            ("avg(up) > 1", "avg(up) > 1"),
            ("avg(up) * 100 > 90", ""),
            ("sum(rate(x[5m])) < 0", "sum(rate(x[5m])) < 0"),
            ("rate(x[5m]) <= 0", ""),
            ("delta(x[5m]) < 0", ""),
            ("x > 5 < 3", "x > 5 < 3"),
            ("(x > 5) < 6", ""),
            ("day_of_week() == 7", "day_of_week() == 7"),
            ("hour() > 22", ""),
            ("vector(1) > 2", "vector(1) > 2"),
            ("up > bool 1", ""),
            ("up > on (job) count by (job) (x)", "up > on (job) count by (job) (x)"),
            ("count by (job) (x) > on (job) up", ""),
            ("x > +Inf", "x > +Inf"),
            ("x == NaN", "x == NaN"),
            ("x != x", ""),
            ("up offset 5m == 3", "up offset 5m == 3"),
            ("stddev(x) < 0", "stddev(x) < 0"),
            ("100 - avg(rate(idle_total[5m])) * 100 > 90", ""),
            ("predict_linear(free[1h], 3600) < 0", ""),
            ("time() - last_run > 60", ""),
            ("abs(x - y) > 0", ""),
            ("histogram_quantile(0.9, x) > 1", ""),
        ],
    );
}

#[test]
fn comparisons_that_are_always_true_are_found() {
    expect(
        "always-true",
        &[
            ("rate(x[5m]) >= 0", "rate(x[5m]) >= 0"),
            ("up <= 1", "up <= 1"),
            ("up >= 0", "up >= 0"),
            ("up != 2", "up != 2"),
            ("0 <= changes(x[5m])", "0 <= changes(x[5m])"),
            ("rate(x[5m]) > 0", ""),
            ("up == 1", ""),
            ("absent(x) == 1", ""),
            ("count(x) > 0", ""),
            ("vector(1) == 1", ""),
            ("x >= 0", ""),
            ("abs(x) >= 0", ""),
        ],
    );
}

#[test]
fn conditions_that_exclude_one_another_are_found() {
    expect(
        "impossible-conditions",
        &[
            ("x > 5 and x < 3", "x < 3"),
            ("x > 5 and x <= 5", "x <= 5"),
            ("x > 5 and y > 1 and x < 3", "x < 3"),
            ("(x > 5) and (3 > x)", "3 > x"),
            ("x{a=\"1\"} > 5 and x{a=\"2\"} < 3", ""),
            ("x > 5 and x < 7", ""),
            ("x > 5 and on (job) x < 3", ""),
            ("x > 5 and ignoring (a) x < 3", ""),
            ("x > 5 and y < 3", ""),
            ("x > 5 or x < 3", ""),
            ("{a=\"1\"} > 5 and {a=\"1\"} < 3", ""),
            ("x > 5 and x offset 1h < 3", ""),
            ("rate(x[5m]) > 5 and rate(x[5m]) < 1", "rate(x[5m]) < 1"),
            ("rate(x[5m]) > 5 and rate(x[1h]) < 1", ""),
            ("x > 5 unless x > 3", "x > 3"),
            ("x > 5 unless x > 7", ""),
            ("x == 1 and x == 2", "x == 2"),
        ],
    );
}

#[test]
fn joins_that_never_pair_are_found() {
    expect(
        "impossible-join",
        &[
            ("a{x=\"1\"} and on (x) b{x=\"2\"} > 0", "and"),
            ("a{x=\"1\"} / b{x=\"2\"} > 0", "/"),
            ("a{x=\"1\"} / ignoring (x) b{x=\"2\"} > 0", ""),
            ("a{x=\"1\"} / on (y) b{x=\"2\"} > 0", ""),
            ("a{x=\"1\"} / b{x=~\"1|2\"} > 0", ""),
            ("a{x=~\"1|3\"} / b{x=~\"2|4\"} > 0", "/"),
            ("a{x=\"1\"} unless sum(b)", "unless"),
            ("a{x!=\"\"} > sum(b)", ">"),
            ("a > sum(b)", ""),
            ("a{x=\"1\"} or b{x=\"2\"} > 0", ""),
            ("sum by (x) (a{x=\"1\"}) / sum(b) > 0", "/"),
            ("sum by (x) (a{x=\"1\"}) / on () group_left sum(b) > 0", ""),
            ("sum by (x) (a{x=\"1\"}) / scalar(sum(b)) > 0", ""),
            ("a{x=\"1\"} + on (x) fill (0) b{x=\"2\"} > 0", ""),
            ("a{x=\"1\"} and on () vector(1) > 0", ""),
            ("a{x=\"1\"} > vector(3)", ">"),
            ("label_replace(sum(a), \"x\", \"1\", \"\", \"\") / b{x=\"2\"} > 0", "/"),
            ("label_replace(a{y=\"2\"}, \"x\", \"$1\", \"y\", \"(.*)\") / b{x=\"2\"} > 0", ""),
            ("rate(a{x=\"1\"}[5m]) / rate(b{x=\"1\"}[5m]) > 0", ""),
            ("absent(a{x=\"1\"}) and b{x=\"2\"}", "and"),
        ],
    );
}

#[test]
fn joins_and_groups_by_labels_that_are_not_there_are_found() {
    expect(
        "missing-join-label",
        &[
            ("sum(a) / on (x) b > 0", "/"),
            ("sum(a) / on (x) sum(b) > 0", "/"),
            ("sum by (x) (a) / on (x) sum by (x) (b) > 0", ""),
            ("a * on (x) group_left (y) sum by (x) (b) > 0", "*"),
            ("a * on (x) group_left (y) sum by (x, y) (b) > 0", ""),
            ("a * on (x) group_left (y) b > 0", ""),
            ("sum by (x) (a) / on () group_left sum(b) > 0", ""),
            ("sum(a{x=\"1\"}) / on (x) b{x=\"1\"} > 0", ""),
        ],
    );
    expect(
        "missing-group-label",
        &[
            ("max by (x) (sum by (y) (a)) > 0", "max by (x) (sum by (y) (a))"),
            ("max by (x) (sum without (x) (a)) > 0", "max by (x) (sum without (x) (a))"),
            ("max by (x) (sum by (x) (a)) > 0", ""),
            ("max by (x) (a) > 0", ""),
            ("sum by (v) (count_values by (x) (\"v\", a)) > 0", ""),
            ("sum by (x) (label_replace(sum(a), \"x\", \"1\", \"\", \"\")) > 0", ""),
            ("sum by (x) (sum by (y) (a) * on (y) group_left (x) b) > 0", ""),
            ("sum by (x) (sum by (y) (a) * on (y) b) > 0", "sum by (x) (sum by (y) (a) * on (y) b)"),
        ],
    );
}

#[test]
fn selectors_that_match_nothing_or_too_much_regex_are_found() {
    expect(
        "impossible-selector",
        &[
            ("up{job=\"a\", job=\"b\"} == 0", "up{job=\"a\", job=\"b\"}"),
            ("up{job=\"a\", job=~\"b|c\"} == 0", "up{job=\"a\", job=~\"b|c\"}"),
            ("up{job=~\"a|b\", job=~\"b|c\"} == 0", ""),
            ("up{job=\"a\", job!=\"a\"} == 0", "up{job=\"a\", job!=\"a\"}"),
            ("up{job=~\"a.*\", job!=\"ab\"} == 0", ""),
            ("up{job!~\".*\"} == 0", "up{job!~\".*\"}"),
            ("up{job=\"\", job!=\"\"} == 0", "up{job=\"\", job!=\"\"}"),
            ("rate(x{a=\"1\",a=\"2\"}[5m] offset 1h) > 0", "x{a=\"1\",a=\"2\"}"),
        ],
    );
    expect(
        "literal-regex",
        &[
            ("up{job=~\"node\"} == 0", "up{job=~\"node\"}"),
            ("up{job!~\"node\"} == 0", "up{job!~\"node\"}"),
            ("rate(x{a=~\"b\"}[5m]) > 0", "x{a=~\"b\"}"),
            ("up{job=~\"node|db\"} == 0", ""),
            ("up{job=~\"node.*\"} == 0", ""),
            ("up{job=~\"a.b\"} == 0", ""),
            ("up{job=~\"$job\"} == 0", ""),
            ("up{job=\"node\"} == 0", ""),
            ("up{job=~\"\"} == 0", "up{job=~\"\"}"),
        ],
    );
    expect(
        "redundant-anchors",
        &[
            ("up{job=~\"^node.*$\"} == 0", "up{job=~\"^node.*$\"}"),
            ("up{job=~\"node.*$\"} == 0", "up{job=~\"node.*$\"}"),
            ("up{job=~\"^a|b$\"} == 0", ""),
            ("up{job=~\"node.*\"} == 0", ""),
            ("up{job=\"^node\"} == 0", ""),
        ],
    );
}

#[test]
fn alerts_without_a_condition_are_found() {
    expect(
        "missing-comparison",
        &[
            ("x", "x"),
            ("sum(rate(x[5m]))", "sum(rate(x[5m]))"),
            ("a / b", "a / b"),
            ("x > bool 5", "x > bool 5"),
            ("x > 5 or y", "y"),
            ("x > 5", ""),
            ("x > 5 and y", ""),
            ("x and y > 5", ""),
            ("(x > 5) * 100", ""),
            ("count(x > 5)", ""),
            ("absent(x)", ""),
            ("absent(x) or absent(y)", ""),
            ("x unless y", ""),
            ("vector(1)", ""),
            ("ALERTS{alertname=\"A\"}", ""),
            ("max_over_time((x > 5)[5m:1m])", ""),
            ("x * on (a) group_left (b) y", "x * on (a) group_left (b) y"),
        ],
    );
    expect(
        "unstable-series",
        &[
            ("topk(3, x) > 5", "topk(3, x)"),
            ("topk(3, x > 5)", "topk(3, x > 5)"),
            ("sum(topk(3, x)) > 5", ""),
            ("x > 5", ""),
        ],
    );
}

#[test]
fn windows_and_functions_that_do_not_fit_are_found() {
    expect(
        "short-window",
        &[
            ("rate(x[30s]) > 0", "x[30s]"),
            ("increase(x[59s]) > 0", "x[59s]"),
            ("rate(x[1m]) > 0", ""),
            ("avg_over_time(x[30s]) > 0", ""),
            ("rate(sum(x)[1m:1m]) > 0", "sum(x)[1m:1m]"),
            ("rate(sum(x)[5m:1m]) > 0", ""),
            ("rate(sum(x)[1m:]) > 0", ""),
            ("rate(x[30s] smoothed) > 0", ""),
        ],
    );
    expect(
        "rate-of-gauge",
        &[
            ("rate(up[5m]) > 0", "rate(up[5m])"),
            ("increase(disk_used_ratio[5m]) > 0", "increase(disk_used_ratio[5m])"),
            ("rate(x_total[5m]) > 0", ""),
            ("rate(node_network_receive_bytes[5m]) > 0", ""),
            ("deriv(node_load1[5m]) > 0", ""),
            ("rate(job:x_ratio[5m]) > 0", ""),
        ],
    );
    expect(
        "delta-of-counter",
        &[
            ("delta(x_total[5m]) > 0", "delta(x_total[5m])"),
            ("increase(x_total[5m]) > 0", ""),
            ("delta(x_celsius[5m]) > 0", ""),
        ],
    );
    expect(
        "aggregate-before-rate",
        &[
            ("rate(sum(x_total)[5m:]) > 0", "rate(sum(x_total)[5m:])"),
            ("sum(rate(x_total[5m])) > 0", ""),
            ("rate(sum(x)[5m:]) > 0", ""),
            ("rate(sum(rate(x_total[5m]))[5m:]) > 0", ""),
        ],
    );
    expect(
        "quantile-without-le",
        &[
            ("histogram_quantile(0.9, sum(rate(x_bucket[5m]))) > 1", "sum(rate(x_bucket[5m]))"),
            (
                "histogram_quantile(0.9, sum without (le) (rate(x_bucket[5m]))) > 1",
                "sum without (le) (rate(x_bucket[5m]))",
            ),
            ("histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m]))) > 1", ""),
            ("histogram_quantile(0.9, sum(rate(x[5m]))) > 1", ""),
            ("histogram_quantile(0.9, rate(x_bucket[5m])) > 1", ""),
        ],
    );
}
