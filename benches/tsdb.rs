//! The store under the load of 100,000 series: append, memory, select, replay; and a hundredth of native
//! histograms.
//!
//! One run builds one store and measures it from several sides, which a harness that repeats small
//! functions does not fit: `cargo bench --bench tsdb -- [--wal] [series] [samples per
//! series]`. Memory is that
//! of the process as the kernel sees it.
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tempfile::TempDir;
use valmis::clock::SystemClock;
use valmis::model::{FloatHistogram, Labels, MatchOp, Matcher, Sample};
use valmis::storage::{Appender as _, Queryable as _, RefHistogram, RefSample, SelectHints, SeriesRef};
use valmis::tsdb::{Config, Tsdb};

/// How many series one target has.
const SERIES_PER_TARGET: usize = 500;
const INTERVAL_MS: i64 = 15_000;
const START: i64 = 1_700_000_000_000;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let series = numbers.first().copied().unwrap_or(100_000);
    let samples = numbers.get(1).copied().unwrap_or(240);
    // Apart, since memory that one run gives back to the allocator would help the next.
    let with_log = std::env::args().any(|argument| argument == "--wal");
    let folder = with_log.then(|| tempfile::tempdir().expect("a temporary folder"));
    run(series, samples, folder.as_ref().map(TempDir::path));
    histograms(series / 100, samples);
}

fn run(series: usize, samples: usize, path: Option<&Path>) {
    let config = || Config {
        path: path.map(Path::to_owned),
        retention: Duration::MAX,
        max_memory: 8 << 30,
        ..Config::new(Arc::new(SystemClock))
    };
    let (tsdb, _) = Tsdb::open(config()).expect("the store opens");
    tsdb.start_background().expect("threads start");
    println!("{series} series, {samples} samples each, log {}", if path.is_some() { "on" } else { "off" });
    let mut batches: Vec<Vec<RefSample>> =
        (0..series.div_ceil(SERIES_PER_TARGET)).map(|_| Vec::with_capacity(SERIES_PER_TARGET)).collect();
    let mut values: Vec<Value> = (0..series).map(Value::new).collect();
    let before = resident_bytes();

    let created = Instant::now();
    for number in 0..series {
        let series = tsdb.reference(&labels(number)).expect("there is room");
        batches[number / SERIES_PER_TARGET].push(RefSample { series, at: 0, value: 0.0 });
    }
    report("create series", series, created.elapsed(), "series");

    let (mut appending, mut computing) = (Duration::ZERO, Duration::ZERO);
    for round in 0..samples {
        let at = START + round as i64 * INTERVAL_MS;
        for (target, batch) in batches.iter_mut().enumerate() {
            for (offset, sample) in batch.iter_mut().enumerate() {
                sample.at = at + (target as i64 * 7) % INTERVAL_MS;
                sample.value = values[target * SERIES_PER_TARGET + offset].next();
            }
        }
        let (started, on_core) = (Instant::now(), time_on_core());
        for batch in &batches {
            assert!(tsdb.append(batch).is_empty(), "every sample is accepted");
        }
        appending += started.elapsed();
        computing += time_on_core().saturating_sub(on_core);
    }
    report("append by reference", series * samples, appending, "samples");
    report("append by reference, in time on the core", series * samples, computing, "samples");
    tsdb.flush().expect("the log is written");
    let (grown, total) = (resident_bytes().saturating_sub(before), (series * samples) as f64);
    let stats = tsdb.stats();
    println!(
        "  memory: {:.1} MB resident, {:.2} B/sample; accounted {:.1} MB, {:.2} B/sample",
        grown as f64 / 1e6,
        grown as f64 / total,
        stats.memory_bytes as f64 / 1e6,
        stats.memory_bytes as f64 / total
    );
    append_by_labels(&tsdb, &batches, series, samples);
    selects(&tsdb, samples);
    if path.is_some() {
        replay(tsdb, &config, stats.wal_bytes);
    }
}

/// Native histograms of request durations, of a service without requests, a quiet one and a busy one.
fn histograms(series: usize, samples: usize) {
    let config =
        Config { retention: Duration::MAX, max_memory: 8 << 30, ..Config::new(Arc::new(SystemClock)) };
    let (tsdb, _) = Tsdb::open(config).expect("the store opens");
    println!("{series} series of native histograms, {samples} samples each");
    for (kind, per_interval) in [("idle", 0.02), ("quiet", 30.0), ("busy", 15_000.0)] {
        let references: Vec<SeriesRef> = (0..series)
            .map(|number| labels(number).builder().set("kind", kind).build())
            .map(|labels| tsdb.reference(&labels).expect("there is room"))
            .collect();
        let mut random = Value::new(kind.len());
        let mut counts = vec![[0.0_f64; 40]; series];
        let (before, mut appending) = (tsdb.stats(), Duration::ZERO);
        for round in 0..samples {
            let at = START + round as i64 * INTERVAL_MS;
            let batch: Vec<_> = references
                .iter()
                .zip(&mut counts)
                .map(|(series, counts)| RefHistogram {
                    series: *series,
                    at,
                    histogram: observe(counts, per_interval, &mut random),
                })
                .collect();
            let started = time_on_core();
            assert!(tsdb.append_histograms(&batch).is_empty(), "every histogram is accepted");
            appending += time_on_core().saturating_sub(started);
        }
        let (after, total) = (tsdb.stats(), (series * samples) as f64);
        report(
            &format!("append {kind} ones, in time on the core"),
            series * samples,
            appending,
            "histograms",
        );
        let bytes = after.memory_bytes.saturating_sub(before.memory_bytes) as f64 / total;
        let chunks = (after.chunks - before.chunks) as f64 / series as f64;
        println!("  memory of {kind} ones: accounted {bytes:.1} B/histogram, {chunks:.1} chunks per series");
        let matchers = [Matcher::new(MatchOp::Equal, "kind", kind).expect("a valid matcher")];
        let hints = SelectHints::between(0, i64::MAX);
        let started = time_on_core();
        let found = tsdb.select(&matchers, &hints).now_or_never().expect("at once").expect("no error");
        assert_eq!(found.len(), series);
        report(
            &format!("select {kind} ones"),
            series * samples,
            time_on_core().saturating_sub(started),
            "histograms",
        );
    }
}

/// The histogram after another interval: durations lie around a bucket, ever fewer of them further away.
fn observe(counts: &mut [f64; 40], per_interval: f64, random: &mut Value) -> Arc<FloatHistogram> {
    for (place, count) in counts.iter_mut().enumerate() {
        let distance = (place as f64 - 15.0) / 5.0;
        let expected = per_interval / 12.5 * (-distance * distance / 2.0).exp();
        let noise = f64::from((random.random() & 0xffff) as u32) / 65_536.0;
        *count += (expected + (noise - 0.5) * 3.5 * expected.sqrt() + noise).floor().max(0.0);
    }
    let buckets = (-20..).zip(&*counts).map(|(index, count)| (index, *count));
    let mut histogram = FloatHistogram::empty(3, [].into()).with_buckets(buckets, []);
    histogram.zero_threshold = 2.0_f64.powi(-128);
    histogram.count = counts.iter().sum();
    histogram.sum = (-10..).zip(&*counts).map(|(place, count)| count * 1.09_f64.powi(place)).sum();
    Arc::new(histogram)
}

/// One more sample per series, found by its labels.
fn append_by_labels(tsdb: &Tsdb, batches: &[Vec<RefSample>], series: usize, samples: usize) {
    let at = START + (samples as i64 + 1) * INTERVAL_MS;
    let batch: Vec<_> = (0..series).map(|number| Sample::new(labels(number), at, 1.0)).collect();
    let started = Instant::now();
    for batch in batch.chunks(SERIES_PER_TARGET) {
        assert!(tsdb.append_samples(batch).is_empty(), "every sample is accepted");
    }
    report("append by labels", series, started.elapsed(), "samples");
    let first: Vec<SeriesRef> = batches.iter().map(|batch| batch[0].series).collect();
    assert!(first.is_sorted(), "targets were created in order");
}

fn selects(tsdb: &Tsdb, samples: usize) {
    let end = START + (samples as i64 + 1) * INTERVAL_MS;
    let last_points = SelectHints::between(end - 20 * INTERVAL_MS, end);
    let all_points = SelectHints::between(0, i64::MAX);
    let newest = SelectHints { newest_only: true, ..last_points };
    let regex = |name: &str, value: &str| Matcher::new(MatchOp::Regex, name, value).expect("a valid pattern");
    let queries = [
        ("name regex", vec![regex("__name__", "node_subsystem_(7|8|9|10|11)_.*")]),
        ("instance regex", vec![regex("instance", r"10\.0\.0\.(1|2):9100")]),
        ("instance regex, scanned", vec![regex("instance", r".*\.0\.0\.[12]:9.*")]),
        ("metric and env", vec![regex("__name__", "node_subsystem_[0-9]_.*"), Matcher::equal("env", "prod")]),
        (
            "metric, not region",
            vec![
                regex("__name__", "node_subsystem_[0-9]_.*"),
                Matcher::new(MatchOp::NotRegex, "region", "eu-.*").expect("a valid pattern"),
            ],
        ),
        (
            "one series",
            vec![
                Matcher::equal("__name__", "node_subsystem_7_total"),
                Matcher::equal("instance", "10.0.0.1:9100"),
            ],
        ),
    ];
    for (what, matchers) in &queries {
        for (range, hints) in [("newest", newest), ("20 points", last_points), ("all points", all_points)] {
            let mut times = Vec::new();
            let (mut found, mut points) = (0, 0);
            for _ in 0..9 {
                let started = Instant::now();
                let result =
                    tsdb.select(matchers, &hints).now_or_never().expect("no runtime").expect("no error");
                times.push(started.elapsed());
                found = result.len();
                points = result.iter().map(|series| series.points.len()).sum();
            }
            times.sort_unstable();
            println!(
                "  select {what}, {range}: {found} series, {points} points: median {:.3} ms, best {:.3} ms",
                times[times.len() / 2].as_secs_f64() * 1e3,
                times[0].as_secs_f64() * 1e3
            );
        }
    }
    let started = Instant::now();
    let names = tsdb
        .label_values("__name__", &[], 0, i64::MAX)
        .now_or_never()
        .expect("no runtime")
        .expect("no error");
    println!(
        "  label values of __name__: {} in {:.3} ms",
        names.len(),
        started.elapsed().as_secs_f64() * 1e3
    );
}

fn replay(tsdb: Arc<Tsdb>, config: &dyn Fn() -> Config, wal_bytes: u64) {
    let samples = tsdb.stats().samples;
    println!("  log: {:.1} MB, {:.2} B/sample", wal_bytes as f64 / 1e6, wal_bytes as f64 / samples as f64);
    tsdb.close().expect("the log is written");
    drop(tsdb);
    let (tsdb, report) = Tsdb::open(config()).expect("the store opens again");
    assert_eq!((report.samples, report.corruptions), (samples, 0));
    println!("  replay from the log: {:.2} s", report.duration.as_secs_f64());
    let started = Instant::now();
    let far = i64::MAX / 2;
    tsdb.maintain(far);
    assert_eq!(tsdb.stats().snapshots, 1);
    println!("  snapshot: {:.2} s", started.elapsed().as_secs_f64());
    tsdb.close().expect("the log is written");
    drop(tsdb);
    let (_tsdb, report) = Tsdb::open(config()).expect("the store opens again");
    assert_eq!((report.samples, report.corruptions), (samples, 0));
    println!("  replay from the snapshot: {:.2} s", report.duration.as_secs_f64());
}

fn report(what: &str, count: usize, time: Duration, unit: &str) {
    println!("  {what}: {:.2} M {unit}/s", count as f64 / time.as_secs_f64() / 1e6);
}

/// Eight labels and a name, as a target of a node exporter has them.
fn labels(number: usize) -> Labels {
    let (target, metric) = (number / SERIES_PER_TARGET, number % SERIES_PER_TARGET);
    let names = [
        ("__name__", format!("node_subsystem_{metric}_total")),
        ("cluster", format!("cluster-{}", target % 4)),
        ("env", ["prod", "staging"][target % 2].to_owned()),
        ("instance", format!("10.0.{}.{}:9100", target / 250, target % 250)),
        ("job", format!("job-{}", target % 10)),
        ("mode", format!("mode-{}", metric % 8)),
        ("namespace", format!("team-{}", target % 20)),
        ("pod", format!("exporter-{target:05}")),
        ("region", ["eu-west", "eu-north", "us-east"][target % 3].to_owned()),
    ];
    Labels::from_pairs(names)
}

/// What the values of a series do. Of ten series, three stand still, four count (two of them by
/// fractions), and three go up and down.
struct Value {
    kind: usize,
    current: f64,
    seed: u64,
}

impl Value {
    fn new(number: usize) -> Self {
        let seed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { kind: number % 10, current: (seed >> 44) as f64, seed }
    }

    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed >> 40
    }

    fn next(&mut self) -> f64 {
        let random = self.random();
        match self.kind {
            0..=2 => {}
            // A busy counter, and one that something happens to now and then.
            3 => self.current += (random % 1_000) as f64,
            4 => self.current += f64::from(u8::from(random.is_multiple_of(8))),
            // Seconds, by hundredths.
            5 | 6 => self.current = ((self.current * 100.0).round() + (random % 1_500) as f64) / 100.0,
            // Bytes in pages, a queue's length, a temperature by tenths.
            7 => self.current = ((random % 4_096) * 4_096) as f64,
            8 => self.current = (random % 20) as f64,
            _ => self.current = 300.0 + (random % 100) as f64 / 10.0,
        }
        self.current
    }
}

/// The resident memory of this process. Source: proc(5), /proc/self/statm.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

/// How long this thread has run on a core: what remains comparable on a busy machine.
/// Source: Documentation/scheduler/sched-stats.rst of Linux, /proc/<pid>/schedstat.
fn time_on_core() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(schedstat.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0))
}
