//! `x > 5 and x < 3`.

use std::collections::BTreeMap;

use crate::diag::Severity;
use crate::lint::conditions::{Bound, bound, conjuncts, matches_all_labels};
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::walk;
use crate::lint::{Check, Lint, Settings};
use crate::promql::{BinaryOp, ExprKind};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "impossible-conditions",
    severity: Severity::Error,
    what: "Conditions on the same series of which one excludes the other.",
    why: "No sample passes both, so an alert made of them never fires.",
    fix: "Usually `or` was meant, or one of the limits is wrong.",
    bad: "\
- alert: TemperatureOutOfRange
  expr: temperature_celsius < 5 and temperature_celsius > 40
",
    good: "\
- alert: TemperatureOutOfRange
  expr: temperature_celsius < 5 or temperature_celsius > 40
",
    pint: &["promql/impossible"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Binary(binary) = &node.kind else { return };
        if !matches_all_labels(binary) {
            return;
        }
        match binary.op {
            BinaryOp::And => {
                let mut ranges = BTreeMap::new();
                let before: Vec<Bound<'_>> = conjuncts(&binary.left).into_iter().filter_map(bound).collect();
                for one in before {
                    let range = ranges.entry(one.subject).or_insert(one.range);
                    *range = range.intersection(one.range);
                }
                for other in conjuncts(&binary.right).into_iter().filter_map(bound) {
                    let Some(range) = ranges.get(&other.subject) else { continue };
                    let possible = !range.is_empty() && !other.range.is_empty();
                    if possible && range.intersection(other.range).is_empty() {
                        let message =
                            format!("no `{}` passes this and the condition before it", other.subject);
                        found.push(Finding::expr(other.expr.span, message).hint("was `or` meant?"));
                    }
                }
            }
            BinaryOp::Unless => {
                for one in conjuncts(&binary.left).into_iter().filter_map(bound) {
                    let Some(other) = bound(&binary.right).filter(|other| other.subject == one.subject)
                    else {
                        continue;
                    };
                    if !one.range.is_empty() && one.range.is_within(other.range) {
                        let message =
                            format!("`unless` takes out every `{}` that passes before it", one.subject);
                        found.push(Finding::expr(other.expr.span, message));
                    }
                }
            }
            _ => {}
        }
    });
}
