//! What a network can do to a probe, as one table: each fault, met by each prober that connects, has the right
//! answer in time. Faults of each protocol are in the tests of its prober; docs/fault-matrix.md lists all.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use regex::Regex;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use url::Url;
use valmis::probe::certificate::{ServedCertificateConfig, TlsProber};
use valmis::probe::grpc::{GrpcConfig, GrpcProber};
use valmis::probe::http::{HttpConfig, HttpProber};
use valmis::probe::postgres::PostgresProber;
use valmis::probe::redis::{RedisAddress, RedisConfig, RedisProber};
use valmis::probe::tcp::{TcpConfig, TcpProber};
use valmis::probe::tls::TlsConfig;
use valmis::probe::{ProbeOutcome, Prober};

use crate::conformance::files_below;
use crate::net::tcp::{line, send};
use crate::postgres::target;
use crate::real::postgres::free_port;
use crate::real::say;
use crate::servers::{answer, clock, listen, probe_within, read_head};
use crate::tools::checkout;

/// What a probe of a bad server is given, and how much later it must have ended.
const ALLOWED: Duration = Duration::from_millis(400);
const SLACK: Duration = Duration::from_secs(3);

/// An address at which packets are swallowed: a listener that accepts nobody, and whose queue is full.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    queued: Vec<TcpStream>,
}

impl BlackHole {
    /// None on a system that lets more connections wait than it was asked for.
    pub(crate) async fn start() -> Option<Self> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while queued.len() < 16 {
            match tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
                Ok(connected) => queued.push(connected.unwrap()),
                Err(_swallowed) => return Some(Self { address, listener, queued }),
            }
        }
        say("SKIPPED: no address swallows packets on this system");
        None
    }

    /// From now on somebody answers in HTTP.
    pub(crate) fn heal(self) {
        drop(self.queued);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = self.listener.accept().await {
                tokio::spawn(async move {
                    if !read_head(&mut stream).await.is_empty() {
                        answer(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    }
                });
            }
        });
    }
}

const PROBERS: [&str; 6] = ["http", "tcp", "grpc", "certificate", "postgres", "redis"];

fn prober(name: &str, address: SocketAddr) -> Box<dyn Prober> {
    let at = address.to_string();
    match name {
        "http" => {
            let config = HttpConfig::new(Url::parse(&format!("http://{at}/")).unwrap());
            Box::new(HttpProber::new(config, clock()).unwrap())
        }
        "tcp" => {
            let config =
                TcpConfig { query_response: vec![send("hello"), line("hello")], ..TcpConfig::default() };
            Box::new(TcpProber::new(config, &at, clock()).unwrap())
        }
        "grpc" => Box::new(GrpcProber::new(GrpcConfig::default(), &at, clock()).unwrap()),
        "certificate" => Box::new(TlsProber::new(ServedCertificateConfig::parse(&at).unwrap(), clock())),
        "postgres" => {
            let dsn = format!("postgres://monitor:secret@{at}/postgres?sslmode=disable");
            Box::new(PostgresProber::new(target(&dsn)))
        }
        _ => {
            let address = RedisAddress { host: "127.0.0.1".to_owned(), port: address.port(), tls: false };
            let (username, password) = (None, None);
            let config = RedisConfig { address, username, password, tls: TlsConfig::default() };
            Box::new(RedisProber::new(config, clock()))
        }
    }
}

/// The kind of failure, if what says that the thing is up says that it is not.
fn kind(name: &str, outcome: &ProbeOutcome) -> &'static str {
    let up = match name {
        "postgres" => "pg_up",
        "redis" => "redis_up",
        _ => "probe_success",
    };
    let up = outcome.samples.iter().find(|sample| sample.labels.metric_name() == up);
    assert_eq!(up.map(|sample| sample.value), Some(0.0), "{name}: {outcome:?}");
    let failure = outcome.result.as_ref().expect_err(name);
    assert!(!failure.unknown, "{name}: {failure:?}");
    failure.kind
}

/// Lets every prober meet a fault. Each is given what makes the fault's address.
async fn check(fault: &str, address: SocketAddr, expected: [&str; PROBERS.len()]) {
    let (mut found, mut logs) = (Vec::new(), Vec::new());
    for name in PROBERS {
        let began = Instant::now();
        let outcome = probe_within(prober(name, address).as_ref(), ALLOWED).await;
        assert!(began.elapsed() < ALLOWED + SLACK, "{fault}: {name} took {:?}", began.elapsed());
        found.push(kind(name, &outcome));
        logs.push(outcome.log);
    }
    assert_eq!(found, expected, "{fault}: {PROBERS:?}: {logs:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_prober_tells_what_the_network_did() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    check("refused", nobody, ["connect"; 6]).await;
    if let Some(hole) = BlackHole::start().await {
        check("black-holed", hole.address, ["timeout"; 6]).await;
    }
    let silent = listen(|stream| async move {
        stream.readable().await.unwrap();
        std::future::pending::<()>().await;
    });
    check("silent", silent.await, ["timeout"; 6]).await;
    let resetting = listen(|stream| async move {
        // Until the client has spoken, so that its connection is there.
        let _ = stream.peek(&mut [0]).await;
        stream.set_zero_linger().unwrap();
    });
    check("reset", resetting.await, ["http", "connection", "grpc", "tls", "closed", "connection"]).await;
    let closing = listen(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
    });
    check("closed", closing.await, ["http", "expect", "grpc", "tls", "closed", "connection"]).await;
}

#[tokio::test]
async fn the_first_probe_after_a_black_hole_succeeds() {
    let Some(hole) = BlackHole::start().await else { return };
    let prober = prober("http", hole.address);
    let outcome = probe_within(prober.as_ref(), ALLOWED).await;
    assert_eq!(kind("http", &outcome), "timeout");
    hole.heal();
    let outcome = probe_within(prober.as_ref(), Duration::from_secs(20)).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
}

/// The names of all functions below a folder.
fn functions(folder: &Path) -> BTreeSet<String> {
    let function = Regex::new(r"\bfn (\w+)").unwrap();
    let texts = files_below(folder, "rs").into_iter().map(|file| fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| function.captures_iter(&text).map(|c| c[1].to_owned()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn the_tests_that_pages_name_exist() {
    let mut known = functions(&checkout("tests"));
    known.extend(functions(&checkout("src")));
    let name = Regex::new(r"`(?:it::)?(?:[a-z0-9_]+::)+([a-z0-9_]+)`").unwrap();
    for page in ["docs/fault-matrix.md", "docs/differences.md"] {
        let text = fs::read_to_string(checkout(page)).unwrap();
        let named: Vec<&str> = name.captures_iter(&text).map(|c| c.extract::<1>().1[0]).collect();
        assert!(named.len() > 20, "{page}: {}", named.len());
        let missing: Vec<_> = named.iter().filter(|name| !known.contains(**name)).collect();
        assert!(missing.is_empty(), "{page} names tests that are not there: {missing:#?}");
    }
}
