//! File systems.

use std::path::PathBuf;

use super::Context;
use crate::config::DiskConfig;
use crate::yaml::Node;

impl Context<'_> {
    pub(super) fn disk(&mut self, node: &Node) -> Option<DiskConfig> {
        let mut fields = self.reader.fields("a disk", node);
        let path = fields.require(&mut self.reader, "path").and_then(|node| {
            let path = PathBuf::from(self.reader.text("path", node)?);
            if path.is_relative() {
                let message = format!("`path` must begin with `/`, not `{}`", path.display());
                self.reader.error("relative-path", node.place, message);
            }
            Some(path)
        });
        let pace = self.pace(&mut fields);
        fields.finish(&mut self.reader);
        Some(DiskConfig { path: path?, pace })
    }
}
