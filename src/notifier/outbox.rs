//! What still has to reach one Alertmanager: pure bookkeeping.
//!
//! The newest state of an alert replaces an older one that was not delivered yet, so that the outbox
//! never holds more entries than there are alerts. Each entry has a number: what was acknowledged is
//! forgotten only if nothing newer came in between.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use bytes::Bytes;

use super::KEEP_LOST;
use crate::model::TimestampMs;

/// How soon an alert that was refused is offered again, in milliseconds: several times within the window
/// over which `NotificationsFailing` looks for failures.
const OFFER_AGAIN_MS: i64 = 30_000;

/// How long a state of an alert is kept that is refused again and again, in milliseconds; for the same
/// reason as that of [`KEEP_LOST`].
const KEEP_REFUSED_MS: i64 = KEEP_LOST.as_millis() as i64;

/// Identifies an alert: the hash of its labels.
pub(super) type Fingerprint = u64;

/// One alert that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Rises with every change.
    pub(super) sequence: u64,
    /// When the alert entered the outbox for the first time since it was last delivered.
    pub(super) queued_at: TimestampMs,
    /// The alert as it is posted. Several outboxes share it.
    pub(super) body: Bytes,
}

impl Entry {
    /// The entry as it is written down: the time in milliseconds, eight bytes with the lowest first, and
    /// the alert.
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.queued_at.to_le_bytes(), &*self.body].concat()
    }

    /// The way back; nothing if that is no entry.
    pub(super) fn decode(sequence: u64, payload: &[u8]) -> Option<Self> {
        let (queued_at, body) = payload.split_first_chunk()?;
        let body = Bytes::copy_from_slice(body);
        Some(Self { sequence, queued_at: TimestampMs::from_le_bytes(*queued_at), body })
    }
}

/// A change that has to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The alert waits, with this entry.
    Put(Entry),
    /// The alert does not wait any more.
    Remove,
}

/// That an alert was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal {
    /// Since when this state of it is; of a newer one, since when it waits.
    since: TimestampMs,
    /// The last time.
    last: TimestampMs,
}

/// What becomes of an alert that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// For the first time: it is offered again after a while.
    First,
    /// It is offered again after a while.
    Again,
    /// For too long: it does not wait any more.
    Dropped,
}

/// The outbox of one Alertmanager.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<Fingerprint, Entry>,
    /// Those that wait, by their numbers.
    order: BTreeSet<(u64, Fingerprint)>,
    /// Those of them that were refused: they let all others go first.
    refused: BTreeMap<Fingerprint, Refusal>,
    capacity: usize,
    next_sequence: u64,
    /// The last change of each alert since changes were last written down.
    unsaved: BTreeMap<Fingerprint, Change>,
}

impl Refusal {
    /// How long the alert still waits for its turn, in milliseconds. A clock that was set back makes nobody
    /// wait longer.
    fn rests_for(self, now: TimestampMs) -> i64 {
        let passed = now.saturating_sub(self.last);
        if passed < 0 { 0 } else { (OFFER_AGAIN_MS - passed).max(0) }
    }
}

impl Outbox {
    /// An outbox with what was waiting when the process ended.
    pub(super) fn restored(capacity: usize, entries: impl IntoIterator<Item = (Fingerprint, Entry)>) -> Self {
        let waiting: BTreeMap<_, _> = entries.into_iter().collect();
        let order: BTreeSet<_> = waiting.iter().map(|(key, entry)| (entry.sequence, *key)).collect();
        let next_sequence = order.last().map_or(0, |(last, _)| last + 1);
        Self { waiting, order, capacity, next_sequence, ..Self::default() }
    }

    /// Adds or replaces an alert. Returns whether another one had to be dropped for it: the one that
    /// has waited longest.
    pub(super) fn put(&mut self, fingerprint: Fingerprint, body: Bytes, now: TimestampMs) -> bool {
        let before = self.take(fingerprint);
        let dropped = before.is_none() && self.waiting.len() >= self.capacity && self.drop_first();
        let queued_at = before.map_or(now, |entry| entry.queued_at);
        let entry = Entry { sequence: self.next_sequence, queued_at, body };
        self.next_sequence += 1;
        if let Some(refusal) = self.refused.get_mut(&fingerprint) {
            refusal.since = now;
        }
        self.unsaved.insert(fingerprint, Change::Put(entry.clone()));
        self.order.insert((entry.sequence, fingerprint));
        self.waiting.insert(fingerprint, entry);
        dropped
    }

    fn take(&mut self, fingerprint: Fingerprint) -> Option<Entry> {
        let entry = self.waiting.remove(&fingerprint)?;
        self.order.remove(&(entry.sequence, fingerprint));
        Some(entry)
    }

    /// Drops the alert that has waited longest, if there is any.
    fn drop_first(&mut self) -> bool {
        let Some((_, fingerprint)) = self.order.pop_first() else { return false };
        self.waiting.remove(&fingerprint);
        self.refused.remove(&fingerprint);
        self.unsaved.insert(fingerprint, Change::Remove);
        true
    }

    /// Up to `limit` entries, those that have waited longest first; if there are no others, those that were
    /// refused and have their turn again.
    pub(super) fn batch(&self, limit: usize, now: TimestampMs) -> Vec<(Fingerprint, Entry)> {
        let those = |wanted: &dyn Fn(&Fingerprint) -> bool| {
            let first = self.order.iter().filter(|(_, key)| wanted(key)).take(limit);
            first.filter_map(|(_, key)| Some((*key, self.waiting.get(key)?.clone()))).collect()
        };
        let batch: Vec<_> = those(&|key| !self.refused.contains_key(key));
        if !batch.is_empty() || self.refused.is_empty() {
            return batch;
        }
        those(&|key| self.refused.get(key).is_some_and(|refusal| refusal.rests_for(now) == 0))
    }

    /// How long all that were refused still have to wait for their turn; nothing if there are none.
    pub(super) fn rests_for(&self, now: TimestampMs) -> Option<Duration> {
        let ms = self.refused.values().map(|refusal| refusal.rests_for(now)).min()?;
        Some(Duration::from_millis(ms.unsigned_abs()))
    }

    /// Forgets an entry that was delivered, unless a newer one took its place.
    pub(super) fn settle(&mut self, fingerprint: Fingerprint, sequence: u64) {
        self.refused.remove(&fingerprint);
        if self.waiting.get(&fingerprint).is_some_and(|entry| entry.sequence == sequence) {
            self.take(fingerprint);
            self.unsaved.insert(fingerprint, Change::Remove);
        }
    }

    /// Notes that an alert was refused: it lets all others go first, and is dropped in the end.
    pub(super) fn refuse(&mut self, fingerprint: Fingerprint, sequence: u64, now: TimestampMs) -> Refused {
        let known = self.refused.get(&fingerprint).copied();
        let since = known.map_or(now, |refusal| refusal.since);
        if now.saturating_sub(since) >= KEEP_REFUSED_MS {
            self.settle(fingerprint, sequence);
            return Refused::Dropped;
        }
        if self.waiting.contains_key(&fingerprint) {
            self.refused.insert(fingerprint, Refusal { since, last: now });
        }
        if known.is_none() { Refused::First } else { Refused::Again }
    }

    /// How many of those that wait were refused.
    pub(super) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// How many alerts wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The changes since the last call, to be written down: one for each alert at most.
    pub(super) fn take_unsaved(&mut self) -> BTreeMap<Fingerprint, Change> {
        std::mem::take(&mut self.unsaved)
    }

    /// What has to be written down so that nothing of this is left.
    pub(super) fn clear(&mut self) -> BTreeMap<Fingerprint, Change> {
        while self.drop_first() {}
        self.take_unsaved()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(outbox: &Outbox) -> Vec<(Fingerprint, Bytes)> {
        outbox.batch(99, 0).into_iter().map(|(key, entry)| (key, entry.body)).collect()
    }

    #[test]
    fn the_newest_state_of_an_alert_replaces_the_older_one() {
        let mut outbox = Outbox::restored(10, []);
        outbox.put(1, Bytes::from_static(b"firing"), 100);
        outbox.put(2, Bytes::from_static(b"other"), 101);
        outbox.put(1, Bytes::from_static(b"resolved"), 102);
        assert_eq!(
            bodies(&outbox),
            [(2, Bytes::from_static(b"other")), (1, Bytes::from_static(b"resolved"))]
        );
        assert_eq!(outbox.batch(9, 0)[1].1.queued_at, 100, "the alert has waited since its first state");
    }

    #[test]
    fn what_changed_during_delivery_stays() {
        let mut outbox = Outbox::restored(10, []);
        outbox.put(1, Bytes::from_static(b"firing"), 100);
        let sent = outbox.batch(1, 0).remove(0).1.sequence;
        outbox.put(1, Bytes::from_static(b"resolved"), 101);
        outbox.settle(1, sent);
        assert_eq!(bodies(&outbox), [(1, Bytes::from_static(b"resolved"))]);
        let sent = outbox.batch(1, 0).remove(0).1.sequence;
        outbox.settle(1, sent);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn only_the_last_change_of_an_alert_is_written_down() {
        let mut outbox = Outbox::restored(10, []);
        for state in [b"firing".as_slice(), b"again", b"resolved"] {
            outbox.put(1, Bytes::from_static(state), 100);
        }
        outbox.put(2, Bytes::from_static(b"other"), 100);
        outbox.settle(2, outbox.batch(9, 0)[1].1.sequence);
        let changes: Vec<_> = outbox.take_unsaved().into_values().collect();
        let [Change::Put(entry), Change::Remove] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(*entry.body, *b"resolved");
        assert!(outbox.take_unsaved().is_empty());
        assert_eq!(outbox.clear().into_iter().collect::<Vec<_>>(), [(1, Change::Remove)]);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn an_entry_survives_being_written_down() {
        let entry = Entry { sequence: 7, queued_at: -5, body: Bytes::from_static(b"{}") };
        assert_eq!(Entry::decode(7, &entry.encode()), Some(entry));
        assert_eq!(Entry::decode(7, b"short"), None);
    }

    #[test]
    fn a_full_outbox_drops_what_has_waited_longest() {
        let mut outbox = Outbox::restored(2, []);
        assert!(!outbox.put(1, Bytes::from_static(b"1"), 0));
        assert!(!outbox.put(2, Bytes::from_static(b"2"), 0));
        assert!(!outbox.put(1, Bytes::from_static(b"1b"), 0), "a known alert needs no room");
        assert!(outbox.put(3, Bytes::from_static(b"3"), 0));
        assert_eq!(bodies(&outbox), [(1, Bytes::from_static(b"1b")), (3, Bytes::from_static(b"3"))]);
    }

    #[test]
    fn a_restored_outbox_goes_on_with_its_numbers() {
        let mut before = Outbox::restored(10, []);
        before.put(7, Bytes::from_static(b"x"), 5);
        let saved = before.take_unsaved().into_iter().filter_map(|(key, change)| match change {
            Change::Put(entry) => Some((key, entry)),
            Change::Remove => None,
        });
        let mut after = Outbox::restored(10, saved);
        after.put(8, Bytes::from_static(b"y"), 6);
        assert_eq!(bodies(&after), [(7, Bytes::from_static(b"x")), (8, Bytes::from_static(b"y"))]);
        assert_eq!(after.batch(1, 0)[0].1.queued_at, 5);
    }

    #[test]
    fn what_is_refused_lets_others_go_first_and_is_dropped_in_the_end() {
        let mut outbox = Outbox::restored(10, []);
        for alert in 1..=3 {
            outbox.put(alert, Bytes::from_static(b"firing"), 0);
        }
        let offered = |outbox: &Outbox, now| -> Vec<_> {
            outbox.batch(9, now).into_iter().map(|(key, entry)| (key, entry.sequence)).collect()
        };
        assert_eq!(outbox.refuse(1, 0, 0), Refused::First);
        assert_eq!(offered(&outbox, OFFER_AGAIN_MS), [(2, 1), (3, 2)], "the others first");
        outbox.settle(2, 1);
        outbox.settle(3, 2);
        assert_eq!((offered(&outbox, 1), outbox.rests_for(1)), (vec![], Some(Duration::from_millis(29_999))));
        assert_eq!(offered(&outbox, OFFER_AGAIN_MS), [(1, 0)]);
        assert_eq!(offered(&outbox, -1), [(1, 0)], "the clock was set back");
        assert_eq!(outbox.refuse(1, 0, KEEP_REFUSED_MS - 1), Refused::Again);
        outbox.put(1, Bytes::from_static(b"resolved"), KEEP_REFUSED_MS - 1);
        assert_eq!(offered(&outbox, KEEP_REFUSED_MS), [], "a newer state has to wait, too");
        assert_eq!(outbox.refuse(1, 3, KEEP_REFUSED_MS), Refused::Again, "and is kept as long");
        assert_eq!(outbox.refuse(1, 3, 2 * KEEP_REFUSED_MS), Refused::Dropped);
        assert_eq!((outbox.len(), outbox.refused(), outbox.rests_for(0)), (0, 0, None));
    }
}
