//! How long parsing and printing take, from the smallest query to a large dashboard's.

use valmis::promql::{Features, parse_with};

const QUERIES: [(&str, &str); 5] = [
    ("name", "up"),
    ("rate", r#"sum by (job) (rate(http_requests_total{code=~"5..",job="api"}[5m]))"#),
    (
        "ratio",
        r#"100 * (1 - avg by (instance) (irate(node_cpu_seconds_total{instance=~".*cust01.prd.*",mode="idle"}[1d])))"#,
    ),
    (
        "join",
        r#"sum by (pod) ((kube_pod_container_status_restarts_total{namespace="a",cluster="b"} - kube_pod_container_status_restarts_total{namespace="a",cluster="b"} offset 10m) >= 1 and ignoring (reason) min_over_time(kube_pod_container_status_last_terminated_reason{namespace="a",cluster="b",reason="OOMKilled"}[10m]) == 1)"#,
    ),
    ("subquery", "max_over_time(rate(foo[5m])[1h:30s] @ end() offset -(step() + 1m)) </ 1"),
];

fn main() {
    divan::main();
}

fn names() -> impl Iterator<Item = &'static str> {
    QUERIES.iter().map(|(name, _)| *name)
}

fn query(name: &str) -> &'static str {
    QUERIES.iter().find(|(known, _)| *known == name).map_or("", |(_, query)| query)
}

#[divan::bench(args = names())]
fn parse(name: &str) -> bool {
    parse_with(divan::black_box(query(name)), Features::ALL).is_ok()
}

#[divan::bench(args = names())]
fn print(bencher: divan::Bencher<'_, '_>, name: &str) {
    let expr = parse_with(query(name), Features::ALL).expect("the query is valid");
    bencher.bench(|| divan::black_box(&expr).to_string());
}
