//! `sum by (job) (x)` with `{{ $labels.instance }}`.

use super::template_label::{about, unavailable};
use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::origin::{Origin, origin};
use crate::lint::subject::Subject;
use crate::lint::{Check, Lint, Settings};
use crate::promql::Grouping;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "dropped-label",
    severity: Severity::Warning,
    what: "An aggregation that drops a label which a label or annotation of the alert uses.",
    why: "The text has a hole where it should say what is broken.",
    fix: "Keep the label in the aggregation, or leave it out of the text.",
    bad: "\
- alert: ErrorsHigh
  expr: sum by (job) (rate(errors_total[5m])) > 1
  annotations:
    summary: 'errors on {{ $labels.instance }}'
",
    good: "\
- alert: ErrorsHigh
  expr: sum by (job, instance) (rate(errors_total[5m])) > 1
  annotations:
    summary: 'errors on {{ $labels.instance }}'
",
    pint: &["alerts/template"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    for (template, label, at) in unavailable(subject) {
        let Some(Origin::Aggregation(aggregate)) = origin(&subject.rule.expr, label) else { continue };
        let (clause, hint) = match &aggregate.grouping {
            Grouping::By(labels) if labels.is_empty() => {
                (String::new(), format!("write `{} by ({label}) (…)`", aggregate.op))
            }
            Grouping::By(labels) => {
                let labels = labels.join(", ");
                (format!(" by ({labels})"), format!("write `by ({labels}, {label})`"))
            }
            Grouping::Without(labels) => {
                (format!(" without ({})", labels.join(", ")), format!("take `{label}` out of `without`"))
            }
        };
        let message = format!("the label `{label}` is dropped by `{}{clause}`", aggregate.op);
        found.push(Finding::new(about(template, at), message).hint(hint));
    }
}
