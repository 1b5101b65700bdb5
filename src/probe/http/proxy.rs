//! Through which proxy a probe goes, if any. Pure: what goes over the wire is in `tunnel`.

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::client::Header;
use crate::model::Secret;

/// What a probe goes through instead of asking its target directly; nothing by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyConfig {
    /// The proxy for http targets.
    pub http: Option<ProxyServer>,
    /// The proxy for https targets.
    pub https: Option<ProxyServer>,
    /// What is asked directly all the same. Without it even this machine is asked through the proxy.
    /// Source: Prometheus' `common/config`, which applies Go's rules only where `no_proxy` is set.
    pub no_proxy: Option<NoProxy>,
    /// Headers for the proxy alone, sent when a tunnel is asked for.
    pub connect_headers: Vec<Header>,
    /// Let the proxy resolve the target's name. Otherwise it is resolved here, and the proxy is asked for
    /// the address.
    pub skip_resolve_phase: bool,
}

impl ProxyConfig {
    /// Everything goes through `server`, save for what `no_proxy` lists (if it is not empty).
    pub fn through(server: ProxyServer, no_proxy: &str) -> Self {
        let no_proxy = (!no_proxy.is_empty()).then(|| NoProxy::parse(no_proxy));
        Self { http: Some(server.clone()), https: Some(server), no_proxy, ..Self::default() }
    }

    /// What the environment says, asked for variable by variable: `HTTP_PROXY`, `HTTPS_PROXY` and
    /// `NO_PROXY`, each also in lower case. Source: Go `golang.org/x/net/http/httpproxy`.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let either = |upper: &str| {
            let lower = upper.to_lowercase();
            variable(upper).or_else(|| variable(&lower)).filter(|value| !value.is_empty())
        };
        let server = |name| either(name).map(|text| ProxyServer::parse(&text)).transpose();
        let no_proxy = Some(NoProxy::parse(&either("NO_PROXY").unwrap_or_default()));
        Ok(Self { http: server("HTTP_PROXY")?, https: server("HTTPS_PROXY")?, no_proxy, ..Self::default() })
    }

    /// The proxy for `url`, if it does not go there directly.
    pub(super) fn server_for(&self, url: &Url) -> Option<&ProxyServer> {
        let server = if url.scheme() == "https" { &self.https } else { &self.http };
        let direct = self.no_proxy.as_ref().is_some_and(|no_proxy| no_proxy.covers(url));
        server.as_ref().filter(|_| !direct)
    }
}

/// Why a text does not name a proxy. Without the text: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Not a URL.
    #[error("a proxy must be a URL like `http://host:port`: {0}")]
    NotUrl(String),
    /// Not a protocol that is spoken to proxies.
    #[error("scheme `{0}` of a proxy is not `http` or `https`")]
    Scheme(String),
}

/// A server that passes requests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyServer {
    /// Whether the proxy itself is spoken to over TLS.
    pub(super) tls: bool,
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<Secret>,
}

impl ProxyServer {
    /// Reads `http://user:password@host:port`; `http://` may be left out, user and password too.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let absolute = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&absolute).map_err(|error| ProxyError::NotUrl(error.to_string()))?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(ProxyError::Scheme(other.to_owned())),
        };
        let authorization = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let plain = |text| percent_decode_str(text).collect::<Vec<u8>>();
            let pair = [plain(url.username()), plain(url.password().unwrap_or_default())].join(&b':');
            Secret::new(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        });
        let host = url.host_str().expect("http and https URLs have a host").trim_matches(['[', ']']);
        let port = url.port_or_known_default().expect("http and https have a default port");
        Ok(Self { tls, host: host.to_owned(), port, authorization })
    }

    /// Host and port for people.
    pub(super) fn shown(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// What does not go through a proxy: hosts of a list, and this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NoProxy {
    everything: bool,
    entries: Vec<(Pattern, Option<u16>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Address(IpAddr),
    /// An address and how many of its leading bits count.
    Network(IpAddr, u8),
    /// `.example.com`: everything below it.
    Below(String),
    /// `example.com`: it and everything below it.
    Domain(String),
}

impl NoProxy {
    /// Reads addresses, networks and domains separated by commas, each (save for networks) perhaps with
    /// a port; `*` is everything. Entries that mean nothing are ignored, as in Go.
    pub fn parse(text: &str) -> Self {
        let mut list = Self::default();
        for entry in text.split(',').map(|entry| entry.trim().to_lowercase()) {
            if entry.is_empty() {
                continue;
            }
            if entry == "*" {
                list.everything = true;
            } else if let Some(network) = parse_network(&entry) {
                list.entries.push((network, None));
            } else {
                list.entries.extend(parse_host(&entry));
            }
        }
        list
    }

    fn covers(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        let (name, address) = match url.host() {
            None => return true,
            Some(Host::Domain(name)) => (name.trim_end_matches('.').to_lowercase(), None),
            Some(Host::Ipv4(address)) => (String::new(), Some(IpAddr::V4(address))),
            Some(Host::Ipv6(address)) => (String::new(), Some(IpAddr::V6(address).to_canonical())),
        };
        let is_local = name == "localhost" || address.is_some_and(|address| address.is_loopback());
        let covered = |(pattern, only_port): &(Pattern, Option<u16>)| {
            let matches = match pattern {
                Pattern::Address(listed) => address == Some(*listed),
                Pattern::Network(network, bits) => {
                    address.is_some_and(|address| is_within(address, *network, *bits))
                }
                Pattern::Below(suffix) => name.ends_with(suffix),
                Pattern::Domain(domain) => {
                    let below = name.strip_suffix(domain.as_str());
                    below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                }
            };
            matches && only_port.is_none_or(|only| Some(only) == port)
        };
        self.everything || is_local || self.entries.iter().any(covered)
    }
}

fn parse_network(entry: &str) -> Option<Pattern> {
    let (address, bits) = entry.split_once('/')?;
    let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some(Pattern::Network(address, bits))
}

fn parse_host(entry: &str) -> Option<(Pattern, Option<u16>)> {
    let unbracketed = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    if let Some(address) = unbracketed(entry) {
        return Some((Pattern::Address(address.to_canonical()), None));
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (entry, None),
    };
    if let Some(address) = unbracketed(host) {
        return Some((Pattern::Address(address.to_canonical()), port));
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    let pattern = match host {
        "" | "." => return None,
        _ if host.starts_with('.') => Pattern::Below(host.to_owned()),
        _ => Pattern::Domain(host.to_owned()),
    };
    Some((pattern, port))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (u128::from(address.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    // Shifting by the whole width is an overflow, and all addresses are within a network of no bits.
    let shift = width - u32::from(bits);
    address.checked_shr(shift).unwrap_or(0) == network.checked_shr(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_urls_and_their_passwords_stay_secret() {
        let check = |text: &str, expected: Result<(bool, &str, u16, Option<&str>), &str>| {
            let found = ProxyServer::parse(text);
            let found = found.as_ref().map(|server| {
                let authorization = server.authorization.as_ref().map(Secret::expose);
                (server.tls, server.host.as_str(), server.port, authorization)
            });
            assert_eq!(found.map_err(ToString::to_string), expected.map_err(str::to_owned), "{text}");
        };
        check("http://127.0.0.1:3128", Ok((false, "127.0.0.1", 3128, None)));
        check("proxy:3128", Ok((false, "proxy", 3128, None)));
        check("https://[::1]/", Ok((true, "::1", 443, None)));
        // Of `u:p`, and of `u:a+b=c&d@`.
        check("http://u:p@proxy", Ok((false, "proxy", 80, Some("Basic dTpw"))));
        check("http://u:a+b=c&d%40@proxy", Ok((false, "proxy", 80, Some("Basic dTphK2I9YyZkQA=="))));
        check("socks5://proxy", Err("scheme `socks5` of a proxy is not `http` or `https`"));
        check("http://u:hunter2@:80:80", Err("a proxy must be a URL like `http://host:port`: empty host"));
        let debug = format!("{:?}", ProxyServer::parse("http://u:hunter2@proxy"));
        assert!(!debug.contains("hunter2"), "{debug}");
    }

    // The rules of Go's `httpproxy`, which its documentation lists.
    #[test]
    fn what_is_listed_goes_directly() {
        let check = |list: &str, url: &str, direct: bool| {
            let server = ProxyServer::parse("http://proxy").unwrap();
            let config = ProxyConfig::through(server.clone(), list);
            let found = config.server_for(&Url::parse(url).unwrap());
            assert_eq!(found, (!direct).then_some(&server), "{list} {url}");
        };
        check("", "http://a.example/", false);
        check("", "http://127.0.0.1/", false);
        check("b.example", "http://127.0.0.1/", true);
        check("b.example", "http://localhost:8080/", true);
        check("b.example", "http://[::1]/", true);
        check("a.example", "http://a.example/", true);
        check("a.example", "http://A.EXAMPLE./", true);
        check("a.example", "https://sub.a.example/", true);
        check("a.example", "http://ba.example/", false);
        check(".a.example", "http://a.example/", false);
        check("*.a.example", "http://sub.a.example/", true);
        check("a.example:8080", "http://a.example/", false);
        check("a.example:8080", "http://a.example:8080/", true);
        check("a.example:443", "https://a.example/", true);
        check("10.0.0.0/8, 192.0.2.7", "http://10.9.8.7/", true);
        check("10.0.0.0/8, 192.0.2.7", "http://192.0.2.7:81/", true);
        check("10.0.0.0/8, 192.0.2.7", "http://192.0.2.8/", false);
        check("192.0.2.7:80", "http://192.0.2.7:81/", false);
        check("2001:db8::/32", "http://[2001:db8::1]/", true);
        check("[2001:db8::1]:80", "http://[2001:db8::1]/", true);
        check("0.0.0.0/0", "http://192.0.2.7/", true);
        check("10.0.0.0/33", "http://10.0.0.1/", false);
        check("*", "http://a.example/", true);
    }

    #[test]
    fn the_environment_names_proxies_by_scheme() {
        let variable = |name: &str| match name {
            "HTTP_PROXY" => Some("one:1".to_owned()),
            "https_proxy" => Some("two:2".to_owned()),
            "no_proxy" => Some("a.example".to_owned()),
            _ => None,
        };
        let config = ProxyConfig::from_environment(variable).unwrap();
        let shown = |url: &str| config.server_for(&Url::parse(url).unwrap()).map(ProxyServer::shown);
        assert_eq!(shown("http://b.example").as_deref(), Some("one:1"));
        assert_eq!(shown("https://b.example").as_deref(), Some("two:2"));
        assert_eq!(shown("http://a.example"), None);
        assert_eq!(shown("http://127.0.0.1"), None);
        let none = ProxyConfig::from_environment(|_| None).unwrap();
        assert_eq!((none.http, none.https), (None, None));
        assert!(ProxyConfig::from_environment(|_| Some("ftp://x".to_owned())).is_err());
    }
}
