//! The two that are compared, with the same samples: a Prometheus, and valmis, which answers over HTTP or,
//! where a query needs what its server does not switch on, as a library.

use std::path::Path;

use futures_util::FutureExt;
use serde_json::{Value, json};

use valmis::clock::{Clock, SystemClock};
use valmis::exposition::remote_write;
use valmis::model::{LineColumn, Point, Sample, Series, TimestampMs, format_float};
use valmis::promql::{
    self, AnnotationKind, EvalError, EvalOptions, EvalRange, Expr, Features, Output, eval, parse_with,
    prefetch,
};
use valmis::storage::MemoryStorage;

use super::comparison::Answer;
use super::data::{SPAN_MS, samples};
use super::generator::{Query, When};
use super::versions::Version;
use crate::real::http;
use crate::real::prometheus::Prometheus;
use crate::real::valmis::Valmis;

/// valmis takes samples by remote write and watches nothing, so that all it has is what it was given, its
/// own figures aside.
const CONFIGURATION: &str = "storage: {remote_write_receiver: true}\ndisks: []\n";

/// How many samples are sent at once.
const BATCH: usize = 5_000;

pub(super) struct Sides {
    pub(super) prometheus: Prometheus,
    pub(super) version: Version,
    pub(super) valmis: Valmis,
    library: MemoryStorage,
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
        let library = MemoryStorage::new();
        for run in samples.chunk_by(|one, next| one.labels == next.labels) {
            library
                .load(&run[0].labels, run.iter().map(|sample| Point { at: sample.at, value: sample.value }));
        }
        let version = prometheus.version().await;
        Self { prometheus, version, valmis, library, start }
    }

    /// What both say to a query.
    pub(super) async fn ask(&self, query: &Query) -> (Answer, Answer) {
        let prometheus = over_http(self.prometheus.address, query);
        // What the server refuses only because it is experimental is asked of the library.
        let experimental = promql::parse(&query.text).is_err();
        match parse_with(&query.text, Features::ALL) {
            Ok(expr) if experimental => (prometheus.await, self.of_library(query, &expr)),
            _ => tokio::join!(prometheus, over_http(self.valmis.address, query)),
        }
    }

    /// How both print a query.
    pub(super) async fn formatted(&self, text: &str) -> (String, String) {
        tokio::join!(format(self.prometheus.address, text), format(self.valmis.address, text))
    }

    fn of_library(&self, query: &Query, expr: &Expr) -> Answer {
        let range = match query.when {
            When::Instant(at) => EvalRange::instant(at),
            When::Range { start, end, step_ms } => EvalRange { start, end, step_ms },
        };
        let options = EvalOptions::default();
        let result = prefetch(expr, &range, &options, &self.library)
            .now_or_never()
            .expect("a store in memory never waits")
            .and_then(|data| eval(expr, &range, &data, &options));
        let json = match result {
            Ok(output) => success(&query.text, &output),
            Err(error) => failure(&error),
        };
        Answer { status: None, body: None, json }
    }
}

async fn send(address: std::net::SocketAddr, samples: &[Sample]) {
    let url = format!("http://{address}/api/v1/write");
    let request = http()
        .post(url)
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .body(remote_write::encode(samples));
    let answer = request.send().await.unwrap();
    let status = answer.status();
    assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap());
}

async fn over_http(address: std::net::SocketAddr, query: &Query) -> Answer {
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
    let answer = http().post(format!("http://{address}/api/v1/{path}")).form(&form).send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap();
    let json = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    Answer { status: Some(status), body: Some(body), json }
}

async fn format(address: std::net::SocketAddr, text: &str) -> String {
    let url = format!("http://{address}/api/v1/format_query");
    http().post(url).form(&[("query", text)]).send().await.unwrap().text().await.unwrap()
}

/// An output as the API shows it.
fn success(query: &str, output: &Output) -> Value {
    let time = |at: TimestampMs| if at % 1_000 == 0 { json!(at / 1_000) } else { json!(at as f64 / 1_000.0) };
    let point = |at: TimestampMs, value: f64| json!([time(at), format_float(value)]);
    let data = match &output.value {
        promql::Value::Scalar { at, value } => json!({"resultType": "scalar", "result": point(*at, *value)}),
        promql::Value::String { at, value } => json!({"resultType": "string", "result": [time(*at), value]}),
        promql::Value::Vector(samples) => {
            let one = |sample: &promql::InstantSample| json!({"metric": metric(&sample.labels), "value": point(sample.at, sample.value)});
            json!({"resultType": "vector", "result": samples.iter().map(one).collect::<Vec<_>>()})
        }
        promql::Value::Matrix(series) => {
            let one = |series: &Series| {
                let points: Vec<_> = series.points.iter().map(|one| point(one.at, one.value)).collect();
                json!({"metric": metric(&series.labels), "values": points})
            };
            json!({"resultType": "matrix", "result": series.iter().map(one).collect::<Vec<_>>()})
        }
    };
    let texts = |kind| -> Vec<String> {
        let annotations = output.annotations.iter().filter(|annotation| annotation.kind == kind);
        annotations
            .map(|one| format!("{} ({})", one.message, LineColumn::of(query, one.span.start)))
            .collect()
    };
    json!({
        "status": "success",
        "data": data,
        "warnings": texts(AnnotationKind::Warning),
        "infos": texts(AnnotationKind::Info),
    })
}

fn metric(labels: &valmis::model::Labels) -> Value {
    labels
        .iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn failure(error: &EvalError) -> Value {
    json!({"status": "error", "errorType": "execution", "error": error.to_string()})
}
