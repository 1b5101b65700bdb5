//! How much one component may tell. Pure.
//!
//! A file that a job leaves, a query of the user or a server with a thousand devices must not fill the
//! store that alerts are judged from. What is too much goes as whole metrics: half a metric gives sums that
//! look right and are not.

use std::collections::BTreeMap;

use crate::model::{METRIC_NAME, Sample};

/// How many series one component may have unless the configuration says otherwise. A PostgreSQL server with
/// all collectors and many tables has some 5,000, a large machine some 2,000.
pub const DEFAULT_MAX_SERIES: usize = 10_000;

/// The longest value of a label, in bytes; what is longer is cut.
const MAX_LABEL_BYTES: usize = 1024;

/// What was left out of a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Series.
    pub series: usize,
    /// The metrics that they belong to, in order.
    pub metrics: Vec<String>,
}

/// Brings the samples of a component within `max_series`. The smallest metrics stay, of equal ones those
/// that come first by name: so the few figures that say whether something works outlive the flood, and the
/// choice is the same at every probe.
pub(super) fn confine(samples: &mut Vec<Sample>, max_series: usize) -> Dropped {
    for sample in samples.iter_mut() {
        cut_labels(sample);
    }
    if samples.len() <= max_series {
        return Dropped::default();
    }
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for sample in samples.iter() {
        *sizes.entry(sample.labels.metric_name()).or_default() += 1;
    }
    let mut by_size: Vec<(&str, usize)> = sizes.into_iter().collect();
    by_size.sort_by_key(|(_, size)| *size);
    let mut kept = 0;
    let fits = |(_, size): &&(&str, usize)| {
        kept += *size;
        kept <= max_series
    };
    let staying = by_size.iter().take_while(fits).count();
    let mut metrics: Vec<String> = by_size[staying..].iter().map(|(name, _)| (*name).to_owned()).collect();
    metrics.sort_unstable();
    let before = samples.len();
    samples.retain(|sample| {
        let name = sample.labels.metric_name();
        metrics.binary_search_by(|dropped| dropped.as_str().cmp(name)).is_err()
    });
    Dropped { series: before - samples.len(), metrics }
}

fn cut_labels(sample: &mut Sample) {
    if sample.labels.iter().all(|(_, value)| value.len() <= MAX_LABEL_BYTES) {
        return;
    }
    let mut labels = sample.labels.builder();
    for (name, value) in sample.labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        let end = (0..=MAX_LABEL_BYTES.min(value.len())).rev().find(|end| value.is_char_boundary(*end));
        labels.set(name, &value[..end.unwrap_or_default()]);
    }
    sample.labels = labels.build();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn metric(name: &str, series: usize) -> impl Iterator<Item = Sample> {
        (0..series).map(move |index| {
            let labels = Labels::from_pairs([(METRIC_NAME, name), ("id", index.to_string().as_str())]);
            Sample::new(labels, 0, 1.0)
        })
    }

    #[test]
    fn whole_metrics_go_and_the_smallest_stay() {
        let check = |metrics: &[(&str, usize)], left: usize, dropped: &[&str]| {
            let mut samples: Vec<Sample> =
                metrics.iter().flat_map(|(name, series)| metric(name, *series)).collect();
            let before = samples.len();
            let found = confine(&mut samples, 10);
            assert_eq!((samples.len(), found.series), (left, before - left), "{metrics:?}");
            assert_eq!(found.metrics, dropped, "{metrics:?}");
        };
        check(&[], 0, &[]);
        check(&[("a", 10)], 10, &[]);
        check(&[("a", 11)], 0, &["a"]);
        check(&[("flood", 100_000), ("up", 1), ("b", 9)], 10, &["flood"]);
        check(&[("up", 1), ("b", 5), ("a", 5), ("c", 5)], 6, &["b", "c"]);
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let check = |value: &str, expected_bytes: usize| {
            let labels = Labels::from_pairs([(METRIC_NAME, "a"), ("query", value)]);
            let mut samples = vec![Sample::new(labels, 0, 1.0)];
            assert_eq!(confine(&mut samples, 10), Dropped::default());
            let labels = &samples[0].labels;
            assert_eq!((labels.metric_name(), labels.get("query").len()), ("a", expected_bytes));
            assert!(value.starts_with(labels.get("query")));
        };
        check("short", 5);
        check(&"x".repeat(1024), 1024);
        check(&"x".repeat(100_000), 1024);
        check(&format!("x{}", "é".repeat(1000)), 1023);
    }
}
