//! A recorded series that is used before it is recorded.

use std::collections::HashMap;

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::subject::Rules;
use crate::lint::tree::{instant_selectors, metric_name};
use crate::lint::{Check, Lint};
use crate::rulefmt::RuleKind;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "late-recording",
    severity: Severity::Info,
    what: "A rule that uses a series which a later rule of the same group records.",
    why: "The rules of a group are evaluated in order, so this one always sees the value of the round before.",
    fix: "Put the recording rule first.",
    bad: "\
- alert: ErrorsHigh
  expr: job:errors:rate5m > 1
- record: job:errors:rate5m
  expr: sum by (job) (rate(errors_total[5m]))
",
    good: "\
- record: job:errors:rate5m
  expr: sum by (job) (rate(errors_total[5m]))
- alert: ErrorsHigh
  expr: job:errors:rate5m > 1
",
    pint: &["rule/dependency"],
    check: Check::Rules(check),
};

fn check(rules: &Rules<'_>, found: &mut Vec<(usize, Finding)>) {
    // The first recording of each name in each group; groups are told apart by where they are in memory.
    let mut first: HashMap<(*const _, &str), usize> = HashMap::new();
    for (index, subject) in rules.subjects.iter().enumerate() {
        if let RuleKind::Recording { record } = &subject.rule.kind {
            first.entry((std::ptr::from_ref(subject.group), record.as_str())).or_insert(index);
        }
    }
    for (index, subject) in rules.subjects.iter().enumerate() {
        // One round more or less makes no difference to a range.
        for (selector, span) in instant_selectors(&subject.rule.expr) {
            let Some(name) = metric_name(selector).filter(|_| selector.offset.is_none()) else { continue };
            if let Some(later) =
                first.get(&(std::ptr::from_ref(subject.group), name)).filter(|later| **later > index)
            {
                let line = rules.subjects[*later].rule.place.line;
                let message = format!("`{name}` is recorded after this rule, at line {line}");
                found.push((index, Finding::expr(span, message).hint("put the recording rule first")));
            }
        }
    }
}
