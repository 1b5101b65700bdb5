//! Messages over a connection that became a WebSocket. What a server sends is bounded in every way.

use std::io;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

use super::frame::{FrameError, Length, Opcode, Start, encode};
use crate::probe::ProbeFailure;
use crate::probe::conversation::shown;
use crate::probe::wire::Stream;

/// The largest message that is read.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// How many frames, of which most may be empty or no part of a message, are read of one connection.
const MAX_FRAMES: usize = 4096;

/// The code of an end as it should be. Source: RFC 6455, section 7.4.1.
const NORMAL_CLOSURE: u16 = 1000;

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the server closed the connection without saying so")]
    Gone,
    #[error("the server closed the WebSocket: {0}")]
    Closed(String),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the server began a message within another")]
    Interrupted,
    #[error("the server went on with a message that it had not begun")]
    Unbegun,
    #[error("the server sent a message of more than {MAX_MESSAGE_BYTES} bytes")]
    TooLarge,
    #[error("the server sent more than {MAX_FRAMES} frames")]
    TooMany,
}

impl From<MessageError> for ProbeFailure {
    fn from(error: MessageError) -> Self {
        let kind = match error {
            MessageError::Io(_) | MessageError::Gone | MessageError::Closed(_) => "connection",
            _ => "answer",
        };
        Self::new(kind, error.to_string())
    }
}

/// A WebSocket.
pub(super) struct Messages<S> {
    stream: BufReader<S>,
    /// How many frames were read.
    frames: usize,
}

impl<S: Stream> Messages<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream), frames: 0 }
    }

    /// The next message, be it text or bytes. Pings are answered in the meantime.
    pub(super) async fn receive(&mut self) -> Result<Vec<u8>, MessageError> {
        let mut message = Vec::new();
        let mut begun = false;
        loop {
            let start = self.start().await?;
            let length = self.length(start.length).await?;
            if start.opcode.is_control() {
                self.control(start.opcode, length).await?;
                continue;
            }
            match (start.opcode, begun) {
                (Opcode::Continuation, false) => return Err(MessageError::Unbegun),
                (Opcode::Text | Opcode::Binary, true) => return Err(MessageError::Interrupted),
                _ => begun = true,
            }
            self.payload(length, &mut message).await?;
            if start.is_final {
                return Ok(message);
            }
        }
    }

    /// Sends a text.
    pub(super) async fn send(&mut self, text: &[u8]) -> Result<(), MessageError> {
        self.write(Opcode::Text, text).await
    }

    /// Says goodbye, as far as that can be done at once: the answer is known already.
    pub(super) fn close(mut self) {
        let _ = self.write(Opcode::Close, &NORMAL_CLOSURE.to_be_bytes()).now_or_never();
    }

    async fn start(&mut self) -> Result<Start, MessageError> {
        if self.frames == MAX_FRAMES {
            return Err(MessageError::TooMany);
        }
        self.frames += 1;
        let mut bytes = [0; 2];
        self.stream.read_exact(&mut bytes).await.map_err(gone)?;
        Ok(Start::read(bytes)?)
    }

    async fn length(&mut self, length: Length) -> Result<u64, MessageError> {
        match length {
            Length::Is(bytes) => Ok(u64::from(bytes)),
            Length::InTwo => self.stream.read_u16().await.map(u64::from).map_err(gone),
            Length::InEight => self.stream.read_u64().await.map_err(gone),
        }
    }

    /// Appends what a frame carries. Room is made for what came, not for what is announced.
    async fn payload(&mut self, length: u64, message: &mut Vec<u8>) -> Result<(), MessageError> {
        if length > (MAX_MESSAGE_BYTES - message.len()) as u64 {
            return Err(MessageError::TooLarge);
        }
        let read = (&mut self.stream).take(length).read_to_end(message).await?;
        if read as u64 == length { Ok(()) } else { Err(MessageError::Gone) }
    }

    async fn control(&mut self, opcode: Opcode, length: u64) -> Result<(), MessageError> {
        let mut payload = Vec::new();
        self.payload(length, &mut payload).await?;
        match opcode {
            Opcode::Ping => self.write(Opcode::Pong, &payload).await,
            Opcode::Close => Err(MessageError::Closed(farewell(&payload))),
            _ => Ok(()),
        }
    }

    async fn write(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), MessageError> {
        self.stream.write_all(&encode(opcode, payload, super::random())).await?;
        Ok(self.stream.flush().await?)
    }
}

fn gone(error: io::Error) -> MessageError {
    if error.kind() == io::ErrorKind::UnexpectedEof { MessageError::Gone } else { MessageError::Io(error) }
}

/// What a server says when it closes: a code and a reason, or nothing.
fn farewell(payload: &[u8]) -> String {
    match payload {
        [] => "it gives no reason".to_owned(),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if reason.is_empty() { format!("code {code}") } else { format!("code {code}, {}", shown(reason)) }
        }
        [_] => "it gives half a code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn socket(said: &[u8]) -> (Messages<DuplexStream>, DuplexStream) {
        let (ours, mut theirs) = duplex(4 << 20);
        theirs.write_all(said).now_or_never().expect("there is room").unwrap();
        (Messages::new(ours), theirs)
    }

    /// The messages up to the first error.
    async fn received(said: &[u8]) -> (Vec<Vec<u8>>, String) {
        let (mut socket, server) = socket(said);
        let reading = async {
            let mut messages = Vec::new();
            loop {
                match socket.receive().await {
                    Ok(message) => messages.push(message),
                    Err(error) => return (messages, error.to_string()),
                }
            }
        };
        let (_, mut theirs) = tokio::io::split(server);
        // The server says no more, and takes what comes.
        theirs.shutdown().await.unwrap();
        reading.await
    }

    #[tokio::test]
    async fn messages_come_in_one_frame_or_in_many_with_others_between() {
        let check = async |said: &[u8], messages: &[&[u8]], end: &str| {
            let found = received(said).await;
            let messages: Vec<_> = messages.iter().map(|message| message.to_vec()).collect();
            assert_eq!(found, (messages, end.to_owned()), "{}", said.escape_ascii());
        };
        let gone = "the server closed the connection without saying so";
        check(b"\x81\x02hi\x82\x01\xff", &[b"hi", b"\xff"], gone).await;
        check(b"\x01\x03Hel\x80\x02lo", &[b"Hello"], gone).await;
        check(b"\x01\x03Hel\x89\x01p\x8a\x00\x80\x02lo", &[b"Hello"], gone).await;
        check(b"\x81\x00", &[b""], gone).await;
        check(b"\x81\x7e\x00\x01a", &[b"a"], gone).await;
        check(b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x01a", &[b"a"], gone).await;
        check(b"\x81\x05Hel", &[], gone).await;
        check(b"\x81", &[], gone).await;
        check(b"\x88\x00", &[], "the server closed the WebSocket: it gives no reason").await;
        check(b"\x88\x05\x03\xe9bye", &[], "the server closed the WebSocket: code 1001, `bye`").await;
        check(b"\x80\x00", &[], "the server went on with a message that it had not begun").await;
        check(b"\x01\x01a\x81\x01b", &[], "the server began a message within another").await;
        check(b"\x81\x81\0\0\0\0a", &[], "the server sent a masked frame").await;
    }

    #[tokio::test]
    async fn no_more_is_read_than_is_bearable() {
        let check = async |said: Vec<u8>, end: &str| assert_eq!(received(&said).await.1, end);
        let large = "the server sent a message of more than 1048576 bytes";
        check(b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), large).await;
        check(b"\x82\x7f\x00\x00\x00\x00\x00\x10\x00\x01".to_vec(), large).await;
        let piece = [b"\x7e\xff\xff".as_slice(), &vec![b'x'; 65_535]].concat();
        let pieces = std::iter::once(b"\x02".as_slice()).chain(std::iter::repeat(b"\x00".as_slice()));
        check(pieces.take(20).flat_map(|opcode| [opcode, &piece].concat()).collect(), large).await;
        let many = "the server sent more than 4096 frames";
        check([b"\x01\x00".as_slice(), &b"\x00\x00".repeat(5000)].concat(), many).await;
        check(b"\x89\x00".repeat(5000), many).await;
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(said: Vec<u8>, first in prop::sample::select(b"\x01\x81\x80\x89".to_vec())) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (messages, end) = runtime.block_on(received(&[&[first], said.as_slice()].concat()));
            prop_assert!(messages.concat().len() <= said.len(), "{}", end);
        }
    }

    #[tokio::test]
    async fn a_ping_is_answered_and_the_end_is_said() {
        let (mut ours, mut theirs) = socket(b"\x89\x01p\x81\x00");
        ours.receive().await.unwrap();
        ours.send(b"text").await.unwrap();
        ours.close();
        let mut said = Vec::new();
        theirs.read_to_end(&mut said).await.unwrap();
        let mut frames = said.as_slice();
        let mut next = |length: usize| {
            let (frame, rest) = frames.split_at(6 + length);
            frames = rest;
            let unmasked = frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(byte, mask)| byte ^ mask);
            (frame[0], unmasked.collect::<Vec<u8>>())
        };
        assert_eq!(next(1), (0x8a, b"p".to_vec()));
        assert_eq!(next(4), (0x81, b"text".to_vec()));
        assert_eq!(next(2), (0x88, vec![3, 232]));
        assert!(frames.is_empty());
    }
}
