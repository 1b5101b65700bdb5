//! Where a replay's alert states go: what happens to alerts is all that is kept.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::incident::Incidents;
use crate::rules::{Alert, AlertSink};
use crate::state::{
    Changes, HeartbeatRecord, LedgerEntry, LedgerQuestion, OutboxEntry, StateError, StateStore, StoredRule,
};

/// Puts the transitions of a replay together.
#[derive(Debug)]
pub(super) struct Journal(Mutex<Incidents>);

impl Journal {
    pub(super) fn new(incidents: Incidents) -> Self {
        Self(Mutex::new(incidents))
    }

    pub(super) fn incidents(&self) -> MutexGuard<'_, Incidents> {
        // A panic elsewhere while the lock was held leaves whole steps behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Journal {
    fn rules(&self) -> BoxFuture<'_, Result<Vec<StoredRule>, StateError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn outbox(&self) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StateError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn heartbeats(&self) -> BoxFuture<'_, Result<Vec<HeartbeatRecord>, StateError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn ledger(&self, _: LedgerQuestion) -> BoxFuture<'_, Result<Vec<LedgerEntry>, StateError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), StateError>> {
        let mut incidents = self.incidents();
        for rule in changes.rules {
            for step in rule.transitions {
                incidents.add(&rule.key, step);
            }
        }
        ready(Ok(())).boxed()
    }
}

/// Takes alerts that nobody is to get.
pub(super) struct Nobody;

impl AlertSink for Nobody {
    fn send(&self, _: Vec<Alert>) {}
}
