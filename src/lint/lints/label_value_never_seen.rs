//! A matcher that none of a metric's series passes.

use crate::diag::{Severity, closest};
use crate::lint::facts::Facts;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::{metric_name, shown};
use crate::lint::{Check, Lint, Settings};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "label-value-never-seen",
    severity: Severity::Warning,
    what: "A selector of which the server has the metric, but no series with these labels.",
    why: "The value or the label may be mistyped, or its time has not come yet: `code=\"500\"` begins with the first \
          error.",
    fix: "Correct the matcher. If the series comes only with the event, say so: `valmis:disable`.",
    bad: "\
- alert: InstanceDown
  expr: up{job=\"nod\"} == 0
",
    good: "\
- alert: InstanceDown
  expr: up{job=\"node\"} == 0
",
    pint: &["promql/series"],
    check: Check::Server(check),
};

fn check(subject: &Subject<'_>, _: Settings, facts: &Facts, found: &mut Vec<Finding>) {
    for (selector, span) in crate::lint::facts::expected(&subject.rule.expr) {
        let Some(known) = facts.selectors.get(&shown(selector)) else { continue };
        let Some(name) = metric_name(selector).filter(|_| known.seen == Some(false)) else { continue };
        if known.metric_seen != Some(true) {
            continue;
        }
        let failing = selector.matchers.iter().find_map(|matcher| {
            let values = known.values.get(matcher.name())?;
            // A series may lack the label altogether.
            let passes = values.iter().any(|value| matcher.matches(value)) || matcher.matches("");
            (!passes).then_some((matcher, values))
        });
        found.push(match failing {
            Some((matcher, values)) if values.is_empty() => {
                Finding::expr(span, format!("no series of `{name}` has a label `{}`", matcher.name()))
            }
            Some((matcher, values)) => {
                let finding = Finding::expr(span, format!("no series of `{name}` has `{matcher}`"));
                match closest(matcher.value(), values.iter().map(String::as_str)) {
                    Some(value) => finding.hint(format!("did you mean `{value}`?")),
                    None => {
                        let few: Vec<String> =
                            values.iter().take(5).map(|value| format!("`{value}`")).collect();
                        let more = if values.len() > 5 { ", …" } else { "" };
                        finding.hint(format!("there are {}{more}", few.join(", ")))
                    }
                }
            }
            None => Finding::expr(span, format!("no series of `{name}` has all of these labels")),
        });
    }
}
