//! A real VictoriaMetrics, which takes samples.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{eventually, http};

const PROGRAM: &str = "bookworm/usr/bin/victoria-metrics";

pub(crate) struct Victoria {
    /// It goes away with it.
    _folder: TempDir,
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Victoria {
    /// Starts one. `None` where there is none.
    pub(crate) async fn start() -> Option<Self> {
        let program = super::cache().join(PROGRAM);
        if !program.exists() {
            super::missing("victoria-metrics");
            return None;
        }
        let folder = TempDir::with_prefix("valmis-victoria-").unwrap();
        // It does not say which port it was given: it has to be told one that is free.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(program);
        command.current_dir(folder.path()).args([
            "-storageDataPath=data",
            "-memory.allowedBytes=64MB",
            &format!("-httpListenAddr={address}"),
        ]);
        let process = Process::start(&mut command, folder.path());
        let victoria = Self { _folder: folder, process, address };
        eventually("readiness of VictoriaMetrics", async || {
            match http().get(format!("http://{address}/health")).send().await {
                Ok(answer) if answer.status().is_success() => Ok(()),
                _ => Err(victoria.process.log()),
            }
        })
        .await;
        Some(victoria)
    }

    /// The result of an instant query; `None` until it answers.
    pub(crate) async fn query(&self, expression: &str) -> Option<Value> {
        let url = format!("http://{}/api/v1/query", self.address);
        let answer = http().get(url).query(&[("query", expression), ("nocache", "1")]).send().await.ok()?;
        let mut answer: Value = answer.json().await.ok()?;
        (answer["status"] == "success").then(|| answer["data"]["result"].take())
    }
}
