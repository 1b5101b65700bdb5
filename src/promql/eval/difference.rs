//! How native histograms change within a window.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::{
    CounterReset, FloatHistogram, HistogramPoint, IncompatibleBuckets, Reconciled, TimestampMs,
};

use super::window::{MixedWindow, Remarks};

/// What is known about the histograms of a series: a window then costs its resets, not its histograms.
#[derive(Debug, Default)]
pub(super) struct Histories {
    /// The places of those before which the counter was reset.
    resets: Vec<usize>,
    /// For each how many until then are gauges.
    gauges: Vec<u32>,
    /// For each how often until then custom buckets followed on exponential ones, or the other way round.
    changes: Vec<u32>,
}

impl Histories {
    /// Of all histograms of a series.
    pub(super) fn series(&mut self, all: MixedWindow<'_>) {
        self.resets.clear();
        self.gauges.clear();
        self.changes.clear();
        let (mut gauges, mut changes) = (0, 0);
        let mut previous: Option<&HistogramPoint> = None;
        for (place, point) in all.histograms.iter().enumerate() {
            let histogram = &point.histogram;
            gauges += u32::from(histogram.counter_reset == CounterReset::Gauge);
            if let Some(previous) = previous {
                let (before, kind) = (&previous.histogram, histogram.uses_custom_buckets());
                changes += u32::from(before.uses_custom_buckets() != kind);
                if histogram.is_reset_after(before) || all.is_restarted(previous.at, point.at) {
                    self.resets.push(place);
                }
            }
            self.gauges.push(gauges);
            self.changes.push(changes);
            previous = Some(point);
        }
    }

    /// The places after `first` up to `last` of histograms before which the counter was reset.
    fn resets(&self, first: usize, last: usize) -> &[usize] {
        let from = self.resets.partition_point(|place| *place <= first);
        let to = self.resets.partition_point(|place| *place <= last);
        &self.resets[from..to]
    }

    fn any_gauge(&self, first: usize, last: usize) -> bool {
        let before = first.checked_sub(1).map_or(0, |place| self.gauges[place]);
        self.gauges[last] > before
    }

    /// Whether all from `first` to `last` have the same kind of buckets.
    fn is_of_one_kind(&self, first: usize, last: usize) -> bool {
        self.changes[first] == self.changes[last]
    }
}

/// Differences between the histograms of a series, with remarks on what stood in their way.
pub(super) struct Difference<'d, 'r> {
    /// Whether the histograms count: a reset is then no decrease.
    pub(super) counter: bool,
    pub(super) remarks: &'d mut Remarks<'r>,
}

impl Difference<'_, '_> {
    /// By how much the last histogram exceeds the first one, resets made up for.
    /// Source: Prometheus `promql/functions.go`, `histogramRate`.
    pub(super) fn of(&mut self, window: MixedWindow<'_>, known: &Histories) -> Option<FloatHistogram> {
        let [first, second, ..] = window.histograms else { return None };
        let last = &window.histograms[window.histograms.len() - 1].histogram;
        let (first, second) = (&first.histogram, &second.histogram);
        let first_place = window.histograms_skipped;
        let last_place = first_place + window.histograms.len() - 1;
        let resets = if self.counter { known.resets(first_place, last_place) } else { &[] };
        // What came before a reset says nothing about the buckets after it.
        let (base, resets) = match resets.split_first() {
            Some((reset, rest)) if *reset == first_place + 1 => {
                let nothing = FloatHistogram::empty(second.schema, Arc::clone(second.custom_values()));
                (Cow::Owned(nothing), rest)
            }
            _ => (Cow::Borrowed(first.as_ref()), resets),
        };
        let is_of_one_kind = if self.counter {
            let from = first_place + usize::from(matches!(base, Cow::Owned(_)));
            known.is_of_one_kind(from, last_place)
        } else {
            first.uses_custom_buckets() == last.uses_custom_buckets()
        };
        if !is_of_one_kind {
            return self.mixed_buckets();
        }
        let gauge = |histogram: &FloatHistogram| histogram.counter_reset == CounterReset::Gauge;
        let (metric, span) = (self.remarks.metric, self.remarks.span);
        if self.counter && known.any_gauge(first_place, last_place) {
            self.remarks.annotations.histogram_not_counter(metric, span);
        }
        if !self.counter && [first, last].iter().any(|end| !gauge(end)) {
            self.remarks.annotations.histogram_not_gauge(metric, span);
        }
        let mut difference = self.minus(last, &base)?;
        for place in resets {
            let before = &window.histograms[place - 1 - first_place].histogram;
            difference = self.plus(&difference, before)?;
        }
        Some(difference)
    }

    /// The difference between the histograms at both boundaries of a window that is anchored or smoothed.
    /// Source: Prometheus `promql/functions.go`, `extendedHistogramRate`.
    pub(super) fn between(
        &mut self,
        points: &[HistogramPoint],
        start: TimestampMs,
        end: TimestampMs,
        smoothed: bool,
    ) -> Option<FloatHistogram> {
        let newest = points.len().checked_sub(1)?;
        let first = points[..newest].partition_point(|point| point.at <= start).saturating_sub(1);
        let last = if smoothed { points[..newest].partition_point(|point| point.at < end) } else { newest };
        if points[last].at <= start || (smoothed && points[first].at > end) {
            return None;
        }
        let used = points.get(first..=last)?;
        let gauge = |histogram: &FloatHistogram| histogram.counter_reset == CounterReset::Gauge;
        let custom = points[first].histogram.uses_custom_buckets();
        if used.iter().any(|point| point.histogram.uses_custom_buckets() != custom) {
            return self.mixed_buckets();
        }
        let (metric, span) = (self.remarks.metric, self.remarks.span);
        if self.counter && used.iter().any(|point| gauge(&point.histogram)) {
            self.remarks.annotations.histogram_not_counter(metric, span);
        }
        let starts_between = smoothed && points[first].at < start;
        let left = if starts_between {
            self.interpolated(&points[first], points.get(first + 1)?, start)?
        } else {
            FloatHistogram::clone(&points[first].histogram)
        };
        let right = if smoothed && last > 0 && points[last].at > end {
            self.interpolated(&points[last - 1], &points[last], end)?
        } else {
            FloatHistogram::clone(&points[last].histogram)
        };
        if !self.counter && [&left, &right].iter().any(|end| !gauge(end)) {
            self.remarks.annotations.histogram_not_gauge(metric, span);
        }
        let mut difference = self.minus(&right, &left)?;
        if self.counter {
            let mut previous = &left;
            let mut from = first + 1;
            if starts_between && points[from].histogram.is_reset_after(&points[first].histogram) {
                previous = &points[from].histogram;
                from += 1;
            }
            if from <= last {
                let inner = points[from..last].iter().map(|point| point.histogram.as_ref());
                for histogram in inner.chain([&right]) {
                    if histogram.is_reset_after(previous) {
                        difference = self.plus(&difference, previous)?;
                    }
                    previous = histogram;
                }
            }
        }
        Some(difference)
    }

    /// The histogram at `at` between two others. If the counter was reset between them, it started from 0.
    /// Source: Prometheus `promql/functions.go`, `interpolateHistograms`.
    pub(super) fn interpolated(
        &mut self,
        before: &HistogramPoint,
        after: &HistogramPoint,
        at: TimestampMs,
    ) -> Option<FloatHistogram> {
        if at == before.at {
            return Some(FloatHistogram::clone(&before.histogram));
        }
        if at == after.at {
            return Some(FloatHistogram::clone(&after.histogram));
        }
        let share = (at - before.at) as f64 / (after.at - before.at) as f64;
        let (before, after) = (&before.histogram, &after.histogram);
        if self.counter && after.is_reset_after(before) {
            return Some(after.multiplied(share));
        }
        let way = self.minus(after, before)?.multiplied_by(share);
        self.plus(&way, before)
    }

    pub(super) fn minus(&mut self, a: &FloatHistogram, b: &FloatHistogram) -> Option<FloatHistogram> {
        self.remarked(a.minus(b), "subtraction")
    }

    pub(super) fn plus(&mut self, a: &FloatHistogram, b: &FloatHistogram) -> Option<FloatHistogram> {
        self.remarked(a.plus(b), "addition")
    }

    /// Counter resets that contradict each other are what a difference is made of: no remark on them.
    fn remarked(
        &mut self,
        result: Result<(FloatHistogram, Reconciled), IncompatibleBuckets>,
        operation: &str,
    ) -> Option<FloatHistogram> {
        let Ok((histogram, reconciled)) = result else { return self.mixed_buckets() };
        let reconciled = Reconciled { counter_reset_collision: false, ..reconciled };
        self.remarks.annotations.reconciled(reconciled, operation, self.remarks.span);
        Some(histogram)
    }

    fn mixed_buckets(&mut self) -> Option<FloatHistogram> {
        let (metric, span) = (self.remarks.metric, self.remarks.span);
        self.remarks.annotations.mixed_exponential_and_custom(metric, span);
        None
    }
}
