//! Syntax trees to text, byte for byte as Prometheus prints them (`promql/parser/printer.go`): its API
//! shows rules so.

use std::fmt::{self, Display, Formatter};

use crate::model::{
    METRIC_NAME, MatchOp, format_duration_ms, format_float, format_float_general, is_legacy_label_name, quote,
};

use super::ast::{
    AggregateExpr, AggregateOp, AtModifier, BinaryExpr, BinaryOp, DurationExpr, DurationOp, Expr, ExprKind,
    Grouping, MatchCardinality, RangeModifier, SubqueryExpr, UnaryOp, VectorMatching, VectorSelector,
};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { value, duration: false } => f.write_str(&format_float(*value)),
            ExprKind::Number { value, duration: true } => {
                f.write_str(&format_duration_ms((*value * 1e9) as i64 / 1_000_000))
            }
            ExprKind::String(text) => write!(f, "{}", quote(text)),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Unary { op, expr } => write!(f, "{op}{expr}"),
            ExprKind::Binary(binary) => binary.fmt(f),
            ExprKind::Aggregate(aggregate) => aggregate.fmt(f),
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function)?;
                for (index, arg) in call.args.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{arg}")?;
                }
                f.write_str(")")
            }
            ExprKind::Vector(selector) => {
                write_series(f, selector)?;
                write_at(f, selector.at)?;
                write_modifier(f, selector.modifier)?;
                write_offset(f, selector.offset.as_ref())
            }
            ExprKind::Matrix(matrix) => {
                let selector = &matrix.selector;
                write_series(f, selector)?;
                write!(f, "[{}]", matrix.range)?;
                write_modifier(f, selector.modifier)?;
                write_at(f, selector.at)?;
                write_offset(f, selector.offset.as_ref())
            }
            ExprKind::Subquery(subquery) => subquery.fmt(f),
        }
    }
}

/// The name and, sorted, the matchers that it does not say.
fn write_series(f: &mut Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref().unwrap_or_default();
    f.write_str(name)?;
    let mut matchers: Vec<String> = selector
        .matchers
        .iter()
        .filter(|matcher| {
            let says_name = matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal;
            !(says_name && matcher.value() == name && !name.is_empty())
        })
        .map(ToString::to_string)
        .collect();
    if matchers.is_empty() {
        return Ok(());
    }
    matchers.sort_unstable();
    write!(f, "{{{}}}", matchers.join(","))
}

fn write_at(f: &mut Formatter<'_>, at: Option<AtModifier>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(AtModifier::At(ms)) => write!(f, " @ {:.3}", ms as f64 / 1000.0),
        Some(AtModifier::Start) => f.write_str(" @ start()"),
        Some(AtModifier::End) => f.write_str(" @ end()"),
    }
}

fn write_modifier(f: &mut Formatter<'_>, modifier: Option<RangeModifier>) -> fmt::Result {
    modifier.map_or(Ok(()), |modifier| write!(f, " {modifier}"))
}

fn write_offset(f: &mut Formatter<'_>, offset: Option<&DurationExpr>) -> fmt::Result {
    offset.map_or(Ok(()), |offset| write!(f, " offset {offset}"))
}

impl Display for BinaryExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.left, BinaryHead(self), self.right)
    }
}

/// The operator with its modifiers.
pub(super) struct BinaryHead<'e>(pub(super) &'e BinaryExpr);

impl Display for BinaryHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.op.fmt(f)?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        self.0.matching.as_ref().map_or(Ok(()), |matching| matching.fmt(f))
    }
}

/// The modifiers with a space before each, none if all are as by default.
impl Display for VectorMatching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let group = match self.cardinality {
            MatchCardinality::ManyToOne => Some("group_left"),
            MatchCardinality::OneToMany => Some("group_right"),
            MatchCardinality::OneToOne | MatchCardinality::ManyToMany => None,
        };
        if !self.labels.is_empty() || self.on || group.is_some() {
            let word = if self.on { "on" } else { "ignoring" };
            write!(f, " {word} ({})", LabelList(&self.labels))?;
        }
        if let Some(word) = group {
            write!(f, " {word} ({})", LabelList(&self.include))?;
        }
        let write_fill = |f: &mut Formatter<'_>, word, value: Option<f64>| match value {
            Some(value) => write!(f, " {word} ({})", format_float_general(value)),
            None => Ok(()),
        };
        if self.fill.left.is_some() && self.fill.left == self.fill.right {
            return write_fill(f, "fill", self.fill.left);
        }
        write_fill(f, "fill_left", self.fill.left)?;
        write_fill(f, "fill_right", self.fill.right)
    }
}

impl Display for AggregateExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        AggregateHead(self).fmt(f)?;
        match &self.param {
            Some(param) => write!(f, "({param}, {})", self.expr),
            None => write!(f, "({})", self.expr),
        }
    }
}

/// What stands before the parentheses of an aggregation.
pub(super) struct AggregateHead<'e>(pub(super) &'e AggregateExpr);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.op.fmt(f)?;
        match &self.0.grouping {
            Grouping::Without(labels) => write!(f, " without ({}) ", LabelList(labels)),
            Grouping::By(labels) if labels.is_empty() => Ok(()),
            Grouping::By(labels) => write!(f, " by ({}) ", LabelList(labels)),
        }
    }
}

impl Display for SubqueryExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.expr, SubqueryTail(self))
    }
}

/// What stands after the expression of a subquery.
pub(super) struct SubqueryTail<'e>(pub(super) &'e SubqueryExpr);

impl Display for SubqueryTail<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let SubqueryExpr { range, step, offset, at, .. } = self.0;
        write!(f, "[{range}:")?;
        if let Some(step) = step {
            write!(f, "{step}")?;
        }
        f.write_str("]")?;
        write_at(f, *at)?;
        write_offset(f, offset.as_ref())
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.op {
            DurationOp::Literal { ms } => f.write_str(&format_duration_ms(*ms)),
            DurationOp::Number(value) => f.write_str(&format_float(*value)),
            DurationOp::Step => f.write_str("step()"),
            DurationOp::Range => f.write_str("range()"),
            DurationOp::Unary(UnaryOp::Plus, inner) => inner.fmt(f),
            DurationOp::Unary(UnaryOp::Minus, inner) => write!(f, "-{inner}"),
            DurationOp::Paren(inner) => write!(f, "({inner})"),
            DurationOp::Binary(op, left, right) => write!(f, "{left} {op} {right}"),
            DurationOp::MinOf(one, other) => write!(f, "min_of({one}, {other})"),
            DurationOp::MaxOf(one, other) => write!(f, "max_of({one}, {other})"),
        }
    }
}

/// Label names with commas; a name that needs quotes has them.
struct LabelList<'l>(&'l [String]);

impl Display for LabelList<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, label) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(label) {
                f.write_str(label)?;
            } else {
                write!(f, "{}", quote(label))?;
            }
        }
        Ok(())
    }
}

impl Display for UnaryOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plus => "+",
            Self::Minus => "-",
        })
    }
}

impl Display for RangeModifier {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        })
    }
}

impl Display for BinaryOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::Greater => ">",
            Self::LessOrEqual => "<=",
            Self::GreaterOrEqual => ">=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
        })
    }
}

impl Display for AggregateOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        })
    }
}
