//! Clients that send or read slowly, or too much: each is told or let go in bounded time, and takes no place
//! from others.

use std::net::SocketAddr;
use std::time::Duration;

use ::valmis::listener::{Door, Limits, Metrics, Server};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::real::valmis::{COMMON, NO_DISK, Valmis};
use crate::real::{eventually, http, turn};

/// How long a client has for each thing.
const ALLOWED: Duration = Duration::from_millis(300);
/// More than all buffers on the way hold.
const LARGE: usize = 64 << 20;

struct Site {
    address: SocketAddr,
    registry: Registry,
    _stop: DropGuard,
}

impl Site {
    async fn start(limits: Limits) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, false);
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/large", get(async || vec![b'x'; LARGE]))
            .route("/length", post(async |body: Bytes| body.len().to_string()));
        let server = Server { door: Door::Open, router, limits, metrics };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(listener, stop.clone()));
        Self { address, registry, _stop: stop.drop_guard() }
    }

    async fn impatient() -> Self {
        let limits = Limits { head: ALLOWED, body: ALLOWED, answer: ALLOWED, ..Limits::default() };
        Self::start(limits).await
    }

    /// Sends `first`, then `drops` one after the other as long as the server takes them. Gives what is
    /// answered until the server closes.
    async fn say(&self, first: &str, drops: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let drops = drops.as_bytes().to_vec();
        let dripping = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(ALLOWED / 20);
            for drop in drops {
                ticks.tick().await;
                if writing.write_all(&[drop]).await.is_err() {
                    return;
                }
            }
            // The connection stays open from this side.
            std::future::pending::<()>().await;
        });
        let mut answer = Vec::new();
        // Closing while drops are under way is a reset.
        let _ = tokio::time::timeout(crate::real::PATIENCE, reading.read_to_end(&mut answer))
            .await
            .expect("the server closes");
        dripping.abort();
        String::from_utf8(answer).unwrap()
    }

    fn rejected(&self, reason: &str) -> f64 {
        self.metric(&format!("valmis_http_rejections_total{{reason=\"{reason}\"}}"))
    }

    fn metric(&self, name: &str) -> f64 {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry).unwrap();
        let value = page.lines().find_map(|line| line.strip_prefix(name)).expect("the metric");
        value.trim().parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_slowly_is_told_or_let_go() {
    let site = Site::impatient().await;
    let drops = "x".repeat(10_000);
    let late = "HTTP/1.1 408 Request Timeout\r\n";
    let ten = "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 10000\r\n\r\n";
    let chunked = "POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    for (what, first, drops, expected) in [
        ("silence", "", "", ""),
        ("half a head", "GET / HTTP/1.1\r\nhost: x\r\n", "", ""),
        ("a head in drops", "GET / HTTP/1.1\r\nx: ", &*drops, ""),
        ("silence after a request", "GET / HTTP/1.1\r\nhost: x\r\n\r\n", "", "HTTP/1.1 200 OK\r\n"),
        ("no body", ten, "", late),
        ("a body in drops", ten, &*drops, late),
        ("no chunk", chunked, "", late),
        ("half a chunk", chunked, "5\r\nab", late),
        ("chunks in drops", chunked, &"1\r\nx\r\n".repeat(1000), late),
    ] {
        let answer = site.say(first, drops).await;
        if expected.is_empty() {
            assert_eq!(answer, "", "{what}");
        } else {
            assert!(answer.starts_with(expected), "{what}: {answer}");
        }
        if expected == late {
            assert!(answer.contains("connection: close\r\n"), "{what}: {answer}");
            assert!(answer.ends_with("\r\n\r\nRequest Timeout\n"), "{what}: {answer}");
        }
    }
    assert_eq!(site.rejected("slow_request"), 5.0);
    let answer = http().post(format!("http://{}/length", site.address)).body("12345").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_takes_its_place_for_a_bounded_time() {
    let limits = Limits { connections: 1, answer: ALLOWED, ..Limits::default() };
    let site = Site::start(limits).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    // The only place is free again once the reader has been let go.
    let answer = http().get(format!("http://{}/", site.address)).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello");
    assert_eq!(site.rejected("slow_reader"), 1.0);
    eventually("the end of all connections", async || {
        let open = site.metric("valmis_http_connections");
        if open == 0.0 { Ok(()) } else { Err(open) }
    })
    .await;

    // Who reads gets all of it.
    let site = Site::start(Limits::default()).await;
    let answer = http().get(format!("http://{}/large", site.address)).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap().len(), LARGE);
    assert_eq!(site.rejected("slow_reader"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_and_bodies_have_a_largest_size() {
    let _turn = turn().await;
    let valmis = Valmis::start(&format!("{COMMON}{NO_DISK}storage: {{remote_write_receiver: true}}\n")).await;
    let ask = async |request: &[u8]| {
        let mut stream = TcpStream::connect(valmis.address).await.unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let head = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").into_bytes()
    };
    let query = |bytes: usize| format!("/health?x={}", "y".repeat(bytes));
    let header = |bytes: usize| format!("x: {}\r\n", "y".repeat(bytes));
    for (what, request, expected) in [
        ("a long URL", head(&query(60_000), ""), "200 OK"),
        ("too long a URL", head(&query(66_000), ""), "414 URI Too Long"),
        ("a large head", head("/health", &header(100 << 10)), "200 OK"),
        ("too large a head", head("/health", &header(300 << 10)), "431 Request Header Fields Too Large"),
        ("many headers", head("/health", &"x: y\r\n".repeat(90)), "200 OK"),
        ("too many headers", head("/health", &"x: y\r\n".repeat(110)), "431 Request Header Fields Too Large"),
    ] {
        let answer = ask(&request).await;
        let status = answer.lines().next();
        assert_eq!(status, Some(&*format!("HTTP/1.1 {expected}")), "{what}");
    }
    let form = "application/x-www-form-urlencoded";
    for (path, kind, megabytes, expected) in [
        ("/api/v1/query", form, 9, 200),
        ("/api/v1/query", form, 11, 400),
        ("/api/v1/write", "application/x-protobuf", 9, 413),
    ] {
        let body = [b"query=1&x=".to_vec(), vec![b'y'; megabytes << 20]].concat();
        let request = http().post(format!("http://{}{path}", valmis.address)).header("content-type", kind);
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{path}: {megabytes} MiB");
    }
}
