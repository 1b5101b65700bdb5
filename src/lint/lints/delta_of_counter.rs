//! `delta(x_total[5m])`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::{bare, metric_name, walk, with_function};
use crate::lint::{Check, Lint, Settings};
use crate::promql::ExprKind;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "delta-of-counter",
    severity: Severity::Warning,
    what: "`delta` or `idelta` of what is a counter by its name (`…_total`, `…_bucket`).",
    why: "A counter starts again at 0 with its process; `delta` shows that as a large negative number, and an \
          alert on growth does not fire.",
    fix: "Use `increase`, which knows about restarts; of `idelta`, `irate`.",
    bad: "\
- alert: ManyErrors
  expr: delta(errors_total[5m]) > 10
",
    good: "\
- alert: ManyErrors
  expr: increase(errors_total[5m]) > 10
",
    pint: &["promql/counter"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Call(call) = &node.kind else { return };
        let instead = match call.function {
            "delta" => "increase",
            "idelta" => "irate",
            _ => return,
        };
        let Some(ExprKind::Matrix(matrix)) = call.args.first().map(|arg| &bare(arg).kind) else { return };
        let Some(name) = metric_name(&matrix.selector) else { return };
        if is_counter_by_name(name) {
            let message = format!("`{name}` is a counter by its name, and `{}` is for gauges", call.function);
            let finding = Finding::expr(node.span, message).hint(format!("use `{instead}`"));
            // `irate` is per second, `idelta` is not.
            let same = instead == "increase";
            found.push(if same { finding.fix(with_function(call, instead)) } else { finding });
        }
    });
}

/// Whether a metric is a counter by its name.
pub(super) fn is_counter_by_name(name: &str) -> bool {
    name.ends_with("_total") || name.ends_with("_bucket")
}
