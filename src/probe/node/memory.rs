//! Memory: `/proc/meminfo` and `/proc/vmstat`.

use super::Round;
use super::files::{CollectError, ParseError};
use super::metadata::{MEMINFO, VMSTAT, is_in};
use crate::probe::samples::SampleSet;

/// Name and value of each field, as `node_exporter` names them: `Active(anon): 16 kB` is
/// `Active_anon_bytes`, 16384; a field without unit is a number.
fn parse_meminfo(text: &str) -> Result<Vec<(String, f64)>, ParseError> {
    let fields = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    fields
        .map(|(index, line)| {
            let fault = || ParseError::Line { line: index + 1, expected: "`name: number kB`" };
            let (name, rest) = line.split_once(':').ok_or_else(fault)?;
            let mut rest = rest.split_ascii_whitespace();
            let value: f64 = rest.next().and_then(|value| value.parse().ok()).ok_or_else(fault)?;
            let name = name.replace('(', "_").replace(')', "");
            match rest.next() {
                None => Ok((name, value)),
                Some("kB") => Ok((name + "_bytes", value * 1024.0)),
                Some(_) => Err(fault()),
            }
        })
        .collect()
}

/// `node_memory_*`. A field that no kernel had when this was written is left out, since nothing would
/// describe it.
pub(super) fn meminfo(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    for (field, value) in round.paths.proc_as("meminfo", parse_meminfo)? {
        let name = format!("node_memory_{field}");
        if is_in(MEMINFO, &name) {
            samples.gauge(&name, value);
        }
    }
    Ok(())
}

/// Lines of a name and a number.
fn parse_vmstat(text: &str) -> Result<Vec<(&str, f64)>, ParseError> {
    let fields = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    fields
        .map(|(index, line)| {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let value = value.trim().parse();
            value
                .map(|value| (name, value))
                .map_err(|_| ParseError::Line { line: index + 1, expected: "`name number`" })
        })
        .collect()
}

/// `node_vmstat_*`, those that `node_exporter` shows unless told otherwise.
pub(super) fn vmstat(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    round.paths.proc_as("vmstat", |text| {
        for (field, value) in parse_vmstat(text)? {
            let name = format!("node_vmstat_{field}");
            if is_in(VMSTAT, &name) {
                samples.gauge(&name, value);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_meminfo_bear_node_exporters_names() {
        let check = |line: &str, expected: Result<(&str, f64), &str>| {
            let read = parse_meminfo(line).map(|fields| fields[0].clone());
            let expected = expected.map(|(name, value)| (name.to_owned(), value));
            assert_eq!(read.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{line}");
        };
        check("MemTotal:        3742148 kB", Ok(("MemTotal_bytes", 3_831_959_552.0)));
        check("Active(anon):      2 kB", Ok(("Active_anon_bytes", 2048.0)));
        check("HugePages_Total:       3", Ok(("HugePages_Total", 3.0)));
        check("MemTotal 1 kB", Err("line 1: expected `name: number kB`"));
        check("MemTotal: 1 MB", Err("line 1: expected `name: number kB`"));
        check("MemTotal: kB", Err("line 1: expected `name: number kB`"));
    }

    #[test]
    fn vmstat_is_read() {
        assert_eq!(parse_vmstat("oom_kill 5\npgfault 7\n").unwrap(), [("oom_kill", 5.0), ("pgfault", 7.0)]);
        assert!(parse_vmstat("oom_kill\n").is_err());
    }
}
