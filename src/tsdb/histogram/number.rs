//! The numbers of histograms, each as its difference from the one of the histogram before.

use crate::tsdb::bits::{BitReader, BitWriter};
use crate::tsdb::scaled::whole;
use crate::tsdb::window::Window;

/// How many bits follow as many ones and a zero; `0` stands for 0, and eight ones are followed by all 64.
const WIDTHS: [u32; 7] = [3, 6, 9, 13, 18, 28, 40];

/// Writes a number that is mostly small, of either sign.
pub(super) fn write_small(bits: &mut BitWriter, number: i64) {
    if number == 0 {
        bits.write(0, 1);
        return;
    }
    for (ones, width) in (1_u32..).zip(WIDTHS) {
        let half = 1_i64 << (width - 1);
        if (-half..half).contains(&number) {
            let prefix = (1_u64 << (ones + 1)) - 2;
            bits.write(prefix << width | (number + half) as u64, ones + 1 + width);
            return;
        }
    }
    bits.write(0xff, 8);
    bits.write(number as u64, 64);
}

/// Reads what [`write_small`] wrote.
pub(super) fn read_small(bits: &mut BitReader<'_>) -> Option<i64> {
    Some(match bits.read_ones(8)? {
        0 => 0,
        8 => bits.read(64)? as i64,
        ones => {
            let width = WIDTHS[ones as usize - 1];
            bits.read(width)? as i64 - (1_i64 << (width - 1))
        }
    })
}

/// A number of a histogram, such as the count of one bucket, from histogram to histogram. Writer and
/// reader each keep one, which start alike and change alike.
pub(super) trait Track: Clone {
    /// A track that begins with this number, which is written.
    fn start(number: f64, bits: &mut BitWriter) -> Self;

    /// A track that begins with the number read.
    fn read_start(bits: &mut BitReader<'_>) -> Option<Self>;

    /// Writes the next number.
    fn write(&mut self, number: f64, bits: &mut BitWriter);

    /// Reads the next number; nothing if the bits do not say it.
    fn read(&mut self, bits: &mut BitReader<'_>) -> Option<()>;

    /// The number that was written or read last.
    fn number(&self) -> f64;

    /// What is written in place of the count of all observations: what is left of it when those in the
    /// buckets are taken away, or the count itself where that would not be exact.
    fn rest(count: f64, in_buckets: f64) -> f64;

    /// The count of all observations.
    fn count(rest: f64, in_buckets: f64) -> f64;
}

/// Whole numbers that a float holds exactly. In a series that is read at a steady interval they grow
/// steadily too.
#[derive(Debug, Clone)]
pub(super) struct WholeTrack {
    last: i64,
    change: i64,
}

impl Track for WholeTrack {
    fn start(number: f64, bits: &mut BitWriter) -> Self {
        let last = number as i64;
        write_small(bits, last);
        Self { last, change: 0 }
    }

    fn read_start(bits: &mut BitReader<'_>) -> Option<Self> {
        Some(Self { last: read_small(bits)?, change: 0 })
    }

    fn write(&mut self, number: f64, bits: &mut BitWriter) {
        let number = number as i64;
        let change = number.wrapping_sub(self.last);
        write_small(bits, change.wrapping_sub(self.change));
        self.last = number;
        self.change = change;
    }

    fn read(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        self.change = self.change.wrapping_add(read_small(bits)?);
        self.last = self.last.wrapping_add(self.change);
        Some(())
    }

    fn number(&self) -> f64 {
        self.last as f64
    }

    fn rest(count: f64, in_buckets: f64) -> f64 {
        count - in_buckets
    }

    fn count(rest: f64, in_buckets: f64) -> f64 {
        rest + in_buckets
    }
}

/// Any floats, of which the bits that differ are written.
#[derive(Debug, Clone)]
pub(super) struct FloatTrack {
    last: u64,
    window: Window,
}

impl Track for FloatTrack {
    fn start(number: f64, bits: &mut BitWriter) -> Self {
        let last = number.to_bits();
        bits.write(last, 64);
        Self { last, window: Window::default() }
    }

    fn read_start(bits: &mut BitReader<'_>) -> Option<Self> {
        Some(Self { last: bits.read(64)?, window: Window::default() })
    }

    fn write(&mut self, number: f64, bits: &mut BitWriter) {
        let number = number.to_bits();
        self.window.write(number ^ self.last, bits);
        self.last = number;
    }

    fn read(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        self.last ^= self.window.read(bits)?;
        Some(())
    }

    fn number(&self) -> f64 {
        f64::from_bits(self.last)
    }

    fn rest(count: f64, _in_buckets: f64) -> f64 {
        count
    }

    fn count(rest: f64, _in_buckets: f64) -> f64 {
        rest
    }
}

/// Whether [`WholeTrack`] can hold all of these numbers and their sum.
pub(super) fn are_whole(mut numbers: impl Iterator<Item = f64>) -> bool {
    let mut sum = 0.0;
    numbers.all(|number| {
        sum += number.abs();
        whole(number, 1.0).is_some() && whole(sum, 1.0).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_back_as_written(numbers in prop::collection::vec((any::<i64>(), 0..64_u32), 1..50)) {
            let numbers: Vec<i64> = numbers.into_iter().map(|(number, shift)| number >> shift).collect();
            let mut bits = BitWriter::default();
            for number in &numbers {
                write_small(&mut bits, *number);
            }
            let words = bits.take();
            let mut reader = BitReader::new(&words);
            for number in &numbers {
                prop_assert_eq!(read_small(&mut reader), Some(*number));
            }
        }
    }

    #[test]
    fn whole_numbers_are_those_whose_sums_are_exact() {
        let check = |numbers: &[f64], expected| {
            assert_eq!(are_whole(numbers.iter().copied()), expected, "{numbers:?}");
        };
        check(&[], true);
        check(&[0.0, 3.0, -2.0], true);
        check(&[0.5], false);
        check(&[-0.0], false);
        check(&[f64::NAN], false);
        check(&[9_007_199_254_740_991.0], true);
        check(&[9_007_199_254_740_991.0, 1.0], false);
    }
}
