//! The loop that empties the outbox of one Alertmanager.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::outbox::{Entry, Fingerprint, Outbox, Refused};
use super::{AlertmanagerSet, Metrics, lock};
use crate::client::{RenewingClient, root_cause, status_of};
use crate::clock::SharedClock;
use crate::model::TimestampMs;

/// Alerts in one request. Source: Prometheus `notifier/manager.go`, `DefaultMaxBatchSize`.
const BATCH: usize = 256;
/// The wait after a first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// After so many alerts that are refused on their own a delivery ends, so that those who are not to blame
/// soon have their turn, and a server that takes none is not flooded with requests.
const MOST_REFUSED: usize = 8;
/// For so long an alert that was accepted shows that alerts are accepted, while others are refused. Rules
/// send what fires again every minute (Prometheus' `rules.alert.resend-delay`).
const VOUCHES_FOR: Duration = Duration::from_mins(2);
/// The longest wait: an Alertmanager that comes back is found within this time.
const LONGEST_RETRY: Duration = Duration::from_millis(500);

/// Delivers to one Alertmanager.
pub(super) struct Sender {
    /// The URL, which is also what the Alertmanager is called.
    pub(super) name: String,
    pub(super) set: Arc<AlertmanagerSet>,
    pub(super) client: RenewingClient,
    pub(super) outbox: Arc<Mutex<Outbox>>,
    pub(super) clock: SharedClock,
    pub(super) metrics: Metrics,
    /// How often something has to be acknowledged, if there is nothing to send.
    pub(super) proof_interval: watch::Receiver<Option<Duration>>,
}

/// What became of a request.
enum Outcome {
    Accepted,
    /// The answer may be about the alerts: without some of them it might be another.
    Refused(String),
    /// Worth another try.
    Failed(String),
}

/// What became of a batch.
#[derive(Default)]
struct Delivery {
    /// So many alerts were accepted.
    accepted: usize,
    /// So many were refused each on its own. What is left of the batch waits as before.
    refused: usize,
    /// Why nothing more can be delivered now.
    fault: Option<String>,
}

impl Sender {
    /// Sends whatever waits, again and again until it is acknowledged. `settled` is called after the
    /// outbox may have shrunk, with the time if something was acknowledged. An empty list proves that alerts
    /// would be taken when there is none to send for a long time.
    pub(super) async fn run(
        mut self,
        mut ready: watch::Receiver<()>,
        stop: CancellationToken,
        settled: impl Fn(Option<TimestampMs>),
    ) {
        let mut failures: u32 = 0;
        // The first proof comes at once.
        let mut proved: Option<Instant> = None;
        let mut last_accepted: Option<Instant> = None;
        loop {
            let (batch, rest) = {
                let (outbox, now) = (lock(&self.outbox), self.clock.now());
                self.metrics.waiting(&self.name, outbox.len());
                (outbox.batch(BATCH, now), outbox.rests_for(now))
            };
            if batch.is_empty() {
                let interval = *self.proof_interval.borrow_and_update();
                let due = interval.map(|interval| proved.map_or_else(Instant::now, |at| at + interval));
                tokio::select! {
                    changed = ready.changed() => if changed.is_err() { return } else { continue },
                    changed = self.proof_interval.changed() => if changed.is_err() { return } else { continue },
                    () = stop.cancelled() => return,
                    () = at(rest.map(|rest| Instant::now() + rest)) => continue,
                    () = at(due) => {}
                }
            }
            let delivery = tokio::select! {
                delivery = self.deliver(&batch) => delivery,
                () = stop.cancelled() => return,
            };
            let Delivery { accepted, refused, fault } = delivery;
            if accepted > 0 {
                last_accepted = Some(Instant::now());
            }
            // Where alerts are refused, that an empty list is accepted proves nothing.
            let proves = lock(&self.outbox).refused() == 0
                || last_accepted.is_some_and(|at| at.elapsed() < VOUCHES_FOR);
            let acknowledged = accepted > 0 || (batch.is_empty() && fault.is_none() && proves);
            settled(acknowledged.then(|| self.clock.now()));
            match fault {
                None => {
                    self.metrics.failed(&self.name, refused);
                    proved = Some(Instant::now());
                    if acknowledged && failures > 0 {
                        info!(failures, "Alertmanager accepts alerts again");
                        failures = 0;
                    }
                }
                Some(fault) => {
                    // Also that there is nothing to tell could not be told.
                    self.metrics.failed(&self.name, (batch.len() - accepted).max(1));
                    if failures == 0 {
                        warn!(%fault, alerts = batch.len(), "cannot deliver alerts; trying again");
                    }
                    let wait = FIRST_RETRY.saturating_mul(1 << failures.min(8)).min(LONGEST_RETRY);
                    failures = failures.saturating_add(1);
                    self.client.failed();
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Sends a batch. One that is refused is halved, until those alerts are found that are to blame, if the
    /// server accepts anything: what refuses an empty list (a proxy that wants another certificate) refuses
    /// the sender, and no alert is to blame. Nothing is acknowledged but by an answer that says so.
    async fn deliver(&self, batch: &[(Fingerprint, Entry)]) -> Delivery {
        let mut delivery = Delivery::default();
        let mut accepts_anything = false;
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            match self.post(part).await {
                Outcome::Accepted => {
                    for alert in part {
                        self.settle(alert);
                    }
                    delivery.accepted += part.len();
                    accepts_anything = true;
                }
                Outcome::Failed(fault) => return Delivery { fault: Some(fault), ..delivery },
                Outcome::Refused(answer) => {
                    if !accepts_anything {
                        let proof = if part.is_empty() { None } else { Some(self.post(&[]).await) };
                        match proof {
                            Some(Outcome::Accepted) => accepts_anything = true,
                            Some(Outcome::Failed(fault)) => {
                                return Delivery { fault: Some(fault), ..delivery };
                            }
                            None | Some(Outcome::Refused(_)) => {
                                return Delivery { fault: Some(answer), ..delivery };
                            }
                        }
                    }
                    let [alert] = part else {
                        // Those that have waited longest go first.
                        let (early, late) = part.split_at(part.len() / 2);
                        parts.extend([late, early]);
                        continue;
                    };
                    self.refuse(alert, &answer);
                    delivery.refused += 1;
                    if delivery.refused == MOST_REFUSED || (parts.is_empty() && delivery.accepted == 0) {
                        let fault = (delivery.accepted == 0).then_some(answer);
                        return Delivery { fault, ..delivery };
                    }
                }
            }
        }
        delivery
    }

    fn settle(&self, (fingerprint, entry): &(Fingerprint, Entry)) {
        lock(&self.outbox).settle(*fingerprint, entry.sequence);
        self.metrics.delivered(&self.name, entry.queued_at, self.clock.now());
    }

    /// Notes that an alert was refused on its own: the others go first from now on.
    fn refuse(&self, (fingerprint, entry): &(Fingerprint, Entry), answer: &str) {
        let refused = lock(&self.outbox).refuse(*fingerprint, entry.sequence, self.clock.now());
        let alert = || String::from_utf8_lossy(&entry.body);
        match refused {
            Refused::First => {
                error!(%answer, alert = %alert(), "Alertmanager refuses an alert; it is offered again and again");
            }
            Refused::Again => {}
            Refused::Dropped => {
                error!(%answer, alert = %alert(), "Alertmanager has refused an alert for too long; dropped");
                self.metrics.dropped(&self.name);
            }
        }
    }

    async fn post(&self, batch: &[(Fingerprint, Entry)]) -> Outcome {
        let mut body = Vec::with_capacity(2 + batch.iter().map(|(_, e)| e.body.len() + 1).sum::<usize>());
        body.push(b'[');
        for (index, (_, entry)) in batch.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&entry.body);
        }
        body.push(b']');
        let request =
            self.client.current().post(&self.name).header(CONTENT_TYPE, "application/json").body(body);
        let request = match self.set.http.prepare(request).await {
            Ok(request) => request,
            Err(fault) => return Outcome::Failed(fault.to_string()),
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(fault) => return Outcome::Failed(root_cause(&fault)),
        };
        let status = answer.status();
        if status.is_success() {
            return Outcome::Accepted;
        }
        let shown = status_of(&answer);
        let text = answer.text().await.unwrap_or_default();
        let text: String = text.chars().take(500).collect();
        let answer = format!("{shown}: {text}");
        if may_be_about_alerts(status) { Outcome::Refused(answer) } else { Outcome::Failed(answer) }
    }
}

/// Whether an answer may be about the alerts, and not only about who sends them, where, and how often.
fn may_be_about_alerts(status: StatusCode) -> bool {
    let others = [
        StatusCode::UNAUTHORIZED,
        StatusCode::NOT_FOUND,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    status.is_client_error() && !others.contains(&status)
}

/// Waits until then, for ever if that is never.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
