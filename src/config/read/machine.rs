//! What is watched of the machine itself.

use std::path::PathBuf;

use super::Context;
use crate::config::MachineConfig;
use crate::config::machine::host_root;
use crate::model::GoRegex;
use crate::probe::node;
use crate::yaml::{Fields, Node};

impl Context<'_> {
    pub(super) fn machine(&mut self, node: &Node) -> MachineConfig {
        let mut machine = MachineConfig::default();
        let mut fields = self.reader.fields("`machine`", node);
        machine.enabled = self.flag(&mut fields, "enabled", machine.enabled);
        if let Some(path) = self.absolute_path(&mut fields, "procfs") {
            machine.paths.procfs = path;
        }
        if let Some(path) = self.absolute_path(&mut fields, "sysfs") {
            machine.paths.sysfs = path;
        }
        machine.rootfs = self.absolute_path(&mut fields, "rootfs").and_then(host_root);
        machine.run = self.absolute_path(&mut fields, "run");
        machine.systemd = self.flag(&mut fields, "systemd", machine.systemd);
        machine.disabled_collectors = self.disabled_collectors(&mut fields);
        let patterns = [
            ("network_devices_exclude", &mut machine.network_devices_exclude),
            ("disk_devices_exclude", &mut machine.disk_devices_exclude),
            ("mount_points_exclude", &mut machine.mount_points_exclude),
            ("fs_types_exclude", &mut machine.fs_types_exclude),
            ("systemd_units_include", &mut machine.systemd_units_include),
            ("systemd_units_exclude", &mut machine.systemd_units_exclude),
        ];
        for (key, pattern) in patterns {
            if let Some(given) = self.pattern(&mut fields, key) {
                *pattern = given;
            }
        }
        machine.textfile_directory = self.absolute_path(&mut fields, "textfile_directory");
        machine.pace = self.pace(&mut fields);
        fields.finish(&mut self.reader);
        machine
    }

    fn absolute_path(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Option<PathBuf> {
        let node = fields.take(key)?;
        let path = PathBuf::from(self.reader.text(key, node)?);
        if path.is_relative() {
            let message = format!("`{key}` must begin with `/`, not `{}`", path.display());
            self.reader.error("relative-path", node.place, message);
            return None;
        }
        Some(path)
    }

    fn disabled_collectors(&mut self, fields: &mut Fields<'_>) -> Vec<String> {
        let Some(node) = fields.take("disabled_collectors") else { return Vec::new() };
        let mut disabled = Vec::new();
        for item in self.reader.items("disabled_collectors", node) {
            let Some(name) = self.reader.text("disabled_collectors", item) else { continue };
            if node::collectors().any(|known| known == name) {
                disabled.push(name.to_owned());
            } else {
                let known: Vec<&str> = node::collectors().collect();
                let message = format!("there is no collector `{name}`");
                let hint = format!("there are {}", known.join(", "));
                self.reader.error_with_hint("unknown-collector", item.place, message, hint);
            }
        }
        disabled
    }

    /// A regular expression, in Go's syntax.
    fn pattern(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Option<String> {
        let node = fields.take(key)?;
        let text = self.reader.text(key, node)?;
        if let Err(error) = GoRegex::new(text) {
            self.reader.error("bad-pattern", node.place, format!("`{key}`: {error}"));
            return None;
        }
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Surroundings, read};

    #[test]
    fn everything_about_the_machine_can_be_said_and_every_fault_is_found() {
        let surroundings = Surroundings { environment: &|_| None, folder: Path::new("/etc") };
        let text = "machine:\n  procfs: /host/proc\n  sysfs: /host/sys\n  rootfs: /host\n  \
                    disabled_collectors: [hwmon]\n  network_devices_exclude: ^veth\n  \
                    textfile_directory: /var/lib/metrics\n  interval: 30s\n  run: /host/run\n  systemd: true\n  \
                    systemd_units_include: (ssh|cron)\\.service\n";
        let (config, findings) = read("valmis.yaml", text, &surroundings);
        assert_eq!(findings, []);
        let machine = config.machine;
        assert!(machine.enabled);
        assert_eq!(machine.paths.procfs, PathBuf::from("/host/proc"));
        assert_eq!(machine.rootfs, Some(PathBuf::from("/host")));
        assert_eq!(machine.disabled_collectors, ["hwmon"]);
        assert_eq!(machine.network_devices_exclude, "^veth");
        assert_eq!(machine.textfile_directory, Some(PathBuf::from("/var/lib/metrics")));
        assert_eq!(machine.disk_devices_exclude, node::EXCLUDED_DISKS);
        assert_eq!(machine.pace.interval.as_secs(), 30);
        assert_eq!(machine.run, Some(PathBuf::from("/host/run")));
        assert!(machine.node().unwrap().units.is_some_and(|units| units.include.is_some()));

        let text = "machine:\n  enabled: false\n  procfs: proc\n  disabled_collectors: [wifi]\n  \
                    fs_types_exclude: '('\n  nonsense: 1\n  systemd_units_exclude: (?!ssh)\n";
        let (config, findings) = read("valmis.yaml", text, &surroundings);
        assert!(!config.machine.enabled);
        let found: Vec<_> = findings.iter().map(|finding| (finding.code, finding.to_string())).collect();
        let expected = [
            ("relative-path", "valmis.yaml:3:11"),
            ("unknown-collector", "valmis.yaml:4:25"),
            ("bad-pattern", "`fs_types_exclude`: error parsing regexp: missing closing ): `(`"),
            ("unknown-key", "valmis.yaml:6:"),
            ("bad-pattern", "valmis.yaml:7:26"),
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((code, text), (expected, part)) in found.iter().zip(expected) {
            assert!(*code == expected && text.contains(part), "{found:?}");
        }
    }
}
