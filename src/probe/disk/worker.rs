//! Calling a file system that may never answer.
//!
//! `statvfs` on a dead NFS server or a wedged FUSE process blocks in the kernel and cannot be
//! cancelled. Each mount therefore has at most one thread that waits for it: while it is stuck no
//! second one is started, and nobody but the probe of that mount notices.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::Deadline;

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

/// Asks a file system for its use. The seam where tests put one that hangs.
pub trait StatVfs: Send + Sync {
    /// May block for any time.
    fn statvfs(&self, path: &Path) -> io::Result<Usage>;
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum Answer {
    /// The use of the file system.
    Usage(Usage),
    /// The file system answered with an error, or the thread could not be started.
    Error(io::Error),
    /// No answer by the deadline; the call has been running for this long.
    Stuck(Duration),
}

/// A call under way.
struct Pending {
    since: Instant,
    answer: oneshot::Receiver<io::Result<Usage>>,
}

/// The one thread of one mount.
pub(super) struct Worker {
    path: PathBuf,
    statvfs: Arc<dyn StatVfs>,
    pending: Mutex<Option<Pending>>,
}

impl Worker {
    /// A worker for the file system at `path`; no thread runs while nobody asks.
    pub(super) fn new(path: PathBuf, statvfs: Arc<dyn StatVfs>) -> Self {
        Self { path, statvfs, pending: Mutex::default() }
    }

    /// Asks, or goes on waiting for the call that is still stuck.
    pub(super) async fn ask(&self, deadline: Deadline) -> Answer {
        let mut pending = match self.take_unanswered() {
            Some(pending) => pending,
            None => match self.start() {
                Ok(pending) => pending,
                Err(error) => return Answer::Error(error),
            },
        };
        match tokio::time::timeout_at(deadline.instant(), &mut pending.answer).await {
            Ok(Ok(Ok(usage))) => Answer::Usage(usage),
            Ok(Ok(Err(error))) => Answer::Error(error),
            Ok(Err(_ended)) => Answer::Error(io::Error::other("the thread that asked has panicked")),
            Err(_elapsed) => {
                let stuck = pending.since.elapsed();
                *self.lock() = Some(pending);
                Answer::Stuck(stuck)
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
        let (path, statvfs) = (self.path.clone(), Arc::clone(&self.statvfs));
        std::thread::Builder::new().name(format!("statvfs {}", self.path.display())).spawn(move || {
            // Nobody listening any more means that the mount is no longer watched.
            let _ = sender.send(statvfs.statvfs(&path));
        })?;
        Ok(Pending { since: Instant::now(), answer })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
