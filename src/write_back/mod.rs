//! Sending the samples of rules to a receiver of remote write.
//!
//! What rules over a remote source record belongs where the other samples are. It is stored here first,
//! and sent on its own time: a receiver that is slow or away delays no rule. What waits is bounded, in
//! memory alone; what was stored here is there all the same.

mod metrics;
mod queue;
mod send;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::queue::Queue;
use self::send::Sender;
use crate::client::{ClientError, HttpConfig, RenewingClient};
use crate::model::{HistogramSample, Labels, Sample};
use crate::storage::{AppendError, Appender, RefHistogram, RefSample, SeriesRef};

pub use self::metrics::{Metrics, ReceiverMetrics};

/// A receiver of remote write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The whole URL.
    pub url: Url,
    /// How it is reached, and as whom.
    pub http: HttpConfig,
    /// How long a request may take.
    pub timeout: Duration,
}

/// What the writing side and the sending loop share.
#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Tells the loop that there is something in the queue.
    ready: Notify,
    metrics: ReceiverMetrics,
}

/// Sends to one receiver for as long as it exists.
pub struct WriteBack {
    shared: Arc<Shared>,
    client: RenewingClient,
    /// Ends the loop when the queue is empty.
    drain: CancellationToken,
    /// Ends the loop.
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A receiver that nothing is sent to yet.
pub struct Receiver(Sender);

impl Receiver {
    /// The receiver for the samples of the source `name`. Reads the files of the TLS settings.
    pub fn new(name: &str, config: &Config) -> Result<Self, ClientError> {
        Ok(Self(Sender::new(name, config)?))
    }

    /// Starts sending; what becomes of the samples is counted in `metrics`.
    pub fn start(self, metrics: ReceiverMetrics) -> WriteBack {
        let shared = Arc::new(Shared { queue: Mutex::default(), ready: Notify::new(), metrics });
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let client = self.0.client();
        let task = tokio::spawn(self.0.run(shared.clone(), drain.clone(), stop.clone()));
        WriteBack { shared, client, drain, stop, task }
    }
}

impl WriteBack {
    /// Looks whether the files of the TLS settings have changed.
    pub fn look_again(&self) -> Result<(), ClientError> {
        self.client.look_again()
    }

    /// An appender that stores in `store`, and sends what is appended by labels.
    pub fn appender(&self, store: Arc<dyn Appender>) -> Arc<dyn Appender> {
        Arc::new(Forked { store, shared: self.shared.clone() })
    }

    /// Sends what waits, for as long as `grace`, and ends.
    pub async fn shutdown(self, grace: Duration) {
        self.drain.cancel();
        let Self { shared, stop, mut task, .. } = self;
        if tokio::time::timeout(grace, &mut task).await.is_err() {
            stop.cancel();
            // A panic has been reported when it happened.
            let _ = task.await;
        }
        let left = queue::lock(&shared.queue).clear();
        if left > 0 {
            tracing::warn!(samples = left, "samples of rules were not sent before the end");
            shared.metrics.dropped(left);
        }
    }
}

impl Shared {
    fn push(&self, samples: &[Sample], histograms: &[HistogramSample]) {
        let dropped = {
            let mut queue = queue::lock(&self.queue);
            let dropped = queue.push(samples, histograms);
            self.metrics.waiting(queue.len());
            dropped
        };
        if dropped > 0 {
            self.metrics.dropped(dropped);
        }
        self.ready.notify_one();
    }
}

/// Stores samples, and queues them to be sent. What the store refuses is sent all the same: the receiver
/// judges for itself.
struct Forked {
    store: Arc<dyn Appender>,
    shared: Arc<Shared>,
}

impl Appender for Forked {
    fn reference(&self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        self.store.reference(labels)
    }

    /// Only stores: a reference means nothing elsewhere. Rules append by labels.
    fn append(&self, batch: &[RefSample]) -> Vec<(usize, AppendError)> {
        self.store.append(batch)
    }

    /// Only stores, as [`Self::append`] does.
    fn append_histograms(&self, batch: &[RefHistogram]) -> Vec<(usize, AppendError)> {
        self.store.append_histograms(batch)
    }

    fn append_samples(&self, batch: &[Sample]) -> Vec<(usize, AppendError)> {
        self.shared.push(batch, &[]);
        self.store.append_samples(batch)
    }

    fn append_histogram_samples(&self, batch: &[HistogramSample]) -> Vec<(usize, AppendError)> {
        self.shared.push(&[], batch);
        self.store.append_histogram_samples(batch)
    }
}
