//! Sequences near their end.

use std::time::Duration;

use super::{ALWAYS, Bound, Collector, Pages, Scope, Series, Yields, gauge};

/// How much of their range sequences have used, from half of it on. One that cycles never ends.
///
/// The value of a sequence can only be read under its lock. One that somebody has locked is therefore left
/// out, and should somebody lock it in that very moment the question is over after 10 ms
/// (`lock_timeout`) and asked again later. So are sequences that the role may not read, which are counted.
/// The locks of a statement are held until it ends, so each has a few hundred sequences only.
pub(super) static SEQUENCES: Collector = Collector {
    name: "sequences",
    scope: Scope::Database,
    every: Some(Duration::from_mins(5)),
    bound: Some(Bound { rows: 50, identity: &["schemaname", "sequencename"] }),
    pages: Some(Pages { weight: "ratio", needs: "select_on_sequences" }),
    sql: "\
WITH locked AS MATERIALIZED (
    SELECT relation FROM pg_locks
    WHERE locktype = 'relation' AND relation IS NOT NULL
      AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
), page AS MATERIALIZED (
    SELECT nspname, relname, seqrelid, seqincrement, seqmin, seqmax,
           has_sequence_privilege(seqrelid, 'SELECT,USAGE') AS may_read
    FROM pg_sequence JOIN pg_class ON pg_class.oid = seqrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE seqrelid > {after} AND NOT seqcycle AND relpersistence = 'p'
    ORDER BY seqrelid
    LIMIT {page}
), readable AS MATERIALIZED (
    SELECT nspname, relname, seqrelid, seqincrement, seqmin, seqmax FROM page
    WHERE may_read AND NOT EXISTS (SELECT FROM locked WHERE locked.relation = seqrelid)
), used AS (
    SELECT nspname AS schemaname, relname AS sequencename,
           CASE WHEN seqincrement > 0 THEN (last - seqmin + 1) / (seqmax::float8 - seqmin + 1)
                ELSE (seqmax::float8 - last + 1) / (seqmax::float8 - seqmin + 1)
           END AS ratio
    FROM readable CROSS JOIN LATERAL (SELECT pg_sequence_last_value(seqrelid)::float8) AS value (last)
    WHERE last IS NOT NULL
)
SELECT current_database() AS datname, schemaname, sequencename, ratio, NULL AS page_end, NULL AS hidden
FROM used
WHERE ratio >= 0.5
UNION ALL
SELECT NULL, NULL, NULL, NULL, CASE WHEN count(*) = {page} THEN max(seqrelid) END,
       count(*) FILTER (WHERE NOT may_read)
FROM page
ORDER BY ratio DESC, schemaname, sequencename",
    yields: Yields::Series(&[Series {
        labels: &["datname", "schemaname", "sequencename"],
        values: &[gauge(
            "ratio",
            "pg_sequence_used_ratio",
            "Share of its range that a sequence has used, from 0.5 on.",
        )],
    }]),
    ..ALWAYS
};
