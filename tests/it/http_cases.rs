//! The cases of blackbox exporter's `prober/http_test.go` (of version 0.28) as data: what a server
//! answers, what the module says, and what becomes of it. Cases about targets as texts and about files
//! of modules are tested where those are read; those about TLS in `tls_probe`.

use std::io::Write as _;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use flate2::write::{DeflateEncoder, GzEncoder};
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use url::Url;
use valmis::client::{HttpAuth, SecretSource};
use valmis::model::Secret;
use valmis::probe::Pattern;
use valmis::probe::http::{
    CelProgram, Compression, HeaderMatch, HttpConfig, HttpProber, METADATA, Method, ProxyConfig, ProxyServer,
    RequestBody, parse_http_version,
};

use crate::real::serve;
use crate::servers::{assert_well_formed, clock, probe, value, write};

/// What a server answers to a request whose body was read.
type Answer = Box<dyn Fn(&Request<Bytes>) -> Response + Send + Sync>;
/// What the module says.
type Module = Box<dyn FnOnce(&mut HttpConfig)>;

struct Case {
    name: String,
    answer: Answer,
    module: Module,
    success: bool,
    /// Metrics without labels.
    values: Vec<(&'static str, f64)>,
}

const STATUS: &str = "probe_http_status_code";
const LENGTH: &str = "probe_http_content_length";
const BODY_LENGTH: &str = "probe_http_uncompressed_body_length";
const REDIRECTS: &str = "probe_http_redirects";
const REGEX: &str = "probe_failed_due_to_regex";
const CEL: &str = "probe_failed_due_to_cel";

fn case(
    name: impl Into<String>,
    answer: impl Fn(&Request<Bytes>) -> Response + Send + Sync + 'static,
    module: impl FnOnce(&mut HttpConfig) + 'static,
    success: bool,
    values: &[(&'static str, f64)],
) -> Case {
    let (answer, module): (Answer, Module) = (Box::new(answer), Box::new(module));
    Case { name: name.into(), answer, module, success, values: values.to_vec() }
}

fn response(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let (name, value) = (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        response.headers_mut().append(name, value);
    }
    response
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

async fn run(case: Case) {
    let answer = std::sync::Arc::new(case.answer);
    let address = serve(Router::new().fallback(move |request: Request| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 16).await.unwrap();
            answer(&Request::from_parts(head, body))
        }
    }))
    .await;
    let mut config = HttpConfig::new(Url::parse(&format!("http://{address}/")).unwrap());
    (case.module)(&mut config);
    let outcome = probe(&HttpProber::new(config, clock()).unwrap()).await;
    assert_well_formed(&outcome, METADATA);
    let name = case.name;
    assert_eq!(outcome.result.is_ok(), case.success, "{name}: {:?} {:?}", outcome.result, outcome.log);
    assert_eq!(value(&outcome, "probe_success", &[]), Some(flag(case.success)), "{name}");
    for (metric, expected) in case.values {
        assert_eq!(value(&outcome, metric, &[]), Some(expected), "{name}: {metric}: {:?}", outcome.log);
    }
}

async fn run_all(cases: Vec<Case>, number: usize) {
    assert_eq!(cases.len(), number);
    for case in cases {
        run(case).await;
    }
}

#[tokio::test]
async fn blackbox_cases_of_statuses_and_versions_hold() {
    let mut cases = Vec::new();
    for (status, valid, success) in [
        (200, &[][..], true),
        (201, &[], true),
        (299, &[], true),
        (300, &[], false),
        (404, &[], false),
        (404, &[200, 404], true),
        (200, &[200, 404], true),
        (201, &[200, 404], false),
        (404, &[404], true),
        (200, &[404], false),
    ] {
        let module = move |config: &mut HttpConfig| {
            config.valid_status_codes = valid.iter().map(|code| *code..=*code).collect();
        };
        let name = format!("{status} where {valid:?} are valid");
        let values = [(STATUS, f64::from(status))];
        cases.push(case(name, move |_| response(status, &[], ""), module, success, &values));
    }
    for (versions, success) in [
        (&[][..], true),
        (&["HTTP/1.1"], true),
        (&["HTTP/1.1", "HTTP/2.0"], true),
        (&["HTTP/2.0"], false),
        (&["HTTP/3.0"], false),
    ] {
        let module = move |config: &mut HttpConfig| {
            config.valid_http_versions =
                versions.iter().map(|version| parse_http_version(version).unwrap()).collect();
        };
        let values = [("probe_http_version", 1.1)];
        cases.push(case(format!("{versions:?}"), |_| response(200, &[], ""), module, success, &values));
    }
    run_all(cases, 15).await;
}

/// `hello world` ten times, as the reference implementation of Brotli compresses it.
const BROTLI: &[u8] =
    b"\x1b\x6d\x00\xf8\x8d\x94\x6e\xde\x44\x55\x86\x96\x6c\x20\x6f\x35\x0b\x60\x15\x40\x06\xc4\
    \xdd\x01";

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn blackbox_cases_of_lengths_and_compression_hold() {
    let text = "hello world".repeat(10).into_bytes();
    let encode = |encoding: &str| match encoding {
        "gzip" => gzip(&text),
        "deflate" => deflate(&text),
        "br" => BROTLI.to_vec(),
        _ => text.clone(),
    };
    let plain = text.len() as f64;
    let mut cases = Vec::new();
    // `Content-Encoding`, `compression`, `Accept-Encoding`, the length of the body (`None`: as sent).
    for (encoding, compression, accept, read, success) in [
        ("identity", "", "", None, true),
        ("", "", "", None, true),
        ("xxx", "", "", None, true),
        ("br", "", "", None, true),
        ("deflate", "", "", None, true),
        ("gzip", "", "", None, true),
        ("gzip", "gzip", "", Some(plain), true),
        ("br", "br", "", Some(plain), true),
        ("deflate", "deflate", "", Some(plain), true),
        ("identity", "identity", "", Some(plain), true),
        ("gzip", "deflate", "", Some(0.0), false),
        ("gzip", "gzip", "gzip", Some(plain), true),
        ("gzip", "gzip", "br, gzip", Some(plain), true),
        ("gzip", "gzip", "*", Some(plain), true),
    ] {
        let sent = encode(encoding);
        let length = sent.len() as f64;
        let answer = move |request: &Request<Bytes>| {
            let asked = request.headers().get("accept-encoding").map_or("", |value| value.to_str().unwrap());
            assert_eq!(asked, if accept.is_empty() { compression } else { accept });
            let headers = [("content-encoding", encoding)];
            response(200, if encoding.is_empty() { &[] } else { &headers }, sent.clone())
        };
        let module = move |config: &mut HttpConfig| {
            config.compression = Compression::parse(compression).unwrap();
            if !accept.is_empty() {
                config.headers.insert("accept-encoding", HeaderValue::from_static(accept));
            }
        };
        let name = format!("`{encoding}` sent, `{compression}` expected, `{accept}` accepted");
        let values = [(LENGTH, length), (BODY_LENGTH, read.unwrap_or(length))];
        cases.push(case(name, answer, module, success, &values));
    }
    let values = [(LENGTH, 9.0), (BODY_LENGTH, 9.0)];
    cases.push(case("404 with a body", |_| response(404, &[], "not found"), |_| {}, false, &values));
    for (size, compression, read, success) in [
        (127, "", 127.0, true),
        (129, "", 128.0, false),
        (127, "gzip", 127.0, true),
        (129, "gzip", 128.0, false),
    ] {
        let sent = if compression.is_empty() { vec![b'A'; size] } else { gzip(&vec![b'A'; size]) };
        let values = [(LENGTH, sent.len() as f64), (BODY_LENGTH, read)];
        let module = move |config: &mut HttpConfig| {
            config.body_size_limit_bytes = 128;
            config.compression = Compression::parse(compression).unwrap();
        };
        let name = format!("{size} bytes of 128 in `{compression}`");
        cases.push(case(name, move |_| response(200, &[], sent.clone()), module, success, &values));
    }
    run_all(cases, 19).await;
}

#[tokio::test]
async fn blackbox_cases_of_requests_and_redirects_hold() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "body.txt", "Test Body");
    let secret = |text: &str| SecretSource::Value(Secret::new(text));
    let told = |ok: bool| response(if ok { 200 } else { 400 }, &[], "");
    let has = |request: &Request<Bytes>, name: &str, expected: &str| {
        request.headers().get(name).is_some_and(|value| value == expected)
    };
    let redirect = |to: &str| response(302, &[("location", to)], "");
    let cases = vec![
        case(
            "a redirect is followed",
            move |request| if request.uri().path() == "/" { redirect("/to") } else { told(true) },
            |_| {},
            true,
            &[(REDIRECTS, 1.0), (STATUS, 200.0)],
        ),
        case(
            "a redirect is not followed",
            move |_| redirect("/to"),
            |config| {
                config.follow_redirects = false;
                config.valid_status_codes = vec![302..=302];
            },
            true,
            &[(STATUS, 302.0)],
        ),
        case(
            "redirects end",
            move |request| {
                let number: u32 = request.uri().path()[1..].parse().unwrap_or(0);
                assert!(number < 11, "the limit was passed");
                redirect(&format!("/{}", number + 1))
            },
            |_| {},
            false,
            &[(REDIRECTS, 11.0), (STATUS, 302.0)],
        ),
        case(
            "POST",
            move |request| told(request.method() == Method::POST),
            |config| config.method = Method::POST,
            true,
            &[],
        ),
        case(
            "basic_auth",
            move |request| told(has(request, "authorization", "Basic dXNlcm5hbWU6cGFzc3dvcmQ=")),
            move |config| {
                let (username, password) = (secret("username"), secret("password"));
                config.credentials = Some(HttpAuth::Basic { username, password }.into());
            },
            true,
            &[],
        ),
        case(
            "a bearer token",
            move |request| told(has(request, "authorization", "Bearer mysecret")),
            move |config| config.credentials = Some(HttpAuth::Bearer(secret("mysecret")).into()),
            true,
            &[],
        ),
        case(
            "fail_if_not_ssl",
            move |_| told(true),
            |config| config.fail_if_not_ssl = true,
            false,
            &[("probe_http_ssl", 0.0)],
        ),
        case("fail_if_ssl", move |_| told(true), |config| config.fail_if_ssl = true, true, &[]),
        case(
            "headers",
            move |request| {
                told(
                    has(request, "host", "my-secret-vhost.com")
                        && has(request, "user-agent", "unsuspicious-user")
                        && has(request, "accept-language", "en-US"),
                )
            },
            |config| {
                config.headers.insert("host", HeaderValue::from_static("my-secret-vhost.com"));
                config.headers.insert("user-agent", HeaderValue::from_static("unsuspicious-user"));
                config.headers.insert("accept-language", HeaderValue::from_static("en-US"));
            },
            true,
            &[],
        ),
        case(
            "settings of TLS do not matter without it",
            move |_| told(true),
            |config| config.tls.ca = Some(SecretSource::File("/nowhere".into())),
            true,
            &[("probe_http_ssl", 0.0)],
        ),
        case(
            "a cookie comes back",
            move |request| {
                if request.uri().path() == "/" {
                    let year = "Thu, 01 Jan 2099 00:00:00 GMT";
                    let cookie = format!("somecookie=cookie; Expires={year}");
                    return response(302, &[("set-cookie", &cookie), ("location", "/to")], "");
                }
                told(has(request, "cookie", "somecookie=cookie"))
            },
            |_| {},
            true,
            &[],
        ),
        case(
            "body",
            move |request| told(request.body() == "Test Body"),
            |config| {
                config.method = Method::POST;
                config.body = "Test Body".into();
            },
            true,
            &[],
        ),
        case(
            "body_file",
            move |request| told(request.body() == "Test Body"),
            move |config| config.body = RequestBody::File(file),
            true,
            &[],
        ),
    ];
    run_all(cases, 13).await;
}

#[tokio::test]
async fn blackbox_cases_of_bodies_hold() {
    let mut cases = Vec::new();
    let nested = r#"{"foo": {"bar": "baz"}}"#;
    let cowboy = "{\"foo\": {\"bar\": \"\u{1f920}\"}}";
    for (body, expression, forbidden, success) in [
        (nested, "body.foo.bar == 'baz'", true, false),
        (nested, "body.foo.bar == 'qux'", true, true),
        ("{}", "body.foo.bar == 'qux'", true, false),
        (nested, "body.foo.bar", true, false),
        ("hello world", "body.foo.bar == 'baz'", true, false),
        ("{}", "body.foo.bar == 'baz'", true, false),
        (r#""foo""#, "body == 'foo'", true, false),
        (r#"["foo","bar","baz"]"#, "body[2] == 'baz'", true, false),
        ("true", "body", true, false),
        ("", "body.foo.bar == 'baz'", true, false),
        ("\u{1f920}", "body.foo.bar == 'baz'", true, false),
        (cowboy, "body.foo.bar == '\u{1f63f}'", true, true),
        (nested, "body.foo.bar == 'baz'", false, true),
        (nested, "body.foo.bar == 'qux'", false, false),
        ("{}", "body.foo.bar == 'qux'", false, false),
        (nested, "body.foo.bar", false, false),
        ("hello world", "body.foo.bar == 'baz'", false, false),
        ("{}", "!has(body.foo)", false, true),
        (r#""foo""#, "body == 'foo'", false, true),
        (r#"["foo","bar","baz"]"#, "body[2] == 'baz'", false, true),
        ("true", "body", false, true),
        ("", "body.foo.bar == 'baz'", false, false),
        ("\u{1f920}", "body.foo.bar == 'baz'", false, false),
        (cowboy, "body.foo.bar == '\u{1f920}'", false, true),
    ] {
        let module = move |config: &mut HttpConfig| {
            let program = Some(CelProgram::compile(expression).unwrap());
            if forbidden {
                config.fail_if_body_json_matches_cel = program;
            } else {
                config.fail_if_body_json_not_matches_cel = program;
            }
        };
        let length = body.len() as f64;
        let values = [(CEL, flag(!success)), (REGEX, 0.0), (LENGTH, length), (BODY_LENGTH, length)];
        let name = format!("`{expression}` of `{body}`, forbidden: {forbidden}");
        cases.push(case(name, move |_| response(200, &[], body), module, success, &values));
    }
    let (latest, lost) = ("Download the latest version here", "could not connect to database");
    for (body, patterns, forbidden, success) in [
        ("Bad news: could not connect to database server", vec![lost], true, false),
        (latest, vec![lost], true, true),
        ("internal error", vec![lost, "internal error"], true, false),
        ("hello world", vec![lost, "internal error"], true, true),
        ("Bad news: could not connect to database server", vec![latest], false, false),
        (latest, vec![latest], false, true),
        (latest, vec![latest, "Copyright 2015"], false, false),
        (
            "Download the latest version here. Copyright 2015 Test Inc.",
            vec![latest, "Copyright 2015"],
            false,
            true,
        ),
    ] {
        let name = format!("{patterns:?} of `{body}`, forbidden: {forbidden}");
        let module = move |config: &mut HttpConfig| {
            let patterns = patterns.iter().map(|pattern| Pattern::new(pattern).unwrap()).collect();
            if forbidden {
                config.fail_if_body_matches = patterns;
            } else {
                config.fail_if_body_not_matches = patterns;
            }
        };
        let length = body.len() as f64;
        let values = [(REGEX, flag(!success)), (LENGTH, length), (BODY_LENGTH, length)];
        cases.push(case(name, move |_| response(200, &[], body), module, success, &values));
    }
    run_all(cases, 32).await;
}

#[tokio::test]
async fn blackbox_cases_of_headers_hold() {
    const SCRIPT: &str = "text/javascript";
    const OWN: &str = "gid=1; Domain=.example.com; Path=/";
    const OTHER: &str = "zz=4; Domain=www.example.com; Path=/";
    let domain = r".*Domain=\.example\.com.*";
    let mut cases = Vec::new();
    for (header, pattern, allow_missing, values, forbidden, success) in [
        ("Content-Type", SCRIPT, false, &[SCRIPT][..], true, false),
        ("Content-Type", SCRIPT, false, &["application/octet-stream"], true, true),
        ("content-type", SCRIPT, false, &["application/octet-stream"], true, true),
        ("Content-Type", ".*", false, &[""], true, false),
        ("Content-Type", ".*", false, &[], true, false),
        ("Content-Type", ".*", true, &[""], true, false),
        ("Content-Type", ".*", true, &[], true, true),
        ("Set-Cookie", domain, false, &[OWN], true, false),
        ("Set-Cookie", domain, false, &[OTHER, OWN], true, false),
        ("Content-Type", SCRIPT, false, &[SCRIPT], false, true),
        ("content-type", SCRIPT, false, &[SCRIPT], false, true),
        ("Content-Type", SCRIPT, false, &["application/octet-stream"], false, false),
        ("Content-Type", ".*", false, &[""], false, true),
        ("Content-Type", ".*", false, &[], false, false),
        ("Content-Type", ".*", true, &[], false, true),
        ("Set-Cookie", domain, false, &[OTHER], false, false),
        ("Set-Cookie", domain, false, &[OTHER, OWN], false, true),
    ] {
        let answer = move |_: &Request<Bytes>| {
            let headers: Vec<_> = values.iter().map(|value| (header, *value)).collect();
            response(200, &headers, Body::empty())
        };
        let module = move |config: &mut HttpConfig| {
            let name = HeaderName::try_from(header).unwrap();
            let rule = HeaderMatch { name, pattern: Pattern::new(pattern).unwrap(), allow_missing };
            if forbidden {
                config.fail_if_header_matches = vec![rule];
            } else {
                config.fail_if_header_not_matches = vec![rule];
            }
        };
        let name = format!("`{pattern}` of {values:?}, forbidden: {forbidden}, may miss: {allow_missing}");
        cases.push(case(name, answer, module, success, &[(REGEX, flag(!success))]));
    }
    run_all(cases, 17).await;
}

// Blackbox exporter's `TestSkipResolvePhase`: with a proxy that nobody runs.
#[tokio::test]
async fn blackbox_cases_of_the_resolve_phase_hold() {
    let proxy = || ProxyConfig::through(ProxyServer::parse("http://127.0.0.1:1").unwrap(), "");
    let environment = || {
        let variable = |name: &str| (name == "HTTP_PROXY").then(|| "http://127.0.0.1:1".to_owned());
        ProxyConfig { no_proxy: None, ..ProxyConfig::from_environment(variable).unwrap() }
    };
    for (proxy, skip, resolved) in [
        (None, true, true),
        (None, false, true),
        (Some(proxy()), false, true),
        (Some(proxy()), true, false),
        (Some(environment()), false, true),
        (Some(environment()), true, false),
    ] {
        let has_proxy = proxy.is_some();
        let address = serve(Router::new().fallback(async || StatusCode::NO_CONTENT)).await;
        let url = format!("http://localhost:{}/", address.port());
        let mut config = HttpConfig::new(Url::parse(&url).unwrap());
        config.proxy = proxy.unwrap_or_default();
        config.proxy.skip_resolve_phase = skip;
        let outcome = probe(&HttpProber::new(config, clock()).unwrap()).await;
        let protocol = value(&outcome, "probe_ip_protocol", &[]).unwrap();
        assert_eq!(protocol > 0.0, resolved, "proxy: {has_proxy}, skip: {skip}");
        let failure = outcome.result.err().map(|failure| (failure.kind, failure.unknown));
        assert_eq!(failure, has_proxy.then_some(("proxy", true)), "{:?}", outcome.log);
    }
}
