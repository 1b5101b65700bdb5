//! A store for tests: it keeps everything and refuses what a store refuses.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::model::{Labels, TimestampMs, format_float, is_stale};
use crate::storage::{AppendError, Appender, RefHistogram, RefSample, SeriesRef};

#[derive(Default)]
pub(super) struct TestStore(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    references: HashMap<Labels, SeriesRef>,
    points: HashMap<SeriesRef, (Labels, Vec<Kept>)>,
    next: u64,
    series_limit: Option<usize>,
}

/// A float or a histogram, as text.
#[derive(PartialEq)]
struct Kept {
    at: TimestampMs,
    shown: String,
}

impl TestStore {
    /// From now on there may be this many series.
    pub(super) fn limit_series(&self, limit: usize) {
        self.lock().series_limit = Some(limit);
    }

    /// Forgets that the series were ever referred to, as a store does with series long out of use.
    pub(super) fn invalidate_references(&self) {
        let mut inner = self.lock();
        let old = std::mem::take(&mut inner.points);
        inner.references.clear();
        #[expect(clippy::iter_over_hash_type, reason = "references have no order")]
        for (_, (labels, points)) in old {
            inner.next += 1;
            let reference = SeriesRef(1_000 + inner.next);
            inner.references.insert(labels.clone(), reference);
            inner.points.insert(reference, (labels, points));
        }
    }

    /// The points of the series of that name, `value@time` or `stale@time`, with those labels beside
    /// the name that `job` and `instance` leave.
    pub(super) fn dump(&self, prefix: &str) -> Vec<String> {
        let inner = self.lock();
        let mut lines: Vec<String> = inner
            .points
            .values()
            .filter(|(labels, points)| labels.metric_name().starts_with(prefix) && !points.is_empty())
            .map(|(labels, points)| {
                let rest = labels.filtered(|name| !matches!(name, "__name__" | "job" | "instance"));
                let points: Vec<String> =
                    points.iter().map(|kept| format!("{}@{}", kept.shown, kept.at)).collect();
                format!("{}{rest} {}", labels.metric_name(), points.join(" "))
            })
            .collect();
        lines.sort();
        lines
    }

    /// All series of a name.
    pub(super) fn series(&self, name: &str) -> Vec<Labels> {
        let inner = self.lock();
        let mut all: Vec<Labels> =
            inner.references.keys().filter(|labels| labels.metric_name() == name).cloned().collect();
        all.sort();
        all
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Appender for TestStore {
    fn reference(&self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        let mut inner = self.lock();
        if let Some(known) = inner.references.get(labels) {
            return Ok(*known);
        }
        if inner.series_limit.is_some_and(|limit| inner.references.len() >= limit) {
            return Err(AppendError::SeriesLimit);
        }
        inner.next += 1;
        let reference = SeriesRef(inner.next);
        inner.references.insert(labels.clone(), reference);
        inner.points.insert(reference, (labels.clone(), Vec::new()));
        Ok(reference)
    }

    fn append(&self, batch: &[RefSample]) -> Vec<(usize, AppendError)> {
        let mut inner = self.lock();
        let append = |sample: &RefSample| {
            let shown = if is_stale(sample.value) { "stale".to_owned() } else { format_float(sample.value) };
            inner.append(sample.series, Kept { at: sample.at, shown })
        };
        errors(batch.iter().map(append))
    }

    fn append_histograms(&self, batch: &[RefHistogram]) -> Vec<(usize, AppendError)> {
        let mut inner = self.lock();
        let append = |sample: &RefHistogram| {
            inner.append(sample.series, Kept { at: sample.at, shown: sample.histogram.to_string() })
        };
        errors(batch.iter().map(append))
    }
}

fn errors(outcomes: impl Iterator<Item = Result<(), AppendError>>) -> Vec<(usize, AppendError)> {
    outcomes.enumerate().filter_map(|(index, outcome)| Some((index, outcome.err()?))).collect()
}

impl Inner {
    fn append(&mut self, series: SeriesRef, kept: Kept) -> Result<(), AppendError> {
        let (_, all) = self.points.get_mut(&series).ok_or(AppendError::UnknownReference)?;
        match all.last() {
            Some(last) if last.at > kept.at => Err(AppendError::OutOfOrder),
            Some(last) if last.at == kept.at && *last != kept => Err(AppendError::Duplicate),
            Some(last) if *last == kept => Ok(()),
            _ => {
                all.push(kept);
                Ok(())
            }
        }
    }
}
