use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::diag::Severity;
use crate::promql::Features;

/// Reads a text that must have exactly these findings, each `line:column: message`, then the hint.
#[track_caller]
fn check(text: &str, expected: &[&str]) -> Vec<RuleFile> {
    let (files, findings) = parse("", text, Features::default());
    let found: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{text}");
    files
}

#[test]
fn all_fields_are_read() {
    let files = check(
        r#"
groups:
  - name: db
    interval: 30s
    query_offset: 1m
    limit: 10
    labels: {team: a, severity: none}
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
        labels: {level: 1, ready: true}
      - alert: Down
        expr: |
          up == 0
        for: 5m
        keep_firing_for: 1h
        labels:
          severity: page
        annotations:
          summary: "{{ $labels.instance }} is down"
          empty:
"#,
        &[],
    );
    let group = &files[0].groups[0];
    assert_eq!(
        (group.name.as_str(), group.interval_ms, group.query_offset_ms),
        ("db", Some(30_000), Some(60_000))
    );
    assert_eq!((group.limit, group.place.to_string()), (10, "3:5".to_owned()));
    let text = |labels: &std::collections::BTreeMap<String, String>| format!("{labels:?}");
    let [recording, alerting] = &group.rules[..] else { panic!("two rules") };
    assert_eq!(recording.kind, RuleKind::Recording { record: "job:up:sum".to_owned() });
    assert_eq!(
        text(&recording.labels),
        r#"{"level": "1", "ready": "true", "severity": "none", "team": "a"}"#
    );
    assert_eq!(recording.expr.to_string(), "sum by (job) (up)");
    assert_eq!(text(&alerting.labels), r#"{"severity": "page", "team": "a"}"#);
    assert_eq!((alerting.name(), alerting.place.to_string()), ("Down", "12:9".to_owned()));
    assert_eq!(alerting.places.expr.start().to_string(), "14:11");
    let RuleKind::Alerting { hold_ms, keep_firing_ms, annotations, .. } = &alerting.kind else {
        panic!("an alerting rule")
    };
    assert_eq!((*hold_ms, *keep_firing_ms), (300_000, 3_600_000));
    assert_eq!(text(annotations), r#"{"empty": "", "summary": "{{ $labels.instance }} is down"}"#);
}

#[test]
fn empty_files_and_empty_groups_are_good() {
    assert_eq!(check("", &[]).len(), 0);
    assert_eq!(check("# nothing\n---\n", &[]).len(), 0);
    assert_eq!(check("groups:\n", &[])[0].groups.len(), 0);
    assert_eq!(check("groups:\n- name: a\n", &[])[0].groups[0].rules.len(), 0);
}

#[test]
fn everything_wrong_with_a_file_is_reported_at_once() {
    check(
        "
groups:
  - name: a
    intervall: 1m
    rules:
      - alert: X
        expr: |
          sum(up) +
            == 2
        for: 5 minutes
      - record: Y
        expr: ratee(up[5m])
        annotations: {a: b}
      - expr: 1
  - name: a
  - rules: {}
grups: []
",
        &[
            "4:5: unknown field `intervall` in a group\n  hint: did you mean `interval`?",
            r#"9:13: group "a", rule 1, "X": could not parse expression: parse error: unexpected <op:==>"#,
            "10:14: `for`: unknown unit \" minutes\" in duration \"5 minutes\"\n  hint: a duration is written like `30s`, `5m` or `1h30m`",
            "12:15: group \"a\", rule 2, \"Y\": could not parse expression: parse error: unknown function with name \"ratee\"\n  hint: did you mean `rate`?",
            r#"13:23: group "a", rule 2, "Y": invalid field 'annotations' in recording rule"#,
            r#"14:9: group "a", rule 3, "": one of 'record' or 'alert' must be set"#,
            r#"15:5: groupname: "a" is repeated in the same file"#,
            "16:5: Groupname must not be empty",
            "16:12: expected a list, but found a mapping",
            "17:1: unknown field `grups` in a rule file\n  hint: did you mean `groups`?",
        ],
    );
}

#[test]
fn faults_of_rules_have_prometheus_words() {
    let check_rule = |rule: &str, expected: &[&str]| {
        let indented = rule.trim().replace('\n', "\n    ");
        check(&format!("groups:\n- name: g\n  rules:\n  - {indented}\n"), expected);
    };
    check_rule(
        "record: r\nalert: a\nexpr: 1",
        &[r#"4:13: group "g", rule 1, "a": only one of 'record' and 'alert' must be set"#],
    );
    check_rule("record: r", &[r#"4:5: group "g", rule 1, "r": field 'expr' must be set in rule"#]);
    check_rule("record: r\nexpr:", &[r#"5:9: group "g", rule 1, "r": field 'expr' must be set in rule"#]);
    check_rule(
        "record: r\nexpr: 1\nfor: 1m\nkeep_firing_for: 2m",
        &[
            r#"6:10: group "g", rule 1, "r": invalid field 'for' in recording rule"#,
            r#"7:22: group "g", rule 1, "r": invalid field 'keep_firing_for' in recording rule"#,
        ],
    );
    check_rule(
        "record: strawberry{flavor=\"sweet\"}\nexpr: 1",
        &[
            r#"4:13: group "g", rule 1, "strawberry{flavor=\"sweet\"}": braces present in the recording rule name; should it be in expr?: strawberry{flavor="sweet"}"#,
        ],
    );
    check_rule(
        "record: r\nexpr: 1\nlabels:\n  __name__: x",
        &[r#"7:7: group "g", rule 1, "r": invalid label name: __name__"#],
    );
    check_rule(
        "alert: a\nexpr: 1\nannotation:\n  summary: x",
        &["6:5: unknown field `annotation` in a rule\n  hint: did you mean `annotations`?"],
    );
    check_rule(
        "alert: a\nexpr: 1\nlabels: [a]",
        &["6:13: expected a mapping for `labels`, but found a list"],
    );
    check_rule(
        "alert: a\nexpr: 1\nlabels:\n  a: {b: c}",
        &["7:10: expected a text for `a`, but found a mapping"],
    );
    check_rule(
        "alert: a\nexpr: 1\nlabels:\n  a: 1\n  a: 2",
        &["8:7: key `a` is set twice in the same mapping"],
    );
}

#[test]
fn templates_that_cannot_be_parsed_are_refused() {
    check(
        "
groups:
- name: g
  rules:
  - alert: A
    expr: up == 0
    labels:
      severity: '{{ $this_is_wrong }}'
    annotations:
      summary: Instance {{ $label.foo }} down
      description: |
        fine {{ $labels.instance }}
        not fine {{ humanise 1 }}
  - record: r
    expr: 1
    labels: {a: '{{ no template here'}
",
        &[
            r#"8:21: group "g", rule 1, "A": label "severity": error parsing template __alert_A: template: __alert_A:1: undefined variable "$this_is_wrong""#,
            r#"10:28: group "g", rule 1, "A": annotation "summary": error parsing template __alert_A: template: __alert_A:1: undefined variable "$label""#,
            r#"13:21: group "g", rule 1, "A": annotation "description": error parsing template __alert_A: template: __alert_A:2: function "humanise" not defined"#,
        ],
    );
}

#[test]
fn objects_of_kubernetes_are_read() {
    let rule = |name: &str| {
        format!(
            "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {{name: {name}, namespace: n}}\n\
             spec:\n  groups:\n  - name: g\n    partial_response_strategy: abort\n    rules:\n    - alert: A\n      expr: 1\n"
        )
    };
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {groups: 1}\n";
    let text = format!("{}---\n{service}---\n{}", rule("one"), rule("two"));
    let files = check(&text, &[]);
    assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["#n/one", "#n/two"]);
    assert_eq!(files[1].groups[0].rules[0].name(), "A");

    let item = rule("one").trim_end().replace('\n', "\n  ");
    let files = check(&format!("apiVersion: v1\nkind: List\nitems:\n- {item}\n- {item}\n"), &[]);
    assert_eq!(files.len(), 2);
    check(
        &rule("one").replace("expr", "exprr"),
        &[
            "9:7: group \"g\", rule 1, \"A\": field 'expr' must be set in rule",
            "10:7: unknown field `exprr` in a rule\n  hint: did you mean `expr`?",
        ],
    );
}

#[test]
fn a_second_document_is_read_with_a_warning() {
    let files = check(
        "groups: [{name: a}]\n---\ngroups: [{name: b}, {name: a}]\n",
        &[
            "3:1: warning: this is not the first document of the file, and Prometheus reads no other\n  \
         hint: put all groups into one document",
            r#"3:21: groupname: "a" is repeated in the same file"#,
        ],
    );
    assert_eq!(files[0].groups.len(), 3);
}

/// The folder with shared test data, if it is there.
fn conformance() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests find their data by the environment")]
    let folder = std::env::var_os("VALMIS_CONFORMANCE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"), PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn load_shared(path: &str) -> Option<Loaded> {
    let folder = conformance()?;
    Some(load(&[folder.join(path).to_string_lossy()], Features::ALL))
}

#[test]
fn rule_files_as_people_write_them_are_good() {
    let Some(loaded) = load_shared("rules-corpus") else { return };
    let errors: Vec<_> = loaded.findings.iter().map(ToString::to_string).collect();
    assert_eq!(errors, Vec::<String>::new());
    let rules: usize = loaded.files.iter().flat_map(|file| &file.groups).map(|group| group.rules.len()).sum();
    assert!(rules > 900, "{rules} rules");
}

#[test]
fn the_fixtures_of_prometheus_are_good_or_bad_as_there() {
    let Some(folder) = conformance() else { return };
    let good = ["features", "negative-offset", "at-modifier", "rules", "rules_large", "long-period"];
    let good = good.map(|name| folder.join(format!("promtool/{name}.yml")));
    let fixtures = fs::read_dir(folder.join("rules-fixtures")).unwrap().map(|entry| entry.unwrap().path());
    let is_rule_file = |path: &PathBuf| {
        path.exists() && fs::read_to_string(path).unwrap().lines().any(|line| line == "groups:")
    };
    let mut seen = 0;
    for path in good.into_iter().chain(fixtures).filter(is_rule_file) {
        if path.ends_with("invalid_rules.yaml") {
            continue;
        }
        seen += 1;
        let findings = load(&[path.to_string_lossy()], Features::ALL).findings;
        let errors: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    assert!(seen > 15, "{seen} files");

    let check_bad = |path: &str, expected: &str| {
        let findings = load(&[folder.join(path).to_string_lossy()], Features::ALL).findings;
        let found: Vec<_> = findings
            .iter()
            .map(|finding| format!("{}: {}", finding.place.unwrap(), finding.message))
            .collect();
        assert_eq!(found, [expected], "{path}");
    };
    check_bad("rules-fixtures/invalid_rules.yaml", "6:9: unknown field `unexpected_field` in a rule");
    check_bad(
        "promtool/rules-bad.yml",
        r#"12:33: group "alerts", rule 1, "InstanceDown": annotation "summary": error parsing template __alert_InstanceDown: template: __alert_InstanceDown:1: undefined variable "$label""#,
    );
    check_bad(
        "promtool/bad-rules-syntax.yml",
        r#"7:22: group "bad-syntax", rule 1, "x": could not parse expression: parse error: unexpected end of input"#,
    );
}

#[test]
fn the_bundled_rules_are_good() {
    let pattern = format!("{}/rules/valmis-*.yaml", env!("CARGO_MANIFEST_DIR"));
    let loaded = load(&[pattern], Features::default());
    assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
    assert!(loaded.files.len() >= 4, "{} files", loaded.files.len());
}

#[test]
fn instructions_are_checked_when_a_file_is_read() {
    let check = |expr: &str, annotations: &str, expected: &[&str]| {
        let rule = format!("alert: A, expr: '{expr}', annotations: {{{annotations}}}");
        check(&format!("groups: [{{name: g, rules: [{{\n{rule}}}]}}]"), expected)
    };
    let files = check("up == 0", "valmis_on_missing: hold 1m, summary: x", &[]);
    let rule = &files[0].groups[0].rules[0];
    assert_eq!(rule.instructions.on_missing, Some(OnMissing::Hold { for_ms: Some(60_000), alert: false }));
    let RuleKind::Alerting { annotations, .. } = &rule.kind else { panic!("an alerting rule") };
    assert_eq!(annotations.len(), 2, "as they are written");
    check(
        "up == 0",
        "valmis_on_mising: hold, valmis_x: y",
        &[
            "2:42: group \"g\", rule 1, \"A\": unknown instruction `valmis_on_mising`; annotations that begin with `valmis_` are instructions to valmis\n  hint: did you mean `valmis_on_missing`?",
            "2:66: group \"g\", rule 1, \"A\": unknown instruction `valmis_x`; annotations that begin with `valmis_` are instructions to valmis",
        ],
    );
    check(
        "up == 0",
        "valmis_on_missing: \"{{ $value }}\"",
        &[
            "2:42: group \"g\", rule 1, \"A\": `valmis_on_missing` is `resolve`, `hold` or `alert`, the latter two with or without a duration such as `30m`, but found `{{ $value }}`",
        ],
    );
    check(
        "up == 0",
        "valmis_resolved_value: a b",
        &[
            "2:42: group \"g\", rule 1, \"A\": `valmis_resolved_value` is the name of an annotation, of letters, digits and underscores, but found `a b`",
        ],
    );
    let files = check("up == 0", "valmis_resolve_expr: up == 1", &[]);
    let resolve = files[0].groups[0].rules[0].instructions.resolve_expr.as_ref();
    assert_eq!(resolve.map(ToString::to_string).as_deref(), Some("up == 1"));
    check(
        "up == 0",
        "valmis_resolve_expr: up ==",
        &[
            r#"2:68: group "g", rule 1, "A": annotation "valmis_resolve_expr": could not parse expression: parse error: unexpected end of input"#,
        ],
    );
    check(
        "up == 0",
        "valmis_resolve_expr: 1 + 1",
        &[
            r#"2:42: group "g", rule 1, "A": annotation "valmis_resolve_expr": the expression must be an instant vector"#,
        ],
    );
    check(
        "up > 0",
        "valmis_severities: 'critical > 95, warning > 80'",
        &[
            "2:41: group \"g\", rule 1, \"A\": `valmis_severities` is a list of severities, each worse than the one before, such as `warning > 80, critical > 95`, but found `critical > 95, warning > 80`",
        ],
    );
    check(
        "vector(1)",
        "valmis_on_missing: hold",
        &[
            "2:44: group \"g\", rule 1, \"A\": `valmis_on_missing` has no effect: the expression selects no series",
        ],
    );
}

#[test]
fn templates_of_labels_cannot_use_what_depends_on_the_labels() {
    let check = |labels: &str, expected: &[&str]| {
        let rule = format!("alert: A, expr: up == 0, labels: {{{labels}}}");
        check(&format!("groups: [{{name: g, rules: [{{\n{rule}}}]}}]"), expected);
    };
    check("a: '{{ $for }} {{ $expr }} {{ $interval }}'", &[]);
    check(
        "a: 'x {{ .Status }}'",
        &[
            r#"2:39: group "g", rule 1, "A": label "a": `$status` is known only when all labels of the alert are"#,
        ],
    );
}

#[test]
fn a_severity_is_decided_about_once() {
    check(
        "groups: [{name: g, rules: [{
alert: A, expr: up > 0, labels: {severity: '{{ $value }}'}, annotations: {valmis_severities: page > 1}}]}]",
        &[
            r#"2:34: group "g", rule 1, "A": label "severity" is a template; `valmis_severities` decides about it already"#,
        ],
    );
}
