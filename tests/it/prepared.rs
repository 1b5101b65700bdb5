//! Expressions that are evaluated again and again, as rules are: what is kept from one evaluation to the
//! next must never be seen in an answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use proptest::prelude::*;
use proptest::sample::Index;
use valmis::clock::FixedClock;
use valmis::model::{Labels, Sample, TimestampMs, stale_nan};
use valmis::promql::{EvalError, Expr, Output, Value, parse};
use valmis::query::{LocalConfig, LocalSource, PreparedQuery, QuerySource as _};
use valmis::storage::Appender as _;
use valmis::tsdb::{Config, Tsdb};

const MINUTE: i64 = 60_000;

const QUERIES: [&str; 20] = [
    "up == 0",
    "up{job=~\"a|b\"}",
    "{instance=\"1\"}",
    "-up",
    "sum by (job) (up)",
    "count without (instance) (up > 0)",
    "up / size",
    "up + on (job, instance) size",
    "up * ignoring (instance) group_left sum without (instance) (size)",
    "up * on (job) group_left (zone) max by (job, zone) (size)",
    "up and on (job) size > 1",
    "up or size",
    "up unless ignoring (zone) size",
    "sum by (job) (rate(up[5m])) / sum by (job) (rate(size[5m])) > 0",
    "predict_linear(size[5m], 60) < 2",
    "histogram_quantile(0.5, sum by (job, le) (rate(latency_bucket[5m])))",
    "histogram_quantile(0.9, latency_bucket)",
    "absent(up{job=\"c\"})",
    "topk by (job) (1, size)",
    "label_replace(up, \"x\", \"$1\", \"job\", \"(.*)\")",
];

/// What happens to the store.
#[derive(Debug, Clone)]
enum Event {
    /// Samples of some series come.
    Append(Vec<(Index, u8)>),
    /// Time goes by, perhaps so much that series end or are dropped.
    Wait(i64),
    /// What is past retention is dropped.
    Sweep,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => prop::collection::vec((any::<Index>(), any::<u8>()), 1..12).prop_map(Event::Append),
        2 => prop::sample::select(vec![15_000, MINUTE, 6 * MINUTE, 40 * MINUTE]).prop_map(Event::Wait),
        1 => Just(Event::Sweep),
    ]
}

/// All series that may come.
fn series() -> Vec<Labels> {
    let mut all = Vec::new();
    for job in ["a", "b", "c"] {
        for instance in ["1", "2", "3"] {
            let own = [("job", job), ("instance", instance)];
            all.push(Labels::from_pairs([("__name__", "up")].into_iter().chain(own)));
            // One series for each, and sometimes a second one that makes matching ambiguous.
            for zone in ["", "z"].iter().take(1 + usize::from(job == "c")) {
                let pairs = [("__name__", "size"), ("zone", zone)];
                all.push(Labels::from_pairs(pairs.into_iter().chain(own)));
            }
            for le in ["1", "2", "+Inf", "none"].iter().take(if instance == "3" { 4 } else { 3 }) {
                let pairs = [("__name__", "latency_bucket"), ("le", le)];
                all.push(Labels::from_pairs(pairs.into_iter().chain(own)));
            }
        }
    }
    all
}

/// An answer in a form that can be compared: the order of series says nothing, and NaN is NaN.
fn shown(answer: Result<Output, EvalError>) -> Result<(Vec<String>, Vec<String>), ()> {
    // Of several faults any may be reported.
    let Output { value, annotations, .. } = answer.map_err(|_| ())?;
    let Value::Vector(vector) = value else { panic!("all queries yield vectors") };
    let mut samples: Vec<String> = vector.iter().map(|sample| format!("{sample:?}")).collect();
    samples.sort();
    let mut remarks: Vec<String> = annotations.into_iter().map(|remark| remark.message).collect();
    remarks.sort();
    Ok((samples, remarks))
}

fn now(answer: impl Future<Output = Result<Output, EvalError>>) -> Result<Output, EvalError> {
    answer.now_or_never().expect("so little is answered at once")
}

fn check(events: Vec<Event>, max_memory: u64) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let mut at: TimestampMs = 1_000 * MINUTE;
    let clock = Arc::new(FixedClock::at(at));
    let retention = Duration::from_mins(30);
    let config = Config { retention, max_memory, ..Config::new(clock.clone()) };
    let (tsdb, _) = Tsdb::open(config).expect("the store opens");
    let source = LocalSource::new(tsdb.clone(), LocalConfig::default());
    let queries: Vec<(Arc<Expr>, Arc<dyn PreparedQuery>)> = QUERIES
        .map(|query| Arc::new(parse(query).expect("a valid query")))
        .map(|expr| (Arc::clone(&expr), source.prepare(&expr)))
        .into();
    let series = series();
    for event in events {
        match event {
            Event::Append(samples) => {
                let samples = samples.iter().map(|(which, value)| {
                    let value = if *value == 0 { stale_nan() } else { f64::from(value % 4) };
                    Sample::new(which.get(&series).clone(), at, value)
                });
                // A second value for an instant is refused, as it should be.
                tsdb.append_samples(&samples.collect::<Vec<_>>());
            }
            Event::Wait(passed) => at += passed,
            Event::Sweep => tsdb.maintain(at),
        }
        clock.set(at);
        for (expr, prepared) in &queries {
            let (again, anew) = (shown(now(prepared.instant(at))), shown(now(source.instant(expr, at))));
            prop_assert_eq!(again, anew, "{}", expr);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn prepared_queries_answer_as_new_ones_do(events in prop::collection::vec(event(), 1..25)) {
        check(events, 1 << 30)?;
    }

    #[test]
    fn so_they_do_when_there_is_no_memory_to_keep_anything(events in prop::collection::vec(event(), 1..12)) {
        check(events, 1 << 18)?;
    }
}
