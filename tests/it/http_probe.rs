//! The HTTP probe against real servers without TLS.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use url::Url;
use valmis::client::{HttpAuth, SecretSource};
use valmis::model::Secret;
use valmis::probe::http::{Compression, HeaderMatch, HttpConfig, HttpProber, METADATA, Method};
use valmis::probe::{AddressPolicy, Pattern, ProbeOutcome};

use crate::real::serve;
use crate::servers::{answer, assert_well_formed, clock, listen, probe_within, read_head, value};

const PLENTY: Duration = Duration::from_secs(20);

/// Starts a server that answers everything alike.
async fn serve_all<R: IntoResponse + Send + 'static>(
    respond: impl Fn(Request) -> R + Clone + Send + Sync + 'static,
) -> SocketAddr {
    serve(Router::new().fallback(move |request: Request| {
        let response = respond(request);
        async move { response }
    }))
    .await
}

async fn run(url: &str, change: impl FnOnce(&mut HttpConfig)) -> ProbeOutcome {
    run_within(PLENTY, url, change).await
}

async fn run_within(allowed: Duration, url: &str, change: impl FnOnce(&mut HttpConfig)) -> ProbeOutcome {
    let mut config = HttpConfig::new(Url::parse(url).unwrap());
    change(&mut config);
    let outcome = probe_within(&HttpProber::new(config, clock()).unwrap(), allowed).await;
    assert_well_formed(&outcome, METADATA);
    let success = value(&outcome, "probe_success", &[]);
    assert_eq!(success, Some(f64::from(u8::from(outcome.result.is_ok()))));
    for phase in ["resolve", "connect", "tls", "processing", "transfer"] {
        assert!(value(&outcome, "probe_http_duration_seconds", &[("phase", phase)]).is_some(), "{phase}");
    }
    outcome
}

fn assert_values(outcome: &ProbeOutcome, expected: &[(&str, f64)]) {
    for (name, expected) in expected {
        assert_eq!(
            value(outcome, name, &[]),
            Some(*expected),
            "{name}: {:?} {:?}",
            outcome.result,
            outcome.log
        );
    }
}

fn header_match((name, pattern): (&'static str, &str)) -> HeaderMatch {
    let (name, pattern) = (HeaderName::from_static(name), Pattern::new(pattern).unwrap());
    HeaderMatch { name, pattern, allow_missing: false }
}

fn kind(outcome: &ProbeOutcome) -> &'static str {
    outcome.result.as_ref().expect_err("the probe should fail").kind
}

fn phase(outcome: &ProbeOutcome, phase: &str) -> f64 {
    value(outcome, "probe_http_duration_seconds", &[("phase", phase)]).unwrap()
}

#[tokio::test]
async fn an_answer_is_described_in_blackbox_exporters_metrics() {
    let address = serve_all(|_| ([("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], "hello")).await;
    let outcome = run(&format!("http://{address}/"), |_| {}).await;
    assert_eq!(outcome.result, Ok(()));
    assert_values(
        &outcome,
        &[
            ("probe_http_status_code", 200.0),
            ("probe_http_content_length", 5.0),
            ("probe_http_uncompressed_body_length", 5.0),
            ("probe_http_redirects", 0.0),
            ("probe_http_ssl", 0.0),
            ("probe_http_version", 1.1),
            ("probe_failed_due_to_regex", 0.0),
            ("probe_http_last_modified_timestamp_seconds", 784_111_777.0),
            ("probe_ip_protocol", 4.0),
            ("probe_ip_addr_hash", f64::from(0xdaaf_40ed_u32)),
        ],
    );
    assert_eq!(value(&outcome, "probe_ssl_earliest_cert_expiry", &[]), None);
    let phases: f64 =
        ["resolve", "connect", "processing", "transfer"].map(|name| phase(&outcome, name)).iter().sum();
    assert!(phases > 0.0 && phases <= value(&outcome, "probe_duration_seconds", &[]).unwrap());
    assert_eq!(phase(&outcome, "tls"), 0.0);
}

#[tokio::test]
async fn the_status_decides() {
    for (status, valid, expected) in [
        (200_u16, vec![], true),
        (404, vec![], false),
        (404, vec![400..=499], true),
        (500, vec![404..=404], false),
    ] {
        let address = serve_all(move |_| StatusCode::from_u16(status).unwrap()).await;
        let outcome = run(&format!("http://{address}/"), |config| config.valid_status_codes = valid).await;
        assert_eq!(outcome.result.is_ok(), expected, "{status}");
        assert_values(&outcome, &[("probe_http_status_code", f64::from(status))]);
        if !expected {
            assert_eq!(kind(&outcome), "status");
        }
    }
}

#[tokio::test]
async fn lengths_are_of_what_was_sent_and_of_what_was_read() {
    let text = "hello world".repeat(10);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    let zipped = encoder.finish().unwrap();
    let (sent, plain) = (zipped.len() as f64, text.len() as f64);
    let (zipped_body, text_body) = (zipped.clone(), text.clone());
    let router = Router::new()
        .route("/plain", get(async move || text_body))
        .route("/gzip", get(async move || ([("content-encoding", "gzip")], zipped_body)))
        .route("/unknown", get(async || ([("content-encoding", "xxx")], "hello")))
        .route(
            "/stream",
            get(async || {
                let pieces = ["hello ", "world"].map(Ok::<_, std::convert::Infallible>);
                Body::from_stream(futures_util::stream::iter(pieces))
            }),
        );
    let address = serve(router).await;
    let check = async |path: &str, compression, content_length: f64, body: f64, ok: bool| {
        let outcome =
            run(&format!("http://{address}{path}"), |config| config.compression = compression).await;
        assert_eq!(outcome.result.is_ok(), ok, "{path} {:?}", outcome.result);
        assert_values(
            &outcome,
            &[("probe_http_content_length", content_length), ("probe_http_uncompressed_body_length", body)],
        );
    };
    check("/plain", Compression::AsSent, plain, plain, true).await;
    check("/gzip", Compression::AsSent, sent, sent, true).await;
    check("/gzip", Compression::Gzip, sent, plain, true).await;
    check("/unknown", Compression::AsSent, 5.0, 5.0, true).await;
    check("/unknown", Compression::Gzip, 5.0, 0.0, false).await;
    check("/stream", Compression::AsSent, -1.0, 11.0, true).await;
}

#[tokio::test]
async fn a_body_over_the_limit_fails_and_is_not_read_on() {
    let address = serve_all(|_| "A".repeat(129)).await;
    for (limit, read, ok) in [(128, 128.0, false), (129, 129.0, true)] {
        let outcome = run(&format!("http://{address}/"), |config| config.body_size_limit_bytes = limit).await;
        assert_eq!(outcome.result.is_ok(), ok);
        let lengths = [("probe_http_content_length", 129.0), ("probe_http_uncompressed_body_length", read)];
        assert_values(&outcome, &lengths);
        if !ok {
            assert_eq!(kind(&outcome), "body");
        }
    }
}

#[tokio::test]
async fn patterns_for_the_body_decide_and_lengths_stay_right() {
    let address = serve_all(|_| "could not connect to database").await;
    for (forbidden, required, ok) in
        [("database", "", false), ("nothing", "", true), ("", "database", true), ("", "nothing", false)]
    {
        let patterns = |text: &str| if text.is_empty() { vec![] } else { vec![Pattern::new(text).unwrap()] };
        let outcome = run(&format!("http://{address}/"), |config| {
            config.fail_if_body_matches = patterns(forbidden);
            config.fail_if_body_not_matches = patterns(required);
        })
        .await;
        assert_eq!(outcome.result.is_ok(), ok);
        assert_values(
            &outcome,
            &[
                ("probe_failed_due_to_regex", f64::from(u8::from(!ok))),
                ("probe_http_content_length", 29.0),
                ("probe_http_uncompressed_body_length", 29.0),
            ],
        );
    }
}

#[tokio::test]
async fn a_head_request_reports_the_length_it_is_told() {
    let address = serve_all(|_| "hello").await;
    let outcome = run(&format!("http://{address}/"), |config| config.method = Method::HEAD).await;
    assert_eq!(outcome.result, Ok(()));
    let lengths = [("probe_http_content_length", 5.0), ("probe_http_uncompressed_body_length", 0.0)];
    assert_values(&outcome, &lengths);
}

#[tokio::test]
async fn redirects_are_followed_ten_times() {
    let next = |request: Request| -> Response {
        let number: u32 = request.uri().path().trim_start_matches("/redirect-").parse().unwrap_or(0);
        match number {
            12.. => StatusCode::TOO_MANY_REQUESTS.into_response(),
            _ => Redirect::temporary(&format!("/redirect-{}", number + 1)).into_response(),
        }
    };
    let address = serve_all(next).await;
    let outcome = run(&format!("http://{address}/"), |_| {}).await;
    assert_eq!(kind(&outcome), "status");
    assert_values(&outcome, &[("probe_http_redirects", 11.0), ("probe_http_status_code", 307.0)]);
    let outcome = run(&format!("http://{address}/redirect-12"), |config| {
        config.valid_status_codes = vec![429..=429];
    })
    .await;
    assert_eq!(outcome.result, Ok(()));
}

#[tokio::test]
async fn a_redirect_that_loops_ends() {
    let address = serve_all(|_| Redirect::to("/again")).await;
    let outcome = run(&format!("http://{address}/"), |_| {}).await;
    assert_values(&outcome, &[("probe_http_redirects", 11.0), ("probe_http_status_code", 303.0)]);
}

#[tokio::test]
async fn a_redirect_that_is_not_followed_is_the_answer() {
    let address = serve_all(|_| Redirect::to("/away")).await;
    let outcome = run(&format!("http://{address}/"), |config| {
        config.follow_redirects = false;
        config.valid_status_codes = vec![303..=303];
    })
    .await;
    assert_eq!(outcome.result, Ok(()));
    assert_values(&outcome, &[("probe_http_redirects", 1.0), ("probe_http_status_code", 303.0)]);
}

#[tokio::test]
async fn phases_are_summed_over_hops_and_a_redirect_to_nowhere_fails() {
    let router = Router::new()
        .route("/", get(async || Redirect::to("/b")))
        .route("/b", get(async || "b"))
        .route("/dead", get(async || Redirect::to("http://127.0.0.1:1/")))
        .route("/file", get(async || (StatusCode::FOUND, [("location", "file:///etc/passwd")])));
    let address = serve(router).await;
    let outcome = run(&format!("http://{address}/"), |_| {}).await;
    assert_eq!(outcome.result, Ok(()));
    assert_values(&outcome, &[("probe_http_redirects", 1.0), ("probe_http_content_length", 1.0)]);
    let outcome = run(&format!("http://{address}/dead"), |_| {}).await;
    assert_eq!(kind(&outcome), "connect");
    assert_values(&outcome, &[("probe_http_redirects", 1.0), ("probe_http_status_code", 0.0)]);
    let outcome = run(&format!("http://{address}/file"), |_| {}).await;
    assert_eq!(kind(&outcome), "redirect");
}

#[tokio::test]
async fn method_headers_body_and_credentials_reach_the_target() {
    let echo = Router::new().fallback(async |request: Request| {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1000).await.unwrap();
        let header =
            |name: &str| head.headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
        format!(
            "{} {} {} {} {} {}",
            head.method,
            header("host"),
            header("authorization"),
            header("x-token"),
            header("user-agent"),
            String::from_utf8_lossy(&body)
        )
    });
    let address = serve(echo).await;
    let check = async |change: fn(&mut HttpConfig), expected: &str| {
        let outcome = run(&format!("http://{address}/"), |config| {
            change(config);
            config.fail_if_body_not_matches = vec![Pattern::new(&format!("^{expected}$")).unwrap()];
        })
        .await;
        assert_eq!(outcome.result, Ok(()));
    };
    check(
        |config| {
            config.method = Method::POST;
            config.body = "hello".into();
            config.headers.insert("x-token", HeaderValue::from_static("t"));
            config.headers.insert(header::USER_AGENT, HeaderValue::from_static("me"));
            config.headers.insert(header::HOST, HeaderValue::from_static("b.example"));
            config.credentials = Some(
                HttpAuth::Basic {
                    username: SecretSource::Value(Secret::new("user")),
                    password: SecretSource::Value(Secret::new("pass")),
                }
                .into(),
            );
        },
        "POST b.example Basic dXNlcjpwYXNz t me hello",
    )
    .await;
    check(
        |config| {
            config.credentials = Some(HttpAuth::Bearer(SecretSource::Value(Secret::new("token"))).into());
        },
        r"GET 127\.0\.0\.1:\d+ Bearer token - valmis/[0-9.]+ ",
    )
    .await;
}

#[tokio::test]
async fn secrets_do_not_follow_a_redirect_to_another_origin() {
    let other = serve_all(|request: Request| {
        let names = ["authorization", "x-token", "cookie"];
        let leaked = names.iter().any(|name| request.headers().contains_key(*name));
        if leaked { StatusCode::IM_A_TEAPOT } else { StatusCode::OK }
    })
    .await;
    let address = serve_all(move |request: Request| {
        let told =
            request.headers().contains_key("authorization") && request.headers().contains_key("x-token");
        assert!(told);
        let cookie = [("set-cookie", "session=1; Path=/".to_owned())];
        (cookie, Redirect::temporary(&format!("http://localhost:{}/", other.port())))
    })
    .await;
    let outcome = run(&format!("http://{address}/"), |config| {
        config.credentials = Some(HttpAuth::Bearer(SecretSource::Value(Secret::new("token"))).into());
        config.headers.insert("x-token", HeaderValue::from_static("t"));
    })
    .await;
    assert_values(&outcome, &[("probe_http_redirects", 1.0), ("probe_http_status_code", 200.0)]);
    assert!(!format!("{outcome:?}").contains("token"), "{outcome:?}");
}

// Blackbox exporter's `TestCookieJar`.
#[tokio::test]
async fn a_cookie_comes_back_after_a_redirect() {
    let address = serve_all(|request: Request| -> Response {
        let cookie = request.headers().get("cookie").cloned();
        match cookie {
            Some(cookie) if cookie == "SESSION=OK" => StatusCode::OK.into_response(),
            _ => ([("set-cookie", "SESSION=OK; Path=/")], Redirect::to("/noredirect")).into_response(),
        }
    })
    .await;
    let outcome = run(&format!("http://{address}/"), |_| {}).await;
    assert_eq!(outcome.result, Ok(()));
    assert_values(&outcome, &[("probe_http_redirects", 1.0)]);
}

#[tokio::test]
async fn a_plain_answer_fails_where_tls_is_demanded() {
    let address = serve_all(|_| "ok").await;
    let outcome = run(&format!("http://{address}/"), |config| config.fail_if_not_ssl = true).await;
    assert_eq!(kind(&outcome), "ssl");
    assert_values(&outcome, &[("probe_http_ssl", 0.0), ("probe_http_status_code", 200.0)]);
    // Settings for TLS do not matter to plain HTTP: blackbox exporter's `TestTLSConfigIsIgnoredForPlainHTTP`.
    let outcome = run(&format!("http://{address}/"), |config| {
        config.fail_if_ssl = true;
        config.tls.ca = Some(SecretSource::File("/nowhere".into()));
    })
    .await;
    assert_eq!(outcome.result, Ok(()));
}

#[tokio::test]
async fn a_server_that_never_answers_costs_no_more_than_the_deadline() {
    let address = listen(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let started = Instant::now();
    let outcome = run_within(Duration::from_millis(300), &format!("http://{address}/"), |_| {}).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    let failure = outcome.result.clone().unwrap_err();
    assert_eq!(failure.kind, "timeout");
    assert!(failure.reason.contains("while waiting for the answer"), "{failure:?}");
    assert!(phase(&outcome, "connect") > 0.0);
    assert_values(
        &outcome,
        &[
            ("probe_http_status_code", 0.0),
            ("probe_http_version", 0.0),
            ("probe_http_content_length", 0.0),
            ("probe_ip_protocol", 4.0),
        ],
    );
    assert!(value(&outcome, "probe_duration_seconds", &[]).unwrap() >= 0.3);
}

#[tokio::test]
async fn a_body_that_never_ends_keeps_the_facts_of_its_head() {
    let address = listen(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let outcome = run_within(Duration::from_millis(300), &format!("http://{address}/"), |_| {}).await;
    let failure = outcome.result.clone().unwrap_err();
    assert!(failure.kind == "timeout" && failure.reason.contains("while reading the body"), "{failure:?}");
    assert_values(
        &outcome,
        &[
            ("probe_http_status_code", 200.0),
            ("probe_http_content_length", 10.0),
            ("probe_http_uncompressed_body_length", 5.0),
        ],
    );
}

#[tokio::test]
async fn answers_that_are_not_http_fail() {
    for (response, expected) in [
        ("", "http"),
        ("garbage\r\n\r\n", "http"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", "body"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "body"),
    ] {
        let address = listen(move |mut stream| async move {
            read_head(&mut stream).await;
            answer(&mut stream, response).await;
        })
        .await;
        let outcome = run(&format!("http://{address}/"), |_| {}).await;
        assert_eq!(kind(&outcome), expected, "{response:?} {:?}", outcome.result);
    }
}

#[tokio::test]
async fn old_http_and_a_body_that_ends_with_the_connection_are_read() {
    let address = listen(|mut stream| async move {
        read_head(&mut stream).await;
        answer(&mut stream, "HTTP/1.0 200 OK\r\n\r\nhello").await;
    })
    .await;
    let outcome = run(&format!("http://{address}/"), |_| {}).await;
    assert_eq!(outcome.result, Ok(()));
    assert_values(
        &outcome,
        &[
            ("probe_http_version", 1.0),
            ("probe_http_content_length", -1.0),
            ("probe_http_uncompressed_body_length", 5.0),
        ],
    );
}

#[tokio::test]
async fn headers_in_obsolete_forms_are_read() {
    let address = listen(|mut stream| async move {
        read_head(&mut stream).await;
        answer(&mut stream, "HTTP/1.1 200 OK\r\nx-long: one,\r\n  two\r\nx-odd : three\r\n\r\nhello").await;
    })
    .await;
    let outcome = run(&format!("http://{address}/"), |config| {
        let expected = [("x-long", r"^one,\s+two$"), ("x-odd", "^three$")];
        config.fail_if_header_not_matches = expected.map(header_match).to_vec();
    })
    .await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
}

#[tokio::test]
async fn a_host_without_a_server_or_address_fails_with_all_metrics_present() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let outcome = run(&format!("http://{closed}/"), |_| {}).await;
    assert_eq!(kind(&outcome), "connect");
    assert_values(&outcome, &[("probe_http_status_code", 0.0), ("probe_ip_protocol", 4.0)]);
    let outcome = run("http://name.invalid/", |_| {}).await;
    assert_eq!(kind(&outcome), "resolve");
    assert_values(&outcome, &[("probe_http_status_code", 0.0), ("probe_ip_protocol", 0.0)]);
}

#[tokio::test]
async fn the_other_protocol_is_tried_where_the_preferred_one_has_no_server() {
    let address = serve_all(|_| "ok").await;
    let url = format!("http://localhost:{}/", address.port());
    let outcome = run(&url, |config| {
        config.addresses = AddressPolicy::default();
    })
    .await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    assert_values(&outcome, &[("probe_ip_protocol", 4.0)]);
    let outcome = run(&url, |config| {
        config.addresses = AddressPolicy { fallback: false, ..AddressPolicy::default() };
    })
    .await;
    assert!(outcome.result.is_err(), "{:?}", outcome.log);
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let address = serve_all(|_| {
        let mut headers = HeaderMap::new();
        for index in 0..200 {
            headers.append("x-many", HeaderValue::from(index));
        }
        headers
    })
    .await;
    let outcome = run(&format!("http://{address}/"), |_| {}).await;
    assert_eq!(kind(&outcome), "http");
}
