//! What is evaluated: the templates of Prometheus' own range query benchmark, and of what it leaves out.
//! Source: Prometheus `promql/bench_test.go`.

use std::fmt;

pub(crate) use crate::templates::JOINS;
use crate::templates::RANGE;

/// A query and how many steps it is evaluated at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) query: String,
    pub(crate) steps: i64,
}

impl Case {
    fn new(query: impl Into<String>, steps: i64) -> Self {
        Self { query: query.into(), steps }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps={}", self.query, self.steps)
    }
}

/// The functions of windows that `BenchmarkRangeQuery` leaves out, over windows of `R`, and what else
/// works over windows or within histograms.
const WINDOWS: &[&str] = &[
    "sum_over_time(a_X[R])",
    "avg_over_time(a_X[R])",
    "min_over_time(a_X[R])",
    "max_over_time(a_X[R])",
    "stddev_over_time(a_X[R])",
    "quantile_over_time(0.9, a_X[R])",
    "mad_over_time(a_X[R])",
    "count_over_time(a_X[R])",
    "last_over_time(a_X[R])",
    "resets(a_X[R])",
    "deriv(a_X[R])",
    "predict_linear(a_X[R], 3600)",
    "delta(a_X[R])",
    "irate(a_X[R])",
    "ts_of_max_over_time(a_X[R])",
    "increase(a_X[R] anchored)",
    "max_over_time(a_X[R:10s])",
    "avg_over_time(a_X[R:10s])",
];

const HISTOGRAMS: &[&str] = &[
    "histogram_quantile(0.9, sum by (le) (rate(h_X[5m])))",
    "histogram_fraction(1, 5, rate(h_X[5m]))",
    "max_over_time(rate(a_X[1m])[1h:10s])",
];

/// The queries of `BenchmarkNativeHistograms`.
pub(crate) const NATIVE: &[&str] = &[
    "sum(native_histogram_series)",
    "sum(rate(native_histogram_series[2m]))",
    "sum(rate(native_histogram_series[20m]))",
    "histogram_count(sum(rate(native_histogram_series[2m])))",
    "histogram_count(sum(rate(native_histogram_series[20m])))",
    "histogram_count(sum(rate(native_histogram_series[2m]))) + histogram_sum(sum(rate(native_histogram_series[2m])))",
    "histogram_count(sum(rate(native_histogram_series[20m]))) + histogram_sum(sum(rate(native_histogram_series[20m])))",
    "histogram_quantile(0.9, sum(rate(native_histogram_series[2m])))",
    "histogram_quantile(0.9, native_histogram_series)",
    "sum_over_time(native_histogram_series[2m])",
];

/// The queries of `BenchmarkInfoFunction`.
pub(crate) const INFO: &[&str] = &[
    "rate(http_server_request_duration_seconds_count[2m]) * on (job, instance) group_left (k8s_cluster_name) target_info{k8s_cluster_name='us-east'}",
    "info(rate(http_server_request_duration_seconds_count[2m]), {k8s_cluster_name='us-east'})",
    "sum by (k8s_cluster_name, http_status_code) (rate(http_server_request_duration_seconds_count[2m]) * on (job, instance) group_left (k8s_cluster_name) target_info)",
    "sum by (k8s_cluster_name, http_status_code) (info(rate(http_server_request_duration_seconds_count[2m]), {k8s_cluster_name=~'.+'}))",
];

/// The queries of `BenchmarkParser`, those that are refused included.
pub(crate) const PARSER: &[&str] = &[
    "a",
    "metric",
    "1",
    "1 >= bool 1",
    "1 + 2/(3*1)",
    "foo or bar",
    "foo and bar unless baz or qux",
    "bar + on(foo) bla / on(baz, buz) group_right(test) blub",
    "foo / ignoring(test,blub) group_left(blub) bar",
    "foo - ignoring(test,blub) group_right(bar,foo) bar",
    "foo{a=\"b\", foo!=\"bar\", test=~\"test\", bar!~\"baz\"}",
    "min_over_time(rate(foo{bar=\"baz\"}[2s])[5m:])[4m:3s]",
    "sum without(and, by, avg, count, alert, annotations)(some_metric) [30m:10s]",
    "sort_by_label(metric, \"foo\", \"bar\")",
    "(",
    "}",
    "1 or 1",
    "1 or on(bar) foo",
    "foo unless on(bar) group_left(baz) bar",
    "test[5d] OFFSET 10s [10m:5s]",
];

/// Rules over 30,000 instances.
pub(crate) const RULES: &[&str] = &[
    "up == 0",
    "sum by (job) (rate(http_errors_total[5m])) / sum by (job) (rate(http_requests_total[5m])) > 0.05",
    "node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.1",
    "predict_linear(node_filesystem_avail_bytes[30m], 4 * 3600) < 0",
    "histogram_quantile(0.99, sum by (job, le) (rate(latency_seconds_bucket[5m]))) > 1",
    "histogram_quantile(0.99, rate(latency_seconds_bucket[5m])) > 1",
    "absent(up{job=\"nothing\"})",
    "count by (job) (up)",
    "max_over_time(up[5m]) == 0",
];

/// `BenchmarkRangeQuery` with these sizes for X, and these numbers of steps where a template has none.
pub(crate) fn range(sizes: &[&str], steps: &[i64]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (template, own_steps) in RANGE {
        let own_steps = own_steps.map(|own| vec![own]);
        let sizes = if template.contains('X') { sizes } else { &["one"] };
        for size in sizes {
            let query = template.replace('X', size);
            let steps = own_steps.as_deref().unwrap_or(steps);
            cases.extend(steps.iter().map(|steps| Case::new(query.clone(), *steps)));
        }
    }
    cases
}

/// The functions of windows.
pub(crate) fn windows(size: &str, lengths: &[&str], steps: i64) -> Vec<Case> {
    let over = |length: &&str| {
        let length = (*length).to_owned();
        WINDOWS.iter().map(move |template| template.replace('R', &length))
    };
    let templates = lengths.iter().flat_map(over).chain(HISTOGRAMS.iter().map(|&query| query.to_owned()));
    templates.map(|template| Case::new(template.replace('X', size), steps)).collect()
}

/// What instructions are counted of: smaller, since counting them takes fifty times as long.
pub(crate) fn counted() -> Vec<Case> {
    let mut cases = range(&["ten"], &[1, 100]);
    for case in &mut cases {
        case.steps = case.steps.min(1_000);
    }
    cases.extend(windows("ten", &["5m", "1d"], 100));
    cases.extend(JOINS.iter().map(|query| Case::new(*query, 100)));
    cases.extend(NATIVE.iter().chain(INFO).map(|query| Case::new(*query, 240)));
    cases
}
