//! Databases: their activity, age and size.

use std::time::Duration;

use super::{ALWAYS, Collector, Series, Yields, counter, gauge};

const LABELS: &[&str] = &["datid", "datname"];

/// Counters of each database since its statistics were reset.
pub(super) static STAT_DATABASE: Collector = Collector {
    name: "stat_database",
    sql: "\
SELECT datid, datname, numbackends, xact_commit, xact_rollback, blks_read, blks_hit, tup_returned,
       tup_fetched, tup_inserted, tup_updated, tup_deleted, conflicts, temp_files, temp_bytes, deadlocks,
       blk_read_time, blk_write_time, extract(epoch FROM stats_reset) AS stats_reset, checksum_failures,
       extract(epoch FROM checksum_last_failure) AS checksum_last_failure
FROM pg_stat_database
WHERE datname IS NOT NULL",
    yields: Yields::Series(&[Series {
        labels: LABELS,
        values: &[
            gauge(
                "numbackends",
                "pg_stat_database_numbackends",
                "Number of backends currently connected to this database.",
            ),
            counter(
                "xact_commit",
                "pg_stat_database_xact_commit",
                "Number of transactions in this database that have been committed.",
            ),
            counter(
                "xact_rollback",
                "pg_stat_database_xact_rollback",
                "Number of transactions in this database that have been rolled back.",
            ),
            counter(
                "blks_read",
                "pg_stat_database_blks_read",
                "Number of disk blocks read in this database.",
            ),
            counter(
                "blks_hit",
                "pg_stat_database_blks_hit",
                "Number of times a block was found in the buffer cache, so that no read was needed.",
            ),
            counter(
                "tup_returned",
                "pg_stat_database_tup_returned",
                "Number of rows returned by queries in this database.",
            ),
            counter(
                "tup_fetched",
                "pg_stat_database_tup_fetched",
                "Number of rows fetched by queries in this database.",
            ),
            counter(
                "tup_inserted",
                "pg_stat_database_tup_inserted",
                "Number of rows inserted by queries in this database.",
            ),
            counter(
                "tup_updated",
                "pg_stat_database_tup_updated",
                "Number of rows updated by queries in this database.",
            ),
            counter(
                "tup_deleted",
                "pg_stat_database_tup_deleted",
                "Number of rows deleted by queries in this database.",
            ),
            counter(
                "conflicts",
                "pg_stat_database_conflicts",
                "Number of queries canceled due to conflicts with recovery (on replicas).",
            ),
            counter(
                "temp_files",
                "pg_stat_database_temp_files",
                "Number of temporary files created by queries in this database.",
            ),
            counter(
                "temp_bytes",
                "pg_stat_database_temp_bytes",
                "Bytes written to temporary files by queries in this database.",
            ),
            counter(
                "deadlocks",
                "pg_stat_database_deadlocks",
                "Number of deadlocks detected in this database.",
            ),
            counter(
                "blk_read_time",
                "pg_stat_database_blk_read_time",
                "Time in milliseconds that backends have spent reading data file blocks.",
            ),
            counter(
                "blk_write_time",
                "pg_stat_database_blk_write_time",
                "Time in milliseconds that backends have spent writing data file blocks.",
            ),
            counter(
                "stats_reset",
                "pg_stat_database_stats_reset",
                "Time at which these statistics were last reset, in seconds since the epoch.",
            ),
            counter(
                "checksum_failures",
                "pg_stat_database_checksum_failures",
                "Number of data page checksum failures in this database, under the name until postgres_exporter 0.11.",
            ),
            gauge(
                "checksum_last_failure",
                "pg_stat_database_checksum_last_failure",
                "Time of the last data page checksum failure in this database, in seconds since the epoch.",
            ),
            counter(
                "checksum_failures",
                "valmis_postgres_checksum_failures_total",
                "Number of data page checksum failures in this database; absent where checksums are off.",
            ),
        ],
    }]),
    ..ALWAYS
};

/// The time statements took, which 14 began to count.
pub(super) static STAT_DATABASE_ACTIVE_TIME: Collector = Collector {
    name: "stat_database_active_time",
    since: 14,
    sql: "SELECT datid, datname, active_time / 1000 AS active_time, active_time AS active_time_ms FROM pg_stat_database WHERE datname IS NOT NULL",
    yields: Yields::Series(&[Series {
        labels: LABELS,
        values: &[
            counter(
                "active_time",
                "pg_stat_database_active_time_seconds_total",
                "Time spent executing SQL statements in this database, in seconds.",
            ),
            counter(
                "active_time_ms",
                "pg_stat_database_active_time",
                "Time spent executing SQL statements in this database, in milliseconds; the name until postgres_exporter 0.11.",
            ),
        ],
    }]),
    ..ALWAYS
};

/// How sessions ended, which 14 began to count.
pub(super) static STAT_DATABASE_SESSIONS: Collector = Collector {
    name: "stat_database_sessions",
    since: 14,
    sql: "\
SELECT datid, datname, session_time, idle_in_transaction_time, sessions, sessions_abandoned,
       sessions_fatal, sessions_killed
FROM pg_stat_database
WHERE datname IS NOT NULL",
    yields: Yields::Series(&[Series {
        labels: LABELS,
        values: &[
            counter(
                "session_time",
                "pg_stat_database_session_time",
                "Time spent by sessions in this database, in milliseconds.",
            ),
            counter(
                "idle_in_transaction_time",
                "pg_stat_database_idle_in_transaction_time",
                "Time spent idling while in a transaction in this database, in milliseconds.",
            ),
            counter("sessions", "pg_stat_database_sessions", "Number of sessions established."),
            counter(
                "sessions_abandoned",
                "pg_stat_database_sessions_abandoned",
                "Number of sessions that ended because the connection to the client was lost.",
            ),
            counter(
                "sessions_fatal",
                "pg_stat_database_sessions_fatal",
                "Number of sessions that ended with a fatal error.",
            ),
            counter(
                "sessions_killed",
                "pg_stat_database_sessions_killed",
                "Number of sessions that an administrator ended.",
            ),
        ],
    }]),
    ..ALWAYS
};

/// Queries that recovery cancelled on a replica, by reason. 16 began to count those over logical slots; that
/// column is read by name, so that one question does for all versions.
pub(super) static STAT_DATABASE_CONFLICTS: Collector = Collector {
    name: "stat_database_conflicts",
    sql: "\
SELECT datid, datname, confl_tablespace, confl_lock, confl_snapshot, confl_bufferpin, confl_deadlock,
       to_jsonb(conflicts) ->> 'confl_active_logicalslot' AS confl_active_logicalslot
FROM pg_stat_database_conflicts AS conflicts",
    yields: Yields::Series(&[Series {
        labels: LABELS,
        values: &[
            counter(
                "confl_tablespace",
                "pg_stat_database_conflicts_confl_tablespace",
                "Number of queries in this database that have been canceled due to dropped tablespaces",
            ),
            counter(
                "confl_lock",
                "pg_stat_database_conflicts_confl_lock",
                "Number of queries in this database that have been canceled due to lock timeouts",
            ),
            counter(
                "confl_snapshot",
                "pg_stat_database_conflicts_confl_snapshot",
                "Number of queries in this database that have been canceled due to old snapshots",
            ),
            counter(
                "confl_bufferpin",
                "pg_stat_database_conflicts_confl_bufferpin",
                "Number of queries in this database that have been canceled due to pinned buffers",
            ),
            counter(
                "confl_deadlock",
                "pg_stat_database_conflicts_confl_deadlock",
                "Number of queries in this database that have been canceled due to deadlocks",
            ),
            counter(
                "confl_active_logicalslot",
                "pg_stat_database_conflicts_confl_active_logicalslot",
                "Number of uses of logical slots in this database that have been canceled due to old snapshots or a too low wal_level (since 16)",
            ),
        ],
    }]),
    ..ALWAYS
};

/// How far the oldest transaction is from the point where identifiers run out (about 2.1 thousand
/// million). The names say seconds and mean transactions; they are `postgres_exporter`'s.
pub(super) static DATABASE_WRAPAROUND: Collector = Collector {
    name: "database_wraparound",
    sql: "\
SELECT datname, age(datfrozenxid) AS datfrozenxid, mxid_age(datminmxid) AS datminmxid
FROM pg_database
WHERE datallowconn",
    yields: Yields::Series(&[Series {
        labels: &["datname"],
        values: &[
            gauge(
                "datfrozenxid",
                "pg_database_wraparound_age_datfrozenxid_seconds",
                "Age of the oldest transaction ID that has not been frozen, in transactions.",
            ),
            gauge(
                "datminmxid",
                "pg_database_wraparound_age_datminmxid_seconds",
                "Age of the oldest multi-transaction ID that has been replaced with a transaction ID, in transactions.",
            ),
        ],
    }]),
    ..ALWAYS
};

/// What is configured for each database.
pub(super) static DATABASE: Collector = Collector {
    name: "database",
    sql: "SELECT datname, datconnlimit FROM pg_database",
    yields: Yields::Series(&[Series {
        labels: &["datname"],
        values: &[gauge(
            "datconnlimit",
            "pg_database_connection_limit",
            "Connection limit set for the database; -1 without limit.",
        )],
    }]),
    ..ALWAYS
};

/// Sizes. The server walks through the files of a database to tell its size, so this is asked seldom.
/// A database that the role may not connect to has no size here rather than failing the others.
pub(super) static DATABASE_SIZE: Collector = Collector {
    name: "database_size",
    every: Some(Duration::from_mins(5)),
    sql: "\
SELECT datname, CASE
    WHEN has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')
    THEN pg_database_size(oid)
END AS size
FROM pg_database",
    yields: Yields::Series(&[Series {
        labels: &["datname"],
        values: &[gauge("size", "pg_database_size_bytes", "Disk space used by the database.")],
    }]),
    ..ALWAYS
};
