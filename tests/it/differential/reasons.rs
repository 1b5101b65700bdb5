//! What explains a difference, so that it does not count: what changed between the version of the
//! Prometheus at hand and 3.14, which valmis follows, and what no version promises.

use std::collections::BTreeSet;

use valmis::promql::{AggregateOp, AtModifier, BinaryOp, Expr, ExprKind, MatchCardinality};

use super::comparison::Difference;
use super::generator::{Query, When};
use super::syntax::{any_within, children};
use super::versions::Version;

/// Later than every version: what is still so.
const STILL: Version = (u32::MAX, 0);

/// Why something differs.
struct Reason {
    /// The first version that does as valmis does.
    since: Version,
    /// The pull request of prometheus/prometheus and what it is about, or what is so on purpose.
    source: &'static str,
    explains: Explains,
}

/// What a reason explains.
enum Explains {
    /// A difference in results or errors.
    Whole(fn(&Expr, &Query, &Difference) -> bool),
    /// Words of errors and remarks: what is left of a text when what changed is taken from it; nothing if
    /// the text itself is new. The expression is there if the query is one.
    Words(fn(Option<&Expr>, &str) -> Option<String>),
}
use Explains::{Whole, Words};

/// Every reason that generated queries have met.
const REASONS: &[Reason] = &[
    Reason {
        since: (3, 6),
        source: "#16725: `topk` and its kind fail if their parameter is NaN",
        explains: Whole(|expr, _, difference| {
            matches!(difference, Difference::Outcome { valmis, .. } if valmis.contains("Parameter value is NaN"))
                && any_within(expr, has_parameter)
        }),
    },
    Reason {
        since: (3, 6),
        source: "#16777: messages about durations name more of what may stand there, and `@` has a name",
        explains: Words(|_, text| Some(without_kinds_of_duration(text))),
    },
    Reason {
        since: (3, 7),
        source: "#16794: annotations of `histogram_quantile` without empty metric names",
        explains: Words(|_, text| Some(without_metric_name(text))),
    },
    Reason {
        since: (3, 7),
        source: "#16896: annotations are about arguments without their parentheses",
        explains: Words(|expr, text| {
            let moved = expr.is_some_and(|expr| any_within(expr, has_argument_in_parentheses));
            Some(if moved && text.starts_with("PromQL ") { without_place(text) } else { text.to_owned() })
        }),
    },
    Reason {
        since: (3, 8),
        source: "#17424: `histogram_fraction` of bounds in the first bucket or without buckets",
        explains: Whole(|expr, _, difference| {
            calls(expr, &["histogram_fraction"]) && is_about_data(difference)
        }),
    },
    Reason {
        since: (3, 9),
        source: "#17668: many-to-one matching is checked also where a comparison filters",
        explains: Whole(|expr, _, difference| {
            let is_error = matches!(
                difference,
                Difference::Outcome { valmis, .. }
                    if valmis.contains("grouping labels must ensure unique matches")
            );
            is_error && any_within(expr, is_filter_with_group)
        }),
    },
    Reason {
        since: (3, 10),
        source: "#15578: more detail in annotations on buckets that are not monotonic",
        explains: Words(|_, text| Some(without_forced_detail(text))),
    },
    Reason {
        since: (3, 12),
        source: "#17135, #17199, #17817, #17898, #17932: `info` over series that come and go, and its matchers",
        explains: Whole(|expr, _, difference| calls(expr, &["info"]) && is_about_data(difference)),
    },
    Reason {
        since: (3, 12),
        source: "#18498: a warning about sorting in range queries",
        explains: Words(|_, text| {
            (!text.contains("sort is ineffective for range queries")).then(|| text.to_owned())
        }),
    },
    Reason {
        since: (3, 14),
        source: "#19040: `mad_over_time` of a range with a NaN is NaN",
        explains: Whole(|expr, _, difference| calls(expr, &["mad_over_time"]) && is_about_data(difference)),
    },
    Reason {
        since: STILL,
        source: "docs/differences.md: `timestamp` of a selector with both `@` and `offset`",
        explains: Whole(|expr, _, difference| {
            is_about_data(difference) && any_within(expr, is_timestamp_of_moved)
        }),
    },
    Reason {
        since: STILL,
        source: "docs/differences.md: `@ start()` and `@ end()` in the parameter of an aggregation",
        explains: Whole(|expr, query, _| {
            matches!(query.when, When::Range { .. }) && any_within(expr, has_pinned_parameter)
        }),
    },
    Reason {
        since: STILL,
        source: "no order: which series of a computed vector `limitk` keeps, and `topk` of equal ones",
        explains: Whole(|expr, query, difference| {
            let range = matches!(query.when, When::Range { .. });
            is_about_data(difference) && any_within(expr, |expr| selects_without_order(expr, range))
        }),
    },
    Reason {
        since: STILL,
        source: "no order: which of several faults in the matching of series is told",
        explains: Whole(|_, _, difference| match difference {
            Difference::Outcome { prometheus, valmis } => {
                [prometheus, valmis].into_iter().all(|outcome| is_matching_fault(outcome))
            }
            _ => false,
        }),
    },
    Reason {
        since: STILL,
        source: "last digits: of transcendental functions and of sums in no order, magnified by a remainder or an angle",
        explains: Whole(|expr, _, difference| is_about_data(difference) && any_within(expr, magnifies)),
    },
    Reason {
        since: STILL,
        source: "last digits: the same, magnified as numbers of the same size are subtracted",
        explains: Whole(|expr, _, difference| {
            matches!(difference, Difference::Values { worst, .. } if *worst < 1e-6)
                && any_within(expr, cancels)
        }),
    },
    Reason {
        since: STILL,
        source: "Go's `exp` overflows a little too early on amd64",
        explains: Whole(|expr, _, difference| {
            calls(expr, &["exp"])
                && matches!(difference, Difference::Values { prometheus, .. } if prometheus.contains("+Inf"))
        }),
    },
];

/// Why a Prometheus of that version answers otherwise; none if nothing explains the difference.
pub(super) fn explain(
    version: Version,
    expr: Option<&Expr>,
    query: &Query,
    difference: &Difference,
) -> Option<Vec<&'static str>> {
    let reasons = || REASONS.iter().filter(|reason| version < reason.since);
    let whole = reasons().find(|reason| match (&reason.explains, expr) {
        (Whole(explains), Some(expr)) => explains(expr, query, difference),
        _ => false,
    });
    if let Some(reason) = whole {
        return Some(vec![reason.source]);
    }
    let (mut prometheus, mut valmis): (BTreeSet<String>, BTreeSet<String>) = match difference {
        Difference::Remarks { prometheus, valmis } => {
            (prometheus.iter().cloned().collect(), valmis.iter().cloned().collect())
        }
        Difference::Outcome { prometheus, valmis } => ([prometheus.clone()].into(), [valmis.clone()].into()),
        _ => return None,
    };
    let mut sources = Vec::new();
    for reason in reasons() {
        let Words(shared) = reason.explains else { continue };
        let changed = |texts: &BTreeSet<String>| texts.iter().filter_map(|text| shared(expr, text)).collect();
        let after: (BTreeSet<String>, BTreeSet<String>) = (changed(&prometheus), changed(&valmis));
        if after != (prometheus.clone(), valmis.clone()) {
            sources.push(reason.source);
        }
        (prometheus, valmis) = after;
    }
    (prometheus == valmis).then_some(sources)
}

fn has_parameter(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Aggregate(aggregate) if aggregate.op.has_param())
}

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

/// As [`magnifies`], where most digits of two numbers may cancel out.
fn cancels(expr: &Expr) -> bool {
    let differs = match &expr.kind {
        ExprKind::Binary(binary) => matches!(binary.op, BinaryOp::Sub | BinaryOp::Add),
        ExprKind::Aggregate(aggregate) => {
            matches!(
                aggregate.op,
                AggregateOp::Sum | AggregateOp::Avg | AggregateOp::Stddev | AggregateOp::Stdvar
            )
        }
        ExprKind::Call(call) => {
            ["delta", "idelta", "deriv", "stddev_over_time", "stdvar_over_time"].contains(&call.function)
        }
        _ => false,
    };
    differs && children(expr).into_iter().any(|part| any_within(part, is_inexact))
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

fn is_matching_fault(outcome: &str) -> bool {
    const FAULTS: [&str; 3] = [
        "found duplicate series for the match group",
        "multiple matches for labels",
        "vector cannot contain metrics with the same labelset",
    ];
    FAULTS.iter().any(|fault| outcome.contains(fault))
}

fn without_kinds_of_duration(text: &str) -> String {
    text.replace("number or duration", "number, duration, step(), or range()")
        .replace("in subquery selector", "in subquery or range selector")
        .replace("\"<Item 57400>\" <op:@>", "<op:@>")
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
    let Some((head, rest)) = text.split_once(", from buckets") else { return text.to_owned() };
    let place = rest.rsplit_once(" (").map_or("", |(_, place)| place);
    format!("{head} ({place}")
}
