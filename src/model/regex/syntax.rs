//! Go's pattern syntax (`regexp/syntax`, with its Perl flags), parsed into the `regex` crate's
//! intermediate representation.

use regex_syntax::hir::{
    Capture, Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, HirKind, Look, Repetition,
};

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

    /// `\d` and its like, or `\p{…}`; none if the backslash begins something else.
    fn class_escape(&mut self) -> Result<Option<ClassUnicode>> {
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
    fn char_escape(&mut self) -> Result<u32> {
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
    fn class(&mut self) -> Result<Hir> {
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

#[cfg(test)]
mod tests {
    use super::super::GoRegex;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let check = |pattern: &str, matching: &[&str], other: &[&str]| {
            let regex = GoRegex::anchored(pattern).unwrap_or_else(|e| panic!("{e}"));
            for text in matching {
                assert!(regex.is_match(text), "{pattern} should match {text:?}");
            }
            for text in other {
                assert!(!regex.is_match(text), "{pattern} should not match {text:?}");
            }
        };
        // ASCII classes, and a dot that matches everything.
        check("x.y", &["x\ny", "xéy"], &["xy"]);
        check(r"\d", &["5"], &["٣", "a"]);
        check(r"\D", &["٣", "a", "\n"], &["5"]);
        check(r"\w", &["a", "_", "0"], &["é", "-"]);
        check(r"\s", &[" ", "\n", "\x0c"], &["\u{a0}", "\x0b"]);
        check(r"é\b.a", &["éxa"], &["é a"]);
        check(r"é\B.a", &["é a"], &["éxa"]);
        check("[[:word:]]", &["_"], &["é"]);
        check("[[:space:]]", &["\x0b"], &["\u{a0}"]);
        check("[[:^alpha:]]", &["1", "é"], &["a"]);
        // Classes hold characters and ranges, nothing else.
        check("[a&&b]", &["a", "&", "b"], &["c"]);
        check("[+--b]", &["+", ",", "-", "b"], &["a"]);
        check("[[a]]", &["[]", "a]"], &["a"]);
        check("[]a]", &["]", "a"], &[""]);
        check("[^]a]", &["b", "\n"], &["]", "a"]);
        check("[a~~b]", &["~"], &[]);
        check(r"[\d\-x]", &["5", "-", "x"], &["y"]);
        check(r"[\x41-\x{43}]", &["A", "B", "C"], &["D"]);
        check(r"[\101]", &["A"], &[]);
        check("[[:x]", &["[", ":", "x"], &["]"]);
        check("[a-]", &["a", "-"], &["b"]);
        // Quoting and escapes.
        check(r"\Qa.b*\E+", &["a.b**"], &["axb*"]);
        check(r"\Qa.", &["a."], &["ab"]);
        check(r"\<\>\_", &["<>_"], &[]);
        check(r"\x41\x{1F600}\0\07\101\a", &["A😀\0\x07A\x07"], &[]);
        check(r"\Aa\z", &["a"], &["a\n"]);
        check(r"\b{start}", &[], &["{start}"]);
        check("a{,2}", &["a{,2}"], &["aa"]);
        check("a{01}", &["a{01}"], &["a"]);
        check("{{x}}", &["{{x}}"], &[]);
        check("a{2}", &["aa"], &["a"]);
        check("a{1,}", &["a", "aaa"], &[""]);
        // Groups and flags.
        check("(?i)AbC", &["aBc"], &["abd"]);
        check("(?i)k", &["K", "\u{212a}"], &[]);
        check("a(?i)b|c", &["aB", "C"], &["AB"]);
        check("(?:a(?i)b)c", &["aBc"], &["aBC"]);
        check("(?-s)a.b", &["axb"], &["a\nb"]);
        check("(?i-s:A.)b", &["axb"], &["a\nb", "axB"]);
        check("(?m)a$\n^b", &["a\nb"], &[]);
        check("a(?i)*", &["", "aa"], &["A"]);
        check("(?P<x>a)(?<1y>b)", &["ab"], &[]);
        check("()|a", &["", "a"], &[]);
        check("|", &[""], &["|"]);
        check("^*a$*", &["a"], &[]);
        // Unicode classes.
        check(r"\pL\p{Greek}\P{Lu}\p{^Lu}", &["aβbc"], &["abcd", "aβBc"]);
        check(r"\p{Any}", &["\n"], &[""]);
    }

    #[test]
    fn faults_are_told_in_go_words() {
        let check = |pattern: &str, expected: &str| {
            let error = GoRegex::anchored(pattern).expect_err(pattern);
            assert_eq!(error.to_string(), format!("error parsing regexp: {expected}"));
        };
        check("(", "missing closing ): `(`");
        check("(a|b", "missing closing ): `(a|b`");
        check("a)", "unexpected ): `a)`");
        check("[a", "missing closing ]: `[a`");
        check("x[]", "missing closing ]: `[]`");
        check("[b-a]", "invalid character class range: `b-a`");
        check(r"[a-\d]", r"invalid escape sequence: `\d`");
        check("[[:nope:]]", "invalid character class range: `[:nope:]`");
        check(r"\p{Nope}", r"invalid character class range: `\p{Nope}`");
        check(r"\p{Greek", r"invalid character class range: `\p{Greek`");
        check("*", "missing argument to repetition operator: `*`");
        check("a|+?", "missing argument to repetition operator: `+?`");
        check("(?i)*", "missing argument to repetition operator: `*`");
        check("({2})", "missing argument to repetition operator: `{2}`");
        check("a**", "invalid nested repetition operator: `**`");
        check("a+{2}?", "invalid nested repetition operator: `+{2}?`");
        check("x{1001}", "invalid repeat count: `{1001}`");
        check("x{2,1}", "invalid repeat count: `{2,1}`");
        check("x{99999999999}", "invalid repeat count: `{99999999999}`");
        check("((a{100}){100}){100}", "invalid repeat count: `{100}`");
        check("(?x)a", "invalid or unsupported Perl syntax: `(?x`");
        check("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
        check("(?i-)", "invalid or unsupported Perl syntax: `(?i-)`");
        check("(?<=a)", "invalid named capture: `(?<=a)`");
        check("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`");
        check(r"\1", r"invalid escape sequence: `\1`");
        check(r"\C", r"invalid escape sequence: `\C`");
        check(r"\Z", r"invalid escape sequence: `\Z`");
        check(r"\é", r"invalid escape sequence: `\é`");
        check(r"\x{110000}", r"invalid escape sequence: `\x{110000`");
        check(r"\xg1", r"invalid escape sequence: `\xg1`");
        check("a\\", "trailing backslash at end of expression: ``");
        let deep = "(".repeat(100_000);
        check(&deep, &format!("expression nests too deeply: `{deep}`"));
    }

    #[test]
    fn the_deepest_allowed_pattern_is_compiled() {
        let levels = super::MAX_NESTING;
        let pattern = format!("{}a{}", "(b?".repeat(levels), ")*".repeat(levels));
        assert!(GoRegex::anchored(&pattern).expect("valid").is_match("bab"));
    }
}
