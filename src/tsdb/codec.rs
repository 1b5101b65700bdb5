//! How numbers and labels are written to disk, for the log and the snapshot alike.

use crate::model::Labels;

use super::postings::{PairId, Postings};

/// Writes a number in as few bytes as it needs, seven bits each, lowest first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a signed number so that small ones of either sign are short.
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value << 1 ^ value >> 63) as u64);
}

/// Writes a text with its length before it.
fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Reads what the functions above wrote; every reader yields nothing when the bytes cannot be that.
#[derive(Debug, Clone)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return None;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.varint()?).ok()?;
        std::str::from_utf8(self.bytes(length)?).ok()
    }
}

/// Writes the labels of one series after another. A pair that stands at the same place in the series
/// before takes one byte: series of one target share most of their labels.
#[derive(Debug, Default)]
pub(super) struct LabelsWriter {
    previous: Vec<PairId>,
}

impl LabelsWriter {
    pub(super) fn write(&mut self, out: &mut Vec<u8>, pairs: &[PairId], postings: &Postings) {
        put_varint(out, pairs.len() as u64);
        for (index, pair) in pairs.iter().enumerate() {
            if self.previous.get(index) == Some(pair) {
                out.push(0);
            } else {
                let (name, value) = postings.pair(*pair);
                out.push(1);
                put_text(out, name);
                put_text(out, value);
            }
        }
        self.previous.clear();
        self.previous.extend_from_slice(pairs);
    }
}

/// Reads what a [`LabelsWriter`] wrote.
#[derive(Debug, Default)]
pub(super) struct LabelsReader<'a> {
    previous: Vec<(&'a str, &'a str)>,
}

impl<'a> LabelsReader<'a> {
    pub(super) fn read(&mut self, input: &mut Input<'a>) -> Option<Labels> {
        let count = usize::try_from(input.varint()?).ok()?;
        for index in 0..count {
            let pair = match input.byte()? {
                0 => *self.previous.get(index)?,
                1 => (input.text()?, input.text()?),
                _ => return None,
            };
            match self.previous.get_mut(index) {
                Some(place) => *place = pair,
                None => self.previous.push(pair),
            }
        }
        self.previous.truncate(count);
        let sound = self.previous.is_sorted_by(|one, next| one.0 < next.0)
            && self.previous.iter().all(|(_, value)| !value.is_empty());
        sound.then(|| Labels::from_sorted_pairs(&self.previous))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsdb::memory::Balance;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_back_as_written(unsigned in any::<u64>(), signed in any::<i64>(), small in -70..70_i64) {
            let mut out = Vec::new();
            put_varint(&mut out, unsigned);
            put_signed(&mut out, signed);
            put_signed(&mut out, small);
            let mut input = Input::new(&out);
            prop_assert_eq!(input.varint(), Some(unsigned));
            prop_assert_eq!(input.signed(), Some(signed));
            prop_assert_eq!(input.signed(), Some(small));
            prop_assert!(input.is_at_end());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(0..4_u8, 0..60)) {
            let mut input = Input::new(&bytes);
            let mut reader = LabelsReader::default();
            while reader.read(&mut input).is_some() {}
        }
    }

    #[test]
    fn labels_read_back_as_written() {
        let sets = [
            &[("__name__", "a"), ("env", "x"), ("job", "j")][..],
            &[("__name__", "b"), ("env", "x"), ("job", "j")],
            &[("__name__", "b")],
            &[],
            &[("__name__", "b"), ("host", "h"), ("job", "j"), ("z", "\u{e9}\n")],
        ]
        .map(|pairs| Labels::from_pairs(pairs.iter().copied()));
        let (mut postings, mut writer, mut out) = (Postings::default(), LabelsWriter::default(), Vec::new());
        for labels in &sets {
            let pairs = postings.intern(labels, &mut Balance::default());
            writer.write(&mut out, &pairs, &postings);
        }
        let (mut reader, mut input) = (LabelsReader::default(), Input::new(&out));
        for labels in &sets {
            assert_eq!(reader.read(&mut input).as_ref(), Some(labels));
        }
        assert!(input.is_at_end());
        assert!(out.windows(3).filter(|w| w == b"job").count() == 2, "a shared pair is not repeated");
    }
}
