//! Fetching the samples that an expression needs: the asynchronous half of an evaluation.

use crate::model::Series;
use crate::storage::{Queryable, SelectError};

use super::ast::Expr;
use super::options::EvalOptions;
use super::plan::{Fetch, Plan};
use super::value::{EvalError, EvalRange};

/// The samples that an expression needs over a range.
#[derive(Debug, Default)]
pub struct Prefetched {
    fetches: Vec<Fetch>,
    /// For each fetch the place of its series in `series`: selectors that need the same share them.
    places: Vec<usize>,
    series: Vec<Vec<Series>>,
    samples: usize,
}

impl Prefetched {
    /// How many samples were fetched.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// How many series were fetched.
    pub fn series_count(&self) -> usize {
        self.series.iter().map(Vec::len).sum()
    }

    /// The series of a selector, ordered by labels.
    pub(super) fn series(&self, fetch: usize) -> &[Series] {
        &self.series[self.places[fetch]]
    }

    /// Whether these are the samples that a plan needs.
    pub(super) fn is_for(&self, fetches: &[Fetch]) -> bool {
        self.fetches == fetches
    }
}

/// Fetches exactly what [`eval`](super::eval()) will need for the same arguments: offsets, `@`, ranges
/// and subqueries decide which time ranges those are.
///
/// More samples than `options.max_samples` are an error, since all of them are in memory at once.
pub async fn prefetch(
    expr: &Expr,
    range: &EvalRange,
    options: &EvalOptions,
    queryable: &dyn Queryable,
) -> Result<Prefetched, EvalError> {
    let fetches = Plan::new(expr, range, options)?.fetches;
    let mut data = Prefetched::default();
    for (index, fetch) in fetches.iter().enumerate() {
        if let Some(same) = fetches[..index].iter().position(|earlier| earlier == fetch) {
            data.places.push(data.places[same]);
            continue;
        }
        let series = match &fetch.hints {
            Some(hints) => {
                queryable.select(&fetch.matchers, hints).await.map_err(|error| storage_error(&error))?
            }
            None => Vec::new(),
        };
        data.samples += series.iter().map(samples).sum::<usize>();
        if data.samples > options.max_samples {
            return Err(EvalError::TooManySamples("query execution"));
        }
        options.interrupt.check()?;
        data.places.push(data.series.len());
        data.series.push(series);
    }
    data.fetches = fetches;
    Ok(data)
}

/// How many samples a series has; histograms count by the memory that they take.
fn samples(series: &Series) -> usize {
    let histograms = series.histograms.iter().map(|point| point.histogram.size_in_samples());
    series.points.len() + histograms.sum::<usize>()
}

/// Prometheus' text for a selection that fails during the evaluation.
fn storage_error(error: &SelectError) -> EvalError {
    EvalError::Storage(format!("expanding series: {error}"))
}
