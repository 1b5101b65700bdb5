//! Go's pattern syntax (`regexp/syntax`, with its Perl flags), parsed into the `regex` crate's
//! intermediate representation.

mod characters;
#[cfg(test)]
mod tests;

use regex_syntax::hir::{Capture, Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, Look, Repetition};

use super::GoRegexError;

/// The largest count of a repetition, nested ones multiplied.
const MAX_REPEAT: u32 = 1000;

/// How deeply groups may be nested. Go allows 1000; beyond this one the compiler's recursion would need
/// more stack than a thread has for sure.
const MAX_NESTING: usize = 100;

/// A pattern and the names of its groups from the first one on.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) hir: Hir,
    pub(super) names: Vec<Option<String>>,
}

/// Parses a pattern; `dot_all`: whether a dot matches a newline from the start.
pub(super) fn parse(pattern: &str, dot_all: bool) -> Result<Parsed, GoRegexError> {
    let flags = Flags { fold_case: false, multi_line: false, dot_all, lazy: false };
    let mut parser = Parser { pattern, at: 0, flags, names: Vec::new(), nesting: 0 };
    let whole = parser.alternation()?;
    if parser.at < pattern.len() {
        return Err(parser.fault("unexpected )", pattern));
    }
    Ok(Parsed { hir: whole.hir, names: parser.names })
}

#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is one flag of the syntax")]
struct Flags {
    /// `i`
    fold_case: bool,
    /// `m`
    multi_line: bool,
    /// `s`
    dot_all: bool,
    /// `U`
    lazy: bool,
}

/// A part of a pattern that a repetition can apply to.
struct Piece {
    hir: Hir,
    /// How many copies of something inside it counted repetitions make.
    copies: u32,
}

impl From<Hir> for Piece {
    fn from(hir: Hir) -> Self {
        Self { hir, copies: 1 }
    }
}

struct Parser<'p> {
    pattern: &'p str,
    at: usize,
    flags: Flags,
    names: Vec<Option<String>>,
    nesting: usize,
}

type Result<T, E = GoRegexError> = std::result::Result<T, E>;

impl Parser<'_> {
    /// Alternatives up to the end or a closing parenthesis, which stays.
    fn alternation(&mut self) -> Result<Piece> {
        let mut alternatives = vec![self.concatenation()?];
        while self.take_if('|') {
            alternatives.push(self.concatenation()?);
        }
        Ok(join(alternatives, Hir::alternation))
    }

    fn concatenation(&mut self) -> Result<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        // Where the repetition began that was read last, if nothing came after it.
        let mut last_repeat = None;
        while let Some(c) = self.peek() {
            let start = self.at;
            match c {
                '|' | ')' => break,
                '*' | '+' | '?' => {
                    self.at += 1;
                    let bounds = match c {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    self.repeat(&mut pieces, bounds, false, start, last_repeat)?;
                    last_repeat = Some(start);
                    continue;
                }
                '{' => {
                    if let Some((min, max)) = self.counts() {
                        let bad = min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || min > max);
                        if bad {
                            return Err(self.fault("invalid repeat count", &self.pattern[start..self.at]));
                        }
                        self.repeat(&mut pieces, (min, max), true, start, last_repeat)?;
                        last_repeat = Some(start);
                        continue;
                    }
                    self.at += 1;
                    pieces.push(self.literal('{').into());
                }
                '(' => pieces.extend(self.group()?),
                '[' => pieces.push(self.class()?.into()),
                '\\' => self.escape(&mut pieces)?,
                '^' | '$' | '.' => {
                    self.at += 1;
                    pieces.push(self.symbol(c).into());
                }
                _ => {
                    self.at += c.len_utf8();
                    pieces.push(self.literal(c).into());
                }
            }
            last_repeat = None;
        }
        Ok(join(pieces, Hir::concat))
    }

    fn symbol(&self, symbol: char) -> Hir {
        match (symbol, self.flags) {
            ('^', Flags { multi_line: true, .. }) => Hir::look(Look::StartLF),
            ('^', _) => Hir::look(Look::Start),
            ('$', Flags { multi_line: true, .. }) => Hir::look(Look::EndLF),
            ('$', _) => Hir::look(Look::End),
            (_, Flags { dot_all: true, .. }) => Hir::dot(Dot::AnyChar),
            _ => Hir::dot(Dot::AnyCharExceptLF),
        }
    }

    fn literal(&self, c: char) -> Hir {
        if self.flags.fold_case {
            let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
            class.case_fold_simple();
            return Hir::class(Class::Unicode(class));
        }
        Hir::literal(c.encode_utf8(&mut [0; 4]).as_bytes())
    }

    /// Applies a repetition, whose operator has been read from `start` on, to the last piece.
    fn repeat(
        &mut self,
        pieces: &mut Vec<Piece>,
        (min, max): (u32, Option<u32>),
        counted: bool,
        start: usize,
        last_repeat: Option<usize>,
    ) -> Result<()> {
        let lazy = self.take_if('?') != self.flags.lazy;
        if let Some(last) = last_repeat {
            return Err(self.fault("invalid nested repetition operator", &self.pattern[last..self.at]));
        }
        let operator = &self.pattern[start..self.at];
        let Some(piece) = pieces.pop() else {
            return Err(self.fault("missing argument to repetition operator", operator));
        };
        let mut copies = piece.copies;
        if counted {
            copies = match max {
                Some(0) => 1,
                _ => copies.saturating_mul(max.unwrap_or(min).max(1)),
            };
            if (min >= 2 || max.is_some_and(|max| max >= 2)) && copies > MAX_REPEAT {
                return Err(self.fault("invalid repeat count", operator));
            }
        }
        let hir = Hir::repetition(Repetition { min, max, greedy: !lazy, sub: Box::new(piece.hir) });
        pieces.push(Piece { hir, copies });
        Ok(())
    }

    /// `{2}`, `{2,}` or `{2,3}`; none if the brace is a literal one.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let inner = &self.pattern[self.at + 1..];
        let inner = &inner[..inner.find('}')?];
        let bounds = match inner.split_once(',') {
            None => {
                let count = count(inner)?;
                (count, Some(count))
            }
            Some((min, "")) => (count(min)?, None),
            Some((min, max)) => (count(min)?, Some(count(max)?)),
        };
        self.at += inner.len() + 2;
        Some(bounds)
    }

    /// A group, or none if the parentheses hold flags alone.
    fn group(&mut self) -> Result<Option<Piece>> {
        let outer = self.flags;
        let start = self.at;
        self.at += 1;
        let name = if self.take_if('?') {
            if let Some(name) = self.group_name(start)? {
                Some(Some(name))
            } else if self.group_flags(start)? {
                None
            } else {
                return Ok(None); // the flags hold until the end of the group around
            }
        } else {
            Some(None)
        };
        let index = name.map(|name| {
            self.names.push(name);
            u32::try_from(self.names.len()).expect("a pattern is far shorter than 4 GiB")
        });
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.fault("expression nests too deeply", self.pattern));
        }
        let inner = self.alternation()?;
        self.nesting -= 1;
        if !self.take_if(')') {
            return Err(self.fault("missing closing )", self.pattern));
        }
        self.flags = outer;
        let Some(index) = index else {
            return Ok(Some(inner));
        };
        let hir = Hir::capture(Capture { index, name: None, sub: Box::new(inner.hir) });
        Ok(Some(Piece { hir, copies: inner.copies }))
    }

    /// `P<name>` or `<name>` after `(?`.
    fn group_name(&mut self, start: usize) -> Result<Option<String>> {
        let rest = &self.pattern[self.at..];
        let Some(after) = rest.strip_prefix("P<").or_else(|| rest.strip_prefix('<')) else {
            return Ok(None);
        };
        let Some((name, after)) = after.split_once('>') else {
            return Err(self.fault("invalid named capture", &self.pattern[start..]));
        };
        self.at = self.pattern.len() - after.len();
        if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
            return Err(self.fault("invalid named capture", &self.pattern[start..self.at]));
        }
        Ok(Some(name.to_owned()))
    }

    /// `i-s:` or `i-s)` after `(?`; whether a group was opened.
    fn group_flags(&mut self, start: usize) -> Result<bool> {
        let mut flags = self.flags;
        let (mut on, mut seen) = (true, false);
        while let Some(c) = self.take() {
            let flag = match c {
                'i' => &mut flags.fold_case,
                'm' => &mut flags.multi_line,
                's' => &mut flags.dot_all,
                'U' => &mut flags.lazy,
                '-' if on => {
                    on = false;
                    seen = false;
                    continue;
                }
                ':' | ')' if on || seen => {
                    self.flags = flags;
                    return Ok(c == ':');
                }
                _ => break,
            };
            *flag = on;
            seen = true;
        }
        Err(self.fault("invalid or unsupported Perl syntax", &self.pattern[start..self.at]))
    }

    /// What a backslash outside of classes stands for.
    fn escape(&mut self, pieces: &mut Vec<Piece>) -> Result<()> {
        let rest = &self.pattern[self.at + 1..];
        let look = match rest.chars().next() {
            Some('A') => Look::Start,
            Some('z') => Look::End,
            Some('b') => Look::WordAscii,
            Some('B') => Look::WordAsciiNegate,
            Some('Q') => {
                let quoted = &rest[1..];
                let (quoted, length) =
                    quoted.split_once("\\E").map_or((quoted, quoted.len()), |(q, _)| (q, q.len() + 2));
                pieces.extend(quoted.chars().map(|c| Piece::from(self.literal(c))));
                self.at += 2 + length;
                return Ok(());
            }
            Some('C') => {
                return Err(self.fault("invalid escape sequence", &self.pattern[self.at..self.at + 2]));
            }
            _ => {
                let hir = match self.class_escape()? {
                    Some(class) => Hir::class(Class::Unicode(class)),
                    None => {
                        let c = self.char_escape()?;
                        self.literal_code(c)
                    }
                };
                pieces.push(hir.into());
                return Ok(());
            }
        };
        self.at += 2;
        pieces.push(Hir::look(look).into());
        Ok(())
    }

    /// A code point, which may be one that no text has: a surrogate.
    fn literal_code(&self, code: u32) -> Hir {
        char::from_u32(code).map_or_else(Hir::fail, |c| self.literal(c))
    }

    fn fault(&self, message: &'static str, fragment: &str) -> GoRegexError {
        debug_assert!(self.at <= self.pattern.len(), "the place is inside the pattern");
        GoRegexError { message, fragment: fragment.to_owned() }
    }

    fn peek(&self) -> Option<char> {
        self.pattern[self.at..].chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take_if(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }
}

fn join(mut pieces: Vec<Piece>, join: impl FnOnce(Vec<Hir>) -> Hir) -> Piece {
    if pieces.len() == 1 {
        return pieces.swap_remove(0);
    }
    let copies = pieces.iter().map(|piece| piece.copies).max().unwrap_or(1);
    Piece { hir: join(pieces.into_iter().map(|piece| piece.hir).collect()), copies }
}

/// A count in braces: digits without leading zeros. One that is too large is so for every limit.
fn count(digits: &str) -> Option<u32> {
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    (plain && (digits.len() == 1 || !digits.starts_with('0'))).then(|| digits.parse().unwrap_or(u32::MAX))
}
