//! What discovery says about itself, under Prometheus' names (`discovery/dns/metrics.go`).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::FileError;

/// Figures about discovery.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) dns_lookups: Counter,
    pub(super) dns_lookup_failures: Counter,
    file_read_errors: Counter,
}

impl Metrics {
    /// Creates the metrics and makes them part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self {
            dns_lookups: counter("prometheus_sd_dns_lookups", "The number of DNS-SD lookups"),
            dns_lookup_failures: counter(
                "prometheus_sd_dns_lookup_failures",
                "The number of DNS-SD lookup failures",
            ),
            file_read_errors: counter("prometheus_sd_file_read_errors", "The number of File-SD read errors"),
        }
    }

    /// Counts files that could not be used when they were looked at.
    pub fn file_errors(&self, errors: &[FileError]) {
        self.file_read_errors.inc_by(errors.len() as u64);
    }

    /// How many lookups nobody could answer.
    #[cfg(test)]
    pub(crate) fn dns_failures(&self) -> u64 {
        self.dns_lookup_failures.get()
    }

    /// How many files could not be used when they were looked at.
    #[cfg(test)]
    pub(crate) fn file_read_errors(&self) -> u64 {
        self.file_read_errors.get()
    }
}
