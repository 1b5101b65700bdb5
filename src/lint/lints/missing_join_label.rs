//! `sum(a) / on (cluster) b`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::labels::Labels;
use crate::lint::subject::Subject;
use crate::lint::tree::walk;
use crate::lint::{Check, Lint, Settings};
use crate::promql::{ExprKind, MatchCardinality};

pub(in crate::lint) const LINT: Lint = Lint {
    name: "missing-join-label",
    severity: Severity::Warning,
    what: "A label in `on` that a side cannot have, or in `group_left` that the other side cannot have.",
    why: "A label that is missing counts as empty: pairs are formed only of samples that lack it on both sides, and \
          `group_left` removes it.",
    fix: "Keep the label where it gets lost, or take it out.",
    bad: "\
- record: cluster:errors:ratio
  expr: sum(errors) / on (cluster) sum by (cluster) (requests)
",
    good: "\
- record: cluster:errors:ratio
  expr: sum by (cluster) (errors) / on (cluster) sum by (cluster) (requests)
",
    pint: &["promql/impossible", "promql/vector_matching"],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Binary(binary) = &node.kind else { return };
        let Some(matching) = binary.matching.as_ref() else { return };
        let sides = [("left", Labels::of(&binary.left)), ("right", Labels::of(&binary.right))];
        let lacks =
            |labels: &Labels, name: &str| labels.get(name).is_absent() && !labels.get(name).is_empty();
        if matching.on {
            for name in &matching.labels {
                let without: Vec<&str> =
                    sides.iter().filter(|(_, labels)| lacks(labels, name)).map(|(side, _)| *side).collect();
                // One that is always there on the other side is `impossible-join`'s.
                let impossible = sides[0].1.get(name).disjoint(&sides[1].1.get(name));
                // `{x=""}` on both sides is how one asks for series without the label.
                if without.is_empty() || impossible {
                    continue;
                }
                let message = match without[..] {
                    [side] => format!("the {side} side cannot have the label `{name}` of `on`"),
                    _ => format!("neither side can have the label `{name}` of `on`"),
                };
                found.push(Finding::expr(binary.op_span, message));
            }
        }
        let one = match matching.cardinality {
            MatchCardinality::ManyToOne => &sides[1],
            MatchCardinality::OneToMany => &sides[0],
            _ => return,
        };
        for name in matching.include.iter().filter(|name| lacks(&one.1, name)) {
            let message = format!("the {} side has no label `{name}` to give", one.0);
            found.push(Finding::expr(binary.op_span, message));
        }
    });
}
