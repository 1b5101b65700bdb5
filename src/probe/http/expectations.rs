//! What a response must be like. Pure.

use std::ops::RangeInclusive;

use hyper::header::{HeaderMap, HeaderName};
use hyper::{StatusCode, Version};

use super::cel::CelProgram;
use super::json::{JsonBody, JsonError, MAX_VALUES};
use crate::probe::Pattern;

/// A rule about one header.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// The header.
    pub name: HeaderName,
    /// What its values are matched against; not anchored.
    pub pattern: Pattern,
    /// Whether the rule is satisfied where the header is missing.
    pub allow_missing: bool,
}

/// A broken rule: what is wrong with a response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("status {0}, expected {1}")]
    Status(u16, String),
    #[error("header `{0}` is missing")]
    HeaderMissing(String),
    #[error("header `{0}` matches `{1}`")]
    HeaderMatches(String, String),
    #[error("header `{0}` does not match `{1}`")]
    HeaderNotMatches(String, String),
    #[error("body matches `{0}`")]
    BodyMatches(String),
    #[error("body does not match `{0}`")]
    BodyNotMatches(String),
    #[error("body is not JSON: {0}")]
    NotJson(String),
    #[error("body holds more than {MAX_VALUES} JSON values, too many for a CEL expression")]
    JsonTooLarge,
    #[error("body matches the CEL expression `{0}`")]
    CelMatches(String),
    #[error("body does not match the CEL expression `{0}`")]
    CelNotMatches(String),
    #[error("the CEL expression `{0}` cannot be evaluated: {1}")]
    Cel(String, String),
    #[error("HTTP version {0}, expected {1}")]
    Version(String, String),
}

impl Fault {
    /// Which expectation is broken.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Status(..) => "status",
            Self::HeaderMissing(_) | Self::HeaderMatches(..) | Self::HeaderNotMatches(..) => "header",
            Self::BodyMatches(_) | Self::BodyNotMatches(_) => "body",
            Self::NotJson(_)
            | Self::JsonTooLarge
            | Self::CelMatches(_)
            | Self::CelNotMatches(_)
            | Self::Cel(..) => "cel",
            Self::Version(..) => "version",
        }
    }
}

/// Whether the status is one of `valid`, or 2xx if `valid` is empty.
pub(super) fn check_status(status: StatusCode, valid: &[RangeInclusive<u16>]) -> Result<(), Fault> {
    let code = status.as_u16();
    if valid.is_empty() {
        let fault = || Fault::Status(code, "2xx".to_owned());
        return if status.is_success() { Ok(()) } else { Err(fault()) };
    }
    if valid.iter().any(|range| range.contains(&code)) {
        return Ok(());
    }
    let print = |range: &RangeInclusive<u16>| {
        if range.start() == range.end() {
            range.start().to_string()
        } else {
            format!("{}-{}", range.start(), range.end())
        }
    };
    Err(Fault::Status(code, valid.iter().map(print).collect::<Vec<_>>().join(", ")))
}

/// Whether no value of a header in `forbidden` matches, and some value of each in `required` does.
/// Source: blackbox exporter `prober/http.go`, `matchRegularExpressionsOnHeaders`.
pub(super) fn check_headers(
    headers: &HeaderMap,
    forbidden: &[HeaderMatch],
    required: &[HeaderMatch],
) -> Result<(), Fault> {
    for (rule, must_match) in
        forbidden.iter().map(|rule| (rule, false)).chain(required.iter().map(|rule| (rule, true)))
    {
        let name = || rule.name.to_string();
        if !headers.contains_key(&rule.name) {
            if rule.allow_missing {
                continue;
            }
            return Err(Fault::HeaderMissing(name()));
        }
        let matched = headers
            .get_all(&rule.name)
            .into_iter()
            .any(|value| rule.pattern.is_match_bytes(value.as_bytes()));
        match (must_match, matched) {
            (true, false) => return Err(Fault::HeaderNotMatches(name(), rule.pattern.to_string())),
            (false, true) => return Err(Fault::HeaderMatches(name(), rule.pattern.to_string())),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the body matches none of `forbidden` and all of `required`.
pub(super) fn check_body(body: &[u8], forbidden: &[Pattern], required: &[Pattern]) -> Result<(), Fault> {
    if let Some(pattern) = forbidden.iter().find(|pattern| pattern.is_match_bytes(body)) {
        return Err(Fault::BodyMatches(pattern.to_string()));
    }
    if let Some(pattern) = required.iter().find(|pattern| !pattern.is_match_bytes(body)) {
        return Err(Fault::BodyNotMatches(pattern.to_string()));
    }
    Ok(())
}

/// Whether `forbidden` is not true of a JSON body, and `required` is.
/// Source: blackbox exporter `prober/http.go`, `matchCELExpressions`.
pub(super) fn check_json(
    body: &[u8],
    forbidden: Option<&CelProgram>,
    required: Option<&CelProgram>,
) -> Result<(), Fault> {
    if forbidden.is_none() && required.is_none() {
        return Ok(());
    }
    let body = JsonBody::parse(body).map_err(|error| match error {
        JsonError::NotJson(error) => Fault::NotJson(error.to_string()),
        JsonError::TooLarge => Fault::JsonTooLarge,
    })?;
    let holds = |program: &CelProgram| {
        program.holds(&body).map_err(|reason| Fault::Cel(program.source().to_owned(), reason))
    };
    if let Some(program) = forbidden {
        if holds(program)? {
            return Err(Fault::CelMatches(program.source().to_owned()));
        }
    }
    if let Some(program) = required {
        if !holds(program)? {
            return Err(Fault::CelNotMatches(program.source().to_owned()));
        }
    }
    Ok(())
}

/// Whether the version is one of `valid`, or any if `valid` is empty.
pub(super) fn check_version(version: Version, valid: &[Version]) -> Result<(), Fault> {
    if valid.is_empty() || valid.contains(&version) {
        return Ok(());
    }
    let expected: Vec<String> = valid.iter().map(|version| format!("{version:?}")).collect();
    Err(Fault::Version(format!("{version:?}"), expected.join(", ")))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    // The cases of blackbox exporter's `TestHTTPStatusCodes`, and ranges.
    #[test]
    fn the_status_must_be_a_valid_one() {
        let check = |status: u16, valid: &[RangeInclusive<u16>], expected: bool| {
            let found = check_status(StatusCode::from_u16(status).unwrap(), valid);
            assert_eq!(found.is_ok(), expected, "{status} {valid:?}");
        };
        check(200, &[], true);
        check(201, &[], true);
        check(299, &[], true);
        check(300, &[], false);
        check(404, &[], false);
        check(404, &[200..=200, 404..=404], true);
        check(200, &[200..=200, 404..=404], true);
        check(201, &[200..=200, 404..=404], false);
        check(404, &[404..=404], true);
        check(200, &[404..=404], false);
        check(204, &[200..=204], true);
        let text = check_status(StatusCode::NOT_FOUND, &[200..=204, 301..=301]).unwrap_err().to_string();
        assert_eq!(text, "status 404, expected 200-204, 301");
    }

    // The cases of blackbox exporter's `TestFailIfHeaderMatchesRegexp` and `…NotMatchesRegexp`.
    #[test]
    fn header_rules_look_at_every_value() {
        let check = |name: &str, pattern: &str, allow_missing: bool, values: &[&str], ok: [bool; 2]| {
            let mut headers = HeaderMap::new();
            let name = HeaderName::try_from(name).unwrap();
            for value in values {
                headers.append(&name, HeaderValue::from_str(value).unwrap());
            }
            let rule = [HeaderMatch { name, pattern: Pattern::new(pattern).unwrap(), allow_missing }];
            let found = [check_headers(&headers, &rule, &[]), check_headers(&headers, &[], &rule)];
            assert_eq!(found.each_ref().map(Result::is_ok), ok, "{pattern} {values:?}: {found:?}");
        };
        let script = "text/javascript";
        check("Content-Type", script, false, &["text/javascript"], [false, true]);
        check("Content-Type", script, false, &["application/octet-stream"], [true, false]);
        check("content-type", script, false, &["application/octet-stream"], [true, false]);
        check("Content-Type", ".*", false, &[""], [false, true]);
        check("Content-Type", ".*", false, &[], [false, false]);
        check("Content-Type", ".*", true, &[""], [false, true]);
        check("Content-Type", ".*", true, &[], [true, true]);
        let cookies = ["zz=4; Domain=www.example.com; Path=/", "gid=1; Domain=.example.com; Path=/"];
        check("Set-Cookie", r".*Domain=\.example\.com.*", false, &cookies, [false, true]);
        check("Set-Cookie", r".*Domain=\.example\.com.*", false, &cookies[..1], [true, false]);
        check("Set-Cookie", r"\QDomain=.example.com;\E [[:alpha:]]", false, &cookies, [false, true]);
    }

    // The cases of blackbox exporter's `TestFailIfBodyMatchesRegexp` and `…NotMatchesRegexp`.
    #[test]
    fn body_rules_need_all_patterns() {
        let check = |body: &str, patterns: &[&str], ok: [bool; 2]| {
            let patterns: Vec<Pattern> =
                patterns.iter().map(|pattern| Pattern::new(pattern).unwrap()).collect();
            let found =
                [check_body(body.as_bytes(), &patterns, &[]), check_body(body.as_bytes(), &[], &patterns)];
            assert_eq!(found.each_ref().map(Result::is_ok), ok, "{body}: {found:?}");
        };
        let both = ["could not connect to database", "internal error"];
        check("Bad news: could not connect to database server", &both[..1], [false, true]);
        check("Download the latest version here", &both[..1], [true, false]);
        check("internal error", &both, [false, false]);
        check("internal error: could not connect to database", &both, [false, true]);
        check("hello world", &both, [true, false]);
        check("hello world", &[], [true, true]);
    }

    // The cases of blackbox exporter's `TestFailIfBodyMatchesCEL` and `…NotMatchesCEL`: whether the body
    // passes if the condition is forbidden, and if it is required.
    #[test]
    fn conditions_on_json_decide_and_what_is_no_json_fails() {
        let check = |body: &str, source: &str, ok: [bool; 2]| {
            let program = CelProgram::compile(source).unwrap();
            let found = [
                check_json(body.as_bytes(), Some(&program), None),
                check_json(body.as_bytes(), None, Some(&program)),
            ];
            assert_eq!(found.each_ref().map(Result::is_ok), ok, "{body} {source}: {found:?}");
        };
        let nested = r#"{"foo": {"bar": "baz"}}"#;
        check(nested, "body.foo.bar == 'baz'", [false, true]);
        check(nested, "body.foo.bar == 'qux'", [true, false]);
        check(nested, "body.foo.bar", [false, false]);
        check("{}", "body.foo.bar == 'baz'", [false, false]);
        check("hello world", "body.foo.bar == 'baz'", [false, false]);
        check("", "body.foo.bar == 'baz'", [false, false]);
        check(r#""foo""#, "body == 'foo'", [false, true]);
        check(r#"["foo","bar","baz"]"#, "body[2] == 'baz'", [false, true]);
        check("true", "body", [false, true]);
        check("\u{1f920}", "body.foo.bar == 'baz'", [false, false]);
        check("{\"foo\": {\"bar\": \"\u{1f920}\"}}", "body.foo.bar == '\u{1f63f}'", [true, false]);
        check("{\"foo\": {\"bar\": \"\u{1f920}\"}}", "body.foo.bar == '\u{1f920}'", [false, true]);
        assert_eq!(check_json(b"no JSON", None, None), Ok(()));
    }

    // The cases of blackbox exporter's `TestValidHTTPVersion`.
    #[test]
    fn the_version_must_be_a_valid_one() {
        let check = |found: Version, valid: &[Version], ok: bool| {
            assert_eq!(check_version(found, valid).is_ok(), ok, "{found:?} {valid:?}");
        };
        check(Version::HTTP_11, &[], true);
        check(Version::HTTP_11, &[Version::HTTP_11], true);
        check(Version::HTTP_11, &[Version::HTTP_11, Version::HTTP_2], true);
        check(Version::HTTP_11, &[Version::HTTP_2], false);
        check(Version::HTTP_2, &[Version::HTTP_11, Version::HTTP_2], true);
        check(Version::HTTP_2, &[Version::HTTP_3], false);
        let text = check_version(Version::HTTP_11, &[Version::HTTP_2]).unwrap_err().to_string();
        assert_eq!(text, "HTTP version HTTP/1.1, expected HTTP/2.0");
    }
}
