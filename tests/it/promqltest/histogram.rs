//! Native histograms in promqltest's notation, and made from classic ones.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use valmis::model::{
    BUCKET_LABEL, CUSTOM_BUCKETS_SCHEMA, CounterReset, FloatHistogram, HistogramPoint, Labels, METRIC_NAME,
    TimestampMs, parse_float,
};

use super::series::{SequenceValue, SeriesLine};

/// `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`
#[derive(Debug)]
pub(crate) struct Literal {
    pub(crate) histogram: FloatHistogram,
    /// Whether it says what is known about counter resets.
    pub(crate) has_hint: bool,
}

/// Reads a histogram; the closing braces may be missing.
pub(crate) fn parse_histogram(text: &str) -> Result<Literal, String> {
    let wrong = || format!("not a histogram: `{text}`");
    let fields = read_fields(text.trim_start_matches('{').trim_end_matches('}')).ok_or_else(wrong)?;
    let number = |key: &str| fields.get(key).map_or(Some(0.0), |value| parse_float(value)).ok_or_else(wrong);
    let integer =
        |key: &str| fields.get(key).map_or(Some(0), |value| value.parse::<i32>().ok()).ok_or_else(wrong);
    let list = |key: &str| {
        let values = fields.get(key).copied().unwrap_or_default().split_whitespace().map(parse_float);
        values.collect::<Option<Vec<f64>>>().ok_or_else(wrong)
    };
    let buckets = |key: &str, offset: &str| -> Result<Vec<(i32, f64)>, String> {
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
    Ok(Literal {
        histogram: histogram.with_buckets(buckets("buckets", "offset")?, buckets("n_buckets", "n_offset")?),
        has_hint: fields.contains_key("counter_reset_hint"),
    })
}

/// `key:value key:[value value]`
fn read_fields(text: &str) -> Option<HashMap<&str, &str>> {
    let mut fields = HashMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':')?;
        let (value, after) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']')?,
            None => after.split_at(after.find(char::is_whitespace).unwrap_or(after.len())),
        };
        fields.insert(key, value);
        rest = after.trim_start();
    }
    Some(fields)
}

/// A classic histogram at an instant.
#[derive(Debug, Default)]
struct Classic {
    /// Cumulative counts with their upper bounds.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native histograms with custom buckets that `load_with_nhcb` makes of classic ones.
/// Source: Prometheus `util/convertnhcb/convertnhcb.go`.
pub(crate) fn converted(lines: &[SeriesLine], step_ms: i64) -> Vec<(Labels, Vec<HistogramPoint>)> {
    let mut classic: BTreeMap<Labels, BTreeMap<TimestampMs, Classic>> = BTreeMap::new();
    for SeriesLine { labels, values } in lines {
        let suffixes = ["_bucket", "_count", "_sum"];
        let name = labels.metric_name();
        let Some((base, suffix)) =
            suffixes.iter().find_map(|suffix| Some((name.strip_suffix(suffix)?, *suffix)))
        else {
            continue;
        };
        let bound = parse_float(labels.get(BUCKET_LABEL)).filter(|bound| !bound.is_nan());
        if suffix == "_bucket" && bound.is_none() {
            continue;
        }
        let labels = labels.builder().set(METRIC_NAME, base).remove(BUCKET_LABEL).build();
        let by_time = classic.entry(labels).or_default();
        for (index, value) in values.iter().enumerate() {
            let SequenceValue::Float(value) = value else { continue };
            let histogram = by_time.entry(index as i64 * step_ms).or_default();
            match (suffix, bound) {
                ("_bucket", Some(bound)) => histogram.buckets.push((bound, *value)),
                ("_count", _) => histogram.count = Some(*value),
                _ => histogram.sum = *value,
            }
        }
    }
    let points = |by_time: BTreeMap<TimestampMs, Classic>| {
        by_time.into_iter().map(|(at, classic)| HistogramPoint { at, histogram: Arc::new(classic.native()) })
    };
    classic.into_iter().map(|(labels, by_time)| (labels, points(by_time).collect())).collect()
}

impl Classic {
    fn native(mut self) -> FloatHistogram {
        self.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let highest = self.buckets.last().copied();
        let count = self.count.or(highest.map(|(_, count)| count)).unwrap_or(0.0);
        if highest.is_none_or(|(bound, _)| bound.is_finite()) {
            self.buckets.push((f64::INFINITY, count));
        }
        let bounds = self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect();
        let mut below = 0.0;
        let counts: Vec<(i32, f64)> = (0..)
            .zip(&self.buckets)
            .map(|(index, (_, cumulative))| {
                let count = cumulative - below;
                below = *cumulative;
                (index, count)
            })
            .collect();
        let mut histogram = FloatHistogram::empty(CUSTOM_BUCKETS_SCHEMA, bounds);
        (histogram.count, histogram.sum) = (count, self.sum);
        histogram.with_buckets(counts, [])
    }
}

#[test]
fn literals_are_read() {
    let check = |text: &str, expected: &str| {
        assert_eq!(parse_histogram(text).expect("a histogram").histogram.to_string(), expected);
    };
    check("{{}}", "{count:0, sum:0}");
    check("{{sum:5 count:3 buckets:[1 0 2] offset:-1}}", "{count:3, sum:5, (0.25,0.5]:1, (1,2]:2}");
    check("{{z_bucket:2 z_bucket_w:0.5 n_buckets:[1]}}", "{count:0, sum:0, [-1,-0.5):1, [-0.5,0.5]:2}");
    assert!(parse_histogram("{{counter_reset_hint:maybe}}").is_err());
    assert!(parse_histogram("{{counter_reset_hint:gauge}}").is_ok_and(|literal| literal.has_hint));
}
