//! Frames: a length, a checksum, and bytes that are either all there or recognised as damaged.

use std::io::{self, Read};

use xxhash_rust::xxh64::xxh64;

/// Length and checksum, four bytes each, little-endian.
const HEADER: usize = 8;

/// The largest frame that is written; a larger length can only be damage.
pub(super) const MAX_FRAME: usize = 64 << 20;

/// Appends a frame with what `fill` writes. `seed` names the file: a frame that an earlier file left
/// on the disk does not pass for one of this file.
pub(super) fn write_frame(out: &mut Vec<u8>, seed: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    fill(out);
    let payload = &out[start + HEADER..];
    debug_assert!(payload.len() <= MAX_FRAME, "callers bound what they put into one frame");
    let check = checksum(payload, seed);
    let length = payload.len() as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + HEADER].copy_from_slice(&check.to_le_bytes());
}

fn checksum(payload: &[u8], seed: u64) -> u32 {
    xxh64(payload, seed ^ (payload.len() as u64) << 32) as u32
}

/// What stands at one place of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A whole frame.
    Whole(&'a [u8]),
    /// A frame with a plausible length but another checksum; the next one may be sound.
    Damaged,
    /// No frame: torn off or overwritten.
    Torn,
}

/// Walks over the frames of a file, holding one at a time in memory.
#[derive(Debug)]
pub(super) struct Frames<R> {
    reader: R,
    seed: u64,
    /// Where the next frame begins, and where the file ends.
    next: u64,
    end: u64,
    payload: Vec<u8>,
}

impl<R: Read> Frames<R> {
    /// The frames of a file of `size` bytes whose first `start` bytes were read.
    pub(super) fn new(reader: R, start: u64, size: u64, seed: u64) -> Self {
        Self { reader, seed, next: start, end: size, payload: Vec::new() }
    }

    /// Where the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.next
    }

    /// The next frame; nothing at the end of the file.
    pub(super) fn read(&mut self) -> io::Result<Option<Frame<'_>>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let room = self.end - self.next;
        if room < HEADER as u64 {
            return Ok(Some(Frame::Torn));
        }
        let mut header = [0; HEADER];
        self.reader.read_exact(&mut header)?;
        let [l0, l1, l2, l3, check @ ..] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        // Nothing writes an empty frame; zeros are what a power cut leaves of unwritten blocks.
        if length == 0 || length > MAX_FRAME || (HEADER + length) as u64 > room {
            return Ok(Some(Frame::Torn));
        }
        self.payload.resize(length, 0);
        self.reader.read_exact(&mut self.payload)?;
        self.next += (HEADER + length) as u64;
        Ok(Some(if checksum(&self.payload, self.seed) == u32::from_le_bytes(check) {
            Frame::Whole(&self.payload)
        } else {
            Frame::Damaged
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_frames() -> Vec<u8> {
        let mut out = b"magic".to_vec();
        write_frame(&mut out, 1, |out| out.extend_from_slice(b"first"));
        write_frame(&mut out, 1, |out| out.extend_from_slice(b"second"));
        out
    }

    fn frames(bytes: &[u8], seed: u64) -> Frames<&[u8]> {
        Frames::new(&bytes[5..], 5, bytes.len() as u64, seed)
    }

    #[test]
    fn frames_read_back_as_written() {
        let bytes = two_frames();
        let mut frames = frames(&bytes, 1);
        for expected in [&b"first"[..], b"second"] {
            assert_eq!(frames.read().unwrap(), Some(Frame::Whole(expected)));
        }
        assert_eq!(frames.read().unwrap(), None);
        assert_eq!(frames.offset(), bytes.len() as u64);
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        let bytes = two_frames();
        let sound = |bytes: &[u8]| {
            let mut frames = frames(bytes, 1);
            let mut whole = 0;
            while let Some(Frame::Whole(_)) = frames.read().unwrap() {
                whole += 1;
            }
            whole
        };
        assert_eq!(sound(&bytes), 2);
        let second = bytes.len() - 14;
        for bit in second * 8..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sound(&damaged), 1, "bit {bit}");
        }
        for end in second + 1..bytes.len() {
            assert_eq!(sound(&bytes[..end]), 1, "cut at {end}");
        }
    }

    #[test]
    fn a_frame_of_another_file_is_not_accepted() {
        assert_eq!(frames(&two_frames(), 2).read().unwrap(), Some(Frame::Damaged));
    }
}
