//! What a request carries that is secret, as it is now.

use std::io;

use hyper::header::{HeaderName, HeaderValue};

use super::config::Credentials;
use super::oauth2::{TokenCache, TokenError};
use crate::client::{Header, SecretSource};
use crate::clock::SharedClock;
use crate::model::Secret;
use crate::probe::outcome::waiting_here;
use crate::probe::{AddressPolicy, Deadline, Log, ProbeFailure};

/// The secret parts of a request.
#[derive(Debug, Default)]
pub(in crate::probe) struct Secrets {
    /// The value of `Authorization`.
    pub(in crate::probe) authorization: Option<Secret>,
    /// Whether that is a token which was given to an earlier request.
    pub(in crate::probe) is_old_token: bool,
    /// Configured headers.
    pub(in crate::probe) headers: Vec<(HeaderName, HeaderValue)>,
}

/// How a probe identifies to its target, and what it needs for that.
pub(in crate::probe) struct Identity<'a> {
    pub(in crate::probe) credentials: Option<&'a Credentials>,
    pub(in crate::probe) headers: &'a [Header],
    /// Tokens that were given to earlier probes.
    pub(in crate::probe) tokens: &'a TokenCache,
    pub(in crate::probe) addresses: AddressPolicy,
    pub(in crate::probe) clock: &'a SharedClock,
    pub(in crate::probe) deadline: Deadline,
}

impl Identity<'_> {
    /// The secrets as they are now. What is read or asked for is noted in `log`.
    pub(in crate::probe) async fn read(&self, log: &mut Log) -> Result<Secrets, ProbeFailure> {
        let unreadable = |error: io::Error| {
            ProbeFailure::unknown("http_config", format!("cannot read the credentials: {error}"))
        };
        let mut is_old_token = false;
        let authorization = match self.credentials {
            None => None,
            Some(Credentials::Static(auth)) => {
                let header = waiting_here("reading the credentials", auth.read_header()).await;
                Some(header.map_err(unreadable)?)
            }
            Some(Credentials::OAuth2(client)) => {
                // The operator has chosen who gives tokens, and no target can change it.
                let addresses = self.addresses.anywhere();
                let token = self.tokens.token(client, addresses, self.clock, self.deadline).await;
                let token = token.map_err(TokenError::into_failure)?;
                log.push(format!("token from {}", client.token_url.host_str().unwrap_or_default()));
                is_old_token = token.is_old;
                Some(token.authorization)
            }
        };
        let headers = header_values(self.headers).await.map_err(unreadable)?;
        Ok(Secrets { authorization, is_old_token, headers })
    }
}

/// The values of `headers` as they are now.
pub(super) async fn header_values(headers: &[Header]) -> io::Result<Vec<(HeaderName, HeaderValue)>> {
    let mut values = Vec::with_capacity(headers.len());
    for header in headers {
        let mut value = HeaderValue::try_from(value(&header.value).await?.expose()).map_err(|_| {
            let message = format!("header `{}` holds a character that cannot be sent", header.name);
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        value.set_sensitive(true);
        values.push((header.name.clone(), value));
    }
    Ok(values)
}

/// A secret as it is now.
pub(super) async fn value(source: &SecretSource) -> io::Result<Secret> {
    waiting_here("reading a secret", source.read()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::HttpAuth;

    #[tokio::test]
    async fn values_are_read_anew_and_do_not_print() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let header = |name, value: SecretSource| Header { name: HeaderName::from_static(name), value };
        let headers = [
            header("x-a", SecretSource::Value(Secret::new("hunter2"))),
            header("x-b", SecretSource::File(file.clone())),
        ];
        for text in ["one", "two"] {
            std::fs::write(&file, format!("{text}\n")).unwrap();
            let found = header_values(&headers).await.unwrap();
            assert_eq!(found[1].1, text);
            assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
            let auth = HttpAuth::Bearer(SecretSource::File(file.clone()));
            assert_eq!(auth.read_header().await.unwrap().expose(), format!("Bearer {text}"));
        }
        std::fs::write(&file, "hunter2\nhunter3").unwrap();
        let error = header_values(&headers).await.unwrap_err().to_string();
        assert_eq!(error, "header `x-b` holds a character that cannot be sent");
        std::fs::remove_file(&file).unwrap();
        assert!(header_values(&headers).await.unwrap_err().to_string().contains("key: "));
    }
}
