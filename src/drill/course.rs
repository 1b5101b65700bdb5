//! The course of a drill.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::counters::{Counters, Since};
use super::echo::Echo;
use super::observe::{self, Found};
use super::{DRILL_ID_LABEL, DRILL_LABEL, Drill};
use crate::clock::Clock;
use crate::model::{ALERT_NAME, Labels, TimestampMs};
use crate::notifier::{Notifier, Reached};
use crate::rules::{Alert, AlertSink};

/// How long after the last question the next one is asked.
const PAUSE: Duration = Duration::from_millis(250);

/// For how long after a first notification others of the same alert may fail: Alertmanager tells all
/// integrations of a receiver at once.
const SETTLE: Duration = Duration::from_secs(2);

/// Where a page can get lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// No Alertmanager is known.
    Discovery,
    /// Relabelling drops the alert.
    Relabelling,
    /// An Alertmanager cannot be reached, or does not have the alert.
    Delivery,
    /// The alert is silenced or inhibited.
    Suppression,
    /// An integration of Alertmanager fails.
    Integration,
    /// Nobody was told in time, as far as is known.
    Notification,
}

impl Stage {
    /// Its name, as it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Relabelling => "relabelling",
            Self::Delivery => "delivery",
            Self::Suppression => "suppression",
            Self::Integration => "integration",
            Self::Notification => "notification",
        }
    }
}

/// Where and why a page did not get through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Where.
    pub stage: Stage,
    /// On the way to, or at, which Alertmanager; empty if it is about all.
    pub alertmanager: String,
    /// What is wrong.
    pub what: String,
}

/// How the alert fared at an Alertmanager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The Alertmanager.
    pub alertmanager: String,
    /// The labels with which the alert arrives; none if relabelling drops it.
    pub labels: Option<Labels>,
    /// How long it took until the Alertmanager had it.
    pub seen_after: Option<Duration>,
    /// What identifies it there.
    pub fingerprint: String,
    /// Who is to receive it.
    pub receivers: Vec<String>,
    /// How long it took until a notification was seen to succeed in the Alertmanager's counters.
    pub notified_after: Option<Duration>,
    /// The integrations that told somebody something in that time.
    pub working: Vec<String>,
    /// The integrations that failed in that time.
    pub failing: Vec<String>,
}

/// What came of a drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The alert's labels before relabelling.
    pub labels: Labels,
    /// When it was sent.
    pub sent_at: TimestampMs,
    /// How it fared at each Alertmanager.
    pub arrivals: Vec<Arrival>,
    /// How long it took until the alert came back from a webhook receiver.
    pub echoed_after: Option<Duration>,
    /// Where and why it did not get through; empty if it did.
    pub failures: Vec<Failure>,
}

impl Outcome {
    /// Whether the page got through everywhere.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// How long a page takes: until it came back, or else until Alertmanager counted a notification.
    pub fn page_path(&self) -> Option<Duration> {
        self.echoed_after.or_else(|| self.arrivals.iter().filter_map(|one| one.notified_after).min())
    }
}

/// Holds a drill: sends the alert, watches what becomes of it and resolves it, also when `stop` is
/// cancelled. The resolved alert is in the notifier's outbox when this returns.
pub async fn run(
    drill: &Drill,
    notifier: &Notifier,
    echo: &Echo,
    clock: &dyn Clock,
    stop: &CancellationToken,
) -> Outcome {
    let sent_at = clock.now();
    let id = identity(&drill.alert, sent_at);
    let mut labels = drill.labels.builder();
    labels.set(ALERT_NAME, &drill.alert).set(DRILL_LABEL, "true").set(DRILL_ID_LABEL, &id);
    let labels = labels.build();
    let asking = notifier.reached(&labels).into_iter().map(|reached| async {
        let before = observe::counters(&reached).await;
        Way::new(reached, before)
    });
    let mut ways: Vec<Way> = join_all(asking).await;
    let mut alert = Alert {
        labels: labels.clone(),
        annotations: Labels::from_pairs([("summary", "This is a drill: nothing is wrong.")]),
        starts_at: sent_at,
        ends_at: sent_at.saturating_add(2 * ms(drill.timeout) + 60_000),
        resolved: false,
        generator_url: String::new(),
    };
    echo.expect(&id);
    let began = Instant::now();
    notifier.send(vec![alert.clone()]);
    let watching = watch(drill, &mut ways, echo, &id, began);
    let echoed_after = stop.run_until_cancelled(watching).await.flatten();
    echo.forget(&id);
    alert.ends_at = clock.now();
    alert.resolved = true;
    notifier.send(vec![alert]);

    let failures = judge(drill, &ways, echoed_after);
    let arrivals = ways.into_iter().map(Way::into_arrival).collect();
    Outcome { labels, sent_at, arrivals, echoed_after, failures }
}

/// Asks again and again until everything is known or the time is up.
async fn watch(drill: &Drill, ways: &mut [Way], echo: &Echo, id: &str, began: Instant) -> Option<Duration> {
    let mut settled: Option<Instant> = None;
    loop {
        join_all(ways.iter_mut().map(|way| way.look(began))).await;
        let echoed = echo.arrived(id).map(|at| at - began);
        let told = if drill.echo { echoed.is_some() } else { ways.iter().any(|way| way.notified.is_some()) };
        let seen = ways.iter().all(|way| way.found.is_some() || way.reached.labels.is_none());
        let lost = ways.iter().all(|way| way.reached.labels.is_none() || way.is_lost());
        if told && seen {
            settled.get_or_insert_with(Instant::now);
        }
        let now = Instant::now();
        let over = now - began >= drill.timeout || settled.is_some_and(|at| now - at >= SETTLE);
        if over || lost && !told {
            return echoed;
        }
        sleep(PAUSE).await;
    }
}

/// What is wrong, from the first stage to the last.
fn judge(drill: &Drill, ways: &[Way], echoed: Option<Duration>) -> Vec<Failure> {
    let failure = |stage, way: Option<&Way>, what: String| Failure {
        stage,
        alertmanager: way.map(|way| way.reached.url.to_string()).unwrap_or_default(),
        what,
    };
    if ways.is_empty() {
        return vec![failure(Stage::Discovery, None, "no Alertmanager is known".to_owned())];
    }
    let mut failures = Vec::new();
    for way in ways {
        if way.reached.labels.is_none() {
            failures.push(failure(Stage::Relabelling, Some(way), "relabelling drops the alert".to_owned()));
        } else if let Some(found) = &way.found {
            if !found.suppressed_by.is_empty() {
                let what = format!("nobody is told because of {}", found.suppressed_by.join(", "));
                failures.push(failure(Stage::Suppression, Some(way), what));
            }
        } else {
            let what = way.error.clone().unwrap_or_else(|| "it does not have the alert".to_owned());
            failures.push(failure(Stage::Delivery, Some(way), what));
        }
        if !way.since.failing.is_empty() {
            let what = format!("notifications fail by {}", way.since.failing.join(", "));
            failures.push(failure(Stage::Integration, Some(way), what));
        }
    }
    // Of several Alertmanagers that know each other one tells people.
    let counted = ways.iter().any(|way| way.notified.is_some());
    let told = if drill.echo { echoed.is_some() } else { counted };
    if !told && failures.is_empty() {
        let what = match (drill.echo, ways.iter().any(|way| way.before.is_some())) {
            (true, _) => "the alert did not come back in time".to_owned(),
            (false, true) => "no Alertmanager counted a notification in time".to_owned(),
            (false, false) => "no Alertmanager shows its metrics, and nothing is sent back".to_owned(),
        };
        failures.push(failure(Stage::Notification, None, what));
    }
    failures.sort_by_key(|failure| failure.stage);
    failures
}

/// The way to one Alertmanager and on from there.
struct Way {
    reached: Reached,
    /// Its counters before the drill.
    before: Option<Counters>,
    since: Since,
    seen_after: Option<Duration>,
    notified: Option<Duration>,
    found: Option<Found>,
    /// Why it did not answer the last question.
    error: Option<String>,
}

impl Way {
    fn new(reached: Reached, before: Option<Counters>) -> Self {
        let since = Since::default();
        Self { reached, before, since, seen_after: None, notified: None, found: None, error: None }
    }

    /// Whether nothing more is to be expected here.
    fn is_lost(&self) -> bool {
        self.since.given_up || self.found.as_ref().is_some_and(|found| !found.suppressed_by.is_empty())
    }

    /// Asks what has become of the alert.
    async fn look(&mut self, began: Instant) {
        let Some(labels) = &self.reached.labels else { return };
        match observe::find(&self.reached, labels).await {
            Ok(Some(found)) => {
                self.seen_after.get_or_insert_with(|| began.elapsed());
                self.found = Some(found);
                self.error = None;
            }
            Ok(None) => self.error = None,
            Err(error) => self.error = Some(error),
        }
        // Until it has the alert whatever it counts is about others.
        if self.found.is_none() {
            return;
        }
        if let Some(before) = &self.before
            && let Some(now) = observe::counters(&self.reached).await
        {
            self.since = now.since(before);
            if !self.since.working.is_empty() {
                self.notified.get_or_insert_with(|| began.elapsed());
            }
        }
    }

    fn into_arrival(self) -> Arrival {
        let found = self.found.unwrap_or_default();
        Arrival {
            alertmanager: self.reached.url.to_string(),
            labels: self.reached.labels,
            seen_after: self.seen_after,
            fingerprint: found.fingerprint,
            receivers: found.receivers,
            notified_after: self.notified,
            working: self.since.working,
            failing: self.since.failing,
        }
    }
}

/// What tells one drill from another.
fn identity(alert: &str, at: TimestampMs) -> String {
    let hash = Labels::from_pairs([("alert", alert), ("at", &at.to_string())]).hash64();
    format!("{hash:016x}")
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
