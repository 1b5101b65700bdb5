//! What `ALERTS_FOR_STATE` remembers of alerts from before the start.
//!
//! The states of alerts are on disk. Where they are not (a fresh disk, a rule that a Prometheus has
//! evaluated until now), the series tell since when alerts were active, to whoever asks in plain PromQL.
//! Source of the behaviour: Prometheus 3.14 `rules/group.go`, `RestoreForState`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::active::{ActiveAlert, ActiveAlerts};
use super::alerting::{ALERTS_FOR_STATE, AlertingRule, Candidate};
use crate::model::{Labels, METRIC_NAME, Matcher, Span, TimestampMs};
use crate::promql::{
    DurationExpr, DurationOp, EvalError, Expr, ExprKind, MatrixSelector, Value, VectorSelector,
};
use crate::query::QuerySource;
use crate::state::AlertRecord;

/// How long ago an alert may have been active. Source: `--rules.alert.for-outage-tolerance`.
const OUTAGE_TOLERANCE_MS: i64 = 3_600_000;

/// Alerts that wait for a shorter time begin anew, and one that is remembered fires no sooner than after
/// this time. Source: `--rules.alert.for-grace-period`.
const GRACE_MS: i64 = 600_000;

/// How long the server may take; a rule's first evaluation waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A series without a sample for longer than this has no current value. Source: `--query.lookback-delta`.
const LOOKBACK_MS: i64 = 300_000;

/// At how many instants a server is asked at most whether alerts had ended. Alerts of one group that were
/// active to the last have their last samples at the same instant.
const MOST_ENDS: usize = 8;

/// What is remembered of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// Since when it was active.
    active_at: TimestampMs,
    /// When that was last known.
    last_at: TimestampMs,
}

impl AlertingRule {
    /// Whether its alerts can go on with what is remembered.
    pub(super) fn may_remember(&self) -> bool {
        self.hold_ms >= GRACE_MS
    }

    /// Goes on with what is remembered of the alerts that are active now: only with that, since the series
    /// do not tell what else has ended in the meantime. There must be no other state.
    pub(super) fn go_on_from(
        &self,
        active: &mut ActiveAlerts,
        at: TimestampMs,
        result: &[Candidate],
        memories: &BTreeMap<Labels, Memory>,
    ) {
        for found in result {
            if let Some(memory) = memories.get(&found.labels) {
                active.insert(ActiveAlert::new(AlertRecord {
                    active_at: self.restored(at, *memory),
                    ..Self::new_record(at, found)
                }));
            }
        }
    }

    /// Since when an alert counts as active that is remembered. Time in which it was not known to be
    /// active does not count, and nobody is paged sooner than after the grace period, unless the alert was
    /// firing before.
    fn restored(&self, at: TimestampMs, memory: Memory) -> TimestampMs {
        let Memory { active_at, last_at } = memory;
        let remaining = self.hold_ms - (last_at - active_at);
        if remaining <= 0 {
            active_at
        } else if remaining < GRACE_MS {
            at + GRACE_MS - self.hold_ms
        } else {
            active_at + (at - last_at)
        }
    }

    /// Asks what is remembered of the rule's alerts.
    async fn memories(
        &self,
        source: &dyn QuerySource,
        at: TimestampMs,
    ) -> Result<BTreeMap<Labels, Memory>, EvalError> {
        let series = match source.instant(&self.remembered_samples(), at).await?.value {
            Value::Matrix(series) => series,
            _ => {
                return Err(EvalError::Storage(
                    "a range selector was answered with something else".to_owned(),
                ));
            }
        };
        let mut memories = BTreeMap::new();
        for series in series {
            let Some(last) = series.points.last() else { continue };
            let mut labels = series.labels.builder();
            let labels = labels.remove(METRIC_NAME).build();
            let seconds = |ms: i64| ms.div_euclid(1000) * 1000;
            let memory = Memory { active_at: last.value as i64 * 1000, last_at: seconds(last.at) };
            memories.insert(labels, (last.at, memory));
        }
        self.without_ended(source, at, memories).await
    }

    /// Leaves out alerts that had ended: a range selector does not show the staleness marker that an end
    /// leaves behind, but a little later there is no current value.
    async fn without_ended(
        &self,
        source: &dyn QuerySource,
        at: TimestampMs,
        memories: BTreeMap<Labels, (TimestampMs, Memory)>,
    ) -> Result<BTreeMap<Labels, Memory>, EvalError> {
        let ends: BTreeSet<TimestampMs> = memories.values().map(|(end, _)| *end).collect();
        let mut known = BTreeMap::new();
        for end in ends.into_iter().rev().take(MOST_ENDS) {
            // The marker comes with the next evaluation, which may have been late.
            let later = (end + 2 * self.interval_ms).min(end + LOOKBACK_MS - 1).min(at);
            let Value::Vector(current) = source.instant(&self.remembered_values(), later).await?.value else {
                return Err(EvalError::Storage("a selector was answered with something else".to_owned()));
            };
            for sample in current {
                let mut labels = sample.labels.builder();
                let labels = labels.remove(METRIC_NAME).build();
                if let Some((last, memory)) = memories.get(&labels)
                    && *last == end
                {
                    known.insert(labels, *memory);
                }
            }
        }
        Ok(known)
    }

    fn remembered(&self) -> VectorSelector {
        let labels = self.common_labels.iter().map(|(name, value)| Matcher::equal(name, value));
        let matchers = labels.chain([Matcher::equal(METRIC_NAME, ALERTS_FOR_STATE)]).collect();
        let name = Some(ALERTS_FOR_STATE.to_owned());
        VectorSelector { name, matchers, offset: None, at: None, modifier: None, bare: false }
    }

    fn remembered_values(&self) -> Expr {
        Expr { kind: ExprKind::Vector(self.remembered()), span: Span::default() }
    }

    fn remembered_samples(&self) -> Expr {
        let op = DurationOp::Literal { ms: OUTAGE_TOLERANCE_MS };
        let range = DurationExpr { op, span: Span::default() };
        let matrix = MatrixSelector { selector: self.remembered(), selector_span: Span::default(), range };
        Expr { kind: ExprKind::Matrix(Box::new(matrix)), span: Span::default() }
    }
}

/// Those that may remember the alerts of a group; none: nothing is asked.
pub(super) type Sources = Vec<Arc<dyn QuerySource>>;

/// What any of the sources remembers of a rule's alerts, the latest of each, and how long it took to find
/// out. A source that cannot be asked remembers nothing: the rule's alerts begin anew.
pub(super) async fn remember(
    sources: &Sources,
    rule: &AlertingRule,
    at: TimestampMs,
) -> (BTreeMap<Labels, Memory>, Duration) {
    let began = Instant::now();
    let mut all: BTreeMap<Labels, Memory> = BTreeMap::new();
    for source in sources {
        let asked = timeout(PATIENCE, rule.memories(&**source, at)).await;
        let found = match asked.unwrap_or(Err(EvalError::Timeout("restoring alerts"))) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(rule = %rule.name, %error, "ALERTS_FOR_STATE cannot be read; alerts begin anew");
                continue;
            }
        };
        for (labels, memory) in found {
            let known = all.entry(labels).or_insert(memory);
            if memory.last_at > known.last_at {
                *known = memory;
            }
        }
    }
    (all, began.elapsed())
}

#[cfg(test)]
mod tests;
