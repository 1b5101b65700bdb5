//! `/proc/stat`: what the processors did, and a few counters of the kernel; how fast they run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use super::Round;
use super::files::{CollectError, ParseError};
use crate::probe::samples::SampleSet;

/// In what `/proc/stat` counts time. Source: `USER_HZ`, which is 100 on every Linux that programs see.
const TICKS_PER_SECOND: f64 = 100.0;
/// The modes of `node_cpu_seconds_total`, in the order of the columns.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
/// The modes of `node_cpu_guest_seconds_total`, which follow.
const GUEST_MODES: [&str; 2] = ["user", "nice"];
const IDLE: usize = 3;
/// An idle time that falls by this much is no rounding of the kernel: the processor was taken out and
/// counts anew. Source: `node_exporter` `collector/cpu_linux.go`, `jumpBackSeconds`.
const HOTPLUG_SECONDS: f64 = 3.0;

/// Seconds in each mode, the guests' two last.
type Times = [f64; MODES.len() + GUEST_MODES.len()];

/// What `/proc/stat` says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stat {
    /// By number of the processor.
    cpus: BTreeMap<u32, Times>,
    /// The first number of the other lines, by their name.
    counters: BTreeMap<String, f64>,
}

/// Reads `/proc/stat`.
fn parse(text: &str) -> Result<Stat, ParseError> {
    let mut stat = Stat::default();
    for (index, line) in text.lines().enumerate() {
        let mut fields = line.split_ascii_whitespace();
        let Some(name) = fields.next() else { continue };
        let number = |field: &str| {
            field.parse::<f64>().map_err(|_| ParseError::Line { line: index + 1, expected: "numbers" })
        };
        if let Some(cpu) = name.strip_prefix("cpu").filter(|cpu| !cpu.is_empty()) {
            let cpu = cpu
                .parse()
                .map_err(|_| ParseError::Line { line: index + 1, expected: "the number of a processor" })?;
            // Kernels before 2.6.33 know fewer modes; what they do not count is 0 there too.
            let mut times = Times::default();
            for (time, field) in times.iter_mut().zip(fields) {
                *time = number(field)? / TICKS_PER_SECOND;
            }
            stat.cpus.insert(cpu, times);
        } else if let Some(first) = fields.next() {
            stat.counters.insert(name.to_owned(), number(first)?);
        }
    }
    if stat.cpus.is_empty() {
        return Err(ParseError::Missing("a processor"));
    }
    Ok(stat)
}

/// The counters of each processor, made to never fall.
///
/// The kernel computes idle and I/O wait anew at each reading and sometimes gives less than before; taken
/// as it is, `rate()` would see a counter that began again and show a spike.
#[derive(Debug, Default)]
pub(super) struct Processors(BTreeMap<u32, Times>);

impl Processors {
    fn advance(&mut self, read: BTreeMap<u32, Times>) -> &BTreeMap<u32, Times> {
        self.0.retain(|cpu, _| read.contains_key(cpu));
        for (cpu, now) in read {
            let known = self.0.entry(cpu).or_insert(now);
            if known[IDLE] - now[IDLE] >= HOTPLUG_SECONDS {
                *known = now;
            }
            for (known, now) in known.iter_mut().zip(now) {
                *known = known.max(now);
            }
        }
        &self.0
    }
}

/// `node_cpu_*`.
pub(super) fn cpu(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let stat = round.paths.proc_as("stat", parse)?;
    let mut processors = round.processors.lock().unwrap_or_else(PoisonError::into_inner);
    for (cpu, times) in processors.advance(stat.cpus) {
        let cpu = cpu.to_string();
        let (own, guests) = times.split_at(MODES.len());
        for (mode, seconds) in MODES.iter().zip(own) {
            samples.labelled("node_cpu_seconds_total", &[("cpu", &cpu), ("mode", mode)], *seconds);
        }
        for (mode, seconds) in GUEST_MODES.iter().zip(guests) {
            samples.labelled("node_cpu_guest_seconds_total", &[("cpu", &cpu), ("mode", mode)], *seconds);
        }
    }
    for cpu in isolated(&round.paths.attribute("devices/system/cpu/isolated").unwrap_or_default()) {
        samples.labelled("node_cpu_isolated", &[("cpu", &cpu.to_string())], 1.0);
    }
    topology(round, samples);
    Ok(())
}

/// `1,3-5,9` as numbers.
fn isolated(list: &str) -> BTreeSet<u32> {
    let ranges = list.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    });
    ranges.flatten().collect()
}

/// Which processors are in use, and how often they were slowed down because of heat.
fn topology(round: &Round<'_>, samples: &mut SampleSet) {
    let paths = round.paths;
    let folders = paths.list("devices/system/cpu").unwrap_or_default();
    let numbers: BTreeSet<u32> =
        folders.iter().filter_map(|name| name.strip_prefix("cpu")?.parse().ok()).collect();
    // Where the first processor cannot be taken out it has no such attribute, and `node_exporter` then
    // says nothing of the others either.
    let can_go = paths.attribute("devices/system/cpu/cpu0/online").is_some();
    let (mut packages, mut cores) = (BTreeMap::new(), BTreeMap::new());
    for cpu in numbers {
        let folder = format!("devices/system/cpu/cpu{cpu}");
        if can_go {
            let online = paths.number(&format!("{folder}/online")).unwrap_or_default();
            samples.labelled("node_cpu_online", &[("cpu", &cpu.to_string())], online);
        }
        let id = |name: &str| paths.attribute(&format!("{folder}/topology/{name}"));
        let (Some(package), Some(core)) = (id("physical_package_id"), id("core_id")) else { continue };
        let throttled = |name: &str| paths.number(&format!("{folder}/thermal_throttle/{name}"));
        if let Some(count) = throttled("core_throttle_count") {
            cores.entry((package.clone(), core)).or_insert(count);
        }
        if let Some(count) = throttled("package_throttle_count") {
            packages.entry(package).or_insert(count);
        }
    }
    for ((package, core), count) in &cores {
        samples.labelled("node_cpu_core_throttles_total", &[("package", package), ("core", core)], *count);
    }
    for (package, count) in &packages {
        samples.labelled("node_cpu_package_throttles_total", &[("package", package)], *count);
    }
}

/// Frequencies in kilohertz, and `node_exporter`'s names for them.
const FREQUENCIES: [(&str, &str); 5] = [
    ("cpuinfo_min_freq", "node_cpu_frequency_min_hertz"),
    ("cpuinfo_max_freq", "node_cpu_frequency_max_hertz"),
    ("scaling_cur_freq", "node_cpu_scaling_frequency_hertz"),
    ("scaling_min_freq", "node_cpu_scaling_frequency_min_hertz"),
    ("scaling_max_freq", "node_cpu_scaling_frequency_max_hertz"),
];

/// `node_cpu_*frequency_*` and `node_cpu_scaling_governor`; virtual machines have nothing of it.
pub(super) fn cpufreq(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    const FOLDER: &str = "devices/system/cpu";
    let paths = round.paths;
    let mut found = Err(CollectError::NoData(paths.sysfs.join(FOLDER).join("cpu0/cpufreq")));
    for folder in paths.list(FOLDER)? {
        let Some(cpu) = folder.strip_prefix("cpu").filter(|cpu| cpu.parse::<u32>().is_ok()) else { continue };
        let folder = format!("{FOLDER}/{folder}/cpufreq");
        for (attribute, name) in FREQUENCIES {
            if let Some(kilohertz) = paths.number(&format!("{folder}/{attribute}")) {
                samples.labelled(name, &[("cpu", cpu)], kilohertz * 1000.0);
                found = Ok(());
            }
        }
        let Some(governor) = paths.attribute(&format!("{folder}/scaling_governor")) else { continue };
        let known = paths.attribute(&format!("{folder}/scaling_available_governors")).unwrap_or_default();
        for known in known.split_ascii_whitespace() {
            let labels = [("cpu", cpu), ("governor", known)];
            samples.labelled("node_cpu_scaling_governor", &labels, f64::from(known == governor));
        }
    }
    found
}

/// The lines of `/proc/stat` that are no processor, and `node_exporter`'s names for them.
const COUNTERS: [(&str, &str); 6] = [
    ("intr", "node_intr_total"),
    ("ctxt", "node_context_switches_total"),
    ("processes", "node_forks_total"),
    ("btime", "node_boot_time_seconds"),
    ("procs_running", "node_procs_running"),
    ("procs_blocked", "node_procs_blocked"),
];

/// The rest of `/proc/stat`.
pub(super) fn stat(round: &mut Round<'_>, samples: &mut SampleSet) -> Result<(), CollectError> {
    let stat = round.paths.proc_as("stat", parse)?;
    for (line, name) in COUNTERS {
        if let Some(value) = stat.counters.get(line) {
            samples.gauge(name, *value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "cpu  30 0 0 0 0 0 0 0 0 0\ncpu0 10 1 2 3000 4 5 6 7 8 9\ncpu2 20 0 0 0\n\
                        intr 99 1 2 3\nctxt 7\nbtime 1418183276\nprocesses 26442\nprocs_running 2\n\
                        procs_blocked 1\nsoftirq 5 1 1\n";

    #[test]
    fn processors_and_counters_are_read() {
        let stat = parse(TEXT).unwrap();
        assert_eq!(stat.cpus.keys().collect::<Vec<_>>(), [&0, &2]);
        assert_eq!(stat.cpus[&0], [0.1, 0.01, 0.02, 30.0, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09]);
        assert_eq!(stat.cpus[&2][..4], [0.2, 0.0, 0.0, 0.0]);
        assert_eq!((stat.counters["intr"], stat.counters["btime"]), (99.0, 1_418_183_276.0));
    }

    #[test]
    fn a_bad_text_is_refused_with_its_line() {
        let check = |text: &str, expected: &str| assert_eq!(parse(text).unwrap_err().to_string(), expected);
        check("", "no line with a processor");
        check("cpu0 1 x 3\n", "line 1: expected numbers");
        check("ctxt 1\ncpux 1 2 3\n", "line 2: expected the number of a processor");
    }

    #[test]
    fn a_counter_that_falls_a_little_stays_and_one_that_begins_anew_begins_anew() {
        let mut processors = Processors::default();
        let mut check = |idle: f64, iowait: f64, expected: (f64, f64)| {
            let mut times = Times::default();
            (times[IDLE], times[IDLE + 1]) = (idle, iowait);
            let now = processors.advance(BTreeMap::from([(0, times)]))[&0];
            assert_eq!((now[IDLE], now[IDLE + 1]), expected, "{idle} {iowait}");
        };
        check(100.0, 10.0, (100.0, 10.0));
        check(99.0, 9.0, (100.0, 10.0));
        check(101.0, 11.0, (101.0, 11.0));
        check(5.0, 1.0, (5.0, 1.0));
        assert!(processors.advance(BTreeMap::new()).is_empty());
    }

    #[test]
    fn lists_of_processors_have_ranges() {
        let check = |list: &str, expected: &[u32]| {
            assert_eq!(isolated(list).into_iter().collect::<Vec<_>>(), expected, "{list}");
        };
        check("", &[]);
        check("1,3-5,9", &[1, 3, 4, 5, 9]);
        check("7-", &[]);
    }
}
