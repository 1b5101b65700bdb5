//! One request, and waiting for its reply.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::packet::{Echo, Reply};
use super::socket::{Event, IcmpSocket, Options, SocketError};
use super::{IcmpProber, Seen};
use crate::dns::random_id;
use crate::probe::{IpProtocol, ProbeFailure};

/// Why there was no reply.
pub(super) enum Fault {
    /// There is no way to this address from here.
    NoRoute(io::Error),
    /// There is nothing more to try.
    Failed(ProbeFailure),
}

impl From<ProbeFailure> for Fault {
    fn from(failure: ProbeFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<SocketError> for Fault {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Permission => Self::Failed(ProbeFailure::unknown("permission", error.to_string())),
            SocketError::Unsupported(errno) => Self::NoRoute(errno.into()),
            SocketError::Setup(error) if is_no_route(&error) => Self::NoRoute(error),
            SocketError::Setup(_) => Self::Failed(ProbeFailure::unknown("setup", error.to_string())),
        }
    }
}

fn is_no_route(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable | io::ErrorKind::HostUnreachable
    )
}

impl IcmpProber {
    /// Asks one address.
    pub(super) async fn ping(&self, to: SocketAddr, seen: &mut Seen) -> Result<(), Fault> {
        let config = &self.config;
        let protocol = if to.is_ipv4() { IpProtocol::Ip4 } else { IpProtocol::Ip6 };
        seen.course.begin("opening a socket");
        let started = Instant::now();
        let socket = IcmpSocket::open(Options {
            protocol,
            source: config.source,
            ttl: config.ttl,
            dont_fragment: config.dont_fragment,
        })?;
        let echo = Echo {
            protocol,
            id: socket.is_raw().then(random_id),
            sequence: random_id(),
            payload_size: config.payload_size.bytes(),
        };
        let request = echo.encode();
        let mut buffer = IcmpSocket::buffer();
        seen.setup = started.elapsed();
        seen.route.address = Some(to.ip());
        let kind = if socket.is_raw() { "a raw" } else { "an unprivileged" };
        seen.course.note(format!("sending {} bytes to {} over {kind} socket", request.len(), to.ip()));
        seen.course.begin("waiting for the reply");
        let asked = Instant::now();
        socket.send(&request, to).await.map_err(send_fault)?;
        loop {
            let event = socket.next(&mut buffer).await.map_err(|error| {
                ProbeFailure::new("unreachable", format!("`{}` cannot be reached: {error}", to.ip()))
            })?;
            let (reply, from) = match event {
                Event::Complaint { kind, code, from } => (echo.error(kind, code).map(Reply::Error), from),
                Event::Message(received) => {
                    let reply = echo.judge(&received.message);
                    if reply == Some(Reply::Echo) && received.from == Some(to.ip()) {
                        seen.reply = Some((asked.elapsed(), received.hop_limit));
                        return Ok(());
                    }
                    (reply, received.from)
                }
            };
            if let Some(Reply::Error(text)) = reply {
                let who = from.map_or_else(|| "somebody".to_owned(), |from| format!("`{from}`"));
                return Err(ProbeFailure::new("unreachable", format!("{who} says: {text}")).into());
            }
        }
    }
}

fn send_fault(error: io::Error) -> Fault {
    let text = format!("cannot send the request: {error}");
    match error.kind() {
        _ if is_no_route(&error) => Fault::NoRoute(error),
        // A firewall of this machine, or an address for all.
        io::ErrorKind::PermissionDenied => Fault::Failed(ProbeFailure::unknown("permission", text)),
        _ => Fault::Failed(ProbeFailure::new("send", text)),
    }
}
