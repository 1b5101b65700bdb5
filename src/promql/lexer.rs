//! Query text to tokens.
//!
//! What a character means depends on where it stands: inside braces every word is a label name, inside
//! brackets only durations and their operators are words. Messages and places are those of Prometheus'
//! lexer (`promql/parser/lex.go`).

use crate::model::{Span, quote, quote_char};

use super::ast::BinaryOp;
use super::token::{Keyword, Token, TokenKind, keyword};

/// What the lexer cannot read.
#[derive(Debug)]
pub(super) struct LexError {
    /// Where; the fault reaches to the end of the text.
    pub(super) start: usize,
    pub(super) message: String,
}

/// Splits a query into tokens, one at a time.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent fact about the place")]
pub(super) struct Lexer<'q> {
    query: &'q str,
    /// The first character not yet read.
    at: usize,
    /// Where the current token begins.
    start: usize,
    paren_depth: usize,
    brace_open: bool,
    bracket_open: bool,
    /// Whether a duration expression is to be read: after `[` until its first number.
    in_duration: bool,
    /// Whether the open bracket had its colon.
    got_colon: bool,
    /// Whether any bracket held a number.
    got_duration: bool,
}

type Lexed = Result<TokenKind, LexError>;

impl<'q> Lexer<'q> {
    pub(super) fn new(query: &'q str) -> Self {
        Self {
            query,
            at: 0,
            start: 0,
            paren_depth: 0,
            brace_open: false,
            bracket_open: false,
            in_duration: false,
            got_colon: false,
            got_duration: false,
        }
    }

    /// The next token; after the last one always [`TokenKind::End`].
    pub(super) fn next_token(&mut self) -> Result<Token, LexError> {
        self.skip_blank();
        self.start = self.at;
        let kind = if self.brace_open {
            self.inside_braces()?
        } else if self.in_duration {
            self.duration_expression()?
        } else {
            self.statement()?
        };
        Ok(Token { kind, span: Span::new(self.start, self.at) })
    }

    /// Spaces and, where they may stand, comments.
    fn skip_blank(&mut self) {
        loop {
            self.skip_while(is_space);
            let comments_allowed = self.brace_open || !self.in_duration;
            if !(comments_allowed && self.peek() == Some('#')) {
                return;
            }
            self.skip_while(|c| c != '\n' && c != '\r');
        }
    }

    fn statement(&mut self) -> Lexed {
        let Some(c) = self.take() else {
            if self.paren_depth != 0 {
                return self.fault("unclosed left parenthesis");
            }
            if self.bracket_open {
                return self.fault("unclosed left bracket");
            }
            return Ok(TokenKind::End);
        };
        let operator = |op| Ok(TokenKind::Operator(op));
        match c {
            ',' => Ok(TokenKind::Comma),
            '*' => operator(BinaryOp::Mul),
            '/' => operator(BinaryOp::Div),
            '%' => operator(BinaryOp::Mod),
            '+' => operator(BinaryOp::Add),
            '-' => operator(BinaryOp::Sub),
            '^' => operator(BinaryOp::Pow),
            '=' if self.take_if('=') => operator(BinaryOp::Equal),
            '=' if self.peek() == Some('~') => self.fault("unexpected character after '=': '~'"),
            '=' => Ok(TokenKind::Assign),
            '!' if self.take_if('=') => operator(BinaryOp::NotEqual),
            '!' => self.fault(format!("unexpected character after '!': {}", quote_char(self.peek()))),
            '<' if self.take_if('=') => operator(BinaryOp::LessOrEqual),
            '<' if self.take_if('/') => operator(BinaryOp::TrimUpper),
            '<' => operator(BinaryOp::Less),
            '>' if self.take_if('=') => operator(BinaryOp::GreaterOrEqual),
            '>' if self.take_if('/') => operator(BinaryOp::TrimLower),
            '>' => operator(BinaryOp::Greater),
            '0'..='9' => self.number_or_duration(),
            '.' if self.peek().is_some_and(is_digit) => self.number_or_duration(),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            ':' if self.bracket_open => {
                if self.got_colon {
                    return self.fault("unexpected colon ':'");
                }
                self.got_colon = true;
                Ok(TokenKind::Colon)
            }
            c if is_alpha(c) && self.bracket_open => self.duration_keyword().map_or_else(
                || self.fault(format!("unexpected character: {}, expected ':'", quote_char(Some(c)))),
                Ok,
            ),
            c if is_alpha(c) || c == ':' => Ok(self.word()),
            '(' => Ok(self.open_paren()),
            ')' => self.close_paren(),
            '{' => {
                self.brace_open = true;
                Ok(TokenKind::LeftBrace)
            }
            '[' => {
                if self.bracket_open {
                    return self.fault("unexpected left bracket '['");
                }
                self.got_colon = false;
                self.bracket_open = true;
                self.in_duration = true;
                Ok(TokenKind::LeftBracket)
            }
            ']' => {
                if !self.bracket_open {
                    return self.fault("unexpected right bracket ']'");
                }
                self.bracket_open = false;
                Ok(TokenKind::RightBracket)
            }
            '@' => Ok(TokenKind::At),
            other => self.fault(format!("unexpected character: {}", quote_char(Some(other)))),
        }
    }

    fn inside_braces(&mut self) -> Lexed {
        let Some(c) = self.take() else {
            return self.fault("unexpected end of input inside braces");
        };
        match c {
            c if is_alpha(c) => {
                self.skip_while(is_alphanumeric);
                Ok(TokenKind::Identifier)
            }
            ',' => Ok(TokenKind::Comma),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            '=' if self.take_if('~') => Ok(TokenKind::RegexEqual),
            '=' => Ok(TokenKind::Assign),
            '!' if self.take_if('~') => Ok(TokenKind::RegexNotEqual),
            '!' if self.take_if('=') => Ok(TokenKind::Operator(BinaryOp::NotEqual)),
            '!' => {
                let next = quote_char(self.peek());
                self.fault(format!("unexpected character after '!' inside braces: {next}"))
            }
            '{' => self.fault("unexpected left brace '{'"),
            '}' => {
                self.brace_open = false;
                Ok(TokenKind::RightBrace)
            }
            other => self.fault(format!("unexpected character inside braces: {}", quote_char(Some(other)))),
        }
    }

    /// The inside of brackets up to the first number; what follows it is read by [`Self::statement`].
    fn duration_expression(&mut self) -> Lexed {
        let Some(c) = self.take() else {
            return self.fault("unexpected end of input in duration expression");
        };
        let operator = |op| Ok(TokenKind::Operator(op));
        match c {
            ']' => {
                self.bracket_open = false;
                self.in_duration = false;
                Ok(TokenKind::RightBracket)
            }
            ':' => {
                // The colon has been read when Prometheus complains, so the fault stands after it.
                self.start = self.at;
                if !self.got_duration {
                    return self.fault("unexpected colon before duration in duration expression");
                }
                if self.got_colon {
                    return self.fault("unexpected repeated colon in duration expression");
                }
                self.start = self.at - 1;
                self.got_colon = true;
                Ok(TokenKind::Colon)
            }
            '(' => Ok(self.open_paren()),
            ')' => self.close_paren(),
            '+' => operator(BinaryOp::Add),
            '-' => operator(BinaryOp::Sub),
            '*' => operator(BinaryOp::Mul),
            '/' => operator(BinaryOp::Div),
            '%' => operator(BinaryOp::Mod),
            '^' => operator(BinaryOp::Pow),
            ',' => Ok(TokenKind::Comma),
            c if is_digit(c) || (c == '.' && self.peek().is_some_and(is_digit)) => {
                self.got_duration = true;
                self.in_duration = false;
                self.number_or_duration()
            }
            other => self.duration_keyword().map_or_else(
                || {
                    let found = quote_char(Some(other));
                    self.fault(format!("unexpected character in duration expression: {found}"))
                },
                Ok,
            ),
        }
    }

    fn open_paren(&mut self) -> TokenKind {
        self.paren_depth += 1;
        TokenKind::LeftParen
    }

    fn close_paren(&mut self) -> Lexed {
        match self.paren_depth.checked_sub(1) {
            Some(depth) => {
                self.paren_depth = depth;
                Ok(TokenKind::RightParen)
            }
            None => {
                // The parenthesis has been read when Prometheus complains, so the fault stands after it.
                self.start = self.at;
                self.fault("unexpected right parenthesis ')'")
            }
        }
    }

    /// One of the words that duration expressions know; its first letter has been read.
    fn duration_keyword(&mut self) -> Option<TokenKind> {
        let first = self.query[self.start..].chars().next()?;
        if !matches!(first.to_ascii_lowercase(), 's' | 'r' | 'm') {
            return None;
        }
        self.skip_while(is_alpha);
        match keyword(&self.query[self.start..self.at])? {
            kind @ TokenKind::Keyword(Keyword::Step | Keyword::Range | Keyword::MaxOf | Keyword::MinOf) => {
                Some(kind)
            }
            _ => None,
        }
    }

    /// A keyword or a name.
    fn word(&mut self) -> TokenKind {
        self.skip_while(|c| is_alphanumeric(c) || c == ':');
        let word = &self.query[self.start..self.at];
        match keyword(word) {
            // `fill` was a name long before it was a modifier.
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.query[self.at..].trim_start_matches(is_space).starts_with('(') =>
            {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        }
    }

    /// A number or a duration; the first character has been read and is read again.
    fn number_or_duration(&mut self) -> Lexed {
        self.at = self.start;
        if self.scan_number() {
            return Ok(TokenKind::Number);
        }
        if self.scan_rest_of_duration() {
            return Ok(TokenKind::Duration);
        }
        let read = quote(&self.query[self.start..self.at]).to_string();
        self.fault(format!("bad number or duration syntax: {read}"))
    }

    /// Decimal, hexadecimal, octal, with exponent, with underscores. What is scanned may still be no
    /// number; what is not scanned may be a duration.
    fn scan_number(&mut self) -> bool {
        let mut is_digit_here: fn(char) -> bool = is_digit;
        let mut hexadecimal = false;
        if self.take_if('0') && (self.take_if('x') || self.take_if('X')) {
            self.take_if('_');
            is_digit_here = |c| c.is_ascii_hexdigit();
            hexadecimal = true;
        }
        self.take_if('.');
        self.take_where(is_digit_here);
        let (mut dot_seen, mut exponent_seen) = (false, false);
        while let Some(c) = self.peek() {
            match c {
                '.' => {
                    self.take();
                    if dot_seen || self.take_where(|c| matches!(c, '_' | '.')) || hexadecimal {
                        return false;
                    }
                    dot_seen = true;
                }
                'e' | 'E' => {
                    self.take();
                    if exponent_seen {
                        return false;
                    }
                    exponent_seen = true;
                    self.take_where(|c| matches!(c, '+' | '-'));
                    if self.take_where(|c| matches!(c, '.' | '_' | 'e' | 'E')) || self.peek().is_none() {
                        return false;
                    }
                }
                '_' => {
                    self.take();
                    if self.take_where(|c| matches!(c, '.' | '_' | 'e' | 'E')) || self.peek().is_none() {
                        return false;
                    }
                }
                c if is_digit_here(c) => self.skip_while(is_digit_here),
                _ => break,
            }
        }
        self.at > self.start && !self.peek().is_some_and(is_alphanumeric)
    }

    /// The units of a duration and the numbers between them. Whether they make sense is seen later.
    fn scan_rest_of_duration(&mut self) -> bool {
        if !self.take_where(|c| matches!(c, 's' | 'm' | 'h' | 'd' | 'w' | 'y')) {
            return false;
        }
        self.take_if('s');
        while self.take_where(is_digit) {
            self.skip_while(is_digit);
            if !self.take_where(|c| matches!(c, 's' | 'm' | 'h' | 'd' | 'w')) {
                return false;
            }
            self.take_if('s');
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.take(); // the message shows the character that does not fit
            return false;
        }
        true
    }

    /// The rest of a string in `'` or `"`.
    fn string(&mut self, quote_mark: char) -> Lexed {
        loop {
            match self.take() {
                Some('\\') => self.escape(quote_mark)?,
                Some(char::REPLACEMENT_CHARACTER) => return self.fault("invalid UTF-8 rune"),
                None | Some('\n') => return self.fault("unterminated quoted string"),
                Some(c) if c == quote_mark => return Ok(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    /// An escape sequence after its backslash.
    fn escape(&mut self, quote_mark: char) -> Result<(), LexError> {
        let (digits, base, max, mut next) = match self.take() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote_mark => return Ok(()),
            Some(c @ '0'..='7') => (3, 8, 255, Some(c)),
            Some('x') => (2, 16, 255, self.take()),
            Some('u') => (4, 16, u32::from(char::MAX), self.take()),
            Some('U') => (8, 16, u32::from(char::MAX), self.take()),
            Some(c) => return self.fault(format!("unknown escape sequence {}", named_char(c))),
            None => return self.fault("escape sequence not terminated"),
        };
        let mut value = 0_u32;
        for left in (0..digits).rev() {
            let Some(c) = next else {
                return self.fault("escape sequence not terminated");
            };
            let Some(digit) = c.to_digit(base) else {
                return self.fault(format!("illegal character {} in escape sequence", named_char(c)));
            };
            value = value.wrapping_mul(base).wrapping_add(digit);
            if left > 0 {
                next = self.take();
            }
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            return self.fault("escape sequence is an invalid Unicode code point");
        }
        Ok(())
    }

    /// The rest of a string in back-ticks.
    fn raw_string(&mut self) -> Lexed {
        loop {
            match self.take() {
                Some(char::REPLACEMENT_CHARACTER) => return self.fault("invalid UTF-8 rune"),
                None => return self.fault("unterminated raw string"),
                Some('`') => return Ok(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    fn fault<T>(&self, message: impl Into<String>) -> Result<T, LexError> {
        Err(LexError { start: self.start, message: message.into() })
    }

    fn peek(&self) -> Option<char> {
        self.query[self.at..].chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take_if(&mut self, wanted: char) -> bool {
        self.take_where(|c| c == wanted)
    }

    fn take_where(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        match self.peek() {
            Some(c) if wanted(c) => {
                self.at += c.len_utf8();
                true
            }
            _ => false,
        }
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.take_where(&wanted) {}
    }
}

/// Go's `%#U`: the code point, and the character if it can be shown.
fn named_char(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || is_digit(c)
}
