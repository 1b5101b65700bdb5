//! What heartbeats are tied to: the rules and deliveries of this process.

use std::sync::Arc;

use crate::heartbeat::{Acknowledged, Chain, Evaluations};
use crate::notifier::Notifier;
use crate::rules::Groups;

/// The rules and deliveries of this process.
pub(super) struct OwnChain {
    pub(super) rules: Groups,
    pub(super) notifier: Arc<Notifier>,
}

impl Chain for OwnChain {
    fn evaluations(&self) -> Vec<Evaluations> {
        let groups = self.rules.snapshots();
        let of = |group: &crate::rules::GroupSnapshot| Evaluations {
            interval_ms: group.interval_ms,
            since: group.begun_at,
            last: group.last_evaluation,
        };
        groups.iter().map(|group| of(group)).collect()
    }

    fn acknowledged(&self) -> Acknowledged {
        match self.notifier.last_acknowledged() {
            _ if !self.notifier.is_configured() => Acknowledged::Unneeded,
            None => Acknowledged::Never,
            Some(at) => Acknowledged::At(at),
        }
    }
}
