//! What the log holds: batches of samples, each with the labels of the series that its file did not
//! name before.
//!
//! Every file names the series it speaks of, so that damage in one file costs nothing of another.

use crate::model::{FloatHistogram, Labels, TimestampMs};
use crate::storage::SeriesRef;

use super::codec::{Input, LabelsReader, LabelsWriter, put_signed, put_varint};
use super::histogram_record::{put_histogram, read_histogram};
use super::postings::{PairId, Postings};

/// The number of a log file.
pub(super) type Segment = u32;

/// The low bits of a sample's first byte say how many bytes of the value follow, 8 at most.
const VALUE_BYTES: u8 = 0x0f;
/// In their place: a native histogram follows.
const HISTOGRAM: u8 = 0x0f;
/// The sample has the timestamp of the one before.
const SAME_TIME: u8 = 0x10;
/// The sample is of the series after the one before.
const NEXT_SERIES: u8 = 0x20;

/// Collects the samples of one batch.
#[derive(Debug)]
pub(super) struct BatchWriter {
    /// The file this batch will be written to.
    pub(super) segment: Segment,
    samples: Vec<u8>,
    count: u64,
    undeclared: Vec<SeriesRef>,
    last_series: u64,
    last_at: TimestampMs,
}

impl BatchWriter {
    pub(super) fn new(segment: Segment) -> Self {
        Self { segment, samples: Vec::new(), count: 0, undeclared: Vec::new(), last_series: 0, last_at: 0 }
    }

    /// How many samples there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The bytes of the samples, without what is declared.
    pub(super) fn size(&self) -> usize {
        self.samples.len() + 1
    }

    /// Has the labels of `series` written too.
    pub(super) fn declare(&mut self, series: SeriesRef) {
        self.undeclared.push(series);
    }

    /// Adds a sample. Trailing zero bytes of a value, which whole numbers have, are left out.
    #[inline]
    pub(super) fn push(&mut self, series: SeriesRef, at: TimestampMs, bits: u64) {
        let value_bytes = 8 - (bits.trailing_zeros() / 8) as usize;
        self.push_head(series, at, value_bytes as u8);
        self.samples.extend_from_slice(&bits.to_be_bytes()[..value_bytes]);
    }

    /// Adds a native histogram.
    pub(super) fn push_histogram(&mut self, series: SeriesRef, at: TimestampMs, histogram: &FloatHistogram) {
        self.push_head(series, at, HISTOGRAM);
        put_histogram(&mut self.samples, histogram);
    }

    #[inline]
    fn push_head(&mut self, series: SeriesRef, at: TimestampMs, kind: u8) {
        let next = series.0 == self.last_series.wrapping_add(1);
        let same = at == self.last_at;
        let flags = if next { NEXT_SERIES } else { 0 } | if same { SAME_TIME } else { 0 };
        self.samples.push(flags | kind);
        if !next {
            put_signed(&mut self.samples, series.0.wrapping_sub(self.last_series) as i64);
        }
        if !same {
            put_signed(&mut self.samples, at.wrapping_sub(self.last_at));
        }
        self.last_series = series.0;
        self.last_at = at;
        self.count += 1;
    }

    /// Whether labels must be written.
    pub(super) fn declares(&self) -> bool {
        !self.undeclared.is_empty()
    }

    /// Writes the labels to be declared: `pairs` knows those of a series, unless it was dropped
    /// meanwhile.
    pub(super) fn declarations<'p>(
        &self,
        postings: &Postings,
        pairs: impl Fn(SeriesRef) -> Option<&'p [PairId]>,
    ) -> Vec<u8> {
        let known: Vec<_> =
            self.undeclared.iter().filter_map(|series| Some((*series, pairs(*series)?))).collect();
        let (mut out, mut labels, mut last) = (Vec::new(), LabelsWriter::default(), 0);
        put_varint(&mut out, known.len() as u64);
        for (series, pairs) in known {
            put_signed(&mut out, series.0.wrapping_sub(last) as i64);
            last = series.0;
            labels.write(&mut out, pairs, postings);
        }
        out
    }

    /// Writes the batch after its declarations.
    pub(super) fn write(&self, declarations: &[u8], out: &mut Vec<u8>) {
        if declarations.is_empty() {
            put_varint(out, 0);
        } else {
            out.extend_from_slice(declarations);
        }
        out.extend_from_slice(&self.samples);
    }
}

/// One thing that a batch says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry {
    /// `series` stands for these labels in the rest of the file.
    Series { series: SeriesRef, labels: Labels },
    /// A sample.
    Sample { series: SeriesRef, at: TimestampMs, bits: u64 },
    /// A native histogram.
    Histogram { series: SeriesRef, at: TimestampMs, histogram: FloatHistogram },
}

/// A batch that passed its checksum and still makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads a batch and hands out what it says in order.
pub(super) fn read_batch(payload: &[u8], mut take: impl FnMut(Entry)) -> Result<(), Malformed> {
    let mut input = Input::new(payload);
    let (mut labels, mut series) = (LabelsReader::default(), 0_u64);
    for _ in 0..input.varint().ok_or(Malformed)? {
        series = series.wrapping_add(input.signed().ok_or(Malformed)? as u64);
        let labels = labels.read(&mut input).ok_or(Malformed)?;
        take(Entry::Series { series: SeriesRef(series), labels });
    }
    let (mut series, mut at) = (0_u64, 0_i64);
    while !input.is_at_end() {
        let sample = read_sample(&mut input, &mut series, &mut at).ok_or(Malformed)?;
        take(sample);
    }
    Ok(())
}

fn read_sample(input: &mut Input<'_>, series: &mut u64, at: &mut TimestampMs) -> Option<Entry> {
    let first = input.byte()?;
    let step = if first & NEXT_SERIES != 0 { 1 } else { input.signed()? };
    *series = series.wrapping_add(step as u64);
    if first & SAME_TIME == 0 {
        *at = at.wrapping_add(input.signed()?);
    }
    if first & VALUE_BYTES == HISTOGRAM {
        let histogram = read_histogram(input)?;
        return Some(Entry::Histogram { series: SeriesRef(*series), at: *at, histogram });
    }
    let value = input.bytes(usize::from(first & VALUE_BYTES))?;
    let mut bits = [0; 8];
    bits.get_mut(..value.len())?.copy_from_slice(value);
    Some(Entry::Sample { series: SeriesRef(*series), at: *at, bits: u64::from_be_bytes(bits) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsdb::memory::Balance;
    use proptest::prelude::*;

    fn read(payload: &[u8]) -> Result<Vec<Entry>, Malformed> {
        let mut entries = Vec::new();
        read_batch(payload, |entry| entries.push(entry)).map(|()| entries)
    }

    #[test]
    fn declared_labels_come_before_the_samples() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let mut postings = Postings::default();
        let pairs = postings.intern(&labels, &mut Balance::default());
        let mut batch = BatchWriter::new(1);
        batch.push(SeriesRef(9), 1_000, 1.0_f64.to_bits());
        batch.declare(SeriesRef(9));
        batch.declare(SeriesRef(10));
        let declarations =
            batch.declarations(&postings, |series| (series == SeriesRef(9)).then_some(&pairs[..]));
        let mut out = Vec::new();
        batch.write(&declarations, &mut out);
        let expected = [
            Entry::Series { series: SeriesRef(9), labels },
            Entry::Sample { series: SeriesRef(9), at: 1_000, bits: 1.0_f64.to_bits() },
        ];
        assert_eq!(read(&out), Ok(expected.to_vec()));
    }

    proptest! {
        #[test]
        fn samples_read_back_as_written(
            samples in prop::collection::vec((any::<u64>(), any::<i64>(), any::<u64>(), 0..=8_u32), 0..50),
        ) {
            let mut batch = BatchWriter::new(1);
            let mut expected = Vec::new();
            for (series, at, bits, zeros) in samples {
                let bits = if zeros == 8 { 0 } else { bits << (zeros * 8) };
                for series in [SeriesRef(series), SeriesRef(series.wrapping_add(1))] {
                    batch.push(series, at, bits);
                    expected.push(Entry::Sample { series, at, bits });
                }
            }
            let mut out = Vec::new();
            batch.write(&[], &mut out);
            prop_assert_eq!(read(&out), Ok(expected));
        }

        #[test]
        fn histograms_read_back_as_written(
            positive in prop::collection::btree_map(any::<i32>(), any::<f64>(), 0..9),
            negative in prop::collection::btree_map(-9..9_i32, (0..99_u32).prop_map(f64::from), 0..9),
            numbers in (any::<f64>(), any::<f64>(), any::<f64>(), 0..4_usize),
            bounds in prop::option::of(prop::collection::vec(-9.0..9.0_f64, 0..5)),
            at in any::<i64>(),
        ) {
            use crate::model::{CUSTOM_BUCKETS_SCHEMA, CounterReset};
            let resets = [CounterReset::Unknown, CounterReset::Reset, CounterReset::NotReset, CounterReset::Gauge];
            let schema = if bounds.is_some() { CUSTOM_BUCKETS_SCHEMA } else { -4 };
            let with = |positive: Vec<_>| {
                let mut histogram = FloatHistogram::empty(schema, bounds.clone().unwrap_or_default().into())
                    .with_buckets(positive, negative.clone())
                    .with_counter_reset(resets[numbers.3]);
                (histogram.count, histogram.sum, histogram.zero_threshold) = (numbers.0, numbers.1, 0.125);
                histogram
            };
            let mut whole = with(Vec::new());
            whole.count = numbers.0.trunc();
            whole.zero_count = 3.0;
            let stale = FloatHistogram::stale().with_counter_reset(resets[numbers.3]);
            let mut batch = BatchWriter::new(1);
            let all = [with(positive.into_iter().collect()), whole, stale];
            batch.push(SeriesRef(7), at, 1.5_f64.to_bits());
            for histogram in &all {
                batch.push_histogram(SeriesRef(7), at, histogram);
            }
            let mut out = Vec::new();
            batch.write(&[], &mut out);
            let entries = read(&out).expect("a sound batch");
            prop_assert_eq!(entries.len(), 4);
            for (entry, expected) in entries[1..].iter().zip(all) {
                let Entry::Histogram { histogram, .. } = entry else { panic!("{entry:?}") };
                prop_assert_eq!(histogram.counter_reset, expected.counter_reset);
                prop_assert_eq!(entry, &Entry::Histogram { series: SeriesRef(7), at, histogram: expected });
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&bytes); // only that it returns
        }
    }
}
