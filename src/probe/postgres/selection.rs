//! What is to be collected: which databases, which collectors, how often and how much.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::collector::{Collector, Scope};
use super::custom::CustomQuery;

/// What is to be collected from a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selection {
    /// Where to ask what is about one database.
    pub databases: Databases,
    /// Deviations from the defaults, by the collector's name.
    pub collectors: BTreeMap<String, Choice>,
    /// Queries of the user.
    pub queries: Vec<Arc<CustomQuery>>,
}

/// The databases in which to ask what is about one database. The one of the connection string is always
/// among them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Databases {
    /// The one of the connection string alone.
    #[default]
    Own,
    /// All that the role may connect to, but for these. Templates are none.
    AllBut(Vec<String>),
    /// These.
    Named(Vec<String>),
}

/// What is different about a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Choice {
    /// Whether it is asked.
    pub enabled: Option<bool>,
    /// How often; also for one that is otherwise asked at every probe.
    pub interval: Option<Duration>,
    /// How many rows become samples.
    pub limit: Option<usize>,
}

impl Selection {
    fn choice(&self, collector: &Collector) -> Choice {
        self.collectors.get(collector.name).copied().unwrap_or_default()
    }

    /// Whether a collector is asked.
    pub(super) fn enables(&self, collector: &Collector) -> bool {
        self.choice(collector).enabled.unwrap_or(collector.default_on)
    }

    /// How often a collector is asked; `None` for at every probe.
    pub(super) fn every(&self, collector: &Collector) -> Option<Duration> {
        self.choice(collector).interval.or(collector.every)
    }

    /// Whether a collector is asked beside the probe rather than by it.
    pub(super) fn is_seldom(&self, collector: &Collector) -> bool {
        collector.scope != Scope::Server || self.every(collector).is_some()
    }

    /// How many rows of a collector's answer become samples, if there is a limit.
    pub(super) fn rows(&self, collector: &Collector) -> Option<usize> {
        collector.bound.map(|bound| self.choice(collector).limit.unwrap_or(bound.rows))
    }
}

impl Databases {
    /// Whether this database is among them.
    pub(super) fn contains(&self, database: &str, own: &str) -> bool {
        match self {
            Self::Own => database == own,
            Self::AllBut(excluded) => !excluded.iter().any(|name| name == database),
            Self::Named(named) => named.iter().any(|name| name == database),
        }
    }
}
