//! The histograms of one series: where they lie, how they are read and dropped.

use std::sync::Arc;

use super::chunk::{HistogramDecoder, OpenHistogramChunk};
use crate::model::{CounterReset, FloatHistogram, HistogramPoint, TimestampMs};
use crate::storage::SelectHints;
use crate::tsdb::chunk::{Chunk, SAMPLES_PER_CHUNK};
use crate::tsdb::closed::{ClosedChunks, Decode, Extracted, Growing};
use crate::tsdb::memory::allocation;
use crate::tsdb::series::{AppendRules, Tally};

/// A chunk of this size in bytes is full, unless it has few histograms: their first one takes most room.
/// Source: Prometheus 3.14 `tsdb/chunkenc/chunk.go`, `TargetBytesPerHistogramChunk` and
/// `MinSamplesPerHistogramChunk`; it lets a chunk grow to twice that.
const FULL_CHUNK_SIZE: usize = 2 * 1024;
const FEWEST_PER_CHUNK: u16 = 10;

/// The histograms of one series.
#[derive(Debug, Default)]
pub(in crate::tsdb) struct HistogramData {
    open: Option<OpenHistogramChunk>,
    /// All before the open one.
    closed: ClosedChunks,
    /// The newest that was ever stored, with what was said of it when it was appended.
    last: Option<HistogramPoint>,
    /// Whether that is known to follow the one before it without a counter reset.
    last_continues: bool,
}

impl HistogramData {
    /// The newest that was ever stored.
    pub(in crate::tsdb) fn last(&self) -> Option<&HistogramPoint> {
        self.last.as_ref()
    }

    /// Adds a histogram that is newer than all before. `after_float` tells that the series has a float in
    /// between.
    pub(in crate::tsdb) fn push(
        &mut self,
        point: HistogramPoint,
        after_float: bool,
        rules: &AppendRules,
        tally: &mut Tally,
    ) {
        let before = self.size();
        let HistogramPoint { at, histogram } = &point;
        let follows =
            !after_float && self.last.as_ref().is_some_and(|last| histogram.continues(&last.histogram));
        let open =
            self.open.as_mut().filter(|open| follows && at.abs_diff(open.start()) <= rules.max_span_ms);
        self.last_continues = open.is_some_and(|open| open.push(*at, histogram));
        if !self.last_continues {
            self.cut(rules, tally);
            self.open = Some(OpenHistogramChunk::new(*at, histogram));
            tally.chunks_created += 1;
        }
        self.last = Some(point);
        let full = |open: &OpenHistogramChunk| {
            open.count() >= SAMPLES_PER_CHUNK
                || open.count() >= FEWEST_PER_CHUNK && open.encoded_size() >= FULL_CHUNK_SIZE
        };
        if self.open.as_ref().is_some_and(full) {
            self.cut(rules, tally);
        }
        tally.memory.resize(before, self.size());
        tally.appended_histograms += 1;
    }

    fn cut(&mut self, rules: &AppendRules, tally: &mut Tally) {
        if let Some(open) = self.open.take() {
            if rules.evict {
                self.closed.evict(tally);
            }
            self.closed.push(open.close(), tally);
        }
    }

    /// What lies on the heap beside the closed chunks, in bytes.
    fn size(&self) -> usize {
        let last = self.last.as_ref().map_or(0, |last| {
            let buckets = last.histogram.positive().len() + last.histogram.negative().len();
            allocation(size_of::<FloatHistogram>() + 2 * size_of::<usize>())
                + allocation(buckets * size_of::<(i32, f64)>())
                + allocation(size_of_val(&**last.histogram.custom_values()))
        });
        last + self.open.as_ref().map_or(0, OpenHistogramChunk::heap_size)
    }

    /// Takes over a chunk that was stored before. `false` if it is not newer than everything here.
    pub(in crate::tsdb) fn restore(&mut self, chunk: Chunk, tally: &mut Tally) -> bool {
        let last_end = self.closed.as_slice().last().map(Chunk::end);
        if self.open.is_some() || last_end.is_some_and(|end| end >= chunk.start()) {
            return false;
        }
        let before = self.size();
        self.last = HistogramDecoder::new(chunk.start(), chunk.count(), chunk.words()).last();
        self.last_continues = chunk.count() > 1;
        tally.memory.resize(before, self.size());
        tally.appended_histograms += u64::from(chunk.count());
        tally.chunks_created += 1;
        self.closed.push(chunk, tally);
        true
    }

    /// The first and the last instant with a histogram.
    pub(in crate::tsdb) fn bounds(&self) -> Option<(TimestampMs, TimestampMs)> {
        let closed = self.closed.as_slice().first().map(Chunk::start);
        let start = closed.or_else(|| self.open.as_ref().map(Growing::start))?;
        Some((start, self.last.as_ref()?.at))
    }

    /// The finished chunks, oldest first.
    pub(in crate::tsdb) fn closed(&self) -> &[Chunk] {
        self.closed.as_slice()
    }

    /// The chunk that still grows, as if it were finished.
    pub(in crate::tsdb) fn open(&self) -> Option<&impl Growing> {
        self.open.as_ref()
    }

    /// Whether nothing is stored.
    pub(in crate::tsdb) fn is_empty(&self) -> bool {
        self.open.is_none() && self.closed.is_empty()
    }

    /// Drops every chunk whose last histogram lies before `cutoff`.
    pub(in crate::tsdb) fn drop_before(&mut self, cutoff: TimestampMs, tally: &mut Tally) {
        self.closed.drop_before(cutoff, tally);
        if self.last.as_ref().is_none_or(|last| last.at >= cutoff) {
            return;
        }
        let before = self.size();
        if let Some(open) = self.open.take() {
            tally.points_removed += u64::from(open.count());
            tally.chunks_removed += 1;
        }
        tally.memory.resize(before, self.size());
    }

    /// Gives back what is left of an empty one.
    pub(in crate::tsdb) fn release(self, tally: &mut Tally) {
        debug_assert!(self.is_empty(), "chunks are dropped before");
        tally.memory.remove(self.size());
    }

    /// Copies the encoded histograms that may lie within the hinted range.
    pub(in crate::tsdb) fn extract(&self, hints: &SelectHints, into: &mut Extracted<HistogramPoint>) {
        let reaches = |bounds: &(TimestampMs, TimestampMs)| bounds.0 <= hints.end && bounds.1 >= hints.start;
        if let Some((_, last)) = self.bounds().filter(reaches) {
            into.copy_from(&self.closed, self.open.as_ref(), last, || self.newest(), hints);
        }
    }

    /// The newest histogram as a reader gets it.
    fn newest(&self) -> Option<HistogramPoint> {
        let HistogramPoint { at, histogram } = self.last.as_ref()?;
        let known = match histogram.counter_reset {
            CounterReset::Gauge => CounterReset::Gauge,
            _ if self.last_continues => CounterReset::NotReset,
            _ => CounterReset::Unknown,
        };
        let mut histogram = Arc::clone(histogram);
        if histogram.counter_reset != known {
            Arc::make_mut(&mut histogram).counter_reset = known;
        }
        Some(HistogramPoint { at: *at, histogram })
    }
}
