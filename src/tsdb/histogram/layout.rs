//! What the histograms of a chunk have in common, and how it is written once.

use std::sync::Arc;

use super::number::{Track, read_small, write_small};
use crate::model::FloatHistogram;
use crate::tsdb::bits::{BitReader, BitWriter};
use crate::tsdb::scaled::whole;

/// Bounds of custom buckets are mostly whole numbers of thousandths.
const BOUNDS_PER_ONE: f64 = 1_000.0;

/// What does not change within a chunk.
#[derive(Debug, Clone, Default)]
pub(super) struct Common {
    /// Whether the histograms are no counters.
    pub(super) gauge: bool,
    /// Whether all counts are whole numbers.
    pub(super) whole: bool,
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) custom_values: Arc<[f64]>,
}

impl Common {
    pub(super) fn write(&self, bits: &mut BitWriter) {
        bits.write(u64::from(self.gauge), 1);
        bits.write(u64::from(self.whole), 1);
        write_small(bits, i64::from(self.schema));
        write_threshold(bits, self.zero_threshold);
        write_small(bits, self.custom_values.len() as i64);
        let mut last = 0;
        for bound in &*self.custom_values {
            if let Some(thousandths) = whole(*bound, BOUNDS_PER_ONE) {
                bits.write(0, 1);
                write_small(bits, thousandths - last);
                last = thousandths;
            } else {
                bits.write(1, 1);
                bits.write(bound.to_bits(), 64);
            }
        }
    }

    pub(super) fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        let gauge = bits.read(1)? == 1;
        let whole = bits.read(1)? == 1;
        let schema = i32::try_from(read_small(bits)?).ok()?;
        let zero_threshold = read_threshold(bits)?;
        let bounds = read_length(bits)?;
        let mut custom_values = Vec::with_capacity(bounds);
        let mut last = 0_i64;
        for _ in 0..bounds {
            custom_values.push(if bits.read(1)? == 0 {
                last = last.wrapping_add(read_small(bits)?);
                last as f64 / BOUNDS_PER_ONE
            } else {
                f64::from_bits(bits.read(64)?)
            });
        }
        Some(Self { gauge, whole, schema, zero_threshold, custom_values: custom_values.into() })
    }
}

/// Thresholds are mostly powers of two, of which the exponent says it all.
fn write_threshold(bits: &mut BitWriter, threshold: f64) {
    let exponent = threshold.log2().round();
    if threshold.to_bits() == 0 {
        bits.write(0b0, 1);
    } else if (-128.0..128.0).contains(&exponent) && exponent.exp2().to_bits() == threshold.to_bits() {
        bits.write(0b10, 2);
        bits.write((exponent + 128.0) as u64, 8);
    } else {
        bits.write(0b11, 2);
        bits.write(threshold.to_bits(), 64);
    }
}

fn read_threshold(bits: &mut BitReader<'_>) -> Option<f64> {
    Some(match bits.read_ones(2)? {
        0 => 0.0,
        1 => (bits.read(8)? as f64 - 128.0).exp2(),
        _ => f64::from_bits(bits.read(64)?),
    })
}

/// A number of things of which each takes at least one bit.
fn read_length(bits: &mut BitReader<'_>) -> Option<usize> {
    usize::try_from(read_small(bits)?).ok().filter(|length| *length <= bits.remaining())
}

/// The buckets of one side of zero that occurred in a chunk, by index, ascending.
#[derive(Debug, Clone)]
pub(super) struct Buckets<T>(Vec<(i32, T)>);

impl<T> Default for Buckets<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Track> Buckets<T> {
    /// Whether all of these have their place.
    pub(super) fn have_all_of(&self, buckets: &[(i32, f64)]) -> bool {
        let mut known = self.0.iter().map(|(index, _)| index);
        buckets.iter().all(|(index, _)| known.any(|other| other == index))
    }

    /// Writes which of the buckets have no place yet, as runs of neighbours, and their counts.
    pub(super) fn write_new(&mut self, buckets: &[(i32, f64)], bits: &mut BitWriter) {
        let mut known = self.0.iter().map(|(index, _)| *index).peekable();
        let mut new = buckets.to_vec();
        new.retain(|(index, _)| {
            while known.next_if(|other| other < index).is_some() {}
            known.peek() != Some(index)
        });
        let mut end = 0;
        for run in new.chunk_by(|one, next| i64::from(one.0) + 1 == i64::from(next.0)) {
            write_small(bits, run.len() as i64);
            write_small(bits, i64::from(run[0].0) - end);
            end = i64::from(run[0].0) + run.len() as i64;
            for (index, count) in run {
                self.0.push((*index, T::start(*count, bits)));
            }
        }
        write_small(bits, 0);
        self.order();
    }

    /// Reads what [`Self::write_new`] wrote.
    pub(super) fn read_new(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        let mut end = 0_i64;
        loop {
            let length = read_length(bits)?;
            if length == 0 {
                self.order();
                return Some(());
            }
            let start = end.checked_add(read_small(bits)?)?;
            end = start.checked_add(length as i64)?;
            for index in start..end {
                self.0.push((i32::try_from(index).ok()?, T::read_start(bits)?));
            }
        }
    }

    fn order(&mut self) {
        self.0.sort_unstable_by_key(|(index, _)| *index);
    }

    /// Writes the counts of all buckets that have a place; what is not among `buckets` is empty.
    pub(super) fn write(&mut self, buckets: &[(i32, f64)], bits: &mut BitWriter) {
        let mut buckets = buckets.iter().peekable();
        for (index, track) in &mut self.0 {
            let count = buckets.next_if(|(other, _)| other == index).map_or(0.0, |(_, count)| *count);
            track.write(count, bits);
        }
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        self.0.iter_mut().try_for_each(|(_, track)| track.read(bits))
    }

    /// The buckets with their counts.
    pub(super) fn counts(&self) -> impl Iterator<Item = (i32, f64)> {
        self.0.iter().map(|(index, track)| (*index, track.number()))
    }

    /// The size of the heap block in bytes.
    pub(super) fn heap_size(&self) -> usize {
        self.0.capacity() * size_of::<(i32, T)>()
    }
}

/// How many observations a histogram has in its buckets, without the count that it gives itself.
pub(super) fn in_buckets(histogram: &FloatHistogram) -> f64 {
    let buckets = histogram.positive().iter().chain(histogram.negative());
    histogram.zero_count + buckets.map(|(_, count)| count).sum::<f64>()
}
