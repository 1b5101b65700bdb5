//! State that lives as long as the process.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::{
    AlertRecord, Changes, HeartbeatRecord, LedgerEntry, LedgerLimits, LedgerQuestion, OutboxEntry, RuleKey,
    StateError, StateStore, StoredRule,
};
use crate::model::TimestampMs;

/// Keeps everything in memory: for tests, and for running where nothing can be written.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    rules: BTreeMap<RuleKey, (TimestampMs, BTreeMap<u64, AlertRecord>)>,
    outbox: BTreeMap<(String, u64), OutboxEntry>,
    /// Newest last.
    ledger: VecDeque<LedgerEntry>,
    heartbeats: BTreeMap<String, HeartbeatRecord>,
    commits: usize,
}

impl MemoryStore {
    /// How many commits that were not empty there have been.
    pub fn commits(&self) -> usize {
        self.with(|content| content.commits)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Content) -> T) -> T {
        // A panic elsewhere while the lock was held leaves whole entries behind.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StateStore for MemoryStore {
    fn rules(&self) -> BoxFuture<'_, Result<Vec<StoredRule>, StateError>> {
        let rules = self.with(|content| {
            let stored = content.rules.iter().map(|(key, (evaluated_at, alerts))| StoredRule {
                key: key.clone(),
                evaluated_at: *evaluated_at,
                alerts: alerts.values().cloned().collect(),
            });
            stored.collect()
        });
        ready(Ok(rules)).boxed()
    }

    fn outbox(&self) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StateError>> {
        let mut entries: Vec<_> = self.with(|content| content.outbox.values().cloned().collect());
        entries.sort_by_key(|entry| entry.sequence);
        ready(Ok(entries)).boxed()
    }

    fn ledger(&self, question: LedgerQuestion) -> BoxFuture<'_, Result<Vec<LedgerEntry>, StateError>> {
        let entries = self.with(|content| {
            let wanted = |entry: &&LedgerEntry| {
                question.since.is_none_or(|since| entry.transition.at >= since)
                    && question.wants([entry.fingerprint(), entry.own_fingerprint()], entry.alert())
            };
            content.ledger.iter().rev().filter(wanted).take(question.limit).cloned().collect()
        });
        ready(Ok(entries)).boxed()
    }

    fn heartbeats(&self) -> BoxFuture<'_, Result<Vec<HeartbeatRecord>, StateError>> {
        ready(Ok(self.with(|content| content.heartbeats.values().cloned().collect()))).boxed()
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), StateError>> {
        if !changes.is_empty() {
            self.with(|content| content.apply(changes));
        }
        ready(Ok(())).boxed()
    }
}

impl Content {
    fn apply(&mut self, changes: Changes) {
        self.commits += 1;
        for rule in changes.rules {
            let (evaluated_at, alerts) = self.rules.entry((*rule.key).clone()).or_default();
            *evaluated_at = rule.evaluated_at;
            for fingerprint in rule.removed {
                alerts.remove(&fingerprint);
            }
            alerts.extend(rule.alerts.into_iter().map(|alert| (alert.labels.hash64(), alert)));
            if alerts.is_empty() {
                self.rules.remove(&*rule.key);
            }
            for transition in rule.transitions {
                let entry = LedgerEntry { key: rule.key.clone(), rule: rule.rule.clone(), transition };
                self.ledger.push_back(entry);
            }
        }
        // What lives as long as the process needs no bound of age.
        let excess = self.ledger.len().saturating_sub(LedgerLimits::default().max_entries as usize);
        self.ledger.drain(..excess);
        for key in changes.removed_rules {
            self.rules.remove(&*key);
        }
        for outdated in changes.outdated {
            let Entry::Occupied(mut rule) = self.rules.entry(outdated.key) else { continue };
            let (evaluated_at, alerts) = rule.get_mut();
            alerts.retain(|_, alert| !outdated.alerts.contains(alert));
            if *evaluated_at == outdated.evaluated_at || alerts.is_empty() {
                rule.remove();
            }
        }
        for entry in changes.outbox {
            self.outbox.insert((entry.alertmanager.clone(), entry.fingerprint), entry);
        }
        for record in changes.heartbeats {
            self.heartbeats.insert(record.name.clone(), record);
        }
        for name in changes.removed_heartbeats {
            self.heartbeats.remove(&name);
        }
        for key in changes.delivered {
            let id = (key.alertmanager, key.fingerprint);
            if let Entry::Occupied(entry) = self.outbox.entry(id)
                && key.sequence.is_none_or(|sequence| entry.get().sequence == sequence)
            {
                entry.remove();
            }
        }
    }
}
