//! Which rules of a group need not wait for those before them, and asking for them ahead of their turn.
//!
//! Only the queries run beside one another. What follows from their answers (samples, states, alerts) is
//! done rule by rule in the order of the group, and a query begins only when all rules have been written
//! whose series it may read: the outcome is that of rules that are evaluated one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::alerting::ALERT_SERIES;
use crate::model::{ALERT_NAME, METRIC_NAME, Matcher, TimestampMs};
use crate::promql::{EvalError, Expr, ExprKind, Output};
use crate::query::PreparedQuery;
use crate::rulefmt::{Rule, RuleKind};

/// How far ahead of the rule whose turn it is queries are looked for.
const WINDOW: usize = 16;

/// An answer, and how long it took.
pub(super) type Timed = (Result<Output, EvalError>, Duration);

/// How many of the rules before each must have been evaluated before it may be asked for: up to the last
/// one whose series it may read. Source: Prometheus 3.14 `rules/group.go`, `buildDependencyMap`; there a
/// selector without a name makes every rule of the group wait, here the one that has it.
pub(super) fn needs(rules: &[Rule]) -> Vec<usize> {
    let needs = rules.iter().enumerate().map(|(index, rule)| {
        let reads = Reads::of(&rule.expr);
        let last = rules[..index].iter().rposition(|other| reads.may_see(other));
        last.map_or(0, |last| last + 1)
    });
    needs.collect()
}

/// What an expression reads.
struct Reads<'e> {
    selectors: Vec<&'e [Matcher]>,
    /// `info()` may look for series of which the expression does not say anything.
    anything: bool,
}

impl<'e> Reads<'e> {
    fn of(expr: &'e Expr) -> Self {
        let selectors = expr.selectors().into_iter().map(|selector| selector.matchers.as_slice());
        let mut anything = false;
        expr.walk(&mut |part| {
            anything |= matches!(&part.kind, ExprKind::Call(call) if call.function == "info");
        });
        Self { selectors: selectors.collect(), anything }
    }

    /// Whether series that a rule writes may be among them.
    fn may_see(&self, rule: &Rule) -> bool {
        self.anything
            || self.selectors.iter().any(|matchers| match &rule.kind {
                RuleKind::Recording { record } => fits(matchers, METRIC_NAME, record),
                RuleKind::Alerting { alert, .. } => {
                    ALERT_SERIES.iter().any(|name| fits(matchers, METRIC_NAME, name))
                        && fits(matchers, ALERT_NAME, alert)
                }
            })
    }
}

fn fits(matchers: &[Matcher], name: &str, value: &str) -> bool {
    matchers.iter().filter(|matcher| matcher.name() == name).all(|matcher| matcher.matches(value))
}

/// The queries of one pass that run, or have an answer that waits for its turn.
#[derive(Default)]
pub(super) struct Ahead {
    /// By the place of their rule.
    running: BTreeMap<usize, AbortOnDropHandle<Timed>>,
}

impl Ahead {
    /// Forgets what was asked, to begin a pass.
    pub(super) fn clear(&mut self) {
        self.running.clear();
    }

    /// The answer for the rule whose turn it is. Meanwhile, rules after it are asked for, at most
    /// `concurrency` at once with it.
    pub(super) fn ask(
        &mut self,
        turn: usize,
        needs: &[usize],
        concurrency: usize,
        query: impl Fn(usize) -> BoxFuture<'static, Timed>,
    ) -> BoxFuture<'static, Timed> {
        let own = self.running.remove(&turn);
        let window = turn + 1..needs.len().min(turn + WINDOW);
        for ahead in window.filter(|ahead| needs[*ahead] <= turn) {
            if self.running.len() + 1 >= concurrency {
                break;
            }
            self.running.entry(ahead).or_insert_with(|| AbortOnDropHandle::new(tokio::spawn(query(ahead))));
        }
        match own {
            // A panic has been reported when it happened.
            Some(own) => own
                .map(|joined| joined.unwrap_or((Err(EvalError::Canceled("query execution")), Duration::ZERO)))
                .boxed(),
            None => query(turn),
        }
    }
}

/// Asks, and says how long it took.
pub(super) fn timed(
    query: &Arc<dyn PreparedQuery>,
    at: TimestampMs,
    limit: Duration,
) -> BoxFuture<'static, Timed> {
    let query = Arc::clone(query);
    async move {
        let began = Instant::now();
        let answer = timeout(limit, query.instant(at)).await;
        (answer.unwrap_or(Err(EvalError::Timeout("expression evaluation"))), began.elapsed())
    }
    .boxed()
}

#[cfg(test)]
mod tests;
