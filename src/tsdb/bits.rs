//! A stream of bits in 64-bit words, most significant bit first.

/// Writes bits. The last, unfinished word is kept apart, so that most writes touch no heap memory.
#[derive(Debug, Default, Clone)]
pub(super) struct BitWriter {
    words: Vec<u64>,
    tail: u64,
    /// How many bits of `tail` are taken, 0 to 63.
    used: u32,
}

impl BitWriter {
    /// Appends the low `count` bits of `value`, whose other bits must be 0. `count` is 1 to 64.
    #[inline]
    pub(super) fn write(&mut self, value: u64, count: u32) {
        debug_assert!((1..=64).contains(&count) && (count == 64 || value >> count == 0));
        let free = 64 - self.used;
        if count < free {
            self.tail |= value << (free - count);
            self.used += count;
        } else {
            let rest = count - free;
            let word = self.tail | value >> rest;
            self.push(word);
            self.tail = if rest == 0 { 0 } else { value << (64 - rest) };
            self.used = rest;
        }
    }

    /// Grows by half instead of doubling: a chunk is short-lived in this form, and there is one per
    /// series.
    fn push(&mut self, word: u64) {
        if self.words.len() == self.words.capacity() {
            self.words.reserve_exact((self.words.len() / 2).max(4));
        }
        self.words.push(word);
    }

    /// Appends all words, the unfinished one included, to `words`.
    pub(super) fn copy_to(&self, words: &mut Vec<u64>) {
        words.extend_from_slice(&self.words);
        if self.used > 0 {
            words.push(self.tail);
        }
    }

    /// A writer with room for `words` words.
    pub(super) fn with_capacity(words: usize) -> Self {
        Self { words: Vec::with_capacity(words), ..Self::default() }
    }

    /// Takes what was written and starts anew. It is copied: buffers of growing chunks have a few
    /// sizes, and a whole one that is given back serves the next series, where the rest of one that
    /// was cut to size would serve nobody.
    pub(super) fn take(&mut self) -> Box<[u64]> {
        let mut exact = Vec::with_capacity(self.words.len() + usize::from(self.used > 0));
        self.copy_to(&mut exact);
        *self = Self::default();
        exact.into_boxed_slice()
    }

    /// The size of what was written in bytes, rounded down.
    pub(super) fn size(&self) -> usize {
        self.words.len() * size_of::<u64>() + self.used as usize / 8
    }

    /// The size of the heap block in bytes.
    pub(super) fn heap_size(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

/// Reads bits.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    words: &'a [u64],
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(words: &'a [u64]) -> Self {
        Self { words, position: 0 }
    }

    /// The next `count` bits (1 to 64), or nothing when the stream ends before.
    #[inline]
    pub(super) fn read(&mut self, count: u32) -> Option<u64> {
        let (index, offset) = (self.position / 64, (self.position % 64) as u32);
        let mut bits = self.words.get(index)? << offset;
        if offset + count > 64 {
            bits |= self.words.get(index + 1)? >> (64 - offset);
        }
        self.position += count as usize;
        Some(bits >> (64 - count))
    }

    /// The next 64 bits, with zeros after the end of the stream. They stay unread.
    #[inline]
    pub(super) fn peek(&self) -> u64 {
        let (index, offset) = (self.position / 64, (self.position % 64) as u32);
        let word = |index: usize| self.words.get(index).copied().unwrap_or(0);
        // Two shifts, since one by 64 is none.
        word(index) << offset | word(index + 1) >> 1 >> (63 - offset)
    }

    /// Passes over the next `count` bits; nothing when the stream ends before.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) -> Option<()> {
        self.position += count as usize;
        (self.position <= self.words.len() * 64).then_some(())
    }

    /// How many bits are left.
    pub(super) fn remaining(&self) -> usize {
        (self.words.len() * 64).saturating_sub(self.position)
    }

    /// How many 1 bits come next, at most `limit`; the 0 that ends them is consumed too.
    #[inline]
    pub(super) fn read_ones(&mut self, limit: u32) -> Option<u32> {
        for ones in 0..limit {
            if self.read(1)? == 0 {
                return Some(ones);
            }
        }
        Some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_read_back_as_written(
            fields in prop::collection::vec((any::<u64>(), 1..=64_u32), 0..300),
        ) {
            let fields: Vec<_> = fields.into_iter().map(|(v, n)| (v >> (64 - n), n)).collect();
            let mut writer = BitWriter::default();
            for (value, count) in &fields {
                writer.write(*value, *count);
            }
            let mut copy = Vec::new();
            writer.copy_to(&mut copy);
            let words = writer.take();
            prop_assert_eq!(&copy[..], &words[..]);
            let mut reader = BitReader::new(&words);
            for (value, count) in &fields {
                prop_assert_eq!(reader.peek() >> (64 - *count), *value);
                prop_assert_eq!(reader.clone().skip(*count), Some(()));
                prop_assert_eq!(reader.read(*count), Some(*value));
            }
        }
    }

    #[test]
    fn reading_past_the_end_yields_nothing() {
        let mut reader = BitReader::new(&[u64::MAX]);
        assert_eq!(reader.read(60), Some(u64::MAX >> 4));
        assert_eq!(reader.read(5), None);
        assert_eq!(reader.read_ones(4), Some(4));
        assert_eq!(reader.read_ones(1), None);
        assert_eq!(reader.peek(), 0);
        assert_eq!(reader.skip(1), None);
    }
}
