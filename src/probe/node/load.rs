//! How much is waiting: the load averages, and pressure stall information.

use super::Round;
use super::files::{CollectError, ParseError};
use crate::probe::samples::SampleSet;

/// Averages over 1, 5 and 15 minutes.
fn parse_load(text: &str) -> Result<[f64; 3], ParseError> {
    let fault = || ParseError::Line { line: 1, expected: "three averages" };
    let mut fields = text.split_ascii_whitespace().map_while(|field| field.parse().ok());
    let mut next = || fields.next().ok_or_else(fault);
    Ok([next()?, next()?, next()?])
}

/// `node_load*`.
pub(super) fn loadavg(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let averages = round.paths.proc_as("loadavg", parse_load)?;
    for (name, average) in ["node_load1", "node_load5", "node_load15"].iter().zip(averages) {
        samples.gauge(name, average);
    }
    Ok(())
}

/// Total stall times in seconds.
#[derive(Debug, Default, PartialEq)]
struct Pressure {
    /// Some tasks waited.
    some: Option<f64>,
    /// All tasks waited.
    full: Option<f64>,
}

/// `some avg10=0.10 avg60=2.00 avg300=3.85 total=15` and the same with `full`; microseconds.
fn parse_pressure(text: &str) -> Result<Pressure, ParseError> {
    let mut pressure = Pressure::default();
    for (index, line) in text.lines().enumerate() {
        let total = line.rsplit_once("total=").and_then(|(_, total)| total.trim().parse::<f64>().ok());
        let seconds =
            total.ok_or(ParseError::Line { line: index + 1, expected: "`total=` and a number" })? / 1e6;
        match line.split(' ').next() {
            Some("some") => pressure.some = Some(seconds),
            Some("full") => pressure.full = Some(seconds),
            _ => return Err(ParseError::Line { line: index + 1, expected: "`some` or `full`" }),
        }
    }
    Ok(pressure)
}

/// `node_pressure_*`: for each resource the names of `some` and of `full`, as far as they mean anything.
const RESOURCES: [(&str, Option<&str>, Option<&str>); 4] = [
    ("cpu", Some("node_pressure_cpu_waiting_seconds_total"), None),
    ("io", Some("node_pressure_io_waiting_seconds_total"), Some("node_pressure_io_stalled_seconds_total")),
    (
        "memory",
        Some("node_pressure_memory_waiting_seconds_total"),
        Some("node_pressure_memory_stalled_seconds_total"),
    ),
    ("irq", None, Some("node_pressure_irq_stalled_seconds_total")),
];

/// Pressure stall information. A kernel without it, or started with `psi=0`, has nothing to say.
pub(super) fn pressure(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    for (resource, waiting, stalled) in RESOURCES {
        let read = round.paths.proc_as(&format!("pressure/{resource}"), parse_pressure);
        let pressure = match read {
            // Kernels before 6.1 do not know of interrupts.
            Err(CollectError::NoData(_)) if resource == "irq" => continue,
            read => read?,
        };
        for (name, seconds) in [(waiting, pressure.some), (stalled, pressure.full)] {
            if let (Some(name), Some(seconds)) = (name, seconds) {
                samples.gauge(name, seconds);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_three_averages() {
        assert_eq!(parse_load("0.02 0.04 0.05 1/497 11947\n"), Ok([0.02, 0.04, 0.05]));
        assert_eq!(parse_load("0.02 x").unwrap_err().to_string(), "line 1: expected three averages");
    }

    #[test]
    fn pressure_is_counted_in_seconds() {
        let text =
            "some avg10=0.1 avg60=2 avg300=3.85 total=15\nfull avg10=0.2 avg60=3 avg300=4.95 total=25\n";
        assert_eq!(parse_pressure(text), Ok(Pressure { some: Some(15e-6), full: Some(25e-6) }));
        assert_eq!(
            parse_pressure("some avg10=0.1\n").unwrap_err().to_string(),
            "line 1: expected `total=` and a number"
        );
        assert_eq!(
            parse_pressure("most total=1\n").unwrap_err().to_string(),
            "line 1: expected `some` or `full`"
        );
    }
}
