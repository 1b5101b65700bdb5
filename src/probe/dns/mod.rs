//! The DNS probe: asks a name server one question and judges its answer, with blackbox exporter's
//! metrics.

mod rules;

use std::net::IpAddr;

use super::tls::TlsConfig;
use super::{AddressPolicy, HostPort, TargetError};
use crate::clock::SharedClock;
use crate::dns::{Question, ResponseCode};

pub use self::rules::RecordRules;

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
