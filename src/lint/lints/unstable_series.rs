//! `topk(3, x)` as an alert.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::ranges::Range;
use crate::lint::subject::Subject;
use crate::lint::tree::bare;
use crate::lint::{Check, Lint, Settings};
use crate::promql::{AggregateOp, Expr, ExprKind, Grouping};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "unstable-series",
    severity: Severity::Warning,
    what: "An alert on `topk`, `bottomk`, `limitk` or `limit_ratio`.",
    why: "Which series are among them changes from one evaluation to the next; alerts begin, end and start their `for` \
          again with each change.",
    fix: "Alert on the condition itself, or aggregate the labels away that change.",
    bad: "\
- alert: QueueLong
  expr: topk(3, queue_length) > 100
",
    good: "\
- alert: QueueLong
  expr: queue_length > 100
",
    pint: &["promql/fragile"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    if subject.alert().is_some() {
        visit(&subject.rule.expr, found);
    }
}

/// Only where the labels of the chosen series become those of alerts.
fn visit(expr: &Expr, found: &mut Vec<Finding>) {
    match &bare(expr).kind {
        ExprKind::Aggregate(aggregate) => {
            let chooses = matches!(
                aggregate.op,
                AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio
            );
            // `topk by (pod) (1, x)` takes one of several series that say the same.
            let one_of_each = aggregate.grouping != Grouping::By(Vec::new())
                && aggregate.param.as_ref().is_some_and(|param| Range::of(param).single() == Some(1.0));
            if chooses && !one_of_each {
                let message =
                    format!("the series that `{}` chooses change, and with them the alerts", aggregate.op);
                found.push(Finding::expr(bare(expr).span, message));
            }
        }
        ExprKind::Binary(binary) => {
            visit(&binary.left, found);
            if binary.op.is_comparison() || !binary.op.is_set_operator() {
                visit(&binary.right, found);
            }
        }
        _ => {}
    }
}
