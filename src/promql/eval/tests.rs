//! What scripts cannot say: limits, interrupts, depth, and samples of another query.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;

use crate::model::{Labels, Point};
use crate::promql::{
    EvalError, EvalOptions, EvalRange, Features, Interrupt, Output, Value, eval, parse_with, prefetch,
};
use crate::storage::MemoryStorage;

const MINUTES: EvalRange = EvalRange { start: 0, end: 600_000, step_ms: 60_000 };

fn storage() -> MemoryStorage {
    let storage = MemoryStorage::new();
    for job in ["a", "b", "c"] {
        let labels = Labels::from_pairs([("__name__", "m"), ("job", job)]);
        storage.load(&labels, (0..=10).map(|minute| Point { at: minute * 60_000, value: 1.0 }));
    }
    storage
}

fn ask(query: &str, range: &EvalRange, options: &EvalOptions) -> Result<Output, EvalError> {
    let expr = parse_with(query, Features::ALL).expect("a valid query");
    let data =
        prefetch(&expr, range, options, &storage(), None).now_or_never().expect("memory is ready at once")?;
    eval(&expr, range, &data, options)
}

#[test]
fn samples_in_memory_are_limited() {
    let check = |query: &str, most: usize, allowed: bool| {
        let options = EvalOptions { max_samples: most, ..EvalOptions::default() };
        let result = ask(query, &MINUTES, &options);
        match result {
            Ok(_) => assert!(allowed, "{query} within {most}"),
            Err(error) => {
                assert!(!allowed, "{query} within {most}: {error}");
                let text = "query processing would load too many samples into memory in query execution";
                assert_eq!(error.to_string(), text);
            }
        }
    };
    // Three series of eleven points.
    check("m", 33, true);
    check("m", 32, false);
    // Both operands and the result are there at once; the operands share the samples fetched for them.
    check("m + m", 99, true);
    check("m + m", 65, false);
    check("time()", 10, false);
    check("sum_over_time(vector(1)[1y:1s])", 1_000, false);
    check("count_values(\"v\", m * ignoring(job) group_left vector(time()))", 80, false);
}

#[test]
fn an_evaluation_can_be_interrupted() {
    let timeout = || Some(EvalError::Timeout("expression evaluation"));
    let options = EvalOptions { interrupt: Interrupt::when(timeout), ..EvalOptions::default() };
    let error = ask("m", &MINUTES, &options).expect_err("an interrupt");
    assert_eq!(error.to_string(), "query timed out in expression evaluation");
}

#[test]
fn deeply_nested_expressions_do_not_exhaust_the_stack() {
    // As deep as the parser allows.
    let check = |before: &str, after: &str, depth: usize| {
        let query = before.repeat(depth) + "m" + &after.repeat(depth);
        let evaluate = move || ask(&query, &MINUTES, &EvalOptions::default()).map(|output| output.value);
        let thread = std::thread::Builder::new().stack_size(crate::promql::STACK_BYTES).spawn(evaluate);
        let value = thread.expect("a thread").join().expect("the stack suffices");
        assert!(value.is_ok(), "{before}: {value:?}");
    };
    let depth = crate::promql::MAX_DEPTH - 6;
    check("", " + on(job) m", depth);
    check("(", ")", depth);
    check("-(", ")", depth / 2);
    check("abs(", ")", depth);
    check("sum(", ")", depth);
    check("topk(1, ", ")", depth);
    check("histogram_quantile(0.9, ", ")", depth);
    check("label_replace(", ", 'a', 'b', 'c', 'd')", depth);
    check("max_over_time(", "[1m:1m])", depth / 2);
    check("m * on(job) group_left(a) (", ")", depth / 2);
    check("vector(scalar(", "))", depth / 2);
}

#[test]
fn samples_of_another_query_are_refused() {
    let options = EvalOptions::default();
    let parse = |query| parse_with(query, Features::ALL).expect("a valid query");
    let storage = storage();
    let expr = parse("m");
    let fetched = prefetch(&expr, &MINUTES, &options, &storage, None);
    let data = fetched.now_or_never().expect("memory is ready at once").expect("memory cannot fail");
    let error = eval(&parse("m offset 1m"), &MINUTES, &data, &options).expect_err("other samples");
    assert!(matches!(error, EvalError::Storage(_)), "{error}");
    let later = EvalRange { end: 660_000, ..MINUTES };
    assert!(eval(&expr, &later, &data, &options).is_err());
}

#[test]
fn a_range_query_of_a_range_vector_is_refused() {
    let error = ask("m[5m]", &MINUTES, &EvalOptions::default()).expect_err("not for ranges");
    let text = "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector";
    assert_eq!(error.to_string(), text);
}

#[test]
fn only_the_samples_that_are_needed_are_fetched() {
    let check = |query: &str, range: EvalRange, samples: usize| {
        let expr = parse_with(query, Features::ALL).expect("a valid query");
        let storage = storage();
        let options = EvalOptions::default();
        let data = prefetch(&expr, &range, &options, &storage, None).now_or_never().expect("ready at once");
        assert_eq!(data.expect("memory cannot fail").samples(), samples, "{query}");
    };
    let at = |minute: i64| EvalRange::instant(minute * 60_000);
    check("m", at(5), 3);
    check("m{job=\"a\"} / m{job=\"a\"}", at(5), 1);
    check("m{job=\"a\"}[2m]", at(5), 2);
    check("rate(m{job=\"a\"}[2m] offset 1m)", at(5), 2);
    check("rate(m{job=\"a\"}[2m] @ 600)", at(5), 2);
    check("m{job=\"a\"}", EvalRange { start: 300_000, end: 480_000, step_ms: 60_000 }, 8);
    check("max_over_time(rate(m{job=\"a\"}[1m])[3m:1m])", at(5), 3);
    check("rate(m{job=\"a\"}[2m] anchored)", at(9), 7);
    check("1 + 1", at(5), 0);
}

#[test]
fn a_constant_part_is_repeated() {
    let output = ask("m{job=\"a\"} @ 0 + 1", &MINUTES, &EvalOptions::default()).expect("a result");
    let Value::Matrix(series) = output.value else { panic!("not a matrix") };
    assert_eq!(series[0].points.len(), 11);
    assert!(series[0].points.iter().all(|point| point.value == 2.0));
}

#[test]
fn a_range_without_instants_yields_nothing() {
    let backwards = EvalRange { start: 600_000, end: 0, step_ms: 60_000 };
    for query in ["m", "1", "vector(1)", "absent(m)", "m @ 0 + 1", "max_over_time(m[5m:1m])"] {
        let output = ask(query, &backwards, &EvalOptions::default()).expect("no error");
        assert_eq!(output.value, Value::Matrix(Vec::new()), "{query}");
    }
}

#[test]
fn rates_of_what_is_not_named_like_a_counter_are_remarked_once() {
    let check = |query: &str, expected: &[&str]| {
        let output = ask(query, &MINUTES, &EvalOptions::default()).expect("a result");
        let found: Vec<&str> = output.annotations.iter().map(|a| a.message.as_str()).collect();
        assert_eq!(found, expected, "{query}");
    };
    let remark =
        "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"m\"";
    check("rate(m[5m])", &[remark]);
    check("rate(m[5m]) + on(job) rate(m[5m])", &[remark]);
    check("rate(m[1ms])", &[]);
    check("rate(sum by (job) (m)[5m:1m])", &[]);
    check("irate(m[5m])", &[]);
}

#[test]
fn results_have_an_order_of_their_own() {
    let check = |query: &str, expected: &[&str]| {
        let output = ask(query, &EvalRange::instant(0), &EvalOptions::default()).expect("a result");
        let Value::Vector(samples) = output.value else { panic!("not a vector") };
        let jobs: Vec<&str> = samples.iter().map(|sample| sample.labels.get("job")).collect();
        assert_eq!(jobs, expected, "{query}");
    };
    check("m", &["a", "b", "c"]);
    check("sum by (job) (m)", &["a", "b", "c"]);
    check("m{job=\"c\"} or m{job=\"a\"}", &["c", "a"]);
    check("m * on(job) (m + 1)", &["a", "b", "c"]);
}

#[test]
fn a_computation_stops_within_a_single_series() {
    // A question at the beginning of each part is answered with yes; the one amid the windows is not.
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let interrupt = Interrupt::when(move || {
        let before = counter.fetch_add(1, Ordering::Relaxed);
        (before >= 100).then_some(EvalError::Timeout("expression evaluation"))
    });
    let options = EvalOptions { interrupt, ..EvalOptions::default() };
    let range = EvalRange { start: 0, end: 11_000_000, step_ms: 1_000 };
    let error = ask("max_over_time(vector(time())[3h:1s])", &range, &options).expect_err("no time");
    assert_eq!(error, EvalError::Timeout("expression evaluation"));
    // The windows have 10,800 points each: a thousand questions would be asked of all of them.
    assert_eq!(asked.load(Ordering::Relaxed), 101);
}

#[test]
fn samples_are_counted_by_the_instants_that_look_at_them() {
    let check = |query: &str, expected: &[(u64, u64)]| {
        let options = EvalOptions { count_samples: true, ..EvalOptions::default() };
        let range = EvalRange { start: 120_000, end: 240_000, step_ms: 60_000 };
        let samples = ask(query, &range, &options).expect("a result").samples.expect("they are counted");
        let steps: Vec<(u64, u64)> = samples.steps.iter().map(|step| (step.total, step.read)).collect();
        assert_eq!(steps, expected, "{query}");
    };
    let series = match ask("count(m)", &EvalRange::instant(120_000), &EvalOptions::default()) {
        Ok(Output { value: Value::Vector(found), .. }) => found[0].value as u64,
        other => panic!("{other:?}"),
    };
    check("m", &[(series, series); 3]);
    check("m + m", &[(2 * series, 2 * series); 3]);
    check("m @ 120", &[(series, series), (series, 0), (series, 0)]);
    check("sum_over_time(m[2m])", &[(2 * series, 2 * series), (2 * series, series), (2 * series, series)]);
}
