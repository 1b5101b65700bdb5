//! The HTTP probe: asks one URL and judges the answer, with blackbox exporter's metrics.
//!
//! Its own client over hyper, since a library's client hides what a probe is about: when each phase
//! began, which address was used, what was wrong with the certificate. Every hop is a connection of its
//! own, as in blackbox exporter.
//!
//! Differences from blackbox exporter: facts of certificates are published also when verification
//! fails; the other addresses of a host are tried when the first cannot be connected to; `Host`, TLS
//! server name and IP preference hold for every hop; nothing secret leaves the target's origin; a body
//! always has a size limit; of a redirect that is not followed, the body is read and judged.

mod assertion;
mod body;
mod budget;
mod cel;
mod config;
mod cookies;
mod expectations;
mod hop;
mod http3;
mod json;
mod judgement;
mod oauth2;
mod observation;
mod proxy;
mod secrets;
mod tunnel;
mod visit;
mod wire;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use url::Url;

pub use hyper::{Method, Version};

pub use self::assertion::SigningAlgorithm;
pub use self::body::Compression;
pub use self::cel::{CelError, CelProgram};
pub use self::config::{
    AssertionConfig, Credentials, Grant, HttpConfig, OAuth2Config, Protocol, RequestBody, parse_http_version,
};
pub use self::expectations::HeaderMatch;
pub use self::oauth2::JWT_BEARER;
pub(super) use self::oauth2::TokenCache;
pub use self::observation::METADATA;
pub use self::proxy::{NoProxy, ProxyConfig, ProxyError, ProxyServer};
pub(super) use self::secrets::{Identity, Secrets};

use self::judgement::Evaluation;
use self::observation::Observation;
use self::visit::Visit;
use super::outcome::observe;
use super::{Deadline, ProbeFailure, ProbeOutcome, Prober};
use crate::clock::SharedClock;

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
    tokens: TokenCache,
    evaluation: Evaluation,
}

impl HttpProber {
    /// A prober of `config.url`. The clock says which certificates are expired.
    pub fn new(config: HttpConfig, clock: SharedClock) -> Result<Self, HttpTargetError> {
        check_target(&config.url)?;
        Ok(Self { config, clock, tokens: TokenCache::default(), evaluation: Evaluation::default() })
    }

    async fn look(&self, deadline: Deadline, seen: &mut Observation) -> Result<(), ProbeFailure> {
        let Self { config, clock, tokens, evaluation } = self;
        let visit = Visit { config, clock, deadline, seen, tokens, evaluation, keep_body: false };
        visit.run().await.map(|_body| ())
    }
}

impl Prober for HttpProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        let seen = Observation::new(self.config.has_cel());
        observe(deadline, seen, async move |seen: &mut Observation| self.look(deadline, seen).await).boxed()
    }
}

#[cfg(test)]
mod tests {
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
}
