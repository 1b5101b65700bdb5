//! The rows of blackbox exporter's `prober/websocket_test.go`, and servers that mean no good.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use valmis::client::{Header, HttpAuth, SecretSource};
use valmis::model::Secret;
use valmis::probe::http::{Credentials, Grant, OAuth2Config, ProxyConfig};
use valmis::probe::tls::TlsConfig;
use valmis::probe::websocket::{METADATA, QueryResponse, WebsocketConfig, WebsocketProber};
use valmis::probe::{AddressPolicy, IpProtocol, Pattern, ProbeOutcome, Reach};

use super::{END_OF_2026, LITTLE, PLENTY, Trusted, assert_values, kind, run_within};
use crate::servers::{answer, clock, listen, read_head, value};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A step that expects and then sends.
fn step(expect: &str, send: &str) -> QueryResponse {
    QueryResponse { expect: Some(Pattern::new(expect).unwrap()), send: send.into() }
}

fn steps(query_response: Vec<QueryResponse>) -> WebsocketConfig {
    WebsocketConfig { query_response, ..WebsocketConfig::default() }
}

fn header(name: &'static str, value: SecretSource) -> Header {
    Header { name: name.try_into().unwrap(), value }
}

async fn ask_within(allowed: Duration, config: WebsocketConfig, target: &str) -> ProbeOutcome {
    run_within(allowed, &WebsocketProber::new(config, target, clock()).unwrap(), METADATA).await
}

async fn ask(config: WebsocketConfig, target: &str) -> ProbeOutcome {
    ask_within(PLENTY, config, target).await
}

fn accept(head: &str) -> String {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
    });
    let joined = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.unwrap());
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes()))
}

fn switching(head: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept(head)
    )
}

/// Agrees to the upgrade; gives the head of the request.
async fn upgrade(stream: &mut impl Stream) -> String {
    let head = read_head(stream).await;
    stream.write_all(switching(&head).as_bytes()).await.unwrap();
    head
}

/// A frame of a server that carries less than 126 bytes.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(payload.len()).unwrap()], payload].concat()
}

fn text(payload: &str) -> Vec<u8> {
    frame(0x81, payload.as_bytes())
}

/// The next frame of the client: its first byte and what it carries.
async fn hear_frame(stream: &mut impl Stream) -> (u8, Vec<u8>) {
    let mut start = [0; 6];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(start[1] & 0x80, 0x80, "a client masks what it sends");
    let mut payload = vec![0; usize::from(start[1] & 0x7f)];
    stream.read_exact(&mut payload).await.unwrap();
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= start[2 + at % 4];
    }
    (start[0], payload)
}

/// The server of blackbox exporter's test.
async fn talkative() -> SocketAddr {
    listen(|mut stream| async move {
        upgrade(&mut stream).await;
        stream.write_all(&text("incoming_test")).await.unwrap();
        let (_, said) = hear_frame(&mut stream).await;
        let answer = if said == b"outgoing_test" { "passed" } else { "failed" };
        stream.write_all(&text(answer)).await.unwrap();
    })
    .await
}

#[tokio::test]
async fn blackbox_cases_of_messages_hold() {
    let target = format!("ws://{}", talkative().await);
    let check = async |second: &str, addresses: AddressPolicy, failed: f64| {
        let query_response = vec![step("incoming_(.+)", "outgoing_${1}"), step(second, "")];
        let config = WebsocketConfig { addresses, ..steps(query_response) };
        let outcome = ask(config, &target).await;
        assert_eq!(kind(&outcome), if failed == 0.0 { "ok" } else { "expect" }, "{:?}", outcome.log);
        assert_values(
            &outcome,
            &[
                ("probe_websocket_status_code", 101.0),
                ("probe_websocket_connection_upgraded", 1.0),
                ("probe_websocket_failed_due_to_regex", failed),
                ("probe_ip_protocol", 4.0),
            ],
        );
        for phase in ["resolve", "connect", "processing", "transfer"] {
            let seconds = value(&outcome, "probe_websocket_duration_seconds", &[("phase", phase)]);
            assert!(seconds.is_some_and(|seconds| seconds >= 0.0), "{phase}: {seconds:?}");
        }
    };
    check("^passed", AddressPolicy::default(), 0.0).await;
    check("^someotherstring", AddressPolicy::default(), 1.0).await;
    let ip4 = AddressPolicy { preferred: IpProtocol::Ip4, ..AddressPolicy::default() };
    check("^passed", ip4, 0.0).await;
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_replaced_once() {
    let given = Arc::new(AtomicUsize::new(0));
    let counter = given.clone();
    let tokens = listen(move |mut stream| {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            read_head(&mut stream).await;
            let token = format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", token.len());
            answer(&mut stream, head + &token).await;
        }
    })
    .await;
    let least = Arc::new(AtomicUsize::new(1));
    let wanted = least.clone();
    let server = listen(move |mut stream| {
        let least = wanted.load(Ordering::SeqCst);
        async move {
            let head = read_head(&mut stream).await;
            let accepted = (least..9).any(|number| head.contains(&format!("Bearer t{number}\r\n")));
            let refused = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned();
            answer(&mut stream, if accepted { switching(&head) } else { refused }).await;
        }
    })
    .await;
    let client = OAuth2Config {
        client_id: "me".to_owned(),
        grant: Grant::ClientSecret(SecretSource::Value(Secret::new("hunter2"))),
        token_url: format!("http://{tokens}/").parse().unwrap(),
        scopes: Vec::new(),
        endpoint_params: Vec::new(),
        tls: TlsConfig::default(),
        proxy: ProxyConfig::default(),
    };
    let credentials = Some(Credentials::OAuth2(Box::new(client)));
    let config = WebsocketConfig { credentials, ..WebsocketConfig::default() };
    let prober = WebsocketProber::new(config, &format!("ws://{server}"), clock()).unwrap();
    // Which tokens are accepted, what is said, and how many have been given then.
    for (accepted, expected, count) in [(1, "ok", 1), (1, "ok", 1), (2, "ok", 2), (9, "status", 3)] {
        least.store(accepted, Ordering::SeqCst);
        let outcome = run_within(PLENTY, &prober, METADATA).await;
        assert_eq!(kind(&outcome), expected, "{accepted}: {:?}", outcome.log);
        assert_eq!(given.load(Ordering::SeqCst), count, "{accepted}: {:?}", outcome.log);
    }
}

#[tokio::test]
async fn blackbox_case_of_tls_holds_and_certificates_are_reported() {
    let trusted = Trusted::speaking(&["http/1.1"]);
    let acceptor = trusted.acceptor.clone();
    let (heads, mut heard) = mpsc::unbounded_channel();
    let server = listen(move |stream| {
        let (acceptor, heads) = (acceptor.clone(), heads.clone());
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                heads.send(upgrade(&mut stream).await).unwrap();
            }
        }
    })
    .await;
    let target = format!("wss://localhost:{}/chat?room=1", server.port());
    let config = WebsocketConfig {
        credentials: Some(HttpAuth::Bearer(SecretSource::Value(Secret::new("test_token"))).into()),
        headers: vec![header("x-should-be-sent", SecretSource::Value(Secret::new("true")))],
        ..WebsocketConfig::default()
    };
    let insecure = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
    for tls in [insecure, trusted.tls()] {
        let outcome = ask(WebsocketConfig { tls, ..config.clone() }, &target).await;
        assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
        assert_values(
            &outcome,
            &[
                ("probe_websocket_status_code", 101.0),
                ("probe_websocket_connection_upgraded", 1.0),
                ("probe_ssl_earliest_cert_expiry", END_OF_2026),
            ],
        );
        let transfer = value(&outcome, "probe_websocket_duration_seconds", &[("phase", "transfer")]);
        assert_eq!(transfer, None, "nothing was exchanged");
        let head = heard.recv().await.unwrap().to_lowercase();
        assert!(head.starts_with("get /chat?room=1 http/1.1\r\n"), "{head}");
        assert!(head.contains("authorization: bearer test_token\r\n"), "{head}");
        assert!(head.contains("x-should-be-sent: true\r\n"), "{head}");
    }
    let outcome = ask(config, &target).await;
    assert_eq!(kind(&outcome), "certificate");
    assert_values(
        &outcome,
        &[("probe_websocket_connection_upgraded", 0.0), ("probe_ssl_earliest_cert_expiry", END_OF_2026)],
    );
    assert!(heard.try_recv().is_err(), "nothing is said to a server that nobody trusts");
}

// `TestCostructHeadersFromConfig` of blackbox exporter.
#[tokio::test]
async fn blackbox_cases_of_headers_hold() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        SecretSource::File(path)
    };
    let plain = |text: &str| SecretSource::Value(Secret::new(text));
    let (heads, mut heard) = mpsc::unbounded_channel();
    let server = listen(move |mut stream| {
        let heads = heads.clone();
        async move { heads.send(upgrade(&mut stream).await).unwrap() }
    })
    .await;
    let mut check = async |username, password, own: Header, expected: [&str; 2]| {
        let credentials = Some(HttpAuth::Basic { username, password }.into());
        let config = WebsocketConfig { credentials, headers: vec![own], ..WebsocketConfig::default() };
        let outcome = ask(config, &format!("ws://{server}/")).await;
        assert_eq!(outcome.result, Ok(()));
        let head = heard.recv().await.unwrap();
        let lines: Vec<String> = head.lines().map(str::to_lowercase).collect();
        for line in expected {
            assert!(lines.contains(&line.to_lowercase()), "{line}: {head}");
        }
    };
    check(
        plain("user"),
        plain("password"),
        header("x-custom-header", plain("custom_value")),
        ["Authorization: Basic dXNlcjpwYXNzd29yZA==", "X-Custom-Header: custom_value"],
    )
    .await;
    check(
        file("user", "user_from_file\n"),
        file("password", "password_from_file"),
        header("x-header-from-file", file("header", "header_value_from_file")),
        [
            "Authorization: Basic dXNlcl9mcm9tX2ZpbGU6cGFzc3dvcmRfZnJvbV9maWxl",
            "X-Header-From-File: header_value_from_file",
        ],
    )
    .await;
    std::fs::remove_file(folder.path().join("user")).unwrap();
    let gone = HttpAuth::Bearer(SecretSource::File(folder.path().join("user")));
    let config = WebsocketConfig { credentials: Some(gone.into()), ..WebsocketConfig::default() };
    let failure = ask(config, &format!("ws://{server}/")).await.result.unwrap_err();
    assert!(failure.unknown && failure.kind == "http_config", "{failure:?}");
}

#[tokio::test]
async fn pings_are_answered_and_the_end_is_said() {
    let (frames, mut heard) = mpsc::unbounded_channel();
    let server = listen(move |mut stream| {
        let frames = frames.clone();
        async move {
            upgrade(&mut stream).await;
            let said = [frame(0x89, b"there?"), frame(0x01, b"hel"), frame(0x89, b""), frame(0x80, b"lo")];
            stream.write_all(&said.concat()).await.unwrap();
            for _ in 0..4 {
                frames.send(hear_frame(&mut stream).await).unwrap();
            }
        }
    })
    .await;
    let outcome = ask(steps(vec![step("^hello$", "bye")]), &format!("ws://{server}")).await;
    assert_eq!(outcome.result, Ok(()));
    for expected in [(0x8a, &b"there?"[..]), (0x8a, b""), (0x81, b"bye"), (0x88, &[3, 232])] {
        let (first, payload) = heard.recv().await.unwrap();
        assert_eq!((first, payload.as_slice()), expected);
    }
}

/// What a server does after the head of the request.
enum Deed {
    /// Sends this and closes.
    Answer(Vec<u8>),
    /// Agrees, sends this and closes.
    Agree(Vec<u8>),
    /// Agrees and sends this again and again.
    Flood(Vec<u8>),
    /// Agrees and says nothing more.
    Silence,
    /// Says nothing at all.
    Mute,
}

async fn serve(mut stream: tokio::net::TcpStream, deed: Arc<Deed>) {
    let head = read_head(&mut stream).await;
    match &*deed {
        Deed::Answer(bytes) => {
            // The client may have gone at the first bytes.
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        }
        Deed::Agree(bytes) => {
            stream.write_all(switching(&head).as_bytes()).await.unwrap();
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        }
        Deed::Flood(bytes) => {
            stream.write_all(switching(&head).as_bytes()).await.unwrap();
            while stream.write_all(bytes).await.is_ok() {}
            return;
        }
        Deed::Silence => stream.write_all(switching(&head).as_bytes()).await.unwrap(),
        Deed::Mute => {}
    }
    // Until the client goes, so that the kernel does not reset what it has not read yet.
    while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
}

#[tokio::test]
async fn servers_that_mean_no_good_are_told_from_good_ones_in_time() {
    let answer = |text: &str| Deed::Answer(text.as_bytes().to_vec());
    let upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let huge = [b"\x82\x7f".as_slice(), &u64::MAX.to_be_bytes()].concat();
    let piece = [b"\x00\x7e\xff\xff".as_slice(), &vec![b'x'; 65_535]].concat();
    let begun = [frame(0x01, b""), piece.repeat(20)].concat();
    // What the server does, the kind of failure, the status, whether it counts as upgraded, and as the
    // pattern's fault.
    let rows = [
        (Deed::Mute, "timeout", 0.0, 0.0, 0.0),
        (answer(""), "http", 0.0, 0.0, 0.0),
        (answer("SSH-2.0-OpenSSH\r\n\r\n"), "http", 0.0, 0.0, 0.0),
        (answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), "status", 200.0, 0.0, 0.0),
        (answer("HTTP/1.1 302 Found\r\nlocation: ws://127.0.0.1:1/\r\n\r\n"), "status", 302.0, 0.0, 0.0),
        (answer("HTTP/1.1 403 Forbidden\r\ncontent-length: 9999\r\n\r\n"), "status", 403.0, 0.0, 0.0),
        (answer(&format!("{upgraded}\r\n")), "answer", 101.0, 0.0, 0.0),
        (answer(&format!("{upgraded}Sec-WebSocket-Accept: x\r\n\r\n")), "answer", 101.0, 0.0, 0.0),
        (answer(&format!("HTTP/1.1 200 OK\r\n{}", "x-a: b\r\n".repeat(20_000))), "http", 0.0, 0.0, 0.0),
        (Deed::Silence, "timeout", 101.0, 1.0, 0.0),
        (Deed::Agree(Vec::new()), "connection", 101.0, 1.0, 1.0),
        (Deed::Agree(frame(0x88, b"\x03\xf3full")), "connection", 101.0, 1.0, 1.0),
        (Deed::Agree(b"\x81\x05he".to_vec()), "connection", 101.0, 1.0, 1.0),
        (Deed::Agree(text("no")), "expect", 101.0, 1.0, 1.0),
        (Deed::Agree(b"\x81\x85\0\0\0\0hello".to_vec()), "answer", 101.0, 1.0, 0.0),
        (Deed::Agree(frame(0xc1, b"hello")), "answer", 101.0, 1.0, 0.0),
        (Deed::Agree(frame(0x83, b"hello")), "answer", 101.0, 1.0, 0.0),
        (Deed::Agree(huge), "answer", 101.0, 1.0, 0.0),
        (Deed::Agree(begun), "answer", 101.0, 1.0, 0.0),
        (Deed::Flood(frame(0x00, b"")), "answer", 101.0, 1.0, 0.0),
        (Deed::Flood(frame(0x89, b"there?")), "answer", 101.0, 1.0, 0.0),
        (Deed::Flood(frame(0x8a, b"")), "answer", 101.0, 1.0, 0.0),
    ];
    for (number, (deed, expected, status, upgraded, regex)) in rows.into_iter().enumerate() {
        // Only those who make it wait are given little time.
        let allowed = if expected == "timeout" { LITTLE } else { PLENTY };
        let deed = Arc::new(deed);
        let server = listen(move |stream| serve(stream, deed.clone())).await;
        let outcome = ask_within(allowed, steps(vec![step("^hello", "")]), &format!("ws://{server}")).await;
        assert_eq!(kind(&outcome), expected, "row {number}: {:?}", outcome.log);
        assert_values(
            &outcome,
            &[
                ("probe_websocket_status_code", status),
                ("probe_websocket_connection_upgraded", upgraded),
                ("probe_websocket_failed_due_to_regex", regex),
            ],
        );
        assert!(outcome.log.len() < 300, "row {number}: {}", outcome.log.len());
    }
}

#[tokio::test]
async fn a_websocket_out_of_reach_is_not_connected_to() {
    let server = talkative().await;
    let addresses =
        AddressPolicy { reach: Reach { loopback: false, ..Reach::ANYWHERE }, ..AddressPolicy::default() };
    let config = WebsocketConfig { addresses, ..WebsocketConfig::default() };
    let outcome = ask(config, &format!("ws://{server}")).await;
    assert_eq!(kind(&outcome), "forbidden");
    assert_values(&outcome, &[("probe_websocket_status_code", 0.0), ("probe_ip_protocol", 0.0)]);
}
