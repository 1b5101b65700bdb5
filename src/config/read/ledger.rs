//! What is kept of what happened to alerts.

use super::Context;
use crate::state::LedgerLimits;
use crate::yaml::Node;

/// Some ten gigabytes.
const MOST_ENTRIES: u64 = 10_000_000;

impl Context<'_> {
    pub(super) fn ledger(&mut self, node: &Node) -> LedgerLimits {
        let default = LedgerLimits::default();
        let mut fields = self.reader.fields("`ledger`", node);
        let retention_ms = fields
            .take("retention")
            .and_then(|node| self.reader.duration("retention", node))
            .map_or(default.retention_ms, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX));
        let max_entries = fields
            .take("max_entries")
            .and_then(|node| self.reader.integer("max_entries", node, 0..=MOST_ENTRIES))
            .unwrap_or(default.max_entries);
        fields.finish(&mut self.reader);
        LedgerLimits { retention_ms, max_entries }
    }
}
