//! Why an expression does not have a label.

use super::labels::Labels;
use super::tree::{bare, children};
use crate::promql::{AggregateExpr, Expr, ExprKind, ValueType};

/// Where a label gets lost.
#[derive(Debug)]
pub(super) enum Origin<'e> {
    /// An aggregation drops it.
    Aggregation(&'e AggregateExpr),
    /// `absent` does not have it.
    Absent,
    /// An operator between two vectors does not let it through.
    Join,
    /// A selector asks for series without it, or there are no series at all.
    Other,
}

/// Where the label of an expression that cannot have it gets lost; `None` if it can.
pub(super) fn origin<'e>(expr: &'e Expr, label: &str) -> Option<Origin<'e>> {
    let expr = bare(expr);
    let lacks = |expr: &Expr| Labels::of(expr).get(label).is_absent();
    if !lacks(expr) {
        return None;
    }
    let mut series = children(expr).into_iter().filter(|child| child.value_type() != ValueType::Scalar);
    if let ExprKind::Call(call) = &expr.kind
        && matches!(call.function, "absent" | "absent_over_time")
    {
        return Some(Origin::Absent);
    }
    let lost_below = series.find_map(|child| origin(child, label));
    Some(match &expr.kind {
        ExprKind::Aggregate(aggregate) => match lost_below {
            Some(below) if lacks(&aggregate.expr) => below,
            _ => Origin::Aggregation(aggregate),
        },
        ExprKind::Binary(binary) if binary.matching.is_some() => lost_below.unwrap_or(Origin::Join),
        _ => lost_below.unwrap_or(Origin::Other),
    })
}
