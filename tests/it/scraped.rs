//! `/metrics` as real Prometheus servers and promtool read it.

use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::real::app::App;
use crate::real::postgres::Cluster;
use crate::real::prometheus::{Prometheus, versions};
use crate::real::tls_server::TlsServer;
use crate::real::valmis::{COMMON, Valmis};
use crate::real::{eventually, http, say, turn};

/// Texts in the log of Prometheus about samples that it did not take.
/// Source: Prometheus `scrape/scrape.go`.
pub(crate) const COMPLAINTS: &[&str] = &[
    "Append failed",
    "Appending scrape report failed",
    "Duplicate sample",
    "Error on ingesting",
    "Out of order",
    "Scrape failed",
    "Unexpected error",
];

/// valmis with a component of every kind, so that it shows all that it can.
pub(crate) struct Everything {
    pub(crate) valmis: Valmis,
    _app: App,
    _server: TlsServer,
    _cluster: Cluster,
    _files: TempDir,
}

impl Everything {
    pub(crate) async fn start() -> Option<Self> {
        let cluster = Cluster::start("").await?;
        cluster.execute("CREATE ROLE monitor LOGIN PASSWORD 'right'; GRANT pg_monitor TO monitor;").await;
        let (app, server) = (App::start().await, TlsServer::start().await);
        let files = TempDir::with_prefix("valmis-files-").unwrap();
        server.write_certificate(&files.path().join("server.pem"));
        let backup = "backup_last_success_timestamp_seconds";
        let left = format!("# HELP {backup} When.\n# TYPE {backup} gauge\n{backup} 7\n");
        std::fs::write(files.path().join("backup.prom"), left).unwrap();
        let configuration = format!(
            "{COMMON}disks: [{{path: /, interval: 1s}}]\n\
             apps: [{{name: backend, url: '{health}', metrics: '{}', interval: 1s}}]\n\
             postgres:\n\
             - name: db\n  \
               dsn: postgres://monitor:right@127.0.0.1:{}/postgres\n  \
               interval: 1s\n  \
               queries: {{shop: {{query: SELECT 7 AS orders, metrics: [{{orders: {{usage: GAUGE, description: Orders.}}}}]}}}}\n\
             redis: [{{name: cache, address: '127.0.0.1:1', interval: 1s}}]\n\
             machine: {{interval: 1s, textfile_directory: '{folder}'}}\n\
             probes: [{{name: site, module: http_2xx, target: '{health}', interval: 1s}}]\n\
             certificates:\n\
             - {{name: web, url: 'localhost:{}', file: '{folder}/*.pem', interval: 1s, tls: {{insecure_skip_verify: true}}}}\n",
            app.url("/metrics"),
            cluster.port,
            server.address.port(),
            health = app.url("/health"),
            folder = files.path().display(),
        );
        let valmis = Valmis::start(&configuration).await;
        Some(Self { valmis, _app: app, _server: server, _cluster: cluster, _files: files })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_prometheus_servers_scrape_metrics_without_complaint() {
    let _turn = turn().await;
    let programs = versions();
    if programs.is_empty() {
        crate::real::missing("prometheus");
        return;
    }
    let Some(everything) = Everything::start().await else { return };
    for programs in programs {
        let prometheus = Prometheus::start(&programs, everything.valmis.address).await;
        eventually("three good scrapes", async || {
            let up = prometheus.value("sum_over_time(up{job=\"valmis\"}[5m])").await;
            if up >= Some(3.0) { Ok(()) } else { Err(format!("{up:?}\n{}", prometheus.log())) }
        })
        .await;
        let failed = prometheus.query("up{job=\"valmis\"} == 0").await;
        assert_eq!(failed, Some(Value::Array(vec![])));
        let scraped = prometheus.value("scrape_samples_scraped{job=\"valmis\"}").await.unwrap();
        let log = prometheus.log();
        let complaints: Vec<&str> =
            log.lines().filter(|line| COMPLAINTS.iter().any(|text| line.contains(text))).collect();
        assert_eq!(complaints, Vec::<&str>::new());
        let target = http().get(format!("http://{}/api/v1/targets", prometheus.address));
        let target: Value = target.send().await.unwrap().json().await.unwrap();
        assert_eq!(target["data"]["activeTargets"][0]["lastError"], "");
        assert_same_values(&everything.valmis, &prometheus).await;
        say(&format!("{}: {scraped} samples, no complaint", programs.display()));
    }
}

/// What does not change from one second to the next is the same on both sides, label by label.
async fn assert_same_values(valmis: &Valmis, prometheus: &Prometheus) {
    let (_, page) = valmis.get("/metrics").await;
    let mut compared = 0;
    for name in [
        "node_filesystem_size_bytes",
        "pg_settings_max_connections",
        "pg_up",
        "probe_http_status_code",
        "probe_ssl_earliest_cert_expiry",
        "valmis_build_info",
        "valmis_component_ready",
        "valmis_component_state",
    ] {
        for line in page.lines().filter(|line| line.starts_with(name)) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            if series.split('{').next() != Some(name) {
                continue;
            }
            let stored = prometheus.value(series).await;
            assert_eq!(stored, value.parse().ok(), "{series}");
            compared += 1;
        }
    }
    assert!(compared >= 10, "only {compared} series were compared:\n{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_accepts_metrics() {
    let _turn = turn().await;
    if versions().is_empty() {
        crate::real::missing("promtool");
        return;
    }
    let Some(everything) = Everything::start().await else { return };
    let (_, page) = everything.valmis.get("/metrics").await;
    assert_accepted(&everything.valmis, &page, "/metrics");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_paths_of_one_file_system_are_told_of_once() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (one.path().display(), other.path().display());
    let valmis = Valmis::start(&format!("{COMMON}disks: [{{path: {one}}}, {{path: {other}}}]\n")).await;
    valmis.wait_all_ready().await;
    let (_, page) = valmis.get("/metrics/node").await;
    let named = |name: &str| page.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(named("node_filesystem_size_bytes{"), 1, "{page}");
    let (_, page) = valmis.get("/metrics").await;
    for path in [one, other] {
        assert!(page.contains(&format!("name=\"{path}\",state=\"ready\"}} 1")), "{page}");
    }
}

/// `promtool check metrics` of every version has nothing to say, but of names that are others'.
#[track_caller]
pub(crate) fn assert_accepted(valmis: &Valmis, page: &str, what: &str) {
    let file = valmis.file("metrics.txt");
    std::fs::write(&file, page).unwrap();
    for programs in versions() {
        let mut promtool = Command::new(programs.join("promtool"));
        promtool.args(["check", "metrics"]).stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
        let output = promtool.output().unwrap();
        let remarks = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        // What jobs leave in files they describe themselves, or not.
        let remarks = remarks.lines().filter(|line| !line.starts_with("backup_"));
        // Names that mean what they mean elsewhere cannot be better than they are there.
        let of_others = |line: &&str| {
            ["node_", "pg_", "prometheus_rule_", "redis_"].iter().any(|prefix| line.starts_with(prefix))
        };
        let (others, own): (Vec<&str>, Vec<&str>) = remarks.partition(of_others);
        assert_eq!(own, Vec::<&str>::new(), "{what}: {}", programs.display());
        let names = others.iter().all(|line| line.contains(" should ") || line.contains(" use base unit "));
        assert!(names, "{what}: remarks on more than names: {others:#?}");
    }
}
