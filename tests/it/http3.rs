//! The HTTP probe over HTTP/3: servers on this machine, good and bad ones, and a real one.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h3::server::RequestStream;
use h3_quinn::BidiStream;
use hyper::http::{Method, Request, Response, Version};
use quinn::crypto::rustls::QuicServerConfig;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use url::Url;
use valmis::client::SecretSource;
use valmis::probe::http::{HttpConfig, HttpProber, METADATA, Protocol};
use valmis::probe::tls::{TlsConfig, TlsVersions};
use valmis::probe::{AddressPolicy, Pattern, ProbeOutcome, Reach};

use crate::real::postgres::free_port;
use crate::real::process::Process;
use crate::real::{cache, eventually, missing};
use crate::servers::{Authority, assert_well_formed, clock, params, probe_within, value, write};

/// More than any probe of a willing server needs, however busy the machine is.
const PLENTY: Duration = Duration::from_secs(20);
/// What a probe of an unwilling server is given.
const LITTLE: Duration = Duration::from_millis(600);

/// A server called `localhost` over QUIC.
struct Server {
    port: u16,
    ca: SecretSource,
    requests: Arc<AtomicUsize>,
    _folder: TempDir,
    _endpoint: quinn::Endpoint,
}

impl Server {
    /// One that agrees to speak this.
    fn speaking(alpn: &[u8]) -> Self {
        let authority = Authority::root("root", 2030);
        let folder = tempfile::tempdir().unwrap();
        let ca = SecretSource::File(write(folder.path(), "ca.pem", &authority.pem));
        let mut tls = authority.sign(&params("localhost", &["localhost"])).server_config();
        tls.alpn_protocols = vec![alpn.to_vec()];
        let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (accepting, counter) = (endpoint.clone(), requests.clone());
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                tokio::spawn(serve(incoming, counter.clone()));
            }
        });
        let port = endpoint.local_addr().unwrap().port();
        Self { port, ca, requests, _folder: folder, _endpoint: endpoint }
    }

    fn start() -> Self {
        Self::speaking(b"h3")
    }

    /// The settings for a probe of one of its pages.
    fn config(&self, path: &str) -> HttpConfig {
        let url = Url::parse(&format!("https://localhost:{}{path}", self.port)).unwrap();
        let tls = TlsConfig { ca: Some(self.ca.clone()), ..TlsConfig::default() };
        HttpConfig { protocol: Protocol::Http3, tls, ..HttpConfig::new(url) }
    }
}

async fn serve(incoming: quinn::Incoming, requests: Arc<AtomicUsize>) {
    let Ok(connection) = incoming.await else { return };
    let connection = h3_quinn::Connection::new(connection);
    let Ok(mut connection) = h3::server::Connection::<_, Bytes>::new(connection).await else { return };
    while let Ok(Some(resolver)) = connection.accept().await {
        requests.fetch_add(1, Ordering::SeqCst);
        if let Ok((request, stream)) = resolver.resolve_request().await {
            tokio::spawn(answer(request, stream));
        }
    }
}

/// Answers by the path of the request. The client may have gone at any time.
async fn answer(request: Request<()>, mut stream: RequestStream<BidiStream<Bytes>, Bytes>) {
    let build = Response::builder;
    let path = request.uri().path();
    let head = match path {
        "/missing" => build().status(404),
        "/to" | "/loop" | "/plain" => {
            let target = [("/to", "/"), ("/loop", "/loop"), ("/plain", "http://localhost:1/")];
            let location = target.into_iter().find(|(from, _)| *from == path).unwrap().1;
            build().status(302).header("location", location)
        }
        "/large-head" => build().header("x-large", "x".repeat(100_000)),
        _ => build().header("content-type", "text/plain"),
    };
    if path == "/silent" {
        // As long as the test lasts.
        std::future::pending::<()>().await;
    }
    if stream.send_response(head.body(()).unwrap()).await.is_err() {
        return;
    }
    match path {
        "/echo" => {
            let length = request.headers().get("content-length").cloned();
            while let Ok(Some(mut piece)) = stream.recv_data().await {
                let piece = piece.copy_to_bytes(piece.remaining());
                let _ = stream.send_data(piece).await;
            }
            let length = length.map_or("none".to_owned(), |length| length.to_str().unwrap().to_owned());
            let _ = stream.send_data(format!(" {} {length}", request.method()).into()).await;
        }
        "/endless" => while stream.send_data(Bytes::from_static(&[b'x'; 4096])).await.is_ok() {},
        "/stops" => {
            let _ = stream.send_data("some".into()).await;
            std::future::pending::<()>().await;
        }
        "/cut" => {
            let _ = stream.send_data("some".into()).await;
            stream.stop_stream(h3::error::Code::H3_INTERNAL_ERROR);
            return;
        }
        _ => {
            let _ = stream.send_data("all is well".into()).await;
        }
    }
    let _ = stream.finish().await;
}

async fn ask_within(allowed: Duration, config: HttpConfig) -> ProbeOutcome {
    let outcome = probe_within(&HttpProber::new(config, clock()).unwrap(), allowed).await;
    assert_well_formed(&outcome, METADATA);
    outcome
}

fn kind(outcome: &ProbeOutcome) -> &'static str {
    outcome.result.as_ref().map_or_else(|failure| failure.kind, |()| "ok")
}

#[tokio::test]
async fn an_answer_over_http3_has_the_facts_of_any_other() {
    let server = Server::start();
    let mut config = server.config("/to");
    config.valid_http_versions = vec![Version::HTTP_3];
    config.fail_if_body_not_matches = vec![Pattern::new("^all is well$").unwrap()];
    let outcome = ask_within(PLENTY, config).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    for (name, labels, expected) in [
        ("probe_http_version", &[][..], 3.0),
        ("probe_http_status_code", &[], 200.0),
        ("probe_http_ssl", &[], 1.0),
        ("probe_http_redirects", &[], 1.0),
        ("probe_http_uncompressed_body_length", &[], 11.0),
        ("probe_ip_protocol", &[], 4.0),
        ("probe_ssl_earliest_cert_expiry", &[], 1_798_675_200.0),
        ("probe_tls_version_info", &[("version", "TLS 1.3")], 1.0),
        ("valmis_tls_verify_result", &[("reason", "ok")], 1.0),
    ] {
        assert_eq!(value(&outcome, name, labels), Some(expected), "{name}");
    }
    for phase in ["connect", "tls", "processing", "transfer"] {
        let seconds = value(&outcome, "probe_http_duration_seconds", &[("phase", phase)]);
        assert!(seconds.is_some_and(|seconds| seconds > 0.0), "{phase} {seconds:?}");
    }
    assert_eq!(value(&outcome, "probe_tls_cipher_info", &[]), None, "QUIC does not tell it");
}

#[tokio::test]
async fn bodies_are_sent_and_a_target_of_http_is_asked_in_https() {
    let server = Server::start();
    let mut config = server.config("/echo");
    config.url.set_scheme("http").unwrap();
    config.method = Method::POST;
    config.body = "ping".into();
    config.fail_if_body_not_matches = vec![Pattern::new("^ping POST 4$").unwrap()];
    let outcome = ask_within(PLENTY, config).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
}

#[tokio::test]
async fn answers_that_are_no_good_are_told_from_good_ones_in_time() {
    let server = Server::start();
    let check = async |allowed: Duration, path: &str, expected: &str, status: f64| {
        let config = HttpConfig { body_size_limit_bytes: 1 << 20, ..server.config(path) };
        let outcome = ask_within(allowed, config).await;
        assert_eq!(kind(&outcome), expected, "{path}: {:?}", outcome.log);
        assert_eq!(value(&outcome, "probe_http_status_code", &[]), Some(status), "{path}");
        let read = value(&outcome, "probe_http_uncompressed_body_length", &[]).unwrap();
        assert!(read <= (2 << 20) as f64, "{path} {read}");
        let is_secure = value(&outcome, "probe_http_ssl", &[]);
        assert_eq!(is_secure, Some(if path == "/plain" { 0.0 } else { 1.0 }), "{path}");
    };
    check(PLENTY, "/missing", "status", 404.0).await;
    check(PLENTY, "/loop", "status", 302.0).await;
    check(PLENTY, "/plain", "redirect", 0.0).await;
    check(PLENTY, "/large-head", "http", 0.0).await;
    check(PLENTY, "/endless", "body", 200.0).await;
    check(LITTLE, "/stops", "timeout", 200.0).await;
    check(LITTLE, "/silent", "timeout", 0.0).await;
    // What was sent before a reset may arrive or not.
    let cut = ask_within(PLENTY, server.config("/cut")).await;
    assert!(matches!(kind(&cut), "http" | "body"), "{:?}", cut.result);
}

#[tokio::test]
async fn nothing_is_said_to_a_server_over_quic_that_nobody_trusts() {
    let server = Server::start();
    let untrusted = HttpConfig { tls: TlsConfig::default(), ..server.config("/") };
    let outcome = ask_within(PLENTY, untrusted.clone()).await;
    assert_eq!(kind(&outcome), "certificate");
    assert_eq!(value(&outcome, "valmis_tls_verify_result", &[("reason", "unknown_issuer")]), Some(1.0));
    assert_eq!(value(&outcome, "probe_http_ssl", &[]), Some(1.0));
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
    let tls = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
    let outcome = ask_within(PLENTY, HttpConfig { tls, ..untrusted }).await;
    assert_eq!(outcome.result, Ok(()));
    let other = Server::speaking(b"hq");
    assert_eq!(kind(&ask_within(PLENTY, other.config("/")).await), "connect");
    let versions = TlsVersions::parse(None, Some("TLS12")).unwrap();
    let old = TlsConfig { versions, ..server.config("/").tls };
    let failure = ask_within(PLENTY, HttpConfig { tls: old, ..server.config("/") }).await.result.unwrap_err();
    assert!(failure.unknown && failure.kind == "tls_config", "{failure:?}");
    let addresses =
        AddressPolicy { reach: Reach { loopback: false, ..Reach::ANYWHERE }, ..AddressPolicy::default() };
    let outcome = ask_within(PLENTY, HttpConfig { addresses, ..server.config("/") }).await;
    assert_eq!(kind(&outcome), "forbidden");
}

#[tokio::test]
async fn a_port_that_says_nothing_or_rubbish_is_left_in_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let rubbish = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let talking = rubbish.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = talking.recv_from(&mut buffer).await {
            for said in [&b"rubbish"[..], &[0xff; 1200], &buffer[..length]] {
                let _ = talking.send_to(said, client).await;
            }
        }
    });
    let check = async |address: SocketAddr| {
        let url = Url::parse(&format!("https://{address}/")).unwrap();
        let config = HttpConfig { protocol: Protocol::Http3, ..HttpConfig::new(url) };
        let started = std::time::Instant::now();
        let outcome = ask_within(LITTLE, config).await;
        assert_eq!(kind(&outcome), "timeout", "{:?}", outcome.log);
        assert_eq!(value(&outcome, "probe_http_ssl", &[]), Some(0.0));
        assert!(started.elapsed() < LITTLE + Duration::from_secs(5));
    };
    check(silent.local_addr().unwrap()).await;
    check(rubbish.local_addr().unwrap()).await;
}

#[tokio::test]
async fn a_real_server_answers_over_http3() {
    let program = cache().join("caddy/usr/bin/caddy");
    if !program.exists() {
        return missing("caddy");
    }
    let folder = tempfile::tempdir().unwrap();
    let (authority, port) = (Authority::root("root", 2030), free_port());
    let identity = authority.sign(&params("localhost", &["localhost"]));
    let ca = SecretSource::File(write(folder.path(), "ca.pem", &authority.pem));
    let cert = write(folder.path(), "cert.pem", &identity.pem);
    let key = write(folder.path(), "key.pem", identity.key.serialize_pem());
    let settings = format!(
        "{{\n admin off\n auto_https off\n}}\nhttps://localhost:{port} {{\n bind 127.0.0.1\n \
         tls {} {}\n redir /old /new\n respond /new \"caddy speaks {{http.request.proto}}\"\n}}\n",
        cert.display(),
        key.display()
    );
    let file = write(folder.path(), "Caddyfile", settings);
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    command.env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path());
    let caddy = Process::start(&mut command, folder.path());
    let url = Url::parse(&format!("https://localhost:{port}/old")).unwrap();
    let config = HttpConfig {
        protocol: Protocol::Http3,
        tls: TlsConfig { ca: Some(ca), ..TlsConfig::default() },
        fail_if_body_not_matches: vec![Pattern::new("^caddy speaks HTTP/3.0$").unwrap()],
        ..HttpConfig::new(url)
    };
    let outcome = eventually("answer over HTTP/3", async || {
        let outcome = ask_within(LITTLE, config.clone()).await;
        match &outcome.result {
            Ok(()) => Ok(outcome),
            Err(failure) => Err(format!("{}\n{}", failure.reason, caddy.log())),
        }
    })
    .await;
    assert_eq!(value(&outcome, "probe_http_version", &[]), Some(3.0));
    assert_eq!(value(&outcome, "probe_http_redirects", &[]), Some(1.0));
}
