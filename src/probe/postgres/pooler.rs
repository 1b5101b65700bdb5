//! `PgBouncer`, asked over its own database `pgbouncer` with its `SHOW` commands.
//!
//! Names and labels are those of `pgbouncer_exporter` 0.11, and the shorter ones of its totals that its
//! documentation and most dashboards have. Each probe logs in, asks and leaves: the login is the proof that
//! the pooler takes connections, and it needs none of those to the server.

use tokio::time::Instant;

use super::super::{Deadline, MetricMetadata, ProbeOutcome};
use super::facts::Facts;
use super::failure::{Failure, Layer};
use super::prober::Target;
use super::row::Row;
use super::session::{Purpose, Session};

/// The database that stands for the pooler itself.
pub(super) const DATABASE: &str = "pgbouncer";

/// A command whose columns become labels and values.
struct Table {
    command: &'static str,
    /// What the names of its metrics begin with.
    prefixes: &'static [&'static str],
    labels: &'static [&'static str],
    columns: &'static [Column],
}

/// A column: its name, the end of the metric's name, its type, what to multiply it by, what it means.
struct Column(&'static str, &'static str, &'static str, f64, &'static str);

const fn gauge(column: &'static str, end: &'static str, help: &'static str) -> Column {
    Column(column, end, "gauge", 1.0, help)
}

const fn counter(column: &'static str, end: &'static str, help: &'static str) -> Column {
    Column(column, end, "counter", 1.0, help)
}

/// Microseconds that are told in seconds.
const fn micros(column: &'static str, end: &'static str, help: &'static str) -> Column {
    Column(column, end, "counter", 1e-6, help)
}

#[rustfmt::skip]
const TABLES: &[Table] = &[
    Table {
        command: "SHOW DATABASES",
        prefixes: &["pgbouncer_databases_"],
        labels: &["name", "host", "port", "database", "force_user", "pool_mode"],
        columns: &[
            gauge("pool_size", "pool_size", "Maximum number of server connections"),
            gauge("reserve_pool", "reserve_pool", "Maximum number of additional connections for this database"),
            gauge("reserve_pool_size", "reserve_pool", "Maximum number of additional connections for this database"),
            gauge("max_connections", "max_connections", "Maximum number of allowed connections for this database"),
            gauge("current_connections", "current_connections", "Current number of connections for this database"),
            gauge("paused", "paused", "1 if this database is currently paused, else 0"),
            gauge("disabled", "disabled", "1 if this database is currently disabled, else 0"),
        ],
    },
    Table {
        command: "SHOW STATS_TOTALS",
        prefixes: &["pgbouncer_stats_", "pgbouncer_stats_totals_"],
        labels: &["database"],
        columns: &[
            counter("query_count", "queries_pooled_total", "Total number of SQL queries pooled"),
            micros("query_time", "queries_duration_seconds_total", "Total number of seconds spent by pgbouncer when actively connected to PostgreSQL, executing queries"),
            counter("bytes_received", "received_bytes_total", "Total volume in bytes of network traffic received by pgbouncer, shown as bytes"),
            counter("bytes_sent", "sent_bytes_total", "Total volume in bytes of network traffic sent by pgbouncer, shown as bytes"),
            micros("wait_time", "client_wait_seconds_total", "Time spent by clients waiting for a server in seconds"),
            counter("xact_count", "sql_transactions_pooled_total", "Total number of SQL transactions pooled"),
            micros("xact_time", "server_in_transaction_seconds_total", "Total number of seconds spent by pgbouncer when connected to PostgreSQL in a transaction, either idle in transaction or executing queries"),
            counter("client_parse_count", "client_parses_total", "Total number of prepared statement Parse messages received from clients"),
            counter("server_parse_count", "server_parses_total", "Total number of prepared statement Parse messages sent by pgbouncer to PostgreSQL"),
            counter("bind_count", "binds_total", "Total number of prepared statements readied for execution with a Bind message"),
            counter("server_assignment_count", "server_assignments_total", "Total number of client connections which have been served since process start"),
        ],
    },
    Table {
        command: "SHOW POOLS",
        prefixes: &["pgbouncer_pools_"],
        labels: &["database", "user"],
        columns: &[
            gauge("cl_active", "client_active_connections", "Client connections linked to server connection and able to process queries, shown as connection"),
            gauge("cl_active_cancel_req", "client_active_cancel_connections", "Client connections that have forwarded query cancellations to the server and are waiting for the server response"),
            gauge("cl_waiting", "client_waiting_connections", "Client connections waiting on a server connection, shown as connection"),
            gauge("cl_waiting_cancel_req", "client_waiting_cancel_connections", "Client connections that have not forwarded query cancellations to the server yet"),
            gauge("sv_active", "server_active_connections", "Server connections linked to a client connection, shown as connection"),
            gauge("sv_active_cancel", "server_active_cancel_connections", "Server connections that are currently forwarding a cancel request."),
            gauge("sv_being_canceled", "server_being_canceled_connections", "Server connections that wait for cancel requests to end before they become idle."),
            gauge("sv_idle", "server_idle_connections", "Server connections idle and ready for a client query, shown as connection"),
            gauge("sv_used", "server_used_connections", "Server connections idle more than server_check_delay, needing server_check_query, shown as connection"),
            gauge("sv_tested", "server_testing_connections", "Server connections currently running either server_reset_query or server_check_query, shown as connection"),
            gauge("sv_login", "server_login_connections", "Server connections currently in the process of logging in, shown as connection"),
            gauge("maxwait", "client_maxwait_seconds", "Age of oldest unserved client connection, shown as second"),
        ],
    },
];

/// A command whose rows are names and numbers: the columns with both, and for each name its metric.
struct Rows {
    command: &'static str,
    columns: [&'static str; 2],
    metrics: &'static [(&'static str, &'static str, &'static str)],
}

const LISTS: &[Rows] = &[
    Rows {
        command: "SHOW LISTS",
        columns: ["list", "items"],
        metrics: &[
            ("databases", "pgbouncer_databases", "Count of databases"),
            ("users", "pgbouncer_users", "Count of users"),
            ("pools", "pgbouncer_pools", "Count of pools"),
            ("free_clients", "pgbouncer_free_clients", "Count of free clients"),
            ("used_clients", "pgbouncer_used_clients", "Count of used clients"),
            ("login_clients", "pgbouncer_login_clients", "Count of clients in login state"),
            ("free_servers", "pgbouncer_free_servers", "Count of free servers"),
            ("used_servers", "pgbouncer_used_servers", "Count of used servers"),
            ("dns_names", "pgbouncer_cached_dns_names", "Count of DNS names in the cache"),
            ("dns_zones", "pgbouncer_cached_dns_zones", "Count of DNS zones in the cache"),
            ("dns_queries", "pgbouncer_in_flight_dns_queries", "Count of in-flight DNS queries"),
        ],
    },
    Rows {
        command: "SHOW CONFIG",
        columns: ["key", "value"],
        metrics: &[
            (
                "max_client_conn",
                "pgbouncer_config_max_client_connections",
                "Config maximum number of client connections",
            ),
            (
                "max_user_connections",
                "pgbouncer_config_max_user_connections",
                "Config maximum number of server connections per user",
            ),
        ],
    },
];

/// Name, type and help of every metric about the pooler.
pub(super) fn metadata() -> impl Iterator<Item = MetricMetadata> {
    let own = [
        ("pgbouncer_up", "gauge", "The pgbouncer scrape succeeded"),
        ("pgbouncer_version_info", "gauge", "The pgbouncer version info"),
        (
            "pgbouncer_exporter_build_info",
            "gauge",
            "A metric with a constant '1' value labeled by version, revision, branch, goversion from which pgbouncer_exporter was built, and the goos and goarch for the build.",
        ),
    ];
    let rows = LISTS.iter().flat_map(|rows| rows.metrics).map(|(_, name, help)| (*name, "gauge", *help));
    own.into_iter().chain(rows)
}

/// Type and help text of a metric that a table makes.
pub(super) fn describe(name: &str) -> Option<(&'static str, &'static str)> {
    let of_table = |table: &'static Table| {
        let ends = table.prefixes.iter().filter_map(|prefix| name.strip_prefix(prefix));
        let mut columns = ends.filter_map(|end| table.columns.iter().find(|column| column.1 == end));
        columns.next().map(|column| (column.2, column.4))
    };
    TABLES.iter().find_map(of_table)
}

/// One look at the pooler.
pub(super) async fn look(target: &Target, deadline: Deadline) -> ProbeOutcome {
    let began = Instant::now();
    let mut facts = Facts::default();
    let result = ask(target, &mut facts, deadline).await;
    facts.push("pgbouncer_up", &[], f64::from(result.is_ok()));
    facts.tell_login(&target.dsn, result.as_ref().copied());
    facts.tell_scrape("pgbouncer_exporter_build_info", began, result.is_err());
    let result = result.map(|_| ()).map_err(Failure::into_probe_failure);
    ProbeOutcome { result, samples: facts.samples, log: facts.log }
}

/// Asks everything; yields whether the connection was encrypted.
async fn ask(target: &Target, facts: &mut Facts, deadline: Deadline) -> Result<bool, Failure> {
    let session = Session::open(&target.dsn, &target.password, Purpose::Pooler, deadline).await?;
    let encrypted = session.encrypted;
    let asked = ask_all(&session, facts, deadline).await;
    session.close(deadline).await;
    asked.map(|()| encrypted)
}

async fn ask_all(session: &Session, facts: &mut Facts, deadline: Deadline) -> Result<(), Failure> {
    let rows = session.query("SHOW VERSION", deadline).await?;
    facts.answered = true;
    let version = rows.first().and_then(|row| row.columns().next()).and_then(|(_, value)| value);
    let version =
        version.ok_or_else(|| Failure::new(Layer::Query, "query", "it does not tell its version"))?;
    facts.push("pgbouncer_version_info", &[("version", version)], 1.0);
    for table in TABLES {
        table.read(&session.query(table.command, deadline).await?, facts);
    }
    for rows in LISTS {
        rows.read(&session.query(rows.command, deadline).await?, facts);
    }
    Ok(())
}

impl Table {
    fn read(&self, rows: &[Row], facts: &mut Facts) {
        for row in rows {
            let labels: Vec<(&str, &str)> =
                self.labels.iter().map(|label| (*label, row.text(label).unwrap_or_default())).collect();
            for Column(column, end, _, factor, _) in self.columns {
                if let Some(value) = row.number(column) {
                    for prefix in self.prefixes {
                        facts.push(&format!("{prefix}{end}"), &labels, value * factor);
                    }
                }
            }
        }
    }
}

impl Rows {
    fn read(&self, rows: &[Row], facts: &mut Facts) {
        for row in rows {
            let [name, value] = self.columns.map(|column| row.text(column));
            let metric = self.metrics.iter().find(|(known, ..)| Some(*known) == name);
            let value = value.and_then(|value| value.parse().ok());
            if let (Some((_, metric, _)), Some(value)) = (metric, value) {
                facts.push(metric, &[], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_have_both_names_and_seconds() {
        let table = &TABLES[1];
        let rows = [Row::new([("database", Some("d")), ("query_time", Some("2500000"))].into_iter())];
        let mut facts = Facts::default();
        table.read(&rows, &mut facts);
        let texts: Vec<String> = facts.samples.iter().map(|s| format!("{} {}", s.labels, s.value)).collect();
        let expected = [
            r#"{__name__="pgbouncer_stats_queries_duration_seconds_total", database="d"} 2.5"#,
            r#"{__name__="pgbouncer_stats_totals_queries_duration_seconds_total", database="d"} 2.5"#,
        ];
        assert_eq!(texts, expected);
        for sample in &facts.samples {
            assert!(describe(sample.labels.metric_name()).is_some());
        }
    }
}
