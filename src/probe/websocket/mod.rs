//! The WebSocket probe: upgrades a connection and exchanges messages, with blackbox exporter's metrics.
//!
//! Differences from blackbox exporter: the whole probe has a deadline, also while it waits for a message;
//! what a server sends is bounded; certificates are reported as by other probes; headers of `http_config`
//! and OAuth 2.0 count. Redirects are not followed and no proxy is used, as there.

mod frame;
mod messages;
mod seen;
mod upgrade;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::StatusCode;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use url::Url;

use self::messages::{MessageError, Messages};
use self::seen::{Phase, Seen};
use self::upgrade::{Key, Refusal};
use super::conversation::shown;
use super::http::{Credentials, Identity, Secrets, TokenCache};
use super::outcome::observe;
use super::tls::TlsConfig;
use super::wire::{BoxStream, MAX_HEAD_BYTES, Stream, drive, explain};
use super::{AddressPolicy, Deadline, Pattern, ProbeFailure, ProbeOutcome, Prober};
use crate::client::Header;
use crate::clock::SharedClock;

pub use self::seen::METADATA;

/// The protocol below, as it is called in the TLS handshake: HTTP/2 has no such upgrade.
const ALPN: &str = "http/1.1";

/// How to talk to a WebSocket. Source: blackbox exporter `CONFIGURATION.md`, `<websocket_probe>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebsocketConfig {
    /// Headers of the request, whose values may stand in files; those are read for each probe.
    pub headers: Vec<Header>,
    /// How to identify to the server.
    pub credentials: Option<Credentials>,
    /// What is said; if nothing is, the upgrade is all.
    pub query_response: Vec<QueryResponse>,
    /// Which of the host's addresses to use.
    pub addresses: AddressPolicy,
    /// How to talk TLS.
    pub tls: TlsConfig,
}

/// One step: what is expected comes first, then what is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryResponse {
    /// What the next message has to match; no message is waited for without.
    pub expect: Option<Pattern>,
    /// The text that is sent; nothing if it is empty. `${1}` stands for a group of the pattern.
    pub send: Vec<u8>,
}

/// Why a target is none of a WebSocket probe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebsocketTargetError {
    /// Not a URL.
    #[error("`{0}` is not a URL: {1}")]
    NotUrl(String, String),
    /// Neither ws nor wss.
    #[error("scheme `{0}` is not `ws` or `wss`")]
    Scheme(String),
    /// A URL is printed in many places. The message leaves it out.
    #[error("a URL must not hold a user or password; use `basic_auth`")]
    Credentials,
}

/// Reads a target: a URL.
pub fn parse_target(text: &str) -> Result<Url, WebsocketTargetError> {
    let url = Url::parse(text).map_err(|error| {
        // What stands before an `@` may be a password.
        let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
        WebsocketTargetError::NotUrl(shown.to_owned(), error.to_string())
    })?;
    if !matches!(url.scheme(), "ws" | "wss") {
        return Err(WebsocketTargetError::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(WebsocketTargetError::Credentials);
    }
    Ok(url)
}

/// Talks to one WebSocket.
pub struct WebsocketProber {
    config: WebsocketConfig,
    url: Url,
    clock: SharedClock,
    tokens: TokenCache,
}

impl WebsocketProber {
    /// A prober of the URL `target`. The clock says which certificates are expired.
    pub fn new(
        config: WebsocketConfig,
        target: &str,
        clock: SharedClock,
    ) -> Result<Self, WebsocketTargetError> {
        Ok(Self { config, url: parse_target(target)?, clock, tokens: TokenCache::default() })
    }

    async fn look(&self, deadline: Deadline, seen: &mut Seen) -> Result<(), ProbeFailure> {
        let secrets = self.secrets(deadline, seen).await?;
        let looked = self.look_as(&secrets, deadline, seen).await;
        if seen.status != Some(StatusCode::UNAUTHORIZED) || !self.tokens.forget(&secrets) {
            return looked;
        }
        seen.begin_anew();
        seen.course.note("the token is refused: asking for another one");
        let secrets = self.secrets(deadline, seen).await?;
        self.look_as(&secrets, deadline, seen).await
    }

    async fn secrets(&self, deadline: Deadline, seen: &mut Seen) -> Result<Secrets, ProbeFailure> {
        let Self { config: WebsocketConfig { headers, addresses, credentials, .. }, clock, tokens, .. } =
            self;
        let (credentials, addresses) = (credentials.as_ref(), *addresses);
        seen.course.begin("getting the credentials");
        let identity = Identity { credentials, headers, tokens, addresses, clock, deadline };
        identity.read(&mut seen.course.log).await
    }

    /// Looks once, identifying so.
    async fn look_as(
        &self,
        secrets: &Secrets,
        deadline: Deadline,
        seen: &mut Seen,
    ) -> Result<(), ProbeFailure> {
        let Self { config, url, clock, .. } = self;
        let host = url.host_str().expect("URLs of ws and wss have a host").trim_matches(['[', ']']);
        let port = url.port_or_known_default().expect("ws and wss have a default port");
        let tls = match url.scheme() {
            "wss" => Some(config.tls.prepare(host, &[ALPN], clock).await?),
            _ => None,
        };
        seen.enter(Phase::Resolve);
        let addresses = seen.route.resolve(host, port, config.addresses, None, &mut seen.course).await?;
        seen.enter(Phase::Connect);
        let stream = seen.route.connect(None, &addresses, deadline, &mut seen.course).await?;
        seen.enter(Phase::Processing);
        let Some(tls) = tls else { return self.talk(Box::new(stream), secrets, seen).await };
        let handshake = seen.handshake.insert(tls.handshake()).clone();
        seen.course.begin("shaking hands in TLS");
        let stream = tls.connect(stream).await?;
        handshake.note_doubts(&mut seen.course);
        self.talk(Box::new(stream), secrets, seen).await
    }

    /// Upgrades the connection and exchanges messages over it.
    async fn talk(&self, stream: BoxStream, secrets: &Secrets, seen: &mut Seen) -> Result<(), ProbeFailure> {
        let broken = |error: hyper::Error| ProbeFailure::new("http", explain(&error));
        seen.course.begin("waiting for the upgrade");
        let key = Key::random();
        let request = key.request(&self.url, secrets).map_err(|error| {
            ProbeFailure::unknown("http_config", format!("cannot make a request: {error}"))
        })?;
        let mut builder = http1::Builder::new();
        builder
            .title_case_headers(true)
            .max_buf_size(MAX_HEAD_BYTES as usize)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let exchange = async {
            let mut response = sender.send_request(request).await.map_err(broken)?;
            seen.status = Some(response.status());
            seen.course.note(format!("{:?} {}", response.version(), response.status()));
            key.check(response.status(), response.headers()).map_err(refused)?;
            let upgraded = hyper::upgrade::on(&mut response).await.map_err(broken)?;
            seen.is_upgraded = true;
            seen.leave();
            let mut socket = Messages::new(TokioIo::new(upgraded));
            let result = self.hold(&mut socket, seen).await;
            socket.close();
            result
        };
        drive(connection.with_upgrades(), exchange).await
    }

    /// Goes through all steps.
    async fn hold(&self, socket: &mut Messages<impl Stream>, seen: &mut Seen) -> Result<(), ProbeFailure> {
        if self.config.query_response.is_empty() {
            return Ok(());
        }
        seen.enter(Phase::Transfer);
        for step in &self.config.query_response {
            let send = match &step.expect {
                Some(pattern) => expect(pattern, &step.send, socket, seen).await?,
                None => step.send.clone(),
            };
            if !send.is_empty() {
                seen.course.begin("sending");
                // It may be a password, and is not shown.
                seen.course.note(format!("sending {} bytes", send.len()));
                socket.send(&send).await?;
            }
        }
        seen.leave();
        Ok(())
    }
}

/// Waits for a message that matches; gives what is to be answered.
async fn expect(
    pattern: &Pattern,
    answer: &[u8],
    socket: &mut Messages<impl Stream>,
    seen: &mut Seen,
) -> Result<Vec<u8>, ProbeFailure> {
    seen.course.begin(format!("waiting for a message that matches `{pattern}`"));
    let message = socket.receive().await.inspect_err(|error| {
        seen.failed_due_to_regex = matches!(error, MessageError::Closed(_) | MessageError::Gone);
    })?;
    let (message, expanded) = pattern.expand_aside(message, answer).await?;
    match expanded {
        Some(answer) => {
            seen.course.note(format!("message {} matches `{pattern}`", shown(&message)));
            Ok(answer)
        }
        None => {
            seen.failed_due_to_regex = true;
            let reason = format!("message {} does not match `{pattern}`", shown(&message));
            Err(ProbeFailure::new("expect", reason))
        }
    }
}

fn refused(refusal: Refusal) -> ProbeFailure {
    let kind = match refusal {
        Refusal::Status(_) => "status",
        Refusal::Missing(_) | Refusal::Key => "answer",
    };
    ProbeFailure::new(kind, refusal.to_string())
}

/// Bytes that nobody can foresee: keys, and masks, by which no page can make a client send what a proxy
/// takes for something else.
fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random numbers do not fail once they are there");
    bytes
}

impl Prober for WebsocketProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        observe(deadline, Seen::default(), async move |seen: &mut Seen| self.look(deadline, seen).await)
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_url_of_a_websocket() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = parse_target(text).map(String::from).map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
        };
        check("ws://a.example", Ok("ws://a.example/"));
        check("WSS://a.example:443/chat?x=1", Ok("wss://a.example/chat?x=1"));
        check("ws://[::1]:9090", Ok("ws://[::1]:9090/"));
        check("http://a.example", Err("scheme `http` is not `ws` or `wss`"));
        check("a.example", Err("`a.example` is not a URL: relative URL without a base"));
        check("ws://u:hunter2@a", Err("a URL must not hold a user or password; use `basic_auth`"));
        check("ws://u:hunter2@:80:80", Err("`:80:80` is not a URL: empty host"));
    }
}
