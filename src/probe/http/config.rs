//! What an HTTP probe asks and expects: every setting of blackbox exporter's `http` module.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use bytes::Bytes;
use hyper::header::{HOST, HeaderMap};
use hyper::{Method, Version};
use url::Url;

use super::assertion::SigningAlgorithm;
use super::body::Compression;
use super::cel::CelProgram;
use super::expectations::HeaderMatch;
use super::proxy::ProxyConfig;
use crate::client::{Header, HttpAuth, SecretSource};
use crate::model::Secret;
use crate::probe::tls::TlsConfig;
use crate::probe::{AddressPolicy, Pattern};

/// What to ask and what to expect.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// What to ask: http or https, without user and password.
    pub url: Url,
    /// How to ask.
    pub method: Method,
    /// Headers to send; `Host` is also the TLS server name. Secret values are to be marked
    /// [sensitive](hyper::header::HeaderValue::set_sensitive). Sent to the target's own origin only,
    /// save for `Accept`, `Accept-Encoding`, `Accept-Language` and `User-Agent`.
    pub headers: HeaderMap,
    /// Further headers, whose values may stand in files; those are read for each request. Sent to the
    /// target's own origin only. Blackbox exporter's `http_headers`.
    pub secret_headers: Vec<Header>,
    /// The body to send.
    pub body: RequestBody,
    /// How to identify to the target. Sent to its own origin only.
    pub credentials: Option<Credentials>,
    /// The newest version of HTTP to speak.
    pub protocol: Protocol,
    /// The status codes of success; if empty, 200 to 299.
    pub valid_status_codes: Vec<RangeInclusive<u16>>,
    /// The versions of HTTP in which the answer may come; if empty, any.
    pub valid_http_versions: Vec<Version>,
    /// Whether to follow redirects, up to ten of them.
    pub follow_redirects: bool,
    /// How the body is expected to be compressed.
    pub compression: Compression,
    /// The largest body, after decompression, that is not a failure.
    pub body_size_limit_bytes: u64,
    /// The probe fails if the body matches one of these.
    pub fail_if_body_matches: Vec<Pattern>,
    /// The probe fails if the body does not match one of these.
    pub fail_if_body_not_matches: Vec<Pattern>,
    /// The probe fails if the body is no JSON, or if this is true of it.
    pub fail_if_body_json_matches_cel: Option<CelProgram>,
    /// The probe fails if the body is no JSON, or if this is not true of it.
    pub fail_if_body_json_not_matches_cel: Option<CelProgram>,
    /// The probe fails if a value of a header matches.
    pub fail_if_header_matches: Vec<HeaderMatch>,
    /// The probe fails if no value of a header matches.
    pub fail_if_header_not_matches: Vec<HeaderMatch>,
    /// The probe fails if the final answer comes over TLS.
    pub fail_if_ssl: bool,
    /// The probe fails if the final answer does not come over TLS.
    pub fail_if_not_ssl: bool,
    /// Which of the host's addresses to use.
    pub addresses: AddressPolicy,
    /// How to talk TLS.
    pub tls: TlsConfig,
    /// What to go through instead of asking the target directly.
    pub proxy: ProxyConfig,
}

/// The newest version of HTTP that a probe speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1 only. Blackbox exporter's `enable_http2: false`.
    Http1,
    /// HTTP/2 where the server agrees to it in the TLS handshake, else HTTP/1.1. Source: blackbox
    /// exporter, `enable_http2: true` by default.
    #[default]
    Http2,
    /// HTTP/3 only, over QUIC. A target of `http` is asked as one of `https`, and no proxy is used. Blackbox
    /// exporter's `enable_http3: true`.
    Http3,
}

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestBody {
    /// These bytes; none for no body.
    Bytes(Bytes),
    /// What stands in this file, read for each probe; at most 1 MiB.
    File(PathBuf),
}

impl Default for RequestBody {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}

impl<B: Into<Bytes>> From<B> for RequestBody {
    fn from(bytes: B) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// How a probe identifies to its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// By `basic_auth` or `authorization`.
    Static(HttpAuth),
    /// By a token that another server gives.
    OAuth2(Box<OAuth2Config>),
}

impl From<HttpAuth> for Credentials {
    fn from(auth: HttpAuth) -> Self {
        Self::Static(auth)
    }
}

/// A client of a server that gives tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2Config {
    /// The client's name.
    pub client_id: String,
    /// What it gets tokens for.
    pub grant: Grant,
    /// Where tokens are given: http or https.
    pub token_url: Url,
    /// What the token is asked for; none are named if empty.
    pub scopes: Vec<String>,
    /// Further parameters of the request for a token.
    pub endpoint_params: Vec<(String, Secret)>,
    /// How to talk TLS with the server that gives tokens.
    pub tls: TlsConfig,
    /// What to go through to that server.
    pub proxy: ProxyConfig,
}

/// What tokens are given for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// The client's secret, read from its file for each token. Source: RFC 6749, section 4.4.
    ClientSecret(SecretSource),
    /// An assertion that the client signs. Source: RFC 7523, section 3.1.
    Assertion(Box<AssertionConfig>),
}

impl Grant {
    /// What the client proves itself with.
    pub(super) fn secret(&self) -> &SecretSource {
        match self {
            Self::ClientSecret(secret) => secret,
            Self::Assertion(terms) => &terms.key,
        }
    }
}

/// What a client asserts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssertionConfig {
    /// The client's private key (RSA, in PEM); read from its file for each token.
    pub key: SecretSource,
    /// The name by which the server knows the key.
    pub key_id: Option<String>,
    /// How it signs.
    pub algorithm: SigningAlgorithm,
    /// Who asserts, if not the client's name.
    pub issuer: Option<String>,
    /// For whom, if not the URL of the tokens.
    pub audience: Option<String>,
    /// What else is asserted.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

impl HttpConfig {
    /// 16 MiB: far more than a health check answers with, far less than the memory of a small machine.
    pub const DEFAULT_BODY_SIZE_LIMIT_BYTES: u64 = 16 << 20;

    /// A GET of `url` that expects 2xx, as blackbox exporter's module `http_2xx`.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            method: Method::GET,
            headers: HeaderMap::new(),
            secret_headers: Vec::new(),
            body: RequestBody::default(),
            credentials: None,
            protocol: Protocol::default(),
            valid_status_codes: Vec::new(),
            valid_http_versions: Vec::new(),
            follow_redirects: true,
            compression: Compression::default(),
            body_size_limit_bytes: Self::DEFAULT_BODY_SIZE_LIMIT_BYTES,
            fail_if_body_matches: Vec::new(),
            fail_if_body_not_matches: Vec::new(),
            fail_if_body_json_matches_cel: None,
            fail_if_body_json_not_matches_cel: None,
            fail_if_header_matches: Vec::new(),
            fail_if_header_not_matches: Vec::new(),
            fail_if_ssl: false,
            fail_if_not_ssl: false,
            addresses: AddressPolicy::default(),
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
        }
    }

    /// Whether anything is expected of what is in the body.
    pub(super) fn looks_inside(&self) -> bool {
        self.has_cel() || !self.fail_if_body_matches.is_empty() || !self.fail_if_body_not_matches.is_empty()
    }

    /// Whether a condition is on a JSON body.
    pub(super) fn has_cel(&self) -> bool {
        self.fail_if_body_json_matches_cel.is_some() || self.fail_if_body_json_not_matches_cel.is_some()
    }

    /// The name in the header `Host`, without port, if one is configured.
    pub(super) fn host_header(&self) -> Option<&str> {
        let value = self.headers.get(HOST)?.to_str().ok()?;
        let end = if value.starts_with('[') { value.find(']').map(|at| at + 1) } else { value.find(':') };
        Some(value[..end.unwrap_or(value.len())].trim_matches(['[', ']']))
    }
}

/// The version that `valid_http_versions` names as `HTTP/1.1` or `HTTP/2.0`; `None` if there is no such
/// version.
pub fn parse_http_version(text: &str) -> Option<Version> {
    let known = [Version::HTTP_09, Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3];
    known.into_iter().find(|version| format!("{version:?}") == text)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_host_header_gives_a_name_without_port() {
        let check = |value: &'static str, expected: &str| {
            let mut config = HttpConfig::new(Url::parse("http://a").unwrap());
            config.headers.insert(HOST, HeaderValue::from_static(value));
            assert_eq!(config.host_header(), Some(expected), "{value}");
        };
        check("b.example", "b.example");
        check("b.example:8443", "b.example");
        check("[::1]:8443", "::1");
        assert_eq!(HttpConfig::new(Url::parse("http://a").unwrap()).host_header(), None);
    }

    #[test]
    fn versions_are_written_as_in_a_status_line() {
        for (text, expected) in [
            ("HTTP/1.0", Some(Version::HTTP_10)),
            ("HTTP/1.1", Some(Version::HTTP_11)),
            ("HTTP/2.0", Some(Version::HTTP_2)),
            ("HTTP/3.0", Some(Version::HTTP_3)),
            ("HTTP/2", None),
            ("http/1.1", None),
        ] {
            assert_eq!(parse_http_version(text), expected, "{text}");
        }
    }
}
