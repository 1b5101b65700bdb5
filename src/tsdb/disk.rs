//! Files, as far as the log and the snapshot write them: a seam, so that tests can fill up a disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where files are created.
pub(super) trait Disk: Send + Sync {
    /// Creates an empty file, replacing one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
}

/// A disk that can be handed around.
pub(super) type SharedDisk = Arc<dyn Disk>;

/// A file that is written.
pub(super) trait DiskFile: Send {
    /// Writes all bytes from `offset` on.
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileSystem;

impl Disk for FileSystem {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create(path)?))
    }
}

impl DiskFile for File {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A disk on which nothing can be created.
#[derive(Debug)]
pub(super) struct Unusable(pub(super) io::Error);

impl Disk for Unusable {
    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(match self.0.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => self.0.kind().into(),
        })
    }
}

/// Makes the creation, renaming and removal of files in a directory permanent.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The numbered files of a directory whose names begin with `prefix`, ascending.
pub(super) fn numbered_files(directory: &Path, prefix: &str) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(number) = name.and_then(|name| name.strip_prefix(prefix)?.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes the numbered files before `number`.
pub(super) fn remove_numbered_before(directory: &Path, prefix: &str, number: u32) -> io::Result<()> {
    for (_, path) in numbered_files(directory, prefix)?.into_iter().filter(|(found, _)| *found < number) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Cuts a file off at `length`, for good.
pub(super) fn truncate(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

/// Keeps other processes out of a directory for as long as it lives; the kernel lets go of it when
/// the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DirectoryLock(#[expect(dead_code, reason = "it is held, not read")] File);

impl DirectoryLock {
    /// Takes the lock; nothing if somebody else has it. A file that cannot be written keeps others out too.
    pub(super) fn take(directory: &Path) -> io::Result<Option<Self>> {
        let path = directory.join("lock");
        let writable = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let mut file = writable.or_else(|error| File::open(&path).map_err(|_| error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // For people who wonder; nothing reads it, and a full disk must not keep the store shut.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Some(Self(file)))
    }
}

#[cfg(test)]
pub(super) mod faulty {
    //! A disk that can be full.

    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{Arc, Disk, DiskFile, FileSystem, Path, io};

    #[derive(Debug, Default, Clone)]
    pub(in crate::tsdb) struct FaultyDisk {
        full: Arc<AtomicBool>,
        sync_fails: Arc<AtomicBool>,
    }

    impl FaultyDisk {
        pub(in crate::tsdb) fn set_full(&self, full: bool) {
            self.full.store(full, Ordering::SeqCst);
        }

        pub(in crate::tsdb) fn set_sync_fails(&self, fails: bool) {
            self.sync_fails.store(fails, Ordering::SeqCst);
        }
    }

    struct FaultyFile {
        disk: FaultyDisk,
        file: Box<dyn DiskFile>,
    }

    impl Disk for FaultyDisk {
        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            Ok(Box::new(FaultyFile { disk: self.clone(), file: FileSystem.create(path)? }))
        }
    }

    impl DiskFile for FaultyFile {
        fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
            if self.disk.full.load(Ordering::SeqCst) {
                // What a full disk does: a part still fits.
                self.file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.file.write_all_at(bytes, offset)
        }

        fn sync(&mut self) -> io::Result<()> {
            if self.disk.sync_fails.load(Ordering::SeqCst) {
                return Err(io::Error::other("sync failed"));
            }
            self.file.sync()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once() {
        let folder = tempfile::tempdir().unwrap();
        let first = DirectoryLock::take(folder.path()).unwrap();
        assert!(first.is_some());
        assert!(DirectoryLock::take(folder.path()).unwrap().is_none());
        drop(first);
        assert!(DirectoryLock::take(folder.path()).unwrap().is_some());
    }

    #[test]
    fn numbered_files_come_in_order_and_others_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["wal-10", "wal-9", "wal-x", "snapshot-1", "wal-"] {
            File::create(folder.path().join(name)).unwrap();
        }
        let found = numbered_files(folder.path(), "wal-").unwrap();
        assert_eq!(found.into_iter().map(|(number, _)| number).collect::<Vec<_>>(), [9, 10]);
    }
}
