//! Functions on text: addresses, letter case, escaping.

use std::fmt::Write;
use std::net::IpAddr;

/// The host of `host:port`, and everything else unchanged.
pub(super) fn strip_port(address: &str) -> String {
    split_host_port(address).map_or(address, |(host, _)| host).to_owned()
}

/// The first label of a host name, with its port if it has one; IP addresses stay.
pub(super) fn strip_domain(address: &str) -> String {
    let (host, port) = split_host_port(address).unwrap_or((address, ""));
    if host.parse::<IpAddr>().is_ok() {
        return address.to_owned();
    }
    let host = host.split('.').next().unwrap_or_default();
    match port {
        "" => host.to_owned(),
        port if host.contains(':') => format!("[{host}]:{port}"),
        port => format!("{host}:{port}"),
    }
}

/// Go's `net.SplitHostPort`.
fn split_host_port(address: &str) -> Option<(&str, &str)> {
    let (before, port) = address.rsplit_once(':')?;
    let host = match before.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if before.contains(':') => return None,
        None => before,
    };
    let plain = |text: &str| !text.contains(['[', ']']);
    (plain(host) && plain(port)).then_some((host, port))
}

/// The text with the first letter of each word in upper case and all others as they are.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphabetic() && !in_word {
            out.extend(c.to_uppercase());
            in_word = true;
            continue;
        }
        out.push(c);
        // `it's` and `a.b` are one word, as is anything with `_` in it.
        let joins = matches!(c, '\'' | '\u{2019}' | '.' | ':' | '\u{b7}')
            && chars.peek().is_some_and(|next| next.is_alphabetic());
        in_word = in_word && (c.is_alphanumeric() || c == '_' || joins);
    }
    out
}

/// Go's `url.QueryEscape`.
pub(super) fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Go's `template.HTMLEscapeString`.
pub(super) fn html_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push(char::REPLACEMENT_CHARACTER),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

/// Go's `template.JSEscapeString`.
pub(super) fn js_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => escape_code(&mut out, c),
            c if c.is_control() => escape_code(&mut out, c),
            c => out.push(c),
        }
    }
    out
}

fn escape_code(out: &mut String, c: char) {
    let _ = write!(out, "\\u{:04X}", u32::from(c)); // writing to a String cannot fail
}

/// The path of a URL, with its escapes resolved.
pub(super) fn url_path(url: &str) -> String {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.find('/').map_or("", |start| &after_scheme[start..]);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = (*byte == b'%').then(|| std::str::from_utf8(after.get(..2)?).ok()).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_port_or_domain() {
        let check = |address: &str, without_port: &str, without_domain: &str| {
            assert_eq!(strip_port(address), without_port);
            assert_eq!(strip_domain(address), without_domain);
        };
        check("a.example.com", "a.example.com", "a");
        check("a.example.com:80", "a.example.com", "a:80");
        check("192.0.2.1", "192.0.2.1", "192.0.2.1");
        check("192.0.2.1:80", "192.0.2.1", "192.0.2.1:80");
        check("2001:DB8::1", "2001:DB8::1", "2001:DB8::1");
        check("[2001:DB8::1]:80", "2001:DB8::1", "[2001:DB8::1]:80");
        check("[2001:DB8::1]::80", "[2001:DB8::1]::80", "[2001:DB8::1]::80");
        check("", "", "");
    }

    #[test]
    fn words_get_capitals() {
        let check = |text: &str, expected: &str| assert_eq!(title(text), expected);
        check("aa bb CC", "Aa Bb CC");
        check("it's a_b c-d e.f 5x éa", "It's A_b C-D E.f 5X Éa");
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(query_escape("a b/é~"), "a+b%2F%C3%A9~");
        assert_eq!(html_escape("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&#34;");
        assert_eq!(js_escape("a'b\"<\n é="), "a\\'b\\\"\\u003C\\u000A é\\u003D");
    }

    #[test]
    fn a_url_has_a_path() {
        let check = |url: &str, expected: &str| assert_eq!(url_path(url), expected);
        check("http://host:9090/path/prefix", "/path/prefix");
        check("http://host", "");
        check("http://host/a%20b?x=/y", "/a b");
    }
}
