//! The course of an HTTP probe: hop after hop until an answer, and what is thought of it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HeaderMap, LAST_MODIFIED};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822::DateTimeParser;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::BodySink;
use super::config::{Credentials, HttpConfig, RequestBody};
use super::cookies::CookieJar;
use super::expectations::{Fault, check_body, check_headers, check_status};
use super::hop::Hop;
use super::observation::{Observation, Phase, ResponseHead};
use crate::clock::SharedClock;
use crate::model::Secret;
use crate::probe::connect::{connect, resolve};
use crate::probe::small_file;
use crate::probe::tls::TlsConfig;
use crate::probe::{Deadline, ProbeFailure};

/// How many redirects are followed. Source: blackbox exporter `prober/http.go`.
const MAX_REDIRECTS: u32 = 10;

/// One run of a probe.
pub(super) struct Visit<'a> {
    pub(super) config: &'a HttpConfig,
    pub(super) clock: &'a SharedClock,
    pub(super) deadline: Deadline,
    pub(super) seen: &'a mut Observation,
}

impl Visit<'_> {
    /// Goes from hop to hop, and judges the answer of the last.
    pub(super) async fn run(mut self) -> Result<(), ProbeFailure> {
        let body = self.request_body().await?;
        let mut hop = Hop::first(self.config);
        let mut cookies = CookieJar::default();
        loop {
            match self.visit(&hop, &body, &mut cookies).await? {
                Some(next) => {
                    self.seen.note(format!("redirected to {}", next.shown()));
                    hop = next;
                }
                None => return Ok(()),
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

    /// Sends one request; gives the next one if the answer is a redirect that is to be followed.
    async fn visit(
        &mut self,
        hop: &Hop,
        body: &Bytes,
        cookies: &mut CookieJar,
    ) -> Result<Option<Hop>, ProbeFailure> {
        self.seen.handshake = None;
        self.seen.note(format!("{} {}", hop.method, hop.shown()));
        let tls = if hop.is_https() {
            Some(self.tls_config(hop).prepare(hop.host(), &["http/1.1"], self.clock).await?)
        } else {
            None
        };
        let entered = self.seen.enter(Phase::Resolve);
        let resolved = resolve(hop.host(), hop.port(), self.config.addresses).await;
        self.seen.leave(entered);
        let is_first = self.seen.redirects == 0;
        if is_first {
            self.seen.route.lookup_seconds = entered.elapsed().as_secs_f64();
        }
        let addresses = resolved?;
        if is_first {
            self.seen.route.address = addresses.first().map(std::net::SocketAddr::ip);
        }

        let entered = self.seen.enter(Phase::Connect);
        let (stream, address) = connect(&addresses, self.deadline, &mut self.seen.log).await?;
        self.seen.leave(entered);
        if is_first {
            self.seen.route.address = Some(address.ip());
        }
        self.seen.note(format!("connected to {address}"));

        let Some(tls) = tls else { return self.exchange(hop, body, cookies, stream).await };
        let handshake = self.seen.handshake.insert(tls.handshake()).clone();
        let entered = self.seen.enter(Phase::Tls);
        let secured = tls.connect(stream).await;
        self.seen.leave(entered);
        let stream = secured?;
        let verdict = handshake.facts().verdict;
        if !verdict.is_ok() {
            self.seen.note(format!("carrying on in spite of the certificate: {}", verdict.explain()));
        }
        self.exchange(hop, body, cookies, stream).await
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

    /// The credentials as they are now; reading them from a file may take as long as the file system
    /// likes.
    async fn authorization(&self) -> Result<Option<Secret>, ProbeFailure> {
        let Some(Credentials::Static(auth)) = self.config.credentials.clone() else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || auth.header()).await;
        let header = read.map_err(std::io::Error::other).flatten();
        header.map(Some).map_err(|error| {
            ProbeFailure::unknown("http_config", format!("cannot read the credentials: {error}"))
        })
    }

    /// Sends the request over an open connection and takes the response.
    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        hop: &Hop,
        body: &Bytes,
        cookies: &mut CookieJar,
        stream: S,
    ) -> Result<Option<Hop>, ProbeFailure> {
        let authorization = self.authorization().await?;
        let request =
            hop.request(self.config, body.clone(), cookies, authorization.as_ref()).map_err(|error| {
                ProbeFailure::unknown("http_config", format!("cannot make a request: {error}"))
            })?;
        let entered = self.seen.enter(Phase::Processing);
        let (mut sender, connection) = http1::Builder::new()
            // Some servers still expect it, and Go does it.
            .title_case_headers(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ProbeFailure::new("http", explain(&error)))?;
        let exchange = async {
            let response = send(&mut sender, request).await?;
            self.seen.leave(entered);
            self.receive(hop, cookies, response).await
        };
        drive(connection, exchange).await
    }

    async fn receive(
        &mut self,
        hop: &Hop,
        cookies: &mut CookieJar,
        response: Response<Incoming>,
    ) -> Result<Option<Hop>, ProbeFailure> {
        let (head, body) = response.into_parts();
        self.seen.note(format!("{:?} {}", head.version, head.status));
        cookies.store(&hop.url, &head.headers);
        let redirect = hop.redirect(head.status, &head.headers);
        if !matches!(redirect, Ok(None)) {
            self.seen.redirects += 1;
        }
        let followed = self.config.follow_redirects && self.seen.redirects <= MAX_REDIRECTS;
        if let (Ok(Some(next)), true) = (&redirect, followed) {
            return Ok(Some(next.clone()));
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
        self.judge(hop, &head.headers, head.status, body).await.map(|()| None)
    }

    /// Judges the final answer, which is read to its end whatever is wrong with its head.
    async fn judge(
        &mut self,
        hop: &Hop,
        headers: &HeaderMap,
        status: hyper::StatusCode,
        body: Incoming,
    ) -> Result<(), ProbeFailure> {
        let config = self.config;
        let head = check_status(status, &config.valid_status_codes).and_then(|()| {
            check_headers(headers, &config.fail_if_header_matches, &config.fail_if_header_not_matches)
        });
        let has_patterns =
            !config.fail_if_body_matches.is_empty() || !config.fail_if_body_not_matches.is_empty();
        let look_inside = has_patterns && head.is_ok();
        let mut sink = BodySink::new(config.compression, config.body_size_limit_bytes, look_inside);
        let read = self.read_body(body, &mut sink).await;
        if let Err(fault) = head {
            return Err(self.broken(&fault));
        }
        read?;
        if look_inside {
            let (forbidden, required) =
                (config.fail_if_body_matches.clone(), config.fail_if_body_not_matches.clone());
            let matching = move || check_body(sink.kept(), &forbidden, &required);
            match tokio::task::spawn_blocking(matching).await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => return Err(self.broken(&fault)),
                Err(stopped) => return Err(ProbeFailure::unknown("internal", stopped.to_string())),
            }
        }
        if hop.is_https() && config.fail_if_ssl {
            return Err(ProbeFailure::new("ssl", "the answer came over TLS"));
        }
        if !hop.is_https() && config.fail_if_not_ssl {
            return Err(ProbeFailure::new("ssl", "the answer did not come over TLS"));
        }
        Ok(())
    }

    async fn read_body(&mut self, mut body: Incoming, sink: &mut BodySink) -> Result<(), ProbeFailure> {
        let entered = self.seen.enter(Phase::Transfer);
        let result = loop {
            match body.frame().await {
                None => break sink.finish(),
                Some(Err(error)) => break Err(io::Error::other(explain(&error))),
                Some(Ok(frame)) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    let taken = sink.take(&piece).await;
                    self.seen.body_bytes = sink.size_bytes();
                    if taken.is_err() {
                        break taken;
                    }
                }
            }
        };
        self.seen.body_bytes = sink.size_bytes();
        self.seen.leave(entered);
        result.map_err(|error| ProbeFailure::new("body", format!("cannot read the body: {error}")))
    }

    fn broken(&mut self, fault: &Fault) -> ProbeFailure {
        let kind = match fault {
            Fault::Status(..) => "status",
            Fault::HeaderMissing(_) | Fault::HeaderMatches(..) | Fault::HeaderNotMatches(..) => "header",
            Fault::BodyMatches(_) | Fault::BodyNotMatches(_) => "body",
        };
        self.seen.failed_due_to_regex = kind != "status";
        ProbeFailure::new(kind, fault.to_string())
    }
}

async fn send(
    sender: &mut http1::SendRequest<http_body_util::Full<bytes::Bytes>>,
    request: Request<http_body_util::Full<bytes::Bytes>>,
) -> Result<Response<Incoming>, ProbeFailure> {
    sender
        .send_request(request)
        .await
        .map_err(|error| ProbeFailure::new("http", format!("no valid response: {}", explain(&error))))
}

/// Runs `exchange`, and `connection`, which moves its bytes, until `exchange` is done.
async fn drive<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    exchange: impl Future<Output = T>,
) -> T {
    let bytes_moving = async {
        // Its error reaches the exchange too, and means more there.
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    match select(pin!(exchange), pin!(bytes_moving)).await {
        Either::Left((result, _)) => result,
        Either::Right((never, _)) => match never {},
    }
}

/// An error with its causes: hyper's own text does not name them.
fn explain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
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
