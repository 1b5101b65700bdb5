//! `{{ query "sum(" }}`.

use crate::diag::Severity;
use crate::lint::finding::{About, Finding};
use crate::lint::subject::Subject;
use crate::lint::{Check, Lint, Settings};
use crate::model::Span;
use crate::promql::{Features, parse_with};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "template-query",
    severity: Severity::Error,
    what: "A query in a label or annotation that is no PromQL.",
    why: "The text of the alert becomes an error message, at the moment at which it is read.",
    fix: "Correct the query.",
    bad: "\
- alert: ErrorsHigh
  expr: errors > 1
  annotations:
    summary: '{{ with query \"sum(errors\" }}{{ . | first | value }}{{ end }}'
",
    good: "\
- alert: ErrorsHigh
  expr: errors > 1
  annotations:
    summary: '{{ with query \"sum(errors)\" }}{{ . | first | value }}{{ end }}'
",
    pint: &["alerts/template"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    for template in subject.templates() {
        for query in &template.references.queries {
            let Err(errors) = parse_with(query, Features::default()) else { continue };
            // A query with escapes stands otherwise in the text: then the whole text is meant.
            let at = template.text.find(query.as_str()).filter(|_| !query.is_empty());
            let span = at.map_or(Span::new(0, template.text.len()), |at| Span::new(at, at + query.len()));
            let name = template.name.to_owned();
            let about =
                if template.annotation { About::Annotation(name, span) } else { About::Label(name, span) };
            found.push(Finding::new(about, format!("no PromQL: {}", errors[0].message)));
        }
    }
}
