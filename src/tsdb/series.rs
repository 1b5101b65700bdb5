//! The points of one series: which are accepted, where they lie, how they are read and dropped.

use crate::model::{Point, TimestampMs};
use crate::storage::{AppendError, SelectHints};

use super::chunk::{Chunk, Decoder, OpenChunk, SAMPLES_PER_CHUNK};
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
    pub(super) points_removed: u64,
    pub(super) chunks_created: u64,
    pub(super) chunks_removed: u64,
    pub(super) chunks_evicted: u64,
}

/// The points of one series.
#[derive(Debug, Default)]
pub(super) struct SeriesData {
    open: OpenChunk,
    /// In order of time, without overlap, all before the open one.
    closed: Vec<Chunk>,
    /// Whether there has ever been a point; only then the newest one means anything.
    started: bool,
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
        if self.started {
            let last = self.open.last();
            if at <= last.at {
                return match at == last.at {
                    true if last.value.to_bits() == bits => Ok(false),
                    true => Err(AppendError::Duplicate),
                    false => Err(AppendError::OutOfOrder),
                };
            }
        }
        if self.open.count() > 0 && at.abs_diff(self.open.start()) > rules.max_span_ms {
            self.cut(rules.evict, tally);
        }
        let before = self.open.heap_size();
        if self.open.count() == 0 {
            tally.chunks_created += 1;
        }
        self.open.push(at, bits);
        self.started = true;
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

    fn cut(&mut self, evict: bool, tally: &mut Tally) {
        if evict && !self.closed.is_empty() {
            self.drop_closed(1, tally);
            tally.chunks_evicted += 1;
        }
        tally.memory.remove(self.open.heap_size());
        if let Some(chunk) = self.open.close() {
            self.push_closed(chunk, tally);
        }
    }

    fn push_closed(&mut self, chunk: Chunk, tally: &mut Tally) {
        tally.memory.add(size_of_val(chunk.words()));
        let before = self.closed.capacity();
        if self.closed.len() == before {
            self.closed.reserve_exact((before / 4).max(1));
            tally.memory.resize(before * size_of::<Chunk>(), self.closed.capacity() * size_of::<Chunk>());
        }
        self.closed.push(chunk);
    }

    /// Takes over a chunk that was stored before. `false` if it is not newer than everything here.
    pub(super) fn restore(&mut self, chunk: Chunk, tally: &mut Tally) -> bool {
        if self.open.count() > 0 || self.closed.last().is_some_and(|last| last.end() >= chunk.start()) {
            return false;
        }
        let newest = Decoder::new(chunk.start(), chunk.count(), chunk.words()).last();
        if let Some(point) = newest {
            self.open.continue_after(point);
            self.started = true;
        }
        tally.appended += u64::from(chunk.count());
        tally.chunks_created += 1;
        self.push_closed(chunk, tally);
        true
    }

    /// Whether nothing is stored.
    pub(super) fn is_empty(&self) -> bool {
        self.open.count() == 0 && self.closed.is_empty()
    }

    /// The first and the last instant with a point.
    pub(super) fn bounds(&self) -> Option<(TimestampMs, TimestampMs)> {
        let start = match self.closed.first() {
            Some(chunk) => chunk.start(),
            None if self.open.count() > 0 => self.open.start(),
            None => return None,
        };
        Some((start, self.open.last().at))
    }

    /// The finished chunks, oldest first.
    pub(super) fn closed(&self) -> &[Chunk] {
        &self.closed
    }

    /// The chunk that still grows.
    pub(super) fn open(&self) -> &OpenChunk {
        &self.open
    }

    /// Drops every chunk whose last point lies before `cutoff`.
    pub(super) fn drop_before(&mut self, cutoff: TimestampMs, tally: &mut Tally) {
        let old = self.closed.partition_point(|chunk| chunk.end() < cutoff);
        if old > 0 {
            self.drop_closed(old, tally);
        }
        if self.open.count() > 0 && self.open.last().at < cutoff {
            tally.memory.remove(self.open.heap_size());
            tally.points_removed += u64::from(self.open.count());
            tally.chunks_removed += 1;
            self.open.discard();
        }
    }

    fn drop_closed(&mut self, count: usize, tally: &mut Tally) {
        for chunk in self.closed.drain(..count) {
            tally.memory.remove(size_of_val(chunk.words()));
            tally.points_removed += u64::from(chunk.count());
            tally.chunks_removed += 1;
        }
        let before = self.closed.capacity();
        if self.closed.is_empty() || before > self.closed.len() * 2 {
            self.closed.shrink_to_fit();
            tally.memory.resize(before * size_of::<Chunk>(), self.closed.capacity() * size_of::<Chunk>());
        }
    }

    /// Copies the encoded points that may lie within the hinted range. Cheap: the caller holds a lock
    /// that appends want; [`Extract::decode`] does the work after it is released.
    pub(super) fn extract(&self, hints: &SelectHints, into: &mut Extract) {
        into.clear();
        let Some((first, last)) = self.bounds() else { return };
        if first > hints.end || last < hints.start {
            return;
        }
        if hints.newest_only && last <= hints.end {
            into.newest = Some(self.open.last());
            return;
        }
        let from = self.closed.partition_point(|chunk| chunk.end() < hints.start);
        let to = self.closed.partition_point(|chunk| chunk.start() <= hints.end);
        let open = self.open.count() > 0 && self.open.start() <= hints.end && last >= hints.start;
        // The newest point at or before the end lies in the last chunk that starts before it.
        let from = match hints.newest_only {
            true if open => to,
            true => to.saturating_sub(1).max(from),
            false => from,
        };
        for chunk in self.closed.get(from..to).unwrap_or_default() {
            into.add(chunk.start(), chunk.count(), |words| words.extend_from_slice(chunk.words()));
        }
        if open {
            into.add(self.open.start(), self.open.count(), |words| self.open.copy_to(words));
        }
    }
}

/// Encoded points taken out of a series, in buffers that are used again for the next one.
#[derive(Debug, Default)]
pub(super) struct Extract {
    newest: Option<Point>,
    chunks: Vec<ExtractedChunk>,
    words: Vec<u64>,
}

#[derive(Debug)]
struct ExtractedChunk {
    start: TimestampMs,
    count: u16,
    words_end: usize,
}

/// A chunk that does not hold what it should.
#[derive(Debug)]
pub(super) struct CorruptChunk {
    pub(super) start: TimestampMs,
}

impl Extract {
    fn clear(&mut self) {
        self.newest = None;
        self.chunks.clear();
        self.words.clear();
    }

    fn add(&mut self, start: TimestampMs, count: u16, copy: impl FnOnce(&mut Vec<u64>)) {
        copy(&mut self.words);
        self.chunks.push(ExtractedChunk { start, count, words_end: self.words.len() });
    }

    /// Replaces `points` by those within the hinted range.
    pub(super) fn decode(&self, hints: &SelectHints, points: &mut Vec<Point>) -> Result<(), CorruptChunk> {
        points.clear();
        if let Some(newest) = self.newest {
            points.push(newest);
            return Ok(());
        }
        let mut words_start = 0;
        for chunk in &self.chunks {
            let words = &self.words[words_start..chunk.words_end];
            words_start = chunk.words_end;
            let decoder = Decoder::new(chunk.start, chunk.count, words);
            if !decoder.read_between(hints.start, hints.end, points) {
                return Err(CorruptChunk { start: chunk.start });
            }
        }
        if hints.newest_only && points.len() > 1 {
            points.drain(..points.len() - 1);
        }
        Ok(())
    }
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
        extract.decode(&hints, &mut points).expect("sound chunks");
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
        assert_eq!(series.open().count(), 0);
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
