//! The process as the kernel sees it, under the names that every Prometheus client library uses.
//! Source: Prometheus documentation, "Writing client libraries", "Process metrics".

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::log;
use crate::model::TimestampMs;

/// Reads `/proc/self` whenever metrics are collected; what cannot be read is left out.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    started_at: TimestampMs,
    ticks_per_second: f64,
    page_size: u64,
}

impl ProcessCollector {
    pub(super) fn new(started_at: TimestampMs) -> Self {
        Self {
            started_at,
            ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
            page_size: rustix::param::page_size() as u64,
        }
    }
}

/// What `/proc/self/stat` says.
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// Source: proc(5), `/proc/pid/stat`. The second field is the program's name in parentheses and may hold
/// anything, so that counting begins behind the last parenthesis, with field 3.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// The soft limit of `Max open files` in `/proc/self/limits`.
fn parse_open_files_limit(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let dropped = ConstCounter::new(log::dropped());
        dropped.encode(encoder.encode_descriptor(
            "valmis_log_lines_dropped",
            "Log lines that were dropped because nobody read them fast enough, or that could not be written",
            None,
            dropped.metric_type(),
        )?)?;
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
        };
        let started = self.started_at as f64 / 1000.0;
        gauge(
            "process_start_time",
            "Start time of the process since the epoch",
            Some(&Unit::Seconds),
            started,
        )?;
        let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| parse_stat(&text));
        if let Some(stat) = &stat {
            let resident = (stat.resident_pages * self.page_size) as f64;
            gauge("process_resident_memory", "Resident memory size", Some(&Unit::Bytes), resident)?;
            let virtual_bytes = stat.virtual_bytes as f64;
            gauge("process_virtual_memory", "Virtual memory size", Some(&Unit::Bytes), virtual_bytes)?;
            gauge("process_threads", "Number of threads of the process", None, stat.threads as f64)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            gauge("process_open_fds", "Number of open file descriptors", None, open.count() as f64)?;
        }
        let limits = fs::read_to_string("/proc/self/limits").ok();
        if let Some(limit) = limits.and_then(|text| parse_open_files_limit(&text)) {
            gauge("process_max_fds", "Largest number of open file descriptors", None, limit as f64)?;
        }
        if let Some(stat) = stat {
            let metric = ConstCounter::new(stat.cpu_ticks as f64 / self.ticks_per_second);
            let help = "Total user and system CPU time spent";
            metric.encode(encoder.encode_descriptor(
                "process_cpu",
                help,
                Some(&Unit::Seconds),
                metric.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let rest: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = parse_stat(&format!("1 (a) b (c)) {}", rest.join(" "))).expect("enough fields");
        assert_eq!((stat.cpu_ticks, stat.threads), (14 + 15, 20));
        assert_eq!((stat.virtual_bytes, stat.resident_pages), (23, 24));
        assert!(parse_stat("1 (a) S 1 2").is_none());
    }

    #[test]
    fn the_soft_limit_of_open_files_is_found() {
        let text = "Limit   Soft  Hard  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(parse_open_files_limit(text), Some(1024));
        assert_eq!(parse_open_files_limit("Max open files unlimited unlimited files"), None);
    }
}
