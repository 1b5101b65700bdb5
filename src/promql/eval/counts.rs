//! Counting the samples that an evaluation looks at, for whoever wants to know what a query costs.
//!
//! Source of what counts and where: Prometheus `promql/engine.go` and `util/stats/query_stats.go`.

use crate::model::{HistogramPoint, Point, is_stale};
use crate::promql::plan::Range;
use crate::promql::steps::Steps;
use crate::promql::value::{EvalError, SampleStats, StepSamples};
use crate::storage::{Samples, SeriesSamples};

use super::Evaluator;
use super::matrix::{Cells, StepMatrix, is_present};
use super::window::bounds;

/// Samples by the number of the instant that looked at them.
#[derive(Debug)]
pub(super) struct Counts {
    /// All that an instant looks at: of a range, its whole window.
    total: Vec<u64>,
    /// What an instant is the first to look at.
    read: Vec<u64>,
}

impl Counts {
    pub(super) fn new(steps: usize) -> Self {
        Self { total: vec![0; steps], read: vec![0; steps] }
    }

    pub(super) fn finish(self, steps: Steps, peak: usize) -> SampleStats {
        let each = steps.iter().zip(self.total).zip(self.read);
        let steps = each.map(|((at, total), read)| StepSamples { at, total, read });
        SampleStats { steps: steps.collect(), peak }
    }

    /// Adds what an instant looks at for the first time.
    fn add(&mut self, step: usize, samples: usize) {
        self.total[step] += samples as u64;
        self.read[step] += samples as u64;
    }
}

impl Evaluator<'_> {
    /// Counts apart what is evaluated at other instants; gives the counts until now.
    pub(super) fn count_apart(&mut self, steps: usize) -> Option<Counts> {
        let outer = self.counts.take()?;
        self.counts = Some(Counts::new(steps));
        Some(outer)
    }

    /// Goes back to the `outer` counts. What was counted apart stands for every instant of theirs, but
    /// was read only once.
    pub(super) fn count_constant(&mut self, outer: Option<Counts>) {
        let (Some(inner), Some(mut outer)) = (self.counts.take(), outer) else { return };
        let total: u64 = inner.total.iter().sum();
        for count in &mut outer.total {
            *count += total;
        }
        if let Some(first) = outer.read.first_mut() {
            *first += inner.read.iter().sum::<u64>();
        }
        self.counts = Some(outer);
    }

    /// Counts the values of an instant selector.
    pub(super) fn count_cells(&mut self, matrix: &StepMatrix) {
        let Some(counts) = &mut self.counts else { return };
        for cells in matrix.each_cells() {
            for step in 0..matrix.steps() {
                counts.add(step, size_of(cells, step));
            }
        }
    }

    /// Counts the windows of a range selector.
    pub(super) fn count_windows(
        &mut self,
        range: &Range<'_>,
        steps: Steps,
        samples: &Samples,
    ) -> Result<(), EvalError> {
        let lookback_ms = self.options.lookback_delta_ms;
        let Some(counts) = &mut self.counts else { return Ok(()) };
        let mut reader = samples.reader();
        while let Some(SeriesSamples { points, histograms, .. }) = reader.next_series()? {
            let mut read_until = None;
            for (step, at) in steps.iter().enumerate() {
                let (after, until) = bounds(range, at, lookback_ms);
                counts.total[step] += samples_between(points, histograms, after, until);
                let unread = read_until.map_or(after, |read: i64| read.max(after));
                counts.read[step] += samples_between(points, histograms, unread, until);
                read_until = Some(until);
            }
        }
        Ok(())
    }

    /// Goes back to the `outer` counts, and counts the windows over a subquery's result. What was read
    /// for an instant of the subquery is read for the first instant of the query that it belongs to,
    /// unless it lies between two windows.
    pub(super) fn count_subquery(
        &mut self,
        outer: Option<Counts>,
        range: &Range<'_>,
        steps: Steps,
        grid: Steps,
        result: &StepMatrix,
    ) {
        let (Some(inner), Some(mut outer)) = (self.counts.take(), outer) else { return };
        let windows: Vec<(usize, usize)> = steps
            .iter()
            .map(|at| {
                let until = range.reference.at(at);
                let index = |at: i64| steps_until(grid, at);
                (index(until.saturating_sub(range.length_ms)), index(until))
            })
            .collect();
        for cells in result.each_cells() {
            for (step, (from, to)) in windows.iter().enumerate() {
                outer.total[step] += (*from..*to).map(|index| size_of(cells, index) as u64).sum::<u64>();
            }
        }
        let mut step = 0;
        for (index, read) in inner.read.iter().enumerate() {
            while step + 1 < windows.len() && index >= windows[step].1 {
                step += 1;
            }
            let is_in_gap = windows.len() > 1 && windows.get(step).is_some_and(|(from, _)| index < *from);
            if let Some(count) = outer.read.get_mut(step).filter(|_| !is_in_gap) {
                *count += read;
            }
        }
        self.counts = Some(outer);
    }

    /// Goes back to the `outer` counts. The subquery counted apart is itself the result of an instant
    /// query.
    pub(super) fn count_subquery_result(&mut self, outer: Option<Counts>) {
        let (Some(inner), Some(mut outer)) = (self.counts.take(), outer) else { return };
        if let (Some(total), Some(read)) = (outer.total.first_mut(), outer.read.first_mut()) {
            *total += inner.total.iter().sum::<u64>();
            *read += inner.read.iter().sum::<u64>();
        }
        self.counts = Some(outer);
    }
}

/// How many instants of a grid are not later than `at`.
fn steps_until(grid: Steps, at: i64) -> usize {
    if at < grid.start {
        return 0;
    }
    usize::try_from((at - grid.start) / grid.step_ms + 1).unwrap_or(usize::MAX).min(grid.count)
}

/// How many samples a cell counts as.
fn size_of(cells: Cells<'_>, step: usize) -> usize {
    match cells.histogram(step) {
        Some(histogram) => histogram.size_in_samples(),
        None => usize::from(is_present(cells.floats[step])),
    }
}

/// The samples after one and not after another instant, without staleness markers.
fn samples_between(points: &[Point], histograms: &[HistogramPoint], after: i64, until: i64) -> u64 {
    let from = points.partition_point(|point| point.at <= after);
    let to = points.partition_point(|point| point.at <= until).max(from);
    let floats = points[from..to].iter().filter(|point| !is_stale(point.value)).count();
    let from = histograms.partition_point(|point| point.at <= after);
    let to = histograms.partition_point(|point| point.at <= until).max(from);
    let real = histograms[from..to].iter().filter(|point| !point.histogram.is_stale());
    floats as u64 + real.map(|point| point.histogram.size_in_samples() as u64).sum::<u64>()
}
