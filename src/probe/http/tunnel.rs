//! Asking a proxy for a connection to somewhere else.

use std::io;

use hyper::header::{HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client;
use crate::model::Secret;
use crate::probe::wire::BoxStream;

/// The largest head of a proxy's answer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Why a proxy gives no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum TunnelError {
    #[error("the proxy is gone: {0}")]
    Io(#[from] io::Error),
    #[error("the proxy does not answer in HTTP")]
    NotHttp,
    #[error("the proxy's answer is larger than {MAX_HEAD_BYTES} bytes")]
    TooLarge,
    #[error("the proxy answers with status {0}")]
    Refused(u16),
}

/// Asks the proxy at the other end of `stream` for a connection to `authority` (`host:port`); what is
/// sent afterwards goes there. Source: RFC 9110, section 9.3.6.
pub(super) async fn open(
    stream: &mut BoxStream,
    authority: &str,
    authorization: Option<&Secret>,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<(), TunnelError> {
    let mut request = format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {}\r\n",
        client::USER_AGENT
    )
    .into_bytes();
    if let Some(authorization) = authorization {
        request.extend_from_slice(format!("Proxy-Authorization: {}\r\n", authorization.expose()).as_bytes());
    }
    for (name, value) in headers {
        request.extend_from_slice(name.as_str().as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    let head = read_head(stream).await?;
    match status(&head).ok_or(TunnelError::NotHttp)? {
        200..=299 => Ok(()),
        other => Err(TunnelError::Refused(other)),
    }
}

/// Reads up to the empty line and not one byte further: those are the target's.
async fn read_head(stream: &mut BoxStream) -> Result<Vec<u8>, TunnelError> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD_BYTES {
            return Err(TunnelError::TooLarge);
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// The status in the first line of a head.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_proxy_is_asked_and_its_answer_understood() {
        let check = async |answer: &str, expected: Result<(), &str>| {
            let (near, mut far) = tokio::io::duplex(64 * 1024);
            let mut near: BoxStream = Box::new(near);
            let answer = format!("{answer}rest");
            let proxy = async {
                let mut request = vec![0; 4096];
                let length = far.read(&mut request).await.unwrap();
                far.write_all(answer.as_bytes()).await.unwrap();
                drop(far);
                String::from_utf8_lossy(&request[..length]).into_owned()
            };
            let header = (HeaderName::from_static("x-key"), HeaderValue::from_static("v"));
            let authorization = Secret::new("Basic dTpw");
            let headers = [header];
            let ask = open(&mut near, "a.example:443", Some(&authorization), &headers);
            let (found, request) = tokio::join!(ask, proxy);
            assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{answer}");
            assert!(request.starts_with("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n"));
            assert!(request.ends_with("Proxy-Authorization: Basic dTpw\r\nx-key: v\r\n\r\n"), "{request}");
            if expected.is_ok() {
                let mut rest = String::new();
                near.read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, "rest");
            }
        };
        check("HTTP/1.1 200 Connection established\r\n\r\n", Ok(())).await;
        check("HTTP/1.0 200\r\nVia: x\r\n\r\n", Ok(())).await;
        let refused = "the proxy answers with status 407";
        check("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Err(refused)).await;
        check("SSH-2.0-OpenSSH\r\n\r\n", Err("the proxy does not answer in HTTP")).await;
        check(&"x".repeat(20_000), Err("the proxy's answer is larger than 16384 bytes")).await;
        check("HTTP/1.1 200", Err("the proxy is gone: unexpected end of file")).await;
    }
}
