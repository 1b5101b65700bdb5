//! What the metrics of all probes mean, for whoever exposes them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{certificate, disk, http, node, postgres, redis};

/// Name, type (as in `# TYPE`) and help text of a metric.
pub type MetricMetadata = (&'static str, &'static str, &'static str);

/// The lists of all probers; what they share stands in several of them.
const PROBERS: &[&[&[MetricMetadata]]] = &[
    http::METADATA,
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

/// What the metric of that name means, if a probe may emit it.
pub fn described(name: &str) -> Option<&'static MetricMetadata> {
    let all = metadata();
    all.binary_search_by(|(known, ..)| (*known).cmp(name)).ok().map(|index| &all[index])
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
