//! Values that occur in many places.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Context;
use crate::config::parse_address;
use crate::model::METRIC_NAME;
use crate::yaml::{Fields, Node, NodeKind};

impl Context<'_> {
    pub(super) fn flag(&mut self, fields: &mut Fields<'_>, key: &'static str, default: bool) -> bool {
        fields.take(key).and_then(|node| self.reader.boolean(key, node)).unwrap_or(default)
    }

    pub(super) fn reader_text(&mut self, key: &str, node: &Node) -> Option<String> {
        self.reader.text(key, node).map(ToOwned::to_owned)
    }

    pub(super) fn path(&mut self, key: &str, node: &Node) -> Option<PathBuf> {
        self.reader_text(key, node).map(|path| self.surroundings.folder.join(path))
    }

    /// A pattern of files, relative to the folder of the configuration.
    pub(super) fn absolute(&self, pattern: String) -> String {
        self.surroundings.folder.join(pattern).to_string_lossy().into_owned()
    }

    pub(super) fn name(&mut self, node: &Node) -> Option<String> {
        let name = self.reader.text("name", node)?;
        if name.trim().is_empty() {
            self.reader.error("empty-name", node.place, "a name must not be empty");
            return None;
        }
        Some(name.to_owned())
    }

    pub(super) fn address(&mut self, key: &str, node: &Node) -> Option<SocketAddr> {
        let text = self.reader.text(key, node)?;
        let address = parse_address(text).ok();
        if address.is_none() {
            self.reader.error_with_hint(
                "bad-address",
                node.place,
                format!("`{key}` must be an address with a port, not `{text}`"),
                "write `127.0.0.1:9797`, or `:9797` for all interfaces",
            );
        }
        address
    }

    /// How many series something may have: at least enough for what says that it works.
    pub(super) fn series(&mut self, key: &'static str, node: &Node) -> Option<usize> {
        let series = self.reader.integer(key, node, 100..=1_000_000)?;
        usize::try_from(series).ok()
    }

    /// Texts by name. `check` says what is wrong with a name or its text.
    pub(super) fn texts(
        &mut self,
        what: &'static str,
        node: &Node,
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) -> BTreeMap<String, String> {
        let NodeKind::Mapping(entries) = &node.kind else {
            let found = node.kind.describe();
            let message = format!("`{what}` must be a mapping of names to texts, not {found}");
            self.reader.error("wrong-type", node.place, message);
            return BTreeMap::new();
        };
        let mut texts = BTreeMap::new();
        for (name, place, value) in entries {
            let Some(text) = self.reader.text(name, value) else { continue };
            if let Err(fault) = check(name, text) {
                self.reader.error("bad-entry", *place, format!("`{what}`: {fault}"));
            }
            texts.insert(name.clone(), text.to_owned());
        }
        texts
    }

    pub(super) fn labels(&mut self, what: &'static str, node: &Node) -> BTreeMap<String, String> {
        self.texts(what, node, |name, _| {
            if name.is_empty() || name == METRIC_NAME {
                Err(format!("`{name}` is not a label that can be set"))
            } else {
                Ok(())
            }
        })
    }
}
