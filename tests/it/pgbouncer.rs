//! A pooler in front of PostgreSQL.

use valmis::probe::postgres::PostgresProber;

use crate::postgres::{ROLES, kind, layers, monitor_dsn, probe, probe_until, sum, target};
use crate::real::pgbouncer::PgBouncer;
use crate::real::postgres::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_is_asked_in_its_own_words_and_never_taken_for_the_server() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    let Some(pooler) = PgBouncer::start(cluster.port, "") else { return };
    let through = monitor_dsn(&cluster).replace(&cluster.port.to_string(), &pooler.port.to_string());
    let own = PostgresProber::new(target(&through.replace("/postgres?", "/pgbouncer?")));
    let outcome = probe_until(&own, "ok").await;
    assert_eq!(layers(&outcome), "tcp=1 authentication=1 query=1 new_connection=1");
    let check = |name: &str, labels: &[(&str, &str)], expected: f64| {
        assert_eq!(sum(&outcome, name, labels), Some(expected), "{name} {labels:?}");
    };
    check("pgbouncer_up", &[], 1.0);
    check("pgbouncer_version_info", &[], 1.0);
    check("pgbouncer_config_max_client_connections", &[], 50.0);
    check("pgbouncer_databases_paused", &[("name", "postgres"), ("database", "postgres")], 0.0);
    check("pgbouncer_pools_client_active_connections", &[("database", "pgbouncer")], 1.0);
    for name in ["pgbouncer_stats_queries_pooled_total", "pgbouncer_stats_totals_queries_pooled_total"] {
        assert!(sum(&outcome, name, &[("database", "pgbouncer")]).is_some(), "{name}");
    }
    check("pgbouncer_databases", &[], 2.0);
    assert_eq!(sum(&outcome, "pg_up", &[]), None, "it is no PostgreSQL");

    let outcome = probe(&PostgresProber::new(target(&through))).await;
    assert_eq!(kind(&outcome), "pooler");
    assert_eq!(sum(&outcome, "pg_up", &[]), Some(0.0));
    assert!(outcome.result.unwrap_err().reason.contains("`pgbouncer`"));

    let wrong = through.replace("/postgres?", "/pgbouncer?").replace("right", "hunter2");
    let outcome = probe(&PostgresProber::new(target(&wrong))).await;
    assert_eq!((kind(&outcome), sum(&outcome, "pgbouncer_up", &[])), ("auth", Some(0.0)));
    drop(pooler);
    let outcome = probe_until(&own, "connect").await;
    assert_eq!(sum(&outcome, "pgbouncer_up", &[]), Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_others_are_left_as_they_are() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    // This pooler takes the settings of a login and does nothing with them.
    let careless = "ignore_startup_parameters = options\ndefault_pool_size = 1";
    let Some(pooler) = PgBouncer::start(cluster.port, careless) else { return };
    let through = monitor_dsn(&cluster).replace(&cluster.port.to_string(), &pooler.port.to_string());
    let monitor = PostgresProber::new(target(&through));
    probe_until(&monitor, "pooler").await;
    let outcome = probe(&monitor).await;
    assert_eq!((kind(&outcome), sum(&outcome, "pg_up", &[])), ("pooler", Some(0.0)));
    let dsn = format!("host=127.0.0.1 port={} user=monitor password=right dbname=postgres", pooler.port);
    let (client, connection) = tokio_postgres::connect(&dsn, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let rows = client.simple_query("SHOW default_transaction_read_only").await.unwrap();
    let read_only = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    assert_eq!(read_only.as_deref(), Some("off"));
}
