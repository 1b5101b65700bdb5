//! Metrics of outgoing heartbeats.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Reason;
use crate::model::TimestampMs;

/// Figures about outgoing heartbeats.
#[derive(Debug, Clone)]
pub struct Metrics {
    sent: Family<Heartbeat, Counter>,
    last_sent: Family<Heartbeat, Gauge>,
    withheld: Family<Withheld, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Heartbeat {
    heartbeat: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Withheld {
    heartbeat: String,
    reason: &'static str,
}

impl Metrics {
    /// Creates the metrics and makes them part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics =
            Self { sent: Family::default(), last_sent: Family::default(), withheld: Family::default() };
        registry.register(
            "valmis_heartbeat_sent",
            "Heartbeats that were sent and taken",
            metrics.sent.clone(),
        );
        registry.register(
            "valmis_heartbeat_last_sent_timestamp_seconds",
            "When a heartbeat was last sent and taken",
            metrics.last_sent.clone(),
        );
        registry.register(
            "valmis_heartbeat_withheld",
            "Whether a heartbeat is due and not sent, for this reason: rules are not evaluated on time, no Alertmanager \
             acknowledges, or the request for it fails",
            metrics.withheld.clone(),
        );
        metrics
    }

    /// Makes the series of a heartbeat exist.
    pub(super) fn introduce(&self, heartbeat: &str) {
        drop(self.sent.get_or_create(&of(heartbeat)));
        self.withheld(heartbeat, None);
    }

    /// Removes the series of a heartbeat that is gone.
    pub(super) fn forget(&self, heartbeat: &str) {
        self.sent.remove(&of(heartbeat));
        self.last_sent.remove(&of(heartbeat));
        for reason in Reason::ALL {
            self.withheld.remove(&Withheld { heartbeat: heartbeat.to_owned(), reason: reason.as_str() });
        }
    }

    pub(super) fn sent(&self, heartbeat: &str, at: TimestampMs) {
        self.sent.get_or_create(&of(heartbeat)).inc();
        self.last_sent.get_or_create(&of(heartbeat)).set(at / 1000);
    }

    /// Says why a heartbeat is not sent, or that nothing speaks against it.
    pub(super) fn withheld(&self, heartbeat: &str, why: Option<Reason>) {
        for reason in Reason::ALL {
            let series = Withheld { heartbeat: heartbeat.to_owned(), reason: reason.as_str() };
            self.withheld.get_or_create(&series).set(i64::from(why == Some(reason)));
        }
    }
}

fn of(heartbeat: &str) -> Heartbeat {
    Heartbeat { heartbeat: heartbeat.to_owned() }
}
