//! One page to scrape: from an address with labels to a URL and the labels of its samples.

use std::time::Duration;

use url::Url;

use super::Config;
use crate::discovery::TargetGroup;
use crate::model::{DurationError, Labels, format_duration_ms, parse_duration_ms};

/// One page to scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The labels that its samples get.
    pub labels: Labels,
    /// All labels, before those that begin with `__` were taken away.
    pub discovered_labels: Labels,
    /// Where the page is.
    pub url: Url,
    /// Time from one scrape to the next.
    pub interval: Duration,
    /// Time within which a scrape must be complete.
    pub timeout: Duration,
}

/// A target that cannot be scraped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No address.
    #[error("no address")]
    NoAddress,
    /// An address with a path or other things that are no host and port.
    #[error("`{0}` is not a valid hostname")]
    Address(String),
    /// Address, scheme, path and parameters do not make a URL.
    #[error("invalid URL: {0}")]
    Url(url::ParseError),
    /// `__scrape_interval__` or `__scrape_timeout__` is no duration.
    #[error("error parsing scrape interval or timeout: {0}")]
    Duration(#[from] DurationError),
    /// One of the two is zero.
    #[error("scrape interval or timeout cannot be 0")]
    Zero,
    /// A scrape could overlap with the next one.
    #[error("scrape timeout cannot be greater than scrape interval")]
    TimeoutAboveInterval,
}

impl Target {
    /// The target of `address` in `group`. The labels `__address__`, `__scheme__`,
    /// `__metrics_path__`, `__param_<name>`, `__scrape_interval__` and `__scrape_timeout__` start with
    /// the job's settings and can be set by the group.
    /// Source: Prometheus 3.14 `scrape/target.go`, `PopulateDiscoveredLabels` and `PopulateLabels`.
    pub fn resolve(config: &Config, group: &TargetGroup, address: &str) -> Result<Self, TargetError> {
        let duration = |duration: Duration| format_duration_ms(duration.as_millis() as i64);
        let mut builder = Labels::from_pairs(&config.labels).builder();
        builder
            .set("job", &config.job_name)
            .set("__address__", address)
            .set("__scheme__", &config.scheme)
            .set("__metrics_path__", &config.metrics_path)
            .set("__scrape_interval__", &duration(config.interval))
            .set("__scrape_timeout__", &duration(config.timeout));
        for (name, values) in &config.params {
            if let Some(first) = values.first() {
                builder.set(&format!("__param_{name}"), first);
            }
        }
        for (name, value) in group.labels.iter().filter(|(_, value)| !value.is_empty()) {
            builder.set(name, value);
        }
        let discovered_labels = builder.build();
        let address = discovered_labels.get("__address__");
        if address.is_empty() {
            return Err(TargetError::NoAddress);
        }
        if address.contains(['/', '?', '#', '@']) {
            return Err(TargetError::Address(address.to_owned()));
        }
        let read = |name| parse_duration_ms(discovered_labels.get(name));
        let (interval, timeout) = (read("__scrape_interval__")?, read("__scrape_timeout__")?);
        if interval == 0 || timeout == 0 {
            return Err(TargetError::Zero);
        }
        if timeout > interval {
            return Err(TargetError::TimeoutAboveInterval);
        }
        let mut public = discovered_labels.filtered(|name| !name.starts_with("__"));
        if !public.has("instance") {
            public = public.builder().set("instance", address).build();
        }
        Ok(Self {
            url: url_of(config, &discovered_labels).map_err(TargetError::Url)?,
            labels: public,
            interval: Duration::from_millis(interval.unsigned_abs()),
            timeout: Duration::from_millis(timeout.unsigned_abs()),
            discovered_labels,
        })
    }

    /// What tells this target from others, and decides about its offset.
    pub(super) fn hash(&self) -> u64 {
        xxhash_rust::xxh64::xxh64(self.url.as_str().as_bytes(), self.labels.hash64())
    }
}

/// The URL that the labels and the job's further parameters describe.
fn url_of(config: &Config, labels: &Labels) -> Result<Url, url::ParseError> {
    let path = labels.get("__metrics_path__");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let base = format!("{}://{}{slash}", labels.get("__scheme__"), labels.get("__address__"));
    let mut url = Url::parse(&base)?;
    url.set_path(path);
    let params: Vec<(&str, &str)> = labels
        .iter()
        .filter_map(|(name, first)| Some((name.strip_prefix("__param_")?, first)))
        .flat_map(|(name, first)| {
            let further = config.params.get(name).into_iter().flat_map(|values| values.iter().skip(1));
            std::iter::once((name, first)).chain(further.map(move |value| (name, value.as_str())))
        })
        .collect();
    if !params.is_empty() {
        url.query_pairs_mut().extend_pairs(params);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(labels: &[(&str, &str)]) -> TargetGroup {
        let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        TargetGroup { targets: Vec::new(), labels }
    }

    #[test]
    fn a_target_gets_job_and_instance_and_a_url() {
        let mut config = Config::new("node");
        config.labels.insert("env".to_owned(), "prod".to_owned());
        let target = Target::resolve(&config, &group(&[("rack", "7")]), "db:9100").unwrap();
        assert_eq!(target.labels.to_string(), r#"{env="prod", instance="db:9100", job="node", rack="7"}"#);
        assert_eq!(target.url.as_str(), "http://db:9100/metrics");
        assert_eq!(target.discovered_labels.get("__scrape_interval__"), "1m");
        assert_eq!((target.interval, target.timeout), (config.interval, config.timeout));
    }

    #[test]
    fn a_group_can_change_how_its_targets_are_scraped() {
        let mut config = Config::new("probe");
        config.params.insert("module".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        let labels = [
            ("__scheme__", "https"),
            ("__metrics_path__", "/probe"),
            ("__param_target", "x y"),
            ("__scrape_interval__", "30s"),
            ("__scrape_timeout__", "5s"),
            ("job", "other"),
            ("instance", "x"),
        ];
        let target = Target::resolve(&config, &group(&labels), "[::1]:1").unwrap();
        assert_eq!(target.url.as_str(), "https://[::1]:1/probe?module=a&module=b&target=x+y");
        assert_eq!(target.labels.to_string(), r#"{instance="x", job="other"}"#);
        assert_eq!(target.interval, Duration::from_secs(30));
    }

    #[test]
    fn a_target_that_cannot_be_scraped_is_refused() {
        let check = |labels: &[(&str, &str)], address, expected: &str| {
            let error = Target::resolve(&Config::new("a"), &group(labels), address).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(&[], "", "no address");
        check(&[], "http://a:1", "`http://a:1` is not a valid hostname");
        check(&[], "a:port", "invalid URL: invalid port number");
        check(&[("__scrape_timeout__", "0s")], "a:1", "scrape interval or timeout cannot be 0");
        check(
            &[("__scrape_timeout__", "2m")],
            "a:1",
            "scrape timeout cannot be greater than scrape interval",
        );
        check(
            &[("__scrape_interval__", "x")],
            "a:1",
            "error parsing scrape interval or timeout: not a valid duration string: \"x\"",
        );
    }
}
