//! What a page says about a metric family beside its samples.

use std::borrow::Cow;
use std::fmt;

/// What kind of metric a family is. Source: OpenMetrics 1.0, "Metric Types".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum MetricType {
    /// Only goes up, or back to zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in cumulative buckets (`le`).
    Histogram,
    /// A histogram of which buckets may also go down.
    GaugeHistogram,
    /// Counts and sums observations, with quantiles computed by the target.
    Summary,
    /// Labels that do not change while the process runs; the value is 1.
    Info,
    /// A set of related booleans, one series each.
    StateSet,
    /// Not said.
    #[default]
    Unknown,
}

impl MetricType {
    /// The name that OpenMetrics and Prometheus' API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// The type that a `# TYPE` line of the text format names.
    pub(super) fn from_text(name: &str) -> Option<Self> {
        Some(match name {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            "untyped" => Self::Unknown,
            _ => return None,
        })
    }

    /// The type that a `# TYPE` line of OpenMetrics names.
    pub(super) fn from_open_metrics(name: &str) -> Option<Self> {
        Some(match name {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "unknown" => Self::Unknown,
            _ => return None,
        })
    }

    /// The name in the text format, which knows fewer types.
    pub(super) fn in_text(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Info | Self::StateSet => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::GaugeHistogram | Self::Unknown => "untyped",
        }
    }

    /// What the names of the family's samples may have after the family's name.
    pub(super) fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Histogram => &["_bucket", "_sum", "_count"],
            Self::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
            Self::Summary => &["_sum", "_count"],
            Self::Counter => &["_total"],
            Self::Info => &["_info"],
            Self::Gauge | Self::StateSet | Self::Unknown => &[],
        }
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Type, help and unit of a metric family; what was not said is unknown or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// What kind of metric it is.
    pub kind: MetricType,
    /// What it means, for people.
    pub help: Cow<'static, str>,
    /// Its unit, such as `seconds`.
    pub unit: String,
}

impl Metadata {
    /// Metadata without a unit.
    pub fn new(kind: MetricType, help: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, help: help.into(), unit: String::new() }
    }
}
