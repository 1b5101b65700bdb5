//! Which format a page has, by what its target says.

/// The text formats that can be read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' text format, `text/plain`.
    Text,
    /// OpenMetrics, `application/openmetrics-text`.
    OpenMetrics,
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
    pub fn of_content_type(header: Option<&str>, fallback: Option<Self>) -> Result<Self, ContentTypeError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_decides_and_the_fallback_fills_in() {
        let check = |header, fallback, expected: Result<Format, &str>| {
            let found = Format::of_content_type(header, fallback).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{header:?}");
        };
        check(Some("text/plain; version=0.0.4; charset=utf-8"), None, Ok(Format::Text));
        check(Some("Application/OpenMetrics-Text; version=1.0.0"), None, Ok(Format::OpenMetrics));
        check(Some("text/html"), Some(Format::Text), Ok(Format::Text));
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
