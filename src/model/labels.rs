//! Label sets: sorted, immutable, cheap to clone and to hash.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use xxhash_rust::xxh64::Xxh64;

use super::quote;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";
/// The label that holds an alert's name.
pub const ALERT_NAME: &str = "alertname";
/// The label that holds an alert's severity, by convention.
pub const SEVERITY_LABEL: &str = "severity";
/// The label that holds the upper bound of a classic histogram's bucket.
pub const BUCKET_LABEL: &str = "le";

/// What a label that gives way to another one of its name is called from then on, in front of its name.
const EXPORTED_PREFIX: &str = "exported_";

/// A set of labels, sorted by name, without empty values (in Prometheus' data model a label with an
/// empty value is the same as no label).
///
/// All names and values lie in one buffer, so that a clone is one reference count and comparing two
/// sets reads two adjacent blocks of memory. The hash is computed once, when the set is built, and is
/// the same in every process.
#[derive(Clone)]
pub struct Labels(Arc<Packed>);

struct Packed {
    hash: u64,
    text: Box<str>,
    /// The end of each name and each value in `text`, alternating.
    ends: Box<[u32]>,
}

impl Packed {
    /// Names and values in turn, as bytes: their order is that of the texts.
    fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let text = &self.text.as_bytes()[start..*end as usize];
            start = *end as usize;
            text
        })
    }
}

static EMPTY: LazyLock<Labels> = LazyLock::new(|| Labels::pack::<&str, &str>(&[]));

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        EMPTY.clone()
    }

    /// The set of these pairs. Of pairs with the same name the last one counts; one with an empty
    /// value is left out.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        // The last of those with one name comes first, and is the one that stays.
        pairs.reverse();
        pairs.sort_by(|(one, _), (other, _)| one.as_ref().cmp(other.as_ref()));
        pairs.dedup_by(|(next, _), (one, _)| next.as_ref() == one.as_ref());
        pairs.retain(|(_, value)| !value.as_ref().is_empty());
        Self::pack(&pairs)
    }

    /// The set with this label in addition, or instead of the one that has its name. The value is not empty.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(self.len() + 1);
        pairs.extend(self.iter().take_while(|pair| pair.0 < name));
        pairs.push((name, value));
        pairs.extend(self.iter().skip_while(|pair| pair.0 <= name));
        Self::from_sorted_pairs(&pairs)
    }

    /// The set of these pairs, which are sorted by name, without repeated names or empty values.
    pub fn from_sorted_pairs(pairs: &[(&str, &str)]) -> Self {
        debug_assert!(pairs.is_sorted_by(|one, next| one.0 < next.0), "names are sorted and differ");
        debug_assert!(pairs.iter().all(|(_, value)| !value.is_empty()), "no value is empty");
        Self::pack(pairs)
    }

    fn pack<N: AsRef<str>, V: AsRef<str>>(sorted: &[(N, V)]) -> Self {
        let size = sorted.iter().map(|(n, v)| n.as_ref().len() + v.as_ref().len()).sum();
        let mut text = String::with_capacity(size);
        let mut ends = Vec::with_capacity(sorted.len() * 2);
        for (name, value) in sorted {
            for part in [name.as_ref(), value.as_ref()] {
                text.push_str(part);
                ends.push(u32::try_from(text.len()).expect("a label set is far below 4 GiB"));
            }
        }
        let mut hasher = Xxh64::new(0);
        hasher.update(text.as_bytes());
        for end in &ends {
            hasher.update(&end.to_le_bytes());
        }
        Self(Arc::new(Packed { hash: hasher.digest(), text: text.into(), ends: ends.into() }))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// The names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + '_ {
        (0..self.len()).map(|index| self.pair(index))
    }

    fn pair(&self, index: usize) -> (&str, &str) {
        let packed = &*self.0;
        let start = if index == 0 { 0 } else { packed.ends[index * 2 - 1] as usize };
        let middle = packed.ends[index * 2] as usize;
        let end = packed.ends[index * 2 + 1] as usize;
        (&packed.text[start..middle], &packed.text[middle..end])
    }

    /// The labels as a map of texts.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The value of `name`, empty if there is no such label.
    pub fn get(&self, name: &str) -> &str {
        self.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }

    /// Whether there is a label `name`.
    pub fn has(&self, name: &str) -> bool {
        self.iter().any(|(n, _)| n == name)
    }

    /// The metric name, empty if there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// A hash of the whole set that is the same in every process and on every machine.
    pub fn hash64(&self) -> u64 {
        self.0.hash
    }

    /// The sizes of the blocks of memory that the set and its clones share, in bytes.
    pub fn heap_blocks(&self) -> [usize; 3] {
        let counters = 2 * size_of::<usize>();
        [counters + size_of::<Packed>(), self.0.text.len(), size_of_val(&*self.0.ends)]
    }

    /// The same set without the metric name.
    #[must_use]
    pub fn without_metric_name(&self) -> Self {
        if self.has(METRIC_NAME) { self.filtered(|name| name != METRIC_NAME) } else { self.clone() }
    }

    /// The labels whose name `keep` accepts.
    #[must_use]
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let pairs: Vec<_> = self.iter().filter(|(name, _)| keep(name)).collect();
        if pairs.len() == self.len() { self.clone() } else { Self::pack(&pairs) }
    }

    /// A builder that starts from this set.
    pub fn builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash && self.0.text == other.0.text && self.0.ends == other.0.ends)
    }
}

impl Eq for Labels {}

impl std::hash::Hash for Labels {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// Sets are ordered by their pairs in turn, as `labels.Compare` in Prometheus orders them.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.texts().cmp(other.0.texts())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether a label can be written without quotes: ASCII letters, digits and `_`, no digit in front.
pub fn is_legacy_label_name(name: &str) -> bool {
    name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// `{name="value", other="value"}`, the metric name among the labels; a name that needs quotes has them.
/// Source: Prometheus `model/labels`, `Labels.String`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            if is_legacy_label_name(name) {
                write!(f, "{separator}{name}={}", quote(value))?;
            } else {
                write!(f, "{separator}{}={}", quote(name), quote(value))?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Puts a label set together.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    /// Sorted by name, without empty values.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(index) if value.is_empty() => drop(self.pairs.remove(index)),
            Ok(index) => value.clone_into(&mut self.pairs[index].1),
            Err(_) if value.is_empty() => {}
            Err(index) => self.pairs.insert(index, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Sets a label that whoever made the series may have used for something else: what it was is kept as
    /// `exported_<name>`, with more prefixes if that is taken. Source: Prometheus `scrape/scrape.go`,
    /// `resolveConflictingExposedLabels`.
    pub fn set_exporting(&mut self, name: &str, value: &str) -> &mut Self {
        let own = self.get(name).to_owned();
        if !own.is_empty() {
            let mut exported = format!("{EXPORTED_PREFIX}{name}");
            while !self.get(&exported).is_empty() {
                exported.insert_str(0, EXPORTED_PREFIX);
            }
            self.set(&exported, &own);
        }
        self.set(name, value)
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// The current value of `name`, empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// The finished set.
    pub fn build(&self) -> Labels {
        Labels::pack(&self.pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_added_or_replaced_in_its_place() {
        let labels = Labels::from_pairs([("b", "1"), ("d", "2")]);
        for name in ["a", "b", "c", "d", "e"] {
            assert_eq!(labels.with(name, "3"), labels.builder().set(name, "3").build(), "{name}");
        }
    }

    #[test]
    fn pairs_are_sorted_last_wins_and_empty_is_absent() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("b", "3")]);
        assert_eq!(labels.to_string(), r#"{a="1", b="3"}"#);
        assert_eq!(labels.get("b"), "3");
        assert_eq!(labels.get("c"), "");
        assert_eq!(Labels::from_pairs([("a.b", "\0é")]).to_string(), r#"{"a.b"="\x00é"}"#);
        assert!(!labels.has("c"));
    }

    #[test]
    fn sorted_pairs_make_the_same_set() {
        let sorted = Labels::from_sorted_pairs(&[("a", "1"), ("b", "2")]);
        assert_eq!(sorted, Labels::from_pairs([("b", "2"), ("a", "1")]));
    }

    #[test]
    fn equal_sets_hash_alike_and_boundaries_count() {
        let one = Labels::from_pairs([("ab", "c")]);
        assert_eq!(one.hash64(), Labels::from_pairs([("ab", "c")]).hash64());
        assert_ne!(one, Labels::from_pairs([("a", "bc")]));
        assert_ne!(one.hash64(), Labels::from_pairs([("a", "bc")]).hash64());
    }

    #[test]
    fn order_is_by_pairs() {
        let less = Labels::from_pairs([("a", "1")]);
        let more = Labels::from_pairs([("a", "1"), ("b", "1")]);
        assert!(less < more);
        assert!(Labels::from_pairs([("a", "2")]) > more);
        assert!(Labels::empty() < less);
    }

    #[test]
    fn a_label_that_gives_way_is_kept_under_another_name() {
        let check = |labels: &[(&str, &str)], expected: &str| {
            let mut builder = Labels::from_pairs(labels.iter().copied()).builder();
            assert_eq!(builder.set_exporting("job", "new").build().to_string(), expected);
        };
        check(&[("a", "1")], r#"{a="1", job="new"}"#);
        check(&[("job", "old")], r#"{exported_job="old", job="new"}"#);
        check(
            &[("job", "old"), ("exported_job", "older")],
            r#"{exported_exported_job="old", exported_job="older", job="new"}"#,
        );
    }

    #[test]
    fn builder_changes_a_copy() {
        let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("job", "a")]);
        let changed = labels.builder().set("job", "b").remove(METRIC_NAME).build();
        assert_eq!(changed.to_string(), r#"{job="b"}"#);
        assert_eq!(labels.without_metric_name().to_string(), r#"{job="a"}"#);
        assert_eq!(labels.metric_name(), "up");
    }
}
