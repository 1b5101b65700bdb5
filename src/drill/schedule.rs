//! Drills that are repeated.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use super::course::run;
use super::{Echo, Metrics, Scheduled};
use crate::clock::SharedClock;
use crate::model::Labels;
use crate::notifier::Notifier;
use crate::schedule::{Schedule, Ticker};

/// What drills are held with.
#[derive(Clone)]
pub struct Parts {
    /// Delivers alerts.
    pub notifier: Arc<Notifier>,
    /// Knows what came back.
    pub echo: Arc<Echo>,
    /// Tells the time.
    pub clock: SharedClock,
    /// Figures.
    pub metrics: Metrics,
}

/// Holds drills, each in its slots.
pub struct Drills {
    parts: Parts,
    running: BTreeMap<String, (Scheduled, CancellationToken)>,
    tracker: TaskTracker,
}

impl Drills {
    /// No drills.
    pub fn new(parts: Parts) -> Self {
        Self { parts, running: BTreeMap::new(), tracker: TaskTracker::new() }
    }

    /// Changes which drills are held. One that did not change goes on undisturbed.
    pub fn apply(&mut self, wanted: &[Scheduled]) {
        let parts = &self.parts;
        self.running.retain(|name, (known, stop)| {
            let kept = wanted.contains(known);
            if !kept {
                stop.cancel();
                parts.metrics.forget(name);
            }
            kept
        });
        for scheduled in wanted {
            let name = &scheduled.drill.alert;
            if !self.running.contains_key(name) {
                let stop = CancellationToken::new();
                self.parts.metrics.introduce(name);
                self.tracker.spawn(repeat(self.parts.clone(), scheduled.clone(), stop.clone()));
                self.running.insert(name.clone(), (scheduled.clone(), stop));
            }
        }
    }

    /// Ends all drills; the alerts of those that are going on are resolved.
    pub async fn shutdown(self) {
        self.running.values().for_each(|(_, stop)| stop.cancel());
        self.tracker.close();
        self.tracker.wait().await;
    }
}

async fn repeat(parts: Parts, scheduled: Scheduled, stop: CancellationToken) {
    let Scheduled { drill, interval } = scheduled;
    let identity = Labels::from_pairs([("drill", &drill.alert)]).hash64();
    let mut ticker = Ticker::new(Schedule::spread(interval, identity), parts.clock.clone());
    while ticker.tick(&stop).await.is_some() {
        let outcome = run(&drill, &parts.notifier, &parts.echo, &*parts.clock, &stop).await;
        if stop.is_cancelled() {
            return;
        }
        parts.metrics.held(&drill.alert, &outcome, parts.clock.now());
        match outcome.failures.first() {
            None => info!(drill = %drill.alert, took = ?outcome.page_path(), "The drill got through"),
            Some(failure) => error!(
                drill = %drill.alert, stage = failure.stage.name(), alertmanager = %failure.alertmanager,
                "The drill did not get through: {}", failure.what
            ),
        }
    }
}
