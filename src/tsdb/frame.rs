//! Frames: a length, a checksum, and bytes that are either all there or recognised as damaged.

use std::io::{self, Read, Seek, SeekFrom};

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
#[derive(Debug)]
pub(super) enum Frame<'a> {
    /// A whole frame.
    Whole(&'a [u8]),
    /// A frame with a plausible length but another checksum; the next one may be sound.
    Damaged,
    /// No frame: torn off or overwritten.
    Torn,
    /// The disk does not give it back; if there is a next one it may be sound.
    Unreadable(io::Error),
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

impl<R: Read + Seek> Frames<R> {
    /// The frames of a file of `size` bytes whose first `start` bytes were read.
    pub(super) fn new(reader: R, start: u64, size: u64, seed: u64) -> Self {
        Self { reader, seed, next: start, end: size, payload: Vec::new() }
    }

    /// Where the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.next
    }

    /// The next frame; nothing at the end of the file.
    pub(super) fn read(&mut self) -> Option<Frame<'_>> {
        if self.next >= self.end {
            return None;
        }
        let room = self.end - self.next;
        if room < HEADER as u64 {
            return Some(Frame::Torn);
        }
        let mut header = [0; HEADER];
        if let Err(error) = self.reader.read_exact(&mut header) {
            // Nothing tells where the next one begins.
            self.next = self.end;
            return Some(Frame::Unreadable(error));
        }
        let [l0, l1, l2, l3, check @ ..] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        // Nothing writes an empty frame; zeros are what a power cut leaves of unwritten blocks.
        if length == 0 || length > MAX_FRAME || (HEADER + length) as u64 > room {
            return Some(Frame::Torn);
        }
        self.payload.resize(length, 0);
        let read = self.reader.read_exact(&mut self.payload);
        self.next += (HEADER + length) as u64;
        if let Err(error) = read {
            if self.reader.seek(SeekFrom::Start(self.next)).is_err() {
                self.next = self.end;
            }
            return Some(Frame::Unreadable(error));
        }
        Some(if checksum(&self.payload, self.seed) == u32::from_le_bytes(check) {
            Frame::Whole(&self.payload)
        } else {
            Frame::Damaged
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn two_frames() -> Vec<u8> {
        let mut out = b"magic".to_vec();
        write_frame(&mut out, 1, |out| out.extend_from_slice(b"first"));
        write_frame(&mut out, 1, |out| out.extend_from_slice(b"second"));
        out
    }

    fn frames(bytes: &[u8], seed: u64) -> Frames<Cursor<&[u8]>> {
        let mut reader = Cursor::new(bytes);
        reader.set_position(5);
        Frames::new(reader, 5, bytes.len() as u64, seed)
    }

    /// A disk of which one byte cannot be read.
    struct BadSector<'a>(Cursor<&'a [u8]>, u64);

    impl Read for BadSector<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let at = self.0.position();
            if at == self.1 {
                return Err(io::Error::other("the sector is bad"));
            }
            let sound = if at < self.1 { (self.1 - at) as usize } else { buffer.len() };
            let length = buffer.len().min(sound);
            self.0.read(&mut buffer[..length])
        }
    }

    impl Seek for BadSector<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn of_a_bad_sector_one_frame_is_lost_and_of_one_at_its_head_what_follows() {
        let bytes = two_frames();
        for (bad, expected) in [(14, "unreadable, second"), (5, "unreadable"), (30, "first, unreadable")] {
            let mut reader = BadSector(Cursor::new(&bytes), bad);
            reader.0.set_position(5);
            let mut frames = Frames::new(reader, 5, bytes.len() as u64, 1);
            let mut found = Vec::new();
            while let Some(frame) = frames.read() {
                found.push(match frame {
                    Frame::Whole(payload) => String::from_utf8(payload.to_vec()).unwrap(),
                    Frame::Unreadable(_) => "unreadable".to_owned(),
                    other => panic!("{other:?}"),
                });
            }
            assert_eq!(found.join(", "), expected, "byte {bad}");
        }
    }

    #[test]
    fn frames_read_back_as_written() {
        let bytes = two_frames();
        let mut frames = frames(&bytes, 1);
        for expected in [&b"first"[..], b"second"] {
            assert!(matches!(frames.read(), Some(Frame::Whole(found)) if found == expected));
        }
        assert!(frames.read().is_none());
        assert_eq!(frames.offset(), bytes.len() as u64);
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        let bytes = two_frames();
        let sound = |bytes: &[u8]| {
            let mut frames = frames(bytes, 1);
            let mut whole = 0;
            while let Some(Frame::Whole(_)) = frames.read() {
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
        assert!(matches!(frames(&two_frames(), 2).read(), Some(Frame::Damaged)));
    }
}
