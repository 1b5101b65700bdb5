//! Syntax trees as `/api/v1/parse_query` shows them.
//! Source: Prometheus `web/api/v1/translate_ast.go`.

use serde_json::{Value, json};

use crate::model::{MatchOp, Matcher, format_float};
use crate::promql::functions::{self, Variadic};
use crate::promql::{
    AtModifier, DurationExpr, DurationOp, Expr, ExprKind, Grouping, MatchCardinality, RangeModifier,
    ValueType, VectorMatching, VectorSelector,
};

/// The tree of an expression.
pub(super) fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number { value, .. } => node("numberLiteral", [("val", format_float(*value).into())]),
        ExprKind::String(text) => node("stringLiteral", [("val", text.as_str().into())]),
        ExprKind::Paren(inner) => node("parenExpr", [("expr", tree(inner))]),
        ExprKind::Unary { op, expr } => {
            node("unaryExpr", [("op", op.to_string().into()), ("expr", tree(expr))])
        }
        ExprKind::Binary(binary) => {
            let fields = [
                ("op", binary.op.to_string().into()),
                ("lhs", tree(&binary.left)),
                ("rhs", tree(&binary.right)),
                ("matching", binary.matching.as_ref().map_or(Value::Null, matching)),
                ("bool", binary.return_bool.into()),
            ];
            node("binaryExpr", fields)
        }
        ExprKind::Aggregate(aggregate) => {
            let (labels, without) = match &aggregate.grouping {
                Grouping::By(labels) => (labels, false),
                Grouping::Without(labels) => (labels, true),
            };
            let fields = [
                ("op", aggregate.op.to_string().into()),
                ("expr", tree(&aggregate.expr)),
                ("param", aggregate.param.as_ref().map_or(Value::Null, tree)),
                ("grouping", labels.as_slice().into()),
                ("without", without.into()),
            ];
            node("aggregation", fields)
        }
        ExprKind::Call(call) => {
            let args = call.args.iter().map(tree).collect();
            node("call", [("func", function(call.function)), ("args", args)])
        }
        ExprKind::Vector(selector) => node("vectorSelector", selection(selector)),
        ExprKind::Matrix(matrix) => {
            let range =
                [("range", length(Some(&matrix.range))), ("rangeExpr", arithmetic(Some(&matrix.range)))];
            node("matrixSelector", selection(&matrix.selector).into_iter().chain(range))
        }
        ExprKind::Subquery(subquery) => {
            let fields = [
                ("expr", tree(&subquery.expr)),
                ("range", length(Some(&subquery.range))),
                ("rangeExpr", arithmetic(Some(&subquery.range))),
                ("offset", length(subquery.offset.as_ref())),
                ("offsetExpr", arithmetic(subquery.offset.as_ref())),
                ("step", length(subquery.step.as_ref())),
                ("stepExpr", arithmetic(subquery.step.as_ref())),
                ("timestamp", timestamp(subquery.at).into()),
                ("startOrEnd", start_or_end(subquery.at).into()),
            ];
            node("subquery", fields)
        }
    }
}

/// An object; the fields are moved, so that the work does not grow with the square of the depth.
fn node(kind: &'static str, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let fields = fields.into_iter().chain([("type", kind.into())]);
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn selection(selector: &VectorSelector) -> [(&'static str, Value); 8] {
    [
        ("name", selector.name.as_deref().unwrap_or_default().into()),
        ("offset", length(selector.offset.as_ref())),
        ("offsetExpr", arithmetic(selector.offset.as_ref())),
        ("matchers", selector.matchers.iter().map(matcher).collect()),
        ("timestamp", timestamp(selector.at).into()),
        ("startOrEnd", start_or_end(selector.at).into()),
        ("anchored", (selector.modifier == Some(RangeModifier::Anchored)).into()),
        ("smoothed", (selector.modifier == Some(RangeModifier::Smoothed)).into()),
    ]
}

fn matcher(matcher: &Matcher) -> Value {
    let op = match matcher.op() {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    json!({"name": matcher.name(), "value": matcher.value(), "type": op})
}

fn matching(matching: &VectorMatching) -> Value {
    json!({
        "card": match matching.cardinality {
            MatchCardinality::OneToOne => "one-to-one",
            MatchCardinality::ManyToOne => "many-to-one",
            MatchCardinality::OneToMany => "one-to-many",
            MatchCardinality::ManyToMany => "many-to-many",
        },
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {"lhs": matching.fill.left, "rhs": matching.fill.right},
    })
}

fn function(name: &str) -> Value {
    let function = functions::lookup(name).expect("the parser knows every function of a tree");
    json!({
        "name": function.name,
        "argTypes": function.args.iter().copied().map(type_name).collect::<Vec<_>>(),
        "variadic": match function.variadic {
            Variadic::No => 0,
            Variadic::UpTo(more) => i64::try_from(more).unwrap_or(i64::MAX),
            Variadic::Any => -1,
        },
        "returnType": type_name(function.returns),
    })
}

fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::String => "string",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
    }
}

fn timestamp(at: Option<AtModifier>) -> Option<i64> {
    match at {
        Some(AtModifier::At(ms)) => Some(ms),
        Some(AtModifier::Start | AtModifier::End) | None => None,
    }
}

fn start_or_end(at: Option<AtModifier>) -> Option<&'static str> {
    match at {
        Some(AtModifier::Start) => Some("start"),
        Some(AtModifier::End) => Some("end"),
        Some(AtModifier::At(_)) | None => None,
    }
}

/// A length in milliseconds, 0 if it is not known before the query is evaluated.
fn length(duration: Option<&DurationExpr>) -> Value {
    match duration.map(|duration| &duration.op) {
        Some(DurationOp::Literal { ms }) => json!(ms),
        _ => json!(0),
    }
}

/// A length that has to be computed.
fn arithmetic(duration: Option<&DurationExpr>) -> Value {
    match duration {
        None | Some(DurationExpr { op: DurationOp::Literal { .. }, .. }) => Value::Null,
        Some(duration) => operation(duration),
    }
}

fn operation(duration: &DurationExpr) -> Value {
    let node = |op: &str, left: Option<&DurationExpr>, right: Option<&DurationExpr>| {
        let fields = [
            ("op", op.into()),
            ("lhs", left.map_or(Value::Null, operation)),
            ("rhs", right.map_or(Value::Null, operation)),
            ("wrapped", false.into()),
        ];
        node("durationExpr", fields)
    };
    let number = |value: f64, duration: bool| json!({"type": "numberLiteral", "val": format_float(value), "duration": duration});
    match &duration.op {
        DurationOp::Literal { ms } => number(*ms as f64 / 1000.0, true),
        DurationOp::Number(value) => number(*value, false),
        DurationOp::Step => node("step", None, None),
        DurationOp::Range => node("range", None, None),
        DurationOp::Unary(op, inner) => node(&op.to_string(), None, Some(inner)),
        DurationOp::Binary(op, left, right) => node(&op.to_string(), Some(left), Some(right)),
        DurationOp::MinOf(left, right) => node("min_of", Some(left), Some(right)),
        DurationOp::MaxOf(left, right) => node("max_of", Some(left), Some(right)),
        DurationOp::Paren(inner) => {
            // A number has no place for the mark; it gets a sign.
            let is_number = matches!(inner.op, DurationOp::Literal { .. } | DurationOp::Number(_));
            let mut tree = if is_number { node("+", None, Some(inner)) } else { operation(inner) };
            tree["wrapped"] = json!(true);
            tree
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{Features, parse_with};

    /// What the comparison with a real Prometheus cannot show, as its version is too old.
    #[test]
    fn computed_durations_are_trees_too() {
        let check = |query: &str, place: &str, expected: Value| {
            let expr = parse_with(query, Features::ALL).expect("a valid query");
            assert_eq!(tree(&expr)[place], expected, "{query}");
        };
        let number = |value: &str, duration: bool| json!({"type": "numberLiteral", "val": value, "duration": duration});
        let node = |op: &str, lhs: Value, rhs: Value, wrapped: bool| json!({"type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": wrapped});
        check("x[5m]", "rangeExpr", Value::Null);
        check("x[5m]", "range", json!(300_000));
        check("x[5m*2]", "range", json!(0));
        check("x[5m*2]", "rangeExpr", node("*", number("300", true), number("2", false), false));
        check("x[step()]", "rangeExpr", node("step", Value::Null, Value::Null, false));
        check("x[max_of(range(), 5s)]", "rangeExpr", {
            let range = node("range", Value::Null, Value::Null, false);
            node("max_of", range, number("5", true), false)
        });
        check("x offset (5)", "offsetExpr", node("+", Value::Null, number("5", false), true));
        check("x offset -(1s + 2s)", "offsetExpr", {
            let sum = node("+", number("1", true), number("2", true), true);
            node("-", Value::Null, sum, false)
        });
        check("x[1h:(5m)]", "stepExpr", node("+", Value::Null, number("300", true), true));
        check("x[5m] smoothed", "smoothed", json!(true));
        check("x anchored", "anchored", json!(true));
        let filled = json!({"lhs": 1.5, "rhs": null});
        let expr = parse_with("x + fill_left(1.5) y", Features::ALL).expect("a valid query");
        assert_eq!(tree(&expr)["matching"]["fillValues"], filled);
    }
}
