//! Two rules that write the same.

use std::collections::HashMap;

use crate::diag::Severity;
use crate::lint::finding::{About, Finding};
use crate::lint::labels::Labels;
use crate::lint::subject::{Rules, Subject};
use crate::lint::{Check, Lint};
use crate::rulefmt::RuleKind;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "duplicate-rule",
    severity: Severity::Warning,
    what: "Two rules with the same name and labels whose results can have the same labels.",
    why: "Recording rules overwrite each other's samples; alerts with the same labels are one alert to \
          Alertmanager, which resolves as soon as one of the two rules does.",
    fix: "Remove one, or tell them apart by a label.",
    bad: "\
- alert: DiskFull
  expr: disk_free_bytes < 1e9
  labels: {severity: page}
- alert: DiskFull
  expr: disk_free_ratio < 0.05
  labels: {severity: page}
",
    good: "\
- alert: DiskFull
  expr: disk_free_bytes < 1e9
  labels: {severity: page, limit: bytes}
- alert: DiskFull
  expr: disk_free_ratio < 0.05
  labels: {severity: page, limit: ratio}
",
    pint: &["rule/duplicate"],
    check: Check::Rules(check),
};

fn check(rules: &Rules<'_>, found: &mut Vec<(usize, Finding)>) {
    let mut seen: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, subject) in rules.subjects.iter().enumerate() {
        let alerting = matches!(subject.rule.kind, RuleKind::Alerting { .. });
        let others = seen.entry((alerting, subject.rule.name(), &subject.rule.labels)).or_default();
        if let Some(first) =
            others.iter().map(|other| &rules.subjects[*other]).find(|other| collide(other, subject))
        {
            let at = first.rule.places.name;
            let place = if first.file.path == subject.file.path {
                format!("line {}", at.line)
            } else {
                format!("{}:{}", first.file.path, at.line)
            };
            let same = if first.rule.expr.to_string() == subject.rule.expr.to_string() {
                "the same name, labels and expression"
            } else {
                "the same name and labels"
            };
            let message = format!("the rule at {place} has {same}");
            found.push((index, Finding::new(About::Name, message)));
        }
        others.push(index);
    }
}

/// Whether a result of the one can have the labels of one of the other.
fn collide(one: &Subject<'_>, other: &Subject<'_>) -> bool {
    let (one_labels, other_labels): (&Labels, &Labels) = (one.labels(), other.labels());
    let mut names = one_labels.names().chain(other_labels.names());
    // What the rule sets itself is the same in both.
    !names.any(|name| {
        name != crate::model::METRIC_NAME
            && !one.rule.labels.contains_key(name)
            && one_labels.get(name).disjoint(&other_labels.get(name))
    })
}
