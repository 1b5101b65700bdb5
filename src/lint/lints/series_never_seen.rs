//! A metric that the server does not have.

use crate::diag::Severity;
use crate::lint::facts::Facts;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::{metric_name, shown};
use crate::lint::{Check, Lint, Settings};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "series-never-seen",
    severity: Severity::Warning,
    what: "A metric of which the server had no series in the time that was looked at (`--lookback`).",
    why: "The name may be mistyped or old, or what exports it is not scraped by this server.",
    fix: "Correct the name, or scrape what has it.",
    bad: "\
- alert: InstanceDown
  expr: upp == 0
",
    good: "\
- alert: InstanceDown
  expr: up == 0
",
    pint: &["promql/series"],
    check: Check::Server(check),
};

fn check(subject: &Subject<'_>, _: Settings, facts: &Facts, found: &mut Vec<Finding>) {
    for (selector, span) in crate::lint::facts::expected(&subject.rule.expr) {
        let known = facts.selectors.get(&shown(selector));
        let Some(known) = known.filter(|known| known.seen == Some(false)) else { continue };
        match (metric_name(selector), known.metric_seen) {
            (Some(name), Some(false)) => {
                let finding = Finding::expr(span, format!("the server has no series of `{name}`"));
                let hint = facts.closest_metric(name).map(|found| format!("did you mean `{found}`?"));
                found.push(match hint {
                    Some(hint) => finding.hint(hint),
                    None => finding,
                });
            }
            (None, _) => found.push(Finding::expr(span, "the server has no series that this selects")),
            _ => {}
        }
    }
}
