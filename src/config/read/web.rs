//! The HTTP server beside its address.

use super::Context;
use crate::config::WebConfig;
use crate::diag::Severity;
use crate::listener;
use crate::yaml::Node;

impl Context<'_> {
    pub(super) fn web(&mut self, node: &Node) -> WebConfig {
        let mut fields = self.reader.fields("`web`", node);
        let config_file = fields.take("config_file").and_then(|node| self.path("config_file", node));
        let health_listen = fields.take("health_listen").and_then(|node| self.address("health_listen", node));
        fields.finish(&mut self.reader);
        if let Some(Err(findings)) = config_file.as_deref().map(listener::load) {
            // They have their places in that file.
            let errors = findings.into_iter().filter(|finding| finding.severity == Severity::Error);
            self.of_other_files.extend(errors);
        }
        WebConfig { config_file, health_listen }
    }
}
