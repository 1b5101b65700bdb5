//! The store as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use proptest::prelude::*;

use super::disk::faulty::FaultyDisk;
use super::{Config, OpenReport, Tsdb, TsdbError};
use crate::clock::FixedClock;
use crate::model::{
    Labels, MatchOp, Matcher, NORMAL_NAN_BITS, Point, STALE_NAN_BITS, Sample, Series, TimestampMs,
};
use crate::storage::{
    AppendError, Appender as _, Lifetime, Queryable, RefSample, Samples, SelectError, SelectHints, SeriesSet,
};

mod trouble;

const HOUR: TimestampMs = 3_600_000;

fn config(path: Option<&Path>) -> Config {
    Config { path: path.map(Path::to_owned), ..Config::new(Arc::new(FixedClock::at(10 * HOUR))) }
}

fn open(config: Config) -> (Arc<Tsdb>, OpenReport) {
    Tsdb::open(config).expect("the store opens")
}

fn memory() -> Arc<Tsdb> {
    open(config(None)).0
}

fn labels(text: &str) -> Labels {
    Labels::from_pairs(text.split(' ').map(|pair| pair.split_once('=').unwrap_or(("__name__", pair))))
}

fn sample(series: &str, at: TimestampMs, value: f64) -> Sample {
    Sample::new(labels(series), at, value)
}

fn select(tsdb: &Tsdb, matchers: &[Matcher], hints: SelectHints) -> Vec<Series> {
    tsdb.select(matchers, &hints).now_or_never().expect("without a runtime nothing waits").expect("no error")
}

fn everything(tsdb: &Tsdb) -> Vec<Series> {
    select(tsdb, &[], SelectHints::between(i64::MIN, i64::MAX))
}

/// Appends `count` samples, one second apart, to each of some series.
fn fill(tsdb: &Tsdb, series: usize, from: i64, count: i64) {
    for n in from..from + count {
        let batch: Vec<_> = (0..series)
            .map(|s| sample(&format!("m series={s} job=j{}", s % 3), n * 1_000, (n * s as i64) as f64 * 0.5))
            .collect();
        assert_eq!(tsdb.append_samples(&batch), []);
    }
}

#[test]
fn samples_are_accepted_and_refused_one_by_one() {
    let tsdb = memory();
    let batch = [
        sample("up job=a", 2 * HOUR, 1.0),
        sample("up job=a", 2 * HOUR, 1.0),
        sample("up job=a", 2 * HOUR, 2.0),
        sample("up job=a", 2 * HOUR - 1, 1.0),
        sample("job=a", 2 * HOUR, 1.0),
        sample("up job=a", 2 * HOUR + 1, f64::from_bits(STALE_NAN_BITS)),
    ];
    let refused = tsdb.append_samples(&batch);
    let expected =
        [(2, AppendError::Duplicate), (3, AppendError::OutOfOrder), (4, AppendError::InvalidLabels)];
    assert_eq!(refused, expected);
    assert_eq!(tsdb.append_samples(&[sample("new", HOUR, 1.0)]), [(0, AppendError::OutOfBounds)]);
    assert_eq!(tsdb.append_samples(&[sample("new", HOUR + 1, 1.0)]), []);
    let stats = tsdb.stats();
    assert_eq!((stats.samples_appended, stats.samples, stats.series), (3, 3, 2));
    assert_eq!((stats.duplicate_samples, stats.out_of_order_samples, stats.out_of_bounds_samples), (1, 1, 1));
}

#[test]
fn a_sample_from_the_future_does_not_lock_out_the_present() {
    let tsdb = memory();
    assert_eq!(tsdb.append_samples(&[sample("ahead", 1_000 * HOUR, 1.0)]), []);
    assert_eq!(tsdb.append_samples(&[sample("up", 10 * HOUR, 1.0)]), []);
    let now_less_window = 9 * HOUR;
    assert_eq!(
        tsdb.append_samples(&[sample("late", now_less_window - 1, 1.0)]),
        [(0, AppendError::OutOfBounds)]
    );
}

#[test]
fn references_of_dropped_series_are_unknown_even_when_their_number_is_used_again() {
    let tsdb = memory();
    let old = tsdb.reference(&labels("old")).unwrap();
    assert_eq!(tsdb.reference(&labels("old")), Ok(old));
    let append = |series, at| tsdb.append(&[RefSample { series, at, value: 1.0 }]);
    assert_eq!(append(old, 10 * HOUR), []);
    let later = 10 * HOUR + 16 * 24 * HOUR;
    tsdb.maintain(later);
    assert_eq!(append(old, 10 * HOUR + 1), [], "the series itself is kept until the next sweep");
    tsdb.maintain(later);
    tsdb.maintain(later);
    assert_eq!(tsdb.stats().series, 0);
    let new = tsdb.reference(&labels("new")).unwrap();
    assert_eq!(new.0 as u32, old.0 as u32, "the number is used again");
    assert_eq!(append(old, 10 * HOUR + 2), [(0, AppendError::UnknownReference)]);
    assert_eq!(append(new, 10 * HOUR + 2), []);
    for bogus in [0, 1 << 32 | 0xff_ffff, u64::MAX] {
        let refused = append(crate::storage::SeriesRef(bogus), 10 * HOUR + 3);
        assert_eq!(refused, [(0, AppendError::UnknownReference)], "{bogus}");
    }
}

#[test]
fn retention_leaves_nothing_behind() {
    let tsdb = memory();
    let mut rounds = Vec::new();
    for round in 0..3_u64 {
        let hour = 10 + round as i64;
        fill(&tsdb, 300, hour * 3_600, 130);
        tsdb.maintain(hour * HOUR);
        assert_eq!(tsdb.stats().samples, 300 * 130);
        for _ in 0..3 {
            tsdb.maintain(30 * 24 * HOUR);
        }
        let stats = tsdb.stats();
        assert_eq!((stats.samples, stats.series, stats.chunks, stats.min_time), (0, 0, 0, None));
        assert_eq!((stats.series_removed, stats.chunks_removed), (300 * (round + 1), 600 * (round + 1)));
        let names = tsdb.label_names(&[], i64::MIN, i64::MAX).now_or_never().unwrap().unwrap();
        assert_eq!(names, [""; 0]);
        rounds.push(stats.memory_bytes);
    }
    // Pages and tables stay, and the next series take no more.
    assert!(rounds.iter().all(|bytes| *bytes == rounds[0]), "{rounds:?}");
}

#[test]
fn at_the_ceiling_new_series_are_refused_and_old_ones_go_on() {
    let limit = 1 << 20;
    let (tsdb, _) = open(Config { max_memory: limit, ..config(None) });
    let mut accepted = Vec::new();
    let refused = loop {
        match tsdb.reference(&labels(&format!("m series={}", accepted.len()))) {
            Ok(series) => accepted.push(series),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::SeriesLimit);
    assert!(accepted.len() > 1_000, "{}", accepted.len());
    let rounds = 2_000_i64;
    for round in 0..rounds {
        let value = (round as f64).sqrt();
        let batch: Vec<_> = accepted
            .iter()
            .step_by(10)
            .map(|series| RefSample { series: *series, at: round * 1_000, value })
            .collect();
        assert_eq!(tsdb.append(&batch), []);
    }
    let stats = tsdb.stats();
    assert_eq!(stats.series_refused, 1);
    assert!(stats.chunks_evicted > 0);
    assert!(stats.memory_bytes < 2 * limit, "{stats:?}");
    let newest = select(&tsdb, &[Matcher::equal("series", "0")], SelectHints::between(0, i64::MAX));
    assert_eq!(newest[0].points.last().map(|point| point.at), Some((rounds - 1) * 1_000));
}

#[test]
fn the_ceiling_lets_go_of_what_is_past_retention_first() {
    let clock = Arc::new(FixedClock::at(0));
    let limit = 1 << 20;
    let (tsdb, _) = open(Config { max_memory: limit, clock: clock.clone(), ..config(None) });
    let mut number = 0;
    while let Ok(series) = tsdb.reference(&labels(&format!("m series={number}"))) {
        assert_eq!(tsdb.append(&[RefSample { series, at: 1, value: 1.0 }]), []);
        number += 1;
    }
    clock.set(20 * 24 * HOUR);
    let again = || tsdb.reference(&labels("m series=new")).is_ok();
    assert!(again(), "points past retention are dropped");
}

/// A store that offers no more than it must.
struct SeriesAlone<'t>(&'t Tsdb);

impl Queryable for SeriesAlone<'_> {
    fn resolve<'a>(
        &'a self,
        matchers: &'a [Matcher],
        lifetime: Lifetime,
    ) -> BoxFuture<'a, Result<Arc<SeriesSet>, SelectError>> {
        self.0.resolve(matchers, lifetime)
    }

    fn read<'a>(
        &'a self,
        set: &'a Arc<SeriesSet>,
        hints: &'a SelectHints,
    ) -> BoxFuture<'a, Result<Samples, SelectError>> {
        self.0.read(set, hints)
    }

    fn series<'a>(
        &'a self,
        matchers: &'a [Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> BoxFuture<'a, Result<Vec<Labels>, SelectError>> {
        self.0.series(matchers, start, end)
    }
}

#[test]
fn label_names_and_values_obey_matchers_and_time() {
    let tsdb = memory();
    let batch = [
        sample("up job=b", 9 * HOUR + 1, 1.0),
        sample("up job=a zone=z", 10 * HOUR, 1.0),
        sample("down job=c", 10 * HOUR, 1.0),
    ];
    assert_eq!(tsdb.append_samples(&batch), []);
    let values = |name: &str, matchers: &[Matcher], start| {
        tsdb.label_values(name, matchers, start, 11 * HOUR).now_or_never().unwrap().unwrap()
    };
    let names = |matchers: &[Matcher], start| {
        tsdb.label_names(matchers, start, 11 * HOUR).now_or_never().unwrap().unwrap()
    };
    let up = [Matcher::equal("__name__", "up")];
    assert_eq!(values("job", &[], 0), ["a", "b", "c"]);
    assert_eq!(values("job", &[], 10 * HOUR), ["a", "c"]);
    assert_eq!(values("job", &up, 0), ["a", "b"]);
    assert_eq!(values("zone", &up, 0), ["z"]);
    assert_eq!(values("none", &up, 0), [""; 0]);
    assert_eq!(names(&[], 0), ["__name__", "job", "zone"]);
    assert_eq!(names(&[Matcher::equal("job", "c")], 0), ["__name__", "job"]);
    assert_eq!(names(&[Matcher::equal("job", "b")], 10 * HOUR), [""; 0]);
    // What every other store does, by way of the series, says the same.
    let plain = SeriesAlone(&tsdb);
    for matchers in [&[][..], &up] {
        for start in [0, 10 * HOUR] {
            let by_series = plain.label_names(matchers, start, 11 * HOUR).now_or_never().unwrap().unwrap();
            assert_eq!(by_series, names(matchers, start));
            for name in ["__name__", "job", "zone", "none"] {
                let by_series =
                    plain.label_values(name, matchers, start, 11 * HOUR).now_or_never().unwrap().unwrap();
                assert_eq!(by_series, values(name, matchers, start), "{name}");
            }
        }
    }
    let series = tsdb.series(&up, 10 * HOUR, 11 * HOUR).now_or_never().unwrap().unwrap();
    assert_eq!(series, [labels("up job=a zone=z")]);
}

#[test]
fn the_series_of_a_selector_stay_the_same_set_until_one_comes_or_goes() {
    let (tsdb, _) = open(Config { retention: Duration::from_hours(1), ..config(None) });
    let up = [Matcher::equal("__name__", "up")];
    let resolve = |known: Option<&Arc<SeriesSet>>| {
        let resolving = tsdb.resolve(&up, Lifetime::Lasting(known.map(Arc::clone)));
        resolving.now_or_never().expect("without a runtime nothing waits").expect("no error")
    };
    let read = |set: &Arc<SeriesSet>| {
        let samples = tsdb.read(set, &SelectHints::between(0, 100 * HOUR)).now_or_never();
        samples.expect("without a runtime nothing waits").expect("no error").series_count()
    };
    assert_eq!(tsdb.append_samples(&[sample("up job=b", HOUR, 1.0)]), []);
    let first = resolve(None);
    assert!(first.is_lasting() && tsdb.stats().kept_set_bytes > 0);
    // Other series, and other samples, change nothing.
    assert_eq!(
        tsdb.append_samples(&[sample("down job=a", HOUR, 1.0), sample("up job=b", HOUR + 1, 2.0)]),
        []
    );
    assert!(Arc::ptr_eq(&first, &resolve(Some(&first))));
    assert_eq!(tsdb.append_samples(&[sample("up job=a", 2 * HOUR, 1.0)]), []);
    let second = resolve(Some(&first));
    assert_eq!(second.labels(), [labels("up job=a"), labels("up job=b")]);
    // More series than the index remembers: nobody knows whether one of them is among the set's.
    let many: Vec<_> = (0..2_000).map(|n| sample(&format!("other n={n}"), 3 * HOUR, 1.0)).collect();
    assert_eq!(tsdb.append_samples(&many), []);
    let third = resolve(Some(&second));
    assert!(Arc::ptr_eq(&third, &second));
    assert_eq!((tsdb.stats().sets_resolved, tsdb.stats().sets_confirmed), (3, 1));
    // A series that is gone yields nothing, and its set is replaced.
    assert_eq!(tsdb.append_samples(&[sample("up job=a", 4 * HOUR, 1.0)]), []);
    tsdb.maintain(4 * HOUR);
    tsdb.maintain(4 * HOUR);
    assert_eq!(read(&third), 1);
    assert_eq!(resolve(Some(&third)).labels(), [labels("up job=a")]);
    drop((first, second, third));
    assert_eq!(tsdb.stats().kept_set_bytes, 0);
}

#[test]
fn a_closed_store_refuses_everything() {
    let tsdb = memory();
    let series = tsdb.reference(&labels("up")).unwrap();
    tsdb.start_background().unwrap();
    tsdb.close().unwrap();
    assert_eq!(tsdb.reference(&labels("up")), Err(AppendError::Closed));
    assert_eq!(tsdb.append(&[RefSample { series, at: 1, value: 1.0 }]), [(0, AppendError::Closed)]);
    let refused = tsdb.series(&[], 0, 1).now_or_never().unwrap();
    assert!(matches!(refused, Err(SelectError::Closed)));
}

/// What a store should do, done slowly.
#[derive(Default)]
struct Model {
    series: BTreeMap<Labels, Vec<Point>>,
}

impl Model {
    fn append(&mut self, labels: &Labels, at: TimestampMs, value: f64) -> bool {
        let points = self.series.entry(labels.clone()).or_default();
        let newer = points.last().is_none_or(|last| last.at < at);
        if newer {
            points.push(Point { at, value });
        }
        newer
    }

    fn select(&self, matchers: &[Matcher], hints: SelectHints) -> Vec<Series> {
        let accepted = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name())));
        let found = self.series.iter().filter(|(labels, _)| accepted(labels)).map(|(labels, points)| {
            let within = |point: &&Point| (hints.start..=hints.end).contains(&point.at);
            let mut points: Vec<_> = points.iter().filter(within).copied().collect();
            if hints.newest_only {
                points.drain(..points.len().saturating_sub(1));
            }
            Series::floats(labels.clone(), points)
        });
        found.filter(|series| !series.points.is_empty()).collect()
    }
}

fn any_bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..50_u32).prop_map(|n| f64::from(n).to_bits()),
        Just(STALE_NAN_BITS),
        Just(NORMAL_NAN_BITS),
    ]
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    let name = prop::sample::select(vec!["__name__", "a", "b"]);
    let pattern = prop::sample::select(vec!["", "m", "1", "1|2", "1.*", ".+", ".*"]);
    (op, name, pattern).prop_map(|(op, name, pattern)| Matcher::new(op, name, pattern).unwrap())
}

/// A series by the value of two labels.
fn model_labels(number: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", ["m", "n"][number % 2]),
        ("a", ["", "1", "12"][number / 2 % 3]),
        ("b", ["", "2"][number / 6 % 2]),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn select_equals_a_naive_model_also_after_reopening(
        batches in prop::collection::vec(
            prop::collection::vec((0..12_usize, 0..20_i64, any_bits()), 1..150), 1..12),
        snapshot_at in 0..12_usize,
        drop_at in 0..12_usize,
        matchers in prop::collection::vec(any_matcher(), 0..4),
        range in (0..2_000_i64, 0..2_000_i64),
        newest_only in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let config = || Config {
            acceptance_window: Duration::from_secs(u64::from(u32::MAX)),
            snapshot_interval: Duration::ZERO,
            ..config(Some(folder.path()))
        };
        let (tsdb, _) = open(config());
        let mut model = Model::default();
        let mut clock = 0;
        let mut cutoff = i64::MIN;
        for (number, batch) in batches.iter().enumerate() {
            let mut samples = Vec::new();
            for (series, step, bits) in batch {
                clock += step;
                samples.push(Sample::new(model_labels(*series), clock, f64::from_bits(*bits)));
            }
            let refused: BTreeSet<_> = tsdb.append_samples(&samples).into_iter().map(|(index, _)| index).collect();
            for (index, sample) in samples.iter().enumerate() {
                let newest = model.series.get(&sample.labels).and_then(|points| points.last()).copied();
                let same = newest == Some(Point { at: sample.at, value: sample.value });
                let stored = model.append(&sample.labels, sample.at, sample.value);
                prop_assert_eq!(refused.contains(&index), !stored && !same);
            }
            if number == snapshot_at {
                tsdb.flush().unwrap();
                tsdb.maintain(10 * HOUR);
                prop_assert_eq!(tsdb.stats().snapshots, 1);
            }
            if number == drop_at {
                cutoff = clock / 2;
                tsdb.head.drop_before(cutoff);
            }
        }
        let all = SelectHints::between(range.0.min(range.1), range.0.max(range.1));
        let hints = SelectHints { newest_only, ..all };
        // What retention may have dropped is looked at apart: only whole chunks go.
        let kept = SelectHints { start: hints.start.max(cutoff), end: hints.end.max(cutoff), ..hints };
        prop_assert_eq!(select(&tsdb, &matchers, kept), model.select(&matchers, kept));
        let before = everything(&tsdb);
        for series in &before {
            let all = &model.series[&series.labels];
            prop_assert!(all.ends_with(&series.points), "dropped from the front alone");
        }
        tsdb.close().unwrap();
        drop(tsdb);
        let (tsdb, report) = open(config());
        prop_assert_eq!((report.corruptions, report.unknown_references), (0, 0));
        prop_assert_eq!(select(&tsdb, &matchers, kept), model.select(&matchers, kept));
        if drop_at >= batches.len() {
            prop_assert_eq!(everything(&tsdb), before);
        }
    }
}

fn wal_files(folder: &Path) -> Vec<std::path::PathBuf> {
    super::disk::numbered_files(folder, super::wal::WAL_PREFIX)
        .unwrap()
        .into_iter()
        .map(|(_, path)| path)
        .collect()
}

#[test]
fn a_log_torn_or_damaged_anywhere_keeps_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let (tsdb, _) = open(config(Some(folder.path())));
    fill(&tsdb, 5, 0, 3);
    tsdb.flush().unwrap();
    let complete_batches = std::fs::metadata(&wal_files(folder.path())[0]).unwrap().len() as usize;
    fill(&tsdb, 5, 3, 1);
    tsdb.close().unwrap();
    drop(tsdb);
    let bytes = std::fs::read(&wal_files(folder.path())[0]).unwrap();
    assert!(bytes.len() > complete_batches);

    let reopen = |bytes: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        let file = super::wal::segment_path(folder.path(), 1);
        std::fs::write(&file, bytes).unwrap();
        let (tsdb, report) = open(config(Some(folder.path())));
        let stored = tsdb.stats().samples;
        fill(&tsdb, 5, 10, 1);
        tsdb.close().unwrap();
        drop(tsdb);
        let (tsdb, second) = open(config(Some(folder.path())));
        assert_eq!(second.corruptions, 0, "damage is repaired once");
        assert_eq!(tsdb.stats().samples, stored + 5, "what comes after a repair is kept");
        (stored, report)
    };
    assert_eq!(reopen(&bytes).0, 20);
    for end in complete_batches + 1..bytes.len() {
        let (stored, report) = reopen(&bytes[..end]);
        assert_eq!((stored, report.corruptions), (15, 1), "cut at {end}");
        assert_eq!(report.truncated_bytes, (end - complete_batches) as u64);
    }
    for flipped in complete_batches..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[flipped] ^= 0x10;
        let (stored, report) = reopen(&damaged);
        assert_eq!((stored, report.corruptions), (15, 1), "flipped at {flipped}");
    }
    for flipped in (0..complete_batches).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[flipped] ^= 0x80;
        let (stored, report) = reopen(&damaged);
        assert!(stored < 20 && stored % 5 == 0 && report.corruptions == 1, "flipped at {flipped}: {stored}");
    }
    // Blocks that a power cut left empty.
    let zeros: Vec<u8> = bytes.iter().copied().chain([0; 4096]).collect();
    assert_eq!(reopen(&zeros).0, 20);
}

#[test]
fn a_damaged_snapshot_loses_the_damaged_part_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config { snapshot_interval: Duration::ZERO, ..config(Some(folder.path())) };
    let (tsdb, _) = open(config());
    let noise = |n: i64| f64::from_bits((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for n in 0..2_400 {
        let batch: Vec<_> =
            (0..100).map(|s| sample(&format!("m series={s}"), n * 1_000, noise(n * s))).collect();
        assert_eq!(tsdb.append_samples(&batch), []);
    }
    tsdb.maintain(10 * HOUR);
    let all = tsdb.stats().samples;
    tsdb.close().unwrap();
    drop(tsdb);
    assert!(wal_files(folder.path()).is_empty());
    let (_, path) = super::disk::numbered_files(folder.path(), "snapshot-").unwrap().remove(0);
    let sound = std::fs::read(&path).unwrap();
    let reopen = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let (tsdb, report) = open(config());
        (tsdb.stats().samples, report.corruptions)
    };
    assert_eq!(reopen(&sound), (all, 0));
    let mut damaged = sound.clone();
    damaged[sound.len() / 2] ^= 1;
    let (kept, corruptions) = reopen(&damaged);
    assert_eq!(corruptions, 1);
    assert!(kept < all && kept > all / 4, "{kept} of {all}");
    let (kept, corruptions) = reopen(&sound[..sound.len() - 5]);
    assert_eq!(corruptions, 1);
    assert!(kept < all && kept > all / 4, "{kept} of {all}");
    assert_eq!(reopen(&[]), (0, 1));
}

#[test]
fn a_full_disk_stops_nothing_and_is_made_good() {
    let check = |fail: fn(&FaultyDisk, bool)| {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let (tsdb, _) = Tsdb::open_on(config(Some(folder.path())), Arc::new(disk.clone())).unwrap();
        fill(&tsdb, 20, 0, 5);
        tsdb.flush().unwrap();
        fail(&disk, true);
        for round in 1..4 {
            fill(&tsdb, 20, round * 5, 5);
            assert!(tsdb.flush().is_err());
        }
        let stats = tsdb.stats();
        assert_eq!((stats.samples, stats.wal_write_failures), (400, 3));
        assert!(stats.wal_queued_bytes > 0);
        // A power cut now: what was synced before is there.
        let copy = tempfile::tempdir().unwrap();
        for file in wal_files(folder.path()) {
            std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
        }
        let (cut, _) = open(config(Some(copy.path())));
        assert!(cut.stats().samples >= 100, "{:?}", cut.stats());
        fail(&disk, false);
        tsdb.flush().unwrap();
        assert_eq!(tsdb.stats().wal_queued_bytes, 0);
        let before = everything(&tsdb);
        drop(tsdb);
        let (tsdb, report) = open(config(Some(folder.path())));
        assert_eq!(report.corruptions, 0);
        assert_eq!(everything(&tsdb), before);
    };
    check(FaultyDisk::set_full);
    check(FaultyDisk::set_sync_fails);
}

#[test]
fn a_snapshot_that_fails_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let config = || Config { snapshot_interval: Duration::ZERO, ..config(Some(folder.path())) };
    let (tsdb, _) = Tsdb::open_on(config(), Arc::new(disk.clone())).unwrap();
    fill(&tsdb, 20, 0, 150);
    tsdb.flush().unwrap();
    disk.set_full(true);
    tsdb.maintain(10 * HOUR);
    fill(&tsdb, 20, 150, 5);
    assert!(tsdb.flush().is_err());
    assert_eq!((tsdb.stats().snapshots, tsdb.stats().snapshot_failures), (0, 1));
    disk.set_full(false);
    tsdb.flush().unwrap();
    tsdb.maintain(10 * HOUR);
    assert_eq!((tsdb.stats().snapshots, tsdb.stats().wal_bytes), (1, 0));
    fill(&tsdb, 20, 155, 5);
    let before = everything(&tsdb);
    drop(tsdb);
    let (tsdb, report) = open(config());
    assert_eq!((report.samples, report.corruptions), (20 * 160, 0));
    assert_eq!(everything(&tsdb), before);
}

#[test]
fn what_a_full_queue_does_not_log_a_snapshot_saves() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let (mut tsdb, _) = Tsdb::open_on(config(Some(folder.path())), Arc::new(disk.clone())).unwrap();
    Arc::get_mut(&mut tsdb).unwrap().durable.as_mut().unwrap().wal.limits.queue = 2_000;
    disk.set_full(true);
    fill(&tsdb, 20, 0, 50);
    assert!(tsdb.flush().is_err());
    let stats = tsdb.stats();
    assert!(stats.wal_dropped_samples > 0 && stats.wal_dropped_samples < stats.samples, "{stats:?}");
    assert!(stats.wal_queued_bytes < 4_000, "{stats:?}");
    tsdb.maintain(10 * HOUR);
    assert_eq!(tsdb.stats().snapshot_failures, 1, "a snapshot is due at once, and still does not fit");
    disk.set_full(false);
    tsdb.maintain(10 * HOUR);
    assert_eq!((tsdb.stats().snapshots, tsdb.stats().wal_queued_bytes), (1, 0));
    fill(&tsdb, 20, 50, 5);
    tsdb.maintain(10 * HOUR);
    assert_eq!(tsdb.stats().snapshots, 1, "the log is complete again");
    let before = everything(&tsdb);
    drop(tsdb);
    let (tsdb, report) = open(config(Some(folder.path())));
    assert_eq!((report.corruptions, report.unknown_references), (0, 0));
    assert_eq!(everything(&tsdb), before);
}

#[test]
fn a_batch_that_is_too_large_for_the_log_is_saved_by_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let (mut tsdb, _) = open(config(Some(folder.path())));
    Arc::get_mut(&mut tsdb).unwrap().durable.as_mut().unwrap().wal.limits.frame = 1_000;
    fill(&tsdb, 5, 0, 2);
    let large = format!("m label={}", "x".repeat(2_000));
    assert_eq!(tsdb.append_samples(&[sample(&large, 1_000, 1.0)]), []);
    fill(&tsdb, 5, 2, 2);
    let stats = tsdb.stats();
    assert_eq!((stats.samples, stats.wal_dropped_samples), (21, 1));
    tsdb.flush().unwrap();
    let copy = tempfile::tempdir().unwrap();
    for file in wal_files(folder.path()) {
        std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    let (_, report) = open(config(Some(copy.path())));
    assert_eq!((report.samples, report.corruptions, report.unknown_references), (20, 0, 0));
    tsdb.maintain(10 * HOUR);
    drop(tsdb);
    assert_eq!(open(config(Some(folder.path()))).1.samples, 21);
}

#[test]
fn damage_in_one_log_file_costs_nothing_of_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (mut tsdb, _) = open(config(Some(folder.path())));
    Arc::get_mut(&mut tsdb).unwrap().durable.as_mut().unwrap().wal.limits.segment = 1_000;
    for round in 0..20 {
        fill(&tsdb, 10, round * 10, 10);
    }
    tsdb.close().unwrap();
    let wal_bytes = tsdb.stats().wal_bytes;
    drop(tsdb);
    let files = wal_files(folder.path());
    assert!(files.len() > 5, "{files:?}");
    let sizes: u64 = files.iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    assert_eq!(wal_bytes, sizes);
    // All of one file, beginning with the series that it names.
    std::fs::write(&files[2], [0xff; 700]).unwrap();
    let (tsdb, report) = open(config(Some(folder.path())));
    assert_eq!((report.corruptions, report.unknown_references, report.truncated_bytes), (1, 0, 700));
    assert_eq!(
        tsdb.stats().wal_bytes,
        files.iter().map(|file| std::fs::metadata(file).unwrap().len()).sum::<u64>()
    );
    for series in everything(&tsdb) {
        let at = |point: &Point| point.at / 1_000;
        assert_eq!((at(&series.points[0]), series.points.last().map(at)), (0, Some(199)));
        assert!(series.points.len() > 150 && series.points.len() < 200, "{}", series.points.len());
    }
}

#[test]
fn queries_of_a_large_store_leave_the_async_thread() {
    let tsdb = memory();
    fill(&tsdb, super::SERIES_FOR_OFFLOADING, 36_000, 1);
    let inline = everything(&tsdb);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let hints = SelectHints::between(i64::MIN, i64::MAX);
    let found = runtime.block_on(async {
        let select = tsdb.select(&[], &hints);
        tokio::pin!(select);
        // The first poll only hands the work over.
        assert!((&mut select).now_or_never().is_none());
        select.await
    });
    assert_eq!(found.unwrap(), inline);
}

#[test]
fn a_second_opener_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (tsdb, _) = open(config(Some(folder.path())));
    let Err(error) = Tsdb::open(config(Some(folder.path()))) else { panic!("the directory is locked") };
    assert!(matches!(error, TsdbError::Locked { .. }));
    let expected = format!("storage directory `{}` is in use by another process", folder.path().display());
    assert_eq!(error.to_string(), expected);
    drop(tsdb);
    open(config(Some(folder.path())));
}

#[test]
fn readers_and_writers_do_not_disturb_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config { snapshot_interval: Duration::ZERO, ..config(Some(folder.path())) };
    let (tsdb, _) = open(config());
    tsdb.start_background().unwrap();
    let rounds = 400;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let tsdb = &tsdb;
                scope.spawn(move || {
                    for n in 0..rounds {
                        let batch: Vec<_> = (0..50)
                            .map(|s| sample(&format!("m writer={writer} series={s}"), n * 1_000, n as f64))
                            .collect();
                        assert_eq!(tsdb.append_samples(&batch), []);
                    }
                })
            })
            .collect();
        {
            while writers.iter().any(|writer| !writer.is_finished()) {
                for series in
                    select(&tsdb, &[Matcher::equal("__name__", "m")], SelectHints::between(0, i64::MAX))
                {
                    // Each series is seen as of one moment: from its beginning without a gap.
                    let whole = (0_i64..).zip(&series.points).all(|(n, point)| point.at == n * 1_000);
                    assert!(whole, "{series:?}");
                }
                tsdb.maintain(10 * HOUR);
            }
        }
    });
    let before = everything(&tsdb);
    assert_eq!(before.iter().map(|series| series.points.len()).sum::<usize>(), 2 * 50 * rounds as usize);
    tsdb.close().unwrap();
    drop(tsdb);
    let (tsdb, report) = open(config());
    assert_eq!((report.corruptions, report.unknown_references), (0, 0));
    assert_eq!(everything(&tsdb), before);
}

#[test]
fn metrics_show_the_state() {
    let tsdb = memory();
    fill(&tsdb, 4, 36_000, 130);
    tsdb.append_samples(&[sample("m series=1 job=j1", 36_000_000, 3.0)]);
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(super::TsdbCollector::new(tsdb)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "prometheus_tsdb_head_series 4.0",
        "prometheus_tsdb_head_chunks 8.0",
        "prometheus_tsdb_head_max_time 36129000.0",
        "prometheus_tsdb_head_samples_appended_total{type=\"float\"} 520",
        "prometheus_tsdb_out_of_order_samples_total{type=\"float\"} 1",
        "prometheus_tsdb_head_series_created_total 4",
        "valmis_tsdb_series_refused_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
