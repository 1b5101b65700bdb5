//! Delivering alerts to Alertmanagers: at least once, each independently of the others.
//!
//! Every alert goes into an outbox for each Alertmanager, which is written to disk before anything is
//! sent, and leaves it when that Alertmanager has acknowledged it. An Alertmanager that is away gets
//! the newest state of everything as soon as it is back.

mod config;
mod destinations;
mod metrics;
mod outbox;
mod reached;
mod send;
mod targets;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info_span};

use crate::client::{ClientError, RenewingClient};
use crate::clock::SharedClock;
use crate::discovery::{self, Discovery, Resolver};
use crate::model::TimestampMs;
use crate::rules::{Alert, AlertSink};
use crate::state::{Changes, OutboxEntry, OutboxKey, StateError, StateStore};

pub use config::{AlertmanagerSet, Config};
pub use metrics::Metrics;
pub use reached::Reached;

use destinations::{Destinations, Sending, Set, Terms, Unsaved};
use outbox::{Change, Entry, Outbox};
use send::Sender;

/// How long the outbox of an Alertmanager that is not found any more is kept. Source: rules go on sending
/// a resolved alert for as long (Prometheus' `resolvedRetention`), and whatever still fires anyway; what
/// is older ends in Alertmanager by itself.
pub const KEEP_LOST: Duration = Duration::from_mins(15);

/// So many changes take about a millisecond to be encoded.
const MANY: usize = 1_000;

/// So many alerts are put into outboxes while others wait for the lock.
const TOGETHER: usize = 256;

/// What a notifier works with.
pub struct Services {
    /// Where outboxes are written down.
    pub store: Arc<dyn StateStore>,
    /// Tells the time.
    pub clock: SharedClock,
    /// Figures about delivery.
    pub metrics: Metrics,
    /// Figures about discovery.
    pub discovery: discovery::Metrics,
    /// Asks name servers.
    pub resolver: Resolver,
    /// How long the outbox of an Alertmanager that is not found any more is kept; [`KEEP_LOST`].
    pub keep_lost: Duration,
}

/// Takes alerts and sees to their delivery.
pub struct Notifier(Arc<Shared>);

struct Shared {
    services: Services,
    destinations: Mutex<Destinations>,
    /// Wakes the task that writes outboxes down.
    unsaved: Notify,
    /// How often each Alertmanager has to acknowledge something.
    proof_interval: watch::Sender<Option<Duration>>,
    /// When one of them last did; the smallest number for never.
    acknowledged: AtomicI64,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Cancelled when outboxes are not written down any more.
    ended: CancellationToken,
}

impl Notifier {
    /// A notifier that sends nothing until [`Self::apply`] tells it where to, with what was waiting when
    /// the process ended.
    pub async fn start(services: Services) -> Result<Self, StateError> {
        let mut restored: BTreeMap<String, Vec<(u64, Entry)>> = BTreeMap::new();
        for OutboxEntry { alertmanager, fingerprint, sequence, payload } in services.store.outbox().await? {
            if let Some(entry) = Entry::decode(sequence, &payload) {
                restored.entry(alertmanager).or_default().push((fingerprint, entry));
            }
        }
        let shared = Arc::new(Shared {
            services,
            destinations: Mutex::new(Destinations::restored(restored)),
            unsaved: Notify::new(),
            proof_interval: watch::Sender::new(None),
            acknowledged: AtomicI64::new(TimestampMs::MIN),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        let (saving, ended) = (save_changes(shared.clone()), shared.ended.clone().drop_guard());
        let saving = async move {
            let _ended = ended;
            saving.await;
        };
        shared.tracker.spawn(saving.instrument(info_span!("outbox")));
        Ok(Self(shared))
    }

    /// Changes where alerts go. What is unchanged goes on undisturbed. An Alertmanager that stays keeps
    /// its outbox; that of one that goes is kept for a while. Reads the files of TLS settings.
    pub fn apply(&self, config: &Config) -> Result<(), ClientError> {
        let known: Vec<(Arc<AlertmanagerSet>, RenewingClient)> = {
            let destinations = lock(&self.0.destinations);
            destinations.sets.iter().map(|set| (set.config.clone(), set.client.clone())).collect()
        };
        let mut wanted = Vec::new();
        for set in &config.alertmanagers {
            let client = match known.iter().find(|(config, _)| **config == *set) {
                Some((_, client)) => {
                    client.look_again()?;
                    client.clone()
                }
                None => set.http.renewing_client(&Method::POST, set.timeout)?,
            };
            wanted.push((set, client));
        }
        let mut destinations = lock(&self.0.destinations);
        let (external_labels, alert_relabel) = (config.external_labels.clone(), config.alert_relabel.clone());
        destinations.terms = Terms { external_labels, alert_relabel };
        let mut known = std::mem::take(&mut destinations.sets);
        let mut sets: Vec<Set> = Vec::new();
        for (config, client) in wanted {
            let mut claim =
                |fits: &dyn Fn(&Set) -> bool| known.iter().position(fits).map(|index| known.remove(index));
            if sets.iter().any(|set| *set.config == *config) {
                continue;
            }
            let set = claim(&|set| *set.config == *config).unwrap_or_else(|| {
                let same = claim(&|set| *set.discovery.config() == config.discovery);
                // What was discovered stays until something else is.
                let discovery = same.map_or_else(|| self.0.discover(&config.discovery), |set| set.discovery);
                Set::new(config.clone(), client, discovery)
            });
            sets.push(set);
        }
        destinations.sets = sets;
        self.0.proof_interval.send_replace(config.proof_interval);
        self.0.sync(&mut destinations);
        Ok(())
    }

    /// The URLs that alerts are posted to.
    pub fn alertmanagers(&self) -> Vec<String> {
        let destinations = lock(&self.0.destinations);
        let active = destinations.sets.iter().flat_map(|set| &set.targets.active);
        active.map(ToString::to_string).collect()
    }

    /// The URLs of Alertmanagers that were discovered and that relabelling left out.
    pub fn dropped_alertmanagers(&self) -> Vec<String> {
        let destinations = lock(&self.0.destinations);
        destinations.sets.iter().flat_map(|set| &set.targets.dropped).cloned().collect()
    }

    /// Whether there is anybody to tell, found or not.
    pub fn is_configured(&self) -> bool {
        !lock(&self.0.destinations).sets.is_empty()
    }

    /// When an Alertmanager last acknowledged something.
    pub fn last_acknowledged(&self) -> Option<TimestampMs> {
        let at = self.0.acknowledged.load(Ordering::Acquire);
        (at != TimestampMs::MIN).then_some(at)
    }

    /// How many alerts still have to be delivered, over all Alertmanagers.
    pub fn waiting(&self) -> usize {
        lock(&self.0.destinations).waiting()
    }

    /// Cancelled when nothing is delivered any more, be it after [`Self::shutdown`] or by a panic.
    pub fn ended(&self) -> CancellationToken {
        self.0.ended.clone()
    }

    /// Waits until everything is delivered that is not refused, at most for `grace`, and then stops. What is left is on disk
    /// and goes out after the next start.
    pub async fn shutdown(&self, grace: Duration) {
        let delivered = async {
            while lock(&self.0.destinations).deliverable() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Running out of time is no failure: the outbox is durable.
        let _ = tokio::time::timeout(grace, delivered).await;
        self.0.stop.cancel();
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }
}

impl AlertSink for Notifier {
    fn send(&self, alerts: Vec<Alert>) {
        let Services { clock, metrics, .. } = &self.0.services;
        let now = clock.now();
        let mut alerts = alerts.into_iter().peekable();
        while alerts.peek().is_some() {
            let mut destinations = lock(&self.0.destinations);
            alerts.by_ref().take(TOGETHER).for_each(|alert| destinations.put(alert, now, metrics));
        }
        lock(&self.0.destinations).count_waiting(metrics);
        self.0.unsaved.notify_one();
    }
}

impl Shared {
    /// Begins to look for Alertmanagers, and to follow what is found.
    fn discover(self: &Arc<Self>, config: &discovery::Config) -> Discovery {
        let Services { resolver, discovery, .. } = &self.services;
        let discovery = Discovery::start(config, resolver, discovery, &self.tracker, &self.stop);
        let (shared, mut found) = (self.clone(), discovery.found());
        let follow = async move {
            // It ends when nothing looks any more.
            while found.changed().await.is_ok() {
                let shared = shared.clone();
                // A new Alertmanager is told all that fires, which may be much.
                let syncing =
                    tokio::task::spawn_blocking(move || shared.sync(&mut lock(&shared.destinations)));
                syncing.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            }
        };
        self.tracker.spawn(follow);
        discovery
    }

    /// Makes the Alertmanagers those that are found now.
    fn sync(self: &Arc<Self>, destinations: &mut Destinations) {
        let Services { clock, metrics, .. } = &self.services;
        let start = |name: &str, set: &Set, outbox: &Arc<Mutex<Outbox>>| {
            metrics.introduce(name, destinations::CAPACITY);
            let sender = Sender {
                name: name.to_owned(),
                set: set.config.clone(),
                client: set.client.clone(),
                outbox: outbox.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
                proof_interval: self.proof_interval.subscribe(),
            };
            let (ready, woken) = watch::channel(());
            let (stop, shared) = (self.stop.child_token(), self.clone());
            let run = sender.run(woken, stop.clone(), move |acknowledged| {
                if let Some(at) = acknowledged {
                    shared.acknowledged.store(at, Ordering::Release);
                }
                shared.unsaved.notify_one();
            });
            self.tracker.spawn(run.instrument(info_span!("alertmanager", alertmanager = name)));
            Sending { ready, stop }
        };
        destinations.sync(clock.now(), metrics, start);
        self.unsaved.notify_one();
    }
}

/// Writes outboxes down whenever they changed, then lets the send loops go; and gives up what is not
/// found any more.
async fn save_changes(shared: Arc<Shared>) {
    let Services { store, clock, metrics, keep_lost, .. } = &shared.services;
    let mut review = tokio::time::interval((*keep_lost / 10).max(Duration::from_millis(1)));
    review.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        let last = tokio::select! {
            () = shared.unsaved.notified() => false,
            _ = review.tick() => {
                lock(&shared.destinations).review(clock.now(), *keep_lost);
                false
            }
            () = shared.stop.cancelled() => true,
        };
        let (unsaved, touched) = lock(&shared.destinations).take_unsaved(metrics);
        let alerts: usize = unsaved.iter().map(|(_, changes)| changes.len()).sum();
        let changes = if alerts < MANY {
            changes(unsaved)
        } else {
            let encoding = tokio::task::spawn_blocking(move || changes(unsaved));
            encoding.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        };
        if !changes.is_empty() {
            // A disk that cannot be written must not keep a page from going out: it is sent all the
            // same, and only a crash could lose it. Nor is it waited for as long as it fails.
            let wake = || {
                for ready in &touched {
                    ready.send_replace(());
                }
            };
            let sent_before = failing;
            if sent_before {
                wake();
            }
            match store.commit(changes).await {
                Ok(()) => failing = false,
                Err(fault) => {
                    metrics.store_failures.inc();
                    if !failing {
                        error!(%fault, "the outbox cannot be written to disk; alerts are sent from memory");
                    }
                    failing = true;
                }
            }
            if !sent_before {
                wake();
            }
        }
        if last {
            return;
        }
    }
}

fn changes(unsaved: Vec<Unsaved>) -> Changes {
    // One who was given up may be back already: only the last change of an alert counts.
    let mut last = BTreeMap::new();
    for (alertmanager, unsaved) in unsaved {
        let named = |(fingerprint, change)| ((alertmanager.clone(), fingerprint), change);
        last.extend(unsaved.into_iter().map(named));
    }
    let mut changes = Changes::default();
    for ((alertmanager, fingerprint), change) in last {
        match change {
            Change::Put(entry) => {
                let (sequence, payload) = (entry.sequence, entry.encode());
                changes.outbox.push(OutboxEntry { alertmanager, fingerprint, sequence, payload });
            }
            // Nothing newer can be there: changes are written in their order.
            Change::Remove => {
                changes.delivered.push(OutboxKey { alertmanager, fingerprint, sequence: None });
            }
        }
    }
    changes
}

/// A poisoned lock means that another task panicked between two complete changes; the data is usable.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
