//! Looking into expressions.

use std::collections::BTreeSet;

use valmis::promql::{
    AtModifier, DurationExpr, DurationOp, Expr, ExprKind, Grouping, MatchCardinality, VectorSelector,
};

/// The parts of which an expression is made, those of a range selector aside.
pub(super) fn children(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        ExprKind::Paren(inner) | ExprKind::Unary { expr: inner, .. } => vec![inner],
        ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
        ExprKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
        ExprKind::Call(call) => call.args.iter().collect(),
        ExprKind::Subquery(subquery) => vec![&subquery.expr],
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {
            Vec::new()
        }
    }
}

/// The expression and everything within it, what contains something before what it contains.
pub(super) fn all_within(expr: &Expr) -> Vec<&Expr> {
    let mut found = vec![expr];
    let mut next = 0;
    while let Some(expr) = found.get(next) {
        found.extend(children(expr));
        next += 1;
    }
    found
}

/// Whether the expression or something within it is like this.
pub(super) fn any_within(expr: &Expr, is: impl Fn(&Expr) -> bool) -> bool {
    all_within(expr).into_iter().any(is)
}

/// How many expressions lie within one another.
pub(super) fn depth(expr: &Expr) -> usize {
    let below = children(expr).into_iter().map(depth).max().unwrap_or_default();
    if matches!(expr.kind, ExprKind::Paren(_)) { below } else { below + 1 }
}

/// The functions, operators, aggregations, modifiers and literals that occur, by the names that
/// [`super::coverage`] uses.
pub(super) fn features(expr: &Expr) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for expr in all_within(expr) {
        match &expr.kind {
            ExprKind::Number { duration, .. } => {
                found.insert(if *duration { "literal duration" } else { "literal number" }.to_owned());
            }
            ExprKind::String(_) => {
                found.insert("literal string".to_owned());
            }
            ExprKind::Paren(_) => {
                found.insert("parentheses".to_owned());
            }
            ExprKind::Unary { op, .. } => {
                found.insert(format!("sign {op}"));
            }
            ExprKind::Binary(binary) => {
                found.insert(format!("operator {}", binary.op));
                if binary.return_bool {
                    found.insert("modifier bool".to_owned());
                }
                if let Some(matching) = &binary.matching {
                    found.extend(match matching.cardinality {
                        MatchCardinality::ManyToOne => Some("modifier group_left".to_owned()),
                        MatchCardinality::OneToMany => Some("modifier group_right".to_owned()),
                        MatchCardinality::OneToOne | MatchCardinality::ManyToMany => None,
                    });
                    if matching.on {
                        found.insert("modifier on".to_owned());
                    } else if !matching.labels.is_empty() {
                        found.insert("modifier ignoring".to_owned());
                    }
                }
            }
            ExprKind::Aggregate(aggregate) => {
                found.insert(format!("aggregation {}", aggregate.op));
                found.extend(match &aggregate.grouping {
                    Grouping::Without(_) => Some("modifier without".to_owned()),
                    Grouping::By(labels) if labels.is_empty() => None,
                    Grouping::By(_) => Some("modifier by".to_owned()),
                });
            }
            ExprKind::Call(call) => {
                found.insert(format!("function {}", call.function));
            }
            ExprKind::Vector(selector) => {
                add_selector(selector, &mut found);
            }
            ExprKind::Matrix(matrix) => {
                found.insert("range".to_owned());
                add_selector(&matrix.selector, &mut found);
                add_duration(&matrix.range, &mut found);
            }
            ExprKind::Subquery(subquery) => {
                found.insert("subquery".to_owned());
                add_at(subquery.at, &mut found);
                if subquery.offset.is_some() {
                    found.insert("modifier offset of a subquery".to_owned());
                }
            }
        }
    }
    found
}

fn add_selector(selector: &VectorSelector, found: &mut BTreeSet<String>) {
    found.extend(selector.matchers.iter().map(|matcher| format!("matcher {}", matcher.op())));
    add_at(selector.at, found);
    if selector.offset.is_some() {
        found.insert("modifier offset".to_owned());
    }
}

fn add_at(at: Option<AtModifier>, found: &mut BTreeSet<String>) {
    found.extend(at.map(|at| {
        match at {
            AtModifier::At(_) => "modifier @",
            AtModifier::Start => "modifier @ start()",
            AtModifier::End => "modifier @ end()",
        }
        .to_owned()
    }));
}

fn add_duration(range: &DurationExpr, found: &mut BTreeSet<String>) {
    if matches!(range.op, DurationOp::Binary(..)) {
        found.insert("duration expression".to_owned());
    }
}
