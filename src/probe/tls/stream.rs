//! A connection in TLS whose end needs no farewell.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ClientConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client;

/// A connection in TLS. A server that just closes it, without `close_notify`, has ended what it says, as
/// long as no record was cut: whether that is enough is for the protocol above to say, which knows lengths.
/// Source: Go `crypto/tls`, `readRecordOrCCS`, since many servers do so in spite of RFC 8446, section 6.1.
pub(in crate::probe) struct TlsStream<S>(pub(super) client::TlsStream<Records<S>>);

impl<S> TlsStream<S> {
    /// What was agreed on.
    pub(in crate::probe) fn session(&self) -> &ClientConnection {
        self.0.get_ref().1
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.0).poll_read(context, buffer)) {
            Err(error)
                if error.kind() == io::ErrorKind::UnexpectedEof
                    && self.0.get_ref().0.is_between_records() =>
            {
                Poll::Ready(Ok(()))
            }
            result => Poll::Ready(result),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

/// The bytes below TLS, with the place in the records that were received.
pub(super) struct Records<S> {
    stream: S,
    place: Place,
}

impl<S> Records<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, place: Place::default() }
    }

    fn is_between_records(&self) -> bool {
        self.place == Place::default()
    }
}

/// Where in a record.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    /// How much of the record's head was there, and its length as far as that is known.
    head_bytes: u8,
    length: u16,
    /// How much of the record is still to come.
    left: u16,
}

impl Place {
    /// How long a record's head is; the last two bytes are its length. Source: RFC 8446, section 5.1.
    const HEAD_BYTES: u8 = 5;

    fn advance(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let passed = bytes.len().min(self.left.into());
                self.left -= u16::try_from(passed).expect("not more than is left");
                bytes = &bytes[passed..];
                continue;
            }
            // The type and the version are shifted out again.
            self.length = self.length << 8 | u16::from(*first);
            self.head_bytes += 1;
            if self.head_bytes == Self::HEAD_BYTES {
                *self = Self { left: self.length, ..Self::default() };
            }
            bytes = rest;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Records<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.place.advance(&buffer.filled()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Records<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_pieces_of_records() {
        let check = |pieces: &[&[u8]], between: bool| {
            let mut place = Place::default();
            for piece in pieces {
                place.advance(piece);
            }
            assert_eq!(place == Place::default(), between, "{pieces:?}");
        };
        let long = [[23, 3, 3, 1, 2].as_slice(), &[0; 258]].concat();
        check(&[], true);
        check(&[&[23, 3, 3, 0, 2, 7, 7]], true);
        check(&[&[23, 3, 3, 0, 2, 7]], false);
        check(&[&[23, 3, 3]], false);
        check(&[&[23, 3, 3], &[0, 2], &[7], &[7]], true);
        check(&[&[20, 3, 3, 0, 0]], true);
        check(&[&long, &long], true);
        check(&[&long, &long[..262]], false);
    }
}
