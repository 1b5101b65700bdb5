//! What concerns the machine as a whole: its name, its clock, file handles, entropy.

use super::Round;
use super::files::{CollectError, ParseError};
use crate::probe::samples::SampleSet;

/// `node_filefd_*`: handles in use, unused ones, the limit.
pub(super) fn filefd(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let [allocated, maximum] = round.paths.proc_as("sys/fs/file-nr", parse_file_handles)?;
    samples.gauge("node_filefd_allocated", allocated);
    samples.gauge("node_filefd_maximum", maximum);
    Ok(())
}

fn parse_file_handles(text: &str) -> Result<[f64; 2], ParseError> {
    let numbers: Vec<f64> = text.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    match numbers[..] {
        [allocated, _unused, maximum] => Ok([allocated, maximum]),
        _ => Err(ParseError::Line { line: 1, expected: "three numbers" }),
    }
}

/// `node_entropy_*`.
pub(super) fn entropy(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let available = round.paths.proc_number("sys/kernel/random/entropy_avail")?;
    samples.gauge("node_entropy_available_bits", available);
    let pool = round.paths.proc_number("sys/kernel/random/poolsize")?;
    samples.gauge("node_entropy_pool_size_bits", pool);
    Ok(())
}

/// `node_kernel_hung_tasks_total`.
pub(super) fn kernel_hung(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let tasks = round.paths.proc_number("sys/kernel/hung_task_detect_count")?;
    samples.gauge("node_kernel_hung_tasks_total", tasks);
    Ok(())
}

/// `node_time_*`.
#[expect(clippy::unnecessary_wraps, reason = "all collectors are of one kind")]
pub(super) fn time(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    const FOLDER: &str = "devices/system/clocksource";
    samples.gauge("node_time_seconds", round.now_seconds);
    let sources = round.paths.list(FOLDER).unwrap_or_default();
    for source in &sources {
        let Some(device) = source.strip_prefix("clocksource") else { continue };
        let read = |name: &str| round.paths.attribute(&format!("{FOLDER}/{source}/{name}"));
        for clock in read("available_clocksource").unwrap_or_default().split_ascii_whitespace() {
            let labels = [("device", device), ("clocksource", clock)];
            samples.labelled("node_time_clocksource_available_info", &labels, 1.0);
        }
        if let Some(clock) = read("current_clocksource") {
            let labels = [("device", device), ("clocksource", clock.as_str())];
            samples.labelled("node_time_clocksource_current_info", &labels, 1.0);
        }
    }
    Ok(())
}

/// `node_uname_info`.
#[expect(clippy::unnecessary_wraps, reason = "all collectors are of one kind")]
pub(super) fn uname(_: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let labels = [
        ("sysname", text(uname.sysname())),
        ("release", text(uname.release())),
        ("version", text(uname.version())),
        ("machine", text(uname.machine())),
        ("nodename", text(uname.nodename())),
        ("domainname", text(uname.domainname())),
    ];
    let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
    samples.labelled("node_uname_info", &labels, 1.0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_handles_are_three_numbers() {
        assert_eq!(parse_file_handles("1024\t0\t1631329\n"), Ok([1024.0, 1_631_329.0]));
        assert_eq!(parse_file_handles("1024\n").unwrap_err().to_string(), "line 1: expected three numbers");
    }
}
