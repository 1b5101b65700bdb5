//! What queries may cost and use.

use super::Context;
use crate::config::QueryConfig;
use crate::diag::closest;
use crate::promql::Features;
use crate::yaml::Node;

/// A sample takes 16 bytes: more of them would be no limit on any machine.
const MOST_SAMPLES: u64 = 1 << 40;
/// Each evaluation may have a thread.
const MOST_CONCURRENCY: u64 = 500;

impl Context<'_> {
    pub(super) fn query(&mut self, node: &Node) -> QueryConfig {
        let default = QueryConfig::default();
        let mut fields = self.reader.fields("`query`", node);
        let max_samples = fields
            .take("max_samples")
            .and_then(|node| self.reader.integer("max_samples", node, 1..=MOST_SAMPLES))
            .and_then(|samples| usize::try_from(samples).ok())
            .unwrap_or(default.max_samples);
        let timeout = fields
            .take("timeout")
            .and_then(|node| self.reader.duration("timeout", node))
            .unwrap_or(default.timeout);
        let max_concurrency = fields
            .take("max_concurrency")
            .and_then(|node| self.reader.integer("max_concurrency", node, 1..=MOST_CONCURRENCY))
            .and_then(|queries| usize::try_from(queries).ok())
            .unwrap_or(default.max_concurrency);
        let lookback_delta = fields
            .take("lookback_delta")
            .and_then(|node| self.reader.duration("lookback_delta", node))
            .unwrap_or(default.lookback_delta);
        fields.finish(&mut self.reader);
        QueryConfig { max_samples, timeout, max_concurrency, lookback_delta }
    }

    /// Features by their names.
    pub(super) fn features(&mut self, node: &Node) -> Features {
        let mut features = Features::default();
        for item in self.reader.items("features", node) {
            let Some(name) = self.reader.text("features", item) else { continue };
            if !features.enable(name) {
                let hint = closest(name, Features::NAMES).map_or_else(
                    || format!("there are {}", Features::NAMES.map(|name| format!("`{name}`")).join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                let message = format!("there is no feature `{name}`");
                self.reader.error_with_hint("unknown-feature", item.place, message, hint);
            }
        }
        features
    }
}
