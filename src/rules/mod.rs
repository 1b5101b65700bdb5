//! Evaluating recording and alerting rules.
//!
//! [`Manager`] runs one task for each group. A task evaluates its rules slot after slot: it asks a
//! [`crate::query::QuerySource`], lets [`AlertingRule::step`] decide, writes samples, makes the alerts'
//! new state durable and only then hands the alerts to an [`AlertSink`].

mod active;
mod ahead;
mod alert;
mod alerting;
mod catch_up;
mod config;
mod error;
mod evidence;
mod expand;
mod group;
mod inputs;
mod ledger;
mod manager;
mod metrics;
mod origin;
mod pulse;
mod recording;
mod remember;
mod rule;
mod snapshot;
mod stepped;
mod summary;

pub use active::{ActiveAlert, ActiveAlerts};
pub use alert::{Alert, AlertSink};
pub use alerting::{ALERT_SERIES, AlertingRule, Candidate, RESOLVED_RETENTION_MS, Step};
pub use config::Config;
pub use error::RuleError;
pub use evidence::Evidence;
pub use group::Services;
pub use manager::{Groups, Manager};
pub use origin::{Origin, Origins};
pub use recording::{Recorded, RecordingRule};
pub use snapshot::{AlertSnapshot, AlertingInfo, GroupSnapshot, Health, RuleInfo, RuleSnapshot};
pub use stepped::{SteppedGroup, SteppedRule};

#[cfg(test)]
mod tests;
