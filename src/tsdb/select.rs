//! From matchers to series.
//!
//! Matchers that name their values (`=`, finite alternations) are looked up. A pattern is run over the
//! values of its label, those with its literal beginning where it has one, unless fewer series are
//! left than there are values. The rarest list comes first; what remains, among it every matcher that
//! also accepts an absent label, is checked on the series that are left, each distinct value once.

use std::collections::HashMap;
use std::ops::Bound;

use crate::model::{MatchOp, Matcher};

use super::index::Index;
use super::postings::{PairId, SeriesId, Values};

/// The series that satisfy all matchers, in no particular order.
pub(super) fn resolve(index: &Index, matchers: &[Matcher]) -> Vec<SeriesId> {
    let (mut unchecked, required): (Vec<_>, Vec<_>) =
        matchers.iter().partition(|matcher| matcher.matches(""));
    let mut lists = Vec::new();
    let mut patterns = Vec::new();
    for matcher in required {
        let Some(values) = index.postings().values(matcher.name()) else { return Vec::new() };
        match named(matcher) {
            Some(texts) => lists.push(List::new(index, named_pairs(values, &texts))),
            None => patterns.push((matcher, values)),
        }
    }
    patterns.sort_by_key(|(_, values)| values.len());
    for (matcher, values) in patterns {
        let fewest = lists.iter().map(|list| list.length).min();
        if fewest.is_some_and(|fewest| fewest <= values.len()) {
            unchecked.push(matcher);
        } else {
            lists.push(List::new(index, matching_pairs(values, matcher)));
        }
    }
    lists.sort_by_key(|list| list.length);
    let mut lists = lists.into_iter();
    let mut candidates = match lists.next() {
        Some(list) => list.collect(index),
        None => index.ids().collect(),
    };
    for list in lists {
        list.intersect(index, &mut candidates);
    }
    for matcher in unchecked {
        retain_matching(index, &mut candidates, matcher);
    }
    candidates
}

/// Whether a series with these labels satisfies all matchers.
pub(super) fn accepts(index: &Index, matchers: &[Matcher], pairs: &[PairId]) -> bool {
    matchers.iter().all(|matcher| {
        let pair = index.postings().finder(matcher.name())(pairs);
        matcher.matches(pair.map_or("", |pair| index.postings().pair(pair).1))
    })
}

/// The series of some pairs with one name: no series is among two of them.
struct List {
    pairs: Vec<PairId>,
    /// How many series there are.
    length: usize,
}

impl List {
    fn new(index: &Index, pairs: Vec<PairId>) -> Self {
        let length = pairs.iter().map(|pair| index.postings().series(*pair).len()).sum();
        Self { pairs, length }
    }

    /// The series, ascending.
    fn collect(&self, index: &Index) -> Vec<SeriesId> {
        let mut ids = Vec::with_capacity(self.length);
        for pair in &self.pairs {
            ids.extend_from_slice(index.postings().series(*pair));
        }
        if self.pairs.len() > 1 {
            ids.sort_unstable();
        }
        ids
    }

    /// Keeps those of `candidates`, which are ascending, that are in the list.
    fn intersect(&self, index: &Index, candidates: &mut Vec<SeriesId>) {
        // A candidate's own labels tell as well; looking at them costs about as much as passing over
        // this many entries of the list.
        const ENTRIES_PER_LOOK: usize = 16;
        if self.length > candidates.len().saturating_mul(ENTRIES_PER_LOOK) {
            let Some(first) = self.pairs.first() else { return candidates.clear() };
            let (name, _) = index.postings().pair(*first);
            let pair_of = index.postings().finder(name);
            let mut pairs = self.pairs.clone();
            pairs.sort_unstable();
            candidates.retain(|id| {
                pair_of(index.pairs(*id)).is_some_and(|pair| pairs.binary_search(&pair).is_ok())
            });
            return;
        }
        let ids = self.collect(index);
        let mut rest = ids.iter().peekable();
        candidates.retain(|id| {
            while rest.next_if(|other| *other < id).is_some() {}
            rest.peek().is_some_and(|other| *other == id)
        });
    }
}

/// Keeps the candidates that satisfy the matcher.
fn retain_matching(index: &Index, candidates: &mut Vec<SeriesId>, matcher: &Matcher) {
    let pair_of = index.postings().finder(matcher.name());
    let absent_matches = matcher.matches("");
    let mut known: HashMap<PairId, bool> = HashMap::new();
    candidates.retain(|id| match pair_of(index.pairs(*id)) {
        None => absent_matches,
        Some(pair) => *known.entry(pair).or_insert_with(|| matcher.matches(index.postings().pair(pair).1)),
    });
}

/// How many series at most are looked at to find those that satisfy all matchers, if these tell.
pub(super) fn effort(index: &Index, matchers: &[Matcher]) -> Option<usize> {
    let required = matchers.iter().filter(|matcher| !matcher.matches(""));
    let listed = required.filter_map(|matcher| {
        let texts = named(matcher)?;
        let Some(values) = index.postings().values(matcher.name()) else { return Some(0) };
        Some(named_pairs(values, &texts).into_iter().map(|pair| index.postings().series(pair).len()).sum())
    });
    listed.min()
}

/// The values that alone a matcher accepts, if it names them.
fn named(matcher: &Matcher) -> Option<Vec<&str>> {
    match matcher.op() {
        MatchOp::Equal => Some(vec![matcher.value()]),
        MatchOp::Regex => Some(matcher.set_matches()?.iter().map(String::as_str).collect()),
        MatchOp::NotEqual | MatchOp::NotRegex => None,
    }
}

/// The pairs of the values named.
fn named_pairs(values: &Values, texts: &[&str]) -> Vec<PairId> {
    texts.iter().filter_map(|text| values.get(*text)).copied().collect()
}

/// The pairs of all values that the matcher accepts.
fn matching_pairs(values: &Values, matcher: &Matcher) -> Vec<PairId> {
    // What is not accepted by a negated matcher begins with it.
    let beginning = if matcher.op() == MatchOp::Regex { matcher.prefix() } else { "" };
    let from = (Bound::Included(beginning), Bound::Unbounded);
    let range = values.range::<str, _>(from).take_while(|(value, _)| value.starts_with(beginning));
    range.filter(|(value, _)| matcher.matches(value)).map(|(_, pair)| *pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use crate::tsdb::memory::Balance;
    use proptest::prelude::*;

    const VALUES: [&str; 7] = ["", "a", "ab", "abc", "b", "ba", "x\ny"];
    const PATTERNS: [&str; 13] =
        ["", "a", "a|b", "a.*", ".*", ".+", "a?", "(ab)?c?", "[^a]+", "b.*|a", "x.y", "(?i:A)b?", "[a&&b]"];

    fn any_matcher() -> impl Strategy<Value = Matcher> {
        let op = prop_oneof![
            Just(MatchOp::Equal),
            Just(MatchOp::NotEqual),
            Just(MatchOp::Regex),
            Just(MatchOp::NotRegex),
        ];
        let name = prop::sample::select(vec!["p", "q", "r", "absent"]);
        (op, name, prop::sample::select(PATTERNS.to_vec()))
            .prop_map(|(op, name, pattern)| Matcher::new(op, name, pattern).expect("a valid pattern"))
    }

    proptest! {
        #[test]
        fn matchers_find_what_a_walk_over_all_series_finds(
            sets in prop::collection::btree_set(prop::array::uniform3(0..VALUES.len()), 0..60),
            matchers in prop::collection::vec(any_matcher(), 0..5),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let (mut index, mut memory) = (Index::default(), Balance::default());
            let mut all = std::collections::BTreeMap::new();
            for set in sets {
                let pairs = [("__name__", "m"), ("p", VALUES[set[0]]), ("q", VALUES[set[1]]), ("r", VALUES[set[2]])];
                let labels = Labels::from_pairs(pairs);
                let key = index.insert(&labels, &mut memory);
                all.insert(key.id, (key, labels));
            }
            for which in removed {
                if all.is_empty() {
                    break;
                }
                let id = *all.keys().nth(which.index(all.len())).expect("an index within");
                let (key, _) = all.remove(&id).expect("taken from the keys");
                index.remove(&[key], &mut memory);
            }
            let accepts = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name())));
            let expected: Vec<_> =
                all.iter().filter(|(_, (_, labels))| accepts(labels)).map(|(id, _)| *id).collect();
            let mut found = resolve(&index, &matchers);
            found.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
