//! The HTTP probe against servers that are broken or mean it ill: the right answer, in time, and no more
//! read than is allowed. The rows of docs/fault-matrix.md about HTTP.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::write::{DeflateEncoder, GzEncoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use url::Url;
use valmis::client::SecretSource;
use valmis::model::Secret;
use valmis::probe::http::{Compression, HttpConfig, HttpProber, METADATA};

use crate::servers::{Authority, assert_well_formed, clock, listen, params, probe_within, value};

/// How long a probe may take here.
const ALLOWED: Duration = Duration::from_millis(700);
/// How much later than that its answer may be there on a machine with much else to do.
const GRACE: Duration = Duration::from_secs(3);
/// How much of a body may be read.
const LIMIT_BYTES: u64 = 1 << 20;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

type Connection = Box<dyn Stream>;
type Deed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Sends `piece` again and again until the client goes.
async fn forever(stream: &mut Connection, piece: &[u8], pause: Duration) {
    while stream.write_all(piece).await.is_ok() {
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Reads what the client sends first.
async fn hear(stream: &mut Connection) {
    // Whatever it was, and if it was nothing: the answer is the same.
    let _ = stream.read(&mut [0; 4096]).await;
}

fn head_of(encoding: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ntransfer-encoding: chunked\r\n\r\n")
}

async fn send_bomb(mut stream: Connection, encoding: &str, bomb: Vec<u8>) {
    hear(&mut stream).await;
    let head = head_of(encoding);
    let body = [format!("{:x}\r\n", bomb.len()).as_bytes(), &bomb, b"\r\n0\r\n\r\n"].concat();
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
    forever(&mut stream, b"", Duration::from_millis(50)).await;
}

/// 64 MiB of zeros, a few ten thousand bytes long.
fn zeros<W: std::io::Write>(mut encoder: W) -> W {
    for _ in 0..64 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    encoder
}

/// 64 MiB of `A` in Brotli.
const BROTLI_BOMB: &[u8] = b"\xcf\xff\xff\x7f\xf8\x25\x82\xe2\xb1\x40\x20\xf7\xfe\x9f\xff\xff\xff\xf0\x4b\x00\xc4\
    \x61\x01\x80\xee\xfd\x3f\xff\xff\xff\xe1\x97\x00\x88\xc3\x22\x00\xdd\xfb\x7f\xfe\xff\xff\xc3\x2f\x01\x10\x87\
    \x05\x00\xba\xf7\xff\x03";

/// A frame of HTTP/2. Source: RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// Greets in HTTP/2, sends `first`, and then `again` until the client goes.
fn http2(first: Vec<u8>, again: Vec<u8>) -> impl Fn(Connection) -> Deed + Send + Sync + 'static {
    move |mut stream| {
        let (first, again) = (first.clone(), again.clone());
        Box::pin(async move {
            hear(&mut stream).await;
            let greeting = frame(SETTINGS, 0, 0, &[]);
            let _ = stream.write_all(&[greeting, first].concat()).await;
            let pause = if again.is_empty() { Duration::from_millis(50) } else { Duration::ZERO };
            forever(&mut stream, &again, pause).await;
        })
    }
}

struct Row {
    name: &'static str,
    tls: bool,
    serve: Box<dyn Fn(Connection) -> Deed + Send + Sync>,
    compression: Compression,
    /// The kind of failure.
    kind: &'static [&'static str],
    status: f64,
}

fn row(
    name: &'static str,
    serve: impl Fn(Connection) -> Deed + Send + Sync + 'static,
    kind: &'static [&'static str],
    status: f64,
) -> Row {
    Row { name, tls: false, serve: Box::new(serve), compression: Compression::AsSent, kind, status }
}

fn says(text: &'static str, again: &'static str, pause_ms: u64) -> impl Fn(Connection) -> Deed + Send + Sync {
    move |mut stream| {
        Box::pin(async move {
            hear(&mut stream).await;
            let _ = stream.write_all(text.as_bytes()).await;
            forever(&mut stream, again.as_bytes(), Duration::from_millis(pause_ms)).await;
        })
    }
}

fn bomb(name: &'static str, encoding: &'static str, compression: Compression, bytes: Vec<u8>) -> Row {
    let serve = move |stream| -> Deed { Box::pin(send_bomb(stream, encoding, bytes.clone())) };
    Row { compression, ..row(name, serve, &["body"], 200.0) }
}

async fn check(row: Row) {
    let authority = Authority::root("root", 2030);
    let mut config = authority.sign(&params("localhost", &["localhost"])).server_config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = row.tls.then(|| TlsAcceptor::from(Arc::new(config)));
    let serve = Arc::new(row.serve);
    let address = listen(move |stream| {
        let (serve, acceptor) = (serve.clone(), acceptor.clone());
        async move {
            let stream: Connection = match acceptor {
                None => Box::new(stream),
                Some(acceptor) => Box::new(acceptor.accept(stream).await.unwrap()),
            };
            serve(stream).await;
        }
    })
    .await;
    let scheme = if row.tls { "https" } else { "http" };
    let url = Url::parse(&format!("{scheme}://localhost:{}/", address.port())).unwrap();
    let mut config = HttpConfig::new(url);
    config.tls.ca = Some(SecretSource::Value(Secret::new(authority.pem)));
    config.compression = row.compression;
    config.body_size_limit_bytes = LIMIT_BYTES;
    config.fail_if_body_not_matches = vec![valmis::probe::Pattern::new("ok").unwrap()];
    let started = Instant::now();
    let outcome = probe_within(&HttpProber::new(config, clock()).unwrap(), ALLOWED).await;
    let (name, took) = (row.name, started.elapsed());
    assert!(took < ALLOWED + GRACE, "{name}: {took:?}");
    assert_well_formed(&outcome, METADATA);
    let kind = outcome.result.as_ref().expect_err(name).kind;
    assert!(row.kind.contains(&kind), "{name}: {:?} {:?}", outcome.result, outcome.log);
    assert_eq!(value(&outcome, "probe_success", &[]), Some(0.0), "{name}");
    assert_eq!(value(&outcome, "probe_http_status_code", &[]), Some(row.status), "{name}: {:?}", outcome.log);
    let read = value(&outcome, "probe_http_uncompressed_body_length", &[]).unwrap();
    assert!(read <= LIMIT_BYTES as f64, "{name}: {read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_stall_flood_or_break_off_are_told_from_good_ones_in_time() {
    let gzip = zeros(GzEncoder::new(Vec::new(), flate2::Compression::best())).finish().unwrap();
    let deflate = zeros(DeflateEncoder::new(Vec::new(), flate2::Compression::best())).finish().unwrap();
    for row in [
        row("closes at once", |_| Box::pin(async {}), &["http"], 0.0),
        row("never answers", says("", "", 50), &["timeout"], 0.0),
        row("a header now and then", says("HTTP/1.1 200 OK\r\n", "x: y\r\n", 50), &["timeout"], 0.0),
        row("headers without end", says("HTTP/1.1 200 OK\r\n", "x: y\r\n", 0), &["http"], 0.0),
        row("a header without end", says("HTTP/1.1 200 OK\r\nx: ", "yyyyyyyyyyyyyyyy", 0), &["http"], 0.0),
        row(
            "a body now and then",
            says("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", "x", 50),
            &["timeout"],
            200.0,
        ),
        row(
            "a body without end",
            says("HTTP/1.1 200 OK\r\n\r\n", "0123456789abcdef", 0),
            &["body", "timeout"],
            200.0,
        ),
        row(
            "the size of a chunk without end",
            says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "0", 0),
            &["body", "timeout"],
            200.0,
        ),
        row(
            "interim answers without end",
            says("", "HTTP/1.1 100 Continue\r\n\r\n", 0),
            &["timeout", "http"],
            0.0,
        ),
        bomb("a gzip bomb", "gzip", Compression::Gzip, gzip),
        bomb("a deflate bomb", "deflate", Compression::Deflate, deflate),
        bomb("a brotli bomb", "br", Compression::Brotli, BROTLI_BOMB.to_vec()),
    ] {
        check(row).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_of_http2_ends_in_time() {
    // A literal header field without indexing: 4 bytes of name and value.
    let literal = [0x00, 0x01, b'x', 0x01, b'y'].repeat(100);
    for (name, first, again, kind) in [
        ("silence", vec![], vec![], &["timeout"][..]),
        ("settings without end", vec![], frame(SETTINGS, 0, 0, &[]), &["timeout", "http"]),
        ("pings without end", vec![], frame(PING, 0, 0, &[0; 8]), &["timeout", "http"]),
        (
            "headers without end",
            frame(HEADERS, 0, 1, &[0x88]),
            frame(CONTINUATION, 0, 1, &literal),
            &["http"],
        ),
        ("resets without end", vec![], frame(RST_STREAM, 0, 1, &[0, 0, 0, 2]), &["http"]),
        ("going away", frame(GOAWAY, 0, 0, &[0; 8]), vec![], &["http", "timeout"]),
        ("promises", vec![], frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2, 0x88]), &["http"]),
        ("a stream nobody opened", frame(HEADERS, 4, 7, &[0x88]), vec![], &["http"]),
        ("garbage", b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![], &["http", "timeout"]),
    ] {
        check(Row { tls: true, ..row(name, http2(first, again), kind, 0.0) }).await;
    }
}
