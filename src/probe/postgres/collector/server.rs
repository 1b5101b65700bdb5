//! The server as a whole: version, start, settings.

use super::{Collector, Privilege, Series, gauge};

/// The version, as labels.
pub(super) static STATIC: Collector = Collector {
    name: "static",
    since: 13,
    until: None,
    privilege: Privilege::None,
    every: None,
    sql: "\
SELECT 1 AS one, version() AS version,
       current_setting('server_version_num')::int / 10000 || '.' ||
       current_setting('server_version_num')::int % 10000 || '.0' AS short_version",
    series: &[Series {
        labels: &["version", "short_version"],
        values: &[gauge("one", "pg_static", "Version string as reported by the server, as labels.")],
    }],
};

/// When the server started.
pub(super) static POSTMASTER: Collector = Collector {
    name: "postmaster",
    since: 13,
    until: None,
    privilege: Privilege::None,
    every: None,
    sql: "SELECT extract(epoch FROM pg_postmaster_start_time()) AS start_time",
    series: &[Series {
        labels: &[],
        values: &[gauge(
            "start_time",
            "pg_postmaster_start_time_seconds",
            "Time at which postmaster started.",
        )],
    }],
};

/// The settings that rules compare facts with, in seconds and bytes. (`postgres_exporter` shows some 250.)
pub(super) static SETTINGS: Collector = Collector {
    name: "settings",
    since: 13,
    until: None,
    privilege: Privilege::None,
    every: None,
    sql: "\
SELECT max(setting) FILTER (WHERE name = 'max_connections') AS max_connections,
       max(setting) FILTER (WHERE name = 'superuser_reserved_connections') AS superuser_reserved_connections,
       max(setting) FILTER (WHERE name = 'reserved_connections') AS reserved_connections,
       max(setting) FILTER (WHERE name = 'max_locks_per_transaction') AS max_locks_per_transaction,
       max(setting) FILTER (WHERE name = 'max_prepared_transactions') AS max_prepared_transactions,
       max(setting) FILTER (WHERE name = 'max_wal_senders') AS max_wal_senders,
       max(setting) FILTER (WHERE name = 'max_replication_slots') AS max_replication_slots,
       max(setting) FILTER (WHERE name = 'max_worker_processes') AS max_worker_processes,
       max(setting) FILTER (WHERE name = 'autovacuum_max_workers') AS autovacuum_max_workers,
       max(setting) FILTER (WHERE name = 'autovacuum_vacuum_threshold') AS autovacuum_vacuum_threshold,
       max(setting) FILTER (WHERE name = 'autovacuum_vacuum_scale_factor') AS autovacuum_vacuum_scale_factor,
       max(setting) FILTER (WHERE name = 'autovacuum_analyze_threshold') AS autovacuum_analyze_threshold,
       max(setting) FILTER (WHERE name = 'autovacuum_analyze_scale_factor') AS autovacuum_analyze_scale_factor,
       max(setting) FILTER (WHERE name = 'autovacuum_freeze_max_age') AS autovacuum_freeze_max_age,
       max(setting) FILTER (WHERE name = 'autovacuum') AS autovacuum,
       max(setting) FILTER (WHERE name = 'fsync') AS fsync,
       max(setting) FILTER (WHERE name = 'full_page_writes') AS full_page_writes,
       max(setting) FILTER (WHERE name = 'track_activities') AS track_activities,
       max(setting::float8 * current_setting('block_size')::int) FILTER (WHERE name = 'shared_buffers') AS shared_buffers,
       max(setting::float8 * 1048576) FILTER (WHERE name = 'max_wal_size') AS max_wal_size,
       max(CASE setting WHEN '-1' THEN -1 ELSE setting::float8 * 1048576 END) FILTER (WHERE name = 'max_slot_wal_keep_size') AS max_slot_wal_keep_size
FROM pg_settings",
    series: &[Series {
        labels: &[],
        values: &[
            gauge("max_connections", "pg_settings_max_connections", "Maximum number of concurrent connections."),
            gauge("superuser_reserved_connections", "pg_settings_superuser_reserved_connections", "Connection slots reserved for superusers."),
            gauge("reserved_connections", "pg_settings_reserved_connections", "Connection slots reserved for roles with pg_use_reserved_connections (since 16)."),
            gauge("max_locks_per_transaction", "pg_settings_max_locks_per_transaction", "Locks per transaction for which room is reserved."),
            gauge("max_prepared_transactions", "pg_settings_max_prepared_transactions", "Transactions that can be prepared at the same time."),
            gauge("max_wal_senders", "pg_settings_max_wal_senders", "WAL senders that can run at the same time."),
            gauge("max_replication_slots", "pg_settings_max_replication_slots", "Replication slots that can exist at the same time."),
            gauge("max_worker_processes", "pg_settings_max_worker_processes", "Worker processes that can run at the same time."),
            gauge("autovacuum_max_workers", "pg_settings_autovacuum_max_workers", "Autovacuum workers that can run at the same time."),
            gauge("autovacuum_vacuum_threshold", "pg_settings_autovacuum_vacuum_threshold", "Changed rows before a table is vacuumed."),
            gauge("autovacuum_vacuum_scale_factor", "pg_settings_autovacuum_vacuum_scale_factor", "Share of changed rows before a table is vacuumed."),
            gauge("autovacuum_analyze_threshold", "pg_settings_autovacuum_analyze_threshold", "Changed rows before a table is analyzed."),
            gauge("autovacuum_analyze_scale_factor", "pg_settings_autovacuum_analyze_scale_factor", "Share of changed rows before a table is analyzed."),
            gauge("autovacuum_freeze_max_age", "pg_settings_autovacuum_freeze_max_age", "Age in transactions at which a table is vacuumed to prevent wraparound."),
            gauge("autovacuum", "pg_settings_autovacuum", "Whether autovacuum runs."),
            gauge("fsync", "pg_settings_fsync", "Whether changes are forced to disk."),
            gauge("full_page_writes", "pg_settings_full_page_writes", "Whether whole pages are logged after a checkpoint."),
            gauge("track_activities", "pg_settings_track_activities", "Whether sessions report what they execute."),
            gauge("shared_buffers", "pg_settings_shared_buffers_bytes", "Memory for shared buffers in bytes."),
            gauge("max_wal_size", "pg_settings_max_wal_size_bytes", "WAL size that triggers a checkpoint, in bytes."),
            gauge("max_slot_wal_keep_size", "pg_settings_max_slot_wal_keep_size_bytes", "WAL that replication slots may retain, in bytes; -1 without limit."),
        ],
    }],
};
