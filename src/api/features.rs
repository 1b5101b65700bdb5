//! `/api/v1/features`: what this server can do, so that clients need not know versions.
//! Source: Prometheus `util/features` and where its parts register theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::respond::success;
use super::{Handles, Lifecycle};
use crate::promql::{Features, functions};

type Category = BTreeMap<&'static str, bool>;

pub(super) async fn features(State(handles): State<Arc<Handles>>) -> Response {
    let receives = Lifecycle::is_set(&handles.lifecycle.remote_write_receiver);
    success(&categories(handles.features, receives))
}

fn categories(features: Features, receives: bool) -> BTreeMap<&'static str, Category> {
    let experimental = features.experimental_functions;
    let functions =
        functions::all().iter().map(|function| (function.name, !function.experimental || experimental));
    BTreeMap::from([
        (
            "api",
            Category::from([
                ("admin", false),
                ("exclude_alerts", true),
                ("label_values_match", true),
                ("lifecycle", true),
                ("otlp_write_receiver", false),
                ("query_stats", true),
                ("query_warnings", true),
                ("remote_write_receiver", receives),
                ("search", false),
                ("time_range_labels", true),
                ("time_range_series", true),
            ]),
        ),
        ("prometheus", Category::from([("agent_mode", false), ("server_mode", true)])),
        ("promql", language(features)),
        ("promql_functions", functions.collect()),
        ("promql_operators", operators(experimental)),
        (
            "rules",
            Category::from([
                ("concurrent_rule_eval", false),
                ("keep_firing_for", true),
                ("query_offset", true),
            ]),
        ),
    ])
}

fn language(features: Features) -> Category {
    let always = [
        "at_modifier",
        "bool",
        "by",
        "group_left",
        "group_right",
        "ignoring",
        "negative_offset",
        "offset",
        "on",
        "per_query_lookback_delta",
        "subqueries",
        "without",
    ];
    let switched = [
        ("anchored", features.extended_range_selectors),
        ("delayed_name_removal", features.delayed_name_removal),
        ("duration_expr", features.duration_expressions),
        ("fill", features.fill_modifiers),
        ("fill_left", features.fill_modifiers),
        ("fill_right", features.fill_modifiers),
        ("per_step_stats", features.per_step_stats),
        ("smoothed", features.extended_range_selectors),
        ("type_and_unit_labels", false),
    ];
    always.into_iter().map(|name| (name, true)).chain(switched).collect()
}

fn operators(experimental: bool) -> Category {
    let always = [
        "!=",
        "!~",
        "%",
        "*",
        "+",
        "-",
        "/",
        "<",
        "</",
        "<=",
        "==",
        "=~",
        ">",
        ">/",
        ">=",
        "@",
        "^",
        "and",
        "atan2",
        "avg",
        "bottomk",
        "count",
        "count_values",
        "group",
        "max",
        "min",
        "or",
        "quantile",
        "stddev",
        "stdvar",
        "sum",
        "topk",
        "unless",
    ];
    let switched = [("limit_ratio", experimental), ("limitk", experimental)];
    always.into_iter().map(|name| (name, true)).chain(switched).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_switched_on_is_there() {
        let check = |features, expected: bool| {
            let categories = categories(features, false);
            for (category, name) in [
                ("promql", "fill"),
                ("promql", "smoothed"),
                ("promql_functions", "mad_over_time"),
                ("promql_operators", "limitk"),
            ] {
                assert_eq!(categories[category][name], expected, "{name}");
            }
            assert!(categories["promql_functions"]["rate"]);
        };
        check(Features::default(), false);
        check(Features::ALL, true);
    }
}
