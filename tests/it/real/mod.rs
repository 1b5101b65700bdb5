//! Real servers, run as processes on a free port in a temporary directory, and things to break.

pub(crate) mod alertmanager;
pub(crate) mod app;
pub(crate) mod disk;
pub(crate) mod gate;
pub(crate) mod node_exporter;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod remote_write;
pub(crate) mod tls_server;
pub(crate) mod valmis;
pub(crate) mod victoria;
pub(crate) mod webhook;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::Router;
use reqwest::Client;
use tokio::sync::{Semaphore, SemaphorePermit};

use ::valmis::client::TlsConfig;

/// How long anything may take on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What to do about a program that is not on this machine: its tests are skipped on a desk and fail in
/// CI, where everything is expected to be there.
#[expect(clippy::disallowed_methods, reason = "CI tells itself by its environment")]
pub(crate) fn missing(program: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "`{program}` is missing");
    say(&format!("skipped: `{program}` is not on this machine"));
}

/// Tells whoever runs the tests something that is no failure.
#[expect(clippy::print_stderr, reason = "a measured figure and a skipped test are to be seen")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// Where `tests/servers.sh` unpacks servers.
#[expect(clippy::disallowed_methods, reason = "the folder can be shared between checkouts")]
pub(crate) fn cache() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/servers");
    std::env::var_os("VALMIS_SERVERS").map_or_else(default, PathBuf::from)
}

/// Keeps tests that start several servers from taking one another's time: only so many run at once.
pub(crate) async fn turn() -> SemaphorePermit<'static> {
    static TURNS: Semaphore = Semaphore::const_new(2);
    TURNS.acquire().await.expect("it is never closed")
}

/// Looks again and again until there is something to see. What was seen instead is told in the end.
#[track_caller]
pub(crate) fn eventually<T, E: Display>(
    what: &str,
    look: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    within(PATIENCE, what, look)
}

/// As [`eventually`], with a time by which it has to happen.
pub(crate) async fn within<T, E: Display>(
    allowed: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(began.elapsed() < allowed, "no {what} within {allowed:?}; instead:\n{seen}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts a server of the test.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A client whose requests end at some time. It keeps no connections: each test has its own runtime, and
/// a connection would not outlive it.
pub(crate) fn http() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let tls = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() }.client_config().unwrap();
        let builder = Client::builder().tls_backend_preconfigured(tls).pool_max_idle_per_host(0);
        builder.timeout(PATIENCE).no_proxy().build().unwrap()
    })
}
