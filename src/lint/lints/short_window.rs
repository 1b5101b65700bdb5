//! `rate(x[15s])`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::{bare, literal_ms, needs_two_samples, walk};
use crate::lint::{Check, Lint, Settings};
use crate::model::format_duration_ms;
use crate::promql::ExprKind;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "short-window",
    severity: Severity::Warning,
    what: "A window for `rate` or its like that is shorter than two scrapes.",
    why: "These functions need two samples within the window; with fewer they have no result, and the alert cannot \
          fire.",
    fix: "Make the window at least four times as long as the scrape interval, so that one may fail. \
          `--scrape-interval` says how long that is (30s unless given).",
    bad: "\
- alert: ManyErrors
  expr: rate(errors_total[30s]) > 1
",
    good: "\
- alert: ManyErrors
  expr: rate(errors_total[2m]) > 1
",
    pint: &["promql/rate"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, settings: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Call(call) = &node.kind else { return };
        if !needs_two_samples(call.function) {
            return;
        }
        let Some(arg) =
            call.args.iter().map(bare).find(|arg| arg.value_type() == crate::promql::ValueType::Matrix)
        else {
            return;
        };
        match &arg.kind {
            ExprKind::Matrix(matrix) => {
                let least = 2 * settings.scrape_interval_ms;
                // Interpolated and anchored ranges look beyond the window.
                if matrix.selector.modifier.is_none()
                    && let Some(range) = literal_ms(&matrix.range).filter(|range| *range < least)
                {
                    let message = format!(
                        "a window of {} holds less than two samples at a scrape interval of {}",
                        format_duration_ms(range),
                        format_duration_ms(settings.scrape_interval_ms)
                    );
                    let hint = format!("at least {} let one scrape fail", format_duration_ms(2 * least));
                    found.push(Finding::expr(arg.span, message).hint(hint));
                }
            }
            ExprKind::Subquery(subquery) => {
                let step = subquery.step.as_ref().and_then(literal_ms);
                if let (Some(range), Some(step)) = (literal_ms(&subquery.range), step)
                    && range < 2 * step
                {
                    let message = format!(
                        "{} in steps of {} hold less than two samples",
                        format_duration_ms(range),
                        format_duration_ms(step)
                    );
                    found.push(Finding::expr(arg.span, message));
                }
            }
            _ => {}
        }
    });
}
