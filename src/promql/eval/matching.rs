//! Binary operators between two instant vectors: who is paired with whom.
//!
//! Partners are found once for all instants. What depends on the instant (whether a partner has a value
//! there, whether two candidates have) is then a question about cells.
//! Source of the rules and texts: Prometheus `promql/engine.go`, `VectorBinop`.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::model::{Labels, Span};
use crate::promql::ast::{BinaryExpr, BinaryOp, MatchCardinality, VectorMatching};
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::Evaluator;
use super::annotations::Annotations;
use super::binary::{Operation, SetOperation};
use super::error::failure;
use super::grouping::{LabelKey, Members};
use super::matrix::{Cell, Cells, NewRow, Place, Row, StepMatrix, absent, is_present};
use super::native::operate;
use super::rows::RowSet;

/// How two sets of rows are matched, and what becomes of the labels.
#[derive(Debug, Clone, PartialEq)]
struct Way {
    matching: VectorMatching,
    /// Whether results lose their names.
    drop_name: bool,
    /// Whether the results are those of a comparison with `bool`.
    return_bool: bool,
}

/// Who is matched with whom among the rows of two sets: what is kept of a binary operator.
#[derive(Debug)]
pub(super) struct Partners {
    way: Way,
    /// The set of the "one" side.
    one_set: Weak<RowSet>,
    /// The group of each row of the set of the side that may have many of one group.
    many: Vec<usize>,
    /// The group of each row of the other set.
    one: Vec<usize>,
    groups: usize,
    plain: Option<Plain>,
}

/// The usual case: no row has two partners, whatever rows have values, and no two pairs have the same
/// labels. Nothing has to be looked at then but the values.
#[derive(Debug)]
struct Plain {
    /// The partner of each row of the "many" side.
    partner: Vec<Option<usize>>,
    /// The results of the rows of the "many" side.
    results: Arc<RowSet>,
}

impl Partners {
    /// Those of two vectors; they are found once for the sets of their rows.
    fn of(way: &Way, many: &mut StepMatrix, one: &mut StepMatrix) -> Arc<Self> {
        let ((many, _), (one, _)) = (many.set(), one.set());
        let is_it = |known: &Self| known.one_set.as_ptr() == Arc::as_ptr(one) && known.way == *way;
        many.partners(is_it, || Self::find(way.clone(), many, one))
    }

    fn find(way: Way, many_set: &RowSet, one_set: &Arc<RowSet>) -> Self {
        let (many, one, groups) = many_set.common_groups(one_set, &key(&way.matching));
        let mut partners = Self { way, one_set: Arc::downgrade(one_set), many, one, groups, plain: None };
        partners.plain = partners.plain(many_set, one_set);
        partners
    }

    fn plain(&self, many_set: &RowSet, one_set: &RowSet) -> Option<Plain> {
        let Way { matching, return_bool, .. } = &self.way;
        let one_to_one = matching.cardinality == MatchCardinality::OneToOne;
        if matching.cardinality == MatchCardinality::ManyToMany || matching.fill.is_set() {
            return None;
        }
        let mut row_of = vec![None; self.groups];
        for (row, group) in self.one.iter().enumerate() {
            if row_of[*group].replace(row).is_some() {
                return None;
            }
        }
        let mut taken = vec![false; self.groups];
        for group in self.many.iter().filter(|group| one_to_one && row_of[**group].is_some()) {
            if std::mem::replace(&mut taken[*group], true) {
                return None;
            }
        }
        let partner: Vec<Option<usize>> = self.many.iter().map(|group| row_of[*group]).collect();
        let visible = self.way.visible();
        let results = if matching.include.is_empty() {
            many_set.with(&visible, Some(*return_bool))
        } else {
            let rows = partner.iter().enumerate().map(|(row, partner)| {
                let many = many_set.labels(row);
                let labels = partner.map(|partner| self.way.labels(&many, &one_set.labels(partner)));
                Row { labels: labels.unwrap_or(many), drop_name: *return_bool }
            });
            RowSet::listed(rows.collect())
        };
        results.is_distinct().then(|| Plain { partner, results: Arc::new(results) })
    }

    pub(super) fn is_alive(&self) -> bool {
        self.one_set.strong_count() > 0
    }
}

impl Way {
    /// The labels that a result has of those of the "many" side: all, and one-to-one only those that were
    /// matched on. Source: Prometheus `promql/engine.go`, `resultMetric`.
    fn visible(&self) -> LabelKey {
        let all = if self.drop_name { LabelKey::without_metadata() } else { LabelKey::everything() };
        let VectorMatching { cardinality, labels, on, .. } = &self.matching;
        match (cardinality, on) {
            (MatchCardinality::OneToOne, true) => LabelKey::on(labels).within(&all),
            (MatchCardinality::OneToOne, false) => LabelKey::but(labels).within(&all),
            _ => all,
        }
    }

    /// The labels of a pair.
    fn labels(&self, many: &Labels, one: &Labels) -> Labels {
        let labels = self.visible().of(many);
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

/// Both vectors with the groups of their rows.
struct Sides {
    /// The group of each row on the side that may have many of one group.
    many: Vec<usize>,
    members_of_many: Members,
    /// The group of each row on the other side.
    one: Vec<usize>,
    members_of_one: Members,
}

impl Sides {
    fn new(partners: &Partners, many: &mut StepMatrix, one: &mut StepMatrix) -> Self {
        let groups = |matrix: &mut StepMatrix, groups: &[usize]| -> Vec<usize> {
            matrix.set().1.iter().map(|place| groups[*place]).collect()
        };
        let (many, one) = (groups(many, &partners.many), groups(one, &partners.one));
        Self {
            members_of_many: Members::new(&many, partners.groups),
            members_of_one: Members::new(&one, partners.groups),
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
    for cells in matrix.each_cells() {
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
        let (mut many, mut one) = if swapped { (right, left) } else { (left, right) };
        let way = Way {
            matching: matching.clone(),
            drop_name: operation.drops_name() || (expr.return_bool && !self.options.delayed_name_removal),
            return_bool: expr.return_bool,
        };
        let partners = Partners::of(&way, &mut many, &mut one);
        let combining = Combining { op: expr.op, span, operation, return_bool: expr.return_bool, swapped };
        if let Some(plain) = &partners.plain {
            return self.plainly_matched(plain, &combining, &many, &mut one, steps);
        }
        let sides = Sides::new(&partners, &mut many, &mut one);
        let pairing = Pairing {
            combining,
            way: &partners.way,
            key: key(matching),
            many: &many,
            one: &one,
            sides: &sides,
        };
        pairing.check_one_side()?;
        let result = pairing.run(self, steps)?;
        self.distinct(result, steps)
    }

    /// Arithmetic and comparisons of rows of which each has one partner or none.
    fn plainly_matched(
        &mut self,
        plain: &Plain,
        combining: &Combining,
        many: &StepMatrix,
        one: &mut StepMatrix,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let positions = one.positions();
        let mut result = StepMatrix::of(&plain.results, steps.count);
        for (row, place) in many.places().iter().enumerate() {
            self.tick(steps.count)?;
            self.check_growth(&result)?;
            let partner = plain.partner[*place].and_then(|partner| positions.of(partner));
            if let Some(partner) = partner {
                let (many, one) = (many.cells_of(row), one.cells_of(partner));
                combining.push(&mut result, Place(*place), many, one, &mut self.annotations);
            }
        }
        Ok(result)
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
        let way = Way { matching: matching.clone(), drop_name: false, return_bool: false };
        let partners = Partners::of(&way, &mut left, &mut right);
        let sides = Sides::new(&partners, &mut left, &mut right);
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

/// What is computed from the values of a pair.
struct Combining {
    op: BinaryOp,
    span: Span,
    operation: Operation,
    return_bool: bool,
    /// Whether the "many" side is the right operand.
    swapped: bool,
}

impl Combining {
    /// Appends a pair's values wherever both have one.
    fn push(
        &self,
        result: &mut StepMatrix,
        row: impl NewRow,
        many: Cells<'_>,
        one: Cells<'_>,
        annotations: &mut Annotations,
    ) {
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        if !many.histograms.is_empty() || !one.histograms.is_empty() || self.operation.is_trim() {
            result.push_mixed(row, |mut cells| {
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
        result.push(row, |cells| {
            for (cell, (left, right)) in cells.iter_mut().zip(left.floats.iter().zip(right.floats)) {
                if is_present(*left) && is_present(*right) {
                    *cell = self.operation.apply(*left, *right, self.return_bool);
                }
            }
        });
    }
}

/// A binary operation with everything that does not change from row to row.
struct Pairing<'p> {
    combining: Combining,
    way: &'p Way,
    key: LabelKey,
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
        let fill = self.way.matching.fill;
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
        let side = if self.combining.swapped { "left" } else { "right" };
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
                let labels = || self.way.labels(many, &self.one.rows()[*other].labels);
                self.pair(&mut pairs, row, self.one.cells_of(*other), labels)?;
            }
            if let Some(fill) = self.way.matching.fill.right {
                filled.clear();
                filled.resize(steps.count, fill);
                for other in others {
                    remove_present(&mut filled, |step| self.one.cells_of(*other).is_present(step));
                }
                self.pair(&mut pairs, row, Cells::floats(&filled), || {
                    self.way.labels(many, &self.key.of(many))
                })?;
            }
        }
        if let Some(fill) = self.way.matching.fill.left {
            for (row, group) in self.sides.one.iter().enumerate() {
                evaluator.check_growth(&pairs.result)?;
                filled.clear();
                filled.resize(steps.count, fill);
                if let Some(met) = pairs.met.get(group) {
                    remove_present(&mut filled, |step| met[step]);
                }
                let one = &self.one.rows()[row].labels;
                let labels = || self.way.labels(&self.key.of(one), one);
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
            pairs.claim(self.way.matching.cardinality, group, &labels, cells, partners)?;
        }
        if self.way.matching.fill.left.is_some() {
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
        let row = || Row { labels: labels(), drop_name: self.way.return_bool };
        self.combining.push(&mut pairs.result, row, many, one, &mut pairs.annotations);
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
