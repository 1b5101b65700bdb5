//! Aggregations that keep some of a group's series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use xxhash_rust::xxh64::xxh64;

use crate::model::{Labels, Span};
use crate::promql::ast::AggregateOp;
use crate::promql::numeric::format_g;
use crate::promql::value::EvalError;

use super::Evaluator;
use super::error::failure;
use super::grouping::Members;
use super::matrix::{StepMatrix, absent, is_present};

/// The bounds of the parameters that Go can convert to an `int64`.
/// Source: Prometheus `promql/engine.go`, `minInt64` and `maxInt64`.
const MIN_INT64: f64 = -9_223_372_036_854_775_808.0;
const MAX_INT64: f64 = 9_223_372_036_854_774_784.0;

impl Evaluator<'_> {
    /// The input with the values that are selected; at a single instant in the order of selection.
    pub(super) fn select_samples(
        &mut self,
        op: AggregateOp,
        params: &[f64],
        span: Span,
        param_span: Span,
        input: &StepMatrix,
        members: &Members,
    ) -> Result<StepMatrix, EvalError> {
        let steps = input.steps();
        let none = StepMatrix::new(steps);
        let max = params.iter().copied().fold(f64::MIN, f64::max);
        let min = params.iter().copied().fold(f64::MAX, f64::min);
        let any_nan = params.iter().any(|param| param.is_nan());
        if op == AggregateOp::LimitRatio {
            if !any_nan && max == 0.0 && min == 0.0 {
                return Ok(none);
            }
            if any_nan {
                return Err(failure("Ratio value is NaN"));
            }
            if max > 1.0 {
                self.annotations.invalid_ratio(max, 1.0, param_span);
            }
            if min < -1.0 {
                self.annotations.invalid_ratio(min, -1.0, param_span);
            }
        } else {
            if !any_nan && max < 1.0 {
                return Ok(none);
            }
            if any_nan {
                return Err(failure("Parameter value is NaN"));
            }
            if min <= MIN_INT64 {
                return Err(failure(format!("Scalar value {} underflows int64", format_g(min, None))));
            }
            if max >= MAX_INT64 {
                return Err(failure(format!("Scalar value {} overflows int64", format_g(max, None))));
            }
        }
        let by_value = match op {
            AggregateOp::Topk => Some("topk"),
            AggregateOp::Bottomk => Some("bottomk"),
            _ => None,
        };
        if let Some(name) = by_value.filter(|_| input.any_histogram()) {
            self.annotations.histogram_ignored(name, span);
        }
        let offsets: Vec<f64> = match op {
            AggregateOp::LimitRatio => input.rows().iter().map(|row| sample_offset(&row.labels)).collect(),
            _ => Vec::new(),
        };
        let mut selected = vec![false; input.cells().len()];
        let mut order = Vec::new();
        for (step, param) in params.iter().enumerate() {
            self.tick(input.len())?;
            for rows in members.iter() {
                let floats = rows
                    .iter()
                    .map(|row| (*row, input.row(*row)[step]))
                    .filter(|(_, value)| is_present(*value));
                let present = rows.iter().copied().filter(|row| input.cells_of(*row).is_present(step));
                let chosen = match op {
                    AggregateOp::Topk => best(floats, *param as usize, false),
                    AggregateOp::Bottomk => best(floats, *param as usize, true),
                    AggregateOp::Limitk => present.take(*param as usize).collect(),
                    _ => present.filter(|row| is_sampled(offsets[*row], param.clamp(-1.0, 1.0))).collect(),
                };
                for row in &chosen {
                    selected[row * steps + step] = true;
                }
                if steps == 1 {
                    order.extend(chosen);
                }
            }
        }
        let mut result = StepMatrix::with_capacity(steps, input.len());
        if steps == 1 {
            for row in order {
                result.push_cells(input.rows()[row].clone(), input.cells_of(row));
            }
            return Ok(result);
        }
        for (index, (row, cells)) in input.iter_cells().enumerate() {
            self.check_growth(&result)?;
            let selected = &selected[index * steps..(index + 1) * steps];
            if !cells.histograms.is_empty() {
                result.push_mixed(
                    || row.clone(),
                    |mut chosen| {
                        for (step, _) in selected.iter().enumerate().filter(|(_, selected)| **selected) {
                            chosen.set(step, cells.get(step));
                        }
                    },
                );
                continue;
            }
            result.push(
                || row.clone(),
                |chosen| {
                    for ((chosen, value), selected) in chosen.iter_mut().zip(cells.floats).zip(selected) {
                        *chosen = if *selected { *value } else { absent() };
                    }
                },
            );
        }
        Ok(result)
    }
}

/// The rows with the `count` largest (or smallest) values, the best first. A NaN is worse than
/// anything; of equal values the ones that Prometheus would keep.
fn best(values: impl Iterator<Item = (usize, f64)>, count: usize, smallest: bool) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let sign = |value: f64| if smallest { -value } else { value };
    let mut heap = WorstFirst::default();
    for (row, value) in values {
        heap.offer((row, sign(value)), count);
    }
    let mut kept = heap.0;
    kept.sort_by(|(_, a), (_, b)| a.is_nan().cmp(&b.is_nan()).then_with(|| b.total_cmp(a)));
    kept.into_iter().map(|(row, _)| row).collect()
}

/// A binary heap whose root is the worst of the values kept. The standard library's heap would do, but
/// which of equal values is replaced depends on how the heap is kept in order: as in Go's
/// `container/heap`.
#[derive(Default)]
struct WorstFirst(Vec<(usize, f64)>);

impl WorstFirst {
    fn offer(&mut self, entry: (usize, f64), limit: usize) {
        if self.0.len() < limit {
            self.0.push(entry);
            self.rise(self.0.len() - 1);
            return;
        }
        let worst = self.0[0].1;
        if worst < entry.1 || (worst.is_nan() && !entry.1.is_nan()) {
            self.0[0] = entry;
            self.sink(0);
        }
    }

    fn is_worse(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.0[a].1, self.0[b].1);
        a.is_nan() || a < b
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.is_worse(at, parent) {
                break;
            }
            self.0.swap(at, parent);
            at = parent;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            if left >= self.0.len() {
                break;
            }
            let right = left + 1;
            let child = if right < self.0.len() && self.is_worse(right, left) { right } else { left };
            if !self.is_worse(child, at) {
                break;
            }
            self.0.swap(at, child);
            at = child;
        }
    }
}

/// Where a series lies between 0 and 1 for `limit_ratio`: decided by the hash that its labels have in
/// Prometheus, so that both select the same series.
/// Source: Prometheus `model/labels/labels_stringlabels.go`, `Labels.Hash`.
fn sample_offset(labels: &Labels) -> f64 {
    let mut encoded = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(size) if size < u8::MAX => encoded.push(size),
            _ => {
                encoded.push(u8::MAX);
                encoded.extend_from_slice(&text.len().to_le_bytes()[..3]);
            }
        }
        encoded.extend_from_slice(text.as_bytes());
    }
    xxh64(&encoded, 0) as f64 / u64::MAX as f64
}

/// Whether a series at this offset is among the given share of all; `r` and `r - 1` split all series
/// between them.
fn is_sampled(offset: f64, ratio: f64) -> bool {
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_nan_comes_last() {
        let check = |values: &[f64], count: usize, smallest: bool, expected: &[usize]| {
            assert_eq!(best(values.iter().copied().enumerate(), count, smallest), expected, "{values:?}");
        };
        check(&[3.0, 1.0, 2.0], 2, false, &[0, 2]);
        check(&[3.0, 1.0, 2.0], 2, true, &[1, 2]);
        check(&[f64::NAN, 1.0], 1, false, &[1]);
        check(&[f64::NAN, 1.0], 2, true, &[1, 0]);
        check(&[1.0, 2.0], 0, false, &[]);
        check(&[], 3, false, &[]);
        check(&[f64::INFINITY, f64::NEG_INFINITY, 0.0], 9, false, &[0, 2, 1]);
    }

    #[test]
    fn a_ratio_and_its_complement_split_all_series() {
        for number in 0..100 {
            let labels = Labels::from_pairs([("n", number.to_string())]);
            let offset = sample_offset(&labels);
            assert!((0.0..=1.0).contains(&offset));
            assert_ne!(is_sampled(offset, 0.3), is_sampled(offset, -0.7));
            assert!(is_sampled(offset, 1.0) && is_sampled(offset, -1.0) && !is_sampled(offset, 0.0));
        }
    }
}
