//! What is watched of the machine itself.

use std::path::PathBuf;

use super::Pace;
use crate::model::{GoRegex, GoRegexError};
use crate::probe::disk;
use crate::probe::node;

/// The machine: where its kernel's files are, and what is left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MachineConfig {
    /// Whether processors, memory, network and so on are told of.
    pub enabled: bool,
    /// Where the kernel's files are. Source: `node_exporter`'s `--path.procfs` and `--path.sysfs`.
    pub paths: node::Paths,
    /// Where the machine's root is mounted, if not at `/`. Source: `--path.rootfs`.
    pub rootfs: Option<PathBuf>,
    /// Where `/run` is, if not below that root. Source: `--path.udev.data`, two folders up.
    pub run: Option<PathBuf>,
    /// Collectors that are not run. Source: `--no-collector.<name>`.
    pub disabled_collectors: Vec<String>,
    /// Network devices that are left out, a regular expression; empty: none.
    /// Source: `--collector.netdev.device-exclude`.
    pub network_devices_exclude: String,
    /// Block devices that are left out. Source: `--collector.diskstats.device-exclude`.
    pub disk_devices_exclude: String,
    /// Mount points that are no file system of their own.
    /// Source: `--collector.filesystem.mount-points-exclude`.
    pub mount_points_exclude: String,
    /// Kinds of file systems that are no storage. Source: `--collector.filesystem.fs-types-exclude`.
    pub fs_types_exclude: String,
    /// Whether systemd is asked for its units. Source: `--collector.systemd`.
    pub systemd: bool,
    /// Units that are told of, by their whole names; empty: all.
    /// Source: `--collector.systemd.unit-include`.
    pub systemd_units_include: String,
    /// Those of them that are left out. Source: `--collector.systemd.unit-exclude`.
    pub systemd_units_exclude: String,
    /// The folder of `*.prom` files that jobs write, if any. Source: `--collector.textfile.directory`.
    pub textfile_directory: Option<PathBuf>,
    /// When.
    pub pace: Pace,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            paths: node::Paths::default(),
            rootfs: None,
            run: None,
            disabled_collectors: Vec::new(),
            network_devices_exclude: String::new(),
            disk_devices_exclude: node::EXCLUDED_DISKS.to_owned(),
            mount_points_exclude: disk::EXCLUDED_MOUNT_POINTS.to_owned(),
            fs_types_exclude: disk::EXCLUDED_FS_TYPES.to_owned(),
            systemd: false,
            systemd_units_include: String::new(),
            systemd_units_exclude: node::EXCLUDED_UNITS.to_owned(),
            textfile_directory: None,
            pace: Pace::default(),
        }
    }
}

impl MachineConfig {
    /// What the prober of the machine is to look at. The patterns were read before and are right.
    pub fn node(&self) -> Result<node::Config, GoRegexError> {
        let given = |pattern: &str| (!pattern.is_empty()).then(|| pattern.to_owned());
        let excluded = |pattern: &str| {
            given(pattern).map(|pattern| GoRegex::new(&pattern)).transpose().map(node::Excluded)
        };
        let units = || {
            let include = given(&self.systemd_units_include);
            Ok(node::Units {
                include: include.map(|pattern| GoRegex::anchored(&pattern)).transpose()?,
                exclude: GoRegex::anchored(&self.systemd_units_exclude)?,
            })
        };
        let below_root = || self.rootfs.as_ref().map(|root| root.join("run"));
        let run = self.run.clone().or_else(below_root).unwrap_or_else(|| self.paths.run.clone());
        Ok(node::Config {
            paths: node::Paths { run, ..self.paths.clone() },
            filters: node::Filters {
                network: excluded(&self.network_devices_exclude)?,
                disk: excluded(&self.disk_devices_exclude)?,
            },
            units: self.systemd.then(units).transpose()?,
            disabled: self.disabled_collectors.clone(),
        })
    }
}

/// What the command line says of [`MachineConfig`], whatever the file says.
#[derive(Debug, Clone, Default)]
pub struct MachinePaths {
    /// Where `proc` is mounted.
    pub procfs: Option<PathBuf>,
    /// Where `sysfs` is mounted.
    pub sysfs: Option<PathBuf>,
    /// Where the machine's root is mounted.
    pub rootfs: Option<PathBuf>,
}

impl MachinePaths {
    /// Puts these paths in force.
    pub fn apply(&self, machine: &mut MachineConfig) {
        let Self { procfs, sysfs, rootfs } = self;
        let paths = &mut machine.paths;
        for (given, path) in [(procfs, &mut paths.procfs), (sysfs, &mut paths.sysfs)] {
            if let Some(given) = given {
                path.clone_from(given);
            }
        }
        if let Some(rootfs) = rootfs {
            machine.rootfs = host_root(rootfs.clone());
        }
    }
}

/// A host's root; `/` is this process's own, as without any.
pub(super) fn host_root(path: PathBuf) -> Option<PathBuf> {
    Some(path).filter(|path| path.parent().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_and_its_own_root_is_no_host() {
        let mut machine = MachineConfig { rootfs: Some("/host".into()), ..MachineConfig::default() };
        MachinePaths { procfs: Some("/host/proc".into()), ..MachinePaths::default() }.apply(&mut machine);
        assert_eq!(machine.paths.procfs, PathBuf::from("/host/proc"));
        assert_eq!(machine.paths.sysfs, PathBuf::from("/sys"));
        assert_eq!(machine.rootfs, Some("/host".into()));
        assert_eq!(machine.node().unwrap().paths.run, PathBuf::from("/host/run"));
        MachinePaths { rootfs: Some("/".into()), ..MachinePaths::default() }.apply(&mut machine);
        assert_eq!(machine.rootfs, None);
        assert_eq!(machine.node().unwrap().paths.run, PathBuf::from("/run"));
        machine.run = Some("/elsewhere".into());
        assert_eq!(machine.node().unwrap().paths.run, PathBuf::from("/elsewhere"));
    }
}
