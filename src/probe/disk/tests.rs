use std::path::Path;
use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

const TABLE: &str = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /data rw - xfs /dev/sdb rw";

struct Table(Mutex<String>);

impl MountTable for Table {
    fn mounts(&self) -> io::Result<Vec<Mount>> {
        let text = self.0.lock().unwrap();
        if text.is_empty() { Err(io::Error::other("hidden")) } else { Ok(parse(&*text).0) }
    }
}

/// A file system that answers, fails or hangs as told.
struct Fake {
    usage: Mutex<Option<Usage>>,
    /// Where `/link` leads.
    link: Mutex<io::Result<&'static str>>,
    hanging: Mutex<bool>,
    released: Condvar,
    calls: AtomicUsize,
}

impl StatVfs for Fake {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        match &*self.link.lock().unwrap() {
            Ok(link) => {
                Ok(path.strip_prefix("/link").map_or(path.into(), |inner| Path::new(link).join(inner)))
            }
            Err(error) => Err(error.kind().into()),
        }
    }

    fn statvfs(&self, _path: &Path) -> io::Result<Usage> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let hanging = self.hanging.lock().unwrap();
        drop(self.released.wait_while(hanging, |hanging| *hanging).unwrap());
        self.usage.lock().unwrap().ok_or_else(|| io::Error::other("broken"))
    }
}

impl Fake {
    fn hang(&self, hanging: bool) {
        *self.hanging.lock().unwrap() = hanging;
        self.released.notify_all();
    }
}

const HEALTHY: Usage = Usage {
    block_size_bytes: 4096,
    blocks: 1_000_000,
    blocks_free: 600_000,
    blocks_available: 500_000,
    files: 1_000,
    files_free: 900,
};

fn fixture(table: &str, usage: Option<Usage>) -> (DiskProber, Arc<Table>, Arc<Fake>) {
    fixture_at(Target { path: "/data".into(), writable: true, mounted: true }, table, usage)
}

fn fixture_at(target: Target, table: &str, usage: Option<Usage>) -> (DiskProber, Arc<Table>, Arc<Fake>) {
    let table = Arc::new(Table(Mutex::new(table.to_owned())));
    let fake = Arc::new(Fake {
        usage: Mutex::new(usage),
        link: Mutex::new(Ok("/data")),
        hanging: Mutex::default(),
        released: Condvar::new(),
        calls: AtomicUsize::new(0),
    });
    (DiskProber::new(target, table.clone(), fake.clone()), table, fake)
}

async fn probe(prober: &DiskProber, timeout_ms: u64) -> ProbeOutcome {
    prober.probe(Deadline::after(Duration::from_millis(timeout_ms))).await
}

/// The value of the metric in the outcome, whatever its labels.
fn value(outcome: &ProbeOutcome, name: &str) -> Option<f64> {
    outcome.samples.iter().find(|sample| sample.labels.metric_name() == name).map(|sample| sample.value)
}

fn kind(outcome: &ProbeOutcome) -> &'static str {
    outcome.result.as_ref().map_or_else(|failure| failure.kind, |()| "ok")
}

#[tokio::test]
async fn a_healthy_disk_shows_node_exporters_series() {
    let (prober, ..) = fixture(TABLE, Some(HEALTHY));
    let outcome = probe(&prober, 10_000).await;
    assert_eq!(outcome.result, Ok(()));
    let mut series: Vec<_> =
        outcome.samples.iter().map(|sample| format!("{} {}", sample.labels, sample.value)).collect();
    series.sort();
    let labels = r#"device="/dev/sdb", fstype="xfs", mountpoint="/data""#;
    let expected = [
        ("node_filesystem_avail_bytes", "2048000000"),
        ("node_filesystem_device_error", "0"),
        ("node_filesystem_files", "1000"),
        ("node_filesystem_files_free", "900"),
        ("node_filesystem_free_bytes", "2457600000"),
        ("node_filesystem_readonly", "0"),
        ("node_filesystem_size_bytes", "4096000000"),
        ("valmis_filesystem_stuck_seconds", "0"),
    ];
    let mut expected =
        expected.map(|(name, value)| format!(r#"{{__name__="{name}", {labels}}} {value}"#)).to_vec();
    let info = r#"device="/dev/sdb", major="8", minor="2", mountpoint="/data""#;
    expected.push(format!(r#"{{__name__="node_filesystem_mount_info", {info}}} 1"#));
    expected.sort();
    assert_eq!(series, expected);
    for sample in &outcome.samples {
        assert!(METADATA.iter().any(|(name, ..)| *name == sample.labels.metric_name()), "{}", sample.labels);
    }
}

#[tokio::test]
async fn a_hung_mount_is_reported_at_once_holds_one_thread_and_recovers() {
    let (prober, _, fake) = fixture(TABLE, Some(HEALTHY));
    fake.hang(true);
    let mut stuck = 0.0;
    for _ in 0..3 {
        let outcome = probe(&prober, 20).await;
        assert_eq!(kind(&outcome), "hung");
        assert_eq!(value(&outcome, "node_filesystem_device_error"), Some(1.0));
        assert_eq!(value(&outcome, "node_filesystem_readonly"), Some(0.0));
        assert_eq!(value(&outcome, "node_filesystem_avail_bytes"), None);
        let now = value(&outcome, "valmis_filesystem_stuck_seconds").unwrap();
        assert!(now > stuck, "{now} after {stuck}");
        stuck = now;
    }
    assert_eq!(fake.calls.load(Ordering::Relaxed), 1);
    fake.hang(false);
    let outcome = probe(&prober, 10_000).await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(value(&outcome, "node_filesystem_device_error"), Some(0.0));
    assert_eq!(value(&outcome, "valmis_filesystem_stuck_seconds"), Some(0.0));
}

#[tokio::test]
async fn a_hung_mount_delays_no_other() {
    let (hung, _, fake) = fixture(TABLE, Some(HEALTHY));
    let (healthy, ..) = fixture(TABLE, Some(HEALTHY));
    fake.hang(true);
    let waiting = probe(&hung, 5_000);
    let looking = async {
        let outcome = probe(&healthy, 5_000).await;
        fake.hang(false);
        outcome
    };
    let (waited, looked) = tokio::join!(waiting, looking);
    assert_eq!(looked.result, Ok(()));
    assert_eq!(waited.result, Ok(()));
}

#[tokio::test]
async fn a_disk_that_cannot_take_writes_is_not_as_it_should_be() {
    let check = async |table: &str, usage: Option<Usage>, expected: &str| {
        let (prober, ..) = fixture(table, usage);
        let outcome = probe(&prober, 10_000).await;
        assert_eq!(kind(&outcome), expected, "{table} {usage:?}");
        assert!(expected == "ok" || FAILURE_KINDS.contains(&expected));
        outcome
    };
    let data = |options: &str, super_options: &str| {
        format!(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /data {options} - xfs /dev/sdb {super_options}"
        )
    };
    let outcome = check(&data("rw", "ro"), Some(HEALTHY), "read_only").await;
    assert_eq!(value(&outcome, "node_filesystem_readonly"), Some(1.0));
    check(&data("ro", "rw"), Some(HEALTHY), "read_only").await;
    check(TABLE, Some(Usage { blocks_available: 9_999, ..HEALTHY }), "full").await;
    check(TABLE, Some(Usage { blocks_available: 10_000, ..HEALTHY }), "ok").await;
    let large = Usage { blocks: 1 << 40, blocks_available: 1 << 20, ..HEALTHY };
    check(TABLE, Some(large), "ok").await;
    check(TABLE, Some(Usage { files_free: 0, ..HEALTHY }), "inodes").await;
    check(TABLE, Some(Usage { files: 0, files_free: 0, ..HEALTHY }), "ok").await;
    let outcome = check(TABLE, None, "statvfs").await;
    assert_eq!(value(&outcome, "node_filesystem_device_error"), Some(1.0));
}

#[tokio::test]
async fn a_mount_that_vanishes_is_reported_under_its_labels() {
    let (prober, table, _) = fixture(TABLE, Some(HEALTHY));
    assert_eq!(probe(&prober, 10_000).await.result, Ok(()));
    *table.0.lock().unwrap() = "1 0 8:1 / / rw - ext4 /dev/sda1 rw".to_owned();
    let outcome = probe(&prober, 10_000).await;
    assert_eq!(kind(&outcome), "not_mounted");
    assert_eq!(value(&outcome, "node_filesystem_device_error"), Some(1.0));
    assert_eq!(outcome.samples[0].labels.get("device"), "/dev/sdb");
    table.0.lock().unwrap().clear();
    let outcome = probe(&prober, 10_000).await;
    assert!(outcome.result.unwrap_err().unknown);
    assert_eq!(outcome.samples, [], "nothing is known of the file system itself");
}

#[tokio::test]
async fn a_path_behind_a_link_is_on_the_file_system_to_which_it_leads() {
    for mounted in [false, true] {
        let (prober, ..) =
            fixture_at(Target { path: "/link".into(), writable: true, mounted }, TABLE, Some(HEALTHY));
        let outcome = probe(&prober, 10_000).await;
        assert_eq!(outcome.result, Ok(()));
        assert!(outcome.samples.iter().all(|sample| sample.labels.get("mountpoint") == "/data"));
    }
    let target = Target { path: "/link/pg".into(), writable: true, mounted: true };
    let (prober, ..) = fixture_at(target, TABLE, Some(HEALTHY));
    assert_eq!(kind(&probe(&prober, 10_000).await), "not_mounted");
}

#[tokio::test]
async fn a_path_that_leads_nowhere_speaks_for_itself_and_not_for_a_file_system() {
    let check = async |mounted: bool, error: io::ErrorKind, expected: &str, labels: &[&str]| {
        let target = Target { path: "/link/x".into(), writable: true, mounted };
        let (prober, _, fake) = fixture_at(target, TABLE, Some(HEALTHY));
        *fake.link.lock().unwrap() = Err(error.into());
        let outcome = probe(&prober, 10_000).await;
        assert_eq!(kind(&outcome), expected, "{error}");
        let errors = outcome.samples.iter().filter(|sample| sample.value == 1.0);
        let errors = errors.filter(|sample| sample.labels.metric_name() == "node_filesystem_device_error");
        let found: Vec<_> = errors.map(|sample| sample.labels.get("mountpoint")).collect();
        assert_eq!(found, labels, "{error}");
    };
    check(false, io::ErrorKind::NotFound, "statvfs", &["/link/x"]).await;
    check(false, io::ErrorKind::PermissionDenied, "statvfs", &["/link/x"]).await;
    check(true, io::ErrorKind::NotFound, "not_mounted", &[]).await;
    // The file system by the names does not answer.
    check(false, io::ErrorKind::NotConnected, "statvfs", &["/"]).await;
}

/// A table that is read for ever.
struct Hanging;

impl MountTable for Hanging {
    fn mounts(&self) -> io::Result<Vec<Mount>> {
        loop {
            std::thread::park();
        }
    }
}

#[tokio::test]
async fn a_table_of_mounts_that_hangs_is_waited_for_no_longer_than_allowed() {
    let (_, _, fake) = fixture(TABLE, Some(HEALTHY));
    let target = Target { path: "/".into(), writable: true, mounted: true };
    let prober = DiskProber::new(target, Arc::new(Hanging), fake);
    for _ in 0..2 {
        let outcome = probe(&prober, 20).await;
        let failure = outcome.result.unwrap_err();
        assert!(failure.unknown && failure.kind == "mounts", "{failure:?}");
        assert_eq!(outcome.samples, []);
    }
}

#[tokio::test]
async fn the_machine_itself_can_be_looked_at() {
    let target = Target { path: "/".into(), writable: false, mounted: true };
    let outcome =
        probe(&DiskProber::new(target, Arc::new(Kernel::default()), Arc::new(Kernel::default())), 30_000)
            .await;
    assert_eq!(outcome.result, Ok(()));
    assert!(value(&outcome, "node_filesystem_size_bytes").unwrap() > 0.0);
}
