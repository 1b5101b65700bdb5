//! What series an alert comes from: decided from the selectors in its rule's expression.
//!
//! An alert that is no longer in the result has either recovered or lost its inputs, and the result alone
//! does not tell which. So each selector is looked at by itself: which of its series can have led to the
//! alert, going by the labels that the operators on the way to the result keep.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Labels, METRIC_NAME, Span};
use crate::promql::{
    AggregateOp, BinaryExpr, BinaryOp, CallExpr, DurationExpr, DurationOp, Expr, ExprKind, Grouping,
    MatchCardinality, MatrixSelector, ValueType, VectorMatching, VectorSelector,
};

/// The selectors of an expression whose series its result comes from. Those below `absent` and on the
/// right of `unless` are not among them: there a missing series is no lack.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    /// From left to right.
    pub(super) all: Vec<Input>,
    needed: Need,
}

/// A selector.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// How it is called in texts.
    pub(super) text: String,
    /// The series that have a sample now.
    pub(super) fresh: Arc<Expr>,
    /// The series that have a sample in the time that the expression looks at.
    pub(super) seen: Arc<Expr>,
    /// The labels that an alert has from the series.
    kept: Kept,
}

/// What an expression's result is made of, whether or not its condition holds: the expression without its
/// outermost comparison.
#[derive(Debug, Clone, Default)]
pub(super) struct ResultValue {
    /// More than one if the result comes from the one or the other.
    pub(super) branches: Vec<Branch>,
}

/// An expression whose value a result has.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) expr: Arc<Expr>,
    /// The labels that an alert has from it.
    pub(super) kept: Kept,
}

/// In which labels an alert and the series behind it agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// In all but these.
    AllBut(BTreeSet<String>),
    /// In these.
    Only(BTreeSet<String>),
}

/// What must be there for an expression to say anything at all.
#[derive(Debug, Clone)]
enum Need {
    /// A series of this input.
    Input(usize),
    /// All of these; also none.
    All(Vec<Need>),
    /// At least one of these.
    Any(Vec<Need>),
}

impl Kept {
    pub(super) fn all() -> Self {
        Self::AllBut(BTreeSet::new())
    }

    fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    /// Without these labels.
    pub(super) fn without<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        for name in names {
            match &mut self {
                Self::AllBut(except) => drop(except.insert(name.to_owned())),
                Self::Only(only) => drop(only.remove(name)),
            }
        }
        self
    }

    /// Of these labels alone.
    fn among<'n>(self, names: impl IntoIterator<Item = &'n String>) -> Self {
        let names = names.into_iter().filter(|name| match &self {
            Self::AllBut(except) => !except.contains(*name),
            Self::Only(only) => only.contains(*name),
        });
        Self::Only(names.cloned().collect())
    }

    /// Whether an alert with these labels can come from a series with those.
    pub(super) fn agree(&self, alert: &Labels, series: &Labels) -> bool {
        match self {
            Self::Only(only) => only.iter().all(|name| alert.get(name) == series.get(name)),
            Self::AllBut(except) => {
                let counts = |(name, _): &(&str, &str)| *name != METRIC_NAME && !except.contains(*name);
                alert.iter().filter(counts).eq(series.iter().filter(counts))
            }
        }
    }
}

impl Inputs {
    /// The inputs of an expression whose result gets the labels `overridden` from elsewhere.
    pub(super) fn of<'n>(expr: &Expr, overridden: impl IntoIterator<Item = &'n str>) -> Self {
        let mut all = Vec::new();
        let look = Look { kept: Kept::all().without(overridden), window_ms: 0, offset_ms: 0 };
        let needed = collect(expr, &look, &mut all);
        Self { all, needed }
    }

    /// The inputs that have no series, if the expression says nothing because of it; else none. `found`
    /// tells which inputs have a series.
    pub(super) fn silent(&self, found: &[bool]) -> Vec<&Input> {
        if self.needed.is_met(found) {
            return Vec::new();
        }
        self.all.iter().zip(found).filter(|(_, found)| !**found).map(|(input, _)| input).collect()
    }
}

impl ResultValue {
    /// That of an expression whose result gets the labels `overridden` from elsewhere. It is empty if nothing
    /// can be taken away from the expression: then it has no value where it has no result.
    pub(super) fn of<'n>(expr: &Expr, overridden: impl IntoIterator<Item = &'n str>) -> Self {
        let mut branches = Vec::new();
        strip(expr, Kept::all().without(overridden), false, &mut branches);
        Self { branches }
    }
}

/// `stripped`: whether a condition was taken away on the way.
fn strip(expr: &Expr, kept: Kept, stripped: bool, branches: &mut Vec<Branch>) {
    let mut found = |expr: &Expr, kept| branches.push(Branch { expr: Arc::new(expr.clone()), kept });
    match &expr.kind {
        ExprKind::Paren(inner) => strip(inner, kept, stripped, branches),
        ExprKind::Binary(binary) => match (binary.op, &binary.matching) {
            (BinaryOp::And | BinaryOp::Unless, _) => strip(&binary.left, kept, true, branches),
            (BinaryOp::Or, _) => {
                strip(&binary.left, kept.clone(), stripped, branches);
                strip(&binary.right, kept, stripped, branches);
            }
            (op, matching) if op.is_comparison() && !binary.return_bool => match matching {
                None if binary.left.value_type() == ValueType::Scalar => found(&binary.right, kept),
                None => found(&binary.left, kept),
                Some(matching) => found(
                    &binary.left,
                    match matching.cardinality {
                        MatchCardinality::ManyToOne => many(kept, matching),
                        MatchCardinality::OneToMany => one(kept, matching),
                        _ => matched(kept, matching),
                    },
                ),
            },
            _ if stripped => found(expr, kept),
            _ => {}
        },
        _ if stripped => found(expr, kept),
        _ => {}
    }
}

impl Input {
    /// Whether an alert with these labels can come from a series with those.
    pub(super) fn agrees(&self, alert: &Labels, series: &Labels) -> bool {
        self.kept.agree(alert, series)
    }
}

impl Need {
    fn is_met(&self, found: &[bool]) -> bool {
        match self {
            Self::Input(index) => found[*index],
            Self::All(needs) => needs.iter().all(|need| need.is_met(found)),
            Self::Any(needs) => needs.iter().any(|need| need.is_met(found)),
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Self::All(needs) if needs.iter().all(Self::is_nothing))
    }
}

/// What is known on the way from the result down to a selector.
#[derive(Debug, Clone)]
struct Look {
    kept: Kept,
    /// Over how long subqueries look.
    window_ms: i64,
    /// How far back they look.
    offset_ms: i64,
}

impl Look {
    fn keeping(&self, kept: Kept) -> Self {
        Self { kept, ..self.clone() }
    }
}

/// Adds the inputs of an expression to `inputs` and returns what it needs of them.
fn collect(expr: &Expr, look: &Look, inputs: &mut Vec<Input>) -> Need {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => Need::All(Vec::new()),
        ExprKind::Paren(inner) | ExprKind::Unary { expr: inner, .. } => collect(inner, look, inputs),
        ExprKind::Vector(selector) => push(selector, expr.span, 0, look, inputs),
        ExprKind::Matrix(matrix) => {
            push(&matrix.selector, matrix.selector_span, literal_ms(Some(&matrix.range)), look, inputs)
        }
        ExprKind::Subquery(subquery) => {
            let look = Look {
                kept: look.kept.clone(),
                window_ms: look.window_ms + literal_ms(Some(&subquery.range)),
                offset_ms: look.offset_ms + literal_ms(subquery.offset.as_ref()),
            };
            collect(&subquery.expr, &look, inputs)
        }
        ExprKind::Aggregate(aggregate) => {
            let kept = look.kept.clone();
            let kept = match (aggregate.op, &aggregate.grouping) {
                // They pick elements and leave their labels as they are.
                (
                    AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio,
                    _,
                ) => kept,
                (_, Grouping::By(names)) => kept.among(names),
                (_, Grouping::Without(names)) => kept.without(names.iter().map(String::as_str)),
            };
            let kept = match aggregate.param.as_ref().map(|param| &param.kind) {
                Some(ExprKind::String(made)) => kept.without([made.as_str()]),
                _ => kept,
            };
            let mut needs = vec![collect(&aggregate.expr, &look.keeping(kept), inputs)];
            if let Some(param) = &aggregate.param {
                needs.push(collect(param, &look.keeping(Kept::none()), inputs));
            }
            Need::All(needs)
        }
        ExprKind::Call(call) => collect_call(call, look, inputs),
        ExprKind::Binary(binary) => collect_binary(binary, look, inputs),
    }
}

fn collect_call(call: &CallExpr, look: &Look, inputs: &mut Vec<Input>) -> Need {
    let string = |index: usize| match call.args.get(index).map(|arg| &arg.kind) {
        Some(ExprKind::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let kept = match call.function {
        "absent" | "absent_over_time" => return Need::All(Vec::new()),
        "label_replace" | "label_join" => look.kept.clone().without(string(1)),
        "histogram_quantile" => look.kept.clone().without(["le"]),
        "histogram_quantiles" => look.kept.clone().without(["le"]).without(string(1)),
        "scalar" | "vector" => Kept::none(),
        _ => look.kept.clone(),
    };
    let needs = call.args.iter().enumerate().filter_map(|(index, arg)| {
        let kept = match arg.value_type() {
            // The second argument of `info` only adds labels.
            _ if call.function == "info" && index > 0 => return None,
            ValueType::Scalar | ValueType::String => Kept::none(),
            ValueType::Vector | ValueType::Matrix => kept.clone(),
        };
        Some(collect(arg, &look.keeping(kept), inputs))
    });
    Need::All(needs.collect())
}

fn collect_binary(binary: &BinaryExpr, look: &Look, inputs: &mut Vec<Input>) -> Need {
    let Some(matching) = &binary.matching else {
        let mut side = |expr: &Expr| {
            let scalar = expr.value_type() == ValueType::Scalar;
            let kept = if scalar { Kept::none() } else { look.kept.clone() };
            collect(expr, &look.keeping(kept), inputs)
        };
        return Need::All(vec![side(&binary.left), side(&binary.right)]);
    };
    let own = look.kept.clone();
    let (left, right) = match (binary.op, matching.cardinality) {
        (BinaryOp::Or, _) => (own.clone(), own),
        (BinaryOp::And | BinaryOp::Unless, _) => (own.clone(), matched(own, matching)),
        (_, MatchCardinality::ManyToOne) => (many(own.clone(), matching), one(own, matching)),
        (_, MatchCardinality::OneToMany) => (one(own.clone(), matching), many(own, matching)),
        _ => (matched(own.clone(), matching), matched(own, matching)),
    };
    let left = collect(&binary.left, &look.keeping(left), inputs);
    if binary.op == BinaryOp::Unless {
        return left;
    }
    let right = collect(&binary.right, &look.keeping(right), inputs);
    match binary.op {
        // What yields something without any series says nothing about them.
        BinaryOp::Or if left.is_nothing() => right,
        BinaryOp::Or if right.is_nothing() => left,
        BinaryOp::Or => Need::Any(vec![left, right]),
        _ => Need::All(vec![left, right]),
    }
}

/// The labels in which both sides of an operator agree.
fn matched(kept: Kept, matching: &VectorMatching) -> Kept {
    if matching.on { kept.among(&matching.labels) } else { kept.without(names(&matching.labels)) }
}

/// The labels that a result has from the side of which there can be many.
fn many(kept: Kept, matching: &VectorMatching) -> Kept {
    kept.without(names(&matching.include))
}

/// The labels that a result has from the other side.
fn one(kept: Kept, matching: &VectorMatching) -> Kept {
    if matching.on {
        kept.among(matching.labels.iter().chain(&matching.include))
    } else {
        // Which of its labels the other side has too is not known here; those that are included are.
        kept.among(&matching.include)
    }
}

fn names(labels: &[String]) -> impl Iterator<Item = &str> {
    labels.iter().map(String::as_str)
}

fn push(selector: &VectorSelector, span: Span, range_ms: i64, look: &Look, inputs: &mut Vec<Input>) -> Need {
    let offset_ms = look.offset_ms + literal_ms(selector.offset.as_ref());
    let offset = (offset_ms != 0).then(|| literal(offset_ms, span));
    let at = |offset| VectorSelector { offset, modifier: None, ..selector.clone() };
    let expr = |kind| Expr { kind, span };
    let fresh = expr(ExprKind::Vector(at(offset.clone())));
    let window_ms = look.window_ms + range_ms;
    let seen = if window_ms > 0 {
        let range = literal(window_ms, span);
        let matrix = MatrixSelector { selector: at(offset), selector_span: span, range };
        let args = vec![expr(ExprKind::Matrix(Box::new(matrix)))];
        expr(ExprKind::Call(CallExpr { function: "present_over_time", args }))
    } else {
        fresh.clone()
    };
    let shown = VectorSelector { offset: None, at: None, modifier: None, ..selector.clone() };
    inputs.push(Input {
        text: expr(ExprKind::Vector(shown)).to_string(),
        fresh: Arc::new(fresh),
        seen: Arc::new(seen),
        kept: look.kept.clone(),
    });
    Need::Input(inputs.len() - 1)
}

fn literal(ms: i64, span: Span) -> DurationExpr {
    DurationExpr { op: DurationOp::Literal { ms }, span }
}

/// A length of time that is written out; others, which depend on the query, count as none.
fn literal_ms(duration: Option<&DurationExpr>) -> i64 {
    match duration.map(|duration| &duration.op) {
        Some(DurationOp::Literal { ms }) => *ms,
        Some(DurationOp::Number(seconds)) => (seconds * 1000.0) as i64,
        Some(DurationOp::Paren(inner)) => literal_ms(Some(inner)),
        Some(DurationOp::Unary(crate::promql::UnaryOp::Minus, inner)) => -literal_ms(Some(inner)),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{Features, parse_with};

    fn inputs(query: &str) -> Inputs {
        let expr = parse_with(query, Features::ALL).expect(query);
        Inputs::of(&expr, ["alertname", "severity"])
    }

    /// Each input with the labels that an alert has from it, `-` before those it has not.
    fn show(query: &str) -> String {
        let shown = inputs(query).all.into_iter().map(|input| {
            let kept = match input.kept {
                Kept::AllBut(except) => {
                    let except =
                        except.into_iter().filter(|name| !["alertname", "severity"].contains(&&**name));
                    except.map(|name| format!("-{name}")).collect::<Vec<_>>()
                }
                Kept::Only(only) => only.into_iter().chain(["only".to_owned()]).collect(),
            };
            let seen = Some(input.seen.to_string()).filter(|seen| *seen != input.fresh.to_string());
            let words = [vec![input.fresh.to_string()], kept, seen.into_iter().collect()].concat();
            words.join(" ")
        });
        shown.collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn inputs_are_the_selectors_with_the_labels_that_reach_the_alert() {
        let check = |query: &str, expected: &str| assert_eq!(show(query), expected, "{query}");
        check("up == 0", "up");
        check("absent(up)", "");
        check("absent(up) or b > 1", "b");
        check("vector(1)", "");
        check("a > 1 unless on (x) b", "a");
        check("a > 1 and on (x) b", "a | b x only");
        check("a > 1 or b > 2", "a | b");
        check("sum by (x) (a) / sum by (x) (b) > 0.5", "a x only | b x only");
        check("sum without (x) (a) > 0.5", "a -x");
        check("sum(a) or vector(0) > 5", "a only");
        check("topk by (x) (3, a)", "a");
        check("count_values by (x) (\"v\", a)", "a x only");
        check(
            "rate(a{b=\"c\"}[5m] offset 1m) > 1",
            r#"a{b="c"} offset 1m present_over_time(a{b="c"}[5m] offset 1m)"#,
        );
        check("max_over_time((a > 5)[1h:1m] offset 5m)", "a offset 5m present_over_time(a[1h] offset 5m)");
        check("a * on (x) group_left (y) b", "a -y | b x y only");
        check("a * ignoring (x) group_right (y) b", "a y only | b -y");
        check("a > on (x) b", "a x only | b x only");
        check("a > ignoring (x) b", "a -x | b -x");
        check("a > scalar(b)", "a | b only");
        check("label_replace(a, \"x\", \"$1\", \"y\", \"(.*)\") > 1", "a -x");
        check(
            "histogram_quantile(0.9, sum by (le, job) (rate(a[5m]))) > 1",
            "a job only present_over_time(a[5m])",
        );
        check("info(a, {b=\"c\"})", "a");
    }

    #[test]
    fn the_value_of_a_result_is_its_expression_without_the_outermost_comparison() {
        let check = |query: &str, expected: &[&str]| {
            let expr = parse_with(query, Features::ALL).expect(query);
            let branches = ResultValue::of(&expr, []).branches;
            let found: Vec<_> = branches.iter().map(|branch| branch.expr.to_string()).collect();
            assert_eq!(found, expected, "{query}");
        };
        check("a > 5", &["a"]);
        check("(5 < rate(a[5m]))", &["rate(a[5m])"]);
        check("a / b > 0.5 and on (x) c > 1", &["a / b"]);
        check("a unless b", &["a"]);
        check("a > on (x) b", &["a"]);
        check("count(up == 0) > 2", &["count(up == 0)"]);
        check("a > 5 or b > 3", &["a", "b"]);
        check("a", &[]);
        check("absent(a)", &[]);
        check("a > bool 5", &[]);
        check("sum(a > 5)", &[]);
        check("1 < bool 2", &[]);
    }

    #[test]
    fn a_series_is_an_input_of_alerts_that_agree_with_it_in_the_labels_that_are_kept() {
        let check = |query: &str, series: &[(&str, &str)], expected: bool| {
            let alert =
                Labels::from_pairs([("alertname", "A"), ("job", "j"), ("severity", "page"), ("x", "1")]);
            let input = &inputs(query).all[0];
            assert_eq!(
                input.agrees(&alert, &Labels::from_pairs(series.iter().copied())),
                expected,
                "{query} {series:?}"
            );
        };
        check("a > 1", &[("__name__", "a"), ("job", "j"), ("x", "1")], true);
        check("a > 1", &[("__name__", "a"), ("job", "j"), ("severity", "info"), ("x", "1")], true);
        check("a > 1", &[("__name__", "a"), ("job", "j")], false);
        check("a > 1", &[("__name__", "a"), ("job", "j"), ("x", "1"), ("y", "1")], false);
        check("sum by (job) (a)", &[("__name__", "a"), ("job", "j"), ("y", "1")], true);
        check("sum by (job) (a)", &[("__name__", "a"), ("job", "k")], false);
        check("sum(a)", &[("__name__", "a")], true);
    }

    #[test]
    fn an_expression_is_silent_when_what_it_needs_has_no_series() {
        let check = |query: &str, found: &[bool], expected: &str| {
            let inputs = inputs(query);
            let silent = inputs.silent(found).into_iter().map(|input| input.text.as_str());
            assert_eq!(silent.collect::<Vec<_>>().join(" "), expected, "{query}");
        };
        check("a / b > 1", &[true, true], "");
        check("a / b > 1", &[true, false], "b");
        check("a > 1 or b > 1", &[true, false], "");
        check("a > 1 or b > 1", &[false, false], "a b");
        check("(sum(a) or vector(0)) > 1", &[false], "a");
        check("absent(a)", &[], "");
    }
}
