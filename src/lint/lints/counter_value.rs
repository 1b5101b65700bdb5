//! `errors_total > 10`.

use crate::diag::Severity;
use crate::lint::facts::Facts;
use crate::lint::finding::Finding;
use crate::lint::ranges::mirrored;
use crate::lint::subject::Subject;
use crate::lint::tree::{bare, metric_name, walk};
use crate::lint::{Check, Lint, Settings};
use crate::promql::{BinaryOp, ExprKind, ValueType};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "counter-value",
    severity: Severity::Warning,
    what: "An alert that compares the value of what the server knows to be a counter with a number.",
    why: "A counter counts since its process began: once above the limit the alert fires until the next restart, \
          whatever happens.",
    fix: "Compare `rate(…)` or `increase(…)` over the time that matters.",
    bad: "\
- alert: ManyErrors
  expr: errors_total > 10
",
    good: "\
- alert: ManyErrors
  expr: increase(errors_total[1h]) > 10
",
    pint: &["promql/counter"],
    check: Check::Server(check),
};

fn check(subject: &Subject<'_>, _: Settings, facts: &Facts, found: &mut Vec<Finding>) {
    if subject.alert().is_none() {
        return;
    }
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Binary(binary) = &node.kind else { return };
        let (side, op) = match (binary.left.value_type(), binary.right.value_type()) {
            (ValueType::Vector, ValueType::Scalar) => (&binary.left, binary.op),
            (ValueType::Scalar, ValueType::Vector) => (&binary.right, mirrored(binary.op)),
            _ => return,
        };
        let ExprKind::Vector(selector) = &bare(side).kind else { return };
        let Some(name) = metric_name(selector).filter(|name| facts.is(name, "counter")) else { return };
        if matches!(op, BinaryOp::Greater | BinaryOp::GreaterOrEqual) {
            let message = format!("`{name}` is a counter: once above the limit it stays there");
            found.push(
                Finding::expr(node.span, message).hint("compare `increase(…)` over the time that matters"),
            );
        }
    });
}
