//! Selectors, and what may follow an expression: ranges, subqueries, `offset`, `@`.

use crate::model::{METRIC_NAME, MatchOp, Matcher, Span, TimestampMs};

use super::super::ast::{
    AtModifier, BinaryOp, DurationExpr, Expr, ExprKind, MatrixSelector, RangeModifier, SubqueryExpr,
    VectorSelector,
};
use super::super::token::{Keyword, Token, TokenKind};
use super::{LEAST_AUTOMATON_BYTES, MAX_AUTOMATA_BYTES, MAX_MATCHERS, Parsed, Parser, Recovery, Stop};

const MANY_MATCHERS: &str = "label matching";

#[expect(clippy::unnecessary_box_returns, reason = "boxes keep the recursion's frames small")]
impl Parser<'_> {
    /// `name{…}`, `name` or `{…}`.
    pub(super) fn vector_selector(&mut self) -> Parsed<Box<Expr>> {
        let token = self.peek();
        let named = match token.kind {
            TokenKind::LeftBrace => {
                let (matchers, span) = self.label_matchers()?;
                return Ok(self.new_selector(None, matchers, span));
            }
            TokenKind::Keyword(keyword) => keyword.may_be_metric(),
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregator(_) => true,
            TokenKind::Operator(op) => matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless),
            _ => false,
        };
        if !named {
            return self.unexpected();
        }
        self.take();
        self.named_selector(token)
    }

    /// A selector whose name has been taken.
    pub(super) fn named_selector(&mut self, name: Token) -> Parsed<Box<Expr>> {
        let text = self.text(name.span);
        let (mut matchers, end) = match self.peek().kind {
            TokenKind::LeftBrace => self.label_matchers()?,
            _ => (Vec::new(), name.span),
        };
        matchers.push(Matcher::equal(METRIC_NAME, text));
        Ok(self.new_selector(Some(text.to_owned()), matchers, name.span.to(end)))
    }

    fn new_selector(&mut self, name: Option<String>, matchers: Vec<Matcher>, span: Span) -> Box<Expr> {
        self.height = 1;
        let selector = selector_of(name, matchers);
        Box::new(Expr { kind: ExprKind::Vector(selector), span })
    }

    /// `{a="b", "c.d"=~"e", "metric.name"}`
    fn label_matchers(&mut self) -> Parsed<(Vec<Matcher>, Span)> {
        let open = self.take();
        let mut matchers = Vec::new();
        loop {
            // A comma may stand before the closing brace, but not alone.
            if let Some(close) = self.take_if(TokenKind::RightBrace) {
                return Ok((matchers, open.span.to(close.span)));
            }
            matchers.extend(self.label_matcher()?);
            if let Some(close) = self.take_if(TokenKind::RightBrace) {
                return Ok((matchers, open.span.to(close.span)));
            }
            if self.take_if(TokenKind::Comma).is_none() {
                return self.unexpected_in(MANY_MATCHERS, "\",\" or \"}\"");
            }
        }
    }

    /// One matcher; none if its regular expression is an error.
    fn label_matcher(&mut self) -> Parsed<Option<Matcher>> {
        let label = self.peek();
        let quoted = match label.kind {
            TokenKind::Identifier => false,
            TokenKind::String => true,
            _ => return self.unexpected_in(MANY_MATCHERS, "identifier or \"}\""),
        };
        self.take();
        let text = self.text(label.span);
        let name = if quoted { self.unquote(label) } else { text.to_owned() };
        let op = match self.peek().kind {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::RegexEqual => MatchOp::Regex,
            TokenKind::RegexNotEqual => MatchOp::NotRegex,
            // A quoted string alone is the metric name.
            _ if quoted => return Ok(Some(Matcher::equal(METRIC_NAME, name))),
            _ => return self.unexpected_in(MANY_MATCHERS, "label matching operator"),
        };
        self.take();
        let Some(value) = self.take_if(TokenKind::String) else {
            return self.unexpected_in(MANY_MATCHERS, "string");
        };
        let pattern = self.unquote(value);
        match Matcher::new(op, name, pattern) {
            Ok(matcher) => {
                self.limit_matchers(&matcher, label.span.to(value.span))?;
                Ok(Some(matcher))
            }
            Err(e) => {
                self.error(label.span.to(value.span), e.to_string());
                Ok(None)
            }
        }
    }

    /// Counts a matcher towards the limits of the query.
    fn limit_matchers(&mut self, matcher: &Matcher, span: Span) -> Parsed<()> {
        self.matchers += 1;
        if let Some(bytes) = matcher.automaton_bytes() {
            self.automata_bytes += bytes.max(LEAST_AUTOMATON_BYTES);
        }
        if self.matchers > MAX_MATCHERS {
            self.error(span, format!("too many label matchers, at most {MAX_MATCHERS} are supported"));
            return Err(Stop);
        }
        if self.automata_bytes > MAX_AUTOMATA_BYTES {
            self.error(span, "too many or too large regular expressions in the query");
            return Err(Stop);
        }
        Ok(())
    }

    /// What follows an expression and changes its time.
    pub(super) fn postfix(&mut self, expr: &mut Expr) -> Parsed<()> {
        loop {
            match self.peek().kind {
                TokenKind::LeftBracket => self.range_or_subquery(expr)?,
                TokenKind::Keyword(Keyword::Offset) => {
                    self.take();
                    let offset = self.recovering(Recovery::Offset, Self::offset)?;
                    self.set_offset(expr, offset);
                }
                TokenKind::At => {
                    self.take();
                    self.at_modifier(expr)?;
                }
                TokenKind::Keyword(Keyword::Anchored) => {
                    self.take();
                    self.set_modifier(expr, RangeModifier::Anchored);
                }
                TokenKind::Keyword(Keyword::Smoothed) => {
                    self.take();
                    self.set_modifier(expr, RangeModifier::Smoothed);
                }
                _ => return Ok(()),
            }
        }
    }

    /// `[5m]` or `[5m:1m]` after an expression.
    fn range_or_subquery(&mut self, expr: &mut Expr) -> Parsed<()> {
        let open = self.take().span;
        let height = self.height;
        let range = self.recovering(Recovery::Range, Self::positive_duration)?;
        if self.take_if(TokenKind::Colon).is_none() {
            if self.take_if(TokenKind::RightBracket).is_none() {
                return self.unexpected_in("subquery or range", "\":\" or \"]\"");
            }
            self.grow(height, open)?;
            self.make_matrix(expr, range, open);
            return Ok(());
        }
        let mut step = None;
        if self.take_if(TokenKind::RightBracket).is_none() {
            step = Some(self.recovering(Recovery::Step, Self::positive_duration)?);
            if self.take_if(TokenKind::RightBracket).is_none() {
                return self.unexpected_in("subquery selector", "\"]\"");
            }
        }
        self.grow(height, open)?;
        let span = Span::new(expr.span.start, self.last_end);
        let inner = std::mem::replace(expr, placeholder(span));
        let subquery = SubqueryExpr { expr: inner, range, step, offset: None, at: None };
        expr.kind = ExprKind::Subquery(Box::new(subquery));
        Ok(())
    }

    /// Makes a range selector of an instant selector; anything else is an error.
    fn make_matrix(&mut self, expr: &mut Expr, range: DurationExpr, open: Span) {
        let span = Span::new(expr.span.start, self.last_end);
        let fault = match &expr.kind {
            ExprKind::Vector(selector) if selector.offset.is_some() => {
                Some("no offset modifiers allowed before range")
            }
            ExprKind::Vector(selector) if selector.at.is_some() => {
                Some("no @ modifiers allowed before range")
            }
            ExprKind::Vector(_) => None,
            _ => Some("ranges only allowed for vector selectors"),
        };
        if let Some(message) = fault {
            self.error(Span::new(open.start, self.last_end), message);
        }
        let inner = std::mem::replace(expr, placeholder(span));
        let selector_span = inner.span;
        let selector = match inner.kind {
            ExprKind::Vector(selector) => selector,
            _ => selector_of(None, Vec::new()),
        };
        expr.kind = ExprKind::Matrix(Box::new(MatrixSelector { selector, selector_span, range }));
    }

    /// Sets the offset; none is an offset of 0.
    fn set_offset(&mut self, expr: &mut Expr, offset: Option<DurationExpr>) {
        let place = match &mut expr.kind {
            ExprKind::Vector(selector) => &mut selector.offset,
            ExprKind::Matrix(matrix) => &mut matrix.selector.offset,
            ExprKind::Subquery(subquery) => &mut subquery.offset,
            _ => {
                let message = "offset modifier must be preceded by an instant vector selector or range \
                               vector selector or a subquery";
                return self.error(expr.span, message);
            }
        };
        if place.is_some() {
            return self.error(expr.span, "offset may not be set multiple times");
        }
        *place = offset;
        expr.span.end = self.last_end;
    }

    /// `@ 1609746000`, `@ start()` or `@ end()`; the `@` has been taken.
    fn at_modifier(&mut self, expr: &mut Expr) -> Parsed<()> {
        let at = match self.peek().kind {
            TokenKind::Keyword(Keyword::Start) => self.no_arguments().then_some(AtModifier::Start),
            TokenKind::Keyword(Keyword::End) => self.no_arguments().then_some(AtModifier::End),
            _ => self.signed_number().map(|seconds| AtModifier::At(self.timestamp(seconds, expr.span))),
        };
        let Some(at) = at else {
            return self.unexpected_in("@", "timestamp");
        };
        self.set_at(expr, at);
        Ok(())
    }

    /// Takes a word and `()`; whether both were there.
    fn no_arguments(&mut self) -> bool {
        self.take();
        self.take_if(TokenKind::LeftParen).is_some() && self.take_if(TokenKind::RightParen).is_some()
    }

    /// Seconds as milliseconds, if there is such a time.
    fn timestamp(&mut self, seconds: f64, span: Span) -> TimestampMs {
        let limit = i64::MAX as f64;
        if !(-limit < seconds && seconds < limit) {
            let shown = if seconds.is_infinite() {
                if seconds > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
            } else {
                format!("{seconds:.6}")
            };
            self.error(span, format!("timestamp out of bounds for @ modifier: {shown}"));
        }
        (seconds * 1000.0).round() as TimestampMs
    }

    fn set_at(&mut self, expr: &mut Expr, at: AtModifier) {
        let place = match &mut expr.kind {
            ExprKind::Vector(selector) => &mut selector.at,
            ExprKind::Matrix(matrix) => &mut matrix.selector.at,
            ExprKind::Subquery(subquery) => &mut subquery.at,
            _ => {
                let message = "@ modifier must be preceded by an instant vector selector or range vector \
                               selector or a subquery";
                return self.error(expr.span, message);
            }
        };
        if place.is_some() {
            return self.error(expr.span, "@ <timestamp> may not be set multiple times");
        }
        *place = Some(at);
        expr.span.end = self.last_end;
    }

    fn set_modifier(&mut self, expr: &mut Expr, modifier: RangeModifier) {
        if !self.features.extended_range_selectors {
            let message = format!("{modifier} modifier is experimental and not enabled");
            return self.needs_feature(expr.span, message, "promql-extended-range-selectors");
        }
        let place = match &mut expr.kind {
            ExprKind::Vector(selector) => &mut selector.modifier,
            ExprKind::Matrix(matrix) => &mut matrix.selector.modifier,
            ExprKind::Subquery(_) => {
                let message = format!("{modifier} modifier is not supported for subqueries");
                return self.error(expr.span, message);
            }
            _ => return self.error(expr.span, format!("{modifier} modifier not implemented")),
        };
        if place.is_some_and(|other| other != modifier) {
            return self.error(expr.span, "anchored and smoothed modifiers cannot be used together");
        }
        *place = Some(modifier);
        expr.span.end = self.last_end;
    }
}

fn selector_of(name: Option<String>, matchers: Vec<Matcher>) -> VectorSelector {
    VectorSelector { name, matchers, offset: None, at: None, modifier: None, bare: false }
}

/// What stands in the tree while a node is taken out of it, or where there is an error.
fn placeholder(span: Span) -> Expr {
    Expr { kind: ExprKind::String(String::new()), span }
}
