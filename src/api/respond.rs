//! Successful answers: the envelope, and PromQL values as JSON.
//! Source: Prometheus `web/api/v1/json_codec.go` and `util/jsonutil/marshal.go`.

use std::convert::Infallible;
use std::fmt::Write;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures_util::stream;
use serde::Serialize;

use crate::model::{FloatHistogram, Labels, LineColumn, Series, TimestampMs, format_float, push_float};
use crate::promql::{Annotation, AnnotationKind, InstantSample, Output, Value};

/// A response with a JSON text.
pub(super) fn json(text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `{"status":"success","data":…}`
pub(super) fn success<T: Serialize>(data: &T) -> Response {
    success_with_warnings(data, &[])
}

/// The same with warnings.
pub(super) fn success_with_warnings<T: Serialize>(data: &T, warnings: &[String]) -> Response {
    let mut text = String::from(r#"{"status":"success","data":"#);
    text.push_str(&serde_json::to_string(data).expect("wire types are always JSON"));
    push_list(&mut text, "warnings", warnings);
    text.push('}');
    json(text)
}

/// What an answer to a query has beside the result and its annotations.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// The most series that are shown; 0: all.
    pub(super) limit: usize,
    /// Statistics as JSON.
    pub(super) stats: Option<String>,
    /// Remarks on the request.
    pub(super) warnings: Vec<String>,
}

/// The answer to a query. A large one is written piece by piece as it is sent: it is never in memory as a
/// whole, what was written is freed, and no piece takes so long that it holds anybody up.
pub(super) fn query_result(query: &str, output: Output, extras: Extras) -> Response {
    let mut pieces = Pieces::new(query, output, extras);
    let first = pieces.next().unwrap_or_default();
    if pieces.is_finished() {
        return json(first);
    }
    let all = std::iter::once(first).chain(pieces).map(Ok::<_, Infallible>);
    json(Body::from_stream(stream::iter(all)))
}

/// The same as text.
pub(crate) fn query_json(query: &str, output: Output, extras: Extras) -> String {
    Pieces::new(query, output, extras).collect()
}

/// How many bytes of an answer make a piece, at least.
const PIECE: usize = 64 << 10;

/// The text of an answer, piece by piece.
struct Pieces {
    /// What was written and not yet given out.
    text: String,
    series: Rest,
    /// How many series were written.
    written: usize,
    /// What follows the series; none if it was given out.
    end: Option<String>,
}

/// The series that are still to be written.
enum Rest {
    None,
    Vector(std::iter::Take<std::vec::IntoIter<InstantSample>>),
    Matrix(std::iter::Take<std::vec::IntoIter<Series>>),
}

impl Pieces {
    fn new(query: &str, output: Output, extras: Extras) -> Self {
        let Extras { limit, stats, mut warnings } = extras;
        let mut infos = Vec::new();
        let mut text = String::from(r#"{"status":"success","data":{"resultType":""#);
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut end = String::from("]");
        let size = match &output.value {
            Value::Scalar { .. } | Value::String { .. } => 0,
            Value::Vector(samples) => samples.len(),
            Value::Matrix(series) => series.len(),
        };
        if size > limit {
            warnings.push(TRUNCATED.to_owned());
        }
        let series = match output.value {
            Value::Scalar { at, value } => {
                text.push_str(r#"scalar","result":["#);
                push_single_time(&mut text, at);
                // A scalar has no exponent, other than the values of series.
                write!(text, r#","{}""#, format_float(value)).expect("writing to a String cannot fail");
                Rest::None
            }
            Value::String { at, value } => {
                text.push_str(r#"string","result":["#);
                push_single_time(&mut text, at);
                text.push(',');
                text.push_str(&text_json(&value));
                Rest::None
            }
            Value::Vector(samples) => {
                text.push_str(r#"vector","result":["#);
                Rest::Vector(samples.into_iter().take(limit))
            }
            Value::Matrix(series) => {
                text.push_str(r#"matrix","result":["#);
                Rest::Matrix(series.into_iter().take(limit))
            }
        };
        if let Some(stats) = stats {
            write!(end, r#","stats":{stats}"#).expect("writing to a String cannot fail");
        }
        end.push('}');
        for annotation in &output.annotations {
            let list = match annotation.kind {
                AnnotationKind::Warning => &mut warnings,
                AnnotationKind::Info => &mut infos,
            };
            list.push(annotation_text(query, annotation));
        }
        push_list(&mut end, "warnings", &capped(warnings, "warning"));
        push_list(&mut end, "infos", &capped(infos, "info"));
        end.push('}');
        Self { text, series, written: 0, end: Some(end) }
    }

    fn is_finished(&self) -> bool {
        self.end.is_none()
    }

    /// Writes the next series; `false` if there is none.
    fn write_series(&mut self) -> bool {
        match &mut self.series {
            Rest::None => return false,
            Rest::Vector(samples) => {
                let Some(sample) = samples.next() else { return false };
                push_sample(&mut self.text, self.written, &sample);
            }
            Rest::Matrix(series) => {
                let Some(one) = series.next() else { return false };
                push_series(&mut self.text, self.written, &one);
            }
        }
        self.written += 1;
        true
    }
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let end = self.end.take()?;
        while self.text.len() < PIECE {
            if !self.write_series() {
                self.text.push_str(&end);
                return Some(std::mem::take(&mut self.text));
            }
        }
        self.end = Some(end);
        Some(std::mem::replace(&mut self.text, String::with_capacity(PIECE * 2)))
    }
}

fn push_sample(text: &mut String, index: usize, sample: &InstantSample) {
    push_metric(text, index, &sample.labels);
    if let Some(histogram) = &sample.histogram {
        text.push_str(r#","histogram":"#);
        push_histogram(text, sample.at, histogram);
    } else {
        text.push_str(r#","value":"#);
        push_point(text, sample.at, sample.value);
    }
    text.push('}');
}

fn push_series(text: &mut String, index: usize, series: &Series) {
    push_metric(text, index, &series.labels);
    if !series.points.is_empty() || series.histograms.is_empty() {
        text.push_str(r#","values":"#);
        push_each(text, &series.points, |text, point| push_point(text, point.at, point.value));
    }
    if !series.histograms.is_empty() {
        text.push_str(r#","histograms":"#);
        push_each(text, &series.histograms, |text, point| push_histogram(text, point.at, &point.histogram));
    }
    text.push('}');
}

/// The most annotations of a kind that are shown. Source: Prometheus `web/api/v1/api.go`, `respond`.
const SHOWN_ANNOTATIONS: usize = 10;

/// The first annotations, and how many there are besides.
fn capped(mut annotations: Vec<String>, kind: &str) -> Vec<String> {
    let more = annotations.len().saturating_sub(SHOWN_ANNOTATIONS);
    if more > 0 {
        annotations.truncate(SHOWN_ANNOTATIONS);
        annotations.push(format!("{more} more {kind} annotations omitted"));
    }
    annotations
}

/// A number of seconds that is written without decimals if it has none, as Go writes it.
pub(super) struct Seconds(pub(super) f64);

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 1e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// Prometheus' words for a result that `limit` cut short.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

fn annotation_text(query: &str, annotation: &Annotation) -> String {
    format!("{} ({})", annotation.message, LineColumn::of(query, annotation.span.start))
}

fn push_list(text: &mut String, name: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let items: Vec<String> = items.iter().map(|item| text_json(item)).collect();
    write!(text, r#","{name}":[{}]"#, items.join(",")).expect("writing to a String cannot fail");
}

/// A text that is no label, with what means something in HTML escaped, as Go's `encoding/json` does it.
pub(super) fn text_json(value: &str) -> String {
    let json = serde_json::to_string(value).expect("a text is always JSON");
    ['<', '>', '&', '\u{2028}', '\u{2029}']
        .into_iter()
        .fold(json, |json, sign| json.replace(sign, &format!("\\u{:04x}", u32::from(sign))))
}

/// A label's name or value.
fn push_text(text: &mut String, value: &str) {
    // What nearly every text is, without a detour.
    if value.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        text.push('"');
        text.push_str(value);
        text.push('"');
        return;
    }
    text.push_str(&serde_json::to_string(value).expect("a text is always JSON"));
}

/// `{"metric":{…}`, with a comma before all but the first.
fn push_metric(text: &mut String, index: usize, labels: &Labels) {
    text.push_str(if index == 0 { r#"{"metric":{"# } else { r#",{"metric":{"# });
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        push_text(text, name);
        text.push(':');
        push_text(text, value);
    }
    text.push('}');
}

/// `[1435781451.781,"1"]`
fn push_point(text: &mut String, at: TimestampMs, value: f64) {
    text.push('[');
    push_time(text, at);
    text.push_str(",\"");
    push_value(text, value);
    text.push_str("\"]");
}

/// `[1435781451.781,{"count":"3","sum":"5","buckets":[[0,"1","2","3"]]}]`: of each populated bucket which
/// of its bounds belong to it (0: the upper one, 1: the lower one, 2: none, 3: both), the bounds and the
/// count.
fn push_histogram(text: &mut String, at: TimestampMs, histogram: &FloatHistogram) {
    text.push('[');
    push_time(text, at);
    text.push_str(r#",{"count":""#);
    push_value(text, histogram.count);
    text.push_str(r#"","sum":""#);
    push_value(text, histogram.sum);
    text.push('"');
    let buckets = histogram.buckets();
    if !buckets.is_empty() {
        text.push_str(r#","buckets":"#);
        push_each(text, &buckets, |text, bucket| {
            text.push_str(match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => "[0",
                (true, false) => "[1",
                (false, false) => "[2",
                (true, true) => "[3",
            });
            for value in [bucket.lower, bucket.upper, bucket.count] {
                text.push_str(",\"");
                push_value(text, value);
                text.push('"');
            }
            text.push(']');
        });
    }
    text.push_str("}]");
}

/// A list of what `push` writes of each item.
fn push_each<T>(text: &mut String, items: &[T], push: impl Fn(&mut String, &T)) {
    text.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        push(text, item);
    }
    text.push(']');
}

/// Seconds, with exactly three decimals unless the milliseconds are 0.
fn push_time(text: &mut String, at: TimestampMs) {
    let (seconds, ms) = (at.unsigned_abs() / 1000, at.unsigned_abs() % 1000);
    if at < 0 {
        text.push('-');
    }
    text.push_str(itoa::Buffer::new().format(seconds));
    if ms != 0 {
        write!(text, ".{ms:03}").expect("writing to a String cannot fail");
    }
}

/// Seconds as the shortest decimal: what is no series is written by another part of Prometheus.
/// Source: `promql/value.go`, `Scalar.MarshalJSON`.
fn push_single_time(text: &mut String, at: TimestampMs) {
    let seconds = serde_json::to_string(&Seconds(at as f64 / 1000.0)).expect("a number is always JSON");
    text.push_str(&seconds);
}

/// Very small and very large numbers with an exponent of at least two digits, as Go writes them.
fn push_value(text: &mut String, value: f64) {
    let size = value.abs();
    if size == 0.0 || !value.is_finite() || (1e-6..1e21).contains(&size) {
        push_float(text, value);
        return;
    }
    text.push_str(&exponent_value(value));
}

/// A value with an exponent: `1e+00`. Source: Go's `strconv.FormatFloat(v, 'e', -1, 64)`.
pub(super) fn exponent_value(value: f64) -> String {
    if !value.is_finite() {
        return format_float(value);
    }
    let written = format!("{value:e}");
    let (digits, exponent) = written.split_once('e').expect("`{:e}` writes an exponent");
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Point;

    #[test]
    fn a_large_answer_comes_in_pieces_that_are_one_text() {
        let points: Vec<_> =
            (0..1_000).map(|step| Point { at: step * 1_500, value: step as f64 / 8.0 }).collect();
        let series =
            |number: i32| Series::floats(Labels::from_pairs([("n", number.to_string())]), points.clone());
        let value = Value::Matrix((0..10).map(series).collect());
        let output = Output { value, annotations: Vec::new(), samples: None };
        let pieces: Vec<String> =
            Pieces::new("up", output, Extras { limit: 9, ..Extras::default() }).collect();
        assert!(pieces.len() > 2 && pieces.iter().rev().skip(1).all(|piece| piece.len() >= PIECE));
        let whole: serde_json::Value = serde_json::from_str(&pieces.concat()).unwrap();
        let result = whole["data"]["result"].as_array().unwrap();
        assert_eq!(result.len(), 9);
        assert!(result.iter().all(|series| series["values"].as_array().unwrap().len() == 1_000));
        assert_eq!(result[8]["values"][999], serde_json::json!([1498.5, "124.875"]));
        assert_eq!(whole["warnings"], serde_json::json!([TRUNCATED]));
    }

    #[test]
    fn histograms_are_written_with_their_populated_buckets() {
        let mut histogram = FloatHistogram::empty(0, [].into());
        (histogram.count, histogram.sum) = (6.0, 5.5);
        (histogram.zero_count, histogram.zero_threshold) = (1.0, 0.5);
        let mut text = String::new();
        push_histogram(&mut text, 1_500, &histogram.with_buckets([(1, 2.0), (2, 0.0)], [(1, 3.0)]));
        assert_eq!(
            text,
            r#"[1.500,{"count":"6","sum":"5.5","buckets":[[1,"-2","-1","3"],[3,"-0.5","0.5","1"],[0,"1","2","2"]]}]"#
        );
    }

    #[test]
    fn texts_are_fit_for_html() {
        assert_eq!(text_json("a<b>&\"\u{2028}\u{1}ü"), r#""a\u003cb\u003e\u0026\"\u2028\u0001ü""#);
    }

    #[test]
    fn scalars_and_strings_are_written_without_padding_and_exponents() {
        let check = |value, expected: &str| {
            let text =
                query_json("", Output { value, annotations: Vec::new(), samples: None }, Extras::default());
            assert_eq!(text, format!(r#"{{"status":"success","data":{{"resultType":{expected}}}}}"#));
        };
        check(Value::Scalar { at: 1_050, value: 0.5 }, r#""scalar","result":[1.05,"0.5"]"#);
        check(Value::Scalar { at: 1_000, value: 1e21 }, r#""scalar","result":[1,"1000000000000000000000"]"#);
        check(Value::Scalar { at: 0, value: 1e-7 }, r#""scalar","result":[0,"0.0000001"]"#);
        check(Value::String { at: -1_500, value: "a".to_owned() }, r#""string","result":[-1.5,"a"]"#);
    }

    #[test]
    fn times_and_values_are_written_as_prometheus_writes_them() {
        let check = |at, value, expected: &str| {
            let mut text = String::new();
            push_point(&mut text, at, value);
            assert_eq!(text, expected);
        };
        check(1_435_781_451_781, 1.0, r#"[1435781451.781,"1"]"#);
        check(1_000, f64::NAN, r#"[1,"NaN"]"#);
        check(1_050, f64::INFINITY, r#"[1.050,"+Inf"]"#);
        check(-1_500, 0.1, r#"[-1.500,"0.1"]"#);
        check(0, 1e21, r#"[0,"1e+21"]"#);
        check(0, 123e19, r#"[0,"1.23e+21"]"#);
        check(0, -1.5e-7, r#"[0,"-1.5e-07"]"#);
        check(0, 1e-6, r#"[0,"0.000001"]"#);
        check(0, 1e20, r#"[0,"100000000000000000000"]"#);
    }
}
