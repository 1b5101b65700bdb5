//! Which mounts are worth watching when nobody has named any.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use super::mountinfo::{Mount, visible};
use crate::model::{GoRegex, GoRegexError};

/// Mount points that hold no disk of their own.
/// Source: `node_exporter` `collector/filesystem_linux.go`, `defMountPointsExcluded`; the last
/// alternative (the files that container runtimes mount into every container) is ours.
pub const EXCLUDED_MOUNT_POINTS: &str = r"^/(?:(?:dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)(?:$|/)|etc/(?:hosts|hostname|resolv\.conf)$)";

/// File systems that are no storage.
/// Source: `node_exporter` `collector/filesystem_linux.go`, `defFSTypesExcluded`; `tmpfs` and
/// `ramfs`, which are memory and not disk, are ours.
pub const EXCLUDED_FS_TYPES: &str = r"^(?:autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs|tmpfs|ramfs)$";

/// A mount to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The mount.
    pub mount: Mount,
    /// Whether it has been seen mounted to be written, so that it has to be writable.
    pub writable: bool,
}

/// Chooses mounts to watch and remembers which it chose: a file system that turns read-only while it is
/// watched stays watched, since that is the very thing to report.
#[derive(Debug, Clone)]
pub struct Discovery {
    mount_points: GoRegex,
    fs_types: GoRegex,
    /// By mount point and device: whether it was mounted to be written when it was seen.
    chosen: BTreeMap<(PathBuf, String), bool>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self::new(EXCLUDED_MOUNT_POINTS, EXCLUDED_FS_TYPES).expect("constant patterns")
    }
}

impl Discovery {
    /// Leaves out what the patterns match: mount points, and kinds of file systems.
    pub fn new(mount_points: &str, fs_types: &str) -> Result<Self, GoRegexError> {
        let (mount_points, fs_types) = (GoRegex::new(mount_points)?, GoRegex::new(fs_types)?);
        Ok(Self { mount_points, fs_types, chosen: BTreeMap::new() })
    }

    /// Every real, writable file system once, ordered by mount point; `/` counts whatever its type is (in
    /// a container it is an overlay, and still the place where the program writes), also read-only: after
    /// an error of the disk the machine may have come up so.
    ///
    /// Writable is what was mounted to be written: the file system below may meanwhile have become
    /// read-only because of an error. Of several mounts of one file system (bind mounts, subvolumes)
    /// the one of its root counts, or else the one with the shortest path.
    pub fn choose(&mut self, mounts: Vec<Mount>) -> Vec<Chosen> {
        let mut by_device: BTreeMap<(u32, u32), Chosen> = BTreeMap::new();
        for mount in visible(mounts) {
            let writable = !mount.mount_readonly
                || self.chosen.get(&key(&mount)).is_some_and(|was_writable| *was_writable);
            let excluded = self.mount_points.is_match(&mount.mountpoint.to_string_lossy())
                || self.fs_types.is_match(&mount.fstype);
            if !is_root(&mount) && (excluded || !writable) {
                continue;
            }
            let found = Chosen { mount, writable };
            match by_device.entry(found.mount.device_number) {
                Entry::Vacant(entry) => drop(entry.insert(found)),
                Entry::Occupied(mut entry) => {
                    if preference(&found.mount) < preference(&entry.get().mount) {
                        entry.insert(found);
                    }
                }
            }
        }
        let mut chosen: Vec<Chosen> = by_device.into_values().collect();
        chosen.sort_by(|a, b| a.mount.mountpoint.cmp(&b.mount.mountpoint));
        self.chosen = chosen.iter().map(|found| (key(&found.mount), found.writable)).collect();
        chosen
    }
}

fn is_root(mount: &Mount) -> bool {
    mount.mountpoint == Path::new("/")
}

fn key(mount: &Mount) -> (PathBuf, String) {
    (mount.mountpoint.clone(), mount.device.clone())
}

/// The smaller, the better a mount represents its file system.
fn preference(mount: &Mount) -> (bool, bool, usize, &Path) {
    (!is_root(mount), mount.root != "/", mount.mountpoint.as_os_str().len(), &mount.mountpoint)
}

#[cfg(test)]
mod tests {
    use super::super::mountinfo::parse;
    use super::*;

    fn check(table: &str, expected: &[&str]) {
        let chosen = Discovery::default().choose(parse(table).0);
        let points: Vec<_> = chosen.iter().map(|found| found.mount.mountpoint.as_os_str()).collect();
        assert_eq!(points, expected, "{table}");
    }

    #[test]
    fn virtual_file_systems_and_read_only_mounts_are_left_out() {
        check(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
             2 1 0:2 / /proc rw - proc proc rw\n\
             3 1 0:3 / /run rw - tmpfs tmpfs rw\n\
             4 1 7:0 / /snap/core ro - squashfs /dev/loop0 ro\n\
             5 1 8:2 / /media/dvd ro - udf /dev/sr0 ro\n\
             6 1 8:3 / /var/lib/docker/volumes/x rw - ext4 /dev/sdb rw\n\
             7 1 8:4 / /srv rw - xfs /dev/sdc rw",
            &["/", "/srv"],
        );
    }

    #[test]
    fn a_file_system_that_became_read_only_by_an_error_is_watched() {
        check(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /srv rw - ext4 /dev/sdb rw,ro,emergency_ro",
            &["/", "/srv"],
        );
    }

    #[test]
    fn each_file_system_is_watched_once() {
        check(
            "1 0 0:30 / / rw - overlay overlay rw\n\
             2 1 8:1 /docker/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n\
             3 1 8:1 /home/me/data /data rw - ext4 /dev/sda1 rw\n\
             4 1 8:1 /home/me/long /a/long/path rw - ext4 /dev/sda1 rw",
            &["/", "/data"],
        );
        check(
            "1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 /sub /b rw - ext4 b rw\n3 1 8:2 / /longer rw - ext4 b rw",
            &["/", "/longer"],
        );
    }

    #[test]
    fn a_read_only_root_is_watched_and_has_to_be_writable_once_it_was() {
        let mut discovery = Discovery::default();
        let mut choose = |options: &str| {
            let chosen = discovery.choose(parse(format!("1 0 8:1 / / {options} - ext4 a {options}")).0);
            chosen.into_iter().map(|found| found.writable).collect::<Vec<_>>()
        };
        assert_eq!(choose("ro"), [false]);
        assert_eq!(choose("rw"), [true]);
        assert_eq!(choose("ro"), [true]);
    }

    #[test]
    fn a_watched_mount_that_is_remounted_read_only_stays_watched_until_it_is_gone() {
        let mut discovery = Discovery::default();
        let mut choose = |table: &str| {
            let chosen = discovery.choose(parse(table).0).into_iter();
            chosen.map(|found| found.mount.mountpoint.display().to_string()).collect::<Vec<_>>()
        };
        let root = "1 0 8:1 / / rw - ext4 a rw";
        assert_eq!(choose(&format!("{root}\n2 1 8:2 / /srv rw - ext4 b rw")), ["/", "/srv"]);
        assert_eq!(choose(&format!("{root}\n2 1 8:2 / /srv ro - ext4 b ro")), ["/", "/srv"]);
        assert_eq!(choose(root), ["/"]);
        assert_eq!(choose(&format!("{root}\n2 1 8:2 / /srv ro - ext4 b ro")), ["/"]);
    }
}
