use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use proptest::prelude::*;

use super::super::{Alert, AlertSink, Config, Services, SteppedGroup};
use super::*;
use crate::clock::FixedClock;
use crate::model::{Labels, Point};
use crate::promql::{EvalRange, Features};
use crate::query::{Answer, LocalConfig, LocalSource, QueryOptions, QuerySource, Unprepared};
use crate::rulefmt::{self, RuleGroup};
use crate::state::{MemoryStore, StateStore};
use crate::storage::MemoryStorage;

fn group(rules: &str) -> RuleGroup {
    let text = format!("groups:\n- name: g\n  interval: 10s\n  rules:\n{rules}");
    let (mut files, findings) = rulefmt::parse("rules.yml", &text, Features::ALL);
    assert!(findings.is_empty(), "{findings:?}\n{text}");
    files.remove(0).groups.remove(0)
}

#[test]
fn a_rule_waits_for_those_whose_series_it_may_read() {
    let check = |rules: &[&str], expected: &[usize]| {
        let rules = rules.iter().map(|rule| format!("  - {{{rule}}}\n")).collect::<Vec<_>>().concat();
        assert_eq!(needs(&group(&rules).rules), expected, "{rules}");
    };
    check(&["record: a, expr: x", "record: b, expr: x", "record: c, expr: y"], &[0, 0, 0]);
    check(
        &["record: a, expr: x", "record: b, expr: sum(a offset 5m)", "record: c, expr: 'rate(b[1m])'"],
        &[0, 1, 2],
    );
    // Its own series and those of later rules are of the pass before.
    check(&["record: a, expr: a + b", "record: b, expr: x"], &[0, 0]);
    check(&["record: a, expr: x", "record: b, expr: '{__name__=~\"a|z\"}'"], &[0, 1]);
    check(&["record: a, expr: x", "record: b, expr: '{__name__!=\"a\", job=\"x\"}'"], &[0, 0]);
    check(&["record: a, expr: x", "record: b, expr: '{job=\"x\"}'", "record: c, expr: y"], &[0, 1, 0]);
    check(&["record: a, expr: x", "record: b, expr: 'info(y)'"], &[0, 1]);
    check(&["alert: A, expr: x", "record: b, expr: ALERTS", "record: c, expr: ALERTS_FOR_STATE"], &[0, 1, 1]);
    check(&["alert: A, expr: x", "alert: B, expr: 'ALERTS{alertname=\"B\"}'"], &[0, 0]);
    check(&["alert: A, expr: x", "alert: B, expr: 'ALERTS{alertname=~\"A.*\"}'"], &[0, 1]);
    check(&["alert: A, expr: x", "record: b, expr: A"], &[0, 0]);
}

/// Answers over a store, in an order of its own.
#[derive(Clone)]
struct Shuffled {
    inner: Arc<LocalSource>,
    random: Arc<AtomicU64>,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Shuffled {
    async fn query(&self, expr: &Expr, range: &EvalRange) -> Result<Answer, EvalError> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let random = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis((random >> 62) + 1)).await;
        let answer = self.inner.query(expr, range, &QueryOptions::default()).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

impl QuerySource for Shuffled {
    fn query<'a>(
        &'a self,
        expr: &'a Expr,
        range: &'a EvalRange,
        _: &'a QueryOptions,
    ) -> BoxFuture<'a, Result<Answer, EvalError>> {
        self.query(expr, range).boxed()
    }

    fn prepare(&self, expr: &Arc<Expr>) -> Arc<dyn PreparedQuery> {
        Arc::new(Unprepared { source: self.clone(), expr: expr.clone() })
    }
}

#[derive(Default)]
struct Sent(Mutex<Vec<Alert>>);

impl AlertSink for Sent {
    fn send(&self, alerts: Vec<Alert>) {
        self.0.lock().expect("no panic").extend(alerts);
    }
}

/// Everything that a few passes of a group lead to: series, states and what was sent, in order; and how
/// many queries ran at once at most.
async fn outcome(group: &RuleGroup, concurrency: usize, seed: u64) -> (String, usize) {
    let storage = Arc::new(MemoryStorage::new());
    for (name, values) in [("x", [1.0, 0.0, 2.0, 2.0]), ("y", [0.0, 3.0, 1.0, 0.0])] {
        for instance in ["1", "2"] {
            let labels = Labels::from_pairs([("__name__", name), ("instance", instance)]);
            let points =
                values.iter().zip(0..).map(|(value, slot)| Point { at: slot * 10_000 - 1, value: *value });
            storage.load(&labels, points);
        }
    }
    let source = Shuffled {
        inner: Arc::new(LocalSource::new(storage.clone(), LocalConfig::default())),
        random: Arc::new(AtomicU64::new(seed)),
        running: Arc::default(),
        most: Arc::default(),
    };
    let (sent, state) = (Arc::new(Sent::default()), Arc::new(MemoryStore::default()));
    let services = Services {
        source: Arc::new(source.clone()),
        appender: storage.clone(),
        sink: sent.clone(),
        state: state.clone(),
        clock: Arc::new(FixedClock::at(0)),
    };
    let config = Config { concurrency, resend_delay_ms: 1, ..Config::default() };
    let mut stepped = SteppedGroup::new("rules.yml", group, Arc::new(config), services);
    for slot in 0..5 {
        stepped.evaluate(slot * 10_000).await;
    }
    let states = state.rules().await.expect("in memory");
    let errors: Vec<_> = stepped.rules().map(|rule| rule.last_error.map(str::to_owned)).collect();
    let sent = sent.0.lock().expect("no panic").clone();
    // NaN is equal to nothing, and shown alike.
    (
        format!("{:#?}\n{states:#?}\n{errors:#?}\n{sent:#?}", storage.dump()),
        source.most.load(Ordering::SeqCst),
    )
}

fn any_rule() -> impl Strategy<Value = String> {
    let expr = prop_oneof![
        Just("x"),
        Just("x > 1"),
        Just("sum(y)"),
        Just("r1"),
        Just("r2 + r1"),
        Just("sum by (instance) ({__name__=~\"r.|x\"})"),
        Just("count(ALERTS)"),
        Just("ALERTS{alertname=\"A\"} == 1"),
        Just("ALERTS_FOR_STATE{alertname!=\"A\"}"),
        Just("count({instance=\"1\"})"),
        Just("x / 0 > y"),
        Just("r3 offset 10s"),
        Just("label_replace(x, \"instance\", \"same\", \"\", \"\")"),
        Just("max_over_time(r1[30s])"),
    ];
    let kind = prop_oneof![
        Just("record: r1"),
        Just("record: r2"),
        Just("record: r3"),
        Just("alert: A"),
        Just("alert: B, for: 10s"),
        Just("alert: B, keep_firing_for: 10s, annotations: {a: '{{ query \"r1\" | len }}'}"),
    ];
    (kind, expr).prop_map(|(kind, expr)| format!("  - {{{kind}, expr: '{expr}'}}\n"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn any_group_leads_to_what_it_leads_to_rule_by_rule(
        rules in proptest::collection::vec(any_rule(), 1..12),
        seed: u64,
    ) {
        let group = group(&rules.concat());
        let runtime = runtime();
        let (expected, most) = runtime.block_on(outcome(&group, 1, seed));
        prop_assert!(most <= 2, "one rule, and a query of its templates: {most}");
        let (found, most) = runtime.block_on(outcome(&group, 4, seed));
        prop_assert!(most <= 5, "{most}");
        prop_assert_eq!(found, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn queries_of_independent_rules_run_at_once_and_no_more_than_allowed() {
    let check = async |rules: String, concurrency: usize, expected: usize| {
        let (_, most) = outcome(&group(&rules), concurrency, 7).await;
        assert_eq!(most, expected, "{rules}");
    };
    let independent =
        (0..20).map(|number| format!("  - {{record: 's{number}', expr: x}}\n")).collect::<Vec<_>>().concat();
    let chain = (1..20)
        .map(|number| format!("  - {{record: 's{number}', expr: 's{}'}}\n", number - 1))
        .collect::<Vec<_>>()
        .concat();
    check(independent.clone(), 4, 4).await;
    check(independent, 1, 1).await;
    check(chain, 4, 1).await;
}
