//! What an Alertmanager says of the alert of a drill.

use serde::Deserialize;

use super::counters::Counters;
use crate::model::{Labels, quote};
use crate::notifier::Reached;

/// The alert as an Alertmanager has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Found {
    pub(super) receivers: Vec<String>,
    /// Why nobody is told: what silences or inhibits it.
    pub(super) suppressed_by: Vec<String>,
    pub(super) fingerprint: String,
}

/// Source: prometheus/alertmanager `api/v2/openapi.yaml`, `gettableAlert`.
#[derive(Deserialize)]
struct Gettable {
    #[serde(default)]
    receivers: Vec<Receiver>,
    status: Status,
    #[serde(default)]
    fingerprint: String,
}

#[derive(Deserialize)]
struct Receiver {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    silenced_by: Vec<String>,
    #[serde(default)]
    inhibited_by: Vec<String>,
}

/// The alert with these labels, if the Alertmanager has it; an error says that it does not answer.
pub(super) async fn find(alertmanager: &Reached, labels: &Labels) -> Result<Option<Found>, String> {
    let filters = labels.iter().map(|(name, value)| ("filter", format!("{name}={}", quote(value))));
    let body = alertmanager.get(None, &filters.collect::<Vec<_>>()).await?;
    read(&body).map_err(|error| format!("its answer is no list of alerts: {error}"))
}

fn read(body: &[u8]) -> Result<Option<Found>, serde_json::Error> {
    let mut alerts: Vec<Gettable> = serde_json::from_slice(body)?;
    Ok(alerts.pop().map(|alert| {
        let silences = alert.status.silenced_by.into_iter().map(|id| format!("silence {id}"));
        let inhibitions = alert.status.inhibited_by.into_iter().map(|id| format!("alert {id}"));
        Found {
            receivers: alert.receivers.into_iter().map(|receiver| receiver.name).collect(),
            suppressed_by: silences.chain(inhibitions).collect(),
            fingerprint: alert.fingerprint,
        }
    }))
}

/// What it has counted so far; none if it does not say.
pub(super) async fn counters(alertmanager: &Reached) -> Option<Counters> {
    let page = alertmanager.get(Some("metrics"), &[]).await.ok()?;
    Some(Counters::read(&page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_and_what_suppresses_an_alert_are_read() {
        let body = br#"[{"annotations": {}, "endsAt": "", "fingerprint": "f0", "labels": {},
            "receivers": [{"name": "a"}, {"name": "b"}],
            "status": {"inhibitedBy": ["i"], "silencedBy": ["s"], "state": "suppressed"}}]"#;
        let expected = Found {
            receivers: vec!["a".to_owned(), "b".to_owned()],
            suppressed_by: vec!["silence s".to_owned(), "alert i".to_owned()],
            fingerprint: "f0".to_owned(),
        };
        assert_eq!(read(body).expect("a list"), Some(expected));
        assert_eq!(read(b"[]").expect("a list"), None);
        assert!(read(b"{}").is_err());
    }
}
