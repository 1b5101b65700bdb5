//! What is known of a target, for those who ask: health, last scrape, metadata.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::exposition::{Entry, Metadata};
use crate::model::{Labels, TimestampMs};

/// Metadata stays for this many scrapes after its family disappeared.
/// Source: Prometheus 3.14 `scrape/scrape.go`, iterDone.
const METADATA_SCRAPES: u64 = 10;

/// How a target is, by its last scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// The last scrape succeeded.
    Up,
    /// The last scrape failed.
    Down,
}

impl Health {
    /// The word that Prometheus' API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A target at one moment, as `/api/v1/targets` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetState {
    /// The job it belongs to.
    pub scrape_pool: String,
    /// The labels that its samples get.
    pub labels: Labels,
    /// All labels, before those that begin with `__` were taken away.
    pub discovered_labels: Labels,
    /// Where the page is.
    pub scrape_url: String,
    /// The same as others reach it: with our host's name where the page is on this host.
    pub global_url: String,
    /// Time from one scrape to the next.
    pub interval: Duration,
    /// Time within which a scrape must be complete.
    pub timeout: Duration,
    /// How the last scrape went.
    pub health: Health,
    /// Why the last scrape failed; empty if it did not.
    pub last_error: String,
    /// When the last scrape began, if there was one.
    pub last_scrape: Option<TimestampMs>,
    /// How long it took.
    pub last_duration: Duration,
}

/// What a target says about its metric families, as `/api/v1/targets/metadata` and
/// `/api/v1/metadata` show it.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetMetadata {
    /// The labels of the target.
    pub labels: Labels,
    /// Its families with their metadata, by name.
    pub families: BTreeMap<String, Metadata>,
}

/// How the last scrape of a target went.
#[derive(Debug, Clone, Default)]
pub(super) struct LastScrape {
    pub(super) health: Health,
    pub(super) error: String,
    pub(super) at: Option<TimestampMs>,
    pub(super) duration: Duration,
}

/// The part of a target that changes: written by its loop, read by anybody.
#[derive(Debug, Default)]
pub(super) struct Observed {
    last: Mutex<LastScrape>,
    pub(super) metadata: MetadataCache,
}

impl Observed {
    pub(super) fn set_last(&self, last: LastScrape) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    pub(super) fn last(&self) -> LastScrape {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Metadata of one target's families, with the scrape that saw each last.
#[derive(Debug, Default)]
pub(super) struct MetadataCache(Mutex<BTreeMap<String, (Metadata, u64)>>);

impl MetadataCache {
    /// Takes over what a metadata line says.
    pub(super) fn record(&self, entry: Entry<'_>, scrape: u64) {
        match entry {
            Entry::Help { family, help } => self.update(&family, scrape, |metadata| {
                if metadata.help != help {
                    metadata.help = help.into_owned().into();
                }
            }),
            Entry::Type { family, kind } => self.update(&family, scrape, |metadata| metadata.kind = kind),
            Entry::Unit { family, unit } => {
                self.update(&family, scrape, |metadata| unit.clone_into(&mut metadata.unit));
            }
            Entry::Sample(_) => {}
        }
    }

    /// Takes over all that is said about a family.
    pub(super) fn replace(&self, family: &str, metadata: &Metadata, scrape: u64) {
        self.update(family, scrape, |known| {
            if known != metadata {
                known.clone_from(metadata);
            }
        });
    }

    fn update(&self, family: &str, scrape: u64, change: impl FnOnce(&mut Metadata)) {
        let mut families = self.lock();
        let (metadata, seen) = match families.get_mut(family) {
            Some(known) => known,
            None => families.entry(family.to_owned()).or_default(),
        };
        change(metadata);
        *seen = scrape;
    }

    pub(super) fn forget_unseen(&self, scrape: u64) {
        self.lock().retain(|_, (_, seen)| scrape - *seen <= METADATA_SCRAPES);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn list(&self) -> BTreeMap<String, Metadata> {
        self.lock().iter().map(|(family, (metadata, _))| (family.clone(), metadata.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (Metadata, u64)>> {
        // No code panics while it holds the lock in a half-changed state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
