//! Which format a page has, by what its target says.

/// The text formats that can be read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' text format, `text/plain`.
    Text,
    /// OpenMetrics, `application/openmetrics-text`.
    OpenMetrics,
}

/// What a page can be on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageType {
    /// One of the text formats.
    Text(Format),
    /// Metric families as protobuf messages, `application/vnd.google.protobuf`.
    Protobuf,
}

/// A page whose format is not known. The texts follow Prometheus (`model/textparse/interface.go`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentTypeError {
    /// The target does not say what it sends.
    #[error(
        "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
    )]
    Blank,
    /// The header is not a media type.
    #[error("cannot parse Content-Type {0:?} and no fallback_scrape_protocol for target")]
    Malformed(String),
    /// A media type that is no metrics page.
    #[error("received unsupported Content-Type {0:?} and no fallback_scrape_protocol specified for target")]
    Unsupported(String),
}

impl Format {
    /// The format that a `Content-Type` header names, or `fallback` where it names none that is known.
    fn of_content_type(header: Option<&str>, fallback: Option<Self>) -> Result<Self, ContentTypeError> {
        let header = header.unwrap_or_default();
        let media_type = header.split(';').next().unwrap_or_default().trim();
        let error = if header.trim().is_empty() {
            ContentTypeError::Blank
        } else if media_type.eq_ignore_ascii_case("text/plain") {
            return Ok(Self::Text);
        } else if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            return Ok(Self::OpenMetrics);
        } else if media_type.split('/').count() != 2 || media_type.contains(char::is_whitespace) {
            ContentTypeError::Malformed(header.to_owned())
        } else {
            ContentTypeError::Unsupported(header.to_owned())
        };
        fallback.ok_or(error)
    }
}

impl PageType {
    /// What a `Content-Type` header names, or `fallback` where it names nothing that is known.
    pub fn of_content_type(header: Option<&str>, fallback: Option<Format>) -> Result<Self, ContentTypeError> {
        let media_type = header.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            return Ok(Self::Protobuf);
        }
        Format::of_content_type(header, fallback).map(Self::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_decides_and_the_fallback_fills_in() {
        let check = |header, fallback, expected: Result<PageType, &str>| {
            let found = PageType::of_content_type(header, fallback).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{header:?}");
        };
        let protobuf =
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
        check(Some(protobuf), None, Ok(PageType::Protobuf));
        check(Some("text/plain; version=0.0.4; charset=utf-8"), None, Ok(PageType::Text(Format::Text)));
        check(
            Some("Application/OpenMetrics-Text; version=1.0.0"),
            None,
            Ok(PageType::Text(Format::OpenMetrics)),
        );
        check(Some("text/html"), Some(Format::Text), Ok(PageType::Text(Format::Text)));
        check(
            None,
            None,
            Err("non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol \
                 specified for target"),
        );
        check(
            Some("text/html"),
            None,
            Err("received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol \
                 specified for target"),
        );
        check(
            Some("html"),
            None,
            Err("cannot parse Content-Type \"html\" and no fallback_scrape_protocol for target"),
        );
    }
}
