//! From matchers to series.
//!
//! Matchers that name their values (`=`, finite alternations) are looked up. A pattern is run over the
//! values of its label, those with its literal beginning where it has one, unless fewer series are
//! left than there are values. The rarest list comes first; what remains, among it every matcher that
//! also accepts an absent label, is checked on the series that are left, each distinct value once.

use std::collections::HashMap;
use std::ops::Bound;

use regex_syntax::hir::literal::{ExtractKind, Extractor};

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
        match Literals::of(matcher) {
            Literals::Whole(texts) => lists.push(List::new(index, named_pairs(values, matcher, &texts))),
            Literals::Beginnings(texts) => patterns.push((matcher, values, texts)),
        }
    }
    patterns.sort_by_key(|(_, values, _)| values.len());
    for (matcher, values, beginnings) in patterns {
        let fewest = lists.iter().map(|list| list.length).min();
        if fewest.is_some_and(|fewest| fewest <= values.len()) {
            unchecked.push(matcher);
        } else {
            lists.push(List::new(index, matching_pairs(values, matcher, &beginnings)));
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

/// What a matcher says about values as plain text.
#[derive(Debug, PartialEq, Eq)]
enum Literals {
    /// It accepts only these.
    Whole(Vec<String>),
    /// It accepts only what begins with one of these.
    Beginnings(Vec<String>),
}

impl Literals {
    fn of(matcher: &Matcher) -> Self {
        match matcher.op() {
            MatchOp::Equal => Self::Whole(vec![matcher.value().to_owned()]),
            MatchOp::Regex => Self::of_pattern(matcher.value()),
            MatchOp::NotEqual | MatchOp::NotRegex => Self::anything(),
        }
    }

    fn anything() -> Self {
        Self::Beginnings(vec![String::new()])
    }

    fn of_pattern(pattern: &str) -> Self {
        let Ok(hir) = regex_syntax::parse(pattern) else { return Self::anything() };
        // Assertions such as `^` and `\b` take no text, and the extractor passes over them.
        if !hir.properties().look_set().is_empty() {
            return Self::anything();
        }
        let found = Extractor::new().kind(ExtractKind::Prefix).extract(&hir);
        let Some(literals) = found.literals() else { return Self::anything() };
        let texts = literals.iter().map(|literal| String::from_utf8(literal.as_bytes().to_vec()));
        let Ok(mut texts) = texts.collect::<Result<Vec<_>, _>>() else { return Self::anything() };
        texts.sort_unstable();
        texts.dedup();
        if found.is_exact() {
            return Self::Whole(texts);
        }
        // What begins with `ab` begins with `a`: one range of values is enough.
        texts.dedup_by(|longer, shorter| longer.starts_with(shorter.as_str()));
        Self::Beginnings(texts)
    }
}

/// The pairs of the values named that the matcher accepts, as it must have the last word.
fn named_pairs(values: &Values, matcher: &Matcher, texts: &[String]) -> Vec<PairId> {
    let known = texts.iter().filter_map(|text| values.get_key_value(text.as_str()));
    known.filter(|(value, _)| matcher.matches(value)).map(|(_, pair)| *pair).collect()
}

/// The pairs of all values that the matcher accepts.
fn matching_pairs(values: &Values, matcher: &Matcher, beginnings: &[String]) -> Vec<PairId> {
    let mut pairs = Vec::new();
    for beginning in beginnings {
        let from = (Bound::Included(beginning.as_str()), Bound::Unbounded);
        let range =
            values.range::<str, _>(from).take_while(|(value, _)| value.starts_with(beginning.as_str()));
        pairs.extend(range.filter(|(value, _)| matcher.matches(value)).map(|(_, pair)| *pair));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use crate::tsdb::memory::Balance;
    use proptest::prelude::*;

    #[test]
    fn patterns_tell_what_text_they_accept() {
        let whole = |texts: &[&str]| Literals::Whole(texts.iter().map(ToString::to_string).collect());
        let beginnings =
            |texts: &[&str]| Literals::Beginnings(texts.iter().map(ToString::to_string).collect());
        for (pattern, expected) in [
            ("prod", whole(&["prod"])),
            ("prod|dev|prod", whole(&["dev", "prod"])),
            ("(a|b)c", whole(&["ac", "bc"])),
            ("node_[ab]", whole(&["node_a", "node_b"])),
            (r"10\.0\.0\.[12]:9100", whole(&["10.0.0.1:9100", "10.0.0.2:9100"])),
            ("node_.*", beginnings(&["node_"])),
            ("a.*|ab.*|b+", beginnings(&["a", "b"])),
            (".*", beginnings(&[""])),
            (".+x", beginnings(&[""])),
            (r"a\b", beginnings(&[""])),
            ("^a$", beginnings(&[""])),
        ] {
            assert_eq!(Literals::of_pattern(pattern), expected, "{pattern}");
        }
    }

    const VALUES: [&str; 7] = ["", "a", "ab", "abc", "b", "ba", "x\ny"];
    const PATTERNS: [&str; 12] =
        ["", "a", "a|b", "a.*", ".*", ".+", "a?", "(ab)?c?", "[^a]+", "b.*|a", "x.y", "(?i:A)b?"];

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
