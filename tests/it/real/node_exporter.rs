//! A real `node_exporter`.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::{eventually, http, prometheus};
use crate::tools::tool;

pub(crate) struct NodeExporter {
    pub(crate) address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl NodeExporter {
    /// Starts it on a free port with these arguments and variables; `None` if it is not here.
    pub(crate) async fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Option<Self> {
        let program = tool("bookworm/usr/bin/prometheus-node-exporter")?;
        let folder = TempDir::new().unwrap();
        let mut command = Command::new(program);
        command.arg("--web.listen-address=127.0.0.1:0").args(arguments);
        command.envs(environment.iter().copied());
        let mut process = Process::start(&mut command, folder.path());
        let address = process.in_log("the address of node_exporter", prometheus::address).await;
        Some(Self { address, _process: process, _folder: folder })
    }

    /// What it exports.
    pub(crate) async fn page(&self) -> String {
        eventually("a page of node_exporter", async || {
            http().get(format!("http://{}/metrics", self.address)).send().await?.text().await
        })
        .await
    }
}
