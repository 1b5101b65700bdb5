//! HTTP over one connection, in the version that was agreed on.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;

use super::http3;
use crate::probe::wire::{BoxStream, MAX_HEAD_BYTES, explain};

/// The name of HTTP/2 in the TLS handshake. Source: RFC 9113, section 3.1.
pub(super) const ALPN_HTTP2: &str = "h2";
/// The name of HTTP/1.1 in the TLS handshake. Source: RFC 7301, section 6.
pub(super) const ALPN_HTTP1: &str = "http/1.1";

/// How much of a body a server may send over HTTP/2 before it was read. Enough for a health check at
/// once, and little against many probes of servers that send without end.
const HTTP2_WINDOW_BYTES: u32 = 256 * 1024;

/// What sends the request.
pub(super) enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// What moves the bytes: to be polled as long as the [`Sender`] and the response's body are used.
pub(super) type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

impl Sender {
    /// Gets ready to send a request over `stream`.
    pub(super) async fn new(stream: BoxStream, is_http2: bool) -> hyper::Result<(Self, Driver)> {
        let io = TokioIo::new(stream);
        if is_http2 {
            let (sender, connection) = http2::Builder::new(Tasks::default())
                .timer(TokioTimer::new())
                .initial_stream_window_size(HTTP2_WINDOW_BYTES)
                .initial_connection_window_size(HTTP2_WINDOW_BYTES)
                .max_header_list_size(MAX_HEAD_BYTES)
                .handshake(io)
                .await?;
            return Ok((Self::Http2(sender), Box::pin(connection)));
        }
        let (sender, connection) = http1::Builder::new()
            // Some servers still expect it, and Go does it.
            .title_case_headers(true)
            .max_buf_size(MAX_HEAD_BYTES as usize)
            // Who asks reads both: RFC 7230, section 3.2.4.
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .handshake(io)
            .await?;
        Ok((Self::Http1(sender), Box::pin(connection)))
    }

    /// Sends the request; gives the response once its head is there.
    pub(super) async fn send(&mut self, request: Request<Bytes>) -> hyper::Result<Response<Body>> {
        let request = request.map(Full::new);
        let response = match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        };
        Ok(response?.map(Body::Hyper))
    }
}

/// The body of a response, in whatever version it comes.
pub(super) enum Body {
    Hyper(Incoming),
    Http3(Box<http3::Body>),
}

impl Body {
    /// The next piece; `None` at the end.
    pub(super) async fn piece(&mut self) -> Option<io::Result<Bytes>> {
        let body = match self {
            Self::Http3(body) => return body.piece().await,
            Self::Hyper(body) => body,
        };
        loop {
            match body.frame().await? {
                Err(error) => return Some(Err(io::Error::other(explain(&error)))),
                // Trailers say nothing that is judged.
                Ok(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        return Some(Ok(piece));
                    }
                }
            }
        }
    }
}

/// Where HTTP/2 leaves its tasks: they end with the connection, however far the server lets them get.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }
}
