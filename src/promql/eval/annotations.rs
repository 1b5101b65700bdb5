//! Remarks on a result, collected without duplicates.
//!
//! The texts are those of Prometheus' `util/annotations`.

use std::collections::HashMap;
use std::fmt::Write;

use crate::model::{NanEffect, Reconciled, Span, TimestampMs, quote};
use crate::promql::numeric::format_g;
use crate::promql::value::{Annotation, AnnotationKind};

use super::calendar::rfc3339;

/// Collects annotations. Of those with the same text the last place counts, as in Prometheus.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    entries: Vec<Entry>,
    /// Where the entry of each text is: a query over many metrics can have a remark on each.
    places: HashMap<String, usize>,
}

#[derive(Debug)]
struct Entry {
    kind: AnnotationKind,
    text: String,
    span: Span,
    detail: Detail,
}

/// What goes into the final text beside the text that tells annotations apart.
#[derive(Debug)]
enum Detail {
    None,
    /// Where buckets were not monotonic.
    Forced(ForcedMonotonicity),
    /// How often it arose.
    Occurrences(usize),
}

/// Where the counts of a classic histogram's buckets had to be corrected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ForcedMonotonicity {
    pub(super) first_at: TimestampMs,
    pub(super) last_at: TimestampMs,
    pub(super) min_bucket: f64,
    pub(super) max_bucket: f64,
    pub(super) max_diff: f64,
    pub(super) samples: usize,
}

impl ForcedMonotonicity {
    fn merge(&mut self, other: &Self) {
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
        self.min_bucket = self.min_bucket.min(other.min_bucket);
        self.max_bucket = self.max_bucket.max(other.max_bucket);
        self.max_diff = self.max_diff.max(other.max_diff);
        self.samples += other.samples;
    }
}

impl Annotations {
    fn add(&mut self, kind: AnnotationKind, text: String, span: Span, detail: Detail) {
        let Some(place) = self.places.get(&text) else {
            self.places.insert(text.clone(), self.entries.len());
            self.entries.push(Entry { kind, text, span, detail });
            return;
        };
        let known = &mut self.entries[*place];
        known.span = span;
        match (&mut known.detail, detail) {
            (Detail::Forced(known), Detail::Forced(new)) => known.merge(&new),
            (Detail::Occurrences(known), Detail::Occurrences(new)) => *known += new,
            (known, detail) => *known = detail,
        }
    }

    /// Takes over the remarks of another collection.
    pub(super) fn append(&mut self, other: Self) {
        for Entry { kind, text, span, detail } in other.entries {
            self.add(kind, text, span, detail);
        }
    }

    fn warning(&mut self, text: &str, span: Span) {
        self.add(AnnotationKind::Warning, format!("PromQL warning: {text}"), span, Detail::None);
    }

    fn info(&mut self, text: &str, span: Span) {
        self.add(AnnotationKind::Info, format!("PromQL info: {text}"), span, Detail::None);
    }

    pub(super) fn invalid_quantile(&mut self, q: f64, span: Span) {
        let got = format_g(q, None);
        self.warning(&format!("quantile value should be between 0 and 1, got {got}"), span);
    }

    pub(super) fn invalid_ratio(&mut self, ratio: f64, cap: f64, span: Span) {
        let (got, cap) = (format_g(ratio, None), format_g(cap, None));
        self.warning(&format!("ratio value should be between -1 and 1, got {got}, capping to {cap}"), span);
    }

    pub(super) fn bad_bucket_label(&mut self, metric: &str, value: &str, span: Span) {
        let name = for_metric(metric);
        self.warning(
            &format!("bucket label \"le\" is missing or has a malformed value of {}{name}", quote(value)),
            span,
        );
    }

    pub(super) fn sort_in_range_query(&mut self, span: Span) {
        self.warning(
            "sort is ineffective for range queries since results are always ordered by labels",
            span,
        );
    }

    pub(super) fn possible_non_counter(&mut self, metric: &str, span: Span) {
        self.info(
            &format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                quote(metric)
            ),
            span,
        );
    }

    pub(super) fn incompatible_types(&mut self, left: &str, operator: &str, right: &str, span: Span) {
        self.info(
            &format!(
                "incompatible sample types encountered for binary operator {operator:?}: \
                 {left} {operator} {right}"
            ),
            span,
        );
    }

    pub(super) fn mixed_floats_and_histograms(&mut self, metric: &str, span: Span) {
        let metric = quote(metric);
        self.warning(&format!("encountered a mix of histograms and floats for metric name {metric}"), span);
    }

    pub(super) fn mixed_aggregation(&mut self, span: Span) {
        self.warning("encountered a mix of histograms and floats for aggregation", span);
    }

    pub(super) fn mixed_classic_and_native(&mut self, metric: &str, span: Span) {
        let name = for_metric(metric);
        self.warning(&format!("vector contains a mix of classic and native histograms{name}"), span);
    }

    pub(super) fn mixed_exponential_and_custom(&mut self, metric: &str, span: Span) {
        self.warning(
            &format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric \
                 name {}",
                quote(metric)
            ),
            span,
        );
    }

    pub(super) fn histogram_not_counter(&mut self, metric: &str, span: Span) {
        let metric = quote(metric);
        self.warning(&format!("this native histogram metric is not a counter: {metric}"), span);
    }

    pub(super) fn histogram_not_gauge(&mut self, metric: &str, span: Span) {
        let metric = quote(metric);
        self.warning(&format!("this native histogram metric is not a gauge: {metric}"), span);
    }

    pub(super) fn incompatible_buckets(&mut self, operator: &str, span: Span) {
        self.warning(&format!("incompatible bucket layout encountered for binary operator {operator}"), span);
    }

    pub(super) fn histograms_ignored_in_range(&mut self, metric: &str, span: Span) {
        self.info(
            &format!(
                "ignored histograms in a range containing both floats and histograms for metric name {}",
                quote(metric)
            ),
            span,
        );
    }

    pub(super) fn histogram_ignored(&mut self, aggregation: &str, span: Span) {
        self.info(&format!("ignored histogram in {aggregation} aggregation"), span);
    }

    /// What adding up (`addition`, `subtraction` or `aggregation`) had to make equal.
    pub(super) fn reconciled(&mut self, reconciled: Reconciled, operation: &str, span: Span) {
        if reconciled.counter_reset_collision {
            self.warning(&format!("conflicting counter resets during histogram {operation}"), span);
        }
        if reconciled.custom_bounds {
            self.info(&format!("mismatched custom buckets were reconciled during {operation}"), span);
        }
    }

    pub(super) fn start_overlap(&mut self, metric: &str, span: Span) {
        let metric = quote(metric);
        let text = format!(
            "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric \
             {metric}"
        );
        self.add(AnnotationKind::Warning, text, span, Detail::Occurrences(1));
    }

    pub(super) fn nan_observations(&mut self, effect: NanEffect, metric: &str, span: Span) {
        let (function, consequence) = match effect {
            NanEffect::IsNan => ("histogram_quantile", "result is NaN"),
            NanEffect::SkewsUpwards => ("histogram_quantile", "result is skewed higher"),
            NanEffect::IsExcluded => ("histogram_fraction", "which are excluded from all fractions"),
        };
        let name = for_metric(metric);
        self.info(&format!("input to {function} has NaN observations, {consequence}{name}"), span);
    }

    pub(super) fn forced_monotonicity(&mut self, metric: &str, forced: ForcedMonotonicity, span: Span) {
        let name = for_metric(metric);
        self.add(
            AnnotationKind::Info,
            format!(
                "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){name}"
            ),
            span,
            Detail::Forced(forced),
        );
    }

    /// The annotations with their final texts, in the order in which they arose.
    pub(super) fn finish(self) -> Vec<Annotation> {
        let annotation = |entry: Entry| {
            let mut message = entry.text;
            // Writing to a String cannot fail.
            let _ = match entry.detail {
                Detail::None | Detail::Occurrences(..2) => Ok(()),
                Detail::Occurrences(count) => write!(message, " ({count} occurrences)"),
                Detail::Forced(forced) => write!(
                    message,
                    ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                    format_g(forced.min_bucket, None),
                    format_g(forced.max_bucket, None),
                    format_g(forced.max_diff, Some(2)),
                    forced.samples,
                    rfc3339(forced.first_at),
                    rfc3339(forced.last_at),
                ),
            };
            Annotation { kind: entry.kind, message, span: entry.span }
        };
        self.entries.into_iter().map(annotation).collect()
    }
}

fn for_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {}", quote(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_texts_the_last_place_counts() {
        let mut annotations = Annotations::default();
        annotations.invalid_quantile(1.5, Span::new(1, 2));
        annotations.possible_non_counter("m", Span::new(3, 4));
        annotations.invalid_quantile(1.5, Span::new(5, 6));
        let found = annotations.finish();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].span, Span::new(5, 6));
        assert_eq!(found[0].message, "PromQL warning: quantile value should be between 0 and 1, got 1.5");
        assert_eq!(found[1].kind, AnnotationKind::Info);
    }

    #[test]
    fn forced_monotonicity_sums_up_all_places() {
        let mut annotations = Annotations::default();
        let forced = ForcedMonotonicity {
            first_at: 0,
            last_at: 0,
            min_bucket: 0.5,
            max_bucket: 1.0,
            max_diff: 1.0,
            samples: 1,
        };
        annotations.forced_monotonicity("m", forced, Span::new(0, 1));
        let later = ForcedMonotonicity { first_at: 60_000, last_at: 60_000, max_bucket: 2.0, ..forced };
        annotations.forced_monotonicity("m", later, Span::new(0, 1));
        let found = annotations.finish();
        assert_eq!(found.len(), 1);
        assert!(found[0].message.ends_with(
            "for metric name \"m\", from buckets 0.5 to 2, with a max diff of 1, over 2 samples from \
             1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z"
        ));
    }
}
