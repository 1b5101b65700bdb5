//! Delivering alerts to Alertmanagers: at least once, each independently of the others.
//!
//! Every alert goes into an outbox for each Alertmanager, which is written to disk before anything is
//! sent, and leaves it when that Alertmanager has acknowledged it. An Alertmanager that is away gets
//! the newest state of everything as soon as it is back.

mod metrics;
mod outbox;
mod send;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info_span};
use url::Url;

use crate::client::{ClientError, HttpAuth, TlsConfig};
use crate::clock::SharedClock;
use crate::model::Labels;
use crate::relabel::{self, relabel};
use crate::rules::{Alert, AlertSink};
use crate::state::{Changes, OutboxEntry, OutboxKey, StateError, StateStore};

pub use metrics::Metrics;

use outbox::{Change, Entry, Outbox};
use send::Sender;

/// Where alerts go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// The Alertmanagers; each gets every alert.
    pub alertmanagers: Vec<Alertmanager>,
    /// Labels that every alert gets unless it has one of that name.
    pub external_labels: Labels,
    /// What is done to the labels of every alert, external labels included.
    pub alert_relabel: Vec<relabel::Rule>,
}

/// One Alertmanager.
#[derive(Debug, Clone, PartialEq)]
pub struct Alertmanager {
    /// Base URL, without `/api/v2/alerts`.
    pub url: Url,
    /// Time a delivery may take.
    pub timeout: Duration,
    /// Credentials.
    pub auth: Option<HttpAuth>,
    /// TLS.
    pub tls: TlsConfig,
    /// What is done to the labels of the alerts for this Alertmanager, after what is done for all.
    pub alert_relabel: Vec<relabel::Rule>,
}

impl Alertmanager {
    /// What it is called in metrics and in the outbox: its URL without credentials.
    pub fn name(&self) -> String {
        let mut url = self.url.clone();
        // Neither can fail for a URL with a host, and the configuration accepts no other.
        let _ = url.set_password(None);
        let _ = url.set_username("");
        url.path_segments_mut()
            .expect("an HTTP URL has a path")
            .pop_if_empty()
            .extend(["api", "v2", "alerts"]);
        url.to_string()
    }
}

/// The most alerts that wait for one Alertmanager. Source: Prometheus' `--alertmanager.notification-
/// queue-capacity`, 10,000; here each waiting alert counts once however often it is sent.
const CAPACITY: usize = 10_000;

/// Takes alerts and sees to their delivery.
pub struct Notifier {
    shared: Arc<Shared>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

struct Shared {
    store: Arc<dyn StateStore>,
    clock: SharedClock,
    metrics: Metrics,
    destinations: Mutex<Destinations>,
    /// Wakes the task that writes outboxes down.
    unsaved: Notify,
}

#[derive(Default)]
struct Destinations {
    external_labels: Labels,
    alert_relabel: Vec<relabel::Rule>,
    by_name: BTreeMap<String, Destination>,
    /// Entries restored for Alertmanagers that have not been configured (yet).
    restored: BTreeMap<String, Vec<(u64, Entry)>>,
}

struct Destination {
    config: Alertmanager,
    outbox: Arc<Mutex<Outbox>>,
    /// Tells the send loop that something is written down and may be sent.
    ready: watch::Sender<()>,
    stop: CancellationToken,
}

impl Notifier {
    /// A notifier that sends nothing until [`Self::apply`] tells it where to, with what was waiting when
    /// the process ended.
    pub async fn start(
        store: Arc<dyn StateStore>,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Result<Self, StateError> {
        let mut restored: BTreeMap<String, Vec<(u64, Entry)>> = BTreeMap::new();
        for OutboxEntry { alertmanager, fingerprint, sequence, payload } in store.outbox().await? {
            if let Some(entry) = Entry::decode(sequence, &payload) {
                restored.entry(alertmanager).or_default().push((fingerprint, entry));
            }
        }
        let destinations = Mutex::new(Destinations { restored, ..Destinations::default() });
        let shared = Arc::new(Shared { store, clock, metrics, destinations, unsaved: Notify::new() });
        let notifier = Self { shared, tracker: TaskTracker::new(), stop: CancellationToken::new() };
        let (shared, stop) = (notifier.shared.clone(), notifier.stop.clone());
        notifier.tracker.spawn(save_changes(shared, stop).instrument(info_span!("outbox")));
        Ok(notifier)
    }

    /// Changes where alerts go. Alertmanagers that stay keep their outbox; those that go lose it.
    pub fn apply(&self, config: &Config) -> Result<(), ClientError> {
        let mut senders = BTreeMap::new();
        for alertmanager in &config.alertmanagers {
            let name = alertmanager.name();
            senders.insert(name.clone(), Sender::new(&name, alertmanager)?);
        }
        let mut destinations = lock(&self.shared.destinations);
        destinations.external_labels = config.external_labels.clone();
        destinations.alert_relabel.clone_from(&config.alert_relabel);
        let unchanged = |name: &str, old: &Destination| {
            config.alertmanagers.iter().any(|new| new.name() == name && *new == old.config)
        };
        let mut kept = BTreeMap::new();
        for (name, old) in std::mem::take(&mut destinations.by_name) {
            if unchanged(&name, &old) {
                senders.remove(&name);
                kept.insert(name, old);
            } else {
                old.stop.cancel();
                if senders.contains_key(&name) {
                    let waiting = lock(&old.outbox).batch(usize::MAX);
                    destinations.restored.insert(name, waiting);
                } else {
                    self.shared.metrics.forget(&name);
                }
            }
        }
        for (name, sender) in senders {
            let waiting = destinations.restored.remove(&name).unwrap_or_default();
            let outbox = Arc::new(Mutex::new(Outbox::restored(CAPACITY, waiting)));
            let (ready, woken) = watch::channel(());
            let stop = self.stop.child_token();
            let shared = &self.shared;
            self.shared.metrics.introduce(&name);
            let run = sender.run(
                outbox.clone(),
                woken,
                shared.clock.clone(),
                shared.metrics.clone(),
                stop.clone(),
                {
                    let shared = shared.clone();
                    move || shared.unsaved.notify_one()
                },
            );
            let span = info_span!("alertmanager", alertmanager = %name);
            self.tracker.spawn(run.instrument(span));
            let found = config.alertmanagers.iter().find(|one| one.name() == name);
            let config = found.expect("the senders were made from this list").clone();
            kept.insert(name, Destination { config, outbox, ready, stop });
        }
        destinations.by_name = kept;
        self.shared.metrics.discovered(destinations.by_name.len());
        Ok(())
    }

    /// The URLs that alerts are posted to.
    pub fn alertmanagers(&self) -> Vec<String> {
        lock(&self.shared.destinations).by_name.keys().cloned().collect()
    }

    /// How many alerts still have to be delivered, over all Alertmanagers.
    pub fn waiting(&self) -> usize {
        lock(&self.shared.destinations).by_name.values().map(|one| lock(&one.outbox).len()).sum()
    }

    /// Waits until everything is delivered, at most for `grace`, and then stops. What is left is on disk
    /// and goes out after the next start.
    pub async fn shutdown(&self, grace: Duration) {
        let delivered = async {
            while self.waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Running out of time is no failure: the outbox is durable.
        let _ = tokio::time::timeout(grace, delivered).await;
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl AlertSink for Notifier {
    fn send(&self, alerts: Vec<Alert>) {
        let now = self.shared.clock.now();
        let destinations = lock(&self.shared.destinations);
        for alert in alerts {
            let labels = wire::with_external(&alert.labels, &destinations.external_labels);
            let Some(labels) = relabel(&destinations.alert_relabel, &labels) else { continue };
            for (name, destination) in &destinations.by_name {
                let Some(labels) = relabel(&destination.config.alert_relabel, &labels) else { continue };
                let body = wire::encode(&alert, &labels);
                let dropped = lock(&destination.outbox).put(alert.labels.hash64(), body, now);
                self.shared.metrics.queued(name, dropped);
            }
        }
        drop(destinations);
        self.shared.unsaved.notify_one();
    }
}

/// Writes outboxes down whenever they changed, then lets the send loops go.
async fn save_changes(shared: Arc<Shared>, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let last = tokio::select! {
            () = shared.unsaved.notified() => false,
            () = stop.cancelled() => true,
        };
        let mut changes = Changes::default();
        let mut touched = Vec::new();
        for (name, destination) in &lock(&shared.destinations).by_name {
            let unsaved = lock(&destination.outbox).take_unsaved();
            if !unsaved.is_empty() {
                touched.push(destination.ready.clone());
                for change in unsaved {
                    add(&mut changes, name, change);
                }
            }
        }
        if !changes.is_empty() {
            // A disk that cannot be written must not keep a page from going out: it is sent all the
            // same, and only a crash could lose it.
            match shared.store.commit(changes).await {
                Ok(()) => failing = false,
                Err(fault) => {
                    shared.metrics.store_failures.inc();
                    if !failing {
                        error!(%fault, "the outbox cannot be written to disk; alerts are sent from memory");
                    }
                    failing = true;
                }
            }
            for ready in touched {
                ready.send_replace(());
            }
        }
        if last {
            return;
        }
    }
}

fn add(changes: &mut Changes, alertmanager: &str, change: Change) {
    let alertmanager = alertmanager.to_owned();
    match change {
        Change::Put(fingerprint, entry) => {
            let (sequence, payload) = (entry.sequence, entry.encode());
            changes.outbox.push(OutboxEntry { alertmanager, fingerprint, sequence, payload });
        }
        Change::Remove(fingerprint, sequence) => {
            changes.delivered.push(OutboxKey { alertmanager, fingerprint, sequence: Some(sequence) });
        }
    }
}

/// A poisoned lock means that another task panicked between two complete changes; the data is usable.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::routing::post;
    use prometheus_client::registry::Registry;
    use serde_json::Value;

    use super::*;
    use crate::clock::SystemClock;
    use crate::state::MemoryStore;

    /// An Alertmanager that can be told to fail and that refuses alerts named `bad`.
    #[derive(Clone, Default)]
    struct Fake {
        fail_next: Arc<AtomicU32>,
        names: Arc<Mutex<Vec<String>>>,
    }

    async fn receive(State(fake): State<Fake>, body: String) -> (StatusCode, &'static str) {
        let failing = fake.fail_next.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if failing.is_ok() {
            return (StatusCode::INTERNAL_SERVER_ERROR, "not now");
        }
        let alerts: Vec<Value> = serde_json::from_str(&body).expect("a JSON list");
        let names: Vec<_> = alerts
            .iter()
            .map(|alert| alert["labels"]["alertname"].as_str().expect("a name").to_owned())
            .collect();
        if names.iter().any(|name| name == "bad") {
            return (StatusCode::BAD_REQUEST, "bad alert");
        }
        lock(&fake.names).extend(names);
        (StatusCode::OK, "")
    }

    impl Fake {
        async fn start(&self) -> Url {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("bound");
            let router = Router::new().route("/prefix/api/v2/alerts", post(receive)).with_state(self.clone());
            tokio::spawn(async move { axum::serve(listener, router).await });
            Url::parse(&format!("http://{address}/prefix/")).expect("a URL")
        }

        async fn wait_for(&self, expected: &[&str]) {
            let arrived = || {
                let mut names = lock(&self.names).clone();
                names.sort();
                names == expected
            };
            wait_until(arrived, &format!("received {expected:?}")).await;
        }
    }

    async fn wait_until(condition: impl Fn() -> bool, what: &str) {
        let met = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), met).await.is_ok(), "never true: {what}");
    }

    fn alert(name: &str) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: Labels::empty(),
            starts_at: 1,
            ends_at: 2,
            resolved: false,
            generator_url: String::new(),
        }
    }

    async fn notifier(store: &Arc<MemoryStore>) -> Notifier {
        let metrics = Metrics::register(&mut Registry::default());
        let started = Notifier::start(store.clone(), Arc::new(SystemClock), metrics).await;
        started.expect("a store in memory")
    }

    fn config(urls: &[&Url]) -> Config {
        let alertmanager = |url: &&Url| Alertmanager {
            url: (*url).clone(),
            timeout: Duration::from_secs(5),
            auth: None,
            tls: TlsConfig::default(),
            alert_relabel: Vec::new(),
        };
        Config { alertmanagers: urls.iter().map(alertmanager).collect(), ..Config::default() }
    }

    #[tokio::test]
    async fn a_failed_delivery_is_tried_again_until_it_is_acknowledged() {
        let (fake, store) = (Fake::default(), Arc::new(MemoryStore::default()));
        fake.fail_next.store(3, Ordering::SeqCst);
        let notifier = notifier(&store).await;
        notifier.apply(&config(&[&fake.start().await])).expect("usable");
        notifier.send(vec![alert("A"), alert("B")]);
        fake.wait_for(&["A", "B"]).await;
        notifier.shutdown(Duration::from_secs(10)).await;
        let waiting = store.outbox().await.expect("readable");
        assert_eq!(waiting, [], "an acknowledged alert is forgotten");
    }

    #[tokio::test]
    async fn an_alert_refused_for_good_does_not_hold_up_the_others() {
        let (fake, store) = (Fake::default(), Arc::new(MemoryStore::default()));
        let notifier = notifier(&store).await;
        notifier.apply(&config(&[&fake.start().await])).expect("usable");
        notifier.send(vec![alert("A"), alert("bad"), alert("B")]);
        fake.wait_for(&["A", "B"]).await;
        notifier.shutdown(Duration::from_secs(10)).await;
        assert_eq!(notifier.waiting(), 0);
    }

    #[tokio::test]
    async fn a_dead_alertmanager_delays_no_other_and_gets_its_alerts_after_a_restart() {
        let (fake, store) = (Fake::default(), Arc::new(MemoryStore::default()));
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let dead = format!("http://{}/", closed.local_addr().expect("bound"));
        let dead = Url::parse(&dead).expect("a URL");
        drop(closed);
        let first = notifier(&store).await;
        first.apply(&config(&[&fake.start().await, &dead])).expect("usable");
        first.send(vec![alert("A")]);
        fake.wait_for(&["A"]).await;
        wait_until(|| first.waiting() == 1, "the living one acknowledged").await;
        first.shutdown(Duration::ZERO).await;

        // Restarted, with the dead one found under the same name by a process that now listens there.
        let revived = Fake::default();
        let address = dead.socket_addrs(|| None).expect("an address")[0];
        let listener = tokio::net::TcpListener::bind(address).await.expect("the port is still free");
        let router = Router::new().route("/api/v2/alerts", post(receive)).with_state(revived.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let second = notifier(&store).await;
        second.apply(&config(&[&dead])).expect("usable");
        revived.wait_for(&["A"]).await;
        second.shutdown(Duration::from_secs(10)).await;
        assert_eq!(second.waiting(), 0);
    }

    #[tokio::test]
    async fn alerts_are_relabelled_for_all_and_for_each_alertmanager() {
        let rule = |pattern: &str, replacement: &str| {
            let spec = relabel::Spec {
                source_labels: Some(vec!["alertname".to_owned(), "region".to_owned()]),
                regex: Some(pattern.to_owned()),
                target_label: Some("alertname".to_owned()),
                replacement: Some(replacement.to_owned()),
                ..relabel::Spec::default()
            };
            relabel::Rule::new(&spec).expect("usable")
        };
        let drop_b = relabel::Spec {
            action: Some("drop".to_owned()),
            source_labels: Some(vec!["alertname".to_owned()]),
            regex: Some("B.*".to_owned()),
            ..relabel::Spec::default()
        };
        let (all, one) = (Fake::default(), Fake::default());
        let store = Arc::new(MemoryStore::default());
        let notifier = notifier(&store).await;
        let mut config = config(&[&all.start().await, &one.start().await]);
        config.external_labels = Labels::from_pairs([("region", "eu")]);
        config.alert_relabel = vec![rule("(.);(eu)", "$1-$2")];
        config.alertmanagers[1].alert_relabel = vec![relabel::Rule::new(&drop_b).expect("usable")];
        notifier.apply(&config).expect("usable");
        notifier.send(vec![alert("A"), alert("B")]);
        all.wait_for(&["A-eu", "B-eu"]).await;
        one.wait_for(&["A-eu"]).await;
        notifier.shutdown(Duration::from_secs(10)).await;
        assert_eq!(notifier.waiting(), 0, "what is dropped does not wait");
    }

    #[test]
    fn an_alertmanager_is_named_without_credentials() {
        let url = Url::parse("http://user:pw@am:9093/prefix/").expect("a URL");
        let config = config(&[&url]);
        assert_eq!(config.alertmanagers[0].name(), "http://am:9093/prefix/api/v2/alerts");
    }
}
