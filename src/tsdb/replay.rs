//! Reading back at start what was written before: the newest snapshot, then the log after it.
//!
//! Damage never keeps the store shut, nor does a sector that cannot be read. A log file is cut off where it
//! stops making sense; a snapshot loses the damaged frame alone.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use crate::model::TimestampMs;
use crate::storage::{RefHistogram, RefSample, SeriesRef};

use super::disk::{numbered_files, remove_numbered_before, truncate};
use super::frame::{Frame, Frames};
use super::head::Head;
use super::record::{Entry, Segment, read_batch};
use super::snapshot::{self, SNAPSHOT_PREFIX};
use super::wal::{WAL_MAGIC, WAL_MAGIC_1, WAL_PREFIX};

/// What a start found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replayed {
    /// The first log file that may be written.
    pub(super) next_segment: Segment,
    /// The size of the log that was kept, in bytes.
    pub(super) wal_size: u64,
    /// Damaged places, in the snapshot and in the log.
    pub(super) corruptions: u64,
    /// Bytes cut off from the log.
    pub(super) truncated_bytes: u64,
    /// Samples whose series was named in a part that is lost.
    pub(super) unknown_references: u64,
}

/// Reads what a directory has into an empty head.
pub(super) fn replay(head: &Head, directory: &Path) -> io::Result<Replayed> {
    let mut replayed = Replayed::default();
    let snapshots = numbered_files(directory, SNAPSHOT_PREFIX)?;
    let first = match snapshots.last() {
        Some((segment, path)) => {
            let loaded = snapshot::load(head, path, *segment)?;
            if loaded.corruptions > 0 {
                let (path, count) = (path.display(), loaded.corruptions);
                tracing::warn!(
                    count,
                    "Snapshot `{path}` is damaged in {count} places, which are passed over"
                );
            }
            replayed.corruptions += loaded.corruptions;
            *segment
        }
        None => 1,
    };
    // A removal that was interrupted is finished here. A file system that has become read-only lets the store
    // open and read all the same.
    for prefix in [SNAPSHOT_PREFIX, WAL_PREFIX] {
        if let Err(error) = remove_numbered_before(directory, prefix, first) {
            let directory = directory.display();
            tracing::warn!(%error, "Old files in `{directory}` cannot be removed: {error}");
        }
    }
    replayed.next_segment = first;
    let log = numbered_files(directory, WAL_PREFIX)?;
    for (segment, path) in log.into_iter().filter(|(segment, _)| *segment >= first) {
        replay_segment(head, &path, segment, &mut replayed)?;
        replayed.next_segment = segment + 1;
    }
    Ok(replayed)
}

fn replay_segment(head: &Head, path: &Path, segment: Segment, replayed: &mut Replayed) -> io::Result<()> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut magic = [0; WAL_MAGIC.len()];
    let mut sound = 0;
    let mut unreadable = None;
    if size >= magic.len() as u64 {
        match reader.read_exact(&mut magic) {
            Ok(()) if &magic == WAL_MAGIC || &magic == WAL_MAGIC_1 => sound = magic.len() as u64,
            Ok(()) => {}
            Err(error) => unreadable = Some(error),
        }
    }
    if sound > 0 {
        let mut frames = Frames::new(reader, sound, size, u64::from(segment));
        let mut batch = Batch::default();
        while let Some(frame) = frames.read() {
            match frame {
                Frame::Whole(payload) if batch.apply(head, payload) => {}
                Frame::Unreadable(error) => {
                    unreadable = Some(error);
                    break;
                }
                Frame::Whole(_) | Frame::Damaged | Frame::Torn => break,
            }
            sound = frames.offset();
        }
        replayed.unknown_references += batch.unknown;
    }
    replayed.wal_size += sound;
    if sound < size {
        let lost = size - sound;
        replayed.corruptions += 1;
        let path_text = path.display();
        if let Some(error) = unreadable {
            // It may be readable at another time.
            tracing::error!(%error, lost, "Log file `{path_text}` cannot be read from byte {sound} on: {error}");
            return Ok(());
        }
        replayed.truncated_bytes += lost;
        tracing::warn!(
            lost,
            "Log file `{path_text}` is torn or damaged at byte {sound}; the last {lost} bytes are cut off"
        );
        // A file system that has become read-only lets the store open and read all the same.
        if let Err(error) = truncate(path, sound) {
            tracing::warn!(%error, "Log file `{path_text}` cannot be truncated: {error}");
        }
    }
    Ok(())
}

/// The series that a log file has named so far, by the references of the process that wrote it.
#[derive(Default)]
struct Batch {
    known: HashMap<SeriesRef, SeriesRef, BuildHasherDefault<SpreadBits>>,
    samples: Vec<RefSample>,
    histograms: Vec<RefHistogram>,
    unknown: u64,
}

impl Batch {
    /// Applies one frame, wholly or up to where it stops making sense; `false` in the latter case.
    fn apply(&mut self, head: &Head, payload: &[u8]) -> bool {
        self.samples.clear();
        self.histograms.clear();
        let result = read_batch(payload, |entry| match entry {
            Entry::Series { series, labels } if !labels.is_empty() => {
                self.known.insert(series, head.create(&labels));
            }
            Entry::Series { .. } => {}
            Entry::Sample { series, at, bits } => match self.known.get(&series) {
                Some(series) => {
                    self.samples.push(RefSample { series: *series, at, value: f64::from_bits(bits) });
                }
                None => self.unknown += 1,
            },
            Entry::Histogram { series, at, histogram } => match self.known.get(&series) {
                Some(series) => {
                    let histogram = Arc::new(histogram);
                    self.histograms.push(RefHistogram { series: *series, at, histogram });
                }
                None => self.unknown += 1,
            },
        });
        // What is refused was in the snapshot, or in the log twice. A frame has either kind.
        let _ = head.append(&self.samples, TimestampMs::MIN, None);
        let _ = head.append(&self.histograms, TimestampMs::MIN, None);
        result.is_ok()
    }
}

/// A hash for references, which are looked up once per sample: they count up from 0, so that one
/// multiplication spreads them well enough.
#[derive(Debug, Default)]
struct SpreadBits(u64);

impl Hasher for SpreadBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming, 6.4).
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}
