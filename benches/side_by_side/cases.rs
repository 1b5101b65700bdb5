//! The queries: those of Prometheus' own `BenchmarkRangeQuery` and `BenchmarkJoinQuery`.
//! Source: Prometheus 3.14 `promql/bench_test.go`.

use crate::data::INTERVAL_MS;

/// A query and over how many steps it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) query: String,
    /// 1 is an instant query.
    pub(crate) steps: i64,
}

/// `X` stands for the numbers of series. Without steps it is asked over 1 and over 1,000.
const TEMPLATES: &[(&str, Option<i64>)] = &[
    ("a_X", None),
    ("rate(a_X[1m])", None),
    ("rate(a_X[1m])", Some(10_000)),
    ("rate(sparse[1m])", Some(10_000)),
    ("rate(a_X[1m] smoothed)", None),
    ("rate(a_X[1m] smoothed)", Some(10_000)),
    ("rate(sparse[1m] smoothed)", Some(10_000)),
    ("double_exponential_smoothing(a_X[1d], 0.3, 0.3)", None),
    ("changes(a_X[1d])", None),
    ("rate(a_X[1d])", None),
    ("absent_over_time(a_X[1d])", None),
    ("-a_X", None),
    ("a_X - b_X", None),
    ("a_X - b_X", Some(10_000)),
    ("a_X and b_X{l=~'.*[0-4]$'}", None),
    ("a_X or b_X{l=~'.*[0-4]$'}", None),
    ("a_X unless b_X{l=~'.*[0-4]$'}", None),
    ("a_X and b_X{l='notfound'}", None),
    ("abs(a_X)", None),
    ("label_replace(a_X, 'l2', '$1', 'l', '(.*)')", None),
    ("label_join(a_X, 'l2', '-', 'l', 'l')", None),
    ("sum(a_X)", None),
    ("avg(a_X)", None),
    ("sum without (l)(h_X)", None),
    ("sum without (le)(h_X)", None),
    ("sum by (l)(h_X)", None),
    ("sum by (le)(h_X)", None),
    ("count_values('value', h_X)", Some(100)),
    ("topk(1, a_X)", None),
    ("topk(5, a_X)", None),
    ("limitk(1, a_X)", None),
    ("limitk(5, a_X)", None),
    ("limit_ratio(0.1, a_X)", None),
    ("limit_ratio(0.5, a_X)", None),
    ("limit_ratio(-0.5, a_X)", None),
    ("rate(a_X[1m]) + rate(b_X[1m])", None),
    ("sum without (l)(rate(a_X[1m]))", None),
    ("sum without (l)(rate(a_X[1m])) / sum without (l)(rate(b_X[1m]))", None),
    ("histogram_quantile(0.9, rate(h_X[5m]))", None),
    ("a_X + on(l) group_right a_one", None),
    ("count({__name__!=\"\"})", Some(1)),
    ("count({__name__!=\"\",l=\"\"})", Some(1)),
    ("timestamp(a_X)", None),
    // Prometheus' own benchmark asks over 5,000 steps, where an answer has 150 MB.
    ("rpc_request_success_total + rpc_request_error_total", Some(1_000)),
    ("rpc_request_success_total + ON (job, instance) GROUP_LEFT rpc_request_error_total", Some(1_000)),
    ("rpc_request_success_total AND rpc_request_error_total{instance=~\"0.*\"}", Some(1_000)),
    ("rpc_request_success_total OR rpc_request_error_total{instance=~\"0.*\"}", Some(1_000)),
    ("rpc_request_success_total UNLESS rpc_request_error_total{instance=~\"0.*\"}", Some(1_000)),
];

/// All cases whose query, followed by ` @` and the number of steps, contains the filter.
pub(crate) fn all(filter: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for (template, steps) in TEMPLATES {
        let sizes: &[&str] = if template.contains('X') { &["one", "hundred"] } else { &[""] };
        for size in sizes {
            for steps in steps.map_or(vec![1, 1_000], |steps| vec![steps]) {
                cases.push(Case { query: template.replace('X', size), steps });
            }
        }
    }
    cases.retain(|case| format!("{} @{}", case.query, case.steps).contains(filter));
    cases
}

impl Case {
    /// Path and query of the request, for data that end an interval before `end`.
    pub(crate) fn target(&self, end: i64) -> String {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        text.append_pair("query", &self.query);
        let seconds = |ms: i64| (ms / 1000).to_string();
        if self.steps == 1 {
            text.append_pair("time", &seconds(end));
            return format!("/api/v1/query?{}", text.finish());
        }
        text.append_pair("start", &seconds(end - self.steps * INTERVAL_MS));
        text.append_pair("end", &seconds(end));
        text.append_pair("step", &seconds(INTERVAL_MS));
        format!("/api/v1/query_range?{}", text.finish())
    }
}
