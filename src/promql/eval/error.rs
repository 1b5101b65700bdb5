//! Errors that more than one part of the evaluation raises, word for word Prometheus'.

use crate::promql::value::EvalError;

/// Two series of a result cannot be told apart.
pub(super) fn same_labelset() -> EvalError {
    failure("vector cannot contain metrics with the same labelset")
}

/// An expression that has no value.
pub(super) fn failure(text: impl Into<String>) -> EvalError {
    EvalError::Execution(text.into())
}

/// The memory limit is reached.
pub(super) fn too_many_samples() -> EvalError {
    EvalError::TooManySamples("query execution")
}
