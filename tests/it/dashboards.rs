//! The dashboards: well formed, readable, in step with the alerts, and every panel has data.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use valmis::artifacts;
use valmis::model::MatchOp;
use valmis::promql::{self, Expr, ExprKind, VectorSelector};

use crate::artifacts::alert_expressions;
use crate::tools::tool;

/// Selectors that need not go by the variables, with the reason.
const WITHOUT_JOB: &[&str] = &["ALERTS"]; // Alerts have the labels of whatever they are about.
const WITHOUT_INSTANCE: &[&str] = &["ALERTS", "job:http_requests_errors:ratio_rate5m"]; // Summed over instances.

/// The units that panels may have. All are known to Grafana 10 and later.
const UNITS: &[&str] = &["none", "s", "d", "h", "bytes", "percentunit", "reqps", "ops", "wps"];

/// Panels whose threshold is where an alert begins.
const LIMITS: &[(u64, &str)] =
    &[(31, "HighErrorRate"), (50, "DiskAlmostFull"), (51, "InodesAlmostGone"), (71, "StoreAtCeiling")];

fn dashboards() -> Vec<(&'static artifacts::Artifact, Value)> {
    let parsed = |file: &'static artifacts::Artifact| (file, serde_json::from_str(file.text).unwrap());
    artifacts::dashboards().iter().map(parsed).collect()
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The panels that show something, so no headings of rows.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    array(dashboard, "panels").iter().filter(|panel| panel["type"] != "row")
}

/// The queries of a panel with everything chosen in every variable.
fn queries(panel: &Value) -> impl Iterator<Item = String> {
    array(panel, "targets").iter().map(|target| expand(target["expr"].as_str().unwrap()))
}

fn expand(expr: &str) -> String {
    let expanded = expr.replace("$__rate_interval", "1m").replace("$job", ".+").replace("$instance", ".+");
    assert!(!expanded.contains('$'), "an unknown variable: {expr}");
    expanded
}

fn parse(place: &str, query: &str) -> Expr {
    promql::parse(query).unwrap_or_else(|errors| panic!("{place}: {errors:?}\n{query}"))
}

/// Calls `visit` with each expression and the name of the function or operator around it.
fn walk<'a>(expr: &'a Expr, around: &'a str, visit: &mut impl FnMut(&'a Expr, &str)) {
    visit(expr, around);
    match &expr.kind {
        ExprKind::Paren(inner) | ExprKind::Unary { expr: inner, .. } => walk(inner, around, visit),
        ExprKind::Binary(binary) => {
            walk(&binary.left, "", visit);
            walk(&binary.right, "", visit);
        }
        ExprKind::Aggregate(aggregate) => {
            aggregate.param.iter().for_each(|param| walk(param, "", visit));
            walk(&aggregate.expr, "", visit);
        }
        ExprKind::Call(call) => call.args.iter().for_each(|arg| walk(arg, call.function, visit)),
        ExprKind::Subquery(subquery) => walk(&subquery.expr, around, visit),
        _ => {}
    }
}

/// All selectors with the function around each.
fn selectors(expr: &Expr) -> Vec<(&VectorSelector, String)> {
    let mut found = Vec::new();
    walk(expr, "", &mut |expr, around| match &expr.kind {
        ExprKind::Vector(selector) => found.push((selector, around.to_owned())),
        ExprKind::Matrix(matrix) => found.push((&matrix.selector, around.to_owned())),
        _ => {}
    });
    found
}

#[test]
fn they_can_be_provisioned_anywhere() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        let uid = dashboard["uid"].as_str().unwrap();
        assert_eq!(uid, file.name);
        assert!(uid.len() <= 40 && uids.insert(uid.to_owned()));
        // More does not fit into the annotation that `kubectl apply` makes of a ConfigMap.
        assert!(file.text.len() < 262_144, "{uid}: {} bytes", file.text.len());
        for absent in ["id", "__inputs", "__requires"] {
            assert!(dashboard.get(absent).is_none(), "{uid}: {absent}");
        }
        assert_eq!(dashboard["editable"], false);
        assert!(dashboard["schemaVersion"].as_u64() >= Some(39));
        assert!(dashboard["title"].is_string() && dashboard["description"].is_string());
        assert_eq!(dashboard["tags"], serde_json::json!(["valmis"]));
        assert_eq!(dashboard["links"][0]["tags"], serde_json::json!(["valmis"]));
        let annotation = &dashboard["annotations"]["list"][0];
        let expr = annotation["expr"].as_str().unwrap();
        assert!(expr.contains("ALERTS"), "{uid}: alerts are not marked in the graphs");
        parse(uid, expr);
    }
}

#[test]
fn variables_follow_the_conventions() {
    for (file, dashboard) in dashboards() {
        let list = array(&dashboard["templating"], "list");
        let named = |name: &str| list.iter().find(|variable| variable["name"] == name).unwrap();
        assert_eq!(named("datasource")["type"], "datasource");
        assert_eq!(named("datasource")["label"], "Data source");
        for (name, label) in [("job", "Job"), ("instance", "Instance")] {
            let variable = named(name);
            assert_eq!(variable["label"], label);
            assert_eq!(variable["type"], "query");
            assert_eq!(variable["datasource"]["uid"], "${datasource}");
            assert_eq!((&variable["multi"], &variable["includeAll"]), (&true.into(), &true.into()));
            assert_eq!(variable["allValue"], ".+");
            assert_eq!(variable["refresh"], 2, "changes with the time range");
            let query = variable["query"]["query"].as_str().unwrap();
            let selector =
                query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(&format!(", {name})")));
            parse(file.name, &expand(selector.unwrap()));
        }
    }
}

#[test]
fn panels_explain_themselves() {
    for (file, dashboard) in dashboards() {
        let mut ids = BTreeSet::new();
        let mut cells = BTreeSet::new();
        for panel in array(&dashboard, "panels") {
            let place = format!("{}: panel {}", file.name, panel["id"]);
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{place}: the id occurs twice");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(x + w <= 24 && w > 0 && h > 0, "{place}: outside of the grid");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(cells.insert(cell), "{place}: overlaps another");
            }
        }
        for panel in panels(&dashboard) {
            let place = format!("{}: panel {}", file.name, panel["id"]);
            assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{place}: no title");
            assert!(
                panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
                "{place}: no description"
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{place}");
            let defaults = &panel["fieldConfig"]["defaults"];
            let unit = defaults["unit"].as_str().unwrap();
            assert!(UNITS.contains(&unit), "{place}: unit {unit}");
            assert!(!array(&defaults["thresholds"], "steps").is_empty(), "{place}: no thresholds");
            let expressions: Vec<String> = queries(panel).collect();
            assert!(!expressions.is_empty(), "{place}: no queries");
            // A panel without data says what is missing, unless it always has some.
            let always = expressions.iter().all(|expr| expr.ends_with("or vector(0)"));
            assert!(always || defaults["noValue"].is_string(), "{place}: does not say what is missing");
        }
    }
}

#[test]
fn queries_are_sound() {
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in array(panel, "targets") {
                let place = format!("{}: panel {}", file.name, panel["id"]);
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{place}");
                let written = target["expr"].as_str().unwrap();
                for range in ["rate(", "increase("] {
                    let fixed = written.split(range).skip(1).any(|rest| !rest.contains("[$__rate_interval]"));
                    assert!(!fixed, "{place}: {range} over a range that does not follow the zoom");
                }
                for (selector, around) in selectors(&parse(&place, &expand(written))) {
                    let name = selector.name.as_deref().unwrap_or_default();
                    let goes_by = |label: &str| {
                        let matchers = &selector.matchers;
                        matchers
                            .iter()
                            .any(|m| m.name() == label && m.op() == MatchOp::Regex && m.value() == ".+")
                    };
                    assert!(goes_by("job") || WITHOUT_JOB.contains(&name), "{place}: {name} without $job");
                    assert!(
                        goes_by("instance") || WITHOUT_INSTANCE.contains(&name),
                        "{place}: {name} without $instance"
                    );
                    let counter = ["_total", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
                    // PostgreSQL's activity is a count, but no counter.
                    let counter = counter && name != "pg_stat_activity_count";
                    assert_eq!(
                        counter,
                        counter && ["rate", "increase"].contains(&around.as_str()),
                        "{place}: {name}"
                    );
                }
            }
        }
    }
}

#[test]
fn thresholds_are_those_of_the_alerts() {
    let (_, dashboard) = dashboards().remove(0);
    let expressions = alert_expressions();
    for (id, alert) in LIMITS {
        let panel = panels(&dashboard).find(|panel| panel["id"] == *id).unwrap();
        let steps = array(&panel["fieldConfig"]["defaults"]["thresholds"], "steps");
        let limit = steps.last().unwrap()["value"].as_f64().unwrap();
        let mut numbers = Vec::new();
        walk(&parse(alert, &expressions[*alert]), "", &mut |expr, _| {
            if let ExprKind::Number { value, .. } = expr.kind {
                numbers.push(value);
            }
        });
        assert!(numbers.contains(&limit), "panel {id} has a line at {limit}, {alert} knows {numbers:?}");
    }
}

/// What valmis and an application show while everything works: names and labels as valmis has them, the
/// values as a function of the seconds since the start.
fn metrics(seconds: u64) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut add = |series: &str, value: u64| lines.push(format!("{series} {value}\n"));
    let own = r#"job="valmis",instance="valmis:9797""#;
    add(&format!("valmis_ready{{{own}}}"), 1);
    for (component, name) in [("app", "shop"), ("postgres", "main"), ("disk", "/"), ("certificate", "mail")] {
        let labels = format!(r#"{own},component="{component}",name="{name}""#);
        add(&format!("valmis_component_ready{{{labels}}}"), 1);
        add(&format!("valmis_component_probe_age_seconds{{{labels}}}"), 5);
        for (state, value) in [("ready", 1), ("not_ready", 0), ("unknown", 0)] {
            add(&format!(r#"valmis_component_state{{{labels},state="{state}"}}"#), value);
        }
    }
    for (name, value) in [
        ("process_resident_memory_bytes", 50_000_000),
        ("valmis_tsdb_memory_bytes", 20_000_000),
        ("valmis_tsdb_memory_limit_bytes", 200_000_000),
    ] {
        add(&format!("{name}{{{own}}}"), value);
    }
    for name in [
        r#"prometheus_tsdb_head_samples_appended_total{type="float","#,
        r#"prometheus_rule_evaluations_total{rule_group="g","#,
        r#"prometheus_rule_evaluation_failures_total{rule_group="g","#,
        r#"prometheus_notifications_sent_total{alertmanager="a","#,
        r#"prometheus_notifications_errors_total{alertmanager="a","#,
    ] {
        add(
            &format!("{name}{own}}}"),
            if name.contains("failures") || name.contains("errors") { 0 } else { seconds },
        );
    }
    let app = r#"job="app",instance="https://shop.example/health""#;
    add(&format!("probe_success{{{app}}}"), 1);
    add(&format!("probe_http_status_code{{{app}}}"), 200);
    add(&format!("probe_ssl_earliest_cert_expiry{{{app}}}"), 4_000_000_000);
    for phase in ["resolve", "connect", "tls", "processing", "transfer"] {
        add(&format!(r#"probe_http_duration_seconds{{{app},phase="{phase}"}}"#), 1);
    }
    let file = r#"job="certificates",instance="files",filepath="/etc/ssl/db.pem",subject_CN="db""#;
    add(&format!("x509_cert_not_after{{{file}}}"), 4_000_000_000);
    let shop = r#"job="shop",instance="shop:3000""#;
    add(&format!(r#"http_requests_total{{{shop},status_code="200"}}"#), 10 * seconds);
    for bound in ["0.1", "1", "+Inf"] {
        add(&format!(r#"http_request_duration_seconds_bucket{{{shop},le="{bound}"}}"#), 10 * seconds);
    }
    let database = r#"job="postgres",instance="db:5432/shop""#;
    for (series, value) in [
        ("pg_up{", 1),
        ("pg_settings_max_connections{", 100),
        ("pg_settings_superuser_reserved_connections{", 3),
        ("pg_replication_lag_seconds{", 0),
        (r#"pg_stat_activity_count{datname="shop",state="active","#, 2),
        (r#"pg_stat_activity_max_tx_duration{datname="shop",state="active","#, 1),
        (r#"pg_database_size_bytes{datname="shop","#, 1_000_000),
        ("pg_replication_is_replica{", 0),
        ("pg_stat_archiver_failed_count{", 0),
        ("pg_stat_archiver_archived_count{", seconds),
        (r#"pg_stat_database_blks_hit{datid="1",datname="shop","#, 100 * seconds),
        (r#"pg_stat_database_blks_read{datid="1",datname="shop","#, seconds),
    ] {
        add(&format!("{series}{database}}}"), value);
    }
    let disk = r#"job="node",instance="web1",device="/dev/sda1",mountpoint="/",fstype="ext4""#;
    for (name, value) in [
        ("node_filesystem_avail_bytes", 50_000_000 - seconds),
        ("node_filesystem_size_bytes", 100_000_000),
        ("node_filesystem_readonly", 0),
        ("node_filesystem_device_error", 0),
        ("node_filesystem_files", 1000),
        ("node_filesystem_files_free", 900),
    ] {
        add(&format!("{name}{{{disk}}}"), value);
    }
    lines.concat()
}

/// Answers every request with the metrics, for as long as the test runs.
fn serve_metrics() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let start = Instant::now();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A scraper that hangs up is none of the test's business.
            let _ = answer(&stream, &metrics(start.elapsed().as_secs()));
        }
    });
    port
}

fn answer(mut stream: &TcpStream, page: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{page}", page.len())
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All panels are asked against a real Prometheus that scrapes what a working valmis shows and
/// evaluates the bundled rules. Nothing but the watchdog may fire meanwhile.
#[tokio::test]
async fn every_panel_has_data_and_a_healthy_system_is_silent() {
    let Some(prometheus) = tool("bookworm/usr/bin/prometheus") else { return };
    let folder = tempfile::tempdir().unwrap();
    let target = serve_metrics();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for file in artifacts::rules() {
        // The same rules, only more often.
        let lines = file.text.lines().map(|line| match line.trim_start() {
            interval if interval.starts_with("interval: ") => "    interval: 1s",
            _ => line,
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        fs::write(folder.path().join(format!("{}.yaml", file.name)), text).unwrap();
    }
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}/valmis-*.yaml']\nscrape_configs:\n\
         - {{job_name: valmis, honor_labels: true, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}\n",
        folder.path().display()
    );
    let path = folder.path().join("prometheus.yml");
    fs::write(&path, config).unwrap();
    let child = Command::new(&prometheus)
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stderr(Stdio::null())
        .spawn();
    let _running = Running(child.unwrap());
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    let ask = async |query: &str| -> Option<Value> {
        let url = format!("http://127.0.0.1:{port}/api/v1/query");
        let response = client.get(url).query(&[("query", query)]).send().await.ok()?;
        let body: Value = response.json().await.ok()?;
        assert_ne!(body["status"], "error", "{query}: {body}");
        Some(body["data"]["result"].clone())
    };
    let mut missing: Vec<(String, String)> = Vec::new();
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            let place = format!("{}: panel {} ({})", file.name, panel["id"], panel["title"]);
            missing.extend(queries(panel).map(|query| (place.clone(), query)));
        }
    }
    assert!(missing.len() > 30, "{} queries", missing.len());
    let deadline = Instant::now() + Duration::from_mins(1);
    while !missing.is_empty() {
        assert!(Instant::now() < deadline, "no data: {missing:#?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
        let mut still = Vec::new();
        for (place, query) in missing {
            let found =
                ask(&query).await.is_some_and(|result| result.as_array().is_some_and(|r| !r.is_empty()));
            if !found {
                still.push((place, query));
            }
        }
        missing = still;
    }
    let alerts = ask(r#"ALERTS{alertname!="Watchdog"}"#).await.unwrap();
    assert_eq!(alerts, serde_json::json!([]), "alerts of a healthy system");
}
