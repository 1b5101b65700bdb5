//! The samples over which queries are compared: 50 minutes of what scrapes of a small system yield, with
//! everything that makes a difference to an evaluation.

use crate::random::Random;
use valmis::model::{Labels, Sample, TimestampMs, stale_nan};

/// How long the samples go on. valmis takes what is at most an hour old.
pub(super) const SPAN_MS: i64 = 50 * 60_000;
/// How far two samples of a series lie from one another, jitter aside.
pub(super) const INTERVAL_MS: i64 = 15_000;

/// What a metric measures, and so what its values look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Grows, and begins anew now and then.
    Counter,
    /// Goes up and down in quarters, so that sums are exact.
    Gauge,
    /// Decimal fractions between 0 and 1, whose sums are not.
    Ratio,
    /// 0 or 1.
    Up,
    /// The buckets of a classic histogram.
    Bucket,
    /// Always 1.
    Info,
    /// Seconds since the epoch, from 1965 to 2037.
    Epoch,
    /// Values at the ends of what a float can be; subnormal numbers aside, of which releases of Go take
    /// different logarithms.
    Extreme,
}

/// A metric with the labels of its series.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// There is a series for each combination of values.
    pub(super) labels: &'static [(&'static str, &'static [&'static str])],
    /// Labels that follow from the others: each series gets one value, in turn.
    pub(super) facts: &'static [(&'static str, &'static [&'static str])],
}

impl Metric {
    /// The names of all its labels.
    pub(super) fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().chain(self.facts).map(|(name, _)| *name).collect()
    }

    /// Whether Prometheus expects a counter behind such a name.
    pub(super) fn counts(&self) -> bool {
        matches!(self.kind, Kind::Counter | Kind::Bucket)
    }
}

const JOBS: (&str, &[&str]) = ("job", &["api", "web"]);
const INSTANCES: (&str, &[&str]) = ("instance", &["a:9100", "b:9100", "c:9100"]);
const PAIR: (&str, &[&str]) = ("instance", &["a:9100", "b:9100"]);
const BOUNDS: (&str, &[&str]) = ("le", &["0.1", "0.5", "1.0", "2.5", "+Inf"]);

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [(&'static str, &'static [&'static str])],
) -> Metric {
    Metric { name, kind, labels, facts: &[] }
}

pub(super) const METRICS: &[Metric] = &[
    metric("requests_total", Kind::Counter, &[JOBS, INSTANCES, ("code", &["200", "404", "500"])]),
    metric("errors_total", Kind::Counter, &[JOBS, PAIR]),
    metric("memory_bytes", Kind::Gauge, &[JOBS, INSTANCES]),
    metric(
        "temperature_celsius",
        Kind::Gauge,
        &[PAIR, ("zone", &["Zürich", "東京", "a\\b \"c\"\n", "<&>\u{2028}\u{1}"])],
    ),
    metric("queue:depth:sum", Kind::Gauge, &[JOBS]),
    metric("busy_ratio", Kind::Ratio, &[JOBS, INSTANCES]),
    metric("target_up", Kind::Up, &[JOBS, INSTANCES]),
    metric("latency_seconds_bucket", Kind::Bucket, &[JOBS, PAIR, BOUNDS]),
    metric("latency_seconds_count", Kind::Counter, &[JOBS, PAIR]),
    metric("latency_seconds_sum", Kind::Counter, &[JOBS, PAIR]),
    metric("broken_bucket", Kind::Bucket, &[JOBS, ("le", &["0.5", "1", "many", "4"])]),
    Metric {
        name: "target_info",
        kind: Kind::Info,
        labels: &[JOBS, INSTANCES],
        facts: &[("version", &["1.0", "1.1", "2.0-β"]), ("region", &["eu", "us"])],
    },
    Metric {
        name: "build_info",
        kind: Kind::Info,
        labels: &[JOBS, PAIR],
        facts: &[("revision", &["0a1b2c", "3d4e5f"])],
    },
    metric("started_at_seconds", Kind::Epoch, &[JOBS, INSTANCES]),
    metric("dotted.metric", Kind::Gauge, &[JOBS, ("k8s.pod", &["one", "two"])]),
    metric("extremes", Kind::Extreme, &[("kind", &["tiny", "huge", "whole", "mixed"]), PAIR]),
];

/// The metric of that name.
pub(super) fn metric_named(name: &str) -> &'static Metric {
    METRICS.iter().find(|metric| metric.name == name).expect("only names of the table are asked for")
}

/// All samples, series by series in the order of their labels, each in order of time. Prometheus finds
/// series in the order in which they came, valmis in that of their labels: so both have the same one.
pub(super) fn samples(seed: u64, start: TimestampMs) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (number, metric) in METRICS.iter().enumerate() {
        for (index, labels) in label_sets(metric).into_iter().enumerate() {
            let random = Random::stream(seed, (number * 1_000 + index) as u64);
            samples.extend(series(metric, index, &labels, random, start));
        }
    }
    samples.sort_by(|one: &Sample, other| one.labels.cmp(&other.labels));
    samples
}

fn label_sets(metric: &Metric) -> Vec<Labels> {
    let mut sets = vec![vec![("__name__", metric.name)]];
    for (name, values) in metric.labels {
        sets = sets
            .into_iter()
            .flat_map(|set| values.iter().map(move |value| [set.as_slice(), &[(*name, *value)]].concat()))
            .collect();
    }
    for (index, set) in sets.iter_mut().enumerate() {
        set.extend(metric.facts.iter().map(|(name, values)| (*name, values[index % values.len()])));
    }
    sets.into_iter().map(Labels::from_pairs).collect()
}

/// When a series is there.
#[derive(Debug, Clone, Copy)]
enum Presence {
    Throughout,
    /// Begins in the middle.
    Late,
    /// Ends in the middle; whether with a staleness marker.
    Ends(bool),
    /// Is away for a while, longer than the lookback delta; whether with a staleness marker.
    Gap(bool),
    /// Comes and goes, each time with a staleness marker.
    Flaps,
    /// Has lost every third sample or so.
    Sparse,
}

impl Presence {
    /// What becomes of the sample in this place of `count`.
    fn at(self, index: i64, count: i64, random: &mut Random) -> Slot {
        let marked = |marker| if marker { Slot::Marker } else { Slot::Nothing };
        match self {
            Self::Throughout => Slot::Sample,
            Self::Late if index < count / 3 => Slot::Nothing,
            Self::Ends(marker) if index == count * 3 / 5 => marked(marker),
            Self::Ends(_) if index > count * 3 / 5 => Slot::Nothing,
            Self::Gap(marker) if index == count / 4 => marked(marker),
            Self::Gap(_) if (count / 4..count / 2).contains(&index) => Slot::Nothing,
            Self::Flaps if index % 24 == 16 => Slot::Marker,
            Self::Flaps if index % 24 > 16 => Slot::Nothing,
            Self::Sparse if random.chance(30) => Slot::Nothing,
            _ => Slot::Sample,
        }
    }
}

enum Slot {
    Sample,
    Marker,
    Nothing,
}

fn series(
    metric: &Metric,
    index: usize,
    labels: &Labels,
    mut random: Random,
    start: TimestampMs,
) -> Vec<Sample> {
    let presence = match random.below(12) {
        // Where all buckets of a histogram are there, quantiles are what is compared.
        _ if metric.kind == Kind::Bucket && random.chance(80) => Presence::Throughout,
        0 => Presence::Late,
        1 => Presence::Ends(true),
        2 => Presence::Ends(false),
        3 => Presence::Gap(true),
        4 => Presence::Gap(false),
        5 => Presence::Flaps,
        6 => Presence::Sparse,
        _ => Presence::Throughout,
    };
    // A third of all series lie on whole steps, where the boundaries of ranges are.
    let (phase, jitter) = if random.chance(33) { (0, 0) } else { (random.between(0..=14_999), 40) };
    let mut values = Values::new(metric.kind, index);
    let count = SPAN_MS / INTERVAL_MS;
    let mut samples = Vec::new();
    for index in 0..count {
        let value = values.next(&mut random);
        let value = match presence.at(index, count, &mut random) {
            Slot::Sample => value,
            Slot::Marker => stale_nan(),
            Slot::Nothing => continue,
        };
        let at = start + phase + index * INTERVAL_MS + random.between(0..=jitter);
        samples.push(Sample::new(labels.clone(), at, value));
    }
    samples
}

/// The values of one series, one after the other.
struct Values {
    kind: Kind,
    index: usize,
    last: f64,
}

impl Values {
    fn new(kind: Kind, index: usize) -> Self {
        Self { kind, index, last: 0.0 }
    }

    fn next(&mut self, random: &mut Random) -> f64 {
        let quarters = |random: &mut Random, from, to| random.between(from..=to) as f64 / 4.0;
        match self.kind {
            Kind::Counter => {
                let reset = random.chance(3);
                let grown = if random.chance(25) { 0.0 } else { quarters(random, 0, 200) };
                self.last = if reset { grown } else { self.last + grown };
                self.last
            }
            Kind::Bucket => {
                // A bucket counts all that the buckets before it count; now and then not quite.
                let step = if random.chance(2) { 0.0 } else { 1.0 + (self.index % 5) as f64 * 2.0 };
                self.last += step;
                self.last
            }
            Kind::Gauge if random.chance(2) => random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
            Kind::Gauge => {
                if random.chance(70) {
                    self.last += quarters(random, -40, 40);
                }
                self.last
            }
            Kind::Ratio => random.between(0..=1_000) as f64 / 1_000.0,
            Kind::Up => f64::from(u8::from(random.chance(85))),
            Kind::Info => 1.0,
            Kind::Epoch => {
                if random.chance(10) || self.last == 0.0 {
                    self.last = random.between(-157_766_400..=2_145_916_800) as f64;
                }
                self.last
            }
            Kind::Extreme => match self.index / 2 {
                0 => random.pick(&[2.5e-308, -1e-300, 1e-300, 0.0, -0.0]),
                1 => random.pick(&[1.7e308, -1.6e308, 9e307, 1e16, 9_007_199_254_740_993.0]),
                2 => random.between(-3..=3) as f64,
                _ => random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e100, 1.0, -1e100, 0.1]),
            },
        }
    }
}
