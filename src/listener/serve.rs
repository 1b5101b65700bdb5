//! Connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::door::{Door, Extra, refusal};
use super::exchanges::Exchanges;
use super::limits::Limits;
use super::metrics::{Metrics, Reason};
use super::timed;

/// How often an HTTP/2 connection is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How many requests a client may have open on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// How long to wait after a connection could not be accepted, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// What the first byte of a TLS connection is. Source: RFC 8446, 5.1, `handshake`.
const TLS_HANDSHAKE: u8 = 22;
/// What Go's server tells a client that speaks plain HTTP where TLS is spoken.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// What answers, and whom.
#[derive(Clone)]
pub struct Server {
    /// Who is let in, and over what.
    pub door: Door,
    /// What answers.
    pub router: Router,
    /// What a client may take.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Metrics,
}

impl Server {
    /// Serves until `stop`; then ends when the last connection has ended.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let service = TowerToHyperService::new(self.router);
        let next = async || {
            let place = places.clone().acquire_owned().await.expect("it is never closed");
            (listener.accept().await, place)
        };
        while let Some((accepted, place)) = stop.run_until_cancelled(next()).await {
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(fault) => {
                    // A connection that was gone at once is no fault; for want of descriptors one waits.
                    if !is_gone(&fault) {
                        warn!(%fault, "cannot accept connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                    continue;
                }
            };
            let connection = Connection {
                door: self.door.clone(),
                service: service.clone(),
                limits: self.limits,
                metrics: self.metrics.clone(),
                exchanges: Exchanges::new(),
                _open: Open::count(&self.metrics.connections),
            };
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                connection.serve(stream, watcher).await;
                drop(place);
            });
        }
        drop(listener);
        graceful.shutdown().await;
    }
}

fn is_gone(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(fault.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}

/// Counts a connection for as long as it is open.
struct Open(Gauge);

impl Open {
    fn count(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Connection {
    door: Door,
    service: TowerToHyperService<Router>,
    limits: Limits,
    metrics: Metrics,
    exchanges: Exchanges,
    _open: Open,
}

impl Connection {
    async fn serve(self, stream: TcpStream, watcher: Watcher) {
        // An answer is written whole; there is nothing to wait for. A socket that refuses works slower.
        let _ = stream.set_nodelay(true);
        let Some(tls) = self.door.tls() else { return self.speak(stream, false, watcher).await };
        let acceptor = TlsAcceptor::from(tls);
        match timeout(self.limits.handshake, self.handshake(acceptor, stream)).await {
            Ok(Ok(Some(stream))) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.speak(stream, http2, watcher).await;
            }
            // It has been told and counted.
            Ok(Ok(None)) => {}
            Ok(Err(fault)) => {
                self.metrics.rejected(Reason::TlsHandshake);
                debug!(%fault, "a client could not agree upon TLS");
            }
            Err(_) => self.metrics.rejected(Reason::TlsHandshake),
        }
    }

    /// None: the client speaks plain HTTP.
    async fn handshake(
        &self,
        acceptor: TlsAcceptor,
        mut stream: TcpStream,
    ) -> io::Result<Option<tokio_rustls::server::TlsStream<TcpStream>>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() && first[0] != TLS_HANDSHAKE {
            self.metrics.rejected(Reason::PlainHttp);
            stream.write_all(PLAIN_HTTP).await?;
            stream.shutdown().await?;
            return Ok(None);
        }
        acceptor.accept(stream).await.map(Some)
    }

    /// HTTP, until the client has gone or takes too long.
    async fn speak<S>(self, stream: S, is_http2: bool, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = Arc::new(self);
        let shared = connection.clone();
        let answer = service_fn(move |request| {
            let connection = shared.clone();
            async move { connection.answer(request).await }
        });
        let limits = connection.limits;
        let stream = TokioIo::new(stream);
        let spoken = async {
            if is_http2 {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .timer(TokioTimer::new())
                    .keep_alive_interval(PING_INTERVAL)
                    .max_concurrent_streams(MAX_STREAMS)
                    .max_header_list_size(limits.head_bytes);
                watcher.watch(builder.serve_connection(stream, answer)).await
            } else {
                let mut builder = http1::Builder::new();
                builder
                    .timer(TokioTimer::new())
                    .header_read_timeout(limits.head)
                    .max_buf_size(limits.head_bytes as usize);
                watcher.watch(builder.serve_connection(stream, answer)).await
            }
        };
        tokio::select! {
            ended = spoken => if let Err(fault) = ended {
                debug!(%fault, "a connection ended badly");
            },
            () = connection.exchanges.unread(limits.answer) => connection.metrics.rejected(Reason::SlowReader),
            // Over HTTP/1 that is the time for the next head. Here pings are answered for ever.
            () = connection.exchanges.idle(limits.head), if is_http2 => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, std::convert::Infallible> {
        let exchange = self.exchanges.begin();
        let extra = match self.door.admit(request.headers(), &self.metrics).await {
            Ok(extra) => extra,
            Err(refusal) => return Ok(*refusal),
        };
        let version = request.version();
        let (head, body) = request.into_parts();
        let (body, late) = timed::request(body, self.limits.body);
        let mut response = self.service.call(Request::from_parts(head, body)).await?;
        if late.is_set() {
            self.metrics.rejected(Reason::SlowRequest);
            response = refusal(StatusCode::REQUEST_TIMEOUT, Extra::new());
            if version < Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        for (name, value) in extra {
            response.headers_mut().entry(name).or_insert(value);
        }
        Ok(response.map(|body| exchange.answer(body)))
    }
}
