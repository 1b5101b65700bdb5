//! Which message a request holds, by what its sender says.

/// The protobuf messages of remote write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `prometheus.WriteRequest`, of remote write 1.0.
    V1,
    /// `io.prometheus.write.v2.Request`, of remote write 2.0.
    V2,
}

/// A request that cannot be read because of what its headers say; the sender should get status 415. The
/// texts are those of Prometheus' receiver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// No protobuf message.
    #[error("expected application/x-protobuf as the first (media) part, got {0} content-type")]
    MediaType(String),
    /// A parameter that is none.
    #[error(
        "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got \
         {parameter} in {header} content-type"
    )]
    Parameter {
        /// What stands in its place.
        parameter: String,
        /// The whole header.
        header: String,
    },
    /// A message that is not known.
    #[error(
        "got {header} content type; unknown type for remote write protobuf message {message}, supported: \
         prometheus.WriteRequest, io.prometheus.write.v2.Request"
    )]
    Message {
        /// Its name.
        message: String,
        /// The whole header.
        header: String,
    },
    /// Compressed in another way, or not at all.
    #[error("{0} encoding (compression) is not accepted by this server; only snappy is acceptable")]
    Encoding(String),
}

impl Protocol {
    /// The message that the headers `Content-Type` and `Content-Encoding` name; remote write 1.0 where they
    /// do not. Source: "Prometheus Remote-Write 2.0 specification", "Protocol".
    pub fn of_headers(content_type: Option<&str>, encoding: Option<&str>) -> Result<Self, ProtocolError> {
        if let Some(other) = encoding.filter(|encoding| !matches!(*encoding, "" | "snappy")) {
            return Err(ProtocolError::Encoding(other.to_owned()));
        }
        let header = content_type.unwrap_or_default().trim();
        if header.is_empty() {
            return Ok(Self::V1);
        }
        let mut parts = header.split(';').map(str::trim);
        if parts.next() != Some("application/x-protobuf") {
            return Err(ProtocolError::MediaType(header.to_owned()));
        }
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else {
                let (parameter, header) = (parameter.to_owned(), header.to_owned());
                return Err(ProtocolError::Parameter { parameter, header });
            };
            match (name, value) {
                ("proto", "prometheus.WriteRequest") => return Ok(Self::V1),
                ("proto", "io.prometheus.write.v2.Request") => return Ok(Self::V2),
                ("proto", other) => {
                    let (message, header) = (other.to_owned(), header.to_owned());
                    return Err(ProtocolError::Message { message, header });
                }
                _ => {}
            }
        }
        Ok(Self::V1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_name_the_message() {
        let check = |content_type, encoding, expected: Result<Protocol, &str>| {
            let found = Protocol::of_headers(content_type, encoding).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{content_type:?} {encoding:?}");
        };
        check(None, None, Ok(Protocol::V1));
        check(Some("application/x-protobuf"), Some("snappy"), Ok(Protocol::V1));
        check(Some("application/x-protobuf;proto=prometheus.WriteRequest"), Some(""), Ok(Protocol::V1));
        check(
            Some("application/x-protobuf; x=y; proto=io.prometheus.write.v2.Request"),
            None,
            Ok(Protocol::V2),
        );
        check(
            Some("application/json"),
            None,
            Err(
                "expected application/x-protobuf as the first (media) part, got application/json content-type",
            ),
        );
        check(
            Some("application/x-protobuf;proto=x"),
            None,
            Err("got application/x-protobuf;proto=x content type; unknown type for remote write protobuf \
                 message x, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request"),
        );
        check(
            Some("application/x-protobuf;x"),
            None,
            Err("as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be \
                 key-values, got x in application/x-protobuf;x content-type"),
        );
        check(
            None,
            Some("zstd"),
            Err("zstd encoding (compression) is not accepted by this server; only snappy is acceptable"),
        );
    }
}
