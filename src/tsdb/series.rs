//! The points of one series: which are accepted, where they lie, how they are read and dropped.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::model::{FloatHistogram, HistogramPoint, Point, STALE_NAN_BITS, TimestampMs};
use crate::storage::{AppendError, SelectHints};

use super::chunk::{Chunk, Decoder, OpenChunk, SAMPLES_PER_CHUNK};
use super::closed::{ClosedChunks, Decode, Extracted, Growing};
use super::histogram::HistogramData;
use super::memory::Balance;

/// What decides about an append, the same for every sample of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct AppendRules {
    /// Older samples are out of bounds.
    pub(super) min_valid: TimestampMs,
    /// A chunk is cut when a point would lie further than this from its first one.
    pub(super) max_span_ms: u64,
    /// Whether a series gives up its oldest chunk for each new one: the memory ceiling is reached.
    pub(super) evict: bool,
}

/// What a batch of appends, or a sweep, changed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) memory: Balance,
    pub(super) appended: u64,
    pub(super) appended_histograms: u64,
    pub(super) points_removed: u64,
    pub(super) chunks_created: u64,
    pub(super) chunks_removed: u64,
    pub(super) chunks_evicted: u64,
}

/// The points of one series.
#[derive(Debug, Default)]
pub(super) struct SeriesData {
    open: OpenChunk,
    /// All before the open one.
    closed: ClosedChunks,
    /// Its native histograms, which few series have.
    histograms: Option<Box<HistogramData>>,
}

impl SeriesData {
    /// Adds a point if the rules of Prometheus' head allow it; `false` if the very same point is
    /// already there. Source: Prometheus 3.14 `tsdb/head_append.go`, `memSeries.appendable`.
    #[inline]
    pub(super) fn append(
        &mut self,
        at: TimestampMs,
        bits: u64,
        rules: &AppendRules,
        tally: &mut Tally,
    ) -> Result<bool, AppendError> {
        if at < rules.min_valid {
            return Err(AppendError::OutOfBounds);
        }
        let last = self.open.last();
        if let Some(newest) = self.newest_histogram(last) {
            // The series ends as what it is. Source: as above, `commitFloats`.
            if bits == STALE_NAN_BITS {
                return self.append_histogram(at, &Arc::new(FloatHistogram::stale()), rules, tally);
            }
            check_order(at, newest.at, false)?;
        } else if let Some(last) = last
            && !check_order(at, last.at, last.value.to_bits() == bits)?
        {
            return Ok(false);
        }
        if self.open.count() > 0 && at.abs_diff(self.open.start()) > rules.max_span_ms {
            self.cut(rules.evict, tally);
        }
        let before = self.open.heap_size();
        if self.open.count() == 0 {
            tally.chunks_created += 1;
        }
        self.open.push(at, bits);
        let after = self.open.heap_size();
        if before != after {
            tally.memory.resize(before, after);
        }
        tally.appended += 1;
        // At once, not with the next point: a full chunk need not wait for one in its loose form.
        if self.open.count() == SAMPLES_PER_CHUNK {
            self.cut(rules.evict, tally);
        }
        Ok(true)
    }

    /// The newest histogram, if it is newer than the last point.
    #[inline]
    fn newest_histogram(&self, last: Option<Point>) -> Option<&HistogramPoint> {
        let newest = self.histograms.as_ref()?.last();
        newest.filter(|newest| last.is_none_or(|last| last.at < newest.at))
    }

    /// Adds a native histogram by the same rules. Source: Prometheus 3.14 `tsdb/head_append.go`,
    /// `memSeries.appendableFloatHistogram`.
    pub(super) fn append_histogram(
        &mut self,
        at: TimestampMs,
        histogram: &Arc<FloatHistogram>,
        rules: &AppendRules,
        tally: &mut Tally,
    ) -> Result<bool, AppendError> {
        if at < rules.min_valid {
            return Err(AppendError::OutOfBounds);
        }
        let last = self.open.last();
        let newest = self.newest_histogram(last);
        let after_float = newest.is_none();
        if let Some(newest) = newest {
            if !check_order(at, newest.at, newest.histogram == *histogram)? {
                return Ok(false);
            }
        } else if let Some(last) = last {
            check_order(at, last.at, false)?;
        }
        let point = HistogramPoint { at, histogram: Arc::clone(histogram) };
        self.histograms_mut(tally).push(point, after_float, rules, tally);
        Ok(true)
    }

    fn histograms_mut(&mut self, tally: &mut Tally) -> &mut HistogramData {
        self.histograms.get_or_insert_with(|| {
            tally.memory.add(size_of::<HistogramData>());
            Box::default()
        })
    }

    fn cut(&mut self, evict: bool, tally: &mut Tally) {
        if evict {
            self.closed.evict(tally);
        }
        tally.memory.remove(self.open.heap_size());
        if let Some(chunk) = self.open.close() {
            self.closed.push(chunk, tally);
        }
    }

    /// Takes over a chunk that was stored before. `false` if it is not newer than everything here.
    pub(super) fn restore(&mut self, chunk: Chunk, tally: &mut Tally) -> bool {
        let last_end = self.closed.as_slice().last().map(Chunk::end);
        if self.open.count() > 0 || last_end.is_some_and(|end| end >= chunk.start()) {
            return false;
        }
        let newest = Decoder::new(chunk.start(), chunk.count(), chunk.words()).last();
        if let Some(point) = newest {
            self.open.continue_after(point);
        }
        tally.appended += u64::from(chunk.count());
        tally.chunks_created += 1;
        self.closed.push(chunk, tally);
        true
    }

    /// The same for a chunk of native histograms.
    pub(super) fn restore_histograms(&mut self, chunk: Chunk, tally: &mut Tally) -> bool {
        self.histograms_mut(tally).restore(chunk, tally)
    }

    /// Whether nothing is stored.
    pub(super) fn is_empty(&self) -> bool {
        self.open.count() == 0 && self.closed.is_empty() && self.histograms.is_none()
    }

    /// The first and the last instant with a point or histogram.
    pub(super) fn bounds(&self) -> Option<(TimestampMs, TimestampMs)> {
        let histograms = self.histograms.as_ref().and_then(|histograms| histograms.bounds());
        match (self.float_bounds(), histograms) {
            (Some((start, end)), Some((other_start, other_end))) => {
                Some((start.min(other_start), end.max(other_end)))
            }
            (floats, histograms) => floats.or(histograms),
        }
    }

    fn float_bounds(&self) -> Option<(TimestampMs, TimestampMs)> {
        let start = match self.closed.as_slice().first() {
            Some(chunk) => chunk.start(),
            None if self.open.count() > 0 => self.open.start(),
            None => return None,
        };
        Some((start, self.open.last()?.at))
    }

    /// The finished chunks, oldest first.
    pub(super) fn closed(&self) -> &[Chunk] {
        self.closed.as_slice()
    }

    /// The chunk that still grows, if it has points.
    pub(super) fn open(&self) -> Option<&OpenChunk> {
        Some(&self.open).filter(|open| open.count() > 0)
    }

    /// The native histograms, if there are any.
    pub(super) fn histograms(&self) -> Option<&HistogramData> {
        self.histograms.as_deref()
    }

    /// Drops every chunk whose last point lies before `cutoff`.
    pub(super) fn drop_before(&mut self, cutoff: TimestampMs, tally: &mut Tally) {
        self.closed.drop_before(cutoff, tally);
        if self.open.count() > 0 && self.open.last().is_some_and(|last| last.at < cutoff) {
            tally.memory.remove(self.open.heap_size());
            tally.points_removed += u64::from(self.open.count());
            tally.chunks_removed += 1;
            self.open.discard();
        }
        if let Some(histograms) = &mut self.histograms {
            histograms.drop_before(cutoff, tally);
        }
        if let Some(histograms) = self.histograms.take_if(|histograms| histograms.is_empty()) {
            histograms.release(tally);
            tally.memory.remove(size_of::<HistogramData>());
        }
    }

    /// Copies the encoded points that may lie within the hinted range. Cheap: the caller holds a lock
    /// that appends want; what was copied is decoded after it is released.
    pub(super) fn extract(&self, hints: &SelectHints, into: &mut Extract) {
        if let Some((first, last)) = self.float_bounds()
            && first <= hints.end
            && last >= hints.start
        {
            into.floats.copy_from(&self.closed, self.open(), last, || self.open.last(), hints);
        }
        if let Some(histograms) = &self.histograms {
            histograms.extract(hints, &mut into.histograms);
        }
    }
}

/// Whether what came at `at` goes after the newest of its series; not if it is already there.
#[inline]
fn check_order(at: TimestampMs, newest: TimestampMs, the_same: bool) -> Result<bool, AppendError> {
    match at.cmp(&newest) {
        Ordering::Greater => Ok(true),
        Ordering::Equal if the_same => Ok(false),
        Ordering::Equal => Err(AppendError::Duplicate),
        Ordering::Less => Err(AppendError::OutOfOrder),
    }
}

/// Encoded points and histograms taken out of series.
#[derive(Debug, Default)]
pub(super) struct Extract {
    pub(super) floats: Extracted<Point>,
    pub(super) histograms: Extracted<HistogramPoint>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: AppendRules = AppendRules { min_valid: i64::MIN, max_span_ms: 86_400_000, evict: false };

    fn filled(count: i64) -> (SeriesData, Tally) {
        let (mut series, mut tally) = (SeriesData::default(), Tally::default());
        for n in 0..count {
            series.append(n * 1_000, (n as f64).to_bits(), &RULES, &mut tally).expect("in order");
        }
        (series, tally)
    }

    fn read(series: &SeriesData, hints: SelectHints) -> Vec<i64> {
        let (mut extract, mut points) = (Extract::default(), Vec::new());
        series.extract(&hints, &mut extract);
        let floats = &extract.floats;
        floats.decode::<Decoder<'_>>(0..floats.chunks(), &hints, &mut points).expect("sound chunks");
        points.into_iter().map(|point| point.at / 1_000).collect()
    }

    #[test]
    fn appends_follow_the_rules_of_the_head() {
        let (mut series, mut tally) = (SeriesData::default(), Tally::default());
        let rules = AppendRules { min_valid: 5_000, ..RULES };
        let mut check = |at, value: f64, expected| {
            assert_eq!(series.append(at, value.to_bits(), &rules, &mut tally), expected, "{at} {value}");
        };
        check(4_999, 1.0, Err(AppendError::OutOfBounds));
        check(6_000, 1.0, Ok(true));
        check(6_000, 1.0, Ok(false));
        check(6_000, 2.0, Err(AppendError::Duplicate));
        check(6_000, f64::NAN, Err(AppendError::Duplicate));
        check(5_999, 1.0, Err(AppendError::OutOfOrder));
        check(4_999, 1.0, Err(AppendError::OutOfBounds));
        check(6_001, f64::NAN, Ok(true));
        check(6_001, f64::NAN, Ok(false));
        assert_eq!(tally.appended, 2);
    }

    #[test]
    fn the_newest_point_is_known_after_a_full_chunk() {
        let (mut series, mut tally) = filled(i64::from(SAMPLES_PER_CHUNK));
        assert!(series.open().is_none());
        assert_eq!(
            series.append(119_000, 7.0_f64.to_bits(), &RULES, &mut tally),
            Err(AppendError::Duplicate)
        );
        assert_eq!(series.append(119_000, 119.0_f64.to_bits(), &RULES, &mut tally), Ok(false));
        assert_eq!(series.bounds(), Some((0, 119_000)));
    }

    #[test]
    fn reads_return_exactly_the_range() {
        let (series, _) = filled(300);
        let all = |from: i64, to: i64| SelectHints::between(from * 1_000, to * 1_000);
        let newest = |from, to| SelectHints { newest_only: true, ..all(from, to) };
        assert_eq!(read(&series, all(0, 299)), (0..300).collect::<Vec<_>>());
        for (from, to) in [(0, 0), (118, 121), (119, 119), (120, 120), (239, 240), (250, 400), (-9, 3)] {
            let expected: Vec<_> = (from.max(0)..=to.min(299)).collect();
            assert_eq!(read(&series, all(from, to)), expected, "{from}..={to}");
            assert_eq!(read(&series, newest(from, to)), expected[expected.len() - 1..], "{from}..={to}");
        }
        assert!(read(&series, all(300, 400)).is_empty());
        assert!(read(&series, newest(300, 400)).is_empty());
        assert!(read(&series, newest(-5, -1)).is_empty());
        assert!(read(&series, SelectHints::between(1_001, 1_999)).is_empty());
        assert!(
            read(&series, SelectHints { newest_only: true, ..SelectHints::between(1_001, 1_999) }).is_empty()
        );
    }

    #[test]
    fn a_newest_point_in_a_gap_between_chunks_is_found_or_not() {
        let (mut series, mut tally) = filled(120);
        for at in [500_000, 501_000] {
            series.append(at, 0, &RULES, &mut tally).expect("in order");
        }
        let newest = |from, to| SelectHints { newest_only: true, ..SelectHints::between(from, to) };
        assert_eq!(read(&series, newest(0, 400_000)), [119]);
        assert_eq!(read(&series, newest(200_000, 400_000)), [0_i64; 0]);
        assert_eq!(read(&series, newest(0, 500_000)), [500]);
    }

    #[test]
    fn whole_chunks_are_dropped_and_memory_is_given_back() {
        let (mut series, mut tally) = filled(250);
        series.drop_before(119_000, &mut tally);
        assert_eq!(series.bounds(), Some((0, 249_000)), "the last point of the first chunk is not older");
        series.drop_before(119_001, &mut tally);
        assert_eq!(series.bounds(), Some((120_000, 249_000)));
        series.drop_before(250_000, &mut tally);
        assert!(series.is_empty());
        assert_eq!(tally.memory.bytes(), 0);
        assert_eq!((tally.points_removed, tally.chunks_removed, tally.chunks_created), (250, 3, 3));
        assert_eq!(series.append(249_000, 0, &RULES, &mut tally), Err(AppendError::Duplicate));
    }

    #[test]
    fn at_the_ceiling_a_new_chunk_replaces_the_oldest() {
        let (mut series, mut tally) = filled(120);
        let rules = AppendRules { evict: true, ..RULES };
        for n in 120..360 {
            series.append(n * 1_000, 0, &rules, &mut tally).expect("in order");
        }
        assert_eq!(series.bounds(), Some((240_000, 359_000)));
        assert_eq!(tally.chunks_evicted, 2);
    }

    #[test]
    fn a_slow_series_cuts_its_chunks_by_time() {
        let (mut series, mut tally) = (SeriesData::default(), Tally::default());
        for day in 0..3 {
            series.append(day * 86_400_001, 0, &RULES, &mut tally).expect("in order");
        }
        assert_eq!(tally.chunks_created, 3);
        series.append(i64::MAX, 0, &RULES, &mut tally).expect("in order");
        assert_eq!(tally.chunks_created, 4);
    }
}
