//! The tree.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

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
    /// A sequence.
    Sequence(Vec<Node>),
    /// A mapping in the order of the file, its keys with their places.
    Mapping(Vec<(String, LineColumn, Node)>),
}

impl NodeKind {
    /// What to call it in a message.
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Scalar(text) => format!("`{text}`"),
            Self::Sequence(_) => "a list".to_owned(),
            Self::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// Parses a text with one document. An empty text is [`NodeKind::Null`].
pub fn parse(file: &str, text: &str) -> Result<Node, Diagnostic> {
    let tree: Spanned<Raw> = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map(|at| LineColumn {
            line: usize::try_from(at.line()).unwrap_or(usize::MAX),
            column: usize::try_from(at.column()).unwrap_or(usize::MAX),
        });
        let message = error.without_snippet().to_string();
        Diagnostic::error("yaml-syntax", strip_place(&message)).at(file, place)
    })?;
    Ok(into_node(tree, text))
}

/// The library appends the place to its message; ours stands in front.
fn strip_place(message: &str) -> &str {
    message.lines().next().unwrap_or_default().split(" at line ").next().unwrap_or_default()
}

/// What the deserializer hands over: scalars it has interpreted, to be replaced by their source text.
enum Raw {
    Null,
    /// A string that the parser has unescaped.
    Text(String),
    /// A number or boolean; how it was written stands in the source.
    Interpreted(String),
    Sequence(Vec<Spanned<Raw>>),
    Mapping(Vec<(Spanned<Key>, Spanned<Raw>)>),
}

/// A key: any scalar, as text.
struct Key(String);

fn into_node(tree: Spanned<Raw>, source: &str) -> Node {
    let place = LineColumn {
        line: usize::try_from(tree.referenced.line()).unwrap_or(usize::MAX).max(1),
        column: usize::try_from(tree.referenced.column()).unwrap_or(usize::MAX).max(1),
    };
    let span = tree.defined.span();
    let kind = match tree.value {
        Raw::Null => NodeKind::Null,
        Raw::Text(text) => NodeKind::Scalar(text),
        Raw::Interpreted(value) => {
            let written = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
                let start = usize::try_from(start).ok()?;
                source.get(start..start + usize::try_from(length).ok()?)
            });
            NodeKind::Scalar(written.map_or(value, |text| text.trim().to_owned()))
        }
        Raw::Sequence(items) => {
            NodeKind::Sequence(items.into_iter().map(|item| into_node(item, source)).collect())
        }
        Raw::Mapping(entries) => NodeKind::Mapping(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let at = LineColumn {
                        line: usize::try_from(key.referenced.line()).unwrap_or(usize::MAX).max(1),
                        column: usize::try_from(key.referenced.column()).unwrap_or(usize::MAX).max(1),
                    };
                    (key.value.0, at, into_node(value, source))
                })
                .collect(),
        ),
    };
    Node { kind, place }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawVisitor;
        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Raw, D::Error> {
                Raw::deserialize(inner)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
                Ok(Raw::Interpreted(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
                Ok(Raw::Interpreted(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
                Ok(Raw::Interpreted(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
                Ok(Raw::Interpreted(value.to_string()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
                Ok(Raw::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Raw, E> {
                Ok(Raw::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = sequence.next_element()? {
                    items.push(item);
                }
                Ok(Raw::Sequence(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = mapping.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Mapping(entries))
            }
        }
        deserializer.deserialize_any(RawVisitor)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        let place = node.place;
        match &node.kind {
            NodeKind::Null => format!("null@{place}"),
            NodeKind::Scalar(text) => format!("{text:?}@{place}"),
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
            assert_eq!(show(&parse("f", text).expect("valid YAML")), expected, "{text:?}");
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
    }

    #[test]
    fn a_value_that_is_missing_is_null() {
        let node = parse("f", "a:\n").expect("valid YAML");
        let NodeKind::Mapping(entries) = node.kind else { panic!("a mapping") };
        assert!(matches!(entries[0].2.kind, NodeKind::Null));
        assert!(matches!(parse("f", "").expect("empty").kind, NodeKind::Null));
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let error = parse("f.yaml", "a: 1\na: 2\n").expect_err("a key twice");
        assert_eq!(error.place, Some(LineColumn { line: 2, column: 1 }), "{error}");
        let error = parse("f.yaml", "a: [1\nb: 2\n").expect_err("an open bracket");
        assert!(error.place.is_some(), "{error}");
    }
}
