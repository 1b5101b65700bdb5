//! Indexes: which are read, which are never used, broken, or missing.

use std::time::Duration;

use super::{ALWAYS, Bound, Collector, Scope, Series, Yields, counter, gauge};

const LABELS: &[&str] = &["datname", "schemaname", "relname", "indexrelname"];

/// Blocks of indexes. Other than `postgres_exporter`'s these bear `datname`: several databases are asked.
pub(super) static STATIO_USER_INDEXES: Collector = Collector {
    name: "statio_user_indexes",
    default_on: false,
    scope: Scope::Database,
    every: Some(Duration::from_mins(1)),
    bound: Some(Bound { rows: 500, identity: &["schemaname", "relname", "indexrelname"] }),
    sql: "\
SELECT current_database() AS datname, schemaname, stat.relname, indexrelname, count(*) OVER () AS all_rows,
       idx_blks_read, idx_blks_hit
FROM pg_statio_user_indexes AS stat JOIN pg_class ON pg_class.oid = indexrelid
ORDER BY relpages DESC, indexrelid
LIMIT {candidates}",
    yields: Yields::Series(&[Series {
        labels: LABELS,
        values: &[
            counter(
                "idx_blks_read",
                "pg_statio_user_indexes_idx_blks_read_total",
                "Number of disk blocks read from this index",
            ),
            counter(
                "idx_blks_hit",
                "pg_statio_user_indexes_idx_blks_hit_total",
                "Number of buffer hits in this index",
            ),
        ],
    }]),
    ..ALWAYS
};

/// The largest indexes, and all that are broken. An index counts as unused if it was not scanned since the
/// statistics began and guards nothing: neither uniqueness nor a constraint.
pub(super) static INDEXES: Collector = Collector {
    name: "indexes",
    scope: Scope::Database,
    every: Some(Duration::from_mins(5)),
    bound: Some(Bound { rows: 200, identity: &["schemaname", "relname", "indexrelname"] }),
    sql: "\
WITH indexes AS (
    SELECT schemaname, stat.relname, indexrelname, stat.indexrelid, idx_scan,
           relpages * current_setting('block_size')::int8 AS size,
           indisvalid AND indisready AS valid,
           indisunique OR indisexclusion
               OR EXISTS (SELECT FROM pg_constraint WHERE conindid = stat.indexrelid) AS guards
    FROM pg_stat_user_indexes AS stat
    JOIN pg_index ON pg_index.indexrelid = stat.indexrelid
    JOIN pg_class ON pg_class.oid = stat.indexrelid
)
SELECT current_database() AS datname, schemaname, relname, relname AS tablename, indexrelname, size,
       count(*) OVER () AS all_rows,
       CASE WHEN NOT valid THEN 1 END AS invalid,
       CASE WHEN valid AND NOT guards AND idx_scan = 0 THEN size END AS unused
FROM indexes
ORDER BY valid, size DESC, indexrelid
LIMIT {candidates}",
    yields: Yields::Series(&[
        Series {
            labels: LABELS,
            values: &[
                gauge(
                    "invalid",
                    "valmis_postgres_index_invalid",
                    "1 for an index that is not used because building it failed or goes on.",
                ),
                gauge(
                    "unused",
                    "valmis_postgres_index_unused_bytes",
                    "Size of an index that was never used since statistics were reset, and guards no constraint.",
                ),
            ],
        },
        Series {
            labels: &["datname", "schemaname", "tablename", "indexrelname"],
            values: &[gauge(
                "size",
                "pg_general_index_info_pg_relation_size",
                "Size of an index in bytes, as of the last VACUUM or ANALYZE of its table.",
            )],
        },
    ]),
    ..ALWAYS
};

/// Tables of more than 10,000 rows that are mostly read from one end to the other. The column `share` is
/// that of the reads.
pub(super) static MISSING_INDEXES: Collector = Collector {
    name: "missing_indexes",
    scope: Scope::Database,
    every: Some(Duration::from_mins(5)),
    bound: Some(Bound { rows: 50, identity: &["schemaname", "relname"] }),
    sql: "\
SELECT current_database() AS datname, schemaname, relname, count(*) OVER () AS all_rows,
       seq_scan::float8 / (seq_scan + coalesce(idx_scan, 0)) AS share
FROM pg_stat_user_tables
WHERE n_live_tup > 10000 AND seq_scan > 50 AND seq_scan > coalesce(idx_scan, 0)
ORDER BY seq_tup_read DESC, relid
LIMIT {candidates}",
    yields: Yields::Series(&[Series {
        labels: &["datname", "schemaname", "relname"],
        values: &[gauge(
            "share",
            "valmis_postgres_table_seq_scan_ratio",
            "Share of sequential scans in the reads of a big table (over 10,000 rows) that lacks an index for most of them.",
        )],
    }]),
    ..ALWAYS
};
