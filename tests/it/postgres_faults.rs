//! What can happen to a PostgreSQL server, as one table: each fault gets the right answer in time, and is
//! over with the first probe after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::{Client, NoTls};
use valmis::probe::postgres::PostgresProber;

use crate::postgres::{ROLES, connections, kind, layers, monitor_dsn, probe, probe_within, sum, target};
use crate::real::eventually;
use crate::real::postgres::Cluster;

/// How long a probe may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A fault, and what a probe has to say meanwhile.
struct Fault {
    what: What,
    kind: &'static str,
    layers: &'static str,
    /// `pg_exporter_last_scrape_error`.
    error: bool,
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// All connections are taken.
    Full,
    /// A catalogue is locked that every login reads.
    LockedCatalogue,
    /// A table is locked.
    LockedTable,
    /// The process that serves the held connection is stopped.
    StoppedBackend,
    /// All processes of the server are stopped.
    StoppedServer,
    /// The role has another password.
    OtherPassword,
    /// The role is no longer a member of `pg_monitor`.
    LostRights,
    /// The database is locked for everybody but superusers.
    NoConnections,
    /// All sessions are ended.
    Terminated,
}

const FAULTS: &[Fault] = &[
    Fault {
        what: What::Full,
        kind: "too_many_connections",
        layers: "tcp=1 query=1 new_connection=0",
        error: true,
    },
    Fault {
        what: What::LockedCatalogue,
        kind: "timeout",
        layers: "tcp=1 authentication=0 query=1 new_connection=0",
        error: true,
    },
    Fault { what: What::LockedTable, kind: "ok", layers: ALL, error: false },
    Fault { what: What::StoppedBackend, kind: "timeout", layers: ALL, error: true },
    Fault {
        what: What::StoppedServer,
        kind: "timeout",
        layers: "tcp=1 authentication=0 new_connection=0",
        error: true,
    },
    Fault {
        what: What::OtherPassword,
        kind: "auth",
        layers: "tcp=1 authentication=0 query=1 new_connection=0",
        error: true,
    },
    Fault { what: What::LostRights, kind: "ok", layers: ALL, error: true },
    Fault {
        what: What::NoConnections,
        kind: "too_many_connections",
        layers: "tcp=1 query=1 new_connection=0",
        error: true,
    },
    Fault { what: What::Terminated, kind: "ok", layers: ALL, error: false },
];

const ALL: &str = "tcp=1 authentication=1 query=1 new_connection=1 writable=1";

/// What ends a fault, beside a statement.
#[derive(Default)]
struct Broken {
    sessions: Vec<Client>,
    stopped: Option<Pid>,
    undo: &'static str,
}

impl What {
    async fn happen(self, cluster: &Cluster, superuser: &Client) -> Broken {
        let run = async |sql: &str| superuser.batch_execute(sql).await.unwrap();
        let mut broken = Broken::default();
        match self {
            Self::Full => {
                let dsn =
                    format!("host=127.0.0.1 port={} user=plain password=right dbname=postgres", cluster.port);
                while let Ok((client, connection)) = tokio_postgres::connect(&dsn, NoTls).await {
                    tokio::spawn(connection);
                    broken.sessions.push(client);
                }
            }
            Self::LockedCatalogue | Self::LockedTable => {
                let table = if matches!(self, Self::LockedTable) { "t" } else { "pg_catalog.pg_database" };
                run(&format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await;
                broken.undo = "ROLLBACK";
            }
            Self::StoppedBackend => {
                let sql = "SELECT pid FROM pg_stat_activity WHERE usename = 'monitor'";
                let pid = superuser.query_one(sql, &[]).await.unwrap().get(0);
                let pid = Pid::from_raw(pid).expect("a process");
                kill_process(pid, Signal::STOP).unwrap();
                broken.stopped = Some(pid);
            }
            Self::StoppedServer => cluster.hang(),
            Self::OtherPassword => {
                run("ALTER ROLE monitor PASSWORD 'another'").await;
                broken.undo = "ALTER ROLE monitor PASSWORD 'right'";
            }
            Self::LostRights => {
                run("REVOKE pg_monitor FROM monitor").await;
                broken.undo = "GRANT pg_monitor TO monitor";
            }
            Self::NoConnections => {
                run("ALTER ROLE monitor CONNECTION LIMIT 1").await;
                broken.undo = "ALTER ROLE monitor CONNECTION LIMIT -1";
            }
            Self::Terminated => {
                run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'monitor'").await;
            }
        }
        broken
    }

    async fn end(self, cluster: &Cluster, superuser: &Client, broken: Broken) {
        if matches!(self, Self::StoppedServer) {
            cluster.resume();
        }
        if let Some(pid) = broken.stopped {
            kill_process(pid, Signal::CONT).unwrap();
        }
        superuser.batch_execute(broken.undo).await.unwrap();
        drop(broken.sessions);
        // A closed session counts until its process has ended.
        let deadline = Instant::now() + Duration::from_mins(1);
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('plain', 'monitor')";
        while superuser.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 1 {
            assert!(Instant::now() < deadline, "{self:?}: sessions are left over");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_gets_its_answer_in_time_and_leaves_nothing_behind() {
    let settings = "max_connections = 10\nmax_wal_senders = 0\nwal_level = minimal\nautovacuum = off";
    for version in [13, 15, 18] {
        let Some(cluster) = Cluster::start_version(version, settings).await else { continue };
        cluster.execute(ROLES).await;
        cluster.execute("CREATE TABLE t (a int)").await;
        let superuser = cluster.superuser().await;
        let monitor = PostgresProber::new(target(&monitor_dsn(&cluster)));
        for fault in FAULTS {
            assert_eq!(kind(&probe(&monitor).await), "ok", "{version}: before {:?}", fault.what);
            let broken = fault.what.happen(&cluster, &superuser).await;
            fault.check(&monitor).await;
            fault.what.end(&cluster, &superuser, broken).await;
            check_repaired(&monitor, &format!("{version}: after {:?}", fault.what)).await;
        }
    }
}

impl Fault {
    /// Probes while it lasts.
    async fn check(&self, monitor: &PostgresProber) {
        let what = self.what;
        let began = Instant::now();
        let outcome = probe_within(monitor, TIMEOUT).await;
        assert!(began.elapsed() < TIMEOUT * 2, "{what:?} took {:?}", began.elapsed());
        let seen = (kind(&outcome), layers(&outcome));
        assert_eq!(seen, (self.kind, self.layers.to_owned()), "{what:?}: {:?}", outcome.log);
        let error = sum(&outcome, "pg_exporter_last_scrape_error", &[]);
        assert_eq!(error, Some(f64::from(self.error)), "{what:?}: {:?}", outcome.log);
        let up = sum(&outcome, "pg_up", &[]);
        assert_eq!(up, Some(f64::from(self.layers.contains("new_connection=1"))), "{what:?}");
    }
}

/// The first probe after a fault finds everything again.
async fn check_repaired(monitor: &PostgresProber, after: &str) {
    let outcome = probe(monitor).await;
    assert_eq!((kind(&outcome), layers(&outcome).as_str()), ("ok", ALL), "{after}: {:?}", outcome.log);
    let error = sum(&outcome, "pg_exporter_last_scrape_error", &[]);
    assert_eq!(error, Some(0.0), "{after}: {:?}", outcome.log);
    for name in ["pg_stat_activity_count", "pg_stat_user_tables_n_live_tup", "pg_settings_max_connections"] {
        assert!(sum(&outcome, name, &[]).is_some(), "{after}: no {name}");
    }
}

/// Leads to the server at a port that can change, as a name or a service does: connections that are there
/// stay where they are. Yields its own port.
async fn service(port: Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(("127.0.0.1", port.load(Ordering::Relaxed))).await.unwrap();
            // How a connection ends is of no interest.
            tokio::spawn(async move { drop(copy_bidirectional(&mut client, &mut server).await) });
        }
    });
    own
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_are_of_the_server_that_new_connections_reach() {
    let Some(old) = Cluster::start("max_connections = 20").await else { return };
    let Some(new) = Cluster::start("max_connections = 30").await else { return };
    for cluster in [&old, &new] {
        cluster.execute(ROLES).await;
    }
    let port = Arc::new(AtomicU16::new(old.port));
    let own = service(Arc::clone(&port)).await;
    let dsn = monitor_dsn(&old).replace(&format!(":{}/", old.port), &format!(":{own}/"));
    let monitor = PostgresProber::new(target(&dsn));
    let check = async |limit: f64| {
        let outcome = probe(&monitor).await;
        assert_eq!(kind(&outcome), "ok", "{:?}", outcome.log);
        assert_eq!(sum(&outcome, "pg_settings_max_connections", &[]), Some(limit), "{:?}", outcome.log);
        outcome
    };
    check(20.0).await;
    port.store(new.port, Ordering::Relaxed);
    let outcome = check(30.0).await;
    let told = "held connection: it is to another server";
    assert!(outcome.log.iter().any(|line| line.starts_with(told)), "{:?}", outcome.log);
    assert!(!check(30.0).await.log.iter().any(|line| line.starts_with(told)));
    let superuser = old.superuser().await;
    eventually("end of the connection to the old server", async || {
        let left = connections(&superuser, "monitor").await;
        if left == 0 { Ok(()) } else { Err(format!("{left} connections")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_amid_probes_is_over_with_the_first_probe_after_it() {
    const MEANWHILE: [&str; 6] = ["ok", "connect", "closed", "starting_up", "shutting_down", "timeout"];
    for version in [13, 17] {
        let Some(mut cluster) = Cluster::start_version(version, "").await else { continue };
        cluster.execute(ROLES).await;
        cluster.execute("CREATE TABLE t (a int)").await;
        let monitor = Arc::new(PostgresProber::new(target(&monitor_dsn(&cluster))));
        let over = Arc::new(AtomicBool::new(false));
        let probing = tokio::spawn({
            let (monitor, over) = (Arc::clone(&monitor), Arc::clone(&over));
            async move {
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let outcome = probe_within(&monitor, TIMEOUT).await;
                    assert!(began.elapsed() < TIMEOUT * 2, "took {:?}", began.elapsed());
                    assert!(MEANWHILE.contains(&kind(&outcome)), "{:?}", outcome.log);
                    let new_connection = layers(&outcome).contains("new_connection=1");
                    assert_eq!(sum(&outcome, "pg_up", &[]), Some(f64::from(new_connection)), "{outcome:?}");
                }
            }
        });
        for stop in [Cluster::stop, Cluster::kill] {
            stop(&mut cluster);
            cluster.restart().await;
        }
        over.store(true, Ordering::Relaxed);
        probing.await.unwrap();
        check_repaired(&monitor, &format!("{version}: after restarts")).await;
    }
}
