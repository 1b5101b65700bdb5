//! The lints against rules that people wrote, against a real Prometheus, and against their own page.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use valmis::diag::{Diagnostic, Severity};
use valmis::lint::{self, Settings};
use valmis::promql::Features;
use valmis::rulefmt;

use crate::conformance::folder;
use crate::real::app::App;
use crate::real::prometheus::{self, Prometheus};
use crate::real::valmis::command;
use crate::real::{eventually, missing, turn};
use crate::tools::{checkout, variable};

/// What the lints find in files.
fn findings(pattern: &str) -> Vec<Diagnostic> {
    let loaded = rulefmt::load(&[pattern], Features::ALL);
    assert!(!loaded.files.is_empty(), "no rules in {pattern}: {:?}", loaded.findings);
    lint::check(&loaded, Settings::default(), None)
}

/// How many findings each lint has.
fn counts(findings: &[Diagnostic]) -> BTreeMap<&str, usize> {
    findings.iter().fold(BTreeMap::new(), |mut counts, finding| {
        *counts.entry(finding.code).or_default() += 1;
        counts
    })
}

#[test]
fn the_bundled_rules_are_clean() {
    let rules = checkout("rules");
    let found = findings(&format!("{}/valmis-*.yaml", rules.display()));
    assert_eq!(found, [], "findings about rules that should be an example");
}

/// Each of these findings was read and is right, so that more are probably wrong and less are missed ones.
#[test]
fn published_rules_have_the_findings_that_were_read() {
    let Some(folder) = folder() else { return };
    let found = findings(&folder.join("rules-corpus").display().to_string());
    let expected = BTreeMap::from([
        ("absent-without-for", 3),
        ("delta-of-counter", 2),
        ("dropped-label", 221),
        ("impossible-comparison", 4),
        ("impossible-join", 11),
        ("literal-regex", 5),
        ("missing-comparison", 1),
        ("missing-join-label", 1),
        ("redundant-anchors", 4),
        ("template-label", 16),
    ]);
    assert_eq!(counts(&found), expected, "{found:#?}");
}

#[test]
fn promtools_lint_of_duplicates_is_there() {
    let Some(folder) = folder() else { return };
    let check = |file: &str, expected: usize| {
        let found = findings(&folder.join("promtool").join(file).display().to_string());
        assert_eq!(
            counts(&found).get("duplicate-rule").copied().unwrap_or(0),
            expected,
            "{file}: {found:#?}"
        );
    };
    check("prometheus-rules.lint.yml", 1);
    check("rules_duplicates.yml", 2);
    check("rules_large.yml", 2);
    check("rules.yml", 0);
}

#[test]
fn the_page_about_lints_is_what_they_say_about_themselves() {
    let page = checkout("docs/lints.md");
    let expected = lint::to_markdown();
    if variable("UPDATE_LINTS").is_some() {
        fs::write(&page, &expected).unwrap();
    }
    let found = fs::read_to_string(&page).unwrap_or_default();
    assert!(found == expected, "docs/lints.md is old: run this test with UPDATE_LINTS=1");
}

/// Exit code and output of `valmis` in a folder.
fn cli(folder: &TempDir, args: &[&str]) -> (Option<i32>, String, String) {
    let ran = command(folder.path()).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

const RULES: &str = "\
groups:
  - name: g
    rules:
      - alert: NoReplicas
        expr: |
          count by (shard) (
            up{job=~\"db\"} == 1
          ) == 0
        annotations:
          summary: no replicas on {{ $labels.instance }}
";

#[test]
fn findings_are_shown_where_they_are() {
    let folder = TempDir::with_prefix("valmis-lints-").unwrap();
    fs::write(folder.path().join("rules.yaml"), RULES).unwrap();
    let (code, out, _) = cli(&folder, &["rules", "check", "rules.yaml"]);
    insta::assert_snapshot!(out, @r#"
    rules.yaml:6:11: never true: the left side is at least 1 [impossible-comparison]
      count by (shard) (
      ^^^^^^^^^^^^^^^^^^
      hint: where nothing is counted there is no sample at all: take the sum of a condition with `bool` instead, as in `sum by (job) (up == bool 1) == 0`
    rules.yaml:7:13: info: `job=~"db"` matches one text only [literal-regex]
      up{job=~"db"} == 1
      ^^^^^^^^^^^^^
      hint: write `job="db"`
    rules.yaml:10:38: warning: the label `instance` is dropped by `count by (shard)` [dropped-label]
      summary: no replicas on {{ $labels.instance }}
                                 ^^^^^^^^^^^^^^^^
      hint: write `by (shard, instance)`
    1 file, 1 group, 1 rule: 1 error, 1 warning, 1 info
    "#);
    assert_eq!(code, Some(1));
    let (code, out, _) =
        cli(&folder, &["rules", "check", "rules.yaml", "--format", "github", "--fail-on", "never"]);
    insta::assert_snapshot!(out, @r#"
    ::error file=rules.yaml,line=6,col=11,title=impossible-comparison::never true: the left side is at least 1%0Ahint: where nothing is counted there is no sample at all: take the sum of a condition with `bool` instead, as in `sum by (job) (up == bool 1) == 0`
    ::notice file=rules.yaml,line=7,col=13,endLine=7,endColumn=26,title=literal-regex::`job=~"db"` matches one text only%0Ahint: write `job="db"`
    ::warning file=rules.yaml,line=10,col=38,endLine=10,endColumn=54,title=dropped-label::the label `instance` is dropped by `count by (shard)`%0Ahint: write `by (shard, instance)`
    1 file, 1 group, 1 rule: 1 error, 1 warning, 1 info
    "#);
    assert_eq!(code, Some(0));
    let (code, out, _) =
        cli(&folder, &["rules", "check", "rules.yaml", "--severity", "error", "--format", "json"]);
    insta::assert_snapshot!(out, @r#"
    [
    {"severity":"error","code":"impossible-comparison","file":"rules.yaml","line":6,"column":11,"end_line":8,"end_column":17,"message":"never true: the left side is at least 1","hint":"where nothing is counted there is no sample at all: take the sum of a condition with `bool` instead, as in `sum by (job) (up == bool 1) == 0`"}
    ]
    "#);
    assert_eq!(code, Some(1));
    let (code, out, _) = cli(&folder, &["rules", "check", "rules.yaml", "--no-lints"]);
    assert_eq!((code, out.as_str()), (Some(0), "1 file, 1 group, 1 rule: no faults found\n"));
}

#[test]
fn every_lint_is_explained() {
    let folder = TempDir::with_prefix("valmis-lints-").unwrap();
    let (code, out, _) = cli(&folder, &["explain", "literal-regex"]);
    insta::assert_snapshot!(out, @r#"
    literal-regex (info)

    A regular expression that matches one text only.

    Why: `=` says the same, reads better and is faster.

    Fix: Write `=` for `=~`, and `!=` for `!~`.

    Bad:

      - alert: InstanceDown
        expr: up{job=~"node"} == 0

    Good:

      - alert: InstanceDown
        expr: up{job="node"} == 0 unless on () maintenance{job=~"node|all"} == 1

    To disable it for a rule: # valmis:disable literal-regex -- reason
    "#);
    assert_eq!(code, Some(0));
    let (_, list, _) = cli(&folder, &["explain"]);
    assert_eq!(list.lines().count(), lint::all().len(), "{list}");
    let (_, json, _) = cli(&folder, &["explain", "--format", "json"]);
    let all: Vec<Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(all.len(), lint::all().len());
    let (code, _, err) = cli(&folder, &["explain", "literal-regexp"]);
    assert!(code == Some(2) && err.contains("did you mean `literal-regex`?"), "{err}");
}

/// What is wrong with each alert is in its name.
const SOURCE_RULES: &str = "\
groups:
  - name: g
    rules:
      - record: job:failed:rate1m
        expr: sum by (job) (rate(app_requests_total{result=\"error\"}[1m]))
      - alert: Fine
        expr: up{job=\"valmis\"} == 0 or absent(up{job=\"valmis\"})
        for: 1m
      - alert: AlsoFine
        expr: job:failed:rate1m > 1 unless ALERTS{alertname=\"Fine\"}
      - alert: NoSuchMetric
        expr: upp{job=\"valmis\"} == 0
      - alert: NoSuchValue
        expr: up{job=\"valmiss\"} == 0 or up{nothing=\"x\"} == 0
      - alert: ShortWindow
        expr: rate(http_requests_total{code=\"200\"}[1500ms]) > 1
      - alert: Counter
        expr: http_requests_total{code=\"200\"} > 100 or deriv(http_requests_total[5m]) > 1
";

#[tokio::test]
async fn a_real_prometheus_tells_which_alerts_can_never_fire() {
    let Some(programs) = prometheus::versions().into_iter().next_back() else {
        missing("prometheus");
        return;
    };
    let _turn = turn().await;
    let app = App::start().await;
    let server = Prometheus::start(&programs, app.address).await;
    eventually("ten samples", async || {
        let count = server.value("count_over_time(up[10m])").await;
        count.filter(|count| *count >= 6.0).ok_or_else(|| format!("{count:?}: {}", server.log()))
    })
    .await;
    let folder = TempDir::with_prefix("valmis-lints-").unwrap();
    fs::write(folder.path().join("rules.yaml"), SOURCE_RULES).unwrap();
    let url = format!("http://{}", server.address);
    let check = async |more: &[&str]| {
        let mut command: Command = command(folder.path());
        command
            .args(["rules", "check", "rules.yaml", "--scrape-interval", "100ms", "--source", &url])
            .args(more);
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (ran.status.code(), text(ran.stdout), text(ran.stderr))
    };
    let (code, out, err) = check(&[]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    insta::assert_snapshot!(out, @r#"
    rules.yaml:5:34: warning: the server has no series of `app_requests_total` [series-never-seen]
      expr: sum by (job) (rate(app_requests_total{result="error"}[1m]))
                               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    rules.yaml:11:16: warning: this alert can never fire here: the server has no series of `upp{job="valmis"}` [alert-cannot-fire]
      - alert: NoSuchMetric
               ^^^^^^^^^^^^
    rules.yaml:12:15: warning: the server has no series of `upp` [series-never-seen]
      expr: upp{job="valmis"} == 0
            ^^^^^^^^^^^^^^^^^
      hint: did you mean `up`?
    rules.yaml:13:16: warning: this alert can never fire here: the server has no series of `up{job="valmiss"}` [alert-cannot-fire]
      - alert: NoSuchValue
               ^^^^^^^^^^^
    rules.yaml:14:15: warning: no series of `up` has `job="valmiss"` [label-value-never-seen]
      expr: up{job="valmiss"} == 0 or up{nothing="x"} == 0
            ^^^^^^^^^^^^^^^^^
      hint: did you mean `valmis`?
    rules.yaml:14:41: warning: no series of `up` has a label `nothing` [label-value-never-seen]
      expr: up{job="valmiss"} == 0 or up{nothing="x"} == 0
                                      ^^^^^^^^^^^^^^^
    rules.yaml:16:20: warning: a window of 1s500ms holds less than two samples: the server has one every 1s [range-below-samples]
      expr: rate(http_requests_total{code="200"}[1500ms]) > 1
                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: at least 4s let one scrape fail
    rules.yaml:18:15: warning: `http_requests_total` is a counter: once above the limit it stays there [counter-value]
      expr: http_requests_total{code="200"} > 100 or deriv(http_requests_total[5m]) > 1
            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: compare `increase(…)` over the time that matters
    rules.yaml:18:56: warning: `http_requests_total` is a counter, and `deriv` is for gauges [metric-type]
      …pr: http_requests_total{code="200"} > 100 or deriv(http_requests_total[5m]) > 1
                                                    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: use `increase` or `rate`
    1 file, 1 group, 7 rules: 9 warnings
    "#);
    let (_, out, err) = check(&["--max-requests", "2"]).await;
    assert!(err.contains("the limit of requests is used up"), "{out}{err}");

    drop(server);
    let (code, out, err) = check(&[]).await;
    assert!(code == Some(2) && err.contains("nothing is known about the series of the rules"), "{out}{err}");
}

#[test]
fn findings_of_lints_are_ordered_and_have_a_severity_of_their_own() {
    let Some(folder) = folder() else { return };
    let found = findings(&folder.join("rules-corpus").display().to_string());
    assert!(found.is_sorted_by(|one, next| (&one.file, one.place) <= (&next.file, next.place)));
    let severity = |code: &str| lint::all().iter().find(|lint| lint.name == code).map(|lint| lint.severity);
    assert!(found.iter().all(|finding| severity(finding.code) == Some(finding.severity)));
    assert!(found.iter().any(|finding| finding.severity == Severity::Error));
}
