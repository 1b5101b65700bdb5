//! Lengths of time in ranges and offsets: literals and, since Prometheus 3.14, arithmetic.

use crate::model::Span;

use super::super::ast::{BinaryOp, DurationExpr, DurationOp, UnaryOp};
use super::super::token::{Keyword, Token, TokenKind};
use super::expression::sign;
use super::{Parsed, Parser};

/// The largest number of seconds whose nanoseconds fit Go's `int64`.
const MAX_SECONDS: f64 = i64::MAX as f64 / 1e9;

/// A part of a duration expression. Whether a number is a length by itself or an operand is known only
/// once the whole expression is.
enum Part {
    Number { value: f64, duration: bool },
    Operation(DurationOp),
}

struct Spanned {
    part: Part,
    span: Span,
}

impl Spanned {
    fn operation(op: DurationOp, span: Span) -> Self {
        Self { part: Part::Operation(op), span }
    }

    /// As an operand of an operation: numbers stay what they were written as.
    fn operand(self) -> DurationExpr {
        let op = match self.part {
            Part::Number { value, duration: true } => DurationOp::Literal { ms: to_ms(value) },
            Part::Number { value, duration: false } => DurationOp::Number(value),
            Part::Operation(op) => op,
        };
        DurationExpr { op, span: self.span }
    }

    /// As a length: a number is one in seconds.
    fn length(self) -> DurationExpr {
        let op = match self.part {
            Part::Number { value, .. } => DurationOp::Literal { ms: to_ms(value) },
            Part::Operation(op) => op,
        };
        DurationExpr { op, span: self.span }
    }
}

/// Seconds as milliseconds, by way of nanoseconds as in Go.
fn to_ms(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64 / 1_000_000
}

fn power(op: BinaryOp) -> Option<u8> {
    match op {
        BinaryOp::Add | BinaryOp::Sub => Some(1),
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod => Some(2),
        BinaryOp::Pow => Some(3),
        _ => None,
    }
}

/// A sign binds like `*`.
const SIGN_POWER: u8 = 2;

impl Parser<'_> {
    /// A range or a step.
    pub(super) fn positive_duration(&mut self) -> Parsed<DurationExpr> {
        let duration = self.duration_above(0)?;
        if let Part::Number { value, .. } = duration.part
            && value <= 0.0
        {
            self.error(duration.span, "duration must be greater than 0");
        }
        Ok(duration.length())
    }

    /// What follows `offset`; none is 0. Without parentheses it ends after its first operand: `a offset
    /// 5m ^ 2` is `(a offset 5m) ^ 2`.
    pub(super) fn offset(&mut self) -> Parsed<Option<DurationExpr>> {
        let first = self.peek();
        let offset = match sign(first.kind) {
            None if first.kind == TokenKind::LeftParen => self.duration_above(0)?,
            None => self.duration_operand()?,
            Some(op) => {
                self.take();
                if sign(self.peek().kind).is_some() {
                    let inner = self.duration_above(SIGN_POWER)?;
                    let signed = self.signed_duration(op, first, inner);
                    self.duration_operators(signed, 0)?
                } else {
                    let inner = self.duration_operand()?;
                    self.signed_duration(op, first, inner)
                }
            }
        };
        match offset.part {
            Part::Number { value, .. } if (value * 1e9).round() == 0.0 => Ok(None),
            _ => Ok(Some(offset.length())),
        }
    }

    /// A duration expression whose operators all bind more strongly than `limit`.
    fn duration_above(&mut self, limit: u8) -> Parsed<Spanned> {
        let first = self.peek();
        self.descend(first.span)?;
        let left = match sign(first.kind) {
            Some(op) => {
                self.take();
                let inner = self.duration_above(SIGN_POWER)?;
                self.signed_duration(op, first, inner)
            }
            None => self.duration_operand()?,
        };
        let whole = self.duration_operators(left, limit)?;
        self.depth -= 1;
        Ok(whole)
    }

    /// The operators after an operand that bind more strongly than `limit`.
    fn duration_operators(&mut self, mut left: Spanned, limit: u8) -> Parsed<Spanned> {
        let mut height = self.height;
        while let TokenKind::Operator(op) = self.peek().kind {
            let Some(power) = power(op).filter(|power| *power > limit) else { break };
            let op_span = self.take().span;
            let right = self.duration_above(if op == BinaryOp::Pow { power - 1 } else { power })?;
            self.grow(height.max(self.height), op_span)?;
            height = self.height;
            self.check_duration_expressions(left.span);
            let span = left.span.to(right.span);
            if matches!(right.part, Part::Number { value: 0.0, .. }) {
                match op {
                    BinaryOp::Div => self.error(op_span, "division by zero"),
                    BinaryOp::Mod => self.error(op_span, "modulo by zero"),
                    _ => {}
                }
            }
            left = Spanned::operation(
                DurationOp::Binary(op, Box::new(left.operand()), Box::new(right.operand())),
                span,
            );
        }
        self.height = height;
        Ok(left)
    }

    /// A number, a duration, `step()`, `range()`, `min_of(…)`, `max_of(…)` or parentheses.
    fn duration_operand(&mut self) -> Parsed<Spanned> {
        let token = self.peek();
        self.height = 1;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let (value, duration) = self.number_or_duration();
                let value = self.in_range(value, token.span);
                Ok(Spanned { part: Part::Number { value, duration }, span: token.span })
            }
            TokenKind::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                self.take();
                self.open_paren()?;
                let span = token.span.to(self.close_paren()?);
                self.check_duration_expressions(span);
                let op = if keyword == Keyword::Step { DurationOp::Step } else { DurationOp::Range };
                Ok(Spanned::operation(op, span))
            }
            TokenKind::Keyword(keyword @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.take();
                self.open_paren()?;
                let one = Box::new(self.duration_above(0)?.operand());
                let height = self.height;
                if self.take_if(TokenKind::Comma).is_none() {
                    return self.unexpected();
                }
                let other = Box::new(self.duration_above(0)?.operand());
                let span = token.span.to(self.close_paren()?);
                self.grow(height.max(self.height), token.span)?;
                self.check_duration_expressions(span);
                let op = match keyword {
                    Keyword::MinOf => DurationOp::MinOf(one, other),
                    _ => DurationOp::MaxOf(one, other),
                };
                Ok(Spanned::operation(op, span))
            }
            TokenKind::LeftParen => {
                self.take();
                let inner = self.duration_above(0)?;
                let span = token.span.to(self.close_paren()?);
                self.grow(self.height, token.span)?;
                self.check_duration_expressions(inner.span);
                // Parentheses around parentheses are printed once, as in Prometheus.
                let op = match inner.part {
                    Part::Operation(op @ DurationOp::Paren(_)) => op,
                    _ => DurationOp::Paren(Box::new(inner.operand())),
                };
                Ok(Spanned::operation(op, span))
            }
            _ => self.unexpected(),
        }
    }

    /// Applies a sign. A plus leaves no trace, a minus before a number becomes part of it.
    fn signed_duration(&mut self, op: UnaryOp, sign: Token, inner: Spanned) -> Spanned {
        let span = sign.span.to(inner.span);
        let part = match inner.part {
            Part::Number { value, duration } => {
                let value = if op == UnaryOp::Minus { -value } else { value };
                Part::Number { value, duration }
            }
            Part::Operation(_) if op == UnaryOp::Minus => {
                self.height += 1;
                Part::Operation(DurationOp::Unary(op, Box::new(inner.operand())))
            }
            operation @ Part::Operation(_) => operation,
        };
        Spanned { part, span }
    }

    fn open_paren(&mut self) -> Parsed<()> {
        if self.take_if(TokenKind::LeftParen).is_some() { Ok(()) } else { self.unexpected() }
    }

    fn close_paren(&mut self) -> Parsed<Span> {
        match self.take_if(TokenKind::RightParen) {
            Some(close) => Ok(close.span),
            None => self.unexpected(),
        }
    }

    /// A number of seconds that a duration can hold; another one is an error and counts as 0.
    fn in_range(&mut self, seconds: f64, span: Span) -> f64 {
        if seconds.abs() > MAX_SECONDS {
            self.error(span, "duration out of range");
            return 0.0;
        }
        seconds
    }

    fn check_duration_expressions(&mut self, span: Span) {
        if !self.features.duration_expressions {
            let message = "experimental duration expression is not enabled";
            self.needs_feature(span, message, "promql-duration-expr");
        }
    }
}
