//! The order of an instant query's result.

use std::cmp::Ordering;

use crate::model::{Labels, Span};
use crate::promql::eval::Evaluator;
use crate::promql::eval::matrix::StepMatrix;
use crate::promql::plan::Node;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::{arg, text};

impl Evaluator<'_> {
    /// By value; NaNs come last either way.
    pub(super) fn sort(
        &mut self,
        args: &[Node<'_>],
        span: Span,
        steps: Steps,
        descending: bool,
    ) -> Result<StepMatrix, EvalError> {
        let vector = self.floats(arg(args, 0)?, steps)?;
        let sorted = self.sorted(vector, span, steps, |matrix, a, b| {
            let (a, b) = (matrix.cells()[a], matrix.cells()[b]);
            a.is_nan().cmp(&b.is_nan()).then_with(|| {
                let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
                if descending { order.reverse() } else { order }
            })
        });
        Ok(sorted)
    }

    /// By the values of labels, numbers in them by size; then by all labels.
    pub(super) fn sort_by_label(
        &mut self,
        args: &[Node<'_>],
        span: Span,
        steps: Steps,
        descending: bool,
    ) -> Result<StepMatrix, EvalError> {
        let names = (1..args.len()).map(|index| text(args, index)).collect::<Result<Vec<_>, _>>()?;
        let vector = self.vector(arg(args, 0)?, steps)?;
        let sorted = self.sorted(vector, span, steps, |matrix, a, b| {
            let order = by_labels(&names, &matrix.rows()[a].labels, &matrix.rows()[b].labels);
            if descending { order.reverse() } else { order }
        });
        Ok(sorted)
    }

    fn sorted(
        &mut self,
        mut matrix: StepMatrix,
        span: Span,
        steps: Steps,
        compare: impl Fn(&StepMatrix, usize, usize) -> Ordering,
    ) -> StepMatrix {
        if !steps.is_single() {
            self.annotations.sort_in_range_query(span);
        }
        if steps.count == 1 {
            let mut order: Vec<usize> = (0..matrix.len()).collect();
            order.sort_by(|a, b| compare(&matrix, *a, *b));
            matrix.reorder(&order);
        }
        matrix
    }
}

fn by_labels(names: &[&str], a: &Labels, b: &Labels) -> Ordering {
    names
        .iter()
        .map(|name| natural(a.get(name), b.get(name)))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.cmp(b))
}

/// Texts chunk by chunk: digits as numbers, anything else as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let (chunk_a, rest_a) = chunk(a);
        let (chunk_b, rest_b) = chunk(b);
        let order = match (chunk_a.parse::<u64>(), chunk_b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => chunk_a.cmp(chunk_b),
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    a.len().cmp(&b.len())
}

/// The leading digits or the leading text without digits.
fn chunk(text: &str) -> (&str, &str) {
    let digit = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_texts_are_ordered_by_size() {
        let check = |less: &str, more: &str| {
            assert_eq!(natural(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(natural(more, less), Ordering::Greater, "{more} {less}");
        };
        check("node2", "node10");
        check("1.9.0", "1.10.0");
        check("a", "b");
        check("a", "a1");
        check("", "a");
        assert_eq!(natural("x10y", "x10y"), Ordering::Equal);
    }
}
