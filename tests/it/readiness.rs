//! Readiness over real things that break.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use valmis::clock::SystemClock;
use valmis::model::Labels;
use valmis::probe::disk::{self, DiskProber};
use valmis::probe::postgres::{self, Dsn, Password, PostgresProber};
use valmis::probe::{History, HistoryLimits};
use valmis::readiness::{Component, Config, Key, Kind, Readiness, State, Thresholds};
use valmis::storage::{AppendError, Appender, RefHistogram, RefSample, SeriesRef};

use crate::real::postgres::Cluster;

const INTERVAL: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_millis(500);

/// A store that accepts everything and keeps nothing.
struct Nowhere;

impl Appender for Nowhere {
    fn reference(&self, _labels: &Labels) -> Result<SeriesRef, AppendError> {
        Ok(SeriesRef(0))
    }

    fn append(&self, _batch: &[RefSample]) -> Vec<(usize, AppendError)> {
        Vec::new()
    }

    fn append_histograms(&self, _batch: &[RefHistogram]) -> Vec<(usize, AppendError)> {
        Vec::new()
    }
}

fn state(readiness: &Readiness, kind: Kind) -> State {
    let report = readiness.report();
    report.components.iter().find(|component| component.key.kind == kind).expect("a known component").state
}

/// Waits until the component is in this state. Returns how long that took.
async fn wait_for(readiness: &Readiness, kind: Kind, expected: State) -> Duration {
    let began = Instant::now();
    while state(readiness, kind) != expected {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", readiness.report());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_database_is_not_ready_in_time_while_all_else_goes_on() {
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute("CREATE ROLE monitor LOGIN PASSWORD 'right'; GRANT pg_monitor TO monitor").await;
    let dsn = format!("postgres://monitor:right@127.0.0.1:{}/postgres?sslmode=disable", cluster.port);
    let dsn = Dsn::parse(&dsn).expect("a valid string");
    let instance = dsn.address();
    let database = PostgresProber::new(postgres::Target {
        dsn,
        password: Password::InDsn,
        role: None,
        selection: postgres::Selection::default(),
    });
    let kernel = Arc::new(disk::Kernel::default());
    let root = disk::Target { path: "/".into(), writable: false, mounted: true };
    let root = DiskProber::new(root, kernel.clone(), kernel);
    let base = Component {
        key: Key { kind: Kind::Postgres, name: "main".to_owned() },
        prober: Arc::new(database),
        interval: INTERVAL,
        timeout: TIMEOUT,
        thresholds: Thresholds::default(),
        job: Kind::Postgres.conventional_job().to_owned(),
        instance,
        labels: Labels::empty(),
        counts: true,
        module: None,
        revision: 0,
    };
    let disk = Component {
        key: Key { kind: Kind::Disk, name: "/".to_owned() },
        prober: Arc::new(root),
        ..base.clone()
    };
    let config = Config { job: "valmis".to_owned(), instance: "here".to_owned() };
    let history = Arc::new(History::new(HistoryLimits::default()));
    let readiness =
        Readiness::new(config, Arc::new(SystemClock), Arc::new(Nowhere), history, &mut Registry::default());
    let token = CancellationToken::new();
    let (handle, child) = (readiness.clone(), token.clone());
    let gauges = tokio::spawn(async move { handle.run(child).await });
    readiness.apply("test", vec![base, disk]);
    wait_for(&readiness, Kind::Postgres, State::Ready).await;
    wait_for(&readiness, Kind::Disk, State::Ready).await;
    assert!(readiness.report().ready && readiness.first_round_done());

    cluster.hang();
    let took = wait_for(&readiness, Kind::Postgres, State::NotReady).await;
    // At worst one good probe has just ended, and then it takes two that last to their deadline.
    let limit = INTERVAL * 2 + TIMEOUT * 2 + Duration::from_secs(2);
    assert!(took < limit, "it took {took:?}");
    assert_eq!(state(&readiness, Kind::Disk), State::Ready);
    let began = Instant::now();
    let families = readiness.samples();
    assert!(began.elapsed() < Duration::from_secs(1), "metrics waited for a probe: {:?}", began.elapsed());
    let up = families.iter().find(|family| family.name == "pg_up").expect("published while it is down");
    assert_eq!(up.samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), [0.0]);
    assert!(families.iter().any(|family| family.name == "node_filesystem_avail_bytes"));
    assert_eq!(readiness.stalled(), []);

    cluster.resume();
    wait_for(&readiness, Kind::Postgres, State::Ready).await;
    token.cancel();
    gauges.await.expect("it stops when told to");
}
