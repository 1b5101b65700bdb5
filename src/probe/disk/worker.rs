//! Calling a file system that may never answer.
//!
//! `statvfs` on a dead NFS server or a wedged FUSE process blocks in the kernel and cannot be
//! cancelled, and so may following a link, or even listing the mounts. Each target therefore has at most
//! one thread that waits: while it is stuck no second one is started, and nobody but the probe of that
//! target notices.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::Deadline;
use super::mountinfo::{Mount, holding, visible};
use super::{MountTable, Target};

/// Size and use of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Size of what the counts of blocks count.
    pub block_size_bytes: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that are not in use.
    pub blocks_free: u64,
    /// Blocks that an ordinary user may still take.
    pub blocks_available: u64,
    /// Inodes in all; 0 where the file system has no fixed number of them.
    pub files: u64,
    /// Inodes that are not in use.
    pub files_free: u64,
}

/// Asks a file system. The seam where tests put one that hangs.
pub trait StatVfs: Send + Sync {
    /// A path without its symbolic links. May block for any time.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// The use of the file system on which a path without links is. May block for any time.
    fn statvfs(&self, path: &Path) -> io::Result<Usage>;
}

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// The use of the file system.
    Usage(Mount, Usage),
    /// The file system answered with an error.
    Error(Mount, io::Error),
    /// The path leads nowhere, so it is on no file system.
    NoPath(io::Error),
    /// Nothing is mounted at the path.
    NotMounted,
    /// The table of mounts cannot be read.
    NoTable(io::Error),
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum Answer {
    /// An answer in time.
    Found(Found),
    /// The thread could not be started, or has panicked.
    NotAsked(io::Error),
    /// No answer by the deadline.
    Stuck {
        /// How long the calls have been running.
        since: Duration,
        /// What is being asked; none while the table of mounts is being read.
        mount: Option<Mount>,
    },
}

/// Whom to ask for what.
pub(super) struct Question {
    pub(super) target: Target,
    pub(super) mounts: Arc<dyn MountTable>,
    pub(super) statvfs: Arc<dyn StatVfs>,
}

impl Question {
    /// Finds the mount and asks it. Says in `asking` which one it is going to ask, by the names alone:
    /// following links may already hang.
    fn ask(&self, asking: &OnceLock<Mount>) -> Found {
        let mounts = match self.mounts.mounts() {
            Ok(mounts) => visible(mounts),
            Err(error) => return Found::NoTable(error),
        };
        let path = &self.target.path;
        let Some(by_name) = holding(&mounts, path) else { return Found::NotMounted };
        // Nobody else sets it.
        let _ = asking.set(by_name.clone());
        let resolved = match self.statvfs.resolve(path) {
            Ok(resolved) => resolved,
            Err(error) if by_name.mountpoint == *path || !is_of_path(&error) => {
                return Found::Error(by_name.clone(), error);
            }
            Err(_) if self.target.mounted => return Found::NotMounted,
            Err(error) => return Found::NoPath(error),
        };
        match holding(&mounts, &resolved) {
            Some(mount) if !self.target.mounted || mount.mountpoint == resolved => {
                match self.statvfs.statvfs(&resolved) {
                    Ok(usage) => Found::Usage(mount.clone(), usage),
                    Err(error) => Found::Error(mount.clone(), error),
                }
            }
            _ => Found::NotMounted,
        }
    }
}

/// Whether the names are wrong, rather than the file system that they are on.
fn is_of_path(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, Other, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied | Other)
}

/// Calls under way.
struct Pending {
    since: Instant,
    asking: Arc<OnceLock<Mount>>,
    answer: oneshot::Receiver<Found>,
}

/// The one thread of one target.
pub(super) struct Worker {
    question: Arc<Question>,
    pending: Mutex<Option<Pending>>,
}

impl Worker {
    /// A worker for a question; no thread runs while nobody asks.
    pub(super) fn new(question: Question) -> Self {
        Self { question: Arc::new(question), pending: Mutex::default() }
    }

    /// Asks, or goes on waiting for the call that is still stuck.
    pub(super) async fn ask(&self, deadline: Deadline) -> Answer {
        let mut pending = match self.take_unanswered() {
            Some(pending) => pending,
            None => match self.start() {
                Ok(pending) => pending,
                Err(error) => return Answer::NotAsked(error),
            },
        };
        match tokio::time::timeout_at(deadline.instant(), &mut pending.answer).await {
            Ok(Ok(found)) => Answer::Found(found),
            Ok(Err(_ended)) => Answer::NotAsked(io::Error::other("the thread that asked has panicked")),
            Err(_elapsed) => {
                let stuck =
                    Answer::Stuck { since: pending.since.elapsed(), mount: pending.asking.get().cloned() };
                *self.lock() = Some(pending);
                stuck
            }
        }
    }

    /// The call of an earlier probe if it still runs. An answer that came in between is out of date and
    /// is thrown away.
    fn take_unanswered(&self) -> Option<Pending> {
        let mut pending = self.lock().take()?;
        matches!(pending.answer.try_recv(), Err(oneshot::error::TryRecvError::Empty)).then_some(pending)
    }

    fn start(&self) -> io::Result<Pending> {
        let (sender, answer) = oneshot::channel();
        let asking = Arc::new(OnceLock::new());
        let (question, telling) = (Arc::clone(&self.question), Arc::clone(&asking));
        let name = format!("statvfs {}", question.target.path.display());
        std::thread::Builder::new().name(name).spawn(move || {
            // Nobody listening any more means that the target is no longer watched.
            let _ = sender.send(question.ask(&telling));
        })?;
        Ok(Pending { since: Instant::now(), asking, answer })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
