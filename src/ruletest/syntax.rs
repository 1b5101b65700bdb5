//! Walking expressions.

use crate::model::Span;
use crate::promql::{BinaryExpr, Expr, ExprKind, VectorSelector};

/// The expressions that an expression consists of, in the order of the text.
fn children(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {
            Vec::new()
        }
        ExprKind::Paren(expr) | ExprKind::Unary { expr, .. } => vec![expr],
        ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
        ExprKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
        ExprKind::Call(call) => call.args.iter().collect(),
        ExprKind::Subquery(subquery) => vec![&subquery.expr],
    }
}

fn children_mut(expr: &mut Expr) -> Vec<&mut Expr> {
    match &mut expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {
            Vec::new()
        }
        ExprKind::Paren(expr) | ExprKind::Unary { expr, .. } => vec![expr],
        ExprKind::Binary(binary) => vec![&mut binary.left, &mut binary.right],
        ExprKind::Aggregate(aggregate) => aggregate.param.iter_mut().chain([&mut aggregate.expr]).collect(),
        ExprKind::Call(call) => call.args.iter_mut().collect(),
        ExprKind::Subquery(subquery) => vec![&mut subquery.expr],
    }
}

/// All operations of two operands, the outermost first.
pub(super) fn binaries(expr: &Expr) -> Vec<&BinaryExpr> {
    let own = match &expr.kind {
        ExprKind::Binary(binary) => Some(&**binary),
        _ => None,
    };
    own.into_iter().chain(children(expr).into_iter().flat_map(binaries)).collect()
}

/// The same, to be changed.
pub(super) fn edit_binary(expr: &mut Expr, place: usize, edit: impl FnOnce(&mut BinaryExpr)) {
    fn find<'e>(expr: &'e mut Expr, rest: &mut usize) -> Option<&'e mut BinaryExpr> {
        if matches!(expr.kind, ExprKind::Binary(_)) {
            if *rest == 0 {
                let ExprKind::Binary(binary) = &mut expr.kind else { return None };
                return Some(binary);
            }
            *rest -= 1;
        }
        children_mut(expr).into_iter().find_map(|child| find(child, rest))
    }
    if let Some(binary) = find(expr, &mut { place }) {
        edit(binary);
    }
}

/// All selectors of series, each with its place.
pub(super) fn selectors(expr: &Expr) -> Vec<(&VectorSelector, Span)> {
    let own = match &expr.kind {
        ExprKind::Vector(selector) => Some((selector, expr.span)),
        ExprKind::Matrix(matrix) => Some((&matrix.selector, matrix.selector_span)),
        _ => None,
    };
    own.into_iter().chain(children(expr).into_iter().flat_map(selectors)).collect()
}

/// An expression without the parentheses around it.
pub(super) fn bare(mut expr: &Expr) -> &Expr {
    while let ExprKind::Paren(inner) = &expr.kind {
        expr = inner;
    }
    expr
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::BinaryOp::{And, Equal, Greater, Less, Or, Unless};
    use crate::promql::parse;

    #[test]
    fn operations_are_found_and_edited_in_the_same_order() {
        let expr =
            parse("(a > 1 or max_over_time((b == 2)[5m:]) < 3) and on() sum(c unless d)").expect("valid");
        let ops: Vec<_> = binaries(&expr).iter().map(|binary| binary.op).collect();
        assert_eq!(ops, [And, Or, Greater, Less, Equal, Unless]);
        for (place, op) in ops.iter().enumerate() {
            let mut seen = None;
            edit_binary(&mut expr.clone(), place, |binary| seen = Some(binary.op));
            assert_eq!(seen, Some(*op));
        }
        let selectors = selectors(&expr);
        let names: Vec<_> = selectors.iter().filter_map(|(selector, _)| selector.name.as_deref()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
    }
}
