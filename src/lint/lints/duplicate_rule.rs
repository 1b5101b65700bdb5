//! Two rules that write the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use crate::diag::Severity;
use crate::lint::finding::{About, Finding};
use crate::lint::labels::Labels;
use crate::lint::subject::{Rules, Subject};
use crate::lint::tree::selectors;
use crate::lint::{Check, Lint};
use crate::model::METRIC_NAME;
use crate::promql::Expr;
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
    let folder = |subject: &Subject<'_>| Path::new(&subject.file.path).parent().map(Path::to_owned);
    // Files of different folders are usually for different servers.
    if folder(one) != folder(other) {
        return false;
    }
    let (one_labels, other_labels): (&Labels, &Labels) = (one.labels(), other.labels());
    let mut names = one_labels.names().chain(other_labels.names());
    // What the rule sets itself is the same in both.
    let disjoint = names.any(|name| {
        name != METRIC_NAME
            && !one.rule.labels.contains_key(name)
            && one_labels.get(name).disjoint(&other_labels.get(name))
    });
    !disjoint && !select_apart(&one.rule.expr, &other.rule.expr)
}

/// Whether two expressions ask for the same label in different ways, as `code=~"2.."` and `code=~"3.."`:
/// then somebody has thought of keeping them apart.
fn select_apart(one: &Expr, other: &Expr) -> bool {
    let (one, other) = (matchers(one), matchers(other));
    one.iter().any(|(name, matchers)| other.get(name).is_some_and(|others| others != matchers))
}

/// The matchers of all selectors by label.
fn matchers(expr: &Expr) -> BTreeMap<&str, BTreeSet<String>> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (selector, _) in selectors(expr) {
        for matcher in selector.matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
            found.entry(matcher.name()).or_default().insert(matcher.to_string());
        }
    }
    found
}
