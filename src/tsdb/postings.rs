//! Which series carry which label: every pair of name and value is stored once and known by a number.
//!
//! A series is the list of its pairs' numbers, four bytes per label; a pair knows its series in
//! ascending order. Names and values are kept sorted, so that listing them needs no work and a
//! pattern with a literal beginning looks only at the values that begin with it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::model::Labels;

use super::memory::Balance;

/// The number of a series within the store. It is given to another series once it is free.
pub(super) type SeriesId = u32;

/// The number of a label pair.
pub(super) type PairId = u32;

/// The values of one label name with their pairs.
pub(super) type Values = BTreeMap<Arc<str>, PairId>;

/// One label as series carry it.
#[derive(Debug)]
struct Pair {
    name: Arc<str>,
    value: Arc<str>,
    /// Ascending.
    series: Vec<SeriesId>,
}

/// All label pairs and the series that carry them.
#[derive(Debug, Default)]
pub(super) struct Postings {
    names: BTreeMap<Arc<str>, Values>,
    pairs: Vec<Pair>,
    free: Vec<PairId>,
}

impl Postings {
    /// The numbers of the pairs of `labels`, in the order of the labels; what is new is added.
    pub(super) fn intern(&mut self, labels: &Labels, memory: &mut Balance) -> Box<[PairId]> {
        labels.iter().map(|(name, value)| self.intern_pair(name, value, memory)).collect()
    }

    fn intern_pair(&mut self, name: &str, value: &str, memory: &mut Balance) -> PairId {
        if let Some(pair) = self.values(name).and_then(|values| values.get(value)) {
            return *pair;
        }
        let value: Arc<str> = value.into();
        let name = match self.names.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => name.into(),
        };
        let pair = Pair { name: Arc::clone(&name), value: Arc::clone(&value), series: Vec::new() };
        memory.add(pair_size(&value));
        let id = match self.free.pop() {
            Some(id) => {
                self.pairs[id as usize] = pair;
                id
            }
            None => {
                self.pairs.push(pair);
                PairId::try_from(self.pairs.len() - 1).expect("fewer than 2^32 label pairs fit in memory")
            }
        };
        self.names.entry(name).or_default().insert(value, id);
        id
    }

    /// Records that `series` carries `pairs`.
    pub(super) fn add(&mut self, series: SeriesId, pairs: &[PairId], memory: &mut Balance) {
        for pair in pairs {
            let postings = &mut self.pairs[*pair as usize].series;
            let before = postings.capacity();
            if postings.last().is_none_or(|last| *last < series) {
                postings.push(series);
            } else if let Err(at) = postings.binary_search(&series) {
                postings.insert(at, series);
            }
            if postings.capacity() != before {
                memory.resize(before * size_of::<SeriesId>(), postings.capacity() * size_of::<SeriesId>());
            }
        }
    }

    /// Forgets that any of `series` carries any of `pairs`; a pair that no series carries any more
    /// is forgotten too.
    pub(super) fn remove(&mut self, series: &HashSet<SeriesId>, pairs: &[PairId], memory: &mut Balance) {
        for id in pairs {
            let pair = &mut self.pairs[*id as usize];
            let before = pair.series.capacity();
            pair.series.retain(|carrier| !series.contains(carrier));
            if pair.series.is_empty() || pair.series.len() < before / 2 {
                pair.series.shrink_to_fit();
                memory.resize(before * size_of::<SeriesId>(), pair.series.capacity() * size_of::<SeriesId>());
            }
            if pair.series.is_empty() {
                memory.remove(pair_size(&pair.value));
                if let Some(values) = self.names.get_mut(&pair.name) {
                    values.remove(&pair.value);
                    if values.is_empty() {
                        self.names.remove(&pair.name);
                    }
                }
                self.free.push(*id);
            }
        }
    }

    /// The label names, sorted, with their values.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &Values)> {
        self.names.iter().map(|(name, values)| (&**name, values))
    }

    /// The values of `name`, sorted.
    pub(super) fn values(&self, name: &str) -> Option<&Values> {
        self.names.get(name)
    }

    /// The series that carry a pair, ascending.
    pub(super) fn series(&self, pair: PairId) -> &[SeriesId] {
        &self.pairs[pair as usize].series
    }

    /// The name and the value of a pair.
    pub(super) fn pair(&self, pair: PairId) -> (&str, &str) {
        let pair = &self.pairs[pair as usize];
        (&pair.name, &pair.value)
    }

    /// Finds, among the pairs of a series, the one with a certain name; to be asked for many series.
    pub(super) fn finder<'a>(&'a self, name: &str) -> impl Fn(&[PairId]) -> Option<PairId> + use<'a> {
        let name = self.names.get_key_value(name).map(|(name, _)| name);
        move |pairs| {
            let name = name?;
            // Names are shared between pairs, so that comparing addresses is enough.
            pairs.iter().copied().find(|pair| Arc::ptr_eq(&self.pairs[*pair as usize].name, name))
        }
    }

    /// The labels of these pairs.
    pub(super) fn labels(&self, pairs: &[PairId]) -> Labels {
        let sorted: Vec<_> = pairs.iter().map(|pair| self.pair(*pair)).collect();
        Labels::from_sorted_pairs(&sorted)
    }

    /// Whether these pairs are those of `labels`.
    pub(super) fn is(&self, pairs: &[PairId], labels: &Labels) -> bool {
        pairs.len() == labels.len() && pairs.iter().map(|pair| self.pair(*pair)).eq(labels.iter())
    }

    /// The order of two series by their labels, as [`Labels`] are ordered: what both share is skipped
    /// without looking at a text.
    pub(super) fn compare(&self, one: &[PairId], other: &[PairId]) -> Ordering {
        match one.iter().zip(other).find(|(a, b)| a != b) {
            Some((a, b)) => self.pair(*a).cmp(&self.pair(*b)),
            None => one.len().cmp(&other.len()),
        }
    }
}

/// The bytes of a pair beside its list of series: the text behind an `Arc`, its place among the pairs
/// and in the sorted values. A tree's nodes are about two thirds full.
fn pair_size(value: &str) -> usize {
    let text = 2 * size_of::<usize>() + value.len();
    text + size_of::<Pair>() + (size_of::<(Arc<str>, PairId)>() * 3) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn series_are_found_by_pair_and_read_back() {
        let (mut postings, mut memory) = (Postings::default(), Balance::default());
        let one = labels(&[("a", "1"), ("b", "1")]);
        let two = labels(&[("a", "1"), ("b", "2")]);
        let pairs_one = postings.intern(&one, &mut memory);
        let pairs_two = postings.intern(&two, &mut memory);
        postings.add(7, &pairs_one, &mut memory);
        postings.add(3, &pairs_two, &mut memory);
        assert_eq!(postings.series(pairs_one[0]), [3, 7]);
        assert_eq!(postings.series(pairs_two[1]), [3]);
        assert_eq!(postings.labels(&pairs_one), one);
        assert!(postings.is(&pairs_two, &two) && !postings.is(&pairs_two, &one));
        assert_eq!(postings.compare(&pairs_one, &pairs_two), one.cmp(&two));
        assert_eq!(postings.finder("b")(&pairs_two), Some(pairs_two[1]));
        assert_eq!(postings.finder("c")(&pairs_two), None);
    }

    #[test]
    fn removing_the_last_carrier_forgets_the_pair_and_reuses_its_number() {
        let (mut postings, mut memory) = (Postings::default(), Balance::default());
        let one = postings.intern(&labels(&[("a", "1"), ("b", "1")]), &mut memory);
        let two = postings.intern(&labels(&[("a", "1"), ("c", "2")]), &mut memory);
        postings.add(1, &one, &mut memory);
        postings.add(2, &two, &mut memory);
        postings.remove(&HashSet::from([1]), &one, &mut memory);
        assert_eq!(postings.names().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(postings.series(two[0]), [2]);
        assert_eq!(postings.intern(&labels(&[("d", "9")]), &mut memory)[0], one[1]);
        postings.remove(&HashSet::from([2]), &two, &mut memory);
        postings.remove(&HashSet::new(), &[one[1]], &mut memory);
        assert_eq!(postings.names().count(), 0);
        assert_eq!(memory.bytes(), 0);
    }
}
