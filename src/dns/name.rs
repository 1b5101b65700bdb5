//! Domain names.

use std::fmt;

/// The longest name, in bytes as it is sent.
pub(super) const MAX_NAME_BYTES: usize = 255;

/// The longest label in bytes.
const MAX_LABEL_BYTES: usize = 63;

/// A full domain name. Names that differ in case are equal.
#[derive(Debug, Clone)]
pub struct Name {
    /// As it is sent: each label after its length, and a zero at the end.
    wire: Vec<u8>,
}

/// Why a text is no domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no domain name")]
pub struct NameError(pub String);

impl Name {
    /// The name above all others.
    pub fn root() -> Self {
        Self { wire: vec![0] }
    }

    /// Reads a name, with or without a final dot. `\.` is a dot within a label, and `\DDD` a byte.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let malformed = || NameError(text.to_owned());
        if text == "." {
            return Ok(Self::root());
        }
        let mut name = Self { wire: Vec::with_capacity(text.len() + 2) };
        let mut label = Vec::new();
        let mut bytes = text.bytes();
        let mut ended = false;
        while let Some(byte) = bytes.next() {
            ended = byte == b'.';
            match byte {
                b'.' => name.push_label(&std::mem::take(&mut label)).ok_or_else(malformed)?,
                b'\\' => label.push(escaped(&mut bytes).ok_or_else(malformed)?),
                _ => label.push(byte),
            }
        }
        if !ended {
            name.push_label(&label).ok_or_else(malformed)?;
        }
        name.end().ok_or_else(malformed)
    }

    /// An empty name, to which labels are appended until its [end](Self::end).
    pub(super) fn begin() -> Self {
        Self { wire: Vec::new() }
    }

    /// Appends a label, if it is one and the name does not get too long.
    pub(super) fn push_label(&mut self, label: &[u8]) -> Option<()> {
        let fits = self.wire.len() + label.len() + 2 <= MAX_NAME_BYTES;
        if label.is_empty() || label.len() > MAX_LABEL_BYTES || !fits {
            return None;
        }
        self.wire.push(label.len() as u8);
        self.wire.extend_from_slice(label);
        Some(())
    }

    /// The finished name.
    pub(super) fn end(mut self) -> Option<Self> {
        self.wire.push(0);
        (self.wire.len() <= MAX_NAME_BYTES).then_some(self)
    }

    /// The name as it is sent, not compressed.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// Its labels, from the first to the last before the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.wire.as_slice();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first().filter(|(length, _)| **length > 0)?;
            let (label, after) = after.split_at(usize::from(*length));
            rest = after;
            Some(label)
        })
    }
}

/// The byte after a backslash.
fn escaped(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let first = bytes.next()?;
    if !first.is_ascii_digit() {
        return Some(first);
    }
    let digits = [first, bytes.next()?, bytes.next()?];
    let digits = std::str::from_utf8(&digits).ok()?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// With a final dot, and what is not printable or would be misread as `\DDD` or after a backslash.
/// Source: miekg/dns `msg.go`, `UnpackDomainName`.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wire == [0] {
            return f.write_str(".");
        }
        for label in self.labels() {
            for byte in label {
                match byte {
                    b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
                        write!(f, "\\{}", char::from(*byte))?;
                    }
                    b'!'..=b'~' => write!(f, "{}", char::from(*byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        // The lengths of labels are below the letters.
        self.wire.eq_ignore_ascii_case(&other.wire)
    }
}

impl Eq for Name {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_and_printed() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Name::parse(text).unwrap().to_string(), expected, "{text}");
        };
        check("a.example", "a.example.");
        check("a.example.", "a.example.");
        check(".", ".");
        check(r"first\.last.example", r"first\.last.example.");
        check(r"\065b", "Ab.");
        check("a b.é", r"a\ b.\195\169.");
        assert_eq!(Name::parse("A.Example").unwrap(), Name::parse("a.example.").unwrap());
        assert_ne!(Name::parse("ab.example").unwrap(), Name::parse("a.example").unwrap());
    }

    #[test]
    fn what_is_no_domain_name_is_refused() {
        let long = format!("{}.example", "x".repeat(64));
        let longer = vec!["abcdefgh"; 30].join(".");
        for text in ["", "..", "a..b", ".a", "a..", r"a\", r"a\25", r"a\256", &long, &longer] {
            assert_eq!(Name::parse(text), Err(NameError(text.to_owned())));
        }
        let longest = vec!["a".repeat(62); 4].join(".");
        assert_eq!(Name::parse(&longest).unwrap().wire().len(), 253);
        assert!(Name::parse(&format!("{longest}.a")).is_ok());
        assert!(Name::parse(&format!("{longest}.ab")).is_err());
    }

    proptest! {
        #[test]
        fn a_printed_name_is_read_as_the_same(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..5)) {
            let mut name = Name::begin();
            for label in &labels {
                name.push_label(label).unwrap();
            }
            let name = name.end().unwrap();
            let read = Name::parse(&name.to_string()).unwrap();
            prop_assert_eq!(read.wire(), name.wire());
        }
    }
}
