//! The labels of a stored series: those of the page and those of the target.

use super::LabelLimits;
use super::error::ScrapeError;
use crate::model::{Labels, METRIC_NAME};

/// Puts both together. Where both have a label, with `honor` that of the page stays; otherwise that of
/// the target does and that of the page becomes `exported_<name>`, with more prefixes if that is taken.
pub(super) fn join_labels(page: &Labels, target: &Labels, honor: bool) -> Labels {
    let mut builder = page.builder();
    let mut conflicts: Vec<(&str, &str)> = Vec::new();
    for (name, value) in target.iter() {
        if !page.has(name) {
            builder.set(name, value);
        } else if !honor {
            conflicts.push((name, value));
        }
    }
    // Shorter names first, so that `job` and `exported_job` find their places in that order.
    conflicts.sort_by_key(|(name, _)| name.len());
    for (name, value) in conflicts {
        builder.set_exporting(name, value);
    }
    builder.build()
}

/// Whether a series is within the limits; the target's labels count.
pub(super) fn check_limits(labels: &Labels, limits: &LabelLimits) -> Result<(), ScrapeError> {
    let short = |text: &str| text.chars().take(50).collect::<String>();
    let metric = || short(labels.get(METRIC_NAME));
    if let Some(limit) = limits.count.filter(|limit| labels.len() > *limit) {
        return Err(ScrapeError::LabelLimit { metric: metric(), count: labels.len(), limit });
    }
    for (name, value) in labels.iter() {
        if let Some(limit) = limits.name_length.filter(|limit| name.len() > *limit) {
            let (length, name) = (name.len(), short(name));
            return Err(ScrapeError::LabelNameLength { metric: metric(), name, length, limit });
        }
        if let Some(limit) = limits.value_length.filter(|limit| value.len() > *limit) {
            let (length, name, value) = (value.len(), short(name), short(value));
            return Err(ScrapeError::LabelValueLength { metric: metric(), name, value, length, limit });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_or_the_page_wins() {
        let check = |page: &[(&str, &str)], honor, expected: &str| {
            let target = Labels::from_pairs([("job", "j"), ("instance", "i"), ("exported_job", "e")]);
            let page = Labels::from_pairs(page.iter().copied());
            assert_eq!(join_labels(&page, &target, honor).to_string(), expected);
        };
        check(&[("a", "1")], false, r#"{a="1", exported_job="e", instance="i", job="j"}"#);
        check(&[("a", "1")], true, r#"{a="1", exported_job="e", instance="i", job="j"}"#);
        check(&[("instance", "x")], true, r#"{exported_job="e", instance="x", job="j"}"#);
        check(
            &[("instance", "x")],
            false,
            r#"{exported_instance="x", exported_job="e", instance="i", job="j"}"#,
        );
        check(
            &[("job", "x"), ("exported_job", "y")],
            false,
            r#"{exported_exported_exported_job="y", exported_exported_job="x", exported_job="e", instance="i", job="j"}"#,
        );
    }

    #[test]
    fn limits_name_what_exceeds_them() {
        let check = |limits: LabelLimits, expected: Option<&str>| {
            let labels = Labels::from_pairs([("__name__", "m"), ("abc", "12345")]);
            let found = check_limits(&labels, &limits).err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), expected);
        };
        check(LabelLimits::default(), None);
        check(LabelLimits { count: Some(2), name_length: Some(8), value_length: Some(5) }, None);
        check(
            LabelLimits { count: Some(1), ..LabelLimits::default() },
            Some("label_limit exceeded (metric: m, number of labels: 2, limit: 1)"),
        );
        check(
            LabelLimits { name_length: Some(7), ..LabelLimits::default() },
            Some("label_name_length_limit exceeded (metric: m, label name: __name__, length: 8, limit: 7)"),
        );
        check(
            LabelLimits { value_length: Some(4), ..LabelLimits::default() },
            Some(
                "label_value_length_limit exceeded (metric: m, label name: abc, value: \"12345\", length: 5, limit: 4)",
            ),
        );
    }
}
