//! `valmis rules test`: promtool's verdicts, and what goes beyond them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::conformance;
use crate::real::valmis::command;
use crate::tools::{checkout, tool};

/// What Prometheus' own tests of its files expect. Source: Prometheus 3.14 `cmd/promtool/unittest_test.go`.
const VERDICTS: [(&str, &[&str], bool); 18] = [
    ("unittest.yml", &[], true),
    ("long-period.yml", &[], true),
    ("bad-input-series.yml", &[], false),
    ("bad-promql.yml", &[], false),
    ("bad-rules-syntax-test.yml", &[], false),
    ("bad-rules-error-test.yml", &[], false),
    ("failing.yml", &[], false),
    ("at-modifier-test.yml", &[], true),
    ("negative-offset-test.yml", &[], true),
    ("no-test-group-interval.yml", &[], true),
    ("start-time-test.yml", &[], true),
    ("rules_run.yml", &[], false),
    ("rules_run.yml", &["--run", "correct", "--run", "wrong"], false),
    ("rules_run.yml", &["--run", "correct"], true),
    ("rules_run.yml", &["--run", "wrong"], false),
    ("rules_run_extrafields.yml", &["--ignore-unknown-fields"], true),
    ("rules_run_no_fuzzy.yml", &[], false),
    ("rules_run_fuzzy.yml", &["--run", "correct"], true),
];

fn ours(folder: &Path, args: &[&str], files: &[&str]) -> Output {
    let mut command = command(folder);
    command.args(["rules", "test"]).args(args).args(files).output().expect("valmis can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a run passed; it neither passed nor failed if the program could not do its work.
#[track_caller]
fn passed(output: &Output) -> bool {
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    output.status.success()
}

/// The folder of promtool's files.
fn promtool_files() -> Option<PathBuf> {
    Some(conformance::folder()?.join("promtool"))
}

#[test]
fn verdicts_are_those_that_prometheus_expects() {
    let Some(folder) = promtool_files() else { return };
    for (file, args, expected) in VERDICTS {
        let output = ours(&folder, args, &[file]);
        assert_eq!(passed(&output), expected, "{file} {args:?}\n{}", text(&output.stdout));
    }
}

#[test]
fn verdicts_are_those_of_a_real_promtool() {
    let Some(promtool) = tool("sid/usr/bin/promtool") else { return };
    let Some(folder) = promtool_files() else { return };
    let variants: [&[&str]; 3] = [&[], &["--run", "correct|unnamed"], &["--ignore-unknown-fields"]];
    let mut compared = 0;
    for path in conformance::files_below(&folder, "yml") {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a UTF-8 name");
        // To files that hold no tests the arguments make no difference.
        let holds_tests = fs::read_to_string(&path).is_ok_and(|text| text.contains("\ntests:"));
        for args in if holds_tests { &variants[..] } else { &variants[..1] } {
            let mut promtool = Command::new(&promtool);
            let theirs = promtool.args(["test", "rules"]).args(*args).arg(name).current_dir(&folder);
            let theirs = theirs.output().expect("promtool can be started");
            // This promtool is older than the file.
            if text(&theirs.stderr).contains("field start_timestamp not found") {
                continue;
            }
            let ours = ours(&folder, args, &[name]);
            let [out, err] = [&theirs.stdout, &theirs.stderr].map(|bytes| text(bytes));
            assert_eq!(passed(&ours), passed(&theirs), "{name} {args:?}\n{}{out}{err}", text(&ours.stdout));
            compared += 1;
        }
    }
    assert!(compared > 60, "{compared}");
}

#[test]
fn the_tests_of_the_bundled_rules_pass() {
    let files = conformance::files_below(&checkout("rules/tests"), "yaml");
    let files: Vec<_> = files.iter().map(|path| path.to_str().expect("a UTF-8 path")).collect();
    let output = ours(&checkout(""), &[], &files);
    assert!(passed(&output), "{}", text(&output.stdout));
    assert!(text(&output.stdout).ends_with("tests: all passed\n"), "{}", text(&output.stdout));
}

#[test]
fn a_failure_says_what_was_expected_and_what_came_out() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("rules.yml"),
        "groups: [{name: g, rules: [{alert: Down, expr: up == 0, labels: {severity: page}}]}]\n",
    )
    .expect("the rules are written");
    let test = r#"
rule_files: [rules.yml]
tests:
  - name: one is down
    input_series:
      - {series: 'up{job="a"}', values: 1 0}
    alert_rule_test:
      - eval_time: 1m
        alertname: Down
        exp_alerts:
          - exp_labels: {severity: page, job: "<b>"}
    promql_expr_test:
      - expr: up
        eval_time: 1m
        exp_samples: [{labels: up, value: 1}]
"#;
    fs::write(folder.path().join("test.yml"), test).expect("the test is written");
    let plain = ours(folder.path(), &["--junit", "report.xml"], &["test.yml"]);
    insta::assert_snapshot!(text(&plain.stdout), @r#"
        FAIL test.yml (1 test)
          test.yml:8:9: one is down: alert `Down` at 1m
            expected:
              firing {alertname="Down", job="<b>", severity="page"}
            got:
              firing {alertname="Down", job="a", severity="page"}
          test.yml:13:9: one is down: expression `up` at 1m
            expected:
              up 1
            got:
              up{job="a"} 0
        1 file, 1 test: 1 failed
        "#);
    let diff = ours(folder.path(), &["--diff"], &["test.yml"]);
    insta::assert_snapshot!(text(&diff.stdout), @r#"
        FAIL test.yml (1 test)
          test.yml:8:9: one is down: alert `Down` at 1m
            - firing {alertname="Down", job="<b>", severity="page"}
            + firing {alertname="Down", job="a", severity="page"}
          test.yml:13:9: one is down: expression `up` at 1m
            - up 1
            + up{job="a"} 0
        1 file, 1 test: 1 failed
        "#);
    let xml = fs::read_to_string(folder.path().join("report.xml")).expect("a report");
    let xml =
        regex::Regex::new(r#"time="[^"]*""#).expect("valid").replace_all(&xml, "time=\"\"").into_owned();
    insta::assert_snapshot!(xml, @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites>
          <testsuite name="test.yml" tests="1" failures="2" errors="0" skipped="0">
            <testcase name="one is down" time=""><failure>test.yml:8:9: alert `Down` at 1m
        expected:
          firing {alertname=&quot;Down&quot;, job=&quot;&lt;b&gt;&quot;, severity=&quot;page&quot;}
        got:
          firing {alertname=&quot;Down&quot;, job=&quot;a&quot;, severity=&quot;page&quot;}</failure><failure>test.yml:13:9: expression `up` at 1m
        expected:
          up 1
        got:
          up{job=&quot;a&quot;} 0</failure></testcase>
          </testsuite>
        </testsuites>
        "#);
    let json: serde_json::Value =
        serde_json::from_slice(&ours(folder.path(), &["--format", "json"], &["test.yml"]).stdout)
            .expect("a JSON object");
    let failures = &json["files"][0]["tests"][0]["failures"];
    assert_eq!(failures[0]["what"], "alert `Down` at 1m");
    assert_eq!(failures[1]["got"], serde_json::json!([r#"up{job="a"} 0"#]));
}

#[test]
fn a_file_says_everything_that_is_wrong_with_it_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let test = r#"
rule_file: [rules.yml]
group_eval_order: [a, b, a]
evaluation_interval: 1
tests:
  - input_series:
      - {series: 'up{', values: 1 0}
      - {series: up, values: 1 two}
    alert_rule_test:
      - eval_time: 1m
        exp_alerts: []
      - alertname: A
        exp_alerts: [{state: fring}]
    promql_expr_test:
      - expr: ratee(up[5m])
      - expr: up
        exp_samples: [{value: x, histogram: "1"}]
    events:
      - {restart_at: 1m, source_error: {from: 1m, to: 2m}}
      - {scrape_gap: {from: 2m, to: 1m}}
    start_timestamp: yesterday
"#;
    fs::write(folder.path().join("test.yml"), test).expect("the test is written");
    let output = ours(folder.path(), &[], &["test.yml", "missing.yml"]);
    assert!(!passed(&output));
    insta::assert_snapshot!(text(&output.stdout), @r#"
        FAIL test.yml (0 tests)
          test.yml:2:1: a test file has no key `rule_file`
            hint: did you mean `rule_files`?
          test.yml:3:19: group name repeated in evaluation order: a
          test.yml:4:22: `evaluation_interval`: not a valid duration string: "1"
            hint: write a duration such as `15s`, `5m` or `1h30m`
          test.yml:7:18: series `up{`: 1:4: parse error: unexpected end of input inside braces
          test.yml:8:30: not a value: `two`
          test.yml:10:9: an alert test needs a value for `alertname`
          test.yml:13:30: unknown state `fring`
            hint: did you mean `firing`?
          test.yml:15:15: expression `ratee(up[5m])`: 1:1: parse error: unknown function with name "ratee"
            hint: did you mean `rate`?
          test.yml:17:31: `value` must be a number, not `x`
          test.yml:17:45: `histogram` must be one native histogram, not `1`
          test.yml:19:9: an event is one of `restart_at` (with `down_for`), `source_error` and `scrape_gap`
          test.yml:20:22: `to` must be later than `from`
          test.yml:21:22: `start_timestamp`: cannot parse `yesterday` to a valid timestamp
            hint: write seconds since 1970, or a time such as `2024-01-01T00:00:00Z`
        FAIL missing.yml (0 tests)
          missing.yml: cannot be read: No such file or directory (os error 2)
        2 files, 0 tests: 2 of the files cannot be used
        "#);
}
