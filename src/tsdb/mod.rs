//! The embedded store: samples compressed in memory, a write-ahead log and snapshots on disk.
//!
//! All samples within the retention are in memory (`head`), so that a query never waits for a disk
//! and a disk that is full or broken stops nothing but durability. Series are found by label hash or
//! by label pair (`index`, `postings`, `select`) and hold their points in compressed chunks
//! (`chunk`, `histogram`, `series`). What is appended goes to the log (`wal`) as well; a snapshot now and then
//! replaces it (`snapshot`), and a start reads both (`replay`).
//!
//! The rules for what is accepted are those of Prometheus' head without out-of-order support.

mod background;
mod batch;
mod bits;
mod chunk;
mod closed;
mod codec;
mod disk;
mod frame;
mod head;
mod histogram;
mod histogram_record;
mod index;
mod memory;
mod metrics;
#[cfg(test)]
mod mixed_tests;
mod postings;
mod read;
mod record;
mod replay;
mod retention;
mod scaled;
mod select;
mod series;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;
mod wal;
mod window;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, SteadyClock};
use crate::model::{Labels, METRIC_NAME, Matcher, TimestampMs};
use crate::storage::{
    AppendError, Appender, Lifetime, Queryable, RefHistogram, RefSample, Samples, SelectError, SelectHints,
    SeriesRef, SeriesSet,
};

use self::background::Signal;
use self::batch::BatchItem;
use self::disk::{DirectoryLock, FileSystem, SharedDisk, Unusable};
use self::head::{Head, Limits, lock};
use self::wal::Wal;

pub use self::metrics::TsdbCollector;
pub use self::stats::Stats;

/// The bounds of the longest time from a chunk's first point to its last: retention drops whole
/// chunks, and a series that is read once an hour should still fill them.
const CHUNK_SPAN: (Duration, Duration) = (Duration::from_mins(10), Duration::from_hours(24));

/// The size of the log from which on a snapshot is due, in bytes.
const WAL_SIZE_FOR_SNAPSHOT: u64 = 256 << 20;

/// How long after a sweep the memory ceiling may cause another one.
const SWEEP_PAUSE_MS: i64 = 10_000;

/// How many series a query must look at to leave the async threads: with fewer of them it takes about a
/// millisecond at most.
const SERIES_FOR_OFFLOADING: usize = 2_000;

/// How a store is set up.
#[derive(Clone)]
pub struct Config {
    /// The directory of the log and the snapshots; `None` keeps samples in memory alone.
    pub path: Option<PathBuf>,
    /// How long samples are kept.
    pub retention: Duration,
    /// Bytes of memory from which on no new series is accepted and known series give up their oldest
    /// chunk for each new one.
    pub max_memory: u64,
    /// How much older than the newest sample of all series a sample may be.
    pub acceptance_window: Duration,
    /// How often a snapshot is taken.
    pub snapshot_interval: Duration,
    /// What time it is.
    pub clock: SharedClock,
}

impl Config {
    /// A store in memory with Prometheus' retention and acceptance window and 1 GiB of memory.
    /// Source: Prometheus 3.14 tsdb/db.go, `DefaultOptions` (15 d, 2 h blocks), of which
    /// `tsdb/head_append.go` accepts one half.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            path: None,
            retention: Duration::from_hours(15 * 24),
            max_memory: 1 << 30,
            acceptance_window: Duration::from_hours(1),
            snapshot_interval: Duration::from_hours(2),
            clock,
        }
    }

    fn head(&self) -> Head {
        let (shortest, longest) = CHUNK_SPAN;
        let max_span = (self.retention / 8).clamp(shortest, longest);
        Head::new(Limits { max_memory: self.max_memory, max_span_ms: max_span.as_millis() as u64 })
    }
}

/// Why a store could not be opened. Damaged files are no reason: see [`OpenReport`].
#[derive(Debug, thiserror::Error)]
pub enum TsdbError {
    /// Another process, or this one, has the directory open.
    #[error("storage directory `{}` is in use by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be created, listed or read.
    #[error("storage directory `{}` cannot be used: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A background thread cannot be started.
    #[error("storage threads cannot be started: {0}")]
    Threads(#[source] io::Error),
}

/// What was found when a store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Series read.
    pub series: u64,
    /// Samples read.
    pub samples: u64,
    /// Damaged places in the snapshot and the log, which were passed over or cut off.
    pub corruptions: u64,
    /// Bytes that were cut off from the log.
    pub truncated_bytes: u64,
    /// Samples whose series was named in a part that is lost.
    pub unknown_references: u64,
    /// How long reading took.
    pub duration: Duration,
}

/// The embedded store.
pub struct Tsdb {
    head: Arc<Head>,
    durable: Option<Durable>,
    clock: SharedClock,
    retention: Duration,
    window: Duration,
    opened: OpenReport,
    last_sweep: AtomicI64,
    /// What retention goes by.
    steady: Mutex<SteadyClock>,
    closed: AtomicBool,
    signal: Arc<Signal>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Cancelled when a background thread has ended.
    ended: CancellationToken,
}

/// The part on disk.
struct Durable {
    directory: PathBuf,
    disk: SharedDisk,
    wal: Wal,
    snapshot_interval: Duration,
    /// Held while a snapshot is taken.
    snapshots: Mutex<Snapshots>,
    snapshots_taken: AtomicU64,
    snapshot_failures: AtomicU64,
    _lock: Option<DirectoryLock>,
}

struct Snapshots {
    last: TimestampMs,
    failing: bool,
}

impl Tsdb {
    /// Opens a store and reads what its directory has.
    pub fn open(config: Config) -> Result<(Arc<Self>, OpenReport), TsdbError> {
        Self::open_on(config, Arc::new(FileSystem))
    }

    /// A store for a directory that cannot be used: samples are in memory, and every attempt to write them
    /// fails as it would there, and is counted. It stays so until the store is opened anew.
    pub fn open_unsaved(config: Config, fault: io::Error) -> Arc<Self> {
        let started = Instant::now();
        let disk: SharedDisk = Arc::new(Unusable(fault));
        let durable = config.path.as_ref().map(|path| {
            let wal = Wal::new(path.clone(), Arc::clone(&disk), 1, 0);
            Durable::new(path, disk, wal, &config, None)
        });
        Self::new(config.head(), durable, config, OpenReport::default(), started)
    }

    fn open_on(config: Config, disk: SharedDisk) -> Result<(Arc<Self>, OpenReport), TsdbError> {
        let started = Instant::now();
        let head = config.head();
        let mut opened = OpenReport::default();
        let durable = match &config.path {
            Some(path) => Some(Durable::open(&head, path, disk, &config, &mut opened)?),
            None => None,
        };
        opened.series = head.series_count() as u64;
        opened.samples = head.counters.start_after_replay();
        opened.duration = started.elapsed();
        Ok((Self::new(head, durable, config, opened, started), opened))
    }

    fn new(
        head: Head,
        durable: Option<Durable>,
        config: Config,
        opened: OpenReport,
        started: Instant,
    ) -> Arc<Self> {
        let now = config.clock.now();
        // By a clock that is ahead all that is stored would be too old.
        let newest = head.max_time().map_or(now, |newest| newest.min(now));
        let tsdb = Self {
            head: Arc::new(head),
            durable,
            clock: config.clock,
            retention: config.retention,
            window: config.acceptance_window,
            opened,
            last_sweep: AtomicI64::new(now),
            steady: Mutex::new(SteadyClock::new(newest, started)),
            closed: AtomicBool::new(false),
            signal: Arc::default(),
            threads: Mutex::default(),
            ended: CancellationToken::new(),
        };
        tsdb.sweep(now, tsdb.believed(now));
        Arc::new(tsdb)
    }

    /// Starts the threads that write the log at least once a second, enforce retention and take
    /// snapshots. Without them, calling [`Self::flush`] and [`Self::maintain`] is up to the caller.
    pub fn start_background(self: &Arc<Self>) -> Result<(), TsdbError> {
        let threads = background::start(self).map_err(TsdbError::Threads)?;
        lock(&self.threads).extend(threads);
        Ok(())
    }

    /// Cancelled when a background thread has ended: the store was closed, or the thread panicked.
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Drops what is past retention at `now`, and takes a snapshot when one is due. Takes as long as
    /// writing all samples to disk takes; appends and queries go on meanwhile.
    pub fn maintain(&self, now: TimestampMs) {
        self.sweep(now, now);
        self.snapshot_if_due(now);
    }

    /// The same by the clock, as far as it is believed.
    fn maintain_by_clock(&self) {
        let now = self.clock.now();
        self.sweep(now, self.believed(now));
        self.snapshot_if_due(now);
    }

    fn snapshot_if_due(&self, now: TimestampMs) {
        if let Some(durable) = &self.durable {
            durable.snapshot_if_due(&self.head, now);
        }
    }

    /// What time retention goes by. What is in memory alone follows whatever time its owner has.
    fn believed(&self, now: TimestampMs) -> TimestampMs {
        if self.durable.is_none() {
            return now;
        }
        lock(&self.steady).believe(now, Instant::now())
    }

    fn sweep(&self, now: TimestampMs, believed: TimestampMs) {
        self.last_sweep.store(now, Ordering::Relaxed);
        let retention = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        self.head.drop_before(believed.saturating_sub(retention));
    }

    /// Writes and syncs the log. What a failing disk does not take is kept and tried again with the
    /// next call.
    pub fn flush(&self) -> io::Result<()> {
        self.durable.as_ref().map_or(Ok(()), |durable| durable.wal.flush())
    }

    /// Refuses whatever comes from now on, ends the background threads and flushes the log.
    pub fn close(&self) -> io::Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        self.signal.stop();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            if thread.join().is_err() {
                tracing::error!("A thread of the storage had panicked");
            }
        }
        self.flush()
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The oldest instant for which samples are accepted: that of the newest sample less the window.
    /// A sample from the future must not lock out the present, hence never later than now less the
    /// window. Source: Prometheus 3.14 `tsdb/head_append.go`, `appendableMinValidTime`.
    fn min_valid(&self) -> TimestampMs {
        let window = i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX);
        self.head
            .max_time()
            .map_or(TimestampMs::MIN, |newest| newest.min(self.clock.now()).saturating_sub(window))
    }

    fn append_all<T: BatchItem>(&self, batch: &[T]) -> Vec<(usize, AppendError)> {
        if self.is_closed() {
            return (0..batch.len()).map(|index| (index, AppendError::Closed)).collect();
        }
        if batch.len() <= T::PER_FRAME {
            return self.append_batch(batch);
        }
        let parts = (0..).step_by(T::PER_FRAME).zip(batch.chunks(T::PER_FRAME));
        let refused = parts.flat_map(|(offset, part)| {
            self.append_batch(part).into_iter().map(move |(index, error)| (offset + index, error))
        });
        refused.collect()
    }

    fn append_batch<T: BatchItem>(&self, batch: &[T]) -> Vec<(usize, AppendError)> {
        let min_valid = self.min_valid();
        let Some(Durable { wal, .. }) = &self.durable else {
            return self.head.append(batch, min_valid, None);
        };
        // Held throughout, so that the log has the samples of a series in the order of the memory.
        let mut queue = wal.queue();
        let Some(mut log) = wal.begin(&mut queue) else {
            let refused = self.head.append(batch, min_valid, None);
            wal.missed((batch.len() - refused.len()) as u64);
            return refused;
        };
        let refused = self.head.append(batch, min_valid, Some(&mut log));
        wal.commit(&mut queue, &log, &self.head.declarations(&log));
        drop(queue);
        if wal.wants_flush() {
            self.signal.want_flush();
        }
        refused
    }

    /// Runs a query that looks at so many series, on a thread of its own when it may take long.
    async fn query<R: Send + 'static>(
        &self,
        series: usize,
        query: impl FnOnce(&Head) -> R + Send + 'static,
    ) -> Result<R, SelectError> {
        if self.is_closed() {
            return Err(SelectError::Closed);
        }
        let offload = series >= SERIES_FOR_OFFLOADING;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if offload => {
                let head = Arc::clone(&self.head);
                // It fails when the runtime shuts down, or by a panic, which is passed on.
                match runtime.spawn_blocking(move || query(&head)).await {
                    Ok(result) => Ok(result),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => Err(SelectError::Closed),
                }
            }
            _ => Ok(query(&self.head)),
        }
    }
}

impl Drop for Tsdb {
    fn drop(&mut self) {
        self.signal.stop();
        // Who wants to know whether it worked calls `close`.
        let _ = self.flush();
    }
}

impl Durable {
    fn open(
        head: &Head,
        path: &Path,
        disk: SharedDisk,
        config: &Config,
        opened: &mut OpenReport,
    ) -> Result<Self, TsdbError> {
        let failed = |source| TsdbError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = DirectoryLock::take(path)
            .map_err(failed)?
            .ok_or_else(|| TsdbError::Locked { path: path.to_owned() })?;
        let replayed = replay::replay(head, path).map_err(failed)?;
        opened.corruptions = replayed.corruptions;
        opened.truncated_bytes = replayed.truncated_bytes;
        opened.unknown_references = replayed.unknown_references;
        let wal = Wal::new(path.to_owned(), Arc::clone(&disk), replayed.next_segment, replayed.wal_size);
        Ok(Self::new(path, disk, wal, config, Some(lock)))
    }

    fn new(path: &Path, disk: SharedDisk, wal: Wal, config: &Config, lock: Option<DirectoryLock>) -> Self {
        Self {
            directory: path.to_owned(),
            disk,
            wal,
            snapshot_interval: config.snapshot_interval,
            snapshots: Mutex::new(Snapshots { last: config.clock.now(), failing: false }),
            snapshots_taken: AtomicU64::new(0),
            snapshot_failures: AtomicU64::new(0),
            _lock: lock,
        }
    }

    fn snapshot_if_due(&self, head: &Head, now: TimestampMs) {
        let mut snapshots = lock(&self.snapshots);
        let interval = i64::try_from(self.snapshot_interval.as_millis()).unwrap_or(i64::MAX);
        let old = now.saturating_sub(snapshots.last) >= interval && self.wal.size() > 0;
        if !old && self.wal.size() < WAL_SIZE_FOR_SNAPSHOT && !self.wal.is_incomplete() {
            return;
        }
        match self.snapshot(head) {
            Ok(()) => {
                snapshots.last = now;
                snapshots.failing = false;
                self.snapshots_taken.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.snapshot_failures.fetch_add(1, Ordering::Relaxed);
                if !snapshots.failing {
                    let directory = self.directory.display();
                    tracing::warn!(%error, "Taking a snapshot in `{directory}` fails: {error}; the log is kept");
                }
                snapshots.failing = true;
            }
        }
    }

    fn snapshot(&self, head: &Head) -> io::Result<()> {
        let cut = self.wal.cut();
        if let Err(error) = snapshot::write(head, &*self.disk, &self.directory, cut.segment) {
            self.wal.snapshot_failed(&cut);
            return Err(error);
        }
        self.wal.remove_before(&cut)
    }
}

impl Queryable for Tsdb {
    fn resolve<'a>(
        &'a self,
        matchers: &'a [Matcher],
        lifetime: Lifetime,
    ) -> BoxFuture<'a, Result<Arc<SeriesSet>, SelectError>> {
        if let Lifetime::Lasting(Some(_)) = lifetime {
            // What is known is only looked through, and nearly always right.
            let resolved = if self.is_closed() {
                Err(SelectError::Closed)
            } else {
                Ok(self.head.resolve(matchers, lifetime))
            };
            return ready(resolved).boxed();
        }
        let matchers = matchers.to_vec();
        self.query(self.head.effort(&matchers), move |head| head.resolve(&matchers, lifetime)).boxed()
    }

    fn read<'a>(
        &'a self,
        set: &'a Arc<SeriesSet>,
        hints: &'a SelectHints,
    ) -> BoxFuture<'a, Result<Samples, SelectError>> {
        let (set, hints) = (Arc::clone(set), *hints);
        async move { self.query(set.len(), move |head| head.read(&set, &hints)).await? }.boxed()
    }

    fn series<'a>(
        &'a self,
        matchers: &'a [Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> BoxFuture<'a, Result<Vec<Labels>, SelectError>> {
        let matchers = matchers.to_vec();
        self.query(self.head.effort(&matchers), move |head| head.series(&matchers, start, end)).boxed()
    }

    fn label_names<'a>(
        &'a self,
        matchers: &'a [Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> BoxFuture<'a, Result<Vec<String>, SelectError>> {
        let matchers = matchers.to_vec();
        self.query(self.head.effort(&matchers), move |head| head.label_names(&matchers, start, end)).boxed()
    }

    fn label_values<'a>(
        &'a self,
        name: &'a str,
        matchers: &'a [Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> BoxFuture<'a, Result<Vec<String>, SelectError>> {
        let (name, matchers) = (name.to_owned(), matchers.to_vec());
        self.query(self.head.effort(&matchers), move |head| head.label_values(&name, &matchers, start, end))
            .boxed()
    }
}

impl Appender for Tsdb {
    fn reference(&self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        if self.is_closed() {
            return Err(AppendError::Closed);
        }
        if !labels.has(METRIC_NAME) {
            return Err(AppendError::InvalidLabels);
        }
        if let Some(series) = self.head.find(labels) {
            return Ok(series);
        }
        if self.head.is_full() {
            let now = self.clock.now();
            if now.saturating_sub(self.last_sweep.load(Ordering::Relaxed)) >= SWEEP_PAUSE_MS {
                self.sweep(now, self.believed(now));
            }
            if self.head.is_full() {
                self.head.counters.series_refused.fetch_add(1, Ordering::Relaxed);
                return Err(AppendError::SeriesLimit);
            }
        }
        Ok(self.head.create(labels))
    }

    fn append(&self, batch: &[RefSample]) -> Vec<(usize, AppendError)> {
        self.append_all(batch)
    }

    fn append_histograms(&self, batch: &[RefHistogram]) -> Vec<(usize, AppendError)> {
        self.append_all(batch)
    }
}
