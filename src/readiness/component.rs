//! What is watched.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::hysteresis::Thresholds;
use crate::model::Labels;
use crate::probe::{Origin, Probed, Prober};

/// What sort of thing a component is. A closed set: it becomes a label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The program itself, asked over the network.
    App,
    /// A database server.
    Postgres,
    /// A Redis server.
    Redis,
    /// A file system.
    Disk,
    /// The machine: whether its kernel can be asked.
    Machine,
    /// A certificate, served or in a file.
    Certificate,
    /// Whatever a module of the configuration probes.
    Probe,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::App, Self::Postgres, Self::Redis, Self::Disk, Self::Machine, Self::Certificate, Self::Probe];

    /// The kind as the API and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Disk => "disk",
            Self::Machine => "machine",
            Self::Certificate => "certificate",
            Self::Probe => "probe",
        }
    }

    /// The `job` under which samples of this kind are stored unless the configuration names another:
    /// what existing rules and dashboards select.
    pub fn conventional_job(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Disk | Self::Machine => "node",
            Self::Certificate => "certificates",
            Self::Probe => "blackbox",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What identifies a component: its kind and its name in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What sort of thing it is.
    pub kind: Kind,
    /// Its name, unique among those of its kind.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// The module that something is probed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its configuration, without secrets.
    pub configuration: Arc<str>,
}

/// One thing that must work for the system to be ready, or that is only watched.
#[derive(Clone)]
pub struct Component {
    /// What identifies it.
    pub key: Key,
    /// Looks at it.
    pub prober: Arc<dyn Prober>,
    /// Time between the starts of two probes; shorter while a change of state awaits confirmation.
    pub interval: Duration,
    /// How long one probe may take; a probe never overlaps the next one of its component, whatever the
    /// two are.
    pub timeout: Duration,
    /// How many results change the state.
    pub thresholds: Thresholds,
    /// Label `job` of its samples.
    pub job: String,
    /// Label `instance` of its samples: the target as people know it, without secrets.
    pub instance: String,
    /// Further labels of its samples.
    pub labels: Labels,
    /// Whether the system is ready only if this is. What does not count has no state on `/metrics` either,
    /// only samples.
    pub counts: bool,
    /// How it is probed, if a module says so: of interest to whoever reads what its probes found.
    pub module: Option<ModuleInfo>,
    /// Equal for two components of the same key if and only if they are configured alike: such a
    /// component keeps its state and its prober when the configuration is loaded again.
    pub revision: u64,
}

/// A result older than this many intervals says nothing about now.
const STALE_INTERVALS: u32 = 3;

impl Component {
    /// What its results are called in the history.
    pub(super) fn probed(&self) -> Probed {
        let (module, target) = match &self.module {
            Some(module) => (module.name.clone(), self.instance.as_str().into()),
            None => (self.key.kind.as_str().into(), self.key.name.as_str().into()),
        };
        Probed { origin: Origin::Scheduled, module, target }
    }

    /// Whether its samples bear the names of `other`'s.
    pub(super) fn has_series_of(&self, other: &Self) -> bool {
        let names = |one: &Self| (one.key.kind, one.job.clone(), one.instance.clone());
        names(self) == names(other)
    }

    /// How old the last result may be before the state counts as unknown.
    pub fn stale_after(&self) -> Duration {
        self.interval * STALE_INTERVALS + self.timeout
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("key", &self.key)
            .field("interval", &self.interval)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}
