//! How long evaluating takes: the benchmarks of Prometheus' own engine over the same data, functions of
//! windows that those leave out, and rules over 30,000 series at one instant.
//!
//! `cargo bench --bench eval` measures time. `benches/instructions.sh` counts instructions, which are the
//! same on every machine and in every run; it runs this program with `--count CASE` for each case.

mod cases;
mod data;
mod templates;

use std::hint::black_box;
use std::sync::{Arc, LazyLock};

use divan::Bencher;
use futures_util::FutureExt;

use valmis::promql::{
    EvalOptions, EvalRange, Expr, Features, Output, Prefetched, eval, parse_with, prefetch,
};
use valmis::storage::{MemoryStorage, Queryable};
use valmis::tsdb::Tsdb;

use cases::Case;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [flag] if flag == "--cases" => print_cases(),
        [flag, case, ..] if flag == "--count" => count(case),
        _ => divan::main(),
    }
}

/// A query with what it is evaluated over.
struct Bench<'s> {
    expr: Expr,
    range: EvalRange,
    options: EvalOptions,
    storage: &'s dyn Queryable,
}

impl<'s> Bench<'s> {
    fn new(query: &str, range: EvalRange, storage: &'s dyn Queryable) -> Self {
        let expr = parse_with(query, Features::ALL).expect("a valid query");
        // As many samples as in Prometheus' benchmarks.
        let options = EvalOptions { max_samples: 50_000_000, ..EvalOptions::default() };
        Self { expr, range, options, storage }
    }

    #[inline(never)]
    fn fetch(&self) -> Prefetched {
        prefetch(black_box(&self.expr), &self.range, &self.options, self.storage, None)
            .now_or_never()
            .expect("the store is ready at once")
            .expect("the store has no errors")
    }

    #[inline(never)]
    fn eval(&self, data: &Prefetched) -> Output {
        eval(black_box(&self.expr), &self.range, data, &self.options).expect("a result")
    }

    fn time_eval(&self, bencher: Bencher<'_, '_>) {
        let data = self.fetch();
        bencher.bench_local(|| self.eval(&data));
    }

    fn time_both(&self, bencher: Bencher<'_, '_>) {
        bencher.bench_local(|| self.eval(&self.fetch()));
    }
}

static RANGES: LazyLock<Arc<Tsdb>> = LazyLock::new(|| data::ranges(|_| true));
static JOINS: LazyLock<Arc<Tsdb>> = LazyLock::new(|| data::joins(data::JOIN_INSTANCES, JOIN_STEPS + 31));
static NATIVE: LazyLock<MemoryStorage> = LazyLock::new(|| data::native(3_000));
static INFO: LazyLock<Arc<Tsdb>> = LazyLock::new(data::info);
static FLEET: LazyLock<MemoryStorage> = LazyLock::new(data::fleet);

const JOIN_STEPS: i64 = 5_000;

/// Evaluation alone.
#[divan::bench(args = cases::range(&["one", "ten", "hundred"], &[1, 100, 1_000]), sample_count = 10, max_time = 0.1)]
fn range(bencher: Bencher<'_, '_>, case: &Case) {
    Bench::new(&case.query, data::range(case.steps), &**RANGES).time_eval(bencher);
}

/// Fetching and evaluating: the cases of Prometheus' benchmark.
#[divan::bench(args = cases::range(&["one", "hundred"], &[1, 1_000]), sample_count = 10, max_time = 0.1)]
fn range_with_fetch(bencher: Bencher<'_, '_>, case: &Case) {
    Bench::new(&case.query, data::range(case.steps), &**RANGES).time_both(bencher);
}

#[divan::bench(args = cases::windows("hundred", &["5m", "1h", "1d"], 1_000), sample_count = 10, max_time = 0.1)]
fn window(bencher: Bencher<'_, '_>, case: &Case) {
    Bench::new(&case.query, data::range(case.steps), &**RANGES).time_eval(bencher);
}

#[divan::bench(args = cases::JOINS, sample_count = 3)]
fn join(bencher: Bencher<'_, '_>, query: &str) {
    Bench::new(query, data::join_range(JOIN_STEPS), &**JOINS).time_eval(bencher);
}

#[divan::bench(args = cases::JOINS, sample_count = 3)]
fn join_with_fetch(bencher: Bencher<'_, '_>, query: &str) {
    Bench::new(query, data::join_range(JOIN_STEPS), &**JOINS).time_both(bencher);
}

#[divan::bench(args = cases::NATIVE, sample_count = 3)]
fn native(bencher: Bencher<'_, '_>, query: &str) {
    Bench::new(query, data::two_hours(), &*NATIVE).time_eval(bencher);
}

#[divan::bench(args = cases::INFO, sample_count = 10)]
fn info(bencher: Bencher<'_, '_>, query: &str) {
    Bench::new(query, data::two_hours(), &**INFO).time_both(bencher);
}

#[divan::bench(args = cases::RULES, sample_count = 20)]
fn rule(bencher: Bencher<'_, '_>, query: &str) {
    Bench::new(query, EvalRange::instant(data::NOW), &*FLEET).time_eval(bencher);
}

#[divan::bench(args = cases::PARSER, sample_count = 20)]
fn parser(query: &str) -> bool {
    parse_with(black_box(query), Features::default()).is_ok()
}

#[expect(clippy::print_stdout, reason = "the script that counts instructions reads it")]
fn print_cases() {
    for case in cases::counted() {
        println!("{case}");
    }
}

/// Fetches and evaluates one case over the data that it needs.
fn count(name: &str) {
    let case =
        cases::counted().into_iter().find(|case| case.to_string() == name).expect("a case of `--cases`");
    let query = case.query.as_str();
    if cases::NATIVE.contains(&query) {
        fetch_and_eval(&Bench::new(query, data::two_hours(), &data::native(10)));
    } else if cases::INFO.contains(&query) {
        fetch_and_eval(&Bench::new(query, data::two_hours(), &*data::info()));
    } else if cases::JOINS.contains(&query) {
        let store = data::joins(100, case.steps + 31);
        fetch_and_eval(&Bench::new(query, data::join_range(case.steps), &*store));
    } else {
        let all = query.contains("__name__");
        let store = data::ranges(|metric| query.contains(metric) || (all && metric.ends_with("_ten")));
        fetch_and_eval(&Bench::new(query, data::range(case.steps), &*store));
    }
}

/// What is counted, once: the script knows this function by its name, as it does [`Bench::fetch`].
#[inline(never)]
fn fetch_and_eval(bench: &Bench<'_>) {
    black_box(bench.eval(&bench.fetch()));
}
