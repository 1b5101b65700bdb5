use axum::extract::Form;
use axum::routing::post;

use super::*;
use crate::model::{FloatHistogram, Labels};
use crate::promql::{InstantSample, Value, parse};

fn source(url: Url) -> RemoteSource {
    let timeout = Duration::from_secs(10);
    let config = RemoteConfig { url, http: HttpConfig::default(), timeout, parameters: Vec::new() };
    RemoteSource::new(config, SourceMetrics::default()).expect("usable settings")
}

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
    (source(url), requests)
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
    let source = source(url);
    let expr = parse("up").expect("valid query");
    let error = source.instant(&expr, 0).await.expect_err("nobody there").to_string();
    assert!(error.contains("/api/v1/query") && !error.contains("secret"), "{error}");
}

#[test]
fn times_are_seconds() {
    assert_eq!(seconds(1_500), "1.500");
    assert_eq!(seconds(-1), "-0.001");
    assert_eq!(wire::milliseconds(1_435_781_451.781), 1_435_781_451_781);
}
