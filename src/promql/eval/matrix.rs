//! Series with a value for each instant, stored densely.

use std::cell::OnceCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::{FloatHistogram, Labels, is_stale, stale_nan};

use super::error::same_labelset;
use super::grouping::{LabelKey, METADATA, Members, PassThrough};
use super::rows::{Grouping, RowSet};
use crate::promql::value::EvalError;

/// Whether there is a value in this cell. The staleness marker stands for "none": a selector never
/// yields it and no calculation can make one, since a NaN that is calculated is a quiet one.
pub(super) fn is_present(cell: f64) -> bool {
    !is_stale(cell)
}

/// The cell without a value.
pub(super) fn absent() -> f64 {
    stale_nan()
}

/// What identifies a row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) labels: Labels,
    /// With delayed name removal: whether the name is to be dropped at the end.
    pub(super) drop_name: bool,
}

/// The native histogram of a cell that holds one; its float is [`absent`] then.
pub(super) type HistogramCell = Option<Arc<FloatHistogram>>;

/// What a cell holds, or is to hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl From<FloatHistogram> for Cell {
    fn from(histogram: FloatHistogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

/// The cells of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells<'m> {
    pub(super) floats: &'m [f64],
    /// Empty, or as many as floats.
    pub(super) histograms: &'m [HistogramCell],
}

impl<'m> Cells<'m> {
    /// Cells that hold floats alone.
    pub(super) fn floats(floats: &'m [f64]) -> Self {
        Self { floats, histograms: &[] }
    }

    pub(super) fn histogram(&self, step: usize) -> Option<&'m Arc<FloatHistogram>> {
        self.histograms.get(step)?.as_ref()
    }

    pub(super) fn is_present(&self, step: usize) -> bool {
        is_present(self.floats[step]) || self.histogram(step).is_some()
    }

    pub(super) fn get(&self, step: usize) -> Option<Cell> {
        match self.histogram(step) {
            Some(histogram) => Some(Cell::Histogram(Arc::clone(histogram))),
            None => is_present(self.floats[step]).then(|| Cell::Float(self.floats[step])),
        }
    }

    fn is_empty(&self) -> bool {
        !self.floats.iter().any(|cell| is_present(*cell)) && self.histograms.iter().all(Option::is_none)
    }
}

/// The cells of a row that is being filled.
pub(super) struct CellsMut<'m> {
    floats: &'m mut [f64],
    histograms: &'m mut [HistogramCell],
}

impl CellsMut<'_> {
    pub(super) fn set(&mut self, step: usize, cell: Option<Cell>) {
        (self.floats[step], self.histograms[step]) = match cell {
            None => (absent(), None),
            Some(Cell::Float(value)) => (value, None),
            Some(Cell::Histogram(histogram)) => (absent(), Some(histogram)),
        };
    }
}

/// The name of a row of a matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowName<'m> {
    rows: &'m Rows,
    index: usize,
}

impl NewRow for RowName<'_> {
    fn add_to(self, rows: &mut Rows) {
        match self.rows {
            Rows::Listed(listed) => listed[self.index].clone().add_to(rows),
            Rows::Of { places, .. } => Place(places[self.index]).add_to(rows),
        }
    }
}

/// Where the rows of a set stand in a matrix.
#[derive(Debug)]
pub(super) struct Positions(Option<Vec<Option<usize>>>);

impl Positions {
    pub(super) fn of(&self, place: usize) -> Option<usize> {
        self.0.as_ref().map_or(Some(place), |positions| positions[place])
    }
}

/// The rows of a matrix by group.
#[derive(Debug)]
pub(super) struct GroupedRows {
    grouping: Arc<Grouping>,
    /// If some rows of the set are missing.
    partial: Option<Members>,
}

impl GroupedRows {
    /// The rows of each group; a group may have none.
    pub(super) fn members(&self) -> &Members {
        self.partial.as_ref().unwrap_or(&self.grouping.members)
    }

    /// What the groups are called.
    pub(super) fn groups(&self) -> &Arc<RowSet> {
        &self.grouping.groups
    }
}

/// What names a row that is added to a matrix.
pub(super) trait NewRow {
    fn add_to(self, rows: &mut Rows);
}

impl NewRow for Row {
    fn add_to(self, rows: &mut Rows) {
        rows.listed_mut().push(self);
    }
}

impl<F: FnOnce() -> Row> NewRow for F {
    fn add_to(self, rows: &mut Rows) {
        rows.listed_mut().push(self());
    }
}

/// The place of a row in the set that a matrix was made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(pub(super) usize);

impl NewRow for Place {
    fn add_to(self, rows: &mut Rows) {
        match rows {
            Rows::Of { places, listed, .. } => {
                places.push(self.0);
                listed.take();
            }
            Rows::Listed(_) => debug_assert!(false, "a matrix of no set has no places"),
        }
    }
}

/// The rows of a matrix.
#[derive(Debug)]
pub(super) enum Rows {
    Listed(Vec<Row>),
    /// Rows of a set by their places, ascending unless they were sorted.
    Of {
        set: Arc<RowSet>,
        places: Vec<usize>,
        /// The same as a list, if anybody wanted that.
        listed: OnceCell<Vec<Row>>,
    },
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Self::Listed(rows) => rows.len(),
            Self::Of { places, .. } => places.len(),
        }
    }

    fn listed(&self) -> &[Row] {
        match self {
            Self::Listed(rows) => rows,
            Self::Of { set, places, listed } => {
                listed.get_or_init(|| places.iter().map(|place| set.row(*place)).collect())
            }
        }
    }

    fn listed_mut(&mut self) -> &mut Vec<Row> {
        if let Self::Of { .. } = self {
            *self = Self::Listed(self.listed().to_vec());
        }
        match self {
            Self::Listed(rows) => rows,
            Self::Of { .. } => unreachable!("it was just made a list"),
        }
    }

    /// Moves a row to the place of another one.
    fn swap(&mut self, a: usize, b: usize) {
        match self {
            Self::Listed(rows) => rows.swap(a, b),
            Self::Of { places, .. } => places.swap(a, b),
        }
    }

    fn truncate(&mut self, length: usize) {
        match self {
            Self::Listed(rows) => rows.truncate(length),
            Self::Of { places, listed, .. } => {
                places.truncate(length);
                listed.take();
            }
        }
    }
}

/// The most cells for which memory is reserved before there are any: 64 MiB.
const MOST_RESERVED_CELLS: usize = 8 << 20;

/// Memory for so many cells. What no row comes to use of it is never touched; where that would be very much,
/// it is not asked for.
fn reserved(steps: usize, rows: usize) -> Vec<f64> {
    Vec::with_capacity(steps.saturating_mul(rows).min(MOST_RESERVED_CELLS))
}

/// Series as rows, instants as columns, all cells in one block of memory: operators are loops over
/// adjacent floats, and an instant query needs one allocation, not one for each series.
///
/// Native histograms are a second block of the same shape, which is there only if any cell holds one.
#[derive(Debug)]
pub(super) struct StepMatrix {
    steps: usize,
    rows: Rows,
    cells: Vec<f64>,
    /// Empty, or as many as cells.
    histograms: Vec<HistogramCell>,
}

impl StepMatrix {
    pub(super) fn new(steps: usize) -> Self {
        Self { steps, rows: Rows::Listed(Vec::new()), cells: Vec::new(), histograms: Vec::new() }
    }

    pub(super) fn with_capacity(steps: usize, rows: usize) -> Self {
        Self {
            steps,
            rows: Rows::Listed(Vec::with_capacity(rows)),
            cells: reserved(steps, rows),
            histograms: Vec::new(),
        }
    }

    /// A matrix for rows of a set, still without any.
    pub(super) fn of(set: &Arc<RowSet>, steps: usize) -> Self {
        let places = Vec::with_capacity(set.len());
        Self {
            steps,
            rows: Rows::Of { set: Arc::clone(set), places, listed: OnceCell::new() },
            cells: reserved(steps, set.len()),
            histograms: Vec::new(),
        }
    }

    /// The set of the rows and their places in it.
    pub(super) fn set(&mut self) -> (&Arc<RowSet>, &[usize]) {
        if let Rows::Listed(rows) = &mut self.rows {
            let places = (0..rows.len()).collect();
            let set = Arc::new(RowSet::listed(std::mem::take(rows)));
            self.rows = Rows::Of { set, places, listed: OnceCell::new() };
        }
        match &self.rows {
            Rows::Of { set, places, .. } => (set, places),
            Rows::Listed(_) => unreachable!("it was just made a set"),
        }
    }

    /// The places of the rows in their set; none for a matrix of no set.
    pub(super) fn places(&self) -> &[usize] {
        match &self.rows {
            Rows::Of { places, .. } => places,
            Rows::Listed(_) => &[],
        }
    }

    /// A name for the row at an index by which it is added to a matrix of [`Self::like`].
    pub(super) fn name(&self, index: usize) -> RowName<'_> {
        RowName { rows: &self.rows, index }
    }

    /// An empty matrix for rows of this one.
    pub(super) fn like(&self, steps: usize) -> Self {
        match &self.rows {
            Rows::Of { set, .. } => Self::of(set, steps),
            Rows::Listed(rows) => Self::with_capacity(steps, rows.len()),
        }
    }

    /// The row of the matrix for each place of its set, if there is one.
    pub(super) fn positions(&mut self) -> Positions {
        if self.is_whole_set() {
            return Positions(None);
        }
        let (set, places) = self.set();
        let mut positions = vec![None; set.len()];
        for (index, place) in places.iter().enumerate() {
            positions[*place] = Some(index);
        }
        Positions(Some(positions))
    }

    /// The rows by the labels of the key.
    pub(super) fn grouped(&mut self, key: &LabelKey) -> GroupedRows {
        let (set, places) = self.set();
        let grouping = set.grouping(key);
        let partial = (places.len() < set.len() || !places.is_sorted()).then(|| {
            let group_of: Vec<usize> = places.iter().map(|place| grouping.group_of[*place]).collect();
            Members::new(&group_of, grouping.groups.len())
        });
        GroupedRows { grouping, partial }
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    pub(super) fn rows(&self) -> &[Row] {
        self.rows.listed()
    }

    pub(super) fn rows_mut(&mut self) -> &mut [Row] {
        self.rows.listed_mut()
    }

    /// A row's labels and whether its name is to be dropped.
    pub(super) fn row_at(&self, index: usize) -> Row {
        match &self.rows {
            Rows::Listed(rows) => rows[index].clone(),
            Rows::Of { set, places, .. } => set.row(places[index]),
        }
    }

    /// The metric names of the rows, without repetitions that follow one another.
    pub(super) fn metric_names(&self) -> Vec<&str> {
        match &self.rows {
            Rows::Of { places, .. } if places.is_empty() => Vec::new(),
            Rows::Of { set, .. } if set.metric_name().is_some() => set.metric_name().into_iter().collect(),
            _ => {
                let mut names: Vec<&str> = self.rows().iter().map(|row| row.labels.metric_name()).collect();
                names.dedup();
                names
            }
        }
    }

    pub(super) fn cells(&self) -> &[f64] {
        &self.cells
    }

    /// Whether any cell may hold a histogram.
    pub(super) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Whether any cell holds a histogram.
    pub(super) fn any_histogram(&self) -> bool {
        self.histograms.iter().any(Option::is_some)
    }

    /// The floats and the histograms of one row.
    pub(super) fn cells_of(&self, index: usize) -> Cells<'_> {
        let histograms = if self.has_histograms() {
            &self.histograms[index * self.steps..(index + 1) * self.steps]
        } else {
            &[]
        };
        Cells { floats: self.row(index), histograms }
    }

    pub(super) fn iter_cells(&self) -> impl Iterator<Item = (&Row, Cells<'_>)> {
        self.rows().iter().enumerate().map(|(index, row)| (row, self.cells_of(index)))
    }

    /// Empties a cell.
    pub(super) fn remove(&mut self, row: usize, step: usize) {
        let index = row * self.steps + step;
        self.cells[index] = absent();
        if let Some(histogram) = self.histograms.get_mut(index) {
            *histogram = None;
        }
    }

    /// Empties the cells that hold histograms, and removes rows that held nothing else.
    pub(super) fn drop_histograms(&mut self) {
        if self.has_histograms() {
            self.histograms = Vec::new();
            self.remove_empty_rows();
        }
    }

    /// Changes every histogram; a cell becomes empty where there is no result.
    pub(super) fn map_histograms(&mut self, mut change: impl FnMut(usize, &FloatHistogram) -> Option<Cell>) {
        for (index, (cell, histogram)) in self.cells.iter_mut().zip(&mut self.histograms).enumerate() {
            let Some(old) = histogram.take() else { continue };
            match change(index % self.steps.max(1), &old) {
                Some(Cell::Float(value)) => *cell = value,
                Some(Cell::Histogram(new)) => *histogram = Some(new),
                None => {}
            }
        }
    }

    /// The floats of one row.
    pub(super) fn row(&self, index: usize) -> &[f64] {
        &self.cells[index * self.steps..(index + 1) * self.steps]
    }

    /// The cells of each row.
    pub(super) fn each_cells(&self) -> impl Iterator<Item = Cells<'_>> {
        (0..self.len()).map(|index| self.cells_of(index))
    }

    /// Appends a row whose floats `fill` fills, and drops it again if it has no value. Says whether it
    /// stayed.
    pub(super) fn push(&mut self, row: impl NewRow, fill: impl FnOnce(&mut [f64])) -> bool {
        let start = self.cells.len();
        self.cells.resize(start + self.steps, absent());
        fill(&mut self.cells[start..]);
        let some = self.cells[start..].iter().any(|cell| is_present(*cell));
        if some {
            row.add_to(&mut self.rows);
            if self.has_histograms() {
                self.histograms.resize(self.cells.len(), None);
            }
        } else {
            self.cells.truncate(start);
        }
        some
    }

    /// [`push`](Self::push) with floats and histograms.
    pub(super) fn push_mixed(&mut self, row: impl NewRow, fill: impl FnOnce(CellsMut<'_>)) -> bool {
        let start = self.cells.len();
        self.cells.resize(start + self.steps, absent());
        self.histograms.resize(start + self.steps, None);
        fill(CellsMut { floats: &mut self.cells[start..], histograms: &mut self.histograms[start..] });
        let some = !Cells { floats: &self.cells[start..], histograms: &self.histograms[start..] }.is_empty();
        if some {
            row.add_to(&mut self.rows);
        } else {
            self.cells.truncate(start);
            self.histograms.truncate(start);
        }
        some
    }

    /// Appends a row with these cells.
    pub(super) fn push_cells(&mut self, row: impl NewRow, cells: Cells<'_>) {
        if !cells.histograms.is_empty() {
            self.histograms.resize(self.cells.len(), None);
            self.histograms.extend_from_slice(cells.histograms);
        }
        row.add_to(&mut self.rows);
        self.cells.extend_from_slice(cells.floats);
        if self.has_histograms() {
            self.histograms.resize(self.cells.len(), None);
        }
    }

    /// Changes every float; none becomes absent.
    pub(super) fn map(&mut self, change: impl Fn(f64) -> f64) {
        for cell in &mut self.cells {
            if is_present(*cell) {
                *cell = change(*cell);
            }
        }
    }

    /// Changes every float with the index of its instant; the result may be [`absent`].
    pub(super) fn map_by_step(&mut self, change: impl Fn(usize, f64) -> f64) {
        for cells in self.cells.chunks_exact_mut(self.steps.max(1)) {
            for (step, cell) in cells.iter_mut().enumerate() {
                if is_present(*cell) {
                    *cell = change(step, *cell);
                }
            }
        }
    }

    /// Marks every row's name as to be dropped, and drops it unless that is `delayed`.
    pub(super) fn drop_names(&mut self, delayed: bool) {
        if let Rows::Of { set, listed, .. } = &mut self.rows {
            *set = set.nameless(delayed);
            listed.take();
            return;
        }
        for row in self.rows.listed_mut() {
            row.drop_name = true;
            if !delayed {
                row.labels = without_metadata(&row.labels);
            }
        }
    }

    /// The same cells with other rows, as many as there are.
    pub(super) fn renamed(&mut self, set: &Arc<RowSet>) {
        debug_assert_eq!(set.len(), self.len(), "each row has a new name");
        let places = (0..set.len()).collect();
        self.rows = Rows::Of { set: Arc::clone(set), places, listed: OnceCell::new() };
    }

    /// Whether the rows are all those of their set, in its order.
    pub(super) fn is_whole_set(&mut self) -> bool {
        let (set, places) = self.set();
        places.len() == set.len() && places.iter().enumerate().all(|(index, place)| index == *place)
    }

    /// Removes rows without a value.
    pub(super) fn remove_empty_rows(&mut self) {
        let keep: Vec<bool> = (0..self.len()).map(|index| !self.cells_of(index).is_empty()).collect();
        self.retain(&keep);
    }

    /// Keeps the rows that are marked.
    pub(super) fn retain(&mut self, keep: &[bool]) {
        if keep.iter().all(|keep| *keep) {
            return;
        }
        let steps = self.steps;
        let mut kept = 0;
        for (index, keep) in keep.iter().enumerate() {
            if *keep {
                self.cells.copy_within(index * steps..(index + 1) * steps, kept * steps);
                if self.has_histograms() {
                    for step in 0..steps {
                        self.histograms.swap(index * steps + step, kept * steps + step);
                    }
                }
                self.rows.swap(index, kept);
                kept += 1;
            }
        }
        self.rows.truncate(kept);
        self.cells.truncate(kept * steps);
        self.histograms.truncate(kept * steps);
    }

    /// Puts the rows into this order.
    pub(super) fn reorder(&mut self, order: &[usize]) {
        let mut reordered = self.like(self.steps);
        for index in order {
            reordered.push_cells(self.name(*index), self.cells_of(*index));
        }
        *self = reordered;
    }

    /// How many values there are; a histogram counts as the floats that take as much memory.
    pub(super) fn samples(&self) -> usize {
        let floats = self.cells.iter().filter(|cell| is_present(**cell)).count();
        let histograms = self.histograms.iter().flatten();
        floats + histograms.map(|histogram| histogram.size_in_samples()).sum::<usize>()
    }

    /// Whether two rows have the same labels.
    pub(super) fn has_same_labelset(&self) -> bool {
        if let Rows::Of { set, .. } = &self.rows
            && set.is_distinct()
        {
            return false;
        }
        let mut seen = HashSet::with_capacity_and_hasher(self.len(), PassThrough);
        self.rows().iter().any(|row| !seen.insert(&row.labels))
    }

    /// Merges rows with the same labels. Two values at the same instant are an error.
    pub(super) fn merge_same_labelsets(&mut self) -> Result<(), EvalError> {
        // Nearly always there is nothing to merge.
        if self.len() < 2 || !self.has_same_labelset() {
            return Ok(());
        }
        let mut first = HashMap::with_capacity_and_hasher(self.len(), PassThrough);
        let mut keep = vec![true; self.len()];
        let mut merges = Vec::new();
        for (index, row) in self.rows().iter().enumerate() {
            match first.entry(row.labels.clone()) {
                Entry::Vacant(vacant) => {
                    vacant.insert(index);
                }
                Entry::Occupied(target) => {
                    keep[index] = false;
                    merges.push((*target.get(), index));
                }
            }
        }
        let steps = self.steps;
        for (target, source) in merges {
            let (head, tail) = self.cells.split_at_mut(source * steps);
            for (to, from) in head[target * steps..(target + 1) * steps].iter_mut().zip(&tail[..steps]) {
                if is_present(*from) {
                    if is_present(*to) {
                        return Err(same_labelset());
                    }
                    *to = *from;
                }
            }
            if self.has_histograms() {
                self.merge_histograms(target, source)?;
            }
        }
        self.retain(&keep);
        Ok(())
    }

    /// Moves a row's histograms to another row, whose floats are already those of both.
    fn merge_histograms(&mut self, target: usize, source: usize) -> Result<(), EvalError> {
        for step in 0..self.steps {
            let (to, from) = (target * self.steps + step, source * self.steps + step);
            let moved = self.histograms[from].take();
            let values = [is_present(self.cells[to]), moved.is_some(), self.histograms[to].is_some()];
            if values.iter().filter(|value| **value).count() > 1 {
                return Err(same_labelset());
            }
            if moved.is_some() {
                self.histograms[to] = moved;
            }
        }
        Ok(())
    }
}

/// The labels without those that describe the metric rather than the series: `__name__`, `__type__`
/// and `__unit__`. Source: Prometheus `schema/labels.go`, `IsMetadataLabel`.
pub(super) fn without_metadata(labels: &Labels) -> Labels {
    if labels.iter().any(|(name, _)| is_metadata(name)) {
        labels.filtered(|name| !is_metadata(name))
    } else {
        labels.clone()
    }
}

fn is_metadata(name: &str) -> bool {
    METADATA.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        Row { labels: Labels::from_pairs([("a", name)]), drop_name: false }
    }

    fn matrix(rows: &[(&str, [f64; 2])]) -> StepMatrix {
        let mut matrix = StepMatrix::new(2);
        for (name, cells) in rows {
            matrix.push_cells(row(name), Cells::floats(cells));
        }
        matrix
    }

    #[test]
    fn a_row_without_a_value_does_not_stay() {
        let mut matrix = StepMatrix::new(2);
        assert!(!matrix.push(|| row("x"), |_| {}));
        assert!(matrix.push(|| row("y"), |cells| cells[1] = f64::NAN));
        assert_eq!(matrix.len(), 1);
        assert_eq!(matrix.samples(), 1);
    }

    #[test]
    fn rows_with_the_same_labels_are_merged_unless_they_overlap() {
        let mut disjoint = matrix(&[("x", [1.0, absent()]), ("y", [5.0, 6.0]), ("x", [absent(), 2.0])]);
        disjoint.merge_same_labelsets().expect("no overlap");
        assert_eq!(disjoint.len(), 2);
        assert_eq!(disjoint.row(0), [1.0, 2.0]);
        assert_eq!(disjoint.row(1), [5.0, 6.0]);
        let mut overlapping = matrix(&[("x", [1.0, 1.0]), ("x", [absent(), 2.0])]);
        assert!(overlapping.merge_same_labelsets().is_err());
    }

    #[test]
    fn histograms_move_with_their_rows() {
        let histogram = || Cell::from(FloatHistogram::empty(0, Arc::default()));
        let mut mixed = matrix(&[("x", [1.0, 2.0])]);
        assert!(!mixed.has_histograms());
        assert!(mixed.push_mixed(|| row("y"), |mut cells| cells.set(1, Some(histogram()))));
        assert!(!mixed.push_mixed(|| row("z"), |_| {}));
        mixed.push_cells(row("y"), Cells::floats(&[7.0, absent()]));
        mixed.merge_same_labelsets().expect("no overlap");
        mixed.retain(&[false, true]);
        assert_eq!(mixed.cells_of(0).get(0), Some(Cell::Float(7.0)));
        assert_eq!(mixed.cells_of(0).get(1), Some(histogram()));
        mixed.drop_histograms();
        assert_eq!((mixed.len(), mixed.samples()), (1, 1));
        mixed.push_mixed(|| row("y"), |mut cells| cells.set(0, Some(histogram())));
        assert!(mixed.merge_same_labelsets().is_err());
    }

    #[test]
    fn calculations_never_yield_the_absent_cell() {
        for value in
            [absent() + 0.0, -absent() * 1.0, f64::NAN, f64::INFINITY - f64::INFINITY, absent().sqrt()]
        {
            assert!(is_present(value));
        }
    }

    #[test]
    fn name_type_and_unit_are_metadata() {
        let labels =
            Labels::from_pairs([("__name__", "n"), ("__type__", "t"), ("__unit__", "u"), ("a", "b")]);
        assert_eq!(without_metadata(&labels).to_string(), r#"{a="b"}"#);
    }
}
