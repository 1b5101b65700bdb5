//! The socket below a connection, which comes back when the connection lets go of it.
//!
//! A server process outlives its connection for a moment, and during it still counts against
//! `max_connections`. Whoever promises to use at most two connections must therefore wait until the
//! server has closed its end, and for that needs the socket back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

/// A connected socket.
pub(super) enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket that returns when it is dropped.
pub(super) struct Socket {
    raw: Option<Raw>,
    back: Option<oneshot::Sender<Raw>>,
}

/// What gets the socket back.
pub(super) struct Returning(oneshot::Receiver<Raw>);

impl Socket {
    pub(super) fn new(raw: Raw) -> (Self, Returning) {
        let (back, returning) = oneshot::channel();
        (Self { raw: Some(raw), back: Some(back) }, Returning(returning))
    }

    fn raw(self: Pin<&mut Self>) -> &mut Raw {
        self.get_mut().raw.as_mut().expect("only drop takes the socket out")
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let (Some(raw), Some(back)) = (self.raw.take(), self.back.take()) {
            // Nobody waits for it: then it is closed here.
            drop(back.send(raw));
        }
    }
}

impl Returning {
    /// Waits until the server, too, has closed the connection.
    pub(super) async fn closed_by_server(self) {
        let Ok(mut raw) = self.0.await else { return };
        let mut rest = [0; 256];
        loop {
            let read = match &mut raw {
                Raw::Tcp(stream) => stream.read(&mut rest).await,
                Raw::Unix(stream) => stream.read(&mut rest).await,
            };
            if !matches!(read, Ok(1..)) {
                return;
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.raw() {
            Raw::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Raw::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.raw() {
            Raw::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Raw::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.raw() {
            Raw::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Raw::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.raw() {
            Raw::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Raw::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::Waker;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_dropped_connection_is_over_when_the_server_has_closed_its_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut socket, returning) = Socket::new(Raw::Unix(ours));
        socket.shutdown().await.unwrap();
        drop(socket);
        let mut closing = Box::pin(returning.closed_by_server());
        theirs.write_all(b"a last word").await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        assert!(closing.as_mut().poll(&mut context).is_pending());
        drop(theirs);
        closing.await;
    }

    #[tokio::test]
    async fn a_socket_that_nobody_waits_for_closes_at_once() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (socket, returning) = Socket::new(Raw::Unix(ours));
        drop(returning);
        drop(socket);
        assert_eq!(theirs.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
