//! `rate(x[5m]) >= 0`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::ranges::Range;
use crate::lint::subject::Subject;
use crate::lint::tree::{selectors, walk};
use crate::lint::{Check, Lint, Settings};
use crate::promql::{Expr, ExprKind, ValueType};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "always-true",
    severity: Severity::Warning,
    what: "A comparison that is true for every value that the expression can have.",
    why: "It filters nothing: an alert made of it fires always.",
    fix: "Correct the limit or the operator; if the presence of series is what matters, leave the comparison out.",
    bad: "\
- alert: Errors
  expr: rate(errors_total[5m]) >= 0
",
    good: "\
- alert: Errors
  expr: rate(errors_total[5m]) > 0
",
    pint: &[],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Binary(binary) = &node.kind else { return };
        if !binary.op.is_comparison() || selectors(node).is_empty() {
            return;
        }
        let (left, right) = (Range::of(&binary.left), Range::of(&binary.right));
        // `absent(x) == 1` and `count(x) > 0` mean presence, and people write them so.
        let presence = |side: &Expr, range: Range| {
            side.value_type() == ValueType::Vector && (range.single().is_some() || range.low == 1.0)
        };
        let marker = presence(&binary.left, left) || presence(&binary.right, right);
        if left.always(binary.op, right) && !marker {
            found.push(Finding::expr(node.span, "this comparison is always true"));
        }
    });
}
