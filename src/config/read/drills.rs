//! Drills that are repeated.

use std::time::Duration;

use super::Context;
use crate::drill::{Drill, Scheduled};
use crate::model::Labels;
use crate::yaml::Node;

/// How often a drill is held unless its entry says otherwise.
const INTERVAL: Duration = Duration::from_hours(24);

/// How long a page may take unless an entry says otherwise.
const TIMEOUT: Duration = Duration::from_mins(5);

impl Context<'_> {
    pub(super) fn drill(&mut self, node: &Node) -> Option<Scheduled> {
        let mut fields = self.reader.fields("a drill", node);
        let alert = fields.require(&mut self.reader, "alert");
        let alert = alert.and_then(|node| self.reader.text("alert", node)).map(ToOwned::to_owned);
        let labels = fields.take("labels").map(|node| self.labels("labels", node)).unwrap_or_default();
        let interval = fields
            .take("interval")
            .and_then(|node| self.reader.duration("interval", node))
            .unwrap_or(INTERVAL);
        let timeout = fields.take("timeout").and_then(|node| {
            let timeout = self.reader.duration("timeout", node)?;
            if timeout > interval {
                self.reader.error_with_hint(
                    "timeout-over-interval",
                    node.place,
                    "`timeout` is longer than `interval`",
                    "a drill must end before the next one begins",
                );
            }
            Some(timeout)
        });
        let timeout = timeout.unwrap_or(TIMEOUT.min(interval));
        let echo = self.flag(&mut fields, "echo", false);
        fields.finish(&mut self.reader);
        Some(Scheduled {
            drill: Drill { alert: alert?, labels: Labels::from_pairs(&labels), timeout, echo },
            interval,
        })
    }
}
