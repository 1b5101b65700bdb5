//! What explains a difference, so that it does not count: what changed between the version of the
//! Prometheus at hand and 3.14, which valmis follows, and what no version promises.

use std::collections::BTreeSet;

use valmis::model::MatchOp;
use valmis::promql::{AggregateOp, BinaryOp, Expr, ExprKind, MatchCardinality};

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
    /// What became of a query, that is two errors, or one of the two.
    Outcomes(fn(&str, &str) -> bool),
    /// A difference of any kind in the answers to a valid query.
    Whole(fn(&Expr, &Query, &Difference) -> bool),
    /// Words of errors and remarks: what is left of a text when what changed is taken from it; nothing if
    /// the text itself is new. The expression is there if the query is one.
    Words(fn(Option<&Expr>, &str) -> Option<String>),
}
use Explains::{Outcomes, Whole, Words};

/// Every reason that generated queries have met.
const REASONS: &[Reason] = &[
    Reason {
        since: (3, 6),
        source: "#16725: parameters of `topk` and its kind are checked first, and may not be NaN",
        explains: Whole(|expr, _, difference| {
            let is_refusal =
                |outcome: &str| outcome.contains("Parameter value is NaN") || outcome.contains("flows int64");
            matches!(difference, Difference::Outcome { valmis, .. } if is_refusal(valmis))
                && any_within(expr, has_parameter)
        }),
    },
    Reason {
        since: (3, 6),
        source: "#16777: messages about durations name more of what may stand there, and `@` has a name",
        explains: Words(|_, text| Some(without_kinds_of_duration(text))),
    },
    Reason {
        since: (3, 6),
        source: "#16777: words in durations",
        explains: Words(|_, text| {
            let about_durations = text.contains("parse error")
                && ["in duration expression", "expected ':'", "unexpected colon", "in subquery"]
                    .iter()
                    .any(|s| text.contains(s));
            Some(if about_durations { "parse error in a duration".to_owned() } else { text.to_owned() })
        }),
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
        explains: Whole(|expr, _, difference| {
            // With other series other ones match, or too many.
            let other_matches =
                matches!(difference, Difference::Outcome { valmis, .. } if is_matching_fault(valmis));
            calls(expr, &["info"]) && (is_about_data(difference) || other_matches)
        }),
    },
    Reason {
        since: (3, 12),
        source: "#18498: a warning about sorting in range queries",
        explains: Words(|_, text| {
            (!text.contains("sort is ineffective for range queries")).then(|| text.to_owned())
        }),
    },
    Reason {
        since: (3, 12),
        source: "#17877: `start`, `end`, `step` and `range` are functions",
        explains: Outcomes(|prometheus, valmis| {
            let is_new = |name: &&str| valmis.contains(&format!("in call to \"{name}\""));
            prometheus.contains("parse error") && ["start", "end", "step", "range"].iter().any(is_new)
        }),
    },
    Reason {
        since: (3, 13),
        source: "#18081: subqueries are not evaluated beyond the last step of a range query",
        explains: Whole(|expr, query, difference| {
            let beyond = |expr: &Expr| matches!(expr.kind, ExprKind::Subquery(_));
            matches!(query.when, When::Range { start, end, step_ms } if (end - start) % step_ms != 0)
                && matches!(difference, Difference::Outcome { valmis, .. } if valmis == "200 success")
                && any_within(expr, beyond)
        }),
    },
    Reason {
        since: (3, 14),
        source: "#19040: `mad_over_time` of a range with a NaN is NaN",
        explains: Whole(|expr, _, difference| calls(expr, &["mad_over_time"]) && is_about_data(difference)),
    },
    Reason {
        since: STILL,
        source: "a panic of Prometheus' parser, which it reports as an unexpected error",
        explains: Outcomes(|prometheus, valmis| {
            prometheus.ends_with(": unexpected error") && valmis.contains("parse error")
        }),
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
        source: "docs/differences.md: parameters of aggregations that change, or that are pinned to an end",
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
        explains: Outcomes(|prometheus, valmis| is_matching_fault(prometheus) && is_matching_fault(valmis)),
    },
    Reason {
        since: STILL,
        source: "no order: texts, numbers and absent values are not comparable throughout by `natsort`",
        explains: Whole(|expr, _, difference| {
            matches!(difference, Difference::Order { .. }) && any_within(expr, sorts_by_mixed_label)
        }),
    },
    Reason {
        since: STILL,
        source: "no order: whether the store has looked at the conditions on a label decides which `absent` sees first",
        explains: Whole(|expr, _, difference| {
            matches!(difference, Difference::Series { .. }) && any_within(expr, is_absent_of_excluded)
        }),
    },
    Reason {
        since: STILL,
        source: "last digits: of transcendental functions and of sums in no order, magnified by a remainder, a comparison, an angle or by rounding",
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
        source: "Go's `exp`, `sinh` and `cosh` overflow a little too early",
        explains: Whole(|expr, _, difference| {
            calls(expr, &["exp", "sinh", "cosh"])
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
    let whole = reasons().find(|reason| match (&reason.explains, expr, difference) {
        (Whole(explains), Some(expr), _) => explains(expr, query, difference),
        (Outcomes(explains), _, Difference::Outcome { prometheus, valmis }) => explains(prometheus, valmis),
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

/// An aggregation of pinned series with a parameter that need not be pinned, or the other way round.
fn has_pinned_parameter(expr: &Expr) -> bool {
    let ExprKind::Aggregate(aggregate) = &expr.kind else { return false };
    let pinned = |expr: &Expr| match &expr.kind {
        ExprKind::Vector(selector) => selector.at.is_some(),
        ExprKind::Matrix(matrix) => matrix.selector.at.is_some(),
        ExprKind::Subquery(subquery) => subquery.at.is_some(),
        _ => false,
    };
    let Some(param) = aggregate.param.as_ref().filter(|param| !is_literal(param)) else { return false };
    any_within(param, pinned) || any_within(&aggregate.expr, pinned)
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Number { .. } | ExprKind::String(_))
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

/// Whether it sorts by the only label here with both texts and numbers.
fn sorts_by_mixed_label(expr: &Expr) -> bool {
    let ExprKind::Call(call) = &expr.kind else { return false };
    call.function.starts_with("sort_by_label")
        && call.args.iter().any(|arg| matches!(&arg.kind, ExprKind::String(label) if label == "le"))
}

/// Whether a label has a condition that excludes values before the one that names it.
fn is_absent_of_excluded(expr: &Expr) -> bool {
    let ExprKind::Call(call) = &expr.kind else { return false };
    let excludes = |arg: &Expr| {
        let matchers = match &arg.kind {
            ExprKind::Vector(selector) => &selector.matchers,
            ExprKind::Matrix(matrix) => &matrix.selector.matchers,
            _ => return false,
        };
        matchers.iter().enumerate().any(|(index, named)| {
            named.op() == MatchOp::Equal
                && matchers[..index].iter().any(|other| {
                    other.name() == named.name() && !matches!(other.op(), MatchOp::Equal | MatchOp::Regex)
                })
        })
    };
    call.function.starts_with("absent") && call.args.iter().any(excludes)
}

/// Whether a small error of an operand can become a large one, and there may be one.
fn magnifies(expr: &Expr) -> bool {
    const STEEP: [&str; 10] =
        ["acos", "acosh", "asin", "atanh", "ceil", "cos", "floor", "round", "sin", "tan"];
    let inexact_part = || children(expr).into_iter().any(|part| any_within(part, is_inexact));
    match &expr.kind {
        ExprKind::Binary(binary) => {
            (binary.op == BinaryOp::Mod || binary.op.is_comparison()) && inexact_part()
        }
        ExprKind::Call(call) => STEEP.contains(&call.function) && inexact_part(),
        _ => false,
    }
}

/// As [`magnifies`], where most digits of two numbers may cancel out.
fn cancels(expr: &Expr) -> bool {
    const FUNCTIONS: [&str; 5] = ["delta", "idelta", "deriv", "stddev_over_time", "stdvar_over_time"];
    use AggregateOp::{Avg, Stddev, Stdvar, Sum};
    let inexact_part = || children(expr).into_iter().any(|part| any_within(part, is_inexact));
    match &expr.kind {
        ExprKind::Binary(binary) => matches!(binary.op, BinaryOp::Sub | BinaryOp::Add) && inexact_part(),
        ExprKind::Aggregate(aggregate) => match aggregate.op {
            // Also of exact numbers, if they are much larger than their differences.
            Stddev | Stdvar => true,
            Sum | Avg => inexact_part(),
            _ => false,
        },
        ExprKind::Call(call) => FUNCTIONS.contains(&call.function) && inexact_part(),
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

fn is_matching_fault(outcome: &str) -> bool {
    const FAULTS: [&str; 3] = [
        "found duplicate series for the match group",
        "multiple matches for labels",
        "vector cannot contain metrics with the same labelset",
    ];
    FAULTS.iter().any(|fault| outcome.contains(fault))
}

fn without_kinds_of_duration(text: &str) -> String {
    text.replace("number or duration or \"]\"", "number, duration, step(), range(), or \"]\"")
        .replace("number or duration", "number, duration, step(), or range()")
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
    let place = rest.rfind(" (").map_or("", |at| &rest[at..]);
    format!("{head}{place}")
}

#[cfg(test)]
mod tests {
    use valmis::promql::{Features, parse_with};

    use super::*;

    fn check(version: Version, text: &str, difference: &Difference, expected: Option<usize>) {
        let query = Query { text: text.to_owned(), when: When::Instant(0) };
        let expr = parse_with(text, Features::ALL).ok();
        let sources = explain(version, expr.as_ref(), &query, difference);
        assert_eq!(sources.as_ref().map(Vec::len), expected, "{text}: {sources:?}");
    }

    #[test]
    fn only_what_changed_since_that_version_is_explained() {
        let values = Difference::Values {
            labels: "{}".to_owned(),
            prometheus: "0".to_owned(),
            valmis: "1".to_owned(),
            count: 1,
            worst: 1.0,
        };
        check((3, 5), "rate(a[5m]) + sum(b)", &values, None);
        check((3, 5), "mad_over_time(a[5m])", &values, Some(1));
        check((3, 14), "mad_over_time(a[5m])", &values, None);
        check((3, 14), "topk(1, limitk(2, a))", &values, Some(1));
    }

    #[test]
    fn remarks_may_be_explained_by_several_changes_at_once() {
        let remarks = |prometheus: &str| Difference::Remarks {
            prometheus: vec![prometheus.to_owned()],
            valmis: vec![
                "PromQL warning: bad bucket (1:25)".to_owned(),
                "PromQL warning: sort is ineffective for range queries (1:1)".to_owned(),
            ],
        };
        let old = remarks("PromQL warning: bad bucket for metric name \"\" (1:25)");
        check((3, 5), "sort(histogram_quantile(1, a))", &old, Some(2));
        check((3, 8), "sort(histogram_quantile(1, a))", &old, None);
        check((3, 5), "a", &remarks("PromQL warning: another bucket (1:25)"), None);
    }

    #[test]
    fn a_parse_error_is_explained_only_by_words_that_changed() {
        let outcome = |prometheus: &str, valmis: &str| {
            let error =
                |text| format!("400 error bad_data: invalid parameter \"query\": 1:3: parse error: {text}");
            Difference::Outcome { prometheus: error(prometheus), valmis: error(valmis) }
        };
        let expected = ("expected number or duration", "expected number, duration, step(), or range()");
        check((3, 5), "a[", &outcome(expected.0, expected.1), Some(1));
        check((3, 5), "a[", &outcome("unexpected end", "unexpected beginning"), None);
    }
}
