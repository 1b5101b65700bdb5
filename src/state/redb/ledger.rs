//! The ledger in the file.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use prometheus_client::metrics::counter::Counter;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::super::{
    Changes, LedgerEntry, LedgerLimits, LedgerQuestion, Phase, RuleChanges, StateError, ledger_record,
};
use super::storage;
use crate::model::TimestampMs;

/// The two fingerprints and the name of an alert, and the entry.
type LedgerRow = (u64, u64, &'static str, &'static [u8]);

/// Entries of the ledger by instant and number. Files of earlier versions do not have it.
const LEDGER: TableDefinition<'_, (TimestampMs, u64), LedgerRow> = TableDefinition::new("ledger");
/// Entries of the ledger, newest first.
pub(super) fn read(
    transaction: &ReadTransaction,
    question: &LedgerQuestion,
    unreadable: &Counter,
) -> Result<Vec<LedgerEntry>, StateError> {
    let ledger = match transaction.open_table(LEDGER) {
        Ok(ledger) => ledger,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(storage(error)),
    };
    let mut entries = Vec::new();
    let since = question.since.unwrap_or(TimestampMs::MIN);
    for row in ledger.range((since, 0)..).map_err(storage)?.rev() {
        if entries.len() >= question.limit {
            break;
        }
        let (_, row) = row.map_err(storage)?;
        let (fingerprint, own, alert, bytes) = row.value();
        if !question.wants([fingerprint, own], alert) {
            continue;
        }
        match ledger_record::decode(bytes) {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                unreadable.inc();
                tracing::error!(alert, %error, "An entry of the ledger about `{alert}` cannot be read");
            }
        }
    }
    Ok(entries)
}

/// Adds what has happened to alerts, and drops what is too old or too much.
pub(super) fn write(
    transaction: &WriteTransaction,
    changes: &Changes,
    limits: LedgerLimits,
) -> Result<(), redb::Error> {
    if limits.max_entries == 0 || changes.rules.iter().all(|rule| rule.transitions.is_empty()) {
        return Ok(());
    }
    let mut ledger = transaction.open_table(LEDGER)?;
    let mut newest = TimestampMs::MIN;
    let mut known: BTreeMap<TimestampMs, AtOnce> = BTreeMap::new();
    for RuleChanges { key, rule, transitions, .. } in &changes.rules {
        for transition in transitions {
            newest = newest.max(transition.at);
            let entry = LedgerEntry { key: key.clone(), rule: rule.clone(), transition: transition.clone() };
            let at_once = match known.entry(transition.at) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(AtOnce::read(&ledger, transition.at)?),
            };
            if !at_once.steps.insert(step(&entry)) {
                continue;
            }
            let bytes = ledger_record::encode(&entry);
            let row = (entry.fingerprint(), entry.own_fingerprint(), entry.alert(), bytes.as_slice());
            ledger.insert((transition.at, at_once.next), row)?;
            at_once.next += 1;
        }
    }
    let oldest = newest.saturating_sub(limits.retention_ms);
    ledger.retain_in(..(oldest, 0), |_, _| false)?;
    while ledger.len()? > limits.max_entries {
        ledger.pop_first()?;
    }
    Ok(())
}

/// What the ledger has about an instant.
struct AtOnce {
    /// The number that the next entry gets.
    next: u64,
    /// What has happened. A commit that took too long is asked for again, and may have succeeded meanwhile.
    steps: HashSet<Step>,
}

/// What tells a step from the others of its instant, as far as it is stored.
#[derive(PartialEq, Eq, Hash)]
struct Step {
    /// File, group and name of the rule.
    rule: [String; 3],
    /// Where the rule is, line and column: several may have the same name.
    place: (usize, usize),
    /// The alert's labels.
    alert: u64,
    severity: Option<String>,
    from: Option<Phase>,
    to: Phase,
}

fn step(entry: &LedgerEntry) -> Step {
    let LedgerEntry { key, rule, transition } = entry;
    Step {
        rule: [key.file.clone(), key.group.clone(), key.rule.clone()],
        place: (rule.place.line, rule.place.column),
        alert: transition.labels.hash64(),
        severity: transition.severity.clone(),
        from: transition.from,
        to: transition.to,
    }
}

impl AtOnce {
    fn read(
        ledger: &impl ReadableTable<(TimestampMs, u64), LedgerRow>,
        at: TimestampMs,
    ) -> Result<Self, redb::Error> {
        let (mut next, mut steps) = (0, HashSet::new());
        for row in ledger.range((at, 0)..=(at, u64::MAX))? {
            let (key, row) = row?;
            next = key.value().1 + 1;
            // One that cannot be read is no reason to leave another out.
            steps.extend(ledger_record::decode(row.value().3).iter().map(step));
        }
        Ok(Self { next, steps })
    }
}
