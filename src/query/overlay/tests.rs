use axum::extract::{Form, State};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use url::Url;

use super::*;
use crate::client::HttpConfig;
use crate::promql::parse;
use crate::query::{RemoteConfig, SourceMetrics};
use crate::storage::MemoryStorage;

type Request = std::collections::BTreeMap<String, String>;

/// A server that evaluates over this store, and what it was asked.
#[derive(Clone)]
struct Server {
    store: Arc<MemoryStorage>,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn answer(State(server): State<Server>, Form(request): Form<Request>) -> Json<serde_json::Value> {
    lock(&server.asked).push(request["query"].clone());
    let expr = parse(&request["query"]).expect("a query");
    let seconds: f64 = request["time"].parse().expect("a time");
    let source = LocalSource::new(server.store.clone(), LocalConfig::default());
    let value = source.instant(&expr, (seconds * 1e3).round() as i64).await.expect("a result").value;
    let metric = |labels: &Labels| -> serde_json::Value {
        labels
            .iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let point = |at: i64, value: f64| json!([at as f64 / 1e3, crate::model::format_float(value)]);
    let data = match value {
        Value::Vector(vector) => json!({"resultType": "vector", "result": vector.iter().map(|sample| {
            json!({"metric": metric(&sample.labels), "value": point(sample.at, sample.value)})
        }).collect::<Vec<_>>()}),
        Value::Matrix(matrix) => json!({"resultType": "matrix", "result": matrix.iter().map(|series| {
            let values = series.points.iter().map(|one| point(one.at, one.value)).collect::<Vec<_>>();
            json!({"metric": metric(&series.labels), "values": values})
        }).collect::<Vec<_>>()}),
        other => panic!("not expected: {other:?}"),
    };
    Json(json!({"status": "success", "data": data}))
}

/// A source over a server, its store and the own one.
async fn overlay(own: &[&str]) -> (OverlaySource, Server, Arc<MemoryStorage>) {
    let server = Server { store: Arc::default(), asked: Arc::default() };
    let router = Router::new().route("/api/v1/query", post(answer)).with_state(server.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = RemoteConfig {
        url: Url::parse(&url).expect("a URL"),
        http: HttpConfig::default(),
        timeout: std::time::Duration::from_secs(10),
        parameters: Vec::new(),
    };
    let remote = RemoteSource::new(config, SourceMetrics::default()).expect("usable settings");
    let store = Arc::new(MemoryStorage::new());
    let source = OverlaySource::new(remote, store.clone(), LocalConfig::default());
    source.own_names(own.iter().map(|name| (*name).to_owned()).collect());
    (source, server, store)
}

/// Loads `name{job=…}` with a point each ten seconds.
fn load(store: &MemoryStorage, name: &str, job: &str, values: &[f64]) {
    let labels = Labels::from_pairs([("__name__", name), ("job", job)]);
    let points = values.iter().zip(1..).map(|(value, index)| Point { at: index * 10_000, value: *value });
    store.load(&labels, points);
}

const NOW: TimestampMs = 65_000;

#[tokio::test]
async fn recorded_names_are_those_of_the_store_and_all_others_the_servers() {
    let (source, server, store) = overlay(&["job:r", "ALERTS"]).await;
    load(&server.store, "up", "a", &[1.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
    load(&server.store, "up", "b", &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    // Ends before now, and long before the lookback does.
    load(&server.store, "up", "c", &[1.0, 1.0, stale_nan()]);
    load(&server.store, "job:r", "stranger", &[9.0; 6]);
    load(&store, "job:r", "a", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    load(&store, "job:r", "b", &[2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    // Of the store, and not recorded by rules of this source.
    load(&store, "up", "own", &[7.0; 6]);

    // What both together would answer.
    let both = MemoryStorage::new();
    for series in server.store.dump().into_iter().filter(|series| series.labels.metric_name() != "job:r") {
        both.load(&series.labels, series.points);
    }
    for series in store.dump().into_iter().filter(|series| series.labels.metric_name() == "job:r") {
        both.load(&series.labels, series.points);
    }
    let whole = LocalSource::new(Arc::new(both), LocalConfig::default());

    let check = async |query: &str, at_server: &[&str]| {
        let expr = parse(query).expect("a query");
        lock(&server.asked).clear();
        let found = source.instant(&expr, NOW).await.expect("a result");
        let expected = whole.instant(&expr, NOW).await.expect("a result");
        assert_eq!(found.value, expected.value, "{query}");
        let mut asked = lock(&server.asked).clone();
        asked.sort();
        assert_eq!(asked, at_server, "{query}");
    };
    // As it is, or not at all.
    check("sum(rate(up[1m]))", &["sum(rate(up[1m]))"]).await;
    check("job:r > 5", &[]).await;
    check("rate(job:r[1m]) unless ALERTS", &[]).await;
    // The current values, or the samples of the range.
    check("up * on (job) job:r", &["{__name__=\"up\"}"]).await;
    check("max_over_time(up[25s]) + job:r offset 10s", &["{__name__=\"up\"}[25s]"]).await;
    check("timestamp(up) - job:r", &["{__name__=\"up\"}", "{__name__=\"up\"}[5m]"]).await;
    check("min_over_time(up[1m:10s]) * job:r", &["{__name__=\"up\"}", "{__name__=\"up\"}[5m50s]"]).await;
    check("count by (__name__) ({__name__=~\"up|job:r\"})", &["{__name__=~\"up|job:r\"}"]).await;
    check("absent(nothing) * on () group_right () job:r", &["{__name__=\"nothing\"}"]).await;
    check("up offset 30s and on (job) job:r @ 65", &["{__name__=\"up\"}"]).await;
}

#[tokio::test]
async fn what_the_server_says_is_the_error() {
    let (source, _, _) = overlay(&["job:r"]).await;
    let OverlaySource(inner) = &source;
    let unreachable = RemoteConfig {
        url: Url::parse("http://127.0.0.1:1").expect("a URL"),
        http: HttpConfig::default(),
        timeout: std::time::Duration::from_secs(10),
        parameters: Vec::new(),
    };
    let remote = RemoteSource::new(unreachable, SourceMetrics::default()).expect("usable settings");
    let source = OverlaySource::new(remote, inner.store.clone(), LocalConfig::default());
    source.own_names(BTreeSet::from(["job:r".to_owned()]));
    let expr = parse("up and job:r").expect("a query");
    let error = source.instant(&expr, NOW).await.expect_err("nobody there").to_string();
    assert!(error.starts_with("asking `http://127.0.0.1:1/api/v1/query`"), "{error}");
}
