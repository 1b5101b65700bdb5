//! Compressed runs of points: timestamps as differences of differences, values as differences of
//! bits or, where that takes less room, as decimal numbers ([`super::scaled`]).
//!
//! The idea is that of Gorilla (Pelkonen et al., VLDB 2015): a series that is read at a steady
//! interval needs one bit per timestamp, and one that does not change one bit per value. The code
//! words are this store's own. A value is only ever treated as 64 bits, so that every NaN, the
//! staleness marker among them, comes back as it went in.

use crate::model::{Point, TimestampMs};

use super::bits::{BitReader, BitWriter};
use super::closed::{Decode, Growing};
use super::scaled::{self, ScaledReader, ScaledWriter};
use super::window::Window;

/// How many points a full chunk has. Source: Prometheus 3.14 tsdb/head.go, `DefaultSamplesPerChunk`.
pub(super) const SAMPLES_PER_CHUNK: u16 = 120;

/// The first bit of a chunk tells how its values are written.
const DIFFERENCES: u64 = 0;
const DECIMALS: u64 = 1;

/// A chunk of so many words is not worth trying to write it in another way.
const SMALL_ENOUGH: usize = 5;

/// How many bits follow the prefixes `10`, `110` and `1110` of a timestamp; `0` stands for no change
/// and `1111` is followed by all 64. The first width takes the jitter of a scrape.
const TIME_WIDTHS: [u32; 3] = [7, 14, 26];

/// A finished chunk, in as little memory as it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    start: TimestampMs,
    span_ms: u32,
    count: u16,
    words: Box<[u64]>,
}

impl Chunk {
    /// A chunk of points that end at `end`, encoded in `words`.
    pub(super) fn new(start: TimestampMs, end: TimestampMs, count: u16, words: Box<[u64]>) -> Self {
        let span_ms =
            u32::try_from(end.abs_diff(start)).expect("a chunk is cut long before it spans 49 days");
        Self { start, span_ms, count, words }
    }

    /// Puts a chunk together again from what [`Self::words`] and the other accessors gave out.
    /// Nothing if the parts cannot belong to one chunk: `last` is the instant with which the words end.
    pub(super) fn from_parts(
        start: TimestampMs,
        span_ms: u32,
        count: u16,
        words: Box<[u64]>,
        last: TimestampMs,
    ) -> Option<Self> {
        let end = start.checked_add(i64::from(span_ms))?;
        (last == end).then_some(Self { start, span_ms, count, words })
    }

    /// When the first point was taken.
    pub(super) fn start(&self) -> TimestampMs {
        self.start
    }

    /// From the first point to the last, in milliseconds.
    pub(super) fn span_ms(&self) -> u32 {
        self.span_ms
    }

    /// When the last point was taken.
    pub(super) fn end(&self) -> TimestampMs {
        self.start + i64::from(self.span_ms)
    }

    /// How many points there are, at least one.
    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// The encoded points.
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }
}

/// The chunk of a series that still grows.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenChunk {
    bits: BitWriter,
    start: TimestampMs,
    last_at: TimestampMs,
    last_interval: i64,
    last_bits: u64,
    window: Window,
    count: u16,
    /// Whether there has ever been a point, here or in a chunk that was closed since.
    started: bool,
}

impl OpenChunk {
    /// The newest point that was ever written, also into chunks that were closed since.
    #[inline]
    pub(super) fn last(&self) -> Option<Point> {
        self.started.then_some(Point { at: self.last_at, value: f64::from_bits(self.last_bits) })
    }

    /// Makes `point` the newest one without writing it: it lies in a chunk that was closed before.
    pub(super) fn continue_after(&mut self, point: Point) {
        debug_assert!(self.count == 0, "the chunk has no points of its own");
        self.last_at = point.at;
        self.last_bits = point.value.to_bits();
        self.started = true;
    }

    /// The size of the heap block in bytes.
    pub(super) fn heap_size(&self) -> usize {
        self.bits.heap_size()
    }

    /// Adds a point, which must be newer than the last one.
    #[inline]
    pub(super) fn push(&mut self, at: TimestampMs, bits: u64) {
        if self.count == 0 {
            self.start = at;
            self.last_interval = 0;
            self.window = Window::default();
            self.started = true;
            self.bits.write(DIFFERENCES, 1);
            self.bits.write(bits, 64);
        } else {
            let interval = at.wrapping_sub(self.last_at);
            write_time(&mut self.bits, interval.wrapping_sub(self.last_interval));
            self.last_interval = interval;
            self.window.write(bits ^ self.last_bits, &mut self.bits);
        }
        self.last_at = at;
        self.last_bits = bits;
        self.count += 1;
    }

    /// Ends the chunk and starts an empty one; [`Self::last`] stays. Nothing if there is no point.
    pub(super) fn close(&mut self) -> Option<Chunk> {
        if self.count == 0 {
            return None;
        }
        let words = self.take_words();
        let chunk = Chunk::new(self.start, self.last_at, self.count, words);
        self.count = 0;
        Some(chunk)
    }

    /// Forgets the points and starts anew; [`Self::last`] stays.
    pub(super) fn discard(&mut self) {
        self.bits = BitWriter::default();
        self.count = 0;
    }

    /// Takes the encoded points in the form that is smaller.
    fn take_words(&mut self) -> Box<[u64]> {
        let words = self.bits.take();
        if words.len() <= SMALL_ENOUGH {
            return words;
        }
        let mut points = [Point { at: 0, value: 0.0 }; SAMPLES_PER_CHUNK as usize];
        let points = &mut points[..usize::from(self.count)];
        for (place, point) in points.iter_mut().zip(Decoder::new(self.start, self.count, &words)) {
            *place = point;
        }
        match scale(points, words.len()) {
            Some(scaled) if scaled.len() < words.len() => scaled,
            _ => words,
        }
    }
}

impl Growing for OpenChunk {
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

/// The points with their values as decimal numbers, if they are such; about `words` words.
fn scale(points: &[Point], words: usize) -> Option<Box<[u64]>> {
    let (numbers, scale) = scaled::plan(points)?;
    let mut bits = BitWriter::with_capacity(words);
    bits.write(DECIMALS, 1);
    let mut values = ScaledWriter::start(scale, *numbers.first()?, &mut bits);
    let mut last_interval = 0;
    for (pair, number) in points.windows(2).zip(&numbers[1..]) {
        let interval = pair[1].at.wrapping_sub(pair[0].at);
        write_time(&mut bits, interval.wrapping_sub(last_interval));
        last_interval = interval;
        values.write(*number, &mut bits);
    }
    Some(bits.take())
}

/// Writes by how much the distance to the point before changed.
#[inline]
pub(super) fn write_time(bits: &mut BitWriter, change: i64) {
    if change == 0 {
        bits.write(0, 1);
        return;
    }
    for (ones, width) in (1_u32..).zip(TIME_WIDTHS) {
        let half = 1_i64 << (width - 1);
        if (-half..half).contains(&change) {
            let prefix = (1_u64 << (ones + 1)) - 2;
            bits.write(prefix << width | (change + half) as u64, ones + 1 + width);
            return;
        }
    }
    bits.write(0b1111, 4);
    bits.write(change as u64, 64);
}

/// Reads what [`write_time`] wrote.
#[inline]
pub(super) fn read_time(bits: &mut BitReader<'_>) -> Option<i64> {
    Some(match bits.read_ones(4)? {
        0 => 0,
        4 => bits.read(64)? as i64,
        ones => {
            let width = TIME_WIDTHS[ones as usize - 1];
            bits.read(width)? as i64 - (1_i64 << (width - 1))
        }
    })
}

/// Walks over the points of a chunk, oldest first. It ends early when the words do not hold what
/// `count` promised: see [`Self::is_complete`].
#[derive(Debug, Clone)]
pub(super) struct Decoder<'a> {
    bits: BitReader<'a>,
    remaining: u16,
    at: TimestampMs,
    interval: i64,
    /// Nothing before the first point.
    values: Option<Values>,
}

/// How the values are read.
#[derive(Debug, Clone)]
enum Values {
    Differences(DifferenceReader),
    Decimals(ScaledReader),
}

impl<'a> Decode<'a, Point> for Decoder<'a> {
    fn new(start: TimestampMs, count: u16, words: &'a [u64]) -> Self {
        Self { bits: BitReader::new(words), remaining: count, at: start, interval: 0, values: None }
    }

    #[inline]
    fn at(point: &Point) -> TimestampMs {
        point.at
    }

    fn is_complete(&self) -> bool {
        self.remaining == 0
    }

    /// Appends the points from `start` to `end`, both inclusive, to `points`. Says whether that is all
    /// that was promised up to `end`.
    fn read_between(mut self, start: TimestampMs, end: TimestampMs, points: &mut Vec<Point>) -> bool {
        if let Some(first) = self.next() {
            if first.at > end {
                return true;
            }
            if first.at >= start {
                points.push(first);
            }
        }
        // One loop for each way of writing values, so that what it changes stays in registers.
        match self.values.take() {
            None => self.is_complete(),
            Some(Values::Differences(values)) => self.read_rest(values, start, end, points),
            Some(Values::Decimals(values)) => self.read_rest(values, start, end, points),
        }
    }
}

impl Decoder<'_> {
    fn read_rest(
        mut self,
        mut values: impl ReadValue,
        start: TimestampMs,
        end: TimestampMs,
        points: &mut Vec<Point>,
    ) -> bool {
        while self.remaining > 0 {
            let Some(point) = self.read_point(&mut values) else { return false };
            if point.at > end {
                return true;
            }
            if point.at >= start {
                points.push(point);
            }
            self.remaining -= 1;
        }
        true
    }

    #[inline]
    fn read_point(&mut self, values: &mut impl ReadValue) -> Option<Point> {
        let ahead = self.bits.peek();
        let steady = ahead >> 63 == 0;
        let short = if steady { values.read_short(ahead << 1) } else { None };
        let value = if let Some((value, bits)) = short {
            self.bits.skip(1 + bits)?;
            value
        } else {
            self.interval = self.interval.wrapping_add(read_time(&mut self.bits)?);
            values.read(&mut self.bits)?
        };
        self.at = self.at.wrapping_add(self.interval);
        Some(Point { at: self.at, value })
    }

    fn read_first(&mut self) -> Option<Point> {
        let (values, value) = if self.bits.read(1)? == DIFFERENCES {
            let bits = self.bits.read(64)?;
            let reader = DifferenceReader { last: bits, window: Window::default() };
            (Values::Differences(reader), f64::from_bits(bits))
        } else {
            let (reader, value) = ScaledReader::start(&mut self.bits)?;
            (Values::Decimals(reader), value)
        };
        self.values = Some(values);
        Some(Point { at: self.at, value })
    }
}

impl Iterator for Decoder<'_> {
    type Item = Point;

    #[inline]
    fn next(&mut self) -> Option<Point> {
        if self.remaining == 0 {
            return None;
        }
        let point = match self.values.take() {
            None => self.read_first()?,
            Some(Values::Differences(mut values)) => {
                let point = self.read_point(&mut values)?;
                self.values = Some(Values::Differences(values));
                point
            }
            Some(Values::Decimals(mut values)) => {
                let point = self.read_point(&mut values)?;
                self.values = Some(Values::Decimals(values));
                point
            }
        };
        self.remaining -= 1;
        Some(point)
    }
}

/// Reads the values of a chunk but for the first one.
pub(super) trait ReadValue {
    /// Reads a value.
    fn read(&mut self, bits: &mut BitReader<'_>) -> Option<f64>;

    /// Reads a value that takes no more than the 63 upper bits of `ahead`, and tells how many of them; else
    /// nothing, and nothing has changed.
    fn read_short(&mut self, ahead: u64) -> Option<(f64, u32)>;
}

/// Reads what [`OpenChunk`] wrote.
#[derive(Debug, Clone)]
struct DifferenceReader {
    last: u64,
    window: Window,
}

impl ReadValue for DifferenceReader {
    #[inline]
    fn read(&mut self, bits: &mut BitReader<'_>) -> Option<f64> {
        self.last ^= self.window.read(bits)?;
        Some(f64::from_bits(self.last))
    }

    #[inline]
    fn read_short(&mut self, ahead: u64) -> Option<(f64, u32)> {
        let (difference, bits) = self.window.read_short(ahead)?;
        self.last ^= difference;
        Some((f64::from_bits(self.last), bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NORMAL_NAN_BITS, STALE_NAN_BITS};
    use proptest::prelude::*;

    fn round_trip(points: &[(TimestampMs, u64)]) -> Chunk {
        let mut open = OpenChunk::default();
        for (at, bits) in points {
            open.push(*at, *bits);
        }
        let mut words = Vec::new();
        open.copy_to(&mut words);
        let decode = |words: &[u64]| -> Vec<(TimestampMs, u64)> {
            Decoder::new(points[0].0, points.len() as u16, words)
                .map(|point| (point.at, point.value.to_bits()))
                .collect()
        };
        assert_eq!(decode(&words), points, "while open");
        let chunk = open.close().expect("there are points");
        assert_eq!(decode(chunk.words()), points, "when closed");
        assert_eq!((chunk.start(), chunk.end()), (points[0].0, points[points.len() - 1].0));
        chunk
    }

    #[test]
    fn special_values_keep_their_bits() {
        let special = [
            STALE_NAN_BITS,
            NORMAL_NAN_BITS,
            0xfff8_0000_0000_0000,
            0x7ff0_0000_0000_0001,
            f64::INFINITY.to_bits(),
            f64::NEG_INFINITY.to_bits(),
            (-0.0_f64).to_bits(),
            0,
            f64::MIN_POSITIVE.to_bits(),
            1,
            u64::MAX,
            1.5_f64.to_bits(),
        ];
        let points: Vec<_> = (0_i64..).map(|i| i * 15_000).zip(special).collect();
        round_trip(&points);
    }

    #[test]
    fn a_steady_series_takes_two_bits_per_point() {
        let points: Vec<_> = (0..120).map(|i| (1_000 + i * 15_000, 42.0_f64.to_bits())).collect();
        // A bit for the form, 64 of the first value, 31 of the first interval, then 118 times 2.
        assert_eq!(round_trip(&points).words().len(), (1 + 64 + 31 + 118 * 2_usize).div_ceil(64));
    }

    #[test]
    fn decimal_values_take_few_bits() {
        let check = |value: fn(i64) -> f64, most_words: usize| {
            let points: Vec<_> = (0..120).map(|i| (i * 15_000, value(i).to_bits())).collect();
            let words = round_trip(&points).words().len();
            assert!(words <= most_words, "{words} words");
        };
        check(|i| (200 + i * i % 17) as f64 / 10.0, 20);
        check(|i| (1_000_000 + i * 1_500 + i * 7 % 11) as f64, 17);
        check(|i| (123_456 + i * 25) as f64 / 100.0, 7);
        // No decimal number: the differences of bits it is.
        check(|i| (i as f64).sqrt(), 120);
    }

    #[test]
    fn a_truncated_chunk_is_incomplete_and_not_accepted() {
        let points: Vec<_> = (0..120).map(|i| (i * 15_000 + i % 3, (i as f64 * 1.1).to_bits())).collect();
        let chunk = round_trip(&points);
        let rebuilt = |words: &[u64], span| {
            let last = Decoder::last_instant(chunk.start(), chunk.count(), words)?;
            Chunk::from_parts(chunk.start(), span, chunk.count(), words.into(), last)
        };
        assert_eq!(rebuilt(chunk.words(), chunk.span_ms()), Some(chunk.clone()));
        assert_eq!(rebuilt(&chunk.words()[..chunk.words().len() - 1], chunk.span_ms()), None);
        assert_eq!(rebuilt(chunk.words(), chunk.span_ms() + 1), None);
    }

    proptest! {
        #[test]
        fn any_points_come_back_bit_for_bit(
            start in -1_000_000_000_000_i64..4_000_000_000_000,
            steps in prop::collection::vec(
                (prop_oneof![Just(15_000_u64), 14_900..15_100_u64, 1..30_000_000_u64], prop_oneof![
                    any::<u64>(),
                    (0..1_000_u32).prop_map(|n| f64::from(n).to_bits()),
                    Just(STALE_NAN_BITS),
                ]),
                1..120,
            ),
            decimals in prop::option::of((prop::sample::select(vec![1.0, 10.0, 100.0, 1e3, 1e7]), 0..54_u32)),
        ) {
            let mut at = start;
            let points: Vec<_> = steps.into_iter().map(|(step, bits)| {
                at += step as i64;
                // Else values of all kinds in one chunk would hardly ever be decimals.
                let decimal = |(units, width): (f64, u32)| ((bits >> (64 - 1 - width)) as i64 as f64 / units).to_bits();
                (at, decimals.map_or(bits, decimal))
            }).collect();
            round_trip(&points);
        }

        #[test]
        fn decoding_anything_ends_without_panic(
            words in prop::collection::vec(any::<u64>(), 0..40),
            count in any::<u16>(),
            start in any::<i64>(),
        ) {
            prop_assert!(Decoder::new(start, count, &words).count() <= usize::from(count));
        }
    }
}
