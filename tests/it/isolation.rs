//! What hangs delays nothing else, and what floods fills no memory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;

use crate::faults::BlackHole;
use crate::real::app::{App, Mood};
use crate::real::postgres::Cluster;
use crate::real::valmis::{COMMON, NO_DISK, Valmis, all_quick_rules};
use crate::real::{eventually, say, turn};
use crate::servers::{listen, read_head};

/// How long `/metrics` may take at worst on a machine that has much else to do.
const ANSWER: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_database_and_a_hung_app_delay_neither_metrics_nor_each_other() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute("CREATE ROLE monitor LOGIN PASSWORD 'right'; GRANT pg_monitor TO monitor;").await;
    let (hanging, healthy) = (App::start().await, App::start().await);
    let configuration = format!(
        "{COMMON}{NO_DISK}apps:\n\
         - {{name: hanging, url: '{}', metrics: '{}', interval: 1s, timeout: 800ms}}\n\
         - {{name: healthy, url: '{}', interval: 1s, timeout: 800ms}}\n\
         postgres:\n\
         - {{name: db, dsn: 'postgres://monitor:right@127.0.0.1:{}/postgres', interval: 1s, timeout: 800ms}}\n",
        hanging.url("/health"),
        hanging.url("/metrics"),
        healthy.url("/health"),
        cluster.port,
    );
    let valmis = Valmis::start(&configuration).await;
    valmis.wait_all_ready().await;

    cluster.hang();
    hanging.set(Mood::Hanging);
    for (kind, name) in [("app", "hanging"), ("postgres", "db")] {
        eventually(&format!("timeout of {name}"), async || {
            let component = valmis.component(kind, name).await;
            let timed_out = component["state"] == "not_ready" && component["failure"] == "timeout";
            if timed_out { Ok(()) } else { Err(format!("{component:#}")) }
        })
        .await;
    }

    // For as long as this takes, each component has to be probed once a second.
    let watched = [("app", "healthy"), ("app", "hanging"), ("postgres", "db")];
    let mut oldest = [0.0_f64; 3];
    let mut delays = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        let (_, page) = valmis.get("/metrics").await;
        delays.push(began.elapsed());
        for (oldest, (kind, name)) in oldest.iter_mut().zip(watched) {
            let series =
                format!("valmis_component_probe_age_seconds{{component=\"{kind}\",name=\"{name}\"}} ");
            let line = page.lines().find_map(|line| line.strip_prefix(&series));
            let age: f64 = line.unwrap_or_else(|| panic!("no {series}:\n{page}")).parse().unwrap();
            *oldest = oldest.max(age);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    delays.sort();
    let (median, p99) = (delays[25], delays[49]);
    say(&format!("/metrics beside a hung database and a hung app: p50 {median:.1?}, p99 {p99:.1?}"));
    say(&format!("oldest results of {watched:?}: {oldest:.1?} s"));
    assert!(p99 <= ANSWER, "{delays:?}");
    // An interval and a timeout, and what a busy machine adds.
    assert!(oldest.iter().all(|age| *age < 1.0 + 0.8 + 2.0), "{oldest:?}");

    // What hangs is down, and somebody hears of it.
    valmis.wait_for_alert("firing", "DatabaseDown").await;
    valmis.wait_for_alert("firing", "ApplicationDown").await;

    cluster.resume();
    hanging.set(Mood::Healthy);
    valmis.wait_all_ready().await;
}

/// How much memory valmis may have at most while everything that it probes sends without end.
const MEMORY_BYTES: u64 = 128 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_without_end_from_all_sides_are_read_in_little_memory() {
    const SERVERS: usize = 20;
    let _turn = turn().await;
    let flooding = listen(|mut stream| async move {
        if read_head(&mut stream).await.is_empty() {
            return;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let piece = vec![b'x'; 1 << 16];
        while stream.write_all(&piece).await.is_ok() {}
    })
    .await;
    let server = |number: usize| {
        format!("- {{name: a{number}, url: 'http://{flooding}/{number}', interval: 1s, timeout: 800ms}}\n")
    };
    let servers: String = (0..SERVERS).map(server).collect();
    let valmis = Valmis::start(&format!("{COMMON}{NO_DISK}apps:\n{servers}")).await;
    for number in 0..SERVERS {
        eventually("a verdict on a flood", async || {
            let component = valmis.component("app", &format!("a{number}")).await;
            if component["state"] == "not_ready" { Ok(()) } else { Err(format!("{component:#}")) }
        })
        .await;
    }
    let (_, page) = valmis.get("/metrics").await;
    assert!(page.contains("probe_success"), "{page}");
    let memory = valmis.peak_memory();
    say(&format!("{SERVERS} bodies without end: at most {} MiB", memory >> 20));
    assert!(memory <= MEMORY_BYTES, "{memory} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_tells_too_much_keeps_its_small_metrics_and_somebody_hears_of_it() {
    let _turn = turn().await;
    let files = tempfile::tempdir().unwrap();
    let series = (0..3000).map(|number| format!("flood{{number=\"{number}\"}} 1\n"));
    std::fs::write(files.path().join("job.prom"), format!("few 1\n{}", series.collect::<String>())).unwrap();
    let configuration = |limit: usize| {
        let machine =
            format!("machine: {{interval: 1s, textfile_directory: '{}'}}\n", files.path().display());
        format!("{COMMON}{NO_DISK}{machine}max_series_per_component: {limit}\n")
    };
    let valmis = Valmis::start_with(&configuration(2500), &all_quick_rules()).await;
    let gauge = "valmis_component_series_dropped{component=\"machine\",name=\"textfiles\"}";
    let shows = async |flood: bool, dropped: &str| {
        eventually("a page within the limit", async || {
            let (_, page) = valmis.get("/metrics").await;
            let found = (
                page.contains("\nfew{"),
                page.contains("\nflood{"),
                page.contains(&format!("{gauge} {dropped}\n")),
            );
            if found == (true, flood, true) { Ok(page) } else { Err(format!("{found:?}\n{}", valmis.log())) }
        })
        .await
    };
    let page = shows(false, "3000").await;
    let counted = "valmis_probe_series_dropped_total{component=\"machine\"} ";
    let counted = page.lines().find_map(|line| line.strip_prefix(counted)).unwrap();
    assert!(counted.parse::<f64>().unwrap() >= 3000.0, "{counted}");
    assert_eq!(valmis.component("machine", "textfiles").await["dropped"]["metrics"][0], "flood");
    let (_, page) = valmis.get("/").await;
    assert!(page.contains("3000 series are left out, of flood"), "{page}");
    valmis.wait_for_alert("firing", "ComponentSeriesDropped").await;
    // What is left out at every probe is said once.
    assert_eq!(valmis.log().matches("tells too much").count(), 1, "{}", valmis.log());

    valmis.configure(&configuration(5000));
    assert_eq!(valmis.post("/-/reload").await.0, reqwest::StatusCode::OK);
    shows(true, "0").await;
    valmis.wait_for_end("ComponentSeriesDropped").await;
    valmis.configure(&configuration(5));
    let (_, said) = valmis.post("/-/reload").await;
    assert!(said.contains("valmis.yaml:"), "{said}");
    assert!(said.contains("max_series_per_component"), "{said}");
}

/// A file system whose server never answers, and name servers that do not: `fd=3` stays open for as long as the
/// program lives, and nobody reads from it.
fn mounts(hung: &Path, name_server: IpAddr) -> String {
    let hung = hung.display();
    format!(
        "echo 'nameserver {name_server}' >resolv.conf\n\
         echo 'options timeout:20 attempts:3' >>resolv.conf\n\
         mount --bind resolv.conf /etc/resolv.conf\n\
         exec 3<>/dev/fuse\n\
         mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hung '{hung}'\n"
    )
}

/// When the last finished probe of each component began.
async fn last_probes(valmis: &Valmis) -> BTreeMap<String, String> {
    let (status, page) = valmis.get("/metrics").await;
    assert_eq!(status, reqwest::StatusCode::OK, "{page}");
    let lines =
        page.lines().filter(|line| line.starts_with("valmis_component_last_probe_timestamp_seconds{"));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(one, at)| (one.to_owned(), at.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_everything_hangs_a_scrape_answers_from_memory_and_memory_is_bounded() {
    const APPS: usize = 20;
    let _turn = turn().await;
    let Some(cluster) = Cluster::start("").await else { return };
    cluster.execute("CREATE ROLE monitor LOGIN PASSWORD 'right'; GRANT pg_monitor TO monitor;").await;
    let Some(hole) = BlackHole::start().await else { return };
    // It reads nothing.
    let Ok(silent) = UdpSocket::bind("127.9.9.9:53").await else {
        return say("skipped: only root may serve names");
    };
    let name_server = silent.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pace = "interval: 1s, timeout: 800ms";
    let swallowed =
        (0..APPS).map(|one| format!("- {{name: hole{one}, url: 'http://{}/{one}', {pace}}}\n", hole.address));
    let nameless =
        (0..APPS).map(|one| format!("- {{name: name{one}, url: 'http://host{one}.test/', {pace}}}\n"));
    let apps: String = swallowed.chain(nameless).collect();
    let configuration = format!(
        "{COMMON}disks: [{{path: '{}', {pace}}}]\napps:\n{apps}\
         postgres: [{{name: db, dsn: 'postgres://monitor:right@127.0.0.1:{}/postgres', {pace}}}]\n\
         blackbox: {{modules: {{names: {{prober: dns, dns: {{query_name: host.test}}}}}}}}\n\
         probes: [{{name: names, module: names, target: '{name_server}', readiness: true, {pace}}}]\n",
        folder.path().display(),
        cluster.port,
    );
    cluster.hang();
    let script = mounts(folder.path(), name_server.ip());
    let Some(valmis) = Valmis::start_among_mounts(&configuration, &script).await else { return };

    let disk = folder.path().display().to_string();
    for (kind, name, failure) in [
        ("app", "hole0", "timeout"),
        ("app", "name0", "timeout"),
        ("postgres", "db", "timeout"),
        ("disk", &*disk, "hung"),
        ("probe", "names", "timeout"),
    ] {
        eventually(&format!("the failure of {name}"), async || {
            let component = valmis.component(kind, name).await;
            let failed = component["state"] == "not_ready" && component["failure"] == failure;
            if failed { Ok(()) } else { Err(format!("{component:#}\n{}", valmis.log())) }
        })
        .await;
    }
    // Each is probed again and again, and each page has everything.
    for _ in 0..3 {
        let before = last_probes(&valmis).await;
        assert_eq!(before.len(), 2 * APPS + 4, "{before:#?}");
        eventually("another probe of each component", async || {
            let now = last_probes(&valmis).await;
            let waiting: Vec<_> = before.iter().filter(|(one, at)| now.get(*one) == Some(*at)).collect();
            if waiting.is_empty() { Ok(()) } else { Err(format!("{waiting:#?}")) }
        })
        .await;
    }
    let (_, page) = valmis.get("/metrics").await;
    for (metric, count, value) in
        [("probe_success", 2 * APPS + 1, "0"), ("pg_up", 1, "0"), ("node_filesystem_device_error", 1, "1")]
    {
        let begins = format!("{metric}{{");
        let found: Vec<_> = page.lines().filter(|line| line.starts_with(&begins)).collect();
        assert_eq!(found.len(), count, "{found:#?}");
        assert!(found.iter().all(|line| line.ends_with(&format!(" {value}"))), "{found:#?}");
    }
    valmis.wait_two_evaluations().await;
    valmis.wait_for_alert("firing", "DatabaseDown").await;
    let memory = valmis.peak_memory();
    say(&format!("everything hangs: at most {} MiB", memory >> 20));
    assert!(memory <= MEMORY_BYTES, "{memory} bytes");

    cluster.resume();
    hole.heal();
    for (kind, name) in [("app", "hole0"), ("postgres", "db")] {
        eventually(&format!("recovery of {name}"), async || {
            let component = valmis.component(kind, name).await;
            if component["state"] == "ready" { Ok(()) } else { Err(format!("{component:#}")) }
        })
        .await;
    }
}
