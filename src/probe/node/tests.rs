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
