//! The writer of both text formats.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use super::escape::is_plain;
use super::number::format_value;
use super::{Escaping, Format, Metadata, MetricType};
use crate::model::{BUCKET_LABEL, Labels, METRIC_NAME, TimestampMs, parse_float};

/// How long a sample with the lines that describe it may be guessed to be.
const SAMPLE_BYTES: usize = 160;

/// A page in the making: samples in any order, and what is known of their families.
///
/// The page is written in an order that both formats accept: families by name, the samples of one
/// metric together, buckets ascending. A series stands there once: what was added first counts.
#[derive(Debug, Clone, Default)]
pub struct Page {
    metadata: HashMap<String, Metadata>,
    samples: Vec<PageSample>,
}

#[derive(Debug, Clone)]
struct PageSample {
    labels: Labels,
    value: f64,
    at: Option<TimestampMs>,
}

/// The samples of one family, and how the family is called and typed in the format being written.
struct Family<'a> {
    name: &'a str,
    metadata: Option<&'a Metadata>,
    kind: MetricType,
    samples: Vec<&'a PageSample>,
}

/// Samples of one metric stand together: buckets or quantiles first, in ascending order, then the
/// others by name.
#[derive(PartialEq)]
struct SortKey<'a> {
    metric: Labels,
    /// `None`, for a sample without bound, comes last.
    bound: Option<f64>,
    name: &'a str,
    at: Option<TimestampMs>,
}

impl Page {
    /// Says what the family `name` is. A counter may be described with or without `_total`, an info
    /// metric with or without `_info`.
    pub fn describe(&mut self, name: &str, metadata: Metadata) {
        self.metadata.insert(name.to_owned(), metadata);
    }

    /// Whether [`Self::describe`] was called for `name`.
    pub fn is_described(&self, name: &str) -> bool {
        self.metadata.contains_key(name)
    }

    /// Adds a sample; `labels` include the metric name. Without a time it counts as taken when the
    /// page is read.
    pub fn add(&mut self, labels: Labels, value: f64, at: Option<TimestampMs>) {
        self.samples.push(PageSample { labels, value, at });
    }

    /// Writes the page.
    pub fn write(&self, format: Format, escaping: Escaping) -> String {
        let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
        for sample in &self.samples {
            let family = self.family_of(sample.labels.metric_name(), format);
            let family = families.entry(family.name).or_insert(family);
            family.samples.push(sample);
        }
        let text = String::with_capacity(self.samples.len() * SAMPLE_BYTES);
        let mut writer = Writer { text, format, escaping };
        for family in families.values_mut() {
            family.sort();
            writer.family(family);
        }
        if format == Format::OpenMetrics {
            writer.text.push_str("# EOF\n");
        }
        writer.text
    }

    /// The family of a sample, as yet without samples.
    fn family_of<'a>(&'a self, sample: &'a str, format: Format) -> Family<'a> {
        let own = self.metadata.get(sample).map(|metadata| (sample, metadata));
        let described = own.or_else(|| {
            ["_bucket", "_sum", "_count", "_gsum", "_gcount", "_total", "_info"].iter().find_map(|suffix| {
                let name = sample.strip_suffix(suffix)?;
                let metadata = self.metadata.get(name)?;
                metadata.kind.suffixes().contains(suffix).then_some((name, metadata))
            })
        });
        let Some((name, metadata)) = described else {
            return Family { name: sample, metadata: None, kind: MetricType::Unknown, samples: Vec::new() };
        };
        // Of counters and info metrics the text format names the sample, OpenMetrics what is left of
        // it without the suffix; without suffix they are not what OpenMetrics calls so.
        let (name, kind) = match (metadata.kind, format) {
            (MetricType::Counter, Format::OpenMetrics) => match sample.strip_suffix("_total") {
                Some(base) => (base, MetricType::Counter),
                None => (sample, MetricType::Unknown),
            },
            (MetricType::Info, Format::OpenMetrics) => match sample.strip_suffix("_info") {
                Some(base) => (base, MetricType::Info),
                None => (sample, MetricType::Gauge),
            },
            (kind @ (MetricType::Counter | MetricType::Info), Format::Text) => (sample, kind),
            (kind, _) => (name, kind),
        };
        Family { name, metadata: Some(metadata), kind, samples: Vec::new() }
    }
}

impl Family<'_> {
    fn sort(&mut self) {
        // Most families of a page are of one sample.
        if self.samples.len() > 1 {
            let keyed = self.samples.iter().map(|sample| (SortKey::of(sample, self.kind), *sample));
            let mut keyed: Vec<_> = keyed.collect();
            keyed.sort_by(|(one, _), (other, _)| one.compare(other));
            keyed.dedup_by(|(next, _), (one, _)| one.compare(next) == Ordering::Equal);
            self.samples = keyed.into_iter().map(|(_, sample)| sample).collect();
        }
    }
}

impl<'a> SortKey<'a> {
    fn of(sample: &'a PageSample, kind: MetricType) -> Self {
        let bound = match kind {
            MetricType::Histogram | MetricType::GaugeHistogram => BUCKET_LABEL,
            MetricType::Summary => "quantile",
            _ => METRIC_NAME, // which is no bound, since no number can be a metric name here
        };
        Self {
            metric: sample.labels.filtered(|name| name != METRIC_NAME && name != bound),
            bound: if bound == METRIC_NAME { None } else { parse_float(sample.labels.get(bound)) },
            name: sample.labels.metric_name(),
            at: sample.at,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let bounds = match (self.bound, other.bound) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            (one, other) => one.is_none().cmp(&other.is_none()),
        };
        self.metric
            .cmp(&other.metric)
            .then(bounds)
            .then_with(|| self.name.cmp(other.name))
            .then_with(|| self.at.cmp(&other.at))
    }
}

struct Writer {
    text: String,
    format: Format,
    escaping: Escaping,
}

impl Writer {
    fn family(&mut self, family: &Family<'_>) {
        let open_metrics = self.format == Format::OpenMetrics;
        if let Some(metadata) = family.metadata {
            if !metadata.help.is_empty() {
                self.metadata_line("HELP", family.name, &escape_text(&metadata.help, open_metrics));
            }
        }
        let kind = if open_metrics { family.kind.as_str() } else { family.kind.in_text() };
        self.metadata_line("TYPE", family.name, kind);
        if let Some(unit) = family.metadata.map(|metadata| metadata.unit.as_str()) {
            let named = family.name.strip_suffix(unit).is_some_and(|before| before.ends_with('_'));
            if open_metrics && !unit.is_empty() && named {
                self.metadata_line("UNIT", family.name, unit);
            }
        }
        for sample in &family.samples {
            self.sample(sample);
        }
    }

    fn metadata_line(&mut self, keyword: &str, family: &str, text: &str) {
        self.text.push_str("# ");
        self.text.push_str(keyword);
        self.text.push(' ');
        self.name(family, true);
        self.text.push(' ');
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn sample(&mut self, sample: &PageSample) {
        let metric = sample.labels.metric_name();
        let metric_inside = self.escaping == Escaping::AllowUtf8 && !is_plain(metric, true);
        if !metric_inside {
            self.name(metric, true);
        }
        let mut separator = '{';
        if metric_inside {
            self.text.push(separator);
            self.name(metric, true);
            separator = ',';
        }
        for (name, value) in sample.labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
            self.text.push(separator);
            self.name(name, false);
            self.text.push_str("=\"");
            self.text.push_str(&escape_text(value, true));
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        self.text.push(' ');
        self.text.push_str(&format_value(sample.value));
        if let Some(at) = sample.at {
            // Writing to a String cannot fail.
            let _ = match self.format {
                Format::Text => write!(self.text, " {at}"),
                Format::OpenMetrics => write!(self.text, " {}", at as f64 / 1000.0),
            };
        }
        self.text.push('\n');
    }

    /// A metric's or a label's name, quoted or escaped where it is not plain.
    fn name(&mut self, name: &str, colons: bool) {
        let name = self.escaping.apply(name);
        if is_plain(&name, colons) {
            self.text.push_str(&name);
        } else if self.escaping == Escaping::AllowUtf8 {
            self.text.push('"');
            self.text.push_str(&escape_text(&name, true));
            self.text.push('"');
        } else {
            // An escaped name can still hold a colon, which labels may not.
            self.text.push_str(&name.replace(':', "_"));
        }
    }
}

/// Escapes backslashes, line breaks and, if asked to, double quotes.
fn escape_text(text: &str, quotes: bool) -> Cow<'_, str> {
    let special = |c: char| c == '\\' || c == '\n' || (quotes && c == '"');
    if !text.bytes().any(|byte| special(char::from(byte))) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            _ if special(character) => escaped.extend(['\\', character]),
            _ => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests;
