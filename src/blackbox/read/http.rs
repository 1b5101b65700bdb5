//! Modules for HTTP.

use hyper::Method;
use hyper::Version;
use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::ModuleReader;
use super::values::size_bytes;
use crate::probe::http::{
    CelProgram, Compression, HeaderMatch, HttpConfig, Protocol, RequestBody, parse_http_version,
};
use crate::yaml::{Fields, Node};

impl ModuleReader<'_> {
    /// The settings of a module; the URL is put in when a target is known.
    pub(super) fn http(&mut self, node: &Node) -> HttpConfig {
        let mut fields = self.reader.fields("`http`", node);
        let mut config = HttpConfig::new(Url::parse("http://localhost/").expect("a constant URL"));
        config.valid_status_codes = self.status_codes(&mut fields);
        config.valid_http_versions = self.versions(&mut fields);
        config.addresses = self.addresses(&mut fields);
        config.fail_if_ssl = self.flag(&mut fields, "fail_if_ssl", false);
        config.fail_if_not_ssl = self.flag(&mut fields, "fail_if_not_ssl", false);
        config.method = self.method(&mut fields);
        config.fail_if_body_matches = self.patterns(&mut fields, "fail_if_body_matches_regexp");
        config.fail_if_body_not_matches = self.patterns(&mut fields, "fail_if_body_not_matches_regexp");
        config.fail_if_body_json_matches_cel = self.condition(&mut fields, "fail_if_body_json_matches_cel");
        config.fail_if_body_json_not_matches_cel =
            self.condition(&mut fields, "fail_if_body_json_not_matches_cel");
        config.fail_if_header_matches = self.header_matches(&mut fields, "fail_if_header_matches");
        config.fail_if_header_not_matches = self.header_matches(&mut fields, "fail_if_header_not_matches");
        config.body = self.body(&mut fields);
        config.compression = self.compression(&mut fields);
        if let Some(limit) = self.body_size_limit(&mut fields) {
            config.body_size_limit_bytes = limit;
        }
        config.headers = self.headers(&mut fields, config.compression);
        config.credentials = self.credentials(&mut fields);
        config.tls = self.tls(&mut fields);
        config.secret_headers = self.http_headers(&mut fields);
        config.proxy = self.proxy(&mut fields);
        config.proxy.skip_resolve_phase = self.flag(&mut fields, "skip_resolve_phase_with_proxy", false);
        config.follow_redirects = self.flag(&mut fields, "follow_redirects", true);
        // The old name wins, as in blackbox exporter.
        if fields.take("no_follow_redirects").is_some() {
            config.follow_redirects = !self.flag(&mut fields, "no_follow_redirects", false);
        }
        config.protocol = self.protocol(&mut fields, &config.valid_http_versions);
        fields.finish(self.reader);
        config
    }

    fn status_codes(&mut self, fields: &mut Fields<'_>) -> Vec<std::ops::RangeInclusive<u16>> {
        let Some(node) = fields.take("valid_status_codes") else { return Vec::new() };
        let items = self.reader.items("valid_status_codes", node);
        let codes = items.iter().filter_map(|item| self.reader.integer("valid_status_codes", item, 0..=999));
        codes.filter_map(|code| u16::try_from(code).ok()).map(|code| code..=code).collect()
    }

    /// `HTTP/2` and `HTTP/3` mean what their writers meant; in blackbox exporter they mean nothing.
    fn versions(&mut self, fields: &mut Fields<'_>) -> Vec<Version> {
        let Some(node) = fields.take("valid_http_versions") else { return Vec::new() };
        let items = self.reader.items("valid_http_versions", node);
        let version = |item: &Node| {
            let text = self.reader.text("valid_http_versions", item)?;
            let full =
                if matches!(text, "HTTP/2" | "HTTP/3") { format!("{text}.0") } else { text.to_owned() };
            let version = parse_http_version(&full);
            if version.is_none() {
                self.reader.error_with_hint(
                    "bad-version",
                    item.place,
                    format!("`{text}` is not a version of HTTP"),
                    "write `HTTP/1.1` or `HTTP/2.0`",
                );
            }
            version
        };
        items.iter().filter_map(version).collect()
    }

    fn method(&mut self, fields: &mut Fields<'_>) -> Method {
        let Some(node) = fields.take("method") else { return Method::GET };
        match self.reader.text("method", node) {
            None | Some("") => Method::GET,
            Some(text) => Method::from_bytes(text.as_bytes()).unwrap_or_else(|_| {
                self.reader.error("bad-method", node.place, format!("`{text}` is not a request method"));
                Method::GET
            }),
        }
    }

    fn condition(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Option<CelProgram> {
        let node = fields.take(key)?;
        let text = self.reader.text(key, node)?;
        match CelProgram::compile(text) {
            Ok(program) => Some(program),
            Err(error) => {
                let message = format!("\"Could not compile CEL program\" expression=\"{text}\"");
                self.reader.error_with_hint("bad-cel", node.place, message, error.to_string());
                None
            }
        }
    }

    fn header_matches(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Vec<HeaderMatch> {
        let Some(node) = fields.take(key) else { return Vec::new() };
        let items = self.reader.items(key, node);
        items.iter().filter_map(|item| self.header_match(item)).collect()
    }

    fn header_match(&mut self, node: &Node) -> Option<HeaderMatch> {
        let mut fields = self.reader.fields("a header match", node);
        let name = self.text(&mut fields, "header");
        let regexp = fields.take("regexp");
        let empty = regexp.is_none_or(|node| self.reader.text("regexp", node) == Some(""));
        let pattern = regexp.and_then(|node| self.pattern("regexp", node));
        let allow_missing = self.flag(&mut fields, "allow_missing", false);
        fields.finish(self.reader);
        if name.is_none() {
            let message = "header name must be set for HTTP header matchers";
            self.reader.error("missing-key", node.place, message);
        }
        if empty {
            self.reader.error("missing-key", node.place, "regexp must be set for HTTP header matchers");
        }
        let name = self.header_name(&name?, node)?;
        Some(HeaderMatch { name, pattern: pattern?, allow_missing })
    }

    fn body(&mut self, fields: &mut Fields<'_>) -> RequestBody {
        let place = fields.place();
        let body = self.text(fields, "body");
        let file = self.text(fields, "body_file");
        if body.is_some() && file.is_some() {
            self.reader.error("two-bodies", place, "setting body and body_file both are not allowed");
        }
        match (body, file) {
            (Some(body), _) => body.into_bytes().into(),
            (None, Some(file)) => RequestBody::File(self.surroundings.folder.join(file)),
            (None, None) => RequestBody::default(),
        }
    }

    fn compression(&mut self, fields: &mut Fields<'_>) -> Compression {
        let Some(node) = fields.take("compression") else { return Compression::default() };
        let text = self.reader.text("compression", node).unwrap_or_default();
        Compression::parse(text).unwrap_or_else(|| {
            self.reader.error_with_hint(
                "bad-compression",
                node.place,
                format!("`compression` does not know `{text}`"),
                "there are `gzip`, `br`, `deflate` and `identity`",
            );
            Compression::default()
        })
    }

    /// None for no limit: the prober's own then holds.
    fn body_size_limit(&mut self, fields: &mut Fields<'_>) -> Option<u64> {
        let node = fields.take("body_size_limit")?;
        let text = self.reader.text("body_size_limit", node)?;
        match size_bytes(text) {
            Some(0) => None,
            Some(limit) => Some(limit),
            None => {
                self.reader.error_with_hint(
                    "bad-size",
                    node.place,
                    format!("`body_size_limit` must be a size, not `{text}`"),
                    "write a size such as `512KB` or `1MB`; they are powers of 1024",
                );
                None
            }
        }
    }

    fn headers(&mut self, fields: &mut Fields<'_>, compression: Compression) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some(node) = fields.take("headers") else { return headers };
        let pairs = self.entries(node, "headers", |this, name, value| {
            let text = this.reader.text("headers", value)?;
            let header = this.header_name(name, value)?;
            if header == ACCEPT_ENCODING && !encoding_accepted(compression, text) {
                let compression = compression_name(compression);
                let message =
                    format!("invalid configuration \"{name}: {text}\", \"compression: {compression}\"");
                this.reader.error("bad-compression", value.place, message);
            }
            let Ok(mut content) = HeaderValue::try_from(text) else {
                // The message does not show what may be a secret.
                let message = format!("the value of header `{name}` has a character that cannot be sent");
                this.reader.error("bad-entry", value.place, message);
                return None;
            };
            content.set_sensitive(true);
            Some((header, content))
        });
        for (name, value) in pairs {
            headers.insert::<HeaderName>(name, value);
        }
        headers
    }

    fn protocol(&mut self, fields: &mut Fields<'_>, valid: &[Version]) -> Protocol {
        let place = fields.place();
        let http2 = self.flag(fields, "enable_http2", true);
        let http3 = self.flag(fields, "enable_http3", false);
        if !http3 {
            if valid.contains(&Version::HTTP_3) {
                let message = "HTTP/3 cannot be used as a valid HTTP version when enable_http3 is false";
                self.reader.error("bad-version", place, message);
            }
            return if http2 { Protocol::Http2 } else { Protocol::Http1 };
        }
        if valid.contains(&Version::HTTP_2) || valid.contains(&Version::HTTP_11) {
            let message = "HTTP/3 and HTTP/2.0/1.1 cannot be used together - only HTTP/3.0 is allowed when \
                           enable_http3 is true";
            self.reader.error("bad-version", place, message);
        }
        if http2 {
            let message = "when enable_http3 is true, enable_http2 must be set to false";
            self.reader.error("bad-version", place, message);
        }
        Protocol::Http3
    }
}

fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::AsSent => "",
        Compression::Identity => "identity",
        Compression::Gzip => "gzip",
        Compression::Deflate => "deflate",
        Compression::Brotli => "br",
    }
}

/// Whether a server that heeds this `Accept-Encoding` may answer in the compression that is expected.
/// Source: blackbox exporter `config/config.go`, `isCompressionAcceptEncodingValid`.
fn encoding_accepted(compression: Compression, accept_encoding: &str) -> bool {
    let wanted = compression_name(compression);
    if wanted.is_empty() || accept_encoding.is_empty() {
        return true;
    }
    let mut offers: Vec<(&str, f32)> = accept_encoding
        .split(',')
        .map(|offer| match offer.rsplit_once(';') {
            None => (offer.trim(), 1.0),
            Some((name, quality)) => {
                let quality = quality.trim();
                let quality = quality.strip_prefix("q=").unwrap_or(quality);
                (name.trim(), quality.parse::<f32>().unwrap_or(0.0))
            }
        })
        .collect();
    offers.sort_by(|one, other| other.1.total_cmp(&one.1));
    let first = offers.iter().find(|(name, _)| *name == wanted || *name == "*");
    // Three digits are what counts in HTTP.
    first.is_some_and(|(_, quality)| (quality * 1000.0).round() > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The rows of blackbox exporter's `TestIsEncodingAcceptable`.
    #[test]
    fn a_compression_that_is_expected_has_to_be_accepted() {
        let check = |compression: Compression, accepted: &str, expected: bool| {
            assert_eq!(encoding_accepted(compression, accepted), expected, "{compression:?} {accepted}");
        };
        check(Compression::AsSent, "gzip", true);
        check(Compression::Gzip, "gzip", true);
        check(Compression::Gzip, "gzip;q=1.0", true);
        check(Compression::Gzip, "gzip, compress", true);
        check(Compression::Gzip, "compress, gzip", true);
        check(Compression::Gzip, "", true);
        check(Compression::Brotli, "gzip, compress", false);
        check(Compression::Brotli, "gzip, compress, *", true);
        check(Compression::Brotli, "gzip, compress, *;q=0.1", true);
        check(Compression::Brotli, "gzip, compress, br;q=0.0", false);
        check(Compression::Brotli, "gzip, compress, *;q=0.0", false);
        check(Compression::Brotli, "gzip;q=1.0, compress;q=0.5, br;q=0.1, *;q=0.0", true);
        check(Compression::Brotli, "*;q=0.0, compress;q=0.5, br;q=0.1, gzip;q=1.0", true);
        check(Compression::Brotli, " gzip;q=1.0, compress; q=0.5, br;q=0.1, *; q=0.0 ", true);
        check(Compression::Brotli, "br;q=nonsense", false);
    }
}
