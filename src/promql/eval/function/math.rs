//! Functions of single values.

use std::f64::consts::LN_2;

use crate::model::FloatHistogram;
use crate::promql::eval::Evaluator;
use crate::promql::eval::matrix::{Cell, StepMatrix, absent};
use crate::promql::numeric::{go_max, go_min};
use crate::promql::plan::Node;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::{Function, arg};

/// The function of this name, if it reads a number from each native histogram.
pub(super) fn of_histogram(name: &str) -> Option<fn(&FloatHistogram) -> f64> {
    Some(match name {
        "histogram_avg" => |histogram| histogram.sum / histogram.count,
        "histogram_count" => |histogram| histogram.count,
        "histogram_stddev" => |histogram| histogram.variance().sqrt(),
        "histogram_stdvar" => FloatHistogram::variance,
        "histogram_sum" => |histogram| histogram.sum,
        _ => return None,
    })
}

/// The function of this name, if it changes each value by itself.
pub(super) fn elementwise(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "acos" => f64::acos,
        "acosh" => acosh,
        "asin" => f64::asin,
        "asinh" => asinh,
        "atan" => f64::atan,
        "atanh" => f64::atanh,
        "ceil" => f64::ceil,
        "cos" => f64::cos,
        "cosh" => f64::cosh,
        "deg" => |value| value * 180.0 / std::f64::consts::PI,
        "exp" => f64::exp,
        "floor" => f64::floor,
        "ln" => f64::ln,
        "log10" => f64::log10,
        "log2" => f64::log2,
        "rad" => |value| value * std::f64::consts::PI / 180.0,
        "sgn" => |value| {
            if value < 0.0 {
                -1.0
            } else if value > 0.0 {
                1.0
            } else {
                value
            }
        },
        "sin" => f64::sin,
        "sinh" => f64::sinh,
        "sqrt" => f64::sqrt,
        "tan" => f64::tan,
        "tanh" => f64::tanh,
        _ => return None,
    })
}

/// From here on the square root of `x² ± 1` is `x`; a square, or the double, may be too large for a float.
const LARGE: f64 = (1 << 28) as f64;

fn asinh(value: f64) -> f64 {
    if value.abs() < LARGE { value.asinh() } else { (value.abs().ln() + LN_2).copysign(value) }
}

fn acosh(value: f64) -> f64 {
    if value < LARGE { value.acosh() } else { value.ln() + LN_2 }
}

impl Evaluator<'_> {
    pub(super) fn elementwise(
        &mut self,
        args: &[Node<'_>],
        steps: Steps,
        function: fn(f64) -> f64,
    ) -> Result<StepMatrix, EvalError> {
        let mut matrix = self.floats(arg(args, 0)?, steps)?;
        matrix.map(function);
        self.nameless(matrix, steps)
    }

    /// `round(v, to)`: to the nearest multiple, upwards from the middle.
    pub(super) fn round(&mut self, args: &[Node<'_>], steps: Steps) -> Result<StepMatrix, EvalError> {
        let mut matrix = self.floats(arg(args, 0)?, steps)?;
        let nearest = match args.get(1) {
            Some(nearest) => self.scalar(nearest, steps)?,
            None => vec![1.0; steps.count],
        };
        matrix.map_by_step(|step, value| {
            // The inverse costs less accuracy: most are integers. Source: Prometheus `funcRound`.
            let inverse = 1.0 / nearest[step];
            (value * inverse + 0.5).floor() / inverse
        });
        self.nameless(matrix, steps)
    }

    pub(super) fn clamp(
        &mut self,
        function: Function,
        args: &[Node<'_>],
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let mut matrix = self.floats(arg(args, 0)?, steps)?;
        let mut bound = |index: usize| self.scalar(arg(args, index)?, steps);
        let (min, max) = match function {
            Function::ClampMin => (bound(1)?, vec![f64::INFINITY; steps.count]),
            Function::ClampMax => (vec![f64::NEG_INFINITY; steps.count], bound(1)?),
            _ => (bound(1)?, bound(2)?),
        };
        matrix.map_by_step(|step, value| {
            if max[step] < min[step] { absent() } else { go_max(min[step], go_min(max[step], value)) }
        });
        matrix.remove_empty_rows();
        self.nameless(matrix, steps)
    }

    /// An instant vector without its native histograms, which functions of floats do not see.
    pub(super) fn floats(&mut self, arg: &Node<'_>, steps: Steps) -> Result<StepMatrix, EvalError> {
        let mut matrix = self.vector(arg, steps)?;
        matrix.drop_histograms();
        Ok(matrix)
    }

    /// `histogram_count` and its kind: a number that is read from each native histogram.
    pub(super) fn of_histograms(
        &mut self,
        args: &[Node<'_>],
        steps: Steps,
        read: fn(&FloatHistogram) -> f64,
    ) -> Result<StepMatrix, EvalError> {
        let mut matrix = self.vector(arg(args, 0)?, steps)?;
        matrix.map_by_step(|_, _| absent());
        matrix.map_histograms(|_, histogram| Some(Cell::Float(read(histogram))));
        matrix.drop_histograms();
        matrix.remove_empty_rows();
        self.nameless(matrix, steps)
    }

    /// The result of a function whose values no longer are the metric's.
    pub(super) fn nameless(&self, mut matrix: StepMatrix, steps: Steps) -> Result<StepMatrix, EvalError> {
        matrix.drop_names(self.options.delayed_name_removal);
        self.distinct(matrix, steps)
    }
}
