//! Which series there are: from labels to numbers and back.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::model::Labels;
use crate::storage::SeriesRef;

use super::memory::{Balance, allocation};
use super::postings::{PairId, Postings, SeriesId};

/// A number of a series together with how often it was given away before: what a [`SeriesRef`] holds.
/// Generations start at 1, so that 0 is never a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeriesKey {
    pub(super) id: SeriesId,
    pub(super) generation: u32,
}

impl From<SeriesRef> for SeriesKey {
    #[inline]
    fn from(series: SeriesRef) -> Self {
        Self { id: series.0 as u32, generation: (series.0 >> 32) as u32 }
    }
}

impl From<SeriesKey> for SeriesRef {
    fn from(key: SeriesKey) -> Self {
        Self(u64::from(key.generation) << 32 | u64::from(key.id))
    }
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    /// The labels; none while the number is free.
    pairs: Box<[PairId]>,
}

/// How many additions the index remembers.
const REMEMBERED: usize = 1_024;

/// The series of the store by label hash and by label pair.
#[derive(Debug, Default)]
pub(super) struct Index {
    postings: Postings,
    entries: Vec<Entry>,
    by_hash: ByHash,
    free: Vec<SeriesId>,
    /// How many series were added so far.
    added: u64,
    /// The last ones of them.
    recent: VecDeque<SeriesKey>,
}

impl Index {
    /// How many series were added so far.
    pub(super) fn added(&self) -> u64 {
        self.added
    }

    /// The series that came after the first `seen`, those that are gone included; nothing if they are
    /// too many to be known.
    pub(super) fn added_since(&self, seen: u64) -> Option<impl Iterator<Item = SeriesKey>> {
        let count = usize::try_from(self.added.checked_sub(seen)?).ok()?;
        let known = self.recent.len().checked_sub(count)?;
        Some(self.recent.range(known..).copied())
    }

    /// The label pairs.
    pub(super) fn postings(&self) -> &Postings {
        &self.postings
    }

    /// All series, ascending.
    pub(super) fn ids(&self) -> impl Iterator<Item = SeriesId> {
        (0..).zip(&self.entries).filter(|(_, entry)| !entry.pairs.is_empty()).map(|(id, _)| id)
    }

    /// The full name of a series number that is in use.
    pub(super) fn key(&self, id: SeriesId) -> SeriesKey {
        SeriesKey { id, generation: self.entries[id as usize].generation }
    }

    /// The labels of a series number that is in use.
    pub(super) fn pairs(&self, id: SeriesId) -> &[PairId] {
        &self.entries[id as usize].pairs
    }

    /// The labels of a series, unless it is gone.
    pub(super) fn pairs_of(&self, key: SeriesKey) -> Option<&[PairId]> {
        self.entries
            .get(key.id as usize)
            .filter(|entry| entry.generation == key.generation && !entry.pairs.is_empty())
            .map(|entry| &*entry.pairs)
    }

    /// The series with exactly these labels.
    pub(super) fn find(&self, labels: &Labels) -> Option<SeriesKey> {
        let is_it = |id: &SeriesId| self.postings.is(self.pairs(*id), labels);
        self.by_hash.get(labels.hash64()).find(is_it).map(|id| self.key(id))
    }

    /// Adds a series that [`Self::find`] did not find. `labels` are not empty.
    pub(super) fn insert(&mut self, labels: &Labels, memory: &mut Balance) -> SeriesKey {
        let pairs = self.postings.intern(labels, memory);
        memory.add(size_of_val(&*pairs));
        let id = if let Some(id) = self.free.pop() {
            self.entries[id as usize].pairs = pairs;
            id
        } else {
            let before = self.entries.capacity();
            self.entries.push(Entry { generation: 1, pairs });
            memory.resize(before * size_of::<Entry>(), self.entries.capacity() * size_of::<Entry>());
            SeriesId::try_from(self.entries.len() - 1).expect("fewer than 2^32 series fit in memory")
        };
        self.postings.add(id, &self.entries[id as usize].pairs, memory);
        let before = self.by_hash.size();
        self.by_hash.insert(labels.hash64(), id);
        memory.resize(before, self.by_hash.size());
        let key = self.key(id);
        self.added += 1;
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(key);
        key
    }

    /// Removes series; their numbers become free under a new generation.
    pub(super) fn remove(&mut self, series: &[SeriesKey], memory: &mut Balance) {
        let mut pairs = Vec::new();
        let mut ids = HashSet::with_capacity(series.len());
        for key in series {
            let hash = self.postings.labels(self.pairs(key.id)).hash64();
            let entry = &mut self.entries[key.id as usize];
            memory.remove(size_of_val(&*entry.pairs));
            pairs.extend(std::mem::take(&mut entry.pairs));
            entry.generation = next_generation(entry.generation);
            self.by_hash.remove(hash, key.id);
            self.free.push(key.id);
            ids.insert(key.id);
        }
        pairs.sort_unstable();
        pairs.dedup();
        self.postings.remove(&ids, &pairs, memory);
    }
}

/// The generation after this one.
pub(super) fn next_generation(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}

/// Series by the hash of their labels. That two label sets share a hash is all but impossible, and
/// still must not merge them: such series lie in a second map.
#[derive(Debug, Default)]
struct ByHash {
    first: HashMap<u64, SeriesId, BuildHasherDefault<AlreadyHashed>>,
    others: HashMap<u64, Vec<SeriesId>>,
}

impl ByHash {
    fn get(&self, hash: u64) -> impl Iterator<Item = SeriesId> {
        let others = if self.others.is_empty() { None } else { self.others.get(&hash) };
        self.first.get(&hash).into_iter().chain(others.into_iter().flatten()).copied()
    }

    fn insert(&mut self, hash: u64, id: SeriesId) {
        match self.first.entry(hash) {
            MapEntry::Vacant(place) => {
                place.insert(id);
            }
            MapEntry::Occupied(_) => self.others.entry(hash).or_default().push(id),
        }
    }

    fn remove(&mut self, hash: u64, id: SeriesId) {
        let mut all: Vec<_> = self.get(hash).filter(|other| *other != id).collect();
        self.others.remove(&hash);
        if all.is_empty() {
            self.first.remove(&hash);
        } else {
            self.first.insert(hash, all.remove(0));
        }
        if !all.is_empty() {
            self.others.insert(hash, all);
        }
    }

    /// The bytes of the table: a control byte beside each place, of which an eighth stays empty.
    fn size(&self) -> usize {
        let places = (self.first.capacity() * 8 / 7).next_power_of_two();
        allocation(places * (size_of::<(u64, SeriesId)>() + 1))
    }
}

/// Takes a number that is a hash for its own hash.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_with_one_hash_are_kept_apart() {
        let mut by_hash = ByHash::default();
        for (hash, id) in [(7, 1), (7, 2), (8, 3), (7, 4)] {
            by_hash.insert(hash, id);
        }
        let mut check = |removed: Option<u32>, expected: &[u32]| {
            if let Some(id) = removed {
                by_hash.remove(7, id);
            }
            assert_eq!(by_hash.get(7).collect::<Vec<_>>(), expected);
        };
        check(None, &[1, 2, 4]);
        check(Some(1), &[2, 4]);
        check(Some(4), &[2]);
        check(Some(2), &[]);
        assert_eq!(by_hash.get(8).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_number_that_is_used_again_has_another_generation() {
        let (mut index, mut memory) = (Index::default(), Balance::default());
        let labels = |job: &str| Labels::from_pairs([("__name__", "up"), ("job", job)]);
        let one = index.insert(&labels("a"), &mut memory);
        let kept = index.insert(&labels("b"), &mut memory);
        assert_eq!(index.find(&labels("a")), Some(one));
        index.remove(&[one], &mut memory);
        assert_eq!(index.find(&labels("a")), None);
        assert_eq!(index.pairs_of(one), None);
        let other = index.insert(&labels("c"), &mut memory);
        assert_eq!((other.id, other.generation), (one.id, 2));
        assert_eq!(index.pairs_of(one), None);
        assert_eq!(SeriesKey::from(SeriesRef::from(other)), other);
        assert_eq!(index.ids().collect::<Vec<_>>(), [other.id, kept.id]);
    }
}
