//! Opening the data folder.
//!
//! A disk that fails must not keep the process from starting: one that does not run pages nobody. What cannot be
//! opened is kept in memory then, and every write that fails is counted, of which `StateNotSaved` tells. That is for
//! a folder that was used before. Of one that never was, whoever sets valmis up is told at once; and two processes
//! never share one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use prometheus_client::registry::Registry;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::clock::SharedClock;
use crate::config::StorageConfig;
use crate::state::{self, LedgerLimits, RedbStore, StateError, StateStore};
use crate::tsdb::{self, Tsdb, TsdbError};

/// The data folder.
pub(super) struct DataFolder {
    path: PathBuf,
    /// Whether a process has kept data there before.
    used: bool,
}

impl DataFolder {
    /// Creates the folder if it is not there.
    pub(super) fn prepare(path: &Path) -> Result<Self> {
        let folder = Self {
            path: path.to_owned(),
            used: [STORE, STATE].iter().any(|name| is_there(&path.join(name))),
        };
        let created = fs::create_dir_all(path);
        // What is there is seen when it is opened.
        if !folder.used {
            created.with_context(|| format!("cannot create the data folder `{}`", path.display()))?;
        }
        Ok(folder)
    }

    /// Opens the samples.
    pub(super) async fn open_store(&self, storage: &StorageConfig, clock: &SharedClock) -> Result<Arc<Tsdb>> {
        let settings = tsdb::Config {
            path: Some(self.path.join(STORE)),
            retention: storage.retention,
            max_memory: storage.max_memory_bytes,
            ..tsdb::Config::new(clock.clone())
        };
        let used = self.used;
        let opening = spawn_blocking(move || match Tsdb::open(settings.clone()) {
            Err(TsdbError::Io { path, source }) if used => {
                error!(
                    folder = %path.display(), error = %source,
                    "The stored samples cannot be opened; samples are kept in memory alone until the next start"
                );
                Ok(Tsdb::open_unsaved(settings, source))
            }
            opened => opened.map(|(tsdb, _report)| tsdb),
        });
        let tsdb = opening.await.context("opening the store panicked")?.context("cannot open the store")?;
        tsdb.start_background().context("cannot start the threads of the store")?;
        Ok(tsdb)
    }

    /// Opens the alert states. Tells with a token when they are stored no more.
    pub(super) async fn open_state(
        &self,
        ledger: LedgerLimits,
        registry: &mut Registry,
    ) -> Result<(Arc<dyn StateStore>, CancellationToken)> {
        let metrics = state::metrics::Metrics::register(registry);
        let (path, used) = (self.path.join(STATE), self.used);
        let opening = spawn_blocking(move || match RedbStore::open(&path, ledger, metrics.clone()) {
            Err(StateError::Open { what, .. }) if used => {
                error!(
                    file = %path.display(), error = what,
                    "The state file cannot be opened; alert states are kept in memory alone until it can be"
                );
                RedbStore::open_later(&path, ledger, metrics)
            }
            opened => opened,
        });
        let store = opening.await.context("opening the state panicked")?.context("cannot open the state")?;
        let ended = store.ended();
        Ok((Arc::new(store), ended))
    }
}

/// The folder of the samples and the file of the states, below the data folder.
const STORE: &str = "tsdb";
const STATE: &str = "state.redb";

/// Whether there is something: also if the disk does not say what. Where nobody may look valmis has kept nothing.
fn is_there(path: &Path) -> bool {
    let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::PermissionDenied];
    fs::symlink_metadata(path).map_or_else(|error| !absent.contains(&error.kind()), |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_used_once_it_has_data() {
        let folder = tempfile::tempdir().expect("a directory");
        let used = |path: &Path| DataFolder::prepare(path).map(|folder| folder.used).map_err(|_| "refused");
        let data = folder.path().join("below/data");
        assert_eq!(used(&data), Ok(false));
        fs::create_dir(data.join(STORE)).expect("a directory");
        assert_eq!(used(&data), Ok(true));
        fs::write(folder.path().join("file"), "").expect("a file");
        assert_eq!(used(&folder.path().join("file")), Err("refused"));
    }
}
