//! An application that can be broken in several ways.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Healthy,
    /// It answers 500 when it is asked for its health.
    Failing,
    /// It accepts requests and never answers.
    Hanging,
    /// It is healthy, and half of the requests of its users fail.
    Erring,
}

#[derive(Clone)]
struct Shared {
    mood: Arc<watch::Sender<Mood>>,
    served: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

pub(crate) struct App {
    pub(crate) address: SocketAddr,
    shared: Shared,
    server: JoinHandle<Result<(), std::io::Error>>,
}

impl App {
    pub(crate) async fn start() -> Self {
        let shared = Shared {
            mood: Arc::new(watch::Sender::new(Mood::Healthy)),
            served: Arc::default(),
            failed: Arc::default(),
        };
        let (address, server) = serve("127.0.0.1:0".parse().unwrap(), shared.clone()).await;
        Self { address, shared, server }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.shared.mood.send_replace(mood);
    }

    /// Ends it: connections are refused.
    pub(crate) async fn stop(&mut self) {
        self.server.abort();
        // Its end by abortion is what was asked for; the socket is closed once it is there.
        let _ = (&mut self.server).await;
    }

    /// Starts it again after [`Self::stop`], at the same address.
    pub(crate) async fn restart(&mut self) {
        (_, self.server) = serve(self.address, self.shared.clone()).await;
    }
}

async fn serve(address: SocketAddr, shared: Shared) -> (SocketAddr, JoinHandle<Result<(), std::io::Error>>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router =
        Router::new().route("/health", get(health)).route("/metrics", get(metrics)).with_state(shared);
    (address, tokio::spawn(async move { axum::serve(listener, router).await }))
}

async fn health(State(shared): State<Shared>) -> StatusCode {
    match mood(&shared).await {
        Mood::Failing => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    }
}

/// Its users send ten requests from one scrape to the next.
async fn metrics(State(shared): State<Shared>) -> String {
    let failing = if mood(&shared).await == Mood::Erring { 5 } else { 0 };
    let failed = shared.failed.fetch_add(failing, Ordering::SeqCst) + failing;
    let served = shared.served.fetch_add(10 - failing, Ordering::SeqCst) + 10 - failing;
    format!(
        "# TYPE http_requests_total counter\n\
         http_requests_total{{code=\"200\"}} {served}\nhttp_requests_total{{code=\"500\"}} {failed}\n"
    )
}

/// Its mood, unless it hangs: then there is no answer until that is over.
async fn mood(shared: &Shared) -> Mood {
    let mut mood = shared.mood.subscribe();
    *mood.wait_for(|mood| *mood != Mood::Hanging).await.expect("the sender is in `shared`")
}
