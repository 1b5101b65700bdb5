//! Reading lines and bytes of a peer, and answering. What a peer sends is never kept beyond a line.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ProbeFailure;
use super::wire::{BoxStream, Stream};

/// The longest line in bytes. Source: Go's `bufio.MaxScanTokenSize`, with which blackbox exporter reads.
pub(super) const MAX_LINE_BYTES: usize = 64 << 10;

/// How much is read at once.
const PIECE_BYTES: usize = 4 << 10;

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConversationError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the server closed the connection after {0} of {1} bytes")]
    Closed(usize, usize),
    #[error("the server sent a line of more than {MAX_LINE_BYTES} bytes")]
    LongLine,
}

impl From<ConversationError> for ProbeFailure {
    fn from(error: ConversationError) -> Self {
        let kind = match error {
            ConversationError::Io(_) | ConversationError::Closed(..) => "connection",
            ConversationError::LongLine => "answer",
        };
        Self::new(kind, error.to_string())
    }
}

/// A stream with what was read ahead.
pub(super) struct Conversation {
    stream: BoxStream,
    ahead: Vec<u8>,
    /// How much of `ahead` was used.
    used: usize,
}

impl Conversation {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), ahead: Vec::new(), used: 0 }
    }

    /// The next line without its end; `None` if the peer has ended. The last line need not end.
    pub(super) async fn line(&mut self) -> Result<Option<Vec<u8>>, ConversationError> {
        let mut searched = 0;
        loop {
            let rest = &self.ahead[self.used..];
            if let Some(end) = rest[searched..].iter().position(|byte| *byte == b'\n') {
                let line = &rest[..searched + end];
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.used += searched + end + 1;
                return Ok(Some(line));
            }
            searched = rest.len();
            if searched >= MAX_LINE_BYTES {
                return Err(ConversationError::LongLine);
            }
            if !self.read_more().await? {
                let line = self.ahead.split_off(self.used);
                return Ok((!line.is_empty()).then_some(line));
            }
        }
    }

    /// Exactly so many bytes.
    pub(super) async fn exact(&mut self, count: usize) -> Result<Vec<u8>, ConversationError> {
        while self.ahead.len() - self.used < count {
            if !self.read_more().await? {
                return Err(ConversationError::Closed(self.ahead.len() - self.used, count));
            }
        }
        let bytes = self.ahead[self.used..self.used + count].to_vec();
        self.used += count;
        Ok(bytes)
    }

    /// Sends all of it.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), ConversationError> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// The stream, and how many bytes were read that nobody asked for.
    pub(super) fn into_stream(self) -> (BoxStream, usize) {
        (self.stream, self.ahead.len() - self.used)
    }

    /// Reads what there is; whether there was anything before the end.
    async fn read_more(&mut self) -> Result<bool, ConversationError> {
        self.ahead.drain(..self.used);
        self.used = 0;
        self.ahead.reserve(PIECE_BYTES);
        let read = self.stream.read_buf(&mut self.ahead).await?;
        Ok(read > 0)
    }
}

/// What a peer sent, for people: printable and short.
pub(super) fn shown(bytes: &[u8]) -> String {
    const MAX_SHOWN: usize = 200;
    let cut = &bytes[..bytes.len().min(MAX_SHOWN)];
    let dots = if cut.len() < bytes.len() { "…" } else { "" };
    format!("`{}{dots}`", cut.escape_ascii())
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    async fn peer(said: &[u8]) -> Conversation {
        let (ours, mut theirs) = duplex(1 << 20);
        theirs.write_all(said).await.unwrap();
        Conversation::new(ours)
    }

    #[tokio::test]
    async fn lines_and_bytes_may_follow_one_another() {
        let mut peer = peer(b"one\r\ntwo\n\nabcdelast").await;
        assert_eq!(peer.line().await.unwrap().as_deref(), Some(b"one".as_slice()));
        assert_eq!(peer.line().await.unwrap().as_deref(), Some(b"two".as_slice()));
        assert_eq!(peer.line().await.unwrap().as_deref(), Some(b"".as_slice()));
        assert_eq!(peer.exact(3).await.unwrap(), b"abc");
        assert_eq!(peer.exact(2).await.unwrap(), b"de");
        assert_eq!(peer.line().await.unwrap().as_deref(), Some(b"last".as_slice()));
        assert_eq!(peer.line().await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_early_end_and_an_endless_line_are_errors() {
        let error = peer(b"abc").await.exact(4).await.unwrap_err();
        assert_eq!(error.to_string(), "the server closed the connection after 3 of 4 bytes");
        let mut endless = peer(&vec![b'x'; MAX_LINE_BYTES + PIECE_BYTES]).await;
        assert!(matches!(endless.line().await, Err(ConversationError::LongLine)));
        assert!(endless.ahead.capacity() <= 4 * MAX_LINE_BYTES, "{}", endless.ahead.capacity());
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_told_when_tls_begins() {
        let mut peer = peer(b"220 go ahead\r\nEHLO").await;
        peer.line().await.unwrap();
        assert_eq!(peer.into_stream().1, 4);
    }

    #[test]
    fn what_a_peer_sent_is_shown_short_and_printable() {
        assert_eq!(shown(b"a\xff\n"), r"`a\xff\n`");
        assert_eq!(shown(&[b'x'; 300]), format!("`{}…`", "x".repeat(200)));
    }
}
