//! The write-ahead log: what came since the last snapshot.
//!
//! Appenders put frames into a queue in memory; [`Wal::flush`], which a thread calls at least once a
//! second, writes and syncs them. What a full or failing disk does not take stays queued and is
//! written again, from the last byte that was synced, at the next flush: after a failed sync the
//! kernel may have forgotten what it took. A queue that grew too long drops what comes, counts it and
//! asks for a snapshot, which makes good what the log lost.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::disk::{DiskFile, SharedDisk, remove_numbered_before, sync_directory};
use super::frame::{MAX_FRAME, write_frame};
use super::head::lock;
use super::record::{BatchWriter, Segment};

/// The first bytes of a log file.
pub(super) const WAL_MAGIC: &[u8; 8] = b"vlmswal2";

/// Those of a log file of the version before, which has no native histograms and is otherwise the same.
pub(super) const WAL_MAGIC_1: &[u8; 8] = b"vlmswal1";

/// What the names of log files begin with.
pub(super) const WAL_PREFIX: &str = "wal-";

/// How large things may grow, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct WalLimits {
    /// The size at which a log file is ended and the next one begun.
    pub(super) segment: u64,
    /// How much may wait for the disk before samples go unlogged: some seconds of the fastest scrape.
    pub(super) queue: u64,
    /// What one batch may take; a reader holds a larger frame for damage.
    pub(super) frame: usize,
}

const LIMITS: WalLimits = WalLimits { segment: 64 << 20, queue: 64 << 20, frame: MAX_FRAME };

/// How many queued bytes are worth a flush before its time.
const EARLY_FLUSH: u64 = 4 << 20;

/// The path of a log file.
pub(super) fn segment_path(directory: &Path, segment: Segment) -> PathBuf {
    directory.join(format!("{WAL_PREFIX}{segment:08}"))
}

/// The log.
pub(super) struct Wal {
    directory: PathBuf,
    disk: SharedDisk,
    queue: Mutex<Queue>,
    output: Mutex<Output>,
    /// Bytes that were queued and are not yet on the disk.
    queued: AtomicU64,
    /// Bytes of the files that the next start will read.
    size: AtomicU64,
    /// Whether the log lacks samples, which a snapshot would hold.
    incomplete: AtomicBool,
    pub(super) limits: WalLimits,
    pub(super) counters: WalCounters,
}

/// What happened so far, for metrics.
#[derive(Debug, Default)]
pub(super) struct WalCounters {
    pub(super) write_failures: AtomicU64,
    pub(super) dropped_samples: AtomicU64,
}

/// What appenders fill. Who holds its lock is the only one to append: the order of the log is that of
/// the memory.
pub(super) struct Queue {
    segment: Segment,
    segment_size: u64,
    parts: VecDeque<Part>,
}

/// Where a snapshot divides the log.
#[derive(Debug)]
pub(super) struct Cut {
    /// All that was appended before is in files before this one.
    pub(super) segment: Segment,
    /// The size of those files in bytes.
    size: u64,
    was_incomplete: bool,
}

/// Bytes for one file.
struct Part {
    segment: Segment,
    bytes: Vec<u8>,
}

/// What the flushing side owns.
#[derive(Default)]
struct Output {
    file: Option<OpenFile>,
    parts: VecDeque<Part>,
    /// Whether the last flush failed: an episode is logged once.
    failing: bool,
}

struct OpenFile {
    segment: Segment,
    file: Box<dyn DiskFile>,
    synced: u64,
}

impl Wal {
    /// A log that goes on with a new file; `size` is that of the older files.
    pub(super) fn new(directory: PathBuf, disk: SharedDisk, segment: Segment, size: u64) -> Self {
        Self {
            directory,
            disk,
            queue: Mutex::new(Queue { segment, segment_size: 0, parts: VecDeque::new() }),
            output: Mutex::default(),
            queued: AtomicU64::new(0),
            size: AtomicU64::new(size),
            incomplete: AtomicBool::new(false),
            limits: LIMITS,
            counters: WalCounters::default(),
        }
    }

    /// Bytes that wait for the disk.
    pub(super) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Bytes of the files that the next start will read, including what is queued.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Whether it is better not to wait for the next regular flush.
    pub(super) fn wants_flush(&self) -> bool {
        self.queued() >= EARLY_FLUSH
    }

    /// Whether samples were dropped that only a snapshot can save.
    pub(super) fn is_incomplete(&self) -> bool {
        self.incomplete.load(Ordering::Relaxed)
    }

    /// Locks the queue for an append.
    pub(super) fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Begins a batch; nothing if the queue is full, and then its samples go unlogged.
    pub(super) fn begin(&self, queue: &mut Queue) -> Option<BatchWriter> {
        if self.queued() >= self.limits.queue {
            return None;
        }
        if queue.segment_size >= self.limits.segment {
            queue.next_segment();
        }
        Some(BatchWriter::new(queue.segment))
    }

    /// Counts samples that were stored while the queue was full.
    pub(super) fn missed(&self, samples: u64) {
        if samples > 0 {
            self.counters.dropped_samples.fetch_add(samples, Ordering::Relaxed);
            self.incomplete.store(true, Ordering::Relaxed);
        }
    }

    /// Queues a batch.
    pub(super) fn commit(&self, queue: &mut Queue, batch: &BatchWriter, declarations: &[u8]) {
        if batch.count() == 0 {
            return;
        }
        if declarations.len() + batch.size() > self.limits.frame {
            // Only labels of an absurd size get here. What was declared is not in this file now.
            self.missed(batch.count());
            queue.segment += 1;
            queue.segment_size = 0;
            return;
        }
        let segment = queue.segment;
        if queue.parts.back().is_none_or(|part| part.segment != segment) {
            queue.parts.push_back(Part { segment, bytes: Vec::new() });
        }
        let part = queue.parts.back_mut().expect("there is one by now");
        let before = part.bytes.len();
        if queue.segment_size == 0 {
            part.bytes.extend_from_slice(WAL_MAGIC);
        }
        write_frame(&mut part.bytes, u64::from(segment), |out| batch.write(declarations, out));
        let added = (part.bytes.len() - before) as u64;
        queue.segment_size += added;
        self.queued.fetch_add(added, Ordering::Relaxed);
        self.size.fetch_add(added, Ordering::Relaxed);
    }

    /// Ends the current file, for a snapshot that is about to be taken.
    pub(super) fn cut(&self) -> Cut {
        let mut queue = self.queue();
        queue.next_segment();
        Cut {
            segment: queue.segment,
            size: self.size(),
            // The snapshot will hold what the log lacks up to here.
            was_incomplete: self.incomplete.swap(false, Ordering::Relaxed),
        }
    }

    /// Notes that no snapshot came of a cut.
    pub(super) fn snapshot_failed(&self, cut: &Cut) {
        self.incomplete.fetch_or(cut.was_incomplete, Ordering::Relaxed);
    }

    /// Writes and syncs everything that is queued. On failure the rest stays queued.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut output = lock(&self.output);
        let new = std::mem::take(&mut self.queue().parts);
        output.parts.extend(new);
        let result = self.write_parts(&mut output);
        match &result {
            Ok(()) if output.failing => {
                output.failing = false;
                tracing::info!("The write-ahead log is being written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.counters.write_failures.fetch_add(1, Ordering::Relaxed);
                if !output.failing {
                    output.failing = true;
                    let directory = self.directory.display();
                    tracing::warn!(
                        %error,
                        "Writing the write-ahead log in `{directory}` fails: {error}; samples stay in memory and \
                         writing is tried again"
                    );
                }
            }
        }
        result
    }

    fn write_parts(&self, output: &mut Output) -> io::Result<()> {
        while let Some(segment) = output.parts.front().map(|part| part.segment) {
            if output.file.as_ref().is_none_or(|open| open.segment != segment) {
                let file = self.disk.create(&segment_path(&self.directory, segment))?;
                sync_directory(&self.directory)?;
                output.file = Some(OpenFile { segment, file, synced: 0 });
            }
            let open = output.file.as_mut().expect("it was opened above");
            let count = output.parts.iter().take_while(|part| part.segment == segment).count();
            let mut end = open.synced;
            for part in output.parts.iter().take(count) {
                open.file.write_all_at(&part.bytes, end)?;
                end += part.bytes.len() as u64;
            }
            open.file.sync()?;
            self.queued.fetch_sub(end - open.synced, Ordering::Relaxed);
            open.synced = end;
            output.parts.drain(..count);
        }
        Ok(())
    }

    /// Removes the files before the cut, which a snapshot has replaced.
    pub(super) fn remove_before(&self, cut: &Cut) -> io::Result<()> {
        let mut output = lock(&self.output);
        // Nothing that still waits to be written to them is needed either.
        let mut dropped = 0;
        for parts in [&mut output.parts, &mut self.queue().parts] {
            let old = parts.iter().take_while(|part| part.segment < cut.segment).count();
            dropped += parts.drain(..old).map(|part| part.bytes.len() as u64).sum::<u64>();
        }
        self.queued.fetch_sub(dropped, Ordering::Relaxed);
        self.size.fetch_sub(cut.size, Ordering::Relaxed);
        remove_numbered_before(&self.directory, WAL_PREFIX, cut.segment)
    }
}

impl Queue {
    fn next_segment(&mut self) {
        // A file that nothing was written to never came into being.
        if self.segment_size > 0 {
            self.segment += 1;
            self.segment_size = 0;
        }
    }
}
