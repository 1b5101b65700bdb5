//! Queries of the user, in `postgres_exporter`'s terms: a name, a question, and what its columns are.
//!
//! Such a query runs in a read-only transaction over a cursor, which takes one `SELECT` and nothing else,
//! with a limit to its time and its rows. One over a limit has failed: a part of an answer would look like
//! all of it.

mod run;
mod versions;

use std::time::Duration;

pub(super) use run::run;
pub use versions::VersionRange;

use super::selection::Databases;
use super::session::statement_time;
use super::visit::visit_patience;

/// A query of the user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CustomQuery {
    /// What the names of its metrics begin with, and its name as a collector.
    pub name: String,
    /// One `SELECT` (or `WITH`, `VALUES`).
    pub sql: String,
    /// What its columns are. A column that is not among them becomes a metric if it is a number.
    pub columns: Vec<Column>,
    /// How often it is asked.
    pub interval: Duration,
    /// How long it may take; at most, and without this, [`longest`].
    pub timeout: Option<Duration>,
    /// How many rows its answer may have.
    pub max_rows: usize,
    /// Where it is asked, within what is watched. [`Databases::Own`] is the exporter's `master: true`.
    pub databases: Databases,
    /// Which servers are asked; none without it: all.
    pub versions: Option<VersionRange>,
    /// Whether it is asked of replicas alone (true) or of primaries alone (false).
    pub on_replica: Option<bool>,
}

impl CustomQuery {
    /// Whether it is asked in more databases than one, those that are `watched` being what they are. It
    /// is told from what is configured, so that series do not change when a database comes or goes.
    pub(super) fn is_asked_in_several(&self, watched: &Databases) -> bool {
        let several = |databases: &Databases| match databases {
            Databases::Own => false,
            Databases::AllBut(_) => true,
            Databases::Named(names) => names.len() > 1,
        };
        // The connection's own database is always watched.
        *watched != Databases::Own && several(&self.databases)
    }

    /// Type and help text of a metric that this query makes of a column that it names.
    pub(super) fn describe(&self, metric: &str) -> Option<(&'static str, String)> {
        let end = metric.strip_prefix(self.name.as_str())?.strip_prefix('_')?;
        self.columns.iter().find_map(|column| {
            let kind = match column.usage {
                Usage::Counter if end == column.name => "counter",
                Usage::Gauge if end == column.name => "gauge",
                Usage::Duration if end.strip_suffix("_milliseconds") == Some(&column.name) => "gauge",
                _ => return None,
            };
            Some((kind, column.help.clone()))
        })
    }
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub usage: Usage,
    /// What it means.
    pub help: String,
}

/// What becomes of a column. Source: `postgres_exporter`, `usage` in its queries file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Usage {
    /// A label.
    Label,
    /// A counter `<query>_<column>`.
    Counter,
    /// A gauge `<query>_<column>`.
    Gauge,
    /// A gauge `<query>_<column>_milliseconds` from a text such as `1h30m`.
    Duration,
    /// A histogram from the arrays `<column>` and `<column>_bucket`, and `<column>_sum` and `_count`.
    Histogram,
    /// Nothing.
    Discard,
}

/// How long a query may take at most where a probe has `timeout`; a longer time of its own does not count.
pub fn longest(timeout: Duration) -> Duration {
    statement_time(visit_patience(timeout))
}

/// How many rows an answer may have unless the configuration says so.
pub const DEFAULT_MAX_ROWS: usize = 1000;

/// How often a query is asked unless the configuration says so.
pub const DEFAULT_INTERVAL: Duration = Duration::from_mins(1);
