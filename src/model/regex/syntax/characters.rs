//! Escapes that stand for a character, and classes of characters.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

use super::{Parser, Result};

impl Parser<'_> {
    /// `\d` and its like, or `\p{…}`; none if the backslash begins something else.
    pub(super) fn class_escape(&mut self) -> Result<Option<ClassUnicode>> {
        let rest = &self.pattern[self.at..];
        let mut letters = rest.chars().skip(1);
        let (ranges, negated): (&[(char, char)], bool) = match letters.next() {
            Some('d') => (DIGIT, false),
            Some('D') => (DIGIT, true),
            Some('s') => (SPACE, false),
            Some('S') => (SPACE, true),
            Some('w') => (WORD, false),
            Some('W') => (WORD, true),
            Some(letter @ ('p' | 'P')) => return self.unicode_class(letter == 'P').map(Some),
            _ => return Ok(None),
        };
        self.at += 2;
        Ok(Some(self.group_of(ranges, negated)))
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}` or the same with `\P`.
    fn unicode_class(&mut self, negated: bool) -> Result<ClassUnicode> {
        let start = self.at;
        self.at += 2;
        let name = match self.take() {
            Some('{') => {
                let rest = &self.pattern[self.at..];
                let Some((name, _)) = rest.split_once('}') else {
                    return Err(self.fault("invalid character class range", &self.pattern[start..]));
                };
                self.at += name.len() + 1;
                name
            }
            Some(_) => &self.pattern[start + 2..self.at],
            None => "",
        };
        let whole = &self.pattern[start..self.at];
        let (name, negated) = name.strip_prefix('^').map_or((name, negated), |name| (name, !negated));
        let mut class =
            unicode_table(name).ok_or_else(|| self.fault("invalid character class range", whole))?;
        if self.flags.fold_case {
            class.case_fold_simple();
        }
        if negated {
            class.negate();
        }
        Ok(class)
    }

    /// An escape that stands for one character, its code.
    pub(super) fn char_escape(&mut self) -> Result<u32> {
        let start = self.at;
        self.at += 1;
        let Some(c) = self.take() else {
            return Err(self.fault("trailing backslash at end of expression", ""));
        };
        let code = match c {
            '0'..='7' if c == '0' || matches!(self.peek(), Some('0'..='7')) => {
                let mut code = c.to_digit(8);
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else { break };
                    self.at += 1;
                    code = code.map(|code| code * 8 + digit);
                }
                code
            }
            'x' => self.hexadecimal(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(u32::from('\n')),
            'r' => Some(u32::from('\r')),
            't' => Some(u32::from('\t')),
            'v' => Some(0x0b),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        code.ok_or_else(|| self.fault("invalid escape sequence", &self.pattern[start..self.at]))
    }

    /// `41` or `{1F600}` after `\x`.
    fn hexadecimal(&mut self) -> Option<u32> {
        let first = self.take()?;
        if first != '{' {
            let second = self.take().and_then(|c| c.to_digit(16));
            return Some(first.to_digit(16)? * 16 + second?);
        }
        let mut code = None;
        loop {
            let c = self.take()?;
            if c == '}' {
                return code;
            }
            let next = code.unwrap_or(0) * 16 + c.to_digit(16)?;
            if next > u32::from(char::MAX) {
                return None;
            }
            code = Some(next);
        }
    }

    /// `[…]`: single characters, ranges and named classes, nothing else.
    pub(super) fn class(&mut self) -> Result<Hir> {
        let start = self.at;
        self.at += 1;
        let negated = self.take_if('^');
        let mut class = ClassUnicode::empty();
        let mut first = true;
        while first || self.peek() != Some(']') {
            first = false;
            if let Some(named) = self.named_class()? {
                class.union(&named);
                continue;
            }
            if self.peek() == Some('\\') {
                if let Some(named) = self.class_escape()? {
                    class.union(&named);
                    continue;
                }
            }
            let range_start = self.at;
            let low = self.class_char(start)?;
            let mut high = low;
            let rest = &self.pattern[self.at..];
            if rest.len() >= 2 && rest.starts_with('-') && !rest.starts_with("-]") {
                self.at += 1;
                high = self.class_char(start)?;
                if high < low {
                    let range = &self.pattern[range_start..self.at];
                    return Err(self.fault("invalid character class range", range));
                }
            }
            class.union(&self.range(low, high));
        }
        self.at += 1;
        if negated {
            class.negate();
        }
        Ok(Hir::class(Class::Unicode(class)))
    }

    fn class_char(&mut self, class_start: usize) -> Result<u32> {
        match self.peek() {
            None => Err(self.fault("missing closing ]", &self.pattern[class_start..])),
            Some('\\') => self.char_escape(),
            Some(c) => {
                self.at += c.len_utf8();
                Ok(u32::from(c))
            }
        }
    }

    /// The characters between two codes, in whatever case if so flagged. Surrogates are no characters.
    fn range(&self, low: u32, high: u32) -> ClassUnicode {
        let mut class = ClassUnicode::empty();
        for (low, high) in [(low, high.min(0xd7ff)), (low.max(0xe000), high)] {
            if let (Some(low), Some(high)) = (char::from_u32(low), char::from_u32(high))
                && low <= high
            {
                class.push(ClassUnicodeRange::new(low, high));
            }
        }
        if self.flags.fold_case {
            class.case_fold_simple();
        }
        class
    }

    /// `[:alpha:]` inside a class; none if the bracket is a literal one.
    fn named_class(&mut self) -> Result<Option<ClassUnicode>> {
        let rest = &self.pattern[self.at..];
        let Some((name, _)) = rest.strip_prefix("[:").and_then(|inner| inner.split_once(":]")) else {
            return Ok(None);
        };
        let whole = &rest[..name.len() + 4];
        let (plain, negated) = name.strip_prefix('^').map_or((name, false), |plain| (plain, true));
        let Some((_, ranges)) = POSIX.iter().find(|(known, _)| *known == plain) else {
            return Err(self.fault("invalid character class range", whole));
        };
        self.at += whole.len();
        Ok(Some(self.group_of(ranges, negated)))
    }

    fn group_of(&self, ranges: &[(char, char)], negated: bool) -> ClassUnicode {
        let mut class =
            ClassUnicode::new(ranges.iter().map(|(low, high)| ClassUnicodeRange::new(*low, *high)));
        if self.flags.fold_case {
            class.case_fold_simple();
        }
        if negated {
            class.negate();
        }
        class
    }
}

/// A Unicode category or script.
fn unicode_table(name: &str) -> Option<ClassUnicode> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    let hir = regex_syntax::Parser::new().parse(&format!("\\p{{{name}}}")).ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // A class of one character has become a literal.
        HirKind::Literal(literal) => {
            let c = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(ClassUnicode::new([ClassUnicodeRange::new(c, c)]))
        }
        _ => None,
    }
}

const DIGIT: &[(char, char)] = &[('0', '9')];
const SPACE: &[(char, char)] = &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')];
const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

/// The classes that have names inside brackets, all of them ASCII.
const POSIX: &[(&str, &[(char, char)])] = &[
    ("alnum", &[('0', '9'), ('A', 'Z'), ('a', 'z')]),
    ("alpha", &[('A', 'Z'), ('a', 'z')]),
    ("ascii", &[('\0', '\x7f')]),
    ("blank", &[('\t', '\t'), (' ', ' ')]),
    ("cntrl", &[('\0', '\x1f'), ('\x7f', '\x7f')]),
    ("digit", DIGIT),
    ("graph", &[('!', '~')]),
    ("lower", &[('a', 'z')]),
    ("print", &[(' ', '~')]),
    ("punct", &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
    ("space", &[('\t', '\r'), (' ', ' ')]),
    ("upper", &[('A', 'Z')]),
    ("word", WORD),
    ("xdigit", &[('0', '9'), ('A', 'F'), ('a', 'f')]),
];
