//! Jobs against real servers.

use std::fs;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::client::{HttpAuth, SecretSource, TlsConfig};
use crate::clock::SystemClock;
use crate::exposition::{Format, Metadata, MetricType};
use crate::model::Secret;
use crate::scrape::Health;
use crate::scrape::testing::TestStore;

/// A server that gives every request the same reply, which can be changed.
struct Server {
    address: SocketAddr,
    shared: Arc<Mutex<Script>>,
}

/// The reply, byte by byte (`None`: never), and the heads of the requests so far.
struct Script {
    reply: Option<Vec<u8>>,
    requests: Vec<String>,
}

impl Server {
    async fn start(reply: Option<Vec<u8>>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Script { reply, requests: Vec::new() }));
        let script = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, tls) = (script.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, script).await,
                        // A client that does not trust us ends the handshake.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, script).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, shared }
    }

    async fn text(page: &str) -> Self {
        Self::start(Some(reply("200 OK", "text/plain; version=0.0.4", page.as_bytes(), "")), None).await
    }

    fn set_page(&self, page: &str) {
        let reply = reply("200 OK", "text/plain; version=0.0.4", page.as_bytes(), "");
        self.shared.lock().unwrap().reply = Some(reply);
    }

    fn last_request(&self) -> String {
        self.shared.lock().unwrap().requests.last().cloned().unwrap_or_default()
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Arc<Mutex<Script>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let reply = {
        let mut script = script.lock().unwrap();
        script.requests.push(String::from_utf8(head).unwrap());
        script.reply.clone()
    };
    match reply {
        Some(reply) => {
            // The client may have hung up.
            let _ = stream.write_all(&reply).await;
            let _ = stream.shutdown().await;
        }
        None => std::future::pending().await,
    }
}

fn reply(status: &str, content_type: &str, body: &[u8], headers: &str) -> Vec<u8> {
    let mut reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    reply.extend_from_slice(body);
    reply
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A scraper with a store, and a job `j` with the targets at these addresses.
struct Bench {
    manager: Manager,
    store: Arc<TestStore>,
    metrics: Metrics,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(TestStore::default());
        let metrics = Metrics::register(&mut Registry::default());
        let options = Options { external_host: Some("monitor.example".to_owned()) };
        let manager = Manager::new(store.clone(), Arc::new(SystemClock), metrics.clone(), options);
        Self { manager, store, metrics }
    }

    async fn start(address: SocketAddr, change: impl FnOnce(&mut Config)) -> Self {
        let bench = Self::new();
        let mut job = config(&[address]);
        change(&mut job);
        bench.manager.apply(vec![job]).await.unwrap();
        bench
    }

    /// Waits for the first result of the only target.
    async fn result(&self) -> TargetState {
        self.until("a scrape", || self.manager.targets().iter().all(|t| t.health != Health::Unknown)).await;
        self.manager.targets().remove(0)
    }

    async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            let targets = self.manager.targets();
            assert!(Instant::now() < deadline, "no {what} in time; {:?}; {targets:?}", self.store.dump(""));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The values of the series of this name, without times.
    fn values(&self, name: &str) -> Vec<String> {
        let without_time = |word: &str| word.split('@').next().unwrap_or_default().to_owned();
        let line = |line: String| line.split(' ').map(without_time).collect::<Vec<_>>().join(" ");
        self.store.dump(name).into_iter().map(line).collect()
    }
}

fn config(addresses: &[SocketAddr]) -> Config {
    let mut config = Config::new("j");
    config.targets = vec![TargetGroup::of(addresses.iter().map(ToString::to_string))];
    config.interval = Duration::from_millis(200);
    config.timeout = Duration::from_millis(200);
    config.file_refresh = Duration::from_millis(20);
    config
}

fn slow(config: &mut Config) {
    config.interval = Duration::from_secs(1);
    config.timeout = Duration::from_millis(900);
}

#[tokio::test]
async fn a_page_arrives_in_the_store_with_its_report() {
    let server = Server::text("# HELP a Some.\n# TYPE a counter\na{x=\"1\"} 5\nb 6\n").await;
    let bench = Bench::start(server.address, slow).await;
    let state = bench.result().await;
    assert_eq!((state.health, state.last_error.as_str()), (Health::Up, ""));
    assert_eq!(state.scrape_url, format!("http://{}/metrics", server.address));
    assert_eq!(state.global_url, format!("http://monitor.example:{}/metrics", server.address.port()));
    let expected = Labels::from_pairs([("job", "j"), ("instance", &server.address.to_string())]);
    assert_eq!(state.labels, expected);
    for (name, value) in [
        ("a", r#"a{x="1"} 5"#),
        ("b", "b{} 6"),
        ("up", "up{} 1"),
        ("scrape_samples_scraped", "scrape_samples_scraped{} 2"),
        ("scrape_samples_post", "scrape_samples_post_metric_relabeling{} 2"),
        ("scrape_series_added", "scrape_series_added{} 2"),
    ] {
        assert_eq!(bench.values(name)[0].split(' ').take(2).collect::<Vec<_>>().join(" "), value);
    }
    assert_eq!(bench.store.series("scrape_duration_seconds").len(), 1);
    assert_eq!(bench.store.series("up"), [expected.builder().set("__name__", "up").build()]);
    let families = &bench.manager.metadata()[0].families;
    assert_eq!(families["a"], Metadata::new(MetricType::Counter, "Some."));
    let request = server.last_request().to_ascii_lowercase();
    assert!(request.starts_with("get /metrics http/1.1"), "{request}");
    assert!(request.contains("accept: application/openmetrics-text;version=1.0.0"), "{request}");
    assert!(request.contains("accept-encoding: gzip"), "{request}");
    assert!(request.contains("x-prometheus-scrape-timeout-seconds: 0.9"), "{request}");
    bench.manager.shutdown().await;
}

#[tokio::test]
async fn every_failure_is_told_and_leaves_up_at_zero() {
    async fn check(reply: Option<Vec<u8>>, expected: &str) {
        let server = Server::start(reply, None).await;
        let bench = Bench::start(server.address, |config| {
            slow(config);
            config.body_size_limit = 1_000;
        })
        .await;
        let state = bench.result().await;
        let expected = expected.replace("URL", &format!("\"http://{}/metrics\"", server.address));
        assert_eq!((state.health, state.last_error), (Health::Down, expected));
        assert_eq!(bench.values("up")[0].split(' ').nth(1), Some("0"));
        assert_eq!(bench.values("scrape_samples_scraped")[0].split(' ').nth(1), Some("0"));
        assert_eq!(bench.store.series("a"), []);
        bench.manager.shutdown().await;
    }
    let ok = |body: &[u8], headers| Some(reply("200 OK", "text/plain", body, headers));
    let gzipped = "Content-Encoding: gzip\r\n";
    let error = reply("500 Internal Server Error", "text/plain", b"a 1\n", "");
    let html = reply("200 OK", "text/html", b"a 1\n", "");
    let unfinished = reply("200 OK", "application/openmetrics-text", b"# TYPE a gauge\n", "");
    let too_large = "body size limit exceeded";
    tokio::join!(
        check(Some(error), "server returned HTTP status 500 Internal Server Error"),
        check(None, "Get URL: context deadline exceeded"),
        check(ok(&[b'a'; 1_001], ""), too_large),
        check(ok(&gzip(&vec![b'a'; 500_000]), gzipped), too_large),
        check(ok(b"certainly no gzip", gzipped), "cannot decompress the page: invalid gzip header"),
        check(
            ok(b"<html>\n", ""),
            "cannot read the page: line 1, column 1: expected a metric name, `{` or `#`, found `<`"
        ),
        check(Some(unfinished), "cannot read the page: line 2, column 1: data does not end with # EOF"),
        check(
            Some(html),
            "received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified for target"
        ),
    );
}

#[tokio::test]
async fn a_target_that_refuses_connections_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bench = Bench::start(address, |_| ()).await;
    let state = bench.result().await;
    assert_eq!(state.health, Health::Down);
    assert!(
        state.last_error.starts_with(&format!("Get \"http://{address}/metrics\": ")),
        "{}",
        state.last_error
    );
    assert!(state.last_error.contains("Connection refused"), "{}", state.last_error);
}

#[tokio::test]
async fn compressed_and_open_metrics_pages_are_read() {
    let page = b"# TYPE a counter\na_total 1 # {x=\"y\"} 2\n# EOF\n";
    let headers = "Content-Encoding: gzip\r\n";
    let reply = reply("200 OK", "application/openmetrics-text; version=1.0.0", &gzip(page), headers);
    let server = Server::start(Some(reply), None).await;
    let bench = Bench::start(server.address, slow).await;
    assert_eq!(bench.result().await.last_error, "");
    assert_eq!(bench.values("a_total")[0].split(' ').nth(1), Some("1"));
}

#[tokio::test]
async fn an_empty_page_is_a_good_one() {
    let server = Server::start(Some(reply("200 OK", "text/html", b"", "")), None).await;
    let bench = Bench::start(server.address, slow).await;
    assert_eq!(bench.result().await.health, Health::Up);
}

#[tokio::test]
async fn a_vanished_series_and_a_failed_scrape_leave_markers() {
    let server = Server::text("a 1\nb 1\n").await;
    let bench = Bench::start(server.address, slow).await;
    bench.until("a sample", || !bench.values("b").is_empty()).await;
    server.set_page("a 2\n");
    bench.until("a marker", || bench.values("b")[0].ends_with("1 stale")).await;
    assert!(!bench.values("a")[0].contains("stale"));
    server.set_page("garbage");
    bench.until("a marker", || bench.values("a")[0].ends_with("stale")).await;
    assert!(bench.values("up")[0].ends_with(" 0"));
}

#[tokio::test]
async fn a_removed_target_ends_and_the_others_go_on() {
    let (staying, leaving) = (Server::text("a 1\n").await, Server::text("b 1\n").await);
    let bench = Bench::new();
    bench.manager.apply(vec![config(&[staying.address, leaving.address])]).await.unwrap();
    bench.until("samples", || !bench.values("a").is_empty() && !bench.values("b").is_empty()).await;
    let scraped = bench.manager.targets().iter().filter_map(|target| target.last_scrape).max();
    bench.manager.apply(vec![config(&[staying.address])]).await.unwrap();
    let states = bench.manager.targets();
    assert_eq!(states.len(), 1);
    assert_ne!(states[0].health, Health::Unknown, "the loop is the old one");
    assert!(scraped.is_some());
    bench.until("an end", || bench.values("b")[0].ends_with("stale")).await;
    bench.until("an end", || bench.values("up").iter().any(|line| line.ends_with("stale"))).await;
    assert_eq!(bench.values("up").iter().filter(|line| line.ends_with("stale")).count(), 1);
    assert!(!bench.values("a")[0].contains("stale"));
}

#[tokio::test]
async fn a_job_that_changes_ends_only_what_is_gone() {
    let changes: [fn(&mut Config); 4] = [
        // The next page comes long after the old loop would have ended the series.
        |config| config.interval = Duration::from_secs(2),
        |config| config.interval = Duration::from_millis(50),
        |config| "/other".clone_into(&mut config.metrics_path),
        |config| config.honor_labels = true,
    ];
    for change in changes {
        let server = Server::text("a 1\nb 1\n").await;
        let mut job = config(&[server.address]);
        job.timeout = Duration::from_millis(50);
        let bench = Bench::new();
        bench.manager.apply(vec![job.clone()]).await.unwrap();
        bench.until("a sample", || !bench.values("a").is_empty()).await;
        server.set_page("a 1\n");
        change(&mut job);
        bench.manager.apply(vec![job]).await.unwrap();
        bench.until("the end of what is gone", || bench.values("b")[0].ends_with("stale")).await;
        let before = bench.values("a")[0].len();
        bench.until("another page", || bench.values("a")[0].len() > before).await;
        bench.manager.shutdown().await;
        for name in ["a", "up"] {
            assert!(!bench.values(name)[0].contains("stale"), "{:?}", bench.store.dump(""));
        }
    }
}

#[tokio::test]
async fn a_shutdown_ends_no_series() {
    let server = Server::text("a 1\n").await;
    let bench = Bench::start(server.address, |_| ()).await;
    bench.until("a sample", || !bench.values("a").is_empty()).await;
    bench.manager.shutdown().await;
    assert!(bench.store.dump("").iter().all(|line| !line.contains("stale")));
    let requests = server.shared.lock().unwrap().requests.len();
    tokio::task::yield_now().await;
    assert_eq!(server.shared.lock().unwrap().requests.len(), requests);
}

#[tokio::test]
async fn a_hung_target_delays_neither_others_nor_the_shutdown() {
    let (hung, good) = (Server::start(None, None).await, Server::text("a 1\n").await);
    let bench = Bench::new();
    let mut patient = config(&[hung.address]);
    patient.job_name = "patient".to_owned();
    (patient.interval, patient.timeout) = (Duration::from_secs(4), Duration::from_secs(4));
    bench.manager.apply(vec![patient, config(&[good.address])]).await.unwrap();
    bench.until("request to the hung target", || !hung.last_request().is_empty()).await;
    let so_far = bench.values("a").first().map_or(0, String::len);
    bench.until("more samples", || bench.values("a").first().is_some_and(|line| line.len() > so_far)).await;
    assert!(bench.manager.targets().iter().any(|target| target.health == Health::Unknown));
    tokio::time::timeout(Duration::from_secs(3), bench.manager.shutdown()).await.expect("a prompt end");
}

#[tokio::test]
async fn changed_target_files_change_the_targets() {
    let server = Server::text("a 1\n").await;
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| fs::write(folder.path().join("targets.json"), text).unwrap();
    let bench = Bench::new();
    let mut job = config(&[]);
    job.files = vec![folder.path().join("*.json")];
    bench.manager.apply(vec![job.clone()]).await.unwrap();
    assert_eq!(bench.manager.targets(), []);
    write(&format!(r#"[{{"targets": ["{}"], "labels": {{"env": "prod"}}}}]"#, server.address));
    bench.until("a target", || bench.manager.targets().len() == 1).await;
    assert_eq!(bench.manager.targets()[0].labels.get("env"), "prod");
    bench.until("a sample", || !bench.values("a").is_empty()).await;
    write("[broken");
    bench.until("an error", || bench.metrics.discovery.file_read_errors() == 1).await;
    // Neither the broken file nor a new configuration lose the last good targets.
    job.targets = vec![TargetGroup::of(["localhost:1"])];
    bench.manager.apply(vec![job]).await.unwrap();
    let states = bench.manager.targets();
    assert_eq!(states.len(), 2);
    assert_eq!(states.iter().filter(|state| state.labels.get("env") == "prod").count(), 1);
    write("[]");
    bench.until("the end of the target", || bench.manager.targets().len() == 1).await;
}

#[tokio::test]
async fn we_identify_ourselves_and_secrets_do_not_print() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "t0ken\n").unwrap();
    let inline = SecretSource::Value(Secret::new("open sesame"));
    let cases = [
        (HttpAuth::Bearer(SecretSource::File(token)), "authorization: bearer t0ken\r\n"),
        (
            HttpAuth::Basic { username: SecretSource::Value(Secret::new("me")), password: inline },
            // me:open sesame
            "authorization: basic bwu6b3blbibzzxnhbwu=\r\n",
        ),
    ];
    for (authorization, expected) in cases {
        assert!(!format!("{authorization:?}").contains("sesame"));
        let server = Server::text("a 1\n").await;
        let bench = Bench::start(server.address, |config| config.authorization = Some(authorization)).await;
        bench.result().await;
        let request = server.last_request().to_ascii_lowercase();
        assert!(request.contains(expected), "{request}");
    }
}

/// A server with TLS, and its certificate in PEM.
async fn tls_server() -> (Server, String) {
    let made = rcgen::generate_simple_self_signed(["valmis.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server_config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server_config));
    let page = reply("200 OK", "text/plain", b"a 1\n", "");
    (Server::start(Some(page), Some(acceptor)).await, made.cert.pem())
}

#[tokio::test]
async fn renewed_files_are_read_after_a_failure_and_at_a_reload() {
    let ((server, pem), (_, other)) = (tls_server().await, tls_server().await);
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, &other).unwrap();
    let mut job = config(&[server.address]);
    "https".clone_into(&mut job.scheme);
    let server_name = Some("valmis.example".to_owned());
    job.tls = TlsConfig { ca_file: Some(ca_file.clone()), server_name, ..TlsConfig::default() };
    let bench = Bench::new();
    bench.manager.apply(vec![job.clone()]).await.unwrap();
    assert_eq!(bench.result().await.health, Health::Down);
    fs::write(&ca_file, &pem).unwrap();
    bench.until("trust", || bench.manager.targets()[0].health == Health::Up).await;

    fs::write(&ca_file, "nothing").unwrap();
    let refused = bench.manager.apply(vec![job.clone()]).await.unwrap_err().to_string();
    assert!(refused.contains("cannot read the trust anchors"), "{refused}");
    fs::write(&ca_file, &other).unwrap();
    bench.manager.apply(vec![job]).await.unwrap();
    bench.until("distrust", || bench.manager.targets()[0].health == Health::Down).await;
}

#[tokio::test]
async fn a_certificate_is_judged_as_the_job_says() {
    let (server, pem) = tls_server().await;
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, pem).unwrap();
    let check = async |tls: TlsConfig, expected: Option<&str>| {
        let bench = Bench::start(server.address, |config| {
            slow(config);
            "https".clone_into(&mut config.scheme);
            config.tls = tls;
        })
        .await;
        let error = bench.result().await.last_error;
        match expected {
            None => assert_eq!(error, ""),
            Some(expected) => assert!(error.contains(expected), "{error}"),
        }
    };
    let trusting = TlsConfig { ca_file: Some(ca_file), ..TlsConfig::default() };
    let renamed = TlsConfig { server_name: Some("valmis.example".to_owned()), ..trusting.clone() };
    check(TlsConfig::default(), Some("invalid peer certificate: UnknownIssuer")).await;
    check(trusting, Some("certificate not valid for name")).await;
    check(renamed, None).await;
    check(TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() }, None).await;
}

#[tokio::test]
async fn everything_wrong_with_the_jobs_is_reported_and_nothing_changes() {
    let server = Server::text("a 1\n").await;
    let bench = Bench::start(server.address, |_| ()).await;
    let mut one = Config::new("one");
    one.timeout = Duration::from_mins(2);
    one.targets = vec![TargetGroup::of(["http://a", "b:port"])];
    let mut two = Config::new("two");
    two.tls.ca_file = Some(Path::new("/nowhere/ca.pem").to_owned());
    two.scheme = "ftp".to_owned();
    let error =
        bench.manager.apply(vec![one, two.clone(), Config { tls: TlsConfig::default(), ..two }]).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "scrape job `one`: scrape timeout greater than scrape interval\n\
         scrape job `one`: target `http://a`: `http://a` is not a valid hostname\n\
         scrape job `one`: target `b:port`: scrape timeout cannot be greater than scrape interval\n\
         scrape job `two`: unknown scheme `ftp`, expected `http` or `https`\n\
         scrape job `two`: cannot read the trust anchors in `/nowhere/ca.pem`: I/O error: No such file or directory (os error 2)\n\
         scrape job `two`: unknown scheme `ftp`, expected `http` or `https`\n\
         scrape job `two`: found multiple scrape configs with this job name"
    );
    assert_eq!(bench.manager.targets().len(), 1);
}

#[tokio::test]
async fn a_url_is_a_job_with_one_target() {
    let server = Server::text("a 1\n").await;
    let url = Url::parse(&format!("http://{}/m/x?a=b&c=d&a=e", server.address)).unwrap();
    let bench = Bench::new();
    let job = Config {
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(200),
        ..Config::for_url("u", &url)
    };
    bench.manager.apply(vec![Config { fallback_format: Some(Format::Text), ..job }]).await.unwrap();
    assert_eq!(bench.result().await.scrape_url, format!("http://{}/m/x?a=b&a=e&c=d", server.address));
    assert!(server.last_request().starts_with("GET /m/x?a=b&a=e&c=d HTTP/1.1"));
}

/// A future that is awaited on the side must be `Send`, or the scraper cannot be run by a server.
#[test]
fn the_manager_works_across_threads() {
    fn send(_: &(impl Future + Send)) {}
    let bench = Bench::new();
    send(&bench.manager.apply(Vec::new()));
    send(&bench.manager.shutdown());
}
