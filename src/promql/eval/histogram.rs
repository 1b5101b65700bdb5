//! Quantiles and fractions of histograms, classic and native ones.

use std::sync::Arc;

use crate::model::{BUCKET_LABEL, Estimate, FloatHistogram, Labels, Span, TimestampMs, parse_float};
use crate::promql::numeric::format_g;
use crate::promql::plan::Node;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::Evaluator;
use super::annotations::ForcedMonotonicity;
use super::error::failure;
use super::grouping::LabelKey;
use super::matrix::{Cells, NewRow, Place, Positions, Row, StepMatrix, is_present};
use super::rows::{Grouping, RowSet};
use super::{Kind, without_metadata};

/// Relative differences between the counts of neighbouring buckets that are noise of floating point
/// arithmetic. Source: Prometheus `promql/quantile.go`, `smallDeltaTolerance`.
const NOISE: f64 = 1e-12;

/// A cumulative bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    upper_bound: f64,
    count: f64,
}

/// Which rows of a set are the buckets of which classic histogram.
#[derive(Debug)]
pub(super) struct Layout {
    /// The rows by all labels but the bucket's: what the histograms are called.
    grouping: Arc<Grouping>,
    /// The upper bound and the place of each bucket of each histogram, by upper bound.
    buckets: Vec<Vec<(f64, usize)>>,
    /// The rows that are no buckets.
    others: Vec<usize>,
}

impl Layout {
    fn of(set: &RowSet) -> Self {
        let grouping = set.grouping(&LabelKey::except(BUCKET_LABEL));
        let mut buckets = vec![Vec::new(); grouping.groups.len()];
        let mut others = Vec::new();
        for (place, group) in grouping.group_of.iter().enumerate() {
            match parse_float(set.labels(place).get(BUCKET_LABEL)) {
                Some(upper_bound) => buckets[*group].push((upper_bound, place)),
                None => others.push(place),
            }
        }
        for buckets in &mut buckets {
            buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        }
        Self { grouping, buckets, others }
    }
}

/// The classic histograms of a vector.
struct Classic {
    layout: Arc<Layout>,
    positions: Positions,
    /// For each histogram the row of the native one with the same labels; empty if there is none at all.
    native: Vec<Option<usize>>,
}

impl Classic {
    /// Puts the rows of each histogram together.
    fn of(vector: &mut StepMatrix) -> Self {
        let positions = vector.positions();
        let (set, _) = vector.set();
        Self { layout: set.histograms(|| Layout::of(set)), positions, native: Vec::new() }
    }

    fn count(&self) -> usize {
        self.layout.buckets.len()
    }

    fn labels(&self, histogram: usize) -> Labels {
        self.layout.grouping.groups.labels(histogram)
    }

    /// The upper bounds of the buckets that have a row, and those rows.
    fn buckets(&self, histogram: usize) -> impl Iterator<Item = (f64, usize)> {
        let buckets = self.layout.buckets[histogram].iter();
        buckets.filter_map(|(upper_bound, place)| Some((*upper_bound, self.positions.of(*place)?)))
    }

    /// Whether there is any bucket at an instant.
    fn is_present(&self, histogram: usize, vector: &StepMatrix, step: usize) -> bool {
        self.buckets(histogram).any(|(_, row)| is_present(vector.row(row)[step]))
    }

    /// What the rows of a histogram hold.
    fn columns<'v>(&self, histogram: usize, vector: &'v StepMatrix) -> Columns<'v> {
        let buckets = self.buckets(histogram);
        let native = self.native.get(histogram).copied().flatten();
        Columns {
            buckets: buckets.map(|(upper_bound, row)| (upper_bound, vector.row(row))).collect(),
            native: native.map(|row| vector.cells_of(row)),
        }
    }
}

/// What the rows of a classic histogram hold.
struct Columns<'v> {
    /// The upper bounds of the buckets and their counts at each instant.
    buckets: Vec<(f64, &'v [f64])>,
    /// The native histograms with the same labels.
    native: Option<Cells<'v>>,
}

impl Columns<'_> {
    /// Reads the buckets at an instant.
    fn read(&self, step: usize, buckets: &mut Vec<Bucket>) {
        buckets.clear();
        if self.native.is_some_and(|native| native.histogram(step).is_some()) {
            return;
        }
        for (upper_bound, counts) in &self.buckets {
            let count = counts[step];
            if is_present(count) {
                buckets.push(Bucket { upper_bound: *upper_bound, count });
            }
        }
    }
}

/// The native histograms of a row.
struct Native<'v> {
    labels: Labels,
    at_steps: Vec<Option<&'v FloatHistogram>>,
}

impl Native<'_> {
    /// The same at some instants alone.
    fn at_steps(&self, is_asked: impl Fn(usize) -> bool) -> Self {
        let asked =
            self.at_steps.iter().enumerate().map(|(step, histogram)| histogram.filter(|_| is_asked(step)));
        Self { labels: self.labels.clone(), at_steps: asked.collect() }
    }
}

impl Evaluator<'_> {
    /// `histogram_quantile(q, buckets)`
    pub(super) fn histogram_quantile(
        &mut self,
        args: &[Node<'_>],
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let [q, input] = args else { return Err(failure("histogram_quantile takes two arguments")) };
        let quantiles = self.scalar(q, steps)?;
        let mut vector = self.vector(input, steps)?;
        self.remark_quantile(&quantiles, q.span);
        let mut classic = Classic::of(&mut vector);
        let native = self.natives(&vector, &mut classic, input.span, steps);
        let asked = Asked { quantiles: &quantiles, only: None, span: input.span };
        let mut result = self.results(&classic, &native, steps);
        for native in &native {
            let row = self.result_row(&native.labels);
            self.estimates_of(native, input.span, &mut result, row, |step, histogram| {
                histogram.quantile(quantiles[step])
            });
        }
        for histogram in 0..classic.count() {
            if native.is_empty() {
                self.quantiles_of(
                    &classic,
                    histogram,
                    &vector,
                    &asked,
                    steps,
                    &mut result,
                    Place(histogram),
                )?;
            } else {
                let row = self.result_row(&classic.labels(histogram));
                self.quantiles_of(&classic, histogram, &vector, &asked, steps, &mut result, row)?;
            }
        }
        self.distinct(result, steps)
    }

    /// `histogram_quantiles(buckets, label, q, …)`
    pub(super) fn histogram_quantiles(
        &mut self,
        args: &[Node<'_>],
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let [input, Node { kind: Kind::String(label), .. }, quantiles @ ..] = args else {
            return Err(failure("histogram_quantiles takes a vector, a label and quantiles"));
        };
        let mut vector = self.vector(input, steps)?;
        let mut numbers = Vec::with_capacity(quantiles.len());
        for q in quantiles {
            let values = self.scalar(q, steps)?;
            self.remark_quantile(&values, q.span);
            numbers.push(values);
        }
        let mut classic = Classic::of(&mut vector);
        let native = self.natives(&vector, &mut classic, input.span, steps);
        let rows = (classic.count() + native.len()) * numbers.len();
        let mut result = StepMatrix::with_capacity(steps.count, rows);
        for values in &numbers {
            // A quantile may change from instant to instant; each has series of its own.
            let mut distinct = values.clone();
            distinct.sort_by(f64::total_cmp);
            distinct.dedup_by_key(|q| q.to_bits());
            for q in distinct {
                let asked = Asked { quantiles: values, only: Some(q), span: input.span };
                for native in &native {
                    let mut row = self.result_row(&native.labels);
                    row.labels = row.labels.builder().set(label, &openmetrics_float(q)).build();
                    let native = native.at_steps(|step| values[step].to_bits() == q.to_bits());
                    self.estimates_of(&native, input.span, &mut result, row, |_, histogram| {
                        histogram.quantile(q)
                    });
                }
                for histogram in 0..classic.count() {
                    let mut row = self.result_row(&classic.labels(histogram));
                    row.labels = row.labels.builder().set(label, &openmetrics_float(q)).build();
                    self.quantiles_of(&classic, histogram, &vector, &asked, steps, &mut result, row)?;
                }
            }
        }
        self.distinct(result, steps)
    }

    /// `histogram_fraction(lower, upper, buckets)`
    pub(super) fn histogram_fraction(
        &mut self,
        args: &[Node<'_>],
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let [lower, upper, input] = args else {
            return Err(failure("histogram_fraction takes three arguments"));
        };
        let (lower, upper) = (self.scalar(lower, steps)?, self.scalar(upper, steps)?);
        let mut vector = self.vector(input, steps)?;
        let mut classic = Classic::of(&mut vector);
        let native = self.natives(&vector, &mut classic, input.span, steps);
        let mut result = StepMatrix::with_capacity(steps.count, classic.count() + native.len());
        for native in &native {
            let row = self.result_row(&native.labels);
            self.estimates_of(native, input.span, &mut result, row, |step, histogram| {
                histogram.fraction(lower[step], upper[step])
            });
        }
        let mut buckets = Vec::new();
        for histogram in 0..classic.count() {
            self.tick(steps.count * classic.layout.buckets[histogram].len())?;
            let row = self.result_row(&classic.labels(histogram));
            let columns = classic.columns(histogram, &vector);
            result.push(
                || row,
                |cells| {
                    for (step, cell) in cells.iter_mut().enumerate() {
                        columns.read(step, &mut buckets);
                        if !buckets.is_empty() {
                            *cell = bucket_fraction(lower[step], upper[step], &mut buckets);
                        }
                    }
                },
            );
        }
        self.distinct(result, steps)
    }

    fn remark_quantile(&mut self, quantiles: &[f64], span: Span) {
        for q in quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.annotations.invalid_quantile(*q, span);
        }
    }

    /// A matrix for the results: of native histograms as well, whose labels are not among the classic ones.
    fn results(&self, classic: &Classic, native: &[Native<'_>], steps: Steps) -> StepMatrix {
        if native.is_empty() {
            let groups = &classic.layout.grouping.groups;
            return StepMatrix::of(&groups.nameless(self.options.delayed_name_removal), steps.count);
        }
        StepMatrix::with_capacity(steps.count, classic.count() + native.len())
    }

    /// Finds the native histograms. Where a classic one has the same labels neither counts.
    fn natives<'v>(
        &mut self,
        vector: &'v StepMatrix,
        classic: &mut Classic,
        span: Span,
        steps: Steps,
    ) -> Vec<Native<'v>> {
        self.remark_others(classic, vector, span);
        let mut native: Vec<Native<'v>> = Vec::new();
        if !vector.has_histograms() {
            return native;
        }
        classic.native = vec![None; classic.count()];
        for (index, (row, cells)) in vector.iter_cells().enumerate() {
            let mut at_steps: Vec<_> =
                (0..steps.count).map(|step| cells.histogram(step).map(AsRef::as_ref)).collect();
            if at_steps.iter().all(Option::is_none) {
                continue;
            }
            let same = (0..classic.count()).find(|histogram| {
                !classic.layout.buckets[*histogram].is_empty() && classic.labels(*histogram) == row.labels
            });
            if let Some(same) = same {
                classic.native[same] = Some(index);
                for (step, histogram) in at_steps.iter_mut().enumerate() {
                    if histogram.is_some() && classic.is_present(same, vector, step) {
                        *histogram = None;
                        self.annotations.mixed_classic_and_native(row.labels.metric_name(), span);
                    }
                }
            }
            native.push(Native { labels: row.labels.clone(), at_steps });
        }
        native
    }

    /// Rows without the bucket's label are probably a mistake.
    fn remark_others(&mut self, classic: &Classic, vector: &StepMatrix, span: Span) {
        for row in classic.layout.others.iter().filter_map(|place| classic.positions.of(*place)) {
            if vector.has_histograms() && !vector.row(row).iter().any(|cell| is_present(*cell)) {
                continue;
            }
            let labels = vector.row_at(row).labels;
            let name = if self.options.delayed_name_removal { labels.metric_name() } else { "" };
            self.annotations.bad_bucket_label(name, labels.get(BUCKET_LABEL), span);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a histogram, what is asked of it, and where the answer goes"
    )]
    fn quantiles_of(
        &mut self,
        classic: &Classic,
        histogram: usize,
        vector: &StepMatrix,
        asked: &Asked<'_>,
        steps: Steps,
        result: &mut StepMatrix,
        row: impl NewRow,
    ) -> Result<(), EvalError> {
        let size = classic.layout.buckets[histogram].len();
        self.tick(steps.count * size)?;
        self.check_growth(result)?;
        let columns = classic.columns(histogram, vector);
        let mut buckets = Vec::with_capacity(size);
        let delayed = self.options.delayed_name_removal;
        let annotations = &mut self.annotations;
        result.push(row, |cells| {
            for (step, (cell, q)) in cells.iter_mut().zip(asked.quantiles).enumerate() {
                if asked.only.is_some_and(|only| only.to_bits() != q.to_bits()) {
                    continue;
                }
                columns.read(step, &mut buckets);
                if buckets.is_empty() {
                    continue;
                }
                let (value, correction) = bucket_quantile(*q, &mut buckets);
                *cell = value;
                if let Some(correction) = correction {
                    let labels = classic.labels(histogram);
                    let name = if delayed { labels.metric_name() } else { "" };
                    annotations.forced_monotonicity(name, correction.at(steps.at(step)), asked.span);
                }
            }
        });
        Ok(())
    }

    /// What `estimate` yields of a native histogram, as a row.
    fn estimates_of(
        &mut self,
        native: &Native<'_>,
        span: Span,
        result: &mut StepMatrix,
        row: Row,
        estimate: impl Fn(usize, &FloatHistogram) -> Estimate,
    ) {
        let name = if self.options.delayed_name_removal { native.labels.metric_name() } else { "" };
        let annotations = &mut self.annotations;
        result.push(
            || row,
            |cells| {
                for (step, (cell, histogram)) in cells.iter_mut().zip(&native.at_steps).enumerate() {
                    let Some(histogram) = histogram else { continue };
                    let Estimate { value, nan_effect } = estimate(step, histogram);
                    *cell = value;
                    if let Some(effect) = nan_effect {
                        annotations.nan_observations(effect, name, span);
                    }
                }
            },
        );
    }

    fn result_row(&self, labels: &Labels) -> Row {
        let labels =
            if self.options.delayed_name_removal { labels.clone() } else { without_metadata(labels) };
        Row { labels, drop_name: true }
    }
}

/// The quantiles that are asked for.
struct Asked<'q> {
    /// At each instant.
    quantiles: &'q [f64],
    /// Only instants at which it is this one.
    only: Option<f64>,
    /// Where the histograms stand.
    span: Span,
}

/// Where counts decreased.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Correction {
    min_bucket: f64,
    max_bucket: f64,
    max_diff: f64,
}

impl Correction {
    fn at(self, at: TimestampMs) -> ForcedMonotonicity {
        let Self { min_bucket, max_bucket, max_diff } = self;
        ForcedMonotonicity { first_at: at, last_at: at, min_bucket, max_bucket, max_diff, samples: 1 }
    }
}

/// The quantile `q`, interpolated linearly within its bucket. The buckets are sorted and not empty.
/// Source: Prometheus `promql/quantile.go`, `BucketQuantile`.
fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Correction>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !ends_at_infinity(buckets) {
        return (f64::NAN, None);
    }
    coalesce(buckets);
    let correction = make_monotonic(buckets);
    let highest = buckets.len() - 1;
    let observations = buckets[highest].count;
    if buckets.len() < 2 || observations == 0.0 {
        return (f64::NAN, correction);
    }
    let rank = q * observations;
    let index = buckets[..highest].partition_point(|bucket| bucket.count < rank);
    let value = if index == highest {
        buckets[highest - 1].upper_bound
    } else if index == 0 && buckets[0].upper_bound <= 0.0 {
        buckets[0].upper_bound
    } else {
        let Bucket { upper_bound, count } = buckets[index];
        // Below the lowest bucket lies 0.
        let below = match index.checked_sub(1) {
            Some(index) => buckets[index],
            None => Bucket { upper_bound: 0.0, count: 0.0 },
        };
        let share = (rank - below.count) / (count - below.count);
        below.upper_bound + (upper_bound - below.upper_bound) * share
    };
    (value, correction)
}

/// The share of observations between two values.
/// Source: Prometheus `promql/quantile.go`, `BucketFraction`.
fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !ends_at_infinity(buckets) {
        return f64::NAN;
    }
    coalesce(buckets);
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, count) - rank_of(lower, buckets, count)) / count
}

/// How many observations lie below a value, at most `count`.
fn rank_of(value: f64, buckets: &[Bucket], count: f64) -> f64 {
    let mut rank = 0.0_f64;
    let mut lower_bound = if buckets[0].upper_bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    for bucket in buckets {
        if lower_bound >= value {
            return rank.min(count);
        }
        if bucket.upper_bound > value {
            // Nothing can be said about where in a bucket without bounds its observations lie: none of
            // the highest bucket's count, all of the lowest one's do.
            let within = if lower_bound == f64::NEG_INFINITY {
                bucket.count
            } else {
                rank + (bucket.count - rank) * (value - lower_bound) / (bucket.upper_bound - lower_bound)
            };
            return if within > count { count } else { within };
        }
        rank = bucket.count;
        lower_bound = bucket.upper_bound;
    }
    count
}

fn ends_at_infinity(buckets: &[Bucket]) -> bool {
    buckets.last().is_some_and(|bucket| bucket.upper_bound == f64::INFINITY)
}

/// Merges buckets with the same upper bound, such as `1` and `1.0`.
fn coalesce(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|bucket, previous| {
        let same = bucket.upper_bound == previous.upper_bound;
        if same {
            previous.count += bucket.count;
        }
        same
    });
}

/// Removes decreases between buckets, which cumulative counts cannot have; those beyond noise are
/// reported. Source: Prometheus `promql/quantile.go`, `ensureMonotonicAndIgnoreSmallDeltas`.
fn make_monotonic(buckets: &mut [Bucket]) -> Option<Correction> {
    let mut correction: Option<Correction> = None;
    let mut previous = buckets[0].count;
    for Bucket { upper_bound, count } in &mut buckets[1..] {
        if *count == previous {
            continue;
        }
        if is_noise(previous, *count) {
            *count = previous;
        } else if *count < previous {
            let so_far = correction.get_or_insert(Correction {
                min_bucket: f64::INFINITY,
                max_bucket: f64::NEG_INFINITY,
                max_diff: 0.0,
            });
            so_far.min_bucket = so_far.min_bucket.min(*upper_bound);
            so_far.max_bucket = so_far.max_bucket.max(*upper_bound);
            so_far.max_diff = so_far.max_diff.max(previous - *count);
            *count = previous;
        } else {
            previous = *count;
        }
    }
    correction
}

/// Whether two different counts differ by noise alone. Source: Prometheus `util/almost`, `Equal`.
fn is_noise(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < NOISE * f64::MIN_POSITIVE;
    }
    if difference > 10.0 * NOISE * sum {
        // Nearly always: no division is needed to tell.
        return false;
    }
    difference / sum.min(f64::MAX) < NOISE
}

/// A number as a label value of OpenMetrics: always with a point or an exponent.
fn openmetrics_float(value: f64) -> String {
    let text = format_g(value, None);
    if value.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(upper_bound, count)| Bucket { upper_bound: *upper_bound, count: *count }).collect()
    }

    #[test]
    fn quantiles_interpolate_within_their_bucket() {
        let check = |q: f64, pairs: &[(f64, f64)], expected: f64| {
            assert_eq!(
                bucket_quantile(q, &mut buckets(pairs)).0.to_bits(),
                expected.to_bits(),
                "{q} {pairs:?}"
            );
        };
        let infinity = f64::INFINITY;
        let usual = [(1.0, 10.0), (2.0, 20.0), (infinity, 20.0)];
        check(0.5, &usual, 1.0);
        check(0.75, &usual, 1.5);
        check(1.0, &usual, 2.0);
        check(0.1, &[(-1.0, 10.0), (infinity, 10.0)], -1.0);
        check(0.9, &[(1.0, 1.0), (infinity, 10.0)], 1.0);
        check(0.5, &[(1.0, 1.0), (2.0, 2.0)], f64::NAN);
        check(0.5, &[(infinity, 2.0)], f64::NAN);
        check(0.5, &[(1.0, 5.0), (1.0, 5.0), (2.0, 20.0), (infinity, 20.0)], 1.0);
    }

    #[test]
    fn decreasing_counts_are_corrected_and_reported() {
        let mut noisy = buckets(&[(1.0, 10.0), (2.0, 8.0), (3.0, 7.0), (f64::INFINITY, 12.0)]);
        let correction = make_monotonic(&mut noisy).expect("counts decrease");
        assert_eq!(correction, Correction { min_bucket: 2.0, max_bucket: 3.0, max_diff: 3.0 });
        assert_eq!(noisy[2].count, 10.0);
        let mut noise = buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-13), (f64::INFINITY, 12.0)]);
        assert_eq!(make_monotonic(&mut noise), None);
        assert_eq!(noise[1].count, 10.0);
    }

    #[test]
    fn fractions_count_what_lies_between() {
        let check = |lower: f64, upper: f64, expected: f64| {
            let mut usual = buckets(&[(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 40.0)]);
            assert_eq!(bucket_fraction(lower, upper, &mut usual), expected, "{lower} {upper}");
        };
        check(0.0, 1.0, 0.25);
        check(1.0, 2.0, 0.25);
        check(0.5, 1.5, 0.25);
        check(f64::NEG_INFINITY, f64::INFINITY, 1.0);
        check(2.0, 1.0, 0.0);
    }

    #[test]
    fn numbers_in_labels_have_a_point() {
        assert_eq!(openmetrics_float(1.0), "1.0");
        assert_eq!(openmetrics_float(0.99), "0.99");
        assert_eq!(openmetrics_float(f64::INFINITY), "+Inf");
        assert_eq!(openmetrics_float(1e-9), "1e-09");
    }
}
