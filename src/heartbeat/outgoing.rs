//! Telling somebody outside that the chain works, for as long as it does.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info, info_span, warn};

use super::chain::recent;
use super::{Chain, Metrics, Reason, Told};
use crate::client::{ClientError, RenewingClient, redirected_to, root_cause};
use crate::clock::SharedClock;

/// How soon a heartbeat that is due and was not sent is thought of again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the file with the URL may take: it may be on a file system that hangs.
const FILE_TIME: Duration = Duration::from_secs(10);

/// Sends heartbeats.
pub struct Outgoing {
    services: Arc<Services>,
    running: Mutex<BTreeMap<String, Running>>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

struct Services {
    chain: Arc<dyn Chain>,
    clock: SharedClock,
    metrics: Metrics,
    /// Whether rules were evaluated since the start.
    evaluated: AtomicBool,
}

struct Running {
    told: Told,
    client: RenewingClient,
    stop: CancellationToken,
}

impl Outgoing {
    /// Sends none until [`Self::apply`] says which.
    pub fn new(chain: Arc<dyn Chain>, clock: SharedClock, metrics: Metrics) -> Self {
        Self {
            services: Arc::new(Services { chain, clock, metrics, evaluated: AtomicBool::default() }),
            running: Mutex::default(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// How often an Alertmanager has to acknowledge something so that these can be sent; never if none
    /// is tied to that.
    pub fn proof_interval(told: &[Told]) -> Option<Duration> {
        let tied = told.iter().filter(|one| one.ties.delivery);
        tied.map(|one| recent(one.interval) / 2).min()
    }

    /// Makes these the heartbeats; unchanged ones go on. Reads the files of TLS settings.
    pub fn apply(&self, all: &[Told]) -> Result<(), ClientError> {
        // Nothing panics while it is held.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = BTreeMap::new();
        for told in all {
            let client = match running.get(&told.name).filter(|one| one.told == *told) {
                Some(one) => {
                    one.client.look_again()?;
                    one.client.clone()
                }
                None => told.http.renewing_client(&told.method, told.timeout)?,
            };
            wanted.insert(told.name.clone(), (told.clone(), client));
        }
        running.retain(|name, one| {
            let unchanged = wanted.get(name).is_some_and(|(told, _)| *told == one.told);
            if unchanged {
                wanted.remove(name);
            } else {
                one.stop.cancel();
                self.services.metrics.forget(name);
            }
            unchanged
        });
        for (name, (told, client)) in wanted {
            self.services.metrics.introduce(&name);
            let stop = self.stop.child_token();
            let span = info_span!("heartbeat", heartbeat = %name);
            let run = send_again_and_again(self.services.clone(), told.clone(), client.clone());
            self.tracker.spawn(stop.clone().run_until_cancelled_owned(run.instrument(span)));
            running.insert(name, Running { told, client, stop });
        }
        Ok(())
    }

    /// Sends no more.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

async fn send_again_and_again(services: Arc<Services>, told: Told, client: RenewingClient) {
    let Services { chain, clock, metrics, evaluated } = &*services;
    let mut due = Instant::now();
    let mut withheld: Option<Reason> = None;
    loop {
        sleep_until(due).await;
        let broken = told.ties.broken(&**chain, told.interval, evaluated, clock.now());
        let outcome = match broken {
            Some(reason) => Err((reason, "the chain is broken".to_owned())),
            None => request(&told, &client).await.map_err(|fault| (Reason::Request, fault)),
        };
        match outcome {
            Ok(()) => {
                metrics.sent(&told.name, clock.now());
                if withheld.is_some() {
                    info!("The heartbeat is sent again");
                }
                withheld = None;
                due = next_due(due, told.interval, Instant::now());
            }
            Err((reason, fault)) => {
                if withheld != Some(reason) {
                    warn!(reason = reason.as_str(), fault, "The heartbeat is not sent");
                }
                withheld = Some(reason);
                if reason == Reason::Request {
                    client.failed();
                }
                sleep(RETRY.min(told.interval)).await;
            }
        }
        metrics.withheld(&told.name, withheld);
    }
}

/// An interval after it was due; or from now, if that is over: what was missed is not made up for.
fn next_due(due: Instant, interval: Duration, now: Instant) -> Instant {
    let next = due + interval;
    if next > now { next } else { now + interval }
}

/// Sends one. What is wrong does not name the URL, which is a secret.
async fn request(told: &Told, client: &RenewingClient) -> Result<(), String> {
    let url = timeout(FILE_TIME, told.url.read()).await;
    let url = url.map_err(|_| "the file with the URL was not read in time".to_owned())?;
    let url = url.map_err(|fault| fault.to_string())?;
    let request = client.current().request(told.method.clone(), url.expose());
    let request = told.http.prepare(request).await.map_err(|fault| fault.to_string())?;
    let answer = request.send().await.map_err(|fault| root_cause(&fault.without_url()))?;
    let status = answer.status();
    match redirected_to(&answer) {
        _ if status.is_success() => Ok(()),
        // Its path may be the secret one.
        Some(url) => {
            Err(format!("the answer is {status}, which leads to {}", url.origin().ascii_serialization()))
        }
        None => Err(format!("the answer is {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_keep_their_beat_and_make_up_for_none() {
        let began = Instant::now();
        let second = Duration::from_secs;
        let check = |due, now, expected| {
            let next = next_due(began + second(due), second(60), began + second(now));
            assert_eq!(next, began + second(expected));
        };
        check(0, 0, 60);
        check(60, 63, 120);
        check(60, 119, 120);
        check(60, 300, 360);
    }
}
