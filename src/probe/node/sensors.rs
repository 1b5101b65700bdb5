//! Hardware that reports on itself: temperatures, what cools, and memory that corrects errors.

use std::collections::BTreeMap;

use super::files::{CollectError, Paths};
use super::{Round, bounded};
use crate::probe::samples::SampleSet;

/// What a thermometer says: attribute, `node_exporter`'s name, and what makes it the metric's unit.
const TEMPERATURES: [(&str, &str, f64); 5] = [
    ("input", "node_hwmon_temp_celsius", 1e-3),
    ("max", "node_hwmon_temp_max_celsius", 1e-3),
    ("crit", "node_hwmon_temp_crit_celsius", 1e-3),
    // An alarm is 0 or 1; that it is taken for thousandths of a degree is how `node_exporter` has it.
    ("crit_alarm", "node_hwmon_temp_crit_alarm_celsius", 1e-3),
    ("alarm", "node_hwmon_temp_alarm", 1.0),
];

/// `node_hwmon_*`, the temperatures.
pub(super) fn hwmon(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let paths = round.paths;
    let monitors = paths.list("class/hwmon")?;
    let names: Vec<String> = monitors.iter().map(|monitor| chip(paths, monitor)).collect();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &names {
        *times.entry(name).or_default() += 1;
    }
    let chips = monitors.iter().zip(&names).map(|(monitor, name)| {
        // Several monitors of one device are told apart by what they call themselves.
        let own = own_name(paths, monitor).filter(|_| times[name.as_str()] > 1);
        (monitor, own.map_or_else(|| name.clone(), |own| format!("{name}_{own}")))
    });
    for (monitor, chip) in bounded("hwmon", chips, samples) {
        if let Some(own) = own_name(paths, monitor) {
            samples.labelled("node_hwmon_chip_names", &[("chip", &chip), ("chip_name", &own)], 1.0);
        }
        for folder in [format!("class/hwmon/{monitor}"), format!("class/hwmon/{monitor}/device")] {
            let files = paths.list(&folder).unwrap_or_default();
            let sensors = files.iter().filter_map(|file| file.strip_suffix("_input"));
            for sensor in sensors.filter(|sensor| sensor.starts_with("temp")) {
                temperature(paths, &folder, &chip, sensor, samples);
            }
        }
    }
    Ok(())
}

fn temperature(paths: &Paths, folder: &str, chip: &str, sensor: &str, samples: &mut SampleSet) {
    let labels = [("chip", chip), ("sensor", sensor)];
    for (attribute, name, unit) in TEMPERATURES {
        if let Some(value) = paths.number(&format!("{folder}/{sensor}_{attribute}")) {
            samples.labelled(name, &labels, value * unit);
        }
    }
    if let Some(label) = paths.attribute(&format!("{folder}/{sensor}_label")) {
        let labels = [labels[0], labels[1], ("label", label.as_str())];
        samples.labelled("node_hwmon_sensor_label", &labels, 1.0);
    }
}

/// What `node_exporter` calls a chip: kind and name of its device, or else what it calls itself.
fn chip(paths: &Paths, monitor: &str) -> String {
    let device = paths.sysfs.join("class/hwmon").join(monitor).join("device").canonicalize().ok();
    let from_device = device.and_then(|device| {
        let name = |path: &std::path::Path| clean(&path.file_name().unwrap_or_default().to_string_lossy());
        let parts = [device.parent().map(name).unwrap_or_default(), name(&device)];
        let named: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        (!parts[1].is_empty()).then(|| named.join("_"))
    });
    from_device.or_else(|| own_name(paths, monitor)).unwrap_or_else(|| clean(monitor))
}

fn own_name(paths: &Paths, monitor: &str) -> Option<String> {
    let name = paths.attribute(&format!("class/hwmon/{monitor}/name"))?;
    Some(clean(&name)).filter(|name| !name.is_empty())
}

/// A name as part of a metric's name.
fn clean(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':' || c == '_';
    let clean = |c: char| if allowed(c) { c } else { '_' };
    name.to_lowercase().chars().map(clean).collect::<String>().trim_matches('_').to_owned()
}

/// `node_thermal_zone_temp` and `node_cooling_device_*`.
pub(super) fn thermal_zone(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    const FOLDER: &str = "class/thermal";
    let paths = round.paths;
    for entry in bounded("thermal_zone", paths.list(FOLDER)?.into_iter(), samples) {
        let number = |name: &str| paths.number(&format!("{FOLDER}/{entry}/{name}"));
        let kind = paths.attribute(&format!("{FOLDER}/{entry}/type")).unwrap_or_default();
        if let Some(zone) = entry.strip_prefix("thermal_zone") {
            // Some zones cannot be read while their device sleeps.
            if let Some(temperature) = number("temp") {
                let labels = [("zone", zone), ("type", &kind)];
                samples.labelled("node_thermal_zone_temp", &labels, temperature / 1000.0);
            }
        } else if let Some(name) = entry.strip_prefix("cooling_device") {
            let states = [
                ("cur_state", "node_cooling_device_cur_state"),
                ("max_state", "node_cooling_device_max_state"),
            ];
            for (attribute, metric) in states {
                if let Some(state) = number(attribute) {
                    samples.labelled(metric, &[("name", name), ("type", &kind)], state);
                }
            }
        }
    }
    Ok(())
}

/// Counters of a memory controller and of its rows.
const ERRORS: [(&str, &str, &str, &str); 2] = [
    (
        "ce_count",
        "ce_noinfo_count",
        "node_edac_correctable_errors_total",
        "node_edac_csrow_correctable_errors_total",
    ),
    (
        "ue_count",
        "ue_noinfo_count",
        "node_edac_uncorrectable_errors_total",
        "node_edac_csrow_uncorrectable_errors_total",
    ),
];

/// `node_edac_*`.
pub(super) fn edac(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    const FOLDER: &str = "devices/system/edac/mc";
    let paths = round.paths;
    let found = paths.list(FOLDER)?;
    let controllers =
        found.iter().filter_map(|name| name.strip_prefix("mc").filter(|number| is_number(number)));
    for number in bounded("edac", controllers, samples) {
        let folder = format!("{FOLDER}/mc{number}");
        let rows = paths.list(&folder).unwrap_or_default();
        for (count, unplaced, total, by_row) in ERRORS {
            let controller = ("controller", number);
            if let Some(errors) = paths.number(&format!("{folder}/{count}")) {
                samples.labelled(total, &[controller], errors);
            }
            if let Some(errors) = paths.number(&format!("{folder}/{unplaced}")) {
                samples.labelled(by_row, &[controller, ("csrow", "unknown")], errors);
            }
            for row in rows.iter().filter_map(|row| row.strip_prefix("csrow")) {
                if let Some(errors) = paths.number(&format!("{folder}/csrow{row}/{count}")) {
                    samples.labelled(by_row, &[controller, ("csrow", row)], errors);
                }
            }
        }
    }
    Ok(())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_chips_are_made_fit() {
        let check = |name: &str, expected: &str| assert_eq!(clean(name), expected);
        check("coretemp.0", "coretemp_0");
        check("0000:00:18.3", "0000:00:18_3");
        check("-ACPI Thermal-", "acpi_thermal");
    }
}
