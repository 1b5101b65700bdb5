//! The two that are compared, with the same samples: a Prometheus, and valmis.

use std::net::SocketAddr;
use std::path::Path;

use valmis::clock::{Clock, SystemClock};
use valmis::model::TimestampMs;

use super::comparison::Answer;
use super::data::{SPAN_MS, samples};
use super::generator::{Query, When};
use super::versions::Version;
use crate::real::http;
use crate::real::prometheus::Prometheus;
use crate::real::remote_write::send;
use crate::real::valmis::Valmis;

/// valmis takes samples by remote write and watches nothing, so that all it has is what it was given, its
/// own figures aside. The interval, which is Prometheus' default, is also the step of subqueries.
const CONFIGURATION: &str = "\
storage: {remote_write_receiver: true}
features: [promql-experimental-functions]
evaluation_interval: 1m
disks: []
";

/// How many samples are sent at once.
const BATCH: usize = 5_000;

pub(super) struct Sides {
    prometheus: Prometheus,
    valmis: Valmis,
    pub(super) version: Version,
    /// When the samples begin.
    pub(super) start: TimestampMs,
}

impl Sides {
    /// Starts both and gives them the samples of a seed. They end some minutes ago.
    pub(super) async fn start(programs: &Path, seed: u64) -> Self {
        let now = SystemClock.now();
        let start = now - now.rem_euclid(60_000) - SPAN_MS - 4 * 60_000;
        let samples = samples(seed, start);
        let (prometheus, valmis) =
            tokio::join!(Prometheus::receiver(programs, &[]), Valmis::start_with(CONFIGURATION, &[]));
        for batch in samples.chunks(BATCH) {
            tokio::join!(send(prometheus.address, batch), send(valmis.address, batch));
        }
        let version = prometheus.version().await;
        Self { prometheus, valmis, version, start }
    }

    /// What both say to a query.
    pub(super) async fn ask(&self, query: &Query) -> (Answer, Answer) {
        tokio::join!(ask(self.prometheus.address, query), ask(self.valmis.address, query))
    }

    /// How both print a query.
    pub(super) async fn format(&self, text: &str) -> (Answer, Answer) {
        let form = [("query", text.to_owned())];
        let path = "format_query";
        tokio::join!(post(self.prometheus.address, path, &form), post(self.valmis.address, path, &form))
    }
}

async fn ask(address: SocketAddr, query: &Query) -> Answer {
    let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000));
    let mut form = vec![("query", query.text.clone())];
    let path = match query.when {
        When::Instant(at) => {
            form.push(("time", seconds(at)));
            "query"
        }
        When::Range { start, end, step_ms } => {
            form.extend([("start", seconds(start)), ("end", seconds(end)), ("step", seconds(step_ms))]);
            "query_range"
        }
    };
    post(address, path, &form).await
}

async fn post(address: SocketAddr, path: &str, form: &[(&str, String)]) -> Answer {
    let answer = http().post(format!("http://{address}/api/v1/{path}")).form(form).send().await.unwrap();
    Answer::new(answer.status().as_u16(), answer.text().await.unwrap())
}
