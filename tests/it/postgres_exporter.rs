//! Side by side with the real `postgres_exporter` of Debian: what both export has to be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use tempfile::TempDir;
use valmis::exposition::{Entry, Format, Parser};
use valmis::model::{Labels, METRIC_NAME};
use valmis::probe::ProbeOutcome;
use valmis::probe::postgres::PostgresProber;

use crate::postgres::{ROLES, monitor_dsn, probe, target};
use crate::real::postgres::{Cluster, free_port};
use crate::real::process::Process;
use crate::real::{cache, eventually, http, missing};

/// What differs on purpose or by nature, with the reason.
const REASONS: &[(&str, &str)] = &[
    ("pg_exporter_scrapes_total", "each counts its own"),
    ("pg_exporter_last_scrape_duration_seconds", "a measured time"),
    ("pg_scrape_collector_duration_seconds", "a measured time"),
    ("pg_scrape_collector_success", "other collectors"),
    ("postgres_exporter_build_info", "another program"),
    ("pg_settings_extra_float_digits", "the exporter's driver sets it for its own session"),
    ("pg_static", "a version of three numbers has none of PostgreSQL's two after it"),
    ("pg_stat_activity_count", "sessions of the exporter itself; no application_name and wait events here"),
    ("pg_stat_activity_max_tx_duration", "the same"),
    ("pg_stat_database_numbackends", "connections of the exporter itself"),
    ("pg_locks_count", "locks of the exporter's own question"),
    ("pg_replication_slot_slot_is_active", "a label slot_type here, as since 0.14"),
    ("pg_stat_bgwriter_stats_reset_total", "the exporter shows 0 there until 0.12"),
];

/// Counters that go on while one asks.
fn runs_on(name: &str) -> bool {
    name.starts_with("pg_stat_database_")
        || name.starts_with("pg_stat_bgwriter_")
        || name.ends_with("_size_bytes")
}

type Families = BTreeMap<String, BTreeMap<String, f64>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_export_has_the_same_labels_and_values() {
    let Some(cluster) = Cluster::start("").await else { return };
    let program = cache().join("bookworm/usr/bin/prometheus-postgres-exporter");
    if !program.exists() {
        missing("prometheus-postgres-exporter");
        return;
    }
    cluster.execute(ROLES).await;
    cluster.execute("SELECT pg_create_physical_replication_slot('spare', true)").await;
    let (folder, port) = (TempDir::new().unwrap(), free_port());
    let mut command = Command::new(program);
    command
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .env("DATA_SOURCE_NAME", monitor_dsn(&cluster));
    let exporter = Process::start(&mut command, folder.path());
    let theirs = eventually("metrics of the exporter", async || {
        let page = http().get(format!("http://127.0.0.1:{port}/metrics")).send().await;
        let page =
            page.map_err(|error| error.to_string())?.text().await.map_err(|error| error.to_string())?;
        let families = theirs(&page);
        if families.contains_key("pg_settings_max_connections") { Ok(families) } else { Err(exporter.log()) }
    })
    .await;
    let ours = ours(&probe(&PostgresProber::new(target(&monitor_dsn(&cluster)))).await);
    let names: BTreeSet<&String> = theirs.keys().filter(|name| ours.contains_key(*name)).collect();
    assert!(names.len() > 230, "{} common metrics", names.len());
    let mut differences = Vec::new();
    for name in names {
        if REASONS.iter().any(|(known, _)| known == name) {
            continue;
        }
        let (theirs, ours) = (&theirs[name], &ours[name]);
        // Shared catalogues belong to no database; since 0.12 the exporter leaves them out, too.
        let theirs: BTreeMap<&String, &f64> =
            theirs.iter().filter(|(labels, _)| *labels != "{datid=\"0\"}").collect();
        if theirs.keys().copied().ne(ours.keys()) {
            differences.push(format!("{name}: labels {:?} there, {:?} here", theirs.keys(), ours.keys()));
        }
        for (labels, value) in theirs {
            let Some(here) = ours.get(labels) else { continue };
            let same =
                value.to_bits() == here.to_bits() || (value - here).abs() <= 1e-6 * value.abs().max(1e-3);
            if !same && !runs_on(name) {
                differences.push(format!("{name}{labels}: {value} there, {here} here"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let absent: Vec<&String> =
        theirs.keys().filter(|name| name.starts_with("pg_") && !ours.contains_key(*name)).collect();
    // Not known yet: nothing was archived, no checksum failed, no statistics were reset. The exporter shows NaN.
    let unknown = [
        "pg_stat_archiver_last_archive_age",
        "pg_stat_database_checksum_failures",
        "pg_stat_database_checksum_last_failure",
        "pg_stat_database_stats_reset",
    ];
    assert_eq!(absent, unknown, "what the exporter has and valmis has not");
}

/// The exporter says on each series which server it is about; so did its versions before 0.20.
fn place(labels: &Labels) -> (String, String) {
    let name = labels.metric_name().to_owned();
    (name, labels.builder().set(METRIC_NAME, "").set("server", "").build().to_string())
}

fn ours(outcome: &ProbeOutcome) -> Families {
    let mut families = Families::new();
    for sample in &outcome.samples {
        let (name, labels) = place(&sample.labels);
        families.entry(name).or_default().insert(labels, sample.value);
    }
    families
}

fn theirs(page: &str) -> Families {
    let mut families = Families::new();
    let mut parser = Parser::new(page.as_bytes(), Format::Text).unwrap();
    while let Some(entry) = parser.next() {
        if let Entry::Sample(sample) = entry.unwrap() {
            let (name, labels) = place(&parser.labels());
            families.entry(name).or_default().insert(labels, sample.value);
        }
    }
    families
}
