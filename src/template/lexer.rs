//! Template text to tokens, as Go's `text/template/parse` splits it.

use crate::model::quote;

/// A token with the place of its first byte.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: TokenKind,
    pub(super) at: usize,
    pub(super) text: &'t str,
}

/// The kinds of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Text outside of actions; trimmed.
    Text,
    /// `{{`
    LeftDelimiter,
    /// `}}`
    RightDelimiter,
    /// Blanks inside an action: they separate arguments.
    Space,
    Assign,
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    /// Any other character; only the comma has a meaning.
    Char,
    Dot,
    /// `.name`
    Field,
    /// `$name` or `$`
    Variable,
    Identifier,
    Bool,
    Nil,
    Number,
    CharConstant,
    String,
    RawString,
    Keyword(Keyword),
    End,
}

/// The words that begin control actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

impl Token<'_> {
    /// How messages call the token.
    pub(super) fn describe(&self) -> String {
        match self.kind {
            TokenKind::End => "EOF".to_owned(),
            TokenKind::Keyword(_) | TokenKind::Dot | TokenKind::Nil => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                let head: String = self.text.chars().take(10).collect();
                format!("{}...", quote(&head))
            }
            _ => quote(self.text).to_string(),
        }
    }
}

/// Text that is no template.
#[derive(Debug)]
pub(super) struct LexError {
    pub(super) at: usize,
    pub(super) message: String,
}

/// What trimming removes beside an action with `-`.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits the whole text. An error is the last of the tokens.
pub(super) fn tokens(text: &str) -> Vec<Result<Token<'_>, LexError>> {
    let mut lexer = Lexer { text, at: 0, paren_depth: 0, out: Vec::new() };
    match lexer.all() {
        Ok(()) => {
            let at = text.len();
            lexer.out.push(Ok(Token { kind: TokenKind::End, at, text: "" }));
        }
        Err(error) => lexer.out.push(Err(error)),
    }
    lexer.out
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    paren_depth: usize,
    out: Vec<Result<Token<'t>, LexError>>,
}

impl Lexer<'_> {
    fn all(&mut self) -> Result<(), LexError> {
        let mut trim_start = false;
        loop {
            let rest = &self.text[self.at..];
            let open = rest.find("{{");
            let mut text = &rest[..open.unwrap_or(rest.len())];
            let start = self.at;
            let trim_end = open.is_some_and(|open| trims_left(&rest[open + 2..]));
            if trim_end {
                text = text.trim_end_matches(BLANKS);
            }
            let kept = if trim_start { text.trim_start_matches(BLANKS) } else { text };
            if !kept.is_empty() {
                let at = start + (text.len() - kept.len());
                self.out.push(Ok(Token { kind: TokenKind::Text, at, text: kept }));
            }
            let Some(open) = open else {
                return Ok(());
            };
            self.at += open;
            trim_start = self.action()?;
        }
    }

    /// An action with its delimiters; whether the text after it is trimmed.
    fn action(&mut self) -> Result<bool, LexError> {
        let open = self.at;
        let marker = if trims_left(&self.text[self.at + 2..]) { 2 } else { 0 };
        if self.text[open + 2 + marker..].starts_with("/*") {
            return self.comment(open + 2 + marker);
        }
        self.at += 2;
        self.emit(TokenKind::LeftDelimiter, open);
        self.at += marker;
        self.paren_depth = 0;
        loop {
            if let Some((length, trims)) = self.right_delimiter() {
                if self.paren_depth > 0 {
                    return self.fault(self.at, "unclosed left paren");
                }
                let start = self.at;
                self.at += length;
                self.emit(TokenKind::RightDelimiter, start);
                return Ok(trims);
            }
            self.inside_action()?;
        }
    }

    fn comment(&mut self, start: usize) -> Result<bool, LexError> {
        let Some(length) = self.text[start..].find("*/") else {
            return self.fault(start, "unclosed comment");
        };
        self.at = start + length + 2;
        let Some((length, trims)) = self.right_delimiter() else {
            return self.fault(start, "comment ends before closing delimiter");
        };
        self.at += length;
        Ok(trims)
    }

    /// The length of the closing delimiter here, if there is one, and whether it trims.
    fn right_delimiter(&self) -> Option<(usize, bool)> {
        let rest = &self.text[self.at..];
        if rest.starts_with("}}") {
            return Some((2, false));
        }
        let blanks = rest.len() - rest.trim_start_matches(BLANKS).len();
        (blanks > 0 && rest[blanks..].starts_with("-}}")).then_some((blanks + 3, true))
    }

    fn inside_action(&mut self) -> Result<(), LexError> {
        let start = self.at;
        let Some(c) = self.take() else {
            return self.fault(start, "unclosed action");
        };
        let next = self.peek();
        match c {
            ' ' | '\t' | '\r' | '\n' => {
                // The blank before `-}}` belongs to the delimiter.
                while self.right_delimiter().is_none() && self.take_if(|c| BLANKS.contains(&c)) {}
                self.emit(TokenKind::Space, start);
            }
            '=' => self.emit(TokenKind::Assign, start),
            ':' if next == Some('=') => {
                self.at += 1;
                self.emit(TokenKind::Declare, start);
            }
            ':' => return self.fault(start, "expected :="),
            '|' => self.emit(TokenKind::Pipe, start),
            '"' => self.quoted('"', start, TokenKind::String, "unterminated quoted string")?,
            '\'' => self.quoted('\'', start, TokenKind::CharConstant, "unterminated character constant")?,
            '`' => {
                let Some(length) = self.text[self.at..].find('`') else {
                    return self.fault(start, "unterminated raw quoted string");
                };
                self.at += length + 1;
                self.emit(TokenKind::RawString, start);
            }
            '$' => self.name(start, TokenKind::Variable, TokenKind::Variable)?,
            '.' if !next.is_some_and(|c| c.is_ascii_digit()) => {
                self.name(start, TokenKind::Field, TokenKind::Dot)?;
            }
            '.' | '+' | '-' | '0'..='9' => self.number(start)?,
            '(' => {
                self.paren_depth += 1;
                self.emit(TokenKind::LeftParen, start);
            }
            ')' => {
                let Some(depth) = self.paren_depth.checked_sub(1) else {
                    return self.fault(start, "unexpected right paren");
                };
                self.paren_depth = depth;
                self.emit(TokenKind::RightParen, start);
            }
            c if is_alphanumeric(c) => self.word(start)?,
            '!'..='~' => self.emit(TokenKind::Char, start),
            c => {
                let message = format!("unrecognized character in action: {}", named_char(c));
                return self.fault(start, message);
            }
        }
        Ok(())
    }

    /// `.name` or `$name`, or the dot or dollar alone.
    fn name(&mut self, start: usize, kind: TokenKind, alone: TokenKind) -> Result<(), LexError> {
        while self.take_if(is_alphanumeric) {}
        self.expect_terminator()?;
        self.emit(if self.at == start + 1 { alone } else { kind }, start);
        Ok(())
    }

    fn word(&mut self, start: usize) -> Result<(), LexError> {
        while self.take_if(is_alphanumeric) {}
        self.expect_terminator()?;
        let kind = match &self.text[start..self.at] {
            "true" | "false" => TokenKind::Bool,
            "nil" => TokenKind::Nil,
            "block" => TokenKind::Keyword(Keyword::Block),
            "break" => TokenKind::Keyword(Keyword::Break),
            "continue" => TokenKind::Keyword(Keyword::Continue),
            "define" => TokenKind::Keyword(Keyword::Define),
            "else" => TokenKind::Keyword(Keyword::Else),
            "end" => TokenKind::Keyword(Keyword::End),
            "if" => TokenKind::Keyword(Keyword::If),
            "range" => TokenKind::Keyword(Keyword::Range),
            "template" => TokenKind::Keyword(Keyword::Template),
            "with" => TokenKind::Keyword(Keyword::With),
            _ => TokenKind::Identifier,
        };
        self.emit(kind, start);
        Ok(())
    }

    /// A name must be followed by something that cannot be part of one.
    fn expect_terminator(&self) -> Result<(), LexError> {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => Ok(()),
            Some(c) if BLANKS.contains(&c) => Ok(()),
            Some(_) if self.text[self.at..].starts_with("}}") => Ok(()),
            Some(c) => self.fault(self.at, format!("bad character {}", named_char(c))),
        }
    }

    /// The rest of a string or character in quotes; what its escapes mean is seen later.
    fn quoted(&mut self, mark: char, start: usize, kind: TokenKind, open: &str) -> Result<(), LexError> {
        loop {
            let c = self.take();
            let escaped = if c == Some('\\') { self.take() } else { None };
            match (c, escaped) {
                (None | Some('\n'), _) | (Some('\\'), None | Some('\n')) => return self.fault(start, open),
                (Some(c), _) if c == mark => break,
                _ => {}
            }
        }
        self.emit(kind, start);
        Ok(())
    }

    /// A number with its sign, base prefix, fraction and exponent.
    fn number(&mut self, start: usize) -> Result<(), LexError> {
        self.at = start;
        self.take_if(|c| matches!(c, '+' | '-'));
        let mut base = 10;
        if self.take_if(|c| c == '0') {
            for (letters, prefix_base) in [("xX", 16), ("oO", 8), ("bB", 2)] {
                if self.take_if(|c| letters.contains(c)) {
                    base = prefix_base;
                    break;
                }
            }
        }
        let is_digit = |c: char| c == '_' || c.is_digit(base);
        while self.take_if(is_digit) {}
        if self.take_if(|c| c == '.') {
            while self.take_if(is_digit) {}
        }
        let exponent = match base {
            10 => "eE",
            16 => "pP",
            _ => "",
        };
        if self.take_if(|c| exponent.contains(c)) {
            self.take_if(|c| matches!(c, '+' | '-'));
            while self.take_if(|c| c == '_' || c.is_ascii_digit()) {}
        }
        if self.take_if(is_alphanumeric) {
            let read = quote(&self.text[start..self.at]).to_string();
            return self.fault(start, format!("bad number syntax: {read}"));
        }
        self.emit(TokenKind::Number, start);
        Ok(())
    }

    fn emit(&mut self, kind: TokenKind, start: usize) {
        self.out.push(Ok(Token { kind, at: start, text: &self.text[start..self.at] }));
    }

    fn fault<T>(&self, at: usize, message: impl Into<String>) -> Result<T, LexError> {
        debug_assert!(at <= self.text.len(), "the place is inside the text");
        Err(LexError { at, message: message.into() })
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take_if(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        match self.peek() {
            Some(c) if wanted(c) => {
                self.at += c.len_utf8();
                true
            }
            _ => false,
        }
    }
}

/// Whether an opening delimiter, whose rest this is, trims the text before it.
fn trims_left(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(BLANKS))
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Go's `%#U`: the code point, and the character if it can be shown.
fn named_char(c: char) -> String {
    let shown = quote(c.encode_utf8(&mut [0; 4])).to_string();
    if shown.contains('\\') && c != '\\' && c != '"' {
        format!("U+{:04X}", u32::from(c))
    } else {
        format!("U+{:04X} '{c}'", u32::from(c))
    }
}
