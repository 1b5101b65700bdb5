//! The functions of the language, by family.

mod absent;
mod counter;
mod info;
mod label;
mod math;
mod order;
mod over_time;
mod regression;
mod smoothing;
mod sort;
mod sums;
mod time;

use crate::model::{FloatHistogram, Labels, Span};
use crate::promql::ast::RangeModifier;
use crate::promql::plan::{Call, Kind, Node, Range};
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::calendar::Civil;
use super::error::{failure, same_labelset};
use super::matrix::{Cells, Row, StepMatrix, absent, is_present};
use super::{Evaluated, Evaluator};

pub(in crate::promql) use info::InfoSource;
pub(super) use label::{LabelFunction, Relabelled};
use over_time::OverTime;

/// What a function's name stands for.
#[derive(Debug, Clone, Copy)]
pub(in crate::promql) enum Function {
    /// Changes each value by itself.
    Elementwise(fn(f64) -> f64),
    /// Reads each value, or the instant, as a date.
    Calendar(fn(&Civil) -> i64),
    /// Computes a value from the points of a window alone.
    OverTime(OverTime),
    Rate,
    Increase,
    Delta,
    InstantRate,
    InstantDelta,
    Changes,
    Resets,
    QuantileOverTime,
    DoubleExponentialSmoothing,
    PredictLinear,
    AbsentOverTime,
    Absent,
    Clamp,
    ClampMin,
    ClampMax,
    Round,
    Scalar,
    Vector,
    Time,
    Pi,
    MinOf,
    MaxOf,
    Timestamp,
    LabelReplace,
    LabelJoin,
    Sort {
        descending: bool,
    },
    SortByLabel {
        descending: bool,
    },
    HistogramQuantile,
    HistogramQuantiles,
    HistogramFraction,
    Info,
    /// Reads a number from each native histogram.
    OfHistogram(fn(&FloatHistogram) -> f64),
    StartTimestamp,
}

impl Function {
    /// The function of this name.
    pub(in crate::promql) fn named(name: &str) -> Option<Self> {
        if let Some(function) = math::elementwise(name) {
            return Some(Self::Elementwise(function));
        }
        if let Some(function) = math::of_histogram(name) {
            return Some(Self::OfHistogram(function));
        }
        if let Some(function) = time::calendar(name) {
            return Some(Self::Calendar(function));
        }
        if let Some(function) = OverTime::named(name) {
            return Some(Self::OverTime(function));
        }
        Some(match name {
            "absent" => Self::Absent,
            "absent_over_time" => Self::AbsentOverTime,
            "changes" => Self::Changes,
            "clamp" => Self::Clamp,
            "clamp_max" => Self::ClampMax,
            "clamp_min" => Self::ClampMin,
            "delta" => Self::Delta,
            "double_exponential_smoothing" => Self::DoubleExponentialSmoothing,
            "histogram_fraction" => Self::HistogramFraction,
            "histogram_quantile" => Self::HistogramQuantile,
            "histogram_quantiles" => Self::HistogramQuantiles,
            "idelta" => Self::InstantDelta,
            "increase" => Self::Increase,
            "info" => Self::Info,
            "irate" => Self::InstantRate,
            "label_join" => Self::LabelJoin,
            "label_replace" => Self::LabelReplace,
            "max_of" => Self::MaxOf,
            "min_of" => Self::MinOf,
            "pi" => Self::Pi,
            "predict_linear" => Self::PredictLinear,
            "quantile_over_time" => Self::QuantileOverTime,
            "rate" => Self::Rate,
            "resets" => Self::Resets,
            "round" => Self::Round,
            "scalar" => Self::Scalar,
            "sort" => Self::Sort { descending: false },
            "sort_desc" => Self::Sort { descending: true },
            "sort_by_label" => Self::SortByLabel { descending: false },
            "sort_by_label_desc" => Self::SortByLabel { descending: true },
            "start_timestamp" => Self::StartTimestamp,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "vector" => Self::Vector,
            _ => return None,
        })
    }

    /// Whether the result depends on the instant even if the arguments do not.
    /// Source: Prometheus `promql/functions.go`, `AtModifierUnsafeFunctions`.
    pub(in crate::promql) fn depends_on_instant(self, args: usize) -> bool {
        match self {
            Self::Calendar(_) | Self::PredictLinear | Self::Time | Self::Timestamp => true,
            // What it selects beside its argument is looked up at the instant.
            Self::Info => args == 0,
            _ => false,
        }
    }
}

impl Evaluator<'_> {
    pub(super) fn call(&mut self, call: &Call<'_>, span: Span, steps: Steps) -> Result<Evaluated, EvalError> {
        let args = call.args.as_slice();
        let matrix = match call.function {
            Function::Elementwise(function) => self.elementwise(args, steps, function)?,
            Function::Calendar(function) => self.calendar(args, steps, function)?,
            Function::Clamp | Function::ClampMin | Function::ClampMax => {
                self.clamp(call.function, args, steps)?
            }
            Function::Round => self.round(args, steps)?,
            Function::Absent => self.absent(args, steps)?,
            Function::AbsentOverTime => self.absent_over_time(args, steps)?,
            Function::Timestamp => self.timestamp(args, steps)?,
            Function::LabelReplace => self.relabel(LabelFunction::Replace, args, steps)?,
            Function::LabelJoin => self.relabel(LabelFunction::Join, args, steps)?,
            Function::Sort { descending } => self.sort(args, span, steps, descending)?,
            Function::SortByLabel { descending } => self.sort_by_label(args, span, steps, descending)?,
            Function::HistogramQuantile => self.histogram_quantile(args, steps)?,
            Function::HistogramQuantiles => self.histogram_quantiles(args, steps)?,
            Function::HistogramFraction => self.histogram_fraction(args, steps)?,
            Function::Info => self.info(call, steps)?,
            Function::Vector => {
                let numbers = self.scalar(arg(args, 0)?, steps)?;
                let mut matrix = StepMatrix::new(steps.count);
                matrix.push_cells(Row { labels: Labels::empty(), drop_name: false }, Cells::floats(&numbers));
                matrix
            }
            Function::OfHistogram(function) => self.of_histograms(args, steps, function)?,
            Function::StartTimestamp => self.start_timestamp(args, steps)?,
            Function::Scalar | Function::Time | Function::Pi | Function::MinOf | Function::MaxOf => {
                return Ok(Evaluated::Scalar(self.scalar_function(call, steps)?));
            }
            _ => return Ok(Evaluated::Vector(self.range_function(call, steps)?)),
        };
        Ok(Evaluated::Vector(matrix))
    }

    fn scalar_function(&mut self, call: &Call<'_>, steps: Steps) -> Result<Vec<f64>, EvalError> {
        let args = call.args.as_slice();
        Ok(match call.function {
            Function::Time => steps.iter().map(|at| at as f64 / 1000.0).collect(),
            Function::Pi => vec![std::f64::consts::PI; steps.count],
            Function::Scalar => {
                let matrix = self.vector(arg(args, 0)?, steps)?;
                // NaN unless there is exactly one value.
                let mut numbers = vec![absent(); steps.count];
                for cells in matrix.each_cells() {
                    for (number, cell) in numbers.iter_mut().zip(cells.floats) {
                        if is_present(*cell) {
                            *number = if is_present(*number) { f64::NAN } else { *cell };
                        }
                    }
                }
                for number in &mut numbers {
                    if !is_present(*number) {
                        *number = f64::NAN;
                    }
                }
                numbers
            }
            _ => {
                let choose = if matches!(call.function, Function::MinOf) {
                    crate::promql::numeric::go_min
                } else {
                    crate::promql::numeric::go_max
                };
                let left = self.scalar(arg(args, 0)?, steps)?;
                let right = self.scalar(arg(args, 1)?, steps)?;
                left.into_iter().zip(right).map(|(left, right)| choose(left, right)).collect()
            }
        })
    }

    /// Functions of a range vector, except `absent_over_time`.
    fn range_function(&mut self, call: &Call<'_>, steps: Steps) -> Result<StepMatrix, EvalError> {
        let args = call.args.as_slice();
        let (index, range) = range_arg(args)?;
        check_modifier(call.name, range)?;
        let scalars = args
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .map(|(_, arg)| self.scalar(arg, steps))
            .collect::<Result<Vec<_>, _>>()?;
        let span = range.span;
        let mut keeps_name = false;
        let mut matrix = match call.function {
            Function::OverTime(function) => {
                keeps_name = function.keeps_name();
                self.over_time(function, range, steps)?
            }
            Function::Rate | Function::Increase => {
                let per_second = matches!(call.function, Function::Rate);
                let matrix = self.over_windows(range, steps, counter::Rate::counter(range, per_second))?;
                self.remark_non_counters(&matrix, span);
                matrix
            }
            Function::Delta => self.over_windows(range, steps, counter::Rate::gauge(range))?,
            Function::InstantRate => {
                self.over_windows(range, steps, counter::InstantChange { rate: true })?
            }
            Function::InstantDelta => {
                self.over_windows(range, steps, counter::InstantChange { rate: false })?
            }
            Function::Changes => self.over_windows(range, steps, counter::changes(range))?,
            Function::Resets => self.over_windows(range, steps, counter::resets(range))?,
            Function::QuantileOverTime => self.quantile_over_time(range, &scalars[0], args[0].span, steps)?,
            Function::PredictLinear if steps.is_single() => {
                self.over_windows(range, steps, regression::predict_linear(&scalars[0]))?
            }
            Function::PredictLinear => {
                let asked = regression::Asked::Prediction(&scalars[0]);
                self.over_windows(range, steps, regression::SlidingLine::new(asked))?
            }
            Function::DoubleExponentialSmoothing => self.smoothing(range, &scalars[0], &scalars[1], steps)?,
            _ => return Err(failure(format!("unexpected nil implementation for function {:?}", call.name))),
        };
        if !keeps_name {
            matrix.drop_names(self.options.delayed_name_removal);
        }
        if !self.options.delayed_name_removal && matrix.has_same_labelset() {
            return Err(same_labelset());
        }
        Ok(matrix)
    }

    /// A rate of something that is not named like a counter is probably a mistake.
    fn remark_non_counters(&mut self, matrix: &StepMatrix, span: Span) {
        const SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];
        for name in matrix.metric_names() {
            if !name.is_empty() && !SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
                self.annotations.possible_non_counter(name, span);
            }
        }
    }
}

/// An argument that the parser has made sure of.
fn arg<'n, 'a>(args: &'n [Node<'a>], index: usize) -> Result<&'n Node<'a>, EvalError> {
    args.get(index).ok_or_else(|| failure(format!("argument {} is missing", index + 1)))
}

/// The text of a string argument.
fn text<'n>(args: &'n [Node<'_>], index: usize) -> Result<&'n str, EvalError> {
    match arg(args, index)?.kind {
        Kind::String(text) => Ok(text),
        _ => Err(failure(format!("argument {} is not a string", index + 1))),
    }
}

/// The range vector among the arguments and its place.
fn range_arg<'n, 'a>(args: &'n [Node<'a>]) -> Result<(usize, &'n Range<'a>), EvalError> {
    args.iter()
        .enumerate()
        .find_map(|(index, arg)| match &arg.kind {
            Kind::Range(range) => Some((index, range)),
            _ => None,
        })
        .ok_or_else(|| failure("argument is not a range vector"))
}

/// `anchored` and `smoothed` windows hold points outside the range: few functions can deal with them.
/// Source: Prometheus `promql/functions.go`, `AnchoredSafeFunctions`.
fn check_modifier(name: &str, range: &Range<'_>) -> Result<(), EvalError> {
    let (modifier, allowed): (_, &[&str]) = match range.modifier() {
        None => return Ok(()),
        Some(RangeModifier::Anchored) => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Some(RangeModifier::Smoothed) => ("smoothed", &["delta", "increase", "rate"]),
    };
    if allowed.contains(&name) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(failure(format!("{modifier} modifier can only be used with: {allowed} - not with {name}")))
}
