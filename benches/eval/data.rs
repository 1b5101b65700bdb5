//! What is evaluated over: data of the same shape as those of Prometheus' own benchmarks.
//! Source: Prometheus `promql/bench_test.go`.

use std::sync::Arc;
use std::time::Duration;

use valmis::clock::FixedClock;
use valmis::model::{CounterReset, FloatHistogram, HistogramPoint, Labels, Point};
use valmis::promql::EvalRange;
use valmis::storage::{Appender as _, MemoryStorage, RefSample, SeriesRef};
use valmis::tsdb::{Config, Tsdb};

const INTERVAL_MS: i64 = 10_000;
/// Samples of each series: a day and 10,000 steps.
const SAMPLES: i64 = 8_640 + 10_000;

const JOIN_SAMPLES: i64 = 8_640 + 5_000;
/// How many instances are joined.
pub(crate) const JOIN_INSTANCES: u64 = 1_000;

/// The range that ends with the samples of [`ranges`].
pub(crate) fn range(steps: i64) -> EvalRange {
    until(SAMPLES, steps)
}

/// The range that ends with the samples of [`joins`].
pub(crate) fn join_range(steps: i64) -> EvalRange {
    until(JOIN_SAMPLES, steps)
}

/// The range of the queries over native histograms and over info series: two hours.
pub(crate) fn two_hours() -> EvalRange {
    EvalRange { start: 0, end: 7_200_000, step_ms: 30_000 }
}

fn until(samples: i64, steps: i64) -> EvalRange {
    EvalRange { start: (samples - steps) * INTERVAL_MS, end: samples * INTERVAL_MS, step_ms: INTERVAL_MS }
}

fn store() -> Arc<Tsdb> {
    let config = Config {
        retention: Duration::MAX,
        max_memory: 8 << 30,
        // Metrics are filled one after the other.
        acceptance_window: Duration::MAX,
        ..Config::new(Arc::new(FixedClock::at(SAMPLES * INTERVAL_MS)))
    };
    Tsdb::open(config).expect("a store in memory opens").0
}

/// Appends `value(tick, place)` to each series at each tick.
fn fill(
    store: &Tsdb,
    series: &[Labels],
    interval_ms: i64,
    ticks: impl Iterator<Item = i64>,
    value: impl Fn(i64, usize) -> f64,
) {
    let refs: Vec<SeriesRef> =
        series.iter().map(|labels| store.reference(labels).expect("there is room")).collect();
    for tick in ticks {
        let sample = |(place, series): (usize, &SeriesRef)| RefSample {
            series: *series,
            at: tick * interval_ms,
            value: value(tick, place),
        };
        let batch: Vec<RefSample> = refs.iter().enumerate().map(sample).collect();
        assert!(store.append(&batch).is_empty(), "every sample is accepted");
    }
}

/// `a_X` and `b_X`, which have X series, `h_X`, which has X classic histograms of eleven buckets, and
/// `sparse`, of whose fifty series one has samples at a time. Only metrics that are wanted are there.
pub(crate) fn ranges(wanted: impl Fn(&str) -> bool) -> Arc<Tsdb> {
    let bounds = || (0..10).map(|le| le.to_string()).chain(["+Inf".to_owned()]);
    let mut all = Vec::new();
    for (size, count) in [("one", 1), ("ten", 10), ("hundred", 100)] {
        for l in 0..count {
            let l = if size == "one" { String::new() } else { l.to_string() };
            let labels = |name: &str, le: &str| {
                let pairs = [("__name__", format!("{name}_{size}")), ("l", l.clone()), ("le", le.to_owned())];
                Labels::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()))
            };
            all.extend(["a", "b"].map(|name| labels(name, "")));
            all.extend(bounds().map(|le| labels("h", &le)));
        }
    }
    let total = all.len() as f64;
    let places: Vec<usize> = (0..all.len()).filter(|place| wanted(all[*place].metric_name())).collect();
    let chosen: Vec<Labels> = places.iter().map(|place| all[*place].clone()).collect();
    let store = store();
    fill(&store, &chosen, INTERVAL_MS, 0..SAMPLES, |tick, place| tick as f64 + places[place] as f64 / total);
    if wanted("sparse") {
        let each = SAMPLES / 50;
        for l in 0..=SAMPLES / each {
            let labels = Labels::from_pairs([("__name__", "sparse".to_owned()), ("l", l.to_string())]);
            let ticks = l * each..SAMPLES.min((l + 1) * each);
            fill(&store, &[labels], INTERVAL_MS, ticks, |tick, _| tick as f64 / total);
        }
    }
    store
}

/// Two metrics of so many instances, whose names are as long as random identifiers.
pub(crate) fn joins(instances: u64, samples: i64) -> Arc<Tsdb> {
    let mut all = Vec::new();
    for instance in 0..instances {
        // Spreads the instances evenly over all identifiers.
        let high = instance.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let low = high.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let identifier = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            high & 0xffff,
            low >> 52,
            low & 0xfff,
            low >> 16
        );
        for name in ["rpc_request_success_total", "rpc_request_error_total"] {
            all.push(Labels::from_pairs([
                ("__name__", name),
                ("cluster", "test-kubernetes-cluster"),
                ("domain", "test-domain"),
                ("environment", "staging"),
                ("instance", &identifier),
                ("job", "worker"),
                ("namespace", "test-kubernetes-namespace"),
                ("rpc_method", "fetch-my-data-from-this-service"),
            ]));
        }
    }
    let store = store();
    let total = all.len() as f64;
    let ticks = JOIN_SAMPLES - samples..JOIN_SAMPLES;
    fill(&store, &all, INTERVAL_MS, ticks, |tick, place| tick as f64 + place as f64 / total);
    store
}

/// Native histograms, the first of each series with a finer resolution than the others; as far as
/// [`two_hours`] see them.
pub(crate) fn native(series: usize) -> MemoryStorage {
    let point = |tick: i64, histogram: FloatHistogram| HistogramPoint {
        at: tick * 15_000,
        histogram: Arc::new(histogram),
    };
    let mut finer = FloatHistogram::empty(3, Arc::default())
        .with_buckets([(-5, 1.0), (-4, 3.0), (-1, 1.0), (0, 2.0), (1, 1.0), (4, 1.0), (5, 4.0)], []);
    finer.count = 13.0;
    let usual = |tick: i64| {
        let count = tick as f64;
        let buckets = [(0, count + 1.0), (1, count + 2.0), (3, count + 1.0), (4, count + 1.0)];
        let mut histogram = FloatHistogram::empty(1, Arc::default())
            .with_buckets(buckets, buckets)
            .with_counter_reset(CounterReset::NotReset);
        histogram.zero_threshold = 0.001;
        histogram.zero_count = 2.0 + count;
        histogram.count = 12.0 + 9.0 * count;
        histogram.sum = 18.4 * (count + 1.0);
        histogram
    };
    let storage = MemoryStorage::new();
    for number in 0..series {
        let labels = Labels::from_pairs([
            ("__name__", "native_histogram_series".to_owned()),
            ("foo", "bar".to_owned()),
            ("h", number.to_string()),
        ]);
        let points = (1..=480).map(|tick| point(tick, usual(tick)));
        storage.load_histograms(&labels, [point(0, finer.clone())].into_iter().chain(points));
    }
    storage
}

/// A hundred targets with info series, and three series of one of them.
pub(crate) fn info() -> Arc<Tsdb> {
    let target = |number: usize| {
        let cluster = if number < 50 { "us-east" } else { "eu-south" };
        Labels::from_pairs([
            ("__name__", "target_info".to_owned()),
            ("instance", format!("instance{number}")),
            ("job", format!("job{number}")),
            ("k8s_cluster_name", cluster.to_owned()),
        ])
    };
    let requests = |status: &str| {
        Labels::from_pairs([
            ("__name__", "http_server_request_duration_seconds_count"),
            ("http_status_code", status),
            ("instance", "instance0"),
            ("job", "job0"),
        ])
    };
    let series: Vec<Labels> = (0..100).map(target).chain(["200", "400", "500"].map(requests)).collect();
    let store = store();
    fill(&store, &series, 2_000, 0..3_600, |tick, place| if place < 100 { 1.0 } else { tick as f64 });
    store
}

const INSTANCES: usize = 30_000;
/// The instant at which rules are evaluated.
pub(crate) const NOW: i64 = 3_600_000;

/// Counters and gauges of 30,000 instances: five minutes, or thirty where a rule looks that far.
pub(crate) fn fleet() -> MemoryStorage {
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
}
