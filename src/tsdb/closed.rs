//! The finished chunks of a series, and chunks copied out of it.

use std::ops::Range;

use crate::model::TimestampMs;
use crate::storage::SelectHints;

use super::chunk::Chunk;
use super::series::Tally;

/// Finished chunks in order of time, without overlap.
#[derive(Debug, Default)]
pub(super) struct ClosedChunks(Vec<Chunk>);

impl ClosedChunks {
    pub(super) fn as_slice(&self) -> &[Chunk] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a chunk that is newer than all others.
    pub(super) fn push(&mut self, chunk: Chunk, tally: &mut Tally) {
        tally.memory.add(size_of_val(chunk.words()));
        let before = self.0.capacity();
        if self.0.len() == before {
            self.0.reserve_exact((before / 4).max(1));
            tally.memory.resize(before * size_of::<Chunk>(), self.0.capacity() * size_of::<Chunk>());
        }
        self.0.push(chunk);
    }

    /// Drops the oldest chunk, if there is one, to make room for another.
    pub(super) fn evict(&mut self, tally: &mut Tally) {
        if !self.0.is_empty() {
            self.drop_first(1, tally);
            tally.chunks_evicted += 1;
        }
    }

    /// Drops every chunk whose last point lies before `cutoff`.
    pub(super) fn drop_before(&mut self, cutoff: TimestampMs, tally: &mut Tally) {
        let old = self.0.partition_point(|chunk| chunk.end() < cutoff);
        if old > 0 {
            self.drop_first(old, tally);
        }
    }

    fn drop_first(&mut self, count: usize, tally: &mut Tally) {
        for chunk in self.0.drain(..count) {
            tally.memory.remove(size_of_val(chunk.words()));
            tally.points_removed += u64::from(chunk.count());
            tally.chunks_removed += 1;
        }
        let before = self.0.capacity();
        if self.0.is_empty() || before > self.0.len() * 2 {
            self.0.shrink_to_fit();
            tally.memory.resize(before * size_of::<Chunk>(), self.0.capacity() * size_of::<Chunk>());
        }
    }
}

/// A chunk that still grows and has points.
pub(super) trait Growing {
    /// How many points there are.
    fn count(&self) -> u16;

    /// When the first point was taken.
    fn start(&self) -> TimestampMs;

    /// When the last point was taken.
    fn end(&self) -> TimestampMs;

    /// Appends the encoded points to `words`.
    fn copy_to(&self, words: &mut Vec<u64>);
}

/// Encoded points taken out of series, one after the other. `P` is what they are points of.
#[derive(Debug)]
pub(super) struct Extracted<P> {
    /// The one point that matters, if it was at hand.
    newest: Option<P>,
    chunks: Vec<EncodedChunk>,
    words: Vec<u64>,
    /// How many points within the hinted range were copied so far, nearly.
    about: usize,
}

#[derive(Debug)]
struct EncodedChunk {
    start: TimestampMs,
    count: u16,
    words_end: usize,
}

/// A chunk that does not hold what it should.
#[derive(Debug)]
pub(super) struct CorruptChunk {
    pub(super) start: TimestampMs,
}

impl<P> Default for Extracted<P> {
    fn default() -> Self {
        Self { newest: None, chunks: Vec::new(), words: Vec::new(), about: 0 }
    }
}

impl<P> Extracted<P> {
    /// Whether nothing was copied.
    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_none() && self.chunks.is_empty()
    }

    /// How many chunks there are.
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// How many points within the hinted range were copied so far, nearly.
    pub(super) fn about(&self) -> usize {
        self.about
    }

    /// How many words the chunks from this one on take.
    pub(super) fn words_from(&self, chunk: usize) -> usize {
        self.words.len() - self.words_start(chunk)
    }

    /// Forgets the chunks from this one on, and what was at hand.
    pub(super) fn truncate(&mut self, chunks: usize) {
        self.newest = None;
        self.words.truncate(self.words_start(chunks));
        self.chunks.truncate(chunks);
    }

    fn words_start(&self, chunk: usize) -> usize {
        chunk.checked_sub(1).map_or(0, |before| self.chunks[before].words_end)
    }

    /// Copies the chunks that may have points within the hinted range, or the one point that alone
    /// matters. `last` is the newest instant, at which `newest` yields the point.
    pub(super) fn copy_from(
        &mut self,
        closed: &ClosedChunks,
        open: Option<&impl Growing>,
        last: TimestampMs,
        newest: impl FnOnce() -> Option<P>,
        hints: &SelectHints,
    ) {
        if hints.newest_only && last <= hints.end {
            if last >= hints.start {
                self.newest = newest();
            }
            return;
        }
        let closed = closed.as_slice();
        let from = closed.partition_point(|chunk| chunk.end() < hints.start);
        let to = closed.partition_point(|chunk| chunk.start() <= hints.end);
        let open = open.filter(|open| open.start() <= hints.end && last >= hints.start);
        // The newest point at or before the end lies in the last chunk that starts before it.
        let from = match hints.newest_only {
            true if open.is_some() => to,
            true => to.saturating_sub(1).max(from),
            false => from,
        };
        for chunk in closed.get(from..to).unwrap_or_default() {
            self.words.extend_from_slice(chunk.words());
            self.end_chunk((chunk.start(), chunk.end()), chunk.count(), hints);
        }
        if let Some(open) = open {
            open.copy_to(&mut self.words);
            self.end_chunk((open.start(), open.end()), open.count(), hints);
        }
    }

    fn end_chunk(&mut self, (start, end): (TimestampMs, TimestampMs), count: u16, hints: &SelectHints) {
        self.chunks.push(EncodedChunk { start, count, words_end: self.words.len() });
        self.about += if start >= hints.start && end <= hints.end {
            usize::from(count)
        } else {
            // As if the points were evenly spread.
            let within = end.min(hints.end).abs_diff(start.max(hints.start)) as f64;
            (f64::from(count) * within / end.abs_diff(start).max(1) as f64).ceil() as usize
        };
    }

    /// Appends those of some chunks that lie within the hinted range to `points`.
    #[inline]
    pub(super) fn decode<'s, D: Decode<'s, P>>(
        &'s self,
        chunks: Range<usize>,
        hints: &SelectHints,
        points: &mut Vec<P>,
    ) -> Result<(), CorruptChunk>
    where
        P: Clone,
    {
        let before = points.len();
        if let Some(newest) = &self.newest {
            points.push(newest.clone());
            return Ok(());
        }
        let mut words_start = self.words_start(chunks.start);
        for chunk in &self.chunks[chunks] {
            let words = &self.words[words_start..chunk.words_end];
            words_start = chunk.words_end;
            let decoder = D::new(chunk.start, chunk.count, words);
            if !decoder.read_between(hints.start, hints.end, points) {
                return Err(CorruptChunk { start: chunk.start });
            }
        }
        if hints.newest_only && points.len() > before + 1 {
            points.drain(before..points.len() - 1);
        }
        Ok(())
    }
}

/// Walks over the points of a chunk, oldest first. It ends early when the words do not hold what the
/// count promised.
pub(super) trait Decode<'a, P>: Iterator<Item = P> {
    fn new(start: TimestampMs, count: u16, words: &'a [u64]) -> Self;

    /// When a point was taken.
    fn at(point: &P) -> TimestampMs;

    /// Whether every point was read.
    fn is_complete(&self) -> bool;

    /// Appends the points from `start` to `end`, both inclusive, to `points`. Says whether all were there
    /// that the count promised up to `end`.
    fn read_between(mut self, start: TimestampMs, end: TimestampMs, points: &mut Vec<P>) -> bool
    where
        Self: Sized,
    {
        for point in self.by_ref() {
            let at = Self::at(&point);
            if at > end {
                return true;
            }
            if at >= start {
                points.push(point);
            }
        }
        self.is_complete()
    }

    /// When the last of so many points was taken, if the words hold them all.
    fn last_instant(start: TimestampMs, count: u16, words: &'a [u64]) -> Option<TimestampMs>
    where
        Self: Sized,
    {
        let mut points = Self::new(start, count, words);
        let last = points.by_ref().last()?;
        points.is_complete().then(|| Self::at(&last))
    }
}
