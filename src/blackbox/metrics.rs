//! What `/probe` says of itself: blackbox exporter's own metrics, and what it has none for.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type ByReason = Family<[(&'static str, &'static str); 1], Counter>;

/// Gauges and counters.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    /// Whether modules were in order when they were last read.
    pub(super) reload_successful: Gauge,
    /// When they last were, in seconds.
    pub(super) reload_at: Gauge,
    /// Requests for modules that do not exist.
    pub(super) module_unknown: Counter,
    /// Probes that run now.
    pub(super) running: Gauge,
    refused: ByReason,
}

/// Why a request was not answered with a probe. A closed set: it becomes a label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusedFor {
    /// The target is not allowed.
    Target,
    /// The host name is not allowed.
    Hostname,
    /// There are too many probes at once.
    Concurrency,
}

impl RefusedFor {
    const ALL: [Self; 3] = [Self::Target, Self::Hostname, Self::Concurrency];

    fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Hostname => "hostname",
            Self::Concurrency => "concurrency",
        }
    }
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "blackbox_exporter_config_last_reload_successful",
            "Blackbox exporter config loaded successfully",
            metrics.reload_successful.clone(),
        );
        registry.register(
            "blackbox_exporter_config_last_reload_success_timestamp_seconds",
            "Timestamp of the last successful configuration reload",
            metrics.reload_at.clone(),
        );
        registry.register(
            "blackbox_module_unknown",
            "Count of unknown modules requested by probes",
            metrics.module_unknown.clone(),
        );
        let build = Family::<[(&str, &str); 3], Gauge>::default();
        build
            .get_or_create(&[
                ("version", env!("CARGO_PKG_VERSION")),
                ("goos", std::env::consts::OS),
                ("goarch", std::env::consts::ARCH),
            ])
            .set(1);
        registry.register(
            "blackbox_exporter_build_info",
            "A metric with a constant '1' value labeled by the version of valmis, which answers in place of blackbox exporter",
            build,
        );
        registry.register(
            "valmis_blackbox_probes_running",
            "Probes that were asked for and run now",
            metrics.running.clone(),
        );
        registry.register(
            "valmis_blackbox_requests_refused",
            "Requests for probes that were refused: the target or the host name is not allowed, or too many probes ran",
            metrics.refused.clone(),
        );
        for reason in RefusedFor::ALL {
            metrics.refused.get_or_create(&[("reason", reason.as_str())]).inc_by(0);
        }
        metrics
    }

    pub(super) fn refused(&self, reason: RefusedFor) {
        self.refused.get_or_create(&[("reason", reason.as_str())]).inc();
    }
}
