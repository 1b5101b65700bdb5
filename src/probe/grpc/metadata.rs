//! Metadata of a gRPC request: headers with rules of their own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// Names and values that are sent along with a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(HeaderMap);

/// Why something cannot be sent as metadata. A value is not shown: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not a name.
    #[error("`{0}` is no name of gRPC metadata")]
    Name(String),
    /// A name that belongs to the protocol.
    #[error("`{0}` is set by gRPC itself")]
    Reserved(String),
    /// Not printable ASCII.
    #[error("the value of `{0}` is not printable ASCII; the name of a binary value ends in `-bin`")]
    Value(String),
}

impl Metadata {
    /// Adds a value. A name may have several. That of a name which ends in `-bin` may be any bytes.
    /// Source: gRPC over HTTP/2, `Custom-Metadata`.
    pub fn add(&mut self, name: &str, value: &[u8]) -> Result<(), MetadataError> {
        let lower = name.to_ascii_lowercase();
        let header = HeaderName::try_from(&lower).map_err(|_| MetadataError::Name(name.to_owned()))?;
        let of_protocol = ["te", "content-type", "content-length", "host", "connection", "transfer-encoding"];
        if lower.starts_with("grpc-") || of_protocol.contains(&lower.as_str()) {
            return Err(MetadataError::Reserved(name.to_owned()));
        }
        let malformed = || MetadataError::Value(name.to_owned());
        let mut value = if lower.ends_with("-bin") {
            HeaderValue::try_from(STANDARD_NO_PAD.encode(value)).expect("base64 is ASCII")
        } else if value.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            HeaderValue::from_bytes(value).map_err(|_| malformed())?
        } else {
            return Err(malformed());
        };
        // It may be a token: never to be printed, nor kept in a table of headers.
        value.set_sensitive(true);
        self.0.append(header, value);
        Ok(())
    }

    /// The headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_are_headers_that_do_not_belong_to_the_protocol() {
        let check = |name: &str, value: &[u8], expected: Result<&str, &str>| {
            let mut metadata = Metadata::default();
            let added = metadata.add(name, value).map_err(|error| error.to_string());
            let found = metadata.0.values().next().map(|value| value.to_str().unwrap());
            assert_eq!(added.as_ref().map(|()| found.unwrap()).map_err(String::as_str), expected, "{name}");
        };
        check("Authorization", b"Bearer x", Ok("Bearer x"));
        check("trace-bin", b"\xff\x00", Ok("/wA"));
        check("a b", b"x", Err("`a b` is no name of gRPC metadata"));
        check("grpc-timeout", b"1S", Err("`grpc-timeout` is set by gRPC itself"));
        check("TE", b"x", Err("`TE` is set by gRPC itself"));
        let not_ascii = "the value of `x` is not printable ASCII; the name of a binary value ends in `-bin`";
        check("x", b"a\nb", Err(not_ascii));
    }

    #[test]
    fn values_do_not_print() {
        let mut metadata = Metadata::default();
        metadata.add("authorization", b"hunter2").unwrap();
        metadata.add("authorization", b"another").unwrap();
        assert_eq!(metadata.headers().len(), 2);
        assert!(!format!("{metadata:?}").contains("hunter2"));
    }
}
