//! What hangs delays nothing else, and what floods fills no memory.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

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
        format!("- {{name: a{number}, url: 'http://{flooding}/', interval: 1s, timeout: 800ms}}\n")
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
