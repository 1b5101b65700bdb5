//! From nothing to a running valmis, and what keeps it from running.

use std::fs;
use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use tempfile::TempDir;

use crate::real::process::Process;
use crate::real::valmis::{address, command};
use crate::real::{eventually, http, say, turn};

/// What a busy machine may take longer than promised.
const SLACK: Duration = Duration::from_secs(10);

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(folder: &TempDir, arguments: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = command(folder.path()).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

#[tokio::test]
async fn the_configuration_that_init_writes_is_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let written = run(&folder, &["init"]);
    assert_eq!((written.code, written.stderr.as_str()), (0, ""), "{}", written.stdout);
    assert!(written.stdout.contains("wrote valmis.yaml"), "{}", written.stdout);
    let checked = run(&folder, &["config", "check", "valmis.yaml"]);
    assert_eq!((checked.code, checked.stdout.as_str()), (0, "valmis.yaml: no faults found\n"));

    let text = fs::read_to_string(folder.path().join("valmis.yaml")).unwrap();
    let again = run(&folder, &["init"]);
    assert_eq!(again.code, 2);
    assert_eq!(again.stderr, "valmis: `valmis.yaml` exists already; `--force` replaces it\n");
    assert_eq!(fs::read_to_string(folder.path().join("valmis.yaml")).unwrap(), text);
    // Not the same: what the machine runs may have changed in between.
    let shown = run(&folder, &["init", "--stdout"]);
    assert_eq!((shown.code, shown.stdout.lines().next()), (0, text.lines().next()));

    let mut serve = command(folder.path());
    serve.args(["serve", "--config", "valmis.yaml", "--listen", "127.0.0.1:0"]);
    let mut valmis = Process::start(&mut serve, folder.path());
    valmis.in_log("address of valmis", address).await;
}

#[test]
fn a_start_that_cannot_succeed_says_why_and_leaves_no_data() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.yaml"), "listn: ':1'\n").unwrap();
    let bad = run(&folder, &["serve", "--config", "bad.yaml"]);
    assert_eq!((bad.code, bad.stdout.as_str()), (2, ""));
    assert!(
        bad.stderr.starts_with("valmis: bad.yaml:1:1: the configuration has no key `listn`"),
        "{}",
        bad.stderr
    );

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = run(&folder, &["serve", "--listen", &address]);
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
    assert!(refused.stderr.contains(&format!("cannot listen on {address}")), "{}", refused.stderr);
    assert!(!folder.path().join("valmis-data").exists());

    let unknown = run(&folder, &["srve"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("'serve'"), "{}", unknown.stderr);
}

#[tokio::test]
async fn two_of_them_do_not_share_a_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0"];
    let mut first = Process::start(command(folder.path()).args(arguments), folder.path());
    first.in_log("address of valmis", address).await;
    let second = run(&folder, &arguments);
    assert_eq!((second.code, second.stdout.as_str()), (2, ""), "{}", second.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_configuration_it_watches_this_machine_and_itself() {
    let _turn = turn().await;
    let folder = TempDir::with_prefix("valmis-first-run-").unwrap();
    let began = Instant::now();
    let mut command = command(folder.path());
    let mut valmis = Process::start(command.args(["--listen", "127.0.0.1:0"]), folder.path());
    let address = valmis.in_log("address of valmis", address).await;
    eventually("page with every component", async || {
        let answer = http().get(format!("http://{address}/")).send().await;
        let Ok(answer) = answer else { return Err(format!("{answer:?}")) };
        let page = answer.text().await.unwrap();
        let app = "class=\"state ready\">ready</span>\n<strong>valmis</strong> <span class=\"soft\">app<";
        if page.contains(app) && page.contains(">disk<") { Ok(()) } else { Err(page) }
    })
    .await;
    let delay = began.elapsed();
    say(&format!("first run: the page shows components {:.1} s after the start", delay.as_secs_f64()));
    assert!(delay < Duration::from_secs(5) + SLACK, "{delay:?}");
    assert_eq!(valmis.output(), format!("valmis is serving on http://{address}\n"));

    let alerts_url = format!("http://{address}/api/v1/alerts");
    let firing = eventually("firing alert", async || {
        let answer: serde_json::Value = http().get(&alerts_url).send().await.unwrap().json().await.unwrap();
        let alerts = answer["data"]["alerts"].as_array().unwrap();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let names: Vec<_> = firing.map(|alert| alert["labels"]["alertname"].to_string()).collect();
        if names.is_empty() { Err(format!("{answer:#}")) } else { Ok(names) }
    })
    .await;
    assert_eq!(firing, ["\"Watchdog\""]);

    // It goes on watching itself where it listens.
    let reloaded = http().post(format!("http://{address}/-/reload")).send().await.unwrap();
    assert_eq!(reloaded.status(), StatusCode::OK, "{}", valmis.log());
    let readiness = http().get(format!("http://{address}/readiness")).send().await.unwrap();
    let readiness = readiness.text().await.unwrap();
    assert!(readiness.contains(&format!("\"http://{address}/health\"")), "{readiness}");
    assert!(valmis.terminate().await.success(), "{}", valmis.log());
}
