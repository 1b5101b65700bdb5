//! `up > 1`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::ranges::{Range, mirrored};
use crate::lint::subject::Subject;
use crate::lint::tree::{any, bare, walk};
use crate::lint::{Check, Lint, Settings};
use crate::model::format_float;
use crate::promql::{AggregateOp, Expr, ExprKind, ValueType};

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

fn check(subject: &Subject<'_>, _: &Settings, found: &mut Vec<Finding>) {
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
        let finding = Finding::expr(node.span, format!("never true: the left side is {}", describe(values)));
        let finding = match left.span == binary.left.span {
            true => finding,
            false => Finding::expr(node.span, format!("never true: the right side is {}", describe(values))),
        };
        found.push(match any(bare(left), &counts) {
            true if limits.low <= 1.0 => finding.hint(
                "where nothing is counted there is no sample at all: use `absent(…)`, or add `or vector(0)` to the count",
            ),
            _ => finding,
        });
    });
}

fn counts(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Aggregate(aggregate) if aggregate.op == AggregateOp::Count)
        || matches!(&expr.kind, ExprKind::Call(call) if call.function == "count_over_time")
}

fn describe(range: Range) -> String {
    match range {
        _ if range.single().is_some() => format!("always {}", format_float(range.low)),
        Range { low, high: f64::INFINITY, .. } => format!("at least {}", format_float(low)),
        Range { low: f64::NEG_INFINITY, high, .. } => format!("at most {}", format_float(high)),
        Range { low, high, .. } => format!("from {} to {}", format_float(low), format_float(high)),
    }
}
