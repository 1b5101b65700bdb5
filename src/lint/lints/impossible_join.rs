//! `a{x="1"} and on (x) b{x="2"}`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::labels::{Labels, Values, matched_names};
use crate::lint::subject::Subject;
use crate::lint::tree::walk;
use crate::lint::{Check, Lint, Settings};
use crate::promql::{BinaryOp, ExprKind};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "impossible-join",
    severity: Severity::Error,
    what: "Two sides of an operator that never have the same value of a label in which they must agree.",
    why: "Samples of the two sides are paired if their labels agree (except for the name, and as `on` or `ignoring` \
          say). No pair means no result, and of `unless` no effect.",
    fix: "Say with `on` or `ignoring` which labels identify a pair, or aggregate both sides alike.",
    bad: "\
- alert: ErrorRatioHigh
  expr: errors_total{code=\"500\"} / requests_total{code=\"200\"} > 0.1
",
    good: "\
- alert: ErrorRatioHigh
  expr: errors_total{code=\"500\"} / ignoring (code) requests_total{code=\"200\"} > 0.1
",
    pint: &["promql/impossible", "promql/vector_matching"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Binary(binary) = &node.kind else { return };
        let Some(matching) = binary.matching.as_ref().filter(|matching| !matching.fill.is_set()) else {
            return;
        };
        if binary.op == BinaryOp::Or {
            return;
        }
        let (left, right) = (Labels::of(&binary.left), Labels::of(&binary.right));
        for name in matched_names(&left, &right, matching) {
            let (one, other) = (left.get(&name), right.get(&name));
            if !one.disjoint(&other) {
                continue;
            }
            let effect =
                if binary.op == BinaryOp::Unless { "takes nothing out" } else { "never has a result" };
            let message = format!(
                "`{}` {effect}: on its left {}, on its right {}",
                binary.op,
                describe(&name, &one),
                describe(&name, &other)
            );
            let hint = if matching.on {
                format!("take `{name}` out of `on`, or give it to both sides")
            } else if one.is_absent() || other.is_absent() {
                format!("add `ignoring ({name})` or `on (…)`, or aggregate both sides by the same labels")
            } else {
                format!("add `ignoring ({name})` or `on (…)`")
            };
            found.push(Finding::expr(binary.op_span, message).hint(hint));
            return;
        }
    });
}

fn describe(name: &str, values: &Values) -> String {
    match values {
        Values::OneOf(set) if values.is_absent() || set.is_empty() => format!("there is no `{name}`"),
        Values::OneOf(set) => {
            let shown: Vec<String> = set.iter().take(3).map(|value| format!("`{value}`")).collect();
            let more = if set.len() > 3 { " or others" } else { "" };
            format!("`{name}` is {}{more}", shown.join(" or "))
        }
        _ => format!("there is always a `{name}`"),
    }
}
