//! Clients that speak HTTP/2 and say nothing, or send or read slowly.

use std::sync::Arc;
use std::time::Duration;

use ::valmis::clock::SystemClock;
use ::valmis::listener::{self, Access, Door, Limits, Metrics, Server};
use axum::Router;
use axum::body::Bytes;
use axum::http::Request;
use axum::routing::{get, post};
use h2::client::SendRequest;
use prometheus_client::registry::Registry;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::real::PATIENCE;
use crate::servers::{Authority, params, write};

/// How long a client has for each thing.
const ALLOWED: Duration = Duration::from_millis(300);
/// More than the client grants at first. Source: RFC 9113, 6.9.2.
const LARGE: usize = 1 << 20;
/// What begins a connection, with empty settings. Source: RFC 9113, 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

struct Site {
    address: std::net::SocketAddr,
    trusted: Arc<ClientConfig>,
    registry: Registry,
    _folder: TempDir,
    _stop: DropGuard,
}

impl Site {
    async fn start() -> Self {
        let authority = Authority::root("Tests", 2035);
        let mut subject = params("localhost", &["localhost"]);
        subject.not_after = rcgen::date_time_ymd(2035, 1, 1);
        let identity = authority.sign(&subject);
        let folder = TempDir::new().unwrap();
        write(folder.path(), "server.crt", &identity.pem);
        write(folder.path(), "server.key", identity.key.serialize_pem());
        let tls = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n";
        let path = write(folder.path(), "web.yml", tls);
        let loaded = listener::load(&path).expect("a good configuration");
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, false);
        let access = Arc::new(Access::new(path, &loaded, Arc::new(SystemClock), metrics.clone()));
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/large", get(async || vec![b'x'; LARGE]))
            .route("/length", post(async |body: Bytes| body.len().to_string()));
        let limits = Limits { head: ALLOWED, body: ALLOWED, answer: ALLOWED, ..Limits::default() };
        let server = Server { door: Door::Guarded(access), router, limits, metrics };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(listener, stop.clone()));

        let mut roots = RootCertStore::empty();
        roots.add(authority.der.clone()).unwrap();
        let mut trusted = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        trusted.alpn_protocols = vec![b"h2".to_vec()];
        let trusted = Arc::new(trusted);
        Self { address, trusted, registry, _folder: folder, _stop: stop.drop_guard() }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(self.trusted.clone());
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    /// A client that answers pings, and the task in which it does.
    async fn client(&self) -> (SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
        let (client, connection) = h2::client::handshake(self.connect().await).await.unwrap();
        let running = tokio::spawn(async move {
            // How it ends is for the tests to say.
            let _ = connection.await;
        });
        (client.ready().await.unwrap(), running)
    }

    fn rejected(&self, reason: &str) -> f64 {
        let name = format!("valmis_http_rejections_total{{reason=\"{reason}\"}}");
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry).unwrap();
        let value = page.lines().find_map(|line| line.strip_prefix(&name)).expect("the metric");
        value.trim().parse().unwrap()
    }
}

fn get_request(path: &str) -> Request<()> {
    Request::get(format!("https://localhost{path}")).body(()).unwrap()
}

/// The whole of an answer.
async fn whole(answer: h2::client::ResponseFuture) -> Result<(u16, String), h2::Error> {
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        text.extend_from_slice(&data);
    }
    Ok((status, String::from_utf8(text).unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_over_http_2_is_let_go() {
    let site = Site::start().await;
    for (what, said) in [("nothing", &b""[..]), ("half a preface", &PREFACE[..10]), ("a preface", PREFACE)] {
        let mut stream = site.connect().await;
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        // Closing without a farewell is an error of TLS.
        let closed = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "{what}: the connection stays open");
    }
    let (client, running) = site.client().await;
    timeout(PATIENCE, running)
        .await
        .expect("an idle connection is closed though pings are answered")
        .unwrap();
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_again_in_time_keeps_the_connection() {
    let site = Site::start().await;
    let (mut client, running) = site.client().await;
    let begin = Instant::now();
    let mut ticks = interval(ALLOWED / 10);
    while begin.elapsed() < ALLOWED * 3 {
        ticks.tick().await;
        let (answer, _) = client.send_request(get_request("/"), true).unwrap();
        assert_eq!(whole(answer).await.unwrap(), (200, "hello".to_owned()));
    }
    assert!(!running.is_finished());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_slowly_over_http_2_is_told_and_keeps_the_connection() {
    let site = Site::start().await;
    let (mut client, running) = site.client().await;
    for drip in [false, true] {
        let request = Request::post("https://localhost/length").body(()).unwrap();
        let (answer, mut sending) = client.send_request(request, false).unwrap();
        let dripping = tokio::spawn(async move {
            let mut ticks = interval(ALLOWED / 20);
            loop {
                ticks.tick().await;
                // The server says that it wants no more.
                if drip && sending.send_data(Bytes::from_static(b"x"), false).is_err() {
                    return;
                }
            }
        });
        let answer = timeout(PATIENCE, whole(answer)).await.expect("an answer").unwrap();
        assert_eq!(answer, (408, "Request Timeout\n".to_owned()), "{drip}");
        dripping.abort();
    }
    assert_eq!(site.rejected("slow_request"), 2.0);
    let (answer, _) = client.send_request(get_request("/"), true).unwrap();
    assert_eq!(whole(answer).await.unwrap(), (200, "hello".to_owned()));
    assert!(!running.is_finished());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_over_http_2_is_let_go() {
    let site = Site::start().await;
    let (mut client, running) = site.client().await;
    let (answer, _) = client.send_request(get_request("/large"), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    // Nothing of the window is given back.
    timeout(PATIENCE, running).await.expect("the connection is closed").unwrap();
    assert_eq!(site.rejected("slow_reader"), 1.0);
    drop(answer);

    let (mut client, _running) = site.client().await;
    let (answer, _) = client.send_request(get_request("/large"), true).unwrap();
    let (status, body) = whole(answer).await.unwrap();
    assert_eq!((status, body.len()), (200, LARGE));
}
