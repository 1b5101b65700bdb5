//! The pages that take the place of other exporters, with a component of every kind behind them.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::json;

use crate::real::node_exporter::NodeExporter;
use crate::real::prometheus::{Prometheus, versions};
use crate::real::valmis::{COMMON, NO_DISK, Valmis};
use crate::real::{eventually, http, missing, turn};
use crate::scraped::{COMPLAINTS, Everything, assert_accepted};

struct Persona {
    path: &'static str,
    /// What the names of its metrics begin with.
    prefixes: &'static [&'static str],
    /// Metrics that it has whatever the machine is like.
    some: &'static [&'static str],
}

const PERSONAS: [Persona; 5] = [
    Persona {
        path: "/metrics/blackbox",
        prefixes: &["probe_", "valmis_probe_unknown", "valmis_tls_", "blackbox_"],
        some: &[
            "probe_success",
            "probe_http_status_code",
            "probe_dns_lookup_time_seconds",
            "probe_ssl_earliest_cert_expiry",
            "blackbox_exporter_config_last_reload_successful",
        ],
    },
    Persona {
        path: "/metrics/postgres",
        prefixes: &["pg_", "postgres_exporter_", "valmis_postgres_", "shop_"],
        some: &["pg_up", "pg_settings_max_connections", "pg_stat_database_numbackends", "shop_orders"],
    },
    Persona { path: "/metrics/redis", prefixes: &["redis_"], some: &["redis_up"] },
    Persona {
        path: "/metrics/node",
        prefixes: &["node_", "valmis_node_", "valmis_filesystem_", "backup_"],
        some: &[
            "node_load1",
            "node_filesystem_size_bytes",
            "node_scrape_collector_success",
            "node_textfile_mtime_seconds",
            "backup_last_success_timestamp_seconds",
        ],
    },
    Persona {
        path: "/metrics/certificates",
        prefixes: &["x509_", "ssl_", "probe_ssl_", "valmis_tls_", "valmis_certificate_"],
        some: &[
            "x509_cert_not_after",
            "x509_source_up",
            "ssl_cert_not_after",
            "probe_ssl_earliest_cert_expiry",
            "valmis_certificate_not_reloaded",
        ],
    },
];

/// What OpenMetrics is asked for with. Source: Prometheus `scrape/scrape.go`, `acceptHeader`.
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4";

/// The names of the metrics of a page. In OpenMetrics counters have theirs without `_total`.
fn families(page: &str) -> BTreeSet<String> {
    let described = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    described.map(|name| name.strip_suffix("_total").unwrap_or(name).to_owned()).collect()
}

/// A page in OpenMetrics.
async fn openmetrics(valmis: &Valmis, path: &str) -> String {
    let url = format!("http://{}{path}", valmis.address);
    let answer = http().get(url).header("accept", OPENMETRICS).send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{path}: {kind}");
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_page_has_exactly_the_metrics_of_its_exporter_in_both_formats() {
    let _turn = turn().await;
    let Some(everything) = Everything::start().await else { return };
    let valmis = &everything.valmis;
    for Persona { path, prefixes, some } in PERSONAS {
        // What a slow collector found may come between two pages.
        let page = eventually(path, async || {
            let (_, all) = valmis.get("/metrics").await;
            let mut expected = families(&all);
            expected.retain(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
            let (status, page) = valmis.get(path).await;
            let (found, other) = (families(&page), families(&openmetrics(valmis, path).await));
            let complete = some.iter().all(|name| found.contains(*name));
            if status == StatusCode::OK && complete && found == expected && other == expected {
                Ok(page)
            } else {
                let missing: Vec<_> = some.iter().filter(|name| !found.contains(**name)).collect();
                let (more, less) = (found.difference(&expected), expected.difference(&found));
                let different = other.symmetric_difference(&found);
                Err(format!(
                    "missing {missing:?}, more {more:?}, less {less:?}, OpenMetrics {different:?}\n{}",
                    valmis.log()
                ))
            }
        })
        .await;
        assert_accepted(valmis, &page, path);
        let page = openmetrics(valmis, path).await;
        assert!(page.ends_with("\n# EOF\n"), "{path}: {page}");
        assert_eq!(page.matches("# EOF").count(), 1, "{path}");
    }
    let (status, said) = valmis.get("/metrics/mysql").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(
        said.contains("no metrics `mysql`; there are blackbox, postgres, redis, node, certificates"),
        "{said}"
    );
    assert_choices_of_postgres(valmis).await;
}

/// What is chosen of PostgreSQL's collectors; what queries of the user found is shown beside.
async fn assert_choices_of_postgres(valmis: &Valmis) {
    let (_, page) = valmis.get("/metrics/postgres?collect[]=locks&collect[]=wal").await;
    let found = families(&page);
    for (name, expected) in [
        ("pg_locks_count", true),
        ("pg_wal_segments", true),
        ("pg_up", true),
        ("shop_orders", true),
        ("pg_settings_max_connections", false),
        ("pg_database_size_bytes", false),
    ] {
        assert_eq!(found.contains(name), expected, "{name}: {found:?}");
    }
    let (_, page) = valmis.get("/metrics/postgres?exclude[]=locks").await;
    let found = families(&page);
    assert!(!found.contains("pg_locks_count") && found.contains("pg_settings_max_connections"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_prometheus_servers_scrape_each_page_without_complaint() {
    let _turn = turn().await;
    if versions().is_empty() {
        return missing("prometheus");
    }
    let Some(everything) = Everything::start().await else { return };
    let target = everything.valmis.address.to_string();
    let jobs = PERSONAS.map(|persona| {
        json!({
            "job_name": persona.path, "metrics_path": persona.path, "scrape_interval": "1s",
            "static_configs": [{"targets": [target]}],
        })
    });
    for programs in versions() {
        let configuration = json!({"scrape_configs": jobs});
        let prometheus = Prometheus::start_with(&programs, &configuration, &[]).await;
        eventually("two good scrapes of each page", async || {
            let good = prometheus.value("count(sum_over_time(up[5m]) >= 2)").await;
            if good == Some(5.0) { Ok(()) } else { Err(format!("{good:?}\n{}", prometheus.log())) }
        })
        .await;
        let log = prometheus.log();
        let complaints: Vec<&str> =
            log.lines().filter(|line| COMPLAINTS.iter().any(|text| line.contains(text))).collect();
        assert_eq!(complaints, Vec::<&str>::new());
    }
}

/// Questions that both answer alike.
const CHOICES: [&str; 8] = [
    "collect[]=loadavg",
    "collect[]=loadavg&collect[]=uname",
    "collect[]=stat",
    "collect[]=meminfo",
    "collect[]=loadavg&collect[]=loadavg",
    "collect[]=nope",
    "collect[]=loadavg&collect[]=nope",
    "collect[]=",
];

/// What each program tells of itself.
const OF_THE_PROGRAM: [&str; 3] =
    ["node_exporter_build_info", "promhttp_metric_handler_errors", "valmis_node_devices_dropped"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chosen_collectors_answer_as_those_of_a_real_node_exporter() {
    let _turn = turn().await;
    let valmis = Valmis::start(&format!("{COMMON}{NO_DISK}machine: {{interval: 1s}}\n")).await;
    let Some(exporter) = NodeExporter::start(&["--web.disable-exporter-metrics"], &[]).await else { return };
    let address = exporter.address;
    for choice in CHOICES {
        let theirs = http().get(format!("http://{address}/metrics?{choice}")).send().await.unwrap();
        let (their_status, theirs) = (theirs.status(), theirs.text().await.unwrap());
        for path in ["/metrics/node", "/metrics"] {
            let (status, ours) = valmis.get(&format!("{path}?{choice}")).await;
            assert_eq!(status, their_status, "{path}?{choice}: {ours}\n{theirs}");
            if status == StatusCode::OK {
                let told = |page: &str| {
                    let mut told = families(page);
                    told.retain(|name| !OF_THE_PROGRAM.contains(&name.as_str()));
                    told
                };
                assert_eq!(told(&ours), told(&theirs), "{path}?{choice}");
            } else {
                assert_eq!(ours.trim_end(), theirs.trim_end(), "{path}?{choice}");
            }
        }
    }
    // Newer ones than Debian's can exclude.
    let (status, page) = valmis.get("/metrics/node?exclude[]=loadavg").await;
    let found = families(&page);
    assert!(
        status == StatusCode::OK && !found.contains("node_load1") && found.contains("node_forks"),
        "{page}"
    );
    for (question, expected) in [
        (
            "/metrics/node?collect[]=stat&exclude[]=uname",
            "Combined collect and exclude queries are not allowed.",
        ),
        (
            "/metrics/blackbox?collect[]=stat",
            "Couldn't create filtered metrics handler: couldn't create collector: missing collector: stat",
        ),
    ] {
        let (status, said) = valmis.get(question).await;
        assert_eq!((status, said.as_str()), (StatusCode::BAD_REQUEST, expected), "{question}");
    }
}
