//! The units of systemd: over what a real one once answered, and beside a real `node_exporter` over the bus of
//! a real systemd.
//!
//! The second only happens when `VALMIS_REAL_SYSTEMD` is 1, as root on a machine that can be thrown away: a systemd
//! takes all processes of the control group in which it is started into another one. It gets a group of its own here,
//! but what else it may do to a machine that is not its own, nobody knows.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use valmis::clock::SystemClock;
use valmis::exposition::{Entry, Format, Parser};
use valmis::model::{GoRegex, Labels};
use valmis::probe::node::{Config, EXCLUDED_UNITS, NodeProber, Paths, Units};

use crate::real::node_exporter::NodeExporter;
use crate::real::process::Process;
use crate::real::{eventually, say};
use crate::servers::probe;
use crate::tools::{checkout, variable};

/// What systemd 252 and its bus sent to a probe, byte for byte. It is recorded anew, beside a real systemd, by
/// `UPDATE_SYSTEMD=1` as well, which is necessary when other things are asked.
const RECORDED: &str = "tests/systemd/252.dbus";

const UNITS: &[(&str, &str)] = &[
    ("default.target", "[Unit]\nWants=dbus.service broken.service tick.timer in.socket steady.service\n"),
    ("broken.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n"),
    ("steady.service", "[Service]\nExecStart=/bin/sleep 1000\n"),
    ("tick.timer", "[Timer]\nOnActiveSec=1ms\nAccuracySec=1ms\n"),
    ("tick.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n"),
    ("in.socket", "[Socket]\nListenStream=%t/in\nService=tick.service\n"),
    ("dbus.socket", "[Socket]\nListenStream=%t/dbus/system_bus_socket\n"),
    (
        "dbus.service",
        "[Unit]\nRequires=dbus.socket\nAfter=dbus.socket\n[Service]\nType=notify\n\
         ExecStart=/usr/bin/dbus-daemon --session --address=systemd: --nofork --nopidfile --systemd-activation\n",
    ),
];

type Series = BTreeMap<Labels, f64>;

/// A systemd of a user, in namespaces of its own, that ends with the test. It says on a bus of its own what
/// the system's says on the system's.
fn start(folder: &Path) -> Option<Process> {
    const MANAGER: &str = "/usr/lib/systemd/systemd";
    const NAMESPACES: [&str; 5] = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    // It takes the folder in `/run` for the sign that a machine runs systemd.
    const PREPARE: &str = "\
        for tree in /sys/fs/cgroup /sys/fs/cgroup/*/; do \
            test -f $tree/cgroup.procs && mkdir -p $tree/valmis-test && echo $$ > $tree/valmis-test/cgroup.procs; \
        done 2> /dev/null; \
        mount -t tmpfs none /run/systemd && mkdir /run/systemd/system";
    if variable("VALMIS_REAL_SYSTEMD").as_deref() != Some("1") {
        say("SKIPPED: VALMIS_REAL_SYSTEMD is not 1");
        return None;
    }
    let mut trial = Command::new("unshare");
    trial.args(NAMESPACES).args(["sh", "-c", PREPARE]).stdout(Stdio::null()).stderr(Stdio::null());
    let is_allowed = trial.status().is_ok_and(|status| status.success());
    if !is_allowed || !["/usr/bin/dbus-daemon", MANAGER].iter().all(|program| Path::new(program).is_file()) {
        say("SKIPPED: no systemd can be started here");
        return None;
    }
    let units = folder.join("units");
    fs::create_dir(&units).unwrap();
    for (name, text) in UNITS {
        let text = if text.starts_with("[Unit]\n") { (*text).to_owned() } else { format!("[Unit]\n{text}") };
        fs::write(units.join(name), text.replace("[Unit]\n", "[Unit]\nDefaultDependencies=no\n")).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(NAMESPACES).arg("sh").arg("-c");
    command.arg(format!("{PREPARE} && {MANAGER} --user --log-target=console; exit"));
    command.env("SYSTEMD_UNIT_PATH", &units).env("XDG_RUNTIME_DIR", folder).env("HOME", folder);
    command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", bus(folder).display()));
    Some(Process::start(&mut command, folder))
}

/// Where the bus listens for who has `/run` there.
fn bus(run: &Path) -> PathBuf {
    run.join("dbus/system_bus_socket")
}

async fn units(run: &Path) -> Result<Series, String> {
    let units = Units { include: None, exclude: GoRegex::anchored(EXCLUDED_UNITS).unwrap() };
    let paths = Paths { run: run.to_owned(), ..Paths::default() };
    let config = Config { paths, units: Some(units), ..Config::default() };
    let outcome = probe(&NodeProber::new(config, Arc::new(SystemClock))).await;
    let samples =
        outcome.samples.into_iter().filter(|sample| sample.labels.metric_name().starts_with("node_systemd_"));
    let series: Series = samples.map(|sample| (sample.labels, sample.value)).collect();
    if series.is_empty() { Err(format!("{:?}", outcome.log)) } else { Ok(series) }
}

fn value(series: &Series, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let found = series.iter().find(|(found, _)| {
        found.metric_name() == name && labels.iter().all(|(label, value)| found.get(label) == *value)
    });
    found.map(|(_, value)| *value)
}

/// Stands between the probe and a bus, and gives what the bus sent.
fn recorded(run: &Path, listener: UnixListener) -> thread::JoinHandle<Vec<u8>> {
    let upstream = bus(run);
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let bus = UnixStream::connect(upstream).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), bus.try_clone().unwrap());
        let questions = thread::spawn(move || {
            // It ends when the probe has what it wants.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let (mut sent, mut buffer) = (Vec::new(), [0; 4096]);
        let (mut bus, mut client) = (bus, client);
        while let Ok(read @ 1..) = bus.read(&mut buffer) {
            sent.extend(&buffer[..read]);
            let _ = client.write_all(&buffer[..read]);
        }
        questions.join().unwrap();
        sent
    })
}

/// A bus that says what a real one said once. Questions are in the same order each time, and so the answers fit.
pub(crate) fn replay(run: &Path) {
    fs::create_dir_all(run.join("dbus")).unwrap();
    let listener = UnixListener::bind(bus(run)).unwrap();
    let said = fs::read(checkout(RECORDED)).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(&said);
        // Who closes a connection with something unread in it resets it.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
}

#[tokio::test]
async fn the_answers_of_a_systemd_become_node_exporters_metrics() {
    let folder = tempfile::tempdir().unwrap();
    replay(folder.path());
    let series = units(folder.path()).await.unwrap();
    let check = |name: &str, labels: &[(&str, &str)], expected: Option<f64>| {
        assert_eq!(value(&series, name, labels), expected, "{name} {labels:?}");
    };
    let state = |unit, state| [("name", unit), ("state", state)];
    check("node_systemd_unit_state", &state("broken.service", "failed"), Some(1.0));
    check("node_systemd_unit_state", &[("name", "broken.service"), ("type", "simple")], None);
    check(
        "node_systemd_unit_state",
        &[("name", "steady.service"), ("type", "simple"), ("state", "active")],
        Some(1.0),
    );
    check("node_systemd_unit_state", &state("steady.service", "failed"), Some(0.0));
    check("node_systemd_unit_state", &state("in.socket", "active"), Some(1.0));
    check("node_systemd_unit_state", &state("-.mount", "active"), None);
    check("node_systemd_units", &[("state", "failed")], Some(1.0));
    check("node_systemd_version", &[("version", "252.39-1~deb12u2")], Some(252.39));
    check("node_systemd_service_restart_total", &[("name", "steady.service")], Some(0.0));
    check("node_systemd_socket_current_connections", &[("name", "in.socket")], Some(0.0));
    assert!(
        value(&series, "node_systemd_timer_last_trigger_seconds", &[("name", "tick.timer")]).unwrap() > 1.7e9
    );
    assert!(value(&series, "node_systemd_system_running", &[]).is_some());
    // A second connection is not answered: this collector fails, and says so.
    let error = units(folder.path()).await.unwrap_err();
    assert!(error.contains("collector `systemd`: systemd cannot be asked: "), "{error}");
}

#[tokio::test]
async fn over_a_real_systemd_every_series_is_that_of_a_real_node_exporter() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    let Some(mut manager) = start(run) else { return };
    let settled = async || {
        let series = units(run).await?;
        let is = |unit, state| {
            value(&series, "node_systemd_unit_state", &[("name", unit), ("state", state)]) == Some(1.0)
        };
        let ticked = value(&series, "node_systemd_timer_last_trigger_seconds", &[("name", "tick.timer")]);
        let settled = is("broken.service", "failed") && is("tick.service", "inactive") && ticked > Some(0.0);
        if settled { Ok(series) } else { Err(format!("{series:?}")) }
    };
    let mut ours = eventually("systemd and its units", settled).await;
    if variable("UPDATE_SYSTEMD").is_some() {
        let between = tempfile::tempdir().unwrap();
        fs::create_dir(between.path().join("dbus")).unwrap();
        let listener = UnixListener::bind(bus(between.path())).unwrap();
        let recorder = recorded(run, listener);
        assert_eq!(units(between.path()).await, Ok(ours.clone()));
        let file = checkout(RECORDED);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, recorder.join().unwrap()).unwrap();
    }
    // This version leaves out targets as well.
    let exclude = format!("--collector.systemd.unit-exclude={EXCLUDED_UNITS}");
    let arguments = [
        "--collector.disable-defaults",
        "--collector.systemd",
        "--collector.systemd.enable-restarts-metrics",
        &exclude,
    ];
    let bus = format!("unix:path={}", bus(run).display());
    let Some(exporter) = NodeExporter::start(&arguments, &[("DBUS_SYSTEM_BUS_ADDRESS", &bus)]).await else {
        return;
    };
    let page = exporter.page().await;
    let mut theirs = Series::new();
    let mut parser = Parser::new(page.as_bytes(), Format::Text).unwrap();
    while let Some(entry) = parser.next() {
        let Entry::Sample(sample) = entry.unwrap() else { continue };
        if parser.labels().metric_name().starts_with("node_systemd_") {
            theirs.insert(parser.labels(), sample.value);
        }
    }
    // Which this version does not have yet.
    ours.retain(|labels, _| labels.metric_name() != "node_systemd_virtualization_info");
    assert_eq!(ours, theirs);
    manager.kill();
    eventually("the end of all its processes", async || {
        let mut groups = Command::new("find");
        groups.args(["/sys/fs/cgroup", "-depth", "-path", "*/valmis-test*", "-type", "d"]);
        let removed =
            groups.args(["-exec", "rmdir", "{}", ";"]).output().map_err(|error| error.to_string())?;
        if removed.stderr.is_empty() { Ok(()) } else { Err(format!("{removed:?}")) }
    })
    .await;
}
