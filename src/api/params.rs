//! Request parameters: from the URL and, for POST, from the form too.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Uri};
use url::form_urlencoded;

use super::error::ApiError;
use crate::model::{TimestampMs, parse_duration_ms, parse_float};

/// The parameters of a request, in order, possibly several of one name.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let uri = request.uri().clone();
        let is_form = is_form(request.headers());
        let body = if is_form {
            Bytes::from_request(request, state)
                .await
                .map_err(|error| ApiError::bad_data(format!("error parsing form values: {error}")))?
        } else {
            Bytes::new()
        };
        Ok(Self::parse(&uri, &body))
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/x-www-form-urlencoded")
}

impl Params {
    /// Those of the form come first, as with Go's `FormValue`.
    fn parse(uri: &Uri, form: &[u8]) -> Self {
        let query = uri.query().unwrap_or_default().as_bytes();
        let pairs = form_urlencoded::parse(form).chain(form_urlencoded::parse(query));
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value of a parameter, none if it is absent or empty.
    pub(super) fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A time; its absence is an error.
    pub(super) fn time(&self, name: &str) -> Result<TimestampMs, ApiError> {
        let text = self.all(name).next().unwrap_or_default();
        parse_time(text).ok_or_else(|| {
            ApiError::bad_parameter(name, format!("cannot parse \"{text}\" to a valid timestamp"))
        })
    }

    /// A time, or `default` if it is absent.
    pub(super) fn time_or(&self, name: &str, default: TimestampMs) -> Result<TimestampMs, ApiError> {
        if self.get(name).is_none() { Ok(default) } else { self.time(name) }
    }

    /// A duration in milliseconds; its absence is an error.
    pub(super) fn duration_ms(&self, name: &str) -> Result<i64, ApiError> {
        let text = self.all(name).next().unwrap_or_default();
        parse_duration(text).ok_or_else(|| {
            ApiError::bad_parameter(name, format!("cannot parse \"{text}\" to a valid duration"))
        })
    }

    /// How long the asker is willing to wait.
    pub(super) fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        if self.get("timeout").is_none() {
            return Ok(None);
        }
        Ok(Some(Duration::from_millis(self.duration_ms("timeout")?.max(0).unsigned_abs())))
    }

    /// The largest number of results; 0: all.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(0) };
        text.parse().map_err(|_| {
            ApiError::bad_parameter("limit", format!("cannot parse \"{text}\" to a non-negative number"))
        })
    }
}

/// Seconds since the epoch, possibly with decimals, or RFC 3339.
pub(crate) fn parse_time(text: &str) -> Option<TimestampMs> {
    if let Some(seconds) = parse_float(text) {
        let ms = (seconds * 1000.0).round();
        return (ms.abs() < i64::MAX as f64).then_some(ms as TimestampMs);
    }
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// Seconds, possibly with decimals, or Prometheus' notation.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    if let Some(seconds) = parse_float(text) {
        let ms = (seconds * 1000.0).trunc();
        return (ms.abs() < i64::MAX as f64).then_some(ms as i64);
    }
    parse_duration_ms(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let check = |text: &str, expected| assert_eq!(parse_time(text), expected, "{text}");
        check("1435781451.781", Some(1_435_781_451_781));
        check("0", Some(0));
        check("2015-07-01T20:10:51.781Z", Some(1_435_781_451_781));
        check("2015-07-01T22:10:51.781+02:00", Some(1_435_781_451_781));
        check("NaN", None);
        check("", None);
        check("yesterday", None);
        check("1e30", None);
    }

    #[test]
    fn durations_are_seconds_or_prometheus_notation() {
        let check = |text: &str, expected| assert_eq!(parse_duration(text), expected, "{text}");
        check("15", Some(15_000));
        check("0.5", Some(500));
        check("1m30s", Some(90_000));
        check("-1", Some(-1_000));
        check("x", None);
    }

    #[test]
    fn the_form_wins_over_the_url_and_names_repeat() {
        let uri: Uri = "/x?query=up&match[]=a&match[]=b".parse().expect("a URI");
        let params = Params::parse(&uri, b"query=down%2B1");
        assert_eq!(params.get("query"), Some("down+1"));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(params.get("absent"), None);
    }
}
