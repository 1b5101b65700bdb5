//! Reading a response body: decompressing it, counting it, and keeping it where patterns look at it.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder};

/// How the body is expected to be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// The body is taken as it comes, whatever `Content-Encoding` says, and none is asked for.
    /// Source: blackbox exporter, where `compression` is empty by default.
    #[default]
    AsSent,
    /// gzip is asked for and expected.
    Gzip,
    /// Raw deflate (RFC 1951) is asked for and expected, as in blackbox exporter.
    Deflate,
}

impl Compression {
    /// The value of `Accept-Encoding`.
    pub(super) fn accept_encoding(self) -> Option<&'static str> {
        match self {
            Self::AsSent => None,
            Self::Gzip => Some("gzip"),
            Self::Deflate => Some("deflate"),
        }
    }
}

/// How many compressed bytes are decompressed at a time. Deflate expands at most about thousandfold, so
/// that this much keeps the thread for about a millisecond.
const SLICE_BYTES: usize = 1024;

/// Takes a body piece by piece.
pub(super) struct BodySink(Decoder);

enum Decoder {
    AsSent(Collected),
    Gzip(Box<MultiGzDecoder<Collected>>),
    Deflate(Box<DeflateDecoder<Collected>>),
}

impl BodySink {
    /// Accepts at most `limit_bytes` of uncompressed body, and keeps it if `keep`.
    pub(super) fn new(compression: Compression, limit_bytes: u64, keep: bool) -> Self {
        let collected = Collected { limit_bytes, keep, size_bytes: 0, kept: Vec::new() };
        Self(match compression {
            Compression::AsSent => Decoder::AsSent(collected),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(collected))),
            Compression::Deflate => Decoder::Deflate(Box::new(DeflateDecoder::new(collected))),
        })
    }

    /// Takes a piece. Lets other tasks run in between, since a small piece may be a large body.
    pub(super) async fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        let decoder: &mut (dyn Write + Send) = match &mut self.0 {
            Decoder::AsSent(collected) => return collected.write_all(piece),
            Decoder::Gzip(decoder) => decoder,
            Decoder::Deflate(decoder) => decoder,
        };
        for slice in piece.chunks(SLICE_BYTES) {
            decoder.write_all(slice)?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Says that the body has ended.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Decoder::AsSent(_) => Ok(()),
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Deflate(decoder) => decoder.try_finish(),
        }
    }

    /// How much uncompressed body there is so far.
    pub(super) fn size_bytes(&self) -> u64 {
        self.collected().size_bytes
    }

    /// What was kept.
    pub(super) fn kept(&self) -> &[u8] {
        &self.collected().kept
    }

    fn collected(&self) -> &Collected {
        match &self.0 {
            Decoder::AsSent(collected) => collected,
            Decoder::Gzip(decoder) => decoder.get_ref(),
            Decoder::Deflate(decoder) => decoder.get_ref(),
        }
    }
}

/// The uncompressed body.
struct Collected {
    limit_bytes: u64,
    keep: bool,
    size_bytes: u64,
    kept: Vec<u8>,
}

impl Write for Collected {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let room = self.limit_bytes - self.size_bytes;
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(piece.len());
        self.size_bytes += fits as u64;
        if self.keep {
            self.kept.extend_from_slice(&piece[..fits]);
        }
        if fits < piece.len() {
            return Err(io::Error::other(format!("the body is larger than {} bytes", self.limit_bytes)));
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::write::{DeflateEncoder, GzEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    async fn read(compression: Compression, limit: u64, body: &[u8]) -> (Result<(), String>, u64, Vec<u8>) {
        let mut sink = BodySink::new(compression, limit, true);
        let mut result = sink.take(body).await;
        if result.is_ok() {
            result = sink.finish();
        }
        (result.map_err(|error| error.to_string()), sink.size_bytes(), sink.kept().to_vec())
    }

    #[tokio::test]
    async fn bodies_are_decompressed_as_configured() {
        let text = b"hello world".repeat(1000);
        let mut deflated = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        deflated.write_all(&text).unwrap();
        let deflated = deflated.finish().unwrap();
        for (compression, body) in [
            (Compression::AsSent, text.clone()),
            (Compression::Gzip, gzip(&text)),
            (Compression::Gzip, [gzip(&text[..11]), gzip(&text[11..])].concat()),
            (Compression::Deflate, deflated),
        ] {
            let found = read(compression, 1 << 20, &body).await;
            assert_eq!(found, (Ok(()), 11_000, text.clone()), "{compression:?}");
        }
    }

    #[tokio::test]
    async fn the_limit_holds_after_decompression() {
        for limit in [0, 1, 127, 128] {
            let bomb = gzip(&[b'A'; 129]);
            let (result, size, kept) = read(Compression::Gzip, limit, &bomb).await;
            assert_eq!(result, Err(format!("the body is larger than {limit} bytes")));
            assert_eq!((size, kept.len() as u64), (limit, limit));
        }
        assert_eq!(read(Compression::Gzip, 129, &gzip(&[b'A'; 129])).await.0, Ok(()));
    }

    #[tokio::test]
    async fn a_body_that_is_not_what_it_should_be_is_a_fault() {
        assert!(read(Compression::Gzip, 1000, b"hello world").await.0.is_err());
        let whole = gzip(b"hello world");
        assert!(read(Compression::Gzip, 1000, &whole[..whole.len() - 4]).await.0.is_err());
        assert!(read(Compression::Gzip, 1000, b"").await.0.is_err());
    }
}
