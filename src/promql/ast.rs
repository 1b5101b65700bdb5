//! The syntax tree. Every node knows where it stands in the text it was parsed from.

use crate::model::{Matcher, Span, TimestampMs};

use super::functions;
use super::value::ValueType;

/// An expression with its place in the query.
#[derive(Debug, Clone)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands, without surrounding parentheses.
    pub span: Span,
}

/// The kinds of expression.
#[derive(Debug, Clone)]
pub enum ExprKind {
    /// A number; `duration` if it was written as one (`5m` is 300) and is printed as one.
    Number {
        /// The number; of a duration, its seconds.
        value: f64,
        /// Whether it was written as a duration.
        duration: bool,
    },
    /// A string.
    String(String),
    /// An expression in parentheses.
    Paren(Box<Expr>),
    /// A sign.
    Unary {
        /// Plus or minus.
        op: UnaryOp,
        /// What it applies to.
        expr: Box<Expr>,
    },
    /// Two operands.
    Binary(Box<BinaryExpr>),
    /// An aggregation over series.
    Aggregate(Box<AggregateExpr>),
    /// A function call.
    Call(CallExpr),
    /// Series by their newest sample.
    Vector(VectorSelector),
    /// Series by their samples of a range.
    Matrix(Box<MatrixSelector>),
    /// An instant-vector expression evaluated over a range.
    Subquery(Box<SubqueryExpr>),
}

/// A sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

/// Binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the operators' own")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    And,
    Or,
    Unless,
    /// `</`: keeps the part of native histograms below a bound.
    TrimUpper,
    /// `>/`: keeps the part of native histograms above a bound.
    TrimLower,
}

impl BinaryOp {
    /// Whether it is `==` or one of its kind.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | Greater | LessOrEqual | GreaterOrEqual)
    }

    /// Whether it is `and`, `or` or `unless`.
    pub fn is_set_operator(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// `left op right` with its modifiers.
#[derive(Debug, Clone)]
pub struct BinaryExpr {
    /// The operator.
    pub op: BinaryOp,
    /// Where the operator stands.
    pub op_span: Span,
    /// Left operand.
    pub left: Expr,
    /// Right operand.
    pub right: Expr,
    /// How samples are paired; set if both operands are instant vectors.
    pub matching: Option<VectorMatching>,
    /// Whether a comparison yields 0 or 1 instead of filtering.
    pub return_bool: bool,
}

/// How many samples of a side pair with one of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchCardinality {
    /// One with one.
    OneToOne,
    /// `group_left`: many on the left with one on the right.
    ManyToOne,
    /// `group_right`: one on the left with many on the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How the samples of two instant vectors are paired.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorMatching {
    /// How many with how many.
    pub cardinality: MatchCardinality,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Whether `labels` are those of `on`; otherwise they are ignored.
    pub on: bool,
    /// The labels of `group_left(…)` or `group_right(…)`.
    pub include: Vec<String>,
    /// Values for samples without a partner.
    pub fill: Fill,
}

/// `fill`, `fill_left` and `fill_right`: the value that a missing sample of that side stands for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Fill {
    /// For the left side.
    pub left: Option<f64>,
    /// For the right side.
    pub right: Option<f64>,
}

impl Fill {
    /// Whether there is a value for any side.
    pub fn is_set(&self) -> bool {
        self.left.is_some() || self.right.is_some()
    }
}

/// Aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the operators' own")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// Whether it takes a parameter before what it aggregates.
    pub fn has_param(self) -> bool {
        use AggregateOp::{Bottomk, CountValues, LimitRatio, Limitk, Quantile, Topk};
        matches!(self, Topk | Bottomk | CountValues | Quantile | Limitk | LimitRatio)
    }

    /// Whether it needs the feature `promql-experimental-functions`.
    pub fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

/// `by (…)` or `without (…)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// Groups are formed by these labels alone; without a clause, by none.
    By(Vec<String>),
    /// Groups are formed by all labels but these.
    Without(Vec<String>),
}

/// `op by (…) (param, expr)`.
#[derive(Debug, Clone)]
pub struct AggregateExpr {
    /// The operator.
    pub op: AggregateOp,
    /// The parameter of `topk` and its kind.
    pub param: Option<Expr>,
    /// What is aggregated.
    pub expr: Expr,
    /// How groups are formed.
    pub grouping: Grouping,
}

/// A function call; the name is that of a known function.
#[derive(Debug, Clone)]
pub struct CallExpr {
    /// The function's name.
    pub function: &'static str,
    /// Its arguments, of the right number and types.
    pub args: Vec<Expr>,
}

/// The instant that `@` pins a selector to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtModifier {
    /// `@ 1609746000`
    At(TimestampMs),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// `anchored` or `smoothed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeModifier {
    /// Takes the real samples at or before the boundaries.
    Anchored,
    /// Interpolates at the boundaries.
    Smoothed,
}

/// A length of time that may depend on the query's range and step.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub op: DurationOp,
    /// Where it stands.
    pub span: Span,
}

/// The forms of a duration expression.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationOp {
    /// A fixed length in milliseconds.
    Literal {
        /// The length.
        ms: i64,
    },
    /// A number of seconds that is not a whole literal of its own: an operand of `*`, `/`, `%`, `^`.
    Number(f64),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `-d` or `+d`
    Unary(UnaryOp, Box<DurationExpr>),
    /// `(d)`
    Paren(Box<DurationExpr>),
    /// `d + d` and so on; only `+ - * / % ^`.
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
    /// `min_of(d, d)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(d, d)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
}

/// `name{matchers} offset d @ t`.
#[derive(Debug, Clone)]
pub struct VectorSelector {
    /// The metric name if it stands before the braces; it is the last of the matchers too. A name in
    /// quotes inside the braces is only among the matchers, and is printed so.
    pub name: Option<String>,
    /// All conditions, that on the metric name included.
    pub matchers: Vec<Matcher>,
    /// How far back the selector looks.
    pub offset: Option<DurationExpr>,
    /// The instant it is pinned to.
    pub at: Option<AtModifier>,
    /// `anchored` or `smoothed`.
    pub modifier: Option<RangeModifier>,
    /// Whether it may match everything: the second argument of `info()`.
    pub bare: bool,
}

/// `selector[range]`; offset, `@` and modifier are those of the selector.
#[derive(Debug, Clone)]
pub struct MatrixSelector {
    /// The series.
    pub selector: VectorSelector,
    /// Where the selector stands, without the range.
    pub selector_span: Span,
    /// The length of the range.
    pub range: DurationExpr,
}

/// `expr[range:step] offset d @ t`.
#[derive(Debug, Clone)]
pub struct SubqueryExpr {
    /// What is evaluated.
    pub expr: Expr,
    /// The length of the range.
    pub range: DurationExpr,
    /// The distance of the evaluations; absent: the default evaluation interval.
    pub step: Option<DurationExpr>,
    /// How far back it looks.
    pub offset: Option<DurationExpr>,
    /// The instant it is pinned to.
    pub at: Option<AtModifier>,
}

impl Expr {
    /// Whether any part of the expression selects series.
    pub fn has_selector(&self) -> bool {
        self.any(&|kind| matches!(kind, ExprKind::Vector(_) | ExprKind::Matrix(_)))
    }

    /// Whether any part of the expression is evaluated at other instants than the whole.
    pub fn has_subquery(&self) -> bool {
        self.any(&|kind| matches!(kind, ExprKind::Subquery(_)))
    }

    /// The selectors of the expression, those in range selectors and subqueries included.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut found = Vec::new();
        self.walk(&mut |expr| match &expr.kind {
            ExprKind::Vector(selector) => found.push(selector),
            ExprKind::Matrix(matrix) => found.push(&matrix.selector),
            _ => {}
        });
        found
    }

    /// Shows the expression and all of its parts to `visit`, the whole before its parts.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        for part in self.parts() {
            part.walk(visit);
        }
    }

    /// Whether any part of the expression is so.
    fn any(&self, is_so: &impl Fn(&ExprKind) -> bool) -> bool {
        is_so(&self.kind) || self.parts().into_iter().any(|part| part.any(is_so))
    }

    /// The expressions that it consists of.
    pub fn parts(&self) -> Vec<&Self> {
        match &self.kind {
            ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {
                Vec::new()
            }
            ExprKind::Paren(expr) | ExprKind::Unary { expr, .. } => vec![expr],
            ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
            ExprKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
            ExprKind::Call(call) => call.args.iter().collect(),
            ExprKind::Subquery(subquery) => vec![&subquery.expr],
        }
    }

    /// The type of the expression's value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number { .. } => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Paren(expr) | ExprKind::Unary { expr, .. } => expr.value_type(),
            ExprKind::Binary(binary) => {
                let scalar = |expr: &Self| expr.value_type() == ValueType::Scalar;
                if scalar(&binary.left) && scalar(&binary.right) {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
            ExprKind::Call(call) => {
                functions::lookup(call.function).map_or(ValueType::Vector, |function| function.returns)
            }
            ExprKind::Aggregate(_) | ExprKind::Vector(_) => ValueType::Vector,
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
        }
    }
}
