//! Mounts and file systems as the kernel knows them.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use super::MountTable;
use super::mountinfo::{Mount, parse};
use super::worker::{StatVfs, Usage};

/// This machine's mounts: those that this process sees, or the host's.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Where `proc` is mounted. `node_exporter` calls it `--path.procfs`.
    pub procfs: PathBuf,
    /// Where the host's root is mounted, for a process in a container that watches its host. The mounts
    /// are then those of the first process, which must be the host's (`hostPID` in Kubernetes), and
    /// they are looked for below this path. `node_exporter` calls it `--path.rootfs`.
    ///
    /// Without it the table is this process's own, since that is where `statvfs` looks: the first
    /// process may live among other mounts.
    pub rootfs: Option<PathBuf>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { procfs: PathBuf::from("/proc"), rootfs: None }
    }
}

impl MountTable for Kernel {
    fn mounts(&self) -> io::Result<Vec<Mount>> {
        let table = |process: &str| std::fs::read(self.procfs.join(process).join("mountinfo"));
        let own = || table("self");
        let text = match self.rootfs {
            // `hidepid` can forbid looking at other processes.
            Some(_) => table("1").or_else(|_| own())?,
            None => own()?,
        };
        let (mounts, errors) = parse(&text);
        for error in errors {
            tracing::warn!(%error, "The table of mounts has a line that cannot be read: {error}");
        }
        Ok(match &self.rootfs {
            Some(rootfs) => as_the_host_sees(mounts, rootfs),
            None => mounts,
        })
    }
}

/// The host's mounts by the host's names. A table of this process's own has them below `rootfs`, beside
/// mounts that are none of the host's; the host's own table has nothing there.
fn as_the_host_sees(mounts: Vec<Mount>, rootfs: &Path) -> Vec<Mount> {
    let below = |mount: &Mount| {
        let inner = mount.mountpoint.strip_prefix(rootfs).ok()?;
        Some(Path::new("/").join(inner))
    };
    if mounts.iter().all(|mount| below(mount).is_none()) {
        return mounts;
    }
    let named = mounts.into_iter().filter_map(|mount| {
        let mountpoint = below(&mount)?;
        Some(Mount { mountpoint, ..mount })
    });
    named.collect()
}

impl Kernel {
    /// A path of the host as this process sees it.
    fn own<'a>(&self, path: &'a Path) -> Cow<'a, Path> {
        match &self.rootfs {
            Some(rootfs) => rootfs.join(path.strip_prefix("/").unwrap_or(path)).into(),
            None => path.into(),
        }
    }
}

impl StatVfs for Kernel {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let resolved = std::fs::canonicalize(self.own(path))?;
        let Some(rootfs) = &self.rootfs else { return Ok(resolved) };
        let Ok(inner) = resolved.strip_prefix(std::fs::canonicalize(rootfs)?) else {
            // An absolute link of the host leads to this process's own files.
            let outside =
                format!("a symbolic link leads out of `{}`; name what it leads to", rootfs.display());
            return Err(io::Error::other(outside));
        };
        Ok(Path::new("/").join(inner))
    }

    fn statvfs(&self, path: &Path) -> io::Result<Usage> {
        let found = rustix::fs::statvfs(&*self.own(path))?;
        Ok(Usage {
            block_size_bytes: found.f_frsize,
            blocks: found.f_blocks,
            blocks_free: found.f_bfree,
            blocks_available: found.f_bavail,
            files: found.f_files,
            files_free: found.f_ffree,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_paths_are_looked_for_below_its_root() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let host = Kernel { rootfs: Some(folder.path().to_owned()), ..Kernel::default() };
        assert!(host.statvfs(Path::new("/data")).unwrap().blocks > 0);
        assert_eq!(host.statvfs(Path::new("/absent")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(Kernel::default().statvfs(folder.path()).unwrap().blocks > 0);
    }

    #[test]
    fn links_are_followed_within_the_hosts_root_and_not_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("data")).unwrap();
        std::os::unix::fs::symlink("data", root.join("link")).unwrap();
        std::os::unix::fs::symlink("/usr", root.join("out")).unwrap();
        let host = Kernel { rootfs: Some(root.clone()), ..Kernel::default() };
        assert_eq!(host.resolve(Path::new("/link")).unwrap(), Path::new("/data"));
        assert_eq!(host.resolve(Path::new("/")).unwrap(), Path::new("/"));
        assert!(host.resolve(Path::new("/out")).unwrap_err().to_string().contains("name what it leads to"));
        assert_eq!(host.resolve(Path::new("/absent")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(Kernel::default().resolve(&root.join("link")).unwrap(), root.join("data"));
    }

    #[test]
    fn mounts_below_the_hosts_root_bear_the_hosts_names() {
        let check = |table: &str, expected: &[&str]| {
            let named = as_the_host_sees(parse(table).0, Path::new("/host"));
            let points: Vec<_> = named.iter().map(|mount| mount.mountpoint.as_os_str()).collect();
            assert_eq!(points, expected, "{table}");
        };
        let own = "1 0 0:30 / / rw - overlay overlay rw\n2 1 8:1 / /host rw - ext4 a rw\n\
                   3 2 8:2 / /host/data rw - ext4 b rw\n4 1 8:1 /x /etc/hosts rw - ext4 a rw";
        check(own, &["/", "/data"]);
        check("1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / /hostile rw - ext4 b rw", &["/", "/hostile"]);
    }

    #[test]
    fn the_hosts_table_is_read_where_it_may_be_and_else_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let write = |process: &str, device: &str| {
            std::fs::create_dir(folder.path().join(process)).unwrap();
            let line = format!("1 0 8:1 / / rw - ext4 {device} rw\n");
            std::fs::write(folder.path().join(process).join("mountinfo"), line).unwrap();
        };
        let kernel = Kernel { procfs: folder.path().to_owned(), rootfs: Some("/host".into()) };
        let device = || kernel.mounts().unwrap()[0].device.clone();
        write("self", "own");
        assert_eq!(device(), "own");
        write("1", "hosts");
        assert_eq!(device(), "hosts");
    }

    #[test]
    fn the_table_of_mounts_has_the_root() {
        for rootfs in [None, Some(PathBuf::from("/"))] {
            let mounts = Kernel { rootfs, ..Kernel::default() }.mounts().unwrap();
            assert!(mounts.iter().any(|mount| mount.mountpoint == Path::new("/")), "{mounts:?}");
        }
    }
}
