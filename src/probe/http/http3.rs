//! HTTP/3: a connection over QUIC, and one request over it.
//!
//! QUIC shakes hands in TLS while it connects. What goes by until the server's first answer counts as the
//! phase `connect`, the rest of the handshake as `tls`.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use h3::client::RequestStream;
use h3_quinn::BidiStream;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Request, Response};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, TransportConfig, VarInt};

use super::observation::{Observation, Phase};
use crate::probe::tls::PreparedTls;
use crate::probe::wire::{MAX_HEAD_BYTES, explain};
use crate::probe::{Deadline, ProbeFailure};

/// The name of HTTP/3 in the TLS handshake. Source: RFC 9114, section 3.1.
pub(super) const ALPN: &str = "h3";

/// How much a server may send before it was read, as for HTTP/2.
const WINDOW_BYTES: u32 = 256 * 1024;

/// How many streams of its own a server may open: three of the protocol (RFC 9114, section 6.2, and RFC
/// 9204, section 4.2), and some that mean nothing.
const MAX_SERVER_STREAMS: u32 = 16;

/// How many interim answers are passed over.
const MAX_INTERIM: usize = 100;

/// A connection to a server whose certificate was found good, or good enough.
pub(super) struct QuicConnection {
    connection: Connection,
    pub(super) address: SocketAddr,
}

impl QuicConnection {
    /// Connects to the first of `addresses` that answers. Each gets an equal share of the time that is left.
    pub(super) async fn open(
        tls: &PreparedTls,
        addresses: &[SocketAddr],
        deadline: Deadline,
        seen: &mut Observation,
    ) -> Result<Self, ProbeFailure> {
        let mut config = ClientConfig::new(tls.quic()?);
        config.transport_config(Arc::new(transport()));
        let mut faults = Vec::new();
        let mut all_timed_out = true;
        let entered = seen.enter(Phase::Connect);
        for (index, address) in addresses.iter().copied().enumerate() {
            let attempts_left = u32::try_from(addresses.len() - index).expect("few addresses are tried");
            let share = deadline.remaining() / attempts_left;
            let fault = match tokio::time::timeout(share, begin(&config, tls, address)).await {
                Ok(Ok(connecting)) => {
                    seen.leave(entered);
                    let entered = seen.enter(Phase::Tls);
                    let finished = connecting.await;
                    seen.leave(entered);
                    tls.quic_ended(finished.is_ok())?;
                    let connection = finished.map_err(|error| refused(address, &error))?;
                    return Ok(Self { connection, address });
                }
                Ok(Err(error)) => {
                    // A certificate is looked at only after the first answer: this is no fault of one.
                    all_timed_out = false;
                    error
                }
                Err(_) => format!("no answer in {:.3} s", share.as_secs_f64()),
            };
            seen.note(format!("cannot connect to `{address}` over QUIC: {fault}"));
            faults.push(format!("`{address}`: {fault}"));
        }
        let kind = if all_timed_out { "timeout" } else { "connect" };
        Err(ProbeFailure::new(kind, format!("cannot connect over QUIC to {}", faults.join(", "))))
    }

    /// Sends the request; with the response's head, `receive` does the rest.
    pub(super) async fn exchange<T>(
        self,
        request: Request<Bytes>,
        receive: impl AsyncFnOnce(Response<Body>) -> Result<T, ProbeFailure>,
    ) -> Result<T, ProbeFailure> {
        let broken = |error: &dyn std::error::Error| {
            ProbeFailure::new("http", format!("no valid response: {}", explain(error)))
        };
        let mut builder = h3::client::builder();
        builder.max_field_section_size(u64::from(MAX_HEAD_BYTES)).send_grease(false);
        let connection = h3_quinn::Connection::new(self.connection);
        let built = builder.build::<_, _, Bytes>(connection).await;
        let (mut driver, mut sender) = built.map_err(|error| broken(&error))?;
        let exchange = async {
            let (mut head, body) = request.into_parts();
            if !body.is_empty() {
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            }
            let sent = sender.send_request(Request::from_parts(head, ())).await;
            let mut stream = sent.map_err(|error| broken(&error))?;
            // A server may answer without wanting all of it. What else is wrong reaches the response too.
            if body.is_empty() || stream.send_data(body).await.is_ok() {
                let _ = stream.finish().await;
            }
            for _ in 0..MAX_INTERIM {
                let response = stream.recv_response().await.map_err(|error| broken(&error))?;
                if !response.status().is_informational() {
                    return receive(response.map(|()| Body(stream))).await;
                }
            }
            let reason = format!("the server sent more than {MAX_INTERIM} interim answers");
            Err(ProbeFailure::new("http", reason))
        };
        crate::probe::wire::drive(poll_fn(|cx| driver.poll_close(cx)), exchange).await
    }
}

/// The body of a response.
pub(super) struct Body(RequestStream<BidiStream<Bytes>, Bytes>);

impl Body {
    /// The next piece; `None` at the end.
    pub(super) async fn piece(&mut self) -> Option<io::Result<Bytes>> {
        match self.0.recv_data().await {
            Ok(piece) => piece.map(|mut piece| Ok(piece.copy_to_bytes(piece.remaining()))),
            Err(error) => Some(Err(io::Error::other(explain(&error)))),
        }
    }
}

/// Begins a handshake and waits for the server's first answer.
async fn begin(
    config: &ClientConfig,
    tls: &PreparedTls,
    address: SocketAddr,
) -> Result<quinn::Connecting, String> {
    let any = if address.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let endpoint = Endpoint::client(any).map_err(|error| error.to_string())?;
    let connecting = endpoint.connect_with(config.clone(), address, &tls.name());
    let mut connecting = connecting.map_err(|error| error.to_string())?;
    connecting.handshake_data().await.map_err(|error| explain(&error))?;
    Ok(connecting)
}

/// Why a server that answered gives no connection.
fn refused(address: SocketAddr, error: &ConnectionError) -> ProbeFailure {
    let kind = match error {
        ConnectionError::TimedOut => "timeout",
        _ => "tls",
    };
    ProbeFailure::new(kind, format!("QUIC handshake with `{address}` failed: {}", explain(error)))
}

/// Bounds for what a server sends, and nothing that a probe has no need of.
fn transport() -> TransportConfig {
    /// Whoever waits longer has a deadline that is longer.
    const MAX_IDLE: Duration = Duration::from_mins(2);
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
        .receive_window(VarInt::from_u32(2 * WINDOW_BYTES))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_SERVER_STREAMS))
        .max_idle_timeout(MAX_IDLE.try_into().ok())
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(None);
    transport
}
