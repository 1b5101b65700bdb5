//! Taking a tree apart: typed values out, every fault kept.

use std::time::Duration;

use super::tree::{Node, NodeKind};
use crate::diag::{Diagnostic, closest};
use crate::model::{LineColumn, parse_duration_ms};

/// Collects the faults of one file.
#[derive(Debug)]
pub struct Reader {
    file: String,
    findings: Vec<Diagnostic>,
}

impl Reader {
    /// A reader for `file`, as the user named it.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), findings: Vec::new() }
    }

    /// The file, as the user named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Notes an error at a place.
    pub fn error(&mut self, code: &'static str, place: LineColumn, message: impl Into<String>) {
        let finding = Diagnostic::error(code, message).at(&self.file, Some(place));
        self.findings.push(finding);
    }

    /// Notes an error at a place, with a way out.
    pub fn error_with_hint(
        &mut self,
        code: &'static str,
        place: LineColumn,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let finding = Diagnostic::error(code, message).at(&self.file, Some(place)).hint(hint);
        self.findings.push(finding);
    }

    /// Notes what is probably not meant at a place, though it works.
    pub fn warning(&mut self, code: &'static str, place: LineColumn, message: impl Into<String>) {
        self.findings.push(Diagnostic::warning(code, message).at(&self.file, Some(place)));
    }

    /// Takes over what was found in another file.
    pub fn adopt(&mut self, findings: Vec<Diagnostic>) {
        self.findings.extend(findings);
    }

    /// What was found, in the order of the file.
    pub fn into_findings(mut self) -> Vec<Diagnostic> {
        self.findings.sort_by_key(|finding| finding.place);
        self.findings
    }

    /// The fields of a mapping; of anything else, none and an error. Nothing at all is an empty mapping.
    pub fn fields<'a>(&mut self, what: &'static str, node: &'a Node) -> Fields<'a> {
        let entries = match &node.kind {
            NodeKind::Mapping(entries) => entries.as_slice(),
            NodeKind::Null => &[],
            other => {
                let found = other.describe();
                self.error(
                    "wrong-type",
                    node.place,
                    format!("{what} must be a mapping of keys to values, not {found}"),
                );
                &[]
            }
        };
        Fields { what, place: node.place, entries, known: Vec::new() }
    }

    /// The items of a list; of anything else, none and an error.
    pub fn items<'a>(&mut self, what: &str, node: &'a Node) -> &'a [Node] {
        match &node.kind {
            NodeKind::Sequence(items) => items,
            NodeKind::Null => &[],
            other => {
                let found = other.describe();
                self.error_with_hint(
                    "wrong-type",
                    node.place,
                    format!("`{what}` must be a list, not {found}"),
                    "begin each item on a line of its own with `- `",
                );
                &[]
            }
        }
    }

    /// The text of a scalar.
    pub fn text<'a>(&mut self, what: &str, node: &'a Node) -> Option<&'a str> {
        match &node.kind {
            NodeKind::Scalar(text) => Some(text),
            other => {
                let found = other.describe();
                self.error("wrong-type", node.place, format!("`{what}` must be a text, not {found}"));
                None
            }
        }
    }

    /// A duration in Prometheus' notation, longer than nothing.
    pub fn duration(&mut self, what: &str, node: &Node) -> Option<Duration> {
        let text = self.text(what, node)?;
        match parse_duration_ms(text) {
            Ok(0) => {
                self.error("bad-duration", node.place, format!("`{what}` must be longer than 0"));
                None
            }
            Ok(ms) => Some(Duration::from_millis(ms.unsigned_abs())),
            Err(error) => {
                self.error_with_hint(
                    "bad-duration",
                    node.place,
                    format!("`{what}`: {error}"),
                    "write a duration such as `15s`, `5m` or `1h30m`",
                );
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, what: &str, node: &Node) -> Option<bool> {
        match self.text(what, node)? {
            "true" => Some(true),
            "false" => Some(false),
            other => {
                self.error(
                    "wrong-type",
                    node.place,
                    format!("`{what}` must be `true` or `false`, not `{other}`"),
                );
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn integer(&mut self, what: &str, node: &Node, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(what, node)?;
        match text.parse::<u64>() {
            Ok(value) if bounds.contains(&value) => Some(value),
            _ => {
                let (low, high) = (bounds.start(), bounds.end());
                self.error(
                    "bad-number",
                    node.place,
                    format!("`{what}` must be a whole number from {low} to {high}, not `{text}`"),
                );
                None
            }
        }
    }

    /// A size in bytes: a number with `B`, `KB`, `KiB`, `MB`, `MiB`, `GB`, `GiB` or without unit.
    pub fn size_bytes(&mut self, what: &str, node: &Node) -> Option<u64> {
        let text = self.text(what, node)?;
        let parsed = parse_size(text);
        if parsed.is_none() {
            self.error_with_hint(
                "bad-size",
                node.place,
                format!("`{what}` must be a size, not `{text}`"),
                "write a size such as `256MiB` or `1GB`",
            );
        }
        parsed
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return None,
    };
    count.checked_mul(unit)
}

/// The fields of one mapping. Whoever reads it asks for every key it knows and then calls
/// [`Self::finish`], which reports those that nobody asked for.
#[derive(Debug)]
pub struct Fields<'a> {
    what: &'static str,
    place: LineColumn,
    entries: &'a [(String, LineColumn, Node)],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Where the mapping begins.
    pub fn place(&self) -> LineColumn {
        self.place
    }

    /// The value of `key`; none if the key is absent or has no value.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        let (_, _, node) = self.entries.iter().find(|(name, _, _)| name == key)?;
        (!matches!(node.kind, NodeKind::Null)).then_some(node)
    }

    /// The value of `key`; its absence is an error.
    pub fn require(&mut self, reader: &mut Reader, key: &'static str) -> Option<&'a Node> {
        let node = self.take(key);
        if node.is_none() {
            let at =
                self.entries.iter().find(|(name, _, _)| name == key).map_or(self.place, |(_, at, _)| *at);
            reader.error("missing-key", at, format!("{} needs a value for `{key}`", self.what));
        }
        node
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self, reader: &mut Reader) {
        for (key, at, _) in self.entries {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let message = format!("{} has no key `{key}`", self.what);
            let hint = match closest(key, self.known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known keys: {}", self.known.join(", ")),
            };
            reader.error_with_hint("unknown-key", *at, message, hint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_unit() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_size(text), expected, "{text}");
        check("256MiB", Some(256 << 20));
        check("1GB", Some(1_000_000_000));
        check("512", Some(512));
        check("2 KiB", Some(2048));
        check("MiB", None);
        check("1.5GiB", None);
        check("1XB", None);
        check("99999999999GiB", None);
    }
}
