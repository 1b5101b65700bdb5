//! One evaluation of 119 alerting rules of seven kinds over a store of 30,000 series: what the rules of
//! a cluster with 17 namespaces cost, in seconds of one core.
//!
//! `cargo bench --bench rules_load -- [evaluations]`. Between two evaluations every series gets a new
//! sample, as in life; the first evaluation is reported apart. Instructions are the difference of two runs
//! with other numbers of evaluations, `valgrind --tool=callgrind BINARY 1` and `… 11`, which has that of
//! as many rounds of samples in it.
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

use std::fs::DirEntry;
use std::sync::Arc;
use std::time::Duration;

use valmis::clock::SystemClock;
use valmis::model::Labels;
use valmis::promql::{Features, Value, parse_with};
use valmis::query::{LocalConfig, LocalSource, PreparedQuery, QuerySource as _};
use valmis::rulefmt::Instructions;
use valmis::rules::{ActiveAlerts, AlertingRule, Candidate, Evidence};
use valmis::storage::{Appender as _, RefSample, SeriesRef};
use valmis::tsdb::{Config, Tsdb};

const NAMESPACES: usize = 17;
const SERIES: usize = 30_000;
const SAMPLES: i64 = 141;
const INTERVAL_MS: i64 = 15_000;
const START: i64 = 1_700_000_000_000;

const CODES: [&str; 10] = ["200", "201", "204", "301", "400", "401", "404", "500", "502", "503"];
const BOUNDS: [&str; 12] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];

/// The conditions, in which `NS` stands for the namespace.
const CONDITIONS: [(&str, &str); 7] = [
    ("TargetDown", r#"up{namespace="NS"} == 0"#),
    (
        "HighErrorRatio",
        r#"sum by (namespace, job) (rate(http_requests_total{namespace="NS",code=~"5.."}[5m]))
           / sum by (namespace, job) (rate(http_requests_total{namespace="NS"}[5m])) > 0.5"#,
    ),
    ("DatabaseDown", r#"pg_up{namespace="NS"} == 0"#),
    (
        "DiskAlmostFull",
        r#"node_filesystem_avail_bytes{namespace="NS"} / node_filesystem_size_bytes{namespace="NS"} < 0.1"#,
    ),
    ("DiskFills", r#"predict_linear(node_filesystem_avail_bytes{namespace="NS"}[30m], 4 * 3600) < 0"#),
    (
        "Slow",
        r#"histogram_quantile(0.99, sum by (namespace, job, handler, le)
           (rate(http_request_duration_seconds_bucket{namespace="NS"}[5m]))) > 5"#,
    ),
    ("TargetsGone", r#"absent(up{namespace="NS",job="api"})"#),
];

fn main() {
    let evaluations = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(40);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(evaluations));
}

async fn run(evaluations: usize) {
    let config =
        Config { retention: Duration::MAX, max_memory: 8 << 30, ..Config::new(Arc::new(SystemClock)) };
    let (tsdb, _) = Tsdb::open(config).expect("the store opens");
    let mut fleet = Fleet::new(&tsdb);
    for round in 0..SAMPLES {
        fleet.append(&tsdb, round);
    }
    let source = LocalSource::new(Arc::clone(&tsdb) as _, LocalConfig::default());
    let mut rules = rules(&source);
    let resident = resident_bytes();
    let (mut first, mut later) = (Duration::ZERO, Vec::with_capacity(evaluations));
    let mut alerts = 0;
    for evaluation in 0..=evaluations {
        let round = SAMPLES - 1 + evaluation as i64;
        if evaluation > 0 {
            fleet.append(&tsdb, round);
        }
        let began = cpu_time();
        alerts = evaluate_all(&mut rules, START + round * INTERVAL_MS).await;
        let took = cpu_time().saturating_sub(began);
        if evaluation == 0 {
            first = took;
        } else {
            later.push(took);
        }
    }
    later.sort_unstable();
    println!("{} rules over {SERIES} series of {SAMPLES} samples, {alerts} alerts", rules.len());
    println!("  first evaluation: {:.4} CPU seconds", first.as_secs_f64());
    if let (Some(fastest), Some(slowest)) = (later.first(), later.last()) {
        let median = later[later.len() / 2];
        println!(
            "  each one later: {:.4} CPU seconds, median of {} ({:.4} to {:.4})",
            median.as_secs_f64(),
            later.len(),
            fastest.as_secs_f64(),
            slowest.as_secs_f64()
        );
    }
    let grown = resident_bytes().saturating_sub(resident);
    println!("  resident memory: {:.1} MB before, {:.1} MB more after", mb(resident), mb(grown));
}

/// A rule, its prepared condition and its alerts.
struct Rule {
    definition: AlertingRule,
    query: Arc<dyn PreparedQuery>,
    active: ActiveAlerts,
}

fn rules(source: &LocalSource) -> Vec<Rule> {
    let namespaces = (0..NAMESPACES).map(namespace);
    let conditions = namespaces.flat_map(|ns| CONDITIONS.map(|(name, text)| (name, text.replace("NS", &ns))));
    conditions
        .map(|(name, text)| {
            let rule = AlertingRule {
                name: name.to_owned(),
                expr: Arc::new(parse_with(&text, Features::default()).expect("a valid expression")),
                hold_ms: 300_000,
                keep_firing_ms: 0,
                interval_ms: INTERVAL_MS,
                resend_delay_ms: 60_000,
                query_offset_ms: 0,
                limit: 0,
                error_hold_ms: 3_600_000,
                common_labels: Labels::empty(),
                generator_url: String::new(),
                instructions: Instructions::default(),
            };
            let query = source.prepare(&rule.expr);
            Rule { definition: rule, query, active: ActiveAlerts::default() }
        })
        .collect()
}

/// Evaluates all rules once; returns how many alerts are active.
#[inline(never)]
async fn evaluate_all(rules: &mut [Rule], at: i64) -> usize {
    let mut alerts = 0;
    for Rule { definition, query, active } in rules {
        let output = query.instant(at).await.expect("a result");
        let Value::Vector(vector) = output.value else { panic!("a condition yields a vector") };
        let candidates = vector.into_iter().map(|sample| Candidate {
            labels: sample.labels.builder().set("alertname", &definition.name).remove("__name__").build(),
            annotations: Labels::empty(),
            value: sample.value,
        });
        let candidates: Vec<_> = candidates.collect();
        alerts += candidates.len();
        definition.step(active, at, &candidates, &Evidence::default());
    }
    alerts
}

fn namespace(number: usize) -> String {
    format!("team-{number:02}")
}

/// What the series of the fleet measure.
#[derive(Clone, Copy)]
enum Measure {
    Constant(f64),
    /// Counts so many a second.
    Counter(f64),
    /// Shrinks by so many a second.
    Shrinking(f64, f64),
}

/// All series with what they measure.
struct Fleet {
    batch: Vec<RefSample>,
    measures: Vec<Measure>,
}

impl Fleet {
    fn new(tsdb: &Tsdb) -> Self {
        let mut fleet = Self { batch: Vec::new(), measures: Vec::new() };
        for number in 0..NAMESPACES {
            fleet.add_namespace(tsdb, number);
        }
        assert_eq!(fleet.batch.len(), SERIES, "the namespaces' series add up");
        fleet
    }

    /// 1,765 series, or one target less in the last namespaces: 30,000 are no multiple of 17.
    fn add_namespace(&mut self, tsdb: &Tsdb, number: usize) {
        let ns = namespace(number);
        let instance = |target: usize| format!("10.{number}.{}.{}:9100", target / 250, target % 250);
        let targets = if number + 5 >= NAMESPACES { 59 } else { 60 };
        for target in 0..targets {
            let job = ["api", "node", "worker"][target % 3];
            let value = if number == 3 && target == 7 { 0.0 } else { 1.0 };
            let pod = format!("{job}-{target}");
            let pairs = [("job", job), ("instance", &instance(target)), ("pod", &pod)];
            self.add(tsdb, "up", &ns, &pairs, Measure::Constant(value));
        }
        for server in 0..5 {
            let pairs = [("job", "postgres"), ("instance", &format!("db-{server}.{ns}.svc:5432"))];
            self.add(tsdb, "pg_up", &ns, &pairs, Measure::Constant(1.0));
        }
        for pod in 0..40 {
            let (instance, name) = (instance(pod), format!("api-{pod}"));
            for (place, code) in CODES.iter().enumerate() {
                let pairs = [("job", "api"), ("instance", instance.as_str()), ("pod", &name), ("code", code)];
                let rate = 40.0 / (place + 1) as f64;
                self.add(tsdb, "http_requests_total", &ns, &pairs, Measure::Counter(rate));
            }
        }
        for disk in 0..50 {
            let (instance, device) = (instance(disk / 2), format!("/dev/sd{}", ["a", "b"][disk % 2]));
            let mountpoint = ["/", "/data"][disk % 2];
            let pairs = [
                ("job", "node"),
                ("instance", instance.as_str()),
                ("device", device.as_str()),
                ("fstype", "ext4"),
                ("mountpoint", mountpoint),
            ];
            let shrinking = Measure::Shrinking(6e10 + disk as f64 * 1e6, 4_096.0 * (disk % 7) as f64);
            self.add(tsdb, "node_filesystem_avail_bytes", &ns, &pairs, shrinking);
            self.add(tsdb, "node_filesystem_size_bytes", &ns, &pairs, Measure::Constant(1e11));
        }
        for handler in 0..100 {
            let (pod, path) = (handler / 5, format!("/api/v1/resource-{}", handler % 5));
            let (instance, name) = (instance(pod), format!("api-{pod}"));
            for (place, bound) in BOUNDS.iter().enumerate() {
                let pairs = [
                    ("job", "api"),
                    ("instance", instance.as_str()),
                    ("pod", name.as_str()),
                    ("handler", path.as_str()),
                    ("le", bound),
                ];
                let rate = (place + 1).min(8) as f64 * 2.5;
                self.add(tsdb, "http_request_duration_seconds_bucket", &ns, &pairs, Measure::Counter(rate));
            }
        }
    }

    fn add(&mut self, tsdb: &Tsdb, name: &str, ns: &str, pairs: &[(&str, &str)], measure: Measure) {
        let own = [("__name__", name), ("namespace", ns), ("cluster", "eu-west-1")];
        let labels = Labels::from_pairs(own.iter().chain(pairs).copied());
        let series: SeriesRef = tsdb.reference(&labels).expect("there is room");
        self.batch.push(RefSample { series, at: 0, value: 0.0 });
        self.measures.push(measure);
    }

    /// Appends the next sample of every series.
    fn append(&mut self, tsdb: &Tsdb, round: i64) {
        let seconds = (round * INTERVAL_MS) as f64 / 1e3;
        for (place, (sample, measure)) in self.batch.iter_mut().zip(&self.measures).enumerate() {
            // Whole numbers that go up unevenly, as counters of events do.
            let jitter = ((round as usize).wrapping_mul(31) ^ place.wrapping_mul(17)) % 13;
            sample.at = START + round * INTERVAL_MS;
            sample.value = match measure {
                Measure::Constant(value) => *value,
                Measure::Counter(rate) => (rate * seconds).floor() + jitter as f64,
                Measure::Shrinking(from, rate) => from - (rate * (seconds + jitter as f64)).floor(),
            };
        }
        assert!(tsdb.append(&self.batch).is_empty(), "every sample is accepted");
    }
}

/// How long the threads of this process have run on a core; none of them ends while it measures.
/// Source: Documentation/scheduler/sched-stats.rst of Linux, /proc/<pid>/schedstat.
fn cpu_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("the kernel lists threads");
    let time_of = |thread: &DirEntry| -> Option<u64> {
        let schedstat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(threads.flatten().filter_map(|thread| time_of(&thread)).sum())
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The resident memory of this process. Source: proc(5), /proc/self/statm.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}
