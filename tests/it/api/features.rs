//! Experimental parts are off unless they are switched on, and say what they need.

use reqwest::StatusCode;

use super::{RECEIVER, post};
use crate::real::turn;
use crate::real::valmis::Valmis;

/// A query that needs a feature, and the feature.
const EXPERIMENTAL: &[(&str, &str)] = &[
    ("mad_over_time(x[5m])", "promql-experimental-functions"),
    ("limitk(1, x)", "promql-experimental-functions"),
    ("limit_ratio(0.5, x)", "promql-experimental-functions"),
    ("info(x)", "promql-experimental-functions"),
    ("x anchored", "promql-extended-range-selectors"),
    ("rate(x[5m] smoothed)", "promql-extended-range-selectors"),
    ("x + fill(1) x", "promql-binop-fill-modifiers"),
    ("x + fill_left(1) fill_right(2) x", "promql-binop-fill-modifiers"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn experimental_parts_say_which_feature_they_need() {
    let _turn = turn().await;
    let valmis = Valmis::start_with(RECEIVER, &[]).await;
    for (query, feature) in EXPERIMENTAL {
        for path in ["query", "format_query", "parse_query", "query_exemplars"] {
            let said = post(valmis.address, &format!("/api/v1/{path}"), &[("query", query)]).await;
            assert_eq!(said.status, StatusCode::BAD_REQUEST, "{path} {query}: {said:?}");
            assert!(said.error().contains(feature), "{path} {query}: {}", said.error());
        }
    }
    let features = valmis.json("/api/v1/features").await;
    assert_eq!(features["data"]["promql"]["fill"], false);
    assert_eq!(features["data"]["promql_functions"]["info"], false);
    let stats = valmis.json("/api/v1/query?query=1&stats=all").await;
    assert!(stats["data"]["stats"]["samples"]["totalQueryableSamplesPerStep"].is_null(), "{stats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn features_are_switched_on_by_the_configuration() {
    let _turn = turn().await;
    let names: Vec<&str> = EXPERIMENTAL.iter().map(|(_, feature)| *feature).collect();
    let configuration = format!("{RECEIVER}features: [{}, promql-per-step-stats]\n", names.join(", "));
    let rule = "groups: [{name: g, rules: [{record: r, expr: 'limitk(1, up) + fill(0) up'}]}]\n";
    let files = [("rules.yaml".to_owned(), rule.to_owned())];
    let valmis = Valmis::start_with(&configuration, &files).await;
    for (query, _) in EXPERIMENTAL {
        let said = post(valmis.address, "/api/v1/query", &[("query", query)]).await;
        assert_eq!(said.status, StatusCode::OK, "{query}: {said:?}");
    }
    let features = valmis.json("/api/v1/features").await;
    assert_eq!(features["data"]["promql"]["fill"], true);
    assert_eq!(features["data"]["promql_operators"]["limitk"], true);
    let flags = valmis.json("/api/v1/status/flags").await;
    let enabled = flags["data"]["enable-feature"].as_str().unwrap();
    assert!(names.iter().all(|name| enabled.contains(name)), "{enabled}");
    let rules = valmis.json("/api/v1/rules").await;
    assert_eq!(rules["data"]["groups"][0]["rules"][0]["query"], "limitk(1, up) + fill (0) up");
    let stats = valmis.json("/api/v1/query?query=1&stats=all").await;
    let steps = &stats["data"]["stats"]["samples"]["totalQueryableSamplesPerStep"];
    assert_eq!(steps.as_array().unwrap().len(), 1, "{stats}");
}
