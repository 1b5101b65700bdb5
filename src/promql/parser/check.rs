//! The types of a parsed expression.
//! Rules and messages: Prometheus `promql/parser/parse.go`, `checkAST`.

use crate::model::{METRIC_NAME, quote};

use super::super::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, BinaryOp, CallExpr, Expr, ExprKind, MatchCardinality,
    VectorSelector,
};
use super::super::functions;
use super::super::value::ValueType;
use super::Parser;
use crate::model::Span;

/// Checks an expression and all below it, and settles what the types decide: how operands are matched,
/// and which selectors may match everything.
pub(super) fn check(expr: &mut Expr, parser: &mut Parser<'_>) -> ValueType {
    let (found, span) = (expr.value_type(), expr.span);
    match &mut expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => {}
        ExprKind::Paren(inner) => {
            check(inner, parser);
        }
        ExprKind::Unary { expr: inner, .. } => {
            let inner = check(inner, parser);
            if !matches!(inner, ValueType::Scalar | ValueType::Vector) {
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got \
                     \"{inner}\""
                );
                parser.error(span, message);
            }
        }
        ExprKind::Binary(binary) => check_binary(binary, span, parser),
        ExprKind::Aggregate(aggregate) => check_aggregate(aggregate, parser),
        ExprKind::Call(call) => check_call(call, span, parser),
        ExprKind::Vector(selector) => check_selector(selector, span, parser),
        ExprKind::Matrix(matrix) => {
            let span = matrix.selector_span;
            check_selector(&matrix.selector, span, parser);
        }
        ExprKind::Subquery(subquery) => {
            let inner = check(&mut subquery.expr, parser);
            if inner != ValueType::Vector {
                let inner = if inner == ValueType::Matrix { "matrix".to_owned() } else { inner.to_string() };
                let message = format!("subquery is only allowed on instant vector, got {inner} instead");
                parser.error(span, message);
            }
        }
    }
    found
}

/// Checks an expression and that it is of the type that its place needs.
fn expect(expr: &mut Expr, wanted: ValueType, place: &str, parser: &mut Parser<'_>) {
    let found = check(expr, parser);
    if found != wanted {
        parser.error(expr.span, format!("expected type {wanted} in {place}, got {found}"));
    }
}

fn check_aggregate(aggregate: &mut AggregateExpr, parser: &mut Parser<'_>) {
    expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression", parser);
    let wanted = if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
    if let Some(param) = &mut aggregate.param {
        expect(param, wanted, "aggregation parameter", parser);
    }
}

fn check_binary(binary: &mut BinaryExpr, span: Span, parser: &mut Parser<'_>) {
    let left = check(&mut binary.left, parser);
    let right = check(&mut binary.right, parser);
    let (op, op_span) = (binary.op, binary.op_span);
    if binary.return_bool && !op.is_comparison() {
        parser.error(op_span, "bool modifier can only be used on comparison operators");
    }
    let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
    if op.is_comparison() && !binary.return_bool && scalars {
        parser.error(op_span, "comparisons between scalars must use BOOL modifier");
    }
    if let Some(matching) = &mut binary.matching {
        if op.is_set_operator() && matching.cardinality == MatchCardinality::OneToOne {
            matching.cardinality = MatchCardinality::ManyToMany;
        }
        for label in matching.labels.iter().filter(|label| matching.on && matching.include.contains(label)) {
            let message = format!("label {} must not occur in ON and GROUP clause at once", quote(label));
            parser.error(op_span, message);
        }
    }
    for (operand, found) in [(&binary.left, left), (&binary.right, right)] {
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            parser.error(operand.span, message);
        }
    }
    let vectors = left == ValueType::Vector && right == ValueType::Vector;
    if !vectors {
        if let Some(matching) = binary.matching.take() {
            if !matching.labels.is_empty() {
                parser.error(span, "vector matching only allowed between instant vectors");
            }
            if matching.fill.is_set() {
                parser.error(span, "filling in missing series only allowed between instant vectors");
            }
        }
    } else if let (true, Some(matching)) = (op.is_set_operator(), &binary.matching) {
        check_set_operator(op, matching.cardinality, span, parser);
        if matching.fill.is_set() {
            parser.error(span, "filling in missing series not allowed for set operators");
        }
    }
    if op.is_set_operator() && (left == ValueType::Scalar || right == ValueType::Scalar) {
        parser.error(span, format!("set operator \"{op}\" not allowed in binary scalar expression"));
    }
}

fn check_set_operator(op: BinaryOp, cardinality: MatchCardinality, span: Span, parser: &mut Parser<'_>) {
    if matches!(cardinality, MatchCardinality::OneToMany | MatchCardinality::ManyToOne) {
        parser.error(span, format!("no grouping allowed for \"{op}\" operation"));
    }
    if cardinality != MatchCardinality::ManyToMany {
        parser.error(span, "set operations must always be many-to-many");
    }
}

fn check_call(call: &mut CallExpr, span: Span, parser: &mut Parser<'_>) {
    let function = functions::lookup(call.function).expect("the parser has looked the function up");
    let (name, count) = (function.name, call.args.len());
    let (least, most) = function.arity();
    if most == Some(least) && count != least {
        let message = format!("expected {least} argument(s) in call to \"{name}\", got {count}");
        parser.error(span, message);
    } else if count < least {
        let message = format!("expected at least {least} argument(s) in call to \"{name}\", got {count}");
        parser.error(span, message);
    } else if let Some(most) = most.filter(|most| count > *most) {
        let message = format!("expected at most {most} argument(s) in call to \"{name}\", got {count}");
        parser.error(span, message);
    }
    if name == "info" {
        if let Some(selector) = call.args.get_mut(1) {
            check_info_selector(selector, span, parser);
        }
    }
    let place = format!("call to function \"{name}\"");
    for (index, arg) in call.args.iter_mut().enumerate() {
        let wanted = match function.args.get(index) {
            Some(wanted) => *wanted,
            None if function.variadic == functions::Variadic::No => break,
            None => *function.args.last().expect("a function with further arguments has a last one"),
        };
        expect(arg, wanted, &place, parser);
    }
}

/// The second argument of `info`: bare matchers, which may match everything.
fn check_info_selector(arg: &mut Expr, call: Span, parser: &mut Parser<'_>) {
    let found = arg.value_type();
    if found != ValueType::Vector {
        let message =
            format!("expected type {} in call to function \"info\", got {found}", ValueType::Vector);
        parser.error(call, message);
    }
    match &mut arg.kind {
        ExprKind::Vector(selector) if selector.name.is_none() => selector.bare = true,
        ExprKind::Vector(_) => {
            parser.error(arg.span, "expected label selectors only, got vector selector instead");
        }
        _ => parser.error(arg.span, "expected label selectors only"),
    }
}

fn check_selector(selector: &VectorSelector, span: Span, parser: &mut Parser<'_>) {
    if let Some(name) = &selector.name {
        // The last matcher is that for the name before the braces.
        let in_braces = selector.matchers.iter().rev().skip(1).rev();
        for other in in_braces.filter(|matcher| matcher.name() == METRIC_NAME) {
            let message =
                format!("metric name must not be set twice: {} or {}", quote(name), quote(other.value()));
            parser.error(span, message);
        }
    } else if !selector.bare && selector.matchers.iter().all(|matcher| matcher.matches("")) {
        parser.error(span, "vector selector must contain at least one non-empty matcher");
    }
}
