//! What the metrics of all probes mean, for whoever exposes them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{certificate, disk, dns, grpc, http, icmp, node, postgres, redis, tcp, unix};

/// Name, type (as in `# TYPE`) and help text of a metric.
pub type MetricMetadata = (&'static str, &'static str, &'static str);

/// Labels of the `…_build_info` of the exporter in whose place a prober answers: dashboards find by it what
/// they show.
pub(super) const BUILD: &[(&str, &str)] = &[
    ("version", concat!("valmis-", env!("CARGO_PKG_VERSION"))),
    ("goos", std::env::consts::OS),
    ("goarch", std::env::consts::ARCH),
];

/// What whoever runs a probe knows of it. Source: blackbox exporter `prober/handler.go`.
const RUN_METADATA: &[MetricMetadata] =
    &[("probe_timeout_seconds", "gauge", "Returns how long the probe timeout is in seconds")];

/// The lists of all probers; what they share stands in several of them.
const PROBERS: &[&[&[MetricMetadata]]] = &[
    &[RUN_METADATA],
    http::METADATA,
    tcp::METADATA,
    unix::METADATA,
    dns::METADATA,
    icmp::METADATA,
    grpc::METADATA,
    certificate::SERVED_METADATA,
    certificate::FILES_METADATA,
    &[certificate::COMPARED_METADATA],
    &[disk::METADATA],
    node::METADATA,
    redis::METADATA,
];

/// Every metric that a probe may emit, sorted by name, each once.
pub fn metadata() -> &'static [MetricMetadata] {
    static ALL: LazyLock<Vec<MetricMetadata>> = LazyLock::new(|| {
        let constant = PROBERS.iter().copied().flatten().copied().flatten();
        let entries = constant.chain(postgres::metadata());
        let by_name: BTreeMap<_, _> = entries.map(|entry| (entry.0, *entry)).collect();
        by_name.into_values().collect()
    });
    &ALL
}

/// Type and help text of one metric; also of those whose names the thing probed chooses.
pub fn describe(name: &str) -> Option<(&'static str, &'static str)> {
    let found = metadata().binary_search_by(|(described, ..)| (*described).cmp(name));
    let described = found.ok().map(|index| (metadata()[index].1, metadata()[index].2));
    described.or_else(|| postgres::describe(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_means_the_same_in_every_prober() {
        let constant = PROBERS.iter().copied().flatten().copied().flatten();
        let entries = constant.chain(postgres::metadata());
        for entry in entries {
            assert!(metadata().contains(entry), "{} is described in two ways", entry.0);
            assert!(matches!(entry.1, "gauge" | "counter" | "untyped") && !entry.2.is_empty(), "{entry:?}");
        }
    }
}
