//! Every supported major version of PostgreSQL: all collectors are answered, the printed role sees all that
//! it should, and no session is without limits.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use valmis::probe::ProbeOutcome;
use valmis::probe::postgres::{Databases, PostgresProber, Selection, Target, collector};

use crate::postgres::{ROLES, kind, layers, monitor_dsn, probe, probe_within, prober, sum, target};
use crate::postgres_collectors::{everything, families, with};
use crate::real::eventually;
use crate::real::postgres::{Cluster, VERSIONS};

const SETTINGS: &str = "shared_preload_libraries = 'pg_stat_statements'\nmax_prepared_transactions = 5\n\
                        wal_level = logical\ntrack_io_timing = on\narchive_mode = on\n\
                        archive_command = '/bin/true'\narchive_timeout = 1\n\
                        max_slot_wal_keep_size = 1GB";

/// One thing for every collector to find.
const THINGS: &str = "\
    CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_buffercache;\
    CREATE TABLE things (id int PRIMARY KEY, word text, unused int);\
    CREATE INDEX things_unused ON things (unused);\
    CREATE INDEX things_broken ON things (word);\
    UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'things_broken'::regclass;\
    INSERT INTO things SELECT i, repeat('x', 100), i FROM generate_series(1, 30000) i;\
    DELETE FROM things WHERE id % 2 = 0;\
    CREATE SEQUENCE small AS smallint; SELECT setval('small', 30000);\
    CREATE SEQUENCE fresh; GRANT USAGE ON small, fresh TO PUBLIC;\
    SELECT pg_create_physical_replication_slot('spare', true);\
    SELECT pg_create_physical_replication_slot('repmgr_slot_7');";

/// What such servers do not have either: a vacuum under way, failures of checksums (which are off before 18,
/// and none has failed), the client of a logical slot, and delays of a replica while all is quiet.
const ABSENT: [&str; 9] = [
    "pg_replication_slot_slot_confirmed_flush_lsn",
    "pg_replication_slots_slot_confirmed_flush_lsn",
    "pg_stat_activity_autovacuum_timestamp_seconds",
    "pg_stat_database_checksum_failures",
    "pg_stat_database_checksum_last_failure",
    "pg_stat_replication_flush_lag_seconds",
    "pg_stat_replication_replay_lag_seconds",
    "pg_stat_replication_write_lag_seconds",
    "valmis_postgres_checksum_failures_total",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_collector_is_answered_by_every_version() {
    for version in VERSIONS {
        let Some(cluster) = Cluster::start_version(version, SETTINGS).await else { continue };
        cluster.execute(ROLES).await;
        cluster.execute(THINGS).await;
        cluster.execute("SELECT pg_stat_reset()").await;
        cluster.execute("VACUUM ANALYZE").await;
        if version >= 14 {
            cluster.execute("GRANT pg_read_all_data TO monitor").await;
        }
        let upstream = format!("{SETTINGS}\nprimary_slot_name = 'repmgr_slot_7'");
        let Some(replica) = cluster.replica(&upstream).await else { continue };
        cluster.execute("CREATE TABLE later ()").await;
        let idle = cluster.superuser().await;
        idle.batch_execute("SELECT 1").await.unwrap();
        let superuser = cluster.superuser().await;
        superuser
            .batch_execute("BEGIN; INSERT INTO things VALUES (0); PREPARE TRANSACTION 'p'")
            .await
            .unwrap();
        for _ in 0..60 {
            superuser.batch_execute("SELECT sum(length(word)) FROM things").await.unwrap();
        }
        // Statistics of a session are sent when it has been idle for a second, or when it ends.
        drop(superuser);
        let outcome = wait_for_scans(&cluster).await;
        drop(idle);
        assert_eq!(kind(&outcome), "ok", "{version}: {:?}", outcome.log);
        assert_eq!(outcome.log, ["new connection: answered (encrypted: false)"], "{version}");
        assert_eq!(sum(&outcome, "pg_exporter_last_scrape_error", &[]), Some(0.0), "{version}");
        let on_replica = wait_for_wal(&replica).await;
        assert_eq!(on_replica.log, ["new connection: answered (encrypted: false)"], "{version}");
        check_families(version, &outcome, &on_replica);
        check_values(version, &outcome);
    }
}

/// Every metric of every collector of this version is there, on the primary or its replica, and none of
/// another version's.
fn check_families(version: u32, primary: &ProbeOutcome, replica: &ProbeOutcome) {
    let names: BTreeSet<&str> = families(primary).union(&families(replica)).copied().collect();
    let expected = collector::COLLECTORS.iter().filter(|collector| collector.fits(version));
    let expected = expected.filter(|collector| collector.name != "stat_progress_vacuum");
    let absent: Vec<&str> = expected
        .flat_map(|collector| collector.values())
        .map(|value| value.name)
        .filter(|name| !names.contains(name) && !ABSENT.contains(name))
        .collect();
    let later: &[&str] =
        if version < 16 { &["pg_stat_database_conflicts_confl_active_logicalslot"] } else { &[] };
    assert_eq!(absent, later, "{version}");
    assert_eq!(names.contains("pg_stat_checkpointer_num_timed_total"), version >= 17, "{version}");
    assert_eq!(names.contains("pg_stat_database_sessions"), version >= 14, "{version}");
    assert_eq!(names.contains("pg_bloat_table_bloat_pct"), version >= 14, "{version}");
    assert_eq!(names.contains("pg_buffercache_summary_buffers_used"), version >= 16, "{version}");
    assert!(names.iter().filter(|name| name.starts_with("pg_settings_")).count() > 200, "{version}");
}

fn check_values(version: u32, outcome: &ProbeOutcome) {
    let thing = [("datname", "postgres"), ("schemaname", "public"), ("relname", "things")];
    let check = |name: &str, labels: &[(&str, &str)], expected: &dyn Fn(f64) -> bool| {
        let found = sum(outcome, name, labels);
        assert!(found.is_some_and(expected), "{version}: {name} {labels:?}: {found:?}");
    };
    check("pg_stat_user_tables_n_live_tup", &thing, &|rows| rows == 15_000.0);
    check("pg_stat_user_tables_last_analyze", &thing, &|at| at > 1e9);
    check("pg_stat_user_tables_last_autovacuum", &thing, &|at| at == 0.0);
    check("pg_stat_user_tables_table_size_bytes", &thing, &|bytes| bytes > 2e6);
    check("pg_stat_user_tables_index_size_bytes", &thing, &|bytes| bytes > 4e5);
    check("pg_statio_user_tables_heap_blocks_hit", &thing, &|blocks| blocks > 0.0);
    check("valmis_postgres_index_unused_bytes", &[("indexrelname", "things_unused")], &|bytes| bytes > 1e5);
    assert_eq!(sum(outcome, "valmis_postgres_index_unused_bytes", &[("indexrelname", "things_pkey")]), None);
    if version >= 14 {
        let half = |percent| (40.0..60.0).contains(&percent);
        check("pg_bloat_table_bloat_pct", &[("relname", "things")], &half);
        check("pg_bloat_btree_real_size", &[("idxname", "things_unused")], &|bytes| bytes > 1e5);
    }
    check("pg_general_index_info_pg_relation_size", &[("tablename", "things")], &|bytes| bytes > 1e5);
    check("pg_sequence_used_ratio", &[("sequencename", "small")], &|ratio| (0.91..0.92).contains(&ratio));
    assert_eq!(sum(outcome, "pg_sequence_used_ratio", &[("sequencename", "fresh")]), None);
    check("pg_prepared_xacts_count", &[], &|count| count == 1.0);
    check("pg_xmin_horizon_age_xids", &[("holder", "prepared_transaction")], &|age| age >= 1.0);
    check("pg_replication_slots_active", &[("slot_name", "spare")], &|active| active == 0.0);
    check("pg_replication_slot_slot_is_active", &[("slot_name", "spare")], &|active| active == 0.0);
    let own = [("user", "postgres"), ("datname", "postgres")];
    check("pg_stat_statements_calls_total", &own, &|calls| calls >= 60.0);
    check("pg_wal_size_bytes", &[], &|bytes| bytes >= 16.0 * 1024.0 * 1024.0);
    check("pg_roles_connection_limit", &[("rolname", "monitor")], &|limit| limit == -1.0);
    check("pg_txid_current", &[], &|txid| txid > 100.0);
    check("pg_stat_ssl_compression", &[], &|count| count == 0.0);
    check("pg_settings_log_min_duration_statement_seconds", &[], &|seconds| seconds == -1.0);
    check("pg_settings_wal_segment_size_bytes", &[], &|bytes| bytes == 16.0 * 1024.0 * 1024.0);
    check("pg_settings_pg_stat_statements_max", &[], &|_| true);
    // The table takes some 500 blocks, whose writing 17 moved to another view and 18 counts in bytes.
    check("pg_stat_bgwriter_buffers_backend_total", &[], &|blocks| blocks > 500.0);
    check("pg_stat_bgwriter_buffers_backend_fsync_total", &[], &|fsyncs| fsyncs == 0.0);
    if version >= 16 {
        let sessions = [("backend_type", "client backend"), ("object", "relation"), ("context", "normal")];
        check("pg_stat_io_extend_bytes_total", &sessions, &|bytes| bytes > 500.0 * 8192.0);
        check("pg_stat_io_extend_time_seconds_total", &sessions, &|seconds| seconds > 0.0);
    }
    check("postgres_exporter_build_info", &[("goos", "linux")], &|one| one == 1.0);
}

/// Probes a replica until it streams and has replayed a transaction.
async fn wait_for_wal(replica: &Cluster) -> ProbeOutcome {
    eventually("transaction on the replica", async || {
        let outcome = probe(&with(replica, everything())).await;
        let known = |name| sum(&outcome, name, &[]).is_some();
        let streams = known("pg_stat_wal_receiver_upstream_node");
        if streams && known("pg_replication_last_replay_seconds") { Ok(outcome) } else { Err(replica.log()) }
    })
    .await
}

/// Probes until the reads of the table `things` have been counted, a WAL file has been archived, and the
/// replica streams.
async fn wait_for_scans(cluster: &Cluster) -> ProbeOutcome {
    eventually("scans and archived files", async || {
        let outcome = probe(&with(cluster, everything())).await;
        let known = |name| sum(&outcome, name, &[]).is_some();
        let counted = known("valmis_postgres_table_seq_scan_ratio");
        let replicates = known("pg_stat_replication_pg_wal_lsn_diff");
        let all = counted && replicates && known("pg_stat_archiver_last_archive_age");
        if all { Ok(outcome) } else { Err(format!("{outcome:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_role_can_be_made_twice_and_sees_all_that_is_needed() {
    let printed = Command::new(env!("CARGO_BIN_EXE_valmis"))
        .args(["postgres", "role", "--name", "it's \"me\"", "--database", "postgres", "--bloat"])
        .output()
        .unwrap();
    assert!(printed.status.success());
    let sql = String::from_utf8(printed.stdout).unwrap();
    for version in VERSIONS {
        let Some(cluster) = Cluster::start_version(version, SETTINGS).await else { continue };
        cluster.execute(THINGS).await;
        cluster.execute("CREATE SCHEMA \"it's\"; CREATE SEQUENCE \"it's\".own").await;
        for round in 0..2 {
            let Some(answer) = cluster.psql(&sql) else { return };
            let verdicts: Vec<&str> =
                answer.lines().filter_map(|line| line.split_once('|')).map(|(_, v)| v).collect();
            assert_eq!(verdicts, ["t"; 9], "{version}, round {round}: {answer}");
        }
        cluster.execute("ALTER ROLE \"it's \"\"me\"\"\" PASSWORD 'right'").await;
        let dsn = monitor_dsn(&cluster).replace("monitor:right", "it's%20%22me%22:right");
        let monitor = PostgresProber::new(Target { selection: everything(), ..target(&dsn) });
        let outcome = probe(&monitor).await;
        assert_eq!(kind(&outcome), "ok", "{version}");
        assert_eq!(outcome.log, ["new connection: answered (encrypted: false)"], "{version}");
        assert_eq!(sum(&outcome, "pg_exporter_last_scrape_error", &[]), Some(0.0), "{version}");
        let lacks = |sample: &&valmis::model::Sample| {
            sample.labels.metric_name() == "valmis_postgres_capability" && sample.value != 1.0
        };
        assert_eq!(outcome.samples.iter().find(lacks), None, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_have_limits_and_there_are_two_at_most() {
    for version in VERSIONS {
        let settings = "log_statement = all\nlog_line_prefix = '%u %p '\nautovacuum = off";
        let Some(cluster) = Cluster::start_version(version, settings).await else { continue };
        cluster.execute(ROLES).await;
        cluster.execute("ALTER ROLE monitor CONNECTION LIMIT 2").await;
        cluster.execute("CREATE DATABASE shop").await;
        let selection = Selection { databases: Databases::AllBut(Vec::new()), ..everything() };
        let monitor = with(&cluster, selection);
        for round in 0..3 {
            let outcome = probe(&monitor).await;
            assert_eq!(kind(&outcome), "ok", "{version}, round {round}: {:?}", outcome.log);
        }
        let log = cluster.log();
        let mut sessions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in log.lines() {
            let Some((session, statement)) = line.split_once(" LOG:  statement: ") else { continue };
            if session.starts_with("monitor ") {
                sessions.entry(session).or_default().push(statement);
            }
        }
        // The canary's settings come with its login, and it finds out itself that they hold.
        let (canaries, others): (Vec<_>, Vec<_>) =
            sessions.values().partition(|statements| statements[0].contains("pg_is_in_recovery()"));
        assert!(canaries.len() == 3 && canaries.iter().all(|statements| statements.len() == 1), "{log}");
        assert!(others.len() >= 3, "the held connection, and a visit to each database: {log}");
        for statements in others {
            for setting in ["SET lock_timeout = ", "SET statement_timeout = ", "_read_only = on"] {
                assert!(statements[0].contains(setting), "{version}: {statements:?}");
            }
        }
        // Who logs in must look for the database and so waits for this lock; the held connection does not.
        let locker = cluster.superuser().await;
        locker
            .batch_execute("BEGIN; LOCK TABLE pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE")
            .await
            .unwrap();
        let outcome = probe_within(&monitor, Duration::from_secs(2)).await;
        assert_eq!((kind(&outcome), sum(&outcome, "pg_up", &[])), ("timeout", Some(0.0)), "{version}");
        assert_eq!(layers(&outcome), "tcp=1 authentication=0 query=1 new_connection=0", "{version}");
        let success = |name| sum(&outcome, "pg_scrape_collector_success", &[("collector", name)]);
        assert_eq!((success("locks"), success("stat_archiver")), (Some(0.0), Some(1.0)), "{version}");
        locker.batch_execute("ROLLBACK").await.unwrap();
        drop(monitor);
        assert_eq!(kind(&probe(&prober(&cluster)).await), "ok", "{version}");
    }
}
