//! Which conditions an expression puts on the samples that it yields.

use super::ranges::{Range, mirrored};
use super::tree::{bare, metric_name, selectors};
use crate::model::Span;
use crate::promql::{BinaryExpr, BinaryOp, Expr, ExprKind, ValueType};

/// A comparison of an expression's values with a number: `expr > 5`.
#[derive(Debug)]
pub(super) struct Bound<'e> {
    /// What is compared, as it is printed: the same text means the same values.
    pub(super) subject: String,
    /// The comparison.
    pub(super) expr: &'e Expr,
    /// The values that pass.
    pub(super) range: Range,
}

/// The parts of `a and b and c` that hold of the same series: those joined without `on` and `ignoring`.
pub(super) fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match &bare(expr).kind {
        ExprKind::Binary(binary) if binary.op == BinaryOp::And && matches_all_labels(binary) => {
            let mut parts = conjuncts(&binary.left);
            parts.extend(conjuncts(&binary.right));
            parts
        }
        _ => vec![bare(expr)],
    }
}

/// Whether partners agree in all labels.
pub(super) fn matches_all_labels(binary: &BinaryExpr) -> bool {
    let all = |matching: &crate::promql::VectorMatching| !matching.on && matching.labels.is_empty();
    binary.matching.as_ref().is_some_and(all)
}

/// The bound that an expression is.
pub(super) fn bound(expr: &Expr) -> Option<Bound<'_>> {
    let expr = bare(expr);
    let ExprKind::Binary(binary) = &expr.kind else { return None };
    if !binary.op.is_comparison() || binary.return_bool {
        return None;
    }
    let scalar = |side: &Expr| side.value_type() == ValueType::Scalar;
    let (subject, op, limit) = match (scalar(&binary.left), scalar(&binary.right)) {
        (false, true) => (&binary.left, binary.op, &binary.right),
        (true, false) => (&binary.right, mirrored(binary.op), &binary.left),
        _ => return None,
    };
    let limit = Range::of(limit).single().map(|_| Range::of(limit))?;
    // Two series can differ in nothing but their names, which `and` does not look at.
    if selectors(subject).iter().any(|(selector, _)| metric_name(selector).is_none()) {
        return None;
    }
    let range = Range::of(subject).that_are(op, limit);
    Some(Bound { subject: bare(subject).to_string(), expr, range })
}

/// Whether an expression yields a sample only under some condition, beyond that there are series. If not,
/// the span of the part that always yields one.
pub(super) fn unconditional(expr: &Expr) -> Option<Span> {
    match &expr.kind {
        ExprKind::Paren(inner) => unconditional(inner),
        ExprKind::Unary { expr: inner, .. } => unconditional(inner),
        ExprKind::Binary(binary) => match binary.op {
            BinaryOp::Unless => None,
            BinaryOp::Or => unconditional(&binary.left).or_else(|| unconditional(&binary.right)),
            op if op.is_comparison() && !binary.return_bool => None,
            _ => {
                let whole = unconditional(&binary.left).and(unconditional(&binary.right))?;
                Some(Span { end: whole.end.max(expr.span.end), start: expr.span.start })
            }
        },
        ExprKind::Aggregate(aggregate) => unconditional(&aggregate.expr).map(|_| expr.span),
        ExprKind::Call(call) => match call.function {
            "absent" | "absent_over_time" => None,
            _ => {
                let series = call
                    .args
                    .iter()
                    .filter(|arg| matches!(arg.value_type(), ValueType::Vector | ValueType::Matrix));
                let conditional = series.clone().any(|arg| unconditional(arg).is_none());
                (!conditional).then_some(expr.span)
            }
        },
        ExprKind::Subquery(subquery) => unconditional(&subquery.expr).map(|_| expr.span),
        // These series exist only while something is the case.
        ExprKind::Vector(selector)
            if matches!(metric_name(selector), Some("ALERTS" | "ALERTS_FOR_STATE")) =>
        {
            None
        }
        _ => Some(expr.span),
    }
}
