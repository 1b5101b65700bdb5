//! What rules, checks, templates, the API and commands ask: the value of an expression, wherever the
//! samples live.

mod local;
mod remote;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::model::TimestampMs;
use crate::promql::{EvalError, EvalRange, Expr, Output};

pub use local::{LocalConfig, LocalSource};
pub use remote::RemoteSource;

/// An expression that is evaluated again and again. Dropping it frees what was kept for that.
pub trait PreparedQuery: Send + Sync {
    /// The value at one instant. Evaluations at the same time are allowed, but only one of them goes on
    /// from what the one before has found.
    fn instant(&self, at: TimestampMs) -> BoxFuture<'_, Result<Output, EvalError>>;
}

/// Answers expressions. A parsed [`Expr`], never a string: a source that is a remote server prints it.
pub trait QuerySource: Send + Sync {
    /// The value at one instant.
    fn instant<'a>(&'a self, expr: &'a Expr, at: TimestampMs) -> BoxFuture<'a, Result<Output, EvalError>>;

    /// Makes ready for evaluating an expression many times, as rules do: series are looked up, grouped and
    /// matched once for as long as they stay the same.
    fn prepare(&self, expr: &Arc<Expr>) -> Arc<dyn PreparedQuery>;

    /// The values over a range, as a matrix.
    fn range<'a>(&'a self, expr: &'a Expr, range: &'a EvalRange) -> BoxFuture<'a, Result<Output, EvalError>>;
}
