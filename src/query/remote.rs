//! Evaluation by a server with Prometheus' HTTP API: Prometheus, Thanos, Mimir, `VictoriaMetrics`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::model::{HistogramPoint, Labels, Point, Series, TimestampMs, parse_float};
use crate::promql::{Annotation, AnnotationKind, EvalError, EvalRange, Expr, InstantSample, Output, Value};

use super::remote_histogram::WireHistogram;
use super::{Answer, PreparedQuery, QueryOptions, QuerySource, Timings};

/// How large an answer may be: what does not fit would not fit into memory as a result either.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// How much of an answer that is no JSON is shown in an error.
const SHOWN_BYTES: usize = 200;

/// Asks a server for the value of expressions.
///
/// Native histograms come as buckets with bounds, without their schema; how much of one can be told from
/// them is said at `remote_histogram`. One whose buckets are those of no schema, nor custom ones, is
/// left out of the result, with a warning that says so.
#[derive(Debug, Clone)]
pub struct RemoteSource(Arc<Remote>);

#[derive(Debug)]
struct Remote {
    client: Client,
    instant: Url,
    range: Url,
    timeout: Duration,
}

impl RemoteSource {
    /// A source that asks the server at `base`, below which `api/v1/query` lies. `client` brings what
    /// the server wants to see: TLS settings, credentials, tenant headers.
    pub fn new(client: Client, base: &Url, timeout: Duration) -> Self {
        let endpoint = |name: &str| {
            let mut url = base.clone();
            url.set_path(&format!("{}/api/v1/{name}", base.path().trim_end_matches('/')));
            url
        };
        let (instant, range) = (endpoint("query"), endpoint("query_range"));
        Self(Arc::new(Remote { client, instant, range, timeout }))
    }
}

impl Remote {
    async fn ask(&self, expr: &Expr, range: &EvalRange, options: &QueryOptions) -> Result<Output, EvalError> {
        let timeout = options.timeout.map_or(self.timeout, |timeout| timeout.min(self.timeout));
        let ms = |duration: Duration| format!("{}ms", duration.as_millis());
        let mut form = vec![("query", expr.to_string()), ("timeout", ms(timeout))];
        form.extend(options.lookback_delta.map(|lookback| ("lookback_delta", ms(lookback))));
        let url = if range.step_ms == 0 {
            form.push(("time", seconds(range.start)));
            &self.instant
        } else {
            form.push(("start", seconds(range.start)));
            form.push(("end", seconds(range.end)));
            form.push(("step", seconds(range.step_ms)));
            &self.range
        };
        let exchange = async {
            let response = self.client.post(url.clone()).form(&form).send().await;
            let response = response.map_err(|error| transport_error(url, &error))?;
            let status = response.status();
            Ok::<_, EvalError>((status, body(url, response).await?))
        };
        let (status, body) = tokio::time::timeout(timeout, exchange)
            .await
            .map_err(|_| EvalError::Timeout("remote evaluation"))??;
        read_answer(url, status, &body, expr)
    }
}

impl QuerySource for RemoteSource {
    /// The remote server's samples are not counted.
    fn query<'a>(
        &'a self,
        expr: &'a Expr,
        range: &'a EvalRange,
        options: &'a QueryOptions,
    ) -> BoxFuture<'a, Result<Answer, EvalError>> {
        async move {
            let output = self.0.ask(expr, range, options).await?;
            Ok(Answer { output, timings: Timings::default() })
        }
        .boxed()
    }

    fn goes_on_alone(&self) -> bool {
        true
    }

    fn prepare(&self, expr: &Arc<Expr>) -> Arc<dyn PreparedQuery> {
        Arc::new(RemoteQuery { remote: Arc::clone(&self.0), expr: Arc::clone(expr) })
    }
}

/// An expression to be asked for; nothing is kept here.
struct RemoteQuery {
    remote: Arc<Remote>,
    expr: Arc<Expr>,
}

impl PreparedQuery for RemoteQuery {
    fn instant(&self, at: TimestampMs) -> BoxFuture<'_, Result<Output, EvalError>> {
        async move {
            let range = EvalRange::instant(at);
            self.remote.ask(&self.expr, &range, &QueryOptions::default()).await
        }
        .boxed()
    }
}

/// Milliseconds as the API wants them.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

async fn body(url: &Url, mut response: Response) -> Result<Vec<u8>, EvalError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport_error(url, &error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(EvalError::TooManySamples("remote evaluation"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn transport_error(url: &Url, error: &reqwest::Error) -> EvalError {
    if error.is_timeout() {
        return EvalError::Timeout("remote evaluation");
    }
    // The innermost cause says what happened; the outer ones repeat the URL, perhaps with a password.
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    EvalError::Storage(format!("asking `{}`: {cause}", shown(url)))
}

/// The URL without credentials.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// The API's envelope.
#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType", default)]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(WirePoint),
    String((f64, String)),
    Vector(Vec<WireSample>),
    Matrix(Vec<WireSeries>),
}

/// Seconds since the epoch and a number in quotes.
#[derive(Deserialize)]
struct WirePoint(f64, String);

type WireLabels = std::collections::BTreeMap<String, String>;

#[derive(Deserialize)]
struct WireSample {
    metric: WireLabels,
    /// Absent if the sample is a native histogram.
    value: Option<WirePoint>,
    histogram: Option<WireHistogramPoint>,
}

#[derive(Deserialize)]
struct WireSeries {
    metric: WireLabels,
    #[serde(default)]
    values: Vec<WirePoint>,
    #[serde(default)]
    histograms: Vec<WireHistogramPoint>,
}

/// Seconds since the epoch and a native histogram.
#[derive(Deserialize)]
struct WireHistogramPoint(f64, WireHistogram);

fn read_answer(url: &Url, status: StatusCode, body: &[u8], expr: &Expr) -> Result<Output, EvalError> {
    let answer: Envelope = serde_json::from_slice(body).map_err(|error| {
        let start = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]);
        EvalError::Storage(format!("`{}` answered {status} with no result ({error}): {start:?}", shown(url)))
    })?;
    let Envelope { warnings, infos, .. } = &answer;
    let annotation = |kind, text: &String| Annotation {
        kind,
        message: without_place(text).to_owned(),
        // The place is one in the printed query; what is known here is the whole expression.
        span: expr.span,
    };
    let mut annotations: Vec<Annotation> =
        warnings.iter().map(|text| annotation(AnnotationKind::Warning, text)).collect();
    annotations.extend(infos.iter().map(|text| annotation(AnnotationKind::Info, text)));
    if answer.status != "success" {
        return Err(remote_error(&answer));
    }
    let data = answer
        .data
        .ok_or_else(|| EvalError::Storage(format!("`{}` answered {status} without data", shown(url))))?;
    let (value, ignored) = read_data(data).ok_or_else(|| {
        EvalError::Storage(format!("`{}` answered with a value that is no number", shown(url)))
    })?;
    if ignored > 0 {
        let text = format!("PromQL warning: {ignored} native histograms in the answer were left out");
        annotations.push(annotation(AnnotationKind::Warning, &text));
    }
    Ok(Output { value, annotations, samples: None })
}

/// The error of this process that means the same.
fn remote_error(answer: &Envelope) -> EvalError {
    let Envelope { error_type, error, .. } = answer;
    match error_type.as_str() {
        "timeout" => EvalError::Timeout("remote evaluation"),
        "canceled" => EvalError::Canceled("remote evaluation"),
        "execution" if error.contains("too many samples") => EvalError::TooManySamples("remote evaluation"),
        "execution" | "bad_data" => EvalError::Execution(error.clone()),
        _ => EvalError::Storage(error.clone()),
    }
}

/// The value and how many native histograms are left out of it; none if a number cannot be read.
fn read_data(data: Data) -> Option<(Value, usize)> {
    let mut ignored = 0;
    let value = match data {
        Data::Scalar(point) => {
            let Point { at, value } = read_point(&point)?;
            Value::Scalar { at, value }
        }
        Data::String((at, value)) => Value::String { at: milliseconds(at), value },
        Data::Vector(samples) => {
            let mut vector = Vec::with_capacity(samples.len());
            for WireSample { metric, value, histogram } in samples {
                let labels = Labels::from_pairs(&metric);
                if let Some(point) = &value {
                    let Point { at, value } = read_point(point)?;
                    vector.push(InstantSample::float(labels, at, value));
                    continue;
                }
                match histogram.as_ref().and_then(read_histogram) {
                    Some(HistogramPoint { at, histogram }) => {
                        let histogram = Some(histogram);
                        vector.push(InstantSample { histogram, ..InstantSample::float(labels, at, 0.0) });
                    }
                    None => ignored += 1,
                }
            }
            Value::Vector(vector)
        }
        Data::Matrix(series) => {
            let mut matrix = Vec::with_capacity(series.len());
            for WireSeries { metric, values, histograms } in series {
                let points = values.iter().map(read_point).collect::<Option<Vec<_>>>()?;
                let read: Vec<_> = histograms.iter().filter_map(read_histogram).collect();
                ignored += histograms.len() - read.len();
                if !points.is_empty() || !read.is_empty() {
                    let floats = Series::floats(Labels::from_pairs(&metric), points);
                    matrix.push(Series { histograms: read, ..floats });
                }
            }
            matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
            Value::Matrix(matrix)
        }
    };
    Some((value, ignored))
}

fn read_point(WirePoint(at, value): &WirePoint) -> Option<Point> {
    Some(Point { at: milliseconds(*at), value: parse_float(value)? })
}

fn read_histogram(WireHistogramPoint(at, wire): &WireHistogramPoint) -> Option<HistogramPoint> {
    Some(HistogramPoint { at: milliseconds(*at), histogram: Arc::new(wire.read()?) })
}

fn milliseconds(seconds: f64) -> TimestampMs {
    (seconds * 1000.0).round() as TimestampMs
}

/// An annotation without its ` (line:column)`.
fn without_place(text: &str) -> &str {
    let place = text.strip_suffix(')').and_then(|rest| rest.rsplit_once(" ("));
    match place {
        Some((message, place)) if place.bytes().all(|b| b.is_ascii_digit() || b == b':') => message,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Form;
    use axum::routing::post;

    use super::*;
    use crate::model::FloatHistogram;
    use crate::promql::parse;

    type Request = std::collections::BTreeMap<String, String>;

    /// A server that gives the same answer to everything, and what it was asked last.
    async fn server(answer: (u16, &'static str)) -> (RemoteSource, tokio::sync::mpsc::Receiver<Request>) {
        let (asked, requests) = tokio::sync::mpsc::channel(8);
        let handler = post(async move |Form(request): Form<Request>| {
            asked.send(request).await.expect("the test still listens");
            (axum::http::StatusCode::from_u16(answer.0).expect("a status"), answer.1)
        });
        let app = axum::Router::new()
            .route("/prometheus/api/v1/query", handler.clone())
            .route("/prometheus/api/v1/query_range", handler);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}/prometheus/", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let url = Url::parse(&base).expect("a URL");
        (RemoteSource::new(Client::new(), &url, Duration::from_secs(10)), requests)
    }

    #[tokio::test]
    async fn instant_vectors_are_read_with_their_annotations() {
        let (source, mut requests) = server((
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[
                {"metric":{"__name__":"up","job":"a"},"value":[1.5,"+Inf"]},
                {"metric":{"job":"b"},"histogram":[1.5,{"count":"3","sum":"2.5","buckets":[[0,"1","2","3"]]}]},
                {"metric":{"job":"c"},"histogram":[1.5,{"count":"3","sum":"2.5","buckets":[[2,"1","2","3"]]}]}]},
               "warnings":["PromQL warning: odd (1:7)"],"infos":["PromQL info: odder"]}"#,
        ))
        .await;
        let expr = parse("up == 1").expect("valid query");
        let output = source.instant(&expr, 1_500).await.expect("a result");
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let mut histogram = FloatHistogram::empty(0, [].into()).with_buckets([(1, 3.0)], []);
        (histogram.count, histogram.sum) = (3.0, 2.5);
        let native = InstantSample {
            histogram: Some(Arc::new(histogram)),
            ..InstantSample::float(Labels::from_pairs([("job", "b")]), 1_500, 0.0)
        };
        let float = InstantSample::float(labels, 1_500, f64::INFINITY);
        assert_eq!(output.value, Value::Vector(vec![float, native]));
        let messages: Vec<&str> = output.annotations.iter().map(|a| a.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "PromQL warning: odd",
                "PromQL info: odder",
                "PromQL warning: 1 native histograms in the answer were left out"
            ]
        );
        let request = requests.recv().await.expect("a request");
        assert_eq!(request["query"], "up == 1");
        assert_eq!(request["time"], "1.500");
        assert_eq!(request["timeout"], "10000ms");
    }

    #[tokio::test]
    async fn range_queries_are_asked_with_their_times() {
        let (source, mut requests) = server((
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[
                {"metric":{},"values":[[0,"1"],[60,"NaN"]],
                 "histograms":[[120,{"count":"0","sum":"0"}]]}]}}"#,
        ))
        .await;
        let expr = parse("sum(up)").expect("valid query");
        let range = EvalRange { start: 0, end: 60_000, step_ms: 60_000 };
        let Value::Matrix(series) = source.range(&expr, &range).await.expect("a result").value else {
            panic!("not a matrix");
        };
        assert_eq!((series[0].points.len(), series[0].histograms.len()), (2, 1));
        assert!(series[0].points[1].value.is_nan());
        let request = requests.recv().await.expect("a request");
        assert_eq!((request["start"].as_str(), request["end"].as_str()), ("0.000", "60.000"));
        assert_eq!(request["step"], "60.000");
    }

    #[tokio::test]
    async fn errors_keep_their_meaning() {
        let check = async |answer: (u16, &'static str), expected: EvalError| {
            let (source, _requests) = server(answer).await;
            let expr = parse("up").expect("valid query");
            assert_eq!(source.instant(&expr, 0).await, Err(expected));
        };
        let error = |kind: &str, text: &str| -> &'static str {
            format!(r#"{{"status":"error","errorType":"{kind}","error":"{text}"}}"#).leak()
        };
        check((422, error("execution", "boom")), EvalError::Execution("boom".to_owned())).await;
        check((503, error("timeout", "late")), EvalError::Timeout("remote evaluation")).await;
        check((400, error("bad_data", "what?")), EvalError::Execution("what?".to_owned())).await;
        check((500, error("internal", "ouch")), EvalError::Storage("ouch".to_owned())).await;
        check(
            (422, error("execution", "query processing would load too many samples into memory in x")),
            EvalError::TooManySamples("remote evaluation"),
        )
        .await;
    }

    #[tokio::test]
    async fn an_answer_that_is_no_result_is_shown() {
        let (source, _requests) = server((502, "<html>Bad Gateway</html>")).await;
        let expr = parse("up").expect("valid query");
        let error = source.instant(&expr, 0).await.expect_err("no result").to_string();
        assert!(error.contains("502 Bad Gateway") && error.contains("<html>"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_an_error_without_credentials() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let url = Url::parse(&format!("http://user:secret@{address}")).expect("a URL");
        let source = RemoteSource::new(Client::new(), &url, Duration::from_secs(10));
        let expr = parse("up").expect("valid query");
        let error = source.instant(&expr, 0).await.expect_err("nobody there").to_string();
        assert!(error.contains("/api/v1/query") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds(1_500), "1.500");
        assert_eq!(seconds(-1), "-0.001");
        assert_eq!(milliseconds(1_435_781_451.781), 1_435_781_451_781);
    }
}
