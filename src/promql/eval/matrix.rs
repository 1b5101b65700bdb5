//! Series with a value for each instant, stored densely.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::model::{Labels, METRIC_NAME, is_stale, stale_nan};

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

/// Series as rows, instants as columns, all cells in one block of memory: operators are loops over
/// adjacent floats, and an instant query needs one allocation, not one for each series.
///
/// Native histograms will be a second block of the same shape beside `cells`.
#[derive(Debug)]
pub(super) struct StepMatrix {
    steps: usize,
    rows: Vec<Row>,
    cells: Vec<f64>,
}

impl StepMatrix {
    pub(super) fn new(steps: usize) -> Self {
        Self { steps, rows: Vec::new(), cells: Vec::new() }
    }

    pub(super) fn with_capacity(steps: usize, rows: usize) -> Self {
        // Many rows may turn out to be empty: reserve for all of them only where that is little.
        let cells = if steps == 1 { rows } else { 0 };
        Self { steps, rows: Vec::with_capacity(rows), cells: Vec::with_capacity(cells) }
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

    /// The cells of one row.
    pub(super) fn row(&self, index: usize) -> &[f64] {
        &self.cells[index * self.steps..(index + 1) * self.steps]
    }

    pub(super) fn row_mut(&mut self, index: usize) -> &mut [f64] {
        &mut self.cells[index * self.steps..(index + 1) * self.steps]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Row, &[f64])> {
        (0..self.len()).map(|index| (&self.rows[index], self.row(index)))
    }

    /// Appends a row that `fill` fills, and drops it again if it has no value. Says whether it stayed.
    pub(super) fn push(&mut self, row: impl FnOnce() -> Row, fill: impl FnOnce(&mut [f64])) -> bool {
        let start = self.cells.len();
        self.cells.resize(start + self.steps, absent());
        fill(&mut self.cells[start..]);
        let some = self.cells[start..].iter().any(|cell| is_present(*cell));
        if some {
            self.rows.push(row());
        } else {
            self.cells.truncate(start);
        }
        some
    }

    /// Appends a row with these cells.
    pub(super) fn push_cells(&mut self, row: Row, cells: &[f64]) {
        self.rows.push(row);
        self.cells.extend_from_slice(cells);
    }

    /// Changes every value; nothing becomes absent.
    pub(super) fn map(&mut self, change: impl Fn(f64) -> f64) {
        for cell in &mut self.cells {
            if is_present(*cell) {
                *cell = change(*cell);
            }
        }
    }

    /// Changes every value with the index of its instant; the result may be [`absent`].
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
        let keep: Vec<bool> =
            (0..self.len()).map(|index| self.row(index).iter().any(|cell| is_present(*cell))).collect();
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
                self.rows.swap(index, kept);
                kept += 1;
            }
        }
        self.rows.truncate(kept);
        self.cells.truncate(kept * steps);
    }

    /// Puts the rows into this order.
    pub(super) fn reorder(&mut self, order: &[usize]) {
        let mut reordered = Self::with_capacity(self.steps, self.len());
        for index in order {
            reordered.push_cells(self.rows[*index].clone(), self.row(*index));
        }
        *self = reordered;
    }

    /// How many values there are.
    pub(super) fn samples(&self) -> usize {
        self.cells.iter().filter(|cell| is_present(**cell)).count()
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
        }
        self.retain(&keep);
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
            matrix.push_cells(row(name), cells);
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
