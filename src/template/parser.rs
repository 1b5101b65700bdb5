//! Tokens to a tree, with the rules and messages of Go's `text/template/parse`.

use std::collections::BTreeMap;

use crate::model::{parse_float, quote};

use super::lexer::{Keyword, LexError, Token, TokenKind, tokens};
use super::syntax::{Branch, Command, Invocation, Node, Number, Operand, OperandKind, Pipeline};
use super::{functions, literal};

/// How deeply actions and parentheses may be nested.
const MAX_NESTING: usize = 100;

/// The main template and those that it defines, by name.
#[derive(Debug, Clone)]
pub(super) struct Trees {
    pub(super) main: Vec<Node>,
    pub(super) defined: BTreeMap<String, Vec<Node>>,
}

/// A fault with its place.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: String,
}

type Parsed<T> = Result<T, Fault>;

/// Parses a template in which these variables exist from the start.
pub(super) fn parse(text: &str, variables: &[&str]) -> Parsed<Trees> {
    let mut parser = Parser {
        tokens: tokens(text),
        next: 0,
        variables: std::iter::once("$").chain(variables.iter().copied()).map(str::to_owned).collect(),
        range_depth: 0,
        nesting: 0,
        defined: BTreeMap::new(),
    };
    let mut main = Vec::new();
    while parser.peek_past_space()?.kind != TokenKind::End {
        if parser.at_definition()? {
            parser.definition()?;
            continue;
        }
        match parser.text_or_action()? {
            Item::Node(node) => main.push(node),
            Item::End => return parser.fault("unexpected {{end}}"),
            Item::Else => return parser.fault("unexpected {{else}}"),
        }
    }
    Ok(Trees { main, defined: parser.defined })
}

/// What a list of nodes consists of, or how it ends.
enum Item {
    Node(Node),
    End,
    Else,
}

struct Parser<'t> {
    tokens: Vec<Result<Token<'t>, LexError>>,
    next: usize,
    variables: Vec<String>,
    range_depth: usize,
    nesting: usize,
    defined: BTreeMap<String, Vec<Node>>,
}

impl<'t> Parser<'t> {
    /// Whether `{{define` comes next.
    fn at_definition(&mut self) -> Parsed<bool> {
        let start = self.next;
        let found = self.take()?.kind == TokenKind::LeftDelimiter
            && self.take_past_space()?.kind == TokenKind::Keyword(Keyword::Define);
        if !found {
            self.next = start;
        }
        Ok(found)
    }

    /// A definition after `{{define`.
    fn definition(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        let name = self.template_name(CONTEXT)?;
        self.expect_right_delimiter(CONTEXT)?;
        self.separate_template(name, CONTEXT)
    }

    /// The body of a definition or block: it has its own variables.
    fn separate_template(&mut self, name: String, context: &str) -> Parsed<()> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let outer_depth = std::mem::take(&mut self.range_depth);
        let (body, ended) = self.list()?;
        if !ended {
            return self.fault(format!("unexpected {{{{else}}}} in {context}"));
        }
        self.variables = outer;
        self.range_depth = outer_depth;
        if is_empty(&body) && self.defined.contains_key(&name) {
            return Ok(());
        }
        if self.defined.get(&name).is_some_and(|known| !is_empty(known)) {
            return self.fault(format!("template: multiple definition of template {}", quote(&name)));
        }
        self.defined.insert(name, body);
        Ok(())
    }

    fn template_name(&mut self, context: &str) -> Parsed<String> {
        let token = self.take_past_space()?;
        match token.kind {
            TokenKind::String | TokenKind::RawString => self.unquote(&token),
            _ => unexpected(&token, context),
        }
    }

    /// Nodes up to an `{{end}}` or `{{else}}`, and whether it was an end.
    fn list(&mut self) -> Parsed<(Vec<Node>, bool)> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.fault(format!("template is nested too deeply, at most {MAX_NESTING} levels"));
        }
        let mut nodes = Vec::new();
        while self.peek_past_space()?.kind != TokenKind::End {
            let item = self.text_or_action()?;
            match item {
                Item::Node(node) => nodes.push(node),
                Item::End | Item::Else => {
                    self.nesting -= 1;
                    return Ok((nodes, matches!(item, Item::End)));
                }
            }
        }
        self.fault("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Parsed<Item> {
        let token = self.take_past_space()?;
        match token.kind {
            TokenKind::Text => Ok(Item::Node(Node::Text(token.text.to_owned()))),
            TokenKind::LeftDelimiter => self.action(),
            _ => unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Parsed<Item> {
        let token = self.peek_past_space()?;
        let TokenKind::Keyword(keyword) = token.kind else {
            let pipeline = self.pipeline("command", TokenKind::RightDelimiter)?;
            return Ok(Item::Node(Node::Action(pipeline)));
        };
        self.take_past_space()?;
        Ok(match keyword {
            Keyword::If => Item::Node(Node::If(self.branch("if")?)),
            Keyword::With => Item::Node(Node::With(self.branch("with")?)),
            Keyword::Range => Item::Node(Node::Range(self.branch("range")?)),
            Keyword::Break => {
                self.inside_range("{{break}}")?;
                Item::Node(Node::Break)
            }
            Keyword::Continue => {
                self.inside_range("{{continue}}")?;
                Item::Node(Node::Continue)
            }
            Keyword::Template => {
                let name = self.template_name("template clause")?;
                let argument = if self.peek_past_space()?.kind == TokenKind::RightDelimiter {
                    self.take_past_space()?;
                    None
                } else {
                    Some(self.pipeline("template clause", TokenKind::RightDelimiter)?)
                };
                Item::Node(Node::Template(Invocation { at: token.at, name, argument }))
            }
            Keyword::Block => {
                let name = self.template_name("block clause")?;
                let argument = Some(self.pipeline("block clause", TokenKind::RightDelimiter)?);
                self.separate_template(name.clone(), "block clause")?;
                Item::Node(Node::Template(Invocation { at: token.at, name, argument }))
            }
            Keyword::End => {
                self.expect_right_delimiter("end")?;
                Item::End
            }
            Keyword::Else => {
                // `{{else if …}}` and `{{else with …}}` leave their word to the branch.
                let next = self.peek_past_space()?.kind;
                if !matches!(next, TokenKind::Keyword(Keyword::If | Keyword::With)) {
                    self.expect_right_delimiter("else")?;
                }
                Item::Else
            }
            Keyword::Define => return unexpected(&token, "command"),
        })
    }

    fn inside_range(&mut self, word: &str) -> Parsed<()> {
        let token = self.take_past_space()?;
        if token.kind != TokenKind::RightDelimiter {
            return unexpected(&token, word);
        }
        if self.range_depth == 0 {
            return self.fault(format!("{word} outside {{{{range}}}}"));
        }
        Ok(())
    }

    fn branch(&mut self, context: &str) -> Parsed<Branch> {
        let known = self.variables.len();
        let pipeline = self.pipeline(context, TokenKind::RightDelimiter)?;
        let ranges = usize::from(context == "range");
        self.range_depth += ranges;
        let (body, ended) = self.list()?;
        self.range_depth -= ranges;
        let mut otherwise = Vec::new();
        if !ended {
            let next = self.peek_past_space()?.kind;
            match (context, next) {
                ("if", TokenKind::Keyword(Keyword::If)) => {
                    self.take_past_space()?;
                    otherwise.push(Node::If(self.nested_branch("if")?));
                }
                ("with", TokenKind::Keyword(Keyword::With)) => {
                    self.take_past_space()?;
                    otherwise.push(Node::With(self.nested_branch("with")?));
                }
                (_, TokenKind::Keyword(Keyword::If | Keyword::With)) => {
                    let token = self.take_past_space()?;
                    return unexpected(&token, "input");
                }
                _ => {
                    let (nodes, ended) = self.list()?;
                    if !ended {
                        return self.fault("expected end; found {{else}}");
                    }
                    otherwise = nodes;
                }
            }
        }
        self.variables.truncate(known);
        Ok(Branch { pipeline, body, otherwise })
    }

    /// The branch of an `{{else if}}`: it ends with the same `{{end}}`.
    fn nested_branch(&mut self, context: &str) -> Parsed<Branch> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.fault(format!("template is nested too deeply, at most {MAX_NESTING} levels"));
        }
        let branch = self.branch(context)?;
        self.nesting -= 1;
        Ok(branch)
    }

    fn pipeline(&mut self, context: &str, end: TokenKind) -> Parsed<Pipeline> {
        let at = self.peek_past_space()?.at;
        let mut pipeline = Pipeline { at, variables: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(&mut pipeline, context)?;
        loop {
            let token = self.peek_past_space()?;
            match token.kind {
                kind if kind == end => {
                    self.take_past_space()?;
                    break;
                }
                TokenKind::Bool
                | TokenKind::CharConstant
                | TokenKind::Dot
                | TokenKind::Field
                | TokenKind::Identifier
                | TokenKind::Number
                | TokenKind::Nil
                | TokenKind::RawString
                | TokenKind::String
                | TokenKind::Variable
                | TokenKind::LeftParen => pipeline.commands.push(self.command()?),
                _ => {
                    self.take_past_space()?;
                    return unexpected(&token, context);
                }
            }
        }
        if pipeline.commands.is_empty() {
            return self.fault(format!("missing value for {context}"));
        }
        for (index, command) in pipeline.commands.iter().enumerate().skip(1) {
            let constant = matches!(
                command.words[0].kind,
                OperandKind::Bool(_)
                    | OperandKind::Dot
                    | OperandKind::Nil
                    | OperandKind::Number(_)
                    | OperandKind::String { .. }
            );
            if constant {
                return self.fault(format!("non executable command in pipeline stage {}", index + 1));
            }
        }
        Ok(pipeline)
    }

    /// `$x :=`, `$x =` or in a range `$i, $x :=`, if that is what comes first.
    fn declarations(&mut self, pipeline: &mut Pipeline, context: &str) -> Parsed<()> {
        while self.peek_past_space()?.kind == TokenKind::Variable {
            let start = self.next;
            let variable = self.take_past_space()?;
            let sign = self.peek_past_space()?;
            match sign.kind {
                TokenKind::Assign | TokenKind::Declare => {
                    self.take_past_space()?;
                    pipeline.assigns = sign.kind == TokenKind::Assign;
                    pipeline.variables.push(variable.text.to_owned());
                    self.variables.push(variable.text.to_owned());
                    return Ok(());
                }
                TokenKind::Char if sign.text == "," => {
                    self.take_past_space()?;
                    pipeline.variables.push(variable.text.to_owned());
                    self.variables.push(variable.text.to_owned());
                    if context != "range" || pipeline.variables.len() > 1 {
                        return self.fault(format!("too many declarations in {context}"));
                    }
                    if self.peek_past_space()?.kind != TokenKind::Variable {
                        return self.fault("range can only initialize variables");
                    }
                }
                _ => {
                    self.next = start;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Parsed<Command> {
        let at = self.peek_past_space()?.at;
        let mut words = Vec::new();
        loop {
            self.peek_past_space()?;
            words.extend(self.operand()?);
            let token = self.take()?;
            match token.kind {
                TokenKind::Space => {}
                TokenKind::RightDelimiter | TokenKind::RightParen => {
                    self.next -= 1;
                    break;
                }
                TokenKind::Pipe => break,
                _ => return unexpected(&token, "operand"),
            }
        }
        if words.is_empty() {
            return self.fault("empty command");
        }
        Ok(Command { at, words })
    }

    /// A term and the fields that directly follow it.
    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term()? else {
            return Ok(None);
        };
        let first = self.peek()?;
        let mut names = Vec::new();
        while self.peek()?.kind == TokenKind::Field {
            names.push(field_name(&self.take()?));
        }
        if names.is_empty() {
            return Ok(Some(operand));
        }
        match &mut operand.kind {
            OperandKind::Field(known) | OperandKind::Variable(_, known) => {
                known.extend(names);
                // Go takes the place of the first further field.
                operand.at = first.at;
                Ok(Some(operand))
            }
            OperandKind::Bool(_)
            | OperandKind::String { .. }
            | OperandKind::Number(_)
            | OperandKind::Nil
            | OperandKind::Dot => {
                self.fault(format!("unexpected . after term {}", quote(&operand.to_string())))
            }
            _ => Ok(Some(Operand { at: first.at, kind: OperandKind::Chain(Box::new(operand), names) })),
        }
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.peek_past_space()?;
        let kind = match token.kind {
            TokenKind::Identifier => {
                self.take_past_space()?;
                if !functions::exists(token.text) {
                    return self.fault(format!("function {} not defined", quote(token.text)));
                }
                OperandKind::Identifier(token.text.to_owned())
            }
            TokenKind::Dot => OperandKind::Dot,
            TokenKind::Nil => OperandKind::Nil,
            TokenKind::Bool => OperandKind::Bool(token.text == "true"),
            TokenKind::Variable => {
                self.take_past_space()?;
                if !self.variables.iter().any(|known| known == token.text) {
                    return self.fault(format!("undefined variable {}", quote(token.text)));
                }
                OperandKind::Variable(token.text.to_owned(), Vec::new())
            }
            TokenKind::Field => OperandKind::Field(vec![field_name(&token)]),
            TokenKind::Number | TokenKind::CharConstant => {
                self.take_past_space()?;
                OperandKind::Number(self.number(&token)?)
            }
            TokenKind::String | TokenKind::RawString => {
                self.take_past_space()?;
                let value = self.unquote(&token)?;
                OperandKind::String { value, source: token.text.to_owned() }
            }
            TokenKind::LeftParen => {
                self.take_past_space()?;
                self.nesting += 1;
                if self.nesting > MAX_NESTING {
                    return self
                        .fault(format!("template is nested too deeply, at most {MAX_NESTING} levels"));
                }
                let pipeline = self.pipeline("parenthesized pipeline", TokenKind::RightParen)?;
                self.nesting -= 1;
                return Ok(Some(Operand { at: pipeline.at, kind: OperandKind::Pipeline(pipeline) }));
            }
            _ => return Ok(None),
        };
        if matches!(token.kind, TokenKind::Dot | TokenKind::Nil | TokenKind::Bool | TokenKind::Field) {
            self.take_past_space()?;
        }
        Ok(Some(Operand { at: token.at, kind }))
    }

    fn number(&mut self, token: &Token<'t>) -> Parsed<Number> {
        let source = token.text.to_owned();
        if token.kind == TokenKind::CharConstant {
            let Some(c) = literal::character(token.text) else {
                return self.fault(format!("malformed character constant: {}", token.text));
            };
            let code = i64::from(u32::from(c));
            return Ok(Number { source, integer: Some(code), float: code as f64 });
        }
        if let Some(integer) = literal::integer(token.text) {
            return Ok(Number { source, integer: Some(integer), float: integer as f64 });
        }
        let Some(float) = parse_float(&token.text.replace('_', "")) else {
            return self.fault(format!("illegal number syntax: {}", quote(token.text)));
        };
        if !token.text.contains(['.', 'e', 'E', 'p', 'P']) {
            return self.fault(format!("integer overflow: {}", quote(token.text)));
        }
        let whole = float as i64;
        let integer = (whole as f64 == float).then_some(whole);
        Ok(Number { source, integer, float })
    }

    fn unquote(&mut self, token: &Token<'t>) -> Parsed<String> {
        match literal::unquote(token.text) {
            Some(text) => Ok(text),
            None => self.fault("invalid syntax"),
        }
    }

    fn expect_right_delimiter(&mut self, context: &str) -> Parsed<()> {
        let token = self.take_past_space()?;
        if token.kind == TokenKind::RightDelimiter { Ok(()) } else { unexpected(&token, context) }
    }

    /// A fault at the token that was read last.
    fn fault<T>(&self, message: impl Into<String>) -> Parsed<T> {
        let at = match self.tokens.get(self.next.saturating_sub(1)) {
            Some(Ok(token)) => token.at,
            Some(Err(error)) => error.at,
            None => 0,
        };
        Err(Fault { at, message: message.into() })
    }

    fn peek(&self) -> Parsed<Token<'t>> {
        match self.tokens.get(self.next).or(self.tokens.last()) {
            Some(Ok(token)) => Ok(token.clone()),
            Some(Err(error)) => Err(Fault { at: error.at, message: error.message.clone() }),
            None => Ok(Token { kind: TokenKind::End, at: 0, text: "" }),
        }
    }

    fn take(&mut self) -> Parsed<Token<'t>> {
        let token = self.peek()?;
        self.next += 1;
        Ok(token)
    }

    fn peek_past_space(&mut self) -> Parsed<Token<'t>> {
        while self.peek()?.kind == TokenKind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn take_past_space(&mut self) -> Parsed<Token<'t>> {
        self.peek_past_space()?;
        self.take()
    }
}

fn unexpected<T>(token: &Token<'_>, context: &str) -> Parsed<T> {
    Err(Fault { at: token.at, message: format!("unexpected {} in {context}", token.describe()) })
}

/// `.name` without its dot.
fn field_name(token: &Token<'_>) -> String {
    token.text.strip_prefix('.').unwrap_or(token.text).to_owned()
}

/// Whether a template prints nothing; such a one may be defined again.
fn is_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}
