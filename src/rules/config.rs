//! What is configured about rules in general.

use std::time::Duration;

use crate::model::Labels;
use crate::promql::Features;

/// Settings for all groups. The defaults are those of Prometheus 3.14, where it
/// has such a setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How often a group is evaluated that does not say so itself, in milliseconds.
    pub evaluation_interval_ms: i64,
    /// How far in the past the queries of a group look that does not say so itself, in milliseconds.
    pub query_offset_ms: i64,
    /// How long before an unchanged alert is sent again, in milliseconds.
    pub resend_delay_ms: i64,
    /// How long firing alerts go on being sent while their rule cannot be evaluated, in milliseconds.
    pub error_hold_ms: i64,
    /// How far back slots that went by are evaluated afterwards, in milliseconds; 0 for not at all.
    pub catch_up_ms: i64,
    /// How long after a pause of the process everything has been scraped again, in milliseconds.
    pub settle_ms: i64,
    /// How long a query may take.
    pub query_timeout: Duration,
    /// How many queries of a group run at once, of rules that do not read one another's series.
    pub concurrency: usize,
    /// What the queries of templates may use.
    pub features: Features,
    /// Labels that templates see as `$externalLabels`.
    pub external_labels: Labels,
    /// Whether the samples that decided what happens to alerts are looked up for the ledger.
    pub ledger_evidence: bool,
    /// The address at which users reach this process, without a slash at the end; empty if unknown.
    pub external_url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            evaluation_interval_ms: 60_000,
            query_offset_ms: 0,
            resend_delay_ms: 60_000,
            error_hold_ms: 3_600_000,
            catch_up_ms: 3_600_000,
            settle_ms: 0,
            query_timeout: Duration::from_mins(2),
            // Source: `--rules.max-concurrent-evals`, where it is for all groups together.
            concurrency: 4,
            features: Features::default(),
            external_labels: Labels::empty(),
            ledger_evidence: false,
            external_url: String::new(),
        }
    }
}
