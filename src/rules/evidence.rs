//! What is asked beside a rule's expression before its alerts go on.
//!
//! A rule without instructions asks nothing. The others ask only when an alert is about to end, or, with
//! `valmis_on_missing: alert`, at every evaluation.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::alerting::Ending;
use super::error::RuleError;
use super::group::Group;
use super::inputs::{Input, Inputs};
use crate::model::{ALERT_NAME, Labels, TimestampMs};
use crate::promql::{Expr, InstantSample};
use crate::rulefmt::{OnMissing, Rule};

/// What is known beside the result of a rule's expression.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// Alerts that are not in the result because series are gone, each with what is gone.
    pub missing: BTreeMap<Labels, String>,
    /// What has no series at all, so that the expression says nothing.
    pub silent: Vec<String>,
}

/// What a rule asks beside its expression.
#[derive(Debug, Clone, Default)]
pub(super) struct Questions {
    /// The series behind its alerts, if it matters that they are gone.
    inputs: Option<Inputs>,
    /// Whether it matters also while no alert fires.
    tells_silence: bool,
}

impl Questions {
    pub(super) fn new(rule: &Rule) -> Self {
        let on_missing = rule.instructions.on_missing;
        let own = rule.labels.keys().map(String::as_str);
        let inputs = || Inputs::of(&rule.expr, own.chain([ALERT_NAME]));
        Self {
            inputs: matches!(on_missing, Some(OnMissing::Hold { .. })).then(inputs),
            tells_silence: matches!(on_missing, Some(OnMissing::Hold { alert: true, .. })),
        }
    }
}

impl Group {
    /// Finds out what a rule has to know beside its result; `None` if cancelled.
    pub(super) async fn evidence(
        &mut self,
        questions: &Questions,
        ending: &[Ending],
        at: TimestampMs,
        token: &CancellationToken,
    ) -> Option<Result<Evidence, RuleError>> {
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
                let gone = match self.gone(input, &fresh, ending, token).await? {
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
        Some(Ok(evidence))
    }

    /// The alerts that came from series of an input of which none is left.
    async fn gone(
        &mut self,
        input: &Input,
        fresh: &[InstantSample],
        ending: &[Ending],
        token: &CancellationToken,
    ) -> Option<Result<Vec<Labels>, RuleError>> {
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

    /// The value of an expression that is asked for now and then.
    async fn ask(
        &mut self,
        expr: &Arc<Expr>,
        at: TimestampMs,
        token: &CancellationToken,
    ) -> Option<Result<Vec<InstantSample>, RuleError>> {
        let (source, expr) = (self.source(), Arc::clone(expr));
        let at = at - self.query_offset_ms();
        let query = async move { source.instant(&expr, at).await };
        self.query(query.boxed(), token).await
    }
}
