//! Expressions: operators, calls, aggregations and literals.

use crate::model::{Span, quote};

use super::super::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, BinaryOp, CallExpr, Expr, ExprKind, Fill, Grouping,
    MatchCardinality, UnaryOp, VectorMatching,
};
use super::super::literal;
use super::super::token::{Keyword, Token, TokenKind};
use super::{Parsed, Parser, Recovery};

/// How strongly an operator binds; a sign binds like `*`.
const SIGN_POWER: u8 = 5;

fn power(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::Greater
        | BinaryOp::LessOrEqual
        | BinaryOp::GreaterOrEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => SIGN_POWER,
        BinaryOp::Pow => 6,
    }
}

/// The sign that an operator is in front of an operand.
pub(super) fn sign(kind: TokenKind) -> Option<UnaryOp> {
    match kind {
        TokenKind::Operator(BinaryOp::Add) => Some(UnaryOp::Plus),
        TokenKind::Operator(BinaryOp::Sub) => Some(UnaryOp::Minus),
        _ => None,
    }
}

/// The recursive functions here pass boxes and leave the building of nodes to others, so that a level of
/// nesting needs little stack.
#[expect(
    clippy::unnecessary_box_returns,
    clippy::boxed_local,
    reason = "boxes keep the recursion's frames small"
)]
impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Parsed<Box<Expr>> {
        self.operators_above(0)
    }

    /// An expression whose operators all bind more strongly than `limit`.
    fn operators_above(&mut self, limit: u8) -> Parsed<Box<Expr>> {
        let start = self.peek();
        self.descend(start.span)?;
        let mut left = match sign(start.kind) {
            Some(op) => self.signed(op)?,
            None => self.operand(start)?,
        };
        while let TokenKind::Operator(op) = self.peek().kind {
            if power(op) <= limit {
                break;
            }
            left = self.binary(left, op)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// A binary operator that is the next token, its modifiers and its right operand.
    fn binary(&mut self, left: Box<Expr>, op: BinaryOp) -> Parsed<Box<Expr>> {
        let left_height = self.height;
        let op_span = self.take().span;
        let (return_bool, matching) = self.binary_modifiers()?;
        // `^` is right-associative: its right operand may hold further ones.
        let limit = if op == BinaryOp::Pow { power(op) - 1 } else { power(op) };
        let right = self.operators_above(limit)?;
        self.grow(left_height.max(self.height), op_span)?;
        let span = left.span.to(right.span);
        if matching.fill.is_set() && !self.features.fill_modifiers {
            let message = "binop fill modifiers are experimental and not enabled";
            self.needs_feature(span, message, "promql-binop-fill-modifiers");
        }
        let matching = Some(*matching);
        let binary = BinaryExpr { op, op_span, left: *left, right: *right, matching, return_bool };
        Ok(Box::new(Expr { kind: ExprKind::Binary(Box::new(binary)), span }))
    }

    /// A sign that is the next token, with its operand. Before a number it becomes part of the number.
    fn signed(&mut self, op: UnaryOp) -> Parsed<Box<Expr>> {
        let sign = self.take().span;
        let mut expr = self.operators_above(SIGN_POWER)?;
        let span = sign.to(expr.span);
        if let ExprKind::Number { value, .. } = &mut expr.kind {
            if op == UnaryOp::Minus {
                *value = -*value;
            }
            expr.span = span;
            return Ok(expr);
        }
        self.grow(self.height, sign)?;
        Ok(Box::new(Expr { kind: ExprKind::Unary { op, expr }, span }))
    }

    /// An expression that begins with `token` and ends before the next binary operator.
    fn operand(&mut self, token: Token) -> Parsed<Box<Expr>> {
        let mut expr = match token.kind {
            TokenKind::Number | TokenKind::Duration => self.number_literal(),
            TokenKind::String => self.string_literal(),
            TokenKind::LeftParen => self.parenthesised()?,
            TokenKind::LeftBrace => self.vector_selector()?,
            TokenKind::Aggregator(op) => {
                self.take();
                match self.peek().kind {
                    TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without) => {
                        self.aggregation(op, token)?
                    }
                    _ => self.named_selector(token)?,
                }
            }
            TokenKind::Identifier => {
                self.take();
                match self.peek().kind {
                    TokenKind::LeftParen => self.call(token)?,
                    _ => self.named_selector(token)?,
                }
            }
            TokenKind::Keyword(keyword) if keyword.may_be_metric() => {
                self.take();
                match self.peek().kind {
                    TokenKind::LeftParen if keyword.may_be_function() => self.call(token)?,
                    _ => self.named_selector(token)?,
                }
            }
            TokenKind::MetricIdentifier
            | TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => {
                self.take();
                self.named_selector(token)?
            }
            _ => return self.unexpected(),
        };
        self.postfix(&mut expr)?;
        Ok(expr)
    }

    fn number_literal(&mut self) -> Box<Expr> {
        self.height = 1;
        let span = self.peek().span;
        let (value, duration) = self.number_or_duration();
        Box::new(Expr { kind: ExprKind::Number { value, duration }, span })
    }

    fn string_literal(&mut self) -> Box<Expr> {
        self.height = 1;
        let token = self.take();
        let text = self.unquote(token);
        Box::new(Expr { kind: ExprKind::String(text), span: token.span })
    }

    fn parenthesised(&mut self) -> Parsed<Box<Expr>> {
        let open = self.take().span;
        let inner = self.expression()?;
        let Some(close) = self.take_if(TokenKind::RightParen) else {
            return self.unexpected();
        };
        self.grow(self.height, open)?;
        Ok(Box::new(Expr { kind: ExprKind::Paren(inner), span: open.to(close.span) }))
    }

    /// The text that a string token stands for. Labels are text, so one that is no UTF-8 is an error.
    pub(super) fn unquote(&mut self, token: Token) -> String {
        let text = self.text(token.span);
        literal::unquote(text).unwrap_or_else(|| {
            self.error(token.span, format!("string {text} is not valid UTF-8"));
            String::new()
        })
    }

    /// Takes a number or a duration: its value, a duration's in seconds, and whether it is a duration.
    /// If it has no value that is an error and it counts as 0.
    pub(super) fn number_or_duration(&mut self) -> (f64, bool) {
        let token = self.take();
        let text = self.text(token.span);
        if token.kind == TokenKind::Number {
            let value = literal::number(text).unwrap_or_else(|why| {
                self.error(token.span, format!("error parsing number: {why}"));
                0.0
            });
            return (value, false);
        }
        let ms = crate::model::parse_duration_ms(text).unwrap_or_else(|e| {
            self.error(token.span, e.to_string());
            0
        });
        (ms as f64 / 1000.0, true)
    }

    fn call(&mut self, name: Token) -> Parsed<Box<Expr>> {
        let args = self.arguments(name.span)?;
        let span = Span::new(name.span.start, self.last_end);
        let function = self.known_function(self.text(name.span), name.span);
        Ok(Box::new(Expr { kind: ExprKind::Call(CallExpr { function, args }), span }))
    }

    /// The arguments of a call or an aggregation.
    fn arguments(&mut self, at: Span) -> Parsed<Vec<Expr>> {
        if self.take_if(TokenKind::LeftParen).is_none() {
            return self.unexpected();
        }
        let mut args = Vec::new();
        let mut height = 0;
        if self.peek().kind != TokenKind::RightParen {
            self.argument(&mut args, &mut height)?;
        }
        while self.take_if(TokenKind::RightParen).is_none() {
            let Some(comma) = self.take_if(TokenKind::Comma) else {
                return self.unexpected();
            };
            if begins_expression(self.peek().kind) {
                self.argument(&mut args, &mut height)?;
            } else {
                self.error(comma.span, "trailing commas not allowed in function call args");
            }
        }
        self.grow(height, at)?;
        Ok(args)
    }

    fn argument(&mut self, args: &mut Vec<Expr>, height: &mut usize) -> Parsed<()> {
        args.push(*self.expression()?);
        *height = self.height.max(*height);
        Ok(())
    }

    /// An aggregation whose operator has been taken.
    fn aggregation(&mut self, op: AggregateOp, name: Token) -> Parsed<Box<Expr>> {
        let outer = std::mem::replace(&mut self.recovery, Recovery::Aggregation);
        let before = self.grouping()?;
        let args = self.arguments(name.span)?;
        let grouping = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or(Grouping::By(Vec::new())),
        };
        self.recovery = outer;
        let span = Span::new(name.span.start, self.last_end);
        Ok(self.new_aggregate(op, grouping, args, span))
    }

    fn new_aggregate(
        &mut self,
        op: AggregateOp,
        grouping: Grouping,
        args: Vec<Expr>,
        span: Span,
    ) -> Box<Expr> {
        let wanted = if op.has_param() { 2 } else { 1 };
        let found = args.len();
        if found == 0 {
            self.error(span, "no arguments for aggregate expression provided");
        } else if op.is_experimental() && !self.features.experimental_functions {
            let feature = "promql-experimental-functions";
            let message =
                format!("{op}() is experimental and must be enabled with --enable-feature={feature}");
            self.needs_feature(span, message, feature);
        } else if found != wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {found}"
            );
            self.error(span, message);
        }
        let mut args = args.into_iter();
        let param = if op.has_param() { args.next() } else { None };
        if let (AggregateOp::CountValues, Some(Expr { kind: ExprKind::String(_), span })) = (op, &param) {
            self.check_value_label(*span);
        }
        // Without an argument there is an error, and the tree is never seen.
        let expr = args.next().unwrap_or(Expr { kind: ExprKind::String(String::new()), span });
        let aggregate = AggregateExpr { op, param, expr, grouping };
        Box::new(Expr { kind: ExprKind::Aggregate(Box::new(aggregate)), span })
    }

    /// What is no UTF-8 can name no label: for that `count_values` has words of its own.
    fn check_value_label(&mut self, span: Span) {
        let text = self.text(span);
        if literal::unquote(text).is_none() {
            self.errors.retain(|error| error.span != span);
            self.error(span, format!("invalid label name \"{}\"", &text[1..text.len() - 1]));
        }
    }

    /// `by (…)` or `without (…)`, if one of them follows.
    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let by = match self.peek().kind {
            TokenKind::Keyword(Keyword::By) => true,
            TokenKind::Keyword(Keyword::Without) => false,
            _ => return Ok(None),
        };
        self.take();
        let labels = self.label_list()?;
        Ok(Some(if by { Grouping::By(labels) } else { Grouping::Without(labels) }))
    }

    /// `(a, b, "c.d",)`: label names, which may be keywords.
    fn label_list(&mut self) -> Parsed<Vec<String>> {
        if self.take_if(TokenKind::LeftParen).is_none() {
            return self.unexpected_in("grouping opts", "\"(\"");
        }
        let mut labels = Vec::new();
        while self.take_if(TokenKind::RightParen).is_none() {
            labels.push(self.grouping_label()?);
            if self.peek().kind != TokenKind::RightParen && self.take_if(TokenKind::Comma).is_none() {
                return self.unexpected_in("grouping opts", "\",\" or \")\"");
            }
        }
        Ok(labels)
    }

    fn grouping_label(&mut self) -> Parsed<String> {
        let token = self.peek();
        let text = self.text(token.span);
        let label = match token.kind {
            TokenKind::String => self.unquote(token),
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregator(_) => text.to_owned(),
            TokenKind::Keyword(keyword) if keyword != Keyword::Without => text.to_owned(),
            TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2) => {
                text.to_owned()
            }
            _ => return self.unexpected_in("grouping opts", "label"),
        };
        self.take();
        if label.is_empty() {
            self.error(token.span, format!("invalid label name for grouping: {}", quote(&label)));
        }
        Ok(label)
    }

    /// What stands between a binary operator and its right operand.
    fn binary_modifiers(&mut self) -> Parsed<(bool, Box<VectorMatching>)> {
        let mut matching = Box::new(VectorMatching {
            cardinality: MatchCardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill: Fill::default(),
        });
        let return_bool = self.take_keyword(Keyword::Bool);
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek().kind {
            self.take();
            matching.on = keyword == Keyword::On;
            matching.labels = self.label_list()?;
            let cardinality = match self.peek().kind {
                TokenKind::Keyword(Keyword::GroupLeft) => Some(MatchCardinality::ManyToOne),
                TokenKind::Keyword(Keyword::GroupRight) => Some(MatchCardinality::OneToMany),
                _ => None,
            };
            if let Some(cardinality) = cardinality {
                self.take();
                matching.cardinality = cardinality;
                let next = self.peek().kind;
                let fills = matches!(
                    next,
                    TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)
                );
                if next == TokenKind::LeftParen || !begins_expression(next) && !fills {
                    matching.include = self.label_list()?;
                }
            }
        }
        if self.take_keyword(Keyword::Fill) {
            let value = Some(self.fill_value()?);
            matching.fill = Fill { left: value, right: value };
        } else if self.take_keyword(Keyword::FillLeft) {
            matching.fill.left = Some(self.fill_value()?);
            if self.take_keyword(Keyword::FillRight) {
                matching.fill.right = Some(self.fill_value()?);
            }
        } else if self.take_keyword(Keyword::FillRight) {
            matching.fill.right = Some(self.fill_value()?);
            if self.take_keyword(Keyword::FillLeft) {
                matching.fill.left = Some(self.fill_value()?);
            }
        }
        Ok((return_bool, matching))
    }

    fn take_keyword(&mut self, keyword: Keyword) -> bool {
        self.take_if(TokenKind::Keyword(keyword)).is_some()
    }

    /// `(-1.5)` after `fill`.
    fn fill_value(&mut self) -> Parsed<f64> {
        if self.take_if(TokenKind::LeftParen).is_none() {
            return self.unexpected();
        }
        let Some(value) = self.signed_number() else {
            return self.unexpected();
        };
        if self.take_if(TokenKind::RightParen).is_none() {
            return self.unexpected();
        }
        Ok(value)
    }

    /// A number or a duration with at most one sign; none if something else follows.
    pub(super) fn signed_number(&mut self) -> Option<f64> {
        let op = sign(self.peek().kind);
        if op.is_some() {
            self.take();
        }
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return None;
        }
        let (value, _) = self.number_or_duration();
        Some(if op == Some(UnaryOp::Minus) { -value } else { value })
    }
}

/// Whether an expression can begin with such a token.
fn begins_expression(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Number
        | TokenKind::Duration
        | TokenKind::String
        | TokenKind::LeftParen
        | TokenKind::LeftBrace
        | TokenKind::Aggregator(_)
        | TokenKind::Identifier
        | TokenKind::MetricIdentifier
        | TokenKind::Operator(
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless,
        ) => true,
        TokenKind::Keyword(keyword) => keyword.may_be_metric(),
        _ => false,
    }
}
