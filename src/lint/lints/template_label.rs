//! `{{ $labels.x }}` where the expression has no `x`.

use crate::diag::Severity;
use crate::lint::finding::{About, Finding};
use crate::lint::origin::{Origin, origin};
use crate::lint::subject::{Subject, Templated};
use crate::lint::{Check, Lint, Settings};
use crate::model::Span;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "template-label",
    severity: Severity::Warning,
    what: "A label or annotation that uses a label which the expression cannot produce.",
    why: "The text has a hole where the label should be. `$labels` are the labels of the expression's result, not \
          those that the rule adds.",
    fix: "Use a label that the result has, or the text itself.",
    bad: "\
- alert: NodeExporterGone
  expr: absent(up{job=\"node\"})
  for: 5m
  labels: {severity: page}
  annotations:
    summary: 'no metrics of {{ $labels.instance }} ({{ $labels.severity }})'
",
    good: "\
- alert: NodeExporterGone
  expr: absent(up{job=\"node\"})
  for: 5m
  labels: {severity: page}
  annotations:
    summary: 'no metrics of {{ $labels.job }} (page)'
",
    pint: &["alerts/template"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    for (template, label, at) in unavailable(subject) {
        let origin = origin(&subject.rule.expr, label);
        if matches!(origin, Some(Origin::Aggregation(_))) {
            continue;
        }
        let finding = Finding::new(about(template, at), format!("the expression has no label `{label}`"));
        found.push(if subject.rule.labels.contains_key(label) {
            finding.hint("labels of the rule are not among `$labels`: write the value itself")
        } else {
            match origin {
                Some(Origin::Absent) => {
                    finding.hint("`absent` has only labels that its selector asks for with `=`")
                }
                Some(Origin::Join) => {
                    finding.hint("only the labels of `on` and `group_left` come through the operator")
                }
                _ => finding,
            }
        });
    }
}

/// The labels that templates read and that the expression never has. What a condition looks at first is
/// left out: such a text knows that the label may be missing.
pub(super) fn unavailable<'s, 'a>(subject: &'s Subject<'a>) -> Vec<(&'s Templated<'a>, &'s str, usize)> {
    let mut found = Vec::new();
    for template in subject.templates() {
        for (label, at) in &template.references.labels {
            let values = subject.labels().get(label);
            if values.is_absent() && !values.is_empty() && !template.references.tested_labels.contains(label)
            {
                found.push((template, label.as_str(), *at));
            }
        }
    }
    found
}

/// The word of a template around a byte.
pub(super) fn about(template: &Templated<'_>, at: usize) -> About {
    let start = template.text[..at].rfind([' ', '{', '(', '|', '\n']).map_or(0, |before| before + 1);
    let rest = &template.text[at..];
    let end = at + rest.find([' ', '}', '|', ')', '\n']).unwrap_or(rest.len());
    let span = Span::new(start, end);
    if template.annotation {
        About::Annotation(template.name.to_owned(), span)
    } else {
        About::Label(template.name.to_owned(), span)
    }
}
