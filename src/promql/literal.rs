//! The values of number, duration and string tokens.

use crate::model::quote;

/// The value of a number token, or Go's message why it has none.
///
/// As in Prometheus a whole number is read as Go reads one with base 0, so `0x1F` is hexadecimal and
/// `0755` octal; everything else is a decimal float.
pub(super) fn number(text: &str) -> Result<f64, String> {
    if let Some(value) = integer(text) {
        return Ok(value);
    }
    let fault = |why| Err(format!("strconv.ParseFloat: parsing {}: {why}", quote(text)));
    let digits = if text.contains('_') {
        if !underscores_separate_digits(text) {
            return fault("invalid syntax");
        }
        &text.replace('_', "")
    } else {
        text
    };
    if digits.eq_ignore_ascii_case("nan") {
        return Ok(crate::model::normal_nan());
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_infinite() && !digits.eq_ignore_ascii_case("inf") => {
            fault("value out of range")
        }
        Ok(value) => Ok(value),
        Err(_) => fault("invalid syntax"),
    }
}

/// A whole number below 2⁶³ with Go's prefixes.
fn integer(text: &str) -> Option<f64> {
    if text.contains('_') && !underscores_separate_digits(text) {
        return None;
    }
    let digits = text.replace('_', "");
    let (digits, base) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (&*digits, 10),
    };
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    i64::from_str_radix(digits, base).ok().map(|value| value as f64)
}

/// Whether every `_` stands between two digits, the base prefix counting as one.
fn underscores_separate_digits(text: &str) -> bool {
    let hexadecimal = text.len() > 1 && text[..2].eq_ignore_ascii_case("0x");
    let is_digit = |c: u8| c.is_ascii_digit() || (hexadecimal && c.is_ascii_hexdigit());
    let bytes = text.as_bytes();
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_').all(|(at, _)| {
        let before = at > 0 && (is_digit(bytes[at - 1]) || (hexadecimal && at == 2));
        before && bytes.get(at + 1).copied().is_some_and(is_digit)
    })
}

/// The text that a string token stands for; none if its escapes make no UTF-8 (`"\xff"`). The lexer has
/// checked the escapes themselves.
pub(super) fn unquote(token: &str) -> Option<String> {
    let inner = &token[1..token.len() - 1];
    if token.starts_with('`') || !inner.contains('\\') {
        return Some(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        match escape {
            b'a' => bytes.push(0x07),
            b'b' => bytes.push(0x08),
            b'f' => bytes.push(0x0c),
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'v' => bytes.push(0x0b),
            b'x' => bytes.push(take_code(&mut rest, 2, 16) as u8),
            b'u' | b'U' => {
                let length = if escape == b'u' { 4 } else { 8 };
                let code = take_code(&mut rest, length, 16);
                let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            b'0'..=b'7' => {
                let first = u32::from(escape - b'0');
                bytes.push((first * 64 + take_code(&mut rest, 2, 8)) as u8);
            }
            other => bytes.push(other),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// Takes the digits of a code off the front.
fn take_code(rest: &mut &str, length: usize, base: u32) -> u32 {
    let (digits, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
    *rest = after;
    u32::from_str_radix(digits, base).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_values_go_gives_them() {
        let check = |text: &str, expected: f64| {
            assert_eq!(number(text).map(f64::to_bits), Ok(expected.to_bits()), "{text}");
        };
        check("0", 0.0);
        check("1", 1.0);
        check("0x1F", 31.0);
        check("0X_1f", 31.0);
        check("0755", 493.0);
        check("08", 8.0);
        check("1_000", 1000.0);
        check("1_0.5e1_0", 10.5e10);
        check(".5", 0.5);
        check("5.", 5.0);
        check("1e-3", 0.001);
        check("Inf", f64::INFINITY);
        check("nan", crate::model::normal_nan());
        check("9223372036854775808", 9_223_372_036_854_775_808.0);
    }

    #[test]
    fn numbers_without_value_say_why() {
        let check = |text: &str, why: &str| {
            let expected = format!("strconv.ParseFloat: parsing \"{text}\": {why}");
            assert_eq!(number(text), Err(expected), "{text}");
        };
        check("1e999", "value out of range");
        check("0xffffffffffffffff", "invalid syntax");
        check("1_", "invalid syntax");
        check("0x", "invalid syntax");
    }

    #[test]
    fn strings_are_unquoted() {
        let check =
            |token: &str, expected: &str| assert_eq!(unquote(token).as_deref(), Some(expected), "{token}");
        check(r#""""#, "");
        check(r#""a\"b""#, "a\"b");
        check(r"'a\'b'", "a'b");
        check(r"`a\n`", r"a\n");
        check(r#""\a\b\f\n\r\t\v\\""#, "\x07\x08\x0c\n\r\t\x0b\\");
        check(r#""\x41\101é\U0001F600""#, "AAé😀");
        check(r#""\xc3\xa9""#, "é");
        assert_eq!(unquote(r#""\xff""#), None);
    }
}
