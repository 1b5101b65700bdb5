//! Series in the notation of tests: `metric{label="value"} 0+10x5 _ stale {{…}}`.
//! Source: Prometheus `promql/parser/generated_parser.y`, `series_description`.

use std::sync::Arc;

use super::histogram::parse_histogram;
use crate::model::{FloatHistogram, Labels, MatchOp, parse_float, stale_nan};
use crate::promql::parse_selector;

/// How many values a series may have: a typing error in `0x1440` must not use up the memory.
const MAX_VALUES: usize = 10_000_000;

/// A series with its values at equal distances.
#[derive(Debug, Clone)]
pub struct SeriesLine {
    /// What identifies it.
    pub labels: Labels,
    /// Its values in order.
    pub values: Vec<SequenceValue>,
}

/// One place of a sequence.
#[derive(Debug, Clone)]
pub enum SequenceValue {
    /// `_`
    Omitted,
    /// A number, or the staleness marker.
    Float(f64),
    /// `{{…}}`
    Histogram {
        /// The histogram.
        histogram: Arc<FloatHistogram>,
        /// Whether it says what is known about counter resets.
        has_hint: bool,
    },
}

/// What is wrong with a series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// A quote or a brace is open at the end.
    #[error("unfinished series `{0}`")]
    Unfinished(String),
    /// It is no selector.
    #[error("series `{series}`: {what}")]
    Metric {
        /// The series as written.
        series: String,
        /// What the parser says.
        what: String,
    },
    /// A condition that is not `=`.
    #[error("series `{series}`: `{matcher}` is no label")]
    NoLabel {
        /// The series as written.
        series: String,
        /// The condition.
        matcher: String,
    },
    /// An item that is none.
    #[error("not a value: `{0}`")]
    Value(String),
    /// A native histogram that is none.
    #[error("not a histogram: `{0}`")]
    Histogram(String),
    /// Two histograms that cannot be added.
    #[error("the histograms of `{0}` have bounds that do not fit together")]
    Incompatible(String),
    /// More values than a series may have.
    #[error("`{0}` is more than {MAX_VALUES} values")]
    TooMany(String),
}

/// Reads a series with its values.
pub fn parse_series(line: &str) -> Result<SeriesLine, SeriesError> {
    let (metric, values) = line.split_at(metric_end(line)?);
    Ok(SeriesLine { labels: parse_metric(metric)?, values: parse_sequence(values)? })
}

/// Where the metric with its labels ends.
fn metric_end(line: &str) -> Result<usize, SeriesError> {
    let mut quote = None;
    let mut braces = false;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => braces = true,
            (None, '}') => return Ok(at + 1),
            (None, c) if c.is_whitespace() && !braces => return Ok(at),
            _ => {}
        }
    }
    if braces || quote.is_some() { Err(SeriesError::Unfinished(line.to_owned())) } else { Ok(line.len()) }
}

/// The labels of `metric{label="value"}`; of nothing, none.
pub fn parse_metric(text: &str) -> Result<Labels, SeriesError> {
    if text.trim().is_empty() {
        return Ok(Labels::empty());
    }
    let series = || text.to_owned();
    let matchers = parse_selector(text)
        .map_err(|errors| SeriesError::Metric { series: series(), what: errors[0].to_string() })?;
    if let Some(other) = matchers.iter().find(|matcher| matcher.op() != MatchOp::Equal) {
        return Err(SeriesError::NoLabel { series: series(), matcher: other.to_string() });
    }
    Ok(Labels::from_pairs(matchers.iter().map(|matcher| (matcher.name(), matcher.value()))))
}

/// The values of `0+10x5 _ stale {{…}}`.
pub fn parse_sequence(text: &str) -> Result<Vec<SequenceValue>, SeriesError> {
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = if rest.starts_with("{{") { histogram_item_end(rest)? } else { word_end(rest) };
        let (item, after) = rest.split_at(end);
        if item.starts_with("{{") {
            push_histograms(item, &mut values)?;
        } else {
            push_item(item, &mut values)?;
        }
        rest = after.trim_start();
    }
    Ok(values)
}

fn word_end(text: &str) -> usize {
    text.find(char::is_whitespace).unwrap_or(text.len())
}

/// The end of `{{…}}`, `{{…}}xN` or `{{…}}+{{…}}xN`.
fn histogram_item_end(text: &str) -> Result<usize, SeriesError> {
    let close = |from: usize| {
        let end = text[from..].find("}}").map(|at| from + at + 2);
        end.ok_or_else(|| SeriesError::Histogram(text.to_owned()))
    };
    let mut end = close(0)?;
    if text[end..].starts_with("+{{") || text[end..].starts_with("-{{") {
        end = close(end)?;
    }
    Ok(end + word_end(&text[end..]))
}

/// `{{…}}`, `{{…}}xN`, `{{…}}+{{…}}xN` or `{{…}}-{{…}}xN`.
fn push_histograms(item: &str, values: &mut Vec<SequenceValue>) -> Result<(), SeriesError> {
    let wrong = || SeriesError::Histogram(item.to_owned());
    let (literals, repeat) = item.rsplit_once("}}").ok_or_else(wrong)?;
    let times = match repeat {
        "" => 0,
        repeat => repeat.strip_prefix('x').and_then(|times| times.parse::<usize>().ok()).ok_or_else(wrong)?,
    };
    let literal = |text| parse_histogram(text).map_err(|_| wrong());
    let (first, delta) = match literals.split_once("}}") {
        Some((first, delta)) => (first, Some((delta.starts_with('-'), literal(&delta[1..])?))),
        None => (literals, None),
    };
    let first = literal(first)?;
    let has_hint = delta.as_ref().map_or(first.has_hint, |(_, delta)| delta.has_hint);
    room(item, times, values)?;
    let mut histogram = first.histogram;
    for _ in 0..=times {
        values.push(SequenceValue::Histogram { histogram: Arc::new(histogram.clone()), has_hint });
        if let Some((negative, delta)) = &delta {
            let delta = &delta.histogram;
            let next = if *negative { histogram.minus(delta) } else { histogram.plus(delta) };
            histogram = next.map_err(|_| SeriesError::Incompatible(item.to_owned()))?.0;
        }
    }
    Ok(())
}

/// `_`, `_xN`, `a`, `axN`, `a+bxN` or `a-bxN`.
fn push_item(item: &str, values: &mut Vec<SequenceValue>) -> Result<(), SeriesError> {
    let wrong = || SeriesError::Value(item.to_owned());
    let count = |times: &str| times.parse::<usize>().map_err(|_| wrong());
    if let Some(repeat) = item.strip_prefix('_') {
        let times = if repeat.is_empty() { 1 } else { count(repeat.strip_prefix('x').ok_or_else(wrong)?)? };
        room(item, times, values)?;
        values.extend(std::iter::repeat_n(SequenceValue::Omitted, times));
        return Ok(());
    }
    let Some((expression, times)) = item.split_once('x') else {
        values.push(SequenceValue::Float(number(item).ok_or_else(wrong)?));
        return Ok(());
    };
    let times = count(times)?;
    let (start, delta) = start_and_delta(expression).ok_or_else(wrong)?;
    room(item, times, values)?;
    let mut value = start;
    for _ in 0..=times {
        values.push(SequenceValue::Float(value));
        if let Some(delta) = delta {
            value += delta;
        }
    }
    Ok(())
}

/// Refuses what would be too much.
fn room(item: &str, times: usize, values: &[SequenceValue]) -> Result<(), SeriesError> {
    if times >= MAX_VALUES - values.len().min(MAX_VALUES) {
        return Err(SeriesError::TooMany(item.to_owned()));
    }
    Ok(())
}

/// `a`, `a+b` or `a-b`.
fn start_and_delta(text: &str) -> Option<(f64, Option<f64>)> {
    if let Some(value) = number(text) {
        return Some((value, None));
    }
    // A sign after an exponent belongs to it, so the split is the one that makes both sides numbers.
    text.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-')).find_map(|(at, _)| {
        let (start, delta) = text.split_at(at);
        Some((number(start)?, Some(number(delta)?)))
    })
}

fn number(text: &str) -> Option<f64> {
    if text == "stale" {
        return Some(stale_nan());
    }
    match text.strip_prefix('-') {
        // Unlike Go's ParseFloat the notation knows `-NaN`.
        Some(rest) => parse_float(rest).map(|value| -value),
        None => parse_float(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::is_stale;

    #[test]
    fn sequences_expand() {
        let check = |text: &str, expected: &[f64]| {
            let line = parse_series(&format!("m{{a=\"b c\"}} {text}")).expect("a series");
            assert_eq!(line.labels.get("a"), "b c");
            let number = |value: &SequenceValue| match value {
                SequenceValue::Omitted => -1.0,
                SequenceValue::Float(value) if is_stale(*value) => -2.0,
                SequenceValue::Float(value) => *value,
                SequenceValue::Histogram { histogram, .. } => -histogram.sum,
            };
            assert_eq!(line.values.iter().map(number).collect::<Vec<_>>(), expected, "{text}");
        };
        check("", &[]);
        check("1 2.5 -Inf", &[1.0, 2.5, f64::NEG_INFINITY]);
        check("0+10x2", &[0.0, 10.0, 20.0]);
        check("0x2", &[0.0, 0.0, 0.0]);
        check("5-2x1 7x1", &[5.0, 3.0, 7.0, 7.0]);
        check("_ _x2 1e+2 stale", &[-1.0, -1.0, -1.0, 100.0, -2.0]);
        check("{{schema:1 sum:7}}x1 {{sum:2}}+{{sum:1}}x2 3", &[-7.0, -7.0, -2.0, -3.0, -4.0, 3.0]);
    }

    #[test]
    fn what_is_no_series_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = parse_series(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        };
        check("up{job=\"a\" 1", "unfinished series `up{job=\"a\" 1`");
        check("up{job=~\"a\"} 1", "series `up{job=~\"a\"}`: `job=~\"a\"` is no label");
        check("up{job} 1", "series `up{job}`: 1:");
        check("up 1 two", "not a value: `two`");
        check("up 1+1", "not a value: `1+1`");
        check("up 1x-3", "not a value: `1x-3`");
        check("up {{summ:1}}", "not a histogram: `{{summ:1}}`");
        check("up {{sum:1}", "not a histogram: `{{sum:1}`");
        check("up 1x10000000", "`1x10000000` is more than 10000000 values");
        check("up _x99999999", "`_x99999999` is more than 10000000 values");
    }
}
