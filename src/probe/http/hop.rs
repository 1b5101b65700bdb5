//! One request of a probe: its URL, what is sent, and what a redirect makes of it.

use bytes::Bytes;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONNECTION, COOKIE, HOST, HeaderMap, HeaderName,
    HeaderValue, LOCATION, USER_AGENT,
};
use hyper::http::Error as RequestError;
use hyper::{Method, Request, StatusCode, Uri};
use url::Url;

use super::cookies::CookieJar;
use super::secrets::Secrets;
use super::{HttpConfig, Protocol};
use crate::client;

/// The headers that a host other than the target's may see: they neither identify nor authorise.
const HARMLESS_HEADERS: [HeaderName; 4] = [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, USER_AGENT];

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// HTTP/1.1, asking the server itself.
    Origin,
    /// HTTP/1.1, asking a proxy.
    Absolute,
    /// HTTP/2 and HTTP/3.
    Http2,
}

/// A request that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) url: Url,
    pub(super) method: Method,
    /// Whether the configured body is sent.
    pub(super) with_body: bool,
    /// Whether configured headers, credentials and the client certificate are sent: only as long as all
    /// hops were to the target's own origin. Coming back does not restore it, since then somebody else
    /// chose what is asked for.
    pub(super) at_home: bool,
}

impl Hop {
    /// The request that the configuration describes.
    pub(super) fn first(config: &HttpConfig) -> Self {
        let mut url = config.url.clone();
        if config.protocol == Protocol::Http3 {
            // As in blackbox exporter: there is no HTTP/3 without TLS. A URL of http can become one of https.
            let _ = url.set_scheme("https");
        }
        Self { url, method: config.method.clone(), with_body: true, at_home: true }
    }

    /// The host as a name or an address without brackets.
    pub(super) fn host(&self) -> &str {
        let host = self.url.host_str().expect("only URLs with a host are visited");
        host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
    }

    /// The port, given or implied.
    pub(super) fn port(&self) -> u16 {
        self.url.port_or_known_default().expect("only http and https are visited")
    }

    /// The URL for people: without the query, which may hold a token.
    pub(super) fn shown(&self) -> &str {
        &self.url[..url::Position::AfterPath]
    }

    /// Whether the URL asks for TLS.
    pub(super) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// What to send next if this response is a redirect. `Ok(None)` if it is none: a redirect without
    /// `Location` is an answer like any other.
    /// Source: Go `net/http`, `redirectBehavior`, which blackbox exporter relies on.
    pub(super) fn redirect(&self, status: StatusCode, headers: &HeaderMap) -> Result<Option<Self>, String> {
        let keeps_method = match status.as_u16() {
            301..=303 => matches!(self.method, Method::GET | Method::HEAD),
            307 | 308 => true,
            _ => return Ok(None),
        };
        let Some(location) = headers.get(LOCATION).filter(|location| !location.is_empty()) else {
            return Ok(None);
        };
        // What is no URL is not shown: it may hold a token.
        let malformed = || "redirected to something that is no URL".to_owned();
        let text = std::str::from_utf8(location.as_bytes()).map_err(|_| malformed())?;
        let mut url = self.url.join(text).map_err(|_| malformed())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(format!("redirected to scheme `{}`, which is not HTTP", url.scheme()));
        }
        // Credentials that someone else puts into a URL are not ours to send. A URL with a host takes
        // an empty user.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let at_home = self.at_home && keeps_credentials(&self.url, &url);
        let method = if keeps_method { self.method.clone() } else { Method::GET };
        let with_body = keeps_method && self.with_body && at_home;
        Ok(Some(Self { url, method, with_body, at_home }))
    }

    /// The name by which the server is addressed: the configured `Host`, or that of the URL.
    pub(super) fn authority<'a>(&'a self, config: &'a HttpConfig) -> &'a [u8] {
        let configured = config.headers.get(HOST).filter(|_| self.at_home);
        let own = &self.url[url::Position::BeforeHost..url::Position::AfterPort];
        configured.map_or(own.as_bytes(), HeaderValue::as_bytes)
    }

    /// The request itself, as this `form` has it.
    pub(super) fn request(
        &self,
        config: &HttpConfig,
        form: Form,
        body: &Bytes,
        cookies: &CookieJar,
        secrets: &Secrets,
    ) -> Result<Request<Bytes>, RequestError> {
        let body = if self.with_body { body.clone() } else { Bytes::new() };
        let path = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let authority = HeaderValue::from_bytes(self.authority(config))?;
        let target = match form {
            Form::Origin => Uri::try_from(path)?,
            Form::Absolute | Form::Http2 => Uri::builder()
                .scheme(self.url.scheme())
                .authority(authority.as_bytes())
                .path_and_query(path)
                .build()?,
        };
        let mut request = Request::builder().method(&self.method).uri(target).body(body)?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(client::USER_AGENT));
        if let Some(encoding) = config.compression.accept_encoding() {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        }
        if let Some(authorization) = secrets.authorization.as_ref().filter(|_| self.at_home) {
            headers.insert(AUTHORIZATION, sensitive(authorization.expose())?);
        }
        for name in config.headers.keys() {
            if !self.at_home && !HARMLESS_HEADERS.contains(name) {
                continue;
            }
            headers.remove(name);
            for value in config.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        if self.at_home {
            for (name, value) in &secrets.headers {
                headers.append(name, value.clone());
            }
        }
        if let Some(pairs) = cookies.header(&self.url, headers.get_all(COOKIE).iter())? {
            headers.insert(COOKIE, pairs);
        }
        if form == Form::Http2 {
            // Its place is in the URI, and connections are ended in another way.
            headers.remove(HOST);
            headers.remove(CONNECTION);
        } else {
            headers.insert(HOST, authority);
            headers.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
        }
        Ok(request)
    }
}

fn sensitive(value: &str) -> Result<HeaderValue, RequestError> {
    let mut value = HeaderValue::try_from(value)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether what was meant for `from` may be sent to `to`: the same origin, or the same host's standard
/// HTTPS port instead of its standard HTTP port.
fn keeps_credentials(from: &Url, to: &Url) -> bool {
    let same_host = from.host() == to.host();
    let is =
        |url: &Url, scheme: &str, port| url.scheme() == scheme && url.port_or_known_default() == Some(port);
    let upgraded = same_host && is(from, "http", 80) && is(to, "https", 443);
    from.origin() == to.origin() || upgraded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    fn hop(url: &str, method: Method) -> Hop {
        Hop { url: Url::parse(url).unwrap(), method, with_body: true, at_home: true }
    }

    fn redirect(from: &Hop, status: u16, location: &str) -> Result<Option<Hop>, String> {
        let mut headers = HeaderMap::new();
        if !location.is_empty() {
            headers.insert(LOCATION, HeaderValue::try_from(location).unwrap());
        }
        from.redirect(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn the_method_and_body_survive_a_redirect_only_where_the_status_says_so() {
        let check = |method: Method, status: u16, expected: Option<(Method, bool)>| {
            let next = redirect(&hop("http://a/", method.clone()), status, "/next").unwrap();
            let found = next.map(|next| (next.method, next.with_body));
            assert_eq!(found, expected, "{method} {status}");
        };
        check(Method::POST, 302, Some((Method::GET, false)));
        check(Method::POST, 303, Some((Method::GET, false)));
        check(Method::POST, 307, Some((Method::POST, true)));
        check(Method::POST, 308, Some((Method::POST, true)));
        check(Method::HEAD, 301, Some((Method::HEAD, true)));
        check(Method::GET, 300, None);
        check(Method::GET, 304, None);
        check(Method::GET, 200, None);
    }

    #[test]
    fn a_redirect_without_location_is_an_answer_and_one_to_elsewhere_than_http_is_a_fault() {
        let from = hop("http://a/", Method::GET);
        assert_eq!(redirect(&from, 302, ""), Ok(None));
        assert_eq!(
            redirect(&from, 302, "file:///etc/passwd"),
            Err("redirected to scheme `file`, which is not HTTP".to_owned())
        );
        assert!(redirect(&from, 302, "http://[").is_err());
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let check = |from: &str, to: &str, expected: bool| {
            let next = redirect(&hop(from, Method::GET), 307, to).unwrap().unwrap();
            assert_eq!((next.at_home, next.with_body), (expected, expected), "{from} -> {to}");
        };
        check("http://a/", "/login", true);
        check("http://a/", "http://a:80/login", true);
        check("http://a/", "https://a/", true);
        check("https://a/", "http://a/", false);
        check("http://a:8080/", "https://a:8443/", false);
        check("http://a/", "http://a:8080/", false);
        check("http://a/", "http://b/", false);
        check("http://a.example/", "http://sub.a.example/", false);
        let back = redirect(&Hop { at_home: false, ..hop("http://b/", Method::GET) }, 302, "http://b/x");
        assert!(!back.unwrap().unwrap().at_home, "once away, always away");
    }

    #[test]
    fn only_harmless_headers_leave_home() {
        let mut config = HttpConfig::new(Url::parse("http://a.example:8080/x?y=1#z").unwrap());
        config.headers.insert("x-api-key", HeaderValue::from_static("key"));
        config.headers.insert(ACCEPT, HeaderValue::from_static("text/html"));
        config.headers.insert(HOST, HeaderValue::from_static("other.example"));
        let secret = (HeaderName::from_static("x-secret"), HeaderValue::from_static("value"));
        let secrets = Secrets {
            authorization: Some(Secret::new("Basic dTpw")),
            headers: vec![secret],
            ..Secrets::default()
        };
        let body = Bytes::from_static(b"body");
        let home = Hop::first(&config);
        let make =
            |hop: &Hop, form| hop.request(&config, form, &body, &CookieJar::default(), &secrets).unwrap();
        let request = make(&home, Form::Origin);
        assert_eq!(request.uri(), "/x?y=1");
        assert_eq!(request.headers()[HOST], "other.example");
        assert_eq!(request.headers()[AUTHORIZATION], "Basic dTpw");
        assert!(format!("{:?}", request.headers()[AUTHORIZATION]).contains("Sensitive"));
        assert_eq!(request.headers()["x-api-key"], "key");
        assert_eq!(request.headers()["x-secret"], "value");

        let away = redirect(&home, 307, "http://u:p@b.example/").unwrap().unwrap();
        assert_eq!(away.url.as_str(), "http://b.example/");
        let request = make(&away, Form::Origin);
        assert_eq!(request.headers()[HOST], "b.example");
        assert_eq!(request.headers()[ACCEPT], "text/html");
        for name in ["authorization", "x-api-key", "x-secret"] {
            assert!(!request.headers().contains_key(name), "{name}");
        }
    }

    #[test]
    fn a_request_is_written_as_the_connection_wants_it() {
        let mut config = HttpConfig::new(Url::parse("https://a.example:8443/x?y=1#z").unwrap());
        let make = |config: &HttpConfig, form| {
            let hop = Hop::first(config);
            hop.request(config, form, &Bytes::new(), &CookieJar::default(), &Secrets::default()).unwrap()
        };
        let uri = |config: &HttpConfig, form| make(config, form).uri().to_string();
        assert_eq!(uri(&config, Form::Origin), "/x?y=1");
        assert_eq!(uri(&config, Form::Absolute), "https://a.example:8443/x?y=1");
        assert_eq!(make(&config, Form::Absolute).headers()[HOST], "a.example:8443");
        config.headers.insert(HOST, HeaderValue::from_static("other.example"));
        let request = make(&config, Form::Http2);
        assert_eq!(request.uri().to_string(), "https://other.example/x?y=1");
        assert!(!request.headers().contains_key(HOST) && !request.headers().contains_key(CONNECTION));
    }
}
