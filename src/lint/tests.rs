//! Each lint's examples, and a table of expressions for each.

use super::*;
use crate::promql::Features;
use crate::rulefmt::{SourceText, parse};

/// A group with these rules.
fn load(rules: &str) -> Loaded {
    let indented: Vec<String> = rules.lines().map(|line| format!("      {line}")).collect();
    load_file(&format!("groups:\n  - name: g\n    rules:\n{}\n", indented.join("\n")))
}

fn load_file(text: &str) -> Loaded {
    let (files, findings) = parse("rules.yaml", text, Features::ALL);
    assert_eq!(findings, [], "{text}");
    let sources = vec![SourceText { name: "rules.yaml".to_owned(), text: text.to_owned() }];
    Loaded { files, findings, sources }
}

fn lint(loaded: &Loaded, facts: Option<&Facts>) -> Vec<Diagnostic> {
    check(loaded, Settings::default(), facts)
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
            ("topk by (job) (1, x) > 5", ""),
            ("topk(1, x) > 5", "topk(1, x)"),
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

#[test]
fn counters_that_are_compared_as_they_are_are_found() {
    let facts = facts();
    let check = |expr: &str, expected: bool| {
        let found = lint(&alert(expr), Some(&facts));
        assert_eq!(
            found.iter().any(|finding| finding.code == "counter-value"),
            expected,
            "{expr}: {found:#?}"
        );
    };
    check("errors_total > 10", true);
    check("10 < errors_total", true);
    check("errors_total offset 5m > 10", true);
    check("rate(errors_total[5m]) > 10", false);
    check("errors_total - errors_total offset 5m > 10", false);
    check("errors_total < 10", false);
    check("load_average > 10", false);
    check("other_total > 10", false);
}

/// The findings of rules as `line:column lint: message`.
fn shown(loaded: &Loaded) -> Vec<String> {
    lint(loaded, None)
        .iter()
        .map(|finding| format!("{} {}: {}", finding.place.expect("a place"), finding.code, finding.message))
        .collect()
}

#[test]
fn labels_that_texts_need_are_found_with_what_loses_them() {
    let check = |expr: &str, text: &str, expected: &[&str]| {
        let rules = format!(
            "- alert: A\n  expr: {expr}\n  for: 5m\n  labels: {{severity: page}}\n  annotations: {{a: '{text}'}}"
        );
        assert_eq!(shown(&load(&rules)), expected, "{expr} {text}");
    };
    let instance = "{{ $labels.instance }}";
    check(
        "sum by (job) (x) > 0",
        instance,
        &["8:30 dropped-label: the label `instance` is dropped by `sum by (job)`"],
    );
    check("sum by (job, instance) (x) > 0", instance, &[]);
    check("x > 0", instance, &[]);
    check("absent(x)", instance, &["8:30 template-label: the expression has no label `instance`"]);
    check("absent(x{instance=\"a\"})", instance, &[]);
    check("x > 0", "{{ $labels.severity }}", &[]);
    check(
        "vector(1)",
        "{{ $labels.severity }}",
        &["8:30 template-label: the expression has no label `severity`"],
    );
    check("sum(x) > 0", "{{ if $labels.instance }}{{ $labels.instance }}{{ end }}", &[]);
    check("sum(x) > 0", "{{ range $k, $v := $labels }}{{ $v }}{{ end }}", &[]);
    check(
        "sum(x) > 0 and on () y",
        instance,
        &["8:30 dropped-label: the label `instance` is dropped by `sum`"],
    );
    check("y and on () sum(x) > 0", instance, &[]);
    check("x / on (job) y > 0", instance, &["8:30 template-label: the expression has no label `instance`"]);
    check("sum by (a) (x) * on (a) group_left (instance) y > 0", instance, &[]);
    check("count_values(\"instance\", x) > 0", instance, &[]);
    check("sum(x) > 0 or y > 0", instance, &[]);
}

#[test]
fn values_in_labels_and_queries_in_texts_are_looked_at() {
    let check = |labels: &str, expected: &[&str]| {
        let rules = format!("- alert: A\n  expr: x > 0\n  labels: {{a: '{labels}'}}");
        assert_eq!(shown(&load(&rules)), expected, "{labels}");
    };
    check("{{ $value }}", &["6:25 value-in-label: every new value makes this another alert"]);
    check("{{ printf \"%.0f\" .Value }}", &["6:39 value-in-label: every new value makes this another alert"]);
    check("{{ if gt $value 5.0 }}critical{{ else }}warning{{ end }}", &[]);
    check("{{ with query \"sum(y)\" }}{{ . | first | value }}{{ end }}", &[]);
    check(
        "{{ with query \"sum(\" }}{{ . | first | value }}{{ end }}",
        &["6:37 template-query: no PromQL: unclosed left parenthesis"],
    );
}

#[test]
fn rules_are_compared_with_one_another() {
    let check = |rules: &str, expected: &[&str]| assert_eq!(shown(&load(rules)), expected, "{rules}");
    let twice =
        |one: &str, other: &str| format!("- record: r\n  expr: {one}\n- record: r\n  expr: {other}\n");
    check(
        &twice("sum(x)", "sum( x )"),
        &["6:17 duplicate-rule: the rule at line 4 has the same name, labels and expression"],
    );
    check(
        &twice("sum(x)", "sum(y)"),
        &["6:17 duplicate-rule: the rule at line 4 has the same name and labels"],
    );
    check(&twice("x{job=\"a\"}", "x{job=\"b\"}"), &[]);
    check(&twice("x{code=~\"2..\"}", "x{code=~\"3..\"}"), &[]);
    check("- record: r\n  expr: x\n- record: r\n  expr: x\n  labels: {a: b}\n", &[]);
    check("- alert: r\n  expr: x > 0\n- record: r\n  expr: x > 0\n", &[]);
    let up = "- alert: A\n  expr: up{job=\"a\"} == 0\n";
    check(up, &["5:15 absent-companion: nothing fires if this `up` series ends"]);
    check(&format!("{up}- alert: B\n  expr: absent(up{{job=\"a\"}})\n  for: 5m\n"), &[]);
    check(&format!("{up}- alert: B\n  expr: absent_over_time(up[5m])\n"), &[]);
    check("- alert: A\n  expr: up == 0\n", &[]);
    check("- alert: A\n  expr: avg(up{job=\"a\"}) < 0.5\n", &[]);
    check("- record: b\n  expr: avg_over_time(c[1d])\n- record: c\n  expr: sum(x)\n", &[]);
    check(
        "- record: a\n  expr: sum(b)\n- record: b\n  expr: sum(x)\n- record: c\n  expr: sum(b)\n",
        &["5:19 late-recording: `b` is recorded after this rule, at line 6"],
    );
    check(
        "- record: all\n  expr: sum(x_total)\n- alert: A\n  expr: rate(all[5m]) > 0\n",
        &[
            "7:15 aggregate-before-rate: `all` is recorded as `sum(x_total)`, a sum, of which there is no `rate`",
        ],
    );
}

#[test]
fn comments_disable_lints_where_they_stand() {
    let file = |top: &str, group: &str, above: &str, within: &str| {
        load_file(&format!(
            "{top}\ngroups:\n  - name: g\n    {group}\n    rules:\n      - alert: A\n        expr: up > 1\n      \
             {above}\n      - alert: B\n        expr: | {within}\n          up > 1\n      - alert: C\n        expr: up > 1\n"
        ))
    };
    let check = |top: &str, group: &str, above: &str, within: &str, expected: &[usize]| {
        let found = lint(&file(top, group, above, within), None);
        let lines: Vec<usize> =
            found.iter().filter_map(|finding| finding.place).map(|place| place.line).collect();
        assert_eq!(lines, expected, "{top} {group} {above} {within}: {found:#?}");
    };
    let here = "# valmis:disable impossible-comparison";
    check("", "", "", "", &[7, 11, 13]);
    check("", "", here, "", &[7, 13]);
    check("", "", "", here, &[7, 13]);
    check("", "", "# valmis:disable late-recording, impossible-comparison -- it is so, really", "", &[7, 13]);
    check("", here, "", "", &[]);
    check("# valmis:disable-file impossible-comparison", "", "", "", &[]);
    check("", "", "# pint disable promql/impossible", "", &[7, 13]);
    check("", "", "# pint disable promql/impossible(prom)", "", &[7, 13]);
    check("", "", "# pint file/disable promql/impossible", "", &[]);
    check("", "", "# pint disable promql/rate", "", &[7, 11, 13]);
    check("", "", "# valmis:disable always-true", "", &[7, 11, 13]);
    check("", "", "# valmis:disable impossible-comparision", "", &[7, 8, 11, 13]);
    let unknown = lint(&file("", "", "# valmis:disable impossible-comparision", ""), None);
    assert_eq!(unknown[1].hint.as_deref(), Some("did you mean `impossible-comparison`?"));
}

#[test]
fn what_is_proposed_repairs_the_finding() {
    let check = |expr: &str, expected: &str| {
        let found = lint(&alert(expr), None);
        let [finding] = &found[..] else { panic!("{expr}: {found:#?}") };
        let (place, end) = (finding.place.expect("a place"), finding.end.expect("an end"));
        let fix = finding.fix.as_deref().expect("a fix");
        let repaired = format!("{}{fix}{}", &expr[..place.column - 11], &expr[end.column - 11..]);
        assert_eq!(repaired, expected, "{expr}");
        assert_eq!(lint(&alert(&repaired), None), [], "{repaired}");
    };
    check("x{job=~\"node\", a!=\"b\"} offset 5m == 0", "x{a!=\"b\",job=\"node\"} offset 5m == 0");
    check("sum(rate(x{a!~\"b\"}[5m])) > 0", "sum(rate(x{a!=\"b\"}[5m])) > 0");
    check("x{job=~\"^node.+$\"} == 0", "x{job=~\"node.+\"} == 0");
    check("1 + delta(x_total[5m]) > 0", "1 + increase(x_total[5m]) > 0");
    check("rate(node_load1[5m]) > 0", "deriv(node_load1[5m]) > 0");
}

#[test]
fn findings_point_into_scalars_of_every_style() {
    let check = |scalar: &str, expected: &str| {
        let text = format!("groups:\n  - name: g\n    rules:\n      - alert: A\n        expr: {scalar}\n");
        let found = lint(&load_file(&text), None);
        let [finding] = &found[..] else { panic!("{scalar}: {found:#?}") };
        assert_eq!(
            format!("{}-{}", finding.place.expect("a place"), finding.end.expect("an end")),
            expected,
            "{scalar}"
        );
    };
    check("up > 1", "5:15-5:21");
    check("'up > 1'", "5:16-5:22");
    check("\"up{a=\\\"b\\\"} + 1 and up > 1\"", "5:36-5:42");
    check("|\n          up +\n            1 > 0 and\n          up > 1", "8:11-8:17");
    check(">-\n          x > 0 and\n          up > 1", "7:11-7:17");
    check("x > 0 and\n          up > 1", "6:11-6:17");
    check("|\n          # why\n          up\n            > 1", "7:11-8:16");
}

#[test]
fn only_what_should_be_there_is_asked_for() {
    let selectors = |rules: &str| {
        let questions = questions(&load(rules));
        questions.into_iter().map(|q| (q.selector, q.interval)).collect::<Vec<_>>()
    };
    let check = |expr: &str, expected: &[(&str, bool)]| {
        let expected: Vec<_> =
            expected.iter().map(|(name, interval)| ((*name).to_owned(), *interval)).collect();
        assert_eq!(selectors(&format!("- alert: A\n  expr: {expr}\n")), expected, "{expr}");
    };
    check("a / b > 1", &[("a", false), ("b", false)]);
    check("rate(a{x=\"1\"}[5m] offset 1h) > 1", &[("a{x=\"1\"}", true)]);
    check("a unless b", &[("a", false)]);
    check("absent(a) or b > 0", &[("b", false)]);
    check("(sum(a) or vector(0)) > 0", &[]);
    check("ALERTS{alertname=\"A\"} unless a", &[]);
    assert_eq!(
        selectors("- record: r\n  expr: sum(a)\n- alert: A\n  expr: r > 0\n"),
        [("a".to_owned(), false)]
    );
}

#[test]
fn an_alert_cannot_fire_if_what_it_needs_is_not_there() {
    let known =
        |seen| SelectorFacts { seen: Some(seen), metric_seen: Some(seen), ..SelectorFacts::default() };
    let selectors = [("there".to_owned(), known(true)), ("gone".to_owned(), known(false))];
    let facts = Facts { selectors: selectors.into(), ..Facts::default() };
    let check = |expr: &str, expected: bool| {
        let found = lint(&alert(expr), Some(&facts));
        assert_eq!(
            found.iter().any(|finding| finding.code == "alert-cannot-fire"),
            expected,
            "{expr}: {found:#?}"
        );
    };
    check("gone > 0", true);
    check("there > 0", false);
    check("unknown > 0", false);
    check("there / gone > 0", true);
    check("there > 0 and gone", true);
    check("there > 0 or gone > 0", false);
    check("gone > 0 or gone < 0", true);
    check("there unless gone", false);
    check("gone unless there", true);
    check("absent(gone)", false);
    check("sum(rate(gone[5m])) > 0", true);
    check("there > scalar(gone)", false);
}

#[test]
fn resolve_expressions_without_a_result_for_any_alert_are_found() {
    let check = |expr: &str, resolve: &str, expected: bool| {
        let rule = format!(
            "- alert: A\n  expr: {expr}\n  for: 5m\n  labels: {{severity: page}}\n  annotations: {{valmis_resolve_expr: '{resolve}'}}"
        );
        let found = lint(&load(&rule), None);
        let found = found.iter().any(|finding| finding.code == "resolve-expr-labels");
        assert_eq!(found, expected, "{expr} / {resolve}");
    };
    check("m > 9", "m < 5", false);
    check("m > 9", "sum(m) < 5", false);
    check("m{x=\"1\"} > 9", "m{x=\"2\"} < 5", true);
    check("m > 9", "m{x=\"2\"} < 5", false);
    check("sum by (x) (m) > 9", "m < 5", true);
    check("sum by (x) (m) > 9", "sum by (y) (m{y!=\"\"}) < 5", true);
    check("sum by (x) (m) > 9", "sum by (x) (m) < 5", false);
    check("sum(m) > 9", "vector(1)", false);
    check("sum(m) > 9", "sum by (severity) (m{severity!=\"\"}) < 5", false);
}
