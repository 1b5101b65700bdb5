//! The certificates that a server shows.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use url::Url;

use super::compared::Held;
use super::renewals::{self, Renewals};
use super::{CERTIFICATE_METADATA, emit_certificate};
use crate::clock::SharedClock;
use crate::probe::MetricMetadata;
use crate::probe::connect::{self, Route, connect, resolve};
use crate::probe::conversation::Conversation;
use crate::probe::outcome;
use crate::probe::samples::SampleSet;
use crate::probe::tls::{self, Handshake, TlsConfig};
use crate::probe::{AddressPolicy, Deadline, Log, ProbeFailure, ProbeOutcome, Prober, StartTls};

/// The metrics of [`TlsProber`]. The certificates bear the label `chain_position` beside their usual
/// ones, since a server may show the same one twice: `0` is the server's own.
pub const SERVED_METADATA: &[&[MetricMetadata]] = &[
    outcome::METADATA,
    connect::METADATA,
    tls::METADATA,
    tls::SERVED_METADATA,
    CERTIFICATE_METADATA,
    renewals::METADATA,
    &[("ssl_probe_success", "gauge", "If the probe was a success")],
];

/// The server to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedCertificateConfig {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The protocol by which the server is asked for TLS; without one TLS begins at once.
    pub starttls: Option<StartTls>,
    /// Which of the host's addresses to use.
    pub addresses: AddressPolicy,
    /// How to talk TLS. With `insecure_skip_verify` a bad certificate is reported, but the probe
    /// succeeds.
    pub tls: TlsConfig,
}

/// Why a text does not name a TLS server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServedTargetError {
    /// Neither `scheme://host:port` nor `host:port`.
    #[error("`{0}` is neither `https://host:port` nor `host:port`")]
    Malformed(String),
    /// Not a protocol with TLS.
    #[error("scheme `{0}` is none with TLS, such as `https`, `postgres`, `smtp`, `imap` or `ldaps`")]
    Scheme(String),
}

impl ServedCertificateConfig {
    /// Reads `https://host:port` (a path is ignored), `host:port`, or a URL of another protocol with TLS,
    /// which has its own default port: one of [`StartTls`], or one of `tls`, `smtps`, `imaps`, `pop3s`,
    /// `ftps` and `ldaps`, where TLS begins at once.
    pub fn parse(target: &str) -> Result<Self, ServedTargetError> {
        // What stands before an `@` may be a password.
        let shown = || target.rsplit_once('@').map_or(target, |(_, rest)| rest).to_owned();
        let absolute = if target.contains("://") { target.to_owned() } else { format!("https://{target}") };
        let url = Url::parse(&absolute).map_err(|_| ServedTargetError::Malformed(shown()))?;
        let unknown = || ServedTargetError::Scheme(url.scheme().to_owned());
        let (starttls, default_port) = protocol(url.scheme()).ok_or_else(unknown)?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.filter(|_| url.username().is_empty() && url.password().is_none());
        let host = host.ok_or_else(|| ServedTargetError::Malformed(shown()))?;
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(default_port),
            starttls,
            addresses: AddressPolicy::default(),
            tls: TlsConfig::default(),
        })
    }
}

/// How TLS begins with servers of this scheme, and their port.
fn protocol(scheme: &str) -> Option<(Option<StartTls>, u16)> {
    if let Some(protocol) = StartTls::from_name(scheme) {
        return Some((Some(protocol), protocol.default_port()));
    }
    let port = match scheme {
        "https" | "tls" => 443,
        "smtps" => 465,
        "ldaps" => 636,
        "ftps" => 990,
        "imaps" => 993,
        "pop3s" => 995,
        _ => return None,
    };
    Some((None, port))
}

/// Shakes hands with a server and reports its certificates: of a bad chain as of a good one.
pub struct TlsProber {
    config: ServedCertificateConfig,
    clock: SharedClock,
    /// Nothing for a single look, which proves nothing.
    renewals: Option<Mutex<Renewals>>,
}

impl TlsProber {
    /// A prober of one server. The clock says which certificates are expired.
    pub fn new(config: ServedCertificateConfig, clock: SharedClock) -> Self {
        Self { config, clock, renewals: None }
    }

    /// The same, noting renewals beyond those that are known.
    #[must_use]
    pub fn noting_renewals(self, known: Renewals) -> Self {
        Self { renewals: Some(Mutex::new(known)), ..self }
    }

    /// Looks once; yields also the server's own certificate.
    pub(super) async fn look_at(&self, deadline: Deadline) -> (ProbeOutcome, Option<Held>) {
        let started = Instant::now();
        let mut route = Route::default();
        let mut log = Log::default();
        let mut handshake = Handshake::default();
        let look = self.look(deadline, &mut route, &mut handshake, &mut log);
        let looked = outcome::in_time(deadline, look).await;
        let result = looked.unwrap_or_else(|late| Err(late.failure("agreeing upon TLS")));
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
        outcome::emit_verdict(&mut samples, &[], &result, started.elapsed());
        route.emit(&mut samples);
        facts.emit(&mut samples);
        let now = self.clock.now().div_euclid(1000);
        samples.flag("ssl_probe_success", result.is_ok());
        facts.emit_chain(&mut samples, now);
        for (position, certificate) in facts.certificates.iter().enumerate() {
            let position = position.to_string();
            emit_certificate(&mut samples, certificate, &[("chain_position", &position)], now);
        }
        let leaf = facts.certificates.first();
        if let (Some(renewals), Some(leaf)) = (&self.renewals, leaf) {
            let mut renewals = renewals.lock().unwrap_or_else(PoisonError::into_inner);
            renewals.note(leaf.not_after as f64, now as f64);
            renewals.emit(&mut samples);
        }
        let leaf = leaf.map(Held::of);
        (ProbeOutcome { result, samples: samples.into_samples(), log }, leaf)
    }

    async fn look(
        &self,
        deadline: Deadline,
        route: &mut Route,
        handshake: &mut Handshake,
        log: &mut Log,
    ) -> Result<(), ProbeFailure> {
        let Self { config, clock, .. } = self;
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
        match config.starttls {
            None => drop(tls.connect(stream).await?),
            Some(protocol) => {
                let stream = protocol.negotiate(Conversation::new(stream), &config.host).await?;
                log.push(format!("the server agreed to TLS by {}", protocol.as_str()));
                drop(tls.connect(stream).await?);
            }
        }
        Ok(())
    }
}

impl Prober for TlsProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.look_at(deadline).map(|(outcome, _)| outcome).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_or_host_and_port() {
        type Server = (&'static str, u16, Option<StartTls>);
        let check = |text: &str, expected: Result<Server, &str>| {
            let found = ServedCertificateConfig::parse(text);
            let found = found.as_ref().map(|config| (config.host.as_str(), config.port, config.starttls));
            assert_eq!(found.map_err(ToString::to_string), expected.map_err(str::to_owned), "{text}");
        };
        check("https://a.example", Ok(("a.example", 443, None)));
        check("https://a.example:8443/health", Ok(("a.example", 8443, None)));
        check("a.example:8443", Ok(("a.example", 8443, None)));
        check("a.example", Ok(("a.example", 443, None)));
        check("[::1]:636", Ok(("::1", 636, None)));
        check("postgres://db.example", Ok(("db.example", 5432, Some(StartTls::Postgres))));
        check("postgresql://db.example:5433/app", Ok(("db.example", 5433, Some(StartTls::Postgres))));
        check("smtp://[::1]:587", Ok(("::1", 587, Some(StartTls::Smtp))));
        check("ldap://a.example", Ok(("a.example", 389, Some(StartTls::Ldap))));
        check("ldaps://a.example", Ok(("a.example", 636, None)));
        let unknown = |scheme| {
            format!(
                "scheme `{scheme}` is none with TLS, such as `https`, `postgres`, `smtp`, `imap` or `ldaps`"
            )
        };
        check("http://a.example", Err(&unknown("http")));
        check("udp://a.example", Err(&unknown("udp")));
        check("a b", Err("`a b` is neither `https://host:port` nor `host:port`"));
        check("u:p@a", Err("`a` is neither `https://host:port` nor `host:port`"));
        check("postgres://u:p@a", Err("`a` is neither `https://host:port` nor `host:port`"));
        check("smtp://", Err("`smtp://` is neither `https://host:port` nor `host:port`"));
    }
}
