//! How alerts get to real Alertmanagers: by every way in which they are found and reached, and whatever
//! happens to some of them.

mod proofs;
mod reached;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::real::serve;
use crate::real::valmis::{COMMON, NO_DISK};

/// The start of every configuration here.
fn common() -> String {
    format!("{COMMON}{NO_DISK}")
}

/// Rules of which one always fires.
fn watchdog() -> Vec<(String, String)> {
    let text = "groups:\n- name: watchdog\n  rules:\n  - {alert: Watchdog, expr: vector(1)}\n";
    vec![("watchdog.yaml".to_owned(), text.to_owned())]
}

/// Things that break and are repaired when a test says so; a page of metrics tells of them.
struct Faults {
    address: SocketAddr,
    broken: Arc<Mutex<BTreeSet<usize>>>,
}

impl Faults {
    async fn start() -> Self {
        let broken = Arc::new(Mutex::new(BTreeSet::new()));
        let router = Router::new().route("/metrics", get(page)).with_state(broken.clone());
        let address = serve(router).await;
        Self { address, broken }
    }

    /// Breaks these and repairs all others.
    fn set(&self, broken: impl IntoIterator<Item = usize>) {
        *self.broken.lock().unwrap() = broken.into_iter().collect();
    }

    /// What makes valmis look.
    fn configuration(&self) -> String {
        format!("scrapes: [{{job: faults, targets: ['{}'], interval: 1s}}]\n", self.address)
    }

    /// A rule that tells of each of them, without waiting, and one that always fires.
    fn rules() -> Vec<(String, String)> {
        let text = "groups:\n- name: faults\n  rules:\n  - {alert: Broken, expr: broken == 1}\n";
        [watchdog(), vec![("faults.yaml".to_owned(), text.to_owned())]].concat()
    }
}

async fn page(State(broken): State<Arc<Mutex<BTreeSet<usize>>>>) -> impl IntoResponse {
    let mut page = String::new();
    for thing in &*broken.lock().unwrap() {
        writeln!(page, "broken{{thing=\"{thing}\"}} 1").unwrap();
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], page)
}
