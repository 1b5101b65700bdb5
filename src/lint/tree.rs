//! Ways through a syntax tree.

use crate::model::{METRIC_NAME, MatchOp, Matcher, Span};
use crate::promql::{CallExpr, DurationExpr, DurationOp, Expr, ExprKind, VectorSelector};

/// The expressions directly below one.
pub(super) fn children(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => vec![],
        ExprKind::Paren(inner) | ExprKind::Unary { expr: inner, .. } => vec![inner],
        ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
        ExprKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
        ExprKind::Call(call) => call.args.iter().collect(),
        ExprKind::Subquery(subquery) => vec![&subquery.expr],
    }
}

/// Calls `visit` with an expression and all below it, outer ones first.
pub(super) fn walk<'e>(expr: &'e Expr, visit: &mut dyn FnMut(&'e Expr)) {
    visit(expr);
    for child in children(expr) {
        walk(child, visit);
    }
}

/// Whether `found` holds for the expression or for one below it.
pub(super) fn any(expr: &Expr, found: &dyn Fn(&Expr) -> bool) -> bool {
    found(expr) || children(expr).into_iter().any(|child| any(child, found))
}

/// The expression without the parentheses around it.
pub(super) fn bare(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Paren(inner) => bare(inner),
        _ => expr,
    }
}

/// The selector that an expression is, instant or range.
pub(super) fn selector(expr: &Expr) -> Option<(&VectorSelector, Span)> {
    match &expr.kind {
        ExprKind::Vector(selector) => Some((selector, expr.span)),
        ExprKind::Matrix(matrix) => Some((&matrix.selector, matrix.selector_span)),
        _ => None,
    }
}

/// All selectors of an expression, from left to right.
pub(super) fn selectors(expr: &Expr) -> Vec<(&VectorSelector, Span)> {
    let mut found = Vec::new();
    walk(expr, &mut |node| found.extend(selector(node)));
    found
}

/// The selectors of an expression that ask for newest samples.
pub(super) fn instant_selectors(expr: &Expr) -> Vec<(&VectorSelector, Span)> {
    let mut found = Vec::new();
    walk(expr, &mut |node| {
        if let ExprKind::Vector(selector) = &node.kind {
            found.push((selector, node.span));
        }
    });
    found
}

/// The metric name that a selector asks for, if it is one name.
pub(super) fn metric_name(selector: &VectorSelector) -> Option<&str> {
    let equal = |matcher: &&Matcher| {
        matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && !matcher.value().is_empty()
    };
    selector.matchers.iter().find(equal).map(Matcher::value)
}

/// A length of time in milliseconds, if it is written out.
pub(super) fn literal_ms(duration: &DurationExpr) -> Option<i64> {
    match &duration.op {
        DurationOp::Literal { ms } => Some(*ms),
        DurationOp::Number(seconds) => Some((seconds * 1000.0) as i64),
        DurationOp::Paren(inner) => literal_ms(inner),
        _ => None,
    }
}

/// The text that may stand at the span of [`selector`] for another matcher instead of one of its own.
pub(super) fn with_matcher(node: &Expr, old: &Matcher, new: &Matcher) -> String {
    let Some((selector, _)) = selector(node) else { return node.to_string() };
    let matchers = selector.matchers.iter().map(|matcher| if matcher == old { new } else { matcher });
    let selector = VectorSelector { matchers: matchers.cloned().collect(), ..selector.clone() };
    // The offset of a range stands behind the range.
    print(if matches!(node.kind, ExprKind::Matrix(_)) { plain(&selector) } else { selector })
}

/// A selector as it is printed without range and offset.
pub(super) fn shown(selector: &VectorSelector) -> String {
    print(plain(selector))
}

fn plain(selector: &VectorSelector) -> VectorSelector {
    VectorSelector { offset: None, at: None, modifier: None, ..selector.clone() }
}

fn print(selector: VectorSelector) -> String {
    Expr { kind: ExprKind::Vector(selector), span: Span::default() }.to_string()
}

/// Whether a function has no result with less than two samples in its range.
pub(super) fn needs_two_samples(function: &str) -> bool {
    matches!(
        function,
        "rate"
            | "irate"
            | "increase"
            | "delta"
            | "idelta"
            | "deriv"
            | "predict_linear"
            | "double_exponential_smoothing"
    )
}

/// A call as it is printed with another function of the same arguments.
pub(super) fn with_function(call: &CallExpr, function: &'static str) -> String {
    let call = CallExpr { function, args: call.args.clone() };
    Expr { kind: ExprKind::Call(call), span: Span::default() }.to_string()
}
