//! `up{job="x"} == 0` without `absent(up{job="x"})`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::subject::Rules;
use crate::lint::tree::{any, bare, metric_name, selector, selectors, shown, walk};
use crate::lint::{Check, Lint};
use crate::model::{METRIC_NAME, MatchOp, Matcher, Span};
use crate::promql::{BinaryOp, Expr, ExprKind, VectorSelector};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "absent-companion",
    severity: Severity::Info,
    what: "An alert about `up` or `probe_success` of a named job or instance, without an alert about its absence.",
    why: "When the target is no longer discovered, its series ends, `up == 0` has nothing to compare, and \
          nobody is paged.",
    fix: "Add an alert on `absent(…)` of the same selector, or join the two with `or`.",
    bad: "\
- alert: DatabaseDown
  expr: up{job=\"database\"} == 0
  for: 1m
",
    good: "\
- alert: DatabaseDown
  expr: up{job=\"database\"} == 0 or absent(up{job=\"database\"})
  for: 1m
",
    pint: &[],
    check: Check::Rules(check),
};

fn check(rules: &Rules<'_>, found: &mut Vec<(usize, Finding)>) {
    let guarded: Vec<&VectorSelector> =
        rules.subjects.iter().flat_map(|subject| absence_guards(&subject.rule.expr)).collect();
    for (index, subject) in rules.subjects.iter().enumerate() {
        if subject.alert().is_none() || any(&subject.rule.expr, &survives_absence) {
            continue;
        }
        for (selector, span) in compared(&subject.rule.expr) {
            let Some(name) = metric_name(selector).filter(|name| matches!(*name, "up" | "probe_success"))
            else {
                continue;
            };
            let named = |matcher: &Matcher| {
                matcher.op() == MatchOp::Equal && matches!(matcher.name(), "job" | "instance")
            };
            if !selector.matchers.iter().any(named) || guarded.iter().any(|guard| covers(guard, selector)) {
                continue;
            }
            let message = format!("nothing fires if this `{name}` series ends");
            let absent = format!("absent({})", shown(selector));
            found.push((index, Finding::expr(span, message).hint(format!("add an alert on `{absent}`"))));
        }
    }
}

/// The selectors whose values are compared as they are.
fn compared(expr: &Expr) -> Vec<(&VectorSelector, Span)> {
    let mut found = Vec::new();
    walk(expr, &mut |node| {
        if let ExprKind::Binary(binary) = &node.kind
            && binary.op.is_comparison()
        {
            found.extend([&binary.left, &binary.right].into_iter().filter_map(|side| selector(bare(side))));
        }
    });
    found
}

/// The selectors whose absence an expression notices.
fn absence_guards(expr: &Expr) -> Vec<&VectorSelector> {
    let mut found = Vec::new();
    walk(expr, &mut |node| {
        let noticing = match &node.kind {
            ExprKind::Call(call) => matches!(call.function, "absent" | "absent_over_time"),
            // `vector(1) unless x`, `count(x) or vector(0)`
            ExprKind::Binary(binary) => matches!(binary.op, BinaryOp::Or | BinaryOp::Unless),
            _ => false,
        };
        if noticing {
            found.extend(selectors(node).into_iter().map(|(selector, _)| selector));
        }
    });
    found
}

fn survives_absence(expr: &Expr) -> bool {
    match &bare(expr).kind {
        ExprKind::Call(call) => matches!(call.function, "absent" | "absent_over_time"),
        ExprKind::Binary(binary) => matches!(binary.op, BinaryOp::Or | BinaryOp::Unless),
        _ => false,
    }
}

/// Whether the guard is about the same metric with no matcher that the selector has not.
fn covers(guard: &VectorSelector, selector: &VectorSelector) -> bool {
    let has = |matcher: &Matcher| selector.matchers.contains(matcher);
    metric_name(guard) == metric_name(selector)
        && guard.matchers.iter().all(|matcher| matcher.name() == METRIC_NAME || has(matcher))
}
