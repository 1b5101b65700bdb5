//! How long evaluating takes once the samples are fetched: rules over 30,000 series at one instant, and
//! the templates of Prometheus' own `BenchmarkRangeQuery` (100 series, 1,000 steps of 10 s).

use std::sync::LazyLock;

use divan::{Bencher, black_box};
use futures_util::FutureExt;

use valmis::model::{Labels, Point};
use valmis::promql::{EvalOptions, EvalRange, Expr, Features, Prefetched, eval, parse_with, prefetch};
use valmis::storage::MemoryStorage;

fn main() {
    divan::main();
}

const INSTANCES: usize = 30_000;
/// The instant at which rules are evaluated.
const NOW: i64 = 3_600_000;

const RULES: &[&str] = &[
    "up == 0",
    "sum by (job) (rate(http_errors_total[5m])) / sum by (job) (rate(http_requests_total[5m])) > 0.05",
    "node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.1",
    "predict_linear(node_filesystem_avail_bytes[30m], 4 * 3600) < 0",
    "histogram_quantile(0.99, sum by (job, le) (rate(latency_seconds_bucket[5m]))) > 1",
    "histogram_quantile(0.99, rate(latency_seconds_bucket[5m])) > 1",
    "absent(up{job=\"nothing\"})",
    "count by (job) (up)",
    "max_over_time(up[5m]) == 0",
];

const TEMPLATES: &[&str] = &[
    "a_hundred",
    "rate(a_hundred[1m])",
    "rate(a_hundred[1d])",
    "changes(a_hundred[1d])",
    "absent_over_time(a_hundred[1d])",
    "-a_hundred",
    "a_hundred - b_hundred",
    "a_hundred and b_hundred{l=~'.*[0-4]$'}",
    "a_hundred or b_hundred{l=~'.*[0-4]$'}",
    "a_hundred unless b_hundred{l=~'.*[0-4]$'}",
    "abs(a_hundred)",
    "label_replace(a_hundred, 'l2', '$1', 'l', '(.*)')",
    "label_join(a_hundred, 'l2', '-', 'l', 'l')",
    "sum(a_hundred)",
    "avg(a_hundred)",
    "sum without (l)(h_hundred)",
    "sum by (le)(h_hundred)",
    "count_values('value', h_hundred)",
    "topk(5, a_hundred)",
    "limitk(5, a_hundred)",
    "limit_ratio(0.5, a_hundred)",
    "rate(a_hundred[1m]) + rate(b_hundred[1m])",
    "sum without (l)(rate(a_hundred[1m])) / sum without (l)(rate(b_hundred[1m]))",
    "histogram_quantile(0.9, rate(h_hundred[5m]))",
    "a_hundred + on(l) group_right a_one",
    "count({__name__!='',l=''})",
    "timestamp(a_hundred)",
    "quantile_over_time(0.9, a_hundred[5m])",
    "max_over_time(a_hundred[1h])",
    "avg_over_time(a_hundred[1h])",
];

/// Counters and gauges of 30,000 instances: two points, or 30 minutes where a rule looks that far.
static FLEET: LazyLock<MemoryStorage> = LazyLock::new(|| {
    let storage = MemoryStorage::new();
    for instance in 0..INSTANCES {
        let labels = |name: &str| {
            Labels::from_pairs([
                ("__name__", name.to_owned()),
                ("instance", format!("10.0.{}.{}:9100", instance / 250, instance % 250)),
                ("job", format!("job-{}", instance % 50)),
            ])
        };
        let points = |minutes: i64, value: &dyn Fn(f64) -> f64| -> Vec<Point> {
            let start = NOW - minutes * 60_000;
            (0..minutes * 4)
                .map(|step| Point { at: start + (step + 1) * 15_000, value: value(step as f64) })
                .collect()
        };
        let seed = (instance % 97) as f64;
        storage.load(&labels("up"), points(5, &|_| f64::from(u8::from(instance % 100 != 0))));
        storage.load(&labels("http_requests_total"), points(5, &|step| seed + step * 30.0));
        storage.load(&labels("http_errors_total"), points(5, &|step| seed + step));
        storage.load(&labels("node_filesystem_size_bytes"), points(1, &|_| 1e11));
        storage.load(&labels("node_filesystem_avail_bytes"), points(30, &|step| 1e10 + seed - step * 1e4));
    }
    for instance in 0..INSTANCES / 10 {
        for le in ["0.005", "0.01", "0.05", "0.1", "0.5", "1", "2.5", "5", "10", "+Inf"] {
            let labels = Labels::from_pairs([
                ("__name__", "latency_seconds_bucket".to_owned()),
                ("instance", format!("10.0.{}.{}:9100", instance / 250, instance % 250)),
                ("job", format!("job-{}", instance % 50)),
                ("le", le.to_owned()),
            ]);
            let rate = le.parse().unwrap_or(20.0_f64).min(20.0);
            let start = NOW - 5 * 60_000;
            let points =
                (0..20).map(|step| Point { at: start + (step + 1) * 15_000, value: step as f64 * rate });
            storage.load(&labels, points.collect::<Vec<_>>());
        }
    }
    storage
});

const STEP_MS: i64 = 10_000;
const STEPS: i64 = 1_000;
/// Points of a plain series: a day before the first step, and the steps.
const POINTS: i64 = 8_640 + STEPS;

/// The data of Prometheus' benchmark.
static TEMPLATE_DATA: LazyLock<MemoryStorage> = LazyLock::new(|| {
    let storage = MemoryStorage::new();
    let load = |name: &str, pairs: &[(&str, String)], from: i64, factor: f64| {
        let mut labels = Labels::from_pairs([("__name__", name)]).builder();
        for (label, value) in pairs {
            labels.set(label, value);
        }
        let points = (from..POINTS).map(|step| Point { at: step * STEP_MS, value: step as f64 * factor });
        storage.load(&labels.build(), points.collect::<Vec<_>>());
    };
    load("a_one", &[], POINTS - STEPS - 100, 1.0);
    for l in 0..100 {
        let own = ("l", l.to_string());
        load("a_hundred", std::slice::from_ref(&own), 0, 1.0 + f64::from(l) / 100.0);
        load("b_hundred", std::slice::from_ref(&own), 0, 1.0 + f64::from(l) / 50.0);
        load("a_one", std::slice::from_ref(&own), POINTS - STEPS - 100, 2.0);
        for le in 0..10 {
            let pairs = [own.clone(), ("le", le.to_string())];
            load("h_hundred", &pairs, POINTS - STEPS - 100, f64::from(le));
        }
        load("h_hundred", &[own, ("le", "+Inf".to_owned())], POINTS - STEPS - 100, 10.0);
    }
    storage
});

struct Case {
    expr: Expr,
    range: EvalRange,
    data: Prefetched,
    options: EvalOptions,
}

impl Case {
    fn new(query: &str, range: EvalRange, storage: &MemoryStorage) -> Self {
        let expr = parse_with(query, Features::ALL).expect("a valid query");
        let options = EvalOptions::default();
        let data = prefetch(&expr, &range, &options, storage, None)
            .now_or_never()
            .expect("memory is ready at once")
            .expect("memory cannot fail");
        Self { expr, range, data, options }
    }

    fn bench(&self, bencher: Bencher<'_, '_>) {
        bencher.bench_local(|| {
            eval(black_box(&self.expr), &self.range, &self.data, &self.options).expect("a result")
        });
    }
}

#[divan::bench(args = RULES, sample_count = 20)]
fn rule(bencher: Bencher<'_, '_>, query: &str) {
    Case::new(query, EvalRange::instant(NOW), &FLEET).bench(bencher);
}

#[divan::bench(args = TEMPLATES, sample_count = 10)]
fn range(bencher: Bencher<'_, '_>, query: &str) {
    let end = (POINTS - 1) * STEP_MS;
    let range = EvalRange { start: end - (STEPS - 1) * STEP_MS, end, step_ms: STEP_MS };
    Case::new(query, range, &TEMPLATE_DATA).bench(bencher);
}
