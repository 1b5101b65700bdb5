//! What lints want to know from a server, and what it said.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::subject::Rules;
use super::tree::{bare, children, metric_name, needs_two_samples, selector, selectors, shown, walk};
use crate::diag::closest;
use crate::model::{METRIC_NAME, Matcher, Span};
use crate::promql::{BinaryOp, Expr, ExprKind, VectorSelector};
use crate::rulefmt::RuleKind;

/// What is to be found out about a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The selector as it is printed, without range and offset.
    pub selector: String,
    /// The metric that it names.
    pub metric: Option<String>,
    /// The labels that it asks for besides, each once.
    pub labels: Vec<String>,
    /// Whether the distance of its samples matters.
    pub interval: bool,
}

/// What a server knows about the rules' selectors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The names of all metrics.
    pub names: BTreeSet<String>,
    /// Of metrics that have a type.
    pub metrics: BTreeMap<String, MetricFacts>,
    /// By [`Question::selector`]; what was not answered is not there.
    pub selectors: BTreeMap<String, SelectorFacts>,
}

/// What is known about a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricFacts {
    /// `counter`, `gauge` and so on; a metric that has several has none here.
    pub kind: String,
}

/// What is known about a selector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectorFacts {
    /// Whether there are series.
    pub seen: Option<bool>,
    /// Whether there are series of its metric.
    pub metric_seen: Option<bool>,
    /// If there are no series: the values that the metric's series have for the labels that the selector
    /// asks for.
    pub values: BTreeMap<String, Vec<String>>,
    /// The usual distance of samples, in milliseconds.
    pub interval_ms: Option<i64>,
}

impl Facts {
    /// Whether a metric is known to be of this type.
    pub(super) fn is(&self, metric: &str, kind: &str) -> bool {
        self.metrics.get(metric).is_some_and(|known| known.kind == kind)
    }

    /// The metric that was probably meant.
    pub(super) fn closest_metric(&self, name: &str) -> Option<&str> {
        // A third of the letters, as elsewhere, would let unrelated names in: there are thousands.
        let near =
            self.names.iter().map(String::as_str).filter(|known| known.len().abs_diff(name.len()) <= 2);
        closest(name, near.filter(|known| known.chars().next() == name.chars().next()))
    }
}

/// What the lints want to know, each selector once.
pub(super) fn questions(rules: &Rules<'_>) -> Vec<Question> {
    let recorded: HashSet<&str> = rules
        .subjects
        .iter()
        .filter_map(|subject| match &subject.rule.kind {
            RuleKind::Recording { record } => Some(record.as_str()),
            RuleKind::Alerting { .. } => None,
        })
        .collect();
    let mut found: BTreeMap<String, Question> = BTreeMap::new();
    for subject in &rules.subjects {
        let mut windows = HashSet::new();
        walk(&subject.rule.expr, &mut |node| {
            if let ExprKind::Call(call) = &node.kind
                && needs_two_samples(call.function)
            {
                windows.extend(
                    call.args.iter().map(bare).filter_map(selector).map(|(selector, _)| shown(selector)),
                );
            }
        });
        for (selector, _) in expected(&subject.rule.expr) {
            // What these rules record comes into being with them.
            let metric = metric_name(selector);
            if metric.is_some_and(|name| recorded.contains(name)) {
                continue;
            }
            let shown = shown(selector);
            let interval = windows.contains(&shown);
            let question = found.entry(shown.clone()).or_insert_with(|| Question {
                selector: shown,
                metric: metric.map(str::to_owned),
                labels: labels(selector),
                interval: false,
            });
            question.interval |= interval;
        }
    }
    found.into_values().collect()
}

fn labels(selector: &VectorSelector) -> Vec<String> {
    let names = selector.matchers.iter().map(Matcher::name).filter(|name| *name != METRIC_NAME);
    names.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The selectors that should have series: not those whose absence is the point, nor those for which
/// something else steps in.
pub(super) fn expected(expr: &Expr) -> Vec<(&VectorSelector, Span)> {
    let expr = bare(expr);
    if let Some((selector, span)) = selector(expr) {
        let of_alerts = matches!(metric_name(selector), Some("ALERTS" | "ALERTS_FOR_STATE"));
        return if of_alerts { Vec::new() } else { vec![(selector, span)] };
    }
    match &expr.kind {
        ExprKind::Call(call) if matches!(call.function, "absent" | "absent_over_time") => Vec::new(),
        ExprKind::Binary(binary) if binary.op == BinaryOp::Unless => expected(&binary.left),
        // `x or vector(0)`
        ExprKind::Binary(binary) if binary.op == BinaryOp::Or && selectors(&binary.right).is_empty() => {
            Vec::new()
        }
        _ => children(expr).into_iter().flat_map(expected).collect(),
    }
}
