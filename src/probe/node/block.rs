//! What block devices did: `/proc/diskstats`.

use super::files::{CollectError, ParseError};
use super::udev::{self, Device};
use super::{Round, bounded};
use crate::probe::samples::SampleSet;

/// What a block device counts in, whatever its own sectors are.
const SECTOR_BYTES: f64 = 512.0;
const MILLISECOND: f64 = 1e-3;

/// The columns of `/proc/diskstats` after the device: `node_exporter`'s names and the unit of each.
const COLUMNS: [(&str, f64); 17] = [
    ("node_disk_reads_completed_total", 1.0),
    ("node_disk_reads_merged_total", 1.0),
    ("node_disk_read_bytes_total", SECTOR_BYTES),
    ("node_disk_read_time_seconds_total", MILLISECOND),
    ("node_disk_writes_completed_total", 1.0),
    ("node_disk_writes_merged_total", 1.0),
    ("node_disk_written_bytes_total", SECTOR_BYTES),
    ("node_disk_write_time_seconds_total", MILLISECOND),
    ("node_disk_io_now", 1.0),
    ("node_disk_io_time_seconds_total", MILLISECOND),
    ("node_disk_io_time_weighted_seconds_total", MILLISECOND),
    // From Linux 4.18.
    ("node_disk_discards_completed_total", 1.0),
    ("node_disk_discards_merged_total", 1.0),
    ("node_disk_discarded_sectors_total", 1.0),
    ("node_disk_discard_time_seconds_total", MILLISECOND),
    // From Linux 5.5.
    ("node_disk_flush_requests_total", 1.0),
    ("node_disk_flush_requests_time_seconds_total", MILLISECOND),
];
/// The columns that every kernel has.
const LEAST_COLUMNS: usize = 11;

/// The devices and their counters, as many as the kernel has.
fn parse(text: &str) -> Result<Vec<(Device<'_>, Vec<f64>)>, ParseError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let fault = || ParseError::Line {
                line: index + 1,
                expected: "two numbers, a device and 11 numbers or more",
            };
            let mut fields = line.split_ascii_whitespace();
            let mut number = || fields.next().and_then(|field| field.parse().ok()).ok_or_else(fault);
            let (major, minor) = (number()?, number()?);
            let name = fields.next().ok_or_else(fault)?;
            let counters: Vec<f64> = fields.map_while(|field| field.parse().ok()).collect();
            if counters.len() < LEAST_COLUMNS {
                return Err(fault());
            }
            Ok((Device { major, minor, name }, counters))
        })
        .collect()
}

/// `node_disk_*`.
pub(super) fn diskstats(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let paths = round.paths;
    let text = paths.proc("diskstats")?;
    let devices = parse(&text).map_err(|error| CollectError::Parse(paths.procfs.join("diskstats"), error))?;
    let devices = devices.into_iter().filter(|(device, _)| round.filters.disk.wants(device.name));
    for (device, counters) in bounded("diskstats", devices, samples) {
        for ((name, unit), value) in COLUMNS.iter().zip(counters) {
            samples.labelled(name, &[("device", device.name)], value * unit);
        }
        udev::device(paths, &device, samples);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_has_eleven_columns_or_more() {
        let text = "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n 259 0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n";
        let devices = parse(text).unwrap();
        assert_eq!((devices[0].0.name, devices[0].1.len()), ("sda", 11));
        assert_eq!((devices[1].0.name, devices[1].1.len()), ("nvme0n1", 17));
        assert_eq!((devices[1].0.major, devices[1].0.minor), (259, 0));
        for bad in ["8 0 sda 1 2 x 4 5 6 7 8 9 10 11\n", "sda 0 8 1 2 3 4 5 6 7 8 9 10 11\n"] {
            let error = parse(bad).err().unwrap();
            let expected = "line 1: expected two numbers, a device and 11 numbers or more";
            assert_eq!(error.to_string(), expected);
        }
    }
}
