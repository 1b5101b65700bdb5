//! `valmis_resolve_expr` with labels that the alert does not have.

use crate::diag::Severity;
use crate::lint::finding::{About, Finding};
use crate::lint::labels::Labels;
use crate::lint::subject::Subject;
use crate::lint::{Check, Lint, Settings};
use crate::model::METRIC_NAME;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "resolve-expr-labels",
    severity: Severity::Warning,
    what: "A `valmis_resolve_expr` whose results have labels that the alerts cannot have.",
    why: "A result is about an alert that has all of its labels: with others it is about none, so that the alert fires \
          for ever.",
    fix: "Aggregate it by the labels that the expression keeps, or by none for a result that is about all alerts.",
    bad: "\
- alert: Errors
  expr: sum by (job) (rate(errors_total[5m])) > 10
  for: 5m
  annotations:
    valmis_resolve_expr: rate(errors_total[5m]) < 1
",
    good: "\
- alert: Errors
  expr: sum by (job) (rate(errors_total[5m])) > 10
  for: 5m
  annotations:
    valmis_resolve_expr: sum by (job) (rate(errors_total[5m])) < 1
",
    pint: &[],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    let Some(resolve) = &subject.rule.instructions.resolve_expr else { return };
    let (alert, resolve_labels) = (subject.labels(), Labels::of(resolve));
    let counts = |name: &&str| *name != METRIC_NAME && !subject.rule.labels.contains_key(*name);
    let wrong = |name: &&str| {
        alert.get(name).disjoint(&resolve_labels.get(name)) && !resolve_labels.get(name).is_absent()
    };
    let message = match resolve_labels.names().filter(counts).find(wrong) {
        Some(name) => format!("its results have the label `{name}` as no alert has it"),
        None if resolve_labels.is_open() && !alert.is_open() => {
            "its results have all labels of their series, and the alerts do not".to_owned()
        }
        None => return,
    };
    found.push(Finding::new(About::Annotation("valmis_resolve_expr".to_owned(), resolve.span), message));
}
