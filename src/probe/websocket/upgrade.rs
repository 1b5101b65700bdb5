//! The request that turns HTTP into a WebSocket, and its answer. Pure. Source: RFC 6455, section 4.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use hyper::http::Error as RequestError;
use hyper::{Request, StatusCode};
use url::{Position, Url};

use crate::client;
use crate::probe::http::Secrets;

/// What a key is joined with.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The headers that make the upgrade, which no configuration changes.
const OWN_HEADERS: [HeaderName; 5] =
    [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS];

/// Why an answer does not make a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the server answered with status {0}, 101 was expected")]
    Status(u16),
    #[error("the server's answer lacks `{0}`")]
    Missing(&'static str),
    #[error("the server's `Sec-WebSocket-Accept` does not fit the key")]
    Key,
}

/// A key, by which the answer shows that the server understood.
pub(super) struct Key(String);

impl Key {
    pub(super) fn random() -> Self {
        Self(BASE64_STANDARD.encode(super::random::<16>()))
    }

    fn accept(&self) -> String {
        let joined = format!("{}{GUID}", self.0);
        BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes()))
    }

    /// Asks the server at `url` for a WebSocket.
    pub(super) fn request(
        &self,
        url: &Url,
        secrets: &Secrets,
    ) -> Result<Request<Empty<Bytes>>, RequestError> {
        let target = &url[Position::BeforePath..Position::AfterQuery];
        let mut request = Request::get(target).body(Empty::new())?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::try_from(&url[Position::BeforeHost..Position::AfterPort])?);
        headers.insert(USER_AGENT, HeaderValue::from_static(client::USER_AGENT));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::try_from(&self.0)?);
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        if let Some(authorization) = &secrets.authorization {
            let mut value = HeaderValue::try_from(authorization.expose())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        for (name, value) in secrets.headers.iter().filter(|(name, _)| !OWN_HEADERS.contains(name)) {
            if name == HOST {
                headers.insert(name, value.clone());
            } else {
                headers.append(name, value.clone());
            }
        }
        Ok(request)
    }

    /// Whether this answer begins a WebSocket. What extension or protocol the server chose does not
    /// matter: none was asked for, and frames of one are found out when they come.
    pub(super) fn check(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), Refusal> {
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Refusal::Status(status.as_u16()));
        }
        if !lists(headers, &UPGRADE, "websocket") {
            return Err(Refusal::Missing("Upgrade: websocket"));
        }
        if !lists(headers, &CONNECTION, "upgrade") {
            return Err(Refusal::Missing("Connection: Upgrade"));
        }
        let accepted = headers.get(SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes().trim_ascii());
        if accepted == Some(self.accept().as_bytes()) { Ok(()) } else { Err(Refusal::Key) }
    }
}

/// Whether a word is among those of a header, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    // The example of RFC 6455, section 1.3.
    fn key() -> Key {
        Key("dGhlIHNhbXBsZSBub25jZQ==".to_owned())
    }

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    #[test]
    fn the_answer_has_to_fit_the_key() {
        let check = |status: u16, given: &[(HeaderName, &'static str)], expected: Result<(), Refusal>| {
            let headers: HeaderMap =
                given.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(key().check(status, &headers), expected, "{given:?}");
        };
        let upgrade = (UPGRADE, "WebSocket");
        let connection = (CONNECTION, "keep-alive, Upgrade");
        let accept = (SEC_WEBSOCKET_ACCEPT, ACCEPT);
        check(101, &[upgrade.clone(), connection.clone(), accept.clone()], Ok(()));
        check(200, &[upgrade.clone(), connection.clone(), accept.clone()], Err(Refusal::Status(200)));
        let missing = |what| Err(Refusal::Missing(what));
        check(101, &[connection.clone(), accept.clone()], missing("Upgrade: websocket"));
        check(101, &[upgrade.clone(), accept.clone()], missing("Connection: Upgrade"));
        check(101, &[upgrade.clone(), (CONNECTION, "upgraded"), accept], missing("Connection: Upgrade"));
        check(101, &[upgrade.clone(), connection.clone()], Err(Refusal::Key));
        let other = (SEC_WEBSOCKET_ACCEPT, "dGhlIHNhbXBsZSBub25jZQ==");
        check(101, &[upgrade, connection, other], Err(Refusal::Key));
    }

    #[test]
    fn a_request_asks_for_the_upgrade_whatever_headers_are_configured() {
        let url = Url::parse("ws://a.example:8080/chat?room=1#x").unwrap();
        let header = |name, value| (name, HeaderValue::from_static(value));
        let secrets = Secrets {
            authorization: Some(Secret::new("Bearer t")),
            headers: vec![
                header(HeaderName::from_static("x-key"), "v"),
                header(HeaderName::from_static("sec-websocket-protocol"), "chat"),
                header(HOST, "b.example"),
                header(UPGRADE, "h2c"),
                header(SEC_WEBSOCKET_KEY, "mine"),
            ],
            ..Secrets::default()
        };
        let request = key().request(&url, &secrets).unwrap();
        assert_eq!(request.uri(), "/chat?room=1");
        for (name, expected) in [
            ("host", "b.example"),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "chat"),
            ("authorization", "Bearer t"),
            ("x-key", "v"),
        ] {
            let values: Vec<_> = request.headers().get_all(name).iter().collect();
            assert_eq!(values, [expected], "{name}");
        }
        assert!(request.headers()["authorization"].is_sensitive());
    }
}
