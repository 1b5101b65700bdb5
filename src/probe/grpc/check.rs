//! One call of `grpc.health.v1.Health/Check` over HTTP/2.
//! Source: gRPC's `PROTOCOL-HTTP2.md` and `health-checking.md`.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use hyper::http::uri::{Authority, Scheme, Uri};
use hyper::{Method, Request, Response, StatusCode, Version};
use prost::Message;

use super::super::conversation::shown;
use super::super::wire::{MAX_HEAD_BYTES, Stream, drive};
use super::super::{Deadline, HostPort, ProbeFailure};
use super::GrpcConfig;
use super::seen::{Seen, ServingStatus, Status};
use crate::client;

const PATH: &str = "/grpc.health.v1.Health/Check";

/// The largest answer that is read; a status takes two bytes.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// How a call failed, and why.
struct Fault(Status, String);

impl From<h2::Error> for Fault {
    fn from(error: h2::Error) -> Self {
        // Source: gRPC's `PROTOCOL-HTTP2.md`, "Errors".
        let status = match error.reason() {
            Some(Reason::REFUSED_STREAM) | None => Status::UNAVAILABLE,
            Some(Reason::CANCEL) => Status(1),
            Some(Reason::ENHANCE_YOUR_CALM) => Status::RESOURCE_EXHAUSTED,
            Some(Reason::INADEQUATE_SECURITY) => Status(7),
            Some(_) => Status::INTERNAL,
        };
        Self(status, format!("the call broke: {error}"))
    }
}

/// What to ask whom.
pub(super) struct Check<'a> {
    pub(super) config: &'a GrpcConfig,
    pub(super) target: &'a HostPort,
    pub(super) deadline: Deadline,
}

impl Check<'_> {
    /// Asks over a new connection.
    pub(super) async fn run(&self, stream: impl Stream, seen: &mut Seen) -> Result<(), ProbeFailure> {
        seen.course.begin("asking for the health");
        seen.course.note(format!("asking for the health of service `{}`", self.config.service));
        match self.call(stream).await {
            Ok(response) => {
                seen.status = Status::OK;
                seen.serving = ServingStatus::from_number(response.status);
                let said = seen.serving.map_or("a status without a name", ServingStatus::as_str);
                seen.course.note(format!("the server says {said}"));
                if seen.serving == Some(ServingStatus::Serving) {
                    return Ok(());
                }
                Err(ProbeFailure::new("health", format!("the server says {said}, expected SERVING")))
            }
            Err(Fault(status, text)) => {
                seen.status = status;
                Err(ProbeFailure::new("grpc", format!("{status}: {text}")))
            }
        }
    }

    async fn call(&self, stream: impl Stream) -> Result<HealthCheckResponse, Fault> {
        let unavailable = |error| Fault(Status::UNAVAILABLE, format!("no HTTP/2 connection: {error}"));
        let mut builder = Builder::new();
        // Nothing is to be pushed, and nothing large to come.
        builder.enable_push(false).max_header_list_size(MAX_HEAD_BYTES);
        let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.map_err(unavailable)?;
        drive(connection, self.exchange(sender)).await
    }

    async fn exchange(&self, sender: SendRequest<Bytes>) -> Result<HealthCheckResponse, Fault> {
        let mut sender = sender.ready().await?;
        let (response, mut body) = sender.send_request(self.request(), false)?;
        body.send_data(framed(&HealthCheckRequest { service: self.config.service.clone() }), true)?;
        let (head, body) = response.await.map(Response::into_parts)?;
        if head.status != StatusCode::OK {
            let text = format!("the server answered with HTTP status {}", head.status.as_u16());
            return Err(Fault(Status::of_http(head.status.as_u16()), text));
        }
        let content_type = head.headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
        if !content_type.starts_with(b"application/grpc") {
            return Err(Fault(Status::UNKNOWN, format!("the answer is of type {}", shown(content_type))));
        }
        // Where nothing else is to be said the trailers are all of the head.
        if head.headers.contains_key("grpc-status") {
            let what = "the server answered with neither an error nor a message";
            return Err(refusal(&head.headers).unwrap_or_else(|| Fault(Status::INTERNAL, what.to_owned())));
        }
        receive(body).await
    }

    fn request(&self) -> Request<()> {
        let HostPort { host, port } = self.target;
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let scheme = if self.config.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = Uri::builder()
            .scheme(scheme)
            // What resolves need not be a host of a URL; the server's own name is as good as any.
            .authority(Authority::try_from(authority).unwrap_or(Authority::from_static("localhost")))
            .path_and_query(PATH)
            .build()
            .expect("scheme, authority and path make a URI");
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.extend(self.config.metadata.headers().clone());
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(client::USER_AGENT));
        // At most eight digits are allowed: about 27 hours.
        let left = self.deadline.remaining().as_millis().min(99_999_999);
        let timeout = HeaderValue::try_from(format!("{left}m")).expect("digits and a letter");
        headers.insert("grpc-timeout", timeout);
        request
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a service's name has less than 4 GiB"));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}

/// The message and how the call ended.
async fn receive(mut body: RecvStream) -> Result<HealthCheckResponse, Fault> {
    let mut data = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        // The server may go on.
        let _ = body.flow_control().release_capacity(piece.len());
        if data.len() + piece.len() > PREFIX_BYTES + MAX_MESSAGE_BYTES {
            let text = format!("the answer is larger than {MAX_MESSAGE_BYTES} bytes");
            return Err(Fault(Status::RESOURCE_EXHAUSTED, text));
        }
        data.extend_from_slice(&piece);
    }
    let internal = |text: &str| Fault(Status::INTERNAL, text.to_owned());
    let trailers = body.trailers().await?;
    let trailers = trailers.ok_or_else(|| internal("the server ended without a status"))?;
    if let Some(refusal) = refusal(&trailers) {
        return Err(refusal);
    }
    let malformed = || internal("the answer is no single message of the health service");
    let (prefix, message) = data.split_at_checked(PREFIX_BYTES).ok_or_else(malformed)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if prefix[0] != 0 || length as usize != message.len() {
        return Err(malformed());
    }
    HealthCheckResponse::decode(message).map_err(|_| malformed())
}

/// What is told instead of an answer, unless all went well.
fn refusal(trailers: &HeaderMap) -> Option<Fault> {
    let number = trailers.get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok());
    match number.map(Status) {
        Some(Status::OK) => None,
        Some(status) => {
            let said = trailers.get("grpc-message").map_or(&[][..], HeaderValue::as_bytes);
            Some(Fault(status, format!("the server says {}", shown(said))))
        }
        None => Some(Fault(Status::UNKNOWN, "the server ended without a status".to_owned())),
    }
}
