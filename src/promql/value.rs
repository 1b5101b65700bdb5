//! What an evaluation is asked for and what it yields.

use std::fmt;
use std::sync::Arc;

use crate::model::{FloatHistogram, Labels, Series, Span, TimestampMs};
use crate::storage::SelectError;

/// The instants at which an expression is evaluated: `start`, `start + step`, … up to `end` inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvalRange {
    /// First instant.
    pub start: TimestampMs,
    /// Last instant that may be evaluated.
    pub end: TimestampMs,
    /// Distance between instants in milliseconds; 0 for a single instant.
    pub step_ms: i64,
}

impl EvalRange {
    /// A single instant.
    pub fn instant(at: TimestampMs) -> Self {
        Self { start: at, end: at, step_ms: 0 }
    }

    /// How many instants there are.
    pub fn steps(&self) -> usize {
        if self.step_ms <= 0 || self.end < self.start {
            return 1;
        }
        usize::try_from((self.end - self.start) / self.step_ms + 1).unwrap_or(usize::MAX)
    }

    /// The instants in order.
    pub fn instants(&self) -> impl Iterator<Item = TimestampMs> + use<> {
        let (start, step_ms) = (self.start, self.step_ms);
        (0..self.steps()).map(move |step| start + i64::try_from(step).unwrap_or(i64::MAX) * step_ms)
    }
}

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number at each instant.
    Scalar,
    /// One string.
    String,
    /// One sample for each series.
    Vector,
    /// A range of samples for each series.
    Matrix,
}

/// Prometheus' names for the types, as messages show them.
impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        })
    }
}

/// A sample of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct InstantSample {
    /// What identifies the series.
    pub labels: Labels,
    /// The evaluation's instant, or with `timestamp()`-like reading that of the sample.
    pub at: TimestampMs,
    /// The value; 0 if it is a native histogram.
    pub value: f64,
    /// The native histogram, if the sample is one.
    pub histogram: Option<Arc<FloatHistogram>>,
}

impl InstantSample {
    /// A sample that is a float.
    pub fn float(labels: Labels, at: TimestampMs, value: f64) -> Self {
        Self { labels, at, value, histogram: None }
    }
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number at an instant.
    Scalar {
        /// The instant.
        at: TimestampMs,
        /// The number.
        value: f64,
    },
    /// A string at an instant.
    String {
        /// The instant.
        at: TimestampMs,
        /// The string.
        value: String,
    },
    /// An instant vector, in the order of the result (which matters after `sort`).
    Vector(Vec<InstantSample>),
    /// Series of points: a range vector, or the result of a range query, ordered by labels.
    Matrix(Vec<Series>),
}

/// How serious an annotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnnotationKind {
    /// The result may be wrong.
    Warning,
    /// The result is right, but may not be what was meant.
    Info,
}

/// A remark on a result that is not an error.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Annotation {
    /// How serious it is.
    pub kind: AnnotationKind,
    /// Prometheus' text without the position (`PromQL info: …`, `PromQL warning: …`).
    pub message: String,
    /// What part of the query it is about.
    pub span: Span,
}

/// What an evaluation yields.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The result.
    pub value: Value,
    /// Remarks, without duplicates, in the order in which they arose.
    pub annotations: Vec<Annotation>,
    /// The samples that were looked at, if they were to be counted.
    pub samples: Option<SampleStats>,
}

/// The samples that an evaluation looked at. A native histogram counts as the floats that take as much
/// memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleStats {
    /// Those of each instant.
    pub steps: Vec<StepSamples>,
    /// The most that were in memory at once as inputs and results of operators.
    pub peak: usize,
}

/// The samples that one instant looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepSamples {
    /// The instant.
    pub at: TimestampMs,
    /// How many it took, those included that the instant before had taken too.
    pub total: u64,
    /// How many were taken for the first time.
    pub read: u64,
}

/// Why an evaluation has no result. The texts are Prometheus' own (`promql/engine.go`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// It took too long.
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    /// The asker went away.
    #[error("query was canceled in {0}")]
    Canceled(&'static str),
    /// It needs more samples in memory than allowed.
    #[error("query processing would load too many samples into memory in {0}")]
    TooManySamples(&'static str),
    /// The samples could not be read.
    #[error("{0}")]
    Storage(String),
    /// The expression cannot be evaluated at these times: the request is at fault, not the samples.
    #[error("{0}")]
    Invalid(String),
    /// The expression has no value here, such as `vector cannot contain metrics with the same labelset`.
    #[error("{0}")]
    Execution(String),
}

impl From<SelectError> for EvalError {
    /// Prometheus' text for a selection that fails during the evaluation.
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::TooManySamples => Self::TooManySamples("query execution"),
            other => Self::Storage(format!("expanding series: {other}")),
        }
    }
}
