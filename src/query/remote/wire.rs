//! What a server with Prometheus' HTTP API answers.

use std::sync::Arc;

use reqwest::StatusCode;
use serde::Deserialize;
use url::Url;

use super::histogram::WireHistogram;
use super::shown;
use crate::model::{HistogramPoint, Labels, Point, Series, TimestampMs, parse_float};
use crate::promql::{Annotation, AnnotationKind, EvalError, Expr, InstantSample, Output, Value};

/// How much of an answer that is no JSON is shown in an error.
const SHOWN_BYTES: usize = 200;

/// The API's envelope.
#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType", default)]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
    /// `VictoriaMetrics` says so when a part of its storage did not answer.
    #[serde(rename = "isPartial", default)]
    is_partial: bool,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(WirePoint),
    String((f64, String)),
    Vector(Vec<WireSample>),
    Matrix(Vec<WireSeries>),
}

/// Seconds since the epoch and a number in quotes.
#[derive(Deserialize)]
struct WirePoint(f64, String);

type WireLabels = std::collections::BTreeMap<String, String>;

#[derive(Deserialize)]
struct WireSample {
    metric: WireLabels,
    /// Absent if the sample is a native histogram.
    value: Option<WirePoint>,
    histogram: Option<WireHistogramPoint>,
}

#[derive(Deserialize)]
struct WireSeries {
    metric: WireLabels,
    #[serde(default)]
    values: Vec<WirePoint>,
    #[serde(default)]
    histograms: Vec<WireHistogramPoint>,
}

/// Seconds since the epoch and a native histogram.
#[derive(Deserialize)]
struct WireHistogramPoint(f64, WireHistogram);

pub(super) fn read_answer(
    url: &Url,
    status: StatusCode,
    body: &[u8],
    expr: &Expr,
) -> Result<Output, EvalError> {
    let answer: Envelope = serde_json::from_slice(body).map_err(|error| {
        let start = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]);
        EvalError::Storage(format!("`{}` answered {status} with no result ({error}): {start:?}", shown(url)))
    })?;
    let Envelope { warnings, infos, .. } = &answer;
    let annotation = |kind, text: &String| Annotation {
        kind,
        message: without_place(text).to_owned(),
        // The place is one in the printed query; what is known here is the whole expression.
        span: expr.span,
    };
    let mut annotations: Vec<Annotation> =
        warnings.iter().map(|text| annotation(AnnotationKind::Warning, text)).collect();
    annotations.extend(infos.iter().map(|text| annotation(AnnotationKind::Info, text)));
    if answer.status != "success" {
        return Err(remote_error(&answer));
    }
    if answer.is_partial {
        let place = shown(url);
        return Err(EvalError::Storage(format!("`{place}` answered from a part of its data only")));
    }
    let data = answer
        .data
        .ok_or_else(|| EvalError::Storage(format!("`{}` answered {status} without data", shown(url))))?;
    let (value, ignored) = read_data(data).ok_or_else(|| {
        EvalError::Storage(format!("`{}` answered with a value that is no number", shown(url)))
    })?;
    if ignored > 0 {
        let text = format!("PromQL warning: {ignored} native histograms in the answer were left out");
        annotations.push(annotation(AnnotationKind::Warning, &text));
    }
    Ok(Output { value, annotations, samples: None })
}

/// The error of this process that means the same.
fn remote_error(answer: &Envelope) -> EvalError {
    let Envelope { error_type, error, .. } = answer;
    match error_type.as_str() {
        "timeout" => EvalError::Timeout("remote evaluation"),
        "canceled" => EvalError::Canceled("remote evaluation"),
        "execution" if error.contains("too many samples") => EvalError::TooManySamples("remote evaluation"),
        "execution" | "bad_data" => EvalError::Execution(error.clone()),
        _ => EvalError::Storage(error.clone()),
    }
}

/// The value and how many native histograms are left out of it; none if a number cannot be read.
fn read_data(data: Data) -> Option<(Value, usize)> {
    let mut ignored = 0;
    let value = match data {
        Data::Scalar(point) => {
            let Point { at, value } = read_point(&point)?;
            Value::Scalar { at, value }
        }
        Data::String((at, value)) => Value::String { at: milliseconds(at), value },
        Data::Vector(samples) => {
            let mut vector = Vec::with_capacity(samples.len());
            for WireSample { metric, value, histogram } in samples {
                let labels = Labels::from_pairs(&metric);
                if let Some(point) = &value {
                    let Point { at, value } = read_point(point)?;
                    vector.push(InstantSample::float(labels, at, value));
                    continue;
                }
                match histogram.as_ref().and_then(read_histogram) {
                    Some(HistogramPoint { at, histogram }) => {
                        let histogram = Some(histogram);
                        vector.push(InstantSample { histogram, ..InstantSample::float(labels, at, 0.0) });
                    }
                    None => ignored += 1,
                }
            }
            Value::Vector(vector)
        }
        Data::Matrix(series) => {
            let mut matrix = Vec::with_capacity(series.len());
            for WireSeries { metric, values, histograms } in series {
                let points = values.iter().map(read_point).collect::<Option<Vec<_>>>()?;
                let read: Vec<_> = histograms.iter().filter_map(read_histogram).collect();
                ignored += histograms.len() - read.len();
                if !points.is_empty() || !read.is_empty() {
                    let floats = Series::floats(Labels::from_pairs(&metric), points);
                    matrix.push(Series { histograms: read, ..floats });
                }
            }
            matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
            Value::Matrix(matrix)
        }
    };
    Some((value, ignored))
}

fn read_point(WirePoint(at, value): &WirePoint) -> Option<Point> {
    Some(Point { at: milliseconds(*at), value: parse_float(value)? })
}

fn read_histogram(WireHistogramPoint(at, wire): &WireHistogramPoint) -> Option<HistogramPoint> {
    Some(HistogramPoint { at: milliseconds(*at), histogram: Arc::new(wire.read()?) })
}

pub(super) fn milliseconds(seconds: f64) -> TimestampMs {
    (seconds * 1000.0).round() as TimestampMs
}

/// An annotation without its ` (line:column)`.
fn without_place(text: &str) -> &str {
    let place = text.strip_suffix(')').and_then(|rest| rest.rsplit_once(" ("));
    match place {
        Some((message, place)) if place.bytes().all(|b| b.is_ascii_digit() || b == b':') => message,
        _ => text,
    }
}
