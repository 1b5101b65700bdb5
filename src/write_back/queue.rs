//! What waits to be sent.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{HistogramSample, Sample};

/// How many samples wait at most. Those of 1,000 series that are recorded every 15 seconds last for 25
/// minutes; they take some ten MB.
pub(super) const CAPACITY: usize = 100_000;

/// How many samples a request has. Source: Prometheus 3.14 `config/config.go`, `DefaultQueueConfig`.
const BATCH: usize = 2_000;

/// Samples in the order in which they were recorded. Of too many the oldest go.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// How many were ever taken from the front: tells whether a batch is still there.
    taken: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Item {
    Float(Sample),
    Histogram(HistogramSample),
}

/// What is sent at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) samples: Vec<Sample>,
    pub(super) histograms: Vec<HistogramSample>,
    /// Behind its last sample, counted from the first that was ever queued.
    end: u64,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.samples.len() + self.histograms.len()
    }
}

impl Queue {
    /// Appends samples; returns how many were dropped for it.
    pub(super) fn push(&mut self, samples: &[Sample], histograms: &[HistogramSample]) -> usize {
        self.items.extend(samples.iter().cloned().map(Item::Float));
        self.items.extend(histograms.iter().cloned().map(Item::Histogram));
        let excess = self.items.len().saturating_sub(CAPACITY);
        self.remove(excess);
        excess
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The samples that have waited longest; they stay until they are settled.
    pub(super) fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        for item in self.items.iter().take(BATCH) {
            match item {
                Item::Float(sample) => batch.samples.push(sample.clone()),
                Item::Histogram(sample) => batch.histograms.push(sample.clone()),
            }
        }
        batch.end = self.taken + batch.len() as u64;
        batch
    }

    /// Removes a batch; what of it was dropped in the meantime is gone already.
    pub(super) fn settle(&mut self, batch: &Batch) {
        let left = batch.end.saturating_sub(self.taken);
        self.remove(usize::try_from(left).unwrap_or(usize::MAX));
    }

    /// Removes everything; returns how many samples that were.
    pub(super) fn clear(&mut self) -> usize {
        let count = self.items.len();
        self.remove(count);
        count
    }

    fn remove(&mut self, count: usize) {
        let count = count.min(self.items.len());
        self.items.drain(..count);
        self.taken += count as u64;
    }
}

pub(super) fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    // Items are moved one by one: a panic leaves a queue behind that can be used.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn samples(range: std::ops::Range<i64>) -> Vec<Sample> {
        range.map(|at| Sample::new(Labels::from_pairs([("__name__", "r")]), at, 1.0)).collect()
    }

    #[test]
    fn of_too_many_samples_the_oldest_go() {
        let mut queue = Queue::default();
        let capacity = CAPACITY as i64;
        assert_eq!(queue.push(&samples(0..capacity), &[]), 0);
        assert_eq!(queue.push(&samples(capacity..capacity + 3), &[]), 3);
        assert_eq!(queue.len(), CAPACITY);
        assert_eq!(queue.batch().samples[0].at, 3);
    }

    #[test]
    fn a_batch_stays_until_it_is_settled_and_then_goes_alone() {
        let mut queue = Queue::default();
        queue.push(&samples(0..BATCH as i64 + 5), &[]);
        let batch = queue.batch();
        assert_eq!((batch.len(), queue.len()), (BATCH, BATCH + 5));
        queue.settle(&batch);
        assert_eq!(queue.batch().samples[0].at, BATCH as i64);
        // Some of the batch were dropped while it was on its way.
        let batch = queue.batch();
        queue.push(&samples(0..CAPACITY as i64 - 2), &[]);
        queue.settle(&batch);
        assert_eq!(queue.len(), CAPACITY - 2);
        assert_eq!(queue.batch().samples[0].at, 0);
        assert_eq!((queue.clear(), queue.len()), (CAPACITY - 2, 0));
    }
}
