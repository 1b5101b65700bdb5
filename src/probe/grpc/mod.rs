//! The gRPC probe: asks a server's health service, with blackbox exporter's metrics.

mod metadata;

use super::tls::TlsConfig;
use super::{AddressPolicy, HostPort, TargetError};
use crate::clock::SharedClock;

pub use self::metadata::{Metadata, MetadataError};

/// How to ask a gRPC server. Source: blackbox exporter `CONFIGURATION.md`, `<grpc_probe>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrpcConfig {
    /// The service whose health is asked for; empty for the whole server's.
    pub service: String,
    /// Which of the host's addresses to use.
    pub addresses: AddressPolicy,
    /// What is sent along with the question.
    pub metadata: Metadata,
    /// How to talk TLS; `None` for HTTP/2 in plain text.
    pub tls: Option<TlsConfig>,
}

/// Asks one gRPC server.
pub struct GrpcProber {
    config: GrpcConfig,
    target: HostPort,
    clock: SharedClock,
}

impl GrpcProber {
    /// A prober of `target`: `host:port`, or a host, which is asked at port 443 with TLS and else at port
    /// 80. `http://` or `https://` may stand before it, as in blackbox exporter, and say nothing. The
    /// clock says which certificates are expired.
    pub fn new(config: GrpcConfig, target: &str, clock: SharedClock) -> Result<Self, TargetError> {
        let default_port = if config.tls.is_some() { 443 } else { 80 };
        let host = match target.split_once("://") {
            None => target,
            Some(("http" | "https", rest)) => rest.split('/').next().unwrap_or_default(),
            Some((scheme, _)) => {
                return Err(TargetError::Scheme(scheme.to_owned(), "`http` or `https`"));
            }
        };
        Ok(Self { target: HostPort::parse_or(host, default_port)?, config, clock })
    }
}
