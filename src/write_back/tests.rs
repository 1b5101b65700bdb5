use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::sync::mpsc;

use super::*;
use crate::exposition::remote_write::{DEFAULT_LIMIT, Decoded, Protocol, decode};
use crate::model::{is_stale, stale_nan};
use crate::storage::MemoryStorage;

/// A receiver that answers one request after the other with these statuses, and then 204; and what it
/// was sent.
async fn receiver(statuses: &[u16]) -> (Config, mpsc::UnboundedReceiver<(HeaderMap, Decoded)>) {
    let (heard, requests) = mpsc::unbounded_channel();
    let answers = Arc::new(Mutex::new(statuses.to_vec()));
    let handler = post(async move |headers: HeaderMap, body: Bytes| {
        let decoded = decode(Protocol::V1, &body, DEFAULT_LIMIT).expect("a request");
        heard.send((headers, decoded)).expect("the test listens");
        let mut answers = answers.lock().expect("no panic");
        let status = if answers.is_empty() { 204 } else { answers.remove(0) };
        (StatusCode::from_u16(status).expect("a status"), "because")
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/write", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/write", handler)).await });
    let url = Url::parse(&url).expect("a URL");
    (Config { url, http: HttpConfig::default(), timeout: Duration::from_secs(10) }, requests)
}

fn sample(name: &str, at: i64, value: f64) -> Sample {
    Sample::new(Labels::from_pairs([("__name__", name)]), at, value)
}

fn start(config: &Config) -> (WriteBack, ReceiverMetrics, Arc<MemoryStorage>, Arc<dyn Appender>) {
    let metrics = ReceiverMetrics::default();
    let write_back = Receiver::new("test", config).expect("usable settings").start(metrics.clone());
    let store = Arc::new(MemoryStorage::new());
    let appender = write_back.appender(store.clone());
    (write_back, metrics, store, appender)
}

#[tokio::test]
async fn samples_are_stored_and_sent_with_their_staleness_markers() {
    let (config, mut requests) = receiver(&[]).await;
    let (write_back, metrics, store, appender) = start(&config);
    assert_eq!(appender.append_samples(&[sample("r", 1, 2.0), sample("r", 2, stale_nan())]), []);
    let (headers, decoded) = requests.recv().await.expect("a request");
    assert_eq!(headers["content-encoding"], "snappy");
    assert_eq!(headers["x-prometheus-remote-write-version"], "0.1.0");
    assert_eq!(decoded.samples[0], sample("r", 1, 2.0));
    assert!(is_stale(decoded.samples[1].value));
    assert_eq!(store.dump()[0].points.len(), 2);
    write_back.shutdown(Duration::from_secs(10)).await;
    assert_eq!(metrics.counts(), (2, 0, 0));
}

#[tokio::test]
async fn what_fails_is_sent_again_in_order_and_what_is_refused_is_dropped() {
    let (config, mut requests) = receiver(&[503, 429, 400]).await;
    let (write_back, metrics, _, appender) = start(&config);
    appender.append_samples(&[sample("first", 1, 1.0)]);
    for _ in 0..3 {
        let (_, decoded) = requests.recv().await.expect("a request");
        assert_eq!(decoded.samples[0], sample("first", 1, 1.0));
    }
    appender.append_samples(&[sample("second", 2, 1.0)]);
    let (_, decoded) = requests.recv().await.expect("a request");
    assert_eq!(decoded.samples, [sample("second", 2, 1.0)]);
    write_back.shutdown(Duration::from_secs(10)).await;
    assert_eq!(metrics.counts(), (1, 1, 0));
}

#[tokio::test]
async fn a_sample_that_is_refused_does_not_lose_those_beside_it() {
    let (config, mut requests) = receiver(&[400, 204, 400, 400, 204]).await;
    let (write_back, metrics, _, appender) = start(&config);
    let batch: Vec<Sample> = (0..4).map(|at| sample("r", at, 1.0)).collect();
    appender.append_samples(&batch);
    for expected in [&batch[..], &batch[..2], &batch[2..], &batch[2..3], &batch[3..]] {
        let (_, decoded) = requests.recv().await.expect("a request");
        assert_eq!(decoded.samples, expected);
    }
    write_back.shutdown(Duration::from_secs(10)).await;
    assert_eq!(metrics.counts(), (3, 1, 0));
}

#[tokio::test]
async fn a_receiver_that_hangs_does_not_hold_up_the_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let url = Url::parse(&url).expect("a URL");
    let config = Config { url, http: HttpConfig::default(), timeout: Duration::from_mins(10) };
    let (write_back, metrics, store, appender) = start(&config);
    appender.append_samples(&[sample("r", 1, 2.0)]);
    assert_eq!(store.dump().len(), 1);
    write_back.shutdown(Duration::from_millis(50)).await;
    assert_eq!(metrics.counts().1, 1);
}
