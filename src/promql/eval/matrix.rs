//! Series with a value for each instant, stored densely.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::{FloatHistogram, Labels, METRIC_NAME, is_stale, stale_nan};

use super::error::same_labelset;
use super::grouping::PassThrough;
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

/// The most cells for which memory is reserved before there are any: 64 MiB.
const MOST_RESERVED_CELLS: usize = 8 << 20;

/// Series as rows, instants as columns, all cells in one block of memory: operators are loops over
/// adjacent floats, and an instant query needs one allocation, not one for each series.
///
/// Native histograms are a second block of the same shape, which is there only if any cell holds one.
#[derive(Debug)]
pub(super) struct StepMatrix {
    steps: usize,
    rows: Vec<Row>,
    cells: Vec<f64>,
    /// Empty, or as many as cells.
    histograms: Vec<HistogramCell>,
}

impl StepMatrix {
    pub(super) fn new(steps: usize) -> Self {
        Self { steps, rows: Vec::new(), cells: Vec::new(), histograms: Vec::new() }
    }

    pub(super) fn with_capacity(steps: usize, rows: usize) -> Self {
        // Memory that no row comes to use is never touched; where that is very much, it is not asked for.
        let cells = steps.saturating_mul(rows).min(MOST_RESERVED_CELLS);
        Self {
            steps,
            rows: Vec::with_capacity(rows),
            cells: Vec::with_capacity(cells),
            histograms: Vec::new(),
        }
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn rows_mut(&mut self) -> &mut [Row] {
        &mut self.rows
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
        (0..self.len()).map(|index| (&self.rows[index], self.cells_of(index)))
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

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Row, &[f64])> {
        (0..self.len()).map(|index| (&self.rows[index], self.row(index)))
    }

    /// Appends a row whose floats `fill` fills, and drops it again if it has no value. Says whether it
    /// stayed.
    pub(super) fn push(&mut self, row: impl FnOnce() -> Row, fill: impl FnOnce(&mut [f64])) -> bool {
        let start = self.cells.len();
        self.cells.resize(start + self.steps, absent());
        fill(&mut self.cells[start..]);
        let some = self.cells[start..].iter().any(|cell| is_present(*cell));
        if some {
            self.rows.push(row());
            if self.has_histograms() {
                self.histograms.resize(self.cells.len(), None);
            }
        } else {
            self.cells.truncate(start);
        }
        some
    }

    /// [`push`](Self::push) with floats and histograms.
    pub(super) fn push_mixed(&mut self, row: impl FnOnce() -> Row, fill: impl FnOnce(CellsMut<'_>)) -> bool {
        let start = self.cells.len();
        self.cells.resize(start + self.steps, absent());
        self.histograms.resize(start + self.steps, None);
        fill(CellsMut { floats: &mut self.cells[start..], histograms: &mut self.histograms[start..] });
        let some = !Cells { floats: &self.cells[start..], histograms: &self.histograms[start..] }.is_empty();
        if some {
            self.rows.push(row());
        } else {
            self.cells.truncate(start);
            self.histograms.truncate(start);
        }
        some
    }

    /// Appends a row with these cells.
    pub(super) fn push_cells(&mut self, row: Row, cells: Cells<'_>) {
        if !cells.histograms.is_empty() {
            self.histograms.resize(self.cells.len(), None);
            self.histograms.extend_from_slice(cells.histograms);
        }
        self.rows.push(row);
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
        for row in &mut self.rows {
            row.drop_name = true;
            if !delayed {
                row.labels = without_metadata(&row.labels);
            }
        }
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
        let mut reordered = Self::with_capacity(self.steps, self.len());
        for index in order {
            reordered.push_cells(self.rows[*index].clone(), self.cells_of(*index));
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
        let mut seen = HashSet::with_capacity_and_hasher(self.len(), PassThrough);
        self.rows.iter().any(|row| !seen.insert(&row.labels))
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
        for (index, row) in self.rows.iter().enumerate() {
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
    name == METRIC_NAME || name == "__type__" || name == "__unit__"
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
