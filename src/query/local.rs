//! Evaluation in this process, over a store.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use crate::model::TimestampMs;
use crate::promql::{EvalError, EvalOptions, EvalRange, Expr, Interrupt, Output, Resolved, eval, prefetch};
use crate::storage::Queryable;

use super::{Answer, PreparedQuery, QueryOptions, QuerySource, Timings};

/// Samples and results below which evaluating takes less than about a fifth of a millisecond, so that
/// another thread would cost more than it gives.
const TRIVIAL_WORK: usize = 20_000;

/// Settings of [`LocalSource`]. The defaults are those of Prometheus.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// How many evaluations run at once; others wait. Source: `--query.max-concurrency`.
    pub concurrency: usize,
    /// How long an evaluation may take, waiting included. Source: `--query.timeout`.
    pub timeout: Duration,
    /// How expressions are evaluated; its interrupt is not used.
    pub options: EvalOptions,
    /// The step of subqueries that name none, in milliseconds, where it may change while sources are in use;
    /// it is that of all sources that are made of clones. None: that of the options stays.
    pub subquery_step_ms: Option<Arc<AtomicI64>>,
}

impl Default for LocalConfig {
    fn default() -> Self {
        let options = EvalOptions::default();
        Self { concurrency: 20, timeout: Duration::from_mins(2), options, subquery_step_ms: None }
    }
}

/// Answers expressions from a store. Computing never blocks the runtime, and it stops soon after its
/// time is up or its asker is gone.
pub struct LocalSource(Arc<Shared>);

/// What a source shares with the queries that it prepared.
struct Shared {
    queryable: Arc<dyn Queryable>,
    slots: Arc<Semaphore>,
    timeout: Duration,
    options: EvalOptions,
    subquery_step_ms: Option<Arc<AtomicI64>>,
}

/// An expression with the series that it found last.
struct LocalQuery {
    source: Arc<Shared>,
    expr: Arc<Expr>,
    /// Absent while an evaluation has it.
    resolved: Mutex<Option<Resolved>>,
}

impl LocalSource {
    /// A source over `queryable`.
    pub fn new(queryable: Arc<dyn Queryable>, config: LocalConfig) -> Self {
        let LocalConfig { concurrency, timeout, options, subquery_step_ms } = config;
        let slots = Arc::new(Semaphore::new(concurrency.max(1)));
        Self(Arc::new(Shared { queryable, slots, timeout, options, subquery_step_ms }))
    }
}

impl LocalSource {
    /// Does other work for an asker as if it were an evaluation: in a slot, on a thread where it may take
    /// long, and no longer than a query. The work asks the interrupt from time to time whether to go on.
    pub async fn work<T, E>(
        &self,
        work: impl FnOnce(&Interrupt) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<EvalError> + Send + 'static,
    {
        let deadline = Instant::now() + self.0.timeout;
        let slot = self.0.slot(deadline).await?;
        let asker = Asker::default();
        let interrupt = asker.interrupt(deadline);
        compute(slot, deadline, move || work(&interrupt)).await?
    }
}

/// Computes on another thread. The slot is free only when that thread is: also if nobody waits for the result
/// any more.
async fn compute<T: Send + 'static>(
    slot: OwnedSemaphorePermit,
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EvalError> {
    let working = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        work()
    });
    timeout_at(deadline.into(), working)
        .await
        .map_err(|_| EvalError::Timeout("expression evaluation"))?
        .map_err(|failure| EvalError::Execution(format!("unexpected error: {failure}")))
}

impl Shared {
    /// Waits until there is room for an evaluation.
    async fn slot(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, EvalError> {
        let slot = timeout_at(deadline.into(), Arc::clone(&self.slots).acquire_owned())
            .await
            .map_err(|_| EvalError::Timeout("query queue"))?
            .map_err(|_| EvalError::Canceled("query queue"))?;
        if Instant::now() >= deadline {
            return Err(EvalError::Timeout("query execution"));
        }
        Ok(slot)
    }

    /// The value of an expression; with `resolved` one that is asked for again and again.
    async fn evaluate(
        &self,
        expr: &Arc<Expr>,
        range: &EvalRange,
        asked: &QueryOptions,
        resolved: Option<&mut Resolved>,
    ) -> Result<Answer, EvalError> {
        let begun = Instant::now();
        let deadline = begun + asked.timeout.map_or(self.timeout, |timeout| timeout.min(self.timeout));
        let slot = self.slot(deadline).await?;
        let asker = Asker::default();
        let mut options = EvalOptions {
            interrupt: asker.interrupt(deadline),
            count_samples: asked.count_samples,
            ..self.options.clone()
        };
        if let Some(step) = &self.subquery_step_ms {
            options.default_subquery_step_ms = step.load(Ordering::Relaxed);
        }
        if let Some(lookback) = asked.lookback_delta {
            options.lookback_delta_ms = i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX);
        }
        let queue = begun.elapsed();
        let fetching = prefetch(expr, range, &options, self.queryable.as_ref(), resolved);
        let data = timeout_at(deadline.into(), fetching)
            .await
            .map_err(|_| EvalError::Timeout("expression evaluation"))??;
        let work = data.samples().saturating_add(data.series_count().saturating_mul(range.steps()));
        let prepared = begun.elapsed();
        let answer = |output| Answer {
            output,
            timings: Timings {
                queue,
                preparation: prepared.saturating_sub(queue),
                evaluation: begun.elapsed().saturating_sub(prepared),
            },
        };
        // A subquery may be of millions of instants without any sample.
        if work.saturating_add(range.steps()) < TRIVIAL_WORK && !expr.has_subquery() {
            return eval(expr, range, &data, &options).map(answer);
        }
        let (expr, range) = (Arc::clone(expr), *range);
        compute(slot, deadline, move || eval(&expr, &range, &data, &options)).await?.map(answer)
    }
}

impl QuerySource for LocalSource {
    fn query<'a>(
        &'a self,
        expr: &'a Expr,
        range: &'a EvalRange,
        options: &'a QueryOptions,
    ) -> BoxFuture<'a, Result<Answer, EvalError>> {
        let expr = Arc::new(expr.clone());
        async move { self.0.evaluate(&expr, range, options, None).await }.boxed()
    }

    fn prepare(&self, expr: &Arc<Expr>) -> Arc<dyn PreparedQuery> {
        let (source, expr) = (Arc::clone(&self.0), Arc::clone(expr));
        Arc::new(LocalQuery { source, expr, resolved: Mutex::default() })
    }
}

impl LocalQuery {
    fn resolved(&self) -> MutexGuard<'_, Option<Resolved>> {
        // It is only ever replaced as a whole.
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PreparedQuery for LocalQuery {
    fn instant(&self, at: TimestampMs) -> BoxFuture<'_, Result<Output, EvalError>> {
        async move {
            // Of an evaluation that is given up nothing is left: the next one begins anew.
            let mut resolved = self.resolved().take().unwrap_or_default();
            let range = EvalRange::instant(at);
            let result =
                self.source.evaluate(&self.expr, &range, &QueryOptions::default(), Some(&mut resolved)).await;
            *self.resolved() = Some(resolved);
            Ok(result?.output)
        }
        .boxed()
    }
}

/// Tells an evaluation when the future that waits for it is dropped.
#[derive(Debug, Default)]
struct Asker {
    gone: Arc<AtomicBool>,
}

impl Asker {
    fn interrupt(&self, deadline: Instant) -> Interrupt {
        let gone = Arc::clone(&self.gone);
        Interrupt::when(move || {
            if gone.load(Ordering::Relaxed) {
                Some(EvalError::Canceled("expression evaluation"))
            } else if Instant::now() >= deadline {
                Some(EvalError::Timeout("expression evaluation"))
            } else {
                None
            }
        })
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Matcher, Point, Series, TimestampMs};
    use crate::promql::{InstantSample, Output, Value, parse};
    use crate::storage::{Lifetime, MemoryStorage, Samples, SelectError, SelectHints, SeriesSet};

    fn source(series: usize, config: LocalConfig) -> LocalSource {
        let storage = MemoryStorage::new();
        for number in 0..series {
            let labels = Labels::from_pairs([("__name__", "up"), ("instance", &number.to_string())]);
            storage.load(&labels, [Point { at: 0, value: 1.0 }, Point { at: 60_000, value: 0.0 }]);
        }
        LocalSource::new(Arc::new(storage), config)
    }

    async fn count_down(source: &LocalSource) -> Result<Output, EvalError> {
        let expr = parse("count(up == 0)").expect("valid query");
        source.instant(&expr, 60_000).await
    }

    #[tokio::test]
    async fn small_and_large_evaluations_give_the_same_answer() {
        for series in [1, 5_000] {
            let output = count_down(&source(series, LocalConfig::default())).await.expect("a result");
            let expected = InstantSample::float(Labels::empty(), 60_000, series as f64);
            assert_eq!(output.value, Value::Vector(vec![expected]));
        }
    }

    #[tokio::test]
    async fn the_step_of_subqueries_may_change() {
        let step = Arc::new(AtomicI64::new(10_000));
        let source =
            source(1, LocalConfig { subquery_step_ms: Some(step.clone()), ..LocalConfig::default() });
        let expr = parse("count_over_time(vector(1)[1m:])").expect("valid query");
        for (ms, expected) in [(10_000, 6.0), (30_000, 2.0)] {
            step.store(ms, Ordering::Relaxed);
            let output = source.instant(&expr, 600_000).await.expect("a result");
            let sample = InstantSample::float(Labels::empty(), 600_000, expected);
            assert_eq!(output.value, Value::Vector(vec![sample]));
        }
    }

    #[tokio::test]
    async fn range_queries_yield_a_matrix() {
        let source = source(1, LocalConfig::default());
        let expr = parse("sum(up)").expect("valid query");
        let range = EvalRange { start: 0, end: 60_000, step_ms: 60_000 };
        let output = source.range(&expr, &range).await.expect("a result");
        let points = vec![Point { at: 0, value: 1.0 }, Point { at: 60_000, value: 0.0 }];
        assert_eq!(output.value, Value::Matrix(vec![Series::floats(Labels::empty(), points)]));
    }

    #[tokio::test]
    async fn too_many_samples_are_refused() {
        let options = EvalOptions { max_samples: 10, ..EvalOptions::default() };
        let error = count_down(&source(11, LocalConfig { options, ..LocalConfig::default() })).await;
        let text = "query processing would load too many samples into memory in query execution";
        assert_eq!(error.expect_err("a limit").to_string(), text);
    }

    #[tokio::test]
    async fn an_evaluation_that_does_not_get_a_slot_in_time_times_out() {
        let config =
            LocalConfig { concurrency: 1, timeout: Duration::from_millis(1), ..LocalConfig::default() };
        let source = source(1, config);
        let _busy = Arc::clone(&source.0.slots).acquire_owned().await.expect("a slot");
        assert_eq!(count_down(&source).await, Err(EvalError::Timeout("query queue")));
    }

    #[tokio::test]
    async fn other_work_has_the_slots_and_the_time_of_evaluations() {
        let config =
            LocalConfig { concurrency: 1, timeout: Duration::from_millis(50), ..LocalConfig::default() };
        let source = source(1, config);
        assert_eq!(source.work(|_| Ok::<_, EvalError>(1)).await, Ok(1));
        let endless = source.work(|interrupt| -> Result<(), EvalError> {
            loop {
                interrupt.check()?;
                std::thread::yield_now();
            }
        });
        assert_eq!(endless.await, Err(EvalError::Timeout("expression evaluation")));
        let _busy = Arc::clone(&source.0.slots).acquire_owned().await.expect("a slot");
        assert_eq!(source.work(|_| Ok(())).await, Err(EvalError::Timeout("query queue")));
    }

    #[tokio::test]
    async fn a_computation_beyond_its_time_stops() {
        let config = LocalConfig { timeout: Duration::ZERO, ..LocalConfig::default() };
        let error = count_down(&source(5_000, config)).await.expect_err("no time");
        assert!(matches!(error, EvalError::Timeout(_)), "{error}");
    }

    /// Never answers.
    struct Silent;

    impl Queryable for Silent {
        fn resolve<'a>(
            &'a self,
            _: &'a [Matcher],
            _: Lifetime,
        ) -> BoxFuture<'a, Result<Arc<SeriesSet>, SelectError>> {
            std::future::pending().boxed()
        }

        fn read<'a>(
            &'a self,
            _: &'a Arc<SeriesSet>,
            _: &'a SelectHints,
        ) -> BoxFuture<'a, Result<Samples, SelectError>> {
            std::future::pending().boxed()
        }

        fn series<'a>(
            &'a self,
            _: &'a [Matcher],
            _: TimestampMs,
            _: TimestampMs,
        ) -> BoxFuture<'a, Result<Vec<Labels>, SelectError>> {
            std::future::pending().boxed()
        }
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_holds_nobody_up() {
        let config = LocalConfig { timeout: Duration::from_millis(1), ..LocalConfig::default() };
        let source = LocalSource::new(Arc::new(Silent), config);
        assert_eq!(count_down(&source).await, Err(EvalError::Timeout("expression evaluation")));
    }
}
