//! The value of a duration expression.

use super::ast::{BinaryOp, DurationExpr, DurationOp, UnaryOp};
use super::numeric::{go_max, go_min};
use super::value::EvalError;

/// What `step()` and `range()` stand for in durations, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryWindow {
    pub(super) step_ms: i64,
    pub(super) range_ms: i64,
}

/// The largest duration in seconds: Go counts nanoseconds in an `int64`.
const MAX_SECONDS: f64 = 9_223_372_036.854_776;

/// The duration in milliseconds; ranges and steps must be positive, offsets may be negative.
/// The texts of errors are those of Prometheus' `promql/durations.go`.
pub(super) fn duration_ms(
    expr: &DurationExpr,
    query: QueryWindow,
    may_be_negative: bool,
) -> Result<i64, EvalError> {
    if let DurationOp::Literal { ms } = expr.op
        && (may_be_negative || ms > 0)
    {
        return Ok(ms);
    }
    let seconds = seconds(expr, query)?;
    if !seconds.is_finite() {
        return Err(error(expr, "duration is NaN or infinite"));
    }
    if seconds <= 0.0 && !may_be_negative {
        return Err(error(expr, "duration must be greater than 0"));
    }
    if seconds.abs() > MAX_SECONDS {
        return Err(error(expr, "duration is out of range"));
    }
    Ok((seconds * 1000.0) as i64)
}

fn error(expr: &DurationExpr, what: &str) -> EvalError {
    EvalError::Invalid(format!("{}:{}: {what}", expr.span.start, expr.span.end))
}

fn seconds(expr: &DurationExpr, query: QueryWindow) -> Result<f64, EvalError> {
    let value = |expr: &DurationExpr| seconds(expr, query);
    Ok(match &expr.op {
        DurationOp::Literal { ms } => *ms as f64 / 1000.0,
        DurationOp::Number(number) => *number,
        DurationOp::Step => query.step_ms as f64 / 1000.0,
        DurationOp::Range => query.range_ms as f64 / 1000.0,
        DurationOp::Unary(UnaryOp::Plus, inner) | DurationOp::Paren(inner) => value(inner)?,
        DurationOp::Unary(UnaryOp::Minus, inner) => -value(inner)?,
        DurationOp::MinOf(left, right) => go_min(value(left)?, value(right)?),
        DurationOp::MaxOf(left, right) => go_max(value(left)?, value(right)?),
        DurationOp::Binary(op, left, right) => {
            let (left, right) = (value(left)?, value(right)?);
            match op {
                BinaryOp::Add => left + right,
                BinaryOp::Sub => left - right,
                BinaryOp::Mul => left * right,
                BinaryOp::Div if right == 0.0 => return Err(error(expr, "division by zero")),
                BinaryOp::Div => left / right,
                BinaryOp::Mod if right == 0.0 => return Err(error(expr, "modulo by zero")),
                BinaryOp::Mod => left % right,
                BinaryOp::Pow => left.powf(right),
                other => {
                    return Err(EvalError::Execution(format!(
                        "unexpected duration expression operator {other:?}"
                    )));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    const QUERY: QueryWindow = QueryWindow { step_ms: 15_000, range_ms: 3_600_000 };

    fn node(op: DurationOp) -> DurationExpr {
        DurationExpr { op, span: Span::new(2, 9) }
    }

    fn boxed(op: DurationOp) -> Box<DurationExpr> {
        Box::new(node(op))
    }

    #[test]
    fn durations_are_computed_in_seconds() {
        let check =
            |op: DurationOp, expected: i64| assert_eq!(duration_ms(&node(op), QUERY, true), Ok(expected));
        check(DurationOp::Literal { ms: 300_000 }, 300_000);
        check(DurationOp::Step, 15_000);
        check(DurationOp::MaxOf(boxed(DurationOp::Step), boxed(DurationOp::Range)), 3_600_000);
        check(
            DurationOp::Binary(BinaryOp::Mul, boxed(DurationOp::Step), boxed(DurationOp::Number(4.0))),
            60_000,
        );
        check(DurationOp::Unary(UnaryOp::Minus, boxed(DurationOp::Number(1.5))), -1_500);
    }

    #[test]
    fn impossible_durations_name_their_place() {
        let check = |op: DurationOp, expected: &str| {
            let error = duration_ms(&node(op), QUERY, false).expect_err("must be refused");
            assert_eq!(error.to_string(), expected);
        };
        check(DurationOp::Literal { ms: 0 }, "2:9: duration must be greater than 0");
        check(DurationOp::Number(f64::NAN), "2:9: duration is NaN or infinite");
        check(DurationOp::Number(1e12), "2:9: duration is out of range");
        check(
            DurationOp::Binary(BinaryOp::Div, boxed(DurationOp::Step), boxed(DurationOp::Number(0.0))),
            "2:9: division by zero",
        );
    }
}
