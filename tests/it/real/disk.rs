//! A small disk that can be filled.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A file system of 32 MiB of its own, mounted for as long as this lives.
pub(crate) struct Disk {
    folder: TempDir,
    /// Whether it is in memory, which the rules do not take for a disk.
    pub(crate) in_memory: bool,
}

impl Disk {
    /// Mounts ext4 in a file or, where there are no loop devices, memory. Only root may do either, and
    /// not in every container.
    pub(crate) fn mount() -> Option<Self> {
        let folder = TempDir::with_prefix("valmis-disk-").unwrap();
        let image = folder.path().join("image");
        fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        let mut disk = Self { folder, in_memory: false };
        fs::create_dir(disk.path()).unwrap();
        if run(Command::new("mkfs.ext4").arg("-qF").arg(&image))
            && run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()))
        {
            return Some(disk);
        }
        disk.in_memory = true;
        if run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=32m,nr_inodes=8k", "tmpfs"])
            .arg(disk.path()))
        {
            return Some(disk);
        }
        super::say("skipped: nothing can be mounted here");
        None
    }

    /// The mount point.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Leaves 2 % of it.
    pub(crate) fn fill(&self) {
        let usage = rustix::fs::statvfs(self.path()).unwrap();
        let bytes = usage.f_bavail.saturating_sub(usage.f_blocks / 50) * usage.f_frsize;
        fs::write(self.ballast(), vec![0x76; usize::try_from(bytes).unwrap()]).unwrap();
    }

    /// Leaves not a byte of it.
    pub(crate) fn fill_up(&self) {
        let mut file = fs::File::create(self.ballast()).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            // A write that fails may still have written some.
            if file.write_all(&vec![0x76; size]).is_err() {
                size /= 2;
            }
        }
    }

    /// Gives the space back.
    pub(crate) fn clear(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Uses nearly all inodes.
    pub(crate) fn use_inodes(&self) {
        let folder = self.path().join("files");
        fs::create_dir(&folder).unwrap();
        let usage = rustix::fs::statvfs(self.path()).unwrap();
        for number in 0..usage.f_ffree - usage.f_files / 50 {
            fs::File::create(folder.join(number.to_string())).unwrap();
        }
    }

    /// Gives the inodes back.
    pub(crate) fn free_inodes(&self) {
        fs::remove_dir_all(self.path().join("files")).unwrap();
    }

    /// Mounts it again, to be read (`ro`) or written (`rw`).
    pub(crate) fn remount(&self, mode: &str) {
        let option = format!("remount,{mode}");
        assert!(run(Command::new("mount").args(["-o", &option]).arg(self.path())));
    }
}

/// A disk that hangs for as long as this lives.
pub(crate) struct Frozen(PathBuf);

impl Disk {
    /// Makes all who write there wait; not where it is in memory.
    pub(crate) fn freeze(&self) -> Option<Frozen> {
        if !run(Command::new("fsfreeze").arg("--freeze").arg(self.path())) {
            super::say("skipped: the disk cannot be made to hang here");
            return None;
        }
        Some(Frozen(self.path()))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Without it the temporary folder would stay; with `--lazy` no open file can stand in the way.
        run(Command::new("umount").arg("--lazy").arg(self.path()));
    }
}

fn run(command: &mut Command) -> bool {
    let paths = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
    let status = command.env("PATH", paths).stdin(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
