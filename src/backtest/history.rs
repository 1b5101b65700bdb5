//! Samples of the past, from a server with Prometheus' HTTP API or any other [`QuerySource`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};

use super::demand::Demand;
use super::ends::{Gap, Tails};
use super::run::BacktestError;
use crate::model::{Labels, Matcher, Series, Span, TimestampMs, format_duration_ms};
use crate::promql::{
    DurationExpr, DurationOp, EvalError, EvalRange, Expr, ExprKind, MatrixSelector, Output, Value,
    VectorSelector,
};
use crate::query::QuerySource;

/// How many questions are asked at once.
const CONCURRENCY: usize = 4;

/// The shortest span that is asked for: if it has too many samples the selector cannot be replayed.
const SHORTEST_MS: i64 = 60_000;

/// For how many series at most the server is asked about each of them alone where they ended.
const FEW_SERIES: usize = 8;

/// How many instants a question may have. Source: Prometheus refuses more than 11,000 points.
const MOST_INSTANTS: i64 = 10_000;

/// Answers which samples there were.
#[derive(Clone)]
pub struct History {
    source: Arc<dyn QuerySource>,
}

/// A selector with what is known of its series.
#[derive(Debug)]
pub(super) struct Watched {
    demand: Demand,
    tails: Tails,
}

impl Watched {
    pub(super) fn new(demand: Demand) -> Self {
        Self { demand, tails: Tails::default() }
    }
}

impl History {
    /// The past as this source knows it.
    pub fn new(source: Arc<dyn QuerySource>) -> Self {
        Self { source }
    }

    /// The samples of all selectors after `from` up to `to`, with markers where series ended; instants that
    /// matter are `step_ms` apart. A series that several selectors find is there several times.
    pub(super) async fn fetch(
        &self,
        watched: &mut [Watched],
        from: TimestampMs,
        to: TimestampMs,
        step_ms: i64,
    ) -> Result<Vec<Series>, BacktestError> {
        let fetching = watched.iter_mut().map(|watched| self.samples(watched, from, to, step_ms));
        let found: Vec<Vec<Series>> =
            futures_util::stream::iter(fetching).buffer_unordered(CONCURRENCY).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn samples(
        &self,
        watched: &mut Watched,
        from: TimestampMs,
        to: TimestampMs,
        step_ms: i64,
    ) -> Result<Vec<Series>, BacktestError> {
        let mut fetched = self.raw(&watched.demand.matchers, from, to).await?;
        if watched.demand.newest_only {
            let gaps = watched.tails.gaps(&fetched, to, step_ms);
            self.mark_ends(watched, &mut fetched, gaps, step_ms).await?;
        }
        Ok(fetched.into_values().collect())
    }

    /// The samples of a selector, in as many parts as the server needs to answer.
    async fn raw(
        &self,
        matchers: &[Matcher],
        from: TimestampMs,
        to: TimestampMs,
    ) -> Result<BTreeMap<Labels, Series>, BacktestError> {
        let mut fetched = BTreeMap::new();
        let mut spans = vec![(from, to)];
        while let Some((from, to)) = spans.pop() {
            let expr = range_selector(matchers, to - from);
            match self.source.instant(&expr, to).await {
                Ok(output) => add(&mut fetched, output, from),
                Err(EvalError::TooManySamples(_) | EvalError::Timeout(_)) if to - from > SHORTEST_MS => {
                    let middle = from + (to - from) / 2;
                    spans.extend([(middle, to), (from, middle)]);
                }
                Err(error) => return Err(failed(&expr, to, &error)),
            }
        }
        Ok(fetched)
    }

    /// Asks where the series of the gaps still had values, and puts markers where they had none.
    async fn mark_ends(
        &self,
        watched: &mut Watched,
        fetched: &mut BTreeMap<Labels, Series>,
        gaps: Vec<Gap>,
        step_ms: i64,
    ) -> Result<(), BacktestError> {
        let gaps: Vec<_> = gaps.into_iter().filter_map(|gap| Some((gap.instants(step_ms)?, gap))).collect();
        let series: BTreeSet<&Labels> = gaps.iter().map(|(_, gap)| &gap.labels).collect();
        let apart = series.len() <= FEW_SERIES;
        let mut present: BTreeMap<Labels, BTreeSet<TimestampMs>> = BTreeMap::new();
        if apart {
            for ((first, last), gap) in &gaps {
                self.presence(&gap.matchers(), *first, *last, step_ms, &mut present).await?;
            }
        } else {
            let first = gaps.iter().map(|((first, _), _)| *first).min().unwrap_or_default();
            let last = gaps.iter().map(|((_, last), _)| *last).max().unwrap_or_default();
            self.presence(&watched.demand.matchers, first, last, step_ms, &mut present).await?;
        }
        let nowhere = BTreeSet::new();
        for (_, gap) in &gaps {
            let present = present.get(&gap.labels).unwrap_or(&nowhere);
            watched.tails.mark(fetched, gap, present, step_ms);
        }
        Ok(())
    }

    /// Adds the instants at which series have values.
    async fn presence(
        &self,
        matchers: &[Matcher],
        first: TimestampMs,
        last: TimestampMs,
        step_ms: i64,
        present: &mut BTreeMap<Labels, BTreeSet<TimestampMs>>,
    ) -> Result<(), BacktestError> {
        let expr = Expr { kind: ExprKind::Vector(selector(matchers)), span: Span::default() };
        let mut start = first;
        while start <= last {
            let end = last.min(start + (MOST_INSTANTS - 1) * step_ms);
            let range = EvalRange { start, end, step_ms };
            let output =
                self.source.range(&expr, &range).await.map_err(|error| failed(&expr, end, &error))?;
            if let Value::Matrix(series) = output.value {
                for series in series {
                    let at = series.points.iter().map(|point| point.at);
                    let at = at.chain(series.histograms.iter().map(|point| point.at));
                    present.entry(series.labels).or_default().extend(at);
                }
            }
            start = end + step_ms;
        }
        Ok(())
    }
}

/// Adds an answer to what is there. An old server's ranges include their start, which is left out.
fn add(fetched: &mut BTreeMap<Labels, Series>, output: Output, after: TimestampMs) {
    let Value::Matrix(found) = output.value else { return };
    for series in found {
        let into = fetched
            .entry(series.labels.clone())
            .or_insert_with(|| Series::floats(series.labels.clone(), Vec::new()));
        into.points.extend(series.points.into_iter().filter(|point| point.at > after));
        into.histograms.extend(series.histograms.into_iter().filter(|point| point.at > after));
    }
}

fn selector(matchers: &[Matcher]) -> VectorSelector {
    let matchers = matchers.to_vec();
    VectorSelector { name: None, matchers, offset: None, at: None, modifier: None, bare: false }
}

fn range_selector(matchers: &[Matcher], range_ms: i64) -> Expr {
    let range = DurationExpr { op: DurationOp::Literal { ms: range_ms }, span: Span::default() };
    let matrix = MatrixSelector { selector: selector(matchers), selector_span: Span::default(), range };
    Expr { kind: ExprKind::Matrix(Box::new(matrix)), span: Span::default() }
}

fn failed(expr: &Expr, at: TimestampMs, error: &EvalError) -> BacktestError {
    let what = match error {
        EvalError::TooManySamples(_) => {
            format!("even {} of it are too many samples", format_duration_ms(SHORTEST_MS))
        }
        other => other.to_string(),
    };
    BacktestError::History { selector: expr.to_string(), at, what }
}
