//! Native histograms as operands, and aggregates of them.

use crate::model::{
    CounterReset, FloatHistogram, HistogramMean, HistogramSum, IncompatibleBuckets, Reconciled, Span,
};
use crate::promql::ast::BinaryOp;

use super::annotations::Annotations;
use super::matrix::Cell;

/// The result of a binary operator of which a side is a histogram. There is none where the operator has no
/// meaning, or where a comparison does not hold.
/// Source: Prometheus `promql/engine.go`, `vectorElemBinop`.
pub(super) fn operate(
    op: BinaryOp,
    left: &Cell,
    right: &Cell,
    return_bool: bool,
    annotations: &mut Annotations,
    span: Span,
) -> Option<Cell> {
    let result: FloatHistogram = match (left, right, op) {
        (Cell::Histogram(histogram), Cell::Float(factor), BinaryOp::Mul)
        | (Cell::Float(factor), Cell::Histogram(histogram), BinaryOp::Mul) => histogram.multiplied(*factor),
        (Cell::Histogram(histogram), Cell::Float(divisor), BinaryOp::Div) => histogram.divided(*divisor),
        (Cell::Histogram(histogram), Cell::Float(value), BinaryOp::TrimUpper) => {
            histogram.trimmed_above(*value)
        }
        (Cell::Histogram(histogram), Cell::Float(value), BinaryOp::TrimLower) => {
            histogram.trimmed_below(*value)
        }
        (Cell::Histogram(left), Cell::Histogram(right), BinaryOp::Add | BinaryOp::Sub) => {
            let adds = op == BinaryOp::Add;
            let (result, operation) =
                if adds { (left.plus(right), "addition") } else { (left.minus(right), "subtraction") };
            let Ok((mut result, reconciled)) = result else {
                annotations.incompatible_buckets(&op.to_string(), span);
                return None;
            };
            annotations.reconciled(reconciled, operation, span);
            if !adds {
                result.counter_reset = CounterReset::Gauge;
            }
            result
        }
        (Cell::Histogram(left), Cell::Histogram(right), BinaryOp::Equal | BinaryOp::NotEqual) => {
            let holds = (left == right) == (op == BinaryOp::Equal);
            if return_bool {
                return Some(Cell::Float(f64::from(u8::from(holds))));
            }
            return holds.then(|| Cell::Histogram(left.clone()));
        }
        _ => {
            annotations.incompatible_types(kind(left), &op.to_string(), kind(right), span);
            return None;
        }
    };
    Some(if return_bool { Cell::Float(1.0) } else { result.into() })
}

fn kind(cell: &Cell) -> &'static str {
    match cell {
        Cell::Float(_) => "float",
        Cell::Histogram(_) => "histogram",
    }
}

/// The sum or the mean of histograms as it grows.
pub(super) struct HistogramAggregate {
    state: State,
    /// What histograms did not agree on so far.
    reconciled: Reconciled,
    any_reset: bool,
    any_not_reset: bool,
}

enum State {
    Sum(HistogramSum),
    Mean(HistogramMean),
}

impl HistogramAggregate {
    /// The sum, or the mean, of one histogram.
    pub(super) fn starting_at(histogram: &FloatHistogram, mean: bool) -> Self {
        let mut aggregate = Self {
            state: if mean {
                State::Mean(HistogramMean::starting_at(histogram))
            } else {
                State::Sum(HistogramSum::starting_at(histogram))
            },
            reconciled: Reconciled::default(),
            any_reset: false,
            any_not_reset: false,
        };
        aggregate.note_counter_reset(histogram);
        aggregate
    }

    pub(super) fn add(&mut self, histogram: &FloatHistogram) -> Result<(), IncompatibleBuckets> {
        self.note_counter_reset(histogram);
        let reconciled = match &mut self.state {
            State::Sum(sum) => sum.add(histogram)?,
            State::Mean(mean) => mean.add(histogram)?,
        };
        self.reconciled.merge(reconciled);
        Ok(())
    }

    fn note_counter_reset(&mut self, histogram: &FloatHistogram) {
        self.any_reset |= histogram.counter_reset == CounterReset::Reset;
        self.any_not_reset |= histogram.counter_reset == CounterReset::NotReset;
    }

    /// The aggregate and what the histograms did not agree on.
    pub(super) fn finish(self) -> (FloatHistogram, Reconciled) {
        let value = match self.state {
            State::Sum(sum) => sum.value(),
            State::Mean(mean) => mean.value(),
        };
        // Not only neighbours may contradict each other.
        let counter_reset_collision = self.any_reset && self.any_not_reset;
        (value, Reconciled { counter_reset_collision, ..self.reconciled })
    }
}
