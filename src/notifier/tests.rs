use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use prometheus_client::registry::Registry;
use serde_json::Value;
use url::Url;

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::discovery::testing::{NameServer, Reply};
use crate::discovery::{DnsConfig, RecordType};
use crate::model::Labels;
use crate::relabel;
use crate::state::MemoryStore;

mod refusals;

/// An Alertmanager that can be told to fail and that refuses alerts named `bad`.
#[derive(Clone, Default)]
struct Fake {
    fail_next: Arc<AtomicU32>,
    /// What it answers to everything, if not 0.
    status: Arc<AtomicU16>,
    /// The most alerts in a request, if not 0.
    most: Arc<AtomicU32>,
    /// How many empty lists it has accepted.
    empty: Arc<AtomicU32>,
    names: Arc<Mutex<Vec<String>>>,
}

async fn receive(State(fake): State<Fake>, body: String) -> (StatusCode, &'static str) {
    let failing = fake.fail_next.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    if failing.is_ok() {
        return (StatusCode::INTERNAL_SERVER_ERROR, "not now");
    }
    if let Ok(status) = StatusCode::from_u16(fake.status.load(Ordering::SeqCst)) {
        return (status, "so it is");
    }
    let alerts: Vec<Value> = serde_json::from_str(&body).expect("a JSON list");
    let names: Vec<_> = alerts
        .iter()
        .map(|alert| alert["labels"]["alertname"].as_str().expect("a name").to_owned())
        .collect();
    if names.iter().any(|name| name.starts_with("bad")) {
        return (StatusCode::BAD_REQUEST, "bad alert");
    }
    match (fake.most.load(Ordering::SeqCst) as usize, names.len()) {
        (most, count) if most > 0 && count > most => return (StatusCode::PAYLOAD_TOO_LARGE, "too many"),
        (_, 0) => drop(fake.empty.fetch_add(1, Ordering::SeqCst)),
        _ => {}
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

fn services(store: &Arc<MemoryStore>) -> Services {
    let mut registry = Registry::default();
    Services {
        store: store.clone(),
        clock: Arc::new(SystemClock),
        metrics: Metrics::register(&mut registry),
        discovery: discovery::Metrics::register(&mut registry),
        resolver: Resolver::system(),
        keep_lost: KEEP_LOST,
    }
}

async fn notifier(store: &Arc<MemoryStore>) -> Notifier {
    Notifier::start(services(store)).await.expect("a store in memory")
}

fn config(urls: &[&Url]) -> Config {
    let alertmanagers = urls.iter().map(|url| AlertmanagerSet::of_url(url)).collect();
    Config { alertmanagers, ..Config::default() }
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
    let set = AlertmanagerSet::of_url(&url);
    let targets = targets::Targets::resolve(&set, &set.discovery.groups);
    assert_eq!(targets.active[0].as_str(), "http://am:9093/prefix/api/v2/alerts");
}

#[tokio::test]
async fn an_alertmanager_that_is_not_found_for_a_moment_gets_what_it_missed() {
    let (fake, store, server) =
        (Fake::default(), Arc::new(MemoryStore::default()), NameServer::start().await);
    let url = fake.start().await;
    let here = [Reply::A([127, 0, 0, 1])];
    server.answer("am.example.", &here);
    let services = Services { resolver: server.resolver(&[]), ..services(&store) };
    let notifier = Notifier::start(services).await.expect("a store in memory");
    let mut config = config(&[&url]);
    config.alertmanagers[0].discovery = discovery::Config {
        dns: vec![DnsConfig {
            names: vec!["am.example".to_owned()],
            record_type: RecordType::A,
            port: url.port().expect("it has one"),
            refresh: Duration::from_millis(10),
        }],
        ..discovery::Config::default()
    };
    notifier.apply(&config).expect("usable");
    wait_until(|| notifier.alertmanagers().len() == 1, "found").await;
    notifier.send(vec![alert("A")]);
    fake.wait_for(&["A"]).await;

    // Nobody can say: nothing changes.
    server.fail("am.example.");
    let failures = &notifier.0.services.discovery;
    let before = failures.dns_failures();
    wait_until(|| failures.dns_failures() > before + 1, "not resolved").await;
    notifier.send(vec![alert("B")]);
    fake.wait_for(&["A", "B"]).await;

    // Nobody there: what would have been sent is kept.
    server.forget("am.example.");
    wait_until(|| notifier.alertmanagers().is_empty(), "lost").await;
    notifier.send(vec![alert("C")]);
    assert_eq!(notifier.waiting(), 0, "it does not wait for anybody who is found");
    server.answer("am.example.", &here);
    fake.wait_for(&["A", "B", "C"]).await;
    notifier.shutdown(Duration::from_secs(10)).await;
    assert_eq!(store.outbox().await.expect("readable"), []);
}

#[tokio::test]
async fn what_waits_for_one_that_does_not_come_back_is_given_up() {
    let store = Arc::new(MemoryStore::default());
    let url = Url::parse("http://127.0.0.1:1/").expect("a URL");
    let services = Services { keep_lost: Duration::from_millis(50), ..services(&store) };
    let notifier = Notifier::start(services).await.expect("a store in memory");
    notifier.apply(&config(&[&url])).expect("usable");
    notifier.send(vec![alert("A")]);
    wait_for_outbox(&store, 1).await;
    notifier.apply(&Config::default()).expect("usable");
    wait_for_outbox(&store, 0).await;
    notifier.shutdown(Duration::ZERO).await;
}

async fn wait_for_outbox(store: &MemoryStore, count: usize) {
    let there = async {
        while store.outbox().await.expect("readable").len() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), there).await;
    assert!(waited.is_ok(), "never {count} in the outbox");
}

#[tokio::test]
async fn a_reload_keeps_the_queue_of_what_stays() {
    let (fake, store) = (Fake::default(), Arc::new(MemoryStore::default()));
    fake.fail_next.store(u32::MAX, Ordering::SeqCst);
    let notifier = notifier(&store).await;
    let first = config(&[&fake.start().await]);
    notifier.apply(&first).expect("usable");
    notifier.send(vec![alert("A")]);
    notifier.apply(&first).expect("usable");
    assert_eq!(notifier.waiting(), 1);
    let mut slower = first.clone();
    slower.alertmanagers[0].timeout = Duration::from_secs(1);
    notifier.apply(&slower).expect("usable");
    assert_eq!(notifier.waiting(), 1);
    notifier.apply(&Config::default()).expect("usable");
    assert_eq!((notifier.waiting(), notifier.alertmanagers().len()), (0, 0));
    notifier.apply(&first).expect("usable");
    assert_eq!(notifier.waiting(), 1, "it was gone for a moment only");
    fake.fail_next.store(0, Ordering::SeqCst);
    fake.wait_for(&["A"]).await;
    notifier.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn one_that_is_found_late_is_told_at_once_what_fires() {
    let (fake, store) = (Fake::default(), Arc::new(MemoryStore::default()));
    let notifier = notifier(&store).await;
    notifier.apply(&Config::default()).expect("usable");
    let ends_at = SystemClock.now() + 60_000;
    let firing = |name| Alert { ends_at, ..alert(name) };
    notifier.send(vec![firing("A"), firing("B"), firing("C"), alert("outdated")]);
    notifier.send(vec![Alert { resolved: true, ..alert("B") }]);
    notifier.apply(&config(&[&fake.start().await])).expect("usable");
    fake.wait_for(&["A", "C"]).await;
    notifier.shutdown(Duration::from_secs(10)).await;
    assert_eq!(store.outbox().await.expect("readable"), []);
}

#[tokio::test]
async fn one_that_two_entries_find_is_told_once_as_the_first_of_them_says() {
    let (fake, store) = (Fake::default(), Arc::new(MemoryStore::default()));
    let url = fake.start().await;
    let mut config = config(&[&url, &url]);
    let renaming = relabel::Spec {
        target_label: Some("alertname".to_owned()),
        replacement: Some("first".to_owned()),
        ..relabel::Spec::default()
    };
    config.alertmanagers[0].alert_relabel = vec![relabel::Rule::new(&renaming).expect("usable")];
    let notifier = notifier(&store).await;
    notifier.apply(&config).expect("usable");
    notifier.send(vec![alert("A")]);
    fake.wait_for(&["first"]).await;
    notifier.shutdown(Duration::from_secs(10)).await;
    fake.wait_for(&["first"]).await;
}

#[tokio::test]
async fn of_many_that_are_gone_the_last_are_kept() {
    let store = Arc::new(MemoryStore::default());
    // Nobody listens at any of them.
    let urls: Vec<Url> =
        (1..=40).map(|port| Url::parse(&format!("http://127.0.0.1:{port}/")).expect("a URL")).collect();
    let services = Services { keep_lost: Duration::from_secs(5), ..services(&store) };
    let notifier = Notifier::start(services).await.expect("a store in memory");
    notifier.apply(&config(&urls.iter().collect::<Vec<_>>())).expect("usable");
    notifier.send(vec![alert("A")]);
    wait_for_outbox(&store, 40).await;
    notifier.apply(&config(&[&urls[39]])).expect("usable");
    // One is still there.
    wait_for_outbox(&store, destinations::MOST_LOST + 1).await;
    notifier.shutdown(Duration::ZERO).await;
}
