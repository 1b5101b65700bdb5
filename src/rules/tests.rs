//! Groups and their manager, with a fake source of values and a clock that follows the runtime's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::*;

mod panics;
mod pauses;
mod waits;
use crate::clock::Clock;
use crate::model::{Labels, Sample, TimestampMs, is_stale};
use crate::promql::{EvalError, EvalRange, Expr, Features, InstantSample, Output, Value};
use crate::query::{self, PreparedQuery, QueryOptions, QuerySource, Timings, Unprepared};
use crate::rulefmt::{self, RuleFile};
use crate::state::{
    AlertState, Changes, HeartbeatRecord, LedgerEntry, LedgerQuestion, MemoryStore, OutboxEntry, StateError,
    StateStore, StoredRule,
};
use crate::storage::{AppendError, Appender, RefHistogram, RefSample, SeriesRef};

/// Follows the runtime's clock, which tests let jump.
struct RuntimeClock(Instant);

/// The same clock, as whoever administers the machine has set it.
struct WorldClock(RuntimeClock, Arc<World>);

impl Clock for WorldClock {
    fn now(&self) -> TimestampMs {
        self.0.now() + self.1.clock_set.load(Ordering::Relaxed)
    }
}

/// When tests begin.
const BEGIN: TimestampMs = 1_700_000_000_000;

impl Clock for RuntimeClock {
    fn now(&self) -> TimestampMs {
        BEGIN + self.0.elapsed().as_millis() as TimestampMs
    }
}

/// The outside world of a manager.
#[derive(Default)]
struct World {
    answers: Mutex<HashMap<String, Answer>>,
    /// Other answers from an instant on.
    later: Mutex<Vec<(String, TimestampMs, Value)>>,
    /// Whether samples come in without this process.
    alone: AtomicBool,
    /// By how much the clock was set, in milliseconds.
    clock_set: AtomicI64,
    asked: Mutex<Vec<(String, TimestampMs)>>,
    samples: Mutex<Vec<Sample>>,
    sent: Mutex<Vec<Alert>>,
    store: MemoryStore,
    store_fails: Mutex<bool>,
    /// What was stored when alerts were sent.
    stored_at_send: Mutex<Vec<Vec<StoredRule>>>,
}

#[derive(Clone)]
struct Answer {
    result: Result<Value, EvalError>,
    takes: Duration,
}

impl World {
    fn answer(&self, query: &str, value: Value) {
        let answer = Answer { result: Ok(value), takes: Duration::ZERO };
        self.answers.lock().unwrap().insert(query.to_owned(), answer);
    }

    /// What is answered about instants from `from` on.
    fn answer_from(&self, query: &str, from: TimestampMs, value: Value) {
        self.later.lock().unwrap().push((query.to_owned(), from, value));
    }

    fn fail(&self, query: &str) {
        let result = Err(EvalError::Execution("it broke".to_owned()));
        self.answers.lock().unwrap().insert(query.to_owned(), Answer { result, takes: Duration::ZERO });
    }

    fn slow(&self, query: &str, takes: Duration) {
        self.answers.lock().unwrap().get_mut(query).unwrap().takes = takes;
    }

    fn sent(&self) -> Vec<Alert> {
        self.sent.lock().unwrap().clone()
    }

    fn asked(&self, query: &str) -> Vec<TimestampMs> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(asked, _)| asked == query).map(|(_, at)| *at).collect()
    }

    /// The points of a series, `stale` for a staleness marker.
    fn points(&self, series: &str) -> Vec<String> {
        let samples = self.samples.lock().unwrap();
        let found = samples.iter().filter(|sample| sample.labels.to_string() == series);
        found
            .map(|sample| if is_stale(sample.value) { "stale".to_owned() } else { sample.value.to_string() })
            .collect()
    }
}

/// What the manager is given for the world.
#[derive(Clone)]
struct Shared(Arc<World>);

impl QuerySource for Shared {
    fn query<'a>(
        &'a self,
        expr: &'a Expr,
        range: &'a EvalRange,
        _: &'a QueryOptions,
    ) -> BoxFuture<'a, Result<query::Answer, EvalError>> {
        async move {
            let query = expr.to_string();
            self.0.asked.lock().unwrap().push((query.clone(), range.start));
            let answer = self.0.answers.lock().unwrap().get(&query).cloned();
            let answer = answer.unwrap_or_else(|| panic!("no answer for {query}"));
            sleep(answer.takes).await;
            let later = self.0.later.lock().unwrap();
            let later = later.iter().filter(|(asked, from, _)| *asked == query && *from <= range.start);
            let later = later.map(|(_, _, value)| value.clone()).next_back();
            let output =
                Output { value: later.map_or(answer.result, Ok)?, annotations: Vec::new(), samples: None };
            Ok(query::Answer { output, timings: Timings::default() })
        }
        .boxed()
    }

    fn goes_on_alone(&self) -> bool {
        self.0.alone.load(Ordering::Relaxed)
    }

    fn prepare(&self, expr: &Arc<Expr>) -> Arc<dyn PreparedQuery> {
        Arc::new(Unprepared { source: self.clone(), expr: expr.clone() })
    }
}

impl Appender for Shared {
    fn reference(&self, _: &Labels) -> Result<SeriesRef, AppendError> {
        panic!("rules append by labels")
    }

    fn append(&self, _: &[RefSample]) -> Vec<(usize, AppendError)> {
        panic!("rules append by labels")
    }

    fn append_histograms(&self, _: &[RefHistogram]) -> Vec<(usize, AppendError)> {
        panic!("rules append by labels")
    }

    fn append_samples(&self, batch: &[Sample]) -> Vec<(usize, AppendError)> {
        self.0.samples.lock().unwrap().extend(batch.iter().cloned());
        let bad = |sample: &Sample| sample.labels.metric_name() == "too_old";
        let refused = batch.iter().enumerate().filter(|(_, sample)| bad(sample));
        refused.map(|(index, _)| (index, AppendError::OutOfBounds)).collect()
    }
}

impl AlertSink for Shared {
    fn send(&self, alerts: Vec<Alert>) {
        let stored = self.0.store.rules().now_or_never().unwrap().unwrap();
        self.0.stored_at_send.lock().unwrap().push(stored);
        self.0.sent.lock().unwrap().extend(alerts);
    }
}

impl StateStore for Shared {
    fn rules(&self) -> BoxFuture<'_, Result<Vec<StoredRule>, StateError>> {
        self.0.store.rules()
    }

    fn outbox(&self) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StateError>> {
        self.0.store.outbox()
    }

    fn ledger(&self, question: LedgerQuestion) -> BoxFuture<'_, Result<Vec<LedgerEntry>, StateError>> {
        self.0.store.ledger(question)
    }

    fn heartbeats(&self) -> BoxFuture<'_, Result<Vec<HeartbeatRecord>, StateError>> {
        self.0.store.heartbeats()
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), StateError>> {
        if *self.0.store_fails.lock().unwrap() {
            return futures_util::future::ready(Err(StateError::Closed)).boxed();
        }
        self.0.store.commit(changes)
    }
}

/// A manager in its world.
struct Stage {
    world: Arc<World>,
    began: Instant,
    manager: Manager,
}

impl Stage {
    async fn new() -> Self {
        Self::with(Arc::default(), Instant::now()).await
    }

    async fn with(world: Arc<World>, began: Instant) -> Self {
        let newest = super::manager::NEWEST_SAMPLE;
        world
            .answers
            .lock()
            .unwrap()
            .entry(newest.to_owned())
            .or_insert_with(|| Answer { result: Ok(Value::Vector(Vec::new())), takes: Duration::ZERO });
        let shared = Arc::new(Shared(world.clone()));
        let services = Services {
            source: shared.clone(),
            appender: shared.clone(),
            sink: shared.clone(),
            state: shared,
            clock: Arc::new(WorldClock(RuntimeClock(began), world.clone())),
        };
        Self { world, began, manager: Manager::start(services, &CancellationToken::new()).await }
    }

    async fn apply(&mut self, rules: &str) {
        self.manager.apply(&files(rules), Config::default(), &Origins::new()).await;
    }

    /// Another process in the same world, which knows only what was stored.
    async fn restarted(self, rules: &str) -> Self {
        let Self { world, began, manager } = self;
        manager.shutdown().await;
        world.sent.lock().unwrap().clear();
        let mut stage = Self::with(world, began).await;
        stage.apply(rules).await;
        stage
    }

    fn now(&self) -> TimestampMs {
        RuntimeClock(self.began).now() + self.world.clock_set.load(Ordering::Relaxed)
    }

    fn rule(&self, name: &str) -> RuleSnapshot {
        let groups = self.manager.groups().snapshots();
        let rule = groups.iter().flat_map(|group| &group.rules).find(|rule| rule.info.name == name);
        rule.unwrap_or_else(|| panic!("no rule {name}")).clone()
    }

    fn alert(&self, rule: &str) -> Option<AlertSnapshot> {
        self.rule(rule).alerts.first().cloned()
    }

    /// Lets time pass until something is so.
    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_hours(1);
        while !condition(self) {
            assert!(Instant::now() < deadline, "never: {what}");
            sleep(Duration::from_secs(1)).await;
        }
    }
}

fn files(rules: &str) -> Vec<RuleFile> {
    let (files, findings) = rulefmt::parse("rules.yml", rules, Features::default());
    assert!(findings.is_empty(), "{findings:?}");
    files
}

fn vector(elements: &[(&str, f64)]) -> Value {
    let element = |(instance, value): &(&str, f64)| {
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", instance)]);
        InstantSample::float(labels, 0, *value)
    };
    Value::Vector(elements.iter().map(element).collect())
}

const DOWN: &str = "
groups:
- name: g
  rules:
  - alert: Down
    expr: up == 0
    for: 3m
    labels: {severity: page}
    annotations: {summary: it is down}
";

#[tokio::test(start_paused = true)]
async fn a_group_is_evaluated_once_in_each_slot_at_the_slots_time() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[]));
    stage.apply(&DOWN.replace("name: g", "name: g\n  interval: 10s\n  query_offset: 3s")).await;
    stage.until("five evaluations", |stage| stage.world.asked("up == 0").len() == 5).await;
    let asked = stage.world.asked("up == 0");
    let offset = (super::group::identity("rules.yml", "g") % 10_000) as i64;
    for (slot, at) in asked.iter().enumerate() {
        assert_eq!(*at, asked[0] + slot as i64 * 10_000);
        assert_eq!((at + 3_000 - offset).rem_euclid(10_000), 0);
    }
    assert!((BEGIN..BEGIN + 10_000).contains(&(asked[0] + 3_000)), "the first slot is the next one");
}

#[tokio::test(start_paused = true)]
async fn an_alert_goes_from_pending_to_firing_to_resolved() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.apply(DOWN).await;
    assert_eq!((stage.rule("Down").state(), stage.rule("Down").health), (None, Health::Unknown));
    stage.until("pending", |stage| stage.alert("Down").is_some()).await;
    let pending = stage.alert("Down").unwrap();
    assert_eq!(pending.state, AlertState::Pending);
    assert_eq!(pending.labels.to_string(), r#"{alertname="Down", instance="a", severity="page"}"#);
    assert_eq!(pending.annotations.to_string(), r#"{summary="it is down"}"#);

    stage.until("sent", |stage| !stage.world.sent().is_empty()).await;
    let alert = stage.world.sent()[0].clone();
    assert_eq!(alert.starts_at, pending.active_at + 180_000);
    assert_eq!(alert.ends_at, alert.starts_at + 240_000);
    assert_eq!((alert.labels, alert.resolved), (pending.labels, false));
    assert_eq!(stage.rule("Down").state(), Some(AlertState::Firing));

    stage.world.answer("up == 0", vector(&[]));
    stage.until("resolved", |stage| stage.world.sent().last().unwrap().resolved).await;
    assert_eq!((stage.rule("Down").alerts, stage.rule("Down").health), (vec![], Health::Ok));

    let series = |state: &str| {
        let labels = format!(r#"alertname="Down", alertstate="{state}", instance="a", severity="page""#);
        stage.world.points(&format!(r#"{{__name__="ALERTS", {labels}}}"#))
    };
    assert_eq!(series("pending"), ["1", "1", "1", "stale"]);
    assert_eq!(series("firing").last().unwrap(), "stale");
    let since = r#"{__name__="ALERTS_FOR_STATE", alertname="Down", instance="a", severity="page"}"#;
    let points = stage.world.points(since);
    assert_eq!(
        (points[0].clone(), points.last().unwrap().as_str()),
        ((pending.active_at / 1_000).to_string(), "stale")
    );
}

#[tokio::test(start_paused = true)]
async fn recording_rules_are_stored_before_the_next_rule_is_evaluated() {
    let mut stage = Stage::new().await;
    stage.world.answer("sum(up)", Value::Scalar { at: 0, value: 2.0 });
    stage.world.answer("job:up", vector(&[("a", 1.0)]));
    stage.world.slow("job:up", Duration::from_secs(5));
    stage
        .apply(
            "groups:\n- name: g\n  rules:\n  - {record: 'job:up', expr: sum(up), labels: {team: x}}\n  - \
             {record: second, expr: 'job:up'}\n",
        )
        .await;
    stage.until("the second is asked", |stage| !stage.world.asked("job:up").is_empty()).await;
    assert_eq!(stage.world.points(r#"{__name__="job:up", team="x"}"#), ["2"]);
    stage.until("the second is stored", |stage| stage.rule("second").health == Health::Ok).await;
    assert_eq!(stage.world.points(r#"{__name__="second", instance="a"}"#), ["1"]);
    assert_eq!(stage.manager.groups().snapshots()[0].last_samples, 2);

    stage.world.answer("job:up", vector(&[("b", 1.0)]));
    stage
        .until("another series", |stage| stage.world.points(r#"{__name__="second", instance="a"}"#).len() > 1)
        .await;
    assert_eq!(stage.world.points(r#"{__name__="second", instance="a"}"#), ["1", "stale"]);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_fails_concerns_no_other() {
    let mut stage = Stage::new().await;
    stage.world.fail("broken");
    stage.world.answer("[1]", vector(&[]));
    stage.world.answer("twice", vector(&[("a", 1.0), ("a", 2.0)]));
    stage.world.answer("\"text\"", Value::String { at: 0, value: "text".to_owned() });
    stage.world.answer("up", vector(&[("a", 1.0)]));
    stage
        .apply(
            "groups:\n- name: g\n  limit: 1\n  rules:\n  - {alert: Broken, expr: broken}\n  - {alert: Twice, expr: twice}\n  - \
             {record: text, expr: '\"text\"'}\n  - {record: too_old, expr: up}\n  - {record: good, expr: up}\n",
        )
        .await;
    stage.until("all evaluated", |stage| stage.rule("good").health != Health::Unknown).await;
    let check = |rule: &str, health: Health, error: Option<&str>| {
        let rule = stage.rule(rule);
        assert_eq!((rule.health, rule.last_error.as_deref()), (health, error), "{}", rule.info.name);
    };
    check("Broken", Health::Err, Some("it broke"));
    let twice = "vector contains metrics with the same labelset after applying alert labels";
    check("Twice", Health::Err, Some(twice));
    check("text", Health::Err, Some("rule result is not a vector or scalar"));
    check("too_old", Health::Err, Some("out of bounds"));
    check("good", Health::Ok, None);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_takes_too_long_is_an_error() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[]));
    stage.world.slow("up == 0", Duration::from_hours(1));
    stage.apply(DOWN).await;
    stage.until("an error", |stage| stage.rule("Down").health == Health::Err).await;
    assert_eq!(stage.rule("Down").last_error.unwrap(), "query timed out in expression evaluation");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_source_resolves_nothing() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.apply(DOWN).await;
    stage.until("firing", |stage| !stage.world.sent().is_empty()).await;
    let first = stage.world.sent()[0].clone();
    stage.world.fail("up == 0");
    sleep(Duration::from_mins(30)).await;
    let sent = stage.world.sent();
    assert!(sent.iter().all(|alert| !alert.resolved && alert.starts_at == first.starts_at));
    assert!(sent.last().unwrap().ends_at > stage.now(), "still firing for Alertmanager");
    assert_eq!(stage.alert("Down").unwrap().state, AlertState::Firing);
}

#[tokio::test(start_paused = true)]
async fn state_is_stored_before_alerts_are_sent() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.apply(DOWN).await;
    stage.until("sent", |stage| !stage.world.sent().is_empty()).await;
    let stored = stage.world.stored_at_send.lock().unwrap()[0].clone();
    assert_eq!(stored[0].alerts[0].fired_at, Some(stage.world.sent()[0].starts_at));
}

#[tokio::test(start_paused = true)]
async fn alerts_are_sent_also_if_their_state_cannot_be_stored() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    *stage.world.store_fails.lock().unwrap() = true;
    stage.apply(DOWN).await;
    stage.until("sent", |stage| !stage.world.sent().is_empty()).await;
    *stage.world.store_fails.lock().unwrap() = false;
    // With the store back, what it missed is stored.
    sleep(Duration::from_secs(61)).await;
    let stored = stage.world.store.rules().await.unwrap();
    assert_eq!(stored[0].alerts[0].state, AlertState::Firing);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_while_nothing_changes() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[]));
    stage.apply(DOWN).await;
    sleep(Duration::from_mins(10)).await;
    assert_eq!(stage.world.store.commits(), 0);
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.until("firing", |stage| !stage.world.sent().is_empty()).await;
    let commits = stage.world.store.commits();
    sleep(Duration::from_mins(10)).await;
    assert_eq!(stage.world.store.commits(), commits, "an alert that goes on firing costs nothing");
}

#[tokio::test(start_paused = true)]
async fn a_slow_rule_does_not_delay_the_alerts_before_it() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.world.answer("slow", vector(&[]));
    stage.world.slow("slow", Duration::from_secs(50));
    stage
        .apply(&DOWN.replace("for: 3m", "for: 0s").replacen(
            "annotations: {summary: it is down}",
            "annotations: {}\n  - {record: slow_one, expr: slow}",
            1,
        ))
        .await;
    stage.until("the slow rule is asked", |stage| !stage.world.asked("slow").is_empty()).await;
    let asked_at = stage.now();
    stage.until("sent", |stage| !stage.world.sent().is_empty()).await;
    assert!(stage.now() - asked_at <= 3_000, "sent {} ms later", stage.now() - asked_at);
}

#[tokio::test(start_paused = true)]
async fn missed_slots_are_counted_and_metrics_have_prometheus_names() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.world.slow("up == 0", Duration::from_secs(25));
    stage.apply(&DOWN.replace("name: g", "name: g\n  interval: 10s")).await;
    stage.until("three evaluations", |stage| stage.world.asked("up == 0").len() == 3).await;
    let mut registry = prometheus_client::registry::Registry::default();
    stage.manager.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let label = r#"{rule_group="rules.yml;g"}"#;
    for line in [
        format!("prometheus_rule_group_iterations_total{label} 6"),
        format!("prometheus_rule_group_iterations_missed_total{label} 3"),
        format!("prometheus_rule_evaluations_total{label} 2"),
        format!("prometheus_rule_evaluation_failures_total{label} 0"),
        format!("prometheus_rule_group_interval_seconds{label} 10.0"),
        format!("prometheus_rule_group_rules{label} 1.0"),
        format!("prometheus_rule_group_last_evaluation_samples{label} 2.0"),
        format!("prometheus_rule_group_last_duration_seconds{label} 25.0"),
        format!("prometheus_rule_group_last_rule_duration_sum_seconds{label} 25.0"),
        format!("prometheus_rule_group_last_restore_duration_seconds{label} 0.0"),
        "prometheus_rule_group_duration_seconds{quantile=\"0.05\"} 25.0".to_owned(),
        "prometheus_rule_group_duration_seconds_count 2.0".to_owned(),
        "prometheus_rule_evaluation_duration_seconds{quantile=\"0.99\"} 25.0".to_owned(),
        "prometheus_rule_evaluation_duration_seconds_sum 50.0".to_owned(),
        "prometheus_rule_evaluation_duration_seconds_count 2.0".to_owned(),
        "valmis_rule_evaluation_duration_seconds_count 2".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.contains(&format!("prometheus_rule_group_last_evaluation_timestamp_seconds{label} 17")));
    let asked = stage.world.asked("up == 0");
    assert_eq!((asked[1] - asked[0], asked[2] - asked[1]), (20_000, 30_000));
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_state_of_rules_that_keep_name_and_labels() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.world.answer("up < 1", vector(&[("a", 0.0)]));
    stage.apply(DOWN).await;
    stage.until("pending", |stage| stage.alert("Down").is_some()).await;
    let pending = stage.alert("Down").unwrap();
    let evaluated = stage.rule("Down").last_evaluation;

    stage.apply(DOWN).await;
    assert_eq!(stage.rule("Down").last_evaluation, evaluated, "an unchanged group goes on undisturbed");

    stage.apply(&DOWN.replace("up == 0", "up < 1").replace("for: 3m", "for: 2m")).await;
    assert_eq!(stage.alert("Down").unwrap().active_at, pending.active_at);
    stage.until("firing", |stage| !stage.world.sent().is_empty()).await;
    assert_eq!(stage.world.sent()[0].starts_at, pending.active_at + 120_000);

    stage.apply(&DOWN.replace("severity: page", "severity: mail")).await;
    assert_eq!(stage.alert("Down"), None, "with other labels it is another rule");
}

#[tokio::test(start_paused = true)]
async fn of_several_alike_the_first_keeps_the_state_of_the_first() {
    let twins = |first: &str, second: &str| {
        format!(
            "groups:\n- name: g\n  rules:\n  - {{alert: T, expr: {first}}}\n  - {{alert: T, expr: {second}}}\n"
        )
    };
    let mut stage = Stage::new().await;
    stage.world.answer("one", vector(&[("a", 1.0)]));
    stage.world.answer("two", vector(&[("b", 2.0)]));
    stage.apply(&twins("one", "two")).await;
    stage.until("sent", |stage| stage.world.sent().len() == 2).await;
    stage.apply(&twins("two", "one")).await;
    let groups = stage.manager.groups().snapshots();
    let instances: Vec<_> =
        groups[0].rules.iter().map(|rule| rule.alerts[0].labels.get("instance").to_owned()).collect();
    assert_eq!(instances, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_removed_rule_wrote_goes_stale_and_is_forgotten() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.world.answer("up", vector(&[("a", 0.0)]));
    let both =
        format!("{DOWN}  - {{record: r, expr: up}}\n- name: other\n  rules: [{{record: o, expr: up}}]\n");
    stage.apply(&both).await;
    let series = |name: &str| format!(r#"{{__name__="{name}", instance="a"}}"#);
    stage
        .until("both", |stage| {
            !stage.world.points(&series("r")).is_empty() && !stage.world.points(&series("o")).is_empty()
        })
        .await;
    assert_eq!(stage.world.store.rules().await.unwrap().len(), 1);

    stage.apply("groups:\n- name: g\n  rules: [{record: r, expr: up}]\n").await;
    assert_eq!(stage.world.store.rules().await.unwrap(), []);
    let ended = |name: &str| stage.world.points(&series(name)).last().unwrap() == "stale";
    sleep(Duration::from_mins(1)).await;
    let state = r#"{__name__="ALERTS_FOR_STATE", alertname="Down", instance="a", severity="page"}"#;
    assert_eq!(stage.world.points(state).last().unwrap(), "stale");
    assert!(!ended("r"), "the rule that stayed goes on");
    assert!(!ended("o"), "a group that was renamed has two intervals to go on");
    sleep(Duration::from_secs(61)).await;
    assert!(ended("o"));
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_invisible_to_who_is_paged() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.apply(DOWN).await;
    stage.until("pending", |stage| stage.alert("Down").is_some()).await;
    let pending = stage.alert("Down").unwrap();

    let stage = stage.restarted(DOWN).await;
    assert_eq!(stage.alert("Down").unwrap(), pending, "before anything was evaluated");
    stage.until("firing", |stage| !stage.world.sent().is_empty()).await;
    let first = stage.world.sent()[0].clone();
    assert_eq!(first.starts_at, pending.active_at + 180_000, "the hold duration goes on");

    let stage = stage.restarted(DOWN).await;
    stage.until("sent again", |stage| !stage.world.sent().is_empty()).await;
    let again = stage.world.sent()[0].clone();
    assert_eq!((again.starts_at, again.resolved), (first.starts_at, false));

    stage.world.answer("up == 0", vector(&[]));
    let stage = stage.restarted(DOWN).await;
    stage.until("resolved", |stage| !stage.world.sent().is_empty()).await;
    let resolved = stage.world.sent()[0].clone();
    assert_eq!((resolved.starts_at, resolved.resolved), (first.starts_at, true));
    let series =
        r#"{__name__="ALERTS", alertname="Down", alertstate="firing", instance="a", severity="page"}"#;
    assert_eq!(stage.world.points(series).last().unwrap(), "stale", "known from before the restart");

    let stage = stage.restarted(DOWN).await;
    stage.until("sent again", |stage| !stage.world.sent().is_empty()).await;
    assert_eq!(stage.world.sent()[0], resolved, "the news of the end is repeated");
}

#[tokio::test(start_paused = true)]
async fn time_without_a_process_does_not_count_as_held() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.apply(DOWN).await;
    stage.until("pending", |stage| stage.alert("Down").is_some()).await;
    let Stage { world, began, manager } = stage;
    manager.shutdown().await;
    sleep(Duration::from_hours(1)).await;
    let mut stage = Stage::with(world, began).await;
    stage.apply(DOWN).await;
    let started = stage.now();
    stage.until("evaluated", |stage| stage.rule("Down").health == Health::Ok).await;
    assert_eq!(stage.alert("Down").unwrap().state, AlertState::Pending);
    stage.until("firing", |stage| !stage.world.sent().is_empty()).await;
    assert!(stage.now() - started > 120_000, "two more evaluations were needed");
}

#[tokio::test(start_paused = true)]
async fn states_that_nobody_claims_for_a_day_are_dropped() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.apply(DOWN).await;
    stage.until("pending", |stage| stage.alert("Down").is_some()).await;
    let stage = stage.restarted("").await;
    assert_eq!(stage.world.store.rules().await.unwrap().len(), 1, "the file may come back");
    let mut stage = stage.restarted("").await;
    stage.apply(DOWN).await;
    assert!(stage.alert("Down").is_some(), "it came back");
    let Stage { world, began, manager } = stage;
    manager.shutdown().await;
    sleep(Duration::from_hours(25)).await;
    let stage = Stage::with(world, began).await;
    assert_eq!(stage.world.store.rules().await.unwrap().len(), 1, "the clock may be wrong");
    sleep(Duration::from_mins(61)).await;
    assert_eq!(stage.world.store.rules().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_at_the_start_costs_no_state() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.apply(DOWN).await;
    stage.until("pending", |stage| stage.alert("Down").is_some()).await;
    let Stage { world, began, manager } = stage;
    manager.shutdown().await;
    world.clock_set.store(25 * 3_600_000, Ordering::Relaxed);
    let stage = Stage::with(world, began).await;
    stage.world.clock_set.store(0, Ordering::Relaxed);
    sleep(Duration::from_hours(2)).await;
    let stage = stage.restarted(DOWN).await;
    assert!(stage.alert("Down").is_some());
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_nothing_is_evaluated() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.world.slow("up == 0", Duration::from_secs(100));
    stage.apply(DOWN).await;
    stage.until("asked", |stage| !stage.world.asked("up == 0").is_empty()).await;
    let before = stage.now();
    let (world, began) = (stage.world.clone(), stage.began);
    stage.manager.shutdown().await;
    assert_eq!(RuntimeClock(began).now(), before, "a query under way is given up");
    sleep(Duration::from_mins(10)).await;
    assert_eq!(world.asked("up == 0").len(), 1);
}

/// A rule whose label and annotation are these templates.
fn templated(label: &str, annotation: &str) -> String {
    format!(
        "groups:\n- name: g\n  rules:\n  - alert: T\n    expr: up == 0\n    labels: {{l: '{label}', empty: ''}}\n    \
         annotations: {{a: '{annotation}', none: ''}}\n"
    )
}

/// Label and annotation of the alert of a rule with these templates.
async fn expanded(label: &str, annotation: &str) -> (String, String) {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.5)]));
    stage.world.answer("sum(up)", Value::Scalar { at: 0, value: 42.0 });
    stage.world.fail("broken");
    let config = Config {
        external_labels: Labels::from_pairs([("cluster", "c1")]),
        external_url: "http://v:9797".to_owned(),
        ..Config::default()
    };
    stage.manager.apply(&files(&templated(label, annotation)), config, &Origins::new()).await;
    stage.until("an alert", |stage| stage.alert("T").is_some()).await;
    let alert = stage.alert("T").unwrap();
    assert!(alert.annotations.len() <= 1, "{}", alert.annotations);
    (alert.labels.get("l").to_owned(), alert.annotations.get("a").to_owned())
}

#[tokio::test(start_paused = true)]
async fn labels_and_annotations_are_templates() {
    let check = async |template: &str, expected: &str| {
        assert_eq!(
            expanded(template, template).await,
            (expected.to_owned(), expected.to_owned()),
            "{template}"
        );
    };
    check("plain", "plain").await;
    check("{{ $labels.instance }} of {{ .Labels.__name__ }}: {{ $value }}", "a of up: 0.5").await;
    check("{{ $externalLabels.cluster }} {{ $externalURL }}", "c1 http://v:9797").await;
    check("{{ $value | humanizePercentage }}", "50%").await;
    check("{{ query \"sum(up)\" | first | value }}", "42").await;
    check("{{ $labels.missing }}", "").await;
}

#[tokio::test(start_paused = true)]
async fn a_template_that_fails_says_so_and_fails_nothing_else() {
    let (label, annotation) = expanded("fine", "{{ query \"broken\" }}").await;
    assert_eq!(label, "fine");
    assert!(
        annotation.starts_with("<error expanding template: error executing template __alert_T:"),
        "{annotation}"
    );
    assert!(annotation.contains("it broke"), "{annotation}");
}

#[tokio::test(start_paused = true)]
async fn a_label_that_is_empty_is_removed() {
    let mut stage = Stage::new().await;
    stage.world.answer("up == 0", vector(&[("a", 0.5)]));
    stage
        .apply(&templated("{{ $labels.missing }}", "{{ $labels.missing }}").replace("empty:", "instance:"))
        .await;
    stage.until("an alert", |stage| stage.alert("T").is_some()).await;
    let alert = stage.alert("T").unwrap();
    assert_eq!((alert.labels.to_string(), alert.annotations.len()), (r#"{alertname="T"}"#.to_owned(), 0));
    assert_eq!(stage.world.points(r#"{__name__="ALERTS", alertname="T", alertstate="firing"}"#), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_query_of_many_alerts_is_asked_once() {
    let mut stage = Stage::new().await;
    let elements: Vec<_> = (0..100).map(|number| (format!("host-{number}"), 1.0)).collect();
    let elements: Vec<_> = elements.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    stage.world.answer("up == 0", vector(&elements));
    stage.world.answer("sum(up)", Value::Scalar { at: 0, value: 42.0 });
    stage.apply(&templated("x", "{{ query \"sum(up)\" | first | value }}")).await;
    stage.until("alerts", |stage| stage.rule("T").alerts.len() == 100).await;
    assert_eq!(stage.world.asked("sum(up)").len(), 1);
}
