//! The loop that empties the outbox of one Alertmanager.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::outbox::{Entry, Fingerprint, Outbox};
use super::{Alertmanager, Metrics, lock};
use crate::client::{ClientError, HttpAuth, http_client};
use crate::clock::SharedClock;

/// Alerts in one request. Source: Prometheus `notifier/manager.go`, `DefaultMaxBatchSize`.
const BATCH: usize = 256;
/// The wait after a first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest wait: an Alertmanager that comes back is found within this time.
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// Delivers to one Alertmanager.
pub(super) struct Sender {
    name: String,
    client: reqwest::Client,
    auth: Option<HttpAuth>,
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
    pub(super) fn new(name: &str, config: &Alertmanager) -> Result<Self, ClientError> {
        let client = http_client(&config.tls, config.timeout)?;
        Ok(Self { name: name.to_owned(), client, auth: config.auth.clone() })
    }

    /// Sends whatever waits, again and again until it is acknowledged. `settled` is called after the
    /// outbox has shrunk.
    pub(super) async fn run(
        self,
        outbox: Arc<Mutex<Outbox>>,
        mut ready: watch::Receiver<()>,
        clock: SharedClock,
        metrics: Metrics,
        stop: CancellationToken,
        settled: impl Fn(),
    ) {
        let mut failures: u32 = 0;
        loop {
            let batch = lock(&outbox).batch(BATCH);
            metrics.waiting(&self.name, lock(&outbox).len());
            if batch.is_empty() {
                tokio::select! {
                    changed = ready.changed() => if changed.is_err() { return },
                    () = stop.cancelled() => return,
                }
                continue;
            }
            let delivered = tokio::select! {
                delivered = self.deliver(&batch, &metrics, &clock, &outbox) => delivered,
                () = stop.cancelled() => return,
            };
            settled();
            match delivered {
                Ok(()) => {
                    if failures > 0 {
                        info!(failures, "Alertmanager accepts alerts again");
                    }
                    failures = 0;
                }
                Err(fault) => {
                    metrics.failed(&self.name, batch.len());
                    if failures == 0 {
                        warn!(%fault, alerts = batch.len(), "cannot deliver alerts; trying again");
                    }
                    let wait = FIRST_RETRY.saturating_mul(1 << failures.min(8)).min(LONGEST_RETRY);
                    failures = failures.saturating_add(1);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    async fn deliver(
        &self,
        batch: &[(Fingerprint, Entry)],
        metrics: &Metrics,
        clock: &SharedClock,
        outbox: &Mutex<Outbox>,
    ) -> Result<(), String> {
        let acknowledge = |(fingerprint, entry): &(Fingerprint, Entry)| {
            lock(outbox).settle(*fingerprint, entry.sequence);
            metrics.delivered(&self.name, entry.queued_at, clock.now());
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
                            lock(outbox).settle(one.0, one.1.sequence);
                            metrics.refused(&self.name);
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
        let mut request = self.client.post(&self.name).header(CONTENT_TYPE, "application/json").body(body);
        if let Some(auth) = &self.auth {
            request = match auth.apply(request) {
                Ok(request) => request,
                Err(fault) => return Delivery::Failed(fault.to_string()),
            };
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(fault) => return Delivery::Failed(root_cause(&fault)),
        };
        let status = answer.status();
        if status.is_success() {
            return Delivery::Acknowledged;
        }
        let text = answer.text().await.unwrap_or_default();
        let text: String = text.chars().take(500).collect();
        match status {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Delivery::Refused(text),
            _ => Delivery::Failed(format!("{status}: {text}")),
        }
    }
}

/// The innermost reason, which says what happened: `connection refused`, `operation timed out`.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() { format!("timed out: {cause}") } else { cause.to_string() }
}
