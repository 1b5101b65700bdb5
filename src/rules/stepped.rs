//! A group without a schedule: whoever owns it says when it is evaluated.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::active::ActiveAlerts;
use super::config::Config;
use super::group::{Group, Services};
use super::manager::ORPHAN_RETENTION_MS;
use super::metrics::{Durations, GroupCounters};
use crate::model::TimestampMs;
use crate::rulefmt::RuleGroup;
use crate::state::{AlertRecord, RuleKey, StateError};

/// A group that is evaluated when its owner says so, with everything else as in a running process: for
/// tests of rules and for replaying history.
pub struct SteppedGroup {
    group: Group,
    token: CancellationToken,
}

/// A rule after the last evaluation of its group.
#[derive(Debug, Clone, Copy)]
pub struct SteppedRule<'a> {
    /// What identifies it.
    pub key: &'a Arc<RuleKey>,
    /// The alert's or the series' name.
    pub name: &'a str,
    /// Whether it makes alerts.
    pub is_alerting: bool,
    /// Why the last evaluation failed.
    pub last_error: Option<&'a str>,
    active: &'a ActiveAlerts,
}

impl<'a> SteppedRule<'a> {
    /// Its alerts, by labels; the inactive ones among them were resolved a short while ago.
    pub fn alerts(&self) -> impl Iterator<Item = &'a AlertRecord> + use<'a> {
        self.active.iter().map(|alert| &alert.record)
    }
}

impl SteppedGroup {
    /// A group without state.
    pub fn new(file: &str, definition: &RuleGroup, config: Arc<Config>, services: Services) -> Self {
        let (durations, counters) = (Arc::<Durations>::default(), Arc::<GroupCounters>::default());
        let group = Group::new(file, definition, config, services, durations, counters);
        Self { group, token: CancellationToken::new() }
    }

    /// Goes on with what is stored, as after a start of the process at `now`.
    pub async fn restore(&mut self, now: TimestampMs) -> Result<(), StateError> {
        let stored = self.group.state().rules().await?.into_iter();
        let known = stored.filter(|rule| rule.evaluated_at >= now - ORPHAN_RETENTION_MS);
        let mut known: HashMap<RuleKey, _> = known.map(|rule| (rule.key.clone(), rule)).collect();
        self.group.restore(|key| known.remove(key).map(|stored| ActiveAlerts::restore(&stored)));
        Ok(())
    }

    /// Evaluates all rules at `at`: writes their samples, stores the alerts' states and sends alerts.
    pub async fn evaluate(&mut self, at: TimestampMs) {
        self.group.evaluate(at, &self.token).await;
    }

    /// The rules in order.
    pub fn rules(&self) -> impl Iterator<Item = SteppedRule<'_>> {
        self.group.rules().iter().map(|rule| SteppedRule {
            key: &rule.key,
            is_alerting: rule.info.alerting.is_some(),
            name: &rule.info.name,
            last_error: rule.last_error.as_deref(),
            active: &rule.active,
        })
    }
}
