//! What probers have in common that speak over a connection they made themselves.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, pending};
use std::pin::pin;

use futures_util::future::{Either, select};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection's bytes: of TCP, of TLS, of a local socket, or through a proxy.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection, whatever it goes through.
pub(super) type BoxStream = Box<dyn Stream>;

/// The largest head of a response over HTTP. Servers that people run stay far below.
pub(super) const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// Runs `exchange`, and `connection`, which moves its bytes, until `exchange` is done.
pub(super) async fn drive<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    let bytes_moving = async {
        // Its error reaches the exchange too, and means more there.
        let _ = connection.await;
        pending::<Infallible>().await
    };
    match select(pin!(exchange), pin!(bytes_moving)).await {
        Either::Left((result, _)) => result,
        Either::Right((never, _)) => match never {},
    }
}

/// An error with its causes: the texts of hyper, for one, do not name them.
pub(super) fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
