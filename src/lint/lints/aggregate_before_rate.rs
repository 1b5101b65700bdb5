//! `rate(sum(x)[5m:])`.

use std::collections::BTreeMap;

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::subject::Rules;
use crate::lint::tree::{bare, metric_name, walk};
use crate::lint::{Check, Lint};
use crate::promql::{AggregateOp, Expr, ExprKind};
use crate::rulefmt::RuleKind;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "aggregate-before-rate",
    severity: Severity::Warning,
    what: "A `rate` over a sum of counters, in a subquery or through a recording rule.",
    why: "When one of the counters starts again at 0 the sum falls, and `rate` takes the whole rest of the sum \
          for an increase.",
    fix: "First `rate`, then `sum`.",
    bad: "\
- record: job:errors:rate5m
  expr: rate(sum by (job) (errors_total)[5m:])
",
    good: "\
- record: job:errors:rate5m
  expr: sum by (job) (rate(errors_total[5m]))
",
    pint: &["promql/rate"],
    check: Check::Rules(check),
};

fn check(rules: &Rules<'_>, found: &mut Vec<(usize, Finding)>) {
    let mut sums: BTreeMap<&str, &Expr> = BTreeMap::new();
    for subject in &rules.subjects {
        if let RuleKind::Recording { record } = &subject.rule.kind
            && sum_of_counter(&subject.rule.expr).is_some()
        {
            sums.insert(record, &subject.rule.expr);
        }
    }
    for (index, subject) in rules.subjects.iter().enumerate() {
        walk(&subject.rule.expr, &mut |node| {
            let ExprKind::Call(call) = &node.kind else { return };
            if !matches!(call.function, "rate" | "irate" | "increase") {
                return;
            }
            let function = call.function;
            match call.args.first().map(|arg| &bare(arg).kind) {
                Some(ExprKind::Subquery(subquery)) => {
                    if let Some(counter) = sum_of_counter(&subquery.expr) {
                        let message = format!(
                            "`{function}` of a sum takes the restart of one `{counter}` for an increase"
                        );
                        found.push((
                            index,
                            Finding::expr(node.span, message).hint(format!("write `sum({function}(…))`")),
                        ));
                    }
                }
                Some(ExprKind::Matrix(matrix)) => {
                    if let Some((name, sum)) =
                        metric_name(&matrix.selector).and_then(|name| sums.get_key_value(name))
                    {
                        let message = format!(
                            "`{name}` is recorded as `{sum}`, a sum, of which there is no `{function}`"
                        );
                        let hint = format!("record `sum({function}(…))` instead");
                        found.push((index, Finding::expr(node.span, message).hint(hint)));
                    }
                }
                _ => {}
            }
        });
    }
}

/// The counter, by its name, that an expression sums up as it is.
fn sum_of_counter(expr: &Expr) -> Option<&str> {
    let ExprKind::Aggregate(aggregate) = &bare(expr).kind else { return None };
    let ExprKind::Vector(selector) = &bare(&aggregate.expr).kind else { return None };
    let name = metric_name(selector)?;
    (aggregate.op == AggregateOp::Sum && name.ends_with("_total")).then_some(name)
}
