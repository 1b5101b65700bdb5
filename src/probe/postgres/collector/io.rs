//! What processes read and write: files of tables by kind of process, and the small caches of transactions.
//!
//! `postgres_exporter` has neither; names are those of `pg_exporter`. Both are off: they are for looking
//! closely, and `pg_stat_io` alone makes some hundred series.

use super::{ALWAYS, Collector, Series, Yields, counter};

/// Reads and writes by kind of process, object and context. What a process never does is NULL there, and
/// absent; so are times that the server does not measure, which it shows as 0.
///
/// Until 17 all operations have one size, `op_bytes`; since 18 bytes are counted. The columns that only one
/// of them has are read by name, so that one question does for both.
pub(super) static STAT_IO: Collector = Collector {
    name: "stat_io",
    default_on: false,
    since: 16,
    sql: "\
SELECT backend_type, object, context,
       reads, writes, writebacks, extends, hits, evictions, reuses, fsyncs,
       coalesce((named ->> 'read_bytes')::numeric, reads * size) AS read_bytes,
       coalesce((named ->> 'write_bytes')::numeric, writes * size) AS write_bytes,
       coalesce((named ->> 'extend_bytes')::numeric, extends * size) AS extend_bytes,
       CASE WHEN timed THEN read_time / 1000 END AS read_time,
       CASE WHEN timed THEN write_time / 1000 END AS write_time,
       CASE WHEN timed THEN writeback_time / 1000 END AS writeback_time,
       CASE WHEN timed THEN extend_time / 1000 END AS extend_time,
       CASE WHEN timed THEN fsync_time / 1000 END AS fsync_time
FROM pg_stat_io AS io
CROSS JOIN LATERAL to_jsonb(io) AS named
CROSS JOIN LATERAL (
    SELECT (named ->> 'op_bytes')::numeric,
           current_setting(CASE object WHEN 'wal' THEN 'track_wal_io_timing' ELSE 'track_io_timing' END) = 'on'
) AS known (size, timed)",
    yields: Yields::Series(&[Series {
        labels: &["backend_type", "object", "context"],
        values: &[
            counter("reads", "pg_stat_io_reads_total", "Number of read operations"),
            counter("writes", "pg_stat_io_writes_total", "Number of write operations"),
            counter(
                "writebacks",
                "pg_stat_io_writebacks_total",
                "Number of blocks that the kernel was asked to write to storage",
            ),
            counter("extends", "pg_stat_io_extends_total", "Number of operations that extended a relation"),
            counter("hits", "pg_stat_io_hits_total", "Number of blocks found in shared buffers"),
            counter(
                "evictions",
                "pg_stat_io_evictions_total",
                "Number of blocks evicted from a buffer to make room for another",
            ),
            counter(
                "reuses",
                "pg_stat_io_reuses_total",
                "Number of buffers of a ring of limited size that were used again",
            ),
            counter("fsyncs", "pg_stat_io_fsyncs_total", "Number of fsync calls"),
            counter("read_bytes", "pg_stat_io_read_bytes_total", "Bytes read"),
            counter("write_bytes", "pg_stat_io_write_bytes_total", "Bytes written"),
            counter("extend_bytes", "pg_stat_io_extend_bytes_total", "Bytes by which relations were extended"),
            counter(
                "read_time",
                "pg_stat_io_read_time_seconds_total",
                "Time spent in read operations, in seconds; absent unless track_io_timing is on",
            ),
            counter(
                "write_time",
                "pg_stat_io_write_time_seconds_total",
                "Time spent in write operations, in seconds; absent unless track_io_timing is on",
            ),
            counter(
                "writeback_time",
                "pg_stat_io_writeback_time_seconds_total",
                "Time spent in writeback operations, in seconds; absent unless track_io_timing is on",
            ),
            counter(
                "extend_time",
                "pg_stat_io_extend_time_seconds_total",
                "Time spent extending relations, in seconds; absent unless track_io_timing is on",
            ),
            counter(
                "fsync_time",
                "pg_stat_io_fsync_time_seconds_total",
                "Time spent in fsync calls, in seconds; absent unless track_io_timing is on",
            ),
        ],
    }]),
    ..ALWAYS
};

/// The caches of transaction states, subtransactions, multi-transactions and notifications. Reads that go
/// up say that such states no longer fit.
pub(super) static STAT_SLRU: Collector = Collector {
    name: "stat_slru",
    default_on: false,
    sql: "\
SELECT name, blks_zeroed, blks_hit, blks_read, blks_written, blks_exists, flushes, truncates
FROM pg_stat_slru",
    yields: Yields::Series(&[Series {
        labels: &["name"],
        values: &[
            counter("blks_zeroed", "pg_stat_slru_blks_zeroed_total", "Number of blocks zeroed when made"),
            counter("blks_hit", "pg_stat_slru_blks_hit_total", "Number of blocks found in the cache"),
            counter("blks_read", "pg_stat_slru_blks_read_total", "Number of blocks read from disk"),
            counter("blks_written", "pg_stat_slru_blks_written_total", "Number of blocks written to disk"),
            counter(
                "blks_exists",
                "pg_stat_slru_blks_exists_total",
                "Number of blocks whose existence on disk was checked",
            ),
            counter("flushes", "pg_stat_slru_flushes_total", "Number of flushes of dirty blocks"),
            counter("truncates", "pg_stat_slru_truncates_total", "Number of truncations"),
        ],
    }]),
    ..ALWAYS
};
