//! How far running VACUUMs are.

use super::{ALWAYS, Collector, Privilege, Series, Value, Yields, gauge};

const LABELS: &[&str] = &["datname", "relname"];

const PHASE: Series = Series {
    labels: &["datname", "relname", "phase"],
    values: &[gauge(
        "in_phase",
        "pg_stat_progress_vacuum_phase",
        "Current vacuum phase (1 = active, 0 = inactive). Label 'phase' is human-readable.",
    )],
};
const HEAP_BLKS: Value = gauge(
    "heap_blks",
    "pg_stat_progress_vacuum_heap_blks",
    "Total number of heap blocks in the table being vacuumed.",
);
const HEAP_BLKS_SCANNED: Value = gauge(
    "heap_blks_scanned",
    "pg_stat_progress_vacuum_heap_blks_scanned",
    "Number of heap blocks scanned so far.",
);
const HEAP_BLKS_VACUUMED: Value = gauge(
    "heap_blks_vacuumed",
    "pg_stat_progress_vacuum_heap_blks_vacuumed",
    "Number of heap blocks vacuumed so far.",
);
const INDEX_VACUUMS: Value = gauge(
    "index_vacuums",
    "pg_stat_progress_vacuum_index_vacuums",
    "Number of completed index vacuum cycles.",
);
const MAX_DEAD_TUPLES: Value = gauge(
    "max_dead_tuples",
    "pg_stat_progress_vacuum_max_dead_tuples",
    "Maximum number of dead tuples that can be stored before cleanup is performed (before 17).",
);
const NUM_DEAD_TUPLES: Value = gauge(
    "num_dead_tuples",
    "pg_stat_progress_vacuum_num_dead_tuples",
    "Current number of dead tuples found so far.",
);

/// `relname` bears the schema unless that is found without, as `regclass` prints it; a table of another
/// database has its number there, since its name stands in that database's catalogue.
macro_rules! sql {
    ($dead:literal) => {
        concat!(
            "\
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
       CASE WHEN phases.phase = 'initializing' THEN heap_blks_total END AS heap_blks,
       CASE WHEN phases.phase = 'initializing' THEN heap_blks_scanned END AS heap_blks_scanned,
       CASE WHEN phases.phase = 'initializing' THEN heap_blks_vacuumed END AS heap_blks_vacuumed,
       CASE WHEN phases.phase = 'initializing' THEN index_vacuum_count END AS index_vacuums, ",
            $dead,
            "
FROM pg_stat_progress_vacuum AS vacuums CROSS JOIN phases"
        )
    };
}

/// Dead tuples were counted until 16.
pub(super) static STAT_PROGRESS_VACUUM_BEFORE_17: Collector = Collector {
    name: "stat_progress_vacuum",
    until: Some(17),
    privilege: Privilege::ReadAllStats,
    sql: sql!(
        "\
       CASE WHEN phases.phase = 'initializing' THEN max_dead_tuples END AS max_dead_tuples,
       CASE WHEN phases.phase = 'initializing' THEN num_dead_tuples END AS num_dead_tuples"
    ),
    yields: Yields::Series(&[
        PHASE,
        Series {
            labels: LABELS,
            values: &[
                HEAP_BLKS,
                HEAP_BLKS_SCANNED,
                HEAP_BLKS_VACUUMED,
                INDEX_VACUUMS,
                MAX_DEAD_TUPLES,
                NUM_DEAD_TUPLES,
            ],
        },
    ]),
    ..ALWAYS
};

/// Since 17 the limit is in bytes, which `postgres_exporter` shows as a number of tuples; here it has a
/// name of its own.
pub(super) static STAT_PROGRESS_VACUUM: Collector = Collector {
    name: "stat_progress_vacuum",
    since: 17,
    privilege: Privilege::ReadAllStats,
    sql: sql!(
        "\
       CASE WHEN phases.phase = 'initializing' THEN num_dead_item_ids END AS num_dead_tuples,
       CASE WHEN phases.phase = 'initializing' THEN max_dead_tuple_bytes END AS max_dead_tuple_bytes,
       CASE WHEN phases.phase = 'initializing' THEN dead_tuple_bytes END AS dead_tuple_bytes"
    ),
    yields: Yields::Series(&[
        PHASE,
        Series {
            labels: LABELS,
            values: &[
                HEAP_BLKS,
                HEAP_BLKS_SCANNED,
                HEAP_BLKS_VACUUMED,
                INDEX_VACUUMS,
                NUM_DEAD_TUPLES,
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
