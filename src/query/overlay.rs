//! A remote source with what the rules over it have recorded.
//!
//! What a rule records goes to this process' own store, and perhaps, later, to the server. The rule after
//! it must see it at once. So the names of what is recorded are looked up in the own store, all other
//! names at the server; an expression that reads no recorded name is evaluated by the server as it is.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::local::{LocalConfig, LocalSource};
use super::remote::RemoteSource;
use super::{Answer, PreparedQuery, QueryOptions, QuerySource, Unprepared};
use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher, Point, Series, Span, TimestampMs, stale_nan};
use crate::promql::{
    DurationExpr, DurationOp, EvalError, EvalRange, Expr, ExprKind, MatrixSelector, Value, VectorSelector,
};
use crate::storage::{Lifetime, Queryable, Samples, SelectError, SelectHints, SeriesSet};

/// Answers expressions from a server, except for the series of some names, which are those of a store.
#[derive(Clone)]
pub struct OverlaySource(Arc<Inner>);

struct Inner {
    remote: RemoteSource,
    store: Arc<dyn Queryable>,
    limits: LocalConfig,
    /// The names that are looked up in the store.
    own: ArcSwap<BTreeSet<String>>,
}

impl OverlaySource {
    /// A source that has every name from the server.
    pub fn new(remote: RemoteSource, store: Arc<dyn Queryable>, limits: LocalConfig) -> Self {
        Self(Arc::new(Inner { remote, store, limits, own: ArcSwap::default() }))
    }

    /// The server alone, for all names.
    pub fn remote(&self) -> RemoteSource {
        self.0.remote.clone()
    }

    /// From now on series of these names are those of the store.
    pub fn own_names(&self, names: BTreeSet<String>) {
        self.0.own.store(Arc::new(names));
    }
}

impl Inner {
    async fn query(
        &self,
        expr: &Expr,
        range: &EvalRange,
        options: &QueryOptions,
    ) -> Result<Answer, EvalError> {
        let own = self.own.load_full();
        if !expr.selectors().iter().any(|selector| may_be_own(&selector.matchers, &own)) {
            return self.remote.query(expr, range, options).await;
        }
        let both = Arc::new(Both {
            remote: self.remote.clone(),
            store: Arc::clone(&self.store),
            own,
            uses: uses(expr),
            selected: Mutex::default(),
            failure: Mutex::default(),
        });
        let answer = LocalSource::new(Arc::clone(&both) as Arc<dyn Queryable>, self.limits.clone())
            .query(expr, range, options)
            .await;
        // What the server said is more than that a selection failed.
        answer.map_err(|error| lock(&both.failure).take().unwrap_or(error))
    }
}

impl QuerySource for OverlaySource {
    fn query<'a>(
        &'a self,
        expr: &'a Expr,
        range: &'a EvalRange,
        options: &'a QueryOptions,
    ) -> BoxFuture<'a, Result<Answer, EvalError>> {
        self.0.query(expr, range, options).boxed()
    }

    fn goes_on_alone(&self) -> bool {
        true
    }

    fn prepare(&self, expr: &Arc<Expr>) -> Arc<dyn PreparedQuery> {
        Arc::new(Unprepared { source: self.clone(), expr: Arc::clone(expr) })
    }
}

/// Whether the matchers can find a series of one of the names.
fn may_be_own(matchers: &[Matcher], own: &BTreeSet<String>) -> bool {
    let fits = |name: &str| matchers.iter().filter(|m| m.name() == METRIC_NAME).all(|m| m.matches(name));
    match exact_name(matchers) {
        Some(name) => own.contains(name) && fits(name),
        None => own.iter().any(|name| fits(name)),
    }
}

/// The only name that the matchers can find.
fn exact_name(matchers: &[Matcher]) -> Option<&str> {
    let exact = matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
    exact.map(Matcher::value)
}

/// What an expression wants of the series of a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Use {
    /// The value that is current at the evaluated instant.
    current: bool,
    /// Every sample with its time.
    samples: bool,
}

/// What an expression wants, by the matchers of its selectors.
fn uses(expr: &Expr) -> Vec<(Vec<Matcher>, Use)> {
    let mut found = Vec::new();
    note_uses(expr, false, &mut found);
    found
}

/// `timed`: the times of samples matter, or values at other instants than that of the evaluation.
fn note_uses(expr: &Expr, timed: bool, found: &mut Vec<(Vec<Matcher>, Use)>) {
    let mut note =
        |matchers: &[Matcher], new: Use| match found.iter_mut().find(|(known, _)| known == matchers) {
            Some((_, known)) => {
                known.current |= new.current;
                known.samples |= new.samples;
            }
            None => found.push((matchers.to_vec(), new)),
        };
    let timed = match &expr.kind {
        ExprKind::Vector(selector) => {
            let samples = timed || selector.modifier.is_some();
            note(&selector.matchers, Use { current: true, samples });
            return;
        }
        ExprKind::Matrix(matrix) => {
            note(&matrix.selector.matchers, Use { current: false, samples: true });
            return;
        }
        ExprKind::Subquery(_) => true,
        ExprKind::Call(call) if call.function == "timestamp" => true,
        _ => timed,
    };
    for part in expr.parts() {
        note_uses(part, timed, found);
    }
}

/// The server's series and the store's, for one evaluation.
struct Both {
    remote: RemoteSource,
    store: Arc<dyn Queryable>,
    own: Arc<BTreeSet<String>>,
    uses: Vec<(Vec<Matcher>, Use)>,
    /// What was selected; the place of a series is its reference.
    selected: Mutex<Vec<(Arc<SeriesSet>, Vec<Series>)>>,
    /// The first error of the server.
    failure: Mutex<Option<EvalError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Whatever is in there was put there as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Both {
    /// All series with their samples between two instants, both inclusive, ordered by labels.
    async fn fetch(
        &self,
        matchers: &[Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> Result<Vec<Series>, SelectError> {
        let mut series = Vec::new();
        let is_own = |series: &Series| self.own.contains(series.labels.metric_name());
        if may_be_own(matchers, &self.own) {
            series = self.store.select(matchers, &SelectHints::between(start, end)).await?;
            series.retain(is_own);
        }
        if exact_name(matchers).is_none_or(|name| !self.own.contains(name)) {
            let remote = self.fetch_remote(matchers, start, end).await.map_err(|error| {
                let text = error.to_string();
                lock(&self.failure).get_or_insert(error);
                SelectError::Unavailable(text)
            })?;
            series.extend(remote.into_iter().filter(|series| !is_own(series)));
            series.sort_by(|one, other| one.labels.cmp(&other.labels));
        }
        Ok(series)
    }

    async fn fetch_remote(
        &self,
        matchers: &[Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> Result<Vec<Series>, EvalError> {
        let known = self.uses.iter().find(|(known, _)| known == matchers);
        // What `info()` adds is in no selector.
        let wanted = known.map_or(Use { current: true, samples: true }, |(_, wanted)| *wanted);
        let current =
            async { if wanted.current { self.current(matchers, end).await.map(Some) } else { Ok(None) } };
        let samples = async {
            if wanted.samples { self.samples(matchers, start, end).await.map(Some) } else { Ok(None) }
        };
        Ok(match futures_util::future::try_join(current, samples).await? {
            (current, None) => current.unwrap_or_default(),
            (None, Some(samples)) => samples,
            (Some(current), Some(mut samples)) => {
                mark_ended(&mut samples, &current);
                samples
            }
        })
    }

    /// The series that have a value at an instant, with that value, dated there.
    async fn current(&self, matchers: &[Matcher], at: TimestampMs) -> Result<Vec<Series>, EvalError> {
        let expr = Expr { kind: ExprKind::Vector(selector(matchers)), span: Span::default() };
        let Value::Vector(vector) = self.remote.instant(&expr, at).await?.value else {
            return Err(EvalError::Storage("a selector was answered with something else".to_owned()));
        };
        let series = vector.into_iter().map(|sample| match sample.histogram {
            None => Series::floats(sample.labels, vec![Point { at, value: sample.value }]),
            Some(histogram) => {
                let histograms = vec![crate::model::HistogramPoint { at, histogram }];
                Series { histograms, ..Series::floats(sample.labels, Vec::new()) }
            }
        });
        Ok(series.collect())
    }

    /// The samples between two instants, both inclusive. Staleness markers are not among them.
    async fn samples(
        &self,
        matchers: &[Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> Result<Vec<Series>, EvalError> {
        // The beginning of a range belongs to it before Prometheus 3.0, and since then no more.
        let ms = (end - start).saturating_add(1).max(1);
        let range = DurationExpr { op: DurationOp::Literal { ms }, span: Span::default() };
        let (selector, selector_span) = (selector(matchers), Span::default());
        let matrix = MatrixSelector { selector, selector_span, range };
        let expr = Expr { kind: ExprKind::Matrix(Box::new(matrix)), span: Span::default() };
        match self.remote.instant(&expr, end).await?.value {
            Value::Matrix(series) => Ok(series),
            _ => Err(EvalError::Storage("a range selector was answered with something else".to_owned())),
        }
    }
}

fn selector(matchers: &[Matcher]) -> VectorSelector {
    let matchers = matchers.to_vec();
    VectorSelector { name: None, matchers, offset: None, at: None, modifier: None, bare: false }
}

/// Ends the series that have samples and yet no current value with the staleness marker that the server
/// must have for them.
fn mark_ended(samples: &mut [Series], current: &[Series]) {
    let current: BTreeSet<&Labels> = current.iter().map(|series| &series.labels).collect();
    for series in samples.iter_mut().filter(|series| !current.contains(&series.labels)) {
        let histogram = series.histograms.last().map_or(TimestampMs::MIN, |point| point.at);
        if let Some(last) = series.points.last().filter(|point| point.at > histogram) {
            let at = last.at + 1;
            series.points.push(Point { at, value: stale_nan() });
        } else {
            // The marker of a histogram is one too, and a float ends the series just as well.
            series.points.push(Point { at: histogram + 1, value: stale_nan() });
        }
    }
}

impl Queryable for Both {
    fn resolve<'a>(
        &'a self,
        matchers: &'a [Matcher],
        lifetime: Lifetime,
    ) -> BoxFuture<'a, Result<Arc<SeriesSet>, SelectError>> {
        async move {
            let Lifetime::Once(start, end) = lifetime else {
                return Err(SelectError::Unavailable("series of a server cannot be kept".to_owned()));
            };
            let series = self.fetch(matchers, start, end).await?;
            let labels = series.iter().map(|series| series.labels.clone()).collect();
            let places = (0..series.len() as u64).map(crate::storage::SeriesRef).collect();
            let set = Arc::new(SeriesSet::new(labels, places));
            lock(&self.selected).push((Arc::clone(&set), series));
            Ok(set)
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        set: &'a Arc<SeriesSet>,
        hints: &'a SelectHints,
    ) -> BoxFuture<'a, Result<Samples, SelectError>> {
        async move {
            let selected = lock(&self.selected);
            let mut samples = Samples::with_capacity(set.len());
            let found = selected.iter().find(|(known, _)| Arc::ptr_eq(known, set));
            for (place, series) in found.iter().flat_map(|(_, series)| series).enumerate() {
                let within = |at: TimestampMs| (hints.start..=hints.end).contains(&at);
                samples.add(place, |into| {
                    into.points.extend(series.points.iter().filter(|point| within(point.at)));
                    into.histograms
                        .extend(series.histograms.iter().filter(|point| within(point.at)).cloned());
                });
                samples.check(hints)?;
            }
            Ok(samples)
        }
        .boxed()
    }

    fn series<'a>(
        &'a self,
        matchers: &'a [Matcher],
        start: TimestampMs,
        end: TimestampMs,
    ) -> BoxFuture<'a, Result<Vec<Labels>, SelectError>> {
        async move {
            let series = self.fetch(matchers, start, end).await?;
            Ok(series.into_iter().map(|series| series.labels).collect())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
