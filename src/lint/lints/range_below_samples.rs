//! A window that is shorter than two of the samples that the server has.

use crate::diag::Severity;
use crate::lint::facts::Facts;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::{bare, literal_ms, needs_two_samples, shown, walk};
use crate::lint::{Check, Lint, Settings};
use crate::model::format_duration_ms;
use crate::promql::ExprKind;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "range-below-samples",
    severity: Severity::Warning,
    what: "A window for `rate` or its like that is shorter than the distance of two of the samples that the server has.",
    why: "These functions need two samples within the window; with fewer they have no result, and the alert cannot \
          fire.",
    fix: "Make the window at least four times as long as the scrape interval.",
    bad: "\
- alert: ManyErrors
  expr: rate(errors_per_minute_total[90s]) > 1
",
    good: "\
- alert: ManyErrors
  expr: rate(errors_per_minute_total[5m]) > 1
",
    pint: &["promql/rate"],
    check: Check::Server(check),
};

fn check(subject: &Subject<'_>, _: Settings, facts: &Facts, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Call(call) = &node.kind else { return };
        if !needs_two_samples(call.function) {
            return;
        }
        for arg in call.args.iter().map(bare) {
            let ExprKind::Matrix(matrix) = &arg.kind else { continue };
            let known = facts.selectors.get(&shown(&matrix.selector)).and_then(|known| known.interval_ms);
            let (Some(interval), Some(range)) = (known, literal_ms(&matrix.range)) else { continue };
            if matrix.selector.modifier.is_none() && range < 2 * interval {
                let message = format!(
                    "a window of {} holds less than two samples: the server has one every {}",
                    format_duration_ms(range),
                    format_duration_ms(interval)
                );
                let hint = format!("at least {} let one scrape fail", format_duration_ms(4 * interval));
                found.push(Finding::expr(arg.span, message).hint(hint));
            }
        }
    });
}
