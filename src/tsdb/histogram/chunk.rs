//! Compressed runs of histograms.

use std::sync::Arc;

use super::layout::{Buckets, Common, in_buckets};
use super::number::{FloatTrack, Track, WholeTrack, are_whole};
use crate::model::{CounterReset, FloatHistogram, HistogramPoint, TimestampMs};
use crate::tsdb::bits::{BitReader, BitWriter};
use crate::tsdb::chunk::{Chunk, read_time, write_time};
use crate::tsdb::closed::{Decode, Growing};

/// How many ones begin a histogram: none if it has only buckets that are known, one if there are others,
/// two if it is a staleness marker and has no numbers at all.
const KNOWN: u32 = 0;
const NEW_BUCKETS: u32 = 1;
const STALE: u32 = 2;

/// Whether all counts of the histogram are whole numbers.
fn is_whole(histogram: &FloatHistogram) -> bool {
    let buckets = histogram.positive().iter().chain(histogram.negative()).map(|(_, count)| *count);
    are_whole([histogram.count, histogram.zero_count].into_iter().chain(buckets))
}

/// The numbers of the newest histogram, in the form of a chunk.
#[derive(Debug, Clone)]
struct State<T> {
    positive: Buckets<T>,
    negative: Buckets<T>,
    zero_count: T,
    rest: T,
    sum: FloatTrack,
}

impl<T: Track> State<T> {
    /// Writes the first histogram of a chunk.
    fn start(histogram: &FloatHistogram, bits: &mut BitWriter) -> Self {
        let (mut positive, mut negative) = (Buckets::default(), Buckets::default());
        positive.write_new(histogram.positive(), bits);
        negative.write_new(histogram.negative(), bits);
        let zero_count = T::start(histogram.zero_count, bits);
        let rest = T::start(T::rest(histogram.count, in_buckets(histogram)), bits);
        let sum = FloatTrack::start(histogram.sum, bits);
        Self { positive, negative, zero_count, rest, sum }
    }

    fn read_start(bits: &mut BitReader<'_>) -> Option<Self> {
        let (mut positive, mut negative) = (Buckets::default(), Buckets::default());
        positive.read_new(bits)?;
        negative.read_new(bits)?;
        let (zero_count, rest) = (T::read_start(bits)?, T::read_start(bits)?);
        Some(Self { positive, negative, zero_count, rest, sum: FloatTrack::read_start(bits)? })
    }

    /// Writes a further histogram, which is no staleness marker.
    fn push(&mut self, histogram: &FloatHistogram, bits: &mut BitWriter) {
        let (positive, negative) = (histogram.positive(), histogram.negative());
        if self.positive.have_all_of(positive) && self.negative.have_all_of(negative) {
            bits.write(0b0, 1);
        } else {
            bits.write(0b10, 2);
            self.positive.write_new(positive, bits);
            self.negative.write_new(negative, bits);
        }
        self.positive.write(positive, bits);
        self.negative.write(negative, bits);
        self.zero_count.write(histogram.zero_count, bits);
        self.rest.write(T::rest(histogram.count, in_buckets(histogram)), bits);
        self.sum.write(histogram.sum, bits);
    }

    /// Reads a further histogram; `false` if it is a staleness marker.
    fn read(&mut self, bits: &mut BitReader<'_>) -> Option<bool> {
        match bits.read_ones(STALE)? {
            KNOWN => {}
            NEW_BUCKETS => {
                self.positive.read_new(bits)?;
                self.negative.read_new(bits)?;
            }
            _ => return Some(false),
        }
        self.positive.read(bits)?;
        self.negative.read(bits)?;
        self.zero_count.read(bits)?;
        self.rest.read(bits)?;
        self.sum.read(bits)?;
        Some(true)
    }

    fn histogram(&self, common: &Common) -> FloatHistogram {
        let mut histogram = FloatHistogram::empty(common.schema, Arc::clone(&common.custom_values))
            .with_buckets(self.positive.counts(), self.negative.counts());
        histogram.zero_threshold = common.zero_threshold;
        histogram.zero_count = self.zero_count.number();
        histogram.sum = self.sum.number();
        histogram.count = T::count(self.rest.number(), in_buckets(&histogram));
        histogram
    }

    fn heap_size(&self) -> usize {
        self.positive.heap_size() + self.negative.heap_size()
    }
}

/// The state of a chunk of either kind.
#[derive(Debug, Clone)]
enum AnyState {
    Whole(State<WholeTrack>),
    Float(State<FloatTrack>),
}

/// The chunk of a series that still grows.
#[derive(Debug)]
pub(super) struct OpenHistogramChunk {
    bits: BitWriter,
    start: TimestampMs,
    last_at: TimestampMs,
    last_interval: i64,
    count: u16,
    state: AnyState,
}

impl OpenHistogramChunk {
    /// A chunk with its first histogram.
    pub(super) fn new(at: TimestampMs, histogram: &FloatHistogram) -> Self {
        let mut bits = BitWriter::default();
        let common = Common {
            gauge: histogram.counter_reset == CounterReset::Gauge,
            whole: is_whole(histogram),
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            custom_values: Arc::clone(histogram.custom_values()),
        };
        common.write(&mut bits);
        let state = if common.whole {
            AnyState::Whole(State::start(histogram, &mut bits))
        } else {
            AnyState::Float(State::start(histogram, &mut bits))
        };
        Self { bits, start: at, last_at: at, last_interval: 0, count: 1, state }
    }

    /// Adds a histogram that continues the last one; `false` if it has to begin a chunk of its own.
    pub(super) fn push(&mut self, at: TimestampMs, histogram: &FloatHistogram) -> bool {
        let stale = histogram.is_stale();
        if matches!(self.state, AnyState::Whole(_)) && !stale && !is_whole(histogram) {
            return false;
        }
        let interval = at.wrapping_sub(self.last_at);
        write_time(&mut self.bits, interval.wrapping_sub(self.last_interval));
        match &mut self.state {
            _ if stale => self.bits.write(0b11, 2),
            AnyState::Whole(state) => state.push(histogram, &mut self.bits),
            AnyState::Float(state) => state.push(histogram, &mut self.bits),
        }
        self.last_interval = interval;
        self.last_at = at;
        self.count += 1;
        true
    }

    /// The size of the encoded histograms in bytes.
    pub(super) fn encoded_size(&self) -> usize {
        self.bits.size()
    }

    /// Ends the chunk.
    pub(super) fn close(mut self) -> Chunk {
        Chunk::new(self.start, self.last_at, self.count, self.bits.take())
    }

    /// The size of the heap blocks in bytes.
    pub(super) fn heap_size(&self) -> usize {
        let state = match &self.state {
            AnyState::Whole(state) => state.heap_size(),
            AnyState::Float(state) => state.heap_size(),
        };
        self.bits.heap_size() + state
    }
}

impl Growing for OpenHistogramChunk {
    fn count(&self) -> u16 {
        self.count
    }

    fn start(&self) -> TimestampMs {
        self.start
    }

    fn end(&self) -> TimestampMs {
        self.last_at
    }

    fn copy_to(&self, words: &mut Vec<u64>) {
        self.bits.copy_to(words);
    }
}

/// Walks over the histograms of a chunk.
#[derive(Debug)]
pub(in crate::tsdb) struct HistogramDecoder<'a> {
    bits: BitReader<'a>,
    remaining: u16,
    at: TimestampMs,
    interval: i64,
    /// Nothing before the first histogram.
    state: Option<(Common, AnyState)>,
}

impl HistogramDecoder<'_> {
    fn read(&mut self) -> Option<HistogramPoint> {
        let Some((common, state)) = &mut self.state else { return self.read_first() };
        self.interval = self.interval.wrapping_add(read_time(&mut self.bits)?);
        self.at = self.at.wrapping_add(self.interval);
        let numbers = match state {
            AnyState::Whole(state) => state.read(&mut self.bits)?.then(|| state.histogram(common)),
            AnyState::Float(state) => state.read(&mut self.bits)?.then(|| state.histogram(common)),
        };
        let known = if common.gauge { CounterReset::Gauge } else { CounterReset::NotReset };
        let histogram = numbers.unwrap_or_else(FloatHistogram::stale).with_counter_reset(known);
        Some(HistogramPoint { at: self.at, histogram: Arc::new(histogram) })
    }

    fn read_first(&mut self) -> Option<HistogramPoint> {
        let common = Common::read(&mut self.bits)?;
        let state = if common.whole {
            AnyState::Whole(State::read_start(&mut self.bits)?)
        } else {
            AnyState::Float(State::read_start(&mut self.bits)?)
        };
        let histogram = match &state {
            AnyState::Whole(state) => state.histogram(&common),
            AnyState::Float(state) => state.histogram(&common),
        };
        // Whether a counter was reset before the chunk is for the reader to find out: what came before may
        // be gone.
        let known = if common.gauge { CounterReset::Gauge } else { CounterReset::Unknown };
        self.state = Some((common, state));
        Some(HistogramPoint { at: self.at, histogram: Arc::new(histogram.with_counter_reset(known)) })
    }
}

impl Iterator for HistogramDecoder<'_> {
    type Item = HistogramPoint;

    fn next(&mut self) -> Option<HistogramPoint> {
        if self.remaining == 0 {
            return None;
        }
        let point = self.read()?;
        self.remaining -= 1;
        Some(point)
    }
}

impl<'a> Decode<'a, HistogramPoint> for HistogramDecoder<'a> {
    fn new(start: TimestampMs, count: u16, words: &'a [u64]) -> Self {
        Self { bits: BitReader::new(words), remaining: count, at: start, interval: 0, state: None }
    }

    fn at(point: &HistogramPoint) -> TimestampMs {
        point.at
    }

    fn is_complete(&self) -> bool {
        self.remaining == 0
    }
}
