//! Fetching the samples that an expression needs: the asynchronous half of an evaluation.

use std::sync::Arc;

use crate::model::{Labels, Matcher};
use crate::storage::{Lifetime, Queryable, Samples, SelectError, SelectHints, SeriesSet};

use super::ast::Expr;
use super::eval::RowSet;
use super::options::EvalOptions;
use super::plan::{Fetch, Plan};
use super::value::{EvalError, EvalRange};

/// The samples that an expression needs over a range.
#[derive(Debug, Default)]
pub struct Prefetched {
    fetches: Vec<Fetch>,
    /// For each fetch the place of its series in `fetched`: selectors that need the same share them.
    places: Vec<usize>,
    fetched: Vec<Fetched>,
    samples: usize,
}

/// The series of a selector with their samples.
#[derive(Debug)]
pub(super) struct Fetched {
    /// All series, ordered by labels; the samples are of some of them.
    pub(super) rows: Arc<RowSet>,
    series: Arc<SeriesSet>,
    pub(super) samples: Samples,
}

impl Fetched {
    /// The labels of a series.
    pub(super) fn labels(&self, place: usize) -> &Labels {
        &self.series.labels()[place]
    }
}

impl Prefetched {
    /// How many samples were fetched.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// How many series were fetched.
    pub fn series_count(&self) -> usize {
        self.fetched.iter().map(|fetched| fetched.samples.series_count()).sum()
    }

    /// The series of a selector.
    pub(super) fn fetched(&self, fetch: usize) -> &Fetched {
        &self.fetched[self.places[fetch]]
    }

    /// Whether these are the samples that a plan needs.
    pub(super) fn is_for(&self, fetches: &[Fetch]) -> bool {
        self.fetches == fetches
    }
}

/// The series that the selectors of an expression found, with all that was computed from their labels.
/// What is kept from one evaluation of an expression to the next.
#[derive(Debug, Default)]
pub struct Resolved(Vec<Selector>);

/// What a selector found last.
#[derive(Debug)]
struct Selector {
    matchers: Vec<Matcher>,
    rows: Arc<RowSet>,
}

impl Resolved {
    /// The series that the matchers find, resolved anew only if they may be others than before.
    async fn resolve(
        &mut self,
        matchers: &[Matcher],
        queryable: &dyn Queryable,
    ) -> Result<(Arc<RowSet>, Arc<SeriesSet>), SelectError> {
        let place = self.0.iter().position(|selector| selector.matchers == matchers);
        let known = place.and_then(|place| self.0[place].rows.series());
        let series = queryable.resolve(matchers, Lifetime::Lasting(known.map(Arc::clone))).await?;
        if let Some(place) = place.filter(|_| known.is_some_and(|known| Arc::ptr_eq(known, &series))) {
            return Ok((Arc::clone(&self.0[place].rows), series));
        }
        let rows = Arc::new(RowSet::of_series(Arc::clone(&series)));
        if let Some(place) = place {
            self.0.swap_remove(place);
        }
        if series.is_lasting() {
            self.0.push(Selector { matchers: matchers.to_vec(), rows: Arc::clone(&rows) });
        }
        Ok((rows, series))
    }
}

/// Fetches exactly what [`eval`](super::eval()) will need for the same arguments: offsets, `@`, ranges
/// and subqueries decide which time ranges those are.
///
/// An expression that is evaluated again and again, with the same options and over the same store, keeps
/// what it finds in `resolved`. More samples than `options.max_samples` are an error, since all of them
/// are in memory at once.
pub async fn prefetch(
    expr: &Expr,
    range: &EvalRange,
    options: &EvalOptions,
    queryable: &dyn Queryable,
    mut resolved: Option<&mut Resolved>,
) -> Result<Prefetched, EvalError> {
    let fetches = Plan::new(expr, range, options)?.fetches;
    let mut data = Prefetched::default();
    for (index, fetch) in fetches.iter().enumerate() {
        if let Some(same) = fetches[..index].iter().position(|earlier| earlier == fetch) {
            data.places.push(data.places[same]);
            continue;
        }
        let most_samples = options.max_samples - data.samples;
        let fetched = select(fetch, most_samples, queryable, resolved.as_deref_mut()).await?;
        data.samples += fetched.samples.count();
        options.interrupt.check()?;
        data.places.push(data.fetched.len());
        data.fetched.push(fetched);
    }
    data.fetches = fetches;
    Ok(data)
}

async fn select(
    fetch: &Fetch,
    most_samples: usize,
    queryable: &dyn Queryable,
    resolved: Option<&mut Resolved>,
) -> Result<Fetched, SelectError> {
    let Some(hints) = &fetch.hints else {
        let series = Arc::new(SeriesSet::new([].into(), [].into()));
        let rows = Arc::new(RowSet::of_series(Arc::clone(&series)));
        return Ok(Fetched { rows, series, samples: Samples::default() });
    };
    let (rows, series) = match resolved {
        Some(resolved) => resolved.resolve(&fetch.matchers, queryable).await?,
        None => {
            let lifetime = Lifetime::Once(hints.start, hints.end);
            let series = queryable.resolve(&fetch.matchers, lifetime).await?;
            (Arc::new(RowSet::of_series(Arc::clone(&series))), series)
        }
    };
    let samples = queryable.read(&series, &SelectHints { most_samples, ..*hints }).await?;
    Ok(Fetched { rows, series, samples })
}
