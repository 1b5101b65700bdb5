//! The TCP probe: connects, perhaps in TLS, and holds the dialog of a module, with blackbox exporter's
//! metrics.

use std::net::IpAddr;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::connect::{self, Route};
use super::dialog::{self, QueryResponse, Talk, TlsStart, TlsTerms};
use super::outcome::{self, Course, Findings, observe};
use super::samples::SampleSet;
use super::tls::{self, TlsConfig};
use super::{
    AddressPolicy, Deadline, HostPort, MetricMetadata, ProbeFailure, ProbeOutcome, Prober, TargetError,
};
use crate::clock::SharedClock;

/// The metrics of the TCP prober.
pub const METADATA: &[&[MetricMetadata]] =
    &[outcome::METADATA, connect::METADATA, dialog::METADATA, tls::METADATA];

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

#[derive(Debug, Default)]
struct Seen {
    route: Route,
    talk: Talk,
}

impl Findings for Seen {
    fn course(&mut self) -> &mut Course {
        &mut self.talk.course
    }

    fn emit(&self, samples: &mut SampleSet) {
        self.route.emit(samples);
        self.talk.emit(samples);
    }
}

impl TcpProber {
    async fn look(&self, deadline: Deadline, seen: &mut Seen) -> Result<(), ProbeFailure> {
        let Self { config, target, clock } = self;
        let Seen { route, talk } = seen;
        let addresses = route
            .resolve(&target.host, target.port, config.addresses, config.source, &mut talk.course)
            .await?;
        let stream = route.connect(config.source, &addresses, deadline, &mut talk.course).await?;
        let terms = TlsTerms { config: &config.tls, host: &target.host, clock };
        talk.hold(stream, &config.query_response, config.tls_start, &terms).await
    }
}

impl Prober for TcpProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        observe(deadline, Seen::default(), async move |seen: &mut Seen| self.look(deadline, seen).await)
            .boxed()
    }
}
