//! Reading a response body: decompressing it, counting it, and keeping it where patterns look at it.

use std::io::{self, Write};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::write::{DeflateDecoder, MultiGzDecoder};

use super::budget::{Budget, Share};

/// How the body is expected to be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// The body is taken as it comes, whatever `Content-Encoding` says, and none is asked for.
    /// Source: blackbox exporter, where `compression` is empty by default.
    #[default]
    AsSent,
    /// A body that is not compressed is asked for, and taken as it comes.
    Identity,
    /// gzip is asked for and expected.
    Gzip,
    /// Raw deflate (RFC 1951) is asked for and expected, as in blackbox exporter.
    Deflate,
    /// Brotli is asked for and expected.
    Brotli,
}

impl Compression {
    /// Reads `compression` as blackbox exporter's modules have it: `gzip`, `br`, `deflate`, `identity` or
    /// nothing, whatever the case.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "" => Self::AsSent,
            "identity" => Self::Identity,
            "gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "br" => Self::Brotli,
            _ => return None,
        })
    }

    /// The value of `Accept-Encoding`.
    pub(super) fn accept_encoding(self) -> Option<&'static str> {
        match self {
            Self::AsSent => None,
            Self::Identity => Some("identity"),
            Self::Gzip => Some("gzip"),
            Self::Deflate => Some("deflate"),
            Self::Brotli => Some("br"),
        }
    }

    /// Whether a server that gets this `Accept-Encoding` may answer with this compression: of the
    /// encodings that are named (or `*`), it looks at the one that the client likes best.
    /// Source: blackbox exporter `config/config.go`, `isCompressionAcceptEncodingValid`.
    pub fn is_accepted_by(self, accept_encoding: &str) -> bool {
        let Some(own) = self.accept_encoding() else { return true };
        if accept_encoding.is_empty() {
            return true;
        }
        let quality = |part: &str| -> (String, f32) {
            let Some((encoding, quality)) = part.rsplit_once(';') else {
                return (part.trim().to_owned(), 1.0);
            };
            let quality = quality.trim();
            let number = quality.strip_prefix("q=").unwrap_or(quality).parse().unwrap_or(0.0);
            (encoding.trim().to_owned(), number)
        };
        let offers = accept_encoding.split(',').map(quality);
        let naming = offers.filter(|(encoding, _)| encoding == own || encoding == "*");
        naming.map(|(_, quality)| quality).reduce(f32::max).is_some_and(|best| best > 0.0)
    }
}

/// How many compressed bytes are decompressed at a time. Deflate expands at most about thousandfold, so
/// that this much keeps the thread for about a millisecond.
const SLICE_BYTES: usize = 1024;

/// Takes a body piece by piece.
pub(super) struct BodySink {
    decoder: Decoder,
    share: Share,
}

/// A body that was kept, with its part of the memory for that.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    _share: Share,
}

#[cfg(test)]
impl Kept {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, _share: Share::of(Budget::bodies()) }
    }
}

enum Decoder {
    AsSent(Collected),
    Gzip(Box<MultiGzDecoder<Collected>>),
    Deflate(Box<DeflateDecoder<Collected>>),
    Brotli(Box<BrotliDecoder>),
}

impl BodySink {
    /// Accepts at most `limit_bytes` of uncompressed body, and keeps it if `keep`.
    pub(super) fn new(compression: Compression, limit_bytes: u64, keep: bool) -> Self {
        let collected = Collected { limit_bytes, keep, size_bytes: 0, kept: Vec::new() };
        let decoder = match compression {
            Compression::AsSent | Compression::Identity => Decoder::AsSent(collected),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(collected))),
            Compression::Deflate => Decoder::Deflate(Box::new(DeflateDecoder::new(collected))),
            Compression::Brotli => Decoder::Brotli(Box::new(BrotliDecoder::new(collected))),
        };
        Self { decoder, share: Share::of(Budget::bodies()) }
    }

    /// Takes a piece. Lets other tasks run in between, since a small piece may be a large body; and waits
    /// while others keep too much.
    pub(super) async fn take(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            let used = self.decoder.step(piece)?;
            piece = &piece[used..];
            self.settle().await;
        }
        Ok(())
    }

    /// Accounts for what is kept, and lets other tasks run.
    async fn settle(&mut self) {
        self.share.grow_to(self.decoder.collected().kept.len()).await;
        if !matches!(self.decoder, Decoder::AsSent(_)) {
            tokio::task::yield_now().await;
        }
    }

    /// Says that the body has ended.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        while !self.decoder.finish_step()? {
            self.settle().await;
        }
        self.settle().await;
        Ok(())
    }

    /// How much uncompressed body there is so far.
    pub(super) fn size_bytes(&self) -> u64 {
        self.decoder.collected().size_bytes
    }

    /// What was kept.
    pub(super) fn into_kept(mut self) -> Kept {
        let bytes = std::mem::take(&mut self.decoder.collected_mut().kept);
        Kept { bytes, _share: self.share }
    }
}

impl Decoder {
    /// Takes the beginning of a piece; gives how much of it.
    fn step(&mut self, piece: &[u8]) -> io::Result<usize> {
        let slice = &piece[..piece.len().min(SLICE_BYTES)];
        match self {
            Self::AsSent(collected) => collected.write_all(piece).map(|()| piece.len()),
            Self::Gzip(decoder) => decoder.write_all(slice).map(|()| slice.len()),
            Self::Deflate(decoder) => decoder.write_all(slice).map(|()| slice.len()),
            Self::Brotli(decoder) => decoder.step(piece),
        }
    }

    /// Gives some of what was held back, once the body has ended; whether that was all.
    fn finish_step(&mut self) -> io::Result<bool> {
        match self {
            Self::AsSent(_) => Ok(true),
            Self::Gzip(decoder) => decoder.try_finish().map(|()| true),
            Self::Deflate(decoder) => decoder.try_finish().map(|()| true),
            Self::Brotli(decoder) => decoder.finish_step(),
        }
    }

    fn collected(&self) -> &Collected {
        match self {
            Self::AsSent(collected) => collected,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Deflate(decoder) => decoder.get_ref(),
            Self::Brotli(decoder) => &decoder.collected,
        }
    }

    fn collected_mut(&mut self) -> &mut Collected {
        match self {
            Self::AsSent(collected) => collected,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => &mut decoder.collected,
        }
    }
}

/// Brotli, which has no bound on how far it expands: decompressed by the output, not by the input.
struct BrotliDecoder {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    ended: bool,
    total_bytes: usize,
    output: Vec<u8>,
    collected: Collected,
}

impl BrotliDecoder {
    /// How much is decompressed at a time.
    const OUTPUT_BYTES: usize = 64 * 1024;

    fn new(collected: Collected) -> Self {
        let new = StandardAlloc::default;
        let state = BrotliState::new(new(), new(), new());
        Self { state, ended: false, total_bytes: 0, output: vec![0; Self::OUTPUT_BYTES], collected }
    }

    /// Decompresses until the output buffer is full or the input used up; gives how much of it was used.
    fn step(&mut self, input: &[u8]) -> io::Result<usize> {
        if self.ended {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes follow the brotli stream"));
        }
        let (mut available_in, mut used) = (input.len(), 0);
        let (mut available_out, mut written) = (self.output.len(), 0);
        let result = BrotliDecompressStream(
            &mut available_in,
            &mut used,
            input,
            &mut available_out,
            &mut written,
            &mut self.output,
            &mut self.total_bytes,
            &mut self.state,
        );
        self.collected.write_all(&self.output[..written])?;
        match result {
            BrotliResult::ResultFailure => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "not a brotli stream"));
            }
            BrotliResult::ResultSuccess => self.ended = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
        Ok(used)
    }

    /// Writes out some of what the decoder still holds back; whether the stream has ended.
    fn finish_step(&mut self) -> io::Result<bool> {
        if !self.ended {
            let before = self.total_bytes;
            self.step(&[])?;
            if !self.ended && self.total_bytes == before {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.ended)
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

    /// `hello world` a thousand times, 129 times `A`, and 64 MiB of `A`, as the reference implementation
    /// of Brotli compresses them.
    const BROTLI_HELLO: &[u8] = b"\x1b\xf7\x2a\xf8\x8d\x94\x6e\xde\x44\x55\x86\x96\x6c\x20\x6f\x35\xcb\
        \x61\x15\x40\x06\xc4\x7d\x2a\x02\x00";
    const BROTLI_129: &[u8] = b"\x1b\x80\x00\xf8\x25\x82\x22\xb1\x40\x40\x03";
    const BROTLI_BOMB: &[u8] =
        b"\xcf\xff\xff\x7f\xf8\x25\x82\xe2\xb1\x40\x20\xf7\xfe\x9f\xff\xff\xff\xf0\x4b\x00\
        \xc4\x61\x01\x80\xee\xfd\x3f\xff\xff\xff\xe1\x97\x00\x88\xc3\x22\x00\xdd\xfb\x7f\
        \xfe\xff\xff\xc3\x2f\x01\x10\x87\x05\x00\xba\xf7\xff\x03";

    async fn read(compression: Compression, limit: u64, body: &[u8]) -> (Result<(), String>, u64, Vec<u8>) {
        let mut sink = BodySink::new(compression, limit, true);
        let mut result = sink.take(body).await;
        if result.is_ok() {
            result = sink.finish().await;
        }
        (result.map_err(|error| error.to_string()), sink.size_bytes(), sink.into_kept().bytes)
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
            (Compression::Identity, text.clone()),
            (Compression::Brotli, BROTLI_HELLO.to_vec()),
        ] {
            let found = read(compression, 1 << 20, &body).await;
            assert_eq!(found, (Ok(()), 11_000, text.clone()), "{compression:?}");
        }
    }

    #[tokio::test]
    async fn the_limit_holds_after_decompression() {
        for limit in [0, 1, 127, 128] {
            let gzip = gzip(&[b'A'; 129]);
            for (compression, body) in [(Compression::Gzip, &gzip[..]), (Compression::Brotli, BROTLI_129)] {
                let (result, size, kept) = read(compression, limit, body).await;
                assert_eq!(result, Err(format!("the body is larger than {limit} bytes")));
                assert_eq!((size, kept.len() as u64), (limit, limit));
            }
        }
        assert_eq!(read(Compression::Brotli, 129, BROTLI_129).await.0, Ok(()));
        assert_eq!(read(Compression::Brotli, 64 << 20, BROTLI_BOMB).await.1, 64 << 20);
        let (result, size, _) = read(Compression::Brotli, 1 << 20, BROTLI_BOMB).await;
        assert_eq!((result.is_err(), size), (true, 1 << 20));
        assert_eq!(read(Compression::Gzip, 129, &gzip(&[b'A'; 129])).await.0, Ok(()));
    }

    #[tokio::test]
    async fn a_body_that_is_not_what_it_should_be_is_a_fault() {
        assert!(read(Compression::Gzip, 1000, b"hello world").await.0.is_err());
        let whole = gzip(b"hello world");
        assert!(read(Compression::Gzip, 1000, &whole[..whole.len() - 4]).await.0.is_err());
        assert!(read(Compression::Gzip, 1000, b"").await.0.is_err());
        assert!(read(Compression::Brotli, 1000, b"hello world").await.0.is_err());
        assert!(read(Compression::Brotli, 1000, &BROTLI_129[..8]).await.0.is_err());
        assert!(read(Compression::Brotli, 1000, &[BROTLI_129, b"more"].concat()).await.0.is_err());
        assert!(read(Compression::Brotli, 1000, b"").await.0.is_err());
    }

    // The configurations that blackbox exporter's tests accept and refuse.
    #[test]
    fn what_is_asked_for_and_what_is_expected_must_agree() {
        let check = |compression: &str, accept: &str, expected: bool| {
            let compression = Compression::parse(compression).unwrap();
            assert_eq!(compression.is_accepted_by(accept), expected, "{compression:?} {accept}");
        };
        check("", "gzip", true);
        check("gzip", "", true);
        check("gzip", "gzip", true);
        check("gzip", "deflate", false);
        check("gzip", "br, gzip;q=0.5", true);
        check("gzip", "gzip;q=0", false);
        check("br", "*", true);
        check("br", "*;q=0.0", false);
        check("GZIP", "deflate, gzip;q=1.0, *;q=0.5", true);
        check("identity", "identity;q=0", false);
        assert_eq!(Compression::parse("zstd"), None);
    }
}
