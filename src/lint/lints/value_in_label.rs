//! `labels: {value: "{{ $value }}"}`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::{Check, Lint, Settings};

use super::template_label::about;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "value-in-label",
    severity: Severity::Warning,
    what: "The value of the expression in a label of an alert.",
    why: "Labels are what tells alerts apart: with every new value the alert resolves and another one begins, and \
          `for` starts again, so that it may never fire.",
    fix: "Put the value into an annotation.",
    bad: "\
- alert: ErrorsHigh
  expr: errors > 1
  labels: {errors: '{{ $value }}'}
",
    good: "\
- alert: ErrorsHigh
  expr: errors > 1
  annotations: {errors: '{{ $value }}'}
",
    pint: &["alerts/template"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    for template in subject.templates() {
        // `{{ if gt $value 0.9 }}critical{{ end }}` has few values, and is how severities are chosen.
        let tested = template.references.value_printed;
        if !template.annotation && tested {
            let at = template.text.find("$value").or_else(|| template.text.find(".Value")).unwrap_or(0);
            found.push(
                Finding::new(about(template, at), "every new value makes this another alert")
                    .hint("put the value into an annotation"),
            );
        }
    }
}
