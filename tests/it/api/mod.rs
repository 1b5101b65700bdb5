//! The HTTP API of the running program: beside a real Prometheus, as Grafana asks it, and against who
//! means harm.

mod features;
mod grafana;
mod hostile;
mod requests;
mod trees;

use std::net::SocketAddr;

use reqwest::StatusCode;
use serde_json::Value;
use valmis::clock::{Clock, SystemClock};
use valmis::model::{Labels, Sample, TimestampMs};

use crate::real::prometheus::Prometheus;
use crate::real::remote_write::send;
use crate::real::valmis::Valmis;
use crate::real::{cache, http, missing};

/// A store that takes samples and a program that watches next to nothing.
const RECEIVER: &str =
    "storage: {remote_write_receiver: true}\ndisks: [{path: /dev/shm}]\nrules: [./rules/*.yaml]\n";

/// The last full minute: what is sent ends there, and neither store finds it too new or too old.
fn recently() -> TimestampMs {
    let now = SystemClock.now();
    now - now.rem_euclid(60_000)
}

/// Values of a series, the last one at `end` and the others each 15 seconds before.
fn series(labels: &[(&str, &str)], end: TimestampMs, values: &[f64]) -> Vec<Sample> {
    let labels = Labels::from_pairs(labels.iter().copied());
    let times = (0..).map(|index| end - 15_000 * index);
    let samples = values.iter().rev().zip(times).map(|(value, at)| Sample::new(labels.clone(), at, *value));
    let mut samples: Vec<Sample> = samples.collect();
    samples.reverse();
    samples
}

/// A real Prometheus and valmis beside it. `None` where there is no Prometheus.
async fn pair(configuration: &str) -> Option<(Prometheus, Valmis)> {
    let programs = cache().join("sid/usr/bin");
    if !programs.join("prometheus").exists() {
        missing("prometheus");
        return None;
    }
    Some(tokio::join!(Prometheus::receiver(&programs, &[]), Valmis::start_with(configuration, &[])))
}

/// What a server says.
#[derive(Debug)]
struct Said {
    status: StatusCode,
    content_type: String,
    body: Value,
}

impl Said {
    async fn of(answer: reqwest::Response) -> Self {
        let status = answer.status();
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let content_type = kind.unwrap_or_default().to_owned();
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, content_type, body }
    }

    /// The text of an error, or nothing.
    fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }
}

/// Sends a form.
async fn post(address: SocketAddr, path: &str, form: &[(&str, &str)]) -> Said {
    Said::of(http().post(format!("http://{address}{path}")).form(form).send().await.unwrap()).await
}
