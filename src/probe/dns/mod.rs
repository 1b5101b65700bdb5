//! The DNS probe: asks a name server one question and judges its answer, with blackbox exporter's
//! metrics.

mod exchange;
mod rules;
mod seen;

use std::net::IpAddr;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::exchange::Exchange;
use self::seen::Seen;
use super::outcome::observe;
use super::tls::TlsConfig;
use super::{AddressPolicy, Deadline, HostPort, ProbeFailure, ProbeOutcome, Prober, TargetError};
use crate::clock::SharedClock;
use crate::dns::{Message, Question, Record, ResponseCode};

pub use self::rules::RecordRules;
pub use self::seen::METADATA;

/// What to ask a name server, and what to expect. Source: blackbox exporter `CONFIGURATION.md`,
/// `<dns_probe>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Which of the server's addresses to use.
    pub addresses: AddressPolicy,
    /// The address to ask from.
    pub source: Option<IpAddr>,
    /// How the question travels.
    pub transport: Transport,
    /// The question.
    pub question: Question,
    /// Whether the server is to ask others if it does not know.
    pub recursion_desired: bool,
    /// The codes of a good answer; if empty, `NOERROR`.
    pub valid_rcodes: Vec<ResponseCode>,
    /// What the records of the section `answer` must be like.
    pub validate_answer: RecordRules,
    /// What those of the section `authority` must be like.
    pub validate_authority: RecordRules,
    /// What those of the section `additional` must be like.
    pub validate_additional: RecordRules,
}

/// How a question travels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    #[default]
    Udp,
    /// Over TCP.
    Tcp,
    /// Over TLS (RFC 7858).
    Tls(TlsConfig),
}

impl Transport {
    /// The port of name servers that are asked this way.
    fn default_port(&self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 53,
            Self::Tls(_) => 853,
        }
    }
}

impl DnsConfig {
    /// Asks this question over UDP, with recursion, and expects `NOERROR`.
    pub fn new(question: Question) -> Self {
        Self {
            addresses: AddressPolicy::default(),
            source: None,
            transport: Transport::default(),
            question,
            recursion_desired: true,
            valid_rcodes: Vec::new(),
            validate_answer: RecordRules::default(),
            validate_authority: RecordRules::default(),
            validate_additional: RecordRules::default(),
        }
    }
}

/// Asks one name server.
pub struct DnsProber {
    config: DnsConfig,
    target: HostPort,
    clock: SharedClock,
}

impl DnsProber {
    /// A prober of the name server `target`, a host with or without port. The clock says which
    /// certificates are expired.
    pub fn new(config: DnsConfig, target: &str, clock: SharedClock) -> Result<Self, TargetError> {
        let target = HostPort::parse_or(target, config.transport.default_port())?;
        Ok(Self { config, target, clock })
    }
}

impl DnsProber {
    async fn look(&self, deadline: Deadline, seen: &mut Seen) -> Result<(), ProbeFailure> {
        let Self { config, target, clock } = self;
        let addresses = seen
            .route
            .resolve(&target.host, target.port, config.addresses, config.source, &mut seen.course)
            .await?;
        let exchange = Exchange { config, host: &target.host, clock, deadline, seen };
        let message = exchange.run(&addresses).await?;
        self.judge(message, seen).await
    }

    /// Notes what the server said and judges it.
    async fn judge(&self, message: Message, seen: &mut Seen) -> Result<(), ProbeFailure> {
        let config = &self.config;
        seen.answered(&message, config.question.record_type);
        let code = message.code;
        let is_valid = match config.valid_rcodes.as_slice() {
            [] => code == ResponseCode::NO_ERROR,
            valid => valid.contains(&code),
        };
        if !is_valid {
            let valid: Vec<_> = config.valid_rcodes.iter().map(ToString::to_string).collect();
            let valid = if valid.is_empty() { "NOERROR".to_owned() } else { valid.join(", ") };
            return Err(ProbeFailure::new("rcode", format!("the server answered {code}, expected {valid}")));
        }
        seen.course.begin("looking at the records");
        let sections = [
            ("answer", config.validate_answer.clone(), message.answer),
            ("authority", config.validate_authority.clone(), message.authority),
            ("additional", config.validate_additional.clone(), message.additional),
        ];
        // A message may hold thousands of records.
        let looking = tokio::task::spawn_blocking(move || {
            sections.into_iter().try_for_each(|(section, rules, records)| {
                let texts: Vec<String> = records.iter().map(Record::to_string).collect();
                rules.check(&texts).map_err(|fault| (section, fault))
            })
        });
        match looking.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((section, fault))) => {
                Err(ProbeFailure::new("records", format!("section `{section}`: {fault}")))
            }
            Err(stopped) => Err(ProbeFailure::unknown("internal", stopped.to_string())),
        }
    }
}

impl Prober for DnsProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        observe(deadline, Seen::default(), async move |seen: &mut Seen| self.look(deadline, seen).await)
            .boxed()
    }
}
