//! The Alertmanagers as somebody sees them who wants to know what becomes of an alert.

use std::sync::Arc;

use url::Url;

use super::{AlertmanagerSet, Notifier, lock, wire};
use crate::client::{RenewingClient, root_cause, status_of};
use crate::model::Labels;
use crate::relabel::relabel;

/// How much of an answer is read: that of a large Alertmanager has some megabytes.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// An Alertmanager that is found now.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The URL that alerts are posted to, which is also what it is called.
    pub url: Url,
    /// The labels that an alert has when it arrives there; none if relabelling drops it.
    pub labels: Option<Labels>,
    set: Arc<AlertmanagerSet>,
    client: RenewingClient,
}

impl Notifier {
    /// The Alertmanagers that are found now, and what an alert with these labels becomes on its way there.
    pub fn reached(&self, labels: &Labels) -> Vec<Reached> {
        let destinations = lock(&self.0.destinations);
        let labels = wire::with_external(labels, &destinations.terms.external_labels);
        let labels = relabel(&destinations.terms.alert_relabel, &labels);
        let mut reached: Vec<Reached> = Vec::new();
        for set in &destinations.sets {
            for url in &set.targets.active {
                if reached.iter().all(|known| known.url != *url) {
                    let rules = &set.config.alert_relabel;
                    let labels = labels.as_ref().and_then(|labels| relabel(rules, labels));
                    let (set, client) = (set.config.clone(), set.client.clone());
                    reached.push(Reached { url: url.clone(), labels, set, client });
                }
            }
        }
        reached
    }
}

impl Reached {
    /// Asks it for something as whoever delivers alerts: the alerts themselves without a path, else a path
    /// beside its API. An error says why there is no answer.
    pub async fn get(&self, path: Option<&str>, query: &[(&str, String)]) -> Result<Vec<u8>, String> {
        let mut url = self.url.clone();
        if let Some(path) = path {
            let base = url.path().trim_end_matches("/api/v2/alerts").to_owned();
            url.set_path(&format!("{base}/{path}"));
        }
        let request = self.set.http.prepare(self.client.current().get(url).query(query));
        let request = request.await.map_err(|error| error.to_string())?;
        let mut response = request.send().await.map_err(|error| root_cause(&error))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| root_cause(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err("the answer is too large".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        if response.status().is_success() {
            Ok(body)
        } else {
            Err(format!("it answered {}", status_of(&response)))
        }
    }
}
