//! Which Alertmanagers there are now, and what waits for each.
//!
//! An Alertmanager that is not found any more may be back in a moment: discovery was wrong for once, or
//! a configuration is put right. Until then its outbox goes on collecting, without sending, for a limited
//! time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::outbox::{Change, Entry, Fingerprint, Outbox};
use super::targets::Targets;
use super::{AlertmanagerSet, Metrics, lock, wire};
use crate::client::RenewingClient;
use crate::discovery::Discovery;
use crate::model::{Labels, TimestampMs};
use crate::relabel::{self, relabel};
use crate::rules::Alert;

/// The most alerts that wait for one Alertmanager. Prometheus' `--alertmanager.notification-queue-capacity`
/// is 10,000; so many at once have to fit in beside those that wait already. Each waiting alert counts once
/// however often it is sent, and takes about a kilobyte.
pub(super) const CAPACITY: usize = 20_000;

/// The most Alertmanagers that are not found any more and kept all the same. Where addresses come and go,
/// those that went first are given up first.
pub(super) const MOST_LOST: usize = 32;

/// All Alertmanagers.
#[derive(Default)]
pub(super) struct Destinations {
    pub(super) terms: Terms,
    /// In the order of the configuration. An Alertmanager that several find belongs to the first of them.
    pub(super) sets: Vec<Set>,
    by_name: BTreeMap<String, Destination>,
    /// The alerts that fire, for Alertmanagers that are yet to be found.
    firing: BTreeMap<Fingerprint, Alert>,
    /// What has to be written down about those that were given up.
    given_up: Vec<Unsaved>,
}

/// What is done to the labels of every alert.
#[derive(Default)]
pub(super) struct Terms {
    pub(super) external_labels: Labels,
    pub(super) alert_relabel: Vec<relabel::Rule>,
}

impl Terms {
    /// The labels with which an alert is sent, unless relabelling drops it.
    fn labels(&self, alert: &Alert) -> Option<Labels> {
        relabel(&self.alert_relabel, &wire::with_external(&alert.labels, &self.external_labels))
    }
}

/// Changes of one Alertmanager's outbox.
pub(super) type Unsaved = (String, BTreeMap<Fingerprint, Change>);

/// Alertmanagers that are found and reached in the same way.
pub(super) struct Set {
    pub(super) config: Arc<AlertmanagerSet>,
    pub(super) client: RenewingClient,
    pub(super) discovery: Discovery,
    pub(super) targets: Targets,
}

/// One Alertmanager.
struct Destination {
    /// How it is reached; unknown of one that is known from before the start alone.
    set: Option<Arc<AlertmanagerSet>>,
    outbox: Arc<Mutex<Outbox>>,
    state: State,
}

enum State {
    Found(Sending),
    Lost { since: Instant },
}

/// A running send loop.
pub(super) struct Sending {
    /// Tells it that something is written down and may be sent.
    pub(super) ready: watch::Sender<()>,
    /// Ends it.
    pub(super) stop: CancellationToken,
}

impl Set {
    pub(super) fn new(config: AlertmanagerSet, client: RenewingClient, discovery: Discovery) -> Self {
        Self { config: Arc::new(config), client, discovery, targets: Targets::default() }
    }

    /// Follows discovery; says what is wrong with what it yields, once.
    fn resolve(&mut self) {
        let targets = Targets::resolve(&self.config, self.discovery.found().borrow().groups());
        for fault in targets.faults.iter().filter(|fault| !self.targets.faults.contains(fault)) {
            warn!("An Alertmanager that was discovered cannot be used: {fault}");
        }
        self.targets = targets;
    }
}

impl Destination {
    fn is_found(&self) -> bool {
        self.sending().is_some()
    }

    /// Its send loop, if it is found.
    fn sending(&self) -> Option<&Sending> {
        match &self.state {
            State::Found(sending) => Some(sending),
            State::Lost { .. } => None,
        }
    }

    fn lost_since(&self) -> Option<Instant> {
        match self.state {
            State::Found(_) => None,
            State::Lost { since } => Some(since),
        }
    }

    fn stop(&self) {
        if let Some(sending) = self.sending() {
            sending.stop.cancel();
        }
    }
}

impl Destinations {
    /// What was waiting when the process ended, for Alertmanagers that are yet to be found.
    pub(super) fn restored(entries: BTreeMap<String, Vec<(Fingerprint, Entry)>>) -> Self {
        let state = || State::Lost { since: Instant::now() };
        let outbox = |entries| Arc::new(Mutex::new(Outbox::restored(CAPACITY, entries)));
        let destinations = entries.into_iter().map(|(name, entries)| {
            (name, Destination { set: None, outbox: outbox(entries), state: state() })
        });
        Self { by_name: destinations.collect(), ..Self::default() }
    }

    /// How many alerts wait for Alertmanagers that are found.
    pub(super) fn waiting(&self) -> usize {
        let found = self.by_name.values().filter(|one| one.is_found());
        found.map(|one| lock(&one.outbox).len()).sum()
    }

    /// How many of them can be delivered as far as is known: those that were not refused.
    pub(super) fn deliverable(&self) -> usize {
        let found = self.by_name.values().filter(|one| one.is_found()).map(|one| lock(&one.outbox));
        found.map(|outbox| outbox.len() - outbox.refused()).sum()
    }

    /// Puts an alert into the outbox of each Alertmanager.
    pub(super) fn put(&mut self, alert: Alert, now: TimestampMs, metrics: &Metrics) {
        let fingerprint = alert.labels.hash64();
        if let Some(labels) = self.terms.labels(&alert) {
            let mut same_for_most: Option<Bytes> = None;
            for (name, destination) in &self.by_name {
                let body = match destination.set.as_ref().map(|set| set.alert_relabel.as_slice()) {
                    // It is not known what it would get.
                    None => continue,
                    Some([]) => {
                        same_for_most.get_or_insert_with(|| wire::encode(&alert, &labels).into()).clone()
                    }
                    Some(rules) => match relabel(rules, &labels) {
                        None => continue,
                        Some(labels) => wire::encode(&alert, &labels).into(),
                    },
                };
                if lock(&destination.outbox).put(fingerprint, body, now) {
                    metrics.dropped(name);
                }
            }
        }
        if alert.resolved {
            self.firing.remove(&fingerprint);
        } else {
            self.firing.insert(fingerprint, alert);
        }
    }

    /// Says how many alerts wait for each Alertmanager that is found.
    pub(super) fn count_waiting(&self, metrics: &Metrics) {
        for (name, destination) in self.by_name.iter().filter(|(_, one)| one.is_found()) {
            metrics.waiting(name, lock(&destination.outbox).len());
        }
    }

    /// Makes the Alertmanagers those that the sets find now; `start` starts the send loop of one. What is
    /// unchanged goes on undisturbed. One that is new is told at once what fires; it would hear of it with
    /// the next sending anyway.
    pub(super) fn sync(
        &mut self,
        now: TimestampMs,
        metrics: &Metrics,
        mut start: impl FnMut(&str, &Set, &Arc<Mutex<Outbox>>) -> Sending,
    ) {
        self.sets.iter_mut().for_each(Set::resolve);
        let still_firing = |alert: &Alert| alert.ends_at > now;
        let tell = |set: &Set, outbox: &Mutex<Outbox>| {
            let mut outbox = lock(outbox);
            for (fingerprint, alert) in self.firing.iter().filter(|(_, alert)| still_firing(alert)) {
                let labels = self.terms.labels(alert);
                if let Some(labels) = labels.and_then(|labels| relabel(&set.config.alert_relabel, &labels)) {
                    outbox.put(*fingerprint, wire::encode(alert, &labels).into(), now);
                }
            }
        };
        let mut wanted: BTreeMap<&str, &Set> = BTreeMap::new();
        for set in &self.sets {
            for url in &set.targets.active {
                wanted.entry(url.as_str()).or_insert(set);
            }
        }
        metrics.discovered(wanted.len());
        for (name, destination) in &mut self.by_name {
            let Some(set) = wanted.remove(name.as_str()) else {
                if destination.is_found() {
                    destination.stop();
                    destination.state = State::Lost { since: Instant::now() };
                    metrics.forget(name);
                }
                continue;
            };
            let unchanged = destination.set.as_ref().is_some_and(|known| Arc::ptr_eq(known, &set.config));
            if !destination.is_found() || !unchanged {
                destination.stop();
                if destination.set.is_none() {
                    tell(set, &destination.outbox);
                }
                destination.set = Some(set.config.clone());
                destination.state = State::Found(start(name, set, &destination.outbox));
            }
        }
        for (name, set) in wanted {
            let outbox = Arc::new(Mutex::new(Outbox::restored(CAPACITY, [])));
            tell(set, &outbox);
            let state = State::Found(start(name, set, &outbox));
            let destination = Destination { set: Some(set.config.clone()), outbox, state };
            self.by_name.insert(name.to_owned(), destination);
        }
    }

    /// Forgets what is over: alerts that do not fire any more, and Alertmanagers that have not been found for
    /// as long as `keep`.
    pub(super) fn review(&mut self, now: TimestampMs, keep: Duration) {
        self.firing.retain(|_, alert| alert.ends_at > now);
        let mut lost: Vec<(Instant, String)> = self
            .by_name
            .iter()
            .filter_map(|(name, destination)| Some((destination.lost_since()?, name.clone())))
            .collect();
        lost.sort();
        let too_many = lost.len().saturating_sub(MOST_LOST);
        for (index, (since, name)) in lost.into_iter().enumerate() {
            if index >= too_many && since.elapsed() < keep {
                continue;
            }
            let Some(destination) = self.by_name.remove(&name) else { continue };
            let mut outbox = lock(&destination.outbox);
            if outbox.len() > 0 {
                let alerts = outbox.len();
                warn!(alertmanager = %name, alerts, "an Alertmanager is gone, and what it was not told with it");
            }
            self.given_up.push((name, outbox.clear()));
        }
    }

    /// Changes that have to be written down, and whom to tell when they are.
    pub(super) fn take_unsaved(&mut self, metrics: &Metrics) -> (Vec<Unsaved>, Vec<watch::Sender<()>>) {
        let mut changes = std::mem::take(&mut self.given_up);
        let mut touched = Vec::new();
        let mut kept = 0;
        for (name, destination) in &self.by_name {
            let mut outbox = lock(&destination.outbox);
            let unsaved = outbox.take_unsaved();
            match destination.sending() {
                Some(sending) if !unsaved.is_empty() => touched.push(sending.ready.clone()),
                Some(_) => {}
                None => kept += outbox.len(),
            }
            if !unsaved.is_empty() {
                changes.push((name.clone(), unsaved));
            }
        }
        metrics.kept(kept);
        (changes, touched)
    }
}
