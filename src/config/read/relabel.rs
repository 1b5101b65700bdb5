//! Relabelling rules, with the keys that Prometheus' configuration has.

use super::Context;
use crate::relabel::{Rule, Spec};
use crate::yaml::{Fields, Node};

impl Context<'_> {
    /// The rules under `key`; none if it is absent.
    pub(super) fn relabelling(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Vec<Rule> {
        let rules = self.list(fields.take(key), key, Self::relabelling_rule);
        rules.into_iter().map(|(_, rule)| rule).collect()
    }

    fn relabelling_rule(&mut self, node: &Node) -> Option<Rule> {
        let mut fields = self.reader.fields("a relabelling rule", node);
        let source_labels = fields.take("source_labels").map(|node| {
            let items = self.reader.items("source_labels", node);
            items.iter().filter_map(|item| self.reader_text("source_labels", item)).collect()
        });
        let modulus = fields.take("modulus");
        let modulus = modulus.and_then(|node| self.reader.integer("modulus", node, 1..=u64::MAX));
        let mut text = |key| fields.take(key).and_then(|node| self.reader_text(key, node));
        let spec = Spec {
            action: text("action"),
            source_labels,
            separator: text("separator"),
            regex: text("regex"),
            modulus,
            target_label: text("target_label"),
            replacement: text("replacement"),
        };
        fields.finish(&mut self.reader);
        let rule = Rule::new(&spec);
        if let Err(error) = &rule {
            self.reader.error("bad-relabelling", node.place, error.to_string());
        }
        rule.ok()
    }
}
