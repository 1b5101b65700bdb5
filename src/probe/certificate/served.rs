//! The certificates that a server shows.

use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use url::Url;

use super::{CERTIFICATE_METADATA, OUTCOME_METADATA, emit_certificate};
use crate::clock::SharedClock;
use crate::probe::MetricMetadata;
use crate::probe::connect::{self, Route, connect, resolve};
use crate::probe::samples::SampleSet;
use crate::probe::tls::{self, Handshake, TlsConfig};
use crate::probe::{AddressPolicy, Deadline, ProbeFailure, ProbeOutcome, Prober};

/// The metrics of [`TlsProber`]. The certificates bear the label `chain_position` beside their usual
/// ones, since a server may show the same one twice: `0` is the server's own.
pub const SERVED_METADATA: &[&[MetricMetadata]] = &[
    OUTCOME_METADATA,
    connect::METADATA,
    tls::METADATA,
    tls::SERVED_METADATA,
    CERTIFICATE_METADATA,
    &[("ssl_probe_success", "gauge", "If the probe was a success")],
];

/// The server to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedCertificateConfig {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port, on which TLS begins at once.
    pub port: u16,
    /// Which of the host's addresses to use.
    pub addresses: AddressPolicy,
    /// How to talk TLS. With `insecure_skip_verify` a bad certificate is reported, but the probe
    /// succeeds.
    pub tls: TlsConfig,
}

/// Why a text does not name a TLS server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServedTargetError {
    /// Neither `https://host:port` nor `host:port`.
    #[error("`{0}` is neither `https://host:port` nor `host:port`")]
    Malformed(String),
    /// Not a scheme in which TLS begins at once.
    #[error("scheme `{0}` is not `https`")]
    Scheme(String),
}

impl ServedCertificateConfig {
    /// Reads `https://host:port` (a path is ignored) or `host:port`; the default port is 443.
    pub fn parse(target: &str) -> Result<Self, ServedTargetError> {
        // What stands before an `@` may be a password.
        let shown = || target.rsplit_once('@').map_or(target, |(_, rest)| rest).to_owned();
        let absolute = if target.contains("://") { target.to_owned() } else { format!("https://{target}") };
        let url = Url::parse(&absolute).map_err(|_| ServedTargetError::Malformed(shown()))?;
        if url.scheme() != "https" {
            return Err(ServedTargetError::Scheme(url.scheme().to_owned()));
        }
        let host = url.host_str().filter(|_| url.username().is_empty() && url.password().is_none());
        let host = host.ok_or_else(|| ServedTargetError::Malformed(shown()))?;
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().expect("https has a default port"),
            addresses: AddressPolicy::default(),
            tls: TlsConfig::default(),
        })
    }
}

/// Shakes hands with a server and reports its certificates: of a bad chain as of a good one.
pub struct TlsProber {
    config: ServedCertificateConfig,
    clock: SharedClock,
}

impl TlsProber {
    /// A prober of one server. The clock says which certificates are expired.
    pub fn new(config: ServedCertificateConfig, clock: SharedClock) -> Self {
        Self { config, clock }
    }

    async fn run(&self, deadline: Deadline) -> ProbeOutcome {
        let started = Instant::now();
        let allowed = deadline.remaining();
        let mut route = Route::default();
        let mut log = Vec::new();
        let mut handshake = Handshake::default();
        let look = self.look(deadline, &mut route, &mut handshake, &mut log);
        let result = tokio::time::timeout_at(deadline.instant(), look).await.unwrap_or_else(|_| {
            Err(ProbeFailure::new("timeout", format!("out of time after {:.3} s", allowed.as_secs_f64())))
        });
        let facts = handshake.facts();
        for certificate in facts.certificates.iter() {
            log.push(format!("certificate `{}` of `{}`", certificate.subject, certificate.issuer));
        }
        match &result {
            Err(failure) => log.push(format!("failed: {}", failure.reason)),
            Ok(()) if !facts.verdict.is_ok() => {
                log.push(format!("accepted in spite of: {}", facts.verdict.explain()));
            }
            Ok(()) => {}
        }
        let mut samples = SampleSet::default();
        samples.flag("probe_success", result.is_ok());
        samples.gauge("probe_duration_seconds", started.elapsed().as_secs_f64());
        route.emit(&mut samples);
        facts.emit(&mut samples);
        let now = self.clock.now().div_euclid(1000);
        samples.flag("ssl_probe_success", result.is_ok());
        facts.emit_chain(&mut samples, now);
        for (position, certificate) in facts.certificates.iter().enumerate() {
            let position = position.to_string();
            emit_certificate(&mut samples, certificate, &[("chain_position", &position)], now);
        }
        ProbeOutcome { result, samples: samples.into_samples(), log }
    }

    async fn look(
        &self,
        deadline: Deadline,
        route: &mut Route,
        handshake: &mut Handshake,
        log: &mut Vec<String>,
    ) -> Result<(), ProbeFailure> {
        let Self { config, clock } = self;
        let tls = config.tls.prepare(&config.host, &[], clock).await?;
        *handshake = tls.handshake();
        let started = Instant::now();
        let resolved = resolve(&config.host, config.port, config.addresses).await;
        route.lookup_seconds = started.elapsed().as_secs_f64();
        let addresses = resolved?;
        route.address = addresses.first().map(std::net::SocketAddr::ip);
        let (stream, address) = connect(&addresses, deadline, log).await?;
        route.address = Some(address.ip());
        log.push(format!("connected to {address}"));
        tls.connect(stream).await?;
        Ok(())
    }
}

impl Prober for TlsProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.run(deadline).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_or_host_and_port() {
        let check = |text: &str, expected: Result<(&str, u16), &str>| {
            let found = ServedCertificateConfig::parse(text);
            let found = found.as_ref().map(|config| (config.host.as_str(), config.port));
            assert_eq!(found.map_err(ToString::to_string), expected.map_err(str::to_owned), "{text}");
        };
        check("https://a.example", Ok(("a.example", 443)));
        check("https://a.example:8443/health", Ok(("a.example", 8443)));
        check("a.example:8443", Ok(("a.example", 8443)));
        check("a.example", Ok(("a.example", 443)));
        check("[::1]:636", Ok(("::1", 636)));
        check("http://a.example", Err("scheme `http` is not `https`"));
        check("a b", Err("`a b` is neither `https://host:port` nor `host:port`"));
        check("u:p@a", Err("`a` is neither `https://host:port` nor `host:port`"));
    }
}
