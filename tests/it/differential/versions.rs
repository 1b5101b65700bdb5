//! What other versions of Prometheus do otherwise. valmis follows 3.14; where the Prometheus at hand is
//! older, a difference that is explained here does not count.

use std::collections::BTreeSet;

use valmis::promql::{Expr, ExprKind};

use super::comparison::Difference;
use super::generator::Query;
use super::syntax::any_within;

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

/// A change of behaviour.
pub(super) struct Change {
    /// The first version that does as valmis does.
    since: Version,
    /// The pull request of prometheus/prometheus, and what it is about.
    pub(super) source: &'static str,
    explains: fn(&Expr, &Query, &Difference) -> bool,
}

/// Every change between 3.5 and 3.14 that generated queries have met.
const CHANGES: &[Change] = &[
    Change {
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
    Change {
        since: (3, 7),
        source: "#16794: annotations of `histogram_quantile` without empty metric names",
        explains: |expr, _, difference| {
            calls(expr, &["histogram_quantile", "histogram_fraction"])
                && remarks_equal_after(difference, without_metric_name)
        },
    },
    Change {
        since: (3, 7),
        source: "#16896: annotations are about arguments without their parentheses",
        explains: |expr, _, difference| {
            any_within(expr, has_argument_in_parentheses) && remarks_equal_after(difference, without_place)
        },
    },
    Change {
        since: (3, 8),
        source: "#17424: `histogram_fraction` of bounds in the first bucket or without buckets",
        explains: |expr, _, difference| calls(expr, &["histogram_fraction"]) && is_about_data(difference),
    },
    Change {
        since: (3, 10),
        source: "#15578: more detail in annotations on buckets that are not monotonic",
        explains: |expr, _, difference| {
            calls(expr, &["histogram_quantile"]) && remarks_equal_after(difference, without_forced_detail)
        },
    },
    Change {
        since: (3, 12),
        source: "#17135, #17199, #17817, #17898, #17932: `info` over series that come and go, and its matchers",
        explains: |expr, _, difference| calls(expr, &["info"]) && is_about_data(difference),
    },
    Change {
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
    Change {
        since: (3, 14),
        source: "#19040: `mad_over_time` of a range with a NaN is NaN",
        explains: |expr, _, difference| calls(expr, &["mad_over_time"]) && is_about_data(difference),
    },
];

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

/// The change that explains why a Prometheus of that version answers otherwise.
pub(super) fn change(
    version: Version,
    expr: &Expr,
    query: &Query,
    difference: &Difference,
) -> Option<&'static Change> {
    CHANGES.iter().find(|change| version < change.since && (change.explains)(expr, query, difference))
}
