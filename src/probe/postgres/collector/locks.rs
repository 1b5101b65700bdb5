//! Locks that are held or waited for.

use super::{ALWAYS, Collector, Privilege, Series, Yields, gauge};

/// Locks by database and mode, with 0 where there is none.
pub(super) static LOCKS: Collector = Collector {
    name: "locks",
    sql: "\
WITH modes (mode) AS (
    VALUES ('accesssharelock'), ('rowsharelock'), ('rowexclusivelock'), ('shareupdateexclusivelock'),
           ('sharelock'), ('sharerowexclusivelock'), ('exclusivelock'), ('accessexclusivelock'),
           ('sireadlock')
), held AS (
    SELECT database, lower(mode) AS mode, count(*) AS count FROM pg_locks GROUP BY database, lower(mode)
)
SELECT datname, modes.mode, coalesce(count, 0) AS count
FROM pg_database
CROSS JOIN modes
LEFT JOIN held ON held.database = pg_database.oid AND held.mode = modes.mode",
    yields: Yields::Series(&[Series {
        labels: &["datname", "mode"],
        values: &[gauge("count", "pg_locks_count", "Number of locks.")],
    }]),
    ..ALWAYS
};

/// Who waits for whom. Only sessions that wait are looked at one by one, and there are few: asking who
/// blocks a session stops all changes of locks for a moment.
pub(super) static BLOCKING: Collector = Collector {
    name: "blocking",
    privilege: Privilege::ReadAllStats,
    sql: "\
WITH waiting AS (
    SELECT pid, extract(epoch FROM clock_timestamp() - state_change) AS since
    FROM pg_stat_activity
    WHERE wait_event_type = 'Lock'
), blocked AS (
    SELECT pid, since, pg_blocking_pids(pid) AS by FROM (SELECT * FROM waiting ORDER BY since DESC LIMIT 20) AS longest
)
SELECT (SELECT count(*) FROM waiting) AS blocked,
       (SELECT count(DISTINCT blocker) FROM blocked CROSS JOIN LATERAL unnest(by) AS blocker) AS blocking,
       (SELECT coalesce(max(since), 0) FROM waiting) AS longest",
    yields: Yields::Series(&[Series {
        labels: &[],
        values: &[
            gauge("blocked", "pg_blocked_sessions", "Number of sessions that wait for a lock."),
            gauge(
                "blocking",
                "pg_blocking_sessions",
                "Number of sessions that hold or want what the 20 longest waiting sessions wait for.",
            ),
            gauge(
                "longest",
                "pg_longest_blocked_seconds",
                "Longest time in seconds that the statement of a waiting session has been running; 0 if none waits.",
            ),
        ],
    }]),
    ..ALWAYS
};
