//! Estimates of the space that tables and indexes take without need.
//!
//! The rows of a table have an average width that ANALYZE notes; so many of them fit a page, and what there
//! is beyond those pages is bloat. That is a guess: fill factor, alignment and page headers are counted,
//! uneven rows and compressed values are not. It reads catalogues alone, never the tables.
//!
//! Names are those that the community's rules about bloat expect. Statistics of tables that the role may
//! not read are hidden from it, so those tables are absent, and the whole collector without
//! `pg_read_all_data`.

use std::time::Duration;

use super::{ALWAYS, Bound, Collector, Privilege, Scope, Series, Yields, gauge};

const EVERY: Duration = Duration::from_mins(15);

/// Bloat of tables. A row has a header of 23 bytes and the bitmap of its NULLs, together rounded up to 24,
/// and a pointer of 4; a page has a header of 24. Source: PostgreSQL documentation, "Database Page Layout".
pub(super) static BLOAT_TABLE: Collector = Collector {
    name: "bloat_table",
    since: 14,
    privilege: Privilege::ReadAllData,
    scope: Scope::Database,
    every: Some(EVERY),
    bound: Some(Bound { rows: 100, identity: &["schemaname", "relname"] }),
    sql: "\
WITH tables AS (
    SELECT pg_class.oid, nspname, relname, relpages, reltuples, current_setting('block_size')::float8 AS page,
           coalesce((SELECT option_value::int FROM pg_options_to_table(reloptions)
                     WHERE option_name = 'fillfactor'), 100) AS fill,
           count(*) OVER () AS all_rows
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'm') AND reltuples > 0 AND relpages > 10
      AND nspname NOT IN ('pg_catalog', 'information_schema') AND nspname NOT LIKE 'pg\\_toast%'
    ORDER BY relpages DESC, pg_class.oid
    LIMIT {candidates}
), widths AS (
    SELECT tables.*, sum((1 - null_frac) * avg_width) AS width
    FROM tables JOIN pg_stats ON schemaname = nspname AND tablename = relname AND NOT inherited
    GROUP BY tables.oid, nspname, relname, relpages, reltuples, page, fill, all_rows
), needs AS (
    SELECT *, ceil(reltuples * (28 + ceil(width / 8) * 8) / ((page - 24) * fill / 100)) AS needed FROM widths
)
SELECT current_database() AS datname, nspname AS schemaname, relname, all_rows, relpages * page AS real_size,
       100 * greatest(relpages - needed, 0) / relpages AS bloat_pct
FROM needs
ORDER BY relpages DESC, oid",
    yields: Yields::Series(&[Series {
        labels: &["datname", "schemaname", "relname"],
        values: &[
            gauge("real_size", "pg_bloat_table_real_size", "Size of a table in bytes, without TOAST."),
            gauge(
                "bloat_pct",
                "pg_bloat_table_bloat_pct",
                "Estimated share of a table that is bloat, in percent.",
            ),
        ],
    }]),
    ..ALWAYS
};

/// Bloat of B-trees over plain columns. An entry has a header of 8 bytes and a pointer of 4; a page has a
/// header of 24 and 16 more. Equal keys share one entry since 13, which the estimate does not know: it may
/// find less bloat than there is, never more.
pub(super) static BLOAT_BTREE: Collector = Collector {
    name: "bloat_btree",
    since: 14,
    privilege: Privilege::ReadAllData,
    scope: Scope::Database,
    every: Some(EVERY),
    bound: Some(Bound { rows: 100, identity: &["schemaname", "idxname"] }),
    sql: "\
WITH indexes AS (
    SELECT indexes.oid, nspname, tables.relname AS tblname, indexes.relname AS idxname, indkey,
           indexes.relpages, indexes.reltuples, current_setting('block_size')::float8 AS page,
           coalesce((SELECT option_value::int FROM pg_options_to_table(indexes.reloptions)
                     WHERE option_name = 'fillfactor'), 90) AS fill,
           count(*) OVER () AS all_rows, indrelid
    FROM pg_index
    JOIN pg_class AS indexes ON indexes.oid = indexrelid
    JOIN pg_class AS tables ON tables.oid = indrelid
    JOIN pg_namespace ON pg_namespace.oid = indexes.relnamespace
    JOIN pg_am ON pg_am.oid = indexes.relam
    WHERE amname = 'btree' AND indexprs IS NULL AND indexes.reltuples > 0 AND indexes.relpages > 10
      AND nspname NOT IN ('pg_catalog', 'information_schema') AND nspname NOT LIKE 'pg\\_toast%'
    ORDER BY indexes.relpages DESC, indexes.oid
    LIMIT {candidates}
), widths AS (
    SELECT indexes.oid, nspname, tblname, idxname, relpages, reltuples, page, fill, all_rows,
           sum((1 - null_frac) * avg_width) AS width, count(*) AS columns,
           cardinality(indkey::int2[]) AS expected
    FROM indexes
    JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey::int2[])
    JOIN pg_stats ON schemaname = nspname AND tablename = tblname AND pg_stats.attname = pg_attribute.attname
                  AND NOT inherited
    GROUP BY indexes.oid, nspname, tblname, idxname, relpages, reltuples, page, fill, all_rows, indkey
), needs AS (
    SELECT *, ceil(reltuples * (12 + ceil(width / 8) * 8) / ((page - 40) * fill / 100)) + 1 AS needed
    FROM widths WHERE columns = expected
)
SELECT current_database() AS datname, nspname AS schemaname, tblname, idxname, all_rows,
       relpages * page AS real_size, 100 * greatest(relpages - needed, 0) / relpages AS bloat_pct
FROM needs
ORDER BY relpages DESC, oid",
    yields: Yields::Series(&[Series {
        labels: &["datname", "schemaname", "tblname", "idxname"],
        values: &[
            gauge("real_size", "pg_bloat_btree_real_size", "Size of a B-tree in bytes."),
            gauge(
                "bloat_pct",
                "pg_bloat_btree_bloat_pct",
                "Estimated share of a B-tree that is bloat, in percent.",
            ),
        ],
    }]),
    ..ALWAYS
};
