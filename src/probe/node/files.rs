//! Reading what the kernel says in `/proc` and `/sys`, and why that can fail.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::dbus::BusError;

/// The largest file that is read. `/proc/stat` of a machine with a thousand interrupts has 20 kB.
const MAX_BYTES: u64 = 4 << 20;

/// Where the kernel's files are, and those of its first programs. `node_exporter` calls these
/// `--path.procfs`, `--path.sysfs` and, for `udev/data` below `run`, `--path.udev.data`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Paths {
    /// Where `proc` is mounted.
    pub procfs: PathBuf,
    /// Where `sysfs` is mounted.
    pub sysfs: PathBuf,
    /// Where `/run` is: what udev knows of devices, and the bus over which systemd answers.
    pub run: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { procfs: "/proc".into(), sysfs: "/sys".into(), run: "/run".into() }
    }
}

/// Why a collector has nothing to say, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum CollectError {
    /// The kernel does not have this; most machines lack something.
    #[error("`{}` does not exist", .0.display())]
    NoData(PathBuf),
    /// The system refuses.
    #[error("cannot read `{}`: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// The kernel does not answer a call; a container's rules can forbid it.
    #[error("`{0}` fails: {1}")]
    Call(&'static str, io::Error),
    /// What is asked over D-Bus does not answer, or not as it should.
    #[error("systemd cannot be asked: {0}")]
    Bus(#[from] BusError),
    /// The text is not as the kernel writes it.
    #[error("`{}`: {}", .0.display(), .1)]
    Parse(PathBuf, ParseError),
}

/// A text that is not as the kernel writes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseError {
    /// A line has too few fields, or another order.
    #[error("line {line}: expected {expected}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// The line that everything else depends on is not there.
    #[error("no line with {0}")]
    Missing(&'static str),
}

impl Paths {
    /// The text of a file below `proc`.
    pub(super) fn proc(&self, name: &str) -> Result<String, CollectError> {
        read(&self.procfs.join(name))
    }

    /// The same, understood by `parse`.
    pub(super) fn proc_as<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<T, CollectError> {
        parse(&self.proc(name)?).map_err(|error| CollectError::Parse(self.procfs.join(name), error))
    }

    /// The one number in a file below `proc`.
    pub(super) fn proc_number(&self, name: &str) -> Result<f64, CollectError> {
        self.proc_as(name, |text| {
            text.trim().parse().map_err(|_| ParseError::Line { line: 1, expected: "a number" })
        })
    }

    /// The trimmed text of a file below `sysfs`; nothing if it is not there, cannot be read or is empty:
    /// many attributes fail to be read while their device is down.
    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        let text = read(&self.sysfs.join(name)).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// An attribute that is a number, decimal or with `0x`.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        let text = self.attribute(name)?;
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok().map(|number| number as f64),
            None => text.parse().ok(),
        }
    }

    /// What udev noted of a block device; nothing where there is no udev.
    pub(super) fn udev(&self, major: u32, minor: u32) -> Option<String> {
        read(&self.run.join(format!("udev/data/b{major}:{minor}"))).ok()
    }

    /// The names in a folder below `sysfs`, sorted.
    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, CollectError> {
        list(&self.sysfs.join(name))
    }

    /// The names in a folder below `proc`, sorted.
    pub(super) fn list_proc(&self, name: &str) -> Result<Vec<String>, CollectError> {
        list(&self.procfs.join(name))
    }
}

fn list(path: &Path) -> Result<Vec<String>, CollectError> {
    let entries = std::fs::read_dir(path).map_err(|error| failed(path, error))?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

fn read(path: &Path) -> Result<String, CollectError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(path, error))?;
    // A part of a table would be taken for all of it.
    if bytes.len() as u64 > MAX_BYTES {
        let error = format!("it is larger than {MAX_BYTES} bytes");
        return Err(CollectError::Io(path.to_owned(), io::Error::other(error)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn failed(path: &Path, error: io::Error) -> CollectError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => CollectError::NoData(path.to_owned()),
        _ => CollectError::Io(path.to_owned(), error),
    }
}
