//! The loop that empties the outbox of one Alertmanager.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::outbox::{Entry, Fingerprint, Outbox};
use super::{AlertmanagerSet, Metrics, lock};
use crate::client::{root_cause, status_of};
use crate::clock::SharedClock;
use crate::model::TimestampMs;

/// Alerts in one request. Source: Prometheus `notifier/manager.go`, `DefaultMaxBatchSize`.
const BATCH: usize = 256;
/// The wait after a first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest wait: an Alertmanager that comes back is found within this time.
const LONGEST_RETRY: Duration = Duration::from_millis(500);

/// Delivers to one Alertmanager.
pub(super) struct Sender {
    /// The URL, which is also what the Alertmanager is called.
    pub(super) name: String,
    pub(super) set: Arc<AlertmanagerSet>,
    pub(super) client: reqwest::Client,
    pub(super) outbox: Arc<Mutex<Outbox>>,
    pub(super) clock: SharedClock,
    pub(super) metrics: Metrics,
    /// How often something has to be acknowledged, if there is nothing to send.
    pub(super) proof_interval: watch::Receiver<Option<Duration>>,
}

/// What became of a request.
enum Delivery {
    Acknowledged,
    /// The Alertmanager understood the request and will never accept it as it is.
    Refused(String),
    /// Worth another try.
    Failed(String),
}

impl Sender {
    /// Sends whatever waits, again and again until it is acknowledged. `settled` is called after the
    /// outbox may have shrunk, with the time if all was acknowledged. An empty list proves that alerts would
    /// be taken when there is none to send for a long time.
    pub(super) async fn run(
        mut self,
        mut ready: watch::Receiver<()>,
        stop: CancellationToken,
        settled: impl Fn(Option<TimestampMs>),
    ) {
        let mut failures: u32 = 0;
        // The first proof comes at once.
        let mut proved: Option<Instant> = None;
        loop {
            let batch = {
                let outbox = lock(&self.outbox);
                self.metrics.waiting(&self.name, outbox.len());
                outbox.batch(BATCH)
            };
            if batch.is_empty() {
                let interval = *self.proof_interval.borrow_and_update();
                let due = interval.map(|interval| proved.map_or_else(Instant::now, |at| at + interval));
                let proof_is_due = async {
                    match due {
                        Some(due) => sleep_until(due).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    changed = ready.changed() => if changed.is_err() { return } else { continue },
                    changed = self.proof_interval.changed() => if changed.is_err() { return } else { continue },
                    () = stop.cancelled() => return,
                    () = proof_is_due => {}
                }
            }
            let delivered = tokio::select! {
                delivered = self.deliver(&batch) => delivered,
                () = stop.cancelled() => return,
            };
            settled(delivered.is_ok().then(|| self.clock.now()));
            match delivered {
                Ok(()) => {
                    proved = Some(Instant::now());
                    if failures > 0 {
                        info!(failures, "Alertmanager accepts alerts again");
                    }
                    failures = 0;
                }
                Err(fault) => {
                    self.metrics.failed(&self.name, batch.len());
                    if failures == 0 {
                        warn!(%fault, alerts = batch.len(), "cannot deliver alerts; trying again");
                    }
                    let wait = FIRST_RETRY.saturating_mul(1 << failures.min(8)).min(LONGEST_RETRY);
                    failures = failures.saturating_add(1);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => self.read_files_again().await,
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Trust anchors and certificates may have been renewed in their files.
    async fn read_files_again(&mut self) {
        if !self.set.http.depends_on_files() {
            return;
        }
        let set = self.set.clone();
        // With files that cannot be read the client goes on with what it has.
        if let Ok(Ok(client)) =
            tokio::task::spawn_blocking(move || set.http.client(&Method::POST, set.timeout)).await
        {
            self.client = client;
        }
    }

    async fn deliver(&self, batch: &[(Fingerprint, Entry)]) -> Result<(), String> {
        let acknowledge = |(fingerprint, entry): &(Fingerprint, Entry)| {
            lock(&self.outbox).settle(*fingerprint, entry.sequence);
            self.metrics.delivered(&self.name, entry.queued_at, self.clock.now());
        };
        match self.post(batch).await {
            Delivery::Acknowledged => batch.iter().for_each(acknowledge),
            Delivery::Failed(fault) => return Err(fault),
            Delivery::Refused(_) => {
                // One alert that is not acceptable must not hold up the others: each on its own.
                for one in batch {
                    match self.post(std::slice::from_ref(one)).await {
                        Delivery::Acknowledged => acknowledge(one),
                        Delivery::Failed(fault) => return Err(fault),
                        Delivery::Refused(answer) => {
                            let alert = String::from_utf8_lossy(&one.1.body);
                            error!(%answer, %alert, "Alertmanager refuses an alert for good; dropped");
                            lock(&self.outbox).settle(one.0, one.1.sequence);
                            self.metrics.dropped(&self.name);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn post(&self, batch: &[(Fingerprint, Entry)]) -> Delivery {
        let mut body = Vec::with_capacity(2 + batch.iter().map(|(_, e)| e.body.len() + 1).sum::<usize>());
        for (index, (_, entry)) in batch.iter().enumerate() {
            body.push(if index == 0 { b'[' } else { b',' });
            body.extend_from_slice(&entry.body);
        }
        body.push(b']');
        let request = self.client.post(&self.name).header(CONTENT_TYPE, "application/json").body(body);
        let request = match self.set.http.prepare(request) {
            Ok(request) => request,
            Err(fault) => return Delivery::Failed(fault.to_string()),
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(fault) => return Delivery::Failed(root_cause(&fault)),
        };
        let status = answer.status();
        if status.is_success() {
            return Delivery::Acknowledged;
        }
        let shown = status_of(&answer);
        let text = answer.text().await.unwrap_or_default();
        let text: String = text.chars().take(500).collect();
        match status {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Delivery::Refused(text),
            _ => Delivery::Failed(format!("{shown}: {text}")),
        }
    }
}
