//! `absent(x)` without `for`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::walk;
use crate::lint::{Check, Lint, Settings};
use crate::model::format_duration_ms;
use crate::promql::ExprKind;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "absent-without-for",
    severity: Severity::Warning,
    what: "An alert on `absent()` with a `for` shorter than two scrapes.",
    why: "After a restart Prometheus evaluates rules before it has scraped everything; what is merely not there \
          yet pages.",
    fix: "Set `for` to at least two scrape intervals, or use `absent_over_time(…[5m])`.",
    bad: "\
- alert: NodeExporterGone
  expr: absent(up{job=\"node\"})
",
    good: "\
- alert: NodeExporterGone
  expr: absent(up{job=\"node\"})
  for: 2m
",
    pint: &["alerts/absent"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, settings: Settings, found: &mut Vec<Finding>) {
    let least = 2 * settings.scrape_interval_ms;
    let Some(alert) = subject.alert().filter(|alert| alert.hold_ms < least) else { return };
    walk(&subject.rule.expr, &mut |node| {
        if matches!(&node.kind, ExprKind::Call(call) if call.function == "absent") {
            let message = match alert.hold_ms {
                0 => "`absent()` without `for` fires after every restart of Prometheus".to_owned(),
                hold => format!("`absent()` with `for: {}` fires after restarts", format_duration_ms(hold)),
            };
            let hint = format!("add `for: {}` or more", format_duration_ms(least));
            found.push(Finding::expr(node.span, message).hint(hint));
        }
    });
}
