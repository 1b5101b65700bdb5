//! What is said until TLS begins, protocol for protocol.

use super::StartTls;
use crate::probe::ProbeFailure;
use crate::probe::conversation::{Conversation, ConversationError, shown};
use crate::probe::wire::BoxStream;

/// How many lines a reply may have, and how many bytes a message.
const MAX_LINES: usize = 100;
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// Why TLS does not begin.
#[derive(Debug, thiserror::Error)]
pub(in crate::probe) enum StartTlsError {
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    #[error("the server closed the connection, {0} was expected")]
    Ended(&'static str),
    #[error("the server said {said}, {expected} was expected")]
    Unexpected { said: String, expected: &'static str },
    #[error("the server does not offer TLS")]
    NotOffered,
    #[error("the server refuses TLS: {0}")]
    Refused(String),
    #[error("the server said more than {MAX_LINES} lines or {MAX_MESSAGE_BYTES} bytes at once")]
    TooMuch,
    #[error("the server sent {0} bytes in plain text where TLS was to begin")]
    Injected(usize),
}

impl From<StartTlsError> for ProbeFailure {
    fn from(error: StartTlsError) -> Self {
        match error {
            StartTlsError::Conversation(error) => error.into(),
            error => Self::new("starttls", error.to_string()),
        }
    }
}

impl StartTls {
    /// Asks the server called `host` for TLS, to which the next byte of the stream belongs.
    pub(in crate::probe) async fn negotiate(
        self,
        mut peer: Conversation,
        host: &str,
    ) -> Result<BoxStream, StartTlsError> {
        match self {
            Self::Postgres => postgres(&mut peer).await,
            Self::Smtp => smtp(&mut peer, "EHLO valmis\r\n").await,
            Self::Lmtp => smtp(&mut peer, "LHLO valmis\r\n").await,
            Self::Imap => imap(&mut peer).await,
            Self::Pop3 => pop3(&mut peer).await,
            Self::Ftp => ftp(&mut peer).await,
            Self::Ldap => ldap(&mut peer).await,
            Self::Mysql => mysql(&mut peer).await,
            Self::Xmpp => xmpp(&mut peer, host).await,
        }?;
        before_tls(peer)
    }
}

/// The stream, if all that was said in plain text has been read: what has not would count as said in TLS,
/// and an attacker on the way could have put it there.
pub(in crate::probe) fn before_tls(peer: Conversation) -> Result<BoxStream, StartTlsError> {
    match peer.into_stream() {
        (stream, 0) => Ok(stream),
        (_, unread) => Err(StartTlsError::Injected(unread)),
    }
}

/// Source: PostgreSQL's protocol documentation, `SSLRequest`.
async fn postgres(peer: &mut Conversation) -> Result<(), StartTlsError> {
    peer.send(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await?;
    match peer.exact(1).await?.as_slice() {
        b"S" => Ok(()),
        b"N" => Err(StartTlsError::NotOffered),
        other => Err(StartTlsError::Unexpected { said: shown(other), expected: "`S` or `N`" }),
    }
}

/// A line of a protocol that has lines.
async fn line(peer: &mut Conversation, expected: &'static str) -> Result<String, StartTlsError> {
    let line = peer.line().await?.ok_or(StartTlsError::Ended(expected))?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn unexpected(said: &str, expected: &'static str) -> StartTlsError {
    StartTlsError::Unexpected { said: shown(said.as_bytes()), expected }
}

/// The lines of a reply whose last line is the one without a dash after its code. The code must be
/// `expected`. Source: RFC 5321 section 4.2.1, RFC 959 section 4.2.
async fn reply(peer: &mut Conversation, expected: &'static str) -> Result<Vec<String>, StartTlsError> {
    let mut lines = Vec::new();
    loop {
        let text = line(peer, expected).await?;
        let is_last = text.starts_with(expected) && text.as_bytes().get(3) != Some(&b'-');
        // Within a reply of FTP there may be lines without a code.
        if lines.is_empty() && !text.starts_with(expected) {
            return Err(unexpected(&text, expected));
        }
        lines.push(text);
        if is_last {
            return Ok(lines);
        }
        if lines.len() >= MAX_LINES {
            return Err(StartTlsError::TooMuch);
        }
    }
}

/// What a server says instead of agreeing is its refusal.
fn refusal(error: StartTlsError) -> StartTlsError {
    match error {
        StartTlsError::Unexpected { said, .. } => StartTlsError::Refused(said),
        error => error,
    }
}

async fn smtp(peer: &mut Conversation, hello: &str) -> Result<(), StartTlsError> {
    reply(peer, "220").await?;
    peer.send(hello.as_bytes()).await?;
    let offers = reply(peer, "250").await?;
    let is_starttls =
        |line: &String| line.get(4..).is_some_and(|word| word.trim().eq_ignore_ascii_case("STARTTLS"));
    if !offers.iter().any(is_starttls) {
        return Err(StartTlsError::NotOffered);
    }
    peer.send(b"STARTTLS\r\n").await?;
    reply(peer, "220").await.map_err(refusal)?;
    Ok(())
}

async fn imap(peer: &mut Conversation) -> Result<(), StartTlsError> {
    const GREETING: &str = "`* OK`";
    let greeting = line(peer, GREETING).await?;
    if !greeting.to_ascii_uppercase().starts_with("* OK") {
        return Err(unexpected(&greeting, GREETING));
    }
    peer.send(b"a1 STARTTLS\r\n").await?;
    for _ in 0..MAX_LINES {
        let text = line(peer, "`a1 OK`").await?;
        let upper = text.to_ascii_uppercase();
        if upper.starts_with("A1 OK") {
            return Ok(());
        }
        if upper.starts_with("A1 ") {
            return Err(StartTlsError::Refused(shown(text.as_bytes())));
        }
    }
    Err(StartTlsError::TooMuch)
}

async fn pop3(peer: &mut Conversation) -> Result<(), StartTlsError> {
    const OK: &str = "`+OK`";
    let greeting = line(peer, OK).await?;
    if !greeting.starts_with("+OK") {
        return Err(unexpected(&greeting, OK));
    }
    peer.send(b"STLS\r\n").await?;
    let answer = line(peer, OK).await?;
    if answer.starts_with("+OK") { Ok(()) } else { Err(StartTlsError::Refused(shown(answer.as_bytes()))) }
}

async fn ftp(peer: &mut Conversation) -> Result<(), StartTlsError> {
    reply(peer, "220").await?;
    peer.send(b"AUTH TLS\r\n").await?;
    reply(peer, "234").await.map_err(refusal)?;
    Ok(())
}

/// Source: RFC 4511 sections 4.12 and 4.14.
async fn ldap(peer: &mut Conversation) -> Result<(), StartTlsError> {
    const EXPECTED: &str = "an LDAP response";
    const REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    peer.send(REQUEST).await?;
    let head = peer.exact(2).await?;
    let malformed = |said: &[u8]| StartTlsError::Unexpected { said: shown(said), expected: EXPECTED };
    if head[0] != 0x30 {
        return Err(malformed(&head));
    }
    let length = match head[1] {
        short @ 0..=0x7f => usize::from(short),
        // Some servers always tell the length in four bytes.
        long @ 0x81..=0x84 => {
            let bytes = peer.exact(usize::from(long & 0xf)).await?;
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        _ => return Err(malformed(&head)),
    };
    if length > MAX_MESSAGE_BYTES {
        return Err(StartTlsError::TooMuch);
    }
    let message = peer.exact(length).await?;
    let result = ldap_result(&message).ok_or_else(|| malformed(&message))?;
    match result {
        0 => Ok(()),
        // "Protocol error": it does not know the request.
        2 => Err(StartTlsError::NotOffered),
        code => Err(StartTlsError::Refused(format!("LDAP result {code}"))),
    }
}

/// The result code of an extended response: after the message's number, in a sequence of its own.
fn ldap_result(message: &[u8]) -> Option<u8> {
    let rest = message.strip_prefix(&[2, 1, 1])?.strip_prefix(&[0x78])?;
    let (length, rest) = rest.split_first()?;
    let rest = if *length < 0x80 { rest } else { rest.get(usize::from(length & 0x7f)..)? };
    rest.strip_prefix(&[10, 1])?.first().copied()
}

/// Source: `MySQL`'s protocol documentation, `HandshakeV10` and `SSLRequest`.
async fn mysql(peer: &mut Conversation) -> Result<(), StartTlsError> {
    const CAN_TLS: u32 = 0x800;
    /// The protocol since 4.1, TLS, and how passwords are sent since then.
    const CAPABILITIES: u32 = 0x200 | CAN_TLS | 0x8000;
    const LARGEST_PACKET: u32 = 1 << 24;
    const UTF8MB4: u8 = 45;
    let head = peer.exact(4).await?;
    let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
    if length > MAX_MESSAGE_BYTES {
        return Err(StartTlsError::TooMuch);
    }
    let greeting = peer.exact(length).await?;
    let Some(offered) = mysql_capabilities(&greeting) else {
        return Err(StartTlsError::Unexpected { said: shown(&greeting), expected: "a greeting of MySQL" });
    };
    if u32::from(offered) & CAN_TLS == 0 {
        return Err(StartTlsError::NotOffered);
    }
    let mut request = vec![32, 0, 0, 1];
    request.extend_from_slice(&CAPABILITIES.to_le_bytes());
    request.extend_from_slice(&LARGEST_PACKET.to_le_bytes());
    request.push(UTF8MB4);
    request.extend_from_slice(&[0; 23]);
    Ok(peer.send(&request).await?)
}

/// The lower half of what the server is able to do: after its version, the connection's number, eight
/// random bytes and a zero.
fn mysql_capabilities(greeting: &[u8]) -> Option<u16> {
    let rest = greeting.strip_prefix(&[10])?;
    let version = rest.iter().position(|byte| *byte == 0)?;
    let at = version + 1 + 4 + 8 + 1;
    Some(u16::from_le_bytes([*rest.get(at)?, *rest.get(at + 1)?]))
}

/// Source: RFC 6120 section 5.
async fn xmpp(peer: &mut Conversation, host: &str) -> Result<(), StartTlsError> {
    // What may stand in a host's name needs no escapes, except for these.
    let host = host.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;");
    let open = format!(
        "<?xml version='1.0'?><stream:stream to='{host}' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
    );
    peer.send(open.as_bytes()).await?;
    let features = until(peer, &["</stream:features>", "</stream:stream>"]).await?;
    if !features.contains("urn:ietf:params:xml:ns:xmpp-tls") {
        return Err(StartTlsError::NotOffered);
    }
    peer.send(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
    let answer = until(peer, &[">"]).await?;
    if answer.contains("<proceed") { Ok(()) } else { Err(StartTlsError::Refused(shown(answer.as_bytes()))) }
}

/// All up to one of these ends.
async fn until(peer: &mut Conversation, ends: &[&str]) -> Result<String, StartTlsError> {
    let mut said = Vec::new();
    while !ends.iter().any(|end| said.ends_with(end.as_bytes())) {
        if said.len() >= MAX_MESSAGE_BYTES {
            return Err(StartTlsError::TooMuch);
        }
        said.extend(peer.exact(1).await?);
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}
