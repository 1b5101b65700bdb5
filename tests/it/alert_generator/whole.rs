//! The whole program as the suite drives it: samples by remote write, alerts at a receiver of its own, and
//! the two APIs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use valmis::clock::{Clock, SystemClock};
use valmis::model::{Labels, Sample};

use super::{TEXTS, rules};
use crate::real::remote_write::write_request;
use crate::real::valmis::{NO_DISK, Valmis};
use crate::real::{eventually, serve};

/// An alert as the specification wants it sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "timestamp")]
    starts_at: Timestamp,
    #[serde(deserialize_with = "timestamp")]
    ends_at: Timestamp,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    #[serde(skip)]
    received_ms: i64,
}

fn timestamp<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

type Received = Arc<Mutex<Vec<Payload>>>;

async fn receive(State(received): State<Received>, Json(alerts): Json<Vec<Payload>>) {
    let received_ms = SystemClock.now();
    received.lock().unwrap().extend(alerts.into_iter().map(|alert| Payload { received_ms, ..alert }));
}

async fn receiver() -> (SocketAddr, Received) {
    let received = Received::default();
    let router = Router::new().route("/api/v2/alerts", post(receive)).with_state(received.clone());
    (serve(router).await, received)
}

/// The values of series, which are written again and again.
type Values = Arc<Mutex<BTreeMap<Vec<(&'static str, &'static str)>, f64>>>;

async fn write(address: SocketAddr, values: Values) {
    loop {
        let now = SystemClock.now();
        let sample = |(pairs, value): (&Vec<(&str, &str)>, &f64)| {
            let pairs = pairs.iter().copied().chain([("__name__", "suite")]);
            Sample::new(Labels::from_pairs(pairs), now, *value)
        };
        let samples: Vec<Sample> = values.lock().unwrap().iter().map(sample).collect();
        let request = write_request(&format!("http://{address}"), &samples);
        // Towards the end of the test nobody may listen any more.
        let _ = request.send().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The interval of the groups and the time before an alert is sent again, in milliseconds.
const INTERVAL_MS: i64 = 1000;
const RESEND_MS: i64 = 3000;

struct Suite {
    valmis: Valmis,
    received: Received,
    values: Values,
}

impl Suite {
    async fn start() -> Self {
        let (address, received) = receiver().await;
        let configuration = format!(
            "{NO_DISK}resend_delay: 3s\nexternal_url: http://valmis.example/x\nstorage: {{remote_write_receiver: true}}
alertmanagers: [{{url: 'http://{address}'}}]\nrules: [./rules/*.yaml]\n"
        );
        let valmis = Valmis::start_with(&configuration, &[("suite.yaml".to_owned(), rules(1))]).await;
        let values = Values::default();
        tokio::spawn(write(valmis.address, values.clone()));
        Self { valmis, received, values }
    }

    fn set(&self, series: &[(&'static str, &'static str)], value: f64) {
        self.values.lock().unwrap().insert(series.to_vec(), value);
    }

    /// What was received of an alert until now, in order.
    fn received(&self, alert: &str, variant: &str) -> Vec<Payload> {
        let received = self.received.lock().unwrap();
        let fits = |one: &&Payload| {
            one.labels["alertname"] == alert
                && one.labels.get("variant").map_or("", String::as_str) == variant
        };
        received.iter().filter(fits).cloned().collect()
    }

    /// Waits until something is so about what was received of an alert, and gives all of it.
    async fn until(&self, alert: &str, variant: &str, is_so: impl Fn(&[Payload]) -> bool) -> Vec<Payload> {
        eventually(alert, async || {
            let received = self.received(alert, variant);
            if is_so(&received) { Ok(received) } else { Err(format!("{received:#?}\n{}", self.valmis.log())) }
        })
        .await
    }

    async fn api_alert(&self, name: &str, variant: &str) -> Option<Value> {
        let answer = self.valmis.json("/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().unwrap();
        let fits = |alert: &&Value| {
            alert["labels"]["alertname"] == name
                && alert["labels"]["variant"].as_str().unwrap_or("") == variant
        };
        alerts.iter().find(fits).cloned()
    }
}

/// Whether the alert has ended.
fn is_resolved(alert: &Payload) -> bool {
    alert.ends_at.as_millisecond() <= alert.received_ms
}

/// That firing alerts come in the distance that the specification demands, each valid for long enough.
fn check_sendings(sendings: &[Payload]) {
    for pair in sendings.windows(2) {
        let distance = pair[1].received_ms - pair[0].received_ms;
        // The first multiple of the interval beyond the delay, and what a busy machine adds or takes.
        assert!((RESEND_MS..RESEND_MS + 4 * INTERVAL_MS).contains(&distance), "{distance}: {pair:#?}");
        assert_eq!(pair[0].starts_at, pair[1].starts_at);
    }
    for firing in sendings.iter().filter(|one| !is_resolved(one)) {
        let valid = firing.ends_at.as_millisecond() - firing.received_ms;
        assert!((RESEND_MS * 3..=RESEND_MS * 4 + 100).contains(&valid), "{valid}: {firing:#?}");
    }
}

/// One of the series of the case about new alerts.
const ONE: [(&str, &str); 3] =
    [("alertname", "NewAlerts_OrderCheck_Rule1"), ("rulegroup", "NewAlerts_OrderCheck"), ("variant", "one")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_cases_of_the_suite_pass_with_short_intervals() {
    let suite = Suite::start().await;
    let variant = |variant: &'static str| [ONE[0], ONE[1], ("variant", variant)];
    let simple = [("rulegroup", "PendingAndFiringAndResolved")];
    let pending = [("rulegroup", "PendingAndResolved_AlwaysInactive")];
    let zero = [("rulegroup", "ZeroFor_SmallFor")];
    for (id, value) in [("101", 1.0), ("102", 2.0), ("103", 3.0)] {
        suite.set(&[zero[0], ("for", "template"), ("id", id)], value);
    }
    eventually("samples", async || {
        let answer = suite.valmis.json("/api/v1/query?query=count(suite)").await;
        if answer["data"]["result"][0]["value"][1] == "3" { Ok(()) } else { Err(format!("{answer:#}")) }
    })
    .await;
    suite.set(&variant("one"), 11.0);
    suite.set(&variant("two"), 12.0);
    suite.set(&simple, 11.0);
    suite.set(&pending, 11.0);
    suite.set(&zero, 11.0);

    // Pending, in both APIs and as a series, and nothing is sent.
    let name = "PendingAndFiringAndResolved_SimpleAlert";
    let seen = suite.valmis.wait_for_alert("pending", name).await;
    assert_eq!(seen["value"], "1.1e+01");
    assert_eq!(seen["annotations"]["summary"], "The value is 11 11");
    suite.valmis.wait_for_alert("pending", "PendingAndResolved_AlwaysInactive_PendingAlert").await;
    suite.set(&pending, 5.0);
    let answer = suite.valmis.json("/api/v1/rules?type=alert").await;
    let groups = answer["data"]["groups"].as_array().unwrap();
    let rule = |name: &str| {
        groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap())
            .find(|r| r["name"] == name)
            .unwrap()
    };
    assert_eq!((&rule(name)["state"], &rule(name)["health"]), (&"pending".into(), &"ok".into()));
    assert_eq!((&rule(name)["type"], &rule(name)["duration"]), (&"alerting".into(), &12.into()));
    assert_eq!(rule("PendingAndResolved_AlwaysInactive_InactiveAlert")["state"], "inactive");
    let query = "/api/v1/query?query=ALERTS%7Balertname%3D%22PendingAndFiringAndResolved_SimpleAlert%22%7D";
    let series = suite.valmis.json(query).await;
    let metric = serde_json::json!({
        "__name__": "ALERTS", "alertname": name, "alertstate": "pending", "foo": "bar",
        "rulegroup": "PendingAndFiringAndResolved",
    });
    assert_eq!(series["data"]["result"][0]["metric"], metric);

    // Without `for`, at once; with a small one, an evaluation later; templates.
    let zero_for = suite.until("ZeroFor_SmallFor_ZeroFor", "", |all| all.len() >= 3).await;
    let small_for = suite.until("ZeroFor_SmallFor_SmallFor", "", |all| all.len() >= 3).await;
    check_sendings(&zero_for);
    check_sendings(&small_for);
    assert_eq!(small_for[0].starts_at.as_millisecond() - zero_for[0].starts_at.as_millisecond(), INTERVAL_MS);
    let texts: BTreeSet<&str> = [&zero_for[0], &small_for[0]]
        .into_iter()
        .flat_map(|one| one.annotations.iter())
        .filter_map(|(name, text)| name.starts_with("template").then_some(text.as_str()))
        .collect();
    assert_eq!(texts, BTreeSet::from(TEXTS));
    let active = suite.api_alert("ZeroFor_SmallFor_ZeroFor", "").await.unwrap();
    let active_at: Timestamp = active["activeAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(active_at, zero_for[0].starts_at);

    // A later rule sees `ALERTS` of the same pass; a new alert joins.
    let rule1 = "NewAlerts_OrderCheck_Rule1";
    let first = suite.until(rule1, "one", |all| all.len() >= 2).await;
    check_sendings(&first);
    let second = suite.until("NewAlerts_OrderCheck_Rule2", "", |all| !all.is_empty()).await;
    assert_eq!(second[0].starts_at, first[0].starts_at);
    assert_eq!(
        second[0].annotations["description"],
        "Old alertname was NewAlerts_OrderCheck_Rule1. foo was bar."
    );
    suite.set(&variant("three"), 20.0);
    let third = suite.until(rule1, "three", |all| !all.is_empty()).await;
    assert!(third[0].starts_at > first[0].starts_at);
    let labels = serde_json::json!({
        "alertname": rule1, "foo": "bar", "rulegroup": "NewAlerts_OrderCheck", "variant": "three",
    });
    assert_eq!(serde_json::to_value(&third[0].labels).unwrap(), labels);

    // Firing, with another value, resolved.
    suite.until(name, "", |all| !all.is_empty()).await;
    suite.set(&simple, 15.0);
    let firing = suite
        .until(name, "", |all| {
            all.last().is_some_and(|one| one.annotations["summary"] == "The value is 15 15")
        })
        .await;
    check_sendings(&firing);
    let url = "http://valmis.example/x/graph?g0.expr=suite%7Brulegroup%3D%22PendingAndFiringAndResolved%22%7D+%3E+10&g0.tab=1";
    assert_eq!(firing[0].generator_url, url);
    suite.set(&simple, 3.0);
    let ended = suite.until(name, "", |all| all.iter().filter(|one| is_resolved(one)).count() >= 3).await;
    let resolved: Vec<Payload> = ended.into_iter().filter(is_resolved).collect();
    check_sendings(&resolved);
    assert!(
        resolved.iter().all(|one| one.ends_at == resolved[0].ends_at && one.starts_at == firing[0].starts_at)
    );
    assert!(suite.api_alert(name, "").await.is_none());

    // Begins anew: another alert, and the old one is sent no more.
    suite.set(&simple, 12.0);
    let after = suite
        .until(name, "", |all| {
            all.last().is_some_and(|one| !is_resolved(one) && one.starts_at > firing[0].starts_at)
        })
        .await;
    assert!(after.last().unwrap().starts_at > resolved[0].ends_at);
    for never in
        ["PendingAndResolved_AlwaysInactive_PendingAlert", "PendingAndResolved_AlwaysInactive_InactiveAlert"]
    {
        assert!(suite.received(never, "").is_empty(), "{never}");
    }
}
