//! Rules over other servers: Prometheus in three versions and `VictoriaMetrics`, and what happens when one
//! of them does not answer as it should.

mod broken;
mod restore;
mod servers;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use valmis::clock::{Clock, SystemClock};
use valmis::model::{Labels, Sample};

use crate::real::prometheus::Prometheus;
use crate::real::remote_write::write_to;
use crate::real::victoria::Victoria;

/// A server with samples.
pub(crate) enum Server {
    Prometheus(Prometheus),
    Victoria(Victoria),
}

impl Server {
    /// The Prometheus in this folder, without any scrapes or rules.
    pub(crate) async fn prometheus(programs: &Path) -> Self {
        Self::Prometheus(Prometheus::receiver(programs, &[]).await)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Prometheus(server) => server.address,
            Self::Victoria(server) => server.address,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The labels and values of an instant query, ordered.
    pub(crate) async fn query(&self, expression: &str) -> Option<Vec<(String, String)>> {
        let result = match self {
            Self::Prometheus(server) => server.query(expression).await?,
            Self::Victoria(server) => server.query(expression).await?,
        };
        let one = |sample: &Value| {
            let metric = sample["metric"].as_object().unwrap().iter();
            let labels = Labels::from_pairs(metric.map(|(name, value)| (name, value.as_str().unwrap())));
            (labels.to_string(), sample["value"][1].as_str().unwrap().to_owned())
        };
        let mut found: Vec<_> = result.as_array()?.iter().map(one).collect();
        found.sort();
        Some(found)
    }

    /// Writes samples.
    pub(crate) async fn write(&self, samples: &[Sample]) {
        write_to(&self.url(), samples).await;
    }
}

/// Two instances of a job, of which one can be taken down; written four times a second.
pub(crate) struct Job {
    down: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Job {
    pub(crate) fn start(server: &Arc<Server>) -> Self {
        let (server, down) = (server.clone(), Arc::new(AtomicBool::new(false)));
        let is_down = down.clone();
        let task = tokio::spawn(async move {
            loop {
                let value = if is_down.load(Ordering::SeqCst) { 0.0 } else { 1.0 };
                let up = |instance: &str, value| {
                    let labels = [("__name__", "up"), ("job", "backend"), ("instance", instance)];
                    Sample::new(Labels::from_pairs(labels), SystemClock.now(), value)
                };
                server.write(&[up("a", value), up("b", 1.0)]).await;
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        });
        Self { down, task }
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What `/api/v1/rules` says of a rule.
pub(crate) async fn rule(valmis: &crate::real::valmis::Valmis, name: &str) -> Value {
    let answer = valmis.json("/api/v1/rules").await;
    let groups = answer["data"]["groups"].as_array().unwrap();
    let mut rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.find(|rule| rule["name"] == name).cloned().unwrap_or_else(|| panic!("no rule {name}: {answer:#}"))
}
