//! Metrics of the listeners.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::model::TimestampMs;

/// Why a connection or a request is not answered as it wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// TLS could not be agreed upon, the client's certificate included.
    TlsHandshake,
    /// Plain HTTP where TLS is spoken.
    PlainHttp,
    /// No user, an unknown one, or a wrong password.
    Credentials,
    /// Too many requests.
    RateLimit,
    /// Too many passwords wait to be checked.
    Busy,
    /// A body did not come whole in time.
    SlowRequest,
    /// An answer was not taken in time.
    SlowReader,
}

impl Reason {
    const ALL: [Self; 7] = [
        Self::TlsHandshake,
        Self::PlainHttp,
        Self::Credentials,
        Self::RateLimit,
        Self::Busy,
        Self::SlowRequest,
        Self::SlowReader,
    ];

    fn label(self) -> Because {
        let reason = match self {
            Self::TlsHandshake => "tls_handshake",
            Self::PlainHttp => "plain_http",
            Self::Credentials => "credentials",
            Self::RateLimit => "rate_limit",
            Self::Busy => "busy",
            Self::SlowRequest => "slow_request",
            Self::SlowReader => "slow_reader",
        };
        Because { reason }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Because {
    reason: &'static str,
}

/// Figures about listeners and about the web configuration.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(super) connections: Gauge,
    rejections: Family<Because, Counter>,
    reload_successful: Gauge,
    reload_at: Gauge,
}

impl Metrics {
    /// Registers the metrics; those about the web configuration only if there is one.
    pub fn register(registry: &mut Registry, has_web_config: bool) -> Self {
        let metrics = Self::default();
        registry.register(
            "valmis_http_connections",
            "Connections to the HTTP server that are open",
            metrics.connections.clone(),
        );
        registry.register(
            "valmis_http_rejections",
            "Connections and requests that were turned away, by reason",
            metrics.rejections.clone(),
        );
        for reason in Reason::ALL {
            drop(metrics.rejections.get_or_create(&reason.label()));
        }
        if has_web_config {
            registry.register(
                "valmis_web_config_last_reload_successful",
                "Whether the web configuration and the files that it names were in order when they were last read",
                metrics.reload_successful.clone(),
            );
            registry.register(
                "valmis_web_config_last_reload_success_timestamp_seconds",
                "When another web configuration last came into force",
                metrics.reload_at.clone(),
            );
        }
        metrics
    }

    pub(super) fn rejected(&self, reason: Reason) {
        self.rejections.get_or_create(&reason.label()).inc();
    }

    pub(super) fn in_order(&self, successful: bool) {
        self.reload_successful.set(i64::from(successful));
    }

    pub(super) fn changed(&self, at: TimestampMs) {
        self.in_order(true);
        self.reload_at.set(at / 1000);
    }
}
