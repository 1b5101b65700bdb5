//! Reading small files: certificates and keys.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The largest file of certificates that is read. A machine's whole trust store is about 0.2 MiB.
const MAX_BYTES: u64 = 1 << 20;

/// Why a file was not read. The path is part of the text.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("cannot read `{}`: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// It is no file, and reading it could wait for ever.
    #[error("cannot read `{}`: not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// It is far larger than certificates are.
    #[error("cannot read `{}`: larger than {MAX_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
}

/// The contents of a regular file of at most 1 MiB. Blocks.
pub(super) fn read_blocking(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |error| FileError::Io(path.to_owned(), error);
    // Asked before opening: opening a named pipe would wait for a writer.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(FileError::NotRegular(path.to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

/// Which file it is, and in which state: equal as long as nothing was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
    size_bytes: u64,
    /// Seconds and nanoseconds of the last change of its contents, and of anything.
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What [`FileIdentity`] the file at `path` has, asked on a thread that may block.
pub(super) async fn identify(path: &Path) -> Result<FileIdentity, FileError> {
    let owned = path.to_owned();
    let failed = |error| FileError::Io(path.to_owned(), error);
    let asked = tokio::task::spawn_blocking(move || owned.metadata()).await;
    let metadata = asked.map_err(io::Error::other).flatten().map_err(failed)?;
    Ok(FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
        size_bytes: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// [`read_blocking`] on a thread that may block.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let owned = path.to_owned();
    match tokio::task::spawn_blocking(move || read_blocking(&owned)).await {
        Ok(result) => result,
        Err(stopped) => Err(FileError::Io(path.to_owned(), io::Error::other(stopped))),
    }
}
