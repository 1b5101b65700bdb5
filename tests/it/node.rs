//! The facts about the machine, side by side with `node_exporter`: over the fixtures of its own tests, and
//! over this machine's kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use valmis::clock::SystemClock;
use valmis::exposition::{Entry, Format, Parser};
use valmis::model::{GoRegex, Labels};
use valmis::probe::node::{Config, EXCLUDED_DISKS, Excluded, Filters, NodeProber, Paths};

use crate::conformance;
use crate::real::node_exporter::NodeExporter;
use crate::servers::probe;

/// Families that only one side has, or that it has otherwise, and why.
const OTHERWISE: &[(&str, &str)] = &[
    ("node_time_seconds", "the time of reading"),
    ("node_uname_info", "of the machine that made the fixture"),
    ("node_timex_", "of the machine"),
    ("node_scrape_collector_duration_seconds", "how long reading took"),
    ("node_scrape_collector_success", "each side has collectors that the other has not"),
    ("node_exporter_build_info", "two programs"),
    ("valmis_node_devices_dropped", "ours"),
];

/// Values by series.
type Series = BTreeMap<Labels, f64>;
/// Types and help texts by family.
type Described = BTreeMap<String, (String, String)>;

fn read_page(page: &str) -> (Series, Described) {
    let (mut series, mut described) = (Series::new(), Described::new());
    let mut parser = Parser::new(page.as_bytes(), Format::Text).unwrap();
    while let Some(entry) = parser.next() {
        match entry.unwrap() {
            Entry::Help { family, help } => {
                described.entry(family.into_owned()).or_default().1 = help.into_owned();
            }
            Entry::Type { family, kind } => {
                kind.as_str().clone_into(&mut described.entry(family.into_owned()).or_default().0);
            }
            Entry::Sample(sample) => drop(series.insert(parser.labels(), sample.value)),
            Entry::Unit { .. } => {}
        }
    }
    (series, described)
}

async fn read_machine(paths: Paths) -> Series {
    let disk = Excluded(Some(GoRegex::new(EXCLUDED_DISKS).unwrap()));
    let config = Config { paths, filters: Filters { disk, ..Filters::default() }, ..Config::default() };
    let outcome = probe(&NodeProber::new(config, Arc::new(SystemClock))).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    outcome.samples.into_iter().map(|sample| (sample.labels, sample.value)).collect()
}

fn families(series: &Series) -> BTreeSet<&str> {
    series.keys().map(Labels::metric_name).collect()
}

fn is_compared(name: &str) -> bool {
    !OTHERWISE.iter().any(|(known, _)| name.starts_with(known))
}

/// Types and help texts are the other's, where it describes the metric too.
fn assert_described_alike(theirs: &Described) {
    let mut compared = 0;
    for (name, kind, help) in valmis::probe::node::METADATA.iter().copied().flatten() {
        let Some((their_kind, their_help)) = theirs.get(*name) else { continue };
        let kind = if *kind == "untyped" { "unknown" } else { kind };
        assert_eq!(kind, their_kind, "type of {name}");
        assert_eq!(help, their_help, "help text of {name}");
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
}

/// The fixtures are `collector/fixtures` of `node_exporter`, with `sys.ttar` and `udev.ttar` unpacked beside it.
#[tokio::test]
async fn over_node_exporters_fixtures_every_family_is_as_its_own() {
    let Some(folder) = conformance::folder().map(|folder| folder.join("node")) else { return };
    let expected = folder.join("e2e-output.txt");
    if !expected.is_file() || !folder.join("sys").is_dir() {
        return crate::real::say("SKIPPED: the fixtures of node_exporter are not beside the checkout");
    }
    let (theirs, described) = read_page(&std::fs::read_to_string(expected).unwrap());
    assert_described_alike(&described);
    let ours =
        read_machine(Paths { procfs: folder.join("proc"), sysfs: folder.join("sys"), run: folder.clone() })
            .await;
    // What the test of node_exporter asks for on its command line, and what it takes from the machine
    // that it runs on.
    let asked = |labels: &Labels| {
        let name = labels.metric_name();
        let device = labels.get("device");
        let from_machine =
            name.starts_with("node_network_receive_") || name.starts_with("node_network_transmit_");
        let ignored = name.starts_with("node_network_") && ["dmz", "int"].contains(&device)
            || name == "node_arp_entries" && device == "nope";
        let chip = labels.get("chip");
        let chips = ["applesmc", "asus_nb_wmi", "coretemp", "hwmon4", "ieee80211", "nct6779"];
        let other_chip = !chip.is_empty() && chips.iter().all(|known| !chip.contains(known));
        !from_machine && !ignored && !other_chip
    };
    let mut compared = BTreeSet::new();
    for name in families(&ours).into_iter().filter(|name| is_compared(name)) {
        let of = |series: &Series| -> Series {
            let wanted = |labels: &Labels| {
                // Labels that other kinds of sensors have.
                let other_sensor = labels.get("sensor");
                let is_temperature = other_sensor.is_empty() || other_sensor.starts_with("temp");
                labels.metric_name() == name && asked(labels) && is_temperature
            };
            series.iter().filter(|(labels, _)| wanted(labels)).map(|(l, v)| (l.clone(), *v)).collect()
        };
        let (ours, theirs) = (of(&ours), of(&theirs));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name}");
        for (labels, value) in &ours {
            let difference = (value - theirs[labels]).abs();
            assert!(difference <= theirs[labels].abs() * 1e-12, "{labels}: {value}, not {}", theirs[labels]);
        }
        compared.insert(name);
    }
    assert!(compared.len() > 200, "only {} families were compared", compared.len());
}

/// What changes between two readings may differ by this share, or by this much.
const TOLERANCE: (f64, f64) = (0.25, 5000.0);

/// What does not change while the test looks.
const EXACT: &[&str] = &[
    "node_boot_time_seconds",
    "node_filefd_maximum",
    "node_memory_MemTotal_bytes",
    "node_network_mtu_bytes",
    "node_network_up",
    "node_timex_status",
    "node_timex_sync_status",
    "node_timex_tai_offset_seconds",
    "node_timex_tick_seconds",
];

#[tokio::test]
async fn over_this_machine_every_family_of_a_real_node_exporter_is_there_with_like_values() {
    let arguments =
        ["--web.disable-exporter-metrics", "--collector.netdev.netlink", "--no-collector.filesystem"];
    let Some(exporter) = NodeExporter::start(&arguments, &[]).await else { return };
    let page = exporter.page().await;
    let (theirs, _) = read_page(&page);
    let ours = read_machine(Paths::default()).await;
    let own = families(&ours);
    // The families of the collectors that both have.
    let shared = |name: &str| {
        let prefixes = [
            "node_cpu_seconds",
            "node_cpu_guest",
            "node_cpu_online",
            "node_disk_",
            "node_load",
            "node_memory_",
            "node_netstat_",
            "node_network_",
            "node_nf_conntrack_",
            "node_pressure_",
            "node_procs_",
            "node_sockstat_",
            "node_vmstat_",
            "node_filefd_",
            "node_boot_time",
            "node_context_switches",
            "node_forks",
            "node_intr_",
            "node_time_clocksource",
            "node_uname_info",
            "node_entropy_",
            "node_md_",
            "node_bonding_",
            "node_hwmon_temp",
            "node_edac_",
            "node_timex_",
            "node_arp_",
            "node_cooling_",
            "node_cpu_scaling_",
            "node_schedstat_",
            "node_softnet_",
            "node_thermal_",
            "node_udp_",
        ];
        prefixes.iter().any(|prefix| name.starts_with(prefix))
            // Both have got another label since that version.
            && !["node_disk_info", "node_network_info"].contains(&name)
    };
    let mut missing = Vec::new();
    let mut far = Vec::new();
    let mut compared = 0;
    for (labels, value) in theirs.iter().filter(|(labels, _)| shared(labels.metric_name())) {
        // A device without a speed has none here, and -125,000 bytes a second there.
        if labels.metric_name() == "node_network_speed_bytes" && *value < 0.0 {
            continue;
        }
        // Compressed swap, which newer versions leave out by themselves.
        if labels.get("device").starts_with("zram") {
            continue;
        }
        compared += 1;
        match ours.get(labels) {
            None => missing.push(labels.to_string()),
            Some(own) => {
                let (share, much) = TOLERANCE;
                let is_size = labels.metric_name().ends_with("_bytes");
                let allowed = if EXACT.contains(&labels.metric_name()) {
                    0.0
                } else {
                    value.abs() * share + if is_size { 256e6 } else { much }
                };
                if (own - value).abs() > allowed {
                    far.push(format!("{labels}: {own}, not {value}"));
                }
            }
        }
    }
    assert!(compared > 100, "{compared} series");
    assert!(missing.is_empty(), "not here:\n{}", missing.join("\n"));
    assert!(far.is_empty(), "far off:\n{}", far.join("\n"));
    assert!(own.contains("node_load1"));
}

#[tokio::test]
async fn a_machine_found_through_other_paths_is_told_of() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path: &Path = &root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("proc/stat", "cpu0 100 0 0 0\n");
    write("proc/meminfo", "MemTotal: 1 kB\n");
    write("sys/class/net/bond0/bonding/slaves", "a b\n");
    write("sys/class/net/bond0/lower_a/bonding_slave/mii_status", "up\n");
    write("sys/class/net/bond0/lower_b/bonding_slave/mii_status", "down\n");
    write("sys/class/net/bond0/operstate", "up\n");
    write("sys/class/net/bond0/speed", "1000\n");
    write("sys/class/net/bond0/flags", "0x1003\n");
    write("sys/class/net/down0/operstate", "down\n");
    write("sys/class/net/down0/speed", "-1\n");
    write("sys/class/net/bonding_masters", "bond0\n");
    write("proc/spl/kstat/zfs/tank/state", "DEGRADED\n");
    write("proc/spl/kstat/zfs/arcstats", "not a pool\n");
    let ours = read_machine(Paths {
        procfs: root.path().join("proc"),
        sysfs: root.path().join("sys"),
        run: root.path().join("run"),
    })
    .await;
    let check = |name: &str, labels: &[(&str, &str)], expected: Option<f64>| {
        let found = ours.iter().find(|(found, _)| {
            found.metric_name() == name && labels.iter().all(|(label, value)| found.get(label) == *value)
        });
        assert_eq!(found.map(|(_, value)| *value), expected, "{name} {labels:?}");
    };
    check("node_cpu_seconds_total", &[("mode", "user")], Some(1.0));
    check("node_bonding_slaves", &[("master", "bond0")], Some(2.0));
    check("node_bonding_active", &[("master", "bond0")], Some(1.0));
    check("node_network_up", &[("device", "bond0")], Some(1.0));
    check("node_network_info", &[("device", "bond0"), ("adminstate", "up")], Some(1.0));
    check("node_network_speed_bytes", &[("device", "bond0")], Some(125e6));
    check("node_network_up", &[("device", "down0")], Some(0.0));
    check("node_network_speed_bytes", &[("device", "down0")], None);
    check("node_zfs_zpool_state", &[("zpool", "tank"), ("state", "degraded")], Some(1.0));
    check("node_zfs_zpool_state", &[("zpool", "tank"), ("state", "online")], Some(0.0));
    check("node_zfs_zpool_state", &[("zpool", "arcstats")], None);
}
