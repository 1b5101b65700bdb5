//! The server as a whole: version, start, settings.

use super::{ALWAYS, Bound, Collector, Series, Yields, counter, gauge};

/// The version, as labels.
pub(super) static STATIC: Collector = Collector {
    name: "static",
    sql: "\
SELECT 1 AS one, version() AS version,
       current_setting('server_version_num')::int / 10000 || '.' ||
       current_setting('server_version_num')::int % 10000 || '.0' AS short_version",
    yields: Yields::Series(&[Series {
        labels: &["version", "short_version"],
        values: &[gauge("one", "pg_static", "Version string as reported by the server, as labels.")],
    }]),
    ..ALWAYS
};

/// When the server started.
pub(super) static POSTMASTER: Collector = Collector {
    name: "postmaster",
    sql: "SELECT extract(epoch FROM pg_postmaster_start_time()) AS start_time",
    yields: Yields::Series(&[Series {
        labels: &[],
        values: &[gauge(
            "start_time",
            "pg_postmaster_start_time_seconds",
            "Time at which postmaster started.",
        )],
    }]),
    ..ALWAYS
};

/// How many connections each role may have.
pub(super) static ROLES: Collector = Collector {
    name: "roles",
    bound: Some(Bound { rows: 500, identity: &["rolname"] }),
    sql: "\
SELECT rolname, rolconnlimit, count(*) OVER () AS all_rows
FROM pg_roles
ORDER BY rolconnlimit >= 0 DESC, rolname
LIMIT {candidates}",
    yields: Yields::Series(&[Series {
        labels: &["rolname"],
        values: &[gauge("rolconnlimit", "pg_roles_connection_limit", "Connection limit set for the role")],
    }]),
    ..ALWAYS
};

/// How many transactions there have been, for the rate at which identifiers are used up. A replica has
/// none of its own.
pub(super) static TXID: Collector = Collector {
    name: "txid",
    sql: "\
SELECT CASE WHEN NOT pg_is_in_recovery()
            THEN (txid_snapshot_xmax(txid_current_snapshot()) - 1)::text
       END AS txid",
    yields: Yields::Series(&[Series {
        labels: &[],
        values: &[counter(
            "txid",
            "pg_txid_current",
            "The last transaction ID that was given out, without wrapping around.",
        )],
    }]),
    ..ALWAYS
};
