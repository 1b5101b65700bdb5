//! Computing the value of an expression from fetched samples: no I/O, no clock.
//!
//! The semantics are those of Prometheus 3.14 (`promql/engine.go`, `promql/functions.go`); the way to
//! them differs. Every node of the plan is evaluated once for all instants and yields a
//! [`StepMatrix`]; what depends on labels alone (groups, matching partners, result labels) is computed
//! once per series, never per instant.

mod aggregate;
mod annotations;
mod binary;
mod calendar;
mod counts;
mod difference;
mod error;
mod function;
mod grouping;
mod histogram;
mod matching;
mod matrix;
mod native;
mod rows;
mod selector;
mod sliding;
#[cfg(test)]
mod tests;
mod topk;
mod window;

use std::sync::Arc;

use crate::model::{HistogramPoint, Labels, Point, Series};

use super::ast::Expr;
use super::options::EvalOptions;
use super::plan::{Kind, Node, Plan};
use super::prefetch::Prefetched;
use super::steps::Steps;
use super::value::{EvalError, EvalRange, InstantSample, Output, Value, ValueType};

use annotations::Annotations;
use counts::Counts;
use error::{failure, too_many_samples};
use matrix::{Cell, Cells, Row, StepMatrix, is_present, without_metadata};

pub(super) use function::{Function, InfoSource};
pub(super) use rows::RowSet;

/// How many rows are computed between two questions whether to go on, for instant queries.
const ROWS_PER_CHECK: usize = 256;

/// The value of `expr` at the instants of `range`, from the samples that
/// [`prefetch`](super::prefetch()) collected for the same expression, range and options.
///
/// A range with `step_ms` 0 is an instant query and yields what the expression's type says; any other
/// range yields a matrix ordered by labels.
pub fn eval(
    expr: &Expr,
    range: &EvalRange,
    data: &Prefetched,
    options: &EvalOptions,
) -> Result<Output, EvalError> {
    let instant = range.step_ms == 0;
    let value_type = expr.value_type();
    if !instant && !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
        return Err(EvalError::Invalid(format!(
            "invalid expression type \"{value_type}\" for range query, must be Scalar or instant Vector"
        )));
    }
    let plan = Plan::new(expr, range, options)?;
    if !data.is_for(&plan.fetches) {
        return Err(EvalError::Storage(
            "the samples were fetched for another expression or range".to_owned(),
        ));
    }
    let steps = Steps::of(range);
    let mut evaluator = Evaluator {
        data,
        options,
        annotations: Annotations::default(),
        samples: 0,
        peak: 0,
        counts: options.count_samples.then(|| Counts::new(steps.count)),
        ticks: 0,
    };
    let value = if let Kind::Range(node) = &plan.root.kind {
        Value::Matrix(evaluator.range_value(node, steps)?)
    } else {
        let evaluated = evaluator.node(&plan.root, steps)?;
        evaluator.finish(evaluated, steps, instant)?
    };
    let samples = evaluator.counts.map(|counts| counts.finish(steps, evaluator.peak));
    Ok(Output { value, annotations: evaluator.annotations.finish(), samples })
}

/// The value of a node at all instants.
enum Evaluated {
    /// One number for each instant.
    Scalar(Vec<f64>),
    Vector(StepMatrix),
    String(String),
}

impl Evaluated {
    fn samples(&self) -> usize {
        match self {
            Self::Scalar(numbers) => numbers.len(),
            Self::Vector(matrix) => matrix.samples(),
            Self::String(_) => 0,
        }
    }
}

struct Evaluator<'a> {
    data: &'a Prefetched,
    options: &'a EvalOptions,
    annotations: Annotations,
    /// Samples in memory: those of all intermediate results that are still needed.
    samples: usize,
    /// The most samples there were in memory.
    peak: usize,
    /// The samples that were looked at, if anybody wants to know.
    counts: Option<Counts>,
    /// Counts up to the next question whether to go on.
    ticks: usize,
}

impl Evaluator<'_> {
    fn node(&mut self, node: &Node<'_>, steps: Steps) -> Result<Evaluated, EvalError> {
        self.options.interrupt.check()?;
        if steps.count > self.options.max_samples {
            // Even a number would not fit.
            return Err(too_many_samples());
        }
        let before = self.samples;
        let value = match &node.kind {
            Kind::Number(value) => Evaluated::Scalar(vec![*value; steps.count]),
            Kind::String(text) => Evaluated::String((*text).to_owned()),
            Kind::Negate(inner) => self.negate(inner, steps)?,
            Kind::Same(inner) => self.node(inner, steps)?,
            Kind::Constant(inner) => {
                let counts = self.count_apart(steps.first().count);
                let value = self.node(inner, steps.first())?;
                self.count_constant(counts);
                self.repeat(value, steps)?
            }
            Kind::Binary { expr, left, right } => self.binary(expr, node.span, left, right, steps)?,
            Kind::Aggregate { expr, param, input } => {
                Evaluated::Vector(self.aggregate(expr, node.span, param.as_deref(), input, steps)?)
            }
            Kind::Call(call) => self.call(call, node.span, steps)?,
            Kind::Instant(selector) => Evaluated::Vector(self.instant_selector(selector, node.span, steps)?),
            // The parser lets range vectors stand only where a function takes one.
            Kind::Range(_) => return Err(failure("cannot do range evaluation of matrix selector")),
        };
        // The inputs are gone, the result is there.
        self.samples = before;
        let samples = value.samples();
        self.hold(samples)?;
        Ok(value)
    }

    fn vector(&mut self, node: &Node<'_>, steps: Steps) -> Result<StepMatrix, EvalError> {
        match self.node(node, steps)? {
            Evaluated::Vector(matrix) => Ok(matrix),
            Evaluated::Scalar(_) | Evaluated::String(_) => Err(failure("expected an instant vector")),
        }
    }

    fn scalar(&mut self, node: &Node<'_>, steps: Steps) -> Result<Vec<f64>, EvalError> {
        match self.node(node, steps)? {
            Evaluated::Scalar(numbers) => Ok(numbers),
            Evaluated::Vector(_) | Evaluated::String(_) => Err(failure("expected a scalar")),
        }
    }

    fn negate(&mut self, inner: &Node<'_>, steps: Steps) -> Result<Evaluated, EvalError> {
        Ok(match self.node(inner, steps)? {
            Evaluated::Scalar(mut numbers) => {
                for number in &mut numbers {
                    *number = -*number;
                }
                Evaluated::Scalar(numbers)
            }
            Evaluated::Vector(mut matrix) => {
                matrix.map(|value| -value);
                matrix.map_histograms(|_, histogram| Some(histogram.multiplied(-1.0).into()));
                matrix.drop_names(self.options.delayed_name_removal);
                if !self.options.delayed_name_removal {
                    matrix.merge_same_labelsets()?;
                }
                Evaluated::Vector(matrix)
            }
            Evaluated::String(_) => return Err(failure("expected a number or an instant vector")),
        })
    }

    /// Repeats the value of the first instant at all others.
    fn repeat(&mut self, value: Evaluated, steps: Steps) -> Result<Evaluated, EvalError> {
        if steps.is_single() {
            return Ok(value);
        }
        Ok(match value {
            Evaluated::Scalar(numbers) => {
                Evaluated::Scalar(numbers.first().map_or_else(Vec::new, |number| vec![*number; steps.count]))
            }
            Evaluated::Vector(matrix) => {
                let mut repeated = matrix.like(steps.count);
                for (index, cells) in matrix.each_cells().enumerate() {
                    self.tick(steps.count)?;
                    self.check_growth(&repeated)?;
                    if let Some(Cell::Histogram(histogram)) = cells.get(0) {
                        repeated.push_mixed(matrix.name(index), |mut all| {
                            for step in 0..steps.count {
                                all.set(step, Some(Cell::Histogram(Arc::clone(&histogram))));
                            }
                        });
                    } else {
                        repeated.push(matrix.name(index), |all| all.fill(cells.floats[0]));
                    }
                }
                Evaluated::Vector(repeated)
            }
            text @ Evaluated::String(_) => text,
        })
    }

    /// Counts samples as held in memory.
    fn hold(&mut self, samples: usize) -> Result<(), EvalError> {
        self.samples = self.samples.saturating_add(samples);
        self.peak = self.peak.max(self.samples);
        if self.samples > self.options.max_samples { Err(too_many_samples()) } else { Ok(()) }
    }

    /// Whether a matrix that is being built may grow on. Cells are counted, not values: a cell takes 8
    /// bytes where a sample takes 16, so twice as many of them are the same memory.
    fn check_growth(&self, matrix: &StepMatrix) -> Result<(), EvalError> {
        let cells = matrix.cells().len() / 2;
        if self.samples.saturating_add(cells) > self.options.max_samples {
            return Err(too_many_samples());
        }
        Ok(())
    }

    /// Asks from time to time whether to go on; called for each row with the work it makes.
    fn tick(&mut self, work: usize) -> Result<(), EvalError> {
        self.ticks += 1 + work / 16;
        if self.ticks >= ROWS_PER_CHECK {
            self.ticks = 0;
            self.options.interrupt.check()?;
        }
        Ok(())
    }

    /// The check that every operator's result undergoes: series must be distinguishable, unless names
    /// are still to be dropped.
    fn distinct(&self, mut matrix: StepMatrix, steps: Steps) -> Result<StepMatrix, EvalError> {
        if !(self.options.delayed_name_removal && steps.is_single()) {
            matrix.merge_same_labelsets()?;
        }
        Ok(matrix)
    }

    fn finish(&mut self, evaluated: Evaluated, steps: Steps, instant: bool) -> Result<Value, EvalError> {
        Ok(match evaluated {
            Evaluated::String(value) => Value::String { at: steps.start, value },
            Evaluated::Scalar(numbers) if instant => {
                let value = numbers.first().copied().ok_or_else(|| failure("a scalar has no value"))?;
                Value::Scalar { at: steps.start, value }
            }
            Evaluated::Scalar(numbers) => {
                let mut matrix = StepMatrix::new(steps.count);
                matrix.push_cells(Row { labels: Labels::empty(), drop_name: false }, Cells::floats(&numbers));
                Value::Matrix(series(&matrix, steps))
            }
            Evaluated::Vector(mut matrix) => {
                if self.options.delayed_name_removal {
                    for row in matrix.rows_mut() {
                        if row.drop_name {
                            row.labels = without_metadata(&row.labels);
                        }
                    }
                    matrix.merge_same_labelsets()?;
                }
                if instant {
                    Value::Vector(samples(&matrix, steps))
                } else {
                    Value::Matrix(series(&matrix, steps))
                }
            }
        })
    }
}

fn samples(matrix: &StepMatrix, steps: Steps) -> Vec<InstantSample> {
    let sample = |(index, cells): (usize, Cells<'_>)| InstantSample {
        labels: matrix.row_at(index).labels,
        at: steps.start,
        histogram: cells.histogram(0).cloned(),
        value: if cells.histogram(0).is_some() { 0.0 } else { cells.floats[0] },
    };
    matrix.each_cells().enumerate().map(sample).collect()
}

fn series(matrix: &StepMatrix, steps: Steps) -> Vec<Series> {
    let mut series: Vec<Series> = matrix
        .iter_cells()
        .map(|(row, cells)| {
            let (points, histograms) = points_of(cells, steps);
            Series { histograms, ..Series::floats(row.labels.clone(), points) }
        })
        .filter(|series| !series.points.is_empty() || !series.histograms.is_empty())
        .collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}

/// The values of a row with their times.
fn points_of(cells: Cells<'_>, steps: Steps) -> (Vec<Point>, Vec<HistogramPoint>) {
    let mut points = Vec::new();
    fill_points(&mut points, cells.floats, steps);
    let histograms = steps
        .iter()
        .zip(cells.histograms)
        .filter_map(|(at, cell)| Some(HistogramPoint { at, histogram: Arc::clone(cell.as_ref()?) }))
        .collect();
    (points, histograms)
}

/// Appends the floats of a row with their times.
fn fill_points(points: &mut Vec<Point>, floats: &[f64], steps: Steps) {
    let point = |(at, value): (i64, &f64)| Point { at, value: *value };
    let present = floats.iter().filter(|value| is_present(**value)).count();
    points.reserve_exact(present);
    let all = steps.iter().zip(floats);
    // Mostly there are no gaps: nothing need be asked of each value then.
    if present == floats.len() {
        points.extend(all.map(point));
    } else {
        points.extend(all.filter(|(_, value)| is_present(**value)).map(point));
    }
}
