//! An alert that needs a series which the server does not have.

use crate::diag::Severity;
use crate::lint::facts::Facts;
use crate::lint::finding::{About, Finding};
use crate::lint::subject::Subject;
use crate::lint::tree::{bare, children, selector, shown};
use crate::lint::{Check, Lint, Settings};
use crate::promql::{BinaryOp, Expr, ExprKind};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "alert-cannot-fire",
    severity: Severity::Warning,
    what: "An alert that can never fire on this server, because it needs series that the server does not have.",
    why: "It looks as if something were watched, and nothing is.",
    fix: "See what the findings about its selectors say; remove the alert where it has nothing to watch.",
    bad: "\
- alert: ErrorRatioHigh
  expr: rate(errorz_total[5m]) / rate(requests_total[5m]) > 0.1
",
    good: "\
- alert: ErrorRatioHigh
  expr: rate(errors_total[5m]) / rate(requests_total[5m]) > 0.1
",
    pint: &[],
    check: Check::Server(check),
};

fn check(subject: &Subject<'_>, _: Settings, facts: &Facts, found: &mut Vec<Finding>) {
    if subject.alert().is_none() {
        return;
    }
    if let Some(missing) = missing(&subject.rule.expr, facts) {
        let message = format!("this alert can never fire here: the server has no series of `{missing}`");
        found.push(Finding::new(About::Name, message));
    }
}

/// The selector without series because of which the expression has no result.
fn missing(expr: &Expr, facts: &Facts) -> Option<String> {
    if let Some((selector, _)) = selector(expr) {
        let shown = shown(selector);
        return facts.selectors.get(&shown).is_some_and(|known| known.seen == Some(false)).then_some(shown);
    }
    let of = |expr: &Expr| missing(expr, facts);
    match &bare(expr).kind {
        ExprKind::Binary(binary) => match binary.op {
            BinaryOp::Or => of(&binary.left).and_then(|left| of(&binary.right).map(|_| left)),
            BinaryOp::Unless => of(&binary.left),
            _ if binary.matching.as_ref().is_some_and(|matching| matching.fill.is_set()) => None,
            _ => of(&binary.left).or_else(|| of(&binary.right)),
        },
        ExprKind::Call(call) => match call.function {
            "absent" | "absent_over_time" | "scalar" | "info" => None,
            _ => call.args.iter().find_map(of),
        },
        _ => children(bare(expr)).into_iter().find_map(of),
    }
}
