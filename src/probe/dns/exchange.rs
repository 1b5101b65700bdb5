//! Asking a name server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use tokio::net::UdpSocket;

use super::super::conversation::Conversation;
use super::super::wire::Stream;
use super::super::{Deadline, ProbeFailure};
use super::seen::Seen;
use super::{DnsConfig, Transport};
use crate::clock::SharedClock;
use crate::dns::{Message, MessageError, random_id};

/// The largest message: its length is told in two bytes.
const MAX_MESSAGE_BYTES: usize = u16::MAX as usize;

/// One question and its answer.
pub(super) struct Exchange<'a> {
    pub(super) config: &'a DnsConfig,
    /// The server's name for TLS.
    pub(super) host: &'a str,
    pub(super) clock: &'a SharedClock,
    pub(super) deadline: Deadline,
    pub(super) seen: &'a mut Seen,
}

impl Exchange<'_> {
    /// The answer of the server at `addresses`.
    pub(super) async fn run(mut self, addresses: &[SocketAddr]) -> Result<Message, ProbeFailure> {
        let started = Instant::now();
        match &self.config.transport {
            // A datagram that nobody takes does not say so: there is no other address to turn to.
            Transport::Udp => self.over_udp(addresses[0], started).await,
            Transport::Tcp => {
                let stream = self.connect(addresses).await?;
                self.seen.connect = started.elapsed();
                self.over_stream(stream).await
            }
            Transport::Tls(config) => {
                let tls = config.prepare(self.host, &[], self.clock).await?;
                let stream = self.connect(addresses).await?;
                self.seen.handshake = Some(tls.handshake());
                self.seen.course.begin("shaking hands in TLS");
                let stream = tls.connect(stream).await?;
                self.seen.connect = started.elapsed();
                self.over_stream(stream).await
            }
        }
    }

    async fn connect(&mut self, addresses: &[SocketAddr]) -> Result<tokio::net::TcpStream, ProbeFailure> {
        let Self { config, seen, deadline, .. } = self;
        seen.route.connect(config.source, addresses, *deadline, &mut seen.course).await
    }

    async fn over_udp(&mut self, server: SocketAddr, started: Instant) -> Result<Message, ProbeFailure> {
        let any: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let source = SocketAddr::new(self.config.source.unwrap_or(any), 0);
        let failed = |error: io::Error| {
            ProbeFailure::new("connect", format!("cannot ask `{server}` from `{}`: {error}", source.ip()))
        };
        self.seen.course.begin("connecting");
        let socket = UdpSocket::bind(source).await.map_err(failed)?;
        // Connected: nobody else's datagrams arrive, and a refusal does.
        socket.connect(server).await.map_err(failed)?;
        self.seen.connect = started.elapsed();
        let asked = Instant::now();
        let (id, question) = self.question();
        socket.send(&question).await.map_err(failed)?;
        let mut buffer = vec![0; MAX_MESSAGE_BYTES];
        loop {
            let length = socket.recv(&mut buffer).await.map_err(failed)?;
            self.seen.request = asked.elapsed();
            match Message::read_answer(&buffer[..length], id, &self.config.question).map_err(malformed)? {
                Some(message) => return Ok(message),
                // Forged, or late from an earlier question: the right one may still come.
                None => self.seen.course.note("ignoring a datagram that answers something else"),
            }
        }
    }

    /// Over TCP a message follows its length.
    async fn over_stream(&mut self, stream: impl Stream + 'static) -> Result<Message, ProbeFailure> {
        let asked = Instant::now();
        let mut peer = Conversation::new(stream);
        let (id, question) = self.question();
        let length = u16::try_from(question.len()).expect("a question is a name of 255 bytes and a header");
        peer.send(&[&length.to_be_bytes(), question.as_slice()].concat()).await?;
        let length = peer.exact(2).await?;
        let message = peer.exact(usize::from(u16::from_be_bytes([length[0], length[1]]))).await?;
        self.seen.request = asked.elapsed();
        let answer = Message::read_answer(&message, id, &self.config.question).map_err(malformed)?;
        answer.ok_or_else(|| ProbeFailure::new("answer", "the answer is to another question"))
    }

    fn question(&mut self) -> (u16, Vec<u8>) {
        let question = &self.config.question;
        self.seen.course.begin("waiting for the answer");
        self.seen
            .course
            .note(format!("asking for {} {} {}", question.name, question.class, question.record_type));
        let id = random_id();
        (id, question.encode(id, self.config.recursion_desired, false))
    }
}

fn malformed(error: MessageError) -> ProbeFailure {
    ProbeFailure::new("answer", error.to_string())
}
