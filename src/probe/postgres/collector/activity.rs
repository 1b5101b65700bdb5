//! Who is connected and what they do.

use super::{ALWAYS, Bound, Collector, Privilege, Series, Yields, gauge};

/// Sessions by database and state. Every pair of both is there, with 0 where there is no session, so
/// that sums never lack a term.
///
/// Unlike `postgres_exporter`'s, the series bear neither `application_name`, which clients choose freely,
/// nor `wait_event` and `wait_event_type`, which change from one moment to the next: with them a series
/// seldom lives long enough for an alert's hold duration. Sums over the rest are the same.
///
/// Without `pg_read_all_stats` the state of other roles' sessions is NULL, and every count would be 0.
pub(super) static STAT_ACTIVITY: Collector = Collector {
    name: "stat_activity",
    privilege: Privilege::ReadAllStats,
    bound: Some(Bound { rows: 1000, identity: &["datname", "state", "usename", "backend_type"] }),
    sql: "\
WITH states (state) AS (
    VALUES ('active'), ('idle'), ('idle in transaction'), ('idle in transaction (aborted)'),
           ('fastpath function call'), ('disabled')
), sessions AS (
    SELECT datid, state, usename, backend_type,
           count(*) AS count,
           max(extract(epoch FROM clock_timestamp() - xact_start)) AS max_tx_duration
    FROM pg_stat_activity
    WHERE pid <> pg_backend_pid()
    GROUP BY datid, state, usename, backend_type
)
SELECT datname, states.state, usename, backend_type,
       coalesce(count, 0) AS count,
       coalesce(max_tx_duration, 0) AS max_tx_duration, count(*) OVER () AS all_rows
FROM pg_database
CROSS JOIN states
LEFT JOIN sessions ON sessions.datid = pg_database.oid AND sessions.state = states.state
ORDER BY coalesce(count, 0) DESC, datname, states.state, usename, backend_type
LIMIT {candidates}",
    yields: Yields::Series(&[Series {
        labels: &["datname", "state", "usename", "backend_type"],
        values: &[
            gauge("count", "pg_stat_activity_count", "Number of connections in this state."),
            gauge(
                "max_tx_duration",
                "pg_stat_activity_max_tx_duration",
                "Longest time in seconds any transaction has been running.",
            ),
        ],
    }]),
    ..ALWAYS
};

/// Transactions under way in sessions that are not idle between transactions. The name says timestamp and
/// means an age; it is `postgres_exporter`'s.
pub(super) static LONG_RUNNING_TRANSACTIONS: Collector = Collector {
    name: "long_running_transactions",
    privilege: Privilege::ReadAllStats,
    sql: "\
SELECT count(*) AS transactions,
       coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) AS oldest
FROM pg_stat_activity
WHERE state IS DISTINCT FROM 'idle' AND query NOT LIKE 'autovacuum:%' AND xact_start IS NOT NULL
      AND pid <> pg_backend_pid()",
    yields: Yields::Series(&[Series {
        labels: &[],
        values: &[
            gauge(
                "transactions",
                "pg_long_running_transactions",
                "Current number of long running transactions",
            ),
            gauge(
                "oldest",
                "pg_long_running_transactions_oldest_timestamp_seconds",
                "The current maximum transaction age in seconds",
            ),
        ],
    }]),
    ..ALWAYS
};

/// Tables that autovacuum works on.
pub(super) static STAT_ACTIVITY_AUTOVACUUM: Collector = Collector {
    name: "stat_activity_autovacuum",
    privilege: Privilege::ReadAllStats,
    sql: "\
SELECT split_part(split_part(query, '.', 2), ' ', 1) AS relname,
       min(extract(epoch FROM xact_start)) AS timestamp
FROM pg_stat_activity
WHERE query LIKE 'autovacuum:%' AND backend_type = 'autovacuum worker'
GROUP BY 1",
    yields: Yields::Series(&[Series {
        labels: &["relname"],
        values: &[gauge(
            "timestamp",
            "pg_stat_activity_autovacuum_timestamp_seconds",
            "Start timestamp of the vacuum process in seconds",
        )],
    }]),
    ..ALWAYS
};

/// How long sessions have been idle, as the parts of a histogram. They go up and down with the sessions,
/// so they are gauges. (`postgres_exporter` shows the first state and application alone.)
pub(super) static PROCESS_IDLE: Collector = Collector {
    name: "process_idle",
    default_on: false,
    privilege: Privilege::ReadAllStats,
    bound: Some(Bound { rows: 300, identity: &["state", "application_name", "le"] }),
    sql: "\
WITH idle AS (
    SELECT state, application_name, extract(epoch FROM clock_timestamp() - state_change)::float8 AS seconds
    FROM pg_stat_activity
    WHERE state LIKE 'idle%' AND pid <> pg_backend_pid()
), bounds (le) AS (
    VALUES (1), (2), (5), (15), (30), (60), (90), (120), (300), (NULL)
)
SELECT state, application_name, coalesce(le::text, '+Inf') AS le, count(*) OVER () AS all_rows,
       count(*) FILTER (WHERE le IS NULL OR seconds <= le) AS bucket,
       CASE WHEN le IS NULL THEN sum(seconds) END AS sum,
       CASE WHEN le IS NULL THEN count(*) END AS count
FROM idle CROSS JOIN bounds
GROUP BY state, application_name, le
ORDER BY count(*) DESC, state, application_name, le
LIMIT {candidates}",
    yields: Yields::Series(&[
        Series {
            labels: &["state", "application_name", "le"],
            values: &[gauge(
                "bucket",
                "pg_process_idle_seconds_bucket",
                "Number of sessions that have been idle for at most this long.",
            )],
        },
        Series {
            labels: &["state", "application_name"],
            values: &[
                gauge("sum", "pg_process_idle_seconds_sum", "Idle time of server processes"),
                gauge("count", "pg_process_idle_seconds_count", "Number of idle server processes."),
            ],
        },
    ]),
    ..ALWAYS
};

/// Encrypted connections. Until 13 they could be compressed, which gives secrets away (CRIME); the column
/// is read by name. Since 14 there is no compression any more, which is known and therefore 0.
pub(super) static STAT_SSL: Collector = Collector {
    name: "stat_ssl",
    privilege: Privilege::ReadAllStats,
    sql: "\
SELECT count(*) FILTER (WHERE ssl) AS encrypted,
       count(*) FILTER (WHERE (to_jsonb(sessions) ->> 'compression')::bool) AS compressed
FROM pg_stat_ssl AS sessions",
    yields: Yields::Series(&[Series {
        labels: &[],
        values: &[
            gauge(
                "compressed",
                "pg_stat_ssl_compression",
                "Number of encrypted connections with TLS compression; 14 removed it.",
            ),
            gauge("encrypted", "valmis_postgres_ssl_connections", "Number of encrypted connections."),
        ],
    }]),
    ..ALWAYS
};
