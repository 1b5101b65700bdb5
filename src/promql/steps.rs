//! The instants of an evaluation.

use crate::model::TimestampMs;

use super::plan::Reference;
use super::value::EvalRange;

/// `count` instants from `start` on, `step_ms` apart, which is 0 if all are the same. Unlike an [`EvalRange`] it may be empty: a
/// subquery's grid need not have an instant within its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) start: TimestampMs,
    pub(super) step_ms: i64,
    pub(super) count: usize,
}

impl Steps {
    pub(super) fn of(range: &EvalRange) -> Self {
        if range.step_ms > 0 && range.end < range.start {
            return Self { start: range.start, step_ms: range.step_ms, count: 0 };
        }
        Self { start: range.start, step_ms: range.step_ms.max(1), count: range.steps() }
    }

    /// From `start` to at most `end`.
    pub(super) fn between(start: TimestampMs, end: TimestampMs, step_ms: i64) -> Self {
        let step_ms = step_ms.max(1);
        let count =
            if end < start { 0 } else { usize::try_from((end - start) / step_ms + 1).unwrap_or(usize::MAX) };
        Self { start, step_ms, count }
    }

    /// The instants that a selector looks at.
    pub(super) fn seen_by(self, reference: Reference) -> Self {
        let (first, last) = (self.start, self.last());
        let offset = |at: TimestampMs| at.checked_sub(reference.offset_ms);
        let is_moved = reference.pinned.is_none() && offset(first).and(offset(last)).is_some();
        // An offset beyond all time leads to where there are no samples, for all of them.
        let step_ms = if is_moved { self.step_ms } else { 0 };
        Self { start: reference.at(first), step_ms, ..self }
    }

    /// The first instant alone.
    pub(super) fn first(self) -> Self {
        Self { count: self.count.min(1), ..self }
    }

    pub(super) fn at(self, index: usize) -> TimestampMs {
        self.start + index as i64 * self.step_ms
    }

    pub(super) fn last(self) -> TimestampMs {
        self.at(self.count.saturating_sub(1))
    }

    pub(super) fn iter(self) -> impl Iterator<Item = TimestampMs> {
        (0..self.count).map(move |index| self.at(index))
    }

    /// Whether this may be an instant query, whose result keeps the order in which it arose.
    pub(super) fn is_single(self) -> bool {
        self.count <= 1
    }
}
