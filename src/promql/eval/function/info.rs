//! `info`: series with labels of the info series of their target.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};
use crate::promql::ast::{Expr, ExprKind};
use crate::promql::eval::Evaluator;
use crate::promql::eval::error::failure;
use crate::promql::eval::grouping::LabelKey;
use crate::promql::eval::matrix::{Cell, Cells, Row, StepMatrix, is_present};
use crate::promql::eval::selector::Instants;
use crate::promql::plan::{Call, Reference};
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::arg;

/// The labels that say which target a series belongs to.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Which info series a call of `info` reads and which of their labels it wants.
pub(in crate::promql) struct InfoSource {
    /// The number of their selector.
    pub(in crate::promql) fetch: usize,
    /// When they are looked at.
    pub(in crate::promql) reference: Reference,
    /// Conditions on the metric name.
    names: Vec<Matcher>,
    /// Conditions on labels; these labels are the wanted ones, without any all are.
    labels: Vec<Matcher>,
}

impl InfoSource {
    /// From the second argument of the call, a selector.
    pub(in crate::promql) fn new(
        selector: Option<&Expr>,
        fetch: usize,
        reference: Reference,
    ) -> Result<Self, EvalError> {
        let matchers = match selector.map(|expr| &expr.kind) {
            None => Vec::new(),
            Some(ExprKind::Vector(vector)) => vector.matchers.clone(),
            Some(_) => return Err(failure("expected a label selector as the second argument of info()")),
        };
        let (mut names, labels): (Vec<_>, Vec<_>) =
            matchers.into_iter().partition(|matcher| matcher.name() == METRIC_NAME);
        let positive = names.iter().any(|matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex));
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if !positive {
            let any_info = Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info")
                .map_err(|error| failure(error.to_string()))?;
            names.insert(0, any_info);
        }
        Ok(Self { fetch, reference, names, labels })
    }

    /// The conditions of the info series' selector.
    pub(in crate::promql) fn all_matchers(&self) -> Vec<Matcher> {
        self.labels.iter().chain(&self.names).cloned().collect()
    }

    /// Whether these labels are those of an info series themselves.
    fn selects(&self, labels: &Labels) -> bool {
        self.names.iter().all(|matcher| matcher.matches(labels.metric_name()))
    }

    fn wants(&self, name: &str) -> bool {
        name != METRIC_NAME
            && (self.labels.is_empty() || self.labels.iter().any(|matcher| matcher.name() == name))
    }

    /// Whether a series without info series stays as it is.
    fn is_optional(&self) -> bool {
        self.labels.iter().all(|matcher| matcher.matches(""))
    }
}

/// The info series of one target: for each metric name its rows.
type ByName<'m> = BTreeMap<&'m str, Vec<usize>>;

impl Evaluator<'_> {
    pub(super) fn info(&mut self, call: &Call<'_>, steps: Steps) -> Result<StepMatrix, EvalError> {
        let source = call.info.as_deref().ok_or_else(|| failure("info() was planned as another function"))?;
        let base = self.vector(arg(&call.args, 0)?, steps)?;
        let fetched = self.data.fetched(source.fetch);
        // The cells hold the times of the samples: of several info series the newest one counts.
        let instants = Instants { steps, reference: source.reference, totals_only: false };
        let times = self.newest_of(
            fetched,
            instants,
            |_, histogram| Cell::Histogram(Arc::clone(histogram)),
            |point| point.at as f64,
        )?;
        if times.any_histogram() && !base.is_empty() {
            return Err(failure("info sample should be float"));
        }
        let key = LabelKey::on(&IDENTIFYING.map(str::to_owned));
        let mut targets: HashMap<Labels, ByName<'_>> = HashMap::new();
        for (index, row) in times.rows().iter().enumerate() {
            let by_name = targets.entry(key.of(&row.labels)).or_default();
            by_name.entry(row.labels.metric_name()).or_default().push(index);
        }
        let mut result = StepMatrix::new(steps.count);
        for (row, cells) in base.iter_cells() {
            self.tick(steps.count)?;
            self.check_growth(&result)?;
            let target = key.of(&row.labels);
            let by_name = if source.selects(&row.labels) { None } else { targets.get(&target) };
            let Some(by_name) = by_name.filter(|_| !target.is_empty()) else {
                if source.selects(&row.labels) || source.is_optional() {
                    result.push_cells(row.clone(), cells);
                }
                continue;
            };
            enrich(&mut result, source, row, cells, by_name, &times)?;
        }
        result.merge_same_labelsets()?;
        Ok(result)
    }
}

/// Appends a series with the labels that its info series have at each instant: a row for each set of
/// info series that is the newest at some instant.
fn enrich(
    result: &mut StepMatrix,
    source: &InfoSource,
    row: &Row,
    cells: Cells<'_>,
    by_name: &ByName<'_>,
    times: &StepMatrix,
) -> Result<(), EvalError> {
    let mut variants: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for step in (0..cells.floats.len()).filter(|step| cells.is_present(*step)) {
        let mut newest = Vec::new();
        for rows in by_name.values() {
            newest.extend(newest_at(rows, times, step)?);
        }
        variants.entry(newest).or_default().push(step);
    }
    for (infos, steps) in variants {
        if infos.is_empty() && !source.is_optional() {
            continue;
        }
        let labels = enriched_labels(source, &row.labels, &infos, times)?;
        let row = || Row { labels, drop_name: row.drop_name };
        if cells.histograms.is_empty() {
            result.push(row, |all| steps.iter().for_each(|step| all[*step] = cells.floats[*step]));
        } else {
            result.push_mixed(row, |mut all| {
                for step in steps {
                    all.set(step, cells.get(step));
                }
            });
        }
    }
    Ok(())
}

/// The info series with the newest sample at an instant.
fn newest_at(rows: &[usize], times: &StepMatrix, step: usize) -> Result<Option<usize>, EvalError> {
    let time = |row: usize| times.row(row)[step];
    let mut newest: Option<usize> = None;
    for row in rows.iter().copied().filter(|row| is_present(time(*row))) {
        match newest {
            Some(best) if time(best) > time(row) => {}
            Some(best) if time(best) == time(row) => {
                let labels = |row: usize| &times.rows()[row].labels;
                return Err(failure(format!(
                    "found duplicate series for info metric: existing {} @ {}, new {} @ {}",
                    labels(best),
                    time(best),
                    labels(row),
                    time(row)
                )));
            }
            _ => newest = Some(row),
        }
    }
    Ok(newest)
}

fn enriched_labels(
    source: &InfoSource,
    base: &Labels,
    infos: &[usize],
    times: &StepMatrix,
) -> Result<Labels, EvalError> {
    let mut added = LabelsBuilder::default();
    for info in infos {
        for (name, value) in times.rows()[*info].labels.iter().filter(|(name, _)| source.wants(name)) {
            let known = added.get(name);
            if !known.is_empty() && known != value {
                return Err(failure(format!("conflicting label: {name}")));
            }
            if !base.has(name) {
                added.set(name, value);
            }
        }
    }
    let mut labels = base.builder();
    for (name, value) in added.build().iter() {
        labels.set(name, value);
    }
    Ok(labels.build())
}
