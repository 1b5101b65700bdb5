//! How a server is reached over HTTP, and as whom.

use std::io;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Method, NoProxy, Response, StatusCode};
use tokio::time::timeout;
use url::Url;

use super::{ClientError, HttpAuth, RenewingClient, SecretSource, TlsConfig, USER_AGENT};
use crate::model::Secret;

/// How long files with credentials may take: they may be on a file system that hangs.
const PATIENCE_WITH_FILES: Duration = Duration::from_secs(10);
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
    /// A client for requests with this method, whose every request ends within `timeout`. It follows no
    /// proxy settings of the environment: what a configuration does not say does not happen. A redirect
    /// that it does not follow is the answer. Reads the files of the TLS settings.
    pub fn client(&self, method: &Method, timeout: Duration) -> Result<reqwest::Client, ClientError> {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.client_config()?)
            .user_agent(USER_AGENT)
            .timeout(timeout)
            .connect_timeout(timeout)
            .redirect(self.redirects(method))
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

    /// The same, built anew when the files of the TLS settings have changed.
    pub fn renewing_client(&self, method: &Method, timeout: Duration) -> Result<RenewingClient, ClientError> {
        let (config, method) = (self.clone(), method.clone());
        RenewingClient::new(&self.tls, move || config.client(&method, timeout))
    }

    /// Where headers are configured redirects are followed to the same server alone: nobody knows which of
    /// them are secret, and they would be sent along.
    fn redirects(&self, method: &Method) -> Policy {
        let (anywhere, reads) = (self.headers.is_empty(), matches!(*method, Method::GET | Method::HEAD));
        Policy::custom(move |attempt: Attempt<'_>| {
            let first = attempt.previous().first();
            let allowed = anywhere || first.is_some_and(|first| first.origin() == attempt.url().origin());
            let same_request = reads || repeats(attempt.status());
            let few = attempt.previous().len() <= MOST_REDIRECTS;
            if allowed && same_request && few { attempt.follow() } else { attempt.stop() }
        })
    }

    /// Adds credentials and headers to a request, as they are now: both may be in files, for which this waits
    /// ten seconds.
    pub async fn prepare(&self, request: reqwest::RequestBuilder) -> io::Result<reqwest::RequestBuilder> {
        let added = timeout(PATIENCE_WITH_FILES, self.added_to(request)).await;
        added.unwrap_or_else(|_| Err(io::Error::other("the files with credentials were not read in time")))
    }

    async fn added_to(&self, mut request: reqwest::RequestBuilder) -> io::Result<reqwest::RequestBuilder> {
        if let Some(auth) = &self.auth {
            request = auth.apply(request).await?;
        }
        for Header { name, value } in &self.headers {
            let mut value = HeaderValue::try_from(value.read().await?.expose()).map_err(|_| {
                let message = format!("the header `{name}` holds a character that cannot be sent");
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        Ok(request)
    }
}

/// Whether a redirect asks for the same request again. After the others a POST becomes a GET without a
/// body, and whoever answers that has not been told anything. Source: the Fetch standard, "HTTP-redirect
/// fetch", and RFC 9110, sections 15.4.2 to 15.4.4.
fn repeats(status: StatusCode) -> bool {
    matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
}

/// Where an answer redirects to, if it does; without credentials and parameters, which may be secrets.
pub fn redirected_to(answer: &Response) -> Option<Url> {
    let location = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection())?;
    let mut url = answer.url().join(location.to_str().ok()?).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    // They cannot be set where there can be none.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    Some(url)
}

/// The status of an answer, and where it leads if it is a redirect that was not followed.
pub fn status_of(answer: &Response) -> String {
    match redirected_to(answer) {
        Some(url) => format!("{}, which leads to `{url}`", answer.status()),
        None => answer.status().to_string(),
    }
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

    #[tokio::test]
    async fn headers_and_credentials_are_added_to_a_request() {
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
        let client = config.client(&Method::GET, Duration::from_secs(1)).expect("usable");
        let prepare = || config.prepare(client.get("http://localhost/"));
        let request = prepare().await.expect("readable").build().expect("complete");
        let values = |name| request.headers().get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("authorization"), ["Bearer t0ken"]);
        assert_eq!(values("x-scope-orgid"), ["a", "b"]);
        assert_eq!(values("x-key"), ["from file"]);
        assert!(!format!("{config:?} {request:?}").contains("t0ken"));
        std::fs::write(&file, "two\nlines").expect("written");
        let error = prepare().await.expect_err("no header").to_string();
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

    /// A server that answers one request so; its URL, and what it was asked.
    async fn server(response: String) -> (Url, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        (Url::parse(&url).expect("a URL"), tokio::spawn(answer_once(listener, response)))
    }

    fn redirect(status: u16, to: &Url) -> String {
        format!("HTTP/1.1 {status} -\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }

    const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn configured_headers_do_not_follow_a_redirect_to_another_server() {
        let (second, _) = server(FINE.to_owned()).await;
        let (first, seen) = server(redirect(307, &second)).await;
        let value = SecretSource::Value(Secret::new("k3y"));
        let header = Header { name: HeaderName::from_static("x-key"), value };
        let config = HttpConfig { headers: vec![header], ..HttpConfig::default() };
        let client = config.client(&Method::POST, Duration::from_secs(20)).expect("usable");
        let request = config.prepare(client.post(first)).await.expect("usable");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 307, "it is not followed");
        assert!(seen.await.expect("it has answered").contains("x-key: k3y"));
    }

    #[tokio::test]
    async fn what_is_posted_is_posted_again_or_not_redirected() {
        let ask = async |method: Method, status| {
            let (second, seen) = server(FINE.to_owned()).await;
            let mut elsewhere = second.join("login?token=s3cret#top").expect("a URL");
            elsewhere.set_password(Some("s3cret")).expect("it has a host");
            let (first, _) = server(redirect(status, &elsewhere)).await;
            let client = HttpConfig::default().client(&method, Duration::from_secs(20)).expect("usable");
            let answer = client.request(method, first).body("alerts").send().await.expect("an answer");
            (second, status_of(&answer), answer.status().is_success().then_some(seen))
        };
        for status in [301, 302, 303] {
            let (second, text, seen) = ask(Method::POST, status).await;
            assert!(seen.is_none() && text.starts_with(&status.to_string()), "{text}");
            assert!(text.ends_with(&format!(", which leads to `{second}login`")), "{text}");
            let (_, text, seen) = ask(Method::GET, status).await;
            assert!(seen.is_some(), "{status}: {text}");
        }
        for status in [307, 308] {
            let (_, text, seen) = ask(Method::POST, status).await;
            let seen = seen.expect(&text).await.expect("it has answered");
            assert!(seen.starts_with("POST /login?token=s3cret") && seen.ends_with("alerts"), "{seen}");
        }
    }
}
