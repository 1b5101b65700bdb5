//! Writing the samples of one source to the store, with an end for those that vanish.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::{Labels, Sample, TimestampMs, stale_nan};
use crate::storage::{AppendError, Appender};

/// Writes what one source says, round after round, and marks as stale what it no longer says.
pub(super) struct Publisher {
    appender: Arc<dyn Appender>,
    previous: HashSet<Labels>,
    last_at: TimestampMs,
}

impl Publisher {
    pub(super) fn new(appender: Arc<dyn Appender>) -> Self {
        Self { appender, previous: HashSet::new(), last_at: TimestampMs::MIN }
    }

    /// Writes one round. Returns what was refused.
    pub(super) fn publish(&mut self, samples: &[Sample], at: TimestampMs) -> Vec<AppendError> {
        let current: HashSet<Labels> = samples.iter().map(|sample| sample.labels.clone()).collect();
        let mut batch = samples.to_vec();
        batch.extend(
            self.previous.difference(&current).map(|gone| Sample::new(gone.clone(), at, stale_nan())),
        );
        self.previous = current;
        self.last_at = at;
        self.append(&batch)
    }

    /// Ends all series of the source.
    pub(super) fn end(&mut self, now: TimestampMs) -> Vec<AppendError> {
        let at = now.max(self.last_at.saturating_add(1));
        let batch: Vec<_> = self.previous.drain().map(|gone| Sample::new(gone, at, stale_nan())).collect();
        self.append(&batch)
    }

    fn append(&self, batch: &[Sample]) -> Vec<AppendError> {
        self.appender.append_samples(batch).into_iter().map(|(_, error)| error).collect()
    }
}
