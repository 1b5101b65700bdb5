//! Sockets and packets: `/proc/net/{netstat,snmp,snmp6,sockstat,sockstat6}` and connection tracking.

use super::Round;
use super::files::{CollectError, ParseError};
use super::metadata::{NETSTAT, SOCKSTAT, is_in};
use crate::probe::samples::SampleSet;

/// Pairs of lines, names above values: `Tcp: RtoMin RtoMax` and `Tcp: 200 120000`.
fn parse_netstat(text: &str) -> Result<Vec<(String, f64)>, ParseError> {
    let mut read = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (pair, lines) in lines.chunks(2).enumerate() {
        let line = pair * 2 + 2;
        let fault = || ParseError::Line { line, expected: "as many numbers as the line above has names" };
        let [names, values] = lines else { return Err(fault()) };
        let (mut names, mut values) = (names.split_ascii_whitespace(), values.split_ascii_whitespace());
        let (protocol, same) = (names.next().unwrap_or_default(), values.next().unwrap_or_default());
        let names: Vec<&str> = names.collect();
        let values: Vec<f64> = values.map_while(|value| value.parse().ok()).collect();
        if protocol != same || names.len() != values.len() {
            return Err(fault());
        }
        let protocol = protocol.trim_end_matches(':');
        read.extend(names.iter().zip(values).map(|(name, value)| (format!("{protocol}_{name}"), value)));
    }
    Ok(read)
}

/// Lines of a name and a number: `Ip6InReceives 7`.
fn parse_snmp6(text: &str) -> Vec<(String, f64)> {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (name, value) = (fields.next()?, fields.next()?.parse().ok()?);
        let (protocol, name) = name.split_once('6')?;
        Some((format!("{protocol}6_{name}"), value))
    });
    lines.collect()
}

/// `node_netstat_*`, those that `node_exporter` shows unless told otherwise.
pub(super) fn netstat(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let mut fields = round.paths.proc_as("net/netstat", parse_netstat)?;
    fields.extend(round.paths.proc_as("net/snmp", parse_netstat)?);
    match round.paths.proc("net/snmp6") {
        Ok(text) => fields.extend(parse_snmp6(&text)),
        // A kernel without IPv6.
        Err(CollectError::NoData(_)) => {}
        Err(error) => return Err(error),
    }
    for (field, value) in fields {
        let name = format!("node_netstat_{field}");
        if is_in(NETSTAT, &name) {
            samples.gauge(&name, value);
        }
    }
    Ok(())
}

/// Protocol, state and number of sockets: `TCP: inuse 4 orphan 0`.
fn parse_sockstat(text: &str) -> Result<Vec<(&str, &str, f64)>, ParseError> {
    let mut read = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fault = || ParseError::Line { line: index + 1, expected: "`protocol: state number ...`" };
        let (protocol, rest) = line.split_once(':').ok_or_else(fault)?;
        let mut fields = rest.split_ascii_whitespace();
        while let Some(state) = fields.next() {
            let number = fields.next().and_then(|number| number.parse().ok()).ok_or_else(fault)?;
            read.push((protocol, state, number));
        }
    }
    Ok(read)
}

/// `node_sockstat_*`.
pub(super) fn sockstat(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let page_bytes = rustix::param::page_size() as f64;
    for file in ["net/sockstat", "net/sockstat6"] {
        let read = round.paths.proc_as(file, |text| {
            for (protocol, state, number) in parse_sockstat(text)? {
                let name = format!("node_sockstat_{protocol}_{state}");
                if is_in(SOCKSTAT, &name) {
                    samples.gauge(&name, number);
                }
                if state == "mem" {
                    samples.gauge(&format!("node_sockstat_{protocol}_mem_bytes"), number * page_bytes);
                }
            }
            Ok(())
        });
        match read {
            // A kernel without this version of the protocol.
            Err(CollectError::NoData(_)) => {}
            read => read?,
        }
    }
    Ok(())
}

/// Columns of `/proc/net/stat/nf_conntrack` and `node_exporter`'s names for them.
const CONNTRACK: [(&str, &str); 8] = [
    ("found", "node_nf_conntrack_stat_found"),
    ("invalid", "node_nf_conntrack_stat_invalid"),
    ("ignore", "node_nf_conntrack_stat_ignore"),
    ("insert", "node_nf_conntrack_stat_insert"),
    ("insert_failed", "node_nf_conntrack_stat_insert_failed"),
    ("drop", "node_nf_conntrack_stat_drop"),
    ("early_drop", "node_nf_conntrack_stat_early_drop"),
    ("search_restart", "node_nf_conntrack_stat_search_restart"),
];

/// A line of headings and one of hexadecimal numbers for each processor, added up.
fn parse_conntrack(text: &str) -> Result<[f64; CONNTRACK.len()], ParseError> {
    let mut lines = text.lines().enumerate();
    let (_, heading) = lines.next().ok_or(ParseError::Missing("headings"))?;
    let headings: Vec<&str> = heading.split_ascii_whitespace().collect();
    let places = CONNTRACK.map(|(column, _)| headings.iter().position(|heading| *heading == column));
    let mut sums = [0.0; CONNTRACK.len()];
    for (index, line) in lines {
        let numbers: Vec<Option<u64>> =
            line.split_ascii_whitespace().map(|number| u64::from_str_radix(number, 16).ok()).collect();
        for (sum, place) in sums.iter_mut().zip(places) {
            let Some(place) = place else { continue };
            let number = numbers.get(place).copied().flatten();
            *sum +=
                number.ok_or(ParseError::Line { line: index + 1, expected: "hexadecimal numbers" })? as f64;
        }
    }
    Ok(sums)
}

/// `node_nf_conntrack_*`.
pub(super) fn conntrack(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let paths = round.paths;
    samples.gauge("node_nf_conntrack_entries", paths.proc_number("sys/net/netfilter/nf_conntrack_count")?);
    samples
        .gauge("node_nf_conntrack_entries_limit", paths.proc_number("sys/net/netfilter/nf_conntrack_max")?);
    let sums = paths.proc_as("net/stat/nf_conntrack", parse_conntrack)?;
    for ((_, name), sum) in CONNTRACK.iter().zip(sums) {
        samples.gauge(name, sum);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_above_their_values() {
        let read = parse_netstat("TcpExt: A B\nTcpExt: 1 2\nIpExt: C\nIpExt: -1\n").unwrap();
        let expected = [("TcpExt_A", 1.0), ("TcpExt_B", 2.0), ("IpExt_C", -1.0)];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value)));
        for text in ["Tcp: A B\nTcp: 1\n", "Tcp: A\n", "Tcp: A\nUdp: 1\n", "Tcp: A\nTcp: x\n"] {
            let error = parse_netstat(text).unwrap_err().to_string();
            assert_eq!(error, "line 2: expected as many numbers as the line above has names", "{text}");
        }
    }

    #[test]
    fn the_protocol_of_version_six_ends_with_the_digit() {
        let read = parse_snmp6("Ip6InReceives 7\nUdpLite6InErrors\t3\nnothing\n");
        let expected = [("Ip6_InReceives", 7.0), ("UdpLite6_InErrors", 3.0)];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn sockets_are_counted_by_protocol_and_state() {
        let read = parse_sockstat("sockets: used 229\nTCP: inuse 4 mem 1\n").unwrap();
        assert_eq!(read, [("sockets", "used", 229.0), ("TCP", "inuse", 4.0), ("TCP", "mem", 1.0)]);
        assert_eq!(
            parse_sockstat("TCP: inuse\n").unwrap_err().to_string(),
            "line 1: expected `protocol: state number ...`"
        );
    }

    #[test]
    fn tracked_connections_are_added_up_over_the_processors() {
        let text = "entries found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error expect_new expect_create expect_delete search_restart\n\
                    21 0a 0 3 0 0 0 0 0 0 0 0 0 0 0 1\n21 10 0 0 0 0 0 0 0 2 0 0 0 0 0 0\n";
        assert_eq!(parse_conntrack(text), Ok([26.0, 3.0, 0.0, 0.0, 0.0, 2.0, 0.0, 1.0]));
        assert!(parse_conntrack("found\nx\n").is_err());
    }
}
