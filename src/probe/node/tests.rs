use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::clock::FixedClock;

fn prober(paths: Paths, disabled: &[&str]) -> NodeProber {
    let disabled = disabled.iter().map(|name| (*name).to_owned()).collect();
    let config = Config { paths, disabled, ..Config::default() };
    NodeProber::new(config, Arc::new(FixedClock::at(1_500)))
}

async fn probe(prober: &NodeProber) -> ProbeOutcome {
    prober.probe(Deadline::after(Duration::from_secs(20))).await
}

fn value(outcome: &ProbeOutcome, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |sample: &&crate::model::Sample| {
        sample.labels.metric_name() == name
            && labels.iter().all(|(label, value)| sample.labels.get(label) == *value)
    };
    outcome.samples.iter().find(fits).map(|sample| sample.value)
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn this_machine_tells_of_itself_and_every_series_is_described_and_unique() {
    let outcome = probe(&prober(Paths::default(), &[])).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    let mut seen = HashSet::new();
    for sample in &outcome.samples {
        assert!(seen.insert(sample.labels.clone()), "{} occurs twice", sample.labels);
        let name = sample.labels.metric_name();
        assert!(METADATA.concat().iter().any(|(known, ..)| *known == name), "{name} is not described");
    }
    let total = value(&outcome, "node_memory_MemTotal_bytes", &[]).unwrap();
    assert!(value(&outcome, "node_memory_MemAvailable_bytes", &[]).unwrap() < total);
    assert!(value(&outcome, "node_cpu_seconds_total", &[("mode", "idle")]).is_some());
    assert!(value(&outcome, "node_load1", &[]).is_some());
    assert!(value(&outcome, "node_network_receive_bytes_total", &[("device", "lo")]).is_some());
    assert_eq!(value(&outcome, "node_time_seconds", &[]), Some(1.5));
}

#[tokio::test]
async fn a_machine_that_cannot_be_read_is_unknown_and_says_why() {
    let nowhere = tempfile::tempdir().unwrap();
    let paths =
        Paths { procfs: nowhere.path().join("proc"), sysfs: nowhere.path().join("sys"), ..Paths::default() };
    let outcome = probe(&prober(paths, &[])).await;
    let failure = outcome.result.clone().unwrap_err();
    assert!(failure.unknown, "{failure:?}");
    assert_eq!(failure.kind, "unreadable");
    assert!(failure.reason.contains("/proc/stat` does not exist"), "{}", failure.reason);
    assert_eq!(value(&outcome, "node_scrape_collector_success", &[("collector", "cpu")]), Some(0.0));
    assert_eq!(value(&outcome, "node_memory_MemTotal_bytes", &[]), None);
}

#[tokio::test]
async fn a_collector_that_fails_stops_no_other() {
    let root = tempfile::tempdir().unwrap();
    let paths =
        Paths { procfs: root.path().join("proc"), sysfs: root.path().join("sys"), ..Paths::default() };
    write(root.path(), "proc/stat", "cpu0 1 0 0 9 0 0 0 0 0 0\nctxt 5\n");
    write(root.path(), "proc/meminfo", "MemTotal: 4 kB\nNewField: 3 kB\n");
    write(root.path(), "proc/loadavg", "nonsense\n");
    let outcome = probe(&prober(paths, &["uname"])).await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(value(&outcome, "node_memory_MemTotal_bytes", &[]), Some(4096.0));
    assert_eq!(value(&outcome, "node_memory_NewField_bytes", &[]), None);
    let success = |name: &str| value(&outcome, "node_scrape_collector_success", &[("collector", name)]);
    assert_eq!((success("stat"), success("loadavg"), success("uname")), (Some(1.0), Some(0.0), None));
    assert!(
        outcome.log.iter().any(|line| line.contains("line 1: expected three averages")),
        "{:?}",
        outcome.log
    );
}

#[tokio::test]
async fn devices_beyond_the_limit_are_counted_and_excluded_ones_are_not_there() {
    let root = tempfile::tempdir().unwrap();
    let paths = Paths { procfs: root.path().to_owned(), sysfs: root.path().join("sys"), ..Paths::default() };
    write(root.path(), "stat", "cpu0 1\n");
    write(root.path(), "meminfo", "MemTotal: 4 kB\n");
    let line = |index: usize| format!("veth{index}: {}\n", "1 ".repeat(16));
    let devices: String = (0..MAX_DEVICES + 3).map(line).collect();
    write(root.path(), "net/dev", &format!("heading\nheading\n{devices}"));
    let mut config = Config { paths, ..Config::default() };
    let outcome = probe(&NodeProber::new(config.clone(), Arc::new(FixedClock::at(0)))).await;
    let count = |outcome: &ProbeOutcome| {
        let name = |sample: &&crate::model::Sample| {
            sample.labels.metric_name() == "node_network_receive_bytes_total"
        };
        outcome.samples.iter().filter(name).count()
    };
    let dropped =
        |outcome: &ProbeOutcome| value(outcome, "valmis_node_devices_dropped", &[("collector", "netdev")]);
    assert_eq!((count(&outcome), dropped(&outcome)), (MAX_DEVICES, Some(3.0)));
    config.filters.network = Excluded(Some(GoRegex::new("^veth[1-9]").unwrap()));
    let outcome = probe(&NodeProber::new(config, Arc::new(FixedClock::at(0)))).await;
    assert_eq!((count(&outcome), dropped(&outcome)), (1, Some(0.0)));
}

#[tokio::test]
async fn a_collector_that_hangs_takes_one_thread_and_no_series_of_others() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "proc/stat", "cpu0 100 0 0 0 0 0 0 0 0 0\n");
    write(root.path(), "proc/meminfo", "MemTotal: 1 kB\n");
    write(root.path(), "proc/loadavg", "1 2 3 1/2 3\n");
    write(root.path(), "sys/class/hwmon/hwmon0/name", "drivetemp\n");
    // Whoever opens it waits until somebody writes.
    let sensor = root.path().join("sys/class/hwmon/hwmon0/temp1_input");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &sensor,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let paths =
        Paths { procfs: root.path().join("proc"), sysfs: root.path().join("sys"), ..Paths::default() };
    let prober = prober(paths, &[]);
    let success = |outcome: &ProbeOutcome, collector: &str| {
        value(outcome, "node_scrape_collector_success", &[("collector", collector)])
    };
    let wait = Duration::from_millis(300);
    let outcome = prober.probe(Deadline::after(wait)).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    assert_eq!(value(&outcome, "node_load1", &[]), Some(1.0));
    assert_eq!(success(&outcome, "hwmon"), Some(0.0));
    assert!(outcome.log.iter().any(|line| line.ends_with("`hwmon`: it gave no answer in time")));
    // It is left out from now on, and those after it are run, too.
    for _ in 0..3 {
        let outcome = probe(&prober).await;
        assert_eq!(outcome.result, Ok(()));
        assert_eq!(success(&outcome, "hwmon"), Some(0.0));
        assert!(success(&outcome, "thermal_zone").is_some());
        assert!(outcome.log.iter().any(|line| line.ends_with("it still gives an earlier probe no answer")));
    }
    // It answers again.
    std::fs::write(&sensor, "42000\n").unwrap();
    std::fs::remove_file(&sensor).unwrap();
    write(root.path(), "sys/class/hwmon/hwmon0/temp1_input", "43000\n");
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    loop {
        let outcome = probe(&prober).await;
        if success(&outcome, "hwmon") == Some(1.0) {
            assert_eq!(value(&outcome, "node_hwmon_temp_celsius", &[]), Some(43.0));
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{:?}", outcome.log);
    }
}

#[tokio::test]
async fn of_a_file_that_is_too_large_nothing_is_told() {
    let root = tempfile::tempdir().unwrap();
    let line = "   0: 00000000:0044 00000000:0000 07 00000001:00000002 00:00000000 00000000 0 0 1 2 0 0\n";
    write(root.path(), "net/udp", &format!("header\n{}", line.repeat((4 << 20) / line.len() + 1)));
    let prober = prober(Paths { procfs: root.path().to_owned(), ..Paths::default() }, &[]);
    let outcome = probe(&prober).await;
    assert_eq!(value(&outcome, "node_udp_queues", &[]), None);
    assert!(outcome.log.iter().any(|line| line.contains("net/udp") && line.contains("larger than")));
}
