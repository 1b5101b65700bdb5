//! Who writes pages back to disk: checkpoints and the background writer.

use super::{ALWAYS, Collector, Series, Value, Yields, counter};

const CHECKPOINTS_TIMED: Value = counter(
    "checkpoints_timed",
    "pg_stat_bgwriter_checkpoints_timed_total",
    "Number of scheduled checkpoints that have been performed.",
);
const CHECKPOINTS_REQ: Value = counter(
    "checkpoints_req",
    "pg_stat_bgwriter_checkpoints_req_total",
    "Number of requested checkpoints that have been performed.",
);
const CHECKPOINT_WRITE_TIME: Value = counter(
    "checkpoint_write_time",
    "pg_stat_bgwriter_checkpoint_write_time_total",
    "Time in milliseconds that checkpoints have spent writing files.",
);
const CHECKPOINT_SYNC_TIME: Value = counter(
    "checkpoint_sync_time",
    "pg_stat_bgwriter_checkpoint_sync_time_total",
    "Time in milliseconds that checkpoints have spent synchronizing files.",
);
const BUFFERS_CHECKPOINT: Value = counter(
    "buffers_checkpoint",
    "pg_stat_bgwriter_buffers_checkpoint_total",
    "Number of buffers written during checkpoints.",
);
const BUFFERS_CLEAN: Value = counter(
    "buffers_clean",
    "pg_stat_bgwriter_buffers_clean_total",
    "Number of buffers written by the background writer.",
);
const MAXWRITTEN_CLEAN: Value = counter(
    "maxwritten_clean",
    "pg_stat_bgwriter_maxwritten_clean_total",
    "Number of times the background writer stopped because it had written too many buffers.",
);
const BUFFERS_BACKEND: Value = counter(
    "buffers_backend",
    "pg_stat_bgwriter_buffers_backend_total",
    "Number of buffers written directly by a backend.",
);
const BUFFERS_BACKEND_FSYNC: Value = counter(
    "buffers_backend_fsync",
    "pg_stat_bgwriter_buffers_backend_fsync_total",
    "Number of times a backend had to synchronize a file itself.",
);
const BUFFERS_ALLOC: Value =
    counter("buffers_alloc", "pg_stat_bgwriter_buffers_alloc_total", "Number of buffers allocated.");
const STATS_RESET: Value = counter(
    "stats_reset",
    "pg_stat_bgwriter_stats_reset_total",
    "Time at which these statistics were last reset, in seconds since the epoch.",
);

/// What both yield: the names are those of the view until 16.
const BGWRITER: Yields = Yields::Series(&[Series {
    labels: &[],
    values: &[
        CHECKPOINTS_TIMED,
        CHECKPOINTS_REQ,
        CHECKPOINT_WRITE_TIME,
        CHECKPOINT_SYNC_TIME,
        BUFFERS_CHECKPOINT,
        BUFFERS_CLEAN,
        MAXWRITTEN_CLEAN,
        BUFFERS_BACKEND,
        BUFFERS_BACKEND_FSYNC,
        BUFFERS_ALLOC,
        STATS_RESET,
    ],
}]);

/// Until 16 one view holds it all.
pub(super) static STAT_BGWRITER_BEFORE_17: Collector = Collector {
    name: "stat_bgwriter",
    until: Some(17),
    sql: "\
SELECT checkpoints_timed, checkpoints_req, checkpoint_write_time, checkpoint_sync_time,
       buffers_checkpoint, buffers_clean, maxwritten_clean, buffers_backend, buffers_backend_fsync,
       buffers_alloc, extract(epoch FROM stats_reset) AS stats_reset
FROM pg_stat_bgwriter",
    yields: BGWRITER,
    ..ALWAYS
};

/// Since 17 checkpoints have a view of their own, and what backends write is in `pg_stat_io`: all that is
/// not the background writer's, the checkpointer's or that of `initdb`, temporary tables apart. Rules and dashboards that know
/// the old names go on working. Until 17 a write is a block; since 18 several may be one write, and bytes
/// are counted instead, a column that 17 lacks and that is therefore read by name.
pub(super) static STAT_BGWRITER: Collector = Collector {
    name: "stat_bgwriter",
    since: 17,
    sql: "\
WITH backends AS (
    SELECT sum(coalesce((named ->> 'write_bytes')::numeric / block, writes, 0))
               + sum(coalesce((named ->> 'extend_bytes')::numeric / block, extends, 0)) AS buffers_backend,
           sum(fsyncs) AS buffers_backend_fsync
    FROM pg_stat_io AS io
    CROSS JOIN LATERAL to_jsonb(io) AS named
    CROSS JOIN LATERAL (SELECT current_setting('block_size')::numeric) AS size (block)
    WHERE object = 'relation'
      AND backend_type NOT IN ('background writer', 'checkpointer', 'standalone backend')
)
SELECT num_timed AS checkpoints_timed, num_requested AS checkpoints_req,
       write_time AS checkpoint_write_time, sync_time AS checkpoint_sync_time,
       buffers_written AS buffers_checkpoint, buffers_clean, maxwritten_clean, buffers_backend,
       buffers_backend_fsync, buffers_alloc, extract(epoch FROM writer.stats_reset) AS stats_reset
FROM pg_stat_bgwriter AS writer CROSS JOIN pg_stat_checkpointer CROSS JOIN backends",
    yields: BGWRITER,
    ..ALWAYS
};

/// Checkpoints under their new names.
pub(super) static STAT_CHECKPOINTER: Collector = Collector {
    name: "stat_checkpointer",
    since: 17,
    sql: "\
SELECT num_timed, num_requested, restartpoints_timed, restartpoints_req, restartpoints_done, write_time,
       sync_time, buffers_written, extract(epoch FROM stats_reset) AS stats_reset
FROM pg_stat_checkpointer",
    yields: Yields::Series(&[Series {
        labels: &[],
        values: &[
            counter(
                "num_timed",
                "pg_stat_checkpointer_num_timed_total",
                "Number of scheduled checkpoints due to timeout.",
            ),
            counter(
                "num_requested",
                "pg_stat_checkpointer_num_requested_total",
                "Number of requested checkpoints that have been performed.",
            ),
            counter(
                "restartpoints_timed",
                "pg_stat_checkpointer_restartpoints_timed_total",
                "Number of scheduled restartpoints due to timeout or after a failed attempt.",
            ),
            counter(
                "restartpoints_req",
                "pg_stat_checkpointer_restartpoints_req_total",
                "Number of requested restartpoints.",
            ),
            counter(
                "restartpoints_done",
                "pg_stat_checkpointer_restartpoints_done_total",
                "Number of restartpoints that have been performed.",
            ),
            counter(
                "write_time",
                "pg_stat_checkpointer_write_time_total",
                "Time in milliseconds that checkpoints and restartpoints have spent writing files.",
            ),
            counter(
                "sync_time",
                "pg_stat_checkpointer_sync_time_total",
                "Time in milliseconds that checkpoints and restartpoints have spent synchronizing files.",
            ),
            counter(
                "buffers_written",
                "pg_stat_checkpointer_buffers_written_total",
                "Number of buffers written during checkpoints and restartpoints.",
            ),
            counter(
                "stats_reset",
                "pg_stat_checkpointer_stats_reset_total",
                "Time at which these statistics were last reset, in seconds since the epoch.",
            ),
        ],
    }]),
    ..ALWAYS
};
