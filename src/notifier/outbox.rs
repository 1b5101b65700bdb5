//! What still has to reach one Alertmanager: pure bookkeeping.
//!
//! The newest state of an alert replaces an older one that was not delivered yet, so that the outbox
//! never holds more entries than there are alerts. Each entry has a number: what was acknowledged is
//! forgotten only if nothing newer came in between.

use std::collections::BTreeMap;

use crate::model::TimestampMs;

/// Identifies an alert: the hash of its labels.
pub(super) type Fingerprint = u64;

/// One alert that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Rises with every change.
    pub(super) sequence: u64,
    /// When the alert entered the outbox for the first time since it was last delivered.
    pub(super) queued_at: TimestampMs,
    /// The alert as it is posted.
    pub(super) body: Vec<u8>,
}

impl Entry {
    /// The entry as it is written down: the time in milliseconds, eight bytes with the lowest first, and
    /// the alert.
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.queued_at.to_le_bytes(), self.body.as_slice()].concat()
    }

    /// The way back; nothing if that is no entry.
    pub(super) fn decode(sequence: u64, payload: &[u8]) -> Option<Self> {
        let (queued_at, body) = payload.split_first_chunk()?;
        Some(Self { sequence, queued_at: TimestampMs::from_le_bytes(*queued_at), body: body.to_vec() })
    }
}

/// A change that has to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The alert waits, with this entry.
    Put(Fingerprint, Entry),
    /// The alert was delivered, in the state that had this number.
    Remove(Fingerprint, u64),
}

/// The outbox of one Alertmanager.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<Fingerprint, Entry>,
    capacity: usize,
    next_sequence: u64,
    unsaved: Vec<Change>,
}

impl Outbox {
    /// An outbox with what was waiting when the process ended.
    pub(super) fn restored(capacity: usize, entries: impl IntoIterator<Item = (Fingerprint, Entry)>) -> Self {
        let waiting: BTreeMap<_, _> = entries.into_iter().collect();
        let next_sequence = waiting.values().map(|entry| entry.sequence + 1).max().unwrap_or(0);
        Self { waiting, capacity, next_sequence, unsaved: Vec::new() }
    }

    /// Adds or replaces an alert. Returns whether another one had to be dropped for it: the one that
    /// has waited longest.
    pub(super) fn put(&mut self, fingerprint: Fingerprint, body: Vec<u8>, now: TimestampMs) -> bool {
        let queued_at = self.waiting.get(&fingerprint).map_or(now, |entry| entry.queued_at);
        let full = self.waiting.len() >= self.capacity && !self.waiting.contains_key(&fingerprint);
        let dropped = if full { self.longest_waiting() } else { None };
        if let Some(oldest) = dropped {
            if let Some(entry) = self.waiting.remove(&oldest) {
                self.unsaved.push(Change::Remove(oldest, entry.sequence));
            }
        }
        let entry = Entry { sequence: self.next_sequence, queued_at, body };
        self.next_sequence += 1;
        self.unsaved.push(Change::Put(fingerprint, entry.clone()));
        self.waiting.insert(fingerprint, entry);
        dropped.is_some()
    }

    fn longest_waiting(&self) -> Option<Fingerprint> {
        self.waiting.iter().min_by_key(|(_, entry)| entry.sequence).map(|(key, _)| *key)
    }

    /// Up to `limit` entries, those that have waited longest first.
    pub(super) fn batch(&self, limit: usize) -> Vec<(Fingerprint, Entry)> {
        let mut batch: Vec<_> = self.waiting.iter().map(|(key, entry)| (*key, entry.clone())).collect();
        batch.sort_by_key(|(_, entry)| entry.sequence);
        batch.truncate(limit);
        batch
    }

    /// Forgets an entry that was delivered (or refused for good), unless a newer one took its place.
    pub(super) fn settle(&mut self, fingerprint: Fingerprint, sequence: u64) {
        if self.waiting.get(&fingerprint).is_some_and(|entry| entry.sequence == sequence) {
            self.waiting.remove(&fingerprint);
            self.unsaved.push(Change::Remove(fingerprint, sequence));
        }
    }

    /// How many alerts wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The changes since the last call, to be written down.
    pub(super) fn take_unsaved(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.unsaved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(outbox: &Outbox) -> Vec<(Fingerprint, Vec<u8>)> {
        outbox.batch(99).into_iter().map(|(key, entry)| (key, entry.body)).collect()
    }

    #[test]
    fn the_newest_state_of_an_alert_replaces_the_older_one() {
        let mut outbox = Outbox::restored(10, []);
        outbox.put(1, b"firing".to_vec(), 100);
        outbox.put(2, b"other".to_vec(), 101);
        outbox.put(1, b"resolved".to_vec(), 102);
        assert_eq!(bodies(&outbox), [(2, b"other".to_vec()), (1, b"resolved".to_vec())]);
        assert_eq!(outbox.batch(9)[1].1.queued_at, 100, "the alert has waited since its first state");
    }

    #[test]
    fn what_changed_during_delivery_stays() {
        let mut outbox = Outbox::restored(10, []);
        outbox.put(1, b"firing".to_vec(), 100);
        let sent = outbox.batch(1).remove(0).1.sequence;
        outbox.put(1, b"resolved".to_vec(), 101);
        outbox.settle(1, sent);
        assert_eq!(bodies(&outbox), [(1, b"resolved".to_vec())]);
        let sent = outbox.batch(1).remove(0).1.sequence;
        outbox.settle(1, sent);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn an_entry_survives_being_written_down() {
        let entry = Entry { sequence: 7, queued_at: -5, body: b"{}".to_vec() };
        assert_eq!(Entry::decode(7, &entry.encode()), Some(entry));
        assert_eq!(Entry::decode(7, b"short"), None);
    }

    #[test]
    fn a_full_outbox_drops_what_has_waited_longest() {
        let mut outbox = Outbox::restored(2, []);
        assert!(!outbox.put(1, b"1".to_vec(), 0));
        assert!(!outbox.put(2, b"2".to_vec(), 0));
        assert!(!outbox.put(1, b"1b".to_vec(), 0), "a known alert needs no room");
        assert!(outbox.put(3, b"3".to_vec(), 0));
        assert_eq!(bodies(&outbox), [(1, b"1b".to_vec()), (3, b"3".to_vec())]);
    }

    #[test]
    fn a_restored_outbox_goes_on_with_its_numbers() {
        let mut before = Outbox::restored(10, []);
        before.put(7, b"x".to_vec(), 5);
        let saved = before.take_unsaved().into_iter().filter_map(|change| match change {
            Change::Put(key, entry) => Some((key, entry)),
            Change::Remove(..) => None,
        });
        let mut after = Outbox::restored(10, saved);
        after.put(8, b"y".to_vec(), 6);
        assert_eq!(bodies(&after), [(7, b"x".to_vec()), (8, b"y".to_vec())]);
        assert_eq!(after.batch(1)[0].1.queued_at, 5);
    }
}
