//! Grouping series by some of their labels, once for all instants.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh64::xxh64;

use crate::model::{Labels, METRIC_NAME};

/// The labels that describe the metric rather than the series.
/// Source: Prometheus `schema/labels.go`, `IsMetadataLabel`.
pub(super) const METADATA: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// The labels that decide which group a series belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LabelKey {
    /// Sorted.
    names: Vec<String>,
    /// Whether the key is of `names` alone; otherwise of all labels but these.
    on: bool,
}

impl LabelKey {
    /// These labels alone.
    pub(super) fn on(names: &[String]) -> Self {
        Self::new(names.to_vec(), true)
    }

    /// All labels but these and the metric name.
    pub(super) fn ignoring(names: &[String]) -> Self {
        let mut names = names.to_vec();
        names.push(METRIC_NAME.to_owned());
        Self::new(names, false)
    }

    /// All labels but this one; the metric name counts.
    pub(super) fn except(name: &str) -> Self {
        Self::new(vec![name.to_owned()], false)
    }

    /// All labels but these; the metric name counts.
    pub(super) fn but(names: &[String]) -> Self {
        Self::new(names.to_vec(), false)
    }

    /// All labels.
    pub(super) fn everything() -> Self {
        Self::new(Vec::new(), false)
    }

    pub(super) fn is_everything(&self) -> bool {
        !self.on && self.names.is_empty()
    }

    /// All labels but those that describe the metric rather than the series.
    pub(super) fn without_metadata() -> Self {
        Self::new(METADATA.map(str::to_owned).to_vec(), false)
    }

    /// The labels that both this key and `other` have.
    pub(super) fn within(&self, other: &Self) -> Self {
        let both = |on: &Self, other: &Self| {
            Self::new(on.names.iter().filter(|name| other.has(name)).cloned().collect(), true)
        };
        match (self.on, other.on) {
            (true, _) => both(self, other),
            (_, true) => both(other, self),
            (false, false) => Self::new([&self.names[..], &other.names[..]].concat(), false),
        }
    }

    fn new(mut names: Vec<String>, on: bool) -> Self {
        names.sort_unstable();
        names.dedup();
        Self { names, on }
    }

    fn has(&self, name: &str) -> bool {
        // There are rarely more than a few: a scan is faster than a search.
        self.names.iter().any(|n| n == name) == self.on
    }

    /// The labels of the key.
    pub(super) fn of(&self, labels: &Labels) -> Labels {
        if self.on && self.names.is_empty() {
            Labels::empty()
        } else if self.is_everything() {
            labels.clone()
        } else {
            labels.filtered(|name| self.has(name))
        }
    }

    fn pairs<'l>(&self, labels: &'l Labels) -> impl Iterator<Item = (&'l str, &'l str)> {
        labels.iter().filter(|(name, _)| self.has(name))
    }

    fn hash(&self, labels: &Labels) -> u64 {
        self.pairs(labels)
            .fold(0, |hash, (name, value)| xxh64(value.as_bytes(), xxh64(name.as_bytes(), hash)))
    }

    fn same(&self, a: &Labels, b: &Labels) -> bool {
        self.pairs(a).eq(self.pairs(b))
    }
}

/// Hands out group numbers in the order in which groups appear.
pub(super) struct Groups<'l> {
    key: LabelKey,
    /// The first series of each group.
    representatives: Vec<&'l Labels>,
    by_hash: HashMap<u64, usize, PassThrough>,
}

impl<'l> Groups<'l> {
    pub(super) fn new(key: LabelKey) -> Self {
        Self { key, representatives: Vec::new(), by_hash: HashMap::with_hasher(PassThrough) }
    }

    /// The number of the group that these labels belong to.
    pub(super) fn number(&mut self, labels: &'l Labels) -> usize {
        let mut hash = self.key.hash(labels);
        loop {
            match self.by_hash.get(&hash) {
                Some(group) if self.key.same(self.representatives[*group], labels) => return *group,
                // Another group has this hash: look one further.
                Some(_) => hash = hash.wrapping_add(1),
                None => break,
            }
        }
        let group = self.representatives.len();
        self.by_hash.insert(hash, group);
        self.representatives.push(labels);
        group
    }

    pub(super) fn len(&self) -> usize {
        self.representatives.len()
    }

    /// The labels that each group's series have in common.
    pub(super) fn labels(&self) -> Vec<Labels> {
        self.representatives.iter().map(|labels| self.key.of(labels)).collect()
    }
}

/// The rows of a vector by the group that they belong to.
#[derive(Debug)]
pub(super) struct Members {
    /// Group `g` has the rows `rows[starts[g]..starts[g + 1]]`.
    starts: Vec<usize>,
    rows: Vec<usize>,
}

impl Members {
    pub(super) fn new(group_of: &[usize], groups: usize) -> Self {
        let mut starts = vec![0; groups + 1];
        for group in group_of {
            starts[group + 1] += 1;
        }
        for group in 0..groups {
            starts[group + 1] += starts[group];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; group_of.len()];
        for (row, group) in group_of.iter().enumerate() {
            rows[next[*group]] = row;
            next[*group] += 1;
        }
        Self { starts, rows }
    }

    pub(super) fn of(&self, group: usize) -> &[usize] {
        &self.rows[self.starts[group]..self.starts[group + 1]]
    }

    /// The rows of each group.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[usize]> {
        (0..self.starts.len() - 1).map(|group| self.of(group))
    }
}

/// Uses a hash as it is: label sets and group keys bring their own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PassThrough;

impl BuildHasher for PassThrough {
    type Hasher = PassedHash;

    fn build_hasher(&self) -> PassedHash {
        PassedHash(0)
    }
}

/// See [`PassThrough`].
pub(super) struct PassedHash(u64);

impl Hasher for PassedHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh64(bytes, self.0);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_numbered_as_they_appear() {
        let series: Vec<Labels> = [("a", "1"), ("b", "1"), ("a", "2"), ("b", "2")]
            .iter()
            .map(|(job, instance)| {
                Labels::from_pairs([("__name__", "up"), ("instance", instance), ("job", job)])
            })
            .collect();
        let check = |key: LabelKey, numbers: &[usize], labels: &[&str]| {
            let mut groups = Groups::new(key);
            let found: Vec<usize> = series.iter().map(|labels| groups.number(labels)).collect();
            assert_eq!(found, numbers);
            assert_eq!(groups.labels().iter().map(ToString::to_string).collect::<Vec<_>>(), labels);
        };
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        check(LabelKey::on(&names(&["job"])), &[0, 1, 0, 1], &[r#"{job="a"}"#, r#"{job="b"}"#]);
        check(LabelKey::on(&[]), &[0, 0, 0, 0], &["{}"]);
        check(
            LabelKey::ignoring(&names(&["job"])),
            &[0, 0, 1, 1],
            &[r#"{instance="1"}"#, r#"{instance="2"}"#],
        );
    }
}
