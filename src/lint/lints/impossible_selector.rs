//! `up{job="a", job="b"}`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::labels::Labels;
use crate::lint::subject::Subject;
use crate::lint::tree::{selector, walk};
use crate::lint::{Check, Lint, Settings};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "impossible-selector",
    severity: Severity::Error,
    what: "A selector whose matchers exclude one another.",
    why: "No series has two values of the same label, so the selector never finds any.",
    fix: "For one of several values write `=~\"a|b\"`.",
    bad: "\
- alert: InstanceDown
  expr: up{job=\"node\", job=\"database\"} == 0
",
    good: "\
- alert: InstanceDown
  expr: up{job=~\"node|database\"} == 0
",
    pint: &["promql/impossible"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let Some((selector, span)) = selector(node) else { return };
        if selector.matchers.len() < 2 {
            return;
        }
        let labels = Labels::of(node);
        let Some(name) = labels.names().find(|name| labels.get(name).is_empty()) else { return };
        let matchers: Vec<String> = selector
            .matchers
            .iter()
            .filter(|matcher| matcher.name() == name)
            .map(|matcher| format!("`{matcher}`"))
            .collect();
        found.push(Finding::expr(span, format!("no series passes {}", matchers.join(" and "))));
    });
}
