//! All chunks in one file, so that the log need not be kept and read from its beginning.
//!
//! A snapshot is written beside the old one and takes its place when it is complete. It may hold
//! samples that are in the log too: whoever reads both skips what is there already.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::model::TimestampMs;

use super::chunk::{Chunk, Decoder};
use super::closed::{Decode as _, Growing};
use super::codec::{Input, LabelsReader, LabelsWriter, put_signed, put_varint};
use super::disk::{Disk, DiskFile, remove_numbered_before, sync_directory};
use super::frame::{Frame, Frames, write_frame};
use super::head::Head;
use super::histogram::HistogramDecoder;
use super::index::SeriesKey;
use super::record::{Malformed, Segment};
use super::series::Tally;

/// The first bytes of a snapshot.
const MAGIC: &[u8; 8] = b"vlmssnp2";

/// Those of a snapshot of the version before, which does not say what its chunks are of: floats.
const MAGIC_1: &[u8; 8] = b"vlmssnp1";

/// What the chunks of an entry are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Floats,
    Histograms,
}

/// What the names of snapshots begin with; the number is that of the first log file that it does not
/// cover.
pub(super) const SNAPSHOT_PREFIX: &str = "snapshot-";

/// The name of a snapshot that is not complete.
const UNFINISHED: &str = "snapshot.tmp";

/// The size at which a frame is ended, in bytes.
const FRAME_SIZE: usize = 1 << 20;

/// How many chunks of one series are written before its lock is let go.
const CHUNKS_PER_LOCK: usize = 500;

fn snapshot_path(directory: &Path, segment: Segment) -> PathBuf {
    directory.join(format!("{SNAPSHOT_PREFIX}{segment:08}"))
}

/// Writes a snapshot that replaces all log files before `segment`, and removes older snapshots.
pub(super) fn write(head: &Head, disk: &dyn Disk, directory: &Path, segment: Segment) -> io::Result<()> {
    let unfinished = directory.join(UNFINISHED);
    let written = write_file(head, disk, &unfinished, u64::from(segment));
    if written.is_err() {
        // It may be what fills the disk; if it cannot be removed either, the next one replaces it.
        let _ = fs::remove_file(&unfinished);
    }
    written?;
    fs::rename(&unfinished, snapshot_path(directory, segment))?;
    sync_directory(directory)?;
    remove_numbered_before(directory, SNAPSHOT_PREFIX, segment)
}

fn write_file(head: &Head, disk: &dyn Disk, path: &Path, seed: u64) -> io::Result<()> {
    let mut out = Output { file: disk.create(path)?, offset: 0, buffer: MAGIC.to_vec(), seed };
    let keys: Vec<SeriesKey> = {
        let index = head.index();
        index.ids().map(|id| index.key(id)).collect()
    };
    let mut frame = FrameWriter::default();
    for key in keys {
        for kind in [Kind::Floats, Kind::Histograms] {
            let mut after = None;
            loop {
                let written = frame.add(head, key, kind, after);
                if frame.payload.len() >= FRAME_SIZE {
                    out.write(&mut frame)?;
                }
                match written {
                    Some(more) => after = Some(more),
                    None => break,
                }
            }
        }
    }
    out.write(&mut frame)?;
    out.file.sync()
}

struct Output {
    file: Box<dyn DiskFile>,
    offset: u64,
    buffer: Vec<u8>,
    seed: u64,
}

impl Output {
    fn write(&mut self, frame: &mut FrameWriter) -> io::Result<()> {
        if !frame.payload.is_empty() {
            write_frame(&mut self.buffer, self.seed, |out| out.append(&mut frame.payload));
            frame.labels = LabelsWriter::default();
        }
        self.file.write_all_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Puts entry after entry: labels, number of chunks with their kind in the lowest bit, chunks.
#[derive(Default)]
struct FrameWriter {
    payload: Vec<u8>,
    labels: LabelsWriter,
    chunks: Vec<u8>,
    words: Vec<u64>,
}

impl FrameWriter {
    /// Adds the chunks of a series that begin after an instant. Returns from where to go on if there
    /// are more.
    fn add(
        &mut self,
        head: &Head,
        key: SeriesKey,
        kind: Kind,
        after: Option<TimestampMs>,
    ) -> Option<TimestampMs> {
        self.chunks.clear();
        let (count, more) = head.with_slot(key, |slot| match (kind, slot.data.histograms()) {
            (Kind::Floats, _) => self.add_chunks(slot.data.closed(), slot.data.open(), after),
            (Kind::Histograms, Some(data)) => self.add_chunks(data.closed(), data.open(), after),
            (Kind::Histograms, None) => (0, None),
        })?;
        if count > 0 {
            let index = head.index();
            let pairs = index.pairs_of(key)?;
            self.labels.write(&mut self.payload, pairs, index.postings());
            put_varint(&mut self.payload, count << 1 | u64::from(kind == Kind::Histograms));
            self.payload.append(&mut self.chunks);
        }
        more
    }

    fn add_chunks(
        &mut self,
        closed: &[Chunk],
        open: Option<&impl Growing>,
        after: Option<TimestampMs>,
    ) -> (u64, Option<TimestampMs>) {
        let from = after.map_or(0, |after| closed.partition_point(|chunk| chunk.start() <= after));
        let rest = &closed[from..];
        for chunk in rest.iter().take(CHUNKS_PER_LOCK) {
            put_chunk(&mut self.chunks, chunk.start(), chunk.span_ms(), chunk.count(), chunk.words());
        }
        if rest.len() > CHUNKS_PER_LOCK {
            return (CHUNKS_PER_LOCK as u64, Some(rest[CHUNKS_PER_LOCK - 1].start()));
        }
        let Some(open) = open else { return (rest.len() as u64, None) };
        self.words.clear();
        open.copy_to(&mut self.words);
        let span = open.end().abs_diff(open.start()) as u32;
        put_chunk(&mut self.chunks, open.start(), span, open.count(), &self.words);
        (rest.len() as u64 + 1, None)
    }
}

fn put_chunk(out: &mut Vec<u8>, start: TimestampMs, span_ms: u32, count: u16, words: &[u64]) {
    put_signed(out, start);
    put_varint(out, u64::from(span_ms));
    put_varint(out, u64::from(count));
    put_varint(out, words.len() as u64);
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

/// What reading a snapshot brought.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Loaded {
    /// How many damaged places were passed over.
    pub(super) corruptions: u64,
}

impl Loaded {
    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.corruptions += 1;
        tracing::error!(%error, "A part of snapshot `{}` cannot be read: {error}", path.display());
    }
}

/// Puts the chunks of a snapshot into an empty head. Frames that are damaged or cannot be read are passed
/// over: only what they held is lost. An error is that of opening the file.
pub(super) fn load(head: &Head, path: &Path, segment: Segment) -> io::Result<Loaded> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(FRAME_SIZE, file);
    let mut loaded = Loaded::default();
    let mut magic = [0; MAGIC.len()];
    if size < magic.len() as u64 {
        loaded.corruptions += 1;
        return Ok(loaded);
    }
    if let Err(error) = reader.read_exact(&mut magic) {
        loaded.unreadable(path, &error);
        return Ok(loaded);
    }
    if &magic != MAGIC && &magic != MAGIC_1 {
        loaded.corruptions += 1;
    }
    let tells_kinds = &magic != MAGIC_1;
    let mut frames = Frames::new(reader, magic.len() as u64, size, u64::from(segment));
    while let Some(frame) = frames.read() {
        match frame {
            Frame::Whole(payload) if load_frame(head, payload, tells_kinds).is_ok() => {}
            Frame::Whole(_) | Frame::Damaged => loaded.corruptions += 1,
            Frame::Unreadable(error) => loaded.unreadable(path, &error),
            Frame::Torn => {
                loaded.corruptions += 1;
                break;
            }
        }
    }
    Ok(loaded)
}

fn load_frame(head: &Head, payload: &[u8], tells_kinds: bool) -> Result<(), Malformed> {
    let (mut input, mut labels) = (Input::new(payload), LabelsReader::default());
    let mut tally = Tally::default();
    let mut chunks = Vec::new();
    while !input.is_at_end() {
        let labels = labels.read(&mut input).filter(|labels| !labels.is_empty()).ok_or(Malformed)?;
        let count = input.varint().ok_or(Malformed)?;
        let (count, kind) = match (tells_kinds, count & 1) {
            (false, _) => (count, Kind::Floats),
            (true, 0) => (count >> 1, Kind::Floats),
            (true, _) => (count >> 1, Kind::Histograms),
        };
        for _ in 0..count {
            chunks.push(read_chunk(&mut input, kind).ok_or(Malformed)?);
        }
        let key = SeriesKey::from(head.create(&labels));
        for chunk in chunks.drain(..) {
            head.cover(chunk.start(), chunk.end());
            // What overlaps was read before.
            let _ = head.with_slot(key, |slot| match kind {
                Kind::Floats => slot.data.restore(chunk, &mut tally),
                Kind::Histograms => slot.data.restore_histograms(chunk, &mut tally),
            });
        }
    }
    head.record(&tally);
    Ok(())
}

fn read_chunk(input: &mut Input<'_>, kind: Kind) -> Option<Chunk> {
    let start = input.signed()?;
    let span_ms = u32::try_from(input.varint()?).ok()?;
    let count = u16::try_from(input.varint()?).ok()?;
    let length = usize::try_from(input.varint()?).ok()?;
    let bytes = input.bytes(length.checked_mul(size_of::<u64>())?)?;
    let (words, _) = bytes.as_chunks::<8>();
    let words: Box<[u64]> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let last = match kind {
        Kind::Floats => Decoder::last_instant(start, count, &words),
        Kind::Histograms => HistogramDecoder::last_instant(start, count, &words),
    };
    Chunk::from_parts(start, span_ms, count, words, last?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Matcher};
    use crate::storage::{Lifetime, SelectHints};
    use crate::tsdb::chunk::OpenChunk;
    use crate::tsdb::head::Limits;
    use crate::tsdb::memory::Balance;
    use crate::tsdb::postings::Postings;

    #[test]
    fn a_snapshot_of_the_version_before_is_read() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let mut postings = Postings::default();
        let pairs = postings.intern(&labels, &mut Balance::default());
        let mut file = MAGIC_1.to_vec();
        write_frame(&mut file, 3, |out| {
            LabelsWriter::default().write(out, &pairs, &postings);
            put_varint(out, 3);
            for start in [0, 100, 200] {
                let mut open = OpenChunk::default();
                open.push(start, 1.5_f64.to_bits());
                open.push(start + 10, 2.5_f64.to_bits());
                let chunk = open.close().expect("there are points");
                put_chunk(out, chunk.start(), chunk.span_ms(), chunk.count(), chunk.words());
            }
        });
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("snapshot");
        fs::write(&path, file).expect("a file");
        let head = Head::new(Limits { max_memory: u64::MAX, max_span_ms: 1_000 });
        assert_eq!(load(&head, &path, 3).expect("a readable file").corruptions, 0);
        let hints = SelectHints::between(i64::MIN, i64::MAX);
        let set = head.resolve(&[Matcher::equal("job", "a")], Lifetime::Once(hints.start, hints.end));
        let found =
            head.read(&set, &hints).and_then(|samples| samples.to_series(&set)).expect("sound chunks");
        assert_eq!((found.len(), &found[0].labels), (1, &labels));
        let instants: Vec<_> = found[0].points.iter().map(|point| point.at).collect();
        assert_eq!(instants, [0, 10, 100, 110, 200, 210]);
    }
}
