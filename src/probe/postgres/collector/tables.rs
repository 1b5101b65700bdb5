//! Tables of a database: how they are used, and how big they are.

use std::time::Duration;

use super::{ALWAYS, Bound, Collector, Scope, Series, Yields, counter, gauge};

const LABELS: &[&str] = &["datname", "schemaname", "relname"];

/// How often tables are looked at. Source: the usual scrape interval.
const EVERY: Duration = Duration::from_mins(1);

/// The largest tables of a database.
const BOUND: Bound = Bound { rows: 500, identity: &["schemaname", "relname"] };

/// Use and upkeep of tables. 1970 stands for "never", as in `postgres_exporter`, so that a rule about the
/// age of the last vacuum fires for a table that never had one.
///
/// Sizes are the number of pages that `pg_class` knows, which VACUUM and ANALYZE keep up to date: asking
/// the file system (`pg_table_size`) waits for the table's lock. The size of a table that neither has seen
/// is absent, and so is that of a partitioned table: its partitions have all of it.
pub(super) static STAT_USER_TABLES: Collector = Collector {
    name: "stat_user_tables",
    scope: Scope::Database,
    every: Some(EVERY),
    bound: Some(BOUND),
    sql: "\
WITH tables AS (
    SELECT stat.*, relkind, relpages, reltuples, reltoastrelid, count(*) OVER () AS all_rows
    FROM pg_stat_user_tables AS stat JOIN pg_class ON pg_class.oid = stat.relid
    ORDER BY relpages DESC, n_live_tup + n_dead_tup DESC, stat.relid
    LIMIT {candidates}
), index_pages AS (
    SELECT indrelid, sum(relpages::int8) AS pages
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid GROUP BY indrelid
)
SELECT current_database() AS datname, schemaname, tables.relname, all_rows, seq_scan, seq_tup_read,
       coalesce(idx_scan, 0) AS idx_scan, coalesce(idx_tup_fetch, 0) AS idx_tup_fetch, n_tup_ins, n_tup_upd,
       n_tup_del, n_tup_hot_upd, n_live_tup, n_dead_tup, n_mod_since_analyze,
       extract(epoch FROM coalesce(last_vacuum, 'epoch')) AS last_vacuum,
       extract(epoch FROM coalesce(last_autovacuum, 'epoch')) AS last_autovacuum,
       extract(epoch FROM coalesce(last_analyze, 'epoch')) AS last_analyze,
       extract(epoch FROM coalesce(last_autoanalyze, 'epoch')) AS last_autoanalyze,
       vacuum_count, autovacuum_count, analyze_count, autoanalyze_count,
       CASE WHEN known THEN current_setting('block_size')::int8 * coalesce(own_indexes.pages, 0)
       END AS index_size_bytes,
       CASE WHEN known THEN current_setting('block_size')::int8
           * (tables.relpages + coalesce(toast.relpages, 0) + coalesce(toast_indexes.pages, 0))
       END AS table_size_bytes
FROM tables
CROSS JOIN LATERAL (SELECT tables.relkind <> 'p'
                           AND (tables.relpages > 0 OR tables.reltuples > 0
                                OR coalesce(last_vacuum, last_autovacuum, last_analyze, last_autoanalyze) IS NOT NULL)
                   ) AS sized (known)
LEFT JOIN pg_class AS toast ON toast.oid = tables.reltoastrelid
LEFT JOIN index_pages AS own_indexes ON own_indexes.indrelid = tables.relid
LEFT JOIN index_pages AS toast_indexes ON toast_indexes.indrelid = tables.reltoastrelid
ORDER BY tables.relpages DESC, n_live_tup + n_dead_tup DESC, tables.relid",
    yields: Yields::Series(&[Series {
        labels: LABELS,
        values: &[
            counter("seq_scan", "pg_stat_user_tables_seq_scan", "Number of sequential scans initiated on this table"),
            counter("seq_tup_read", "pg_stat_user_tables_seq_tup_read", "Number of live rows fetched by sequential scans"),
            counter("idx_scan", "pg_stat_user_tables_idx_scan", "Number of index scans initiated on this table"),
            counter("idx_tup_fetch", "pg_stat_user_tables_idx_tup_fetch", "Number of live rows fetched by index scans"),
            counter("n_tup_ins", "pg_stat_user_tables_n_tup_ins", "Number of rows inserted"),
            counter("n_tup_upd", "pg_stat_user_tables_n_tup_upd", "Number of rows updated"),
            counter("n_tup_del", "pg_stat_user_tables_n_tup_del", "Number of rows deleted"),
            counter("n_tup_hot_upd", "pg_stat_user_tables_n_tup_hot_upd", "Number of rows HOT updated (i.e., with no separate index update required)"),
            gauge("n_live_tup", "pg_stat_user_tables_n_live_tup", "Estimated number of live rows"),
            gauge("n_dead_tup", "pg_stat_user_tables_n_dead_tup", "Estimated number of dead rows"),
            gauge("n_mod_since_analyze", "pg_stat_user_tables_n_mod_since_analyze", "Estimated number of rows changed since last analyze"),
            gauge("last_vacuum", "pg_stat_user_tables_last_vacuum", "Last time at which this table was manually vacuumed (not counting VACUUM FULL)"),
            gauge("last_autovacuum", "pg_stat_user_tables_last_autovacuum", "Last time at which this table was vacuumed by the autovacuum daemon"),
            gauge("last_analyze", "pg_stat_user_tables_last_analyze", "Last time at which this table was manually analyzed"),
            gauge("last_autoanalyze", "pg_stat_user_tables_last_autoanalyze", "Last time at which this table was analyzed by the autovacuum daemon"),
            counter("vacuum_count", "pg_stat_user_tables_vacuum_count", "Number of times this table has been manually vacuumed (not counting VACUUM FULL)"),
            counter("autovacuum_count", "pg_stat_user_tables_autovacuum_count", "Number of times this table has been vacuumed by the autovacuum daemon"),
            counter("analyze_count", "pg_stat_user_tables_analyze_count", "Number of times this table has been manually analyzed"),
            counter("autoanalyze_count", "pg_stat_user_tables_autoanalyze_count", "Number of times this table has been analyzed by the autovacuum daemon"),
            gauge("index_size_bytes", "pg_stat_user_tables_index_size_bytes", "Total disk space used by the indexes of this table in bytes, as of its last VACUUM or ANALYZE"),
            gauge("table_size_bytes", "pg_stat_user_tables_table_size_bytes", "Total disk space used by this table in bytes, as of its last VACUUM or ANALYZE"),
        ],
    }]),
    ..ALWAYS
};

/// Blocks of tables that were read, and found in the buffer cache.
pub(super) static STATIO_USER_TABLES: Collector = Collector {
    name: "statio_user_tables",
    scope: Scope::Database,
    every: Some(EVERY),
    bound: Some(BOUND),
    sql: "\
SELECT current_database() AS datname, schemaname, stat.relname, count(*) OVER () AS all_rows,
       heap_blks_read AS heap_blocks_read, heap_blks_hit AS heap_blocks_hit,
       coalesce(idx_blks_read, 0) AS idx_blocks_read, coalesce(idx_blks_hit, 0) AS idx_blocks_hit,
       coalesce(toast_blks_read, 0) AS toast_blocks_read, coalesce(toast_blks_hit, 0) AS toast_blocks_hit,
       coalesce(tidx_blks_read, 0) AS tidx_blocks_read, coalesce(tidx_blks_hit, 0) AS tidx_blocks_hit
FROM pg_statio_user_tables AS stat JOIN pg_class ON pg_class.oid = stat.relid
ORDER BY relpages DESC, heap_blks_read + heap_blks_hit DESC, stat.relid
LIMIT {candidates}",
    yields: Yields::Series(&[Series {
        labels: LABELS,
        values: &[
            counter(
                "heap_blocks_read",
                "pg_statio_user_tables_heap_blocks_read",
                "Number of disk blocks read from this table",
            ),
            counter(
                "heap_blocks_hit",
                "pg_statio_user_tables_heap_blocks_hit",
                "Number of buffer hits in this table",
            ),
            counter(
                "idx_blocks_read",
                "pg_statio_user_tables_idx_blocks_read",
                "Number of disk blocks read from all indexes on this table",
            ),
            counter(
                "idx_blocks_hit",
                "pg_statio_user_tables_idx_blocks_hit",
                "Number of buffer hits in all indexes on this table",
            ),
            counter(
                "toast_blocks_read",
                "pg_statio_user_tables_toast_blocks_read",
                "Number of disk blocks read from this table's TOAST table (if any)",
            ),
            counter(
                "toast_blocks_hit",
                "pg_statio_user_tables_toast_blocks_hit",
                "Number of buffer hits in this table's TOAST table (if any)",
            ),
            counter(
                "tidx_blocks_read",
                "pg_statio_user_tables_tidx_blocks_read",
                "Number of disk blocks read from this table's TOAST table indexes (if any)",
            ),
            counter(
                "tidx_blocks_hit",
                "pg_statio_user_tables_tidx_blocks_hit",
                "Number of buffer hits in this table's TOAST table indexes (if any)",
            ),
        ],
    }]),
    ..ALWAYS
};
