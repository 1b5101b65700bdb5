//! Series in promqltest's notation: `metric{label="value"} 0+10x5 _ stale {{…}}`.

use std::sync::Arc;

use valmis::model::{
    FloatHistogram, Labels, METRIC_NAME, MatchOp, parse_duration_ms, parse_float, stale_nan,
};
use valmis::promql::parse_selector;

use super::histogram::{Literal, parse_histogram};

/// A series with its values at equal distances.
#[derive(Debug, Clone)]
pub(crate) struct SeriesLine {
    pub(crate) labels: Labels,
    pub(crate) values: Vec<SequenceValue>,
}

/// One place of a sequence.
#[derive(Debug, Clone)]
pub(crate) enum SequenceValue {
    /// `_`
    Omitted,
    /// A number, or the staleness marker.
    Float(f64),
    /// `{{…}}`
    Histogram {
        histogram: Arc<FloatHistogram>,
        /// Whether it says what is known about counter resets.
        has_hint: bool,
    },
}

/// Reads a line.
pub(crate) fn parse_series(line: &str) -> Result<SeriesLine, String> {
    let (metric, values) = line.split_at(metric_end(line)?);
    Ok(SeriesLine { labels: parse_metric(metric)?, values: parse_sequence(values)? })
}

/// Where the metric with its labels ends.
fn metric_end(line: &str) -> Result<usize, String> {
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
    if braces || quote.is_some() { Err(format!("unfinished series `{line}`")) } else { Ok(line.len()) }
}

/// The labels of `metric{label="value"}`.
pub(crate) fn parse_metric(text: &str) -> Result<Labels, String> {
    let matchers = parse_selector(text).map_err(|errors| format!("series `{text}`: {}", errors[0]))?;
    if let Some(other) = matchers.iter().find(|matcher| matcher.op() != MatchOp::Equal) {
        return Err(format!("series `{text}`: `{other}` is no label"));
    }
    let pairs = matchers.iter().map(|matcher| (matcher.name(), matcher.value()));
    let labels = Labels::from_pairs(pairs);
    debug_assert!(labels.len() <= matchers.len() || labels.has(METRIC_NAME));
    Ok(labels)
}

fn parse_sequence(text: &str) -> Result<Vec<SequenceValue>, String> {
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = if rest.starts_with("{{") { histogram_item_end(rest)? } else { word_end(rest) };
        let (item, after) = rest.split_at(end);
        if item.starts_with("{{") {
            parse_histograms(item, &mut values)?;
        } else {
            parse_item(item, &mut values).ok_or_else(|| format!("not a value: `{item}`"))?;
        }
        rest = after.trim_start();
    }
    Ok(values)
}

/// Durations in milliseconds as `metric@st` lines have them: `-30s`, `-1mx15`, `-30s-1mx2`, `_`.
pub(crate) fn parse_offsets(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut offsets = Vec::new();
    for item in text.split_whitespace() {
        let wrong = || format!("not a duration: `{item}`");
        let (expression, times) = match item.split_once('x') {
            Some((expression, times)) => (expression, times.parse::<i64>().map_err(|_| wrong())?),
            None => (item, i64::from(item == "_")),
        };
        if expression == "_" {
            offsets.extend((0..times).map(|_| None));
            continue;
        }
        let sign = expression.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-'));
        let (first, delta) = expression.split_at(sign.map_or(expression.len(), |(at, _)| at));
        let first = signed_duration(first).ok_or_else(wrong)?;
        let delta = if delta.is_empty() { 0 } else { signed_duration(delta).ok_or_else(wrong)? };
        offsets.extend((0..=times).map(|n| Some(first + n * delta)));
    }
    Ok(offsets)
}

fn signed_duration(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    parse_duration_ms(text).ok().map(|ms| sign * ms)
}

fn word_end(text: &str) -> usize {
    text.find(char::is_whitespace).unwrap_or(text.len())
}

/// The end of `{{…}}`, `{{…}}xN` or `{{…}}+{{…}}xN`.
fn histogram_item_end(text: &str) -> Result<usize, String> {
    let close = |from: usize| {
        text[from..]
            .find("}}")
            .map(|at| from + at + 2)
            .ok_or_else(|| format!("unfinished histogram `{text}`"))
    };
    let mut end = close(0)?;
    if text[end..].starts_with("+{{") || text[end..].starts_with("-{{") {
        end = close(end)?;
    }
    Ok(end + word_end(&text[end..]))
}

/// `{{…}}`, `{{…}}xN`, `{{…}}+{{…}}xN` or `{{…}}-{{…}}xN`.
fn parse_histograms(item: &str, values: &mut Vec<SequenceValue>) -> Result<(), String> {
    let wrong = || format!("not a histogram: `{item}`");
    let (literals, repeat) = item.rsplit_once("}}").ok_or_else(wrong)?;
    let times = match repeat {
        "" => 0,
        repeat => repeat.strip_prefix('x').and_then(|times| times.parse::<usize>().ok()).ok_or_else(wrong)?,
    };
    let (first, delta) = match literals.split_once("}}") {
        Some((first, delta)) => (parse_histogram(first)?, Some(delta)),
        None => (parse_histogram(literals)?, None),
    };
    let delta = delta.map(|delta| Ok((delta.starts_with('-'), parse_histogram(&delta[1..])?)));
    let delta: Option<(bool, Literal)> = delta.transpose().map_err(|error: String| error)?;
    let has_hint = delta.as_ref().map_or(first.has_hint, |(_, delta)| delta.has_hint);
    let mut histogram = first.histogram;
    for _ in 0..=times {
        values.push(SequenceValue::Histogram { histogram: Arc::new(histogram.clone()), has_hint });
        if let Some((negative, delta)) = &delta {
            let delta = &delta.histogram;
            let next = if *negative { histogram.minus(delta) } else { histogram.plus(delta) };
            histogram = next.map_err(|error| error.to_string())?.0;
        }
    }
    Ok(())
}

fn parse_item(item: &str, values: &mut Vec<SequenceValue>) -> Option<()> {
    if let Some(repeat) = item.strip_prefix('_') {
        let times = if repeat.is_empty() { 1 } else { repeat.strip_prefix('x')?.parse().ok()? };
        values.extend(std::iter::repeat_n(SequenceValue::Omitted, times));
        return Some(());
    }
    let (expression, times) = match item.split_once('x') {
        Some((expression, times)) => (expression, times.parse::<usize>().ok()?),
        None => (item, 0),
    };
    let (start, delta) = start_and_delta(expression)?;
    let mut value = start;
    for _ in 0..=times {
        values.push(SequenceValue::Float(value));
        if let Some(delta) = delta {
            value += delta;
        }
    }
    Some(())
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

#[test]
fn offsets_expand() {
    let check = |text: &str, expected: &[Option<i64>]| {
        assert_eq!(parse_offsets(text).as_deref(), Ok(expected), "{text}");
    };
    check("_ _x2 -30s", &[None, None, None, Some(-30_000)]);
    check("-1mx1 +1ms", &[Some(-60_000), Some(-60_000), Some(1)]);
    check("1s-1mx1 0", &[Some(1_000), Some(-59_000), Some(0)]);
    assert!(parse_offsets("1").is_err());
}

#[test]
fn sequences_expand() {
    let check = |text: &str, expected: &[f64]| {
        let line = parse_series(&format!("m{{a=\"b c\"}} {text}")).expect("a series");
        let found: Vec<f64> = line
            .values
            .iter()
            .map(|value| match value {
                SequenceValue::Omitted => -1.0,
                SequenceValue::Float(value) => *value,
                SequenceValue::Histogram { histogram, .. } => -histogram.sum,
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    check("1 2.5 -Inf", &[1.0, 2.5, f64::NEG_INFINITY]);
    check("0+10x2", &[0.0, 10.0, 20.0]);
    check("5-2x1 7x1", &[5.0, 3.0, 7.0, 7.0]);
    check("_ _x2 1e+2", &[-1.0, -1.0, -1.0, 100.0]);
    check("{{schema:1 sum:7}}x1 {{sum:2}}+{{sum:1}}x2 3", &[-7.0, -7.0, -2.0, -3.0, -4.0, 3.0]);
}
