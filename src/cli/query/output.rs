//! Answers as text.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::api::{Extras, query_json};
use crate::model::{Labels, METRIC_NAME, TimestampMs, format_float, is_legacy_label_name};
use crate::promql::{InstantSample, Output, Value};

/// How an answer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// One line a sample, as promtool prints it.
    #[default]
    Text,
    /// What the HTTP API answers.
    Json,
    /// One line a sample, one column a label; times are seconds.
    Csv,
}

/// The answer to `query`, ending with a line end unless there is nothing in it.
pub(super) fn write(format: Format, query: &str, answer: Output) -> String {
    let lines = match format {
        Format::Text => text(&answer.value),
        Format::Json => vec![query_json(query, answer, Extras::default())],
        Format::Csv => csv(&answer.value),
    };
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Source: Prometheus common `model`, the `String` methods of `Vector`, `Matrix`, `Scalar` and `String`.
fn text(value: &Value) -> Vec<String> {
    let timed = |at, value: String| format!("{value} @[{}]", seconds(at));
    let point = |at, value| timed(at, format_float(value));
    match value {
        Value::Scalar { at, value } => vec![format!("scalar: {}", point(*at, *value))],
        Value::String { value, .. } => vec![value.clone()],
        Value::Vector(samples) => samples
            .iter()
            .map(|sample| format!("{} => {}", series(&sample.labels), timed(sample.at, written(sample))))
            .collect(),
        Value::Matrix(matrix) => matrix
            .iter()
            .flat_map(|one| {
                let points = one.points.iter().map(|point_of| point(point_of.at, point_of.value));
                let histograms = one.histograms.iter().map(|one| timed(one.at, one.histogram.to_string()));
                std::iter::once(format!("{} =>", series(&one.labels))).chain(points).chain(histograms)
            })
            .collect(),
    }
}

fn written(sample: &InstantSample) -> String {
    sample.histogram.as_ref().map_or_else(|| format_float(sample.value), ToString::to_string)
}

/// `name{label="value"}`; a name that cannot stand in front stands among the labels.
fn series(labels: &Labels) -> String {
    let name = labels.metric_name();
    if !is_legacy_label_name(&name.replace(':', "_")) {
        return labels.to_string();
    }
    let others = labels.filtered(|label| label != METRIC_NAME);
    if others.is_empty() { name.to_owned() } else { format!("{name}{others}") }
}

fn seconds(at: TimestampMs) -> String {
    format_float(at as f64 / 1000.0)
}

/// Source of the quoting: RFC 4180.
fn csv(value: &Value) -> Vec<String> {
    let none = Labels::empty();
    let rows: Vec<(&Labels, TimestampMs, Cow<'_, str>)> = match value {
        Value::Scalar { at, value } => vec![(&none, *at, format_float(*value).into())],
        Value::String { at, value } => vec![(&none, *at, value.into())],
        Value::Vector(samples) => {
            samples.iter().map(|one| (&one.labels, one.at, written(one).into())).collect()
        }
        Value::Matrix(matrix) => matrix
            .iter()
            .flat_map(|one| {
                let points = one.points.iter().map(|point| (point.at, format_float(point.value)));
                let histograms = one.histograms.iter().map(|one| (one.at, one.histogram.to_string()));
                points.chain(histograms).map(|(at, value)| (&one.labels, at, value.into()))
            })
            .collect(),
    };
    let names: BTreeSet<&str> =
        rows.iter().flat_map(|(labels, ..)| labels.iter().map(|(name, _)| name)).collect();
    let line =
        |fields: Vec<Cow<'_, str>>| fields.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",");
    let head = names.iter().copied().chain(["timestamp", "value"]).map(Cow::Borrowed).collect();
    let body = rows.iter().map(|(labels, at, value)| {
        let labels = names.iter().map(|name| Cow::Borrowed(labels.get(name)));
        line(labels.chain([Cow::Owned(seconds(*at)), value.clone()]).collect())
    });
    std::iter::once(line(head)).chain(body).collect()
}

fn quoted(field: &str) -> Cow<'_, str> {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\"")).into()
    } else {
        field.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::model::{FloatHistogram, HistogramPoint, Point, Series};

    fn answer(value: Value) -> Output {
        Output { value, annotations: Vec::new(), samples: None }
    }

    fn vector() -> Output {
        let sample = |pairs: &[(&str, &str)], value| {
            InstantSample::float(Labels::from_pairs(pairs.iter().copied()), 1_500, value)
        };
        answer(Value::Vector(vec![
            sample(&[("__name__", "job:up:sum"), ("job", "a, \"b\"")], 1.0),
            sample(&[("__name__", "up")], f64::INFINITY),
            sample(&[("instance", "x")], 0.25),
            sample(&[], f64::NAN),
        ]))
    }

    fn matrix() -> Output {
        let points = [(0, 1.0), (60_000, 2.5)].map(|(at, value)| Point { at, value }).to_vec();
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        answer(Value::Matrix(vec![Series::floats(labels, points)]))
    }

    #[test]
    fn native_histograms_are_written_with_their_buckets() {
        let histogram = Arc::new(FloatHistogram::empty(0, [].into()).with_buckets([(1, 2.0)], []));
        let labels = Labels::from_pairs([("__name__", "h")]);
        let histograms = vec![HistogramPoint { at: 1_500, histogram: Arc::clone(&histogram) }];
        let matrix = Value::Matrix(vec![Series { histograms, ..Series::floats(labels.clone(), Vec::new()) }]);
        let sample = InstantSample { labels, at: 1_500, value: 0.0, histogram: Some(histogram) };
        let vector = Value::Vector(vec![sample]);
        let check = |format: Format, value: &Value, expected: &str| {
            assert_eq!(write(format, "h", answer(value.clone())), expected);
        };
        let written = "{count:0, sum:0, (1,2]:2}";
        check(Format::Text, &vector, &format!("h => {written} @[1.5]\n"));
        check(Format::Text, &matrix, &format!("h =>\n{written} @[1.5]\n"));
        check(Format::Csv, &vector, &format!("__name__,timestamp,value\nh,1.5,\"{written}\"\n"));
        check(Format::Csv, &matrix, &format!("__name__,timestamp,value\nh,1.5,\"{written}\"\n"));
    }

    #[test]
    fn text_is_that_of_promtool() {
        insta::assert_snapshot!(write(Format::Text, "up", vector()), @r#"
        job:up:sum{job="a, \"b\""} => 1 @[1.5]
        up => +Inf @[1.5]
        {instance="x"} => 0.25 @[1.5]
        {} => NaN @[1.5]
        "#);
        insta::assert_snapshot!(write(Format::Text, "up", matrix()), @r#"
        up{job="a"} =>
        1 @[0]
        2.5 @[60]
        "#);
        let check = |value, expected: &str| {
            assert_eq!(write(Format::Text, "x", answer(value)), expected);
        };
        check(Value::Scalar { at: 1_435_781_451_781, value: 2.0 }, "scalar: 2 @[1435781451.781]\n");
        check(Value::String { at: 0, value: "x".to_owned() }, "x\n");
        check(Value::Vector(Vec::new()), "");
    }

    #[test]
    fn csv_has_a_column_for_every_label() {
        insta::assert_snapshot!(write(Format::Csv, "up", vector()), @r#"
        __name__,instance,job,timestamp,value
        job:up:sum,,"a, ""b""",1.5,1
        up,,,1.5,+Inf
        ,x,,1.5,0.25
        ,,,1.5,NaN
        "#);
        insta::assert_snapshot!(write(Format::Csv, "up", matrix()), @r"
        __name__,job,timestamp,value
        up,a,0,1
        up,a,60,2.5
        ");
    }

    #[test]
    fn json_is_that_of_the_api() {
        insta::assert_snapshot!(write(Format::Json, "up", matrix()), @r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"values":[[0,"1"],[60,"2.5"]]}]}}"#);
    }
}
