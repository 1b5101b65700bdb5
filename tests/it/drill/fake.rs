//! Drills against an Alertmanager that is told how to behave.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;
use valmis::clock::{Clock, SystemClock};
use valmis::discovery::{self, Resolver};
use valmis::drill::{Drill, Echo, Outcome, Stage, run};
use valmis::model::Labels;
use valmis::notifier::{self, AlertmanagerSet, Notifier};
use valmis::relabel::{self, Spec};
use valmis::state::MemoryStore;

use crate::real::serve;

/// What an Alertmanager does with an alert.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    /// Tells people.
    Tells,
    /// Tells some and fails to tell others.
    TellsSome,
    /// Tries and gives up.
    GivesUp,
    /// Silences it.
    Silences,
    /// Does nothing.
    Sleeps,
}

struct Fake {
    mood: Mood,
    requests: AtomicU32,
    failed: AtomicU32,
    posted: Mutex<Vec<Value>>,
}

async fn receive(State(fake): State<Arc<Fake>>, body: String) {
    let alerts: Vec<Value> = serde_json::from_str(&body).expect("a list");
    let (requests, failed) = match fake.mood {
        Mood::Tells => (1, 0),
        Mood::TellsSome => (2, 1),
        Mood::GivesUp => (1, 1),
        Mood::Silences | Mood::Sleeps => (0, 0),
    };
    fake.requests.fetch_add(requests, Ordering::SeqCst);
    fake.failed.fetch_add(failed, Ordering::SeqCst);
    fake.posted.lock().expect("no panic").extend(alerts);
}

async fn list(State(fake): State<Arc<Fake>>) -> String {
    let silenced_by = if fake.mood == Mood::Silences { vec!["s1"] } else { vec![] };
    let posted = fake.posted.lock().expect("no panic").len();
    let alert =
        json!({"fingerprint": "f", "receivers": [{"name": "people"}], "status": {"silencedBy": silenced_by}});
    json!(vec![alert; posted.min(1)]).to_string()
}

async fn metrics(State(fake): State<Arc<Fake>>) -> String {
    let line = |name: &str, value: &AtomicU32| {
        format!("alertmanager_{name}{{integration=\"email\"}} {}\n", value.load(Ordering::SeqCst))
    };
    line("notification_requests_total", &fake.requests)
        + &line("notification_requests_failed_total", &fake.failed)
        + &line("notifications_failed_total", &fake.failed)
}

async fn fake(mood: Mood) -> (Arc<Fake>, Url) {
    let fake = Fake { mood, requests: 5.into(), failed: 2.into(), posted: Mutex::default() };
    let fake = Arc::new(fake);
    let router = Router::new()
        .route("/am/api/v2/alerts", get(list).post(receive))
        .route("/am/metrics", get(metrics))
        .with_state(fake.clone());
    let address = serve(router).await;
    (fake, Url::parse(&format!("http://{address}/am")).expect("a URL"))
}

async fn held(urls: &[Url], relabelling: &[relabel::Rule], timeout: Duration, echo: bool) -> Outcome {
    let mut registry = Registry::default();
    let services = notifier::Services {
        store: Arc::new(MemoryStore::default()),
        clock: Arc::new(SystemClock),
        metrics: notifier::Metrics::register(&mut registry),
        discovery: discovery::Metrics::register(&mut registry),
        resolver: Resolver::system(),
        keep_lost: notifier::KEEP_LOST,
    };
    let notifier = Notifier::start(services).await;
    let config = notifier::Config {
        alertmanagers: urls.iter().map(AlertmanagerSet::of_url).collect(),
        alert_relabel: relabelling.to_vec(),
        external_labels: Labels::from_pairs([("cluster", "c")]),
        ..notifier::Config::default()
    };
    notifier.apply(&config).expect("usable");
    let known = async {
        while notifier.alertmanagers().len() < urls.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), known).await.expect("all Alertmanagers are found");
    let labels = Labels::from_pairs([("severity", "page")]);
    let drill = Drill { alert: "A".to_owned(), labels, timeout, echo };
    let outcome = run(&drill, &notifier, &Echo::default(), &SystemClock, &CancellationToken::new()).await;
    notifier.shutdown(timeout).await;
    outcome
}

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn what_an_alertmanager_does_with_the_alert_decides_about_the_drill() {
    let check = async |mood, timeout, echo, expected: &[(Stage, &str)]| {
        let (fake, url) = fake(mood).await;
        let outcome = held(&[url], &[], timeout, echo).await;
        let found = outcome.failures.iter().map(|failure| (failure.stage, failure.what.as_str()));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{mood:?}");
        assert_eq!(outcome.arrivals[0].receivers, ["people"]);
        let posted = fake.posted.lock().expect("no panic");
        let labels: BTreeMap<String, String> =
            serde_json::from_value(posted[0]["labels"].clone()).expect("labels");
        assert_eq!((labels["valmis_drill"].as_str(), labels["severity"].as_str()), ("true", "page"));
        let arrived = outcome.arrivals[0].labels.as_ref().expect("it arrives");
        assert_eq!(*arrived, Labels::from_pairs(&labels));
        let last = posted.last().expect("something was posted");
        let at =
            |key: &str| last[key].as_str().expect("an instant").parse::<jiff::Timestamp>().expect("valid");
        assert!(at("endsAt").as_millisecond() <= SystemClock.now(), "it is resolved at the end: {last}");
        assert_eq!(outcome.page_path().is_some(), outcome.arrivals[0].notified_after.is_some());
    };
    check(Mood::Tells, LONG, false, &[]).await;
    check(Mood::TellsSome, LONG, false, &[(Stage::Integration, "notifications fail by email")]).await;
    check(Mood::GivesUp, LONG, false, &[(Stage::Integration, "notifications fail by email")]).await;
    check(Mood::Silences, LONG, false, &[(Stage::Suppression, "nobody is told because of silence s1")]).await;
    let nobody = "no Alertmanager counted a notification in time";
    check(Mood::Sleeps, SHORT, false, &[(Stage::Notification, nobody)]).await;
    let nothing = "the alert did not come back in time";
    check(Mood::Tells, SHORT, true, &[(Stage::Notification, nothing)]).await;
}

#[tokio::test]
async fn an_alert_that_does_not_arrive_fails_the_drill_with_the_reason() {
    let drop_all = Spec {
        action: Some("drop".to_owned()),
        source_labels: Some(vec!["severity".to_owned()]),
        regex: Some("page".to_owned()),
        ..Spec::default()
    };
    let drop_all = relabel::Rule::new(&drop_all).expect("usable");
    let (_, good) = fake(Mood::Tells).await;
    let outcome = held(std::slice::from_ref(&good), &[drop_all], LONG, false).await;
    assert_eq!(outcome.failures[0].stage, Stage::Relabelling);

    let outcome = held(&[], &[], LONG, false).await;
    assert_eq!(outcome.failures[0].stage, Stage::Discovery);

    // One of two is away: the other one tells people, and the drill names the one that is away.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let away = Url::parse(&format!("http://{}", closed.local_addr().expect("bound"))).expect("a URL");
    drop(closed);
    let outcome = held(&[good, away.clone()], &[], SHORT, false).await;
    assert_eq!(outcome.failures.len(), 1, "{:?}", outcome.failures);
    assert_eq!(outcome.failures[0].stage, Stage::Delivery);
    assert!(outcome.failures[0].alertmanager.starts_with(away.as_str()));
    assert!(outcome.page_path().is_some());
}
