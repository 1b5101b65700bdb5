//! From the parser's events to a tree in which every node knows where it stands.
//!
//! Files that people write are read through this tree instead of through serde: a derived reader stops at
//! the first fault, and the place of an expression's error inside a block scalar needs the scalar's source
//! text.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle};

use crate::model::LineColumn;

/// How many nodes a file may have once its aliases are followed. A file of 10,000 rules has about
/// 100,000; a few lines of nested aliases can have billions.
const MAX_NODES: usize = 5_000_000;

/// What the tags of YAML itself begin with; `!!` is short for it.
const YAML_TAGS: &str = "tag:yaml.org,2002:";

/// What is wrong with a YAML text as such.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// The text is no YAML.
    #[error("{0}")]
    Syntax(String),
    /// The same key twice in a mapping.
    #[error("key `{0}` is set twice in the same mapping")]
    DuplicateKey(String),
    /// A key that is a sequence or a mapping.
    #[error("a key must be a plain text")]
    ComplexKey,
    /// `<<` with something that has no keys.
    #[error("`<<` must be followed by a mapping or by a list of mappings")]
    BadMerge,
    /// An alias within the node that it names.
    #[error("the alias stands inside of what it names")]
    RecursiveAlias,
    /// `!!binary` with something else behind it.
    #[error("`!!binary` must be followed by base64")]
    BadBinary,
    /// Aliases of aliases.
    #[error("the file has more than {MAX_NODES} nodes once its aliases are followed")]
    TooLarge,
}

impl YamlError {
    /// A short stable name of the kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "yaml-syntax",
            Self::DuplicateKey(_) => "duplicate-key",
            Self::ComplexKey | Self::BadMerge | Self::RecursiveAlias | Self::BadBinary => "yaml-structure",
            Self::TooLarge => "too-large",
        }
    }
}

/// A text with the beginnings of its lines, so that finding a place is a binary search.
#[derive(Debug)]
pub struct Source<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    /// Prepares to find places in `text`.
    pub fn new(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, line_starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// The place of byte `offset`.
    pub fn place(&self, offset: usize) -> LineColumn {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        LineColumn { line, column: offset - self.line_starts[line - 1] + 1 }
    }

    /// Where a scalar's value stands in the file.
    pub fn placement(&self, scalar: &Scalar) -> Placement {
        let runs = scalar.runs(self.text);
        Placement { runs: runs.into_iter().map(|(at, offset)| (at, self.place(offset))).collect() }
    }
}

/// Where a scalar's value stands in its file: enough to find the place of any of its bytes after the file's
/// text is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The byte of the value at which each run begins that stands in one line as it is, and its place;
    /// sorted, never empty.
    runs: Vec<(usize, LineColumn)>,
}

impl Placement {
    /// A value that begins at `start` and stands there as it is.
    pub fn starting_at(start: LineColumn) -> Self {
        Self { runs: vec![(0, start)] }
    }

    /// The place at which the value begins.
    pub fn start(&self) -> LineColumn {
        self.runs[0].1
    }

    /// The place of byte `offset` of the value.
    pub fn place(&self, offset: usize) -> LineColumn {
        let run = self.runs.partition_point(|(at, _)| *at <= offset).max(1) - 1;
        let (at, LineColumn { line, column }) = self.runs[run];
        LineColumn { line, column: column + (offset - at) }
    }

    /// The place behind what ends at byte `end` of the value; unlike [`Self::place`] never on the line
    /// after it.
    pub fn end(&self, end: usize) -> LineColumn {
        let LineColumn { line, column } = self.place(end.saturating_sub(1));
        LineColumn { line, column: column + usize::from(end > 0) }
    }
}

/// A node of the tree.
#[derive(Debug)]
pub struct Node {
    /// The byte at which it begins.
    pub at: usize,
    /// What it is.
    pub kind: NodeKind,
    /// Number of nodes in it, aliases followed.
    size: usize,
}

/// The kinds of node.
#[derive(Debug)]
pub enum NodeKind {
    /// A text, number, boolean or nothing.
    Scalar(Scalar),
    /// A sequence.
    Sequence(Vec<Arc<Node>>),
    /// A mapping, in the order of the file, each key once.
    Mapping(Vec<Entry>),
}

impl Node {
    /// The value of `key` in a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            NodeKind::Mapping(entries) => {
                entries.iter().find(|entry| entry.key == key).map(|entry| &*entry.value)
            }
            _ => None,
        }
    }

    /// The node as a scalar.
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            NodeKind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Whether there is nothing.
    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    /// What it is, for messages.
    pub fn what(&self) -> String {
        match &self.kind {
            NodeKind::Scalar(scalar) => format!("`{}`", scalar.text),
            NodeKind::Sequence(_) => "a list".to_owned(),
            NodeKind::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// A key with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The byte at which the key begins.
    pub at: usize,
    /// The value.
    pub value: Arc<Node>,
}

/// A text, number, boolean or nothing.
#[derive(Debug)]
pub struct Scalar {
    /// The value as text, unescaped.
    pub text: String,
    /// Whether the text is bytes in base64: it bears the tag `!!binary`.
    pub binary: bool,
    style: ScalarStyle,
    raw: Range<usize>,
}

impl Scalar {
    /// Whether this is YAML's way to write nothing.
    pub fn is_null(&self) -> bool {
        self.style == ScalarStyle::Plain && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL")
    }

    /// Where runs of the value stand in the source: the byte of the value at which each begins, and the byte
    /// of the source that it was read from. Within a run both advance alike.
    ///
    /// A value is its source without indentation, quotes and escapes, with some line breaks turned into
    /// spaces; so both are walked side by side, and what only the source has is skipped.
    fn runs(&self, source: &str) -> Vec<(usize, usize)> {
        let raw = &source[self.raw.clone()];
        // The source of a block scalar does not hold the empty lines that its value begins with.
        let (indent, mut cursor, leading) = match self.style {
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let leading = self.text.len() - self.text.trim_start_matches('\n').len();
                (block_indent(source, self.raw.start), 0, leading)
            }
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => (0, 1, 0),
            ScalarStyle::Plain => (0, 0, 0),
        };
        let start = self.raw.start;
        let mut runs = vec![(0, start + cursor.min(raw.len()))];
        let line = self.text.trim_end_matches('\n');
        // Most values are one line that stands in the source as it is.
        if leading == 0
            && !line.contains('\n')
            && raw.get(cursor..).is_some_and(|rest| rest.starts_with(line))
        {
            return runs;
        }
        let mut note = |at: usize, cursor: usize| {
            let (run_at, run_start) = runs[runs.len() - 1];
            if start + cursor != run_start + (at - run_at) {
                runs.push((at, start + cursor));
            }
        };
        for (at, wanted) in self.text.char_indices().skip(leading) {
            loop {
                let Some(found) = raw.get(cursor..).and_then(|rest| rest.chars().next()) else {
                    note(at, raw.len());
                    return runs;
                };
                let escape = self.style == ScalarStyle::DoubleQuoted && found == '\\';
                let (length, matches) = if escape {
                    escape_length(&raw[cursor..])
                } else {
                    let blank = wanted.is_whitespace() && found.is_whitespace();
                    (found.len_utf8(), wanted == found || blank)
                };
                if matches {
                    note(at, cursor);
                }
                cursor += length;
                if found == '\n' {
                    cursor = skip_indent(raw, cursor, indent);
                }
                if matches {
                    break;
                }
            }
        }
        note(self.text.len(), cursor.min(raw.len()));
        runs
    }
}

/// The indentation of a block scalar whose source begins at byte `start`, behind the indentation of
/// its first line that is not empty.
fn block_indent(source: &str, start: usize) -> usize {
    start - source[..start].rfind('\n').map_or(0, |at| at + 1)
}

/// Skips up to `indent` spaces at the beginning of a line.
fn skip_indent(raw: &str, cursor: usize, indent: usize) -> usize {
    let spaces = raw.as_bytes()[cursor..].iter().take(indent).take_while(|byte| **byte == b' ').count();
    cursor + spaces
}

/// Length of an escape sequence and whether it stands for a character (an escaped line break does not).
fn escape_length(raw: &str) -> (usize, bool) {
    match raw[1..].chars().next() {
        Some('x') => (4, true),
        Some('u') => (6, true),
        Some('U') => (10, true),
        Some('\n') => (2, false),
        Some(other) => (1 + other.len_utf8(), true),
        None => (1, false),
    }
}

/// Reads all documents of a text. Faults come with the byte at which they stand; a syntax error ends
/// the reading, all others do not.
pub fn read(text: &str) -> (Vec<Arc<Node>>, Vec<(usize, YamlError)>) {
    let mut composer = Composer::default();
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => {
                let range = span.byte_range().expect("a text in memory has byte offsets");
                if let Err(fault) = composer.event(event, range) {
                    composer.faults.push(fault);
                    break;
                }
            }
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(text.len());
                composer.faults.push((at, YamlError::Syntax(error.info())));
                break;
            }
        }
    }
    (composer.documents, composer.faults)
}

/// Builds nodes from the parser's events.
#[derive(Default)]
struct Composer {
    documents: Vec<Arc<Node>>,
    faults: Vec<(usize, YamlError)>,
    open: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
}

/// A sequence or mapping whose end was not reached.
struct Open {
    at: usize,
    anchor: usize,
    size: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Arc<Node>>),
    Mapping {
        entries: Vec<Entry>,
        seen: HashSet<String>,
        /// What `<<` brings in; keys of the mapping itself win.
        merged: Vec<Entry>,
        key: Option<Key>,
    },
}

/// A key whose value comes next; without a name its entry is dropped.
struct Key {
    at: usize,
    name: Option<String>,
}

impl Composer {
    fn event(&mut self, event: Event<'_>, range: Range<usize>) -> Result<(), (usize, YamlError)> {
        let at = range.start;
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let binary = tag.is_some_and(|tag| tag.handle() == YAML_TAGS && tag.suffix() == "binary");
                // The parser writes an absent value as `~`.
                let text = if range.is_empty() { String::new() } else { text.into_owned() };
                let kind = NodeKind::Scalar(Scalar { text, binary, style, raw: range });
                self.finish(Node { at, kind, size: 1 }, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open.push(Open { at, anchor, size: 1, items: Items::Sequence(Vec::new()) });
            }
            Event::MappingStart(_, anchor, _) => {
                let items = Items::Mapping {
                    entries: Vec::new(),
                    seen: HashSet::new(),
                    merged: Vec::new(),
                    key: None,
                };
                self.open.push(Open { at, anchor, size: 1, items });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { at, anchor, size, items } = self.open.pop().expect("ends pair with starts");
                let kind = match items {
                    Items::Sequence(nodes) => NodeKind::Sequence(nodes),
                    Items::Mapping { mut entries, seen, merged, .. } => {
                        let mut seen = seen;
                        entries.extend(merged.into_iter().filter(|entry| seen.insert(entry.key.clone())));
                        NodeKind::Mapping(entries)
                    }
                };
                self.finish(Node { at, kind, size }, anchor)?;
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().ok_or((at, YamlError::RecursiveAlias))?;
                self.place(node, at)?;
            }
            // Stream and document marks carry no nodes.
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), (usize, YamlError)> {
        let at = node.at;
        let node = Arc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.place(node, at)
    }

    /// Puts a finished node where it belongs; `at` is where it is written, for an alias not where it
    /// is defined.
    fn place(&mut self, node: Arc<Node>, at: usize) -> Result<(), (usize, YamlError)> {
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        parent.size += node.size;
        if parent.size > MAX_NODES {
            return Err((at, YamlError::TooLarge));
        }
        match &mut parent.items {
            Items::Sequence(nodes) => nodes.push(node),
            Items::Mapping { entries, seen, merged, key } => match key.take() {
                None => {
                    let name = match &node.kind {
                        NodeKind::Scalar(scalar) => Some(scalar.text.clone()),
                        _ => {
                            self.faults.push((at, YamlError::ComplexKey));
                            None
                        }
                    };
                    *key = Some(Key { at, name });
                }
                Some(Key { name: None, .. }) => {}
                Some(Key { at, name: Some(name) }) if name == "<<" => match merge(&node) {
                    Some(found) => merged.extend(found),
                    None => self.faults.push((at, YamlError::BadMerge)),
                },
                Some(Key { at, name: Some(name) }) => {
                    if seen.insert(name.clone()) {
                        entries.push(Entry { key: name, at, value: node });
                    } else {
                        self.faults.push((at, YamlError::DuplicateKey(name)));
                    }
                }
            },
        }
        Ok(())
    }
}

/// The entries that `<<: node` brings in; of several mappings the first wins.
fn merge(node: &Node) -> Option<Vec<Entry>> {
    match &node.kind {
        NodeKind::Mapping(entries) => Some(entries.clone()),
        NodeKind::Sequence(nodes) => {
            let parts = nodes.iter().map(|node| match &node.kind {
                NodeKind::Mapping(entries) => Some(entries.clone()),
                _ => None,
            });
            parts.collect::<Option<Vec<_>>>().map(|parts| parts.into_iter().flatten().collect())
        }
        NodeKind::Scalar(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn get<'a>(node: &'a Node, key: &str) -> &'a Node {
        node.get(key).expect("the key is there")
    }

    fn scalar(node: &Node) -> &Scalar {
        node.scalar().expect("a scalar")
    }

    #[test]
    fn a_place_in_a_value_is_found_in_the_file() {
        // `@` in the value is the place that is looked for.
        let check = |text: &str, expected: &str| {
            let (documents, faults) = read(text);
            assert_eq!(faults, [], "{text}");
            let scalar = scalar(get(&documents[0], "k"));
            let offset = scalar.text.find('@').expect("a mark in the value");
            assert_eq!(Source::new(text).placement(scalar).place(offset).to_string(), expected, "{text}");
        };
        check("k: a @b", "1:6");
        check("k: 'it''s @'", "1:11");
        check("k: \"a\\n\\u00e9 @\"", "1:15");
        check("k: \"a\n   \\\n   b @\"", "3:6");
        check("k: |\n  one\n  @", "3:3");
        check("k: |\n  @ one", "2:3");
        check("k: |\n  one\n      deep @", "3:12");
        check("k: |2-\n    deep\n  one @", "3:7");
        check("k: |2-\n    deep @\n  one", "2:10");
        check("k: |\n\n  one\n    @", "4:5");
        check("k: |\n  one +\n    two @", "3:9");
        check("k: >\n  one\n  two @ x\n  y", "3:7");
        check("k: >\n  one\n\n  two @", "4:7");
        check("k: plain\n   more @", "2:9");
        check("\u{feff}k: x @", "1:9");
        check("\u{e9}: 1\nk: |\n  \u{e9} @", "3:6");
    }

    #[test]
    fn numbers_and_booleans_stay_text_and_nothing_is_null() {
        let (documents, _) = read("a: 500\nb: no\nc: 1e3\nd:\ne: ~\nf: ''\ng: 'null'");
        let check = |key: &str, text: &str, null: bool| {
            let scalar = scalar(get(&documents[0], key));
            assert_eq!((scalar.text.as_str(), scalar.is_null()), (text, null), "{key}");
        };
        check("a", "500", false);
        check("b", "no", false);
        check("c", "1e3", false);
        check("d", "", true);
        check("e", "~", true);
        check("f", "", false);
        check("g", "null", false);
    }

    #[test]
    fn merged_keys_yield_to_own_keys() {
        let (documents, faults) = read("base: &b {x: 1, y: 2}\nk:\n  <<: *b\n  y: 3\nl:\n  <<: [{y: 9}, *b]");
        assert_eq!(faults, []);
        assert_eq!(scalar(get(get(&documents[0], "k"), "x")).text, "1");
        assert_eq!(scalar(get(get(&documents[0], "k"), "y")).text, "3");
        assert_eq!(scalar(get(get(&documents[0], "l"), "y")).text, "9");
    }

    #[test]
    fn faults_have_their_place() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let (_, faults) = read(text);
            let source = Source::new(text);
            let found: Vec<_> =
                faults.iter().map(|(at, fault)| (source.place(*at).to_string(), fault.to_string())).collect();
            let expected: Vec<_> =
                expected.iter().map(|(place, text)| ((*place).to_owned(), (*text).to_owned())).collect();
            assert_eq!(found, expected, "{text}");
        };
        check(
            "a: 1\nb: 2\na: 3\nb: 4",
            &[
                ("3:1", "key `a` is set twice in the same mapping"),
                ("4:1", "key `b` is set twice in the same mapping"),
            ],
        );
        check("[a]: 1", &[("1:1", "a key must be a plain text")]);
        check("a: [", &[("1:4", "unclosed bracket '['")]);
        check("<<: 1", &[("1:1", "`<<` must be followed by a mapping or by a list of mappings")]);
        check("a: &x [*x]", &[("1:8", "the alias stands inside of what it names")]);
        check("a: *x", &[("1:4", "while parsing node, found unknown anchor")]);
    }

    #[test]
    fn aliases_of_aliases_are_refused_before_they_are_followed() {
        let mut text = "a0: &a0 [1]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            let aliases = vec![alias; 10].join(",");
            writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
        }
        let (_, faults) = read(&text);
        assert_eq!(faults.last().map(|(_, fault)| fault.clone()), Some(YamlError::TooLarge));
    }

    #[test]
    fn several_documents_are_read() {
        let (documents, faults) = read("a: 1\n---\nb: 2\n---\n");
        assert_eq!((documents.len(), faults.len()), (3, 0));
        assert_eq!(read("# nothing\n").0.len(), 0);
    }
}
