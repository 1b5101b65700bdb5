//! How a server is reached over HTTP, and as whom.

use std::io;
use std::time::Duration;

use reqwest::NoProxy;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;

use super::{ClientError, HttpAuth, SecretSource, TlsConfig, USER_AGENT};
use crate::model::Secret;

/// How many redirects are followed. Source: reqwest's default.
const MOST_REDIRECTS: usize = 10;

/// How a server is reached over HTTP, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct HttpConfig {
    /// Credentials.
    pub auth: Option<HttpAuth>,
    /// Trust, and a client certificate.
    pub tls: TlsConfig,
    /// Further headers of every request.
    pub headers: Vec<Header>,
    /// The proxy that every request goes through.
    pub proxy: Option<Proxy>,
}

/// A header of requests. A header with several values is sent several times.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value, which may be a secret.
    pub value: SecretSource,
}

/// A proxy for HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// Its URL, perhaps with user and password.
    pub url: Secret,
    /// What is reached directly: names, domains, addresses and networks, separated by commas.
    pub no_proxy: String,
}

impl HttpConfig {
    /// Whether building a client anew can make a difference: its trust anchors or its certificate are in
    /// files.
    pub fn depends_on_files(&self) -> bool {
        self.tls.ca_file.is_some() || self.tls.client_certificate.is_some()
    }

    /// A client whose every request ends within `timeout`. It follows no proxy settings of the
    /// environment: what a configuration does not say does not happen. Reads the files of the TLS
    /// settings.
    pub fn client(&self, timeout: Duration) -> Result<reqwest::Client, ClientError> {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.client_config()?)
            .user_agent(USER_AGENT)
            .timeout(timeout)
            .connect_timeout(timeout)
            .redirect(if self.headers.is_empty() { Policy::default() } else { within_origin() })
            .no_proxy();
        let builder = match &self.proxy {
            None => builder,
            Some(proxy) => {
                let direct = NoProxy::from_string(&proxy.no_proxy);
                builder.proxy(reqwest::Proxy::all(proxy.url.expose())?.no_proxy(direct))
            }
        };
        Ok(builder.build()?)
    }

    /// Adds credentials and headers to a request, as they are now: both may be in files.
    pub fn prepare(&self, mut request: reqwest::RequestBuilder) -> io::Result<reqwest::RequestBuilder> {
        if let Some(auth) = &self.auth {
            request = auth.apply(request)?;
        }
        for Header { name, value } in &self.headers {
            let mut value = HeaderValue::try_from(value.resolve()?.expose()).map_err(|_| {
                let message = format!("the header `{name}` holds a character that cannot be sent");
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        Ok(request)
    }
}

/// Redirects are followed to the same server alone: of headers that were configured nobody knows which
/// are secret, and they would be sent along.
fn within_origin() -> Policy {
    Policy::custom(|attempt| {
        let same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
        if same && attempt.previous().len() <= MOST_REDIRECTS { attempt.follow() } else { attempt.stop() }
    })
}

/// The innermost reason of a failed request, which says what happened: `connection refused`,
/// `operation timed out`. The outer ones repeat the URL, perhaps with a password.
pub fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() { format!("timed out: {cause}") } else { cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_credentials_are_added_to_a_request() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("key");
        std::fs::write(&file, "from file\n").expect("written");
        let header = |name, value| Header { name: HeaderName::from_static(name), value };
        let config = HttpConfig {
            auth: Some(HttpAuth::Bearer(SecretSource::Value(Secret::new("t0ken")))),
            headers: vec![
                header("x-scope-orgid", SecretSource::Value(Secret::new("a"))),
                header("x-scope-orgid", SecretSource::Value(Secret::new("b"))),
                header("x-key", SecretSource::File(file.clone())),
            ],
            ..HttpConfig::default()
        };
        let client = config.client(Duration::from_secs(1)).expect("usable");
        let prepare = || config.prepare(client.get("http://localhost/"));
        let request = prepare().expect("readable").build().expect("complete");
        let values = |name| request.headers().get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("authorization"), ["Bearer t0ken"]);
        assert_eq!(values("x-scope-orgid"), ["a", "b"]);
        assert_eq!(values("x-key"), ["from file"]);
        assert!(!format!("{config:?} {request:?}").contains("t0ken"));
        std::fs::write(&file, "two\nlines").expect("written");
        let error = prepare().expect_err("no header").to_string();
        assert_eq!(error, "the header `x-key` holds a character that cannot be sent");
    }

    /// Answers one request with this, and gives what it was.
    async fn answer_once(listener: tokio::net::TcpListener, response: String) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.expect("a request");
        stream.write_all(response.as_bytes()).await.expect("sent");
        String::from_utf8_lossy(&request[..length]).into_owned()
    }

    #[tokio::test]
    async fn configured_headers_do_not_follow_a_redirect_to_another_server() {
        let listen = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (first, second) = (listen().await, listen().await);
        let url =
            |listener: &tokio::net::TcpListener| format!("http://{}/", listener.local_addr().expect("bound"));
        let from = url(&first);
        let response = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            url(&second)
        );
        let seen = tokio::spawn(answer_once(first, response));
        let value = SecretSource::Value(Secret::new("k3y"));
        let header = Header { name: HeaderName::from_static("x-key"), value };
        let config = HttpConfig { headers: vec![header], ..HttpConfig::default() };
        let client = config.client(Duration::from_secs(20)).expect("usable");
        let request = config.prepare(client.post(from)).expect("usable");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 307, "it is not followed");
        assert!(seen.await.expect("it has answered").contains("x-key: k3y"));
    }
}
