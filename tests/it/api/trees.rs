//! `parse_query` and `format_query` beside a real Prometheus: what clients show as trees and as text.

use futures_util::{StreamExt, future, stream};
use serde_json::Value;

use super::{Said, pair, post};
use crate::corpora::script_expressions;
use crate::real::{say, turn};

const CONFIGURATION: &str =
    "disks: [{path: /dev/shm}]\nrules: [./rules/*.yaml]\nfeatures: [promql-experimental-functions]\n";

/// Every form of the language that both versions have.
const EXPRESSIONS: &[&str] = &[
    "1",
    "-1",
    "+1.5e3",
    "0x1F",
    "1e-7",
    "1e22",
    "Inf",
    "-Inf",
    "NaN",
    "5m",
    "\"text\"",
    "'it\\'s'",
    "`raw\\n`",
    "\"\u{e9}<&>\\t\"",
    "(1)",
    "((x))",
    "-x",
    "+x",
    "--x",
    "-(x)",
    "x",
    "x{}",
    "x{a=\"b\"}",
    "x{a!=\"b\",c=~\"d.*\",e!~\"f|g\"}",
    "{a=\"b\"}",
    "{__name__=\"x\"}",
    "{__name__=~\"x.+\"}",
    "{\"x.y\"}",
    "{\"x.y\",\"a.b\"=\"c\"}",
    "x offset 5m",
    "x offset -1h30m",
    "x offset 90",
    "x @ 10",
    "x @ -1.5",
    "x @ start()",
    "x @ end() offset 1m",
    "x[5m]",
    "x{a=\"b\"}[1h30m]",
    "x[300]",
    "x[5m] offset 1w",
    "x[5m] @ 1609746000.123",
    "x[5m] offset 1m @ end()",
    "x[1h:5m]",
    "x[1h:]",
    "rate(x[5m])[1h:] offset 1d",
    "(x + 1)[1h:5m] @ start()",
    "x[1h:5m] offset -5m @ 10",
    "1 + 2",
    "1 + 2 * 3 ^ 4 ^ 5 % 6 / 7 - 8",
    "1 == bool 2",
    "x > 1",
    "x >= bool 1",
    "x != y",
    "x <= y",
    "x < bool y",
    "x atan2 y",
    "x and y",
    "x or y unless z",
    "x and on() y",
    "x or ignoring(a) y",
    "x + on(a) y",
    "x + on(a, b) y",
    "x + ignoring(a) y",
    "x + ignoring() y",
    "x * on(a) group_left y",
    "x * on(a) group_left(b, c) y",
    "x * ignoring(a) group_right(b) y",
    "x == bool on(a) group_right y",
    "sum(x)",
    "sum by () (x)",
    "sum by (a) (x)",
    "sum(x) by (a, b)",
    "sum without (a) (x)",
    "sum without () (x)",
    "sum by (\"a.b\") (x)",
    "avg(x) + count(x) + min(x) + max(x) + group(x)",
    "stddev(x) / stdvar(x)",
    "topk(5, x)",
    "bottomk by (a) (1 + 1, x)",
    "quantile(0.9, x)",
    "count_values(\"v\", x)",
    "limitk(2, x)",
    "limit_ratio(0.5, x)",
    "time()",
    "pi()",
    "vector(1)",
    "scalar(x)",
    "abs(x)",
    "round(x)",
    "round(x, 5)",
    "day_of_month()",
    "day_of_month(x)",
    "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")",
    "label_join(x, \"a\", \",\")",
    "label_join(x, \"a\", \",\", \"b\", \"c\")",
    "sort_by_label(x, \"a\", \"b\")",
    "sort_by_label_desc(x)",
    "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
    "absent(x{a=\"b\"})",
    "absent_over_time(x[5m])",
    "quantile_over_time(0.5, x[5m])",
    "predict_linear(x[1h], 4 * 3600)",
    "double_exponential_smoothing(x[5m], 0.5, 0.5)",
    "info(x)",
    "info(x, {a=\"b\"})",
    "clamp(x, 0, 1)",
    "timestamp(x)",
    "max_over_time(deriv(rate(x[1m])[5m:1m])[10m:])",
    "sum(rate(http_requests_total{code=~\"5..\"}[5m])) by (job) / sum(rate(http_requests_total[5m])) by (job) > 0.05",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trees_and_texts_of_queries_are_those_of_a_real_prometheus() {
    let _turn = turn().await;
    let Some((prometheus, valmis)) = pair(CONFIGURATION).await else { return };
    let own = EXPRESSIONS.iter().map(|text| (*text).to_owned());
    // Every fifth: each takes two requests to two servers, and this program is not optimised.
    let scripts = script_expressions().unwrap_or_default().into_iter().step_by(5);
    let queries: Vec<String> = own.chain(scripts).collect();
    let paths = ["/api/v1/parse_query", "/api/v1/format_query"];
    let questions = queries.iter().flat_map(|query| paths.map(|path| (path, query.as_str())));
    let comparisons = questions.map(async |(path, query)| {
        let form = [("query", query)];
        let (theirs, ours) =
            tokio::join!(post(prometheus.address, path, &form), post(valmis.address, path, &form));
        // What this version does not know yet, or valmis does not switch on, is not compared.
        if theirs.status.is_success() && ours.status.is_success() {
            let (theirs, ours) = (tree(theirs), tree(ours));
            return Some((theirs != ours).then(|| format!("{path} {query}\n  {theirs}\n  {ours}")));
        }
        assert!(!EXPRESSIONS.contains(&query), "{query}: {} {}", theirs.error(), ours.error());
        None
    });
    let comparisons: Vec<Option<String>> =
        stream::iter(comparisons).buffer_unordered(8).filter_map(future::ready).collect().await;
    let compared = comparisons.len();
    let faults: Vec<String> = comparisons.into_iter().flatten().collect();
    say(&format!("{compared} trees and texts were compared"));
    assert!(compared >= 2 * EXPRESSIONS.len());
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
}

/// The answer without what was added to trees since version 3.5: durations that are computed, and what else
/// says that nothing new is used.
fn tree(said: Said) -> Value {
    fn forget(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                let nothing = serde_json::json!({"lhs": null, "rhs": null});
                fields.retain(|name, value| match name.as_str() {
                    "rangeExpr" | "offsetExpr" | "stepExpr" => false,
                    "anchored" | "smoothed" => *value != Value::Bool(false),
                    "fillValues" => *value != nothing,
                    _ => true,
                });
                fields.values_mut().for_each(forget);
            }
            Value::Array(items) => items.iter_mut().for_each(forget),
            _ => {}
        }
    }
    let mut body = said.body;
    forget(&mut body);
    body
}
