//! Alerts of drills that come back from a webhook receiver.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tokio::time::Instant;

use super::DRILL_ID_LABEL;

/// Which drills are waited for, and which have come back. There are as many as drills go on.
#[derive(Debug, Default)]
pub struct Echo(Mutex<HashMap<String, Option<Instant>>>);

/// What a webhook receiver is sent. Source: prometheus/alertmanager `notify/webhook/webhook.go`, `Message`,
/// and `template/template.go`, `Alert`.
#[derive(Deserialize)]
struct Message {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    #[serde(default)]
    labels: HashMap<String, String>,
}

impl Echo {
    /// Takes what a webhook receiver is sent. Alerts that nobody waits for are nobody's business. An error
    /// says that it is no such message.
    pub fn receive(&self, body: &[u8]) -> Result<(), serde_json::Error> {
        let message: Message = serde_json::from_slice(body)?;
        let now = Instant::now();
        let mut waiting = self.waiting();
        for alert in message.alerts {
            let id = alert.labels.get(DRILL_ID_LABEL);
            if let Some(arrived) = id.and_then(|id| waiting.get_mut(id)) {
                arrived.get_or_insert(now);
            }
        }
        Ok(())
    }

    /// Begins to wait for a drill.
    pub(super) fn expect(&self, id: &str) {
        self.waiting().insert(id.to_owned(), None);
    }

    /// When a drill came back, if it did.
    pub(super) fn arrived(&self, id: &str) -> Option<Instant> {
        self.waiting().get(id).copied().flatten()
    }

    /// Waits no longer.
    pub(super) fn forget(&self, id: &str) {
        self.waiting().remove(id);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Option<Instant>>> {
        // A panic elsewhere while the lock was held leaves whole entries behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_waited_for_is_noted() {
        let echo = Echo::default();
        echo.expect("a");
        let body = br#"{"alerts": [{"labels": {"valmis_drill_id": "b"}}, {}, {"status": "firing"}]}"#;
        echo.receive(body).expect("a message");
        assert_eq!((echo.arrived("a"), echo.arrived("b")), (None, None));
        echo.receive(br#"{"alerts": [{"labels": {"valmis_drill_id": "a"}}]}"#).expect("a message");
        assert!(echo.arrived("a").is_some());
        echo.forget("a");
        assert_eq!(echo.arrived("a"), None);
        assert!(echo.receive(b"[]").is_err());
    }
}
