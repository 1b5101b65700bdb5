//! Evaluating recording and alerting rules.

mod active;
mod alert;
mod alerting;
mod error;
mod recording;
mod slot;

pub use active::{ActiveAlert, ActiveAlerts};
pub use alert::{Alert, AlertSink};
pub use alerting::{AlertingRule, Candidate, RESOLVED_RETENTION_MS, Step};
pub use error::RuleError;
pub use recording::RecordingRule;
