//! The values of Go's string, character and integer literals.

/// The text that a literal in `"` or back-ticks stands for, if it is well-formed.
pub(super) fn unquote(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('`') {
        // Go leaves carriage returns out of raw strings.
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    unescape(inner, '"')
}

/// The character that a literal in `'` stands for.
pub(super) fn character(literal: &str) -> Option<char> {
    let inner = literal.strip_prefix('\'')?.strip_suffix('\'')?;
    let text = unescape(inner, '\'')?;
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

fn unescape(mut rest: &str, mark: char) -> Option<String> {
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let mut chars = rest[at + 1..].chars();
        let escape = chars.next()?;
        rest = chars.as_str();
        let mut code = |length: usize, base: u32| {
            let digits = rest.get(..length)?;
            rest = &rest[length..];
            digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
            u32::from_str_radix(digits, base).ok()
        };
        let byte = match escape {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0b,
            '\\' => b'\\',
            c if c == mark => c as u8,
            'x' => u8::try_from(code(2, 16)?).ok()?,
            '0'..='7' => {
                let first = escape.to_digit(8)?;
                u8::try_from(first * 64 + code(2, 8)?).ok()?
            }
            'u' | 'U' => {
                let c = char::from_u32(code(if escape == 'u' { 4 } else { 8 }, 16)?)?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        bytes.push(byte);
    }
    bytes.extend_from_slice(rest.as_bytes());
    // Text that is no UTF-8 has no place in a label or an annotation.
    Some(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// The value of an integer literal with sign, base prefix and underscores.
pub(super) fn integer(literal: &str) -> Option<i64> {
    let (negative, digits) = match literal.as_bytes().first()? {
        b'-' => (true, &literal[1..]),
        b'+' => (false, &literal[1..]),
        _ => (false, literal),
    };
    let plain = digits.replace('_', "");
    let (digits, base) = match plain.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&plain[2..], 16),
        [b'0', b'o' | b'O', ..] => (&plain[2..], 8),
        [b'0', b'b' | b'B', ..] => (&plain[2..], 2),
        [b'0', _, ..] => (&plain[1..], 8),
        _ => (&*plain, 10),
    };
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, base).ok()?);
    i64::try_from(if negative { -value } else { value }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_have_go_values() {
        let check = |literal: &str, expected: Option<&str>| {
            assert_eq!(unquote(literal).as_deref(), expected, "{literal}");
        };
        check(r#""a\tb\"\\\x41\101\u00e9\U0001F600""#, Some("a\tb\"\\AAé😀"));
        check(r#""\xc3\xa9""#, Some("é"));
        check(r"`a\n`", Some(r"a\n"));
        check(r#""\q""#, None);
        check(r#""\'""#, None);
        check(r#""\x4""#, None);
        check(r#""\ud800""#, None);
        check(r#""\400""#, None);
    }

    #[test]
    fn characters_and_integers_have_go_values() {
        assert_eq!(character("'a'"), Some('a'));
        assert_eq!(character(r"'\''"), Some('\''));
        assert_eq!(character("'ab'"), None);
        let check =
            |literal: &str, expected: Option<i64>| assert_eq!(integer(literal), expected, "{literal}");
        check("0", Some(0));
        check("-17", Some(-17));
        check("0x_1F", Some(31));
        check("017", Some(15));
        check("0o17", Some(15));
        check("0b11", Some(3));
        check("1_000", Some(1000));
        check("-9223372036854775808", Some(i64::MIN));
        check("9223372036854775808", None);
        check("1.5", None);
        check("08", None);
    }
}
