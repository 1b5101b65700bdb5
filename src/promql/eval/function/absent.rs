//! `absent` and `absent_over_time`: a series where there is none.

use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};
use crate::promql::eval::Evaluator;
use crate::promql::eval::matrix::{Row, StepMatrix};
use crate::promql::plan::{Kind, Node, Range, Source};
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::{arg, check_modifier, range_arg};

impl Evaluator<'_> {
    pub(super) fn absent(&mut self, args: &[Node<'_>], steps: Steps) -> Result<StepMatrix, EvalError> {
        let arg = arg(args, 0)?;
        let present = self.vector(arg, steps)?;
        let labels = match &arg.kind {
            Kind::Instant(selector) => certain_labels(&selector.vector.matchers),
            _ => Labels::empty(),
        };
        Ok(complement(&present, Row { labels, drop_name: false }, steps))
    }

    pub(super) fn absent_over_time(
        &mut self,
        args: &[Node<'_>],
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let (_, range) = range_arg(args)?;
        check_modifier("absent_over_time", range)?;
        let present = self.presence(range, steps)?;
        let labels = match range {
            Range { source: Source::Selector(selector), .. } => certain_labels(&selector.vector.matchers),
            Range { source: Source::Subquery { .. }, .. } => Labels::empty(),
        };
        Ok(complement(&present, Row { labels, drop_name: true }, steps))
    }
}

/// One series with the value 1 wherever a vector is empty.
fn complement(vector: &StepMatrix, row: Row, steps: Steps) -> StepMatrix {
    let mut seen = vec![false; steps.count];
    for cells in vector.each_cells() {
        for (step, seen) in seen.iter_mut().enumerate() {
            *seen |= cells.is_present(step);
        }
    }
    let mut matrix = StepMatrix::new(steps.count);
    matrix.push(
        || row,
        |cells| {
            for (cell, seen) in cells.iter_mut().zip(seen) {
                if !seen {
                    *cell = 1.0;
                }
            }
        },
    );
    matrix
}

/// The labels that every series of a selector would have. A label with more than one condition is left
/// out, as it always was. Source: Prometheus `promql/functions.go`, `createLabelsForAbsentFunction`.
fn certain_labels(matchers: &[Matcher]) -> Labels {
    let mut labels = LabelsBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in excluding_last(matchers) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            labels.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            labels.remove(matcher.name());
        }
    }
    labels.build()
}

/// The matchers, those on the metric name aside, in the order into which Prometheus' store puts them before
/// the function sees them. Source: `tsdb/querier.go`, `PostingsForMatchers`.
fn excluding_last(matchers: &[Matcher]) -> impl Iterator<Item = &Matcher> {
    let must_be_set = |name: &str| matchers.iter().any(|other| other.name() == name && !other.matches(""));
    let excludes = move |matcher: &&Matcher| {
        let negative = matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
        !must_be_set(matcher.name()) || negative && matcher.matches("")
    };
    let (excluding, rest): (Vec<_>, Vec<_>) =
        matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME).partition(excludes);
    rest.into_iter().chain(excluding)
}
