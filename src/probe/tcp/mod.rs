//! The TCP probe: connects, perhaps in TLS, and holds the dialog of a module, with blackbox exporter's
//! metrics.

use std::net::IpAddr;

use super::dialog::{QueryResponse, TlsStart};
use super::tls::TlsConfig;
use super::{AddressPolicy, HostPort, TargetError};
use crate::clock::SharedClock;

/// How to look at a TCP server. Source: blackbox exporter `CONFIGURATION.md`, `<tcp_probe>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpConfig {
    /// Which of the host's addresses to use.
    pub addresses: AddressPolicy,
    /// The address to connect from.
    pub source: Option<IpAddr>,
    /// What is said on the connection; if nothing is, connecting is all.
    pub query_response: Vec<QueryResponse>,
    /// When TLS begins.
    pub tls_start: TlsStart,
    /// How to talk TLS, wherever it begins.
    pub tls: TlsConfig,
}

/// Looks at one TCP server.
pub struct TcpProber {
    config: TcpConfig,
    target: HostPort,
    clock: SharedClock,
}

impl TcpProber {
    /// A prober of `target`, which is `host:port`; with a protocol for TLS the port may be left out. The
    /// clock says which certificates are expired.
    pub fn new(config: TcpConfig, target: &str, clock: SharedClock) -> Result<Self, TargetError> {
        let target = match config.tls_start {
            TlsStart::Protocol(protocol) => HostPort::parse_or(target, protocol.default_port())?,
            TlsStart::Dialog | TlsStart::Immediately => HostPort::parse(target)?,
        };
        Ok(Self { config, target, clock })
    }
}
