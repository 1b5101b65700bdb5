//! A store for tests: it keeps everything and refuses what a store refuses.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::model::{Labels, Point, format_float, is_stale};
use crate::storage::{AppendError, Appender, RefSample, SeriesRef};

#[derive(Default)]
pub(super) struct TestStore(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    references: HashMap<Labels, SeriesRef>,
    points: HashMap<SeriesRef, (Labels, Vec<Point>)>,
    next: u64,
    series_limit: Option<usize>,
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
                let points: Vec<String> = points.iter().map(show).collect();
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

fn show(point: &Point) -> String {
    let value = if is_stale(point.value) { "stale".to_owned() } else { format_float(point.value) };
    format!("{value}@{}", point.at)
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
        let mut refused = Vec::new();
        for (index, sample) in batch.iter().enumerate() {
            let point = Point { at: sample.at, value: sample.value };
            let error = match inner.points.get_mut(&sample.series) {
                None => AppendError::UnknownReference,
                Some((_, points)) => match points.last() {
                    Some(last) if last.at > point.at => AppendError::OutOfOrder,
                    Some(last) if last.at == point.at && *last != point => AppendError::Duplicate,
                    Some(last) if *last == point => continue,
                    _ => {
                        points.push(point);
                        continue;
                    }
                },
            };
            refused.push((index, error));
        }
        refused
    }
}
