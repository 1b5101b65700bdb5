//! A system whose name servers do not answer.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use serde_json::Value;

use crate::real::process::Process;
use crate::real::valmis::address;
use crate::real::{eventually, http, missing};

/// An address of this machine that nothing else uses.
const NAME_SERVER: &str = "127.53.0.1";

/// How many names are probed: more than are looked up at once.
const NAMES: usize = 90;

/// How many threads there may be: 64 that look names up, and those that do all else.
const MAX_THREADS: usize = 64 + 40;

/// valmis, to which the name server of this machine is another one; `None` where that cannot be arranged.
fn start(folder: &Path) -> Option<(Process, UdpSocket)> {
    let Ok(silent) = UdpSocket::bind((NAME_SERVER, 53)) else {
        missing("the right to serve names at port 53");
        return None;
    };
    let resolver = folder.join("resolv.conf");
    fs::write(&resolver, format!("nameserver {NAME_SERVER}\n")).unwrap();
    let mounted = "mount --bind \"$0\" /etc/resolv.conf";
    let possible = Command::new("unshare").args(["--mount", "sh", "-c", mounted]).arg(&resolver).output();
    if !geteuid().is_root() || !possible.is_ok_and(|output| output.status.success()) {
        missing("the right to mount");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{mounted} && exec \"$@\"")]).arg(&resolver);
    command.arg(env!("CARGO_BIN_EXE_valmis"));
    command.args(["serve", "--config", "valmis.yaml", "--listen", "127.0.0.1:0"]).current_dir(folder);
    Some((Process::start(&mut command, folder), silent))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resolver_that_hangs_takes_no_more_than_its_threads() {
    let folder = tempfile::tempdir().unwrap();
    let targets: Vec<String> = (0..NAMES).map(|number| format!("\"a{number}.hung.example:1\"")).collect();
    let configuration = format!(
        "disks: [{{path: /dev/shm}}]\nprobes:\n- {{name: hung, module: tcp_connect, interval: 2s, timeout: 1s, \
         targets: [{}]}}\n",
        targets.join(", ")
    );
    fs::write(folder.path().join("valmis.yaml"), configuration).unwrap();
    let Some((mut process, _silent)) = start(folder.path()) else { return };
    let base = format!("http://{}", process.in_log("address of valmis", address).await);
    let get = async |path: &str| {
        let answer = http().get(format!("{base}{path}")).send().await.map_err(|error| error.to_string())?;
        answer.text().await.map_err(|error| error.to_string())
    };
    // Each of them three times, of which the first look-ups still go on.
    let results = eventually("failures of all probes", async || {
        let page = get("/api/v1/probes?success=false&limit=1000").await?;
        let page: Value = serde_json::from_str(&page).map_err(|error| error.to_string())?;
        let results = page["data"].as_array().cloned().unwrap_or_default();
        if results.len() >= 3 * NAMES { Ok(results) } else { Err(results.len().to_string()) }
    })
    .await;
    for result in &results {
        assert_eq!(result["failure"], "timeout", "{result}");
        let reason = result["reason"].as_str().unwrap();
        let waits = ["while resolving the name", "while waiting for a place to look up"];
        assert!(waits.iter().any(|wait| reason.contains(wait)), "{result}");
        assert!(result["duration_seconds"].as_f64().unwrap() < 5.0, "{result}");
    }
    assert!(process.threads() <= MAX_THREADS, "{} threads", process.threads());
    for _ in 0..20 {
        let began = Instant::now();
        let page = get("/metrics").await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(page.contains("probe_success{"), "{page}");
    }
}
