//! What an expression looks at: found out by letting it ask.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::model::{Labels, Matcher, TimestampMs};
use crate::promql::{EvalError, EvalOptions, EvalRange, Expr, prefetch};
use crate::storage::{Lifetime, Queryable, Samples, SelectError, SelectHints, SeriesSet};

/// Two instants; what an expression looks at moves with them, unless it is pinned by `@`.
const INSTANTS: [TimestampMs; 2] = [1_000_000_000_000, 1_000_090_000_000];

/// The samples that a selector looks at, relative to the evaluation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Demand {
    pub(super) matchers: Vec<Matcher>,
    /// How long before the evaluation the first of them may be, in milliseconds.
    pub(super) back_ms: i64,
    /// How long after the evaluation the last of them may be: with a negative offset.
    pub(super) ahead_ms: i64,
    /// Whether the newest sample alone matters, so that it matters whether a series has ended.
    pub(super) newest_only: bool,
}

impl Demand {
    /// Whether the other one looks at no series that this one does not look at.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.matchers.iter().all(|matcher| other.matchers.contains(matcher))
    }

    /// Takes over the span of another one.
    pub(super) fn widen(&mut self, other: &Self) {
        self.back_ms = self.back_ms.max(other.back_ms);
        self.ahead_ms = self.ahead_ms.max(other.ahead_ms);
        self.newest_only |= other.newest_only;
    }
}

/// What an expression looks at; none if an `@` pins a part of it to an instant of its own.
pub(super) fn demands(expr: &Expr, options: &EvalOptions) -> Result<Option<Vec<Demand>>, EvalError> {
    let [one, other] = [asked(expr, INSTANTS[0], options)?, asked(expr, INSTANTS[1], options)?];
    let moved = INSTANTS[1] - INSTANTS[0];
    let moves = |(one, other): (&Asked, &Asked)| other.start - one.start == moved;
    if !one.iter().zip(&other).all(moves) {
        return Ok(None);
    }
    let demand = |asked: Asked| Demand {
        matchers: asked.matchers,
        back_ms: INSTANTS[0] - asked.start,
        ahead_ms: (asked.end - INSTANTS[0]).max(0),
        newest_only: asked.newest_only,
    };
    Ok(Some(one.into_iter().map(demand).collect()))
}

fn asked(expr: &Expr, at: TimestampMs, options: &EvalOptions) -> Result<Vec<Asked>, EvalError> {
    let recorder = Recorder::default();
    let range = EvalRange::instant(at);
    let fetching = prefetch(expr, &range, options, &recorder, None);
    fetching.now_or_never().expect("a store that only listens answers at once")?;
    Ok(recorder.0.into_inner().unwrap_or_else(PoisonError::into_inner))
}

#[derive(Debug)]
struct Asked {
    matchers: Vec<Matcher>,
    start: TimestampMs,
    end: TimestampMs,
    newest_only: bool,
}

/// A store without series that notes what it is asked for.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Asked>>);

impl Queryable for Recorder {
    fn resolve<'a>(
        &'a self,
        matchers: &'a [Matcher],
        lifetime: Lifetime,
    ) -> BoxFuture<'a, Result<Arc<SeriesSet>, SelectError>> {
        if let Lifetime::Once(start, end) = lifetime {
            let asked = Asked { matchers: matchers.to_vec(), start, end, newest_only: false };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        }
        ready(Ok(Arc::new(SeriesSet::new([].into(), [].into())))).boxed()
    }

    fn read<'a>(
        &'a self,
        _: &'a Arc<SeriesSet>,
        hints: &'a SelectHints,
    ) -> BoxFuture<'a, Result<Samples, SelectError>> {
        // A selector's series are read right after they are resolved.
        if let Some(last) = self.0.lock().unwrap_or_else(PoisonError::into_inner).last_mut() {
            last.newest_only = hints.newest_only;
        }
        ready(Ok(Samples::default())).boxed()
    }

    fn series<'a>(
        &'a self,
        _: &'a [Matcher],
        _: TimestampMs,
        _: TimestampMs,
    ) -> BoxFuture<'a, Result<Vec<Labels>, SelectError>> {
        ready(Ok(Vec::new())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    #[test]
    fn expressions_say_what_they_look_at() {
        let check = |query: &str, expected: Option<&[(&str, i64, i64, bool)]>| {
            let found = demands(&parse(query).expect("valid"), &EvalOptions::default()).expect("a plan");
            let found = found.map(|demands| {
                let name = |demand: &Demand| demand.matchers.last().expect("a name").value().to_owned();
                let line =
                    |one: Demand| (name(&one), one.back_ms / 1000, one.ahead_ms / 1000, one.newest_only);
                demands.into_iter().map(line).collect::<Vec<_>>()
            });
            let expected = expected.map(|lines| {
                lines.iter().map(|(a, b, c, d)| ((*a).to_owned(), *b, *c, *d)).collect::<Vec<_>>()
            });
            assert_eq!(found, expected, "{query}");
        };
        // A millisecond less, as ranges are open on their left; whole seconds are shown.
        check("up == 0", Some(&[("up", 299, 0, true)]));
        check("rate(a[10m]) > b offset 1h", Some(&[("a", 599, 0, false), ("b", 3899, 0, true)]));
        check("max_over_time(a[1h:1m])", Some(&[("a", 3879, 0, false)]));
        check("a offset -10m", Some(&[("a", -300, 600, true)]));
        check("vector(1)", Some(&[]));
        check("a @ start()", Some(&[("a", 299, 0, true)]));
        check("a > b @ 1700000000", None);
    }
}
