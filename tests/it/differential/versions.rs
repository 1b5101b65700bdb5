//! What explains a difference, so that it does not count: what changed between the version of the
//! Prometheus at hand and 3.14, which valmis follows, and what no version promises.

use std::collections::BTreeSet;

use valmis::promql::{AggregateOp, AtModifier, BinaryOp, Expr, ExprKind, MatchCardinality};

use super::comparison::Difference;
use super::generator::{Query, When};
use super::syntax::{any_within, children};

/// A version, without the patch.
pub(super) type Version = (u32, u32);

/// Functions with the version in which they came.
const NEW_FUNCTIONS: &[(&str, Version)] = &[
    ("end", (3, 12)),
    ("first_over_time", (3, 7)),
    ("histogram_quantiles", (3, 11)),
    ("max_of", (3, 13)),
    ("min_of", (3, 13)),
    ("range", (3, 12)),
    ("start", (3, 12)),
    ("start_timestamp", (3, 14)),
    ("step", (3, 12)),
    ("ts_of_first_over_time", (3, 7)),
];

/// Whether a Prometheus of that version has the function.
pub(super) fn has_function(version: Version, name: &str) -> bool {
    NEW_FUNCTIONS.iter().all(|(new, since)| *new != name || version >= *since)
}

/// Later than every version: what is still so.
const STILL: Version = (u32::MAX, 0);

/// Why something differs.
pub(super) struct Reason {
    /// The first version that does as valmis does.
    since: Version,
    /// The pull request of prometheus/prometheus and what it is about, or what is so on purpose.
    pub(super) source: &'static str,
    explains: fn(&Expr, &Query, &Difference) -> bool,
}

/// Every reason that generated queries have met.
const REASONS: &[Reason] = &[
    Reason {
        since: (3, 6),
        source: "#16725: `topk` and its kind fail if their parameter is NaN",
        explains: |expr, _, difference| {
            matches!(difference, Difference::Outcome { valmis, .. } if valmis.contains("Parameter value is NaN"))
                && any_within(
                    expr,
                    |expr| matches!(&expr.kind, ExprKind::Aggregate(aggregate) if aggregate.op.has_param()),
                )
        },
    },
    Reason {
        since: (3, 7),
        source: "#16794: annotations of `histogram_quantile` without empty metric names",
        explains: |expr, _, difference| {
            calls(expr, &["histogram_quantile", "histogram_fraction"])
                && remarks_equal_after(difference, without_metric_name)
        },
    },
    Reason {
        since: (3, 7),
        source: "#16896: annotations are about arguments without their parentheses",
        explains: |expr, _, difference| {
            any_within(expr, has_argument_in_parentheses) && remarks_equal_after(difference, without_place)
        },
    },
    Reason {
        since: (3, 8),
        source: "#17424: `histogram_fraction` of bounds in the first bucket or without buckets",
        explains: |expr, _, difference| calls(expr, &["histogram_fraction"]) && is_about_data(difference),
    },
    Reason {
        since: (3, 9),
        source: "#17668: many-to-one matching is checked also where a comparison filters",
        explains: |expr, _, difference| {
            let is_error = matches!(
                difference,
                Difference::Outcome { valmis, .. }
                    if valmis.contains("grouping labels must ensure unique matches")
            );
            is_error && any_within(expr, is_filter_with_group)
        },
    },
    Reason {
        since: (3, 10),
        source: "#15578: more detail in annotations on buckets that are not monotonic",
        explains: |expr, _, difference| {
            calls(expr, &["histogram_quantile"]) && remarks_equal_after(difference, without_forced_detail)
        },
    },
    Reason {
        since: (3, 12),
        source: "#17135, #17199, #17817, #17898, #17932: `info` over series that come and go, and its matchers",
        explains: |expr, _, difference| calls(expr, &["info"]) && is_about_data(difference),
    },
    Reason {
        since: (3, 12),
        source: "#18498: a warning about sorting in range queries",
        explains: |expr, _, difference| match difference {
            Difference::Remarks { prometheus, valmis } => {
                calls(expr, &["sort", "sort_desc", "sort_by_label", "sort_by_label_desc"])
                    && prometheus.is_empty()
                    && valmis.iter().all(|text| text.contains("sort is ineffective for range queries"))
            }
            _ => false,
        },
    },
    Reason {
        since: (3, 14),
        source: "#19040: `mad_over_time` of a range with a NaN is NaN",
        explains: |expr, _, difference| calls(expr, &["mad_over_time"]) && is_about_data(difference),
    },
    Reason {
        since: STILL,
        source: "docs/differences.md: `timestamp` of a selector with both `@` and `offset`",
        explains: |expr, _, difference| is_about_data(difference) && any_within(expr, is_timestamp_of_moved),
    },
    Reason {
        since: STILL,
        source: "docs/differences.md: `@ start()` and `@ end()` in the parameter of an aggregation",
        explains: |expr, query, _| {
            matches!(query.when, When::Range { .. }) && any_within(expr, has_pinned_parameter)
        },
    },
    Reason {
        since: STILL,
        source: "no order: which series of a computed vector `limitk` keeps, and `topk` of equal ones",
        explains: |expr, query, difference| {
            let range = matches!(query.when, When::Range { .. });
            is_about_data(difference) && any_within(expr, |expr| selects_without_order(expr, range))
        },
    },
    Reason {
        since: STILL,
        source: "last digits: of transcendental functions and of sums in no order, magnified by a remainder or an angle",
        explains: |expr, _, difference| is_about_data(difference) && any_within(expr, magnifies),
    },
];

/// A comparison without `bool` between many and one.
fn is_filter_with_group(expr: &Expr) -> bool {
    let ExprKind::Binary(binary) = &expr.kind else { return false };
    let grouped = binary.matching.as_ref().is_some_and(|matching| {
        matches!(matching.cardinality, MatchCardinality::ManyToOne | MatchCardinality::OneToMany)
    });
    binary.op.is_comparison() && !binary.return_bool && grouped
}

fn is_timestamp_of_moved(expr: &Expr) -> bool {
    let ExprKind::Call(call) = &expr.kind else { return false };
    let moved = |arg: &Expr| matches!(&arg.kind, ExprKind::Vector(v) if v.at.is_some() && v.offset.is_some());
    call.function == "timestamp" && call.args.iter().any(|arg| any_within(arg, moved))
}

fn has_pinned_parameter(expr: &Expr) -> bool {
    let ExprKind::Aggregate(aggregate) = &expr.kind else { return false };
    let is_edge = |at| matches!(at, Some(AtModifier::Start | AtModifier::End));
    let pinned = |expr: &Expr| match &expr.kind {
        ExprKind::Vector(selector) => is_edge(selector.at),
        ExprKind::Matrix(matrix) => is_edge(matrix.selector.at),
        ExprKind::Subquery(subquery) => is_edge(subquery.at),
        _ => false,
    };
    aggregate.param.as_ref().is_some_and(|param| any_within(param, pinned))
}

/// Whether it takes the first of series that have no order. Of an instant query, all have one that do not
/// come out of a map.
fn selects_without_order(expr: &Expr, range: bool) -> bool {
    use AggregateOp::{Bottomk, CountValues, LimitRatio, Limitk, Topk};
    let ExprKind::Aggregate(aggregate) = &expr.kind else { return false };
    let from_map = |expr: &Expr| match &expr.kind {
        ExprKind::Aggregate(inner) => {
            matches!(inner.op, Limitk | LimitRatio | Topk | Bottomk | CountValues)
        }
        _ => false,
    };
    matches!(aggregate.op, Limitk | Topk | Bottomk)
        && if range {
            !matches!(aggregate.expr.kind, ExprKind::Vector(_))
        } else {
            any_within(&aggregate.expr, from_map)
        }
}

/// Whether a small error of an operand can become a large one, and there may be one.
fn magnifies(expr: &Expr) -> bool {
    const ANGLES: [&str; 4] = ["sin", "cos", "tan", "round"];
    let inexact_part = || children(expr).into_iter().any(|part| any_within(part, is_inexact));
    match &expr.kind {
        ExprKind::Binary(binary) => binary.op == BinaryOp::Mod && inexact_part(),
        ExprKind::Call(call) => ANGLES.contains(&call.function) && inexact_part(),
        _ => false,
    }
}

fn is_inexact(expr: &Expr) -> bool {
    const FUNCTIONS: [&str; 21] = [
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "cos",
        "cosh",
        "deriv",
        "exp",
        "ln",
        "log10",
        "log2",
        "predict_linear",
        "sin",
        "sinh",
        "stddev_over_time",
        "stdvar_over_time",
        "tan",
        "tanh",
        "rate",
    ];
    use AggregateOp::{Avg, Stddev, Stdvar, Sum};
    match &expr.kind {
        ExprKind::Call(call) => FUNCTIONS.contains(&call.function),
        ExprKind::Binary(binary) => matches!(binary.op, BinaryOp::Pow | BinaryOp::Atan2),
        ExprKind::Aggregate(aggregate) => matches!(aggregate.op, Sum | Avg | Stddev | Stdvar),
        _ => false,
    }
}

fn calls(expr: &Expr, functions: &[&str]) -> bool {
    any_within(expr, |expr| matches!(&expr.kind, ExprKind::Call(call) if functions.contains(&call.function)))
}

fn has_argument_in_parentheses(expr: &Expr) -> bool {
    let is_paren = |expr: &Expr| matches!(expr.kind, ExprKind::Paren(_));
    match &expr.kind {
        ExprKind::Call(call) => call.args.iter().any(is_paren),
        ExprKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).any(is_paren),
        _ => false,
    }
}

fn is_about_data(difference: &Difference) -> bool {
    matches!(difference, Difference::Series { .. } | Difference::Values { .. })
}

/// Whether the remarks are the same after something has been taken from each.
fn remarks_equal_after(difference: &Difference, change: impl Fn(&str) -> String) -> bool {
    let Difference::Remarks { prometheus, valmis } = difference else { return false };
    let changed = |texts: &[String]| texts.iter().map(|text| change(text)).collect::<BTreeSet<_>>();
    changed(prometheus) == changed(valmis)
}

fn without_metric_name(text: &str) -> String {
    let Some((head, rest)) = text.split_once(" for metric name \"") else { return text.to_owned() };
    let tail = rest.split_once('"').map_or("", |(_, tail)| tail);
    format!("{head}{tail}")
}

fn without_place(text: &str) -> String {
    text.rsplit_once(" (").map_or(text, |(text, _)| text).to_owned()
}

fn without_forced_detail(text: &str) -> String {
    let text = without_place(&without_metric_name(text));
    text.split_once(", from buckets").map_or(text.as_str(), |(text, _)| text).to_owned()
}

/// Why a Prometheus of that version answers otherwise.
pub(super) fn reason(
    version: Version,
    expr: &Expr,
    query: &Query,
    difference: &Difference,
) -> Option<&'static Reason> {
    REASONS.iter().find(|reason| version < reason.since && (reason.explains)(expr, query, difference))
}
