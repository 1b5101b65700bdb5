//! Which values an expression can have: an abstract interpretation over intervals of floats.
//!
//! As with labels the answer is never too small. Names of metrics count only where the value is a promise
//! of Prometheus itself: `up`, and `probe_success` of the blackbox exporter.

use super::tree::{bare, metric_name, selector};
use crate::promql::{AggregateOp, BinaryExpr, BinaryOp, CallExpr, Expr, ExprKind, UnaryOp};

/// The numbers from `low` to `high`, both included; none if `low` is above `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Whether NaN is possible too.
    pub(super) nan: bool,
}

impl Range {
    const ANY: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY, nan: true };

    fn new(low: f64, high: f64) -> Self {
        Self { low, high, nan: false }
    }

    fn exactly(value: f64) -> Self {
        if value.is_nan() { Self { low: 1.0, high: 0.0, nan: true } } else { Self::new(value, value) }
    }

    fn at_least(low: f64) -> Self {
        Self::new(low, f64::INFINITY)
    }

    /// Whether there is no value.
    pub(super) fn is_empty(self) -> bool {
        self.low > self.high && !self.nan
    }

    /// The number, if there is only one.
    pub(super) fn single(self) -> Option<f64> {
        (self.low == self.high && !self.nan).then_some(self.low)
    }

    fn union(self, other: Self) -> Self {
        let nan = self.nan || other.nan;
        match (self.low > self.high, other.low > other.high) {
            (true, _) => Self { nan, ..other },
            (_, true) => Self { nan, ..self },
            _ => Self { low: self.low.min(other.low), high: self.high.max(other.high), nan },
        }
    }

    pub(super) fn intersection(self, other: Self) -> Self {
        Self { low: self.low.max(other.low), high: self.high.min(other.high), nan: self.nan && other.nan }
    }

    /// Whether every value of this one is also in the other.
    pub(super) fn is_within(self, other: Self) -> bool {
        self.low >= other.low && self.high <= other.high && (other.nan || !self.nan)
    }

    /// The values for which a comparison with one of `right` can be true.
    pub(super) fn that_are(self, op: BinaryOp, right: Self) -> Self {
        use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        if right.low > right.high {
            // NaN equals nothing, and is unequal to everything.
            return if op == NotEqual && right.nan { self } else { Self::new(1.0, 0.0) };
        }
        let allowed = match op {
            Equal => Self::new(right.low, right.high),
            Greater => Self::at_least(right.low.next_up()),
            GreaterOrEqual => Self::at_least(right.low),
            Less => Self::new(f64::NEG_INFINITY, right.high.next_down()),
            LessOrEqual => Self::new(f64::NEG_INFINITY, right.high),
            NotEqual => match (right.single(), self.single()) {
                (Some(excluded), Some(value)) if excluded == value => return Self::new(1.0, 0.0),
                // The ends of an interval can be cut off.
                (Some(excluded), _) if excluded == self.low && self.low < self.high => {
                    return Self { low: self.low.next_up(), ..self };
                }
                (Some(excluded), _) if excluded == self.high && self.low < self.high => {
                    return Self { high: self.high.next_down(), ..self };
                }
                _ => return self,
            },
            _ => return self,
        };
        // `x > +Inf` is never true, though there is no float above.
        let beyond =
            op == Greater && right.low == f64::INFINITY || op == Less && right.high == f64::NEG_INFINITY;
        if beyond { Self::new(1.0, 0.0) } else { self.intersection(allowed) }
    }

    /// Whether a comparison is true for all values of both sides.
    pub(super) fn always(self, op: BinaryOp, right: Self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        if self.nan || right.nan || self.is_empty() || right.is_empty() {
            return false;
        }
        match op {
            Greater => self.low > right.high,
            GreaterOrEqual => self.low >= right.high,
            Less => self.high < right.low,
            LessOrEqual => self.high <= right.low,
            Equal => self.single().is_some() && self.single() == right.single(),
            NotEqual => self.high < right.low || self.low > right.high,
            _ => false,
        }
    }

    /// The values that an expression can have.
    pub(super) fn of(expr: &Expr) -> Self {
        match &expr.kind {
            ExprKind::Number { value, .. } => Self::exactly(*value),
            ExprKind::String(_) => Self::ANY,
            ExprKind::Paren(inner) | ExprKind::Unary { op: UnaryOp::Plus, expr: inner } => Self::of(inner),
            ExprKind::Unary { expr, .. } => {
                let inner = Self::of(expr);
                Self { low: -inner.high, high: -inner.low, ..inner }
            }
            ExprKind::Vector(_) | ExprKind::Matrix(_) => {
                match selector(expr).and_then(|(s, _)| metric_name(s)) {
                    Some("up" | "probe_success") => Self::new(0.0, 1.0),
                    _ => Self::ANY,
                }
            }
            ExprKind::Subquery(subquery) => Self::of(&subquery.expr),
            ExprKind::Aggregate(aggregate) => {
                let inner = || Self::of(&aggregate.expr);
                match aggregate.op {
                    AggregateOp::Group => Self::exactly(1.0),
                    AggregateOp::Count | AggregateOp::CountValues => Self::at_least(1.0),
                    AggregateOp::Stddev | AggregateOp::Stdvar => Self { nan: true, ..Self::at_least(0.0) },
                    AggregateOp::Sum => inner().summed(),
                    AggregateOp::Quantile => Self::ANY,
                    _ => inner(),
                }
            }
            ExprKind::Call(call) => Self::of_call(call),
            ExprKind::Binary(binary) => Self::of_binary(binary),
        }
    }

    /// The sum of at least one of these.
    fn summed(self) -> Self {
        Self {
            low: if self.low < 0.0 { f64::NEG_INFINITY } else { self.low },
            high: if self.high > 0.0 { f64::INFINITY } else { self.high },
            // The sum of opposite infinities is none.
            nan: self.nan || self.low == f64::NEG_INFINITY,
        }
    }

    fn of_call(call: &CallExpr) -> Self {
        let arg = |index: usize| call.args.get(index).map_or(Self::ANY, Self::of);
        match call.function {
            "absent" | "absent_over_time" | "present_over_time" => Self::exactly(1.0),
            "count_over_time" => Self::at_least(1.0),
            "changes" | "resets" => Self::at_least(0.0),
            // Of counters; nothing else has a rate.
            "rate" | "irate" | "increase" => Self::at_least(0.0),
            "abs" | "sqrt" | "exp" | "stddev_over_time" | "stdvar_over_time" => {
                Self { nan: true, ..Self::at_least(0.0) }
            }
            "sgn" => Self { nan: true, ..Self::new(-1.0, 1.0) },
            "hour" => Self { nan: true, ..Self::new(0.0, 23.0) },
            "minute" => Self { nan: true, ..Self::new(0.0, 59.0) },
            "day_of_week" => Self { nan: true, ..Self::new(0.0, 6.0) },
            "day_of_month" => Self { nan: true, ..Self::new(1.0, 31.0) },
            "day_of_year" => Self { nan: true, ..Self::new(1.0, 366.0) },
            "days_in_month" => Self { nan: true, ..Self::new(28.0, 31.0) },
            "month" => Self { nan: true, ..Self::new(1.0, 12.0) },
            "pi" => Self::exactly(std::f64::consts::PI),
            "time" => Self::at_least(0.0),
            "scalar" => Self { nan: true, ..arg(0) },
            "vector" | "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" | "label_replace"
            | "label_join" | "info" | "last_over_time" | "first_over_time" | "min_over_time"
            | "max_over_time" | "avg_over_time" => arg(0),
            "sum_over_time" => arg(0).summed(),
            "clamp_min" => match arg(1).single() {
                Some(bound) => {
                    Self { low: arg(0).low.max(bound), high: arg(0).high.max(bound), nan: arg(0).nan }
                }
                None => Self::ANY,
            },
            "clamp_max" => match arg(1).single() {
                Some(bound) => {
                    Self { low: arg(0).low.min(bound), high: arg(0).high.min(bound), nan: arg(0).nan }
                }
                None => Self::ANY,
            },
            _ => Self::ANY,
        }
    }

    fn of_binary(binary: &BinaryExpr) -> Self {
        let (left, right) = (Self::of(&binary.left), Self::of(&binary.right));
        // What stands for a missing sample counts too.
        let fill = binary.matching.as_ref().map(|matching| matching.fill).unwrap_or_default();
        let filled =
            |range: Self, fill: Option<f64>| fill.map_or(range, |fill| range.union(Self::exactly(fill)));
        let (left, right) = (filled(left, fill.left), filled(right, fill.right));
        if binary.op.is_comparison() && binary.return_bool {
            return if left.always(binary.op, right) {
                Self::exactly(1.0)
            } else if left.that_are(binary.op, right).is_empty() {
                Self::exactly(0.0)
            } else {
                Self::new(0.0, 1.0)
            };
        }
        // Between a scalar and a vector the vector's values pass, wherever it stands.
        if binary.op.is_comparison()
            && matches!(bare(&binary.left).value_type(), crate::promql::ValueType::Scalar)
        {
            return right.that_are(mirrored(binary.op), left);
        }
        match binary.op {
            BinaryOp::And | BinaryOp::Unless => left,
            BinaryOp::Or => left.union(right),
            op if op.is_comparison() => left.that_are(op, right),
            BinaryOp::Add => left.plus(right),
            BinaryOp::Sub => left.plus(Self { low: -right.high, high: -right.low, ..right }),
            BinaryOp::Mul => left.times(right),
            BinaryOp::Div => match right.single() {
                Some(divisor) if divisor != 0.0 && divisor.is_finite() => {
                    left.times(Self::exactly(1.0 / divisor))
                }
                _ => Self::ANY,
            },
            _ => Self::ANY,
        }
    }

    fn plus(self, other: Self) -> Self {
        let or = |value: f64, otherwise: f64| if value.is_nan() { otherwise } else { value };
        Self {
            low: or(self.low + other.low, f64::NEG_INFINITY),
            high: or(self.high + other.high, f64::INFINITY),
            nan: self.nan || other.nan || self.is_unbounded() && other.is_unbounded(),
        }
    }

    /// Only of what is not negative, and with a constant: nothing else occurs in thresholds.
    fn times(self, other: Self) -> Self {
        let (range, factor) = match (self.single(), other.single()) {
            (_, Some(factor)) => (self, factor),
            (Some(factor), _) => (other, factor),
            _ if self.low >= 0.0 && other.low >= 0.0 => {
                return Self { nan: true, ..Self::at_least(0.0) };
            }
            _ => return Self::ANY,
        };
        if factor == 0.0 || !factor.is_finite() {
            return Self::ANY;
        }
        let (one, two) = (range.low * factor, range.high * factor);
        Self { low: one.min(two), high: one.max(two), nan: range.nan }
    }

    fn is_unbounded(self) -> bool {
        self.low == f64::NEG_INFINITY || self.high == f64::INFINITY
    }
}

/// The comparison that holds with its sides exchanged.
pub(super) fn mirrored(op: BinaryOp) -> BinaryOp {
    use BinaryOp::{Greater, GreaterOrEqual, Less, LessOrEqual};
    match op {
        Greater => Less,
        GreaterOrEqual => LessOrEqual,
        Less => Greater,
        LessOrEqual => GreaterOrEqual,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    #[test]
    fn values_follow_from_the_expression() {
        let check = |query: &str, low: f64, high: f64| {
            let found = Range::of(&parse(query).expect(query));
            let near = |one: f64, other: f64| one == other || (one - other).abs() < 1e-9;
            assert!(near(found.low, low) && near(found.high, high), "{query}: {found:?}");
        };
        let inf = f64::INFINITY;
        check("1 + 2 * 3", 7.0, 7.0);
        check("up", 0.0, 1.0);
        check("node_load1", -inf, inf);
        check("count(up) - 1", 0.0, inf);
        check("count(up) or vector(0)", 0.0, inf);
        check("absent(up)", 1.0, 1.0);
        check("sum(up)", 0.0, inf);
        check("avg by (job) (up) * 100", 0.0, 100.0);
        check("avg_over_time(up[5m])", 0.0, 1.0);
        check("100 - avg(rate(x[5m])) * 100", -inf, 100.0);
        check("sum(rate(a[5m])) / sum(rate(b[5m]))", -inf, inf);
        check("x > 5", 5.0, inf);
        check("x > 5 < 7", 5.0, 7.0);
        check("5 < x", 5.0, inf);
        check("x >bool 5", 0.0, 1.0);
        check("up >bool 5", 0.0, 0.0);
        check("-up", -1.0, 0.0);
        check("up / 2", 0.0, 0.5);
        check("clamp_max(x, 3)", -inf, 3.0);
        check("clamp_min(up, 3)", 3.0, 3.0);
        check("day_of_week()", 0.0, 6.0);
        check("min_over_time((up == 1)[5m:])", 1.0, 1.0);
        check("scalar(up)", 0.0, 1.0);
        check("x and up", -inf, inf);
        check("up and x", 0.0, 1.0);
    }
}
