//! Evaluation by a server with Prometheus' HTTP API: Prometheus, Thanos, Mimir, `VictoriaMetrics`.

mod histogram;
mod metrics;
mod reach;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Method, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use self::reach::Reach;
use super::{Answer, PreparedQuery, QueryOptions, QuerySource, Timings, Unprepared};
use crate::client::{ClientError, HttpConfig, RenewingClient, redirected_to, root_cause, status_of};
use crate::promql::{EvalError, EvalRange, Expr, Output};

pub use self::metrics::{RemoteMetrics, SourceMetrics};

/// How large an answer may be: what does not fit would not fit into memory as a result either.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// How many requests are on their way to one server at once; others wait. Half of what a Prometheus
/// evaluates at once by itself (`--query.max-concurrency`), so that people can ask it something too.
const CONCURRENCY: usize = 10;

/// What is asked for beside the expression unless the configuration says otherwise; a server that does
/// not know a parameter ignores it. A rule needs whole and current answers: `nocache` keeps
/// `VictoriaMetrics` from answering with the state of 30 seconds ago (`-search.latencyOffset`), and
/// `partial_response` Thanos from leaving out what does not answer.
const PARAMETERS: [(&str, &str); 2] = [("nocache", "1"), ("partial_response", "false")];

/// A server with Prometheus' HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConfig {
    /// Below it lies `api/v1/query`.
    pub url: Url,
    /// How it is reached, and as whom.
    pub http: HttpConfig,
    /// How long an answer may take, waiting for a turn included.
    pub timeout: Duration,
    /// Further parameters of every query, such as Thanos' `dedup`.
    pub parameters: Vec<(String, String)>,
}

/// Asks a server for the value of expressions.
///
/// Native histograms come as buckets with bounds, without their schema; how much of one can be told from
/// them is said at `histogram`. One whose buckets are those of no schema, nor custom ones, is
/// left out of the result, with a warning that says so.
///
/// After a request that was not answered in time, the next one waits for a question that any server
/// answers at once, and fails with it: a server that hangs costs the rules of a group the time of one
/// query, not that of all of them.
#[derive(Debug, Clone)]
pub struct RemoteSource(Arc<Remote>);

#[derive(Debug)]
struct Remote {
    client: RenewingClient,
    http: HttpConfig,
    instant: Url,
    range: Url,
    timeout: Duration,
    parameters: Vec<(String, String)>,
    slots: Semaphore,
    reach: Reach,
    metrics: SourceMetrics,
}

impl RemoteSource {
    /// A source that asks the server; what it does is counted in `metrics`. Reads the files of the TLS
    /// settings.
    pub fn new(config: RemoteConfig, metrics: SourceMetrics) -> Result<Self, ClientError> {
        let RemoteConfig { url, http, timeout, parameters } = config;
        let endpoint = |name: &str| {
            let mut endpoint = url.clone();
            endpoint.set_path(&format!("{}/api/v1/{name}", url.path().trim_end_matches('/')));
            endpoint
        };
        let defaults =
            PARAMETERS.iter().filter(|(name, _)| parameters.iter().all(|(given, _)| given != name));
        let defaults = defaults.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let parameters = defaults.chain(parameters.iter().cloned()).collect();
        Ok(Self(Arc::new(Remote {
            client: http.renewing_client(&Method::POST, timeout)?,
            http,
            instant: endpoint("query"),
            range: endpoint("query_range"),
            timeout,
            parameters,
            slots: Semaphore::new(CONCURRENCY),
            reach: Reach::default(),
            metrics,
        })))
    }

    /// Looks whether the files of the TLS settings have changed.
    pub fn look_again(&self) -> Result<(), ClientError> {
        self.0.client.look_again()
    }
}

/// An answer with its status.
type Exchange = Result<(StatusCode, Vec<u8>), EvalError>;

impl Remote {
    async fn ask(
        self: &Arc<Self>,
        expr: &Expr,
        range: &EvalRange,
        options: &QueryOptions,
    ) -> Result<Output, EvalError> {
        let timeout = options.timeout.map_or(self.timeout, |timeout| timeout.min(self.timeout));
        let deadline = Instant::now() + timeout;
        let slot = timeout_at(deadline, self.slots.acquire()).await;
        let _slot = slot.map_err(|_| EvalError::Timeout("query queue"))?;
        if let Some(check) = self.reach.check(|| Self::is_there(Arc::clone(self)).boxed()) {
            timeout_at(deadline, check).await.map_err(|_| EvalError::Timeout("remote evaluation"))??;
            self.reach.answered();
        }
        let ms = |duration: Duration| format!("{}ms", duration.as_millis());
        let mut form = vec![("query", expr.to_string()), ("timeout", ms(timeout))];
        form.extend(options.lookback_delta.map(|lookback| ("lookback_delta", ms(lookback))));
        let url = if range.step_ms == 0 {
            form.push(("time", seconds(range.start)));
            &self.instant
        } else {
            form.push(("start", seconds(range.start)));
            form.push(("end", seconds(range.end)));
            form.push(("step", seconds(range.step_ms)));
            &self.range
        };
        let began = Instant::now();
        let answer = match timeout_at(deadline, self.exchange(url, &form)).await {
            Ok(Ok((status, body))) => wire::read_answer(url, status, &body, expr),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(EvalError::Timeout("remote evaluation")),
        };
        match &answer {
            Err(EvalError::Timeout(_)) if Instant::now() >= deadline => self.reach.silent(),
            _ => self.reach.answered(),
        }
        self.metrics.observe(began.elapsed(), answer.as_ref().err());
        answer
    }

    /// Asks what costs a server nothing.
    async fn is_there(self: Arc<Self>) -> Result<(), EvalError> {
        let form = vec![("query", "1".to_owned())];
        match tokio::time::timeout(reach::PATIENCE, self.exchange(&self.instant, &form)).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(EvalError::Timeout("remote evaluation")),
        }
    }

    async fn exchange(&self, url: &Url, form: &[(&str, String)]) -> Exchange {
        let parameters = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let form: Vec<_> =
            form.iter().map(|(name, value)| (*name, value.as_str())).chain(parameters).collect();
        let request = self.http.prepare(self.client.current().post(url.clone()).form(&form));
        let request =
            request.await.map_err(|fault| EvalError::Storage(format!("asking `{}`: {fault}", shown(url))))?;
        let response = request.send().await.map_err(|error| {
            self.client.failed();
            transport_error(url, &error)
        })?;
        if !response.status().is_success() {
            // A proxy may want to see another certificate.
            self.client.failed();
        }
        if redirected_to(&response).is_some() {
            return Err(EvalError::Storage(format!("`{}` answered {}", shown(url), status_of(&response))));
        }
        let status = response.status();
        Ok((status, body(url, response).await?))
    }
}

impl QuerySource for RemoteSource {
    /// The remote server's samples are not counted.
    fn query<'a>(
        &'a self,
        expr: &'a Expr,
        range: &'a EvalRange,
        options: &'a QueryOptions,
    ) -> BoxFuture<'a, Result<Answer, EvalError>> {
        async move {
            let output = self.0.ask(expr, range, options).await?;
            Ok(Answer { output, timings: Timings::default() })
        }
        .boxed()
    }

    fn goes_on_alone(&self) -> bool {
        true
    }

    fn prepare(&self, expr: &Arc<Expr>) -> Arc<dyn PreparedQuery> {
        Arc::new(Unprepared { source: self.clone(), expr: Arc::clone(expr) })
    }
}

/// Milliseconds as the API wants them.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

async fn body(url: &Url, mut response: Response) -> Result<Vec<u8>, EvalError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport_error(url, &error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(EvalError::TooManySamples("remote evaluation"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn transport_error(url: &Url, error: &reqwest::Error) -> EvalError {
    if error.is_timeout() {
        return EvalError::Timeout("remote evaluation");
    }
    EvalError::Storage(format!("asking `{}`: {}", shown(url), root_cause(error)))
}

/// The URL without credentials.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}
