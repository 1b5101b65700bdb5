//! What batches hold: floats or native histograms, which are stored, logged and counted in the same way.

use std::sync::atomic::AtomicU64;

use crate::model::TimestampMs;
use crate::storage::{AppendError, RefHistogram, RefSample, SeriesRef};

use super::record::BatchWriter;
use super::series::{AppendRules, SeriesData, Tally};

/// What happened to the samples of one kind.
#[derive(Debug, Default)]
pub(super) struct SampleCounters {
    pub(super) appended: AtomicU64,
    pub(super) out_of_order: AtomicU64,
    pub(super) out_of_bounds: AtomicU64,
    pub(super) duplicates: AtomicU64,
}

/// The counters of both kinds.
#[derive(Debug, Default)]
pub(super) struct CountersByKind {
    pub(super) floats: SampleCounters,
    pub(super) histograms: SampleCounters,
}

impl CountersByKind {
    pub(super) fn both(&self) -> [&SampleCounters; 2] {
        [&self.floats, &self.histograms]
    }
}

/// One thing to append to a series.
pub(super) trait BatchItem {
    /// The most of them in one frame of the log: appenders wait for one another that long.
    const PER_FRAME: usize;

    fn series(&self) -> SeriesRef;

    fn at(&self) -> TimestampMs;

    /// Adds it to the series; `false` if it is already there.
    fn store(
        &self,
        data: &mut SeriesData,
        rules: &AppendRules,
        tally: &mut Tally,
    ) -> Result<bool, AppendError>;

    fn write(&self, log: &mut BatchWriter);

    fn counters(counters: &CountersByKind) -> &SampleCounters;
}

impl BatchItem for RefSample {
    const PER_FRAME: usize = 4_096;

    #[inline]
    fn series(&self) -> SeriesRef {
        self.series
    }

    #[inline]
    fn at(&self) -> TimestampMs {
        self.at
    }

    #[inline]
    fn store(
        &self,
        data: &mut SeriesData,
        rules: &AppendRules,
        tally: &mut Tally,
    ) -> Result<bool, AppendError> {
        data.append(self.at, self.value.to_bits(), rules, tally)
    }

    #[inline]
    fn write(&self, log: &mut BatchWriter) {
        log.push(self.series, self.at, self.value.to_bits());
    }

    fn counters(counters: &CountersByKind) -> &SampleCounters {
        &counters.floats
    }
}

impl BatchItem for RefHistogram {
    /// One with a hundred buckets takes about as many times the room of a float.
    const PER_FRAME: usize = 256;

    fn series(&self) -> SeriesRef {
        self.series
    }

    fn at(&self) -> TimestampMs {
        self.at
    }

    fn store(
        &self,
        data: &mut SeriesData,
        rules: &AppendRules,
        tally: &mut Tally,
    ) -> Result<bool, AppendError> {
        data.append_histogram(self.at, &self.histogram, rules, tally)
    }

    fn write(&self, log: &mut BatchWriter) {
        log.push_histogram(self.series, self.at, &self.histogram);
    }

    fn counters(counters: &CountersByKind) -> &SampleCounters {
        &counters.histograms
    }
}
