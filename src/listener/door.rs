//! Who is let in.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::ServerConfig;
use tokio::time::Instant;

use super::access::Access;
use super::metrics::{Metrics, Reason};
use super::passwords::Verdict;
use crate::model::Secret;

/// Who is let in, and over what.
#[derive(Clone)]
pub enum Door {
    /// Everybody, in plain HTTP.
    Open,
    /// Whom the web configuration lets in.
    Guarded(Arc<Access>),
    /// Who knows this token, in plain HTTP: valmis itself.
    Own(Arc<Secret>),
}

/// What answers get that the handlers do not give them.
pub(super) type Extra = Vec<(HeaderName, HeaderValue)>;

impl Door {
    /// How TLS is spoken at this moment; none: plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        match self {
            Self::Open | Self::Own(_) => None,
            Self::Guarded(access) => access.now().tls.clone(),
        }
    }

    /// The headers to add to the answer, or the answer itself if the request is turned away. In the order
    /// of exporter-toolkit: the rate first, then headers, then the password.
    pub(super) async fn admit(
        &self,
        request: &HeaderMap,
        metrics: &Metrics,
    ) -> Result<Extra, Box<Response<Body>>> {
        let turned_away = |reason, status, extra: Extra| {
            metrics.rejected(reason);
            Err(Box::new(refusal(status, extra)))
        };
        let access = match self {
            Self::Open => return Ok(Extra::new()),
            Self::Own(token) => {
                let given = request.get(AUTHORIZATION).map_or(&[][..], HeaderValue::as_bytes);
                let right = given.strip_prefix(b"Bearer ").is_some_and(|given| same(given, token));
                if right {
                    return Ok(Extra::new());
                }
                return turned_away(Reason::Credentials, StatusCode::UNAUTHORIZED, Extra::new());
            }
            Self::Guarded(access) => access.now(),
        };
        if access.limiter.as_ref().is_some_and(|limiter| !limiter.allows(Instant::now())) {
            return turned_away(Reason::RateLimit, StatusCode::TOO_MANY_REQUESTS, Extra::new());
        }
        let mut extra = access.headers.clone();
        let Some(passwords) = &access.passwords else { return Ok(extra) };
        let verdict = match basic(request) {
            Some((user, password)) => passwords.check(&user, password.expose()).await,
            None => Verdict::Refused,
        };
        match verdict {
            Verdict::Accepted => Ok(extra),
            Verdict::Refused => {
                extra.push((WWW_AUTHENTICATE, HeaderValue::from_static("Basic")));
                turned_away(Reason::Credentials, StatusCode::UNAUTHORIZED, extra)
            }
            Verdict::Busy => {
                extra.push((RETRY_AFTER, HeaderValue::from_static("1")));
                turned_away(Reason::Busy, StatusCode::SERVICE_UNAVAILABLE, extra)
            }
        }
    }
}

/// Compares without telling by its duration where the difference is.
fn same(given: &[u8], token: &Secret) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(given, token.expose().as_bytes()).is_ok()
}

/// User and password of a request. Source: RFC 7617.
fn basic(request: &HeaderMap) -> Option<(String, Secret)> {
    let value = request.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), Secret::new(password)))
}

/// As Go's `http.Error` answers.
pub(super) fn refusal(status: StatusCode, extra: Extra) -> Response<Body> {
    let text = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.extend(extra);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_read_from_the_header() {
        let check = |value: &str, expected: Option<(&str, &str)>| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            let found = basic(&headers);
            let found = found.as_ref().map(|(user, password)| (user.as_str(), password.expose()));
            assert_eq!(found, expected, "{value}");
        };
        check("Basic dTpw", Some(("u", "p")));
        check("bAsIc dTpwOnE=", Some(("u", "p:q")));
        check("Basic Og==", Some(("", "")));
        check("Basic dXA=", None);
        check("Basic dTpw!", None);
        check("Bearer dTpw", None);
        check("Basic", None);
    }
}
