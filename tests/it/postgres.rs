//! The PostgreSQL probe against real servers.

use std::fs;
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use valmis::model::Secret;
use valmis::probe::postgres::{
    Dsn, FAILURE_KINDS, Password, PostgresProber, Role, Selection, Target, metadata,
};
use valmis::probe::{Deadline, ProbeOutcome, Prober};

use crate::real::postgres::Cluster;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Roles with and without the right to see everybody's sessions.
pub(crate) const ROLES: &str = "\
    CREATE ROLE monitor LOGIN PASSWORD 'right'; GRANT pg_monitor TO monitor;\
    CREATE ROLE plain LOGIN PASSWORD 'right';\
    CREATE ROLE certified LOGIN; GRANT pg_monitor TO certified;\
    CREATE ROLE tls_only LOGIN PASSWORD 'right'; GRANT pg_monitor TO tls_only;";

pub(crate) fn target(dsn: &str) -> Target {
    Target {
        dsn: Dsn::parse(dsn).expect("a valid string"),
        password: Password::InDsn,
        role: None,
        selection: Selection::default(),
    }
}

pub(crate) fn prober(cluster: &Cluster) -> PostgresProber {
    PostgresProber::new(target(&monitor_dsn(cluster)))
}

pub(crate) fn monitor_dsn(cluster: &Cluster) -> String {
    format!("postgres://monitor:right@127.0.0.1:{}/postgres?sslmode=disable", cluster.port)
}

pub(crate) async fn probe(prober: &PostgresProber) -> ProbeOutcome {
    probe_within(prober, TIMEOUT).await
}

pub(crate) async fn probe_within(prober: &PostgresProber, timeout: Duration) -> ProbeOutcome {
    let outcome = prober.probe(Deadline::after(timeout)).await;
    let mut seen = std::collections::HashSet::new();
    for sample in &outcome.samples {
        assert!(seen.insert(&sample.labels), "{} occurs twice", sample.labels);
        let name = sample.labels.metric_name();
        // What the user's own queries yield is described by nobody.
        let own = ["pg_", "pgbouncer_", "valmis_"].iter().any(|prefix| name.starts_with(prefix));
        let described = !own
            || prober.describe(name).is_some()
            || metadata().iter().any(|(described, ..)| *described == name);
        assert!(described, "{name} is not described");
    }
    if let Err(failure) = &outcome.result {
        assert!(FAILURE_KINDS.contains(&failure.kind), "{failure:?}");
    }
    let text = format!("{outcome:?}");
    assert!(!text.contains("right") && !text.contains("hunter2"), "a password shows: {text}");
    outcome
}

pub(crate) fn kind(outcome: &ProbeOutcome) -> &'static str {
    outcome.result.as_ref().map_or_else(|failure| failure.kind, |()| "ok")
}

/// The sum of the samples of a metric whose labels include all of `labels`; `None` if there is none.
pub(crate) fn sum(outcome: &ProbeOutcome, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let values: Vec<f64> = outcome
        .samples
        .iter()
        .filter(|sample| sample.labels.metric_name() == name)
        .filter(|sample| labels.iter().all(|(label, value)| sample.labels.get(label) == *value))
        .map(|sample| sample.value)
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// The layers that are known, as `tcp=1 tls=0`.
pub(crate) fn layers(outcome: &ProbeOutcome) -> String {
    let layers = outcome.samples.iter().filter(|sample| sample.labels.metric_name() == "valmis_postgres_up");
    let texts: Vec<_> = layers.map(|s| format!("{}={}", s.labels.get("layer"), s.value)).collect();
    texts.join(" ")
}

/// Probes until the outcome is of this kind.
pub(crate) async fn probe_until(prober: &PostgresProber, expected: &str) -> ProbeOutcome {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let outcome = probe(prober).await;
        if kind(&outcome) == expected {
            return outcome;
        }
        assert!(Instant::now() < deadline, "waited in vain for `{expected}`: {:?}", outcome.result);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn connections(superuser: &Client, role: &str) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1";
    superuser.query_one(sql, &[&role]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_in_is_judged_layer_by_layer() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    let port = cluster.port;
    let authority = cluster.authority().display().to_string();
    let check = async |parameters: &str, expected: &str, expected_layers: &str| {
        let dsn = format!("port={port} dbname=postgres {parameters}");
        let outcome = probe(&PostgresProber::new(target(&dsn))).await;
        assert_eq!(
            (kind(&outcome), layers(&outcome).as_str()),
            (expected, expected_layers),
            "{parameters}: {outcome:?}"
        );
        assert_eq!(sum(&outcome, "pg_up", &[]), Some(f64::from(expected == "ok")), "{parameters}");
    };
    let plain = "tcp=1 authentication=1 query=1 new_connection=1 writable=1";
    let encrypted = "tcp=1 tls=1 authentication=1 query=1 new_connection=1 writable=1";
    let tls_failed = "tcp=1 tls=0 new_connection=0";
    let login = "user=monitor password=right";
    let roots = format!("sslrootcert={authority}");
    check(&format!("host=127.0.0.1 {login} sslmode=disable"), "ok", plain).await;
    check(&format!("host=127.0.0.1 {login} sslmode=prefer"), "ok", encrypted).await;
    check(&format!("host=127.0.0.1 {login} sslmode=require"), "ok", encrypted).await;
    check(&format!("host=127.0.0.1 {login} sslmode=require channel_binding=require"), "ok", encrypted).await;
    check(&format!("host=localhost hostaddr=127.0.0.1 {login} sslmode=verify-full {roots}"), "ok", encrypted)
        .await;
    check(&format!("host=127.0.0.1 {login} sslmode=verify-ca {roots}"), "ok", encrypted).await;
    check(&format!("host=127.0.0.1 {login} sslmode=require {roots}"), "ok", encrypted).await;
    check(&format!("host=127.0.0.1 {login} sslmode=verify-full {roots}"), "tls", tls_failed).await;
    let strange = cluster.file("strange.crt");
    fs::write(&strange, other_authority()).unwrap();
    let strange = strange.display();
    check(&format!("host=127.0.0.1 {login} sslmode=verify-ca sslrootcert={strange}"), "tls", tls_failed)
        .await;
    check(
        &format!("host=127.0.0.1 {login} sslmode=verify-ca sslrootcert=/nowhere"),
        "config",
        "new_connection=0",
    )
    .await;
    check("host=127.0.0.1 user=tls_only password=right sslmode=require", "ok", encrypted).await;
    let (certificate, key) = (cluster.file("client.crt"), cluster.file("client.key"));
    let certificate = format!("sslcert={} sslkey={}", certificate.display(), key.display());
    check(&format!("host=127.0.0.1 user=certified sslmode=require {certificate}"), "ok", encrypted).await;
    let no_certificate = "tcp=1 tls=1 authentication=0 new_connection=0";
    check("host=127.0.0.1 user=certified sslmode=require", "auth", no_certificate).await;
    let direct = cluster.superuser().await.query_one("SHOW server_version_num", &[]).await.unwrap();
    let direct = direct.get::<_, &str>(0).parse::<u32>().unwrap() >= 170_000;
    let (result, reached) = if direct { ("ok", encrypted) } else { ("tls", tls_failed) };
    check(&format!("host=127.0.0.1 {login} sslmode=require sslnegotiation=direct"), result, reached).await;
    let refused = "tcp=1 authentication=0 new_connection=0";
    check("host=127.0.0.1 user=tls_only password=right sslmode=disable", "auth", refused).await;
    check("host=127.0.0.1 user=monitor password=hunter2 sslmode=disable", "auth", refused).await;
    check("host=127.0.0.1 user=nobody_here password=hunter2 sslmode=disable", "auth", refused).await;
    check("host=127.0.0.1 user=monitor sslmode=disable", "auth", refused).await;
    let folder = cluster.socket_folder();
    check(&format!("host={folder} user=postgres"), "ok", plain).await;
    let missing = PostgresProber::new(target(&format!(
        "host=127.0.0.1 port={port} dbname=nix {login} sslmode=disable"
    )));
    let outcome = probe(&missing).await;
    assert_eq!(kind(&outcome), "no_such_database");
    assert_eq!(layers(&outcome), "tcp=1 authentication=1 new_connection=0");
}

fn other_authority() -> String {
    let mut params = rcgen::CertificateParams::new([]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_are_those_that_rules_know_and_what_may_not_be_seen_is_absent() {
    let Some(cluster) = Cluster::start("max_connections = 37\nsuperuser_reserved_connections = 4").await
    else {
        return;
    };
    cluster.execute(ROLES).await;
    cluster.execute("CREATE DATABASE closed").await;
    cluster.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC").await;
    let idle = cluster.superuser().await;
    idle.batch_execute("SELECT 1").await.unwrap();
    let monitor = prober(&cluster);
    let outcome = probe(&monitor).await;
    assert_eq!(kind(&outcome), "ok");
    let check = |name: &str, labels: &[(&str, &str)], expected: Option<f64>| {
        assert_eq!(sum(&outcome, name, labels), expected, "{name} {labels:?}");
    };
    check("pg_up", &[], Some(1.0));
    check("pg_settings_max_connections", &[], Some(37.0));
    check("pg_settings_superuser_reserved_connections", &[], Some(4.0));
    check("pg_settings_shared_buffers_bytes", &[], Some(8.0 * 1024.0 * 1024.0));
    check("pg_settings_autovacuum_vacuum_scale_factor", &[], Some(0.2));
    check("pg_settings_autovacuum", &[], Some(1.0));
    check("pg_settings_max_slot_wal_keep_size_bytes", &[], Some(-1.0));
    check("pg_replication_is_replica", &[], Some(0.0));
    check("pg_replication_lag_seconds", &[], Some(0.0));
    check("valmis_postgres_wal_receiver_up", &[], None);
    check(
        "pg_stat_activity_count",
        &[("datname", "postgres"), ("state", "idle"), ("usename", "postgres")],
        Some(1.0),
    );
    check("pg_stat_activity_count", &[("datname", "postgres"), ("state", "disabled")], Some(0.0));
    check("pg_locks_count", &[("datname", "closed"), ("mode", "accessexclusivelock")], Some(0.0));
    check("valmis_postgres_privilege", &[("privilege", "pg_read_all_stats")], Some(1.0));
    check("valmis_postgres_archiver_failing", &[], None);
    check("pg_exporter_last_scrape_error", &[], Some(0.0));
    let present = [
        ("pg_static", vec![]),
        ("pg_postmaster_start_time_seconds", vec![]),
        ("pg_stat_database_xact_commit", vec![("datname", "postgres")]),
        ("pg_stat_bgwriter_buffers_alloc_total", vec![]),
        ("pg_stat_bgwriter_checkpoints_timed_total", vec![]),
        ("pg_stat_archiver_failed_count", vec![]),
        ("pg_database_size_bytes", vec![("datname", "closed")]),
        ("pg_database_wraparound_age_datfrozenxid_seconds", vec![("datname", "postgres")]),
    ];
    let version = outcome.samples.iter().find(|sample| sample.labels.metric_name() == "pg_static").unwrap();
    let has_active_time = !version.labels.get("short_version").starts_with("13.");
    let active_time = sum(&outcome, "pg_stat_database_active_time_seconds_total", &[("datname", "postgres")]);
    assert_eq!(active_time.is_some(), has_active_time);
    for (name, labels) in present {
        assert!(sum(&outcome, name, &labels).is_some(), "{name} {labels:?}");
    }

    let plain = format!("postgres://plain:right@127.0.0.1:{}/postgres?sslmode=disable", cluster.port);
    let outcome = probe(&PostgresProber::new(target(&plain))).await;
    assert_eq!(kind(&outcome), "ok");
    let check = |name: &str, labels: &[(&str, &str)], expected: Option<f64>| {
        assert_eq!(sum(&outcome, name, labels), expected, "{name} {labels:?}");
    };
    check("pg_up", &[], Some(1.0));
    check("valmis_postgres_privilege", &[("privilege", "pg_read_all_stats")], Some(0.0));
    check("pg_stat_activity_count", &[], None);
    check("pg_stat_activity_max_tx_duration", &[], None);
    check("pg_scrape_collector_success", &[("collector", "stat_activity")], Some(0.0));
    check("pg_settings_max_connections", &[], Some(37.0));
    check("pg_database_size_bytes", &[("datname", "closed")], None);
    assert!(sum(&outcome, "pg_database_size_bytes", &[("datname", "postgres")]).is_some());
    assert!(sum(&outcome, "pg_stat_database_numbackends", &[("datname", "postgres")]).unwrap() >= 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_probing_never_takes_more_than_two_connections_nor_waits_for_locks() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    cluster.execute("ALTER ROLE monitor CONNECTION LIMIT 2; CREATE TABLE t (a int)").await;
    let locker = cluster.superuser().await;
    locker.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let watcher = cluster.superuser().await;
    let monitor = prober(&cluster);
    let age_of_sizes = |outcome: &ProbeOutcome| {
        sum(outcome, "valmis_postgres_collector_age_seconds", &[("collector", "database_size")])
    };
    let probing = async {
        let mut oldest = None;
        for round in 0..30 {
            let began = Instant::now();
            let outcome = probe(&monitor).await;
            assert_eq!(kind(&outcome), "ok", "round {round}: {:?}", outcome.result);
            assert!(began.elapsed() < Duration::from_secs(10), "round {round} took {:?}", began.elapsed());
            assert_eq!(sum(&outcome, "pg_exporter_last_scrape_error", &[]), Some(0.0), "{:?}", outcome.log);
            assert!(sum(&outcome, "pg_database_size_bytes", &[]).is_some(), "round {round}");
            let age = age_of_sizes(&outcome);
            assert!(oldest <= age, "sizes are asked seldom: round {round}");
            oldest = age;
            assert_eq!(
                sum(&outcome, "pg_locks_count", &[("datname", "postgres"), ("mode", "accessexclusivelock")]),
                Some(1.0)
            );
        }
    };
    let most = async {
        let mut most = 0;
        loop {
            most = most.max(connections(&watcher, "monitor").await);
            assert!(most <= 2, "{most} connections");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = probing => {}
        () = most => unreachable!("it watches without end"),
    }
    assert_eq!(connections(&watcher, "monitor").await, 1, "the held connection alone stays");
    drop(monitor);
    let deadline = Instant::now() + Duration::from_secs(20);
    while connections(&watcher, "monitor").await > 0 {
        assert!(Instant::now() < deadline, "the held connection outlives its probe");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_catalogue_costs_only_the_facts_that_need_it() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    let monitor = prober(&cluster);
    assert_eq!(kind(&probe(&monitor).await), "ok");
    let locker = cluster.superuser().await;
    // Whoever logs in must look for the database, and so waits for this lock.
    locker.batch_execute("BEGIN; LOCK TABLE pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let outcome = probe_within(&monitor, Duration::from_secs(5)).await;
    assert_eq!((kind(&outcome), sum(&outcome, "pg_up", &[])), ("timeout", Some(0.0)));
    assert_eq!(layers(&outcome), "tcp=1 authentication=0 query=1 new_connection=0");
    assert!(sum(&outcome, "pg_settings_max_connections", &[]).is_some(), "{:?}", outcome.log);
    assert!(sum(&outcome, "pg_stat_archiver_failed_count", &[]).is_some(), "{:?}", outcome.log);
    assert_eq!(sum(&outcome, "pg_locks_count", &[]), None);
    assert_eq!(sum(&outcome, "pg_scrape_collector_success", &[("collector", "locks")]), Some(0.0));
    assert!(sum(&outcome, "pg_database_size_bytes", &[]).is_some(), "sizes known before are still shown");
    locker.batch_execute("ROLLBACK").await.unwrap();
    let outcome = probe_until(&monitor, "ok").await;
    assert!(sum(&outcome, "pg_locks_count", &[]).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_lets_nobody_in_and_still_tells_how_full_it_is() {
    let settings =
        "max_connections = 8\nsuperuser_reserved_connections = 2\nmax_wal_senders = 0\nwal_level = minimal";
    let Some(cluster) = Cluster::start(settings).await else { return };
    cluster.execute(ROLES).await;
    let monitor = prober(&cluster);
    assert_eq!(kind(&probe_until(&monitor, "ok").await), "ok");
    let mut taken = Vec::new();
    let plain = format!("host=127.0.0.1 port={} user=plain password=right dbname=postgres", cluster.port);
    while let Ok((client, connection)) = tokio_postgres::connect(&plain, tokio_postgres::NoTls).await {
        taken.push((client, tokio::spawn(connection)));
    }
    assert_eq!(taken.len(), 5);
    let outcome = probe(&monitor).await;
    assert_eq!(kind(&outcome), "too_many_connections");
    assert_eq!(layers(&outcome), "tcp=1 query=1 new_connection=0");
    assert_eq!(sum(&outcome, "pg_up", &[]), Some(0.0));
    assert_eq!(sum(&outcome, "pg_settings_max_connections", &[]), Some(8.0));
    assert_eq!(sum(&outcome, "pg_stat_activity_count", &[("usename", "plain")]), Some(5.0));
    drop(taken);
    probe_until(&monitor, "ok").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_costs_no_more_than_the_deadline_and_recovers() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    let monitor = prober(&cluster);
    assert_eq!(kind(&probe(&monitor).await), "ok");
    cluster.hang();
    for round in 0..3 {
        let began = Instant::now();
        let outcome = probe_within(&monitor, Duration::from_millis(500)).await;
        let took = began.elapsed();
        assert_eq!(kind(&outcome), "timeout", "round {round}");
        assert!(
            took >= Duration::from_millis(490) && took < Duration::from_secs(2),
            "round {round} took {took:?}"
        );
        assert_eq!(layers(&outcome), "tcp=1 authentication=0 new_connection=0");
        assert_eq!(sum(&outcome, "pg_up", &[]), Some(0.0));
    }
    let encrypted = monitor_dsn(&cluster).replace("sslmode=disable", "sslmode=require");
    let outcome = probe_within(&PostgresProber::new(target(&encrypted)), Duration::from_millis(500)).await;
    assert_eq!(layers(&outcome), "tcp=1 tls=0 new_connection=0");
    cluster.resume();
    let outcome = probe_until(&monitor, "ok").await;
    assert!(sum(&outcome, "pg_settings_max_connections", &[]).is_some());
    let watcher = cluster.superuser().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while connections(&watcher, "monitor").await != 1 {
        assert!(Instant::now() < deadline, "connections of the time when it hung are left over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_or_stopped_is_down_until_it_is_back() {
    let Some(mut cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    let monitor = prober(&cluster);
    assert_eq!(kind(&probe(&monitor).await), "ok");
    cluster.kill();
    let outcome = probe(&monitor).await;
    assert_eq!((kind(&outcome), layers(&outcome).as_str()), ("connect", "tcp=0 new_connection=0"));
    assert_eq!(sum(&outcome, "pg_up", &[]), Some(0.0));
    assert_eq!(sum(&outcome, "valmis_postgres_database_up", &[]), None, "none can be visited");
    cluster.restart().await;
    let outcome = probe_until(&monitor, "ok").await;
    assert!(sum(&outcome, "pg_settings_max_connections", &[]).is_some(), "the facts are back at once");
    cluster.stop();
    assert_eq!(kind(&probe(&monitor).await), "connect");
    cluster.restart().await;
    assert!(sum(&probe_until(&monitor, "ok").await, "pg_locks_count", &[]).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_file_is_read_again_for_each_connection() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute(ROLES).await;
    let file = cluster.file("password");
    let dsn = format!("postgres://monitor@127.0.0.1:{}/postgres?sslmode=disable", cluster.port);
    let monitor = PostgresProber::new(Target { password: Password::File(file.clone()), ..target(&dsn) });
    let check = async |content: Option<&str>, expected: &str| {
        match content {
            Some(content) => fs::write(&file, content).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let outcome = probe(&monitor).await;
        assert_eq!(kind(&outcome), expected, "{content:?}");
        outcome
    };
    check(Some("hunter2\n"), "auth").await;
    check(Some("right\n"), "ok").await;
    let outcome = check(None, "config").await;
    assert!(outcome.result.unwrap_err().unknown);
    check(Some("right"), "ok").await;
    let value = Password::Value(Secret::new("right".to_owned()));
    let outcome = probe(&PostgresProber::new(Target { password: value, ..target(&dsn) })).await;
    assert_eq!(kind(&outcome), "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_does_not_claim_to_be_up_to_date() {
    let Some(mut primary) = Cluster::start("wal_level = replica").await else { return };
    primary.execute(ROLES).await;
    primary.execute("CREATE TABLE t AS SELECT 1 AS a").await;
    let Some(replica) = primary.replica("").await else { return };
    let on_replica = Target { role: Some(Role::Replica), ..target(&monitor_dsn(&replica)) };
    let on_replica = PostgresProber::new(on_replica);
    let wait_for = async |what: &str, condition: &dyn Fn(&ProbeOutcome) -> bool| {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let outcome = probe(&on_replica).await;
            if condition(&outcome) {
                return outcome;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}: {outcome:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let lag = |outcome: &ProbeOutcome| sum(outcome, "pg_replication_lag_seconds", &[]);
    let up_to_date = |outcome: &ProbeOutcome| lag(outcome) == Some(0.0);
    let outcome = wait_for("a replica that is up to date", &up_to_date).await;
    assert_eq!(kind(&outcome), "ok");
    assert_eq!(sum(&outcome, "pg_replication_is_replica", &[]), Some(1.0));
    assert_eq!(sum(&outcome, "valmis_postgres_wal_receiver_up", &[]), Some(1.0));
    assert_eq!(sum(&outcome, "valmis_postgres_up", &[("layer", "writable")]), Some(0.0));
    let folder = primary.socket_folder();
    let upstream = [("upstream_host", folder.as_str()), ("status", "streaming")];
    assert!(sum(&outcome, "pg_stat_wal_receiver_flushed_lsn", &upstream).is_some(), "{outcome:?}");
    assert_eq!(sum(&outcome, "pg_replication_lag", &[]), Some(0.0));
    assert_eq!(sum(&outcome, "valmis_postgres_replay_gap_bytes", &[]), Some(0.0));
    assert_eq!(sum(&outcome, "valmis_postgres_in_recovery", &[]), Some(1.0));
    assert!(sum(&outcome, "valmis_postgres_wal_receiver_last_message_age_seconds", &[]).is_some());
    let expects_primary = Target { role: Some(Role::Primary), ..target(&monitor_dsn(&replica)) };
    assert_eq!(kind(&probe(&PostgresProber::new(expects_primary)).await), "role");
    let seen = probe(&prober(&primary)).await;
    assert!(sum(&seen, "pg_stat_replication_pg_wal_lsn_diff", &[("state", "streaming")]).is_some());
    primary.execute("INSERT INTO t VALUES (2)").await;
    wait_for("the write to arrive", &|outcome| {
        up_to_date(outcome) && sum(outcome, "pg_replication_last_replay_seconds", &[]).is_some()
    })
    .await;
    // A primary that hangs says nothing, and the replica takes it for connected until its timeout.
    replica.execute("ALTER SYSTEM SET wal_receiver_timeout = '20s'").await;
    replica.execute("SELECT pg_reload_conf()").await;
    primary.hang();
    let outcome = wait_for("the silence to be noticed", &|outcome| {
        sum(outcome, "valmis_postgres_wal_receiver_up", &[]) == Some(0.0)
    })
    .await;
    assert!(sum(&outcome, "pg_stat_wal_receiver_flushed_lsn", &upstream).is_some(), "before the timeout");
    assert!(lag(&outcome).is_some_and(|seconds| seconds > 0.0), "{:?}", lag(&outcome));
    primary.resume();
    wait_for("the primary to be heard again", &up_to_date).await;
    primary.kill();
    let cut_off = |outcome: &ProbeOutcome| sum(outcome, "valmis_postgres_wal_receiver_up", &[]) == Some(0.0);
    let outcome = wait_for("the receiver to end", &cut_off).await;
    assert!(lag(&outcome).is_some_and(|seconds| seconds > 0.0), "{:?}", lag(&outcome));
}
