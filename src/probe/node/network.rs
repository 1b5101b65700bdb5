//! Network devices: `/proc/net/dev`, `/sys/class/net` and bonds.

use super::files::{CollectError, ParseError, Paths};
use super::{Round, bounded};
use crate::probe::samples::SampleSet;

/// The columns of `/proc/net/dev` under `node_exporter`'s names.
const COLUMNS: [&str; 16] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_receive_errs_total",
    "node_network_receive_drop_total",
    "node_network_receive_fifo_total",
    "node_network_receive_frame_total",
    "node_network_receive_compressed_total",
    "node_network_receive_multicast_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_network_transmit_errs_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_fifo_total",
    "node_network_transmit_colls_total",
    "node_network_transmit_carrier_total",
    "node_network_transmit_compressed_total",
];

/// The counters of each device, in the order of the file.
fn parse_devices(text: &str) -> Result<Vec<(&str, [f64; COLUMNS.len()])>, ParseError> {
    // Two lines of headings come first.
    let lines = text.lines().enumerate().skip(2).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let fault = || ParseError::Line { line: index + 1, expected: "`device: ` and 16 numbers" };
            // The name of an alias has a colon of its own.
            let (device, counters) = line.rsplit_once(':').ok_or_else(fault)?;
            let mut counters = counters.split_ascii_whitespace();
            let mut values = [0.0; COLUMNS.len()];
            for value in &mut values {
                *value = counters.next().and_then(|counter| counter.parse().ok()).ok_or_else(fault)?;
            }
            Ok((device.trim(), values))
        })
        .collect()
}

/// `node_network_{receive,transmit}_*_total`.
pub(super) fn netdev(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let text = round.paths.proc("net/dev")?;
    let path = || round.paths.procfs.join("net/dev");
    let devices = parse_devices(&text).map_err(|error| CollectError::Parse(path(), error))?;
    let devices = devices.into_iter().filter(|(device, _)| round.filters.network.wants(device));
    for (device, counters) in bounded("netdev", devices, samples) {
        for (name, value) in COLUMNS.iter().zip(counters) {
            samples.labelled(name, &[("device", device)], value);
        }
        let nohandler = format!("class/net/{device}/statistics/rx_nohandler");
        if let Some(value) = round.paths.number(&nohandler) {
            samples.labelled("node_network_receive_nohandler_total", &[("device", device)], value);
        }
    }
    Ok(())
}

/// Attributes of a device and `node_exporter`'s names for them.
const PROPERTIES: [(&str, &str); 16] = [
    ("addr_assign_type", "node_network_address_assign_type"),
    ("carrier", "node_network_carrier"),
    ("carrier_changes", "node_network_carrier_changes_total"),
    ("carrier_up_count", "node_network_carrier_up_changes_total"),
    ("carrier_down_count", "node_network_carrier_down_changes_total"),
    ("dev_id", "node_network_device_id"),
    ("dormant", "node_network_dormant"),
    ("flags", "node_network_flags"),
    ("ifindex", "node_network_iface_id"),
    ("iflink", "node_network_iface_link"),
    ("link_mode", "node_network_iface_link_mode"),
    ("mtu", "node_network_mtu_bytes"),
    ("name_assign_type", "node_network_name_assign_type"),
    ("netdev_group", "node_network_net_dev_group"),
    ("tx_queue_len", "node_network_transmit_queue_length"),
    ("type", "node_network_protocol_type"),
];

/// The bit of `flags` that says that a device was switched on. Source: `linux/if.h`, `IFF_UP`.
const FLAG_UP: u64 = 1;

/// `node_network_up`, `node_network_info` and what else `/sys/class/net` says.
pub(super) fn netclass(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let paths = round.paths;
    let devices = paths.list("class/net")?.into_iter();
    // Beside the devices lies a file, `bonding_masters`.
    let devices = devices
        .filter(|device| paths.sysfs.join("class/net").join(device).is_dir())
        .filter(|device| round.filters.network.wants(device));
    for device in bounded("netclass", devices, samples) {
        let number = |name: &str| paths.number(&format!("class/net/{device}/{name}"));
        let text = |name: &str| paths.attribute(&format!("class/net/{device}/{name}")).unwrap_or_default();
        let labels = [("device", device.as_str())];
        let operstate = text("operstate");
        samples.labelled("node_network_up", &labels, f64::from(operstate == "up"));
        let adminstate = match number("flags") {
            None => "unknown",
            Some(flags) if flags as u64 & FLAG_UP != 0 => "up",
            Some(_) => "down",
        };
        let info = [
            ("device", device.as_str()),
            ("address", &text("address")),
            ("broadcast", &text("broadcast")),
            ("duplex", &text("duplex")),
            ("operstate", &operstate),
            ("adminstate", adminstate),
            ("ifalias", &text("ifalias")),
        ];
        samples.labelled("node_network_info", &info, 1.0);
        for (attribute, name) in PROPERTIES {
            if let Some(value) = number(attribute) {
                samples.labelled(name, &labels, value);
            }
        }
        // Megabits per second. Devices without a speed, such as bridges, show -1: that is no speed.
        if let Some(speed) = number("speed").filter(|speed| *speed >= 0.0) {
            samples.labelled("node_network_speed_bytes", &labels, speed * 1e6 / 8.0);
        }
    }
    Ok(())
}

/// `node_bonding_*`.
pub(super) fn bonding(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let paths = round.paths;
    let file = paths.sysfs.join("class/net/bonding_masters");
    if !file.exists() {
        return Err(CollectError::NoData(file));
    }
    let masters = paths.attribute("class/net/bonding_masters").unwrap_or_default();
    for master in bounded("bonding", masters.split_ascii_whitespace(), samples) {
        let slaves = paths.attribute(&format!("class/net/{master}/bonding/slaves")).unwrap_or_default();
        let slaves: Vec<&str> = slaves.split_ascii_whitespace().collect();
        let active = slaves.iter().filter(|slave| is_active(paths, master, slave)).count();
        samples.labelled("node_bonding_slaves", &[("master", master)], slaves.len() as f64);
        samples.labelled("node_bonding_active", &[("master", master)], active as f64);
    }
    Ok(())
}

/// Whether a bond uses one of its devices. Kernels before 3.17 linked it under another name.
fn is_active(paths: &Paths, master: &str, slave: &str) -> bool {
    let status =
        |link: &str| paths.attribute(&format!("class/net/{master}/{link}_{slave}/bonding_slave/mii_status"));
    status("lower").or_else(|| status("slave")).is_some_and(|status| status == "up")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Inter-|   Receive   |  Transmit\n face |bytes    packets errs |bytes packets\n";

    #[test]
    fn every_device_has_sixteen_counters() {
        let text = format!(
            "{HEAD}  eth0:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n br0:1: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 9\n"
        );
        let devices = parse_devices(&text).unwrap();
        let expected: [f64; 16] = std::array::from_fn(|index| index as f64 + 1.0);
        assert_eq!(devices[0], ("eth0", expected));
        assert_eq!((devices[1].0, devices[1].1[15]), ("br0:1", 9.0));
    }

    #[test]
    fn a_line_with_too_few_counters_is_refused() {
        let error = parse_devices(&format!("{HEAD}  eth0: 1 2 3\n")).unwrap_err();
        assert_eq!(error.to_string(), "line 3: expected `device: ` and 16 numbers");
    }
}
