//! What rules, checks, templates, the API and commands ask: the value of an expression, wherever the
//! samples live.

mod local;
mod overlay;
mod remote;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::model::TimestampMs;
use crate::promql::{EvalError, EvalRange, Expr, Output};

pub use local::{LocalConfig, LocalSource};
pub use overlay::OverlaySource;
pub use remote::{RemoteConfig, RemoteMetrics, RemoteSource, SourceMetrics};

/// An expression that is evaluated again and again. Dropping it frees what was kept for that.
pub trait PreparedQuery: Send + Sync {
    /// The value at one instant. Evaluations at the same time are allowed, but only one of them goes on
    /// from what the one before has found.
    fn instant(&self, at: TimestampMs) -> BoxFuture<'_, Result<Output, EvalError>>;
}

/// An expression that is asked of its source each time: nothing is kept.
pub(crate) struct Unprepared<S> {
    pub(crate) source: S,
    pub(crate) expr: Arc<Expr>,
}

impl<S: QuerySource> PreparedQuery for Unprepared<S> {
    fn instant(&self, at: TimestampMs) -> BoxFuture<'_, Result<Output, EvalError>> {
        self.source.instant(&self.expr, at)
    }
}

/// Answers expressions. A parsed [`Expr`], never a string: a source that is a remote server prints it.
pub trait QuerySource: Send + Sync {
    /// The value at one instant or, as a matrix, the values over a range.
    fn query<'a>(
        &'a self,
        expr: &'a Expr,
        range: &'a EvalRange,
        options: &'a QueryOptions,
    ) -> BoxFuture<'a, Result<Answer, EvalError>>;

    /// Whether samples come in also while this process does not run: then it can be asked afterwards what
    /// happened meanwhile.
    fn goes_on_alone(&self) -> bool {
        false
    }

    /// Makes ready for evaluating an expression many times, as rules do: series are looked up, grouped and
    /// matched once for as long as they stay the same.
    fn prepare(&self, expr: &Arc<Expr>) -> Arc<dyn PreparedQuery>;

    /// The value at one instant, as the source evaluates by itself.
    fn instant<'a>(&'a self, expr: &'a Expr, at: TimestampMs) -> BoxFuture<'a, Result<Output, EvalError>> {
        async move {
            let answer = self.query(expr, &EvalRange::instant(at), &QueryOptions::default()).await?;
            Ok(answer.output)
        }
        .boxed()
    }

    /// The values over a range, as the source evaluates by itself.
    fn range<'a>(&'a self, expr: &'a Expr, range: &'a EvalRange) -> BoxFuture<'a, Result<Output, EvalError>> {
        async move { Ok(self.query(expr, range, &QueryOptions::default()).await?.output) }.boxed()
    }
}

/// What one asker wants otherwise than the source does it by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueryOptions {
    /// How old a sample may be to count as the current value.
    pub lookback_delta: Option<Duration>,
    /// How long the asker waits; the source's own limit holds too.
    pub timeout: Option<Duration>,
    /// Whether the samples that are looked at are counted.
    pub count_samples: bool,
}

/// What a source answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The result.
    pub output: Output,
    /// How long it took.
    pub timings: Timings,
}

/// How long the parts of an answer took; what happens elsewhere takes no time here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Until there was room for the evaluation.
    pub queue: Duration,
    /// Until the samples were fetched.
    pub preparation: Duration,
    /// Until they were evaluated.
    pub evaluation: Duration,
}
