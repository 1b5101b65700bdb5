//! Which series the rows of a vector are, apart from their values.
//!
//! A selector finds the same series at nearly every evaluation, and so everything that follows from
//! labels alone is the same as well: which rows form a group, who is matched with whom, what the results
//! are called. A [`RowSet`] stands for such rows; what was computed from it is kept with it, so that a
//! rule that is evaluated again finds it there. Rows without a value are left out of a vector, not out
//! of its set: a condition that holds for other series each time computes nothing anew.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::model::Labels;
use crate::promql::value::EvalError;
use crate::storage::SeriesSet;

use super::function::{LabelFunction, Relabelled};
use super::grouping::{Groups, LabelKey, Members, PassThrough};
use super::histogram::Layout;
use super::matching::Partners;
use super::matrix::Row;

/// The rows that a vector may have, in order.
#[derive(Debug)]
pub(in crate::promql) struct RowSet {
    source: Source,
    /// The labels that are left of those of the source.
    visible: LabelKey,
    /// Whether the names are to be dropped at the end; absent if the source says so.
    drop_name: Option<bool>,
    known: Known,
}

#[derive(Debug, Clone)]
enum Source {
    Series(Arc<SeriesSet>),
    Listed(Arc<[Row]>),
}

/// What was computed from the labels of a set.
#[derive(Debug, Default)]
struct Known {
    distinct: OnceLock<bool>,
    metric_name: OnceLock<Option<Box<str>>>,
    nameless: OnceLock<Arc<RowSet>>,
    groupings: Mutex<Vec<Arc<Grouping>>>,
    relabelled: Mutex<Vec<Arc<Relabelled>>>,
    partners: Mutex<Vec<Arc<Partners>>>,
    histograms: OnceLock<Arc<Layout>>,
}

/// The groups of a set's rows.
#[derive(Debug)]
pub(super) struct Grouping {
    key: LabelKey,
    /// The group of each row.
    pub(super) group_of: Vec<usize>,
    /// The rows of each group.
    pub(super) members: Members,
    /// What the groups are called.
    pub(super) groups: Arc<RowSet>,
}

impl RowSet {
    /// The series of a selector.
    pub(in crate::promql) fn of_series(set: Arc<SeriesSet>) -> Self {
        Self::new(Source::Series(set), LabelKey::everything(), None)
    }

    /// These rows.
    pub(super) fn listed(rows: Vec<Row>) -> Self {
        Self::new(Source::Listed(rows.into()), LabelKey::everything(), None)
    }

    fn new(source: Source, visible: LabelKey, drop_name: Option<bool>) -> Self {
        Self { source, visible, drop_name, known: Known::default() }
    }

    /// The series that it stands for, if it is a selector's.
    pub(in crate::promql) fn series(&self) -> Option<&Arc<SeriesSet>> {
        match &self.source {
            Source::Series(set) => Some(set),
            Source::Listed(_) => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.source {
            Source::Series(set) => set.len(),
            Source::Listed(rows) => rows.len(),
        }
    }

    /// The labels of a row, those among them that are not visible.
    fn source_labels(&self, place: usize) -> &Labels {
        match &self.source {
            Source::Series(set) => &set.labels()[place],
            Source::Listed(rows) => &rows[place].labels,
        }
    }

    fn all_source_labels(&self) -> impl Iterator<Item = &Labels> {
        (0..self.len()).map(|place| self.source_labels(place))
    }

    /// The labels of a row.
    pub(super) fn labels(&self, place: usize) -> Labels {
        self.visible.of(self.source_labels(place))
    }

    pub(super) fn row(&self, place: usize) -> Row {
        let own = match &self.source {
            Source::Series(_) => false,
            Source::Listed(rows) => rows[place].drop_name,
        };
        Row { labels: self.labels(place), drop_name: self.drop_name.unwrap_or(own) }
    }

    /// Whether no two rows have the same labels.
    pub(super) fn is_distinct(&self) -> bool {
        *self.known.distinct.get_or_init(|| {
            let all = self.visible.is_everything();
            if all && matches!(self.source, Source::Series(_)) {
                return true;
            }
            if !all {
                let mut groups = Groups::new(self.visible.clone());
                return self
                    .all_source_labels()
                    .enumerate()
                    .all(|(row, labels)| groups.number(labels) == row);
            }
            let mut seen = HashSet::with_capacity_and_hasher(self.len(), PassThrough);
            self.all_source_labels().all(|labels| seen.insert(labels))
        })
    }

    /// The metric name of the rows, if it is the same for all.
    pub(super) fn metric_name(&self) -> Option<&str> {
        let name = self.known.metric_name.get_or_init(|| {
            let first = self.labels(0).metric_name().to_owned();
            let same = (1..self.len()).all(|place| self.labels(place).metric_name() == first);
            same.then(|| first.into())
        });
        name.as_deref()
    }

    /// The same rows without some labels.
    pub(super) fn with(&self, visible: &LabelKey, drop_name: Option<bool>) -> Self {
        let drop_name = drop_name.or(self.drop_name);
        Self::new(self.source.clone(), visible.within(&self.visible), drop_name)
    }

    /// The same rows without names, or with a mark to drop them at the end.
    pub(super) fn nameless(self: &Arc<Self>, delayed: bool) -> Arc<Self> {
        let visible = if delayed { LabelKey::everything() } else { LabelKey::without_metadata() };
        // Evaluations with one set are all with the same options.
        Arc::clone(self.known.nameless.get_or_init(|| Arc::new(self.with(&visible, Some(true)))))
    }

    /// The rows by the labels of the key.
    pub(super) fn grouping(&self, key: &LabelKey) -> Arc<Grouping> {
        let mut groupings = lock(&self.known.groupings);
        if let Some(known) = groupings.iter().find(|known| known.key == *key) {
            return Arc::clone(known);
        }
        let mut groups = Groups::new(key.within(&self.visible));
        let group_of: Vec<usize> = self.all_source_labels().map(|labels| groups.number(labels)).collect();
        let members = Members::new(&group_of, groups.len());
        let drops = |rows: &[usize]| rows.iter().any(|row| self.row_is_dropping(*row));
        let rows = groups.labels().into_iter().zip(members.iter());
        let rows = rows.map(|(labels, rows)| Row { labels, drop_name: drops(rows) }).collect();
        let groups = Arc::new(Self::listed(rows));
        let grouping = Arc::new(Grouping { key: key.clone(), group_of, members, groups });
        groupings.push(Arc::clone(&grouping));
        grouping
    }

    /// The rows as a call with these texts changes their labels, or what `change` makes of them.
    pub(super) fn relabelled(
        &self,
        function: LabelFunction,
        texts: &[&str],
        change: impl FnOnce() -> Result<Relabelled, EvalError>,
    ) -> Result<Arc<Relabelled>, EvalError> {
        if let Some(known) = lock(&self.known.relabelled).iter().find(|known| known.is_of(function, texts)) {
            return Ok(Arc::clone(known));
        }
        let found = Arc::new(change()?);
        lock(&self.known.relabelled).push(Arc::clone(&found));
        Ok(found)
    }

    fn row_is_dropping(&self, place: usize) -> bool {
        self.drop_name.unwrap_or_else(|| match &self.source {
            Source::Series(_) => false,
            Source::Listed(rows) => rows[place].drop_name,
        })
    }

    /// Numbers for the groups of two sets' rows, the same for both, and how many there are.
    pub(super) fn common_groups(&self, other: &Self, key: &LabelKey) -> (Vec<usize>, Vec<usize>, usize) {
        // What one side hides the other may show: the labels have to be those that are left.
        let own: Vec<Labels> = (0..self.len()).map(|place| self.labels(place)).collect();
        let others: Vec<Labels> = (0..other.len()).map(|place| other.labels(place)).collect();
        let mut groups = Groups::new(key.clone());
        let mut number = |labels| groups.number(labels);
        let own: Vec<usize> = own.iter().map(&mut number).collect();
        let others: Vec<usize> = others.iter().map(&mut number).collect();
        (own, others, groups.len())
    }

    /// What is known about partners for which `is_it` holds, or what `find` finds. Partners that are
    /// gone are forgotten.
    pub(super) fn partners(
        &self,
        is_it: impl Fn(&Partners) -> bool,
        find: impl FnOnce() -> Partners,
    ) -> Arc<Partners> {
        let mut partners = lock(&self.known.partners);
        if let Some(known) = partners.iter().find(|known| is_it(known)) {
            return Arc::clone(known);
        }
        partners.retain(|known| known.is_alive());
        let found = Arc::new(find());
        partners.push(Arc::clone(&found));
        found
    }

    /// The classic histograms among the rows, or what `find` finds.
    pub(super) fn histograms(&self, find: impl FnOnce() -> Layout) -> Arc<Layout> {
        Arc::clone(self.known.histograms.get_or_init(|| Arc::new(find())))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked meanwhile left a complete list behind: entries are pushed when they are finished.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
