//! Patterns over what a peer sends, which may be any bytes.

use std::fmt;

use super::ProbeFailure;
use crate::model::{GoRegex, GoRegexError};

/// What is longer is searched on a thread of its own: it may take more than a millisecond.
const LONG_BYTES: usize = 2 << 10;

/// Go's regular expression over bytes, with its text. It may match anywhere.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: GoRegex,
}

impl Pattern {
    /// Reads a pattern in Go's syntax.
    pub fn new(text: &str) -> Result<Self, GoRegexError> {
        Ok(Self { text: text.to_owned(), regex: GoRegex::new(text)? })
    }

    /// Whether it matches the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Whether it matches the bytes. Each byte that is no part of UTF-8 is the character U+FFFD to it, as
    /// to Go's `Regexp.Match`.
    pub fn is_match_bytes(&self, bytes: &[u8]) -> bool {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.regex.is_match(text),
            Err(_) => self.regex.is_match(&to_text(bytes, replacement)),
        }
    }

    /// How much memory [`Self::is_match_bytes`] takes beside the bytes: some if they are no UTF-8.
    pub(super) fn matching_takes_bytes(bytes: &[u8]) -> usize {
        if std::str::from_utf8(bytes).is_ok() { 0 } else { text_bytes(bytes, replacement) }
    }

    /// The template with the groups of the first match, if there is one; as Go's `Regexp.Expand`. Bytes
    /// that are no UTF-8 are a character each and come out as they went in.
    pub fn expand(&self, bytes: &[u8], template: &[u8]) -> Option<Vec<u8>> {
        match (std::str::from_utf8(bytes), std::str::from_utf8(template)) {
            (Ok(text), Ok(template)) => self.regex.expand(text, template).map(String::into_bytes),
            _ => {
                let (text, template) = (to_text(bytes, byte_character), to_text(template, byte_character));
                self.regex.expand(&text, &template).map(|text| to_bytes(&text))
            }
        }
    }

    /// [`Self::expand`], on a thread of its own if that may take long; with the bytes back.
    pub(super) async fn expand_aside(
        &self,
        bytes: Vec<u8>,
        template: &[u8],
    ) -> Result<(Vec<u8>, Option<Vec<u8>>), ProbeFailure> {
        if bytes.len() <= LONG_BYTES {
            let expanded = self.expand(&bytes, template);
            return Ok((bytes, expanded));
        }
        let (pattern, template) = (self.clone(), template.to_vec());
        let searching = tokio::task::spawn_blocking(move || {
            let expanded = pattern.expand(&bytes, &template);
            (bytes, expanded)
        });
        searching.await.map_err(|stopped| ProbeFailure::unknown("internal", stopped.to_string()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Two configurations are the same if they were written the same.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

/// Where the characters begin that stand for bytes which are no UTF-8: the end of the last private use
/// area, where nothing else is to be expected.
const BYTE_CHARACTERS: u32 = 0x10_FF00;

fn replacement(_: u8) -> char {
    char::REPLACEMENT_CHARACTER
}

fn byte_character(byte: u8) -> char {
    char::from_u32(BYTE_CHARACTERS + u32::from(byte)).expect("the last 256 characters exist")
}

/// How long [`to_text`] is.
fn text_bytes(bytes: &[u8], stand_in: fn(u8) -> char) -> usize {
    let each = stand_in(u8::MAX).len_utf8();
    bytes.utf8_chunks().map(|chunk| chunk.valid().len() + chunk.invalid().len() * each).sum()
}

/// The bytes as a text in which `stand_in` takes the place of every byte that is no UTF-8.
fn to_text(bytes: &[u8], stand_in: fn(u8) -> char) -> String {
    let mut text = String::with_capacity(text_bytes(bytes, stand_in));
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| stand_in(*byte)));
    }
    text
}

fn to_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match u32::from(character).checked_sub(BYTE_CHARACTERS) {
            // Only bytes that are not ASCII can fail to be UTF-8.
            Some(byte @ 0x80..=0xFF) => bytes.push(byte as u8),
            _ => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn groups_are_expanded_byte_for_byte() {
        let check = |pattern: &str, bytes: &[u8], template: &[u8], expected: Option<&[u8]>| {
            let found = Pattern::new(pattern).unwrap().expand(bytes, template);
            assert_eq!(found.as_deref(), expected, "{pattern}");
        };
        check("^SSH-2.0-([^ -]+)", b"SSH-2.0-OpenSSH_9 x", b"got ${1}", Some(b"got OpenSSH_9"));
        check("^SSH", b"HTTP/1.1", b"", None);
        check("^(.)(..)$", b"\xff\xfe\x00", b"$2", Some(b"\xfe\x00"));
        check("b(.)", b"ab\x80", b"\xc0${1}", Some(b"\xc0\x80"));
        check("é(.)", b"\xff\xc3\xa9x", b"$1", Some(b"x"));
    }

    // What Go's `regexp.Match` says of the same.
    #[test]
    fn bytes_match_as_in_go() {
        let check = |pattern: &str, bytes: &[u8], expected: bool| {
            let found = Pattern::new(pattern).unwrap().is_match_bytes(bytes);
            assert_eq!(found, expected, "{pattern} on {bytes:?}");
        };
        check(r"\Qa.b\E", b"xa.bx", true);
        check(r"\Qa.b\E", b"xaxbx", false);
        check("^[[:alpha:]]+$", b"abc", true);
        check("^[[:alpha:]]+$", "é".as_bytes(), false);
        check(r"^\d$", "\u{663}".as_bytes(), false);
        check("a.b", b"a\nb", false);
        check("(?s)a.b", b"a\nb", true);
        check("^b", b"a\nb", false);
        check("(?m)^b", b"a\nb", true);
        check("(?i)up", b"UP", true);
        check("{", b"{\"status\"", true);
        check("up", b"\xff\xfeup\xff", true);
        check("^a.b$", b"a\xffb", true);
        check("^a.b$", b"a\xe2\x82b", false);
        check("^a..b$", b"a\xe2\x82b", true);
        check(r"\x{fffd}", b"\x80", true);
        check(r"\xff", b"\xff", false);
        check(r"\xff", "ÿ".as_bytes(), true);
    }

    proptest! {
        #[test]
        fn all_bytes_survive(bytes: Vec<u8>) {
            let text = to_text(&bytes, byte_character);
            prop_assert_eq!(text.len(), text_bytes(&bytes, byte_character));
            prop_assert_eq!(to_bytes(&text), bytes);
        }
    }
}
