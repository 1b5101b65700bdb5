//! Expressions: operators, calls, aggregations and literals.

use crate::model::{Span, quote};

use super::super::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, BinaryOp, CallExpr, Expr, ExprKind, Fill, Grouping,
    MatchCardinality, UnaryOp, VectorMatching,
};
use super::super::lexer::{Keyword, Token, TokenKind};
use super::super::literal;
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

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.operators_above(0)
    }

    /// An expression whose operators all bind more strongly than `limit`.
    fn operators_above(&mut self, limit: u8) -> Parsed<Expr> {
        let start = self.peek().span;
        self.descend(start)?;
        let mut left = self.operand()?;
        let mut left_height = self.height;
        while let TokenKind::Operator(op) = self.peek().kind {
            let power = power(op);
            if power <= limit {
                break;
            }
            let op_span = self.take().span;
            let (return_bool, matching) = self.binary_modifiers()?;
            // `^` is right-associative: its right operand may hold further ones.
            let right = self.operators_above(if op == BinaryOp::Pow { power - 1 } else { power })?;
            let span = left.span.to(right.span);
            let Fill { left: fill_left, right: fill_right } = matching.fill;
            if !self.features.fill_modifiers && (fill_left.is_some() || fill_right.is_some()) {
                let message = "binop fill modifiers are experimental and not enabled";
                self.needs_feature(span, message, "promql-binop-fill-modifiers");
            }
            self.grow(left_height.max(self.height), op_span)?;
            left_height = self.height;
            let matching = Some(matching);
            let binary = BinaryExpr { op, op_span, left, right, matching, return_bool };
            left = Expr { kind: ExprKind::Binary(Box::new(binary)), span };
        }
        self.height = left_height;
        self.depth -= 1;
        Ok(left)
    }

    /// A sign with its operand, or a primary expression with what follows it.
    fn operand(&mut self) -> Parsed<Expr> {
        let token = self.peek();
        let Some(op) = sign(token.kind) else {
            let primary = self.primary(token)?;
            return self.postfix(primary);
        };
        self.take();
        let expr = self.operators_above(SIGN_POWER)?;
        let span = token.span.to(expr.span);
        if let ExprKind::Number { value, duration } = expr.kind {
            let value = if op == UnaryOp::Minus { -value } else { value };
            return Ok(Expr { kind: ExprKind::Number { value, duration }, span });
        }
        self.grow(self.height, token.span)?;
        Ok(Expr { kind: ExprKind::Unary { op, expr: Box::new(expr) }, span })
    }

    fn primary(&mut self, token: Token) -> Parsed<Expr> {
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                self.height = 1;
                let (value, duration) = self.number_or_duration();
                Ok(Expr { kind: ExprKind::Number { value, duration }, span: token.span })
            }
            TokenKind::String => {
                self.take();
                self.height = 1;
                let text = literal::unquote(self.text(token.span));
                Ok(Expr { kind: ExprKind::String(text), span: token.span })
            }
            TokenKind::LeftParen => {
                self.take();
                let expr = self.expression()?;
                let Some(close) = self.take_if(TokenKind::RightParen) else {
                    return self.unexpected();
                };
                self.grow(self.height, token.span)?;
                let span = token.span.to(close.span);
                Ok(Expr { kind: ExprKind::Paren(Box::new(expr)), span })
            }
            TokenKind::LeftBrace => self.vector_selector(),
            TokenKind::Aggregator(op) => {
                self.take();
                match self.peek().kind {
                    TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without) => {
                        self.aggregation(op, token)
                    }
                    _ => self.named_selector(token),
                }
            }
            TokenKind::Identifier => {
                self.take();
                match self.peek().kind {
                    TokenKind::LeftParen => self.call(token),
                    _ => self.named_selector(token),
                }
            }
            TokenKind::Keyword(keyword) if keyword.may_be_metric() => {
                self.take();
                match self.peek().kind {
                    TokenKind::LeftParen if keyword.may_be_function() => self.call(token),
                    _ => self.named_selector(token),
                }
            }
            TokenKind::MetricIdentifier
            | TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => {
                self.take();
                self.named_selector(token)
            }
            _ => self.unexpected(),
        }
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

    fn call(&mut self, name: Token) -> Parsed<Expr> {
        let (args, end) = self.arguments(name.span)?;
        let function = self.known_function(self.text(name.span), name.span);
        let span = name.span.to(end);
        Ok(Expr { kind: ExprKind::Call(CallExpr { function, args }), span })
    }

    /// The arguments of a call or an aggregation, and where its last parenthesis stands.
    fn arguments(&mut self, at: Span) -> Parsed<(Vec<Expr>, Span)> {
        if self.take_if(TokenKind::LeftParen).is_none() {
            return self.unexpected();
        }
        let mut args = Vec::new();
        let mut height = 0;
        if let Some(close) = self.take_if(TokenKind::RightParen) {
            self.grow(height, at)?;
            return Ok((args, close.span));
        }
        args.push(self.expression()?);
        height = height.max(self.height);
        loop {
            if let Some(close) = self.take_if(TokenKind::RightParen) {
                self.grow(height, at)?;
                return Ok((args, close.span));
            }
            let Some(comma) = self.take_if(TokenKind::Comma) else {
                return self.unexpected();
            };
            if begins_expression(self.peek().kind) {
                args.push(self.expression()?);
                height = height.max(self.height);
            } else {
                self.error(comma.span, "trailing commas not allowed in function call args");
            }
        }
    }

    fn aggregation(&mut self, op: AggregateOp, name: Token) -> Parsed<Expr> {
        let (grouping, args, end) = self.recovering(Recovery::Aggregation, |parser| {
            let before = parser.grouping()?;
            let (args, close) = parser.arguments(name.span)?;
            match before {
                Some((grouping, _)) => Ok((grouping, args, close)),
                None => Ok(match parser.grouping()? {
                    Some((grouping, end)) => (grouping, args, end),
                    None => (Grouping::By(Vec::new()), args, close),
                }),
            }
        })?;
        let span = name.span.to(end);
        let experimental = matches!(op, AggregateOp::Limitk | AggregateOp::LimitRatio);
        let with_param = experimental
            || matches!(
                op,
                AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::CountValues | AggregateOp::Quantile
            );
        let wanted = if with_param { 2 } else { 1 };
        let found = args.len();
        if found == 0 {
            self.error(span, "no arguments for aggregate expression provided");
        } else if experimental && !self.features.experimental_functions {
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
        let param = if with_param { args.next() } else { None };
        // Without an argument there is an error, and the tree is never seen.
        let nothing = || Expr { kind: ExprKind::String(String::new()), span };
        let expr = args.next().unwrap_or_else(nothing);
        let aggregate = AggregateExpr { op, param, expr, grouping };
        Ok(Expr { kind: ExprKind::Aggregate(Box::new(aggregate)), span })
    }

    /// `by (…)` or `without (…)`, if one of them follows, and where its last parenthesis stands.
    fn grouping(&mut self) -> Parsed<Option<(Grouping, Span)>> {
        let by = match self.peek().kind {
            TokenKind::Keyword(Keyword::By) => true,
            TokenKind::Keyword(Keyword::Without) => false,
            _ => return Ok(None),
        };
        self.take();
        let (labels, end) = self.label_list()?;
        Ok(Some((if by { Grouping::By(labels) } else { Grouping::Without(labels) }, end)))
    }

    /// `(a, b, "c.d",)`: label names, which may be keywords, and where the last parenthesis stands.
    fn label_list(&mut self) -> Parsed<(Vec<String>, Span)> {
        if self.take_if(TokenKind::LeftParen).is_none() {
            return self.unexpected_in("grouping opts", "\"(\"");
        }
        let mut labels = Vec::new();
        loop {
            if let Some(close) = self.take_if(TokenKind::RightParen) {
                return Ok((labels, close.span));
            }
            labels.push(self.grouping_label()?);
            if let Some(close) = self.take_if(TokenKind::RightParen) {
                return Ok((labels, close.span));
            }
            if self.take_if(TokenKind::Comma).is_none() {
                return self.unexpected_in("grouping opts", "\",\" or \")\"");
            }
        }
    }

    fn grouping_label(&mut self) -> Parsed<String> {
        let token = self.peek();
        let text = self.text(token.span);
        let label = match token.kind {
            TokenKind::String => literal::unquote(text),
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
    fn binary_modifiers(&mut self) -> Parsed<(bool, VectorMatching)> {
        let mut matching = VectorMatching {
            cardinality: MatchCardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill: Fill::default(),
        };
        let return_bool = self.take_keyword(Keyword::Bool);
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek().kind {
            self.take();
            matching.on = keyword == Keyword::On;
            matching.labels = self.label_list()?.0;
            let cardinality = match self.peek().kind {
                TokenKind::Keyword(Keyword::GroupLeft) => Some(MatchCardinality::ManyToOne),
                TokenKind::Keyword(Keyword::GroupRight) => Some(MatchCardinality::OneToMany),
                _ => None,
            };
            if let Some(cardinality) = cardinality {
                self.take();
                matching.cardinality = cardinality;
                if self.peek().kind == TokenKind::LeftParen {
                    matching.include = self.label_list()?.0;
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
