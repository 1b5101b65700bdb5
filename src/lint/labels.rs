//! Which labels the series of an expression can have, with which values: an abstract interpretation.
//!
//! The answer is never too small: what an evaluation can yield is always among it. So a lint may say
//! "never" of what is not in it.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{bare, selector};
use crate::model::{METRIC_NAME, MatchOp, Matcher};
use crate::promql::{
    AggregateExpr, AggregateOp, BinaryExpr, BinaryOp, CallExpr, Expr, ExprKind, Grouping, MatchCardinality,
    UnaryOp, ValueType, VectorMatching, VectorSelector,
};

/// The values that a label can have; the empty one stands for a label that is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Values {
    /// Anything, or absent.
    Any,
    /// Anything, but not absent.
    Present,
    /// One of these.
    OneOf(BTreeSet<String>),
}

impl Values {
    fn exactly(value: &str) -> Self {
        Self::OneOf(BTreeSet::from([value.to_owned()]))
    }

    fn absent() -> Self {
        Self::exactly("")
    }

    /// Whether the label is never there.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::OneOf(values) if values.iter().all(String::is_empty))
    }

    fn may_be_absent(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Present => false,
            Self::OneOf(values) => values.contains(""),
        }
    }

    fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::OneOf(one), Self::OneOf(two)) => Self::OneOf(one | two),
            _ if self.may_be_absent() || other.may_be_absent() => Self::Any,
            _ => Self::Present,
        }
    }

    fn intersection(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Any, values) | (values, Self::Any) => values.clone(),
            (Self::OneOf(one), Self::OneOf(two)) => Self::OneOf(one & two),
            (Self::Present, Self::Present) => Self::Present,
            (Self::Present, Self::OneOf(values)) | (Self::OneOf(values), Self::Present) => {
                Self::OneOf(values.iter().filter(|value| !value.is_empty()).cloned().collect())
            }
        }
    }

    /// Whether there is no value at all: no series passes.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::OneOf(values) if values.is_empty())
    }

    /// Whether no value of the one side is one of the other. Sides that are empty themselves are not
    /// disjoint: what makes them empty is a finding of its own.
    pub(super) fn disjoint(&self, other: &Self) -> bool {
        !self.is_empty() && !other.is_empty() && self.intersection(other).is_empty()
    }

    /// What passes a matcher.
    fn matching(&self, matcher: &Matcher) -> Self {
        match self {
            Self::OneOf(values) => {
                Self::OneOf(values.iter().filter(|value| matcher.matches(value)).cloned().collect())
            }
            _ => self.intersection(&Self::of_matcher(matcher)),
        }
    }

    fn of_matcher(matcher: &Matcher) -> Self {
        match (matcher.op(), matcher.set_matches()) {
            (MatchOp::Equal, _) => Self::exactly(matcher.value()),
            (MatchOp::Regex, Some(values)) => Self::OneOf(values.iter().cloned().collect()),
            _ if matches_everything(matcher) => Self::Any,
            (MatchOp::NotRegex, _) if matches!(matcher.value(), ".*" | "^.*$") => {
                Self::OneOf(BTreeSet::new())
            }
            (MatchOp::NotRegex, _) if matches!(matcher.value(), ".+" | "^.+$") => Self::absent(),
            _ if matcher.matches("") => Self::Any,
            _ => Self::Present,
        }
    }
}

fn matches_everything(matcher: &Matcher) -> bool {
    matcher.op() == MatchOp::Regex && matcher.value() == ".*"
}

/// What is known of the labels of an expression's series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labels {
    known: BTreeMap<String, Values>,
    /// Whether labels that are not `known` may be there.
    others: bool,
}

impl Labels {
    fn anything() -> Self {
        Self { known: BTreeMap::new(), others: true }
    }

    fn nothing() -> Self {
        Self { known: BTreeMap::new(), others: false }
    }

    /// The labels of the series that an expression yields.
    pub(super) fn of(expr: &Expr) -> Self {
        match &expr.kind {
            ExprKind::Number { .. } | ExprKind::String(_) => Self::nothing(),
            ExprKind::Paren(inner) => Self::of(inner),
            ExprKind::Unary { op: UnaryOp::Plus, expr } => Self::of(expr),
            ExprKind::Unary { expr, .. } => Self::of(expr).without_name(),
            ExprKind::Vector(selector) => Self::of_selector(selector),
            ExprKind::Matrix(matrix) => Self::of_selector(&matrix.selector),
            ExprKind::Subquery(subquery) => Self::of(&subquery.expr),
            ExprKind::Aggregate(aggregate) => Self::of_aggregate(aggregate),
            ExprKind::Call(call) => Self::of_call(call),
            ExprKind::Binary(binary) => Self::of_binary(binary),
        }
    }

    /// The values of a label.
    pub(super) fn get(&self, label: &str) -> Values {
        match self.known.get(label) {
            Some(values) => values.clone(),
            None if self.others => Values::Any,
            None => Values::absent(),
        }
    }

    /// Whether there may be labels about which nothing is known.
    pub(super) fn is_open(&self) -> bool {
        self.others
    }

    /// The labels about which more is known than about all others.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    fn set(&mut self, label: &str, values: Values) {
        self.known.insert(label.to_owned(), values);
    }

    fn without_name(mut self) -> Self {
        self.set(METRIC_NAME, Values::absent());
        self
    }

    fn of_selector(selector: &VectorSelector) -> Self {
        let mut labels = Self::anything();
        for matcher in &selector.matchers {
            let values = labels.get(matcher.name()).matching(matcher);
            labels.set(matcher.name(), values);
        }
        labels
    }

    fn of_aggregate(aggregate: &AggregateExpr) -> Self {
        let inner = Self::of(&aggregate.expr);
        let mut labels = match (&aggregate.op, &aggregate.grouping) {
            (AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio, _) => {
                return inner;
            }
            (_, Grouping::By(names)) => inner.only(names),
            (_, Grouping::Without(names)) => {
                let mut labels = inner.without_name();
                for name in names {
                    labels.set(name, Values::absent());
                }
                labels
            }
        };
        if let (AggregateOp::CountValues, Some(ExprKind::String(label))) =
            (aggregate.op, aggregate.param.as_ref().map(|param| &bare(param).kind))
        {
            labels.set(label, Values::Present);
        }
        labels
    }

    fn only(&self, names: &[String]) -> Self {
        let known = names.iter().map(|name| (name.clone(), self.get(name))).collect();
        Self { known, others: false }
    }

    fn of_call(call: &CallExpr) -> Self {
        let is_series = |arg: &&Expr| matches!(arg.value_type(), ValueType::Vector | ValueType::Matrix);
        let Some(series) = call.args.iter().find(is_series) else { return Self::nothing() };
        let inner = Self::of(series);
        let string = |index: usize| match call.args.get(index).map(|arg| &bare(arg).kind) {
            Some(ExprKind::String(text)) => Some(text.as_str()),
            _ => None,
        };
        match call.function {
            "absent" | "absent_over_time" => Self::of_absent(series),
            "scalar" => Self::nothing(),
            "last_over_time" | "first_over_time" | "sort" | "sort_desc" | "sort_by_label"
            | "sort_by_label_desc" => inner,
            "histogram_quantile" => {
                let mut labels = inner.without_name();
                labels.set("le", Values::absent());
                labels
            }
            // `info` adds what labels it finds.
            "info" => Self {
                known: inner.known.into_iter().filter(|(_, values)| !values.may_be_absent()).collect(),
                others: true,
            },
            "label_replace" => match (string(1), string(2), string(3), string(4)) {
                (Some(label), Some(replacement), Some(source), Some(regex)) => {
                    inner.without_name().replaced(label, replacement, source, regex)
                }
                _ => Self::anything(),
            },
            "label_join" | "histogram_quantiles" => {
                let mut labels = inner;
                if call.function == "histogram_quantiles" {
                    labels = labels.without_name();
                    labels.set("le", Values::absent());
                }
                if let Some(label) = string(1) {
                    labels.set(label, Values::Any);
                }
                labels
            }
            _ => inner.without_name(),
        }
    }

    /// `absent` has the labels that its selector asks for by equality, once each.
    /// Source: `createLabelsForAbsentFunction` of Prometheus 3.14 `promql/functions.go`.
    fn of_absent(argument: &Expr) -> Self {
        let mut labels = Self::nothing();
        let Some((selector, _)) = selector(bare(argument)) else { return labels };
        let mut seen = BTreeSet::new();
        for matcher in &selector.matchers {
            if matcher.name() == METRIC_NAME {
                continue;
            }
            let first = seen.insert(matcher.name());
            let values = match matcher.op() {
                MatchOp::Equal if first => Values::exactly(matcher.value()),
                _ => Values::absent(),
            };
            labels.set(matcher.name(), values);
        }
        labels
    }

    fn replaced(mut self, label: &str, replacement: &str, source: &str, regex: &str) -> Self {
        // Without a label to look at, the empty regular expression matches the empty value.
        let always = matches!(regex, ".*" | "(.*)") || regex.is_empty() && source.is_empty();
        let values = if replacement.contains('$') {
            Values::Any
        } else if always {
            Values::exactly(replacement)
        } else {
            self.get(label).union(&Values::exactly(replacement))
        };
        self.set(label, values);
        self
    }

    fn of_binary(binary: &BinaryExpr) -> Self {
        let (left, right) = (Self::of(&binary.left), Self::of(&binary.right));
        let keeps_name = binary.op.is_set_operator() || binary.op.is_comparison() && !binary.return_bool;
        let Some(matching) = &binary.matching else {
            let vector = if binary.left.value_type() == ValueType::Vector { left } else { right };
            return if keeps_name { vector } else { vector.without_name() };
        };
        match binary.op {
            BinaryOp::Or => return left.union(&right),
            BinaryOp::Unless => return left,
            BinaryOp::And => return left.matched(&right, matching),
            _ => {}
        }
        let (many, one) = match matching.cardinality {
            MatchCardinality::OneToMany => (right, left),
            _ => (left, right),
        };
        // With `fill` a sample needs no partner, so that nothing is known of what it would have been.
        let mut labels = if matching.fill.is_set() { many.union(&one) } else { many.matched(&one, matching) };
        if matching.cardinality == MatchCardinality::OneToOne {
            if matching.on {
                labels = labels.only(&matching.labels);
            } else {
                for label in &matching.labels {
                    labels.set(label, Values::absent());
                }
            }
        }
        for label in &matching.include {
            labels.set(label, one.get(label));
        }
        if keeps_name { labels } else { labels.without_name() }
    }

    fn union(&self, other: &Self) -> Self {
        let names = self.known.keys().chain(other.known.keys());
        let known = names.map(|name| (name.clone(), self.get(name).union(&other.get(name)))).collect();
        Self { known, others: self.others || other.others }
    }

    /// These labels of samples that have a partner among those with the other labels.
    fn matched(&self, other: &Self, matching: &VectorMatching) -> Self {
        let mut labels = self.clone();
        for name in matched_names(self, other, matching) {
            labels.set(&name, self.get(&name).intersection(&other.get(&name)));
        }
        labels.others = self.others && (matching.on || other.others);
        labels
    }
}

/// The labels in which partners agree and about which something is known.
pub(super) fn matched_names(left: &Labels, right: &Labels, matching: &VectorMatching) -> BTreeSet<String> {
    if matching.on {
        return matching.labels.iter().cloned().collect();
    }
    let ignored = |name: &&str| *name == METRIC_NAME || matching.labels.iter().any(|label| label == name);
    left.names().chain(right.names()).filter(|name| !ignored(name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{Features, parse_with};

    /// What is known: `label=a|b`, `label+` present, `label-` absent, then `*` if there may be others.
    fn show(labels: &Labels) -> String {
        let mut shown: Vec<String> = labels
            .known
            .iter()
            .filter(|(name, _)| *name != METRIC_NAME)
            .filter(|(name, values)| {
                **values != if labels.others { Values::Any } else { Values::absent() } || name.is_empty()
            })
            .map(|(name, values)| match values {
                Values::Any => format!("{name}?"),
                Values::Present => format!("{name}+"),
                values if values.is_absent() && !values.is_empty() => format!("{name}-"),
                Values::OneOf(values) => {
                    format!("{name}={}", values.iter().cloned().collect::<Vec<_>>().join("|"))
                }
            })
            .collect();
        if labels.others {
            shown.push("*".to_owned());
        }
        shown.join(" ")
    }

    #[test]
    fn labels_follow_from_the_expression() {
        let check = |query: &str, expected: &str| {
            let expr = parse_with(query, Features::ALL).expect(query);
            assert_eq!(show(&Labels::of(&expr)), expected, "{query}");
        };
        check("up", "*");
        check("up{job=\"a\", x!=\"\", y=~\"b|c\", z=\"\"}", "job=a x+ y=b|c z- *");
        check("up{a=~\"x.*\", b!~\"x.*\", c=~\".*\", d=~\".+\"}", "a+ d+ *");
        check("up{a=\"1\", a=\"2\"}", "a= *");
        check("sum(up{job=\"a\"})", "");
        check("sum by (job, x) (up{job=\"a\"})", "job=a x?");
        check("sum without (x) (up{job=\"a\"})", "job=a x- *");
        check("topk by (x) (3, sum by (y) (up))", "y?");
        check("count_values by (x) (\"v\", up)", "v+ x?");
        check("rate(up{job=\"a\"}[5m])", "job=a *");
        check("max_over_time(sum by (job) (up)[5m:])", "job?");
        check("histogram_quantile(0.9, sum by (le, job) (rate(x[5m])))", "job?");
        check("absent(up{job=\"a\", b=~\"x\", c!=\"y\"})", "job=a");
        check("absent(up{job=\"a\", job=\"b\"})", "");
        check("absent(sum(up{job=\"a\"}))", "");
        check("vector(1)", "");
        check("time() - 1", "");
        check("hour()", "");
        check("label_replace(sum(up), \"a\", \"b\", \"\", \".*\")", "a=b");
        check("label_replace(sum(up), \"a\", \"$1\", \"x\", \"(.*)\")", "a?");
        check("label_replace(up{a=\"c\"}, \"a\", \"b\", \"x\", \"y\")", "a=b|c *");
        check("label_join(sum(up), \"a\", \"-\", \"b\")", "a?");
        check("info(sum by (x) (up))", "*");
        check("up{job=\"a\"} or up{job=\"b\"}", "job=a|b *");
        check("sum by (x) (up) or vector(0)", "x?");
        check("up and on (x) foo{x=\"1\"}", "x=1 *");
        check("up{job=\"a\"} unless foo{job=\"b\"}", "job=a *");
        check("a * on (x) b{x=\"1\"}", "x=1");
        check("a / ignoring (x) b{y=\"1\"}", "x- y=1 *");
        check("a / sum by (x) (b)", "x?");
        check("a * on (x) group_left (y) b{y=\"1\"}", "y=1 *");
        check("a{z=\"1\"} * on (x) group_right (y) b", "*");
        check("a > 1", "*");
        check("1 - sum by (x) (a)", "x?");
        check("a{x=\"1\"} + on (x) fill (0) b{x=\"2\"}", "x=1|2");
    }
}
