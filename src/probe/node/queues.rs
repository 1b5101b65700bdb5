//! What waits in the kernel: for a processor, in the network, for an answer.

use std::collections::BTreeMap;

use super::files::{CollectError, ParseError};
use super::{Round, bounded};
use crate::probe::samples::SampleSet;

/// What each processor ran, and what waited for it.
#[derive(Debug, PartialEq)]
struct Scheduled<'a> {
    cpu: &'a str,
    running_seconds: f64,
    waiting_seconds: f64,
    timeslices: f64,
}

/// `/proc/schedstat`: of each processor nine numbers, of which the last three are nanoseconds in which tasks ran
/// and in which they waited, and how often one was put to work.
fn parse_schedstat(text: &str) -> Result<Vec<Scheduled<'_>>, ParseError> {
    let mut processors = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((cpu, numbers)) = line.strip_prefix("cpu").and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let numbers: Vec<f64> =
            numbers.split_ascii_whitespace().map_while(|number| number.parse().ok()).collect();
        let [_, _, _, _, _, _, running, waiting, timeslices] = numbers[..] else {
            return Err(ParseError::Line { line: index + 1, expected: "nine numbers" });
        };
        let (running_seconds, waiting_seconds) = (running / 1e9, waiting / 1e9);
        processors.push(Scheduled { cpu, running_seconds, waiting_seconds, timeslices });
    }
    Ok(processors)
}

/// `node_schedstat_*`.
pub(super) fn schedstat(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    round.paths.proc_as("schedstat", |text| {
        for processor in parse_schedstat(text)? {
            let cpu = [("cpu", processor.cpu)];
            samples.labelled("node_schedstat_running_seconds_total", &cpu, processor.running_seconds);
            samples.labelled("node_schedstat_waiting_seconds_total", &cpu, processor.waiting_seconds);
            samples.labelled("node_schedstat_timeslices_total", &cpu, processor.timeslices);
        }
        Ok(())
    })
}

/// Columns of `/proc/net/softnet_stat`, and `node_exporter`'s names for them.
const SOFTNET: [(usize, &str); 7] = [
    (0, "node_softnet_processed_total"),
    (1, "node_softnet_dropped_total"),
    (2, "node_softnet_times_squeezed_total"),
    (8, "node_softnet_cpu_collision_total"),
    (9, "node_softnet_received_rps_total"),
    (10, "node_softnet_flow_limit_count_total"),
    (11, "node_softnet_backlog_len"),
];
/// Where a line says which processor it is about; kernels before 5.14 list them in their order.
const SOFTNET_CPU: usize = 12;
/// How many columns every kernel has.
const SOFTNET_LEAST: usize = 9;

/// A line of hexadecimal numbers for each processor. What an older kernel does not count is 0.
fn parse_softnet(text: &str) -> Result<Vec<(u32, [f64; SOFTNET.len()])>, ParseError> {
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| {
            let numbers = line.split_ascii_whitespace();
            let numbers: Option<Vec<u32>> =
                numbers.map(|number| u32::from_str_radix(number, 16).ok()).collect();
            let numbers = numbers.filter(|numbers| numbers.len() >= SOFTNET_LEAST);
            let numbers = numbers
                .ok_or(ParseError::Line { line: index + 1, expected: "nine hexadecimal numbers or more" })?;
            let cpu = numbers.get(SOFTNET_CPU).copied().unwrap_or(index as u32);
            Ok((cpu, SOFTNET.map(|(column, _)| numbers.get(column).copied().unwrap_or_default().into())))
        })
        .collect()
}

/// `node_softnet_*`: packets that wait to be processed.
pub(super) fn softnet(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    for (cpu, counters) in round.paths.proc_as("net/softnet_stat", parse_softnet)? {
        for ((_, name), value) in SOFTNET.iter().zip(counters) {
            samples.labelled(name, &[("cpu", &cpu.to_string())], value);
        }
    }
    Ok(())
}

/// Bytes that wait to be sent and to be received, over all sockets: `... 00000000:00000002 ...`.
fn parse_udp(text: &str) -> Result<[f64; 2], ParseError> {
    const QUEUES: usize = 4;
    let mut sums = [0.0; 2];
    // A line of headings comes first.
    for (index, line) in text.lines().enumerate().skip(1) {
        let fault =
            || ParseError::Line { line: index + 1, expected: "`tx_queue:rx_queue` in the fifth column" };
        let queues = line.split_ascii_whitespace().nth(QUEUES).and_then(|queues| queues.split_once(':'));
        let (sent, received) = queues.ok_or_else(fault)?;
        for (sum, queue) in sums.iter_mut().zip([sent, received]) {
            *sum += u64::from_str_radix(queue, 16).map_err(|_| fault())? as f64;
        }
    }
    Ok(sums)
}

/// `node_udp_queues`.
pub(super) fn udp_queues(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let mut found = Err(CollectError::NoData(round.paths.procfs.join("net/udp")));
    for (ip, file) in [("v4", "net/udp"), ("v6", "net/udp6")] {
        match round.paths.proc_as(file, parse_udp) {
            Ok(queues) => {
                for (queue, bytes) in ["tx", "rx"].iter().zip(queues) {
                    samples.labelled("node_udp_queues", &[("queue", queue), ("ip", ip)], bytes);
                }
                found = Ok(());
            }
            // A kernel without this version of the protocol.
            Err(CollectError::NoData(_)) => {}
            Err(error) => return Err(error),
        }
    }
    found
}

/// How many neighbours are known over each device; a line of headings comes first.
fn parse_arp(text: &str) -> BTreeMap<&str, f64> {
    let mut devices = BTreeMap::new();
    for device in text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next_back()) {
        *devices.entry(device).or_default() += 1.0;
    }
    devices
}

/// `node_arp_entries`.
pub(super) fn arp(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let text = round.paths.proc("net/arp")?;
    let devices = parse_arp(&text).into_iter().filter(|(device, _)| round.filters.network.wants(device));
    for (device, entries) in bounded("arp", devices, samples) {
        samples.labelled("node_arp_entries", &[("device", device)], entries);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_three_numbers_of_a_processor_are_times_and_timeslices() {
        let text = "version 15\ntimestamp 1\ncpu3 1 0 3 4 5 6 2000000000 500000000 9\ndomain0 03 1 2\n";
        let expected = Scheduled { cpu: "3", running_seconds: 2.0, waiting_seconds: 0.5, timeslices: 9.0 };
        assert_eq!(parse_schedstat(text), Ok(vec![expected]));
        assert_eq!(parse_schedstat("cpu0 1 2\n").unwrap_err().to_string(), "line 1: expected nine numbers");
    }

    #[test]
    fn packets_are_counted_by_processor_in_old_and_new_kernels() {
        let old = "00000010 00000001 00000002 0 0 0 0 0 00000003\n";
        let new = "1 0 0 0 0 0 0 0 0 4 5 6 00000007 0 0\n";
        assert_eq!(parse_softnet(old), Ok(vec![(0, [16.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0])]));
        assert_eq!(parse_softnet(new), Ok(vec![(7, [1.0, 0.0, 0.0, 0.0, 4.0, 5.0, 6.0])]));
        let error = parse_softnet("1 2 x\n").unwrap_err().to_string();
        assert_eq!(error, "line 1: expected nine hexadecimal numbers or more");
    }

    #[test]
    fn queues_are_added_up_over_the_sockets() {
        let line = "  0: 0100007F:0035 00000000:0000 07 0000000A:00000001 00:00000000 00000000 0 0 1 2 3 4\n";
        assert_eq!(parse_udp(&format!("head\n{line}{line}")), Ok([20.0, 2.0]));
        let error = parse_udp("head\n 0: a b c d\n").unwrap_err().to_string();
        assert_eq!(error, "line 2: expected `tx_queue:rx_queue` in the fifth column");
    }

    #[test]
    fn neighbours_are_counted_by_device() {
        let text = "IP address HW type Flags HW address Mask Device\n10.0.0.1 0x1 0x2 aa * eth0\n10.0.0.2 0x1 0x2 bb * eth0\n";
        assert_eq!(parse_arp(text), BTreeMap::from([("eth0", 2.0)]));
    }
}
