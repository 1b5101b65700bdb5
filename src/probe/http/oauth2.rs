//! Tokens for a client's secret or assertion: OAuth 2.0.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use url::form_urlencoded;

use super::assertion::{self, AssertionError};
use super::config::{AssertionConfig, Credentials, Grant, HttpConfig, OAuth2Config};
use super::judgement::Evaluation;
use super::observation::Observation;
use super::secrets::{self, Secrets};
use super::visit::Visit;
use crate::client::{HttpAuth, SecretSource};
use crate::clock::SharedClock;
use crate::model::{Secret, TimestampMs};
use crate::probe::{AddressPolicy, Deadline, ProbeFailure};

/// The largest answer to a request for a token. Source: Go `golang.org/x/oauth2`.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// The grant type of assertions. Source: RFC 7523, section 2.1.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How long before its end a token is not used any more. Source: Go `golang.org/x/oauth2`,
/// `defaultExpiryDelta`.
const MARGIN: Duration = Duration::from_secs(10);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("cannot read the client's secret: {0}")]
    Secret(std::io::Error),
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    #[error("{0}")]
    Refused(String),
    #[error("the answer is not one about tokens: {0}")]
    Malformed(serde_json::Error),
    #[error("the answer holds no `access_token`")]
    Missing,
}

impl TokenError {
    /// Nothing is known of the target, since it was not asked.
    pub(super) fn into_failure(self) -> ProbeFailure {
        ProbeFailure::unknown("oauth2", format!("no token: {self}"))
    }
}

/// The token that was given last, as long as it may be used.
#[derive(Debug, Default)]
pub(in crate::probe) struct TokenCache(Mutex<Option<Token>>);

#[derive(Debug, Clone)]
struct Token {
    /// The client's secret for which it was given.
    given_for: Secret,
    /// The value of `Authorization`.
    authorization: Secret,
    /// When it ends, on a clock that nobody sets, and on one that goes on while the machine sleeps: it is
    /// used up to the first of the two.
    end: Instant,
    end_at: TimestampMs,
}

/// A token that is to be used now.
pub(super) struct Usable {
    /// The value of `Authorization`.
    pub(super) authorization: Secret,
    /// Whether it was given to an earlier request.
    pub(super) is_old: bool,
}

/// A successful answer. Source: RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    token_type: String,
    expires_in: Option<serde_json::Value>,
}

impl TokenCache {
    /// The value of `Authorization` with a token for `client`: an earlier one as long as it is good.
    pub(super) async fn token(
        &self,
        client: &OAuth2Config,
        addresses: AddressPolicy,
        clock: &SharedClock,
        deadline: Deadline,
    ) -> Result<Usable, TokenError> {
        let secret = secrets::value(client.grant.secret()).await.map_err(TokenError::Secret)?;
        if let Some(authorization) = self.usable(&secret, clock.now()) {
            return Ok(Usable { authorization, is_old: true });
        }
        let (asked, asked_at) = (Instant::now(), clock.now());
        let ask = Ask { client, secret: &secret, addresses, clock, deadline };
        let answer = match &client.grant {
            Grant::Assertion(terms) => ask.send(assertion(client, terms, &secret, clock).await?).await,
            // How a client proves itself is not agreed on beforehand. Source: Go `golang.org/x/oauth2`,
            // which tries the header and then the form.
            Grant::ClientSecret(_) => match ask.send(Proof::Header).await {
                Err(failure) if failure.kind == "status" => ask.send(Proof::Form).await,
                result => result,
            },
        };
        let answer = answer.map_err(|failure| TokenError::Refused(failure.reason))?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(TokenError::Malformed)?;
        if answer.access_token.is_empty() {
            return Err(TokenError::Missing);
        }
        let scheme = match answer.token_type.to_ascii_lowercase().as_str() {
            "" | "bearer" => "Bearer".to_owned(),
            _ => answer.token_type,
        };
        let authorization = Secret::new(format!("{scheme} {}", answer.access_token));
        // One that does not say when it ends is good for this request alone.
        let token = answer.expires_in.as_ref().and_then(seconds).map(|lifetime| Token {
            given_for: secret,
            authorization: authorization.clone(),
            end: asked + lifetime,
            end_at: asked_at.saturating_add(millis(lifetime)),
        });
        *self.lock() = token;
        Ok(Usable { authorization, is_old: false })
    }

    fn usable(&self, secret: &Secret, now: TimestampMs) -> Option<Secret> {
        let token = self.lock();
        let token = token.as_ref().filter(|token| token.given_for == *secret)?;
        let is_good = Instant::now() + MARGIN < token.end && now + millis(MARGIN) < token.end_at;
        is_good.then(|| token.authorization.clone())
    }

    /// Forgets the token of a request that was refused (401); whether that was an old one, so that another may
    /// be accepted: a server can withdraw tokens, or lose them.
    pub(in crate::probe) fn forget(&self, refused: &Secrets) -> bool {
        if refused.is_old_token {
            self.lock().take_if(|token| refused.authorization.as_ref() == Some(&token.authorization));
        }
        refused.is_old_token
    }

    fn lock(&self) -> MutexGuard<'_, Option<Token>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> TimestampMs {
    TimestampMs::try_from(duration.as_millis()).unwrap_or(TimestampMs::MAX)
}

/// `expires_in`, which some servers write as a string or with a fraction. A year is long enough for anybody.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    const MOST_SECONDS: f64 = 366.0 * 24.0 * 3600.0;
    let seconds: f64 = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(MOST_SECONDS)))
}

/// How a client proves who it is. Source: RFC 6749, section 2.3.1, and RFC 7523, section 2.1.
#[derive(Debug)]
enum Proof {
    Header,
    Form,
    Assertion(Secret),
}

impl Proof {
    /// The value of `grant_type`.
    fn grant_type(&self) -> &'static str {
        match self {
            Self::Header | Self::Form => "client_credentials",
            Self::Assertion(_) => JWT_BEARER,
        }
    }
}

/// A new assertion of the client, signed with `key`.
async fn assertion(
    client: &OAuth2Config,
    terms: &AssertionConfig,
    key: &Secret,
    clock: &SharedClock,
) -> Result<Proof, TokenError> {
    let (client, terms, key, now) = (client.clone(), terms.clone(), key.clone(), clock.now());
    let signing = tokio::task::spawn_blocking(move || assertion::sign(&client, &terms, &key, now));
    let signed = signing.await.map_err(|stopped| TokenError::Refused(stopped.to_string()))?;
    Ok(Proof::Assertion(signed?))
}

/// A request for a token.
struct Ask<'a> {
    client: &'a OAuth2Config,
    secret: &'a Secret,
    addresses: AddressPolicy,
    clock: &'a SharedClock,
    deadline: Deadline,
}

impl Ask<'_> {
    fn config(&self, proof: &Proof) -> HttpConfig {
        let client = self.client;
        let mut form = form_urlencoded::Serializer::new(String::new());
        // A parameter of that name takes its place, for servers that want it so. Source: Go
        // `golang.org/x/oauth2`, `clientcredentials`.
        if client.endpoint_params.iter().all(|(name, _)| name != "grant_type") {
            form.append_pair("grant_type", proof.grant_type());
        }
        if !client.scopes.is_empty() {
            form.append_pair("scope", &client.scopes.join(" "));
        }
        for (name, value) in &client.endpoint_params {
            form.append_pair(name, value.expose());
        }
        let mut config = HttpConfig::new(client.token_url.clone());
        match proof {
            Proof::Header => {
                let encoded =
                    |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", encoded(&client.client_id), encoded(self.secret.expose()));
                let credentials = SecretSource::Value(Secret::new(BASE64_STANDARD.encode(pair)));
                let auth = HttpAuth::Other { scheme: "Basic".to_owned(), credentials };
                config.credentials = Some(Credentials::Static(auth));
            }
            Proof::Form => {
                form.append_pair("client_id", &client.client_id);
                form.append_pair("client_secret", self.secret.expose());
            }
            Proof::Assertion(assertion) => {
                form.append_pair("assertion", assertion.expose());
            }
        }
        config.method = Method::POST;
        config.body = form.finish().into();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        config.headers.insert(CONTENT_TYPE, form_type);
        config.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        config.follow_redirects = false;
        config.body_size_limit_bytes = MAX_ANSWER_BYTES;
        config.addresses = self.addresses;
        config.tls = client.tls.clone();
        config.proxy = client.proxy.clone();
        config
    }

    /// Sends it; gives the body of the answer. Boxed, since a probe asks for a token by a probe.
    fn send(&self, proof: Proof) -> BoxFuture<'_, Result<Vec<u8>, ProbeFailure>> {
        async move {
            let config = self.config(&proof);
            let (mut seen, tokens) = (Observation::new(false), TokenCache::default());
            let evaluation = &Evaluation::default();
            let Self { clock, deadline, .. } = *self;
            let seen = &mut seen;
            let tokens = &tokens;
            Visit { config: &config, clock, deadline, seen, tokens, evaluation, keep_body: true }.run().await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_token_is_a_number_however_it_is_written() {
        let check = |text: &str, expected: Option<u64>| {
            let value = serde_json::from_str(text).unwrap();
            assert_eq!(seconds(&value), expected.map(Duration::from_secs), "{text}");
        };
        check("3600", Some(3600));
        check("\"3600\"", Some(3600));
        check("3600.0", Some(3600));
        check("\"3.6e3\"", Some(3600));
        check("\"NaN\"", None);
        check("null", None);
        check("0", None);
        check("-1", None);
        check("\"soon\"", None);
        check("99999999999", Some(366 * 24 * 3600));
    }

    #[test]
    fn a_token_is_used_until_shortly_before_its_end_on_either_clock_and_for_one_secret() {
        let check = |given_for: &str, remaining: u64, remaining_at: i64, expected: bool| {
            let token = Token {
                given_for: Secret::new(given_for),
                authorization: Secret::new("Bearer t"),
                end: Instant::now() + Duration::from_secs(remaining),
                end_at: 1000 * remaining_at,
            };
            let cache = TokenCache(Mutex::new(Some(token)));
            let found = cache.usable(&Secret::new("one"), 0);
            assert_eq!(found.is_some(), expected, "{given_for} {remaining} {remaining_at}");
        };
        check("one", 60, 60, true);
        check("one", 5, 60, false);
        check("one", 60, 5, false);
        check("two", 60, 60, false);
    }
}
