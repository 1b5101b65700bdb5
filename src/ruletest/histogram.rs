//! Native histograms in the notation of tests: `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`.

use std::collections::HashMap;

use super::series::SeriesError;
use crate::model::{CounterReset, FloatHistogram, format_float, parse_float};

/// What a literal may say. Source: Prometheus `promql/parser/lex.go`, `histogramDesc`.
const KEYS: [&str; 11] = [
    "schema",
    "sum",
    "count",
    "z_bucket",
    "z_bucket_w",
    "custom_values",
    "buckets",
    "offset",
    "n_buckets",
    "n_offset",
    "counter_reset_hint",
];

/// A histogram as it was written.
#[derive(Debug, Clone)]
pub struct HistogramLiteral {
    /// The histogram.
    pub histogram: FloatHistogram,
    /// Whether it says what is known about counter resets.
    pub has_hint: bool,
}

/// Reads a histogram; the braces may be missing.
pub fn parse_histogram(text: &str) -> Result<HistogramLiteral, SeriesError> {
    let wrong = || SeriesError::Histogram(text.to_owned());
    let fields = read_fields(text.trim_start_matches('{').trim_end_matches('}')).ok_or_else(wrong)?;
    let number = |key: &str| fields.get(key).map_or(Some(0.0), |value| parse_float(value)).ok_or_else(wrong);
    let integer =
        |key: &str| fields.get(key).map_or(Some(0), |value| value.parse::<i32>().ok()).ok_or_else(wrong);
    let list = |key: &str| {
        let values = fields.get(key).copied().unwrap_or_default().split_whitespace().map(parse_float);
        values.collect::<Option<Vec<f64>>>().ok_or_else(wrong)
    };
    let buckets = |key: &str, offset: &str| -> Result<Vec<(i32, f64)>, SeriesError> {
        let first = integer(offset)?;
        Ok((first..).zip(list(key)?).collect())
    };
    let counter_reset = match fields.get("counter_reset_hint").copied() {
        None | Some("unknown") => CounterReset::Unknown,
        Some("reset") => CounterReset::Reset,
        Some("not_reset") => CounterReset::NotReset,
        Some("gauge") => CounterReset::Gauge,
        Some(_) => return Err(wrong()),
    };
    let mut histogram = FloatHistogram::empty(integer("schema")?, list("custom_values")?.into());
    histogram.counter_reset = counter_reset;
    (histogram.count, histogram.sum) = (number("count")?, number("sum")?);
    (histogram.zero_count, histogram.zero_threshold) = (number("z_bucket")?, number("z_bucket_w")?);
    Ok(HistogramLiteral {
        histogram: histogram.with_buckets(buckets("buckets", "offset")?, buckets("n_buckets", "n_offset")?),
        has_hint: fields.contains_key("counter_reset_hint"),
    })
}

/// `key:value key:[value value]`; none if that is not what it is, or if a key is unknown.
fn read_fields(text: &str) -> Option<HashMap<&str, &str>> {
    let mut fields = HashMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':')?;
        if !KEYS.contains(&key) {
            return None;
        }
        let (value, after) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']')?,
            None => after.split_at(after.find(char::is_whitespace).unwrap_or(after.len())),
        };
        fields.insert(key, value);
        rest = after.trim_start();
    }
    Some(fields)
}

/// The literal of a histogram. Two histograms count as the same in tests if this is.
/// Source: Prometheus `model/histogram/float_histogram.go`, `TestExpression`.
pub fn format_histogram(histogram: &FloatHistogram) -> String {
    let mut fields = Vec::new();
    if histogram.schema != 0 {
        fields.push(format!("schema:{}", histogram.schema));
    }
    let numbers = [
        ("count", histogram.count),
        ("sum", histogram.sum),
        ("z_bucket", histogram.zero_count),
        ("z_bucket_w", histogram.zero_threshold),
    ];
    let set = numbers.into_iter().filter(|(_, value)| *value != 0.0);
    fields.extend(set.map(|(key, value)| format!("{key}:{}", format_float(value))));
    if histogram.uses_custom_buckets() {
        fields.push(format!("custom_values:[{}]", joined(histogram.custom_values().iter().copied())));
    }
    fields.extend(match histogram.counter_reset {
        CounterReset::Unknown => None,
        CounterReset::Reset => Some("counter_reset_hint:reset".to_owned()),
        CounterReset::NotReset => Some("counter_reset_hint:not_reset".to_owned()),
        CounterReset::Gauge => Some("counter_reset_hint:gauge".to_owned()),
    });
    for (buckets, key, offset) in
        [(histogram.positive(), "buckets", "offset"), (histogram.negative(), "n_buckets", "n_offset")]
    {
        let counted = || buckets.iter().filter(|(_, count)| *count != 0.0).map(|(index, _)| *index);
        let (Some(first), Some(last)) = (counted().min(), counted().max()) else { continue };
        if first != 0 {
            fields.push(format!("{offset}:{first}"));
        }
        let count = |index| buckets.iter().find(|(at, _)| *at == index).map_or(0.0, |(_, count)| *count);
        fields.push(format!("{key}:[{}]", joined((first..=last).map(count))));
    }
    format!("{{{{{}}}}}", fields.join(" "))
}

fn joined(numbers: impl Iterator<Item = f64>) -> String {
    numbers.map(format_float).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_and_written() {
        let check = |text: &str, shown: &str, literal: &str| {
            let found = parse_histogram(text).expect("a histogram").histogram;
            assert_eq!((found.to_string().as_str(), format_histogram(&found).as_str()), (shown, literal));
        };
        check("{{}}", "{count:0, sum:0}", "{{}}");
        check(
            "{{sum:5 count:3 buckets:[1 0 2] offset:-1}}",
            "{count:3, sum:5, (0.25,0.5]:1, (1,2]:2}",
            "{{count:3 sum:5 offset:-1 buckets:[1 0 2]}}",
        );
        check(
            "{{z_bucket:2 z_bucket_w:0.5 n_buckets:[1 0]}}",
            "{count:0, sum:0, [-1,-0.5):1, [-0.5,0.5]:2}",
            "{{z_bucket:2 z_bucket_w:0.5 n_buckets:[1]}}",
        );
        check(
            "{{schema:-53 count:2 custom_values:[5 10] counter_reset_hint:gauge buckets:[0 2]}}",
            "{count:2, sum:0, (5,10]:2}",
            "{{schema:-53 count:2 custom_values:[5 10] counter_reset_hint:gauge offset:1 buckets:[2]}}",
        );
        assert!(parse_histogram("{{counter_reset_hint:gauge}}").is_ok_and(|literal| literal.has_hint));
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        for text in ["{{counter_reset_hint:maybe}}", "{{skema:1}}", "{{sum:x}}", "{{buckets:[1}}", "{{1}}"] {
            assert_eq!(
                parse_histogram(text).map(|literal| literal.has_hint),
                Err(SeriesError::Histogram(text.to_owned()))
            );
        }
    }
}
