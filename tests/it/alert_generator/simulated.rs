//! The suite's own times: what is sent at which evaluation, to the second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use valmis::clock::FixedClock;
use valmis::model::{Labels, Point};
use valmis::promql::Features;
use valmis::query::{LocalConfig, LocalSource};
use valmis::rulefmt;
use valmis::rules::{Alert, AlertSink, Config, Services, SteppedGroup};
use valmis::state::MemoryStore;
use valmis::storage::MemoryStorage;

use super::{TEXTS, rules};

#[derive(Default)]
struct Sent(Mutex<Vec<Alert>>);

impl AlertSink for Sent {
    fn send(&self, alerts: Vec<Alert>) {
        self.0.lock().unwrap().extend(alerts);
    }
}

/// The distance of evaluations and of samples, in seconds.
const UNIT: i64 = 30;

/// When an alert was sent, in evaluations, and as what.
#[derive(Debug, PartialEq, Eq)]
struct Sending {
    slots: Vec<i64>,
    resolved: bool,
    starts: i64,
    ends: BTreeSet<i64>,
}

/// Evaluates a group of the suite over series given as values at each evaluation, and tells what was sent
/// of each alert, by its name and the label `variant`.
async fn run(
    group: &str,
    series: &[(&str, &[f64])],
    slots: i64,
) -> (BTreeMap<String, Vec<Sending>>, Vec<Alert>) {
    let storage = Arc::new(MemoryStorage::new());
    for (labels, values) in series {
        let pairs = labels.split(',').map(|pair| pair.split_once('=').unwrap());
        let pairs = pairs.chain([("__name__", "suite"), ("rulegroup", group)]);
        // The last value goes on.
        let value = |slot: usize| values.get(slot).or(values.last()).copied().unwrap();
        let points = (0..slots).map(|slot| Point { at: slot * UNIT * 1000, value: value(slot as usize) });
        storage.load(&Labels::from_pairs(pairs), points);
    }
    let (files, findings) = rulefmt::parse("rules.yaml", &rules(UNIT as u32), Features::default());
    assert!(findings.is_empty(), "{findings:?}");
    let definition = files[0].groups.iter().find(|one| one.name == group).unwrap();
    let sent = Arc::new(Sent::default());
    let services = Services {
        source: Arc::new(LocalSource::new(storage.clone(), LocalConfig::default())),
        appender: storage,
        sink: sent.clone(),
        state: Arc::new(MemoryStore::default()),
        clock: Arc::new(FixedClock::at(0)),
    };
    let mut stepped = SteppedGroup::new("rules.yaml", definition, Arc::new(Config::default()), services);
    let mut told: BTreeMap<String, Vec<Sending>> = BTreeMap::new();
    let mut all = Vec::new();
    for slot in 0..slots {
        stepped.evaluate(slot * UNIT * 1000).await;
        for alert in sent.0.lock().unwrap().drain(..) {
            let name = format!("{} {}", alert.labels.get("alertname"), alert.labels.get("variant"));
            let slot_of = |at: i64| at / 1000 / UNIT;
            let sendings = told.entry(name.trim().to_owned()).or_default();
            let starts = slot_of(alert.starts_at);
            match sendings.last_mut() {
                Some(last) if last.resolved == alert.resolved && last.starts == starts => {
                    last.slots.push(slot);
                    last.ends.insert(slot_of(alert.ends_at));
                }
                _ => sendings.push(Sending {
                    slots: vec![slot],
                    resolved: alert.resolved,
                    starts,
                    ends: BTreeSet::from([slot_of(alert.ends_at)]),
                }),
            }
            all.push(alert);
        }
    }
    (told, all)
}

/// Each third evaluation: the first that is more than a minute after the one before.
fn every_third(from: i64, to: i64) -> Vec<i64> {
    (from..=to).step_by(3).collect()
}

#[tokio::test]
async fn pending_firing_and_resolved_alerts_are_sent_as_the_specification_says() {
    let name = "PendingAndFiringAndResolved";
    let mut values = vec![11.0; 20];
    values.extend([15.0; 10]);
    values.extend([3.0]);
    let (told, all) = run(name, &[("variant=", &values)], 80).await;
    let [firing, resolved] = told["PendingAndFiringAndResolved_SimpleAlert"].as_slice() else {
        panic!("{told:#?}")
    };
    // `for` is twelve evaluations, and nothing is sent before.
    assert_eq!((firing.starts, firing.resolved), (12, false));
    assert_eq!(firing.slots, every_third(12, 29));
    // Four times a minute later.
    assert_eq!(firing.ends, firing.slots.iter().map(|slot| slot + 8).collect());
    // At once, and then for 15 minutes, which are 30 evaluations.
    assert_eq!((resolved.starts, resolved.resolved), (12, true));
    assert_eq!(resolved.slots, every_third(30, 60));
    assert_eq!(resolved.ends, BTreeSet::from([30]));
    let summaries: Vec<&str> = all.iter().map(|alert| alert.annotations.get("summary")).collect();
    assert_eq!(
        summaries[..4],
        ["The value is 11 11", "The value is 11 11", "The value is 11 11", "The value is 15 15"]
    );
}

#[tokio::test]
async fn an_alert_that_was_only_pending_is_never_sent() {
    let mut values = vec![11.0; 5];
    values.push(5.0);
    let (told, _) = run("PendingAndResolved_AlwaysInactive", &[("variant=", &values)], 60).await;
    assert_eq!(told, BTreeMap::new());
}

#[tokio::test]
async fn new_alerts_join_and_later_rules_see_alerts_in_the_same_pass() {
    let name = "alertname=NewAlerts_OrderCheck_Rule1";
    let series = |variant: &str| format!("{name},variant={variant}");
    let (one, two, three) = (series("one"), series("two"), series("three"));
    let late = [&[0.0; 10][..], &[20.0]].concat();
    let series: [(&str, &[f64]); 3] = [(&one, &[11.0]), (&two, &[12.0]), (&three, &late)];
    let (told, all) = run("NewAlerts_OrderCheck", &series, 24).await;
    for (alert, starts) in [
        ("NewAlerts_OrderCheck_Rule1 one", 6),
        ("NewAlerts_OrderCheck_Rule1 two", 6),
        // From `ALERTS` of the same evaluation.
        ("NewAlerts_OrderCheck_Rule2", 6),
        ("NewAlerts_OrderCheck_Rule1 three", 16),
    ] {
        let [firing] = told[alert].as_slice() else { panic!("{alert}: {told:#?}") };
        assert_eq!((firing.starts, firing.resolved), (starts, false), "{alert}");
        assert_eq!(firing.slots, every_third(starts, 23), "{alert}");
    }
    let second =
        all.iter().find(|alert| alert.labels.get("alertname") == "NewAlerts_OrderCheck_Rule2").unwrap();
    let description = "Old alertname was NewAlerts_OrderCheck_Rule1. foo was bar.";
    assert_eq!(second.annotations.get("description"), description);
    let labels = r#"{alertname="NewAlerts_OrderCheck_Rule2", alertstate="firing", ba_dum="tss", foo="baz", rulegroup="NewAlerts_OrderCheck"}"#;
    assert_eq!(second.labels.to_string(), labels);
}

#[tokio::test]
async fn without_for_alerts_fire_at_once_and_with_a_small_one_at_the_next_evaluation() {
    let values = [&[0.0; 2][..], &[11.0; 8], &[5.0; 4], &[11.0]].concat();
    let id = |id: &str| format!("for=template,id={id}");
    let ids = [id("101"), id("102"), id("103")];
    let series: [(&str, &[f64]); 4] =
        [("variant=", &values), (&ids[0], &[1.0]), (&ids[1], &[2.0]), (&ids[2], &[3.0])];
    let (told, all) = run("ZeroFor_SmallFor", &series, 20).await;
    for (alert, delay) in [("ZeroFor_SmallFor_ZeroFor", 0), ("ZeroFor_SmallFor_SmallFor", 1)] {
        let [first, resolved, again] = told[alert].as_slice() else { panic!("{told:#?}") };
        assert_eq!((first.starts, first.slots.clone()), (2 + delay, every_third(2 + delay, 9)), "{alert}");
        // It is sent no more as soon as there is a new one.
        assert_eq!((resolved.resolved, resolved.slots.clone()), (true, every_third(10, 13)), "{alert}");
        assert_eq!((again.resolved, again.starts), (false, 14 + delay), "{alert}");
        assert_eq!(again.slots, every_third(14 + delay, 19), "{alert}");
    }
    let texts: BTreeSet<&str> = all
        .iter()
        .flat_map(|alert| ["template_test", "template_query_test"].map(|name| alert.annotations.get(name)))
        .filter(|text| !text.is_empty())
        .collect();
    assert_eq!(texts, BTreeSet::from(TEXTS));
}
