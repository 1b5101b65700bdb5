//! `/api/v1/status/tsdb`: which names and labels the stored series come from.
//! Source: Prometheus `web/api/v1/api.go`, `serveTSDBStatus`, and `tsdb/index/postings.go`, `Stats`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::Handles;
use super::error::ApiError;
use super::params::Params;
use super::respond::success;
use crate::model::{Labels, METRIC_NAME, TimestampMs};

/// The most entries that may be asked for.
const MOST_ENTRIES: i64 = 10_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    head_stats: Head,
    series_count_by_metric_name: Vec<Entry>,
    label_value_count_by_label_name: Vec<Entry>,
    memory_in_bytes_by_label_name: Vec<Entry>,
    series_count_by_label_value_pair: Vec<Entry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    num_series: u64,
    num_label_pairs: usize,
    chunk_count: u64,
    min_time: TimestampMs,
    max_time: TimestampMs,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Entry {
    name: String,
    value: u64,
}

pub(super) async fn status(
    State(handles): State<Arc<Handles>>,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = match params.number("limit") {
        Ok(None) => 10,
        Ok(Some(limit @ 1..=MOST_ENTRIES)) => usize::try_from(limit).unwrap_or(usize::MAX),
        Ok(Some(limit)) if limit > MOST_ENTRIES => {
            return Err(ApiError::bad_data(format!("limit must not exceed {MOST_ENTRIES}")));
        }
        Ok(Some(_)) | Err(_) => return Err(ApiError::bad_data("limit must be a positive number")),
    };
    let series = handles.storage.series(&[], TimestampMs::MIN, TimestampMs::MAX).await?;
    let stats = handles.tsdb.stats();
    let counting = tokio::task::spawn_blocking(move || {
        let cardinality = Cardinality::of(&series);
        Status {
            head_stats: Head {
                num_series: stats.series,
                num_label_pairs: cardinality.pairs.len(),
                chunk_count: stats.chunks,
                min_time: stats.min_time.unwrap_or(TimestampMs::MAX),
                max_time: stats.max_time.unwrap_or(TimestampMs::MIN),
            },
            series_count_by_metric_name: cardinality.series_by_name(limit),
            label_value_count_by_label_name: cardinality.values_by_label(limit),
            memory_in_bytes_by_label_name: cardinality.bytes_by_label(limit),
            series_count_by_label_value_pair: cardinality.series_by_pair(limit),
        }
    });
    let status = counting.await.map_err(|failure| ApiError::internal(format!("cannot count: {failure}")))?;
    Ok(success(&status))
}

/// How many series have each label with each value.
struct Cardinality<'l> {
    pairs: HashMap<(&'l str, &'l str), u64>,
}

impl<'l> Cardinality<'l> {
    fn of(series: &'l [Labels]) -> Self {
        let mut pairs = HashMap::new();
        for pair in series.iter().flat_map(Labels::iter) {
            *pairs.entry(pair).or_default() += 1;
        }
        Self { pairs }
    }

    fn series_by_name(&self, limit: usize) -> Vec<Entry> {
        let names = self.pairs.iter().filter(|((label, _), _)| *label == METRIC_NAME);
        largest(names.map(|((_, name), count)| (*name, *count)), limit, ToString::to_string)
    }

    fn values_by_label(&self, limit: usize) -> Vec<Entry> {
        largest(self.pairs.keys().map(|(label, _)| (*label, 1)), limit, ToString::to_string)
    }

    /// Names and values with the byte that holds the length of each.
    fn bytes_by_label(&self, limit: usize) -> Vec<Entry> {
        let bytes = self
            .pairs
            .iter()
            .map(|((label, value), count)| (*label, (label.len() + value.len() + 2) as u64 * count));
        largest(bytes, limit, ToString::to_string)
    }

    fn series_by_pair(&self, limit: usize) -> Vec<Entry> {
        let pairs = self.pairs.iter().map(|(pair, count)| (*pair, *count));
        largest(pairs, limit, |(label, value)| format!("{label}={value}"))
    }
}

/// The entries with the largest sums, those with equal sums in the order of their keys.
fn largest<K: Hash + Ord>(
    numbers: impl Iterator<Item = (K, u64)>,
    limit: usize,
    name: impl Fn(&K) -> String,
) -> Vec<Entry> {
    let mut sums: HashMap<K, u64> = HashMap::new();
    for (key, number) in numbers {
        *sums.entry(key).or_default() += number;
    }
    let mut sums: Vec<(K, u64)> = sums.into_iter().collect();
    sums.sort_unstable_by(|one, other| (Reverse(one.1), &one.0).cmp(&(Reverse(other.1), &other.0)));
    sums.iter().take(limit).map(|(key, sum)| Entry { name: name(key), value: *sum }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first() {
        let series = [("up", "a"), ("up", "b"), ("down", "a")]
            .map(|(name, job)| Labels::from_pairs([(METRIC_NAME, name), ("job", job)]));
        let cardinality = Cardinality::of(&series);
        let check = |entries: Vec<Entry>, expected: &[(&str, u64)]| {
            let entries: Vec<(&str, u64)> =
                entries.iter().map(|entry| (entry.name.as_str(), entry.value)).collect();
            assert_eq!(entries, expected);
        };
        check(cardinality.series_by_name(10), &[("up", 2), ("down", 1)]);
        check(cardinality.values_by_label(1), &[("__name__", 2)]);
        check(cardinality.bytes_by_label(10), &[("__name__", 38), ("job", 18)]);
        check(cardinality.series_by_pair(3), &[("__name__=up", 2), ("job=a", 2), ("__name__=down", 1)]);
    }
}
