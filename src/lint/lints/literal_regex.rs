//! `{job=~"node"}`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::{selector, walk, with_matcher};
use crate::lint::{Check, Lint, Settings};
use crate::model::{MatchOp, Matcher};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "literal-regex",
    severity: Severity::Info,
    what: "A regular expression that matches one text only.",
    why: "`=` says the same, reads better and is faster.",
    fix: "Write `=` for `=~`, and `!=` for `!~`.",
    bad: "\
- alert: InstanceDown
  expr: up{job=~\"node\"} == 0
",
    good: "\
- alert: InstanceDown
  expr: up{job=\"node\"} == 0 unless on () maintenance{job=~\"node|all\"} == 1
",
    pint: &["promql/regexp"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let Some((selector, span)) = selector(node) else { return };
        for matcher in &selector.matchers {
            let op = match matcher.op() {
                MatchOp::Regex => MatchOp::Equal,
                MatchOp::NotRegex => MatchOp::NotEqual,
                _ => continue,
            };
            // Elsewhere a template may stand for the text, as `$job` does in files that are generated.
            if matcher.value().contains('$') || matcher.value().starts_with('^') {
                continue;
            }
            let Some([value]) = matcher.set_matches() else { continue };
            let Ok(plain) = Matcher::new(op, matcher.name(), value) else { continue };
            let message = format!("`{matcher}` matches one text only");
            let finding = Finding::expr(span, message).hint(format!("write `{plain}`"));
            found.push(finding.fix(with_matcher(node, matcher, &plain)));
        }
    });
}
