//! Query text to a syntax tree.
//!
//! A hand-written parser: binary operators by binding power, everything else by recursive descent.
//! Messages and their places are Prometheus' own (`promql/parser/generated_parser.y`, `parse.go`): where
//! its generated parser, at a syntax error, falls back to the innermost rule that can take one, this one
//! keeps in [`Recovery`] which rule that would be.

mod check;
mod duration;
mod expression;
mod selector;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::diag::closest;
use crate::model::{LineColumn, Matcher, Span};

use super::ast::{Expr, ExprKind};
use super::features::Features;
use super::functions;
use super::lexer::Lexer;
use super::token::{Token, TokenKind};

/// How deeply expressions may be nested, a chain of operators counting one level each. Everything that
/// walks a tree recurses, and a thread's stack is finite; Prometheus has no such limit.
pub const MAX_DEPTH: usize = 256;

/// How many label matchers a query may have: each is checked on every series. Prometheus has no such limit,
/// nor the next one.
const MAX_MATCHERS: usize = 10_000;

/// How much memory the automata of a query's regular expressions may take together, in bytes. They are
/// built when the query is parsed, which no timeout ends.
const MAX_AUTOMATA_BYTES: usize = 64 << 20;

/// What an automaton counts as at least: the time that it takes is not all for its size.
const LEAST_AUTOMATON_BYTES: usize = 64 << 10;

/// The stack that a thread needs in order to parse, print, evaluate and drop expressions of any kind that
/// are [`MAX_DEPTH`] levels deep: twice of what was measured without optimisation.
pub const STACK_BYTES: usize = 8 << 20;

/// Something wrong with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What part of the query it is about.
    pub span: Span,
    /// What is wrong, in Prometheus' words.
    pub message: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
    /// The feature that would have to be enabled for it.
    pub feature: Option<&'static str>,
    /// Line and column of the span's start; none in an empty query.
    pub place: Option<LineColumn>,
}

/// `1:5: parse error: …`, as Prometheus' API shows it.
impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(f, "{place}: parse error: {}", self.message),
            None => write!(f, "unknown position: parse error: {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}

/// Parses a query and checks its types, with the features that are on by default. On failure there is at
/// least one error; the first one is the one that Prometheus would show.
pub fn parse(query: &str) -> Result<Expr, Vec<ParseError>> {
    parse_with(query, Features::default())
}

/// Parses a query with these features.
pub fn parse_with(query: &str, features: Features) -> Result<Expr, Vec<ParseError>> {
    let mut parser = Parser::new(query, features);
    let parsed = parser.whole_expression();
    match parsed {
        Ok(mut expr) if parser.errors.is_empty() => {
            check::check(&mut expr, &mut parser);
            if parser.errors.is_empty() { Ok(*expr) } else { Err(parser.errors) }
        }
        _ => Err(parser.errors),
    }
}

/// Parses a selector without range, such as the API's `match[]` holds. It may match everything.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, Vec<ParseError>> {
    Ok(parse_selectors([text])?.remove(0))
}

/// Parses selectors that are asked for together: the limits of a query hold for all of them as one. Gives as
/// many as there are texts.
pub fn parse_selectors<'q>(
    texts: impl IntoIterator<Item = &'q str>,
) -> Result<Vec<Vec<Matcher>>, Vec<ParseError>> {
    let (mut selectors, mut matchers, mut automata_bytes) = (Vec::new(), 0, 0);
    for text in texts {
        let mut parser = Parser { matchers, automata_bytes, ..Parser::new(text, Features::default()) };
        match parser.whole_selector() {
            Ok(selector) if parser.errors.is_empty() => selectors.push(selector.matchers),
            _ => return Err(parser.errors),
        }
        (matchers, automata_bytes) = (parser.matchers, parser.automata_bytes);
    }
    Ok(selectors)
}

/// A syntax error has been recorded; there is nothing to go on with.
#[derive(Debug, Clone, Copy)]
struct Stop;

type Parsed<T> = Result<T, Stop>;

/// The innermost rule that takes a syntax error, if it is not one of the places that say so themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    /// The query as a whole.
    Query,
    /// An aggregation, from its operator to the end of its arguments.
    Aggregation,
    /// After `[`, before the range is complete.
    Range,
    /// After the colon of a subquery.
    Step,
    /// After `offset`.
    Offset,
}

#[derive(Debug)]
struct Parser<'q> {
    query: &'q str,
    lexer: Lexer<'q>,
    /// The next token, if it has been read. It is read as late as possible, so that errors come up in
    /// the order of the text.
    ahead: Option<Token>,
    /// Where the token ends that was taken last.
    last_end: usize,
    features: Features,
    recovery: Recovery,
    errors: Vec<ParseError>,
    /// How many expressions are open.
    depth: usize,
    /// How many levels the expression has that was parsed last.
    height: usize,
    /// How many label matchers there are.
    matchers: usize,
    /// How much memory the automata of their regular expressions take.
    automata_bytes: usize,
}

impl<'q> Parser<'q> {
    fn new(query: &'q str, features: Features) -> Self {
        Self {
            query,
            lexer: Lexer::new(query),
            ahead: None,
            last_end: 0,
            features,
            recovery: Recovery::Query,
            errors: Vec::new(),
            depth: 0,
            height: 0,
            matchers: 0,
            automata_bytes: 0,
        }
    }

    fn whole_expression(&mut self) -> Parsed<Box<Expr>> {
        if self.peek().kind == TokenKind::End {
            self.error(Span::default(), "no expression found in input");
            return Err(Stop);
        }
        let expr = self.expression()?;
        self.expect_end()?;
        Ok(expr)
    }

    fn whole_selector(&mut self) -> Parsed<super::ast::VectorSelector> {
        let expr = self.vector_selector()?;
        self.expect_end()?;
        match expr.kind {
            ExprKind::Vector(selector) => Ok(selector),
            _ => Err(Stop),
        }
    }

    fn expect_end(&mut self) -> Parsed<()> {
        if self.peek().kind == TokenKind::End { Ok(()) } else { self.unexpected() }
    }

    /// The next token, which stays the next one.
    fn peek(&mut self) -> Token {
        if let Some(token) = self.ahead {
            return token;
        }
        let token = self.lexer.next_token().unwrap_or_else(|fault| {
            let span = Span::new(fault.start, self.query.len());
            self.error(span, fault.message);
            Token { kind: TokenKind::Fault, span }
        });
        self.ahead = Some(token);
        token
    }

    /// Takes the next token.
    fn take(&mut self) -> Token {
        let token = self.peek();
        self.ahead = None;
        self.last_end = token.span.end;
        token
    }

    /// Takes the next token if it is of that kind.
    fn take_if(&mut self, kind: TokenKind) -> Option<Token> {
        (self.peek().kind == kind).then(|| self.take())
    }

    fn text(&self, span: Span) -> &'q str {
        &self.query[span.start..span.end]
    }

    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.error_with_hint(span, message, None);
    }

    fn error_with_hint(&mut self, span: Span, message: impl Into<String>, hint: Option<String>) {
        let place = (!self.query.is_empty()).then(|| LineColumn::of(self.query, span.start));
        self.errors.push(ParseError { span, message: message.into(), hint, feature: None, place });
    }

    /// Records that a construct needs a feature that is off.
    fn needs_feature(&mut self, span: Span, message: impl Into<String>, feature: &'static str) {
        self.error_with_hint(span, message, Some(format!("enable the feature `{feature}`")));
        if let Some(error) = self.errors.last_mut() {
            error.feature = Some(feature);
        }
    }

    /// Looks a function up that a call names; an unknown or disabled one is an error.
    fn known_function(&mut self, name: &str, span: Span) -> &'static str {
        let Some(function) = functions::lookup(name) else {
            let names = functions::all().iter().map(|function| function.name);
            let hint = closest(name, names).map(|meant| format!("did you mean `{meant}`?"));
            let message = format!("unknown function with name {}", crate::model::quote(name));
            self.error_with_hint(span, message, hint);
            return "";
        };
        if function.experimental && !self.features.experimental_functions {
            let message = format!("function \"{name}\" is not enabled");
            self.needs_feature(span, message, "promql-experimental-functions");
        }
        function.name
    }

    /// Records that the next token is a syntax error, in the words of the innermost rule that takes it.
    fn unexpected<T>(&mut self) -> Parsed<T> {
        let duration = "number, duration, step(), or range()";
        match self.recovery {
            Recovery::Query => self.unexpected_in("", ""),
            Recovery::Aggregation => self.unexpected_in("aggregation", ""),
            Recovery::Range => self.unexpected_in("subquery or range selector", duration),
            Recovery::Step => {
                self.unexpected_in("subquery selector", "number, duration, step(), range(), or \"]\"")
            }
            Recovery::Offset => self.unexpected_in("offset", duration),
        }
    }

    /// Records that the next token is a syntax error; of text that is no token that is known already.
    fn unexpected_in<T>(&mut self, context: &str, expected: &str) -> Parsed<T> {
        let token = self.peek();
        if token.kind != TokenKind::Fault {
            let mut message = format!("unexpected {}", token.describe(self.query));
            if !context.is_empty() {
                message.push_str(" in ");
                message.push_str(context);
            }
            if !expected.is_empty() {
                message.push_str(", expected ");
                message.push_str(expected);
            }
            self.error(token.span, message);
        }
        Err(Stop)
    }

    /// Parses something while syntax errors belong to another rule.
    fn recovering<T>(&mut self, recovery: Recovery, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let outer = std::mem::replace(&mut self.recovery, recovery);
        let parsed = parse(self);
        self.recovery = outer;
        parsed
    }

    /// Opens an expression inside another one.
    fn descend(&mut self, at: Span) -> Parsed<()> {
        self.depth += 1;
        self.check_depth(self.depth, at)
    }

    /// Notes that an expression has been put together from parts of at most `height` levels.
    fn grow(&mut self, height: usize, at: Span) -> Parsed<()> {
        self.height = height + 1;
        self.check_depth(self.height, at)
    }

    fn check_depth(&mut self, depth: usize, at: Span) -> Parsed<()> {
        if depth <= MAX_DEPTH {
            return Ok(());
        }
        self.error(at, format!("expression is nested too deeply, at most {MAX_DEPTH} levels are supported"));
        Err(Stop)
    }
}
