//! What an HTTP probe does beyond asking one server in HTTP/1.1: HTTP/2, proxies, tokens, secrets in
//! files, versions of TLS.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http_body_util::Full;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsAcceptor;
use url::Url;
use valmis::client::{Header, HttpAuth, SecretSource};
use valmis::model::Secret;
use valmis::probe::http::{
    AssertionConfig, Credentials, Grant, HttpConfig, HttpProber, METADATA, OAuth2Config, Protocol,
    ProxyConfig, ProxyServer, SigningAlgorithm, Version,
};
use valmis::probe::tls::{TlsConfig, TlsVersions};
use valmis::probe::{Pattern, ProbeOutcome, Reach};

use crate::real::{eventually, serve};
use crate::servers::{
    Authority, answer, assert_well_formed, clock, listen, params, probe, probe_within, read_head, value,
    write,
};

fn secret(text: &str) -> SecretSource {
    SecretSource::Value(Secret::new(text))
}

fn config(url: &str, change: impl FnOnce(&mut HttpConfig)) -> HttpConfig {
    let mut config = HttpConfig::new(Url::parse(url).unwrap());
    change(&mut config);
    config
}

async fn run(url: &str, change: impl FnOnce(&mut HttpConfig)) -> ProbeOutcome {
    let outcome = probe(&HttpProber::new(config(url, change), clock()).unwrap()).await;
    assert_well_formed(&outcome, METADATA);
    outcome
}

/// A server of TLS for `localhost` that speaks HTTP/2 and HTTP/1.1 and tells what it was asked.
struct TlsServer {
    address: SocketAddr,
    ca: String,
}

impl TlsServer {
    async fn start(alpn: &[&str]) -> Self {
        let authority = Authority::root("root", 2030);
        let mut config = authority.sign(&params("localhost", &["localhost"])).server_config();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let address = listen(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let tell = service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
                    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
                    let host = host.or_else(|| request.uri().authority().map(ToString::to_string));
                    let told = format!("{} {}", request.uri().path(), host.unwrap_or_default());
                    Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from(told))))
                });
                // A client that goes away without a word is how a probe ends.
                let _ = if is_http2 {
                    http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), tell)
                        .await
                } else {
                    http1::Builder::new().serve_connection(TokioIo::new(stream), tell).await
                };
            }
        })
        .await;
        Self { address, ca: authority.pem }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/path", self.address.port())
    }

    fn trust(&self, config: &mut HttpConfig) {
        config.tls.ca = Some(secret(&self.ca));
    }
}

fn expect_body(config: &mut HttpConfig, pattern: &str) {
    config.fail_if_body_not_matches = vec![Pattern::new(pattern).unwrap()];
}

#[tokio::test]
async fn http2_is_spoken_where_both_sides_agree_to_it() {
    for (server, protocol, version) in [
        (&["h2", "http/1.1"][..], Protocol::Http2, 2.0),
        (&["h2", "http/1.1"], Protocol::Http1, 1.1),
        (&["http/1.1"], Protocol::Http2, 1.1),
        (&[], Protocol::Http2, 1.1),
    ] {
        let server = TlsServer::start(server).await;
        let outcome = run(&server.url(), |config| {
            server.trust(config);
            config.protocol = protocol;
            expect_body(config, &format!("^/path localhost:{}$", server.address.port()));
        })
        .await;
        assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
        assert_eq!(value(&outcome, "probe_http_version", &[]), Some(version));
        assert_eq!(value(&outcome, "probe_http_ssl", &[]), Some(1.0));
        let valid = run(&server.url(), |config| {
            server.trust(config);
            config.protocol = protocol;
            config.valid_http_versions = vec![Version::HTTP_2];
        })
        .await;
        assert_eq!(
            valid.result.map_err(|failure| failure.kind),
            if version == 2.0 { Ok(()) } else { Err("version") }
        );
    }
}

#[tokio::test]
async fn a_configured_host_is_the_authority_of_http2() {
    let server = TlsServer::start(&["h2"]).await;
    let outcome = run(&server.url(), |config| {
        server.trust(config);
        config.headers.insert("host", HeaderValue::from_static("app.example"));
        config.tls.server_name = Some("localhost".to_owned());
        expect_body(config, "^/path app.example$");
    })
    .await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
}

#[tokio::test]
async fn versions_of_tls_are_kept_to() {
    let server = TlsServer::start(&[]).await;
    for (min, max, version) in
        [(None, None, "TLS 1.3"), (None, Some("TLS12"), "TLS 1.2"), (Some("TLS13"), None, "TLS 1.3")]
    {
        let outcome = run(&server.url(), |config| {
            server.trust(config);
            config.tls.versions = TlsVersions::parse(min, max).unwrap();
        })
        .await;
        assert_eq!(value(&outcome, "probe_tls_version_info", &[("version", version)]), Some(1.0));
    }
}

#[tokio::test]
async fn a_server_that_just_closes_has_ended_its_body_unless_it_said_more() {
    use tokio::io::AsyncWriteExt;
    let authority = Authority::root("root", 2030);
    let identity = authority.sign(&params("localhost", &["localhost"]));
    let acceptor = TlsAcceptor::from(Arc::new(identity.server_config()));
    let check = async |response: &'static str, below_tls: &'static [u8], expected: Result<(), &str>| {
        let acceptor = acceptor.clone();
        let address = listen(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                read_head(&mut stream).await;
                stream.write_all(response.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                stream.get_mut().0.write_all(below_tls).await.unwrap();
            }
        })
        .await;
        let outcome = run(&format!("https://localhost:{}/", address.port()), |config| {
            config.tls.ca = Some(secret(&authority.pem));
            expect_body(config, "^hello$");
        })
        .await;
        let found = outcome.result.map_err(|failure| failure.kind);
        assert_eq!(found, expected, "{response} {below_tls:?}: {:?}", outcome.log);
    };
    check("HTTP/1.0 200 OK\r\n\r\nhello", &[], Ok(())).await;
    check("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello", &[], Ok(())).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello", &[], Err("body")).await;
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", &[], Err("body")).await;
    // Within a record: something is missing.
    check("HTTP/1.0 200 OK\r\n\r\nhello", &[23, 3, 3, 1, 0, 7], Err("body")).await;
}

/// A proxy that notes what it is asked and, if asked for a tunnel, connects to `target` wherever it is
/// asked to.
async fn start_proxy(target: SocketAddr, log: Arc<std::sync::Mutex<Vec<String>>>) -> SocketAddr {
    listen(move |mut stream| {
        let log = log.clone();
        async move {
            let head = read_head(&mut stream).await;
            log.lock().unwrap().push(head.clone());
            if !head.contains("Basic dTpw") {
                return answer(&mut stream, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
            }
            if !head.starts_with("CONNECT ") {
                return answer(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nby proxy!").await;
            }
            let mut behind = tokio::net::TcpStream::connect(target).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            // Either side may go first.
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_proxy_is_asked_for_plain_answers_and_for_tunnels() {
    let server = TlsServer::start(&["h2", "http/1.1"]).await;
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let proxy = start_proxy(server.address, log.clone()).await;
    let through =
        |user: &str| ProxyConfig::through(ProxyServer::parse(&format!("http://{user}{proxy}")).unwrap(), "");
    let last = || log.lock().unwrap().last().unwrap().clone();

    let outcome = run("http://name.invalid/x?y=1", |config| {
        config.proxy = ProxyConfig { skip_resolve_phase: true, ..through("u:p@") };
        expect_body(config, "by proxy!");
    })
    .await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    assert!(last().starts_with("GET http://name.invalid/x?y=1 HTTP/1.1\r\n"), "{}", last());
    assert!(last().contains("Host: name.invalid\r\n"), "{}", last());

    for (skip, asked) in [(true, "localhost"), (false, "127.0.0.1")] {
        let header = HeaderName::from_static("x-secret");
        let outcome = run(&server.url(), |config| {
            server.trust(config);
            config.proxy = ProxyConfig { skip_resolve_phase: skip, ..through("u:p@") };
            config.proxy.connect_headers = vec![Header { name: header, value: secret("hunter2") }];
            config.addresses.preferred = valmis::probe::IpProtocol::Ip4;
        })
        .await;
        assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
        assert_eq!(value(&outcome, "probe_http_version", &[]), Some(2.0));
        let port = server.address.port();
        assert!(last().starts_with(&format!("CONNECT {asked}:{port} HTTP/1.1\r\n")), "{}", last());
        assert!(last().contains("x-secret: hunter2"), "{}", last());
        assert!(!format!("{outcome:?}").contains("hunter2"));
    }

    let outcome = run(&server.url(), |config| config.proxy = through("")).await;
    let failure = outcome.result.unwrap_err();
    assert!(failure.unknown && failure.reason.contains("status 407"), "{failure:?}");
    let asked = log.lock().unwrap().len();
    let outcome = run(&server.url(), |config| {
        server.trust(config);
        config.proxy =
            ProxyConfig::through(ProxyServer::parse(&format!("http://{proxy}")).unwrap(), "localhost");
    })
    .await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    assert_eq!(log.lock().unwrap().len(), asked, "it was asked directly");
}

#[tokio::test]
async fn a_token_is_fetched_used_and_kept_until_its_secret_changes() {
    let fetched = Arc::new(AtomicUsize::new(0));
    let counter = fetched.clone();
    let tokens = serve(Router::new().fallback(move |request: Request| {
        let counter = counter.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1000).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let respond = |status: u16, text: String| {
                Response::builder().status(status).body(Body::from(text)).unwrap()
            };
            // This one wants the secret in the form, as some do.
            if head.headers.contains_key("authorization") {
                return respond(401, r#"{"error":"invalid_client"}"#.to_owned());
            }
            let expected =
                "grant_type=client_credentials&scope=read+write&audience=x&client_id=me&client_secret=";
            assert!(body.starts_with(expected), "{body}");
            if body.ends_with("wrong") {
                return respond(400, r#"{"error":"invalid_client"}"#.to_owned());
            }
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            respond(200, format!(r#"{{"access_token":"t{number}","token_type":"bearer","expires_in":3600}}"#))
        }
    }))
    .await;
    let target = serve(Router::new().fallback(async |request: Request| {
        request
            .headers()
            .get("authorization")
            .map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    }))
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "secret", "one\n");
    let prober = |expected: &str| {
        let client = OAuth2Config {
            client_id: "me".to_owned(),
            grant: Grant::ClientSecret(SecretSource::File(file.clone())),
            token_url: Url::parse(&format!("http://{tokens}/token")).unwrap(),
            scopes: vec!["read".to_owned(), "write".to_owned()],
            endpoint_params: vec![("audience".to_owned(), Secret::new("x"))],
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
        };
        let config = config(&format!("http://{target}/"), |config| {
            config.credentials = Some(Credentials::OAuth2(Box::new(client)));
            expect_body(config, expected);
        });
        HttpProber::new(config, clock()).unwrap()
    };
    let one = prober("^Bearer t1$");
    for _ in 0..2 {
        let outcome = probe(&one).await;
        assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    }
    assert_eq!(fetched.load(Ordering::SeqCst), 1, "a token is kept");
    std::fs::write(&file, "two").unwrap();
    assert_eq!(probe(&one).await.result.unwrap_err().kind, "body", "another secret, another token");
    assert_eq!(fetched.load(Ordering::SeqCst), 2);
    std::fs::write(&file, "wrong").unwrap();
    let failure = probe(&one).await.result.unwrap_err();
    assert!(
        failure.unknown && failure.kind == "oauth2" && failure.reason.contains("status 400"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_token_that_the_target_refuses_is_replaced_once_and_one_without_end_is_not_kept() {
    let given = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::new(AtomicUsize::new(1));
    for (lifetime, expected) in [(r#","expires_in":"3600.5""#, [1, 1, 2, 3]), ("", [1, 2, 3, 4])] {
        given.store(0, Ordering::SeqCst);
        let counter = given.clone();
        let tokens = serve(Router::new().fallback(move |_: Request| {
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            async move { format!(r#"{{"access_token":"t{number}"{lifetime}}}"#) }
        }))
        .await;
        let least = accepted.clone();
        let target = serve(Router::new().fallback(move |request: Request| {
            let token = request.headers()["authorization"].to_str().unwrap().strip_prefix("Bearer t");
            let number: usize = token.unwrap().parse().unwrap();
            let status = if number < least.load(Ordering::SeqCst) { 401 } else { 200 };
            async move { Response::builder().status(status).body(Body::empty()).unwrap() }
        }))
        .await;
        let client = OAuth2Config {
            client_id: "me".to_owned(),
            grant: Grant::ClientSecret(secret("hunter2")),
            token_url: Url::parse(&format!("http://{tokens}/token")).unwrap(),
            scopes: Vec::new(),
            endpoint_params: Vec::new(),
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
        };
        let config = config(&format!("http://{target}/"), |config| {
            config.credentials = Some(Credentials::OAuth2(Box::new(client)));
        });
        let prober = HttpProber::new(config, clock()).unwrap();
        // Which tokens are accepted, and whether one will be.
        for ((least, good), expected) in
            [(1, true), (1, true), (2, true), (9, false)].into_iter().zip(expected)
        {
            accepted.store(least, Ordering::SeqCst);
            let outcome = probe(&prober).await;
            assert_eq!(
                outcome.result.is_ok(),
                good,
                "{lifetime} {least}: {:?} {:?}",
                outcome.result,
                outcome.log
            );
            assert_eq!(given.load(Ordering::SeqCst), expected, "{lifetime} {least}: {:?}", outcome.log);
        }
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_no_name_that_leads_out_of_reach() {
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let proxy = start_proxy("127.0.0.1:1".parse().unwrap(), log.clone()).await;
    let reach = Reach { private: true, loopback: false, link_local: false, special: false };
    let check = async |host: &'static str, reach: Reach, skip: bool, expected: Result<(), &str>| {
        log.lock().unwrap().clear();
        let outcome = run("http://10.1.2.3/", |config| {
            let server = ProxyServer::parse(&format!("http://u:p@{proxy}")).unwrap();
            config.proxy = ProxyConfig { skip_resolve_phase: skip, ..ProxyConfig::through(server, "") };
            config.addresses.reach = reach;
            config.headers.insert("host", HeaderValue::from_static(host));
        })
        .await;
        let found = outcome.result.map_err(|failure| failure.kind);
        assert_eq!(found, expected, "{host} {skip}: {:?}", outcome.log);
        assert_eq!(log.lock().unwrap().len(), usize::from(expected.is_ok()), "{host}");
    };
    for host in ["169.254.169.254", "2852039166", "[::1]:8080", "x@127.0.0.1", "127.1:80"] {
        check(host, reach, false, Err("forbidden")).await;
        check(host, reach, true, Err("forbidden")).await;
    }
    check("localhost", reach, false, Err("forbidden")).await;
    // The proxy is to judge by names, and who has configured it may ask for anything.
    check("localhost", reach, true, Ok(())).await;
    check("localhost", Reach::ANYWHERE, false, Ok(())).await;
    check("10.9.8.7", reach, false, Ok(())).await;
}

#[tokio::test]
async fn a_token_is_given_for_an_assertion_that_the_client_signs() {
    let tokens = serve(Router::new().fallback(async |request: Request| {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 10_000).await.unwrap();
        let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
        assert!(!head.headers.contains_key("authorization") && !form.contains_key("client_secret"));
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        assert_eq!(form["scope"], "read");
        let claims = form["assertion"].split('.').nth(1).unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        format!(r#"{{"access_token":"for {}","token_type":"Bearer"}}"#, claims["iss"].as_str().unwrap())
    }))
    .await;
    let target = serve(
        Router::new()
            .fallback(async |headers: HeaderMap| headers["authorization"].to_str().unwrap().to_owned()),
    )
    .await;
    let ask = async |key: String, expected: &str| {
        let terms = AssertionConfig {
            key: secret(&key),
            key_id: None,
            algorithm: SigningAlgorithm::Rs512,
            issuer: Some("me".to_owned()),
            audience: None,
            claims: serde_json::Map::new(),
        };
        let client = OAuth2Config {
            client_id: "client".to_owned(),
            grant: Grant::Assertion(Box::new(terms)),
            token_url: Url::parse(&format!("http://{tokens}/token")).unwrap(),
            scopes: vec!["read".to_owned()],
            endpoint_params: Vec::new(),
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
        };
        run(&format!("http://{target}/"), |config| {
            config.credentials = Some(Credentials::OAuth2(Box::new(client)));
            expect_body(config, expected);
        })
        .await
    };
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let outcome = ask(key.serialize_pem(), "^Bearer for me$").await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    let failure = ask("hunter2".to_owned(), "").await.result.unwrap_err();
    assert!(
        failure.unknown && failure.kind == "oauth2" && !failure.reason.contains("hunter2"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn headers_come_from_files_that_are_read_anew() {
    let target = serve(Router::new().fallback(async |request: Request| {
        let values = request.headers().get_all("x-key");
        values.iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(",")
    }))
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "key", "hunter2\n");
    let name = HeaderName::from_static("x-key");
    for text in ["hunter2", "hunter3"] {
        std::fs::write(&file, text).unwrap();
        let outcome = run(&format!("http://{target}/"), |config| {
            config.secret_headers = vec![
                Header { name: name.clone(), value: secret("inline") },
                Header { name: name.clone(), value: SecretSource::File(file.clone()) },
            ];
            expect_body(config, &format!("^inline,{text}$"));
        })
        .await;
        assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
        assert!(!format!("{outcome:?}").contains("hunter"), "{outcome:?}");
    }
    std::fs::remove_file(&file).unwrap();
    let outcome = run(&format!("http://{target}/"), |config| {
        config.secret_headers = vec![Header { name: name.clone(), value: SecretSource::File(file.clone()) }];
    })
    .await;
    assert!(outcome.result.unwrap_err().unknown);
}

/// How many times this process has the file open.
fn times_open(path: &std::path::Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|file| std::fs::read_link(file.as_ref().unwrap().path()).is_ok_and(|to| to == path)).count()
}

#[tokio::test]
async fn a_secret_on_a_file_system_that_hangs_makes_the_answer_unknown_and_takes_one_thread() {
    let address = listen(async |mut stream| {
        read_head(&mut stream).await;
        answer(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    // Who opens a named pipe hangs until somebody writes to it.
    let file = folder.path().join("token");
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let config = config(&format!("http://{address}/"), |config| {
        config.credentials = Some(HttpAuth::Bearer(SecretSource::File(file.clone())).into());
    });
    let prober = HttpProber::new(config, clock()).unwrap();
    for _ in 0..10 {
        let outcome = probe_within(&prober, std::time::Duration::from_millis(20)).await;
        assert_well_formed(&outcome, METADATA);
        let failure = outcome.result.unwrap_err();
        assert!(failure.unknown && failure.kind == "timeout", "{failure:?}");
        assert!(failure.reason.ends_with("while reading the credentials"), "{failure:?}");
    }
    let writer = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    let both = async || match times_open(&file) {
        0 | 1 => Err("who waited is not there yet".to_owned()),
        count => Ok(count),
    };
    assert_eq!(eventually("the reader", both).await, 2, "one waited for this one");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "t0ken").unwrap();
    drop(writer);
    assert_eq!(probe(&prober).await.result, Ok(()));
}
