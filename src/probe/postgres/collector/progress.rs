//! How far running VACUUMs are.

use super::{ALWAYS, Collector, Privilege, Series, Yields, gauge};

/// A row for each phase of each VACUUM; the first one bears the numbers.
///
/// `relname` bears the schema unless that is found without, as `regclass` prints it; a table of another
/// database has its number there, since its name stands in that database's catalogue.
///
/// Since 17 the limit of what is collected is in bytes, which `postgres_exporter` shows as a number of
/// tuples; here it has a name of its own. Columns that not all versions have are read by name.
pub(super) static STAT_PROGRESS_VACUUM: Collector = Collector {
    name: "stat_progress_vacuum",
    privilege: Privilege::ReadAllStats,
    sql: "\
WITH phases (phase) AS (
    VALUES ('initializing'), ('scanning heap'), ('vacuuming indexes'), ('vacuuming heap'),
           ('cleaning up indexes'), ('truncating heap'), ('performing final cleanup')
)
SELECT datname, coalesce(
           CASE WHEN datname = current_database() THEN (
               SELECT quote_ident(nspname) || '.' || quote_ident(relname)
               FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
               WHERE pg_class.oid = relid)
           END, relid::text) AS relname,
       phases.phase, (vacuums.phase = phases.phase)::int AS in_phase,
       numbers ->> 'heap_blks_total' AS heap_blks,
       numbers ->> 'heap_blks_scanned' AS heap_blks_scanned,
       numbers ->> 'heap_blks_vacuumed' AS heap_blks_vacuumed,
       numbers ->> 'index_vacuum_count' AS index_vacuums,
       numbers ->> 'max_dead_tuples' AS max_dead_tuples,
       coalesce(numbers ->> 'num_dead_tuples', numbers ->> 'num_dead_item_ids') AS num_dead_tuples,
       numbers ->> 'max_dead_tuple_bytes' AS max_dead_tuple_bytes,
       numbers ->> 'dead_tuple_bytes' AS dead_tuple_bytes
FROM pg_stat_progress_vacuum AS vacuums
CROSS JOIN phases
LEFT JOIN LATERAL to_jsonb(vacuums) AS numbers ON phases.phase = 'initializing'",
    yields: Yields::Series(&[
        Series {
            labels: &["datname", "relname", "phase"],
            values: &[gauge(
                "in_phase",
                "pg_stat_progress_vacuum_phase",
                "Current vacuum phase (1 = active, 0 = inactive). Label 'phase' is human-readable.",
            )],
        },
        Series {
            labels: &["datname", "relname"],
            values: &[
                gauge(
                    "heap_blks",
                    "pg_stat_progress_vacuum_heap_blks",
                    "Total number of heap blocks in the table being vacuumed.",
                ),
                gauge(
                    "heap_blks_scanned",
                    "pg_stat_progress_vacuum_heap_blks_scanned",
                    "Number of heap blocks scanned so far.",
                ),
                gauge(
                    "heap_blks_vacuumed",
                    "pg_stat_progress_vacuum_heap_blks_vacuumed",
                    "Number of heap blocks vacuumed so far.",
                ),
                gauge(
                    "index_vacuums",
                    "pg_stat_progress_vacuum_index_vacuums",
                    "Number of completed index vacuum cycles.",
                ),
                gauge(
                    "max_dead_tuples",
                    "pg_stat_progress_vacuum_max_dead_tuples",
                    "Maximum number of dead tuples that can be stored before cleanup is performed (before 17).",
                ),
                gauge(
                    "num_dead_tuples",
                    "pg_stat_progress_vacuum_num_dead_tuples",
                    "Current number of dead tuples found so far.",
                ),
                gauge(
                    "max_dead_tuple_bytes",
                    "valmis_postgres_vacuum_max_dead_tuple_bytes",
                    "Dead tuple data that can be stored before an index vacuum cycle, in bytes (since 17).",
                ),
                gauge(
                    "dead_tuple_bytes",
                    "valmis_postgres_vacuum_dead_tuple_bytes",
                    "Dead tuple data collected since the last index vacuum cycle, in bytes (since 17).",
                ),
            ],
        },
    ]),
    ..ALWAYS
};
