//! `up > 1`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::ranges::{Range, mirrored};
use crate::lint::subject::Subject;
use crate::lint::tree::{bare, walk};
use crate::lint::{Check, Lint, Settings};
use crate::model::format_float;
use crate::promql::{AggregateOp, Expr, ExprKind, Grouping, ValueType};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "impossible-comparison",
    severity: Severity::Error,
    what: "A comparison that is false for every value that the expression can have.",
    why: "It lets nothing through, so an alert made of it never fires. The most frequent form is `count(…) == 0`: \
          where nothing is counted there is no count, not a 0.",
    fix: "Correct the limit. For `count(x) == 0` write `absent(x)`, or `(count(x) or vector(0)) == 0`.",
    bad: "\
- alert: NoReplicas
  expr: count(up{job=\"db\"} == 1) == 0
",
    good: "\
- alert: NoReplicas
  expr: (count(up{job=\"db\"} == 1) or vector(0)) == 0
",
    pint: &["promql/impossible"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Binary(binary) = &node.kind else { return };
        let filled = binary.matching.as_ref().is_some_and(|matching| matching.fill.is_set());
        if !binary.op.is_comparison() || binary.return_bool || filled {
            return;
        }
        let scalar = |expr: &Expr| expr.value_type() == ValueType::Scalar;
        let (left, op, right) = if scalar(&binary.left) {
            (&binary.right, mirrored(binary.op), &binary.left)
        } else {
            (&binary.left, binary.op, &binary.right)
        };
        let (values, limits) = (Range::of(left), Range::of(right));
        if scalar(left) || values.is_empty() || limits.is_empty() || !values.that_are(op, limits).is_empty() {
            return;
        }
        let side = if scalar(&binary.left) { "right" } else { "left" };
        let finding =
            Finding::expr(node.span, format!("never true: the {side} side is {}", describe(values)));
        found.push(if limits.low <= 1.0 { hinted(finding, left) } else { finding });
    });
}

/// What to do about a count that can never be so small.
fn hinted(finding: Finding, left: &Expr) -> Finding {
    let ExprKind::Aggregate(aggregate) = &bare(left).kind else { return finding };
    if aggregate.op != AggregateOp::Count {
        return finding;
    }
    let of_all = matches!(&aggregate.grouping, Grouping::By(labels) if labels.is_empty());
    finding.hint(if of_all {
        "where nothing is counted there is no sample at all: use `absent(…)`, or add `or vector(0)` to the count"
    } else {
        "where nothing is counted there is no sample at all: take the sum of a condition with `bool` instead, as \
         in `sum by (job) (up == bool 1) == 0`"
    })
}

fn describe(range: Range) -> String {
    match range {
        _ if range.single().is_some() => format!("always {}", format_float(range.low)),
        Range { low, high: f64::INFINITY, .. } => format!("at least {}", format_float(low)),
        Range { low: f64::NEG_INFINITY, high, .. } => format!("at most {}", format_float(high)),
        Range { low, high, .. } => format!("from {} to {}", format_float(low), format_float(high)),
    }
}
