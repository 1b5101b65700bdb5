//! Fetching one page, within a deadline and a size.

use std::io::ErrorKind::InvalidData;
use std::io::Read;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue,
};
use reqwest::{Client, Response};
use url::Url;

use super::error::ScrapeError;
use super::{Config, Target};
use crate::exposition;
use crate::model::format_float;

/// Tells the target how long it has.
const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// A response as it came.
pub(super) struct Fetched {
    /// What the target says it is.
    pub(super) content_type: Option<String>,
    body: Vec<u8>,
    gzip: bool,
}

/// Fetches the page of `target` within its timeout.
pub(super) async fn fetch(client: &Client, config: &Config, target: &Target) -> Result<Fetched, ScrapeError> {
    let page = tokio::time::timeout(target.timeout, fetch_unhurried(client, config, target));
    page.await.unwrap_or_else(|_| Err(ScrapeError::Timeout(shown(&target.url))))
}

async fn fetch_unhurried(client: &Client, config: &Config, target: &Target) -> Result<Fetched, ScrapeError> {
    let accept = if config.scrape_native_histograms { exposition::ACCEPT_NATIVE } else { exposition::ACCEPT };
    let mut request = client
        .get(target.url.clone())
        .header(ACCEPT, accept)
        .header(ACCEPT_ENCODING, "gzip")
        .header(TIMEOUT_HEADER, seconds(target.timeout));
    if let Some(auth) = &config.authorization {
        let header = auth.read_header().await.map_err(ScrapeError::Credential)?;
        request = request.header(AUTHORIZATION, sensitive(header.expose())?);
    }
    let failed = |error| request_error(&target.url, error);
    let response = request.send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(ScrapeError::Status(response.status()));
    }
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let content_type = header(CONTENT_TYPE).map(str::to_owned);
    let gzip = header(CONTENT_ENCODING) == Some("gzip");
    let body =
        read_body(response, config.body_size_limit).await.map_err(failed)?.ok_or(ScrapeError::BodySize)?;
    Ok(Fetched { content_type, body, gzip })
}

/// The body, or `None` if it is larger than `limit`.
async fn read_body(mut response: Response, limit: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
    let mut body = Vec::with_capacity(announced.unwrap_or_default().min(limit));
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

impl Fetched {
    /// The page itself, of at most `limit` bytes: decompresses if need be, which may take a while.
    pub(super) fn into_page(self, limit: usize) -> Result<Vec<u8>, ScrapeError> {
        if !self.gzip {
            return Ok(self.body);
        }
        let mut page = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let decoder = MultiGzDecoder::new(self.body.as_slice());
        decoder.take(most).read_to_end(&mut page).map_err(ScrapeError::Gzip)?;
        if page.len() > limit { Err(ScrapeError::BodySize) } else { Ok(page) }
    }
}

fn sensitive(value: &str) -> Result<HeaderValue, ScrapeError> {
    let mut value = HeaderValue::try_from(value)
        .map_err(|error| ScrapeError::Credential(std::io::Error::new(InvalidData, error)))?;
    value.set_sensitive(true);
    Ok(value)
}

fn seconds(duration: Duration) -> String {
    format_float(duration.as_secs_f64())
}

fn request_error(url: &Url, error: reqwest::Error) -> ScrapeError {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    ScrapeError::Request { url: shown(url), reason }
}

/// A URL as people may see it.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        // A URL with a password has a host, so that it can be changed.
        let _ = url.set_password(Some("xxxxx"));
    }
    url.into()
}
