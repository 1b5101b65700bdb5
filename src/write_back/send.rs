//! The loop that empties the queue of one receiver.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use url::Url;

use super::queue::{Batch, lock};
use super::{Config, Shared};
use crate::client::{ClientError, HttpConfig, RenewingClient, redirected_to, root_cause, status_of};
use crate::exposition::remote_write::encode_with_histograms;
use crate::model::{HistogramSample, Sample};

/// The wait after a first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest wait, also if the receiver asks for a longer one. Source of this and the first one:
/// Prometheus 3.14 `config/config.go`, `DefaultQueueConfig`, where the first is 30 ms.
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// How many requests a batch may take if samples of it are refused; what is refused then is dropped
/// together.
const MOST_REQUESTS: usize = 64;
/// How much of a refusal is shown.
const SHOWN_CHARACTERS: usize = 300;

/// Sends to one receiver.
pub(super) struct Sender {
    name: String,
    url: Url,
    http: HttpConfig,
    client: RenewingClient,
    timeout: Duration,
}

/// What became of a request.
enum Outcome {
    Accepted,
    /// It will never be accepted as it is.
    Refused(StatusCode, String),
    /// Worth another try, at the earliest after this time.
    Failed(String, Duration),
}

/// What became of a batch.
enum Delivery {
    /// All of it was accepted, or refused for good, with this answer.
    Done { dropped: usize, answer: Option<String> },
    /// Worth another try of all of it, at the earliest after this time: a receiver takes what it has
    /// already once more.
    Failed(String, Duration),
}

impl Sender {
    pub(super) fn new(name: &str, config: &Config) -> Result<Self, ClientError> {
        let Config { url, http, timeout } = config.clone();
        Ok(Self {
            name: name.to_owned(),
            client: http.renewing_client(&Method::POST, timeout)?,
            url,
            http,
            timeout,
        })
    }

    /// What it sends with.
    pub(super) fn client(&self) -> RenewingClient {
        self.client.clone()
    }

    /// Sends whatever waits, until there is nothing left after `drain`, or until `stop`.
    pub(super) async fn run(self, shared: Arc<Shared>, drain: CancellationToken, stop: CancellationToken) {
        let mut failures: u32 = 0;
        let mut refusing = false;
        loop {
            let batch = lock(&shared.queue).batch();
            if batch.len() == 0 {
                if drain.is_cancelled() {
                    return;
                }
                tokio::select! {
                    () = shared.ready.notified() => {}
                    () = drain.cancelled() => {}
                    () = stop.cancelled() => return,
                }
                continue;
            }
            let outcome = tokio::select! {
                outcome = self.deliver(&batch) => outcome,
                () = stop.cancelled() => return,
            };
            let (source, samples) = (self.name.as_str(), batch.len());
            match outcome {
                Delivery::Done { dropped, answer } => {
                    if failures > 0 {
                        info!(source, failures, "samples of rules are accepted again");
                    }
                    if let Some(answer) = answer
                        && !refusing
                    {
                        error!(source, dropped, %answer, "samples of rules are refused for good; dropped");
                    }
                    refusing = dropped > 0;
                    shared.metrics.sent(samples - dropped);
                    shared.metrics.dropped(dropped);
                }
                Delivery::Failed(fault, at_least) => {
                    if failures == 0 {
                        warn!(source, samples, %fault, "cannot send samples of rules; trying again");
                    }
                    let wait = FIRST_RETRY.saturating_mul(1 << failures.min(8));
                    failures = failures.saturating_add(1);
                    shared.metrics.retried();
                    tokio::select! {
                        () = sleep(wait.max(at_least).min(LONGEST_RETRY)) => {}
                        () = stop.cancelled() => return,
                    }
                    continue;
                }
            }
            failures = 0;
            let mut queue = lock(&shared.queue);
            queue.settle(&batch);
            shared.metrics.waiting(queue.len());
        }
    }

    /// Sends a batch. One sample that is refused makes Prometheus refuse all of its request: the others
    /// are sent again without it, which takes halving the batch.
    async fn deliver(&self, batch: &Batch) -> Delivery {
        let mut parts = vec![(batch.samples.as_slice(), batch.histograms.as_slice())];
        let (mut dropped, mut answer, mut requests) = (0, None, 0);
        while let Some((samples, histograms)) = parts.pop() {
            requests += 1;
            let outcome = self.post(samples, histograms).await;
            if !matches!(outcome, Outcome::Accepted) {
                self.client.failed();
            }
            match outcome {
                Outcome::Accepted => {}
                Outcome::Failed(fault, at_least) => return Delivery::Failed(fault, at_least),
                Outcome::Refused(status, text) => {
                    answer.get_or_insert(text);
                    let count = samples.len() + histograms.len();
                    let divisible = status == StatusCode::BAD_REQUEST && requests < MOST_REQUESTS;
                    if count == 1 || !divisible {
                        dropped += count;
                        continue;
                    }
                    // The earlier half goes first.
                    let middle = (count / 2).min(samples.len());
                    let (early, late) = samples.split_at(middle);
                    let (early_native, late_native) = histograms.split_at(count / 2 - middle);
                    parts.push((late, late_native));
                    parts.push((early, early_native));
                }
            }
        }
        Delivery::Done { dropped, answer }
    }

    /// Source: "Prometheus Remote-Write 1.0 specification".
    async fn post(&self, samples: &[Sample], histograms: &[HistogramSample]) -> Outcome {
        let failed = |fault: String| Outcome::Failed(fault, Duration::ZERO);
        let body = encode_with_histograms(samples, histograms);
        let request = self.client.current().post(self.url.clone()).body(body);
        let request = request
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0");
        let request = match self.http.prepare(request).await {
            Ok(request) => request,
            Err(fault) => return failed(fault.to_string()),
        };
        match timeout(self.timeout, async { Ok(judge(request.send().await?).await) }).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(fault)) => failed(root_cause(&fault)),
            Err(_) => failed("timed out".to_owned()),
        }
    }
}

async fn judge(mut answer: Response) -> Outcome {
    let status = answer.status();
    if status.is_success() {
        return Outcome::Accepted;
    }
    if redirected_to(&answer).is_some() {
        return Outcome::Failed(status_of(&answer), Duration::ZERO);
    }
    let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    // The first piece says what is wrong.
    let text = answer.chunk().await.ok().flatten().unwrap_or_default();
    let text: String = String::from_utf8_lossy(&text).trim().chars().take(SHOWN_CHARACTERS).collect();
    let text = format!("{status}: {text}");
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Outcome::Failed(text, Duration::from_secs(wait.unwrap_or(0)))
    } else {
        Outcome::Refused(status, text)
    }
}
