//! Asks a server with Prometheus' HTTP API what the lints want to know.
//!
//! Two requests say which metrics there are and of which types. Then one request for each selector that
//! asks for labels, two for each whose sampling matters, and for a selector without series one for each of
//! its labels. Their number and the time for all of them are bounded; what is not answered is not judged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Client;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::facts::{Facts, MetricFacts, Question, SelectorFacts};
use crate::model::{METRIC_NAME, Matcher, Span, is_legacy_label_name};
use crate::promql::{Expr, ExprKind, VectorSelector};

/// How large an answer may be: a million names of metrics have about 40 MB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How many requests are on their way at once.
const CONCURRENCY: usize = 4;

/// Over what time the distance of samples is looked at.
const SAMPLING_SECONDS: i64 = 600;

/// How much may be asked.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The number of requests.
    pub requests: usize,
    /// The time for all requests together.
    pub time: Duration,
    /// How far back series are looked for.
    pub lookback: Duration,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The server could not be reached or did not answer in time.
    #[error("asking `{path}`: {cause}")]
    Transport {
        /// The part of the URL behind `/api/v1/`.
        path: String,
        /// The innermost cause.
        cause: String,
    },
    /// The server refused.
    #[error("asking `{path}`: the server answered {status}: {message}")]
    Refused {
        /// The part of the URL behind `/api/v1/`.
        path: String,
        /// The status of the answer.
        status: u16,
        /// What the server says.
        message: String,
    },
    /// The number of requests or the time is used up.
    #[error("the limit of {0} is used up")]
    Limit(&'static str),
}

/// The API's envelope.
#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
    #[serde(default)]
    error: String,
}

/// The requests of one [`gather`].
struct Session<'c> {
    client: &'c Client,
    base: &'c Url,
    until: Instant,
    /// `start` and `end` of what is looked at, in seconds.
    range: [(&'static str, String); 2],
    /// How many requests may still be made.
    left: AtomicUsize,
}

/// Finds out about `questions` from the server at `base`, below which `api/v1` lies, at the time `now_ms`.
///
/// An error means that not even the first request was answered; later failures are counted in the second
/// part of the result, and what they were about is missing from the facts.
pub async fn gather(
    client: &Client,
    base: &Url,
    questions: &[Question],
    now_ms: i64,
    limits: Limits,
) -> Result<(Facts, Vec<GatherError>), GatherError> {
    let now = now_ms / 1000;
    let lookback = i64::try_from(limits.lookback.as_secs()).unwrap_or(i64::MAX);
    let session = Session {
        client,
        base,
        until: Instant::now() + limits.time,
        range: [("start", now.saturating_sub(lookback).to_string()), ("end", now.to_string())],
        left: limits.requests.into(),
    };
    let names: BTreeSet<String> = session.ask(&format!("label/{METRIC_NAME}/values"), &session.range).await?;
    let mut facts = Facts { names, ..Facts::default() };
    let mut failures = Vec::new();
    match session.ask::<BTreeMap<String, Vec<Metadata>>>("metadata", &[]).await {
        Ok(metadata) => facts.metrics = types(metadata),
        Err(error) => failures.push(error),
    }
    let (session, names) = (&session, &facts.names);
    let answers = futures_util::stream::iter(questions)
        .map(|question| async move { (question, session.answer(question, names, now).await) })
        .buffer_unordered(CONCURRENCY)
        .collect::<Vec<_>>()
        .await;
    for (question, answer) in answers {
        match answer {
            Ok(known) => drop(facts.selectors.insert(question.selector.clone(), known)),
            Err(error) => failures.push(error),
        }
    }
    Ok((facts, failures))
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "type")]
    kind: String,
}

fn types(metadata: BTreeMap<String, Vec<Metadata>>) -> BTreeMap<String, MetricFacts> {
    let only = |kinds: Vec<Metadata>| {
        let mut kinds = kinds.into_iter().map(|metadata| metadata.kind);
        let first = kinds.next()?;
        kinds.all(|kind| kind == first).then_some(MetricFacts { kind: first })
    };
    metadata.into_iter().filter_map(|(name, kinds)| Some((name, only(kinds)?))).collect()
}

/// A range vector; of the samples only their times matter.
#[derive(Deserialize)]
struct Matrix {
    result: Vec<Samples>,
}

#[derive(Deserialize)]
struct Samples {
    #[serde(default)]
    values: Vec<(f64, IgnoredAny)>,
}

/// The selector of the series with these labels.
fn only(labels: BTreeMap<String, String>) -> Expr {
    let matchers = labels.into_iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    let selector =
        VectorSelector { name: None, matchers, offset: None, at: None, modifier: None, bare: false };
    Expr { kind: ExprKind::Vector(selector), span: Span::default() }
}

impl Session<'_> {
    async fn answer(
        &self,
        question: &Question,
        names: &BTreeSet<String>,
        now: i64,
    ) -> Result<SelectorFacts, GatherError> {
        let mut known = SelectorFacts {
            metric_seen: question.metric.as_ref().map(|metric| names.contains(metric)),
            ..SelectorFacts::default()
        };
        if known.metric_seen == Some(false) {
            known.seen = Some(false);
            return Ok(known);
        }
        let matching = |selector: &str| {
            let [start, end] = self.range.clone();
            [("match[]", selector.to_owned()), ("limit", "1".to_owned()), start, end]
        };
        known.seen = Some(if question.metric.is_some() && question.labels.is_empty() {
            true
        } else {
            let series: Vec<IgnoredAny> = self.ask("series", &matching(&question.selector)).await?;
            !series.is_empty()
        });
        if let (Some(false), Some(metric)) = (known.seen, &question.metric) {
            for label in question.labels.iter().filter(|label| is_legacy_label_name(label)) {
                let [metric, _, start, end] = matching(metric);
                let values = self.ask(&format!("label/{label}/values"), &[metric, start, end]).await?;
                known.values.insert(label.clone(), values);
            }
        }
        if known.seen == Some(true) && question.interval {
            known.interval_ms = self.interval_ms(&question.selector, now).await?;
        }
        Ok(known)
    }

    /// The usual distance of the samples of one of the series.
    async fn interval_ms(&self, selector: &str, now: i64) -> Result<Option<i64>, GatherError> {
        let range = [("start", (now - SAMPLING_SECONDS).to_string()), ("end", now.to_string())];
        let [start, end] = range;
        let query = [("match[]", selector.to_owned()), ("limit", "1".to_owned()), start, end];
        let series: Vec<BTreeMap<String, String>> = self.ask("series", &query).await?;
        let Some(labels) = series.into_iter().next() else { return Ok(None) };
        let query = format!("{}[{SAMPLING_SECONDS}s]", only(labels));
        let matrix: Matrix = self.ask("query", &[("query", query), ("time", now.to_string())]).await?;
        let points = matrix.result.into_iter().next().map(|series| series.values).unwrap_or_default();
        let times: Vec<i64> = points.iter().map(|(at, _)| (at * 1000.0).round() as i64).collect();
        let mut distances: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // A few samples tell nothing.
        if distances.len() < 3 {
            return Ok(None);
        }
        distances.sort_unstable();
        let usual = distances[distances.len() / 2];
        // Scrapes are some milliseconds early or late.
        Ok(Some(if usual >= 1000 { (usual + 500) / 1000 * 1000 } else { usual }))
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, GatherError> {
        if self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() {
            return Err(GatherError::Limit("requests"));
        }
        let mut url = self.base.clone();
        url.set_path(&format!("{}/api/v1/{path}", self.base.path().trim_end_matches('/')));
        let transport =
            |error: reqwest::Error| GatherError::Transport { path: path.to_owned(), cause: cause(&error) };
        let exchange = async {
            let mut response = self.client.get(url).query(query).send().await.map_err(transport)?;
            let status = response.status();
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(transport)? {
                if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                    return Err(GatherError::Limit("the size of an answer"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok((status, body))
        };
        let (status, body) =
            timeout_at(self.until, exchange).await.map_err(|_| GatherError::Limit("time"))??;
        let refused = |message: String| GatherError::Refused {
            path: path.to_owned(),
            status: status.as_u16(),
            message,
        };
        match serde_json::from_slice::<Answer<T>>(&body) {
            Ok(Answer { data: Some(data), .. }) if status.is_success() => Ok(data),
            Ok(answer) => Err(refused(answer.error)),
            Err(error) => Err(refused(format!("no answer of Prometheus' API: {error}"))),
        }
    }
}

/// The innermost cause: the outer ones repeat the URL, perhaps with a password.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
