//! How the targets of one job are scraped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::error::ConfigError;
use crate::client::{HttpAuth, TlsConfig};
use crate::discovery::TargetGroup;
use crate::exposition::Format;
use crate::exposition::protobuf::HistogramForms;

/// One job: its targets and how they are scraped.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent settings with Prometheus' names")]
pub struct Config {
    /// The name, which becomes the label `job`; unique among the jobs.
    pub job_name: String,
    /// Targets that are listed here.
    pub targets: Vec<TargetGroup>,
    /// Files with target groups: paths whose last part may hold `*`.
    pub files: Vec<PathBuf>,
    /// How often the files are looked at.
    pub file_refresh: Duration,
    /// `http` or `https`.
    pub scheme: String,
    /// The path of the page, with a leading slash.
    pub metrics_path: String,
    /// Parameters of the URL.
    pub params: BTreeMap<String, Vec<String>>,
    /// Time from one scrape to the next.
    pub interval: Duration,
    /// Time within which a scrape must be complete; not longer than the interval.
    pub timeout: Duration,
    /// Whether labels of the page win over those of the target. If not, they are kept as
    /// `exported_<name>`.
    pub honor_labels: bool,
    /// Whether timestamps of the page are used.
    pub honor_timestamps: bool,
    /// Whether series with timestamps of their own get staleness markers too.
    pub track_timestamps_staleness: bool,
    /// Largest number of samples of a page; one with more fails.
    pub sample_limit: Option<usize>,
    /// Largest page in bytes, after decompression; a larger one fails.
    pub body_size_limit: usize,
    /// Whether native histograms are wanted; the target is asked for protobuf pages then.
    /// Source of both names and defaults: Prometheus 3.14 `config/config.go`, `GlobalConfig`.
    pub scrape_native_histograms: bool,
    /// Whether histograms that have a native form are also stored in their classic form.
    pub always_scrape_classic_histograms: bool,
    /// Limits on labels; a page that exceeds one fails.
    pub label_limits: LabelLimits,
    /// Labels that all targets get, unless their group says otherwise.
    pub labels: BTreeMap<String, String>,
    /// How we identify ourselves.
    pub authorization: Option<HttpAuth>,
    /// How the targets identify themselves.
    pub tls: TlsConfig,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// The format of pages whose `Content-Type` does not name one.
    pub fallback_format: Option<Format>,
}

/// Limits on the labels of each series, target labels included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LabelLimits {
    /// Largest number of labels.
    pub count: Option<usize>,
    /// Longest name in bytes.
    pub name_length: Option<usize>,
    /// Longest value in bytes.
    pub value_length: Option<usize>,
}

impl Config {
    /// A job without targets and with Prometheus' defaults (`config.DefaultScrapeConfig`), except for
    /// the size of a page: Prometheus has no limit, and memory must have one.
    pub fn new(job_name: impl Into<String>) -> Self {
        Self {
            job_name: job_name.into(),
            targets: Vec::new(),
            files: Vec::new(),
            file_refresh: Duration::from_secs(5),
            scheme: "http".to_owned(),
            metrics_path: "/metrics".to_owned(),
            params: BTreeMap::new(),
            interval: Duration::from_mins(1),
            timeout: Duration::from_secs(10),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            sample_limit: None,
            body_size_limit: 64 * 1024 * 1024,
            scrape_native_histograms: false,
            always_scrape_classic_histograms: false,
            label_limits: LabelLimits::default(),
            labels: BTreeMap::new(),
            authorization: None,
            tls: TlsConfig::default(),
            follow_redirects: true,
            fallback_format: None,
        }
    }

    /// A job with one target, whose page is at `url`. A user or password in it is not used: that is
    /// what [`Self::authorization`] is for.
    pub fn for_url(job_name: impl Into<String>, url: &Url) -> Self {
        let mut config = Self::new(job_name);
        url.scheme().clone_into(&mut config.scheme);
        url.path().clone_into(&mut config.metrics_path);
        for (name, value) in url.query_pairs() {
            config.params.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        let host = url.host_str().unwrap_or_default();
        let address = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        config.targets.push(TargetGroup::of([address]));
        config
    }

    /// All that is wrong with the job itself; targets are checked when they are resolved.
    pub(super) fn check(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if self.job_name.is_empty() {
            errors.push(ConfigError::NoName);
        }
        if self.interval.is_zero() || self.timeout.is_zero() {
            errors.push(ConfigError::ZeroDuration);
        }
        if self.timeout > self.interval {
            errors.push(ConfigError::TimeoutAboveInterval);
        }
        if !matches!(self.scheme.as_str(), "http" | "https") {
            errors.push(ConfigError::Scheme(self.scheme.clone()));
        }
        errors
    }

    /// What is read of histograms that have a native form.
    pub(super) fn histogram_forms(&self) -> HistogramForms {
        match (self.scrape_native_histograms, self.always_scrape_classic_histograms) {
            (false, _) => HistogramForms::Classic,
            (true, false) => HistogramForms::Native,
            (true, true) => HistogramForms::Both,
        }
    }

    /// Whether the loops of both are interchangeable: they differ in their targets at most.
    pub(super) fn scrapes_like(&self, other: &Self) -> bool {
        let without_targets = |config: &Self| Self {
            targets: Vec::new(),
            files: Vec::new(),
            file_refresh: Duration::ZERO,
            ..config.clone()
        };
        without_targets(self) == without_targets(other)
    }
}
