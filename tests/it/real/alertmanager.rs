//! A real Alertmanager that tells a webhook about every alert on its own, at once.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;
use tempfile::TempDir;

use super::process::Process;
use super::webhook::Webhook;
use super::{eventually, http};

/// How the names of alerts begin that only [`Alertmanager::flush`] sends.
pub(super) const CANARY: &str = "Canary";

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
        Self::start_grouping(webhook, "...").await
    }

    /// Starts one that tells about alerts together that have the same value of this label; `...` means
    /// that each is told of on its own.
    pub(crate) async fn start_grouping(webhook: &Webhook, label: &str) -> Option<Self> {
        Self::start_with(&serde_json::json!({
            "route": {
                "receiver": "test",
                "group_by": [label],
                "group_wait": "0s",
                "group_interval": "1s",
                "repeat_interval": "1h",
            },
            "receivers": [{
                "name": "test",
                "webhook_configs": [{"url": format!("http://{}/", webhook.address), "send_resolved": true}],
            }],
        }))
        .await
    }

    /// Starts one with this configuration. `None` where there is none.
    pub(crate) async fn start_with(configuration: &serde_json::Value) -> Option<Self> {
        if !super::cache().join(PROGRAM).exists() {
            super::missing("prometheus-alertmanager");
            return None;
        }
        let folder = TempDir::with_prefix("valmis-alertmanager-").unwrap();
        install(folder.path());
        // JSON is YAML, too.
        fs::write(folder.path().join("alertmanager.yml"), configuration.to_string()).unwrap();
        let (process, address) = run(folder.path(), "127.0.0.1:0").await;
        Some(Self { folder, process, address })
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it in an orderly way, so that it remembers whom it has told what.
    pub(crate) async fn terminate(&mut self, webhook: &Webhook) {
        // It notes what it has told only after the receiver has answered.
        self.flush(webhook).await;
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

    /// How many alerts of this name it knows.
    pub(crate) async fn count(&self, alert: &str) -> usize {
        let url = format!("http://{}/api/v2/alerts?filter=alertname%3D{alert}", self.address);
        let all: Vec<serde_json::Value> = http().get(url).send().await.unwrap().json().await.unwrap();
        all.len()
    }

    /// Sends an alert of our own through it and waits until it comes out: whatever Alertmanager had to
    /// tell before has been told then.
    pub(crate) async fn flush(&self, webhook: &Webhook) {
        static SENT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{CANARY}{}", SENT.fetch_add(1, Ordering::SeqCst));
        let alert = serde_json::json!([{"labels": {"alertname": name}}]);
        let url = format!("http://{}/api/v2/alerts", self.address);
        let answer = http().post(url).json(&alert).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        webhook.wait_for("firing", &name).await;
    }
}

const PROGRAM: &str = "bookworm/usr/bin/prometheus-alertmanager";

/// Where Debian's Alertmanager looks for its templates, and a path relative to its working folder that
/// is as long.
const TEMPLATES: (&str, &str) = ("/usr/share/prometheus/alertmanager", ".////////////////////////templates");

/// Debian's Alertmanager does not start without templates in `/usr/share`, where an unpacked one has not
/// put them. A copy that looks for them in its working folder needs no rights to put anything there.
fn install(folder: &Path) {
    let (installed, own) = TEMPLATES;
    // A shell writes it: a program that is open for writing here, and so for a moment in whatever another
    // test starts, could not be run.
    let script = "LC_ALL=C sed \"$1\" \"$0\" >alertmanager && chmod +x alertmanager";
    let program = super::cache().join(PROGRAM);
    let mut copy = Command::new("sh");
    copy.current_dir(folder).args(["-c", script]).arg(program).arg(format!("s#{installed}#{own}#g"));
    let status = copy.status();
    assert!(status.unwrap().success());
    symlink(super::cache().join("bookworm").join(&installed[1..]), folder.join("templates")).unwrap();
}

async fn run(folder: &Path, address: &str) -> (Process, SocketAddr) {
    let mut command = Command::new(folder.join("alertmanager"));
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
