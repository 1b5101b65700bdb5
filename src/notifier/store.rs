//! Where outboxes survive the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::model::TimestampMs;

/// An alert that still has to reach an Alertmanager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The Alertmanager.
    pub destination: String,
    /// The alert.
    pub fingerprint: u64,
    /// Rises with every change to the outbox of the Alertmanager.
    pub sequence: u64,
    /// Since when it has waited.
    pub queued_at: TimestampMs,
    /// The alert as it is posted.
    pub body: Vec<u8>,
}

/// A change to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxChange {
    /// The alert waits; an older entry of the same alert for the same Alertmanager is replaced.
    Put(OutboxEntry),
    /// The alert waits no longer.
    Remove {
        /// The Alertmanager.
        destination: String,
        /// The alert.
        fingerprint: u64,
    },
}

/// The store cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("outbox store: {0}")]
pub struct OutboxStoreError(pub String);

/// Keeps outboxes. What `save` has accepted survives `kill -9`.
pub trait OutboxStore: Send + Sync {
    /// Everything that was waiting.
    fn load(&self) -> Result<Vec<OutboxEntry>, OutboxStoreError>;

    /// Writes changes down, all or none. May block for the length of a disk flush.
    fn save(&self, changes: Vec<OutboxChange>) -> Result<(), OutboxStoreError>;
}

/// Outboxes that do not survive the process: for tests and for running without a data folder.
#[derive(Debug, Default)]
pub struct MemoryOutbox(Mutex<BTreeMap<(String, u64), OutboxEntry>>);

impl OutboxStore for MemoryOutbox {
    fn load(&self) -> Result<Vec<OutboxEntry>, OutboxStoreError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }

    fn save(&self, changes: Vec<OutboxChange>) -> Result<(), OutboxStoreError> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change {
                OutboxChange::Put(entry) => {
                    entries.insert((entry.destination.clone(), entry.fingerprint), entry);
                }
                OutboxChange::Remove { destination, fingerprint } => {
                    entries.remove(&(destination, fingerprint));
                }
            }
        }
        Ok(())
    }
}
