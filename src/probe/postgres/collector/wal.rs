//! The write-ahead log: what is on disk, and what a replica receives.

use super::{ALWAYS, Collector, Privilege, Series, Yields, counter, gauge};

/// The segments on disk.
pub(super) static WAL: Collector = Collector {
    name: "wal",
    privilege: Privilege::ListWal,
    sql: "SELECT count(*) AS segments, coalesce(sum(size), 0) AS size FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'",
    yields: Yields::Series(&[Series {
        labels: &[],
        values: &[
            gauge("segments", "pg_wal_segments", "Number of WAL segments"),
            gauge("size", "pg_wal_size_bytes", "Total size of WAL segments"),
        ],
    }]),
    ..ALWAYS
};

/// A replica's receiver. Nothing is left out where it uses no slot, as `postgres_exporter` does: the label
/// is empty then.
pub(super) static STAT_WAL_RECEIVER: Collector = Collector {
    name: "stat_wal_receiver",
    privilege: Privilege::ReadAllStats,
    sql: "\
SELECT sender_host AS upstream_host, slot_name, status,
       pg_wal_lsn_diff(receive_start_lsn, '0/0') AS receive_start_lsn, receive_start_tli,
       pg_wal_lsn_diff(flushed_lsn, '0/0') AS flushed_lsn, received_tli,
       extract(epoch FROM last_msg_send_time) AS last_msg_send_time,
       extract(epoch FROM last_msg_receipt_time) AS last_msg_receipt_time,
       pg_wal_lsn_diff(latest_end_lsn, '0/0') AS latest_end_lsn,
       extract(epoch FROM latest_end_time) AS latest_end_time,
       substring(slot_name FROM 'repmgr_slot_([0-9]*)') AS upstream_node,
       extract(epoch FROM clock_timestamp() - last_msg_receipt_time) AS last_message_age
FROM pg_stat_wal_receiver",
    yields: Yields::Series(&[
        Series {
            labels: &["upstream_host", "slot_name", "status"],
            values: &[
                counter(
                    "receive_start_lsn",
                    "pg_stat_wal_receiver_receive_start_lsn",
                    "First write-ahead log location used when WAL receiver is started represented as a decimal",
                ),
                gauge(
                    "receive_start_tli",
                    "pg_stat_wal_receiver_receive_start_tli",
                    "First timeline number used when WAL receiver is started",
                ),
                counter(
                    "flushed_lsn",
                    "pg_stat_wal_receiver_flushed_lsn",
                    "Last write-ahead log location already received and flushed to disk, represented as a decimal",
                ),
                gauge(
                    "received_tli",
                    "pg_stat_wal_receiver_received_tli",
                    "Timeline number of last write-ahead log location received and flushed to disk",
                ),
                counter(
                    "last_msg_send_time",
                    "pg_stat_wal_receiver_last_msg_send_time",
                    "Send time of last message received from origin WAL sender",
                ),
                counter(
                    "last_msg_receipt_time",
                    "pg_stat_wal_receiver_last_msg_receipt_time",
                    "Receipt time of last message received from origin WAL sender",
                ),
                counter(
                    "latest_end_lsn",
                    "pg_stat_wal_receiver_latest_end_lsn",
                    "Last write-ahead log location reported to origin WAL sender as integer",
                ),
                counter(
                    "latest_end_time",
                    "pg_stat_wal_receiver_latest_end_time",
                    "Time of last write-ahead log location reported to origin WAL sender",
                ),
                gauge("upstream_node", "pg_stat_wal_receiver_upstream_node", "Node ID of the upstream node"),
            ],
        },
        Series {
            labels: &[],
            values: &[gauge(
                "last_message_age",
                "valmis_postgres_wal_receiver_last_message_age_seconds",
                "Time since the primary was last heard of; an idle one speaks at least every 30 s.",
            )],
        },
    ]),
    ..ALWAYS
};
