//! How the store is doing, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::TimestampMs;

use super::Tsdb;
use super::head::Counters;

/// The state of a store and what happened to it since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series that are stored.
    pub series: u64,
    /// Samples that are stored, floats and native histograms.
    pub samples: u64,
    /// Chunks that are stored.
    pub chunks: u64,
    /// What samples, labels and the log's queue take in memory, in bytes: an estimate that follows the
    /// allocator's block sizes.
    pub memory_bytes: u64,
    /// What of it sets of series take that are kept for prepared queries, in bytes.
    pub kept_set_bytes: u64,
    /// How often a selector of a prepared query had to be resolved anew.
    pub sets_resolved: u64,
    /// How often the series that it had found before were still all that it finds.
    pub sets_confirmed: u64,
    /// The ceiling for the memory, in bytes.
    pub memory_limit_bytes: u64,
    /// An instant before which there is no sample.
    pub min_time: Option<TimestampMs>,
    /// The instant of the newest sample.
    pub max_time: Option<TimestampMs>,
    /// Floats that were appended.
    pub samples_appended: u64,
    /// Native histograms that were appended.
    pub histograms_appended: u64,
    /// Floats refused as older than the newest sample of their series.
    pub out_of_order_samples: u64,
    /// Native histograms refused for that.
    pub out_of_order_histograms: u64,
    /// Floats refused as older than the acceptance window.
    pub out_of_bounds_samples: u64,
    /// Native histograms refused for that.
    pub out_of_bounds_histograms: u64,
    /// Samples of both kinds refused for another value at the same instant.
    pub duplicate_samples: u64,
    /// Series that were created, those read at the start included.
    pub series_created: u64,
    /// Series that were dropped.
    pub series_removed: u64,
    /// Series that were refused because of the memory ceiling.
    pub series_refused: u64,
    /// Chunks that were begun, those read at the start included.
    pub chunks_created: u64,
    /// Chunks that were dropped.
    pub chunks_removed: u64,
    /// Chunks among them that were dropped because of the memory ceiling.
    pub chunks_evicted: u64,
    /// The size of the log that the next start will read, in bytes.
    pub wal_bytes: u64,
    /// Bytes of it that wait for the disk.
    pub wal_queued_bytes: u64,
    /// Damaged places found in the files when the store was opened.
    pub wal_corruptions: u64,
    /// Writes of the log that failed and were tried again.
    pub wal_write_failures: u64,
    /// Samples that are in memory and did not get into the log, because it could not be written for
    /// too long.
    pub wal_dropped_samples: u64,
    /// Snapshots that were taken.
    pub snapshots: u64,
    /// Snapshots that failed.
    pub snapshot_failures: u64,
    /// How long reading the files took when the store was opened.
    pub replay_duration: Duration,
}

impl Tsdb {
    /// The current numbers. They are read one after another while the store works on.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.head.counters;
        let [floats, histograms] = counters.samples.both();
        let (samples_appended, histograms_appended) = (read(&floats.appended), read(&histograms.appended));
        let stored = read(&counters.restored) + samples_appended + histograms_appended;
        let mut stats = Stats {
            series: self.head.series_count() as u64,
            samples: stored.saturating_sub(read(&counters.points_removed)),
            chunks: read(&counters.chunks_created).saturating_sub(read(&counters.chunks_removed)),
            memory_bytes: self.head.memory(),
            kept_set_bytes: self.head.kept.bytes(),
            sets_resolved: read(&self.head.kept.resolved),
            sets_confirmed: read(&self.head.kept.confirmed),
            memory_limit_bytes: self.head.limits.max_memory,
            min_time: self.head.min_time(),
            max_time: self.head.max_time(),
            samples_appended,
            histograms_appended,
            out_of_order_samples: read(&floats.out_of_order),
            out_of_order_histograms: read(&histograms.out_of_order),
            out_of_bounds_samples: read(&floats.out_of_bounds),
            out_of_bounds_histograms: read(&histograms.out_of_bounds),
            duplicate_samples: read(&floats.duplicates) + read(&histograms.duplicates),
            series_created: read(&counters.series_created),
            series_removed: read(&counters.series_removed),
            series_refused: read(&counters.series_refused),
            chunks_created: read(&counters.chunks_created),
            chunks_removed: read(&counters.chunks_removed),
            chunks_evicted: read(&counters.chunks_evicted),
            wal_corruptions: self.opened.corruptions,
            replay_duration: self.opened.duration,
            ..Stats::default()
        };
        if let Some(durable) = &self.durable {
            stats.wal_bytes = durable.wal.size();
            stats.wal_queued_bytes = durable.wal.queued();
            stats.memory_bytes += stats.wal_queued_bytes;
            stats.wal_write_failures = read(&durable.wal.counters.write_failures);
            stats.wal_dropped_samples = read(&durable.wal.counters.dropped_samples);
            stats.snapshots = read(&durable.snapshots_taken);
            stats.snapshot_failures = read(&durable.snapshot_failures);
        }
        stats
    }
}

impl Counters {
    /// Ends the reading of files: what was read was not appended, and what was there twice was not
    /// refused. Returns how many samples were read.
    pub(super) fn start_after_replay(&self) -> u64 {
        let mut samples = 0;
        for counters in self.samples.both() {
            counters.out_of_order.store(0, Ordering::Relaxed);
            counters.duplicates.store(0, Ordering::Relaxed);
            samples += counters.appended.swap(0, Ordering::Relaxed);
        }
        self.restored.store(samples, Ordering::Relaxed);
        samples
    }
}
