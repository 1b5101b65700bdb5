//! Name, type and help of every metric of this prober.

use std::sync::LazyLock;

use super::collector::{COLLECTORS, describe_setting};
use super::pooler;

/// The metrics that do not come from a collector.
const OWN: &[(&str, &str, &str)] = &[
    (
        "pg_up",
        "gauge",
        "Whether a new connection to the server could be made and was answered (1 for yes, 0 for no).",
    ),
    (
        "pg_exporter_last_scrape_error",
        "gauge",
        "Whether the last probe met an error (1 for error, 0 for success).",
    ),
    ("pg_exporter_scrapes_total", "counter", "Total number of times PostgreSQL was scraped for metrics."),
    ("pg_exporter_last_scrape_duration_seconds", "gauge", "Duration of the last probe in seconds."),
    (
        "postgres_exporter_build_info",
        "gauge",
        "A metric with a constant '1' value labeled by version, revision, branch, goversion from which postgres_exporter was built, and the goos and goarch for the build.",
    ),
    ("pg_scrape_collector_success", "gauge", "Whether a collector's facts could be obtained."),
    ("pg_scrape_collector_duration_seconds", "gauge", "Duration of a collector's query in seconds."),
    (
        "valmis_postgres_up",
        "gauge",
        "Whether a layer works: tcp, tls, authentication, query, new_connection, writable. Absent if it was not reached.",
    ),
    (
        "valmis_postgres_privilege",
        "gauge",
        "Whether the role has the privilege; facts that need it are absent without it.",
    ),
    (
        "valmis_postgres_capability",
        "gauge",
        "Whether a collector has the right or the extension that it needs; without it its facts are absent.",
    ),
    (
        "valmis_postgres_collector_age_seconds",
        "gauge",
        "How old the facts of a collector are that is not asked at every probe.",
    ),
    (
        "valmis_postgres_collector_rows_dropped",
        "gauge",
        "Number of rows (tables, indexes, statements) of a collector that are over its limit and not shown.",
    ),
    (
        "valmis_postgres_database_up",
        "gauge",
        "Whether the last visit to a database, for what is asked seldom, could be made and was answered. Absent while the server does not answer.",
    ),
    ("valmis_postgres_databases", "gauge", "Number of databases that are watched."),
    ("valmis_postgres_in_recovery", "gauge", "Whether the server is in recovery, as replicas are."),
];

static METADATA: LazyLock<Vec<(&'static str, &'static str, &'static str)>> = LazyLock::new(|| {
    let collected = COLLECTORS.iter().flat_map(|collector| collector.values());
    let collected = collected.map(|value| (value.name, value.metric_type, value.help));
    let mut all: Vec<_> = OWN.iter().copied().chain(collected).chain(pooler::metadata()).collect();
    all.sort_unstable();
    all.dedup_by_key(|(name, ..)| *name);
    all
});

/// Name, type and help of every metric of this prober, ordered by name.
pub fn metadata() -> &'static [(&'static str, &'static str, &'static str)] {
    &METADATA
}

/// Whether a metric is one of those that do not come from a collector.
pub(super) fn is_own(name: &str) -> bool {
    OWN.iter().any(|(own, ..)| *own == name)
}

/// Every metric of a collector, with the collector's name.
pub fn collected() -> impl Iterator<Item = (&'static str, &'static str)> {
    COLLECTORS.iter().flat_map(|collector| collector.values().map(|value| (value.name, collector.name)))
}

/// Type and help text of a metric whose name is not known beforehand.
pub fn describe(name: &str) -> Option<(&'static str, &'static str)> {
    describe_setting(name).or_else(|| pooler::describe(name))
}
