//! Locks that are held or waited for.

use super::{Collector, Privilege, Series, gauge};

/// Locks by database and mode, with 0 where there is none.
pub(super) static LOCKS: Collector = Collector {
    name: "locks",
    since: 13,
    until: None,
    privilege: Privilege::None,
    every: None,
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
    series: &[Series {
        labels: &["datname", "mode"],
        values: &[gauge("count", "pg_locks_count", "Number of locks.")],
    }],
};
