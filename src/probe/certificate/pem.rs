//! The sections of PEM (RFC 7468), told apart before any is decoded: what lies beside certificates, such as
//! a key that is encrypted in OpenSSL's old way, is none of our business.

use std::borrow::Cow;

use rustls::pki_types::pem::{self, PemObject, SectionKind};

/// One section, from its `BEGIN` to its `END`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section<'a> {
    /// What it is, such as `CERTIFICATE`.
    pub(super) label: Cow<'a, str>,
    text: &'a [u8],
}

impl Section<'_> {
    /// What it holds, if it is called `CERTIFICATE` or `X509 CRL`.
    pub(super) fn decode(&self) -> Result<Vec<u8>, pem::Error> {
        <(SectionKind, Vec<u8>)>::from_pem_slice(self.text).map(|(_, der)| der)
    }

    /// What it holds, as if it were called `CERTIFICATE`.
    pub(super) fn decode_as_certificate(&self) -> Result<Vec<u8>, pem::Error> {
        let text = String::from_utf8_lossy(self.text);
        let text = text.replace(&format!(" {}-----", self.label), " CERTIFICATE-----");
        <(SectionKind, Vec<u8>)>::from_pem_slice(text.as_bytes()).map(|(_, der)| der)
    }
}

/// All sections. One without an end goes on until the next begins.
pub(super) fn sections(bytes: &[u8]) -> Vec<Section<'_>> {
    let mut sections = Vec::new();
    let mut open: Option<(usize, Cow<'_, str>)> = None;
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
        let begins = label(line, b"-----BEGIN ");
        let ends = line.starts_with(b"-----END ");
        let end = if ends { at + line.len() } else { at };
        if let Some((start, label)) = open.take_if(|_| ends || begins.is_some()) {
            sections.push(Section { label, text: &bytes[start..end] });
        }
        open = begins.map(|label| (at, label)).or(open);
        at += line.len();
    }
    sections.extend(open.map(|(start, label)| Section { label, text: &bytes[start..] }));
    sections
}

/// The label in a line such as `-----BEGIN CERTIFICATE-----`.
fn label<'a>(line: &'a [u8], mark: &[u8]) -> Option<Cow<'a, str>> {
    let label = line.strip_prefix(mark)?.trim_ascii_end().strip_suffix(b"-----")?;
    Some(String::from_utf8_lossy(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_told_apart() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let found = sections(text.as_bytes());
            let found: Vec<_> = found
                .iter()
                .map(|section| (&*section.label, std::str::from_utf8(section.text).unwrap()))
                .collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("", &[]);
        check("no PEM\n", &[]);
        let a = "-----BEGIN A-----\nQQ==\n-----END A-----\n";
        check(a, &[("A", a)]);
        check(&format!("before\n{a}between\n{a}after"), &[("A", a), ("A", a)]);
        check(
            "-----BEGIN A----- \r\nQQ==\r\n-----END A-----",
            &[("A", "-----BEGIN A----- \r\nQQ==\r\n-----END A-----")],
        );
        check(&format!("-----BEGIN B-----\nQ\n{a}"), &[("B", "-----BEGIN B-----\nQ\n"), ("A", a)]);
        check("-----BEGIN A-----\nQQ==", &[("A", "-----BEGIN A-----\nQQ==")]);
        check("-----BEGIN A\nQQ==\n-----END A-----\n", &[]);
        check("-----END A-----\n", &[]);
    }

    #[test]
    fn a_section_is_decoded_whatever_it_is_called() {
        let text = "-----BEGIN TRUSTED CERTIFICATE-----\nQUI=\n-----END TRUSTED CERTIFICATE-----\n";
        let found = sections(text.as_bytes());
        assert_eq!(found[0].decode_as_certificate().unwrap(), b"AB");
        assert!(found[0].decode().is_err());
        let text = text.replace("TRUSTED ", "");
        assert_eq!(sections(text.as_bytes())[0].decode().unwrap(), b"AB");
    }
}
