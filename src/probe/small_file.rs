//! Reading small files: certificates and keys.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustix::fs::OFlags;

use super::outcome::waiting_here;
use crate::client::Lookups;

/// The largest file of certificates that is read. A machine's whole trust store is about 0.2 MiB.
const MAX_BYTES: u64 = 1 << 20;

/// How often a file is read that changes meanwhile.
const MAX_ATTEMPTS: usize = 3;

/// Why a file was not read. The path is part of the text.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("cannot read `{}`: {}", .0.display(), .1)]
    Io(PathBuf, Arc<io::Error>),
    /// It is no file, and reading it could wait for ever.
    #[error("cannot read `{}`: not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// It is far larger than certificates are.
    #[error("cannot read `{}`: larger than {MAX_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    /// Someone writes to it at each attempt: half of the old contents and half of the new mean nothing.
    #[error("cannot read `{}`: it changes while it is read", .0.display())]
    Changing(PathBuf),
}

impl FileError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io(path.to_owned(), Arc::new(error))
    }
}

/// The contents of a regular file of at most 1 MiB. Blocks.
pub(super) fn read_blocking(path: &Path) -> Result<Vec<u8>, FileError> {
    read_identified(path).map(|(bytes, _)| bytes)
}

/// The contents of a regular file of at most 1 MiB, and the state in which it has them. Blocks.
pub(super) fn read_identified(path: &Path) -> Result<(Vec<u8>, FileIdentity), FileError> {
    for _ in 0..MAX_ATTEMPTS {
        if let Some(read) = attempt(path)? {
            return Ok(read);
        }
    }
    Err(FileError::Changing(path.to_owned()))
}

/// Reads a file once; `None` if it was written to meanwhile.
fn attempt(path: &Path) -> Result<Option<(Vec<u8>, FileIdentity)>, FileError> {
    let failed = |error| FileError::io(path, error);
    let examine = |metadata: &Metadata| match metadata {
        metadata if !metadata.is_file() => Err(FileError::NotRegular(path.to_owned())),
        metadata if metadata.len() > MAX_BYTES => Err(FileError::TooLarge(path.to_owned())),
        _ => Ok(()),
    };
    // Asked before opening, since opening a device may do something; and opened without waiting, since
    // what is there by now may be a named pipe.
    examine(&path.metadata().map_err(failed)?)?;
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    examine(&before)?;
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    let identity = FileIdentity::of(&file.metadata().map_err(failed)?);
    Ok((identity == FileIdentity::of(&before)).then_some((bytes, identity)))
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

impl FileIdentity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the last change is so long ago at `now` (seconds since the Unix epoch) that another one
    /// would have another time: clocks of file systems tick coarsely.
    pub(super) fn is_settled_at(&self, now: i64) -> bool {
        const TICK_SECONDS: i64 = 2;
        self.changed.0 + TICK_SECONDS < now
    }
}

/// What [`FileIdentity`] the file at `path` has. Blocks.
pub(super) fn identify_blocking(path: &Path) -> Result<FileIdentity, FileError> {
    let metadata = path.metadata().map_err(|error| FileError::io(path, error))?;
    Ok(FileIdentity::of(&metadata))
}

/// How many files probes look at at once; others wait until their deadlines.
const MAX_AT_ONCE: usize = 32;

/// What is looked for in files, file by file: one on a file system that hangs takes one thread, however many
/// probes want it.
type Looks<T> = LazyLock<Lookups<PathBuf, Result<T, FileError>>>;

/// [`identify_blocking`] on a thread that may block.
pub(super) async fn identify(path: &Path) -> Result<FileIdentity, FileError> {
    static LOOKS: Looks<FileIdentity> = LazyLock::new(|| Lookups::new(MAX_AT_ONCE));
    look(&LOOKS, path, identify_blocking).await
}

/// [`read_blocking`] on a thread that may block.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    static LOOKS: Looks<Vec<u8>> = LazyLock::new(|| Lookups::new(MAX_AT_ONCE));
    look(&LOOKS, path, read_blocking).await
}

async fn look<T: Clone + Send + Sync + 'static>(
    looks: &'static Looks<T>,
    path: &Path,
    look: impl FnOnce(&Path) -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    let looking = looks.look_up(path.to_owned(), |path| look(path));
    let looked = waiting_here(format!("reading `{}`", path.display()), looking).await;
    looked.map_err(|stopped| FileError::io(path, stopped)).flatten()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_file_of_a_gigabyte_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge.pem");
        fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
        assert!(matches!(read_blocking(&path), Err(FileError::TooLarge(_))));
    }

    #[test]
    fn a_file_that_is_written_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("written.pem");
        let of = |letter: u8| vec![letter; 200_000];
        fs::write(&path, of(b'a')).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Over what is there, without cutting it first: so each piece is old or new.
                for letter in (b'a'..=b'z').cycle() {
                    use std::io::Write;
                    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
                    for piece in of(letter).chunks(10_000) {
                        file.write_all(piece).unwrap();
                    }
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            for _ in 0..200 {
                match read_blocking(&path) {
                    Ok(bytes) => assert_eq!(bytes.len(), 200_000),
                    Err(error) => assert!(matches!(error, FileError::Changing(_)), "{error}"),
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let bytes = read_blocking(&path).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
    }

    #[test]
    fn a_change_of_just_now_may_not_be_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.pem");
        fs::write(&path, "new").unwrap();
        let (_, identity) = read_identified(&path).unwrap();
        assert_eq!(identity, identify_blocking(&path).unwrap());
        let changed = path.metadata().unwrap().ctime();
        assert!(!identity.is_settled_at(changed + 1) && identity.is_settled_at(changed + 3));
    }
}
