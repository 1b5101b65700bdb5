//! What the PostgreSQL probe collects, from real servers of every supported version.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use valmis::probe::postgres::custom::{Column, CustomQuery, DEFAULT_INTERVAL, Usage, VersionRange};
use valmis::probe::postgres::{Choice, Databases, PostgresProber, Selection, Target, collector};
use valmis::probe::{ProbeOutcome, Prober, describe};

use crate::conformance::folder;
use crate::postgres::{ROLES, connections, kind, monitor_dsn, probe, prober, sum, target};
use crate::real::eventually;
use crate::real::postgres::{Cluster, VERSIONS};

pub(crate) fn everything() -> Selection {
    let enabled = Choice { enabled: Some(true), ..Choice::default() };
    let collectors = collector::names().map(|name| (name.to_owned(), enabled)).collect();
    Selection { collectors, ..Selection::default() }
}

pub(crate) fn with(cluster: &Cluster, selection: Selection) -> PostgresProber {
    PostgresProber::new(Target { selection, ..target(&monitor_dsn(cluster)) })
}

/// The names of the metrics.
pub(crate) fn families(outcome: &ProbeOutcome) -> BTreeSet<&str> {
    outcome.samples.iter().map(|sample| sample.labels.metric_name()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_are_found_and_asked_within_two_connections() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    cluster.execute("ALTER ROLE monitor CONNECTION LIMIT 2").await;
    for name in ["shop", "closed", "left_out"] {
        cluster.execute(&format!("CREATE DATABASE {name}")).await;
    }
    cluster.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC").await;
    let shop = cluster.superuser_in("shop").await;
    shop.batch_execute("CREATE TABLE goods AS SELECT 1 AS a; ANALYZE").await.unwrap();
    let monitor = watching(&cluster, Databases::AllBut(vec!["left_out".to_owned()]));
    let watcher = cluster.superuser().await;
    let probing = async {
        for round in 0..20 {
            let outcome = probe(&monitor).await;
            assert_eq!(kind(&outcome), "ok", "round {round}: {:?}", outcome.log);
            assert_eq!(sum(&outcome, "pg_exporter_last_scrape_error", &[]), Some(0.0), "{:?}", outcome.log);
            assert_eq!(sum(&outcome, "valmis_postgres_databases", &[]), Some(2.0));
            assert_eq!(database_up(&outcome, "shop"), Some(1.0));
            let goods = [("datname", "shop"), ("schemaname", "public"), ("relname", "goods")];
            assert!(sum(&outcome, "pg_stat_user_tables_n_live_tup", &goods).is_some(), "round {round}");
        }
    };
    let most = async {
        loop {
            let most = connections(&watcher, "monitor").await;
            assert!(most <= 2, "{most} connections");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = probing => {}
        () = most => unreachable!("it watches without end"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_lets_nobody_in_costs_the_others_nothing() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    for name in ["busy", "shop"] {
        cluster.execute(&format!("CREATE DATABASE {name}")).await;
    }
    cluster.execute("ALTER DATABASE busy CONNECTION LIMIT 0").await;
    let databases = Databases::AllBut(Vec::new());
    let monitor = with(&cluster, Selection { databases, ..Selection::default() });
    let outcome = probe(&monitor).await;
    assert_eq!(kind(&outcome), "ok");
    let up = (database_up(&outcome, "busy"), database_up(&outcome, "shop"));
    assert_eq!(up, (Some(0.0), Some(1.0)), "{:?}", outcome.log);
    assert!(outcome.log.iter().any(|line| line.starts_with("database `busy`: ")), "{:?}", outcome.log);
    assert_eq!(sum(&outcome, "pg_exporter_last_scrape_error", &[]), Some(1.0));
    cluster.execute("ALTER DATABASE busy CONNECTION LIMIT -1").await;
    // The visit is made beside a probe, so the one after it shows it.
    wait_for_database(&monitor, "busy", 1.0).await;
}

/// A probe with a selection whose visits have something to do at each probe.
fn watching(cluster: &Cluster, databases: Databases) -> PostgresProber {
    let quick = Choice { interval: Some(Duration::from_millis(1)), ..Choice::default() };
    let collectors = [("stat_user_tables".to_owned(), quick)].into();
    with(cluster, Selection { databases, collectors, ..Selection::default() })
}

fn database_up(outcome: &ProbeOutcome, name: &str) -> Option<f64> {
    sum(outcome, "valmis_postgres_database_up", &[("datname", name)])
}

/// Probes until a database is or is not visited well.
async fn wait_for_database(monitor: &PostgresProber, name: &str, up: f64) -> ProbeOutcome {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let outcome = probe(monitor).await;
        assert_eq!(kind(&outcome), "ok", "{:?}", outcome.log);
        if database_up(&outcome, name) == Some(up) {
            return outcome;
        }
        assert!(Instant::now() < deadline, "`{name}` does not become {up}: {:?}", outcome.log);
        // Visits give way to probes, and get nowhere without a pause.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_locked_against_logins_is_not_entered() {
    for version in VERSIONS {
        let Some(cluster) = Cluster::start_version(version, "").await else { continue };
        cluster.execute(ROLES).await;
        cluster.execute("ALTER ROLE monitor CONNECTION LIMIT 3").await;
        for name in ["locked", "shop"] {
            cluster.execute(&format!("CREATE DATABASE {name}")).await;
        }
        let locker = cluster.superuser().await;
        locker.batch_execute("BEGIN; ALTER DATABASE locked RENAME TO elsewhere").await.unwrap();
        let monitor = check_locked(&cluster, version).await;
        locker.batch_execute("ROLLBACK").await.unwrap();
        wait_for_database(&monitor, "locked", 1.0).await;
        drop(monitor);
        // It has its template before it writes down the copy, and there it is held up.
        locker.batch_execute("BEGIN; LOCK TABLE pg_catalog.pg_database IN SHARE MODE").await.unwrap();
        let copier = cluster.superuser().await;
        let copying =
            tokio::spawn(async move { copier.batch_execute("CREATE DATABASE copy TEMPLATE locked").await });
        let superuser = cluster.superuser().await;
        eventually("lock of the template", async || {
            let held = "SELECT count(*) FROM pg_locks
                        WHERE locktype = 'object' AND mode = 'ShareLock' AND granted";
            let count: i64 = superuser.query_one(held, &[]).await.unwrap().get(0);
            if count > 0 { Ok(()) } else { Err("nobody has it") }
        })
        .await;
        let monitor = check_locked(&cluster, version).await;
        locker.batch_execute("ROLLBACK").await.unwrap();
        copying.await.unwrap().unwrap();
        wait_for_database(&monitor, "locked", 1.0).await;
    }
}

/// The database `locked` is not entered, the others are, and nothing is left waiting.
async fn check_locked(cluster: &Cluster, version: u32) -> PostgresProber {
    let monitor = watching(cluster, Databases::AllBut(Vec::new()));
    let told = "database `locked`: it is locked against logins";
    for _ in 0..5 {
        let outcome = probe(&monitor).await;
        assert_eq!(kind(&outcome), "ok", "{version}: {:?}", outcome.log);
        let up = (database_up(&outcome, "locked"), database_up(&outcome, "shop"));
        assert_eq!(up, (Some(0.0), Some(1.0)), "{version}: {:?}", outcome.log);
        assert!(outcome.log.iter().any(|line| line.starts_with(told)), "{version}: {:?}", outcome.log);
    }
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND NOT granted";
    let waiting: i64 = cluster.superuser().await.query_one(waiting, &[]).await.unwrap().get(0);
    assert_eq!(waiting, 0, "{version}: logins wait in the server");
    monitor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_named_is_missed_when_it_is_gone() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    cluster.execute("CREATE DATABASE closed").await;
    cluster.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC").await;
    let named = Databases::Named(["closed", "shop"].map(str::to_owned).to_vec());
    let monitor = watching(&cluster, named);
    let outcome = probe(&monitor).await;
    assert_eq!((database_up(&outcome, "closed"), database_up(&outcome, "shop")), (Some(0.0), Some(0.0)));
    for told in ["`closed`: the role may not connect", "`shop`: there is no such database"] {
        assert!(outcome.log.iter().any(|line| line.contains(told)), "{told}: {:?}", outcome.log);
    }
    assert_eq!(sum(&outcome, "pg_exporter_last_scrape_error", &[]), Some(1.0));
    cluster.execute("CREATE DATABASE shop").await;
    cluster.execute("GRANT CONNECT ON DATABASE closed TO monitor").await;
    wait_for_database(&monitor, "shop", 1.0).await;
    wait_for_database(&monitor, "closed", 1.0).await;
    cluster.execute("DROP DATABASE shop WITH (FORCE)").await;
    wait_for_database(&monitor, "shop", 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_delays_nothing_and_costs_nothing() {
    for version in VERSIONS {
        let Some(cluster) = Cluster::start_version(version, "").await else { continue };
        cluster.execute(ROLES).await;
        cluster.execute("CREATE TABLE t AS SELECT 1 AS a; CREATE SEQUENCE s AS smallint; SELECT setval('s', 30000); GRANT USAGE, SELECT ON s TO monitor; ANALYZE t").await;
        let locker = cluster.superuser().await;
        locker
            .batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; ALTER SEQUENCE s INCREMENT 2")
            .await
            .unwrap();
        let began = Instant::now();
        let outcome = probe(&prober(&cluster)).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{version}: took {:?}", began.elapsed());
        assert_eq!(
            sum(&outcome, "pg_exporter_last_scrape_error", &[]),
            Some(0.0),
            "{version}: {:?}",
            outcome.log
        );
        assert!(
            sum(&outcome, "pg_stat_user_tables_table_size_bytes", &[("relname", "t")]).is_some(),
            "{version}"
        );
        assert_eq!(sum(&outcome, "pg_sequence_used_ratio", &[]), None, "{version}: it is locked");
        let waiter = cluster.superuser().await;
        let waiting = tokio::spawn(async move { waiter.batch_execute("SELECT * FROM t").await });
        let monitor = prober(&cluster);
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let outcome = probe(&monitor).await;
            if sum(&outcome, "pg_blocked_sessions", &[]) == Some(1.0) {
                assert_eq!(sum(&outcome, "pg_blocking_sessions", &[]), Some(1.0));
                break;
            }
            assert!(Instant::now() < deadline, "nobody waits: {outcome:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        locker.batch_execute("ROLLBACK").await.unwrap();
        waiting.await.unwrap().unwrap();
        let outcome = probe(&prober(&cluster)).await;
        assert!(sum(&outcome, "pg_sequence_used_ratio", &[("sequencename", "s")]).is_some(), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_role_may_not_see_is_absent_with_a_reason() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    let plain = format!("postgres://plain:right@127.0.0.1:{}/postgres?sslmode=disable", cluster.port);
    let outcome = probe(&PostgresProber::new(target(&plain))).await;
    let check = |collector: &str, needs: &str| {
        let labels = [("collector", collector), ("needs", needs)];
        assert_eq!(sum(&outcome, "valmis_postgres_capability", &labels), Some(0.0), "{collector}");
        let told = format!("collector `{collector}`: ");
        assert!(
            outcome.log.iter().any(|line| line.starts_with(&told) && line.contains(needs)),
            "{outcome:?}"
        );
    };
    check("wal", "pg_ls_waldir");
    check("stat_activity", "pg_read_all_stats");
    check("blocking", "pg_read_all_stats");
    check("bloat_table", "pg_read_all_data");
    check("stat_statements", "pg_stat_statements");
    let absent =
        ["pg_wal_segments", "pg_stat_activity_count", "pg_blocked_sessions", "pg_bloat_table_bloat_pct"];
    let names = families(&outcome);
    assert!(absent.iter().all(|name| !names.contains(name)), "{names:?}");
    assert!(!names.contains("pg_settings_ssl_renegotiation_limit_bytes"));
    assert_eq!(
        sum(&outcome, "valmis_postgres_privilege", &[("privilege", "pg_read_all_settings")]),
        Some(0.0)
    );
    let monitor = probe(&prober(&cluster)).await;
    let labels = [("collector", "wal"), ("needs", "pg_ls_waldir")];
    assert_eq!(sum(&monitor, "valmis_postgres_capability", &labels), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tables_are_bounded_and_the_dropped_ones_counted() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    cluster
        .execute(
            "DO $$ BEGIN FOR i IN 1..30 LOOP EXECUTE format('CREATE TABLE t%s (a int)', i); END LOOP; END $$",
        )
        .await;
    let few = Choice { limit: Some(5), ..Choice::default() };
    let collectors = [("stat_user_tables".to_owned(), few)].into();
    let outcome = probe(&with(&cluster, Selection { collectors, ..Selection::default() })).await;
    let shown = outcome.samples.iter().filter(|s| s.labels.metric_name() == "pg_stat_user_tables_seq_scan");
    assert_eq!(shown.count(), 5);
    let labels = [("collector", "stat_user_tables")];
    assert_eq!(sum(&outcome, "valmis_postgres_collector_rows_dropped", &labels), Some(25.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_are_read_with_few_locks_and_hidden_ones_are_told() {
    // Room for some hundred locks.
    let Some(cluster) = Cluster::start("max_locks_per_transaction = 10\nmax_connections = 10").await else {
        return;
    };
    cluster.execute(ROLES).await;
    cluster
        .execute(
            "DO $$ BEGIN FOR i IN 1..3000 LOOP
                 EXECUTE format('CREATE SEQUENCE s%s AS smallint', i);
                 IF i > 2900 THEN PERFORM setval(format('s%s', i)::regclass, 20000 + i); END IF;
                 EXECUTE format('GRANT SELECT ON s%s TO monitor', i);
                 COMMIT;
             END LOOP; END $$",
        )
        .await;
    let outcome = probe(&prober(&cluster)).await;
    let labels = [("collector", "sequences")];
    assert_eq!(sum(&outcome, "pg_scrape_collector_success", &labels), Some(1.0), "{:?}", outcome.log);
    let ratio = |outcome: &ProbeOutcome, name| {
        sum(outcome, "pg_sequence_used_ratio", &[("datname", "postgres"), ("sequencename", name)])
    };
    assert_eq!(ratio(&outcome, "s3000"), Some(23_000.0 / 32_767.0));
    assert_eq!((ratio(&outcome, "s2950"), ratio(&outcome, "s1")), (None, None));
    assert_eq!(sum(&outcome, "valmis_postgres_collector_rows_dropped", &labels), Some(50.0));
    let needs = [labels[0], ("needs", "select_on_sequences")];
    assert_eq!(sum(&outcome, "valmis_postgres_capability", &needs), Some(1.0));
    cluster.execute("REVOKE SELECT ON s2999, s3000 FROM monitor").await;
    let outcome = probe(&prober(&cluster)).await;
    assert_eq!((ratio(&outcome, "s3000"), ratio(&outcome, "s2998").is_some()), (None, true));
    assert_eq!(sum(&outcome, "valmis_postgres_capability", &needs), Some(0.0));
    let told = "collector `sequences` in `postgres`: 2 are hidden from the role";
    assert!(outcome.log.iter().any(|line| **line == *told), "{:?}", outcome.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partitioned_table_has_no_size_of_its_own() {
    for version in VERSIONS {
        let Some(cluster) = Cluster::start_version(version, "").await else { continue };
        cluster.execute(ROLES).await;
        cluster
            .execute(
                "CREATE TABLE parent (a int PRIMARY KEY) PARTITION BY RANGE (a);
                 CREATE TABLE part PARTITION OF parent FOR VALUES FROM (0) TO (10000);
                 INSERT INTO parent SELECT generate_series(1, 5000); ANALYZE parent; ANALYZE part",
            )
            .await;
        let outcome = probe(&prober(&cluster)).await;
        for name in ["pg_stat_user_tables_table_size_bytes", "pg_stat_user_tables_index_size_bytes"] {
            let size = |table| sum(&outcome, name, &[("relname", table)]);
            assert!(size("part").is_some_and(|bytes| bytes > 50_000.0), "{version}: {name}");
            assert_eq!(size("parent"), None, "{version}: {name}");
        }
        let rows = sum(&outcome, "pg_stat_user_tables_n_live_tup", &[("relname", "parent")]);
        assert_eq!(rows.is_some(), version >= 14, "{version}");
    }
}

fn query(name: &str, sql: &str, columns: &[(&str, Usage)]) -> CustomQuery {
    let column = |(name, usage): &(&str, Usage)| Column {
        name: (*name).to_owned(),
        usage: *usage,
        help: "What it means.".to_owned(),
    };
    CustomQuery {
        name: name.to_owned(),
        sql: sql.to_owned(),
        columns: columns.iter().map(column).collect(),
        interval: DEFAULT_INTERVAL,
        timeout: None,
        max_rows: 3,
        databases: Databases::AllBut(Vec::new()),
        versions: None,
        on_replica: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_of_the_user_read_within_their_limits_and_write_nothing() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    cluster
        .execute("CREATE TABLE orders (state text); INSERT INTO orders VALUES ('open'), ('open'), ('done'); GRANT SELECT, INSERT ON orders TO monitor")
        .await;
    let state = [("state", Usage::Label), ("count", Usage::Gauge)];
    let good = query("orders", "SELECT state, count(*) AS count FROM orders GROUP BY 1;\n", &state);
    let slow = CustomQuery {
        timeout: Some(Duration::from_millis(100)),
        ..query("slow", "SELECT 1 AS a FROM pg_sleep(60)", &[])
    };
    let other = CustomQuery {
        versions: Some(VersionRange::parse(">=99").unwrap()),
        ..query("other", "SELECT 1 AS other", &[])
    };
    let replica = CustomQuery { on_replica: Some(true), ..query("replica", "SELECT 1 AS a", &[]) };
    let queries = vec![
        good,
        slow,
        other,
        replica,
        query("many", "SELECT generate_series(1, 4) AS a", &[]),
        query("twice", "SELECT 1 AS a UNION ALL SELECT 1", &[]),
        query("two", "SELECT 1 AS a; DROP TABLE orders", &[]),
        query("write", "INSERT INTO orders VALUES ('new') RETURNING 1 AS a", &[]),
        query(
            "hidden",
            "WITH w AS (INSERT INTO orders VALUES ('new') RETURNING 1) SELECT 1 AS a FROM w",
            &[],
        ),
        query("plain", "SELECT 4 AS four, 'x' AS text", &[]),
    ];
    let queries = queries.into_iter().map(Arc::new).collect();
    let prober = with(&cluster, Selection { queries, ..Selection::default() });
    let outcome = probe(&prober).await;
    assert_eq!(kind(&outcome), "ok");
    assert_eq!(prober.describe("orders_count"), Some(("gauge", "What it means.".to_owned())));
    let success = |name: &str| sum(&outcome, "pg_scrape_collector_success", &[("collector", name)]);
    assert_eq!(sum(&outcome, "orders_count", &[("state", "open")]), Some(2.0), "{:?}", outcome.log);
    assert_eq!(sum(&outcome, "plain_four", &[]), Some(4.0));
    assert_eq!((success("orders"), success("plain")), (Some(1.0), Some(1.0)));
    for name in ["slow", "many", "twice", "two", "write", "hidden"] {
        assert_eq!(success(name), Some(0.0), "{name}: {:?}", outcome.log);
        assert_eq!(sum(&outcome, &format!("{name}_a"), &[]), None, "{name}");
        assert!(outcome.log.iter().any(|line| line.contains(&format!("`{name}` in `postgres`"))), "{name}");
    }
    assert_eq!((success("other"), success("replica")), (None, None));
    let count = cluster.superuser().await.query_one("SELECT count(*) FROM orders", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_of_the_user_never_yield_a_series_that_is_there_already() {
    const LAG: &str = "SELECT 7 AS lag_seconds, 8 AS lag_own";
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    cluster.execute("CREATE DATABASE shop").await;
    let queries = vec![
        query("pg_replication", LAG, &[("lag_own", Usage::Gauge)]),
        query("pg", "SELECT 9 AS up, 10 AS down", &[("down", Usage::Gauge)]),
        query("locks", "SELECT 11 AS held", &[]),
        query("here", "SELECT current_database() AS datname, 1 AS a", &[("datname", Usage::Label)]),
        CustomQuery { databases: Databases::Own, ..query("own", "SELECT 1 AS a", &[]) },
    ];
    let queries = queries.into_iter().map(Arc::new).collect();
    let databases = Databases::AllBut(Vec::new());
    let prober = with(&cluster, Selection { databases, queries, ..Selection::default() });
    let outcome = probe(&prober).await;
    let check = |name: &str, labels: &[(&str, &str)], expected: Option<f64>| {
        assert_eq!(sum(&outcome, name, labels), expected, "{name} {labels:?}: {:?}", outcome.log);
    };
    for database in ["postgres", "shop"] {
        let labels = [("datname", database)];
        check("pg_replication_lag_own", &labels, Some(8.0));
        check("pg_down", &labels, Some(10.0));
        check("locks_held", &labels, Some(11.0));
        check("here_a", &labels, Some(1.0));
    }
    check("own_a", &[("datname", "")], Some(1.0));
    check("pg_up", &[], Some(1.0));
    check("pg_scrape_collector_success", &[("collector", "pg")], Some(0.0));
    check("pg_scrape_collector_success", &[("collector", "pg_replication")], Some(1.0));
    check("pg_scrape_collector_success", &[("collector", "locks (query)")], Some(1.0));
    assert!(outcome.log.iter().any(|line| line.contains("`{__name__=\"pg_up\"")), "{:?}", outcome.log);

    let queries = vec![Arc::new(query("pg_replication", LAG, &[("lag_own", Usage::Gauge)]))];
    let outcome = probe(&with(&cluster, Selection { queries, ..Selection::default() })).await;
    assert_eq!(sum(&outcome, "pg_replication_lag_seconds", &[]), Some(0.0));
    assert_eq!(sum(&outcome, "pg_replication_lag_own", &[]), Some(8.0));
    let labels = [("collector", "pg_replication")];
    assert_eq!(sum(&outcome, "pg_scrape_collector_success", &labels), Some(0.0));
    let told =
        "collector `pg_replication` in `postgres`: the series `{__name__=\"pg_replication_lag_seconds\"}` is";
    assert!(outcome.log.iter().any(|line| line.starts_with(told)), "{:?}", outcome.log);
}

#[test]
fn the_communitys_rules_find_every_metric_they_look_at() {
    let Some(folder) = folder() else { return };
    let file = folder.join("rules-corpus/awesome-prometheus-alerts/postgresql/postgres-exporter.yml");
    let text = std::fs::read_to_string(file).unwrap();
    let mut names = BTreeSet::new();
    for line in text.lines() {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        names.extend(words.filter(|word| word.starts_with("pg_")));
    }
    assert!(names.len() > 25, "{names:?}");
    let unknown: Vec<&&str> = names.iter().filter(|name| describe(name).is_none()).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vacuum_under_way_is_shown() {
    for version in VERSIONS {
        let Some(cluster) = Cluster::start_version(version, "autovacuum = off").await else { continue };
        cluster.execute(ROLES).await;
        cluster.execute("CREATE TABLE \"A b\" AS SELECT i FROM generate_series(1, 100000) i").await;
        let worker = cluster.superuser().await;
        worker.batch_execute("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1").await.unwrap();
        let vacuum = tokio::spawn(async move { worker.batch_execute("VACUUM \"A b\"").await });
        let table = [("datname", "postgres"), ("relname", "public.\"A b\"")];
        let monitor = prober(&cluster);
        let deadline = Instant::now() + Duration::from_mins(1);
        let outcome = loop {
            let outcome = probe(&monitor).await;
            if sum(&outcome, "pg_stat_progress_vacuum_heap_blks", &table).is_some_and(|blocks| blocks > 0.0) {
                break outcome;
            }
            assert!(Instant::now() < deadline, "{version}: no vacuum to be seen: {outcome:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(sum(&outcome, "pg_stat_progress_vacuum_phase", &table), Some(1.0), "{version}");
        let scanning = [table[0], table[1], ("phase", "scanning heap")];
        assert_eq!(sum(&outcome, "pg_stat_progress_vacuum_phase", &scanning), Some(1.0), "{version}");
        assert_eq!(sum(&outcome, "pg_stat_progress_vacuum_max_dead_tuples", &[]).is_some(), version < 17);
        assert_eq!(
            sum(&outcome, "valmis_postgres_vacuum_max_dead_tuple_bytes", &[]).is_some(),
            version >= 17
        );
        vacuum.abort();
    }
}
