//! Who is connected and what they do.

use super::{Collector, Privilege, Series, gauge};

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
    since: 13,
    until: None,
    privilege: Privilege::ReadAllStats,
    every: None,
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
       coalesce(max_tx_duration, 0) AS max_tx_duration
FROM pg_database
CROSS JOIN states
LEFT JOIN sessions ON sessions.datid = pg_database.oid AND sessions.state = states.state",
    series: &[Series {
        labels: &["datname", "state", "usename", "backend_type"],
        values: &[
            gauge("count", "pg_stat_activity_count", "Number of connections in this state."),
            gauge(
                "max_tx_duration",
                "pg_stat_activity_max_tx_duration",
                "Longest time in seconds any transaction has been running.",
            ),
        ],
    }],
};
