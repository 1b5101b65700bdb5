//! The course of an HTTP probe: hop after hop until an answer, and what is thought of it.

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, LAST_MODIFIED, PROXY_AUTHORIZATION};
use hyper::http::Error as RequestError;
use hyper::{Request, Response, StatusCode};
use jiff::fmt::rfc2822::DateTimeParser;
use url::{Host, Url};

use super::body::BodySink;
use super::config::{HttpConfig, Protocol, RequestBody};
use super::cookies::CookieJar;
use super::expectations::{Fault, check_headers, check_status, check_version};
use super::hop::{Form, Hop};
use super::http3::{self, QuicConnection};
use super::judgement::{Evaluation, judge_body};
use super::oauth2::TokenCache;
use super::observation::{Observation, Phase, ResponseHead};
use super::proxy::ProxyServer;
use super::secrets::{self, Identity, Secrets};
use super::tunnel;
use super::wire::{ALPN_HTTP1, ALPN_HTTP2, Body, Sender};
use crate::clock::SharedClock;
use crate::model::Secret;
use crate::probe::connect::{connect, resolve};
use crate::probe::small_file;
use crate::probe::tls::TlsConfig;
use crate::probe::wire::{BoxStream, drive, explain};
use crate::probe::{Deadline, ProbeFailure, Reach};

/// How many redirects are followed. Source: blackbox exporter `prober/http.go`.
const MAX_REDIRECTS: u32 = 10;

/// One run of a probe.
pub(super) struct Visit<'a> {
    pub(super) config: &'a HttpConfig,
    pub(super) clock: &'a SharedClock,
    pub(super) deadline: Deadline,
    pub(super) seen: &'a mut Observation,
    /// Tokens that were given to earlier runs.
    pub(super) tokens: &'a TokenCache,
    pub(super) evaluation: &'a Evaluation,
    /// Whether the caller wants the body.
    pub(super) keep_body: bool,
}

impl Visit<'_> {
    /// Goes from hop to hop, and judges the answer of the last. Gives its body if that was kept.
    pub(super) async fn run(mut self) -> Result<Vec<u8>, ProbeFailure> {
        let body = self.request_body().await?;
        let mut hop = Hop::first(self.config);
        let mut cookies = CookieJar::default();
        loop {
            match self.visit(&hop, &body, &mut cookies).await? {
                Answer::Redirect(next) => {
                    self.seen.note(format!("redirected to {}", next.shown()));
                    hop = next;
                }
                Answer::TokenRefused => self.seen.note("the token is refused: asking for another one"),
                Answer::Final(body) => return Ok(body),
            }
        }
    }

    /// The body to send, which may stand in a file.
    async fn request_body(&self) -> Result<Bytes, ProbeFailure> {
        match &self.config.body {
            RequestBody::Bytes(bytes) => Ok(bytes.clone()),
            RequestBody::File(path) => {
                let read = small_file::read(path).await;
                read.map(Bytes::from).map_err(|error| ProbeFailure::unknown("http_config", error.to_string()))
            }
        }
    }

    /// Sends one request and takes its answer.
    async fn visit(
        &mut self,
        hop: &Hop,
        body: &Bytes,
        cookies: &mut CookieJar,
    ) -> Result<Answer, ProbeFailure> {
        self.seen.handshake = None;
        self.seen.note(format!("{} {}", hop.method, hop.shown()));
        let alpn: &[&str] = match self.config.protocol {
            Protocol::Http3 => return self.visit_over_quic(hop, body, cookies).await,
            Protocol::Http2 => &[ALPN_HTTP2, ALPN_HTTP1],
            Protocol::Http1 => &[ALPN_HTTP1],
        };
        let tls = if hop.is_https() {
            Some(self.tls_config(hop).prepare(hop.host(), alpn, self.clock).await?)
        } else {
            None
        };
        let secrets = self.secrets(hop).await?;
        let proxy = self.config.proxy.server_for(&hop.url);
        let stream = self.reach(hop, proxy).await?;
        let Some(tls) = tls else {
            let form = if proxy.is_some() { Form::Absolute } else { Form::Origin };
            let proxy_header = proxy.and_then(|proxy| proxy.authorization.as_ref());
            let request = Outgoing { hop, form, body, secrets: &secrets, proxy_header };
            return self.exchange(&request, cookies, stream).await;
        };
        let handshake = self.seen.handshake.insert(tls.handshake()).clone();
        let entered = self.seen.enter(Phase::Tls);
        let secured = tls.connect(stream).await;
        self.seen.leave(entered);
        let stream = secured?;
        handshake.note_doubts(&mut self.seen.course);
        let is_http2 = stream.session().alpn_protocol() == Some(ALPN_HTTP2.as_bytes());
        let form = if is_http2 { Form::Http2 } else { Form::Origin };
        let request = Outgoing { hop, form, body, secrets: &secrets, proxy_header: None };
        self.exchange(&request, cookies, Box::new(stream)).await
    }

    /// Sends one request over HTTP/3 and takes its answer.
    async fn visit_over_quic(
        &mut self,
        hop: &Hop,
        body: &Bytes,
        cookies: &mut CookieJar,
    ) -> Result<Answer, ProbeFailure> {
        if !hop.is_https() {
            let reason = format!("`{}` cannot be asked over HTTP/3: it is not https", hop.shown());
            return Err(ProbeFailure::new("redirect", reason));
        }
        let mut tls = self.tls_config(hop);
        tls.versions = tls.versions.for_quic().ok_or_else(|| {
            ProbeFailure::unknown("tls_config", "HTTP/3 needs TLS 1.3, which `max_version` does not allow")
        })?;
        let tls = tls.prepare(hop.host(), &[http3::ALPN], self.clock).await?;
        let secrets = self.secrets(hop).await?;
        let addresses = self.resolve(hop).await?;
        let handshake = self.seen.handshake.insert(tls.handshake()).clone();
        let connection = QuicConnection::open(&tls, &addresses, self.deadline, self.seen).await?;
        self.connected(connection.address);
        handshake.note_doubts(&mut self.seen.course);
        let outgoing = Outgoing { hop, form: Form::Http2, body, secrets: &secrets, proxy_header: None };
        let request = outgoing.request(self.config, cookies)?;
        let entered = self.seen.enter(Phase::Processing);
        let receive = async |response: Response<http3::Body>| {
            self.seen.leave(entered);
            self.receive(&outgoing, cookies, response.map(|body| Body::Http3(Box::new(body)))).await
        };
        connection.exchange(request, receive).await
    }

    /// The addresses of a hop's server.
    async fn resolve(&mut self, hop: &Hop) -> Result<Vec<SocketAddr>, ProbeFailure> {
        let is_first = self.seen.redirects == 0;
        let entered = self.seen.enter(Phase::Resolve);
        let resolved = resolve(hop.host(), hop.port(), self.config.addresses).await;
        self.seen.leave(entered);
        if is_first {
            self.seen.route.lookup_seconds = entered.elapsed().as_secs_f64();
        }
        let addresses = resolved?;
        if is_first {
            self.seen.route.address = addresses.first().map(SocketAddr::ip);
        }
        Ok(addresses)
    }

    /// Notes which of them was connected to.
    fn connected(&mut self, address: SocketAddr) {
        if self.seen.redirects == 0 {
            self.seen.route.address = Some(address.ip());
        }
        self.seen.note(format!("connected to {address}"));
    }

    /// Connects to the server of a hop, or to the proxy that it is asked through.
    async fn reach(&mut self, hop: &Hop, proxy: Option<&ProxyServer>) -> Result<BoxStream, ProbeFailure> {
        // An address is "resolved" in any case, which makes sure that it may be probed.
        let is_address = hop.host().parse::<std::net::IpAddr>().is_ok();
        let addresses = if proxy.is_none() || is_address || !self.config.proxy.skip_resolve_phase {
            Some(self.resolve(hop).await?)
        } else {
            None
        };
        if proxy.is_some() && !hop.is_https() {
            self.check_name_for_proxy(hop).await?;
        }
        let entered = self.seen.enter(Phase::Connect);
        let stream = match (proxy, addresses) {
            (None, addresses) => {
                let addresses = addresses.expect("names are resolved where there is no proxy");
                let (stream, address) = connect(&addresses, self.deadline, &mut self.seen.course.log).await?;
                self.connected(address);
                Box::new(stream)
            }
            (Some(proxy), addresses) => {
                let authority = addresses.and_then(|addresses| addresses.first().copied()).map_or_else(
                    || format!("{}:{}", hop.url.host_str().unwrap_or_default(), hop.port()),
                    |address| address.to_string(),
                );
                self.reach_through(proxy, hop.is_https().then_some(authority)).await?
            }
        };
        self.seen.leave(entered);
        Ok(stream)
    }

    /// Makes sure that a proxy is not asked for a name that leads out of reach: a configured `Host` stands in
    /// the place of the URL's, and the proxy goes where that says.
    async fn check_name_for_proxy(&self, hop: &Hop) -> Result<(), ProbeFailure> {
        let authority = String::from_utf8_lossy(hop.authority(self.config));
        let own = &hop.url[url::Position::BeforeHost..url::Position::AfterPort];
        let addresses = self.config.addresses;
        if addresses.reach == Reach::ANYWHERE || authority == own {
            return Ok(());
        }
        // As proxies may read it: a number can be an address.
        let host = Url::parse(&format!("http://{authority}/")).ok();
        let host = host.as_ref().and_then(Url::host).ok_or_else(|| {
            ProbeFailure::unknown("http_config", format!("the proxy cannot be asked for `{authority}`"))
        })?;
        let host = match host {
            Host::Domain(_) if self.config.proxy.skip_resolve_phase => return Ok(()),
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        resolve(&host, hop.port(), addresses).await.map(drop)
    }

    /// Connects to a proxy and, for TLS, through it to `authority`.
    async fn reach_through(
        &mut self,
        proxy: &ProxyServer,
        authority: Option<String>,
    ) -> Result<BoxStream, ProbeFailure> {
        let shown = proxy.shown();
        // The target may be fine: only the way to it is not.
        let fault = |reason: String| ProbeFailure::unknown("proxy", format!("proxy `{shown}`: {reason}"));
        let addresses = resolve(&proxy.host, proxy.port, self.config.addresses.anywhere()).await;
        let addresses = addresses.map_err(|failure| fault(failure.reason))?;
        let connected = connect(&addresses, self.deadline, &mut self.seen.course.log).await;
        let (stream, address) = connected.map_err(|failure| fault(failure.reason))?;
        self.seen.note(format!("connected to proxy {address}"));
        let mut stream: BoxStream = Box::new(stream);
        if proxy.tls {
            let tls = TlsConfig { server_name: None, client_certificate: None, ..self.config.tls.clone() };
            let prepared = tls.prepare(&proxy.host, &[ALPN_HTTP1], self.clock).await?;
            let secured = prepared.connect(stream).await;
            stream = Box::new(secured.map_err(|error| fault(error.to_string()))?);
        }
        if let Some(authority) = authority {
            let headers = secrets::header_values(&self.config.proxy.connect_headers).await;
            let headers = headers.map_err(|error| fault(error.to_string()))?;
            let opened = tunnel::open(&mut stream, &authority, proxy.authorization.as_ref(), &headers).await;
            opened.map_err(|error| fault(error.to_string()))?;
            self.seen.note(format!("the proxy connected to {authority}"));
        }
        Ok(stream)
    }

    /// The TLS settings for a hop. Names are for the target's own host, and so is the client certificate.
    fn tls_config(&self, hop: &Hop) -> TlsConfig {
        let mut tls = self.config.tls.clone();
        if !hop.at_home {
            tls.server_name = None;
            tls.client_certificate = None;
        } else if tls.server_name.is_none() {
            tls.server_name = self.config.host_header().map(str::to_owned);
        }
        tls
    }

    /// What the request of a hop carries that is secret: nothing away from home.
    async fn secrets(&mut self, hop: &Hop) -> Result<Secrets, ProbeFailure> {
        if !hop.at_home {
            return Ok(Secrets::default());
        }
        let identity = Identity {
            credentials: self.config.credentials.as_ref(),
            headers: &self.config.secret_headers,
            tokens: self.tokens,
            addresses: self.config.addresses,
            clock: self.clock,
            deadline: self.deadline,
        };
        identity.read(&mut self.seen.course.log).await
    }

    /// Sends the request over an open connection and takes the response.
    async fn exchange(
        &mut self,
        outgoing: &Outgoing<'_>,
        cookies: &mut CookieJar,
        stream: BoxStream,
    ) -> Result<Answer, ProbeFailure> {
        let request = outgoing.request(self.config, cookies)?;
        let entered = self.seen.enter(Phase::Processing);
        let (mut sender, connection) = Sender::new(stream, outgoing.form == Form::Http2)
            .await
            .map_err(|error| ProbeFailure::new("http", explain(&error)))?;
        let exchange = async {
            let response = sender.send(request).await.map_err(|error| {
                ProbeFailure::new("http", format!("no valid response: {}", explain(&error)))
            })?;
            self.seen.leave(entered);
            self.receive(outgoing, cookies, response).await
        };
        drive(connection, exchange).await
    }

    async fn receive(
        &mut self,
        outgoing: &Outgoing<'_>,
        cookies: &mut CookieJar,
        response: Response<Body>,
    ) -> Result<Answer, ProbeFailure> {
        let (head, body) = response.into_parts();
        let hop = outgoing.hop;
        self.seen.note(format!("{:?} {}", head.version, head.status));
        cookies.store(&hop.url, &head.headers, self.clock.now());
        if head.status == StatusCode::UNAUTHORIZED && self.tokens.forget(outgoing.secrets) {
            return Ok(Answer::TokenRefused);
        }
        let redirect = hop.redirect(head.status, &head.headers);
        if !matches!(redirect, Ok(None)) {
            self.seen.redirects += 1;
        }
        let followed = self.config.follow_redirects && self.seen.redirects <= MAX_REDIRECTS;
        if let (Ok(Some(next)), true) = (&redirect, followed) {
            return Ok(Answer::Redirect(next.clone()));
        }
        self.seen.response = Some(ResponseHead {
            status: head.status,
            version: head.version,
            content_length: content_length(&head.headers),
            last_modified: last_modified(&head.headers),
        });
        if let (Err(reason), true) = (redirect, followed) {
            return Err(ProbeFailure::new("redirect", reason));
        }
        let kept = self.judge(hop, &head, body).await?;
        Ok(Answer::Final(kept))
    }

    /// Judges the final answer, which is read to its end whatever is wrong with its head. Gives the body
    /// if that was kept.
    async fn judge(
        &mut self,
        hop: &Hop,
        head: &hyper::http::response::Parts,
        body: Body,
    ) -> Result<Vec<u8>, ProbeFailure> {
        let config = self.config;
        let verdict = check_status(head.status, &config.valid_status_codes).and_then(|()| {
            check_headers(&head.headers, &config.fail_if_header_matches, &config.fail_if_header_not_matches)
        });
        let look_inside = config.looks_inside() && verdict.is_ok();
        let keep = look_inside || self.keep_body;
        let mut sink = BodySink::new(config.compression, config.body_size_limit_bytes, keep);
        let read = self.read_body(body, &mut sink).await;
        if let Err(fault) = verdict {
            return Err(self.broken(&fault));
        }
        read?;
        let mut kept = sink.into_kept();
        if look_inside {
            let judged;
            (kept, judged) = judge_body(kept, config, self.evaluation).await?;
            judged.map_err(|fault| self.broken(&fault))?;
        }
        check_version(head.version, &config.valid_http_versions).map_err(|fault| self.broken(&fault))?;
        if hop.is_https() && config.fail_if_ssl {
            return Err(ProbeFailure::new("ssl", "the answer came over TLS"));
        }
        if !hop.is_https() && config.fail_if_not_ssl {
            return Err(ProbeFailure::new("ssl", "the answer did not come over TLS"));
        }
        Ok(kept.bytes)
    }

    async fn read_body(&mut self, mut body: Body, sink: &mut BodySink) -> Result<(), ProbeFailure> {
        let entered = self.seen.enter(Phase::Transfer);
        let result = loop {
            let taken = match body.piece().await {
                None => break sink.finish().await,
                Some(Err(error)) => break Err(error),
                Some(Ok(piece)) => sink.take(&piece).await,
            };
            self.seen.body_bytes = sink.size_bytes();
            if taken.is_err() {
                break taken;
            }
        };
        self.seen.body_bytes = sink.size_bytes();
        self.seen.leave(entered);
        result.map_err(|error| ProbeFailure::new("body", format!("cannot read the body: {error}")))
    }

    fn broken(&mut self, fault: &Fault) -> ProbeFailure {
        let kind = fault.kind();
        self.seen.failed_due_to_regex = matches!(kind, "header" | "body");
        self.seen.failed_due_to_cel = self.seen.failed_due_to_cel.map(|_| kind == "cel");
        ProbeFailure::new(kind, fault.to_string())
    }
}

/// What a request leads to.
enum Answer {
    Redirect(Hop),
    /// The token was an old one: with another the answer may be good.
    TokenRefused,
    /// The answer was good; its body, if it was kept.
    Final(Vec<u8>),
}

/// A request that is about to be sent.
struct Outgoing<'a> {
    hop: &'a Hop,
    form: Form,
    body: &'a Bytes,
    secrets: &'a Secrets,
    /// The value of `Proxy-Authorization`, where the proxy itself is asked.
    proxy_header: Option<&'a Secret>,
}

impl Outgoing<'_> {
    fn request(&self, config: &HttpConfig, cookies: &CookieJar) -> Result<Request<Bytes>, ProbeFailure> {
        self.written(config, cookies)
            .map_err(|error| ProbeFailure::unknown("http_config", format!("cannot make a request: {error}")))
    }

    fn written(&self, config: &HttpConfig, cookies: &CookieJar) -> Result<Request<Bytes>, RequestError> {
        let mut request = self.hop.request(config, self.form, self.body, cookies, self.secrets)?;
        if let Some(authorization) = self.proxy_header {
            let mut value = HeaderValue::try_from(authorization.expose())?;
            value.set_sensitive(true);
            request.headers_mut().insert(PROXY_AUTHORIZATION, value);
        }
        Ok(request)
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn last_modified(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(LAST_MODIFIED)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(text).ok().map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn dates_and_lengths_are_read_or_left_out() {
        let check = |text: &'static str, expected: Option<i64>| {
            let headers: HeaderMap = [(LAST_MODIFIED, HeaderValue::from_static(text))].into_iter().collect();
            assert_eq!(last_modified(&headers), expected, "{text}");
        };
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("yesterday", None);
        let check = |text: &'static str, expected: Option<u64>| {
            let headers: HeaderMap = [(CONTENT_LENGTH, HeaderValue::from_static(text))].into_iter().collect();
            assert_eq!(content_length(&headers), expected, "{text}");
        };
        check("11", Some(11));
        check("-11", None);
        check("x", None);
        assert_eq!(content_length(&HeaderMap::new()), None);
    }
}
