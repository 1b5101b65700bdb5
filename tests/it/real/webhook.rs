//! The end of the line: what Alertmanager tells whoever is on duty.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;

use super::alertmanager::CANARY;
use super::{eventually, serve};

/// One alert of one notification.
#[derive(Debug, Clone)]
pub(crate) struct Notification {
    pub(crate) status: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) starts_at: String,
    pub(crate) received: Instant,
}

impl Notification {
    pub(crate) fn alert(&self) -> &str {
        &self.labels["alertname"]
    }
}

/// Records what it receives.
#[derive(Clone)]
pub(crate) struct Webhook {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Notification>>>,
}

/// Source: Alertmanager `notify/webhook/webhook.go`, `Message`, and `template/template.go`, `Alert`.
#[derive(Deserialize)]
struct Message {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: String,
    labels: BTreeMap<String, String>,
    starts_at: String,
}

async fn receive(State(received): State<Arc<Mutex<Vec<Notification>>>>, Json(message): Json<Message>) {
    let now = Instant::now();
    let alerts = message.alerts.into_iter().map(|alert| Notification {
        status: alert.status,
        labels: alert.labels,
        starts_at: alert.starts_at,
        received: now,
    });
    received.lock().unwrap().extend(alerts);
}

impl Webhook {
    pub(crate) async fn start() -> Self {
        let received = Arc::new(Mutex::default());
        let router = Router::new().route("/", post(receive)).with_state(received.clone());
        let address = serve(router).await;
        Self { address, received }
    }

    /// Everything received that is news: the watchdog fires all the time, and canaries come from tests.
    pub(crate) fn all(&self) -> Vec<Notification> {
        let received = self.received.lock().unwrap();
        let news = |one: &&Notification| one.alert() != "Watchdog" && !one.alert().starts_with(CANARY);
        received.iter().filter(news).cloned().collect()
    }

    /// Everything received as `status name`, in order.
    pub(crate) fn story(&self) -> Vec<String> {
        self.all().iter().map(|one| format!("{} {}", one.status, one.alert())).collect()
    }

    /// Waits for a notification.
    pub(crate) async fn wait_for(&self, status: &str, alert: &str) -> Notification {
        self.wait_until(&format!("{status} {alert}"), |one| one.status == status && one.alert() == alert)
            .await
    }

    /// Waits for a notification for which `is_it` holds.
    pub(crate) async fn wait_until(&self, what: &str, is_it: impl Fn(&Notification) -> bool) -> Notification {
        eventually(&format!("notification `{what}`"), async || {
            let all = self.received.lock().unwrap().clone();
            let found = all.iter().find(|one| is_it(one));
            found.cloned().ok_or_else(|| format!("{all:#?}"))
        })
        .await
    }
}
