//! Binary operators.

use crate::model::Span;
use crate::promql::ast::{BinaryExpr, BinaryOp, VectorMatching};
use crate::promql::plan::Node;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::error::failure;
use super::matrix::{Cell, StepMatrix, absent, is_present};
use super::native::operate;
use super::{Evaluated, Evaluator};

/// What an operator does with two floats.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Arithmetic(fn(f64, f64) -> f64),
    Comparison(fn(&f64, &f64) -> bool),
    /// `</` and `>/`, which only native histograms know.
    Trim,
}

/// `and`, `or` and `unless`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetOperation {
    And,
    Or,
    Unless,
}

impl Operation {
    fn of(op: BinaryOp) -> Result<Self, SetOperation> {
        Ok(match op {
            BinaryOp::Add => Self::Arithmetic(|a, b| a + b),
            BinaryOp::Sub => Self::Arithmetic(|a, b| a - b),
            BinaryOp::Mul => Self::Arithmetic(|a, b| a * b),
            BinaryOp::Div => Self::Arithmetic(|a, b| a / b),
            BinaryOp::Mod => Self::Arithmetic(|a, b| a % b),
            BinaryOp::Pow => Self::Arithmetic(f64::powf),
            BinaryOp::Atan2 => Self::Arithmetic(f64::atan2),
            BinaryOp::Equal => Self::Comparison(f64::eq),
            BinaryOp::NotEqual => Self::Comparison(f64::ne),
            BinaryOp::Less => Self::Comparison(f64::lt),
            BinaryOp::Greater => Self::Comparison(f64::gt),
            BinaryOp::LessOrEqual => Self::Comparison(f64::le),
            BinaryOp::GreaterOrEqual => Self::Comparison(f64::ge),
            BinaryOp::TrimUpper | BinaryOp::TrimLower => Self::Trim,
            BinaryOp::And => return Err(SetOperation::And),
            BinaryOp::Or => return Err(SetOperation::Or),
            BinaryOp::Unless => return Err(SetOperation::Unless),
        })
    }

    /// Whether the result no longer is what the metric's name says.
    pub(super) fn drops_name(self) -> bool {
        matches!(self, Self::Arithmetic(_))
    }

    pub(super) fn is_trim(self) -> bool {
        matches!(self, Self::Trim)
    }

    /// The value of `left op right`; a comparison that does not hold has none, unless `bool` makes it 0.
    #[inline]
    pub(super) fn apply(self, left: f64, right: f64, return_bool: bool) -> f64 {
        match self {
            Self::Arithmetic(compute) => compute(left, right),
            Self::Comparison(holds) if return_bool => f64::from(u8::from(holds(&left, &right))),
            Self::Comparison(holds) => {
                if holds(&left, &right) {
                    left
                } else {
                    absent()
                }
            }
            Self::Trim => absent(),
        }
    }
}

impl Evaluator<'_> {
    pub(super) fn binary(
        &mut self,
        expr: &BinaryExpr,
        span: Span,
        left: &Node<'_>,
        right: &Node<'_>,
        steps: Steps,
    ) -> Result<Evaluated, EvalError> {
        let left = self.node(left, steps)?;
        let right = self.node(right, steps)?;
        // Apart: operands nest deeply, and what is computed from them would stay on the stack meanwhile.
        self.binary_of_values(expr, span, left, right, steps)
    }

    fn binary_of_values(
        &mut self,
        expr: &BinaryExpr,
        span: Span,
        left: Evaluated,
        right: Evaluated,
        steps: Steps,
    ) -> Result<Evaluated, EvalError> {
        let operation = Operation::of(expr.op);
        Ok(match (left, right, operation) {
            (Evaluated::Scalar(left), Evaluated::Scalar(right), Ok(operation)) => {
                let pairs = left.into_iter().zip(right);
                // Between scalars a comparison always has `bool`.
                Evaluated::Scalar(pairs.map(|(left, right)| operation.apply(left, right, true)).collect())
            }
            (Evaluated::Vector(left), Evaluated::Scalar(right), Ok(operation)) => {
                Evaluated::Vector(self.vector_and_scalar(expr, span, operation, left, &right, false, steps)?)
            }
            (Evaluated::Scalar(left), Evaluated::Vector(right), Ok(operation)) => {
                Evaluated::Vector(self.vector_and_scalar(expr, span, operation, right, &left, true, steps)?)
            }
            (Evaluated::Vector(left), Evaluated::Vector(right), operation) => {
                let matching = matching(expr)?;
                Evaluated::Vector(match operation {
                    Ok(operation) => self.matched(expr, span, operation, matching, left, right, steps)?,
                    Err(set) => self.set_operation(set, matching, left, right, steps)?,
                })
            }
            _ => return Err(failure(format!("operator {:?} not allowed for these operands", expr.op))),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "an operator, its place, its operands and the instants")]
    fn vector_and_scalar(
        &mut self,
        expr: &BinaryExpr,
        span: Span,
        operation: Operation,
        mut vector: StepMatrix,
        scalar: &[f64],
        scalar_is_left: bool,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let return_bool = expr.return_bool;
        if vector.has_histograms() {
            let annotations = &mut self.annotations;
            vector.map_histograms(|step, histogram| {
                let (histogram, scalar) = (Cell::from(histogram.clone()), Cell::Float(scalar[step]));
                let (left, right) = if scalar_is_left { (scalar, histogram) } else { (histogram, scalar) };
                operate(expr.op, &left, &right, return_bool, annotations, span)
            });
            vector.remove_empty_rows();
        }
        match operation {
            Operation::Comparison(holds) if !return_bool => {
                // The value that stays is the vector's, on whichever side it stands.
                vector.map_by_step(|step, value| {
                    let number = &scalar[step];
                    let kept = if scalar_is_left { holds(number, &value) } else { holds(&value, number) };
                    if kept { value } else { absent() }
                });
                vector.remove_empty_rows();
            }
            Operation::Trim => {
                if vector.cells().iter().any(|cell| is_present(*cell)) {
                    self.annotations.incompatible_types("float", &expr.op.to_string(), "float", span);
                    vector.map(|_| absent());
                    vector.remove_empty_rows();
                }
            }
            _ if scalar_is_left => {
                vector.map_by_step(|step, value| operation.apply(scalar[step], value, return_bool));
            }
            _ => vector.map_by_step(|step, value| operation.apply(value, scalar[step], return_bool)),
        }
        if operation.drops_name() || return_bool {
            vector.drop_names(self.options.delayed_name_removal);
            return self.distinct(vector, steps);
        }
        Ok(vector)
    }
}

fn matching(expr: &BinaryExpr) -> Result<&VectorMatching, EvalError> {
    expr.matching.as_ref().ok_or_else(|| failure("operands are instant vectors without a way to match them"))
}
