//! The samples: those of Prometheus' own `BenchmarkRangeQuery` and `BenchmarkJoinQuery`, but up to now.
//! Source: Prometheus 3.14 `promql/bench_test.go`.

use valmis::exposition::remote_write;
use valmis::model::{Labels, Sample};

pub(crate) const INTERVAL_MS: i64 = 10_000;

/// A day, and 10,000 steps.
pub(crate) const INTERVALS: i64 = 8_640 + 10_000;

/// Instances of each of the two metrics that are joined, and how far these reach back: the steps of the
/// queries, and more than the lookback.
const JOINED: usize = 1_000;
const JOINED_INTERVALS: i64 = 1_100;

/// How many intervals are sent at once: ten minutes, so that no sample is older than a store may refuse
/// in comparison with the newest one.
const BATCH: i64 = 60;

/// Bodies of remote write, in the order of time. The newest sample is an interval older than `end`.
pub(crate) fn bodies(end: i64, intervals: i64) -> impl Iterator<Item = (usize, Vec<u8>)> {
    let metrics = metrics();
    let joined = joined();
    (0..intervals).step_by(BATCH as usize).map(move |first| {
        let last = (first + BATCH).min(intervals);
        let at = |interval: i64| end - (intervals - interval) * INTERVAL_MS;
        let mut samples = Vec::new();
        let mut add = |series: &[Labels], from: i64| {
            for (index, labels) in series.iter().enumerate() {
                let part = index as f64 / series.len() as f64;
                samples.extend((from..last).map(|n| Sample::new(labels.clone(), at(n), n as f64 + part)));
            }
        };
        add(&metrics, first);
        add(&joined, first.max(intervals - JOINED_INTERVALS).min(last));
        for interval in first..last {
            // Each series has samples for a fiftieth of the time.
            let labels = labels("sparse", &[("l", (interval / (intervals / 50)).to_string())]);
            samples.push(Sample::new(labels, at(interval), interval as f64 / metrics.len() as f64));
        }
        (samples.len(), remote_write::encode(&samples))
    })
}

/// Two simple metrics and a histogram of eleven buckets, of one, ten and a hundred series (histograms).
fn metrics() -> Vec<Labels> {
    let mut metrics = Vec::new();
    for (size, count) in [("one", 1), ("ten", 10), ("hundred", 100)] {
        for l in 0..count {
            let own = if count == 1 { vec![] } else { vec![("l", l.to_string())] };
            metrics.push(labels(&format!("a_{size}"), &own));
            metrics.push(labels(&format!("b_{size}"), &own));
            for le in (0..10).map(|le| le.to_string()).chain(["+Inf".to_owned()]) {
                let mut bucket = own.clone();
                bucket.push(("le", le));
                metrics.push(labels(&format!("h_{size}"), &bucket));
            }
        }
    }
    metrics
}

/// What instances of a service count, with the label sets of a real cluster.
fn joined() -> Vec<Labels> {
    let mut state = 0;
    let mut next = || random(&mut state);
    let mut series = Vec::new();
    for _ in 0..JOINED {
        let (high, low) = (next(), next());
        let instance = format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        );
        for name in ["rpc_request_success_total", "rpc_request_error_total"] {
            let others = [
                ("environment", "staging"),
                ("cluster", "test-kubernetes-cluster"),
                ("namespace", "test-kubernetes-namespace"),
                ("job", "worker"),
                ("rpc_method", "fetch-my-data-from-this-service"),
                ("domain", "test-domain"),
            ];
            let mut pairs = others.map(|(name, value)| (name, value.to_owned())).to_vec();
            pairs.push(("instance", instance.clone()));
            series.push(labels(name, &pairs));
        }
    }
    series
}

fn labels(name: &str, pairs: &[(&str, String)]) -> Labels {
    let mut labels = Labels::from_pairs([("__name__", name)]).builder();
    for (name, value) in pairs {
        labels.set(name, value);
    }
    labels.build()
}

/// The same numbers in every run. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators" (2014), the generator SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
