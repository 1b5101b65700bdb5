//! What is asked beside a rule's expression before its alerts go on.
//!
//! A rule that asks for nothing beyond Prometheus asks nothing. The others ask only when an alert is about
//! to end, or, with `valmis_on_missing: alert`, at every evaluation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::alerting::{AlertingRule, Candidate, Ending};
use super::error::RuleError;
use super::expand::{Farewell, Texts};
use super::group::Group;
use super::inputs::{Input, Inputs, ResultValue};
use crate::model::{ALERT_NAME, Labels, METRIC_NAME, TimestampMs};
use crate::promql::{Expr, InstantSample};
use crate::rulefmt::{OnMissing, Rule};

/// What is known beside the result of a rule's expression.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// Alerts that are not in the result because series are gone, each with what is gone.
    pub missing: BTreeMap<Labels, String>,
    /// What has no series at all, so that the expression says nothing.
    pub silent: Vec<String>,
    /// Alerts that have not recovered, though they are not in the result: what their rule wants to see
    /// before they end has no result for them.
    pub unrecovered: BTreeSet<Labels>,
    /// The annotations that alerts get by their end; without an entry an alert keeps those that it has.
    pub farewells: BTreeMap<Labels, Labels>,
}

/// What a rule asks beside its expression.
#[derive(Debug, Clone, Default)]
pub(super) struct Questions {
    /// The series behind its alerts, if it matters that they are gone.
    inputs: Option<Inputs>,
    /// Whether it matters also while no alert fires.
    tells_silence: bool,
    /// What must have a result before an alert ends.
    resolve: Option<Resolve>,
    /// What its value is whether or not its condition holds.
    value: ResultValue,
}

/// What must have a result before an alert ends.
#[derive(Debug, Clone)]
struct Resolve {
    expr: Arc<Expr>,
    /// The labels that alerts have from elsewhere.
    overridden: BTreeSet<String>,
}

impl Resolve {
    /// Whether a result is about an alert: the alert has all of its labels.
    fn is_about(&self, alert: &Labels, found: &Labels) -> bool {
        let counts = |name: &str| name != METRIC_NAME && !self.overridden.contains(name);
        found.iter().filter(|(name, _)| counts(name)).all(|(name, value)| alert.get(name) == value)
    }
}

/// A rule that asks.
pub(super) struct Asked<'r> {
    pub(super) index: usize,
    pub(super) rule: &'r AlertingRule,
    pub(super) texts: &'r Arc<Texts>,
    pub(super) questions: &'r Questions,
}

impl Questions {
    pub(super) fn new(rule: &Rule, texts: &Texts) -> Self {
        let on_missing = rule.instructions.on_missing;
        let own = || rule.labels.keys().map(String::as_str).chain([ALERT_NAME]);
        let inputs = || Inputs::of(&rule.expr, own());
        let resolve = rule.instructions.resolve_expr.clone();
        let asks_inputs = match on_missing {
            Some(OnMissing::Hold { .. }) => true,
            // Missing series end an alert that would have to wait for its resolve expression.
            Some(OnMissing::Resolve) => resolve.is_some(),
            None => false,
        };
        Self {
            inputs: asks_inputs.then(inputs),
            resolve: resolve.map(|expr| Resolve { expr, overridden: own().map(str::to_owned).collect() }),
            tells_silence: matches!(on_missing, Some(OnMissing::Hold { alert: true, .. })),
            value: if texts.tell_resolved_value() {
                ResultValue::of(&rule.expr, own())
            } else {
                ResultValue::default()
            },
        }
    }
}

type Known<T> = Option<Result<T, RuleError>>;

impl Group {
    /// Finds out what a rule has to know beside its result; `None` if cancelled.
    pub(super) async fn evidence(
        &mut self,
        asked: &Asked<'_>,
        candidates: &[Candidate],
        at: TimestampMs,
        token: &CancellationToken,
    ) -> Known<Evidence> {
        let Asked { index, rule, texts, questions } = asked;
        if questions.inputs.is_none() && questions.resolve.is_none() && !texts.tell_end() {
            return Some(Ok(Evidence::default()));
        }
        let ending = rule.ending(self.active(*index), at, candidates);
        let mut evidence = Evidence::default();
        if let Some(inputs) = &questions.inputs
            && (!ending.is_empty() || questions.tells_silence)
        {
            let mut found = Vec::with_capacity(inputs.all.len());
            for input in &inputs.all {
                let fresh = match self.ask(&input.fresh, at, token).await? {
                    Ok(fresh) => fresh,
                    Err(error) => return Some(Err(error)),
                };
                found.push(!fresh.is_empty());
                let gone = match self.gone(input, &fresh, &ending, token).await? {
                    Ok(gone) => gone,
                    Err(error) => return Some(Err(error)),
                };
                for labels in gone {
                    evidence.missing.entry(labels).or_insert_with(|| input.text.clone());
                }
            }
            if questions.tells_silence {
                let silent = inputs.silent(&found).into_iter();
                evidence.silent = silent.map(|input| input.text.clone()).collect();
            }
        }
        if let Some(resolve) = &questions.resolve
            && !ending.is_empty()
        {
            let found = match self.ask(&resolve.expr, at, token).await? {
                Ok(found) => found,
                Err(error) => return Some(Err(error)),
            };
            let waits = |labels: &&Labels| {
                !evidence.missing.contains_key(*labels)
                    && !found.iter().any(|found| resolve.is_about(labels, &found.labels))
            };
            let unrecovered = ending.iter().map(|ending| &ending.labels).filter(waits).cloned();
            evidence.unrecovered = unrecovered.collect();
        }
        if texts.tell_end() && !ending.is_empty() {
            match self.farewells(asked, &ending, &evidence, at, token).await? {
                Ok(farewells) => evidence.farewells = farewells,
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(evidence))
    }

    /// The alerts that came from series of an input of which none is left.
    async fn gone(
        &mut self,
        input: &Input,
        fresh: &[InstantSample],
        ending: &[Ending],
        token: &CancellationToken,
    ) -> Known<Vec<Labels>> {
        let mut seen: BTreeMap<TimestampMs, Vec<InstantSample>> = BTreeMap::new();
        let mut gone = Vec::new();
        for Ending { labels, seen_at } in ending {
            let agrees = |series: &InstantSample| input.agrees(labels, &series.labels);
            if fresh.iter().any(agrees) {
                continue;
            }
            if !seen.contains_key(seen_at) {
                match self.ask(&input.seen, *seen_at, token).await? {
                    Ok(series) => drop(seen.insert(*seen_at, series)),
                    Err(error) => return Some(Err(error)),
                }
            }
            if seen[seen_at].iter().any(agrees) {
                gone.push(labels.clone());
            }
        }
        Some(Ok(gone))
    }

    /// The annotations with which the end of alerts is told, of those that do end.
    async fn farewells(
        &mut self,
        asked: &Asked<'_>,
        ending: &[Ending],
        evidence: &Evidence,
        at: TimestampMs,
        token: &CancellationToken,
    ) -> Known<BTreeMap<Labels, Labels>> {
        let Asked { index, rule, texts, questions } = asked;
        let active = self.active(*index);
        let alerts = ending.iter().filter_map(|ending| active.alerts.get(&ending.labels));
        let alerts = alerts.filter(|alert| !rule.goes_on_without_result(alert, at, evidence));
        let mut farewells: Vec<Farewell> =
            alerts.map(|alert| Farewell { record: alert.record.clone(), resolved_value: None }).collect();
        if farewells.is_empty() {
            return Some(Ok(BTreeMap::new()));
        }
        let mut branches = Vec::new();
        for branch in &questions.value.branches {
            match self.ask(&branch.expr, at, token).await? {
                Ok(result) => branches.push((branch, result)),
                Err(error) => return Some(Err(error)),
            }
        }
        for farewell in &mut farewells {
            // If several could be meant, none is.
            let mut values = branches.iter().flat_map(|(branch, result)| {
                let of_alert = |found: &&InstantSample| {
                    found.histogram.is_none() && branch.kept.agree(&farewell.record.labels, &found.labels)
                };
                result.iter().filter(of_alert).map(|found| found.value)
            });
            farewell.resolved_value = values.next().filter(|_| values.next().is_none());
        }
        let count = farewells.len();
        let expand = move |texts: &Texts, config: &_, queries: &_| {
            let expanded = farewells.iter().map(|farewell| {
                (farewell.record.labels.clone(), texts.farewell(farewell, at, config, queries))
            });
            expanded.collect()
        };
        self.expanded(texts, count, expand, token).await
    }

    /// The value of an expression that is asked for now and then.
    async fn ask(
        &mut self,
        expr: &Arc<Expr>,
        at: TimestampMs,
        token: &CancellationToken,
    ) -> Known<Vec<InstantSample>> {
        let (source, expr) = (self.source(), Arc::clone(expr));
        let at = at - self.query_offset_ms();
        let query = async move { source.instant(&expr, at).await };
        self.query(query.boxed(), token).await
    }
}
