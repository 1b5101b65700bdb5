//! The rows of blackbox exporter's `prober/grpc_test.go`, and servers that mean no good.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::SendResponse;
use hyper::http::HeaderMap;
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use valmis::probe::ProbeOutcome;
use valmis::probe::grpc::{GrpcConfig, GrpcProber, METADATA};

use super::{END_OF_2026, LITTLE, Trusted, assert_values, kind, run, run_within};
use crate::servers::{clock, listen, value};

/// What a server says: the head's status and type, the body, and the trailers.
struct Saying {
    http_status: u16,
    content_type: &'static str,
    body: Option<&'static [u8]>,
    trailers: &'static [(&'static str, &'static str)],
}

const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
const NOT_SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 2];
const OK: &[(&str, &str)] = &[("grpc-status", "0")];

const fn saying(body: Option<&'static [u8]>, trailers: &'static [(&'static str, &'static str)]) -> Saying {
    Saying { http_status: 200, content_type: "application/grpc", body, trailers }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// Speaks HTTP/2 on a connection and answers every call alike.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut respond: impl FnMut(&Request<h2::RecvStream>, Vec<u8>, SendResponse<Bytes>),
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((mut request, answer))) = connection.accept().await {
        // The question is so small that it comes with the head, or right after it.
        let mut question = Vec::new();
        tokio::select! {
            biased;
            () = async {
                while let Some(Ok(piece)) = request.body_mut().data().await {
                    question.extend(piece);
                }
            } => {}
            _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => return,
        }
        respond(&request, question, answer);
    }
}

fn say(saying: &Saying, mut answer: SendResponse<Bytes>) {
    let mut head = Response::builder().status(saying.http_status);
    head = head.header("content-type", saying.content_type);
    let Some(body) = saying.body else {
        for (name, value) in saying.trailers {
            head = head.header(*name, *value);
        }
        answer.send_response(head.body(()).unwrap(), true).unwrap();
        return;
    };
    let mut stream = answer.send_response(head.body(()).unwrap(), false).unwrap();
    stream.send_data(Bytes::from_static(body), saying.trailers.is_empty()).unwrap();
    if !saying.trailers.is_empty() {
        stream.send_trailers(headers(saying.trailers)).unwrap();
    }
}

async fn server(saying: &'static Saying) -> SocketAddr {
    listen(move |stream| serve(stream, |_, _, answer| say(saying, answer))).await
}

/// A health service that knows the services `service` and `service2`.
fn health(question: &[u8]) -> &'static Saying {
    static UP: Saying = saying(Some(SERVING), OK);
    static DOWN: Saying = saying(Some(NOT_SERVING), OK);
    static NOT_FOUND: Saying = saying(None, &[("grpc-status", "5"), ("grpc-message", "unknown service")]);
    match question {
        b"\0\0\0\0\x09\x0a\x07service" | b"\0\0\0\0\0" => &UP,
        b"\0\0\0\0\x0a\x0a\x08service2" => &DOWN,
        _ => &NOT_FOUND,
    }
}

fn config(service: &str) -> GrpcConfig {
    GrpcConfig { service: service.to_owned(), ..GrpcConfig::default() }
}

async fn ask(config: GrpcConfig, target: &str) -> ProbeOutcome {
    run(&GrpcProber::new(config, target, clock()).unwrap(), METADATA).await
}

/// The status that the server is shown with, of which there must be one at most.
fn serving_status(outcome: &ProbeOutcome) -> Option<&'static str> {
    let statuses = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
    let shown = |status: &&'static str| {
        let found = value(outcome, "probe_grpc_healthcheck_response", &[("serving_status", status)]);
        found.expect("every status has a sample") == 1.0
    };
    let shown: Vec<_> = statuses.into_iter().filter(shown).collect();
    assert!(shown.len() <= 1, "{shown:?}");
    shown.first().copied()
}

#[tokio::test]
async fn services_are_asked_for_their_health() {
    let address = listen(|stream| serve(stream, |_, question, answer| say(health(&question), answer)))
        .await
        .to_string();
    for (service, expected, code, status) in [
        ("service", "ok", 0.0, Some("SERVING")),
        ("", "ok", 0.0, Some("SERVING")),
        ("service2", "health", 0.0, Some("NOT_SERVING")),
        ("service3", "grpc", 5.0, None),
    ] {
        let outcome = ask(config(service), &address).await;
        assert_eq!(kind(&outcome), expected, "{:?}", outcome.result);
        assert_values(&outcome, &[("probe_grpc_status_code", code), ("probe_grpc_ssl", 0.0)]);
        assert_eq!(serving_status(&outcome), status);
        for phase in ["resolve", "check"] {
            assert!(value(&outcome, "probe_grpc_duration_seconds", &[("phase", phase)]).is_some());
        }
        assert_eq!(value(&outcome, "probe_ssl_earliest_cert_expiry", &[]), None);
    }
    for target in [format!("http://{address}"), format!("https://{address}/x")] {
        assert_eq!(ask(config("service"), &target).await.result, Ok(()));
    }
}

#[tokio::test]
async fn metadata_and_the_time_left_are_sent_along() {
    static UP: Saying = saying(Some(SERVING), OK);
    static REFUSED: Saying = saying(None, &[("grpc-status", "16")]);
    let address = listen(|stream| {
        serve(stream, |request, _, answer| {
            let all = |name: &str| -> Vec<_> {
                request.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
            };
            let timeout = all("grpc-timeout")[0].strip_suffix('m').unwrap().parse::<u64>().unwrap();
            let is_good = all("m1") == ["v1", "v2"]
                && all("bytes-bin") == ["/w"]
                && all("te") == ["trailers"]
                && all("content-type") == ["application/grpc"]
                && request.method() == "POST"
                && request.uri().path() == "/grpc.health.v1.Health/Check"
                && (1..=20_000).contains(&timeout);
            say(if is_good { &UP } else { &REFUSED }, answer);
        })
    })
    .await;
    let mut config = config("service");
    config.metadata.add("m1", b"v1").unwrap();
    config.metadata.add("M1", b"v2").unwrap();
    config.metadata.add("bytes-bin", b"\xff").unwrap();
    let outcome = ask(config, &address.to_string()).await;
    assert_eq!(outcome.result, Ok(()));
    let outcome = ask(GrpcConfig::default(), &address.to_string()).await;
    assert_values(&outcome, &[("probe_grpc_status_code", 16.0)]);
}

#[tokio::test]
async fn health_may_be_asked_for_in_tls() {
    static UP: Saying = saying(Some(SERVING), OK);
    let in_tls = async |trusted: &Trusted| {
        let acceptor = trusted.acceptor.clone();
        let address = listen(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                serve(stream, |_, _, answer| say(&UP, answer)).await;
            }
        })
        .await;
        (address, GrpcConfig { tls: Some(trusted.tls()), ..GrpcConfig::default() })
    };
    let trusted = Trusted::speaking(&["h2"]);
    let (address, config) = in_tls(&trusted).await;
    let outcome = ask(config.clone(), &format!("localhost:{}", address.port())).await;
    assert_eq!(outcome.result, Ok(()));
    assert_values(
        &outcome,
        &[
            ("probe_grpc_ssl", 1.0),
            ("probe_grpc_status_code", 0.0),
            ("probe_ssl_earliest_cert_expiry", END_OF_2026),
            ("probe_ssl_last_chain_expiry_timestamp_seconds", END_OF_2026),
        ],
    );
    assert_eq!(value(&outcome, "probe_tls_version_info", &[("version", "TLS 1.3")]), Some(1.0));
    let outcome = ask(config, &address.to_string()).await;
    assert_eq!(kind(&outcome), "certificate");
    let expiry = ("probe_ssl_earliest_cert_expiry", END_OF_2026);
    assert_values(&outcome, &[("probe_grpc_ssl", 1.0), ("probe_grpc_status_code", 14.0), expiry]);

    let trusted = Trusted::speaking(&[]);
    let (address, config) = in_tls(&trusted).await;
    let outcome = ask(config, &format!("localhost:{}", address.port())).await;
    assert_eq!(outcome.result.unwrap_err().reason, "the server does not agree to speak HTTP/2");
}

#[tokio::test]
async fn a_server_without_tls_has_no_certificate() {
    static UP: Saying = saying(Some(SERVING), OK);
    let address = server(&UP).await;
    let in_tls = GrpcConfig { tls: Some(Trusted::new().tls()), ..GrpcConfig::default() };
    let outcome = ask(in_tls, &format!("localhost:{}", address.port())).await;
    assert!(outcome.result.is_err());
    assert_values(&outcome, &[("probe_grpc_ssl", 0.0)]);
    assert_eq!(value(&outcome, "probe_ssl_earliest_cert_expiry", &[]), None);
}

#[tokio::test]
async fn what_is_no_good_answer_has_the_code_that_grpc_gives_it() {
    static CASES: [(Saying, f64); 12] = [
        (saying(None, &[("grpc-status", "12"), ("grpc-message", "no health service")]), 12.0),
        (saying(None, OK), 13.0),
        (saying(Some(SERVING), &[]), 13.0),
        (saying(Some(SERVING), &[("x", "y")]), 2.0),
        (saying(Some(SERVING), &[("grpc-status", "8")]), 8.0),
        (saying(Some(b""), OK), 13.0),
        (saying(Some(&[1, 0, 0, 0, 2, 8, 1]), OK), 13.0),
        (saying(Some(&[0, 0, 0, 0, 3, 8, 1]), OK), 13.0),
        (saying(Some(&[0, 0, 0, 0, 2, 9, 1]), OK), 13.0),
        (Saying { content_type: "text/html", ..saying(Some(b"<html>"), &[]) }, 2.0),
        (Saying { http_status: 404, ..saying(Some(b""), &[]) }, 12.0),
        (Saying { http_status: 503, ..saying(Some(b""), &[]) }, 14.0),
    ];
    for (at, (saying, code)) in CASES.iter().enumerate() {
        let outcome = ask(GrpcConfig::default(), &server(saying).await.to_string()).await;
        assert_eq!(kind(&outcome), "grpc", "case {at}: {:?}", outcome.result);
        assert_values(&outcome, &[("probe_grpc_status_code", *code)]);
        assert_eq!(serving_status(&outcome), None);
    }
}

#[tokio::test]
async fn hostile_servers_are_left_in_time() {
    static LARGE: Saying = saying(Some(&[0; 20_000]), OK);
    let little = async |target: SocketAddr| {
        let prober = GrpcProber::new(GrpcConfig::default(), &target.to_string(), clock()).unwrap();
        run_within(LITTLE, &prober, METADATA).await
    };
    let silent = listen(|stream| async move {
        stream.readable().await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    // Takes the call and never answers.
    let waiting = listen(|stream| {
        let mut kept = Vec::new();
        serve(stream, move |_, _, answer| kept.push(answer))
    })
    .await;
    for target in [silent, waiting] {
        let outcome = little(target).await;
        let expected = "out of time after 0.400 s, while asking for the health";
        assert_eq!(outcome.result.as_ref().unwrap_err().reason, expected);
        assert_values(&outcome, &[("probe_grpc_status_code", 4.0)]);
    }

    let outcome = ask(GrpcConfig::default(), &server(&LARGE).await.to_string()).await;
    assert_values(&outcome, &[("probe_grpc_status_code", 8.0)]);

    for said in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), b"", &[0xff; 5000]] {
        let rude = listen(move |mut stream| async move {
            stream.readable().await.unwrap();
            let _ = stream.write_all(said).await;
        })
        .await;
        let outcome = ask(GrpcConfig::default(), &rude.to_string()).await;
        assert_eq!(kind(&outcome), "grpc", "{:?}", outcome.result);
        assert!(value(&outcome, "probe_grpc_status_code", &[]) > Some(0.0));
    }
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = ask(GrpcConfig::default(), &closed.to_string()).await;
    assert_eq!(kind(&outcome), "connect");
    assert_values(&outcome, &[("probe_grpc_status_code", 14.0)]);
}
