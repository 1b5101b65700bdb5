//! Which samples decided what happened to an alert: the selectors of its expression, restricted to the
//! series that may concern it, asked again at the same instant.
//!
//! This is done only when something happens, and what it may cost is bounded; a source that does not
//! answer in time costs the evidence and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::model::{ALERT_NAME, Labels, MatchOp, Matcher, Span, TimestampMs};
use crate::promql::{
    AggregateExpr, AggregateOp, CallExpr, Expr, ExprKind, Grouping, Value, VectorSelector, functions,
};
use crate::query::QuerySource;
use crate::state::{Evidence, Input, Transition};

/// For how many transitions of one evaluation of a rule evidence is looked for.
const MOST_TRANSITIONS: usize = 20;

/// How many selectors of an expression are looked at.
const MOST_SELECTORS: usize = 8;

/// How many series of a selector are kept.
const MOST_SERIES: usize = 5;

/// How long all of that may take for one evaluation of a rule: as long, alerts wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// Adds to transitions what they were decided by. `own` are the labels that the rule sets, and `at` is the
/// instant of the query.
pub(super) async fn add_evidence(
    transitions: &mut [Transition],
    expr: &Expr,
    own: &BTreeMap<String, String>,
    source: &dyn QuerySource,
    at: TimestampMs,
) {
    let deadline = Instant::now() + PATIENCE;
    let selectors: Vec<_> = selectors(expr).into_iter().take(MOST_SELECTORS).collect();
    for transition in transitions.iter_mut().take(MOST_TRANSITIONS) {
        let set_by_rule = |name: &str| name == ALERT_NAME || own.contains_key(name);
        let labels = transition.labels.filtered(|name| !set_by_rule(name));
        let mut evidence = Vec::with_capacity(selectors.len());
        for selector in &selectors {
            let question = question(selector, &labels);
            // Whoever wants to know more will see that nothing was found out.
            let Ok(Ok(answer)) = timeout_at(deadline, source.instant(&question, at)).await else { return };
            let Value::Vector(mut found) = answer.value else { continue };
            let more = found.len() > MOST_SERIES;
            found.truncate(MOST_SERIES);
            let inputs = found.into_iter().map(|sample| Input { labels: sample.labels, value: sample.value });
            evidence.push(Evidence { selector: selector.to_string(), inputs: inputs.collect(), more });
        }
        transition.evidence = Some(evidence);
    }
}

/// The selectors of an expression in the order of the text, each once.
fn selectors(expr: &Expr) -> Vec<&Expr> {
    fn collect<'e>(expr: &'e Expr, found: &mut Vec<&'e Expr>) {
        match &expr.kind {
            ExprKind::Vector(_) | ExprKind::Matrix(_) => {
                let text = expr.to_string();
                if found.iter().all(|known| known.to_string() != text) {
                    found.push(expr);
                }
            }
            ExprKind::Number { .. } | ExprKind::String(_) => {}
            ExprKind::Paren(expr) | ExprKind::Unary { expr, .. } => collect(expr, found),
            ExprKind::Binary(binary) => {
                collect(&binary.left, found);
                collect(&binary.right, found);
            }
            ExprKind::Aggregate(aggregate) => {
                aggregate.param.iter().for_each(|param| collect(param, found));
                collect(&aggregate.expr, found);
            }
            ExprKind::Call(call) => call.args.iter().for_each(|arg| collect(arg, found)),
            ExprKind::Subquery(subquery) => collect(&subquery.expr, found),
        }
    }
    let mut found = Vec::new();
    collect(expr, &mut found);
    found
}

/// The largest of the newest samples of a selector's series that agree with an alert's labels, one more
/// than are kept.
fn question(selector: &Expr, labels: &Labels) -> Expr {
    let mut selector = selector.clone();
    let span = Span::default();
    let newest = match &mut selector.kind {
        ExprKind::Vector(vector) => {
            restrict(vector, labels);
            selector
        }
        ExprKind::Matrix(matrix) => {
            restrict(&mut matrix.selector, labels);
            let function = functions::lookup("last_over_time").expect("it is a function of PromQL").name;
            Expr { kind: ExprKind::Call(CallExpr { function, args: vec![selector] }), span }
        }
        _ => selector,
    };
    let count = Expr { kind: ExprKind::Number { value: (MOST_SERIES + 1) as f64, duration: false }, span };
    let largest = AggregateExpr {
        op: AggregateOp::Topk,
        param: Some(count),
        expr: newest,
        grouping: Grouping::By(Vec::new()),
    };
    Expr { kind: ExprKind::Aggregate(Box::new(largest)), span }
}

/// Leaves out series that have another value for a label than the alert. Series without the label stay:
/// labels of an alert may come from one side of a join.
fn restrict(selector: &mut VectorSelector, labels: &Labels) {
    for (name, value) in labels.iter() {
        let pattern = format!("{}|", regex::escape(value));
        // The bound of a regular expression's size is far above that of a label's value.
        selector.matchers.extend(Matcher::new(MatchOp::Regex, name, pattern));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    #[test]
    fn each_selector_is_asked_for_the_series_that_may_concern_the_alert() {
        let labels = Labels::from_pairs([("job", "a.b"), ("path", "/x")]);
        let check = |query: &str, expected: &[&str]| {
            let expr = parse(query).expect("valid");
            let found: Vec<_> =
                selectors(&expr).into_iter().map(|one| question(one, &labels).to_string()).collect();
            assert_eq!(found, expected, "{query}");
            assert!(found.iter().all(|question| parse(question).is_ok()));
        };
        check("vector(1)", &[]);
        check(
            "up == 0 or up offset 5m",
            &[
                r#"topk(6, up{job=~"a\\.b|",path=~"/x|"})"#,
                r#"topk(6, up{job=~"a\\.b|",path=~"/x|"} offset 5m)"#,
            ],
        );
        check(
            "sum(rate(a[5m])) / up > topk(2, up)",
            &[
                r#"topk(6, last_over_time(a{job=~"a\\.b|",path=~"/x|"}[5m]))"#,
                r#"topk(6, up{job=~"a\\.b|",path=~"/x|"})"#,
            ],
        );
    }
}
