//! Whether tests notice when a rule is wrong: each alerting rule is made wrong in one way after the other,
//! and at least one test ought to fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::file::Test;
use super::run::{FileReport, examine, parallel};
use super::suite::Suite;
use super::syntax::{bare, binaries, edit_binary};
use crate::model::{LineColumn, format_duration_ms, format_float};
use crate::promql::{BinaryExpr, BinaryOp, Expr, ExprKind, UnaryOp};
use crate::rulefmt::instructions::{ON_MISSING, RESOLVE_EXPR, RESOLVED_VALUE, SEVERITIES};
use crate::rulefmt::{Instructions, OnMissing, Rule, RuleKind};
use crate::yaml::compose::Placement;

/// By how much of itself a threshold is moved.
const SHIFT: f64 = 0.1;

/// What is written instead of an instruction that is left out.
const LEFT_OUT: &str = "left out";

/// What became of the changed rules.
#[derive(Debug, Clone, Default)]
pub struct Mutation {
    /// The changes, by file and place.
    pub mutants: Vec<Mutant>,
}

/// A rule that was changed in one way.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// The rule file.
    pub file: String,
    /// Where what was changed stands: the operator of a comparison, else the rule.
    pub place: LineColumn,
    /// The alerts' name.
    pub alert: String,
    /// What was written.
    pub before: String,
    /// What was written instead.
    pub after: String,
    /// The test that failed because of it; none if none did.
    pub killed_by: Option<String>,
}

impl Mutation {
    /// How many changes a test has noticed.
    pub fn killed(&self) -> usize {
        self.mutants.iter().filter(|mutant| mutant.killed_by.is_some()).count()
    }

    /// The changes that no test has noticed.
    pub fn survivors(&self) -> impl Iterator<Item = &Mutant> {
        self.mutants.iter().filter(|mutant| mutant.killed_by.is_none())
    }

    /// How many changes of all a test has noticed, from 0 to 1; none if nothing was changed.
    pub fn kill_rate(&self) -> Option<f64> {
        let count = self.mutants.len();
        (count > 0).then(|| self.killed() as f64 / count as f64)
    }
}

/// A change, and where it is to be tried.
struct Job<'s> {
    mutant: Mutant,
    /// The rule after the change.
    rule: Rule,
    /// Suites that have the rule, each with the places of its group and of the rule in it.
    suites: Vec<(&'s Suite, usize, usize)>,
}

/// Tries all changes of all alerting rules; only suites that pass without a change take part. Blocks.
pub fn mutate(suites: &[Suite], reports: &[FileReport]) -> std::io::Result<Mutation> {
    let passing = suites.iter().zip(reports).filter(|(_, report)| report.passed());
    let mut jobs: BTreeMap<(String, LineColumn, usize), Job<'_>> = BTreeMap::new();
    for (suite, _) in passing {
        for (at, definition) in suite.groups.iter().enumerate() {
            for (index, rule) in definition.group.rules.iter().enumerate() {
                for (number, change) in changes(rule).into_iter().enumerate() {
                    let file = definition.file.to_string();
                    let job = jobs.entry((file.clone(), rule.place, number)).or_insert_with(|| {
                        let Change { rule, place, before, after } = change;
                        let alert = rule.name().to_owned();
                        let mutant = Mutant { file, place, alert, before, after, killed_by: None };
                        Job { mutant, rule, suites: Vec::new() }
                    });
                    job.suites.push((suite, at, index));
                }
            }
        }
    }
    let jobs: Vec<Job<'_>> = jobs.into_values().collect();
    let mutants = parallel(&jobs, |runtime, job| Mutant {
        killed_by: runtime.block_on(killer(job)),
        ..job.mutant.clone()
    })?;
    Ok(Mutation { mutants })
}

/// The first test that fails because of a change.
async fn killer(job: &Job<'_>) -> Option<String> {
    for (suite, at, index) in &job.suites {
        let mut groups = suite.groups.clone();
        Arc::make_mut(&mut Arc::make_mut(&mut groups[*at].group).rules)[*index] = job.rule.clone();
        let mut tests: Vec<&Test> = suite.selected.iter().map(|place| &suite.file.tests[*place]).collect();
        tests.sort_by_key(|test| relevance(test, &job.mutant.alert));
        for test in tests {
            if !examine(&suite.file, test, &groups, None, false).await.failures.is_empty() {
                return Some(format!("{}:{}: {}", suite.file.name, test.place, test.name));
            }
        }
    }
    None
}

/// Tests that expect the alert come first, then those that ask about it, then the others.
fn relevance(test: &Test, alert: &str) -> u8 {
    let about = || test.alert_tests.iter().filter(|test| test.alertname == alert);
    if about().any(|test| !test.expected.is_empty()) {
        0
    } else if about().next().is_some() {
        1
    } else {
        2
    }
}

/// A rule after a change.
struct Change {
    rule: Rule,
    place: LineColumn,
    before: String,
    after: String,
}

/// All changes of an alerting rule; of a recording rule none.
fn changes(rule: &Rule) -> Vec<Change> {
    let RuleKind::Alerting { hold_ms, keep_firing_ms, .. } = rule.kind else { return Vec::new() };
    let with_spans = |hold: i64, keep_firing: i64| {
        let mut rule = rule.clone();
        if let RuleKind::Alerting { hold_ms, keep_firing_ms, .. } = &mut rule.kind {
            (*hold_ms, *keep_firing_ms) = (hold, keep_firing);
        }
        rule
    };
    let span = |key: &str, ms: i64| format!("{key}: {}", format_duration_ms(ms));
    let mut changes = Vec::new();
    if hold_ms > 0 {
        changes.extend([0, hold_ms / 2, hold_ms * 2].map(|ms| Change {
            rule: with_spans(ms, keep_firing_ms),
            place: rule.place,
            before: span("for", hold_ms),
            after: span("for", ms),
        }));
    }
    if keep_firing_ms > 0 {
        changes.push(Change {
            rule: with_spans(hold_ms, 0),
            place: rule.place,
            before: span("keep_firing_for", keep_firing_ms),
            after: span("keep_firing_for", 0),
        });
    }
    changes.extend(conditions(rule, &rule.expr, &rule.places.expr, |rule, expr| rule.expr = Arc::new(expr)));
    changes.extend(instructions(rule));
    changes
}

/// The changes of an expression's comparisons and thresholds; `put` puts it into the rule.
fn conditions(rule: &Rule, expr: &Expr, placement: &Placement, put: impl Fn(&mut Rule, Expr)) -> Vec<Change> {
    let mut changes = Vec::new();
    for (place, binary) in binaries(expr).into_iter().enumerate() {
        if !binary.op.is_comparison() {
            continue;
        }
        let shown = |op: BinaryOp, left: &Expr, right: &Expr| {
            // What stands on the other side may be long, and is not what was changed.
            let side = |expr: &Expr| number(expr).map(format_float).unwrap_or_default();
            format!("{} {op} {}", side(left), side(right)).trim().to_owned()
        };
        let mut push = |edit: &dyn Fn(&mut BinaryExpr)| {
            let (mut rule, mut whole, mut edited) = (rule.clone(), expr.clone(), binary.clone());
            edit_binary(&mut whole, place, edit);
            put(&mut rule, whole);
            edit(&mut edited);
            changes.push(Change {
                place: placement.place(binary.op_span.start),
                rule,
                before: shown(binary.op, &binary.left, &binary.right),
                after: shown(edited.op, &edited.left, &edited.right),
            });
        };
        for op in other_comparisons(binary.op) {
            push(&|binary| binary.op = op);
        }
        if let Some(threshold) = number(&binary.right) {
            other_thresholds(threshold).for_each(|value| push(&|binary| set(&mut binary.right, value)));
        }
        if let Some(threshold) = number(&binary.left) {
            other_thresholds(threshold).for_each(|value| push(&|binary| set(&mut binary.left, value)));
        }
    }
    changes
}

/// The changes of what annotations tell the evaluator: each instruction left out, and its condition or its
/// thresholds moved.
fn instructions(rule: &Rule) -> Vec<Change> {
    let change = |name: &str, before: String, after: &str, edit: &dyn Fn(&mut Instructions)| {
        let mut rule = rule.clone();
        edit(&mut rule.instructions);
        let place = rule.places.annotations.get(name).map_or(rule.place, |placement| placement.place(0));
        Change { rule, place, before: format!("{name}: {before}"), after: after.to_owned() }
    };
    let Instructions { on_missing, resolved_value, resolve_expr, severities } = &rule.instructions;
    let mut changes = Vec::new();
    // To leave out `resolve` would change nothing: it is what happens anyway.
    if let Some(policy @ OnMissing::Hold { .. }) = on_missing {
        changes.push(change(ON_MISSING, policy.to_string(), LEFT_OUT, &|all| all.on_missing = None));
    }
    if let Some(annotation) = resolved_value {
        let leave_out = |all: &mut Instructions| all.resolved_value = None;
        changes.push(change(RESOLVED_VALUE, annotation.clone(), LEFT_OUT, &leave_out));
    }
    if let Some(expr) = resolve_expr {
        changes.push(change(RESOLVE_EXPR, expr.to_string(), LEFT_OUT, &|all| all.resolve_expr = None));
        if let Some(placement) = rule.places.annotations.get(RESOLVE_EXPR) {
            let put = |rule: &mut Rule, expr| rule.instructions.resolve_expr = Some(Arc::new(expr));
            changes.extend(conditions(rule, expr, placement, put));
        }
    }
    if let Some(severities) = severities {
        changes.push(change(SEVERITIES, severities.to_string(), LEFT_OUT, &|all| all.severities = None));
        for (step, (severity, threshold)) in severities.steps().enumerate() {
            for value in other_thresholds(threshold) {
                let Some(moved) = severities.with_threshold(step, value) else { continue };
                let before = format!("{severity} at {}", format_float(threshold));
                let after = format!("{severity} at {}", format_float(value));
                changes.push(change(SEVERITIES, before, &after, &|all| all.severities = Some(moved.clone())));
            }
        }
    }
    changes
}

/// The opposite comparison, and the one that differs at the threshold itself.
fn other_comparisons(op: BinaryOp) -> impl Iterator<Item = BinaryOp> {
    use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let (opposite, boundary) = match op {
        Greater => (Less, Some(GreaterOrEqual)),
        GreaterOrEqual => (LessOrEqual, Some(Greater)),
        Less => (Greater, Some(LessOrEqual)),
        LessOrEqual => (GreaterOrEqual, Some(Less)),
        Equal => (NotEqual, None),
        _ => (Equal, None),
    };
    std::iter::once(opposite).chain(boundary)
}

/// Thresholds beside a threshold, and 0.
fn other_thresholds(value: f64) -> impl Iterator<Item = f64> {
    let shift = if value == 0.0 { 1.0 } else { value.abs() * SHIFT };
    [value + shift, value - shift]
        .into_iter()
        .chain((value != 0.0).then_some(0.0))
        .filter(move |other| *other != value)
}

/// The value of a number, perhaps with a sign.
fn number(expr: &Expr) -> Option<f64> {
    match &bare(expr).kind {
        ExprKind::Number { value, .. } => Some(*value),
        ExprKind::Unary { op, expr } => number(expr).map(|value| match op {
            UnaryOp::Plus => value,
            UnaryOp::Minus => -value,
        }),
        _ => None,
    }
}

fn set(expr: &mut Expr, value: f64) {
    expr.kind = ExprKind::Number { value, duration: false };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::Features;
    use crate::rulefmt;

    #[test]
    fn every_threshold_comparison_and_span_is_changed() {
        let check = |rule: &str, expected: &[&str]| {
            let text = format!("groups: [{{name: g, rules: [{{{rule}}}]}}]");
            let (files, findings) = rulefmt::parse("rules.yml", &text, Features::default());
            assert!(findings.is_empty(), "{findings:?}");
            let changes = changes(&files[0].groups[0].rules[0]);
            let found = changes.iter().map(|Change { before, after, .. }| format!("{before} -> {after}"));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{rule}");
            let exprs: std::collections::BTreeSet<_> = changes
                .iter()
                .map(|Change { rule, .. }| format!("{:?} {} {:?}", rule.kind, rule.expr, rule.instructions))
                .collect();
            assert_eq!(exprs.len(), changes.len(), "all are different");
        };
        check("record: a, expr: up > 1", &[]);
        check("alert: A, expr: up", &[]);
        check("alert: A, expr: up == 0", &["== 0 -> != 0", "== 0 -> == 1", "== 0 -> == -1"]);
        check(
            "alert: A, expr: -10 < min(up), for: 5m, keep_firing_for: 1m",
            &[
                "for: 5m -> for: 0s",
                "for: 5m -> for: 2m30s",
                "for: 5m -> for: 10m",
                "keep_firing_for: 1m -> keep_firing_for: 0s",
                "-10 < -> -10 >",
                "-10 < -> -10 <=",
                "-10 < -> -9 <",
                "-10 < -> -11 <",
                "-10 < -> 0 <",
            ],
        );
        check("alert: A, expr: a / b >= bool c and d", &[">= -> <=", ">= -> >"]);
        check(
            "alert: A, expr: a, annotations: {valmis_on_missing: hold 5m, valmis_resolve_expr: a < 5, \
             valmis_resolved_value: now, valmis_severities: 'low > 10, high > 11.5'}",
            &[
                "valmis_on_missing: hold 5m -> left out",
                "valmis_resolved_value: now -> left out",
                "valmis_resolve_expr: a < 5 -> left out",
                "< 5 -> > 5",
                "< 5 -> <= 5",
                "< 5 -> < 5.5",
                "< 5 -> < 4.5",
                "< 5 -> < 0",
                "valmis_severities: low > 10, high > 11.5 -> left out",
                "valmis_severities: low at 10 -> low at 11",
                "valmis_severities: low at 10 -> low at 9",
                "valmis_severities: low at 10 -> low at 0",
                "valmis_severities: high at 11.5 -> high at 12.65",
                "valmis_severities: high at 11.5 -> high at 10.35",
            ],
        );
        check("alert: A, expr: a, annotations: {valmis_on_missing: resolve}", &[]);
    }
}
