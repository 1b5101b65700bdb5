//! `{job=~"^node.*$"}`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::{selector, walk, with_matcher};
use crate::lint::{Check, Lint, Settings};
use crate::model::{MatchOp, Matcher};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "redundant-anchors",
    severity: Severity::Info,
    what: "A regular expression in a selector that begins with `^` or ends with `$`.",
    why: "Prometheus anchors every one at both ends; who writes anchors may believe that others are not.",
    fix: "Leave them out.",
    bad: "\
- alert: InstanceDown
  expr: up{job=~\"^node-.+$\"} == 0
",
    good: "\
- alert: InstanceDown
  expr: up{job=~\"node-.+\"} == 0
",
    pint: &["promql/regexp"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let Some((selector, span)) = selector(node) else { return };
        for matcher in &selector.matchers {
            let value = matcher.value();
            let regex = matches!(matcher.op(), MatchOp::Regex | MatchOp::NotRegex);
            // In `^a|b$` each anchor belongs to one of the two; `\$` is a dollar sign.
            if !regex || value.contains('|') || value.ends_with("\\$") {
                continue;
            }
            let bare = value.strip_prefix('^').unwrap_or(value);
            let bare = bare.strip_suffix('$').unwrap_or(bare);
            if bare == value {
                continue;
            }
            let Ok(plain) = Matcher::new(matcher.op(), matcher.name(), bare) else { continue };
            let finding = Finding::expr(span, format!("the anchors in `{matcher}` are there anyway"));
            found.push(finding.hint(format!("write `{plain}`")).fix(with_matcher(node, matcher, &plain)));
        }
    });
}
