//! The store with native histograms among floats.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::{Config, OpenReport, Tsdb};
use crate::clock::FixedClock;
use crate::model::{
    CounterReset, FloatHistogram, HistogramSample, Labels, Matcher, STALE_NAN_BITS, Sample, Series,
    TimestampMs, stale_nan,
};
use crate::storage::{AppendError, Appender as _, MemoryStorage, Queryable, SelectHints};

const HOUR: TimestampMs = 3_600_000;

fn config(path: Option<&Path>) -> Config {
    Config {
        path: path.map(Path::to_owned),
        acceptance_window: Duration::from_secs(u64::from(u32::MAX)),
        snapshot_interval: Duration::ZERO,
        ..Config::new(Arc::new(FixedClock::at(10 * HOUR)))
    }
}

fn open(path: Option<&Path>) -> (Arc<Tsdb>, OpenReport) {
    Tsdb::open(config(path)).expect("the store opens")
}

fn select(store: &dyn Queryable, hints: SelectHints) -> Vec<Series> {
    let found = store.select(&[], &hints).now_or_never();
    found.expect("without a runtime nothing waits").expect("no error")
}

fn everything(store: &dyn Queryable) -> Vec<Series> {
    select(store, SelectHints::between(i64::MIN, i64::MAX))
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "h"), ("series", &series.to_string())])
}

fn histogram(count: u32, layout: u8) -> FloatHistogram {
    let count = f64::from(count);
    let mut histogram = match layout {
        0 => FloatHistogram::empty(3, [].into()).with_buckets([(-3, count), (4, 2.0 * count)], [(1, count)]),
        1 => FloatHistogram::empty(3, [].into()).with_buckets([(4, 2.0 * count), (5, count)], []),
        2 => FloatHistogram::empty(-53, [0.1, 0.5].into()).with_buckets([(1, count / 2.0)], []),
        _ => FloatHistogram::empty(3, [].into()).with_counter_reset(CounterReset::Gauge),
    };
    (histogram.count, histogram.sum) = (4.0 * count, count / 3.0);
    histogram
}

fn sample(series: usize, at: TimestampMs, histogram: FloatHistogram) -> HistogramSample {
    HistogramSample { labels: labels(series), at, histogram: Arc::new(histogram) }
}

#[test]
fn histograms_and_floats_share_one_order_of_time() {
    let (tsdb, _) = open(None);
    let floats = |at, value| tsdb.append_samples(&[Sample::new(labels(0), at, value)]);
    let native = |at, count| tsdb.append_histogram_samples(&[sample(0, at, histogram(count, 0))]);
    assert_eq!(native(10, 1), []);
    assert_eq!(native(10, 1), [], "the same again");
    assert_eq!(native(10, 2), [(0, AppendError::Duplicate)]);
    assert_eq!(native(9, 1), [(0, AppendError::OutOfOrder)]);
    assert_eq!(floats(10, 1.0), [(0, AppendError::Duplicate)]);
    assert_eq!(floats(9, 1.0), [(0, AppendError::OutOfOrder)]);
    assert_eq!(floats(20, 1.0), []);
    assert_eq!(native(20, 1), [(0, AppendError::Duplicate)]);
    assert_eq!(native(19, 1), [(0, AppendError::OutOfOrder)]);
    assert_eq!(native(30, 1), []);
    assert_eq!(floats(40, stale_nan()), []);
    assert_eq!(floats(40, stale_nan()), [], "the same marker again");
    assert_eq!(floats(50, stale_nan()), []);
    let found = everything(&*tsdb);
    assert_eq!(found[0].points.len(), 1);
    let seen: Vec<_> =
        found[0].histograms.iter().map(|point| (point.at, point.histogram.is_stale())).collect();
    assert_eq!(seen, [(10, false), (30, false), (40, true), (50, true)]);
    let stats = tsdb.stats();
    assert_eq!((stats.samples_appended, stats.histograms_appended, stats.samples), (1, 4, 5));
    assert_eq!((stats.out_of_order_samples, stats.out_of_order_histograms), (1, 2));
    assert_eq!(stats.duplicate_samples, 3);
}

#[test]
fn the_newest_sample_of_either_kind_is_found() {
    let (tsdb, _) = open(None);
    tsdb.append_samples(&[Sample::new(labels(0), 10, 1.0)]);
    tsdb.append_histogram_samples(&[sample(0, 20, histogram(1, 0)), sample(0, 30, histogram(2, 0))]);
    let newest = |start, end| {
        let found = select(&*tsdb, SelectHints { newest_only: true, ..SelectHints::between(start, end) });
        let histograms = found.iter().flat_map(|series| &series.histograms).map(|point| point.at);
        let floats = found.iter().flat_map(|series| &series.points).map(|point| point.at);
        floats.chain(histograms).max()
    };
    assert_eq!(newest(0, 100), Some(30));
    assert_eq!(newest(0, 29), Some(20));
    assert_eq!(newest(0, 19), Some(10));
    assert_eq!(newest(31, 100), None);
    assert_eq!(tsdb.series(&[], 25, 35).now_or_never().expect("at once").expect("no error"), [labels(0)]);
}

#[test]
fn retention_forgets_histograms_and_their_memory() {
    let (tsdb, _) = open(None);
    let empty = tsdb.stats().memory_bytes;
    for n in 0..300 {
        let batch: Vec<_> = (0..10).map(|s| sample(s, n * 1_000, histogram(n as u32, 0))).collect();
        assert_eq!(tsdb.append_histogram_samples(&batch), []);
    }
    let full = tsdb.stats();
    assert_eq!((full.samples, full.series, full.min_time), (3_000, 10, Some(0)));
    assert!(full.memory_bytes > empty + 10_000);
    tsdb.head.drop_before(150_000);
    assert!(tsdb.stats().samples < 3_000 && tsdb.stats().samples >= 1_500);
    for _ in 0..3 {
        tsdb.head.drop_before(10 * HOUR);
    }
    let gone = tsdb.stats();
    assert_eq!((gone.samples, gone.series, gone.chunks), (0, 0, 0));
    assert!(gone.memory_bytes < full.memory_bytes / 2, "{gone:?}");
}

#[test]
fn a_log_of_the_version_before_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (tsdb, _) = open(Some(folder.path()));
    tsdb.append_samples(&[Sample::new(labels(0), 10, 1.0), Sample::new(labels(1), 10, 2.0)]);
    let before = everything(&*tsdb);
    tsdb.close().unwrap();
    drop(tsdb);
    let path = super::wal::segment_path(folder.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    assert_eq!(&bytes[..8], super::wal::WAL_MAGIC);
    bytes[..8].copy_from_slice(super::wal::WAL_MAGIC_1);
    std::fs::write(&path, bytes).unwrap();
    let (tsdb, report) = open(Some(folder.path()));
    assert_eq!((report.corruptions, report.samples), (0, 2));
    assert_eq!(everything(&*tsdb), before);
}

#[derive(Debug, Clone)]
enum Step {
    Floats(Vec<(usize, i64, u64)>),
    Histograms(Vec<(usize, i64, u32, u8)>),
    Snapshot,
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    let float = prop_oneof![Just(STALE_NAN_BITS), (0..9_u32).prop_map(|n| f64::from(n).to_bits())];
    let native = (0..4_usize, -2..15_i64, 0..200_u32, prop_oneof![8 => Just(0_u8), 1 => 0..4_u8]);
    prop_oneof![
        3 => prop::collection::vec((0..4_usize, -2..20_i64, float), 1..8).prop_map(Step::Floats),
        6 => prop::collection::vec(native, 1..60).prop_map(Step::Histograms),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_store_answers_as_plain_memory_does_also_after_a_kill(
        steps in prop::collection::vec(any_step(), 1..14),
        range in (0..1_500_i64, 0..1_500_i64),
        newest_only in any::<bool>(),
    ) {
        let mut folder = tempfile::tempdir().unwrap();
        let (mut tsdb, _) = open(Some(folder.path()));
        let memory = MemoryStorage::new();
        let mut clock = 0;
        let mut grown = 0;
        for step in steps {
            match step {
                Step::Floats(batch) => {
                    let mut at = |step| { clock += step; clock };
                    let batch: Vec<_> = batch.into_iter()
                        .map(|(series, step, bits)| Sample::new(labels(series), at(step), f64::from_bits(bits)))
                        .collect();
                    prop_assert_eq!(tsdb.append_samples(&batch), memory.append_samples(&batch));
                }
                Step::Histograms(batch) => {
                    let batch: Vec<_> = batch.into_iter().map(|(series, step, count, layout)| {
                        clock += step;
                        grown += count / 20;
                        sample(series, clock, histogram(grown, layout))
                    }).collect();
                    let refused = tsdb.append_histogram_samples(&batch);
                    prop_assert_eq!(refused, memory.append_histogram_samples(&batch));
                }
                Step::Snapshot => tsdb.maintain(10 * HOUR),
                Step::Reopen => {
                    // What a kill after a flush leaves: the files as they are, without any goodbye.
                    tsdb.flush().unwrap();
                    let copy = tempfile::tempdir().unwrap();
                    for file in std::fs::read_dir(folder.path()).unwrap() {
                        let path = file.unwrap().path();
                        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
                    }
                    let (reopened, report) = open(Some(copy.path()));
                    prop_assert_eq!((report.corruptions, report.unknown_references), (0, 0));
                    tsdb = reopened;
                    folder = copy;
                }
            }
        }
        prop_assert_eq!(everything(&*tsdb), everything(&memory));
        let all = SelectHints::between(range.0.min(range.1), range.0.max(range.1));
        let hints = SelectHints { newest_only, ..all };
        let (found, expected) = (select(&*tsdb, hints), select(&memory, hints));
        prop_assert_eq!(&found, &expected);
        for (found, expected) in found.iter().zip(&expected) {
            for (found, expected) in found.histograms.iter().zip(&expected.histograms) {
                // Of a marker nobody asks it.
                if found.histogram.is_stale() {
                    continue;
                }
                let (found, expected) = (found.histogram.counter_reset, expected.histogram.counter_reset);
                // Chunks also end when they are full.
                prop_assert!(found == expected || found == CounterReset::Unknown, "{found:?} {expected:?}");
            }
        }
        let matchers = [Matcher::equal("series", "1")];
        let by_label = tsdb.select(&matchers, &hints).now_or_never().unwrap().unwrap();
        prop_assert_eq!(by_label, memory.select(&matchers, &hints).now_or_never().unwrap().unwrap());
    }
}
