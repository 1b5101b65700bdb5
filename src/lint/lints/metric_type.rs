//! `rate` of what the server knows to be a gauge.

use super::delta_of_counter::is_counter_by_name;
use super::rate_of_gauge::is_gauge_by_name;
use crate::diag::Severity;
use crate::lint::facts::Facts;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::{bare, metric_name, walk};
use crate::lint::{Check, Lint, Settings};
use crate::promql::ExprKind;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "metric-type",
    severity: Severity::Warning,
    what: "A function for counters on what the server knows to be a gauge, or one for gauges on a counter.",
    why: "`rate` takes every fall of a gauge for a restart; `delta` takes every restart of a counter for a fall.",
    fix: "Of gauges use `deriv` or `delta`, of counters `rate` or `increase`.",
    bad: "\
- alert: LoadGrows
  expr: rate(load_average[5m]) > 1
",
    good: "\
- alert: LoadGrows
  expr: deriv(load_average[5m]) > 1
",
    pint: &["promql/rate", "promql/counter"],
    check: Check::Server(check),
};

fn check(subject: &Subject<'_>, _: Settings, facts: &Facts, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Call(call) = &node.kind else { return };
        let Some(ExprKind::Matrix(matrix)) = call.args.first().map(|arg| &bare(arg).kind) else { return };
        let Some(name) = metric_name(&matrix.selector) else { return };
        let function = call.function;
        // What the name tells is said without a server.
        match function {
            "rate" | "irate" | "increase" if facts.is(name, "gauge") && !is_gauge_by_name(name) => {
                let message = format!("`{name}` is a gauge, and `{function}` is for counters");
                found.push(Finding::expr(node.span, message).hint("use `deriv` or `delta`"));
            }
            "delta" | "idelta" | "deriv"
                if facts.is(name, "counter") && (function == "deriv" || !is_counter_by_name(name)) =>
            {
                let message = format!("`{name}` is a counter, and `{function}` is for gauges");
                found.push(Finding::expr(node.span, message).hint("use `increase` or `rate`"));
            }
            _ => {}
        }
    });
}
