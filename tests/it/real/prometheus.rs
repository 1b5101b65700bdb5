//! A real Prometheus, which scrapes valmis or takes samples.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{eventually, http};

pub(crate) struct Prometheus {
    /// It goes away with it.
    folder: TempDir,
    process: Process,
    pub(crate) address: SocketAddr,
}

/// The versions that `tests/servers.sh` fetches: the required one and, where they are to be had, others.
pub(crate) fn versions() -> Vec<PathBuf> {
    let folders = ["bookworm", "trixie", "sid"].map(|version| super::cache().join(version).join("usr/bin"));
    folders.into_iter().filter(|folder| folder.join("prometheus").exists()).collect()
}

impl Prometheus {
    /// Starts the one from this folder; it scrapes `target` every second.
    pub(crate) async fn start(programs: &Path, target: SocketAddr) -> Self {
        let configuration = serde_json::json!({
            "scrape_configs": [{
                "job_name": "valmis",
                "scrape_interval": "1s",
                "honor_labels": true,
                "static_configs": [{"targets": [target.to_string()]}],
            }],
        });
        Self::run(programs, &configuration, &[]).await
    }

    /// Starts the one from this folder, with these rule files; it scrapes nothing, takes samples by remote
    /// write and knows all functions and durations that are to be had.
    pub(crate) async fn receiver(programs: &Path, rule_files: &[PathBuf]) -> Self {
        let configuration = serde_json::json!({"rule_files": rule_files});
        let features = "promql-experimental-functions,promql-duration-expr";
        let arguments =
            ["--web.enable-remote-write-receiver".to_owned(), format!("--enable-feature={features}")];
        Self::run(programs, &configuration, &arguments).await
    }

    /// Starts the one from this folder with a configuration and further arguments.
    pub(crate) async fn start_with(programs: &Path, configuration: &Value, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Self::run(programs, configuration, &arguments).await
    }

    /// As [`Self::start_with`], with a configuration whose only target becomes itself: until it listens,
    /// nobody knows its port.
    pub(crate) async fn scraping_itself(
        programs: &Path,
        mut configuration: Value,
        arguments: &[&str],
    ) -> Self {
        let arguments = [arguments, &["--web.enable-lifecycle"]].concat();
        let prometheus = Self::start_with(programs, &configuration, &arguments).await;
        configuration["scrape_configs"][0]["static_configs"][0]["targets"][0] =
            prometheus.address.to_string().into();
        fs::write(prometheus.folder.path().join("prometheus.yml"), configuration.to_string()).unwrap();
        eventually("a reload of Prometheus", async || {
            let url = format!("http://{}/-/reload", prometheus.address);
            let answer = http().post(url).send().await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
        })
        .await;
        prometheus
    }

    async fn run(programs: &Path, configuration: &Value, arguments: &[String]) -> Self {
        let folder = TempDir::with_prefix("valmis-prometheus-").unwrap();
        fs::write(folder.path().join("prometheus.yml"), configuration.to_string()).unwrap();
        let mut command = Command::new(programs.join("prometheus"));
        command.current_dir(folder.path()).args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.listen-address=127.0.0.1:0",
            "--log.level=debug",
        ]);
        command.args(arguments);
        let mut process = Process::start(&mut command, folder.path());
        let address = process.in_log("address of Prometheus", address).await;
        let prometheus = Self { folder, process, address };
        eventually("readiness of Prometheus", async || {
            let ready = http().get(format!("http://{address}/-/ready")).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                Ok(())
            } else {
                Err(prometheus.log())
            }
        })
        .await;
        prometheus
    }

    /// Its version, without the patch.
    pub(crate) async fn version(&self) -> (u32, u32) {
        let answer = http().get(format!("http://{}/api/v1/status/buildinfo", self.address)).send().await;
        let answer: Value = answer.unwrap().json().await.unwrap();
        let version = answer["data"]["version"].as_str().unwrap().to_owned();
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or_default());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    /// Its log, with everything it found wrong with a page.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// The result of an instant query; `None` until it answers.
    pub(crate) async fn query(&self, expression: &str) -> Option<Value> {
        let url = format!("http://{}/api/v1/query", self.address);
        let answer = http().get(url).query(&[("query", expression)]).send().await.ok()?;
        let mut answer: Value = answer.json().await.ok()?;
        (answer["status"] == "success").then(|| answer["data"]["result"].take())
    }

    /// An instant query whose result is one series: its value.
    pub(crate) async fn value(&self, expression: &str) -> Option<f64> {
        let result = self.query(expression).await?;
        let [one] = result.as_array()?.as_slice() else { return None };
        one["value"][1].as_str()?.parse().ok()
    }
}

/// Where a Go program of Prometheus' family says that it listens.
/// Source: prometheus/exporter-toolkit `web/tls_config.go`.
pub(super) fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("msg=\"Listening on\"")?;
    rest.split_once("address=")?.1.split_whitespace().next()?.parse().ok()
}
