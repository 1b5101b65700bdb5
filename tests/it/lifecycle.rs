//! Reload and end of the program.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use rustix::process::Signal;

use crate::real::app::{App, Mood};
use crate::real::process::Process;
use crate::real::valmis::{COMMON, NO_DISK, Valmis, address, command};
use crate::real::{eventually, http, say, turn};

fn configuration(apps: &[(&str, &App)]) -> String {
    let apps: Vec<String> = apps
        .iter()
        .map(|(name, app)| format!("{{name: {name}, url: '{}', interval: 1s}}", app.url("/health")))
        .collect();
    format!("{COMMON}{NO_DISK}apps: [{}]\n", apps.join(", "))
}

async fn wait_for_reload(valmis: &Valmis, successful: u8) {
    let expected = format!("valmis_config_last_reload_successful {successful}");
    eventually("outcome of the reload", async || {
        let (_, page) = valmis.get("/metrics").await;
        if page.lines().any(|line| line == expected) { Ok(()) } else { Err(valmis.log()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_a_good_configuration_and_refuses_a_bad_one() {
    let _turn = turn().await;
    let (one, two) = (App::start().await, App::start().await);
    let valmis = Valmis::start(&configuration(&[("one", &one)])).await;
    valmis.wait_all_ready().await;
    one.set(Mood::Failing);
    let before = valmis.wait_for_alert("firing", "ApplicationDown").await;

    // A bad file changes nothing.
    valmis.configure("apps: [{nam: one}]\nlisten: nowhere\n");
    valmis.signal(Signal::HUP);
    wait_for_reload(&valmis, 0).await;
    assert_eq!(valmis.component("app", "one").await["state"], "not_ready");
    let (status, text) = valmis.post("/-/reload").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    for reason in
        ["failed to reload config: ", "valmis.yaml:1:9: an app has no key `nam`", "valmis.yaml:2:9: "]
    {
        assert!(text.contains(reason), "{text}");
    }

    // A bad rule file does not either.
    let rule_file = valmis.file("rules/bad.yaml");
    fs::write(&rule_file, "groups: [{name: g, rules: [{alert: A, expr: 'up =='}]}]\n").unwrap();
    valmis.configure(&configuration(&[("one", &one), ("two", &two)]));
    let (status, text) = valmis.post("/-/reload").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text.contains("rules/bad.yaml:1:"), "{text}");
    // The application, the file system and the machine.
    assert_eq!(valmis.json("/readiness").await["components"].as_array().unwrap().len(), 3);

    // A good one adds what is new and leaves what fires as it is.
    fs::remove_file(rule_file).unwrap();
    let (status, text) = valmis.post("/-/reload").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, ""));
    wait_for_reload(&valmis, 1).await;
    eventually("first result of the new component", async || {
        let component = valmis.component("app", "two").await;
        if component["state"] == "ready" { Ok(()) } else { Err(format!("{component:#}")) }
    })
    .await;
    valmis.wait_two_evaluations().await;
    let after = valmis.wait_for_alert("firing", "ApplicationDown").await;
    assert_eq!(after["activeAt"], before["activeAt"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_keeps_everything_for_the_next_start() {
    let _turn = turn().await;
    let app = App::start().await;
    let mut valmis = Valmis::start(&configuration(&[("backend", &app)])).await;
    app.set(Mood::Failing);
    let before = valmis.wait_for_alert("firing", "ApplicationDown").await;
    let began = Instant::now();
    assert!(valmis.terminate().await.success(), "{}", valmis.log());
    say(&format!("SIGTERM: ended after {:.1} s", began.elapsed().as_secs_f64()));
    valmis.restart().await;
    let after = valmis.wait_for_alert("firing", "ApplicationDown").await;
    assert_eq!(after["activeAt"], before["activeAt"]);
    let samples = valmis.json("/api/v1/query?query=count_over_time(probe_success[1h])").await;
    let count = samples["data"]["result"][0]["value"][1].as_str().unwrap().parse::<u32>().unwrap();
    assert!(count > 3, "{samples:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("valmis.yaml");
    fs::write(&file, NO_DISK).unwrap();
    let mut command = command(folder.path());
    command.args(["serve", "--config", "valmis.yaml", "--listen", "127.0.0.1:0"]);
    let mut process = Process::start_unread(&mut command, folder.path());
    let address = process.in_log("address of valmis", address).await;
    // More than the pipe and the queue take: what is wrong with a file is logged at once.
    fs::write(&file, format!("apps: [{}]\n", "{nam: one}, ".repeat(1_000))).unwrap();
    for _ in 0..30 {
        let answer = http().post(format!("http://{address}/-/reload")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    let page = http().get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap();
    let dropped = page.lines().find_map(|line| line.strip_prefix("valmis_log_lines_dropped_total ")).unwrap();
    assert_ne!(dropped, "0");
    let health = http().get(format!("http://{address}/health")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    let began = Instant::now();
    assert!(process.terminate().await.success());
    say(&format!(
        "{dropped} lines were dropped; SIGTERM: ended after {:.1} s",
        began.elapsed().as_secs_f64()
    ));
}

/// How long the end may take although something hangs.
const SOON: Duration = Duration::from_secs(8);

/// A file on a file system that does not answer, as far as who opens it can tell.
fn hangs(file: &Path) {
    assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_hangs_keeps_nobody_from_ending_the_process() {
    let _turn = turn().await;
    let mut valmis = Valmis::start(&format!("{COMMON}{NO_DISK}")).await;
    fs::remove_file(valmis.file("valmis.yaml")).unwrap();
    hangs(&valmis.file("valmis.yaml"));
    let url = format!("http://{}/-/reload", valmis.address);
    let reload = http().post(url).timeout(Duration::from_secs(1)).send().await;
    assert!(reload.is_err(), "{reload:?}");
    valmis.signal(Signal::HUP);
    // All else goes on.
    valmis.wait_two_evaluations().await;
    assert_eq!(valmis.get("/health").await.0, StatusCode::OK);
    let began = Instant::now();
    assert!(valmis.terminate().await.success(), "{}", valmis.log());
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(valmis.log().contains("a reload hangs"), "{}", valmis.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_hangs_keeps_nobody_from_ending_the_process() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("valmis-data/tsdb");
    fs::create_dir_all(&store).unwrap();
    hangs(&store.join("wal-00000001"));
    fs::write(folder.path().join("valmis.yaml"), NO_DISK).unwrap();
    let mut command = command(folder.path());
    command.args(["serve", "--config", "valmis.yaml", "--listen", "127.0.0.1:0"]);
    let mut process = Process::start(&mut command, folder.path());
    eventually(
        "the store is opened",
        async || {
            if store.join("lock").exists() { Ok(()) } else { Err(process.log()) }
        },
    )
    .await;
    let began = Instant::now();
    assert!(process.terminate().await.success(), "{}", process.log());
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(!process.output().contains("is serving on"), "nothing has hung");
}
