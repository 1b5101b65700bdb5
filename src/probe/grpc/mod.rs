//! The gRPC probe: asks a server's health service, with blackbox exporter's metrics.

mod check;
mod metadata;
mod seen;

use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::check::Check;
use self::seen::Seen;
use super::outcome::observe;
use super::tls::TlsConfig;
use super::{AddressPolicy, Deadline, HostPort, ProbeFailure, ProbeOutcome, Prober, TargetError};
use crate::clock::SharedClock;

pub use self::metadata::{Metadata, MetadataError};
pub use self::seen::METADATA;

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

impl GrpcProber {
    async fn look(&self, deadline: Deadline, seen: &mut Seen) -> Result<(), ProbeFailure> {
        let Self { config, target, clock } = self;
        let tls = match &config.tls {
            Some(tls) => Some(tls.prepare(&target.host, &["h2"], clock).await?),
            None => None,
        };
        let addresses =
            seen.route.resolve(&target.host, target.port, config.addresses, None, &mut seen.course).await?;
        seen.checking = Some(Instant::now());
        let stream = seen.route.connect(None, &addresses, deadline, &mut seen.course).await?;
        let check = Check { config, target, deadline };
        let Some(tls) = tls else { return check.run(stream, seen).await };
        seen.handshake = Some(tls.handshake());
        seen.course.begin("shaking hands in TLS");
        let stream = tls.connect(stream).await?;
        if stream.session().alpn_protocol() != Some(b"h2") {
            return Err(ProbeFailure::new("tls", "the server does not agree to speak HTTP/2"));
        }
        check.run(stream, seen).await
    }
}

impl Prober for GrpcProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        observe(deadline, Seen::default(), async move |seen: &mut Seen| self.look(deadline, seen).await)
            .boxed()
    }
}
