//! What tests have never shown: alerts, branches of expressions and label values.

use std::collections::BTreeMap;

use super::simulate::{Definition, Simulation};
use super::syntax::{bare, binaries, selectors};
use crate::model::{LineColumn, MatchOp, Matcher, Span};
use crate::promql::{BinaryOp, Expr, ExprKind, Output, Value, VectorSelector};
use crate::rulefmt::{Rule, RuleKind, Severities};
use crate::state::AlertState;
use crate::yaml::compose::Placement;

/// What tests have shown of all alerting rules, by file and place.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// The rules.
    pub rules: Vec<RuleCoverage>,
}

/// What tests have shown of an alerting rule.
#[derive(Debug, Clone)]
pub struct RuleCoverage {
    /// The rule file.
    pub file: String,
    /// The group.
    pub group: String,
    /// The alerts' name.
    pub alert: String,
    /// Where the rule begins.
    pub place: LineColumn,
    /// Whether an alert was seen pending; none if alerts fire at once.
    pub pending: Option<bool>,
    /// Whether an alert was seen firing.
    pub firing: bool,
    /// Whether an alert was seen resolved.
    pub resolved: bool,
    /// The operands of `and`, `or` and `unless`.
    pub branches: Vec<Branch>,
    /// The values that matchers such as `job=~"a|b"` list.
    pub values: Vec<ListedValue>,
    /// The severities that the rule's instruction lists, each with whether an alert fired with it.
    pub severities: Vec<(String, bool)>,
}

/// An operand of `and`, `or` or `unless`.
#[derive(Debug, Clone)]
pub struct Branch {
    /// The operator.
    pub op: &'static str,
    /// Where the operand begins.
    pub place: LineColumn,
    /// The operand.
    pub text: String,
    /// Whether it ever had a result.
    pub seen: bool,
    expr: Expr,
}

/// A value that a matcher lists.
#[derive(Debug, Clone)]
pub struct ListedValue {
    /// Where the selector begins.
    pub place: LineColumn,
    /// The label.
    pub label: String,
    /// The value.
    pub value: String,
    selector: Expr,
    /// Whether an alert that fired has the label.
    carried: bool,
    /// Whether an alert that fired has the value.
    fired: bool,
    /// Whether there were series with the value while the rule fired.
    selected: bool,
}

impl ListedValue {
    /// Whether an alert fired for it. Where alerts do not have the label: whether there were series with
    /// the value while one fired.
    pub fn seen(&self) -> bool {
        if self.carried { self.fired } else { self.selected }
    }
}

impl Coverage {
    /// Nothing yet, for all alerting rules of groups.
    pub(super) fn new(definitions: &[Definition]) -> Self {
        let rules = definitions.iter().flat_map(|definition| {
            let rules = definition.group.rules.iter();
            rules.filter_map(|rule| RuleCoverage::new(&definition.file, &definition.group.name, rule))
        });
        Self { rules: rules.collect() }
    }

    /// Takes note of an instant that was just evaluated. The simulation is one of the same groups.
    pub(super) async fn observe(&mut self, simulation: &Simulation<'_>, at_ms: i64) {
        let mut rules = self.rules.iter_mut();
        for (definition, group) in simulation.groups() {
            for (rule, running) in definition.group.rules.iter().zip(group.rules()) {
                if !matches!(rule.kind, RuleKind::Alerting { .. }) {
                    continue;
                }
                let rule = rules.next().expect("the coverage is of the same rules");
                let mut fires = false;
                for alert in running.alerts() {
                    match alert.state {
                        AlertState::Pending => rule.pending = Some(true),
                        AlertState::Inactive => rule.resolved = true,
                        AlertState::Firing => {
                            fires = true;
                            rule.firing = true;
                            let current = alert.severity.as_ref().map(|severity| &severity.current);
                            for (severity, seen) in &mut rule.severities {
                                *seen |= current == Some(severity);
                            }
                            for listed in &mut rule.values {
                                listed.carried |= alert.labels.has(&listed.label);
                                listed.fired |= alert.labels.get(&listed.label) == listed.value;
                            }
                        }
                    }
                }
                for branch in rule.branches.iter_mut().filter(|branch| !branch.seen) {
                    branch.seen = has_result(simulation.query(&branch.expr, at_ms).await);
                }
                for listed in rule.values.iter_mut().filter(|listed| fires && !listed.selected) {
                    listed.selected = has_result(simulation.query(&listed.selector, at_ms).await);
                }
            }
        }
    }

    /// Adds what others have seen, of the same rules or of other ones.
    pub(super) fn merge(all: impl IntoIterator<Item = Self>) -> Self {
        let mut merged: BTreeMap<(String, LineColumn), RuleCoverage> = BTreeMap::new();
        for rule in all.into_iter().flat_map(|coverage| coverage.rules) {
            match merged.entry((rule.file.clone(), rule.place)) {
                std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(rule)),
                std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().add(&rule),
            }
        }
        Self { rules: merged.into_values().collect() }
    }

    /// How many alerts were seen firing.
    pub fn firing(&self) -> usize {
        self.rules.iter().filter(|rule| rule.firing).count()
    }

    /// What was never seen, each with file, place and what it is.
    pub fn gaps(&self) -> Vec<(&str, LineColumn, String)> {
        self.rules.iter().flat_map(|rule| rule.gaps()).collect()
    }
}

fn has_result<E>(output: Result<Output, E>) -> bool {
    match output.map(|output| output.value) {
        Ok(Value::Vector(samples)) => !samples.is_empty(),
        Ok(Value::Scalar { .. } | Value::String { .. } | Value::Matrix(_)) => true,
        // The rule that fails for the same reason says so.
        Err(_) => false,
    }
}

impl RuleCoverage {
    /// Nothing yet; none for a recording rule.
    fn new(file: &str, group: &str, rule: &Rule) -> Option<Self> {
        let RuleKind::Alerting { alert, hold_ms, .. } = &rule.kind else { return None };
        let mut values: Vec<ListedValue> = Vec::new();
        for listed in
            selectors(&rule.expr).into_iter().flat_map(|selector| listed(selector, &rule.places.expr))
        {
            let same = |known: &ListedValue| known.label == listed.label && known.value == listed.value;
            if !values.iter().any(same) {
                values.push(listed);
            }
        }
        let unseen = |(severity, _): (&str, f64)| (severity.to_owned(), false);
        Some(Self {
            file: file.to_owned(),
            group: group.to_owned(),
            alert: alert.clone(),
            place: rule.place,
            pending: (*hold_ms > 0).then_some(false),
            firing: false,
            resolved: false,
            branches: branches(&rule.expr, &rule.places.expr),
            values,
            severities: rule.instructions.severities.iter().flat_map(Severities::steps).map(unseen).collect(),
        })
    }

    fn add(&mut self, other: &Self) {
        self.pending = self.pending.zip(other.pending).map(|(one, other)| one || other);
        self.firing |= other.firing;
        self.resolved |= other.resolved;
        for (one, other) in self.branches.iter_mut().zip(&other.branches) {
            one.seen |= other.seen;
        }
        for (one, other) in self.values.iter_mut().zip(&other.values) {
            one.carried |= other.carried;
            one.fired |= other.fired;
            one.selected |= other.selected;
        }
        for ((_, one), (_, other)) in self.severities.iter_mut().zip(&other.severities) {
            *one |= other;
        }
    }

    fn gaps(&self) -> Vec<(&str, LineColumn, String)> {
        let alert = &self.alert;
        let never = |state: &str| (self.place, format!("alert `{alert}` was never seen {state}"));
        let states = [
            (self.pending == Some(false)).then(|| never("pending")),
            (!self.firing).then(|| never("firing")),
            (!self.resolved).then(|| never("resolved")),
        ];
        let branches = self.branches.iter().filter(|branch| !branch.seen).map(|branch| {
            let Branch { op, place, text, .. } = branch;
            (*place, format!("alert `{alert}`: this side of `{op}` never had a result: `{text}`"))
        });
        let values = self.values.iter().filter(|listed| !listed.seen()).map(|listed| {
            let ListedValue { place, label, value, .. } = listed;
            (*place, format!("alert `{alert}` was never seen firing for `{label}=\"{value}\"`"))
        });
        let severities = self.severities.iter().filter(|(_, seen)| !seen).map(|(severity, _)| {
            (self.place, format!("alert `{alert}` was never seen firing with severity `{severity}`"))
        });
        let gaps = states.into_iter().flatten().chain(branches).chain(values).chain(severities);
        gaps.map(|(place, what)| (self.file.as_str(), place, what)).collect()
    }
}

/// The operands of set operators; one that is a set operator itself has operands of its own.
fn branches(expr: &Expr, placement: &Placement) -> Vec<Branch> {
    let operators = binaries(expr).into_iter().filter_map(|binary| {
        let op = match binary.op {
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
            _ => return None,
        };
        Some((op, [bare(&binary.left), bare(&binary.right)]))
    });
    let is_set_operator =
        |expr: &Expr| matches!(&expr.kind, ExprKind::Binary(binary) if binary.op.is_set_operator());
    let operands = operators.flat_map(|(op, operands)| operands.map(|operand| (op, operand)));
    let own = operands.filter(|(_, operand)| !is_set_operator(operand));
    let branch = |(op, operand): (&'static str, &Expr)| Branch {
        op,
        place: placement.place(operand.span.start),
        text: operand.to_string(),
        seen: false,
        expr: operand.clone(),
    };
    own.map(branch).collect()
}

/// The values that the matchers of a selector list, each with a selector of its own.
fn listed((selector, span): (&VectorSelector, Span), placement: &Placement) -> Vec<ListedValue> {
    let matchers = selector.matchers.iter().enumerate();
    matchers
        .flat_map(|(place, matcher)| {
            let values = matcher.set_matches().filter(|_| matcher.op() == MatchOp::Regex).unwrap_or_default();
            let values = if values.len() > 1 { values } else { &[] };
            values.iter().map(move |value| {
                let mut only = selector.clone();
                only.matchers[place] = Matcher::equal(matcher.name(), value);
                ListedValue {
                    place: placement.place(span.start),
                    label: matcher.name().to_owned(),
                    value: value.clone(),
                    selector: Expr { kind: ExprKind::Vector(only), span },
                    carried: false,
                    fired: false,
                    selected: false,
                }
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    fn start() -> Placement {
        Placement::starting_at(LineColumn { line: 1, column: 1 })
    }

    #[test]
    fn operands_of_set_operators_are_branches() {
        let check = |query: &str, expected: &[(&str, &str)]| {
            let found = branches(&parse(query).expect("valid"), &start());
            let found: Vec<_> = found.iter().map(|branch| (branch.op, branch.text.as_str())).collect();
            assert_eq!(found, expected, "{query}");
        };
        check("up == 0", &[]);
        check("a or b or c", &[("or", "c"), ("or", "a"), ("or", "b")]);
        check("(a > 1 unless on() b) and c", &[("and", "c"), ("unless", "a > 1"), ("unless", "b")]);
        check("sum(a or b) > 1", &[("or", "a"), ("or", "b")]);
    }

    #[test]
    fn values_that_matchers_list_are_found() {
        let check = |query: &str, expected: &[&str]| {
            let expr = parse(query).expect("valid");
            let found = selectors(&expr).into_iter().flat_map(|selector| listed(selector, &start()));
            let found: Vec<_> = found.map(|listed| listed.selector.to_string()).collect();
            assert_eq!(found, expected, "{query}");
        };
        check("up{job=~\"a|b-2\"}", &["up{job=\"a\"}", "up{job=\"b-2\"}"]);
        check("rate(m{x=\"1\",job=~\"(a|b)\"}[5m])", &["m{job=\"a\",x=\"1\"}", "m{job=\"b\",x=\"1\"}"]);
        check("up{job=~\"a\"} + up{job!~\"a|b\"} + up{job=~\"a.*|b\"}", &[]);
    }
}
