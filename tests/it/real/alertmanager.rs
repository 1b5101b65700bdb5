//! A real Alertmanager that tells a webhook about every alert on its own, at once.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::getuid;
use serde::Deserialize;
use tempfile::TempDir;

use super::process::Process;
use super::webhook::Webhook;
use super::{eventually, http};

pub(crate) struct Alertmanager {
    folder: TempDir,
    process: Process,
    pub(crate) address: SocketAddr,
}

/// An alert as Alertmanager knows it.
/// Source: Alertmanager `api/v2/openapi.yaml`, `gettableAlert`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Known {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) starts_at: String,
    /// When it was last sent.
    pub(crate) updated_at: String,
}

impl Alertmanager {
    /// Starts one. `None` where there is none.
    pub(crate) async fn start(webhook: &Webhook) -> Option<Self> {
        if !super::cache().join(PROGRAM).exists() {
            super::missing("prometheus-alertmanager");
            return None;
        }
        let folder = TempDir::with_prefix("valmis-alertmanager-").unwrap();
        // JSON is YAML, too.
        let configuration = serde_json::json!({
            "route": {
                "receiver": "test",
                "group_by": ["..."],
                "group_wait": "0s",
                "group_interval": "1s",
                "repeat_interval": "1h",
            },
            "receivers": [{
                "name": "test",
                "webhook_configs": [{"url": format!("http://{}/", webhook.address), "send_resolved": true}],
            }],
        });
        fs::write(folder.path().join("alertmanager.yml"), configuration.to_string()).unwrap();
        let (process, address) = run(folder.path(), "127.0.0.1:0").await;
        Some(Self { folder, process, address })
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    pub(crate) async fn terminate(&mut self) {
        self.process.terminate().await;
    }

    /// Starts it again at the same address.
    pub(crate) async fn restart(&mut self) {
        (self.process, self.address) = run(self.folder.path(), &self.address.to_string()).await;
    }

    /// What it knows of the alert, once it knows it.
    pub(crate) async fn known(&self, alert: &str) -> Option<Known> {
        let url = format!("http://{}/api/v2/alerts", self.address);
        let all: Vec<Known> = http().get(url).send().await.unwrap().json().await.unwrap();
        all.into_iter().find(|one| one.labels["alertname"] == alert)
    }

    /// Sends an alert of our own through it and waits until it comes out: whatever Alertmanager had to
    /// tell before has been told then.
    pub(crate) async fn flush(&self, webhook: &Webhook) {
        let alert = serde_json::json!([{"labels": {"alertname": "Canary"}}]);
        let url = format!("http://{}/api/v2/alerts", self.address);
        let answer = http().post(url).json(&alert).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        webhook.wait_for("firing", "Canary").await;
    }
}

const PROGRAM: &str = "bookworm/usr/bin/prometheus-alertmanager";

/// Debian's Alertmanager reads its templates from `/usr/share`, where an unpacked one has not put them:
/// then it gets to see the unpacked `/usr/share` in a mount namespace of its own.
fn command() -> Command {
    let program = super::cache().join(PROGRAM);
    if Path::new("/usr/share/prometheus/alertmanager/default.tmpl").exists() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(if getuid().is_root() { ["--mount"].as_slice() } else { &["--mount", "--map-root-user"] });
    let script = "mount --bind \"$0\" /usr/share && exec \"$@\"";
    command.args(["sh", "-c", script]).arg(super::cache().join("bookworm/usr/share")).arg(program);
    command
}

async fn run(folder: &Path, address: &str) -> (Process, SocketAddr) {
    let mut command = command();
    command.current_dir(folder).args([
        "--config.file=alertmanager.yml",
        "--storage.path=data",
        "--cluster.listen-address=",
        &format!("--web.listen-address={address}"),
    ]);
    let mut process = Process::start(&mut command, folder);
    let address: SocketAddr = process.in_log("address of Alertmanager", super::prometheus::address).await;
    let ready = format!("http://{address}/-/ready");
    eventually("readiness of Alertmanager", async || match http().get(&ready).send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    (process, address)
}
