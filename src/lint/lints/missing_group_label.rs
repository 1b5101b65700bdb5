//! `sum by (cluster) (sum(x))`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::labels::Labels;
use crate::lint::subject::Subject;
use crate::lint::tree::walk;
use crate::lint::{Check, Lint, Settings};
use crate::promql::{ExprKind, Grouping};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "missing-group-label",
    severity: Severity::Warning,
    what: "An aggregation `by` a label that what it aggregates cannot have.",
    why: "The label groups nothing and is not in the result.",
    fix: "Keep the label where it gets lost, or take it out of `by`.",
    bad: "\
- record: cluster:errors:max
  expr: max by (cluster) (sum by (job) (errors))
",
    good: "\
- record: cluster:errors:max
  expr: max by (cluster) (sum by (job, cluster) (errors))
",
    pint: &["promql/impossible"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Aggregate(aggregate) = &node.kind else { return };
        let Grouping::By(names) = &aggregate.grouping else { return };
        if names.is_empty() {
            return;
        }
        let labels = Labels::of(&aggregate.expr);
        for name in names.iter().filter(|name| labels.get(name).is_absent() && !labels.get(name).is_empty()) {
            let message = format!("what is aggregated by `{name}` has no such label");
            found.push(Finding::expr(node.span, message));
        }
    });
}
