//! The kernel's table of mounts. The format is that of `proc_pid_mountinfo(5)`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of the file system's device: bind mounts of one file system share them.
    pub device_number: (u32, u32),
    /// The directory within the file system that is mounted: `/` unless it is a bind mount.
    pub root: String,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The kind of file system, such as `ext4`.
    pub fstype: String,
    /// What is mounted, such as `/dev/sda1` or `server:/export`.
    pub device: String,
    /// Whether the mount itself was asked to be read-only.
    pub mount_readonly: bool,
    /// Whether the file system is read-only: so asked, or because it met an error.
    pub super_readonly: bool,
}

impl Mount {
    /// Whether nothing can be written through this mount.
    pub fn readonly(&self) -> bool {
        self.mount_readonly || self.super_readonly
    }
}

/// A line that is no mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountInfoError {
    /// A field is missing.
    #[error("mountinfo:{line}: missing {field}")]
    Missing {
        /// Number of the line, from 1.
        line: usize,
        /// What was expected.
        field: &'static str,
    },
    /// The device number is not `major:minor`.
    #[error("mountinfo:{line}: expected a device number `major:minor`, got `{text}`")]
    DeviceNumber {
        /// Number of the line, from 1.
        line: usize,
        /// What is there.
        text: String,
    },
}

/// Reads a whole table. A line that cannot be read is reported and does not hide the others. Names may be
/// any bytes: who may mount can choose them.
pub fn parse(text: impl AsRef<[u8]>) -> (Vec<Mount>, Vec<MountInfoError>) {
    let mut mounts = Vec::new();
    let mut errors = Vec::new();
    let lines = text.as_ref().split(|byte| *byte == b'\n');
    for (index, line) in lines.enumerate().filter(|(_, line)| !line.trim_ascii().is_empty()) {
        match parse_line(line, index + 1) {
            Ok(mount) => mounts.push(mount),
            Err(error) => errors.push(error),
        }
    }
    (mounts, errors)
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`: between the
/// options and the dash stands any number of optional fields.
fn parse_line(text: &[u8], line: usize) -> Result<Mount, MountInfoError> {
    let mut fields = text.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).skip(2);
    let mut next = |field| fields.next().ok_or(MountInfoError::Missing { line, field });
    let number = String::from_utf8_lossy(next("device number")?);
    let device_number = number
        .split_once(':')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .ok_or_else(|| MountInfoError::DeviceNumber { line, text: number.clone().into_owned() })?;
    let root = unescaped_text(next("root")?);
    let mountpoint = OsString::from_vec(unescape(next("mount point")?)).into();
    let mount_readonly = has_option(next("mount options")?, &["ro"]);
    while next("separator")? != b"-" {}
    let fstype = unescaped_text(next("file system type")?);
    let device = unescaped_text(next("mount source")?);
    // `emergency_ro` is what ext4 shows since Linux 6.15 after an error, instead of `ro`.
    let super_readonly = has_option(next("super options")?, &["ro", "emergency_ro"]);
    Ok(Mount { device_number, root, mountpoint, fstype, device, mount_readonly, super_readonly })
}

fn has_option(options: &[u8], wanted: &[&str]) -> bool {
    options.split(|byte| *byte == b',').any(|option| wanted.iter().any(|wanted| wanted.as_bytes() == option))
}

fn unescaped_text(text: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(text)).into_owned()
}

/// The kernel writes blank, tab, newline, backslash and `#` as a backslash and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if first == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

/// The mounts that can be seen: of several at one mount point the last hides the others.
pub fn visible(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut seen = std::collections::HashSet::new();
    let mut visible: Vec<Mount> =
        mounts.into_iter().rev().filter(|mount| seen.insert(mount.mountpoint.clone())).collect();
    visible.reverse();
    visible
}

/// The mount that holds `path`, which has no symbolic links, decided by the names alone.
pub fn holding<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.mountpoint))
        .max_by_key(|mount| mount.mountpoint.components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Mount {
        let (mounts, errors) = parse(line);
        assert_eq!(errors, [], "{line}");
        mounts.into_iter().next().expect("one mount")
    }

    #[test]
    fn fields_are_read_with_any_number_of_optional_ones() {
        let check = |line: &str, readonly: (bool, bool)| {
            let mount = one(line);
            assert_eq!(mount.device_number, (98, 5), "{line}");
            assert_eq!((mount.root.as_str(), &*mount.mountpoint), ("/sub", Path::new("/mnt")), "{line}");
            assert_eq!((mount.fstype.as_str(), mount.device.as_str()), ("ext4", "/dev/sda1"), "{line}");
            assert_eq!((mount.mount_readonly, mount.super_readonly), readonly, "{line}");
        };
        check("36 35 98:5 /sub /mnt rw,noatime - ext4 /dev/sda1 rw,errors=remount-ro", (false, false));
        check("36 35 98:5 /sub /mnt rw shared:1 - ext4 /dev/sda1 ro,data=ordered", (false, true));
        check("36 35 98:5 /sub /mnt ro master:1 propagate_from:2 - ext4 /dev/sda1 rw", (true, false));
        check("36 35 98:5 /sub /mnt rw shared:1 - ext4 /dev/sda1 rw,emergency_ro", (false, true));
    }

    #[test]
    fn escapes_are_undone() {
        let check = |written: &str, meant: &str| {
            assert_eq!(unescape(written.as_bytes()), meant.as_bytes(), "{written}");
        };
        check(r"/a\040b", "/a b");
        check(r"/a\011b\012c", "/a\tb\nc");
        check(r"/a\134040b", r"/a\040b");
        check(r"/a\04", r"/a\04");
        check(r"/a\\b", r"/a\\b");
        check(r"/caf\303\251", "/café");
        check(r"trailing\", r"trailing\");
    }

    #[test]
    fn names_of_any_bytes_are_read_and_hide_no_other() {
        let (mounts, errors) = parse(b"1 2 3:4 / /caf\xe9 rw - ext4 d\xe9 rw\n1 2 3:5 / /b rw - ext4 d rw\n");
        assert_eq!(errors, []);
        let points: Vec<_> =
            mounts.iter().map(|mount| mount.mountpoint.as_os_str().as_encoded_bytes()).collect();
        assert_eq!(points, [&b"/caf\xe9"[..], b"/b"]);
        assert_eq!(mounts[0].device, "d\u{fffd}");
    }

    #[test]
    fn a_bad_line_is_reported_and_hides_no_other() {
        let (mounts, errors) =
            parse("1 2 x:y / /a rw - ext4 d rw\n1 2 3:4 / /b rw\n1 2 3:4 / /c rw - xfs d rw\n");
        assert_eq!(mounts.iter().map(|mount| &mount.mountpoint).collect::<Vec<_>>(), [Path::new("/c")]);
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "mountinfo:1: expected a device number `major:minor`, got `x:y`",
                "mountinfo:2: missing separator"
            ]
        );
    }

    #[test]
    fn the_last_of_several_mounts_at_one_point_is_seen() {
        let text =
            "1 1 8:1 / /a rw - ext4 old rw\n2 1 8:2 / /b rw - ext4 other rw\n3 1 8:3 / /a rw - ext4 new rw";
        let devices: Vec<_> = visible(parse(text).0).into_iter().map(|mount| mount.device).collect();
        assert_eq!(devices, ["other", "new"]);
    }

    #[test]
    fn a_path_lies_in_the_mount_with_the_longest_prefix_of_whole_names() {
        let text = "1 1 8:1 / / rw - ext4 root rw\n2 1 8:2 / /var rw - ext4 var rw\n3 1 8:3 / /var/lib rw - ext4 lib rw";
        let mounts = parse(text).0;
        let check = |path: &str, device: &str| {
            assert_eq!(
                holding(&mounts, Path::new(path)).map(|mount| mount.device.as_str()),
                Some(device),
                "{path}"
            );
        };
        check("/", "root");
        check("/var", "var");
        check("/variant", "root");
        check("/var/lib/postgresql", "lib");
        check("/var/library", "var");
    }

    #[test]
    fn node_exporters_fixture_is_read() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = manifest.join("../shared/conformance/node/mountinfo");
        let Ok(text) = std::fs::read_to_string(&file) else {
            assert!(!file.exists(), "{} exists but cannot be read", file.display());
            return;
        };
        let (mounts, errors) = parse(&text);
        assert_eq!(errors, []);
        assert_eq!(mounts.len(), text.lines().count());
        let kubelet = "/var/lib/kubelet/plugins/kubernetes.io/vsphere-volume/mounts/[vsanDatastore]";
        let claim = "bafb9e5a-8856-7e6c-699c-801844e77a4a/kubernetes-dynamic-pvc-3eba5bba-48a3-11e8-89ab-005056b92113.vmdk";
        for separator in [' ', '\t'] {
            let path = format!("{kubelet}{separator}{claim}");
            assert!(mounts.iter().any(|mount| mount.mountpoint == Path::new(&path)), "{path:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([0-9:/ a-z\\\\-]|\\PC|\n){0,200}") {
            let (mounts, errors) = parse(&text);
            let lines = text.split('\n').filter(|line| !line.trim_ascii().is_empty()).count();
            proptest::prop_assert_eq!(mounts.len() + errors.len(), lines);
        }

        #[test]
        fn any_name_survives_being_escaped(name in "\\PC{0,20}") {
            let escape = |c: char| match c {
                ' ' | '\t' | '\n' | '\\' | '#' => format!("\\{:03o}", c as u32),
                c => c.to_string(),
            };
            let escaped: String = name.chars().map(escape).collect();
            proptest::prop_assert_eq!(unescape(escaped.as_bytes()), name.into_bytes());
        }
    }
}
