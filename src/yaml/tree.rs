//! The tree.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::compose::{self, Source, YamlError};
use crate::diag::Diagnostic;
use crate::model::LineColumn;

/// A value with its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Where it begins.
    pub place: LineColumn,
}

/// The kinds of value. Scalars keep the text as written, so that a reader that wants a string gets
/// `0500` and `no` as they stand.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar's text.
    Scalar(String),
    /// Bytes, written as `!!binary`.
    Binary(Vec<u8>),
    /// A sequence.
    Sequence(Vec<Node>),
    /// A mapping in the order of the file, its keys with their places.
    Mapping(Vec<(String, LineColumn, Node)>),
}

impl NodeKind {
    /// What to call it in a message. A text is not shown: it may be a secret that stands in a wrong place.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a text",
            Self::Binary(_) => "bytes",
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

/// Parses a text with one document, and reports what is wrong with it as YAML: after a syntax error the
/// tree is [`NodeKind::Null`], after other faults it lacks what they are about. An empty text is
/// [`NodeKind::Null`] too.
pub fn parse(file: &str, text: &str) -> (Node, Vec<Diagnostic>) {
    let source = Source::new(text);
    let (documents, faults) = compose::read(text);
    let finding =
        |code, at, message: String| Diagnostic::error(code, message).at(file, Some(source.place(at)));
    let mut findings: Vec<_> =
        faults.iter().map(|(at, fault)| finding(fault.code(), *at, fault.to_string())).collect();
    if let Some(second) = documents.get(1) {
        findings.push(finding("yaml-structure", second.at, "there must be one document only".to_owned()));
    }
    let broken = faults.iter().any(|(_, fault)| matches!(fault, YamlError::Syntax(_)));
    let node = match documents.first() {
        Some(document) if !broken => {
            let mut faults = Vec::new();
            let node = placed(document, &source, &mut faults);
            findings.extend(faults.into_iter().map(|at| {
                let fault = YamlError::BadBinary;
                Diagnostic::error(fault.code(), fault.to_string()).at(file, Some(at))
            }));
            node
        }
        _ => Node { kind: NodeKind::Null, place: source.place(0) },
    };
    (node, findings)
}

/// `faults` collects the places of what is no base64 though it claims to be.
fn placed(node: &compose::Node, source: &Source<'_>, faults: &mut Vec<LineColumn>) -> Node {
    let kind = match &node.kind {
        compose::NodeKind::Scalar(scalar) if scalar.is_null() => NodeKind::Null,
        compose::NodeKind::Scalar(scalar) if scalar.binary => match bytes(&scalar.text) {
            Some(bytes) => NodeKind::Binary(bytes),
            None => {
                faults.push(source.place(node.at));
                NodeKind::Null
            }
        },
        compose::NodeKind::Scalar(scalar) => NodeKind::Scalar(scalar.text.clone()),
        compose::NodeKind::Sequence(items) => {
            NodeKind::Sequence(items.iter().map(|item| placed(item, source, faults)).collect())
        }
        compose::NodeKind::Mapping(entries) => NodeKind::Mapping(
            entries
                .iter()
                .map(|entry| {
                    (entry.key.clone(), source.place(entry.at), placed(&entry.value, source, faults))
                })
                .collect(),
        ),
    };
    Node { kind, place: source.place(node.at) }
}

/// What base64 stands for; it may be broken into lines.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let joined: String = text.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(joined).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        let place = node.place;
        match &node.kind {
            NodeKind::Null => format!("null@{place}"),
            NodeKind::Scalar(text) => format!("{text:?}@{place}"),
            NodeKind::Binary(bytes) => format!("{bytes:?}@{place}"),
            NodeKind::Sequence(items) => {
                let items: Vec<_> = items.iter().map(show).collect();
                format!("[{}]", items.join(", "))
            }
            NodeKind::Mapping(entries) => {
                let entries: Vec<_> =
                    entries.iter().map(|(key, at, value)| format!("{key}@{at}: {}", show(value))).collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let check = |text: &str, expected: &str| {
            let (node, findings) = parse("f", text);
            assert_eq!(findings, [], "{text:?}");
            assert_eq!(show(&node), expected, "{text:?}");
        };
        check("a: 1\nb:\n  - x\n  - {c: no}\n", r#"{a@1:1: "1"@1:4, b@2:1: ["x"@3:5, {c@4:6: "no"@4:9}]}"#);
        check("v: 0500", r#"{v@1:1: "0500"@1:4}"#);
        check("v: true", r#"{v@1:1: "true"@1:4}"#);
        check("v: 1.50", r#"{v@1:1: "1.50"@1:4}"#);
        check("v: 'q'", r#"{v@1:1: "q"@1:4}"#);
        check("v: \"1\"", r#"{v@1:1: "1"@1:4}"#);
        check("500: x", r#"{500@1:1: "x"@1:6}"#);
        check("v: [10.0.0.1:80, 1h]", r#"{v@1:1: ["10.0.0.1:80"@1:5, "1h"@1:18]}"#);
        check("v: |\n  text\n", r#"{v@1:1: "text\n"@2:3}"#);
        check("v: !!binary AAAA CATS\n", "{v@1:1: [0, 0, 0, 8, 4, 210]@1:13}");
    }

    #[test]
    fn a_value_that_is_missing_is_null() {
        let NodeKind::Mapping(entries) = parse("f", "a:\n").0.kind else { panic!("a mapping") };
        assert!(matches!(entries[0].2.kind, NodeKind::Null));
        assert!(matches!(parse("f", "").0.kind, NodeKind::Null));
    }

    #[test]
    fn every_fault_has_its_place() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<_> = parse("f", text).1.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text:?}");
        };
        let twice = [
            "f:2:1: key `a` is set twice in the same mapping",
            "f:3:1: key `a` is set twice in the same mapping",
        ];
        check("a: 1\na: 2\na: 3\n", &twice);
        check("a: !!binary x\n", &["f:1:13: `!!binary` must be followed by base64"]);
        check("a: 1\n---\nb: 1\n", &["f:3:1: there must be one document only"]);
        let (node, findings) = parse("f.yaml", "a: [1\nb: 2\n");
        assert!(matches!(node.kind, NodeKind::Null) && findings[0].place.is_some(), "{findings:?}");
    }
}
