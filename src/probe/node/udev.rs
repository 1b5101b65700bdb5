//! What udev knows of block devices: `/run/udev/data`.
//!
//! Source of the behaviour: `node_exporter` `collector/diskstats_linux.go`.

use std::collections::HashMap;

use super::files::Paths;
use crate::probe::samples::SampleSet;

/// Facts that only disks with ATA's commands have: property and metric.
const ATA: [(&str, &str); 3] = [
    ("ID_ATA_WRITE_CACHE", "node_disk_ata_write_cache"),
    ("ID_ATA_WRITE_CACHE_ENABLED", "node_disk_ata_write_cache_enabled"),
    ("ID_ATA_ROTATION_RATE_RPM", "node_disk_ata_rotation_rate_rpm"),
];

/// Where a serial number can stand; the first is most likely that which is printed on the disk.
const SERIALS: [&str; 3] = ["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"];

/// A block device as the kernel numbers and names it.
pub(super) struct Device<'a> {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) name: &'a str,
}

/// The properties of a device, which stand in lines such as `E:ID_MODEL=QEMU`.
fn properties(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("E:")?.split_once('=')).collect()
}

/// `node_disk_info` and what else is known of a device. Without udev nothing but its numbers are.
pub(super) fn device(paths: &Paths, device: &Device<'_>, samples: &mut SampleSet) {
    let Device { major, minor, name } = *device;
    let text = paths.udev(major, minor).unwrap_or_default();
    let properties = properties(&text);
    let property = |name: &str| properties.get(name).copied().unwrap_or_default();
    let serials = SERIALS.iter().map(|name| property(name));
    let rotates = paths.number(&format!("block/{name}/queue/rotational")) == Some(1.0);
    let info = [
        ("device", name),
        ("major", &major.to_string()),
        ("minor", &minor.to_string()),
        ("path", property("ID_PATH")),
        ("wwn", property("ID_WWN")),
        ("model", property("ID_MODEL")),
        ("serial", serials.into_iter().find(|serial| !serial.is_empty()).unwrap_or_default()),
        ("revision", property("ID_REVISION")),
        ("rotational", if rotates { "1" } else { "0" }),
    ];
    samples.labelled("node_disk_info", &info, 1.0);
    if !property("ID_FS_TYPE").is_empty() {
        let labels = [
            ("device", name),
            ("type", property("ID_FS_TYPE")),
            ("usage", property("ID_FS_USAGE")),
            ("uuid", property("ID_FS_UUID")),
            ("version", property("ID_FS_VERSION")),
        ];
        samples.labelled("node_disk_filesystem_info", &labels, 1.0);
    }
    if !property("DM_NAME").is_empty() {
        let labels = [
            ("device", name),
            ("name", property("DM_NAME")),
            ("uuid", property("DM_UUID")),
            ("vg_name", property("DM_VG_NAME")),
            ("lv_name", property("DM_LV_NAME")),
            ("lv_layer", property("DM_LV_LAYER")),
        ];
        samples.labelled("node_disk_device_mapper_info", &labels, 1.0);
    }
    if !property("ID_ATA").is_empty() {
        for (name_of, metric) in ATA {
            if let Ok(value) = property(name_of).parse() {
                samples.labelled(metric, &[("device", name)], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_properties_are_read_of_what_udev_notes() {
        let text = "S:disk/by-id/x\nI:123\nE:ID_MODEL=A=B\nE:ID_SERIAL=\nG:systemd\nE:broken\n";
        let found = properties(text);
        assert_eq!(found, HashMap::from([("ID_MODEL", "A=B"), ("ID_SERIAL", "")]));
    }
}
