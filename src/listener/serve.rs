//! Connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
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

use super::door::Door;
use super::metrics::{Metrics, Reason};

/// How many connections are open at once; others wait. Source: Prometheus `--web.max-connections`.
const MAX_CONNECTIONS: usize = 512;
/// How long a client may take to agree upon TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take to send a head, and how long a connection may be idle: more than most
/// intervals of scrapes.
const HEADER_READ: Duration = Duration::from_secs(75);
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

/// Lets connections in through `door` and has `router` answer, until `stop`; then ends when the last
/// connection has ended.
pub async fn serve(
    listener: TcpListener,
    door: Door,
    router: Router,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let service = TowerToHyperService::new(router);
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
            door: door.clone(),
            service: service.clone(),
            metrics: metrics.clone(),
            _open: Open::count(&metrics.connections),
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
    metrics: Metrics,
    _open: Open,
}

impl Connection {
    async fn serve(self, stream: TcpStream, watcher: Watcher) {
        // An answer is written whole; there is nothing to wait for. A socket that refuses works slower.
        let _ = stream.set_nodelay(true);
        let Some(tls) = self.door.tls() else { return self.answer(stream, false, watcher).await };
        let acceptor = TlsAcceptor::from(tls);
        match timeout(HANDSHAKE, self.handshake(acceptor, stream)).await {
            Ok(Ok(Some(stream))) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.answer(stream, http2, watcher).await;
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

    async fn answer<S>(self, stream: S, is_http2: bool, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { door, service, metrics, _open } = self;
        let shared = Arc::new((door, service, metrics));
        let answer = service_fn(move |request| {
            let shared = shared.clone();
            async move {
                let (door, service, metrics) = &*shared;
                answer(door, service, metrics, request).await
            }
        });
        let stream = TokioIo::new(stream);
        let ended = if is_http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_INTERVAL)
                .max_concurrent_streams(MAX_STREAMS);
            watcher.watch(builder.serve_connection(stream, answer)).await
        } else {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_READ);
            watcher.watch(builder.serve_connection(stream, answer)).await
        };
        if let Err(fault) = ended {
            debug!(%fault, "a connection ended badly");
        }
    }
}

async fn answer(
    door: &Door,
    service: &TowerToHyperService<Router>,
    metrics: &Metrics,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    match door.admit(request.headers(), metrics).await {
        Ok(extra) => {
            let mut response = service.call(request).await?;
            for (name, value) in extra {
                response.headers_mut().entry(name).or_insert(value);
            }
            Ok(response)
        }
        Err(refusal) => Ok(*refusal),
    }
}
