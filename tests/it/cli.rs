//! The commands, as whoever runs them sees them: what they print where, and their exit codes.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::real::app::{App, Mood};
use crate::real::postgres::Cluster;
use crate::real::prometheus::{self, Prometheus};
use crate::real::tls_server::TlsServer;
use crate::real::valmis::{Valmis, command};
use crate::real::{eventually, missing, turn};
use crate::servers::write;
use crate::tools::{run, tool};

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The lines that are no comments, of a metrics page.
    pub(crate) fn samples(&self) -> Vec<&str> {
        self.out.lines().filter(|line| !line.starts_with('#')).collect()
    }

    /// The verdict of a probe: its last line.
    pub(crate) fn verdict(&self) -> &str {
        self.out.lines().last().unwrap_or_default()
    }
}

/// Runs `valmis` in a folder. On a thread of its own, so that servers of the test can answer.
pub(crate) async fn cli_with(folder: &Path, environment: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = command(folder);
    command.args(args).envs(environment.iter().copied());
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: ran.status.code(), out: text(ran.stdout), err: text(ran.stderr) }
}

async fn cli(folder: &Path, args: &[&str]) -> Ran {
    cli_with(folder, &[], args).await
}

fn folder() -> TempDir {
    TempDir::with_prefix("valmis-cli-").unwrap()
}

#[tokio::test]
async fn config_check_reports_the_faults_of_the_configuration_and_of_its_rules() {
    let folder = folder();
    write(folder.path(), "valmis.yaml", "intervall: 5s\nrules: [builtin, ./*.rules]\n");
    write(
        folder.path(),
        "my.rules",
        "groups:\n  - name: g\n    rules:\n      - record: a\n        expr: ratee(up[5m])\n",
    );
    let ran = cli(folder.path(), &["config", "check", "valmis.yaml"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""), "{ran:?}");
    // Files that the configuration names are shown where they are.
    let out = ran.out.replace(folder.path().to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!(out, @r#"
    valmis.yaml:1:1: the configuration has no key `intervall`
      hint: known keys: listen, web, external_url, storage, ledger, query, features, external_labels, max_series_per_component, evaluation_interval, apps, postgres, redis, machine, disks, certificates, blackbox, probes, scrapes, sources, alertmanagers, alert_relabel_configs, drills, heartbeat, pings, resend_delay, error_hold, catch_up, rules
    FOLDER/my.rules:5:15: group "g", rule 1, "a": could not parse expression: parse error: unknown function with name "ratee"
      hint: did you mean `rate`?
    "#);
}

const BAD_RULES: &str = "\
groups:
  - name: g
    rules:
      - alert: A
        expr: up ==
        for: soon
      - alert: B
        expr: up == 0
        labls: {severity: critical}
";

#[tokio::test]
async fn rules_check_reports_every_fault_with_its_place() {
    let folder = folder();
    write(folder.path(), "good.yaml", "groups: [{name: g, rules: [{record: a, expr: sum(up)}]}]\n");
    write(folder.path(), "bad.yaml", BAD_RULES);
    let check = async |args: &[&str]| cli(folder.path(), &[&["rules", "check"], args].concat()).await;

    let ran = check(&["good.yaml"]).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "1 file, 1 group, 1 rule: no faults found\n"),
        "{ran:?}"
    );
    let ran = check(&["*.yaml"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    insta::assert_snapshot!(ran.out, @r#"
    bad.yaml:5:20: group "g", rule 1, "A": could not parse expression: parse error: unexpected end of input
    bad.yaml:6:14: `for`: not a valid duration string: "soon"
      hint: a duration is written like `30s`, `5m` or `1h30m`
    bad.yaml:9:9: unknown field `labls` in a rule
      hint: did you mean `labels`?
    2 files: 3 errors
    "#);
    let ran = check(&["bad.yaml", "--format", "github"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    insta::assert_snapshot!(ran.out, @r#"
    ::error file=bad.yaml,line=5,col=20,title=promql::group "g", rule 1, "A": could not parse expression: parse error: unexpected end of input
    ::error file=bad.yaml,line=6,col=14,title=duration::`for`: not a valid duration string: "soon"%0Ahint: a duration is written like `30s`, `5m` or `1h30m`
    ::error file=bad.yaml,line=9,col=9,title=unknown-field::unknown field `labls` in a rule%0Ahint: did you mean `labels`?
    1 file: 3 errors
    "#);
    let ran = check(&["bad.yaml", "--format", "json"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let findings: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&findings[0]["file"], &findings[0]["line"]), (&"bad.yaml".into(), &5.into()), "{findings:?}");

    let ran = check(&["nothing/*.yaml"]).await;
    assert_eq!(ran.code, Some(1), "a mistyped pattern is no success: {ran:?}");
    let ran = check(&[]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.ends_with(": no faults found\n"), "{ran:?}");
}

#[tokio::test]
async fn a_warning_is_a_finding_for_those_who_are_strict() {
    let folder = folder();
    let group =
        |name: &str| format!("groups: [{{name: {name}, rules: [{{record: {name}, expr: sum(up)}}]}}]\n");
    write(folder.path(), "two.yaml", format!("{}---\n{}", group("g"), group("h")));
    let ran = cli(folder.path(), &["rules", "check", "two.yaml"]).await;
    assert!(ran.code == Some(0) && ran.out.contains("1 file, 2 groups, 2 rules: 1 warning"), "{ran:?}");
    let ran = cli(folder.path(), &["rules", "check", "--strict", "two.yaml"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[tokio::test]
async fn exported_rules_are_those_that_are_built_in() {
    let folder = folder();
    let export = async |args: &[&str]| {
        let ran = cli(folder.path(), &[&["rules", "export"], args].concat()).await;
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
        ran.out
    };
    let summary = async |path: &str| {
        let args = if path.is_empty() { vec!["rules", "check"] } else { vec!["rules", "check", path] };
        let ran = cli(folder.path(), &args).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.out.split_once(", ").unwrap().1.to_owned()
    };
    let built_in = summary("").await;

    write(folder.path(), "all.yaml", export(&[]).await);
    assert_eq!(summary("all.yaml").await, built_in);
    let objects = ["--format", "prometheusrule", "--namespace", "watch", "--label", "release=x=y"];
    let manifest = export(&objects).await;
    assert!(manifest.contains("  namespace: \"watch\"\n") && manifest.contains("    \"release\": \"x=y\"\n"));
    write(folder.path(), "objects.yaml", manifest);
    assert_eq!(summary("objects.yaml").await, built_in);
    let wrote = export(&["--output", "new/rules", "--runbooks", "https://wiki.example/"]).await;
    assert_eq!(wrote.lines().count(), valmis::artifacts::rules().len(), "{wrote}");
    assert_eq!(summary("new/rules").await, built_in);
    let text = std::fs::read_to_string(folder.path().join("new/rules/valmis-disk.yaml")).unwrap();
    assert!(text.contains("https://wiki.example/"), "{text}");

    let one = export(&["valmis-disk"]).await;
    assert_eq!(
        one,
        valmis::artifacts::rules().iter().find(|rules| rules.name == "valmis-disk").unwrap().text
    );
    let ran = cli(folder.path(), &["rules", "export", "valmis-dsk"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    assert_eq!(ran.err, "valmis: there is no rule file `valmis-dsk`; did you mean `valmis-disk`?\n");

    let Some(promtool) = tool("bookworm/usr/bin/promtool") else { return };
    run(Command::new(promtool).args(["check", "rules", "all.yaml"]).current_dir(folder.path()));
}

#[tokio::test]
async fn exported_dashboards_are_json() {
    let folder = folder();
    let ran = cli(folder.path(), &["dashboards", "export"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let documents = serde_json::Deserializer::from_str(&ran.out).into_iter::<Value>();
    let ids: Vec<Value> = documents.map(|document| document.unwrap()["uid"].clone()).collect();
    assert!(ids.contains(&"valmis-overview".into()), "{ids:?}");
    let ran = cli(folder.path(), &["dashboards", "export", "--output", "d"]).await;
    assert!(ran.out.contains("wrote d/valmis-overview.json\n"), "{ran:?}");
    assert!(folder.path().join("d/valmis-overview.json").is_file());
}

#[tokio::test]
async fn queries_are_answered_by_a_running_valmis() {
    let server = Valmis::start_with("storage: {path: data}\nrules: [builtin]\n", &[]).await;
    let folder = folder();
    let url = format!("http://{}", server.address);
    let ask = async |args: &[&str]| {
        cli_with(folder.path(), &[("VALMIS_URL", &url)], &[&["query"], args].concat()).await
    };

    let ran = ask(&["instant", "vector(1.5)", "--time", "2026-01-01T00:00:00Z"]).await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "{} => 1.5 @[1767225600]\n", ""));
    let hours = ["--start", "0", "--end", "7200", "--step", "1h"];
    let labelled = r#"label_replace(time() * vector(1), "a", "b,c", "", "")"#;
    let ran = ask(&[&["range", labelled][..], &hours].concat()).await;
    assert_eq!(ran.out, "{a=\"b,c\"} =>\n0 @[0]\n3600 @[3600]\n7200 @[7200]\n", "{ran:?}");
    let ran = ask(&[&["range", labelled, "--format", "csv"][..], &hours].concat()).await;
    assert_eq!(ran.out, "a,timestamp,value\n\"b,c\",0,0\n\"b,c\",3600,3600\n\"b,c\",7200,7200\n", "{ran:?}");

    let ran = ask(&["instant", "quantile(2, vector(1))", "--format", "json", "--time", "-1h"]).await;
    let answer: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(answer["data"]["resultType"], "vector", "{ran:?}");
    assert!(ran.code == Some(0) && ran.err.contains("quantile value should be between 0 and 1"), "{ran:?}");

    let ran = ask(&["instant", r#"label_replace(vector(1), "a", "b", "", "(")"#]).await;
    assert!(ran.code == Some(2) && ran.out.is_empty() && ran.err.contains("no answer"), "{ran:?}");
}

#[tokio::test]
async fn answers_of_prometheus_are_printed_as_promtool_prints_them() {
    let Some(programs) = prometheus::versions().into_iter().next() else {
        missing("prometheus");
        return;
    };
    let _turn = turn().await;
    // Nobody is there to be scraped.
    let server = Prometheus::start(&programs, "127.0.0.1:1".parse().unwrap()).await;
    eventually("an answer of Prometheus", async || {
        server.query("vector(1)").await.ok_or_else(|| server.log())
    })
    .await;
    let folder = folder();
    let url = format!("http://{}", server.address);
    let labelled = r#"label_replace(vector(time() / 7), "a", "b, \"c\" é\\", "", "") or vector(1e-9)"#;
    let (instant, range): (&[&str], &[&str]) =
        (&["--time", "1767225600.5"], &["--start", "0", "--end", "7200", "--step", "1h"]);
    for (kind, expr, times) in
        [("instant", labelled, instant), ("instant", "1 / 0", instant), ("range", labelled, range)]
    {
        let ours = cli(folder.path(), &[&["query", kind, expr, "--url", &url][..], times].concat()).await;
        assert_eq!(ours.code, Some(0), "{ours:?}");
        // Those of promtool have to be joined by `=`.
        let times = times.chunks(2).map(|pair| pair.join("="));
        let mut promtool = Command::new(programs.join("promtool"));
        let theirs = run(promtool.args(["query", kind]).args(times).args([&url, expr]));
        assert_eq!(ours.out, theirs, "{kind} {expr}");
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_parsed_is_not_sent() {
    let folder = folder();
    // Nobody is there to be asked.
    let url = ["--url", "http://127.0.0.1:1"];
    let ran = cli(folder.path(), &[&["query", "instant", "sum(up) by ("][..], &url].concat()).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    insta::assert_snapshot!(ran.err, @r"
    valmis: 1:13: parse error: unclosed left parenthesis
      sum(up) by (
                  ^
    ");
    let ran = cli(folder.path(), &[&["query", "instant", "up"][..], &url].concat()).await;
    assert!(ran.code == Some(2) && ran.err.contains("Connection refused"), "{ran:?}");
    let ran = cli(folder.path(), &["query", "instant", "up", "--time", "soon"]).await;
    assert!(ran.code == Some(2) && ran.err.contains("write `now`, `-5m`"), "{ran:?}");
}

#[tokio::test]
async fn a_disk_is_probed() {
    let folder = folder();
    let ran = cli(folder.path(), &["probe", "disk", "."]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let size = ran.samples().into_iter().find(|line| line.starts_with("node_filesystem_size_bytes{"));
    assert!(size.is_some_and(|line| !line.ends_with(" 0")), "{ran:?}");
    assert!(ran.out.contains("# TYPE node_filesystem_size_bytes gauge\n"), "{ran:?}");
}

#[tokio::test]
async fn an_application_is_probed() {
    let folder = folder();
    let app = App::start().await;
    let url = app.url("/health");
    let ran = cli(folder.path(), &["probe", "http", &url]).await;
    assert!(ran.code == Some(0) && ran.verdict().ends_with(": success"), "{ran:?}");
    assert!(ran.samples().contains(&"probe_http_status_code 200"), "{ran:?}");
    app.set(Mood::Failing);
    let ran = cli(folder.path(), &["probe", "http", &url]).await;
    assert!(ran.code == Some(1) && ran.verdict().contains(": failure (status): "), "{ran:?}");
    assert!(ran.samples().contains(&"probe_http_status_code 500"), "{ran:?}");
    app.set(Mood::Hanging);
    let ran = cli(folder.path(), &["probe", "http", &url, "--timeout", "200ms"]).await;
    assert!(ran.code == Some(1) && ran.verdict().contains(": failure (timeout): "), "{ran:?}");
    let ran = cli(folder.path(), &["probe", "http", "http://u:hunter2@h/"]).await;
    assert!(ran.code == Some(2) && !ran.err.contains("hunter2"), "{ran:?}");
}

#[tokio::test]
async fn a_certificate_is_probed_and_its_end_is_shown_though_it_has_expired() {
    let folder = folder();
    let server = TlsServer::start().await;
    server.write_authority(&folder.path().join("ca.pem"));
    let target = format!("localhost:{}", server.address.port());
    let ran = cli(folder.path(), &["probe", "cert", &target]).await;
    assert!(ran.code == Some(1) && ran.verdict().contains(": failure (certificate): "), "{ran:?}");
    let ran = cli(folder.path(), &["probe", "cert", &target, "--ca-file", "ca.pem"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    server.expire();
    let ran = cli(folder.path(), &["probe", "cert", &target, "--ca-file", "ca.pem"]).await;
    assert!(ran.code == Some(1) && ran.verdict().contains(": failure (certificate): "), "{ran:?}");
    // 2021-01-01
    assert!(ran.samples().contains(&"probe_ssl_earliest_cert_expiry 1609459200"), "{ran:?}");
    let ran = cli(folder.path(), &["probe", "cert", &format!("https://{target}"), "--insecure"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");

    let ran = cli(folder.path(), &["probe", "cert", "*.pem"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.samples().iter().any(|line| line.starts_with("x509_cert_not_after{")), "{ran:?}");
    let ran = cli(folder.path(), &["probe", "cert", "missing/*.pem"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[tokio::test]
async fn a_database_is_probed_without_showing_its_password() {
    let folder = folder();
    let ran = cli(folder.path(), &["probe", "postgres", "postgres://u:hunter2@127.0.0.1:1/d"]).await;
    assert!(ran.code == Some(1) && ran.verdict().contains("127.0.0.1:1 after "), "{ran:?}");
    assert!(ran.samples().contains(&"pg_up 0"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
    let help = cli_with(
        folder.path(),
        &[("DATABASE_URL", "postgres://u:hunter2@h/d")],
        &["probe", "postgres", "--help"],
    );
    assert!(!help.await.out.contains("hunter2"));

    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute("CREATE ROLE watcher LOGIN PASSWORD 'hunter2' IN ROLE pg_monitor").await;
    let dsn = format!("postgres://watcher@127.0.0.1:{}/postgres", cluster.port);
    let probe = async |environment: &[(&str, &str)], args: &[&str]| {
        let args = [&["probe", "postgres", &dsn, "--timeout", "30s"], args].concat();
        let ran = cli_with(folder.path(), environment, &args).await;
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
        (ran.code, ran.samples().contains(&"pg_up 1"), ran)
    };
    let (code, up, ran) = probe(&[], &[]).await;
    assert!(code == Some(1) && !up, "{ran:?}");
    let (code, up, ran) = probe(&[("PGPASSWORD", "hunter2")], &[]).await;
    assert!(code == Some(0) && up, "{ran:?}");
    write(folder.path(), "password", "hunter2\n");
    let (code, up, ran) = probe(&[("PGPASSWORD", "wrong")], &["--password-file", "password"]).await;
    assert!(code == Some(0) && up, "{ran:?}");
}

#[tokio::test]
async fn the_version_names_everything_that_is_built_in() {
    let folder = folder();
    let ran = cli(folder.path(), &["version"]).await;
    let version = concat!("valmis ", env!("CARGO_PKG_VERSION"), "\n");
    assert!(ran.code == Some(0) && ran.out.starts_with(version), "{ran:?}");
    for artifact in valmis::artifacts::rules() {
        assert!(ran.out.contains(&format!("rules/{} {}\n", artifact.name, artifact.version)), "{ran:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_understood_ends_with_2() {
    let folder = folder();
    for args in [&["explode"][..], &["rules", "check", "--format", "xml"], &["probe", "http"]] {
        let ran = cli(folder.path(), args).await;
        assert!(ran.code == Some(2) && ran.out.is_empty() && !ran.err.is_empty(), "{args:?}: {ran:?}");
    }
    let ran = cli(folder.path(), &["--help"]).await;
    assert!(ran.code == Some(0) && ran.err.is_empty() && ran.out.contains("dashboards"), "{ran:?}");
}
