//! Modules: how something is probed, by name.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN, USER_AGENT,
};
use xxhash_rust::xxh64::Xxh64;

use super::pattern::{Subject, TargetPattern};
use super::view::View;
use crate::clock::SharedClock;
use crate::probe::dns::{DnsConfig, DnsProber, Transport};
use crate::probe::grpc::{GrpcConfig, GrpcProber, Metadata};
use crate::probe::http::{HttpConfig, HttpProber, RequestBody, parse_target};
use crate::probe::icmp::{IcmpConfig, IcmpProber};
use crate::probe::tcp::{TcpConfig, TcpProber};
use crate::probe::tls::TlsConfig;
use crate::probe::unix::{UnixConfig, UnixProber};
use crate::probe::websocket::{self, WebsocketConfig, WebsocketProber};
use crate::probe::{AddressPolicy, HostPort, Prober, Reach};
use crate::yaml::{Node, NodeKind};

/// Modules by name.
pub type Modules = BTreeMap<String, Arc<Module>>;

/// How something is probed.
#[derive(Debug, Clone)]
pub struct Module {
    name: String,
    prober: ModuleProber,
    timeout: Option<Duration>,
    view: View,
    /// What is shown of it.
    configuration: Arc<str>,
    revision: u64,
}

/// Modules are equal if they are written alike, secrets included; what their files hold does not count.
impl PartialEq for Module {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.revision == other.revision
    }
}

impl Hash for Module {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.revision.hash(state);
    }
}

/// A prober with its settings.
#[derive(Debug, Clone)]
pub(super) enum ModuleProber {
    /// The URL is that of no target.
    Http(Box<HttpConfig>),
    Tcp(Box<TcpConfig>),
    Dns(Box<DnsConfig>),
    Icmp(IcmpConfig),
    Grpc(Box<GrpcConfig>),
    Unix(Box<UnixConfig>),
    Websocket(Box<WebsocketConfig>),
}

/// Headers that say nothing about who asks.
const HARMLESS_HEADERS: [HeaderName; 7] =
    [HOST, ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_TYPE, ORIGIN, USER_AGENT];

/// Why a module cannot be applied as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// Both the module and the request say which `Host` it is; blackbox exporter's words.
    #[error(
        "host header defined both in module configuration ({configured}) and with URL-parameter 'hostname' \
         ({asked})"
    )]
    TwoHosts {
        /// What the module says.
        configured: String,
        /// What the request says.
        asked: String,
    },
    /// Not a name.
    #[error("`{0}` cannot be the name of a host")]
    BadHost(String),
}

impl Module {
    /// A module that is written as in `node`.
    pub(super) fn new(name: &str, prober: ModuleProber, timeout: Option<Duration>, node: &Node) -> Self {
        let mut hasher = Xxh64::new(0);
        hash_node(node, &mut hasher);
        let revision = hasher.finish();
        let view = View::new(node);
        let configuration = view.to_string().into();
        Self { name: name.to_owned(), prober, timeout, view, configuration, revision }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long a probe may take at most, if the module says so.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Its configuration without secrets, as YAML.
    pub fn configuration(&self) -> &Arc<str> {
        &self.configuration
    }

    /// The name of its prober.
    pub fn kind(&self) -> &'static str {
        match self.prober {
            ModuleProber::Http(_) => "http",
            ModuleProber::Tcp(_) => "tcp",
            ModuleProber::Dns(_) => "dns",
            ModuleProber::Icmp(_) => "icmp",
            ModuleProber::Grpc(_) => "grpc",
            ModuleProber::Unix(_) => "unix",
            ModuleProber::Websocket(_) => "websocket",
        }
    }

    /// Whether the module holds anything that says who asks, and that must not go to just any target. What
    /// stands in the module itself as `body` or `send` is not such: most of it is a greeting, and nothing tells
    /// a password from one. What proxies get does not reach targets.
    pub(super) fn has_credentials(&self) -> bool {
        let certificate = |tls: &TlsConfig| tls.client_certificate.is_some();
        match &self.prober {
            ModuleProber::Http(config) => {
                config.credentials.is_some()
                    || !config.secret_headers.is_empty()
                    || config.headers.keys().any(|name| !HARMLESS_HEADERS.contains(name))
                    || matches!(config.body, RequestBody::File(_))
                    || certificate(&config.tls)
            }
            ModuleProber::Tcp(config) => certificate(&config.tls),
            ModuleProber::Unix(config) => certificate(&config.tls),
            ModuleProber::Grpc(config) => {
                config.metadata != Metadata::default() || config.tls.as_ref().is_some_and(certificate)
            }
            ModuleProber::Websocket(config) => {
                config.credentials.is_some() || !config.headers.is_empty() || certificate(&config.tls)
            }
            ModuleProber::Dns(config) => match &config.transport {
                Transport::Tls(tls) => certificate(tls),
                Transport::Udp | Transport::Tcp => false,
            },
            ModuleProber::Icmp(_) => false,
        }
    }

    /// The same module for the host `hostname`: `Host` and TLS server name of HTTP, TLS server name of TCP;
    /// to others it means nothing. Source: blackbox exporter `prober/handler.go`.
    pub(super) fn for_hostname(&self, hostname: &str) -> Result<Self, ModuleError> {
        let mut module = self.clone();
        match &mut module.prober {
            ModuleProber::Http(config) => {
                let bad = |_| ModuleError::BadHost(hostname.to_owned());
                let value = HeaderValue::try_from(hostname).map_err(bad)?;
                if let Some(configured) = config.headers.get(HOST).filter(|configured| *configured != value) {
                    return Err(ModuleError::TwoHosts {
                        configured: String::from_utf8_lossy(configured.as_bytes()).into_owned(),
                        asked: hostname.to_owned(),
                    });
                }
                config.headers.insert(HOST, value);
                module.view.set(&["http", "headers", "Host"], hostname);
            }
            ModuleProber::Tcp(config) if config.tls.server_name.is_none() => {
                config.tls.server_name = Some(hostname.to_owned());
                module.view.set(&["tcp", "tls_config", "server_name"], hostname);
            }
            _ => {}
        }
        module.configuration = module.view.to_string().into();
        Ok(module)
    }

    /// A target as this module's prober understands it; `None` if it is none.
    pub(super) fn subject(&self, target: &str) -> Option<Subject> {
        let host = |found: HostPort| Subject::Host {
            host: found.host,
            port: (found.port != 0).then_some(found.port),
        };
        match &self.prober {
            ModuleProber::Http(_) => parse_target(target).ok().map(Subject::Url),
            ModuleProber::Websocket(_) => websocket::parse_target(target).ok().map(Subject::Url),
            ModuleProber::Unix(_) => target.starts_with('/').then(|| Subject::Path(target.to_owned())),
            ModuleProber::Grpc(_) => {
                let host_port = target.split_once("://").map_or(target, |(_, rest)| rest);
                let host_port = host_port.split('/').next().unwrap_or_default();
                HostPort::parse_or(host_port, 0).ok().map(host)
            }
            _ => HostPort::parse_or(target, 0).ok().map(host),
        }
    }

    /// The pattern that means this target and no other; `None` if it is none.
    pub fn exactly(&self, target: &str) -> Option<TargetPattern> {
        self.subject(target).map(|subject| TargetPattern::exactly(target, subject))
    }

    /// What probes this target, within reach of whoever asks for it; what is wrong with the target otherwise.
    pub(super) fn prober(
        &self,
        target: &str,
        asked_within: Option<Reach>,
        clock: &SharedClock,
    ) -> Result<Arc<dyn Prober>, TargetFault> {
        let (reach, asked_for) = (asked_within.unwrap_or(Reach::ANYWHERE), asked_within.is_some());
        let within = |addresses: AddressPolicy| AddressPolicy { reach, asked_for, ..addresses };
        let clock = clock.clone();
        Ok(match &self.prober {
            ModuleProber::Http(config) => {
                let mut config = HttpConfig::clone(config);
                config.url = parse_target(target).map_err(fault)?;
                config.addresses = within(config.addresses);
                Arc::new(HttpProber::new(config, clock).map_err(fault)?)
            }
            ModuleProber::Tcp(config) => {
                let config = TcpConfig { addresses: within(config.addresses), ..TcpConfig::clone(config) };
                Arc::new(TcpProber::new(config, target, clock).map_err(fault)?)
            }
            ModuleProber::Dns(config) => {
                let config = DnsConfig { addresses: within(config.addresses), ..DnsConfig::clone(config) };
                Arc::new(DnsProber::new(config, target, clock).map_err(fault)?)
            }
            ModuleProber::Icmp(config) => {
                let config = IcmpConfig { addresses: within(config.addresses), ..config.clone() };
                Arc::new(IcmpProber::new(config, target).map_err(fault)?)
            }
            ModuleProber::Grpc(config) => {
                let config = GrpcConfig { addresses: within(config.addresses), ..GrpcConfig::clone(config) };
                Arc::new(GrpcProber::new(config, target, clock).map_err(fault)?)
            }
            ModuleProber::Unix(config) => {
                Arc::new(UnixProber::new(UnixConfig::clone(config), target, clock).map_err(fault)?)
            }
            ModuleProber::Websocket(config) => {
                let config =
                    WebsocketConfig { addresses: within(config.addresses), ..WebsocketConfig::clone(config) };
                Arc::new(WebsocketProber::new(config, target, clock).map_err(fault)?)
            }
        })
    }
}

/// Takes in what a node says, wherever it stands.
fn hash_node(node: &Node, hasher: &mut impl Hasher) {
    std::mem::discriminant(&node.kind).hash(hasher);
    match &node.kind {
        NodeKind::Null => {}
        NodeKind::Scalar(text) => text.hash(hasher),
        NodeKind::Binary(bytes) => bytes.hash(hasher),
        NodeKind::Sequence(items) => {
            items.len().hash(hasher);
            for item in items {
                hash_node(item, hasher);
            }
        }
        NodeKind::Mapping(entries) => {
            entries.len().hash(hasher);
            for (key, _, value) in entries {
                key.hash(hasher);
                hash_node(value, hasher);
            }
        }
    }
}

/// Why a target cannot be probed by a module, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetFault(String);

fn fault(error: impl std::error::Error) -> TargetFault {
    TargetFault(error.to_string())
}
