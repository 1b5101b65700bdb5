//! The HTTP probe: asks one URL and judges the answer, with blackbox exporter's metrics.
//!
//! Its own client over hyper, since a library's client hides what a probe is about: when each phase
//! began, which address was used, what was wrong with the certificate. HTTP/1.1 only: HTTP/2 is not
//! offered in the TLS handshake. Every hop is a connection of its own, as in blackbox exporter.
//!
//! Differences from blackbox exporter: facts of certificates are published also when verification
//! fails; the other addresses of a host are tried when the first cannot be connected to; `Host`, TLS
//! server name and IP preference hold for every hop; nothing secret leaves the target's origin; a body
//! always has a size limit; of a redirect that is not followed, the body is read and judged.

mod body;
mod cookies;
mod expectations;
mod hop;
mod observation;
mod visit;

use std::ops::RangeInclusive;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::header::{HOST, HeaderMap};
use regex::bytes::Regex;
use url::Url;

pub use hyper::Method;

pub use self::body::Compression;
pub use self::expectations::HeaderMatch;
pub use self::observation::METADATA;

use self::observation::Observation;
use self::visit::Visit;
use super::tls::TlsConfig;
use super::{AddressPolicy, Deadline, ProbeFailure, ProbeOutcome, Prober};
use crate::client::HttpAuth;
use crate::clock::SharedClock;

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
    /// The body to send.
    pub body: Bytes,
    /// How to identify to the target. Sent to its own origin only.
    pub authorization: Option<HttpAuth>,
    /// The status codes of success; if empty, 200 to 299.
    pub valid_status_codes: Vec<RangeInclusive<u16>>,
    /// Whether to follow redirects, up to ten of them.
    pub follow_redirects: bool,
    /// How the body is expected to be compressed.
    pub compression: Compression,
    /// The largest body, after decompression, that is not a failure.
    pub body_size_limit_bytes: u64,
    /// The probe fails if the body matches one of these.
    pub fail_if_body_matches: Vec<Regex>,
    /// The probe fails if the body does not match one of these.
    pub fail_if_body_not_matches: Vec<Regex>,
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
            body: Bytes::new(),
            authorization: None,
            valid_status_codes: Vec::new(),
            follow_redirects: true,
            compression: Compression::default(),
            body_size_limit_bytes: Self::DEFAULT_BODY_SIZE_LIMIT_BYTES,
            fail_if_body_matches: Vec::new(),
            fail_if_body_not_matches: Vec::new(),
            fail_if_header_matches: Vec::new(),
            fail_if_header_not_matches: Vec::new(),
            fail_if_ssl: false,
            fail_if_not_ssl: false,
            addresses: AddressPolicy::default(),
            tls: TlsConfig::default(),
        }
    }

    /// The name in the header `Host`, without port, if one is configured.
    fn host_header(&self) -> Option<&str> {
        let value = self.headers.get(HOST)?.to_str().ok()?;
        let end = if value.starts_with('[') { value.find(']').map(|at| at + 1) } else { value.find(':') };
        Some(value[..end.unwrap_or(value.len())].trim_matches(['[', ']']))
    }
}

/// Why a target cannot be probed over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpTargetError {
    /// Not a URL.
    #[error("`{0}` is not a URL: {1}")]
    NotUrl(String, String),
    /// Neither http nor https.
    #[error("scheme `{0}` is not `http` or `https`")]
    Scheme(String),
    /// A URL is printed in many places. The message leaves it out.
    #[error("a URL must not hold a user or password; use `basic_auth`")]
    Credentials,
}

/// Reads a target as blackbox exporter does: a URL, or one whose `http://` is left out.
pub fn parse_target(text: &str) -> Result<Url, HttpTargetError> {
    let has_scheme = ["http://", "https://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let absolute =
        if has_scheme || text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&absolute).map_err(|error| {
        // What stands before an `@` may be a password.
        let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
        HttpTargetError::NotUrl(shown.to_owned(), error.to_string())
    })?;
    check_target(&url)?;
    Ok(url)
}

fn check_target(url: &Url) -> Result<(), HttpTargetError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HttpTargetError::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(HttpTargetError::Credentials);
    }
    Ok(())
}

/// Asks one URL.
pub struct HttpProber {
    config: HttpConfig,
    clock: SharedClock,
}

impl HttpProber {
    /// A prober of `config.url`. The clock says which certificates are expired.
    pub fn new(config: HttpConfig, clock: SharedClock) -> Result<Self, HttpTargetError> {
        check_target(&config.url)?;
        Ok(Self { config, clock })
    }

    async fn run(&self, deadline: Deadline) -> ProbeOutcome {
        let started = Instant::now();
        let allowed = deadline.remaining();
        let mut seen = Observation::new();
        let visit = Visit { config: &self.config, clock: &self.clock, deadline, seen: &mut seen };
        let finished = tokio::time::timeout_at(deadline.instant(), visit.run()).await;
        let result = finished.unwrap_or_else(|_| {
            let phase = seen.phase.as_str();
            let allowed = allowed.as_secs_f64();
            Err(ProbeFailure::new("timeout", format!("out of time after {allowed:.3} s, in phase `{phase}`")))
        });
        if let Err(failure) = &result {
            seen.note(format!("failed: {}", failure.reason));
        }
        let samples = seen.samples(result.is_ok(), started.elapsed()).into_samples();
        ProbeOutcome { result, samples, log: seen.log }
    }
}

impl Prober for HttpProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.run(deadline).boxed()
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    // The cases of blackbox exporter's `TestHTTPParsingScheme`, as far as they are about targets.
    #[test]
    fn targets_are_urls_whose_scheme_may_be_left_out() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = parse_target(text).map(String::from).map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
        };
        check("example.com", Ok("http://example.com/"));
        check("example.com:8080/x", Ok("http://example.com:8080/x"));
        check("HTTP://example.com", Ok("http://example.com/"));
        check("hTTpS://example.com", Ok("https://example.com/"));
        check("[::1]:9090", Ok("http://[::1]:9090/"));
        check("ftp://example.com", Err("scheme `ftp` is not `http` or `https`"));
        check(
            "http://user:hunter2@example.com",
            Err("a URL must not hold a user or password; use `basic_auth`"),
        );
        check("http://user:hunter2@:80:80", Err("`:80:80` is not a URL: empty host"));
    }

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
}
