//! What extensions tell: statements and the buffer cache.

use std::time::Duration;

use super::{ALWAYS, Bound, Collector, Privilege, Scope, Series, Yields, counter, gauge};

const LABELS: &[&str] = &["user", "datname", "queryid"];
const IDENTITY: &[&str] = &["user", "datname", "queryid"];
const EVERY: Duration = Duration::from_mins(1);

const SERIES: &[Series] = &[Series {
    labels: LABELS,
    values: &[
        counter("calls", "pg_stat_statements_calls_total", "Number of times executed"),
        counter(
            "seconds",
            "pg_stat_statements_seconds_total",
            "Total time spent in the statement, in seconds",
        ),
        counter(
            "rows",
            "pg_stat_statements_rows_total",
            "Total number of rows retrieved or affected by the statement",
        ),
        counter(
            "block_read",
            "pg_stat_statements_block_read_seconds_total",
            "Total time the statement spent reading blocks, in seconds",
        ),
        counter(
            "block_write",
            "pg_stat_statements_block_write_seconds_total",
            "Total time the statement spent writing blocks, in seconds",
        ),
    ],
}];

/// The statements that took the most time. `false` spares the server reading their texts, which may be
/// hundreds of megabytes.
macro_rules! sql {
    ($read:literal, $write:literal) => {
        concat!(
            "\
SELECT pg_get_userbyid(userid) AS \"user\", datname, queryid, count(*) OVER () AS all_rows,
       sum(calls) AS calls, sum(total_exec_time) / 1000 AS seconds, sum(rows) AS rows,
       sum(",
            $read,
            ") / 1000 AS block_read, sum(",
            $write,
            ") / 1000 AS block_write
FROM {schema}.pg_stat_statements(false) JOIN pg_database ON pg_database.oid = dbid
WHERE queryid IS NOT NULL
GROUP BY userid, datname, queryid
ORDER BY sum(total_exec_time) DESC, queryid
LIMIT {candidates}"
        )
    };
}

/// Statements, until 16.
pub(super) static STAT_STATEMENTS_BEFORE_17: Collector = Collector {
    name: "stat_statements",
    until: Some(17),
    privilege: Privilege::ReadAllStats,
    extension: Some("pg_stat_statements"),
    scope: Scope::OneDatabase,
    every: Some(EVERY),
    bound: Some(Bound { rows: 100, identity: IDENTITY }),
    sql: sql!("blk_read_time", "blk_write_time"),
    yields: Yields::Series(SERIES),
    ..ALWAYS
};

/// Statements, since 17 told shared buffers from local ones.
pub(super) static STAT_STATEMENTS: Collector = Collector {
    name: "stat_statements",
    since: 17,
    privilege: Privilege::ReadAllStats,
    extension: Some("pg_stat_statements"),
    scope: Scope::OneDatabase,
    every: Some(EVERY),
    bound: Some(Bound { rows: 100, identity: IDENTITY }),
    sql: sql!("shared_blk_read_time", "shared_blk_write_time"),
    yields: Yields::Series(SERIES),
    ..ALWAYS
};

/// The texts of those statements. Off: a text may hold what nobody else should read. The server replaces
/// constants in statements that read and write rows; others, such as `ALTER ROLE … PASSWORD '…'`, are
/// shown by their first word alone.
pub(super) static STAT_STATEMENTS_QUERY: Collector = Collector {
    name: "stat_statements_query",
    default_on: false,
    privilege: Privilege::ReadAllStats,
    extension: Some("pg_stat_statements"),
    scope: Scope::OneDatabase,
    every: Some(Duration::from_mins(5)),
    bound: Some(Bound { rows: 100, identity: &["queryid"] }),
    sql: "\
SELECT queryid, count(*) OVER () AS all_rows, 1 AS one,
       CASE WHEN max(query) ~* '^\\s*(select|insert|update|delete|merge|with|values)\\M'
                 AND max(query) !~* 'password'
            THEN left(max(query), 120) ELSE substring(max(query) FROM '^\\s*(\\w*)')
       END AS query
FROM {schema}.pg_stat_statements
WHERE queryid IS NOT NULL
GROUP BY queryid
ORDER BY sum(total_exec_time) DESC, queryid
LIMIT {candidates}",
    yields: Yields::Series(&[Series {
        labels: &["queryid", "query"],
        values: &[gauge("one", "pg_stat_statements_query_id", "SQL Query to queryid mapping")],
    }]),
    ..ALWAYS
};

/// What is in the shared buffers.
pub(super) static BUFFERCACHE_SUMMARY: Collector = Collector {
    name: "buffercache_summary",
    default_on: false,
    since: 16,
    privilege: Privilege::ReadAllStats,
    extension: Some("pg_buffercache"),
    scope: Scope::OneDatabase,
    every: Some(EVERY),
    sql: "\
SELECT buffers_used, buffers_unused, buffers_dirty, buffers_pinned, usagecount_avg
FROM {schema}.pg_buffercache_summary()",
    yields: Yields::Series(&[Series {
        labels: &[],
        values: &[
            gauge("buffers_used", "pg_buffercache_summary_buffers_used", "Number of used shared buffers"),
            gauge(
                "buffers_unused",
                "pg_buffercache_summary_buffers_unused",
                "Number of unused shared buffers",
            ),
            gauge("buffers_dirty", "pg_buffercache_summary_buffers_dirty", "Number of dirty shared buffers"),
            gauge(
                "buffers_pinned",
                "pg_buffercache_summary_buffers_pinned",
                "Number of pinned shared buffers",
            ),
            gauge(
                "usagecount_avg",
                "pg_buffercache_summary_usagecount_avg",
                "Average usage count of used shared buffers",
            ),
        ],
    }]),
    ..ALWAYS
};
