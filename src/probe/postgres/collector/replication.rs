//! Replication, seen from both sides.

use super::{ALWAYS, Collector, Privilege, Series, Yields, gauge};

/// The replica's side.
///
/// The lag is 0 on a primary, and on a replica that has replayed all it received *and* still receives.
/// In every other case it is the age of the last replayed transaction, which is as much as the lag can
/// be: a replica that was cut off has replayed all it received, too, and is behind all the same. One that
/// has not replayed a transaction since it was started is as far behind as it is old. A receiver asks a
/// silent primary for a sign of life after half of `wal_receiver_timeout` (60 s), so one that has heard
/// nothing for three quarters of it does not receive.
pub(super) static REPLICATION: Collector = Collector {
    name: "replication",
    sql: "\
WITH replica AS (
    SELECT pg_is_in_recovery() AS is_replica,
           EXISTS (
               SELECT FROM pg_stat_wal_receiver
               WHERE status IS NULL OR status = 'streaming'
                     AND clock_timestamp() - coalesce(last_msg_receipt_time, clock_timestamp()) < CASE
                         WHEN current_setting('wal_receiver_timeout') = '0' THEN interval '45 s'
                         ELSE 0.75 * current_setting('wal_receiver_timeout')::interval
                     END
           ) AS receives,
           extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) AS replay_age,
           extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()) AS up
)
SELECT is_replica,
       CASE WHEN is_replica THEN receives END AS receives,
       CASE WHEN replay_age < 0 THEN 0 ELSE replay_age END AS last_replay,
       CASE WHEN NOT is_replica THEN 0
            WHEN receives AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            WHEN replay_age < 0 THEN 0
            ELSE coalesce(replay_age, up)
       END AS lag,
       CASE WHEN is_replica
            THEN pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()),
                                 pg_last_wal_replay_lsn())
       END AS gap
FROM replica",
    yields: Yields::Series(&[Series {
        labels: &[],
        values: &[
            gauge("is_replica", "pg_replication_is_replica", "Indicates if the server is a replica."),
            gauge(
                "lag",
                "pg_replication_lag_seconds",
                "Replication lag in seconds: 0 only when all is replayed and more is being received.",
            ),
            gauge(
                "lag",
                "pg_replication_lag",
                "Replication lag in seconds; the name until postgres_exporter 0.11.",
            ),
            gauge("last_replay", "pg_replication_last_replay_seconds", "Age of last replay in seconds."),
            gauge(
                "gap",
                "valmis_postgres_replay_gap_bytes",
                "WAL in bytes that a replica has received and not yet replayed; absent on a primary.",
            ),
            gauge(
                "receives",
                "valmis_postgres_wal_receiver_up",
                "Whether the replica is connected to its primary; absent on a primary.",
            ),
        ],
    }]),
    ..ALWAYS
};

/// The primary's side: one row per replica.
pub(super) static STAT_REPLICATION: Collector = Collector {
    name: "stat_replication",
    privilege: Privilege::ReadAllStats,
    sql: "\
WITH here AS (
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END AS lsn
)
SELECT application_name, host(client_addr) AS client_addr, sender.state, slot_name, sender.pid,
       pg_wal_lsn_diff(lsn, '0/0') AS current_lsn,
       pg_wal_lsn_diff(lsn, replay_lsn) AS behind,
       extract(epoch FROM write_lag) AS write_lag, extract(epoch FROM flush_lag) AS flush_lag,
       extract(epoch FROM replay_lag) AS replay_lag
FROM pg_stat_replication AS sender
CROSS JOIN here
LEFT JOIN pg_replication_slots ON active_pid = sender.pid",
    yields: Yields::Series(&[Series {
        labels: &["application_name", "client_addr", "state", "slot_name", "pid"],
        values: &[
            gauge("current_lsn", "pg_stat_replication_pg_current_wal_lsn_bytes", "WAL position in bytes."),
            gauge(
                "behind",
                "pg_stat_replication_pg_wal_lsn_diff",
                "Lag in bytes between this server and the replica.",
            ),
            gauge(
                "write_lag",
                "pg_stat_replication_write_lag_seconds",
                "Time until the replica has written what was just flushed here; absent while all is quiet.",
            ),
            gauge(
                "flush_lag",
                "pg_stat_replication_flush_lag_seconds",
                "Time until the replica has flushed what was just flushed here; absent while all is quiet.",
            ),
            gauge(
                "replay_lag",
                "pg_stat_replication_replay_lag_seconds",
                "Time until the replica has replayed what was just flushed here; absent while all is quiet.",
            ),
        ],
    }]),
    ..ALWAYS
};

/// Replication slots: an abandoned one retains WAL until the disk is full.
pub(super) static REPLICATION_SLOTS: Collector = Collector {
    name: "replication_slots",
    sql: "\
WITH here AS (
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END AS lsn
)
SELECT slot_name, slot_type, database, active, wal_status, 1 AS one,
       pg_wal_lsn_diff(lsn, restart_lsn) AS retained,
       pg_wal_lsn_diff(lsn, '0/0') AS current_lsn,
       CASE WHEN active THEN pg_wal_lsn_diff(coalesce(confirmed_flush_lsn, '0/0'), '0/0') END AS flushed,
       safe_wal_size
FROM pg_replication_slots
CROSS JOIN here",
    yields: Yields::Series(&[
        Series {
            labels: &["slot_name", "database"],
            values: &[
                gauge("active", "pg_replication_slots_active", "Flag indicating if the slot is active."),
                gauge(
                    "retained",
                    "pg_replication_slots_pg_wal_lsn_diff",
                    "WAL in bytes that the slot retains.",
                ),
            ],
        },
        Series {
            labels: &["slot_name", "slot_type"],
            values: &[
                gauge(
                    "current_lsn",
                    "pg_replication_slots_slot_current_wal_lsn",
                    "Current WAL position in bytes.",
                ),
                gauge(
                    "flushed",
                    "pg_replication_slots_slot_confirmed_flush_lsn",
                    "Last position confirmed flushed to the slot, in bytes.",
                ),
                gauge(
                    "active",
                    "pg_replication_slots_slot_is_active",
                    "Whether the replication slot is active or not.",
                ),
                // The names that these had until postgres_exporter 0.19.
                gauge(
                    "current_lsn",
                    "pg_replication_slot_slot_current_wal_lsn",
                    "Current WAL position in bytes; pg_replication_slots_slot_current_wal_lsn since 0.20.",
                ),
                gauge(
                    "flushed",
                    "pg_replication_slot_slot_confirmed_flush_lsn",
                    "Last position confirmed flushed; pg_replication_slots_slot_confirmed_flush_lsn since 0.20.",
                ),
                gauge(
                    "active",
                    "pg_replication_slot_slot_is_active",
                    "Whether the slot is active; pg_replication_slots_slot_is_active since 0.20.",
                ),
                gauge(
                    "safe_wal_size",
                    "pg_replication_slot_safe_wal_size_bytes",
                    "Bytes until the slot is in danger; pg_replication_slots_safe_wal_size_bytes since 0.20.",
                ),
                gauge(
                    "safe_wal_size",
                    "pg_replication_slots_safe_wal_size_bytes",
                    "Bytes that can be written to WAL before the slot is in danger of being lost.",
                ),
            ],
        },
        Series {
            labels: &["slot_name", "slot_type", "wal_status"],
            values: &[
                gauge(
                    "one",
                    "pg_replication_slots_wal_status",
                    "Availability of WAL files claimed by this slot.",
                ),
                gauge(
                    "one",
                    "pg_replication_slot_wal_status",
                    "Availability of WAL files; pg_replication_slots_wal_status since 0.20.",
                ),
            ],
        },
    ]),
    ..ALWAYS
};
