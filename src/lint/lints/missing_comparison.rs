//! `x` as an alert.

use crate::diag::Severity;
use crate::lint::conditions::unconditional;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::{any, selectors};
use crate::lint::{Check, Lint, Settings};
use crate::promql::ExprKind;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "missing-comparison",
    severity: Severity::Warning,
    what: "An alert whose expression has no condition.",
    why: "Every series of the result is an alert, whatever its value, 0 included. A comparison with `bool` is no \
          condition: it yields 0 or 1.",
    fix: "Add a comparison, such as `> 0`, which changes nothing if the series exists only in case of trouble.",
    bad: "\
- alert: BackupFailed
  expr: backup_last_run_failed
",
    good: "\
- alert: BackupFailed
  expr: backup_last_run_failed > 0
",
    pint: &["alerts/comparison"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    let expr = &subject.rule.expr;
    // Without series it is an alert that fires on purpose, such as a dead man's switch.
    if subject.alert().is_none() || selectors(expr).is_empty() {
        return;
    }
    let Some(span) = unconditional(expr) else { return };
    let with_bool = any(expr, &|node| matches!(&node.kind, ExprKind::Binary(binary) if binary.return_bool));
    let finding = Finding::expr(span, "fires for every series of this, whatever its value");
    found.push(if with_bool {
        finding.hint("`bool` makes 0 of what is false, and 0 fires too: leave it out")
    } else {
        finding.hint("add a comparison such as `> 0`")
    });
}
