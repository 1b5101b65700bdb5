//! What rules, checks, templates, the API and commands ask: the value of an expression, wherever the
//! samples live.

mod local;
mod remote;
mod remote_histogram;

use futures_util::future::BoxFuture;

use crate::model::TimestampMs;
use crate::promql::{EvalError, EvalRange, Expr, Output};

pub use local::{LocalConfig, LocalSource};
pub use remote::RemoteSource;

/// Answers expressions. A parsed [`Expr`], never a string: a source that is a remote server prints it.
pub trait QuerySource: Send + Sync {
    /// The value at one instant.
    fn instant<'a>(&'a self, expr: &'a Expr, at: TimestampMs) -> BoxFuture<'a, Result<Output, EvalError>>;

    /// The values over a range, as a matrix.
    fn range<'a>(&'a self, expr: &'a Expr, range: &'a EvalRange) -> BoxFuture<'a, Result<Output, EvalError>>;
}
