//! What keeps VACUUM from removing dead rows, and transactions that wait for their second phase.

use super::{ALWAYS, Collector, Privilege, Series, Yields, gauge};

/// The age of the oldest snapshot, by who holds it: everything that died since then stays.
pub(super) static XMIN_HORIZON: Collector = Collector {
    name: "xmin_horizon",
    privilege: Privilege::ReadAllStats,
    sql: "\
WITH held (holder, age) AS (
    SELECT 'session', max(greatest(age(backend_xmin), age(backend_xid)))
    FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type <> 'walsender'
    UNION ALL SELECT 'replica', max(age(backend_xmin)) FROM pg_stat_replication
    UNION ALL SELECT 'slot', max(greatest(age(xmin), age(catalog_xmin))) FROM pg_replication_slots
    UNION ALL SELECT 'prepared_transaction', max(age(transaction)) FROM pg_prepared_xacts
)
SELECT holder, coalesce(age, 0) AS age FROM held WHERE NOT pg_is_in_recovery()",
    yields: Yields::Series(&[Series {
        labels: &["holder"],
        values: &[gauge(
            "age",
            "pg_xmin_horizon_age_xids",
            "Age in transactions of the oldest snapshot that keeps dead rows, by who holds it; 0 if nobody.",
        )],
    }]),
    ..ALWAYS
};

/// Transactions that are prepared for two-phase commit. A forgotten one holds its locks for ever.
pub(super) static PREPARED_XACTS: Collector = Collector {
    name: "prepared_xacts",
    sql: "\
SELECT count(*) AS count,
       coalesce(max(extract(epoch FROM clock_timestamp() - prepared)), 0) AS oldest
FROM pg_prepared_xacts",
    yields: Yields::Series(&[Series {
        labels: &[],
        values: &[
            gauge(
                "count",
                "pg_prepared_xacts_count",
                "Number of transactions prepared for two-phase commit.",
            ),
            gauge(
                "oldest",
                "valmis_postgres_prepared_xacts_oldest_seconds",
                "Age of the oldest prepared transaction in seconds; 0 if there is none.",
            ),
        ],
    }]),
    ..ALWAYS
};
