//! Request parameters: from the URL and, for POST, from the form too.
//!
//! What is accepted and the texts of errors are those of Prometheus' `web/api/v1/api.go`, down to the
//! words of Go's `strconv`.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, Uri};
use url::form_urlencoded;

use super::error::ApiError;
use crate::model::{Matcher, TimestampMs, parse_duration_ms, parse_float, quote};
use crate::promql;

/// The first and the last instant that a request can name, as Prometheus' clients write them. Years of
/// more than four digits are none of RFC 3339. Source: Prometheus `web/api/v1/api.go`, `MinTime` and
/// `MaxTime`.
const FIRST: (&str, TimestampMs) = ("-292273086-05-16T16:47:06Z", (i64::MIN / 1000 + 62_135_596_801) * 1000);
const LAST: (&str, TimestampMs) =
    ("292277025-08-18T07:12:54.999999999Z", (i64::MAX / 1000 - 62_135_596_801) * 1000 + 999);

/// The parameter that holds a selector.
const SELECTOR: &str = "match[]";

/// How many selectors a request may have. Each is looked up by itself.
const MAX_SELECTORS: usize = 1_000;

/// How many parameters a request may have. A form of the largest size would have five million, which take
/// half a gigabyte.
const MAX_PARAMETERS: usize = 10_000;

/// The parameters of a request, in order, possibly several of one name.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let uri = request.uri().clone();
        let fault = |error: String| ApiError::bad_data(format!("error parsing form values: {error}"));
        let body = if has_form(request.method(), request.headers()) {
            Bytes::from_request(request, state).await.map_err(|error| fault(error.to_string()))?
        } else {
            Bytes::new()
        };
        Self::parse(&uri, &body).map_err(fault)
    }
}

fn has_form(method: &Method, headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
        && kind.starts_with("application/x-www-form-urlencoded")
}

impl Params {
    /// Those of the form come first, as with Go's `FormValue`.
    fn parse(uri: &Uri, form: &[u8]) -> Result<Self, String> {
        let query = uri.query().unwrap_or_default().as_bytes();
        let pairs = form_urlencoded::parse(form).chain(form_urlencoded::parse(query));
        let owned = pairs.map(|(name, value)| (name.into_owned(), value.into_owned()));
        let params: Vec<_> = owned.take(MAX_PARAMETERS + 1).collect();
        if params.len() > MAX_PARAMETERS {
            return Err(format!("too many parameters, at most {MAX_PARAMETERS} are supported"));
        }
        Ok(Self(params))
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
        let text = self.get(name).unwrap_or_default();
        parse_time(text).ok_or_else(|| ApiError::bad_parameter(name, no_time(text)))
    }

    /// A time, or `default` if it is absent.
    pub(super) fn time_or(&self, name: &str, default: TimestampMs) -> Result<TimestampMs, ApiError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        parse_time(text).ok_or_else(|| {
            ApiError::bad_parameter(name, format!("invalid time value for '{name}': {}", no_time(text)))
        })
    }

    /// The times `start` and `end`; without them, all there is.
    pub(super) fn period(&self) -> Result<(TimestampMs, TimestampMs), ApiError> {
        Ok((self.time_or("start", FIRST.1)?, self.time_or("end", LAST.1)?))
    }

    /// A duration in milliseconds; its absence is an error.
    pub(super) fn duration_ms(&self, name: &str) -> Result<i64, ApiError> {
        let text = self.get(name).unwrap_or_default();
        api_duration(text).map_err(|message| ApiError::bad_parameter(name, message))
    }

    /// How long the asker is willing to wait.
    pub(super) fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        if self.get("timeout").is_none() {
            return Ok(None);
        }
        Ok(Some(Duration::from_millis(self.duration_ms("timeout")?.max(0).unsigned_abs())))
    }

    /// How old a sample may be to count as the current value; none if the server decides.
    pub(super) fn lookback_delta(&self) -> Result<Option<Duration>, ApiError> {
        let Some(text) = self.get("lookback_delta") else { return Ok(None) };
        let ms = api_duration(text).map_err(|message| {
            ApiError::bad_data(format!("error parsing lookback delta duration: {message}"))
        })?;
        Ok((ms > 0).then(|| Duration::from_millis(ms.unsigned_abs())))
    }

    /// The largest number of results; 0: all.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(0) };
        let limit = atoi(text).map_err(|message| ApiError::bad_parameter("limit", message))?;
        usize::try_from(limit).map_err(|_| ApiError::bad_parameter("limit", "limit must be non-negative"))
    }

    /// A whole number; anything else is an error without further words.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let number = self.get(name).map(atoi).transpose();
        number.map_err(|_| ApiError::bad_data(format!("{name} must be a number")))
    }

    /// Whether there are selectors.
    pub(super) fn has_selectors(&self) -> bool {
        self.all(SELECTOR).next().is_some()
    }

    /// The selectors of `match[]`. Each must say something about a label, or it would select everything.
    /// May take a second if they are many.
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, String> {
        if self.all(SELECTOR).nth(MAX_SELECTORS).is_some() {
            return Err(format!("too many match[] parameters, at most {MAX_SELECTORS} are supported"));
        }
        let selectors = promql::parse_selectors(self.all(SELECTOR)).map_err(|errors| first_of(&errors))?;
        let says_nothing = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches(""));
        if selectors.iter().any(says_nothing) {
            return Err("match[] must contain at least one non-empty matcher".to_owned());
        }
        Ok(selectors)
    }
}

/// Of the errors of a query the API shows the first one, with the feature that would make it none.
pub(super) fn first_of(errors: &[promql::ParseError]) -> String {
    let Some(first) = errors.first() else { return String::new() };
    match first.feature {
        Some(feature) if !first.message.contains(feature) => {
            format!("{first}, enable the feature `{feature}`")
        }
        _ => first.to_string(),
    }
}

fn no_time(text: &str) -> String {
    format!("cannot parse {} to a valid timestamp", quote(text))
}

/// A whole number as Go's `strconv.Atoi` reads it; else its error.
fn atoi(text: &str) -> Result<i64, String> {
    whole_number(text, i64::MAX).map_err(|fault| format!("strconv.Atoi: {fault}"))
}

/// A whole number of 32 bits as Go's `strconv.ParseInt` reads it; else its error.
pub(super) fn parse_int(text: &str) -> Result<i64, String> {
    whole_number(text, i64::from(i32::MAX)).map_err(|fault| format!("strconv.ParseInt: {fault}"))
}

fn whole_number(text: &str, most: i64) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("parsing {}: invalid syntax", quote(text)));
    }
    let number = text.parse().ok().filter(|number| (-most - 1..=most).contains(number));
    number.ok_or_else(|| format!("parsing {}: value out of range", quote(text)))
}

/// Seconds since the epoch, possibly with decimals, or RFC 3339.
pub(crate) fn parse_time(text: &str) -> Option<TimestampMs> {
    if let Some(seconds) = parse_float(text) {
        if !seconds.is_finite() || seconds.abs() >= (i64::MAX / 1000) as f64 {
            return None;
        }
        // Nanoseconds are what Go's times hold, and its milliseconds are cut off from them.
        let fraction_ns = ((seconds.fract() * 1000.0).round() / 1000.0 * 1e9) as i128;
        let ms = (seconds.trunc() as i128 * 1_000_000_000 + fraction_ns).div_euclid(1_000_000);
        return i64::try_from(ms).ok();
    }
    if let Some((_, at)) = [FIRST, LAST].into_iter().find(|(written, _)| *written == text) {
        return Some(at);
    }
    // Other forms than RFC 3339's are not Prometheus'.
    let is_rfc_3339 = text.as_bytes().get(10) == Some(&b'T')
        && (text.ends_with('Z') || text.as_bytes().get(text.len().wrapping_sub(3)) == Some(&b':'));
    let time = is_rfc_3339.then(|| text.parse::<jiff::Timestamp>().ok()).flatten()?;
    i64::try_from(time.as_nanosecond().div_euclid(1_000_000)).ok()
}

/// Seconds, possibly with decimals, or Prometheus' notation.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    api_duration(text).ok()
}

/// The same, with what is wrong.
fn api_duration(text: &str) -> Result<i64, String> {
    let fault = |more: &str| format!("cannot parse {} to a valid duration{more}", quote(text));
    if let Some(seconds) = parse_float(text) {
        if (seconds * 1e9).abs() > i64::MAX as f64 {
            return Err(fault(". It overflows int64"));
        }
        return Ok((seconds * 1000.0) as i64);
    }
    parse_duration_ms(text).map_err(|_| fault(""))
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
        check("2015-07-01 20:10:51Z", None);
        check("2015-07-01T20:10:51", None);
        check("1e30", None);
        check("-1.5", Some(-1_500));
        check("-292273086-05-16T16:47:06Z", Some(-9_223_309_901_257_974_000));
        check("292277025-08-18T07:12:54.999999999Z", Some(9_223_309_901_257_974_999));
    }

    #[test]
    fn durations_are_seconds_or_prometheus_notation() {
        let check = |text: &str, expected| assert_eq!(parse_duration(text), expected, "{text}");
        check("15", Some(15_000));
        check("0.5", Some(500));
        check("1m30s", Some(90_000));
        check("-1", Some(-1_000));
        check("x", None);
        check("1e30", None);
        check("NaN", Some(0));
    }

    #[test]
    fn limits_are_read_as_go_reads_whole_numbers() {
        let check = |text: &str, expected: Result<usize, &str>| {
            let params = Params(vec![("limit".to_owned(), text.to_owned())]);
            let limit = params.limit().map_err(|error| error.message);
            assert_eq!(limit, expected.map_err(|text| format!("invalid parameter \"limit\": {text}")));
        };
        check("", Ok(0));
        check("+7", Ok(7));
        check("-1", Err("limit must be non-negative"));
        check("1.5", Err("strconv.Atoi: parsing \"1.5\": invalid syntax"));
        check("1_000", Err("strconv.Atoi: parsing \"1_000\": invalid syntax"));
        check(
            "99999999999999999999",
            Err("strconv.Atoi: parsing \"99999999999999999999\": value out of range"),
        );
    }

    #[test]
    fn a_selector_says_something_about_a_label() {
        let check = |text: &str, expected: Result<usize, &str>| {
            let params = Params(vec![("match[]".to_owned(), text.to_owned())]);
            let selectors = params.selectors().map(|selectors| selectors[0].len());
            assert_eq!(selectors, expected.map_err(ToOwned::to_owned), "{text}");
        };
        check("up{job=\"a\"}", Ok(2));
        check("{}", Err("match[] must contain at least one non-empty matcher"));
        check("{a=~\".*\"}", Err("match[] must contain at least one non-empty matcher"));
        check("", Err("unknown position: parse error: unexpected end of input"));
    }

    #[test]
    fn the_form_wins_over_the_url_and_names_repeat() {
        let uri: Uri = "/x?query=up&match[]=a&match[]=b".parse().expect("a URI");
        let params = Params::parse(&uri, b"query=down%2B1").expect("few parameters");
        assert_eq!(params.get("query"), Some("down+1"));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(params.get("absent"), None);
    }

    #[test]
    fn the_number_of_parameters_and_of_selectors_has_a_limit() {
        let uri: Uri = "/x?a=b".parse().expect("a URI");
        assert!(Params::parse(&uri, "a&".repeat(MAX_PARAMETERS - 1).as_bytes()).is_ok());
        let fault = Params::parse(&uri, "a&".repeat(MAX_PARAMETERS).as_bytes()).expect_err("one more");
        assert_eq!(fault, "too many parameters, at most 10000 are supported");
        let of = |number| Params(vec![(SELECTOR.to_owned(), "up".to_owned()); number]).selectors();
        assert_eq!(of(MAX_SELECTORS).map(|selectors| selectors.len()), Ok(MAX_SELECTORS));
        let fault = of(MAX_SELECTORS + 1).expect_err("one more");
        assert_eq!(fault, "too many match[] parameters, at most 1000 are supported");
    }

    #[test]
    fn the_limits_of_a_query_hold_for_all_selectors_together() {
        let selector = format!("{{{}}}", "a=\"b\",".repeat(6_000));
        let of = |number| Params(vec![(SELECTOR.to_owned(), selector.clone()); number]).selectors();
        assert!(of(1).is_ok());
        let fault = of(2).expect_err("12,000 matchers");
        assert!(fault.ends_with("too many label matchers, at most 10000 are supported"), "{fault}");
    }
}
