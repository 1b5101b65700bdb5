//! Why a rule has no result.

use crate::promql::EvalError;
use crate::storage::AppendError;

/// Why the evaluation of one rule failed. The texts are Prometheus' own (`rules/`).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// The expression has no value.
    #[error(transparent)]
    Query(#[from] EvalError),
    /// The expression is a string or a range vector.
    #[error("rule result is not a vector or scalar")]
    ResultType,
    /// Two elements of the result become the same alert.
    #[error("vector contains metrics with the same labelset after applying alert labels")]
    DuplicateAlert,
    /// Two elements of the result become the same series.
    #[error("vector contains metrics with the same labelset after applying rule labels")]
    DuplicateSeries,
    /// More alerts than the group allows a rule.
    #[error("exceeded limit of {limit} with {count} alerts")]
    AlertLimit {
        /// The group's limit.
        limit: usize,
        /// How many there would be.
        count: usize,
    },
    /// More series than the group allows a rule.
    #[error("exceeded limit of {limit} with {count} series")]
    SeriesLimit {
        /// The group's limit.
        limit: usize,
        /// How many there would be.
        count: usize,
    },
    /// Nothing was scraped, so that samples say nothing.
    #[error("nothing was scraped while the process did not run")]
    Paused,
    /// Samples of this time are older than what was known before.
    #[error("the clock was set back")]
    ClockSetBack,
    /// A sample of the result was not stored.
    #[error(transparent)]
    Append(#[from] AppendError),
}
