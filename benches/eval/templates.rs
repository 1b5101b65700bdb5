//! What Prometheus' own engine is measured with, shared by the benchmarks here.
//! Source: Prometheus 3.14 `promql/bench_test.go`.

/// The templates of `BenchmarkRangeQuery`. X stands for how many series there are. Without a number of
/// steps there are few and many.
pub(crate) const RANGE: &[(&str, Option<i64>)] = &[
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
    ("count({__name__!=''})", Some(1)),
    ("count({__name__!='',l=''})", Some(1)),
    ("timestamp(a_X)", None),
];

/// The queries of `BenchmarkJoinQuery`.
pub(crate) const JOINS: &[&str] = &[
    "rpc_request_success_total + rpc_request_error_total",
    "rpc_request_success_total + on (job, instance) group_left rpc_request_error_total",
    "rpc_request_success_total and rpc_request_error_total{instance=~'0.*'}",
    "rpc_request_success_total or rpc_request_error_total{instance=~'0.*'}",
    "rpc_request_success_total unless rpc_request_error_total{instance=~'0.*'}",
];
