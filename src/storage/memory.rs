//! A store of samples in plain memory: the fixture of tests, and the store of rule unit tests.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures_util::future::{BoxFuture, FutureExt};

use crate::model::{
    CounterReset, FloatHistogram, HistogramPoint, Labels, Matcher, Point, Series, StartTimestamp,
    TimestampMs, is_stale,
};

use super::{
    AppendError, Appender, Lifetime, Queryable, RefHistogram, RefSample, Samples, SelectError, SelectHints,
    SeriesRef, SeriesSet,
};

/// Series in memory, without limits, retention or durability. A selection looks at every series.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    data: RwLock<Data>,
}

#[derive(Debug, Default)]
struct Data {
    /// A series' reference is its place; its points are in order of time.
    series: Vec<Series>,
    by_labels: HashMap<Labels, usize>,
    /// How often a series came, or all went.
    changes: u64,
}

impl MemoryStorage {
    /// A store without series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds points to a series, which need not exist; of points for the same instant the last one
    /// counts. The points may be in any order.
    pub fn load(&self, labels: &Labels, points: impl IntoIterator<Item = Point>) {
        let mut data = self.write();
        let index = data.index(labels);
        let known = &mut data.series[index].points;
        for point in points {
            match known.binary_search_by_key(&point.at, |known| known.at) {
                Ok(place) => known[place] = point,
                Err(place) => known.insert(place, point),
            }
        }
    }

    /// Adds native histograms to a series, which need not exist. They are in order of time and later than
    /// all that the series has.
    ///
    /// As in Prometheus' chunks, what is known about counter resets is said anew: nothing of a histogram
    /// that begins a chunk, "none" of the others. Source: Prometheus `tsdb/chunkenc/histogram_meta.go`,
    /// `counterResetHint`.
    pub fn load_histograms(&self, labels: &Labels, histograms: impl IntoIterator<Item = HistogramPoint>) {
        let mut data = self.write();
        let index = data.index(labels);
        let series = &mut data.series[index];
        for point in histograms {
            push_histogram(series, point);
        }
    }

    /// Says since when samples of a series count; in order of time and later than what was said before.
    pub fn load_start_timestamps(&self, labels: &Labels, starts: impl IntoIterator<Item = StartTimestamp>) {
        let mut data = self.write();
        let index = data.index(labels);
        data.series[index].start_timestamps.extend(starts);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut data = self.write();
        *data = Data { changes: data.changes + 1, ..Data::default() };
    }

    /// All series with all their points, ordered by labels.
    pub fn dump(&self) -> Vec<Series> {
        let mut all = self.read().series.clone();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all
    }

    fn read(&self) -> RwLockReadGuard<'_, Data> {
        // A thread that panicked while it held the lock left whole series behind: points are added one
        // by one.
        self.data.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Data> {
        self.data.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The series that satisfy all matchers, ordered by labels.
    fn matching(&self, matchers: &[Matcher], wanted: impl Fn(&Series) -> bool) -> (SeriesSet, u64) {
        let data = self.read();
        let mut found: Vec<(Labels, SeriesRef)> = data
            .series
            .iter()
            .zip(0..)
            .filter(|(series, _)| matchers.iter().all(|m| m.matches(series.labels.get(m.name()))))
            .filter(|(series, _)| wanted(series))
            .map(|(series, place)| (series.labels.clone(), SeriesRef(place)))
            .collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (labels, series): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        (SeriesSet::new(labels.into(), series.into()), data.changes)
    }

    fn between(&self, matchers: &[Matcher], start: TimestampMs, end: TimestampMs) -> SeriesSet {
        let has_any = |series: &Series| {
            !within(&series.points, |point| point.at, start, end).is_empty()
                || !within(&series.histograms, |point| point.at, start, end).is_empty()
        };
        self.matching(matchers, has_any).0
    }
}

/// What lies between two instants, both inclusive.
fn within<T>(all: &[T], at: impl Fn(&T) -> TimestampMs, start: TimestampMs, end: TimestampMs) -> &[T] {
    let from = all.partition_point(|one| at(one) < start);
    let to = all.partition_point(|one| at(one) <= end);
    &all[from..to.max(from)]
}

impl Data {
    fn index(&mut self, labels: &Labels) -> usize {
        if let Some(index) = self.by_labels.get(labels) {
            return *index;
        }
        let index = self.series.len();
        self.series.push(Series::floats(labels.clone(), Vec::new()));
        self.changes += 1;
        self.by_labels.insert(labels.clone(), index);
        index
    }

    fn series_mut(&mut self, series: SeriesRef) -> Result<&mut Series, AppendError> {
        let place = usize::try_from(series.0).ok().and_then(|place| self.series.get_mut(place));
        place.ok_or(AppendError::UnknownReference)
    }
}

impl Queryable for MemoryStorage {
    fn resolve<'a>(
        &'a self,
        matchers: &'a [Matcher],
        lifetime: Lifetime,
    ) -> BoxFuture<'a, Result<Arc<SeriesSet>, SelectError>> {
        let set = match lifetime {
            Lifetime::Once(start, end) => Arc::new(self.between(matchers, start, end)),
            Lifetime::Lasting(Some(known)) if known.confirmed() == self.read().changes => known,
            Lifetime::Lasting(_) => {
                let (set, changes) = self.matching(matchers, |_| true);
                Arc::new(set.lasting(changes, ()))
            }
        };
        ready(Ok(set)).boxed()
    }

    fn read<'a>(
        &'a self,
        set: &'a Arc<SeriesSet>,
        hints: &'a SelectHints,
    ) -> BoxFuture<'a, Result<Samples, SelectError>> {
        let data = self.read();
        let mut samples = Samples::default();
        let mut outcome = Ok(());
        // Of points and histograms together only the newest may matter: keeping that of each will do.
        let kept = |count: usize| if hints.newest_only { count.saturating_sub(1) } else { 0 };
        for (place, reference) in set.series().iter().enumerate() {
            let series = usize::try_from(reference.0).ok().and_then(|index| data.series.get(index));
            let Some(series) = series.filter(|series| series.labels == set.labels()[place]) else { continue };
            let points = within(&series.points, |point| point.at, hints.start, hints.end);
            let histograms = within(&series.histograms, |point| point.at, hints.start, hints.end);
            samples.add(place, |into| {
                into.points.extend_from_slice(&points[kept(points.len())..]);
                into.histograms.extend_from_slice(&histograms[kept(histograms.len())..]);
                into.start_timestamps.extend_from_slice(&series.start_timestamps);
            });
            outcome = samples.check(hints);
            if outcome.is_err() {
                break;
            }
        }
        ready(outcome.map(|()| samples)).boxed()
    }

    fn series<'a>(
        &'a self,
        matchers: &'a [Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> BoxFuture<'a, Result<Vec<Labels>, SelectError>> {
        ready(Ok(self.between(matchers, start, end).labels().to_vec())).boxed()
    }
}

impl Appender for MemoryStorage {
    fn reference(&self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        if labels.metric_name().is_empty() {
            return Err(AppendError::InvalidLabels);
        }
        Ok(SeriesRef(self.write().index(labels) as u64))
    }

    fn append(&self, batch: &[RefSample]) -> Vec<(usize, AppendError)> {
        let mut data = self.write();
        append_each(batch, |RefSample { series, at, value }| {
            let series = data.series_mut(*series)?;
            let (float_at, histogram_at) = newest(series);
            if is_stale(*value) && histogram_at > float_at {
                let marker = Arc::new(FloatHistogram::stale());
                return append_histogram(series, HistogramPoint { at: *at, histogram: marker });
            }
            let point = Point { at: *at, value: *value };
            if newer_than_all(series, point.at, series.points.last() == Some(&point))? {
                series.points.push(point);
            }
            Ok(())
        })
    }

    fn append_histograms(&self, batch: &[RefHistogram]) -> Vec<(usize, AppendError)> {
        let mut data = self.write();
        append_each(batch, |RefHistogram { series, at, histogram }| {
            let point = HistogramPoint { at: *at, histogram: Arc::clone(histogram) };
            append_histogram(data.series_mut(*series)?, point)
        })
    }
}

/// The errors of those that could not be appended, with their index.
fn append_each<T>(
    batch: &[T],
    mut append: impl FnMut(&T) -> Result<(), AppendError>,
) -> Vec<(usize, AppendError)> {
    let outcomes = batch.iter().enumerate().map(|(index, one)| (index, append(one)));
    outcomes.filter_map(|(index, outcome)| Some((index, outcome.err()?))).collect()
}

fn append_histogram(series: &mut Series, point: HistogramPoint) -> Result<(), AppendError> {
    if newer_than_all(series, point.at, series.histograms.last() == Some(&point))? {
        push_histogram(series, point);
    }
    Ok(())
}

/// The newest instants with a float and with a histogram.
fn newest(series: &Series) -> (Option<TimestampMs>, Option<TimestampMs>) {
    let float = series.points.last().map(|point| point.at);
    (float, series.histograms.last().map(|point| point.at))
}

/// Whether an instant is after all that the series has; not if what is there is `the_same`.
fn newer_than_all(series: &Series, at: TimestampMs, the_same: bool) -> Result<bool, AppendError> {
    let (float, histogram) = newest(series);
    match float.max(histogram) {
        Some(newest) if newest > at => Err(AppendError::OutOfOrder),
        Some(newest) if newest == at && the_same => Ok(false),
        Some(newest) if newest == at => Err(AppendError::Duplicate),
        _ => Ok(true),
    }
}

/// Adds a histogram that is newer than all that the series has, and says anew what is known about
/// counter resets.
fn push_histogram(series: &mut Series, HistogramPoint { at, mut histogram }: HistogramPoint) {
    // A float in between ends a chunk.
    let last_float = series.points.iter().rev().map(|point| point.at).find(|float_at| *float_at < at);
    let previous = series.histograms.last().filter(|previous| Some(previous.at) > last_float);
    if histogram.counter_reset != CounterReset::Gauge {
        let continues = previous.is_some_and(|previous| histogram.continues(&previous.histogram));
        let known = if continues { CounterReset::NotReset } else { CounterReset::Unknown };
        if histogram.counter_reset != known {
            Arc::make_mut(&mut histogram).counter_reset = known;
        }
    }
    series.histograms.push(HistogramPoint { at, histogram });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sample;

    fn up(job: &str) -> Labels {
        Labels::from_pairs([("__name__", "up"), ("job", job)])
    }

    fn now<T>(future: BoxFuture<'_, Result<T, SelectError>>) -> T {
        future.now_or_never().expect("memory is ready at once").expect("memory cannot fail")
    }

    #[test]
    fn selections_hold_the_points_within_both_ends_ordered_by_labels() {
        let storage = MemoryStorage::new();
        for job in ["b", "a"] {
            storage.load(&up(job), (0..5).map(|at| Point { at, value: at as f64 }));
        }
        let matchers = [Matcher::equal("__name__", "up")];
        let found = now(storage.select(&matchers, &SelectHints::between(1, 3)));
        assert_eq!(found.iter().map(|series| series.labels.get("job")).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(found[0].points.iter().map(|point| point.at).collect::<Vec<_>>(), [1, 2, 3]);
        let hints = SelectHints { newest_only: true, ..SelectHints::between(1, 3) };
        assert_eq!(now(storage.select(&matchers, &hints))[0].points, [Point { at: 3, value: 3.0 }]);
        assert!(now(storage.select(&matchers, &SelectHints::between(5, 9))).is_empty());
        assert_eq!(now(storage.series(&matchers, 0, 9)).len(), 2);
    }

    #[test]
    fn only_the_first_histogram_of_a_chunk_may_come_after_a_counter_reset() {
        use CounterReset::{Gauge, NotReset, Reset, Unknown};
        let check = |counts: &[(f64, CounterReset)], expected: &[CounterReset]| {
            let storage = MemoryStorage::new();
            let histograms = counts.iter().enumerate().map(|(at, (count, counter_reset))| {
                let mut histogram = FloatHistogram::empty(0, [].into()).with_counter_reset(*counter_reset);
                histogram.count = *count;
                HistogramPoint { at: at as i64, histogram: Arc::new(histogram) }
            });
            storage.load_histograms(&up("a"), histograms);
            let found = now(storage.select(&[Matcher::equal("job", "a")], &SelectHints::between(0, 9)));
            let known: Vec<_> = found[0].histograms.iter().map(|one| one.histogram.counter_reset).collect();
            assert_eq!(known, expected, "{counts:?}");
        };
        check(&[(1.0, Unknown), (2.0, Unknown), (1.0, Unknown)], &[Unknown, NotReset, Unknown]);
        check(&[(1.0, Unknown), (2.0, Reset), (3.0, NotReset)], &[Unknown, Unknown, NotReset]);
        check(&[(1.0, Gauge), (2.0, Gauge), (3.0, Unknown)], &[Gauge, Gauge, Unknown]);
    }

    #[test]
    fn appending_goes_forwards_only() {
        let storage = MemoryStorage::new();
        let sample = |at, value| Sample::new(up("a"), at, value);
        let batch = [sample(2, 1.0), sample(1, 1.0), sample(2, 1.0), sample(2, 5.0), sample(3, 1.0)];
        let refused = storage.append_samples(&batch);
        assert_eq!(refused, [(1, AppendError::OutOfOrder), (3, AppendError::Duplicate)]);
        assert_eq!(storage.dump()[0].points.len(), 2);
        let nameless = Sample::new(Labels::from_pairs([("job", "a")]), 1, 1.0);
        assert_eq!(storage.append_samples(&[nameless]), [(0, AppendError::InvalidLabels)]);
        let unknown = RefSample { series: SeriesRef(9), at: 1, value: 1.0 };
        assert_eq!(storage.append(&[unknown]), [(0, AppendError::UnknownReference)]);
    }
}
