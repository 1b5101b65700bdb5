//! Text in quotes, as Go writes it: Prometheus' messages and printed queries show it so.

use std::fmt::{self, Write};
use std::sync::LazyLock;

use regex::Regex;

/// What Go prints as it is beside ASCII: letters, marks, numbers, punctuation, symbols.
static PRINTABLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[\p{L}\p{M}\p{N}\p{P}\p{S}]").expect("the pattern is valid"));

/// Text that prints in double quotes; see [`quote`].
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'t>(&'t str);

/// The text in double quotes with escapes, as Go's `strconv.Quote` writes it.
pub fn quote(text: &str) -> Quoted<'_> {
    Quoted(text)
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            write_escaped(f, c, '"')?;
        }
        f.write_char('"')
    }
}

/// A character in single quotes, as Go's `%q` writes it; `None` is the end of the input, which Go shows
/// as the replacement character.
pub fn quote_char(c: Option<char>) -> String {
    let mut text = String::from("'");
    // Writing to a String cannot fail.
    let _ = write_escaped(&mut text, c.unwrap_or(char::REPLACEMENT_CHARACTER), '\'');
    text.push('\'');
    text
}

fn write_escaped(out: &mut impl Write, c: char, quote_mark: char) -> fmt::Result {
    match c {
        '\\' => out.write_str("\\\\"),
        '\x07' => out.write_str("\\a"),
        '\x08' => out.write_str("\\b"),
        '\x0c' => out.write_str("\\f"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\x0b' => out.write_str("\\v"),
        c if c == quote_mark => write!(out, "\\{c}"),
        ' '..='~' => out.write_char(c),
        '\0'..='\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
        c if is_printable(c) => out.write_char(c),
        '\0'..='\u{ffff}' => write!(out, "\\u{:04x}", u32::from(c)),
        c => write!(out, "\\U{:08x}", u32::from(c)),
    }
}

fn is_printable(c: char) -> bool {
    PRINTABLE.is_match(c.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_go_quotes_it() {
        let check = |text: &str, expected: &str| assert_eq!(quote(text).to_string(), expected);
        check("", r#""""#);
        check("plain", r#""plain""#);
        check("a\"b\\c'd", r#""a\"b\\c'd""#);
        check("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#);
        check("\0\x1b\x7f", r#""\x00\x1b\x7f""#);
        check("é😀e\u{301}", "\"é😀e\u{301}\"");
        check("\u{a0}\u{200b}\u{e0001}", r#""\u00a0\u200b\U000e0001""#);
        check("\u{fffd}", "\"\u{fffd}\"");
    }

    #[test]
    fn characters_are_quoted_as_go_quotes_them() {
        assert_eq!(quote_char(Some('\'')), r"'\''");
        assert_eq!(quote_char(Some('"')), "'\"'");
        assert_eq!(quote_char(Some('\n')), r"'\n'");
        assert_eq!(quote_char(None), "'\u{fffd}'");
    }
}
