//! What sending tells about itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The source whose rules' samples are sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

/// Figures about all receivers.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    sent: Family<SourceLabel, Counter>,
    dropped: Family<SourceLabel, Counter>,
    retries: Family<SourceLabel, Counter>,
    waiting: Family<SourceLabel, Gauge>,
}

/// Figures about one receiver.
#[derive(Debug, Clone, Default)]
pub struct ReceiverMetrics {
    sent: Counter,
    dropped: Counter,
    retries: Counter,
    waiting: Gauge,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let r = registry;
        r.register(
            "valmis_write_back_samples_sent",
            "Samples of rules that a receiver of remote write has accepted",
            metrics.sent.clone(),
        );
        r.register(
            "valmis_write_back_samples_dropped",
            "Samples of rules that were not sent: refused for good, or too many waited",
            metrics.dropped.clone(),
        );
        r.register(
            "valmis_write_back_retries",
            "Requests that failed and were tried again",
            metrics.retries.clone(),
        );
        r.register(
            "valmis_write_back_queue_length",
            "Samples of rules that wait to be sent",
            metrics.waiting.clone(),
        );
        metrics
    }

    /// The figures of the receiver for a source.
    pub fn of(&self, source: &str) -> ReceiverMetrics {
        let label = SourceLabel { source: source.to_owned() };
        ReceiverMetrics {
            sent: self.sent.get_or_create(&label).clone(),
            dropped: self.dropped.get_or_create(&label).clone(),
            retries: self.retries.get_or_create(&label).clone(),
            waiting: self.waiting.get_or_create(&label).clone(),
        }
    }

    /// Forgets a receiver that is gone.
    pub fn forget(&self, source: &str) {
        let label = SourceLabel { source: source.to_owned() };
        self.sent.remove(&label);
        self.dropped.remove(&label);
        self.retries.remove(&label);
        self.waiting.remove(&label);
    }
}

impl ReceiverMetrics {
    pub(super) fn sent(&self, samples: usize) {
        self.sent.inc_by(samples as u64);
    }

    pub(super) fn dropped(&self, samples: usize) {
        self.dropped.inc_by(samples as u64);
    }

    pub(super) fn retried(&self) {
        self.retries.inc();
    }

    pub(super) fn waiting(&self, samples: usize) {
        self.waiting.set(i64::try_from(samples).unwrap_or(i64::MAX));
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (u64, u64, i64) {
        (self.sent.get(), self.dropped.get(), self.waiting.get())
    }
}
