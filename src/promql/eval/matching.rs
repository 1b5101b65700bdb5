//! Binary operators between two instant vectors: who is paired with whom.
//!
//! Partners are found once for all instants. What depends on the instant (whether a partner has a value
//! there, whether two candidates have) is then a question about cells.
//! Source of the rules and texts: Prometheus `promql/engine.go`, `VectorBinop`.

use std::collections::HashMap;

use crate::model::{Labels, Span};
use crate::promql::ast::{BinaryExpr, BinaryOp, MatchCardinality, VectorMatching};
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::Evaluator;
use super::annotations::Annotations;
use super::binary::{Operation, SetOperation};
use super::error::failure;
use super::grouping::{Groups, LabelKey, Members};
use super::matrix::{Cell, Cells, Row, StepMatrix, absent, is_present, without_metadata};
use super::native::operate;

/// Both sides with the groups of their rows.
struct Sides {
    /// The group of each row on the side that may have many of one group.
    many: Vec<usize>,
    members_of_many: Members,
    /// The group of each row on the other side.
    one: Vec<usize>,
    members_of_one: Members,
}

impl Sides {
    fn new(key: LabelKey, many: &StepMatrix, one: &StepMatrix) -> Self {
        let mut groups = Groups::new(key);
        let many: Vec<usize> = many.rows().iter().map(|row| groups.number(&row.labels)).collect();
        let one: Vec<usize> = one.rows().iter().map(|row| groups.number(&row.labels)).collect();
        Self {
            members_of_many: Members::new(&many, groups.len()),
            members_of_one: Members::new(&one, groups.len()),
            many,
            one,
        }
    }
}

fn key(matching: &VectorMatching) -> LabelKey {
    if matching.on { LabelKey::on(&matching.labels) } else { LabelKey::ignoring(&matching.labels) }
}

/// At which instants any row has a value.
fn any_present(matrix: &StepMatrix) -> Vec<bool> {
    let mut any = vec![false; matrix.steps()];
    for (_, cells) in matrix.iter_cells() {
        mark_present(&mut any, cells);
    }
    any
}

fn mark_present(any: &mut [bool], cells: Cells<'_>) {
    for (any, float) in any.iter_mut().zip(cells.floats) {
        *any |= is_present(*float);
    }
    for (any, histogram) in any.iter_mut().zip(cells.histograms) {
        *any |= histogram.is_some();
    }
}

impl Evaluator<'_> {
    /// Arithmetic and comparisons.
    #[expect(clippy::too_many_arguments, reason = "an operator, its place, its operands and the instants")]
    pub(super) fn matched(
        &mut self,
        expr: &BinaryExpr,
        span: Span,
        operation: Operation,
        matching: &VectorMatching,
        left: StepMatrix,
        right: StepMatrix,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let fill = matching.fill;
        let no_fill = fill.left.is_none() && fill.right.is_none();
        if (left.is_empty() && right.is_empty()) || ((left.is_empty() || right.is_empty()) && no_fill) {
            return Ok(StepMatrix::new(steps.count));
        }
        let swapped = matching.cardinality == MatchCardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let sides = Sides::new(key(matching), &many, &one);
        let pairing = Pairing {
            op: expr.op,
            span,
            operation,
            return_bool: expr.return_bool,
            matching,
            key: key(matching),
            swapped,
            drop_name: operation.drops_name() || (expr.return_bool && !self.options.delayed_name_removal),
            many: &many,
            one: &one,
            sides: &sides,
        };
        pairing.check_one_side()?;
        let result = pairing.run(self, steps)?;
        self.distinct(result, steps)
    }

    /// `and`, `or` and `unless`.
    pub(super) fn set_operation(
        &mut self,
        operation: SetOperation,
        matching: &VectorMatching,
        mut left: StepMatrix,
        mut right: StepMatrix,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let sides = Sides::new(key(matching), &left, &right);
        // `or` asks of the right rows what the others ask of the left ones.
        let (asked, groups, others, members) = match operation {
            SetOperation::And | SetOperation::Unless => {
                (&mut left, &sides.many, &right, &sides.members_of_one)
            }
            SetOperation::Or => (&mut right, &sides.one, &left, &sides.members_of_many),
        };
        let wanted = operation == SetOperation::And;
        let mut partner = vec![false; steps.count];
        for (row, group) in groups.iter().enumerate() {
            self.tick(steps.count)?;
            partner.fill(false);
            for other in members.of(*group) {
                mark_present(&mut partner, others.cells_of(*other));
            }
            for (step, _) in partner.iter().enumerate().filter(|(_, partner)| **partner != wanted) {
                asked.remove(row, step);
            }
        }
        asked.remove_empty_rows();
        if operation == SetOperation::Or {
            for (row, cells) in right.iter_cells() {
                left.push_cells(row.clone(), cells);
            }
            self.check_growth(&left)?;
            return self.distinct(left, steps);
        }
        Ok(left)
    }
}

/// A binary operation with everything that does not change from row to row.
struct Pairing<'p> {
    op: BinaryOp,
    span: Span,
    operation: Operation,
    return_bool: bool,
    matching: &'p VectorMatching,
    key: LabelKey,
    /// Whether `many` is the right operand.
    swapped: bool,
    drop_name: bool,
    many: &'p StepMatrix,
    one: &'p StepMatrix,
    sides: &'p Sides,
}

impl Pairing<'_> {
    /// At no instant two rows of a group on the "one" side may have a value.
    fn check_one_side(&self) -> Result<(), EvalError> {
        let crowded: Vec<&[usize]> = self.sides.members_of_one.iter().filter(|rows| rows.len() > 1).collect();
        if crowded.is_empty() {
            return Ok(());
        }
        let fill = self.matching.fill;
        let always = fill.left.is_some() || fill.right.is_some();
        let asked = any_present(self.many);
        for step in (0..self.many.steps()).filter(|step| always || asked[*step]) {
            for rows in &crowded {
                let mut present = rows.iter().filter(|row| self.one.cells_of(**row).is_present(step));
                if let (Some(first), Some(second)) = (present.next(), present.next()) {
                    return Err(self.duplicate(*first, *second));
                }
            }
        }
        Ok(())
    }

    fn duplicate(&self, first: usize, second: usize) -> EvalError {
        let labels = |row: usize| &self.one.rows()[row].labels;
        let group = self.key.of(labels(second));
        let mut pair = [labels(first).to_string(), labels(second).to_string()];
        pair.sort();
        let side = if self.swapped { "left" } else { "right" };
        failure(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
             [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
            pair[0], pair[1]
        ))
    }

    fn run(&self, evaluator: &mut Evaluator<'_>, steps: Steps) -> Result<StepMatrix, EvalError> {
        let mut pairs = Pairs {
            result: StepMatrix::with_capacity(steps.count, self.many.len()),
            met: HashMap::new(),
            taken: HashMap::new(),
            annotations: Annotations::default(),
        };
        let mut filled = Vec::new();
        for (row, group) in self.sides.many.iter().enumerate() {
            evaluator.tick(steps.count)?;
            evaluator.check_growth(&pairs.result)?;
            let many = &self.many.rows()[row].labels;
            let others = self.sides.members_of_one.of(*group);
            for other in others {
                let labels = || self.result_labels(many, &self.one.rows()[*other].labels);
                self.pair(&mut pairs, row, self.one.cells_of(*other), labels)?;
            }
            if let Some(fill) = self.matching.fill.right {
                filled.clear();
                filled.resize(steps.count, fill);
                for other in others {
                    remove_present(&mut filled, |step| self.one.cells_of(*other).is_present(step));
                }
                self.pair(&mut pairs, row, Cells::floats(&filled), || {
                    self.result_labels(many, &self.key.of(many))
                })?;
            }
        }
        if let Some(fill) = self.matching.fill.left {
            for (row, group) in self.sides.one.iter().enumerate() {
                evaluator.check_growth(&pairs.result)?;
                filled.clear();
                filled.resize(steps.count, fill);
                if let Some(met) = pairs.met.get(group) {
                    remove_present(&mut filled, |step| met[step]);
                }
                let one = &self.one.rows()[row].labels;
                let labels = || self.result_labels(&self.key.of(one), one);
                self.push(&mut pairs, Cells::floats(&filled), self.one.cells_of(row), labels);
            }
        }
        evaluator.annotations.append(pairs.annotations);
        Ok(pairs.result)
    }

    /// Pairs a row of the "many" side with partners' cells.
    fn pair(
        &self,
        pairs: &mut Pairs,
        row: usize,
        partners: Cells<'_>,
        labels: impl Fn() -> Labels,
    ) -> Result<(), EvalError> {
        let cells = self.many.cells_of(row);
        let group = self.sides.many[row];
        if self.sides.members_of_many.of(group).len() > 1 {
            pairs.claim(self.matching.cardinality, group, &labels, cells, partners)?;
        }
        if self.matching.fill.left.is_some() {
            let met = pairs.met.entry(group).or_insert_with(|| vec![false; cells.floats.len()]);
            for (step, met) in met.iter_mut().enumerate() {
                *met |= cells.is_present(step) && partners.is_present(step);
            }
        }
        self.push(pairs, cells, partners, labels);
        Ok(())
    }

    /// Appends a pair's values wherever both have one.
    fn push(&self, pairs: &mut Pairs, many: Cells<'_>, one: Cells<'_>, labels: impl FnOnce() -> Labels) {
        let row = || Row { labels: labels(), drop_name: self.return_bool };
        let annotations = &mut pairs.annotations;
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        if !many.histograms.is_empty() || !one.histograms.is_empty() || self.operation.is_trim() {
            pairs.result.push_mixed(row, |mut cells| {
                for step in 0..many.floats.len() {
                    let (Some(left), Some(right)) = (left.get(step), right.get(step)) else { continue };
                    let cell = match (&left, &right) {
                        (Cell::Float(left), Cell::Float(right)) if !self.operation.is_trim() => {
                            Some(Cell::Float(self.operation.apply(*left, *right, self.return_bool)))
                        }
                        _ => operate(self.op, &left, &right, self.return_bool, annotations, self.span),
                    };
                    cells.set(step, cell);
                }
            });
            return;
        }
        pairs.result.push(row, |cells| {
            for (cell, (left, right)) in cells.iter_mut().zip(left.floats.iter().zip(right.floats)) {
                if is_present(*left) && is_present(*right) {
                    *cell = self.operation.apply(*left, *right, self.return_bool);
                }
            }
        });
    }

    /// The labels of a pair: those of the "many" side; one-to-one only those that were matched on.
    /// Source: Prometheus `promql/engine.go`, `resultMetric`.
    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let mut labels = if self.drop_name { without_metadata(many) } else { many.clone() };
        if self.matching.cardinality == MatchCardinality::OneToOne {
            let names = &self.matching.labels;
            if self.matching.on || !names.is_empty() {
                labels = labels.filtered(|name| names.iter().any(|n| n == name) == self.matching.on);
            }
        }
        if self.matching.include.is_empty() {
            return labels;
        }
        let mut builder = labels.builder();
        for name in &self.matching.include {
            builder.set(name, one.get(name));
        }
        builder.build()
    }
}

/// Removes values where others are present.
fn remove_present(cells: &mut [f64], is_present: impl Fn(usize) -> bool) {
    for (step, cell) in cells.iter_mut().enumerate() {
        if is_present(step) {
            *cell = absent();
        }
    }
}

/// The result of a binary operation as it grows.
struct Pairs {
    result: StepMatrix,
    /// Where each group of the "one" side found a partner, if those that did not are filled in for.
    met: HashMap<usize, Vec<bool>>,
    /// Where groups with several "many" rows have a result: one-to-one there may be one at an instant,
    /// otherwise one with the same labels.
    taken: HashMap<(usize, Labels), Vec<bool>>,
    annotations: Annotations,
}

impl Pairs {
    /// Notes the instants of a pair of a group with several "many" rows.
    fn claim(
        &mut self,
        cardinality: MatchCardinality,
        group: usize,
        labels: impl FnOnce() -> Labels,
        cells: Cells<'_>,
        partners: Cells<'_>,
    ) -> Result<(), EvalError> {
        let one_to_one = cardinality == MatchCardinality::OneToOne;
        let labels = if one_to_one { Labels::empty() } else { labels() };
        let taken = self.taken.entry((group, labels)).or_insert_with(|| vec![false; cells.floats.len()]);
        for (step, taken) in taken.iter_mut().enumerate() {
            if !cells.is_present(step) || !partners.is_present(step) {
                continue;
            }
            if *taken {
                return Err(failure(if one_to_one {
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                } else {
                    "multiple matches for labels: grouping labels must ensure unique matches"
                }));
            }
            *taken = true;
        }
        Ok(())
    }
}
