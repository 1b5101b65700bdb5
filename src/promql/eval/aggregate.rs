//! Aggregation over series.

use std::collections::BTreeMap;

use crate::model::{Span, push_float, quote};
use crate::promql::ast::{AggregateExpr, AggregateOp, Grouping};
use crate::promql::numeric::{KahanSum, Mean, go_max, go_min, quantile};
use crate::promql::plan::{Kind, Node};
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::Evaluator;
use super::annotations::Annotations;
use super::error::failure;
use super::grouping::{Groups, LabelKey};
use super::matrix::{Cell, Cells, GroupedRows, Place, Row, StepMatrix, is_present};
use super::native::HistogramAggregate;

impl Evaluator<'_> {
    pub(super) fn aggregate(
        &mut self,
        expr: &AggregateExpr,
        span: Span,
        param: Option<&Node<'_>>,
        input: &Node<'_>,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        if expr.op == AggregateOp::CountValues {
            return self.count_values(&expr.grouping, param, input, steps);
        }
        let numbers = param.map(|param| self.scalar(param, steps)).transpose()?.unwrap_or_default();
        let param_span = param.map_or(span, |param| param.span);
        let input_span = input.span;
        let mut input = self.vector(input, steps)?;
        if let Some(name) = name_if_of_floats(expr.op)
            && input.has_histograms()
        {
            if input.any_histogram() {
                self.annotations.histogram_ignored(name, input_span);
            }
            input.drop_histograms();
        }
        let rows = input.grouped(&key(&expr.grouping));
        let grouped = Grouped { input: &input, rows: &rows };
        Ok(match expr.op {
            AggregateOp::Sum if input.has_histograms() => {
                grouped.fold_mixed::<Sum>(false, &mut self.annotations, input_span)
            }
            AggregateOp::Avg if input.has_histograms() => {
                grouped.fold_mixed::<Average>(true, &mut self.annotations, input_span)
            }
            AggregateOp::Sum => grouped.fold::<Sum>(),
            AggregateOp::Avg => grouped.fold::<Average>(),
            AggregateOp::Count => grouped.fold::<Count>(),
            AggregateOp::Min => grouped.fold::<Min>(),
            AggregateOp::Max => grouped.fold::<Max>(),
            AggregateOp::Group => grouped.fold::<Group>(),
            AggregateOp::Stdvar => grouped.fold::<Variance>(),
            AggregateOp::Stddev => {
                let mut result = grouped.fold::<Variance>();
                result.map(f64::sqrt);
                result
            }
            AggregateOp::Quantile => {
                self.remark_quantiles(&numbers, param_span);
                grouped.quantiles(&numbers)
            }
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                self.select_samples(expr.op, &numbers, span, param_span, &input, rows.members())?
            }
            AggregateOp::CountValues => return Err(failure("count_values has no number as its parameter")),
        })
    }

    fn remark_quantiles(&mut self, quantiles: &[f64], span: Span) {
        if quantiles.iter().any(|q| q.is_nan()) {
            self.annotations.invalid_quantile(f64::NAN, span);
        }
        // With NaN among them neither is a number, unless it is infinite.
        let max = quantiles.iter().copied().fold(f64::MIN, go_max);
        if max > 1.0 {
            self.annotations.invalid_quantile(max, span);
        }
        let min = quantiles.iter().copied().fold(f64::MAX, go_min);
        if min < 0.0 {
            self.annotations.invalid_quantile(min, span);
        }
    }

    /// How often each value occurs, as a series for each value.
    fn count_values(
        &mut self,
        grouping: &Grouping,
        param: Option<&Node<'_>>,
        input: &Node<'_>,
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let Some(Kind::String(label)) = param.map(|param| &param.kind) else {
            return Err(failure("count_values needs the name of a label"));
        };
        if label.is_empty() {
            return Err(failure(format!("invalid label name {}", quote(label))));
        }
        let input = self.vector(input, steps)?;
        // The value replaces a label of that name before groups are formed.
        let (key, hides_value) = match grouping {
            Grouping::By(names) => {
                let others: Vec<String> = names.iter().filter(|name| name != label).cloned().collect();
                (LabelKey::on(&others), false)
            }
            Grouping::Without(names) => {
                let mut all = names.clone();
                all.push((*label).to_owned());
                (LabelKey::ignoring(&all), names.iter().any(|name| name == label))
            }
        };
        let mut groups = Groups::new(key);
        let mut occurrences = Occurrences::default();
        for row in 0..input.len() {
            self.tick(steps.count)?;
            let group = groups.number(&input.rows()[row].labels);
            occurrences.add(group, input.cells_of(row), hides_value);
        }
        let labels = groups.labels();
        let mut result = StepMatrix::new(steps.count);
        occurrences.each_series(|group, text, steps_of_value| {
            self.tick(steps_of_value.len())?;
            self.check_growth(&result)?;
            let row = || {
                let labels = &labels[group];
                let labels = if hides_value { labels.clone() } else { labels.with(label, text) };
                Row { labels, drop_name: false }
            };
            result.push(row, |cells| {
                for step in steps_of_value {
                    let count = &mut cells[*step];
                    *count = if is_present(*count) { *count + 1.0 } else { 1.0 };
                }
            });
            Ok(())
        })?;
        Ok(result)
    }
}

/// What `count_values` counts: at which instants which value occurs in which group. There may be as many
/// values as there are cells, so that everything lies in few blocks of memory.
#[derive(Default)]
struct Occurrences {
    all: Vec<Occurrence>,
    /// The different histograms, as they are written.
    histograms: BTreeMap<String, usize>,
}

/// Ordered so that those of a series come together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Occurrence {
    group: usize,
    value: Counted,
    step: usize,
}

/// What is counted as the same: what is written the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    Any,
    /// The value's bits.
    Float(u64),
    /// The number of a histogram.
    Histogram(usize),
}

impl Occurrences {
    fn add(&mut self, group: usize, cells: Cells<'_>, as_one: bool) {
        for step in 0..cells.floats.len() {
            let value = match cells.get(step) {
                None => continue,
                Some(_) if as_one => Counted::Any,
                Some(Cell::Float(value)) if value.is_nan() => Counted::Float(crate::model::NORMAL_NAN_BITS),
                Some(Cell::Float(value)) => Counted::Float(value.to_bits()),
                Some(Cell::Histogram(histogram)) => {
                    let next = self.histograms.len();
                    Counted::Histogram(*self.histograms.entry(histogram.to_string()).or_insert(next))
                }
            };
            self.all.push(Occurrence { group, value, step });
        }
    }

    /// Shows group, written value and instants of each series, the values of a group in the order of their
    /// texts: that of the labels that they become.
    fn each_series(
        mut self,
        mut show: impl FnMut(usize, &str, &[usize]) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        self.all.sort_unstable();
        let mut histograms = vec![""; self.histograms.len()];
        for (text, number) in &self.histograms {
            histograms[*number] = text;
        }
        let mut texts = String::new();
        let mut series = Vec::new();
        for run in self.all.chunk_by(|one, next| (one.group, one.value) == (next.group, next.value)) {
            let start = texts.len();
            match run[0].value {
                Counted::Any => {}
                Counted::Float(bits) => push_float(&mut texts, f64::from_bits(bits)),
                Counted::Histogram(number) => texts.push_str(histograms[number]),
            }
            series.push((run, start..texts.len()));
        }
        series.sort_unstable_by(|(one, text), (other, other_text)| {
            one[0]
                .group
                .cmp(&other[0].group)
                .then_with(|| texts[text.clone()].cmp(&texts[other_text.clone()]))
        });
        let mut steps = Vec::new();
        for (run, text) in series {
            steps.clear();
            steps.extend(run.iter().map(|occurrence| occurrence.step));
            show(run[0].group, &texts[text], &steps)?;
        }
        Ok(())
    }
}

/// The name of an aggregation that does not see native histograms.
fn name_if_of_floats(op: AggregateOp) -> Option<&'static str> {
    Some(match op {
        AggregateOp::Max => "max",
        AggregateOp::Min => "min",
        AggregateOp::Quantile => "quantile",
        AggregateOp::Stddev => "stddev",
        AggregateOp::Stdvar => "stdvar",
        _ => return None,
    })
}

fn key(grouping: &Grouping) -> LabelKey {
    match grouping {
        Grouping::By(names) => LabelKey::on(names),
        Grouping::Without(names) => LabelKey::ignoring(names),
    }
}

/// An input with the rows of each group.
struct Grouped<'m> {
    input: &'m StepMatrix,
    rows: &'m GroupedRows,
}

impl Grouped<'_> {
    fn fold<A: Accumulator>(&self) -> StepMatrix {
        let mut states: Vec<Option<A>> = Vec::new();
        states.resize_with(self.input.steps(), || None);
        self.each_group(|rows, cells| {
            for row in rows {
                if self.input.has_histograms() {
                    // Those that get here look at whether there is a sample, not at which.
                    let cells = self.input.cells_of(*row);
                    let present = states.iter_mut().enumerate().filter(|(step, _)| cells.is_present(*step));
                    for (_, state) in present {
                        match state {
                            Some(state) => state.add(0.0),
                            None => *state = Some(A::first(0.0)),
                        }
                    }
                    continue;
                }
                for (state, value) in states.iter_mut().zip(self.input.row(*row)) {
                    if is_present(*value) {
                        match state {
                            Some(state) => state.add(*value),
                            None => *state = Some(A::first(*value)),
                        }
                    }
                }
            }
            for (cell, state) in cells.iter_mut().zip(&mut states) {
                if let Some(state) = state.take() {
                    *cell = state.value();
                }
            }
        })
    }

    /// The sum, or the mean, where there are native histograms. Floats and histograms have none together.
    /// Source: Prometheus `promql/engine.go`, `aggregation`.
    fn fold_mixed<A: Accumulator>(
        &self,
        mean: bool,
        annotations: &mut Annotations,
        span: Span,
    ) -> StepMatrix {
        let mut result = StepMatrix::of(self.rows.groups(), self.input.steps());
        for (group, rows) in self.rows.members().iter().enumerate() {
            result.push_mixed(Place(group), |mut cells| {
                for step in 0..self.input.steps() {
                    cells.set(step, self.fold_step::<A>(rows, step, mean, annotations, span));
                }
            });
        }
        result
    }

    fn fold_step<A: Accumulator>(
        &self,
        rows: &[usize],
        step: usize,
        mean: bool,
        annotations: &mut Annotations,
        span: Span,
    ) -> Option<Cell> {
        let (mut floats, mut histograms): (Option<A>, Option<HistogramAggregate>) = (None, None);
        for row in rows {
            match (self.input.cells_of(*row).get(step), &mut floats, &mut histograms) {
                (None, ..) => {}
                (Some(Cell::Float(value)), Some(state), _) => state.add(value),
                (Some(Cell::Float(value)), None, _) => floats = Some(A::first(value)),
                (Some(Cell::Histogram(histogram)), _, Some(state)) => {
                    if state.add(&histogram).is_err() {
                        let labels = self.input.row_at(*row).labels;
                        annotations.mixed_exponential_and_custom(labels.metric_name(), span);
                        return None;
                    }
                }
                (Some(Cell::Histogram(histogram)), _, None) => {
                    histograms = Some(HistogramAggregate::starting_at(&histogram, mean));
                }
            }
        }
        match (floats, histograms) {
            (Some(_), Some(_)) => {
                annotations.mixed_aggregation(span);
                None
            }
            (floats, None) => Some(Cell::Float(floats?.value())),
            (None, Some(histograms)) => {
                let (value, reconciled) = histograms.finish();
                annotations.reconciled(reconciled, "aggregation", span);
                Some(value.into())
            }
        }
    }

    fn quantiles(&self, quantiles: &[f64]) -> StepMatrix {
        let mut values = Vec::new();
        self.each_group(|rows, cells| {
            for (step, (cell, q)) in cells.iter_mut().zip(quantiles).enumerate() {
                values.clear();
                let present =
                    rows.iter().map(|row| self.input.row(*row)[step]).filter(|cell| is_present(*cell));
                values.extend(present);
                if !values.is_empty() {
                    *cell = quantile(*q, &mut values);
                }
            }
        })
    }

    /// A row for each group, which `fill` fills from the group's rows.
    fn each_group(&self, mut fill: impl FnMut(&[usize], &mut [f64])) -> StepMatrix {
        let mut result = StepMatrix::of(self.rows.groups(), self.input.steps());
        for (group, rows) in self.rows.members().iter().enumerate() {
            result.push(Place(group), |cells| fill(rows, cells));
        }
        result
    }
}

/// Aggregates the values of a group at one instant, in the order of the input's series.
trait Accumulator {
    fn first(value: f64) -> Self;
    fn add(&mut self, value: f64);
    fn value(self) -> f64;
}

struct Sum(KahanSum);

impl Accumulator for Sum {
    fn first(value: f64) -> Self {
        Self(KahanSum::starting_at(value))
    }

    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn value(self) -> f64 {
        self.0.total()
    }
}

struct Average(Mean);

impl Accumulator for Average {
    fn first(value: f64) -> Self {
        Self(Mean::starting_at(value))
    }

    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn value(self) -> f64 {
        self.0.value()
    }
}

struct Count(f64);

impl Accumulator for Count {
    fn first(_: f64) -> Self {
        Self(1.0)
    }

    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn value(self) -> f64 {
        self.0
    }
}

/// The smallest value; a NaN only if there is nothing else.
struct Min(f64);

impl Accumulator for Min {
    fn first(value: f64) -> Self {
        Self(value)
    }

    fn add(&mut self, value: f64) {
        if self.0 > value || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn value(self) -> f64 {
        self.0
    }
}

/// The largest value; a NaN only if there is nothing else.
struct Max(f64);

impl Accumulator for Max {
    fn first(value: f64) -> Self {
        Self(value)
    }

    fn add(&mut self, value: f64) {
        if self.0 < value || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn value(self) -> f64 {
        self.0
    }
}

/// 1 for each group that there is.
struct Group;

impl Accumulator for Group {
    fn first(_: f64) -> Self {
        Self
    }

    fn add(&mut self, _: f64) {}

    fn value(self) -> f64 {
        1.0
    }
}

/// The population variance, by Welford's method.
struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Accumulator for Variance {
    fn first(value: f64) -> Self {
        let squares = if value.is_finite() { 0.0 } else { f64::NAN };
        Self { count: 1.0, mean: value, squares }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn value(self) -> f64 {
        self.squares / self.count
    }
}
