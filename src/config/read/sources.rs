//! Servers that rules are evaluated by, and which rules.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Context;
use crate::client::HttpConfig;
use crate::config::{RuleSource, SourceConfig, WriteBackConfig};
use crate::diag::closest;
use crate::model::LineColumn;
use crate::yaml::{Fields, Node, NodeKind};

/// How long an answer may take unless a source says otherwise. Long enough for a slow rule, and a
/// quarter of the time after which Alertmanager takes a firing alert for resolved.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An entry of `rules`.
pub(super) enum RulesEntry {
    /// `builtin`
    Builtin,
    /// A pattern of files.
    Files(String),
    /// Files whose groups are evaluated by a source.
    Sourced(LineColumn, RuleSource),
}

impl Context<'_> {
    pub(super) fn source(&mut self, node: &Node) -> Option<SourceConfig> {
        let mut fields = self.reader.fields("a source", node);
        let name = fields.require(&mut self.reader, "name").and_then(|node| self.name(node));
        let url = fields.require(&mut self.reader, "url").and_then(|node| self.http_url("url", node));
        let timeout = self.timeout(&mut fields);
        let http = self.http(&mut fields);
        let parameters = fields.take("params").map(|node| self.texts("params", node, |_, _| Ok(())));
        let write_back = fields.take("remote_write").and_then(|node| self.write_back(node, &http));
        fields.finish(&mut self.reader);
        Some(SourceConfig {
            name: name?,
            url: url?,
            timeout,
            http,
            parameters: parameters.into_iter().flatten().collect(),
            write_back,
        })
    }

    /// A URL alone is reached as the source is; a mapping says all of it anew.
    fn write_back(&mut self, node: &Node, source: &HttpConfig) -> Option<WriteBackConfig> {
        if matches!(node.kind, NodeKind::Scalar(_)) {
            let url = self.http_url("remote_write", node)?;
            return Some(WriteBackConfig { url, timeout: TIMEOUT, http: source.clone() });
        }
        let mut fields = self.reader.fields("`remote_write`", node);
        let url = fields.require(&mut self.reader, "url").and_then(|node| self.http_url("url", node));
        let timeout = self.timeout(&mut fields);
        let http = self.http(&mut fields);
        fields.finish(&mut self.reader);
        Some(WriteBackConfig { url: url?, timeout, http })
    }

    fn timeout(&mut self, fields: &mut Fields<'_>) -> Duration {
        let timeout = fields.take("timeout").and_then(|node| self.reader.duration("timeout", node));
        timeout.unwrap_or(TIMEOUT)
    }

    pub(super) fn rules_entry(&mut self, node: &Node) -> Option<RulesEntry> {
        if !matches!(node.kind, NodeKind::Mapping(_)) {
            let text = self.reader.text("rules", node)?;
            return Some(match text {
                "builtin" => RulesEntry::Builtin,
                files => RulesEntry::Files(self.absolute(files.to_owned())),
            });
        }
        let mut fields = self.reader.fields("an entry of `rules`", node);
        let files = fields.require(&mut self.reader, "files").map(|node| self.one_or_several("files", node));
        let source = fields.require(&mut self.reader, "source");
        let place = source.map_or(node.place, |node| node.place);
        let source = source.and_then(|node| self.reader_text("source", node));
        let groups = fields.take("groups").map(|node| self.one_or_several("groups", node));
        fields.finish(&mut self.reader);
        let files = files?.into_iter().map(|file| self.absolute(file)).collect();
        Some(RulesEntry::Sourced(
            place,
            RuleSource { files, groups: groups.unwrap_or_default(), source: source? },
        ))
    }

    /// A text, or a list of texts.
    fn one_or_several(&mut self, key: &'static str, node: &Node) -> Vec<String> {
        if matches!(node.kind, NodeKind::Scalar(_)) {
            return self.reader_text(key, node).into_iter().collect();
        }
        self.list(Some(node), key, |this, node| this.reader_text(key, node))
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    }

    /// Every source that rules name must be there.
    pub(super) fn known_sources(&mut self, sources: &[SourceConfig], entries: &[(LineColumn, RuleSource)]) {
        let names: BTreeSet<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        for (place, entry) in entries.iter().filter(|(_, entry)| !names.contains(entry.source.as_str())) {
            let message = format!("there is no source `{}`", entry.source);
            let hint = match closest(&entry.source, names.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "name it under `sources`, with its URL".to_owned(),
            };
            self.reader.error_with_hint("unknown-source", *place, message, hint);
        }
    }
}
